//! `runtime bench --end-to-end FILE…`: from a sender's C-STORE to the archive, through the whole daemon.
//!
//! ```text
//! this process:  sender ─ C-STORE ─▶ the daemon, its spool in a temporary folder ─ C-STORE ─▶ sink
//! ```
//!
//! The daemon is `runtime serve`'s: `serve::run` with a configuration of its own. It notes the stages itself
//! ([`crate::spool::Stages`]); nothing here measures what the daemon does not do at work. One image at a time: the next
//! one leaves when the results of the one before have arrived.

mod measured;

use super::{machine, percentile};
use crate::{
    Output,
    config::Config,
    dicom::{
        scu::{Association, Object, Peer, Proposal},
        sink::{self, Taken},
    },
    instances::Numbered,
    print_json, serve, shutdown,
    spool::Stages,
};
use anyhow::{Context, Result, bail, ensure};
use bundle::Bundle;
use engine::{Engine, Options};
use measured::{File, Measured, Round, arrivals};
use results::{Kind, Record, Status};
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

/// What is measured, and on what.
#[derive(Clone, Debug)]
pub(super) struct EndToEnd {
    pub(super) bundle: PathBuf,
    pub(super) threads: u32,
    pub(super) files: Vec<PathBuf>,
    pub(super) rounds: u32,
    /// Where the spool's folder is made.
    pub(super) folder: Option<PathBuf>,
}

/// How long one image may take to the archive.
const PATIENCE: Duration = Duration::from_secs(60);
const NETWORK_RUNS: usize = 21;

impl EndToEnd {
    pub(super) fn run(self, output: Output) -> Result<()> {
        if !output.is_verbose() {
            log::set_max_level(log::LevelFilter::Warn); // a line an image would hide the table
        }
        let objects: Vec<Numbered> =
            self.files.iter().map(|path| Numbered::read(path)).collect::<Result<_>>()?;
        let network = self.network()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start threads")?;
        let files = runtime.block_on(self.through_the_daemon(&objects));
        runtime.shutdown_timeout(Duration::from_secs(5));
        let peak_rss_mb = machine::memory("VmHWM")?;
        let measured = Measured { files: files?, peak_rss_mb, ..network };
        match output.json {
            true => print_json(&measured),
            false => Ok(io::stdout().write_all(measured.table().as_bytes())?),
        }
    }

    /// The network alone, on the bundle's first golden image.
    fn network(&self) -> Result<Measured> {
        let bundle = Bundle::open(&self.bundle)?;
        let mut engine = Engine::open(&bundle, &Options::threads(self.threads as usize))
            .with_context(|| format!("{}", self.bundle.display()))?;
        let input = super::input(&bundle, &engine)?;
        let mut times = Vec::new();
        for _ in 0..NETWORK_RUNS {
            let began = Instant::now();
            engine.run(&input)?;
            times.push(super::milliseconds(began.elapsed()));
        }
        times.sort_by(f64::total_cmp);
        Ok(Measured {
            bundle: bundle.manifest.id.clone(),
            digest: bundle.digest(),
            threads: self.threads,
            isa: engine.isa().to_owned(),
            processor: machine::processor(),
            rounds: self.rounds,
            folder: self.place().display().to_string(),
            network_ms: percentile(&times, 0.5),
            files: Vec::new(),
            peak_rss_mb: 0.0,
        })
    }

    fn place(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Starts sink and daemon, sends everything, stops them.
    async fn through_the_daemon(&self, objects: &[Numbered]) -> Result<Vec<File>> {
        let place = self.place();
        let folder = tempfile::tempdir_in(&place)
            .with_context(|| format!("cannot make a folder in {}", place.display()))?;
        if machine::is_in_memory(&place)? {
            let place = place.display();
            log::warn!("{place} is in memory, where an fsync costs nothing; see --folder");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let archive = listener.local_addr()?.to_string();
        let (told, taken) = mpsc::unbounded_channel();
        tokio::spawn(sink::run(listener, told));
        let path = folder.path().join("runtime.toml");
        fs::write(&path, self.configuration(&archive, folder.path())?)?;
        let config = Config::read(&path)?;
        let (stop, stopped) = shutdown::channel();
        let (announce, announced) = oneshot::channel();
        let daemon = tokio::spawn(async move {
            serve::run(&path, config, stopped, |ready| {
                let _ = announce.send((ready.dicom.to_string(), ready.stages.clone()));
                Ok(())
            })
            .await
        });
        let Ok((address, stages)) = announced.await else {
            daemon.await.context("the daemon panicked")??;
            bail!("the daemon ended before it was ready");
        };
        let spool = folder.path().join("spool");
        let mut sender = Sender { address, stages, taken, spool, sequence: 0 };
        let measured = sender.everything(objects, self.rounds).await;
        stop.stop();
        daemon.await.context("the daemon panicked")??;
        measured
    }

    fn configuration(&self, archive: &str, folder: &Path) -> Result<String> {
        let bundle = fs::canonicalize(&self.bundle)
            .with_context(|| format!("cannot find {}", self.bundle.display()))?;
        let (spool, threads) = (folder.join("spool"), self.threads);
        Ok(format!(
            "[bundle]\npath = {bundle:?}\nallow_unsigned = true\n\
             [dicom]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [spool]\npath = {spool:?}\n[worker]\nthreads = {threads}\n\
             [[destinations]]\nname = \"sink\"\nae_title = \"SINK\"\naddress = {archive:?}\ncommit = false\n"
        ))
    }
}

/// How long a header takes to read; reading the image begins with that.
fn parse_ms(bytes: &[u8]) -> Result<f64> {
    let began = Instant::now();
    radiograph::header(bytes)?;
    Ok(super::milliseconds(began.elapsed()))
}

/// The other end of the daemon.
struct Sender {
    address: String,
    stages: Arc<Stages>,
    taken: mpsc::UnboundedReceiver<Taken>,
    spool: PathBuf,
    /// Of the next image.
    sequence: u64,
}

impl Sender {
    async fn everything(&mut self, objects: &[Numbered], rounds: u32) -> Result<Vec<File>> {
        let mut files: Vec<File> = objects.iter().map(File::of).collect();
        // The first round warms up. The files take turns.
        for round in 0..=rounds {
            for (object, file) in objects.iter().zip(&mut files) {
                let one = self.one(object).await;
                let one = one.with_context(|| format!("{}", object.path.display()))?;
                if round > 0 {
                    file.rounds.push(one);
                }
            }
        }
        Ok(files)
    }

    /// Sends one image and waits for its results.
    async fn one(&mut self, object: &Numbered) -> Result<Round> {
        let sequence = self.sequence;
        let instance = format!("2.25.{}", sequence + 1);
        let dataset = object.data_set(&instance)?;
        let parse_ms = parse_ms(&object.bytes)?;
        let peer = Peer {
            calling: "SENDER".into(),
            called: "CXR-EDGE".into(),
            address: self.address.clone(),
            tls: None,
            timeout: PATIENCE,
        };
        let syntaxes = object.syntaxes;
        let mut line =
            Association::open(&peer, &[Proposal { class: object.class, syntaxes }]).await?;
        let sent =
            Object { class: object.class, instance: &instance, dataset: &dataset, urgent: false };
        let response = line.store(&sent).await?;
        ensure!(response.status == 0, "C-STORE was answered with status {:04X}", response.status);
        line.release().await;
        self.sequence += 1;
        let taken = self.results(sequence).await?;
        let record = self.record(sequence)?;
        let way = self.stages.of(sequence).context("the daemon knows nothing of the image")?;
        Round::of(&way, &record, &taken, parse_ms)
    }

    /// Waits until every object of this image's result is in the archive.
    async fn results(&mut self, sequence: u64) -> Result<Vec<(Kind, Instant)>> {
        let mut arrived = Vec::new();
        let mut expected = 1; // the SR; behind it the result is there to be read
        while arrived.len() < expected {
            let next = timeout(PATIENCE, self.taken.recv()).await;
            let taken = next.context("no result arrived")?.context("the archive has ended")?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.sop_class_uid() == taken.class);
            arrived.push((kind.context("an object of a strange class arrived")?, taken.at));
            expected = arrivals(&self.record(sequence)?);
        }
        Ok(arrived)
    }

    fn record(&self, sequence: u64) -> Result<Record> {
        let prefix = format!("{sequence:012}_");
        for file in fs::read_dir(self.spool.join("results"))? {
            let path = file?.path();
            let is_it = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
            if is_it {
                let record: Record = serde_json::from_slice(&fs::read(&path)?)?;
                ensure!(
                    record.status == Status::Analysed || !record.parked,
                    "parked: {}",
                    record.reason.unwrap_or_default()
                );
                return Ok(record);
            }
        }
        bail!("image {sequence} has no result")
    }
}
