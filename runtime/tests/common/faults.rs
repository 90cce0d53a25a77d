//! `faults.c`, put under a daemon: kills it at a call of our choice, and says which calls there were.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

const FIELDS: usize = 5;
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

    /// Puts everything back, and kills at call `number`; 0: never.
    pub(crate) fn kill_at(&self, number: u64) {
        let _ = fs::remove_file(self.path("trace"));
        let block = File::create(self.path("block")).unwrap();
        block.set_len(FIELDS as u64 * 8).unwrap();
        block.write_all_at(&number.to_le_bytes(), KILL_AT * 8).unwrap();
    }

    /// What a daemon whose spool is `folder` is started with.
    pub(crate) fn environment(&self, folder: &Path) -> [(&'static str, String); 4] {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAULTS", text(self.path("block"))),
            ("FAULTS_UNDER", text(folder.to_owned())),
            ("FAULTS_TRACE", text(self.path("trace"))),
        ]
    }

    /// The calls so far by their numbers: name, and what it was about.
    pub(crate) fn calls(&self) -> BTreeMap<u64, String> {
        let trace = fs::read_to_string(self.path("trace")).unwrap_or_default();
        let numbered = |line: &str| {
            let (number, call) = line.split_once(' ')?;
            Some((number.parse().ok()?, call.to_owned()))
        };
        trace.lines().filter_map(numbered).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
