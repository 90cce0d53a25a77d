//! Tests that need what a machine may lack: data outside the repository, a peer, a package.
//!
//! ```no_run
//! let root = std::path::Path::new("../shared/data/cxr-mini");
//! if !root.is_dir() {
//!     return skip::because(format_args!("no {}", root.display()));
//! }
//! ```

use std::fmt::Display;

/// Prints why a test does not run. With `REQUIRE_ALL=1`, as in CI, it panics instead: there a skipped test has failed.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn because(why: impl Display) {
    let required = std::env::var_os("REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "not run, and REQUIRE_ALL=1 wants every test: {why}");
    eprintln!("skipped: {why}");
}
