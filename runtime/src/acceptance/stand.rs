//! The daemon that is tested: as the site configures it, but for where it listens, where it keeps images, and whom it
//! tells.

use crate::{
    analysis::Loaded,
    bench::machine,
    config::{Config, HttpConfig, SpoolConfig},
    model::{self, About},
    profile::Compute,
    serve::Trial,
};
use ::acceptance::{
    AcceptanceError, Bundle, Conditions, Estimate, Metric, OperatingPoint, Plan, sha256,
};
use anyhow::{Context, Result, ensure};
use bundle::Manifest;
use graph::Task;
use kernels::Isa;
use results::Record;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// When it is, and how busy the machine.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    time: String,
    load: Option<String>,
}

impl Moment {
    pub(super) fn now() -> Self {
        let load = fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| Some(text.split_whitespace().next()?.to_owned()));
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self { time, load }
    }
}

/// Everything that a test needs to start the daemon.
#[derive(Debug)]
pub(super) struct Stand {
    config: Config,
    /// SHA-256 of the configuration's file.
    configuration: Option<String>,
    manifest: Manifest,
    /// That have a probability.
    findings: Vec<String>,
    digest: String,
    /// The bundle beside the daemon, for what it says of a file directly.
    loaded: Loaded,
    /// Removed at the end, with all images in it.
    folder: tempfile::TempDir,
}

/// Answers that are not purged yet, at least.
const MOST_AT_ONCE: usize = 64;
/// Who sends.
const CALLING: &str = "CXR-ACCEPT";

impl Stand {
    /// Fails if the bundle knows none of the plan's findings.
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        let (config, configuration) = configured(plan)?;
        let file = model::active(&config.bundle)?.context("no bundle was activated yet")?;
        let threads = Compute::new(&config.worker).threads;
        // As the daemon would: whoever signed it must be trusted, and its golden vectors come out right.
        let (loaded, About { digest, .. }) = model::load(&config.bundle, &threads, &file)?;
        let bundle = ::bundle::Bundle::open(&file.path)?;
        let path = file.path;
        ensure!(bundle.digest() == digest, "{}: was replaced just now", path.display());
        let manifest = bundle.manifest;
        let findings = findings(&manifest, loaded.zero_shot());
        check_findings(plan, &manifest, &findings)?;
        let place = plan.test.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::tempdir_in(&place)
            .with_context(|| format!("cannot make a folder in {}", place.display()))?;
        let config = apart(config, path, folder.path());
        Ok(Self { config, configuration, manifest, findings, digest, loaded, folder })
    }

    /// Where images may lie meanwhile: nobody else's, and removed at the end.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the bundle says of a file without the daemon. By the way that a record takes, through JSON.
    pub(super) fn direct(&self, bytes: &[u8]) -> Result<Record> {
        let record = self.loaded.analyse("direct", bytes)?.report;
        Ok(serde_json::from_slice(&serde_json::to_vec(&record)?)?)
    }

    pub(super) async fn start(&self) -> Result<Trial> {
        // Nothing is there to be read again: a SIGHUP changes nothing.
        let path = self.folder.path().join("runtime.toml");
        let trial = Trial::start(&path, &self.config, CALLING).await?;
        match &trial.bundle {
            Ok(about) => ensure!(
                about.digest == self.digest,
                "bundle {} answers, expected {}: it was replaced just now",
                about.digest,
                self.digest
            ),
            Err(why) => anyhow::bail!("no bundle answers: {why}"),
        }
        Ok(trial)
    }

    pub(super) fn conditions(
        &self,
        [began, ended]: [Moment; 2],
        plan: String,
        truth: String,
    ) -> Result<Conditions> {
        let threads = Compute::new(&self.config.worker).threads.count;
        Ok(Conditions {
            program: format!("runtime {}", env!("CARGO_PKG_VERSION")),
            began: began.time,
            ended: ended.time,
            processor: machine::processor(),
            instructions: Isa::from_env()?.name().to_owned(),
            threads: u32::try_from(threads).unwrap_or(u32::MAX),
            load: [began.load, ended.load],
            spool_in_memory: machine::is_in_memory(self.folder.path())?,
            plan,
            configuration: self.configuration.clone(),
            truth,
        })
    }

    /// What the manifest says.
    pub(super) fn bundle(&self, signed_by: &Option<String>) -> Bundle {
        let manifest = &self.manifest;
        let points = manifest.operating_points.iter().map(|point| OperatingPoint {
            name: point.name.clone(),
            threshold: point.threshold,
            chosen: point.chosen.clone(),
        });
        let metrics = manifest.metrics.iter().map(|metric| Metric {
            metric: metric.metric.clone(),
            data: metric.data.clone(),
            split: metric.split.clone(),
            estimate: Estimate {
                value: metric.value,
                low: metric.interval[0],
                high: metric.interval[1],
            },
            n: metric.n,
            arithmetic: metric.arithmetic.clone(),
        });
        Bundle {
            id: manifest.id.clone(),
            version: manifest.version.clone(),
            digest: self.digest.clone(),
            signed_by: signed_by.clone(),
            intended_use: manifest.intended_use.clone(),
            operating_points: points.collect(),
            metrics: metrics.collect(),
            findings: self.findings.clone(),
        }
    }
}

/// As the site's file says, or as the defaults are; and the digest of the file.
fn configured(plan: &Plan) -> Result<(Config, Option<String>)> {
    let daemon = &plan.daemon;
    if let Some(path) = &daemon.config {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        return Ok((Config::read(path)?, Some(sha256(&bytes))));
    }
    let path = daemon.bundle.as_ref().context("the plan names neither `config` nor `bundle`")?;
    let (keys, unsigned) = (&daemon.trusted_keys, daemon.allow_unsigned);
    let text = format!(
        "[bundle]\npath = {path:?}\ntrusted_keys = {keys:?}\nallow_unsigned = {unsigned}\n\
         [dicom]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n[spool]\npath = \"spool\"\n"
    );
    Ok((toml::from_str(&text).context("our own configuration")?, None))
}

/// The same daemon where it meets nobody: images, results and connections of a test are its own.
fn apart(config: Config, bundle: PathBuf, folder: &Path) -> Config {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let spool = SpoolConfig {
        path: folder.join("spool"),
        // An answer must still be there when it is looked for.
        keep_answered: config.spool.keep_answered.max(MOST_AT_ONCE),
        keep_days: None,
        ..config.spool
    };
    let mut apart = Config {
        spool,
        destinations: Vec::new(),
        exposures: None,
        shadow: None,
        http: HttpConfig {
            listen: loopback,
            tls: None,
            users: None,
            open_on_loopback: true,
            ..config.http
        },
        ..config
    };
    (apart.bundle.path, apart.bundle.slots) = (Some(bundle), None);
    (apart.dicom.listen, apart.dicom.tls) = (loopback, None);
    apart.dicom.peers.clear();
    apart
}

/// Findings that have a probability: trained ones, and those by phrases.
fn findings(manifest: &Manifest, zero_shot: Vec<String>) -> Vec<String> {
    let trained = manifest.head(Task::Classification).map_or(&[][..], |head| &head.labels);
    trained.iter().cloned().chain(zero_shot).collect()
}

fn check_findings(
    plan: &Plan,
    manifest: &Manifest,
    known: &[String],
) -> Result<(), AcceptanceError> {
    let bundle = format!("{} {}", manifest.id, manifest.version);
    if known.is_empty() {
        let heads = manifest.model.heads.iter();
        let each = heads.map(|head| format!("{} ({})", head.task, head.labels.join(", ")));
        let all = each.collect::<Vec<_>>().join(" and ");
        let finds = match all.is_empty() {
            true => "finds nothing".to_owned(),
            false => format!("does {all} alone"),
        };
        return Err(AcceptanceError::NoFindings { bundle, finds });
    }
    match plan.findings.iter().find(|finding| !known.contains(&finding.name)) {
        None => Ok(()),
        Some(finding) => Err(AcceptanceError::UnknownFinding {
            bundle,
            wanted: finding.name.clone(),
            known: known.join(", "),
        }),
    }
}
