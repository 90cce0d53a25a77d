//! Holds the repository to its layout: what lies at the top, and how large a file may be.

use e2e::tool::root;
use std::process::Command;

fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z"])
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("file names are UTF-8");
    list.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn the_top_level_is_the_one_our_user_fixed() {
    let fixed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "Makefile",
        "README.md",
        "trainer",
        "exporter",
        "runtime",
        "firmware-host",
        "calibration",
        "tests",
    ];
    for file in tracked() {
        let top = file.split('/').next().unwrap();
        assert!(
            top.starts_with('.') || fixed.contains(&top),
            "{file} lies outside the fixed layout"
        );
    }
}

#[test]
fn no_file_is_large_enough_to_be_data() {
    for file in tracked() {
        if let Ok(found) = root().join(&file).metadata() {
            let most = match &*file {
                "Cargo.lock" => continue,
                "runtime/examples/chest-lungs.bundle" => 2_000_000, // what a newcomer analyses with
                _ => 500_000,
            };
            assert!(found.len() <= most, "{file} has {} bytes", found.len());
        }
    }
}
