//! The file that travels: read, write, verify.
