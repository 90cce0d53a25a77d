//! `agent.toml`; `agent.example.toml` explains every line.

use super::check::Policy;
use super::durations::duration;
use super::fleet;
use crate::link::Thrown;
use anyhow::{Context, Result, ensure};
use keyring::VerifyingKey;
use protocol::Terms;
use serde::Deserialize;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the agent does, checked. Paths in the file are relative to its folder.
#[derive(Clone, Debug)]
pub struct Config {
    pub slots: PathBuf,
    pub listen: Listen,
    /// Folder of the box's key, and of those that may do something.
    pub keys: PathBuf,
    /// Who may sign the first keyring.
    pub roots: Vec<VerifyingKey>,
    pub policy: Policy,
    pub activate: Activate,
    pub trial: Trial,
    /// The update server to ask for orders.
    pub fleet: Option<fleet::Fleet>,
    /// Folder shared with the daemon, where exposures are noted; none: this box serves no X-ray room.
    pub exposures: Option<PathBuf>,
    /// Name of this box; none: made from its machine id.
    pub device: Option<String>,
    /// Where `/proc`, `/sys` and `/etc` are looked for.
    pub sysroot: PathBuf,
    /// What goes wrong with the answers of a simulated box. No file says so.
    pub thrown: Option<Thrown>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// `address:port`; port 0 takes a free one.
    pub tcp: Option<String>,
    /// Whether `discover` finds this box, by UDP on the same port.
    #[serde(default = "yes")]
    pub discoverable: bool,
    /// A serial line.
    pub serial: Option<PathBuf>,
    /// Its speed, bits a second.
    #[serde(default = "usual_baud")]
    pub baud: u32,
    /// Where a link to a new pseudo-terminal is made.
    pub pty: Option<PathBuf>,
    /// No TLS on the serial line and the pty, and no more than the role `report`.
    #[serde(default)]
    pub plain: bool,
    /// Who may connect over TCP.
    #[serde(default = "loopback")]
    pub peers: Vec<IpAddr>,
    /// Connections at a time.
    #[serde(default = "eight")]
    pub connections: usize,
    /// A silent connection is closed after this time.
    #[serde(default = "one_minute", deserialize_with = "duration")]
    pub idle: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    /// Command that must succeed before a bundle may run; `{bundle}` is its file.
    pub selftest: Vec<String>,
    #[serde(default = "two_minutes", deserialize_with = "duration")]
    pub selftest_timeout: Duration,
    /// Command run after another bundle became the one to run. The daemon also watches the boot record.
    #[serde(default)]
    pub notify: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// A trial without a confirm ends after this time.
    #[serde(default = "ten_minutes", deserialize_with = "duration")]
    pub timeout: Duration,
    /// So often may the box or the daemon start again during a trial.
    #[serde(default = "three")]
    pub attempts: u8,
    /// Who confirms.
    #[serde(default)]
    pub confirm: Confirm,
    /// So long must the daemon have run the bundle.
    #[serde(default = "two_minutes", deserialize_with = "duration")]
    pub soak: Duration,
    /// So many images must it have answered.
    #[serde(default)]
    pub images: u64,
    /// An older word of the daemon is no proof.
    #[serde(default = "half_a_minute", deserialize_with = "duration")]
    pub silence: Duration,
    /// No sensor may be hotter, degrees Celsius.
    pub max_celsius: Option<f32>,
    /// Bytes that must be free where the slots are.
    pub min_free: Option<u64>,
    /// Command that must succeed during a trial.
    #[serde(default)]
    pub health: Vec<String>,
    #[serde(default = "ten_seconds", deserialize_with = "duration")]
    pub health_every: Duration,
    /// So many failures in a row end the trial.
    #[serde(default = "three")]
    pub health_failures: u8,
}

/// Who ends a trial well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Whoever asks for it, once the bundle is proven.
    #[default]
    Manual,
    /// The agent, as soon as the bundle is proven.
    Automatic,
}

impl Trial {
    /// What a proof must show.
    pub(super) fn terms(&self) -> Terms {
        Terms {
            fresh: self.silence.as_secs(),
            soak: self.soak.as_secs(),
            images: self.images,
            max_celsius: self.max_celsius,
            min_free: self.min_free,
        }
    }
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    slots: PathBuf,
    device: Option<String>,
    #[serde(default = "root")]
    sysroot: PathBuf,
    listen: Listen,
    #[serde(default = "keys")]
    keys: PathBuf,
    /// Files with a public key each, PEM or 64 hexadecimal digits.
    #[serde(default)]
    roots: Vec<PathBuf>,
    bundles: Bundles,
    activate: Activate,
    #[serde(default = "usual_trial")]
    trial: Trial,
    fleet: Option<fleet::Table>,
    exposures: Option<Exposures>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exposures {
    folder: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundles {
    /// Files with a public key each, PEM or 64 hexadecimal digits.
    #[serde(default)]
    trusted_keys: Vec<PathBuf>,
    #[serde(default)]
    allow_unsigned: bool,
    #[serde(default)]
    allow_downgrade: bool,
    /// Bytes.
    #[serde(default = "half_a_gigabyte")]
    limit: u64,
}

impl Config {
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).with_context(|| path.display().to_string())
    }

    fn parse(text: &str, folder: &Path) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |at| text[..at.start].matches('\n').count() + 1);
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        let Bundles { trusted_keys, allow_unsigned, allow_downgrade, limit } = file.bundles;
        let read_all = |paths: &[PathBuf]| {
            let keys = paths.iter().map(|path| keyring::read_public_key(&folder.join(path)));
            keys.collect::<Result<Vec<_>, _>>()
        };
        let (trusted, roots) = (read_all(&trusted_keys)?, read_all(&file.roots)?);
        ensure!(
            allow_unsigned || !trusted.is_empty() || !roots.is_empty(),
            "[bundles] names no trusted_keys, and there are no roots of a keyring: no bundle could ever be accepted (allow_unsigned = true accepts all)"
        );
        ensure!(
            !file.activate.selftest.is_empty(),
            "[activate] selftest is empty, expected a command"
        );
        let Listen { tcp, serial, pty, plain, .. } = &file.listen;
        ensure!(
            !plain || serial.is_some() || pty.is_some(),
            "[listen] plain is for a serial line or a pty, and there is neither; TCP always has TLS"
        );
        ensure!(
            tcp.is_some() || serial.is_some() || pty.is_some(),
            "[listen] names nothing to listen on, expected tcp, serial or pty"
        );
        let Trial { timeout, soak, .. } = file.trial;
        ensure!(
            soak < timeout,
            "[trial] soak is {}, expected less than the timeout, {}",
            humantime::format_duration(soak),
            humantime::format_duration(timeout)
        );
        Ok(Self {
            slots: folder.join(file.slots),
            listen: Listen {
                pty: pty.as_ref().map(|path| folder.join(path)),
                ..file.listen.clone()
            },
            keys: folder.join(file.keys),
            roots,
            policy: Policy { trusted, allow_unsigned, keep_floor: !allow_downgrade, limit },
            activate: file.activate,
            trial: file.trial,
            fleet: file.fleet.map(|table| table.checked(folder).context("[fleet]")).transpose()?,
            exposures: file.exposures.map(|exposures| folder.join(exposures.folder)),
            device: file.device,
            sysroot: folder.join(file.sysroot),
            thrown: None,
        })
    }
}

fn loopback() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

fn keys() -> PathBuf {
    "keys".into()
}

fn root() -> PathBuf {
    "/".into()
}

/// Without a table `[trial]`.
fn usual_trial() -> Trial {
    toml::from_str("").expect("every setting of a trial has a default")
}

const fn yes() -> bool {
    true
}

const fn usual_baud() -> u32 {
    115_200
}

const fn half_a_gigabyte() -> u64 {
    512 << 20
}

const fn eight() -> usize {
    8
}

const fn three() -> u8 {
    3
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

const fn one_minute() -> Duration {
    Duration::from_secs(60)
}

const fn two_minutes() -> Duration {
    Duration::from_secs(120)
}

const fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration_and_explains_every_setting() {
        let example = include_str!("../../agent.example.toml");
        let folder = tempfile::tempdir().unwrap();
        let key = bundle::SigningKey::from_bytes(&[7; 32]).verifying_key();
        for name in ["site.pub", "root.pub"] {
            fs::write(folder.path().join(name), hex::encode(key.as_bytes())).unwrap();
        }
        let config = Config::parse(example, folder.path()).unwrap();
        assert_eq!(config.policy.trusted, [key]);
        assert_eq!(config.trial.timeout, ten_minutes());
        assert_eq!(config.sysroot, root());
        // What is commented out is right, too.
        let (_, fleet) = example.split_once("# [fleet]\n").unwrap();
        let settings = fleet.lines().filter(|line| line.contains(" = ") || line.starts_with("# ["));
        let settings: Vec<_> = settings.map(|line| &line[2..]).collect();
        let table = settings.join("\n").replace("gateway_token", "# gateway_token");
        let table = table.replace("[fleet.headers]", "[headers]");
        fs::write(folder.path().join("target.token"), "token").unwrap();
        let table: fleet::Table = toml::from_str(&table).unwrap();
        assert_eq!(table.checked(folder.path()).unwrap().poll, Duration::from_secs(300));
    }
}
