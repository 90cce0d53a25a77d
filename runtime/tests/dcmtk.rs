//! DCMTK's tools as peers; skipped with a line where they are not installed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Daemon, Settings, fixtures};
use std::process::{Command, Output};

fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => Some(output),
        Err(_) => {
            skip::because(format_args!("{name} is not installed (Debian package dcmtk)"));
            None
        }
    }
}

#[test]
fn dcmtk_echoes_and_stores() {
    let daemon = Daemon::start(Settings::default());
    let port = daemon.dicom.port().to_string();
    let base = ["-aet", "XRAY1", "-aec", "CXR-EDGE", "127.0.0.1", &port];
    let Some(echo) = tool("echoscu", &base) else { return };
    assert!(echo.status.success(), "{echo:?}");

    let file = daemon.folder.path().join("chest.dcm");
    let object = fixtures::chest("1.2.3.4", 300, 3)
        .with_meta(dicom_object::FileMetaTableBuilder::new().transfer_syntax(fixtures::EXPLICIT))
        .unwrap();
    object.write_to_file(&file).unwrap();
    let file = file.to_str().unwrap();
    for syntax in ["-xe", "-xi", "-xb", "-xd"] {
        let mut arguments = vec![syntax];
        arguments.extend(base);
        arguments.push(file);
        let Some(store) = tool("storescu", &arguments) else { return };
        assert!(store.status.success(), "{syntax}: {store:?}");
    }
    assert_eq!(daemon.metric("cxr_dicom_stored_total"), 4);
    for path in daemon.spool("images") {
        let bytes = std::fs::read(&path).unwrap();
        let read = radiograph::read(&bytes).unwrap();
        assert_eq!((read.image.height, read.image.width), (300, 300), "{}", path.display());
    }
}
