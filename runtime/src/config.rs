//! `runtime.toml`: everything that `runtime serve` can be told. `runtime/runtime.toml` is a commented example.

mod destinations;
mod exposures;
mod pacs;
mod shadow;
mod spool;

#[cfg(test)]
pub(crate) use destinations::destinations_of;
pub(crate) use destinations::{Credentials, Destination, Target, When};
pub(crate) use exposures::ExposuresConfig;
pub(crate) use pacs::{Archive, Pacs};
pub(crate) use shadow::ShadowConfig;
pub(crate) use spool::{SpoolConfig, WorkerConfig};

use crate::tls;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) bundle: BundleConfig,
    pub(crate) dicom: DicomConfig,
    pub(crate) http: HttpConfig,
    pub(crate) spool: SpoolConfig,
    #[serde(default)]
    pub(crate) worker: WorkerConfig,
    /// Archives that get the results; none: they stay here.
    #[serde(default)]
    pub(crate) destinations: Vec<Destination>,
    /// The X-ray room whose exposures are watched; none: they are not.
    pub(crate) exposures: Option<ExposuresConfig>,
    /// A second bundle that looks on; none: only one does.
    pub(crate) shadow: Option<ShadowConfig>,
}

/// Which bundle answers. Exactly one of `path` and `slots`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleConfig {
    pub(crate) path: Option<PathBuf>,
    /// Folder of `firmware-host agent`: boot record and two slots.
    pub(crate) slots: Option<PathBuf>,
    /// Hexadecimal ed25519 keys, or files that hold one.
    #[serde(default)]
    pub(crate) trusted_keys: Vec<String>,
    /// Signed document of keys, trusted and revoked, that `firmware-host agent` keeps; read anew at every look.
    pub(crate) keyring: Option<PathBuf>,
    /// Also run bundles that nobody we trust has signed.
    #[serde(default)]
    pub(crate) allow_unsigned: bool,
    /// How often the active slot is looked up, seconds.
    #[serde(default = "seconds::<1>", deserialize_with = "duration")]
    pub(crate) poll_seconds: Duration,
    /// How often the golden vectors are reproduced again.
    #[serde(default = "seconds::<3600>", deserialize_with = "duration")]
    pub(crate) test_seconds: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DicomConfig {
    pub(crate) listen: SocketAddr,
    #[serde(default = "default_ae_title")]
    pub(crate) ae_title: String,
    /// Refuse requests for another AE title than ours.
    #[serde(default = "yes")]
    pub(crate) check_called_ae_title: bool,
    /// Who may associate; empty: whoever is on this machine.
    #[serde(default)]
    pub(crate) peers: Vec<Peer>,
    /// Connections are under TLS; none: plain.
    pub(crate) tls: Option<tls::ServerTls>,
    #[serde(default = "bytes::<{ 64 << 10 }, u32>")]
    pub(crate) max_pdu_bytes: u32,
    #[serde(default = "bytes::<{ 512 << 20 }, u64>")]
    pub(crate) max_object_bytes: u64,
    /// Associations at a time, in all and from one address.
    #[serde(default = "bytes::<32, usize>")]
    pub(crate) max_associations: usize,
    #[serde(default = "bytes::<16, usize>")]
    pub(crate) max_associations_per_peer: usize,
    /// Connections that have not associated yet; beyond that the oldest one is cut off.
    #[serde(default = "bytes::<64, usize>")]
    pub(crate) max_pending: usize,
    /// From connecting to a complete A-ASSOCIATE-RQ.
    #[serde(default = "seconds::<5>", deserialize_with = "duration")]
    pub(crate) associate_seconds: Duration,
    /// One PDU in the middle of a message; also any write.
    #[serde(default = "seconds::<10>", deserialize_with = "duration")]
    pub(crate) pdu_seconds: Duration,
    /// Between two messages.
    #[serde(default = "seconds::<60>", deserialize_with = "duration")]
    pub(crate) idle_seconds: Duration,
    /// One object, first byte to last.
    #[serde(default = "seconds::<120>", deserialize_with = "duration")]
    pub(crate) object_seconds: Duration,
    /// A whole association.
    #[serde(default = "seconds::<3600>", deserialize_with = "duration")]
    pub(crate) association_seconds: Duration,
}

/// A modality or archive that may send.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) ae_title: String,
    /// `192.168.1.20` or `192.168.1.0/24`; none: from anywhere.
    pub(crate) address: Option<Network>,
    /// What it must show under TLS; none: any certificate that `client_ca` has signed.
    pub(crate) certificate: Option<tls::Wanted>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpConfig {
    pub(crate) listen: SocketAddr,
    /// Connections are under TLS; none: plain.
    pub(crate) tls: Option<tls::ServerTls>,
    /// Names of this box, beside those of loopback and the address that is reached.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Who may log in, see `runtime user`.
    pub(crate) users: Option<PathBuf>,
    /// Whoever is on this machine may look without logging in.
    #[serde(default = "yes")]
    pub(crate) open_on_loopback: bool,
    /// Passwords and findings may cross the network in the clear.
    #[serde(default)]
    pub(crate) allow_plain: bool,
    /// Without a request for so long, somebody is logged out.
    #[serde(default = "seconds::<3600>", deserialize_with = "duration")]
    pub(crate) session_seconds: Duration,
    /// Connections at a time; beyond that an idle one gives way.
    #[serde(default = "bytes::<64, usize>")]
    pub(crate) max_connections: usize,
    /// From connecting, or from the last answer, to the complete head of a request.
    #[serde(default = "seconds::<15>", deserialize_with = "duration")]
    pub(crate) header_seconds: Duration,
    /// From there to the beginning of the answer.
    #[serde(default = "seconds::<30>", deserialize_with = "duration")]
    pub(crate) answer_seconds: Duration,
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut config = Self::parse(path)?;
        let mistakes = config.mistakes();
        ensure!(mistakes.is_empty(), "{}: {}", path.display(), mistakes.join("; "));
        destinations::resolve(&mut config.destinations)?;
        Ok(config)
    }

    /// As it is written, with [`Self::mistakes`] in it.
    pub(crate) fn parse(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: Self = toml::from_str(&text)
            .with_context(|| format!("{} is no configuration", path.display()))?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Relative paths are relative to the configuration file.
    fn resolve(&mut self, base: &Path) {
        let paths = [
            self.bundle.path.as_mut(),
            self.bundle.slots.as_mut(),
            self.bundle.keyring.as_mut(),
            Some(&mut self.spool.path),
            Some(&mut self.worker.sysroot),
            self.http.users.as_mut(),
            self.exposures.as_mut().map(|exposures| &mut exposures.folder),
            self.shadow.as_mut().and_then(|shadow| shadow.path.as_mut()),
        ];
        let servers = self.dicom.tls.iter_mut().chain(self.http.tls.as_mut());
        let tls = servers.flat_map(tls::ServerTls::paths);
        let out = self.destinations.iter_mut().flat_map(Destination::paths);
        for path in paths.into_iter().flatten().chain(tls).chain(out) {
            *path = base.join(&*path);
        }
        for key in &mut self.bundle.trusted_keys {
            if !is_hex_key(key) {
                *key = base.join(&*key).to_string_lossy().into_owned();
            }
        }
    }

    /// Every file with certificates that is named somewhere.
    pub(crate) fn certificates(&self) -> Vec<tls::expiry::Configured> {
        let dicom = self.dicom.tls.iter().flat_map(|tls| tls.certificates("dicom.tls"));
        let http = self.http.tls.iter().flat_map(|tls| tls.certificates("http.tls"));
        let out = self.destinations.iter().flat_map(Destination::certificates);
        dicom.chain(http).chain(out).collect()
    }

    /// Everything that contradicts itself or is out of range.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut expect = |right: bool, what: String| {
            if !right {
                found.push(what);
            }
        };
        expect(
            self.bundle.path.is_some() != self.bundle.slots.is_some(),
            "[bundle] needs exactly one of `path` and `slots`".into(),
        );
        let counts = [
            ("dicom.max_associations", self.dicom.max_associations),
            ("dicom.max_associations_per_peer", self.dicom.max_associations_per_peer),
            ("dicom.max_pending", self.dicom.max_pending),
            ("http.max_connections", self.http.max_connections),
        ];
        for (name, count) in counts {
            let what = format!("{name} is {count}, expected 1 to 10000");
            expect((1..=10_000).contains(&count), what);
        }
        found.extend(self.spool.mistakes());
        found.extend(self.worker.mistakes());
        found.extend(self.shadow.iter().flat_map(|shadow| shadow.mistakes(&self.bundle)));
        let destinations = destinations::resolve(&mut self.destinations.clone());
        found.extend(destinations.err().map(|error| format!("{error:#}")));
        found.extend(self.dicom.mistakes());
        found.extend(self.http.mistakes());
        found
    }
}

impl DicomConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        for title in self.peers.iter().map(|peer| &peer.ae_title).chain([&self.ae_title]) {
            if !is_ae_title(title) {
                found.push(format!(
                    "AE title {title:?}: expected 1 to 16 printable characters without blanks at the ends"
                ));
            }
        }
        let proves = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        for peer in self.peers.iter().filter(|peer| peer.certificate.is_some() && !proves) {
            found.push(format!(
                "peer {:?} is bound to a certificate, which nobody shows without [dicom.tls] client_ca",
                peer.ae_title
            ));
        }
        let pdu = self.max_pdu_bytes;
        if !(4096..=1 << 20).contains(&pdu) {
            found.push(format!("dicom.max_pdu_bytes is {pdu}, expected 4096 to 1048576"));
        }
        found
    }
}

impl HttpConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        for host in self.hosts.iter().filter(|host| host.is_empty() || !host.bytes().all(known)) {
            found.push(format!(
                "http.hosts: {host:?} is no name, expected one such as box.hospital.example"
            ));
        }
        let (listen, users) = (self.listen, self.users.is_some());
        if !self.open_on_loopback && !users {
            found.push(
                "nobody may look: http.open_on_loopback is false and there are no `users`".into(),
            );
        }
        let outside = !listen.ip().is_loopback();
        if outside && !users {
            found.push(format!(
                "http.listen is {listen}, which others reach: that needs `users`, see `runtime user add`"
            ));
        }
        if outside && self.tls.is_none() && !self.allow_plain {
            found.push(format!(
                "http.listen is {listen}, which others reach: that needs [http.tls], or \
                 `allow_plain = true` where passwords and findings may be read on the way"
            ));
        }
        found
    }
}

/// Whether a text may be an AE title: 1 to 16 printable characters, no blanks at the ends.
pub(crate) fn is_ae_title(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\')
}

pub(crate) fn is_hex_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// An address or a block of them, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Result<Self> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().with_context(|| format!("{text:?} is no address"))?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().with_context(|| format!("{text:?} has no prefix length"))?,
        };
        if bits > most {
            bail!("{text:?}: a prefix has at most {most} bits");
        }
        Ok(Self { base, bits })
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let same = |a: u128, b: u128, width: u32| {
            u32::from(self.bits) == 0 || (a ^ b) >> (width - u32::from(self.bits)) == 0
        };
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same(base.to_bits().into(), address.to_bits().into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => same(base.to_bits(), address.to_bits(), 128),
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    if !(0.01..=1e6).contains(&seconds) {
        return Err(D::Error::custom(format!("{seconds} s, expected 0.01 to 1000000")));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn seconds<const N: u64>() -> Duration {
    Duration::from_secs(N)
}

fn bytes<const N: u64, T: TryFrom<u64>>() -> T {
    T::try_from(N).unwrap_or_else(|_| unreachable!("{N} fits"))
}

fn default_ae_title() -> String {
    "CXR-EDGE".into()
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtime.toml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_example_is_valid_and_its_paths_are_relative_to_it() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime.toml");
        let config = Config::read(&example).unwrap();
        assert!(config.spool.path.starts_with(env!("CARGO_MANIFEST_DIR")));
    }

    #[test]
    fn mistakes_are_named() {
        let base = "[bundle]\npath = \"b\"\n[dicom]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n[spool]\npath = \"s\"\n";
        let missing = Config::read(Path::new("/nonexistent/runtime.toml")).unwrap_err();
        assert!(missing.to_string().contains("cannot read /nonexistent/runtime.toml"));
        for (text, expected) in [
            (base.replace("path = \"b\"", ""), "exactly one of"),
            (base.replace("[http]", "max_pdu_bytes = 10\n[http]"), "max_pdu_bytes is 10"),
            (
                base.replace("[http]", "ae_title = \"A TITLE MUCH TOO LONG\"\n[http]"),
                "1 to 16 printable",
            ),
            (base.replace("[http]", "max_pdu = 10\n[http]"), "unknown field"),
            (base.replace("[spool]", "hosts = [\"a b\"]\n[spool]"), "\"a b\" is no name"),
            (
                base.replace("[http]\nlisten = \"127.0.0.1", "[http]\nlisten = \"0.0.0.0"),
                "needs `users`",
            ),
            (
                base.replace(
                    "[http]\nlisten = \"127.0.0.1",
                    "[http]\nusers = \"u\"\nlisten = \"[::]",
                ),
                "needs [http.tls]",
            ),
            (base.replace("[http]", "idle_seconds = 0.0\n[http]"), "expected 0.01"),
            (format!("{base}max_disk_share = 1.5\n"), "max_disk_share is 1.5"),
            (format!("{base}keep_days = 0\n"), "0 days, expected"),
        ] {
            let (_folder, path) = write(&text);
            let error = format!("{:#}", Config::read(&path).unwrap_err());
            assert!(error.contains(expected) && error.contains("runtime.toml"), "{error}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let inside = |network: &str, address: &str| {
            Network::parse(network).unwrap().contains(address.parse().unwrap())
        };
        assert!(inside("10.0.0.0/8", "10.200.1.1"));
        assert!(inside("10.0.0.1", "10.0.0.1"));
        assert!(inside("0.0.0.0/0", "1.2.3.4"));
        assert!(inside("fd00::/8", "fd12::1"));
        assert!(inside("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(!inside("fd00::/8", "10.0.0.1"));
        assert!(Network::parse("10.0.0.0/33").is_err());
        assert!(Network::parse("nonsense").is_err());
    }
}
