//! The protocol is for microcontrollers too: it builds for one, and nothing that it needs brings the standard library.

use std::path::Path;
use std::process::Command;

const TARGET: &str = "thumbv7em-none-eabihf";

/// A Cortex-M4F has no standard library: whatever needs one does not build.
#[test]
fn it_builds_for_a_microcontroller() {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET);
    if !library.is_dir() {
        let how = "rustup target add";
        return skip::because(format_args!("no {} ({how} {TARGET})", library.display()));
    }
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--lib",
            "--package",
            "protocol",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded"))
        // Features of the whole workspace would bring `std`.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

#[test]
fn nothing_that_it_needs_is_asked_for_the_standard_library() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--package",
            "protocol",
            "--edges",
            "normal,features",
        ])
        .args(["--prefix", "none", "--target", TARGET])
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    assert!(text.contains("postcard feature \"alloc\""), "{text}");
    for line in text.lines() {
        assert!(!line.contains("feature \"std\""), "{line}");
    }
    assert!(include_str!("../src/lib.rs").contains("#![cfg_attr(not(test), no_std)]"));
}
