//! Reads what the daemon says of itself: `running.json` in the folder of the slots.

use protocol::{RUNNING_FILE, RUNNING_LIMIT, Running};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The daemon's word as it stands in the file, or why there is none.
pub(super) fn text(folder: &Path) -> Result<String, String> {
    let path = folder.join(RUNNING_FILE);
    let unreadable = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(unreadable(&"no file")), // opening a pipe would wait for ever
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("the daemon has not said what it runs: no running.json".into());
        }
        Err(error) => return Err(unreadable(&error)),
    }
    let file = File::open(&path).map_err(|error| unreadable(&error))?;
    let mut text = String::new();
    file.take(RUNNING_LIMIT + 1).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > RUNNING_LIMIT {
        return Err(unreadable(&format!("more than {RUNNING_LIMIT} bytes")));
    }
    Ok(text)
}

/// The same, understood.
pub(super) fn running(folder: &Path) -> Result<Running, String> {
    parse(&text(folder)?)
        .map_err(|error| format!("{}: {error}", folder.join(RUNNING_FILE).display()))
}

pub(super) fn parse(text: &str) -> Result<Running, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::{BootId, Digest, SlotId};
    fn word() -> Running {
        Running {
            digest: Digest([0xAB; 32]),
            slot: SlotId::B,
            boot_id: BootId([7; 16]),
            golden_vectors: 4,
            answered: 3,
            failures: 0,
            generation: 9,
            process: 77,
            started_seconds: 1,
            loaded_seconds: 2,
            written_seconds: 300,
            celsius: Some(41.5),
            free: None,
            failure: None,
            stopped: false,
            deaths: 0,
        }
    }

    /// The contract of two programs: names and forms of the keys.
    #[test]
    fn the_daemons_word_is_read_as_it_is_written() {
        let text = serde_json::to_value(word()).unwrap();
        let expected = serde_json::json!({
            "digest": "ab".repeat(32), "slot": "b", "boot_id": "07070707-0707-0707-0707-070707070707",
            "golden_vectors": 4, "answered": 3, "failures": 0, "generation": 9, "process": 77,
            "started_seconds": 1, "loaded_seconds": 2, "written_seconds": 300, "celsius": 41.5, "free": null,
            "failure": null, "stopped": false, "deaths": 0,
        });
        assert_eq!(text, expected);
        assert_eq!(parse(&text.to_string()), Ok(word()));
        let mut later = text;
        later["what a later daemon adds"] = 1.into();
        assert_eq!(parse(&later.to_string()), Ok(word()));
        let earlier =
            later.to_string().replace(r#""stopped":false,"#, "").replace(r#""deaths":0,"#, "");
        assert_eq!(parse(&earlier), Ok(word()), "of a daemon that did not count its deaths");
    }

    #[test]
    fn a_file_that_is_no_word_of_the_daemon_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(running(folder.path()).unwrap_err().contains("has not said"));
        let path = folder.path().join(RUNNING_FILE);
        let whole = serde_json::to_string(&word()).unwrap();
        let long = format!("{whole}{}", " ".repeat(1 << 20));
        let other = |from: &str, to: &str| whole.replace(from, to).into_bytes();
        for (bytes, said) in [
            (b"".to_vec(), "EOF"),
            (whole.as_bytes()[..whole.len() - 3].to_vec(), "EOF"),
            (long.into_bytes(), "more than 16384 bytes"),
            (b"\xff\xfe".to_vec(), "UTF-8"),
            (other("\"b\"", "\"c\""), "variant"),
            (other("abab", "ab"), "64 hexadecimal digits"),
            (other("0707-", "07-"), "UUID"),
            (other(":300", ":-300"), "-300"),
            (other(":4,", ":4.5,"), "4.5"),
            (other("\"failures\":0,", ""), "missing field `failures`"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = running(folder.path()).unwrap_err();
            assert!(error.contains(said) && error.contains("running.json"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(running(folder.path()).unwrap_err().contains("running.json"));
    }

    proptest! {
        #[test]
        fn noise_in_the_daemons_word_never_panics(at in any::<usize>(), byte in any::<u8>(), length in any::<usize>()) {
            let mut bytes = serde_json::to_vec(&word()).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(length % 2000);
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
