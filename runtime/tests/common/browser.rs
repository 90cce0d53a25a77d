//! What a test of a page in Chromium needs: `make setup` brings it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The Python that speaks to the browser, and axe-core; or what is missing.
pub(crate) fn tools() -> Result<(PathBuf, PathBuf), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let runs = |command: &Path, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    let (python, axe) = (root.join(".venv/bin/python"), root.join(".venv/axe-core/axe.min.js"));
    if !runs(Path::new("chromium"), &["--version"]) {
        return Err("chromium is not installed (Debian package chromium)".into());
    }
    if !runs(&python, &["-c", "import websocket"]) {
        return Err(format!("{} has no websocket-client: make setup", python.display()));
    }
    let axe = std::env::var_os("AXE_CORE").map_or(axe, PathBuf::from);
    if !axe.exists() {
        return Err(format!("no {}: make setup", axe.display()));
    }
    Ok((python, axe))
}

/// Has a report judged by axe-core, at two widths; screenshots lie in `target/tmp`, in a folder of this name.
pub(crate) fn read_report(html: &Path, shots: &str) {
    let (python, axe) = match tools() {
        Ok(tools) => tools,
        Err(missing) => return skip::because(missing),
    };
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join(shots);
    fs::create_dir_all(&shots).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report.py");
    let output = Command::new(python).arg(script).args([html, &axe, &shots]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
