//! The daemon on the box.

fn main() {}
