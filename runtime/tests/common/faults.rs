//! `faults.c`, put under a daemon: kills it at a call of our choice, and says which calls there were.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

const FIELDS: u64 = 5;
const KILL_AT: u64 = 1;

/// The library and the block that it shares with us.
pub(crate) struct Faults {
    folder: tempfile::TempDir,
    library: String,
}

impl Faults {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/faults.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o"]).arg(&library);
        assert!(compiler.arg(source).arg("-ldl").status().unwrap().success());
        Self { library: library.to_str().unwrap().to_owned(), folder }
    }

    /// What a daemon whose spool is `folder` is started with, to be killed at call `number` of a kind; 0: never.
    pub(crate) fn kill_at(
        &self,
        folder: &Path,
        kind: &str,
        number: u64,
    ) -> [(&'static str, String); 5] {
        let _ = fs::remove_file(self.path("trace"));
        let block = File::create(self.path("block")).unwrap();
        block.set_len(FIELDS * 8).unwrap();
        block.write_all_at(&number.to_le_bytes(), KILL_AT * 8).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAULTS", text(self.path("block"))),
            ("FAULTS_UNDER", text(folder.to_owned())),
            ("FAULTS_TRACE", text(self.path("trace"))),
            ("FAULTS_KIND", kind.to_owned()),
        ]
    }

    /// How many calls of each kind there were.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        let mut calls = BTreeMap::new();
        for kind in fs::read_to_string(self.path("trace")).unwrap().lines() {
            *calls.entry(kind.to_owned()).or_default() += 1;
        }
        calls
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
