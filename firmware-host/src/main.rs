//! Agent on the box, verbs on the workstation.

fn main() {}
