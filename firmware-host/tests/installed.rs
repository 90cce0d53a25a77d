//! What the Debian package relies on: systemd is told how the agent is, and the folder of keys has a group.

#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::Agent;

/// An agent that systemd started, until dropped.
struct Started(Child);

impl Started {
    fn new(folder: &Path, notify: &Path) -> Self {
        let config = folder.join("agent.toml");
        let text = "slots = \"slots\"\n[listen]\ntcp = \"127.0.0.1:0\"\n[bundles]\nallow_unsigned = true\n\
                    [activate]\nselftest = [\"true\"]\n";
        fs::write(&config, text).unwrap();
        let agent = Command::new(env!("CARGO_BIN_EXE_firmware-host"))
            .args(["--quiet", "agent", "--config"])
            .arg(config)
            .env("NOTIFY_SOCKET", notify)
            .env("WATCHDOG_USEC", "100000")
            .stdin(Stdio::null())
            .spawn();
        Self(agent.unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn systemd_hears_that_the_agent_is_ready_and_then_that_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _agent = Started::new(folder.path(), &notify);
    let mut message = [0; 99];
    for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        let length = systemd.recv(&mut message).unwrap();
        assert_eq!(std::str::from_utf8(&message[..length]).unwrap(), expected);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The daemon, another user, reads the keyring there; it must not learn a code or a key.
#[test]
fn the_group_of_the_keys_may_look_but_never_sees_a_secret_and_others_see_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::create_dir(&keys).unwrap();
    for (made, expected) in [(0o2750, 0o2750), (0o755, 0o700), (0o770, 0o700)] {
        fs::set_permissions(&keys, Permissions::from_mode(made)).unwrap();
        let notify = folder.path().join("notify");
        let _ = fs::remove_file(&notify);
        let systemd = UnixDatagram::bind(&notify).unwrap();
        systemd.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _agent = Started::new(folder.path(), &notify);
        systemd.recv(&mut [0; 99]).unwrap();
        assert_eq!(mode(&keys), expected, "a folder of mode {made:o}");
        for secret in ["box.key", "enrol.toml"] {
            assert_eq!(mode(&keys.join(secret)), 0o600, "{secret}");
        }
    }
}

#[test]
fn a_folder_that_the_agent_makes_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), "keys = \"others\"\n[trial]\n");
    assert_eq!(mode(&folder.path().join("others")), 0o700, "{}", agent.log());
}
