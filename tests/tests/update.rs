//! Another bundle comes to a box that is at work: pushed over a line and over TLS while X-ray machines send. Every study
//! is answered once, by the old bundle or by the new one, and a bundle that is not right is gone by itself.

use anyhow::{Context, Result, ensure};
use bundle::{Bundle, SigningKey, section};
use e2e::edge::{Edge, More};
use e2e::http;
use e2e::radiographs::{self, Syntax};
use e2e::service::until;
use e2e::tool::{root, runtime};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// X-ray machines that send at a time.
const SENDERS: usize = 3;

/// A bundle and what it says of the radiograph that everybody sends.
struct Release {
    path: PathBuf,
    digest: Value,
    masks: Value,
}

/// The lungs' network under another version and other thresholds, so that its masks are others; `honest`, or with one
/// bit of a golden vector wrong.
fn release(folder: &Path, version: &str, threshold: f32, honest: bool) -> Result<PathBuf> {
    let found = Bundle::open(&root().join("runtime/examples/chest-lungs.bundle"))?;
    let mut manifest = found.manifest.clone();
    manifest.version = version.into();
    manifest.operating_points.iter_mut().for_each(|point| point.threshold = threshold);
    let names: Vec<String> = manifest.sections.iter().map(|entry| entry.name.clone()).collect();
    let mut sections = Vec::new();
    for name in names {
        let mut bytes = found.section(&name).context("a section of its own manifest")?.to_vec();
        if name == section::GOLDEN && !honest {
            let mut golden = found.golden()?;
            golden.vectors[0].outputs[0].bytes[0] ^= 1;
            bytes = golden.to_bytes()?;
        }
        sections.push((name, bytes));
    }
    let path = folder.join(format!("chest-{version}.bundle"));
    fs::write(&path, Bundle::seal(manifest, sections, Some(&key()))?.to_bytes()?)?;
    Ok(path)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

impl Release {
    fn new(folder: &Path, version: &str, threshold: f32, chest: &Path) -> Result<Self> {
        let path = release(folder, version, threshold, true)?;
        let said = runtime().arg("analyze").arg(chest).arg("--bundle").arg(&path).json()?.remove(0);
        ensure!(said["status"] == "analysed", "{said}");
        Ok(Self { path, digest: said["bundle"]["digest"].clone(), masks: said["masks"].clone() })
    }
}

/// X-ray machines, each with the next study as soon as its last one was answered; what was sent and acknowledged when
/// `work` is done.
fn under_load<T>(
    edge: &Edge,
    chest: &Path,
    work: impl FnOnce(&AtomicUsize) -> Result<T>,
) -> Result<(T, BTreeSet<String>)> {
    let folder = tempfile::tempdir()?;
    let chest = fs::read(chest)?;
    let (next, answered) = (AtomicUsize::new(1), AtomicUsize::new(0));
    let (stop, sent) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let machine = |_| -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let file = folder.path().join(format!("{number}.dcm"));
            fs::write(&file, radiographs::study(&chest, number))?;
            edge.send(&file, Syntax::Uncompressed)?;
            fs::remove_file(&file)?;
            sent.lock().expect("nobody panics with it").insert(radiographs::study_uid(number));
            edge.findings(&radiographs::study_uid(number))?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let done = thread::scope(|scope| {
        let machines: Vec<_> = (0..SENDERS).map(|n| scope.spawn(move || machine(n))).collect();
        let done = work(&answered);
        stop.store(true, Ordering::Relaxed);
        for machine in machines {
            machine.join().expect("a sender panicked")?;
        }
        done
    })?;
    Ok((done, sent.into_inner().expect("nobody panics with it")))
}

/// Waits until so many more studies were answered.
fn answers(answered: &AtomicUsize, more: usize) -> Result<()> {
    let wanted = answered.load(Ordering::Relaxed) + more;
    until("the studies are answered", || {
        Ok((answered.load(Ordering::Relaxed) >= wanted).then_some(()))
    })
}

/// The answer to each study is whole, of one of the releases; how many answers each release gave.
fn by_release(edge: &Edge, sent: &BTreeSet<String>, releases: &[&Release]) -> Result<Vec<usize>> {
    let mut counts = vec![0; releases.len()];
    for uid in sent {
        let answer = http::get_json(edge.http()?, &format!("/images/{uid}"))?;
        ensure!(answer["status"] == "analysed", "{uid}: {answer}");
        let of = |release: &&Release| release.digest == answer["bundle"]["digest"];
        let at = releases.iter().position(of).with_context(|| format!("{uid}: {answer}"))?;
        ensure!(answer["masks"] == releases[at].masks, "{uid} is half another's: {answer}");
        counts[at] += 1;
    }
    Ok(counts)
}

/// The audit log: every study was stored and answered once, by the bundle that ran then.
fn audited(edge: &Edge, studies: usize) -> Result<()> {
    let spool = edge.folder().join("spool");
    let (mut runs, mut stored) = (Value::Null, BTreeSet::new());
    let mut answers: BTreeMap<u64, usize> = BTreeMap::new();
    until("the audit log has every answer", || {
        let log = fs::read_to_string(spool.join("audit.log"))?;
        Ok((log.matches("\"what\":\"answer\"").count() >= studies).then_some(()))
    })?;
    for line in fs::read_to_string(spool.join("audit.log"))?.lines() {
        let line: Value = serde_json::from_str(line)?;
        let image = || line["image"].as_u64().with_context(|| format!("no image: {line}"));
        match line["what"].as_str() {
            Some("bundle") => runs = line["digest"].clone(),
            Some("store") => ensure!(stored.insert(image()?), "stored twice: {line}"),
            Some("answer") => {
                ensure!(line["bundle"] == runs, "answered by another than {runs}: {line}");
                *answers.entry(image()?).or_default() += 1;
            }
            _ => {}
        }
    }
    ensure!(stored.len() == studies, "{} stored, {studies} sent", stored.len());
    ensure!(answers.keys().eq(&stored), "stored and answered differ");
    ensure!(answers.values().all(|&count| count == 1), "answered twice: {answers:?}");
    runtime().args(["audit", "verify", "--spool"]).arg(spool).json()?;
    Ok(())
}

fn keys(folder: &Path) -> Result<PathBuf> {
    keyring::write_pair(&folder.join("site"), &key())?;
    Ok(folder.join("site.pub"))
}

#[test]
fn bundles_pushed_over_a_line_and_over_tls_under_load_lose_no_study_and_halve_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let public = keys(folder.path())?;
    let chest = radiographs::small_chest(folder.path())?;
    let more = More { listen: "pty = \"link\"\n", ..More::default() };
    let edge = Edge::start_with(&folder.path().join("box"), &[&public], more)?;
    let release = |version, threshold| Release::new(folder.path(), version, threshold, &chest);
    let releases = [release("1.0.0", 0.5)?, release("1.1.0", 0.8)?, release("1.2.0", 0.95)?];
    let [first, second, third] = &releases;
    ensure!(first.masks != second.masks && second.masks != third.masks, "{}", first.masks);
    edge.deploy(&first.path)?;
    let (_, sent) = under_load(&edge, &chest, |answered| {
        answers(answered, 2)?;
        edge.verb_over_line("push")?.arg(&second.path).run()?;
        edge.verb_over_line("activate")?.run()?;
        edge.verb_over_line("confirm")?.args(["--wait", "60s"]).run()?;
        edge.wait_for(&second.digest)?;
        answers(answered, 2)?;
        edge.deploy(&third.path)?;
        answers(answered, 2)
    })?;
    let counts = by_release(&edge, &sent, &[first, second, third])?;
    ensure!(counts.iter().all(|&count| count > 0), "{counts:?} of {}", sent.len());
    audited(&edge, sent.len())?;
    let slots = &edge.verb("slots")?.json()?[0];
    ensure!(
        slots["slots"]
            .as_array()
            .is_some_and(|slots| { slots.iter().all(|slot| slot["state"] == "confirmed") }),
        "{slots}"
    );
    Ok(())
}

/// The box's self-test sees nothing, so that the bundle comes as far as the daemon.
#[test]
fn a_bundle_whose_golden_vectors_fail_in_the_daemon_goes_by_itself_and_dump_says_why() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let public = keys(folder.path())?;
    let chest = radiographs::small_chest(folder.path())?;
    let more = More { selftest: Some("true"), ..More::default() };
    let edge = Edge::start_with(&folder.path().join("box"), &[&public], more)?;
    let good = Release::new(folder.path(), "1.0.0", 0.5, &chest)?;
    let bad = release(folder.path(), "1.1.0", 0.8, false)?;
    edge.deploy(&good.path)?;
    let slots = || -> Result<Value> { Ok(edge.verb("slots")?.json()?.remove(0)) };
    let (failure, sent) = under_load(&edge, &chest, |answered| {
        answers(answered, 2)?;
        edge.verb("push")?.arg(&bad).run()?;
        edge.verb("activate")?.run()?;
        let failure = until("the trial ends", || {
            let slots = slots()?;
            Ok((slots["slots"][1]["state"] == "bad").then(|| slots["last_failure"].clone()))
        })?;
        edge.wait_for(&good.digest)?;
        answers(answered, 2)?;
        Ok(failure)
    })?;
    let detail = failure["detail"].as_str().unwrap_or_default();
    ensure!(failure["cause"] == "unhealthy" && detail.contains("golden vector"), "{failure}");
    ensure!(by_release(&edge, &sent, &[&good])? == [sent.len()], "another one answered");
    audited(&edge, sent.len())?;

    let out = folder.path().join("dump");
    edge.verb("dump")?.arg("--out").arg(&out).json()?;
    let evidence = fs::read_to_string(out.join("evidence.jsonl"))?;
    for said in
        ["unhealthy: 1 failures", "golden vector 0", "agent firmware_host", "daemon runtime"]
    {
        ensure!(evidence.contains(said), "{said} in {evidence}");
    }
    let state: Value = serde_json::from_slice(&fs::read(out.join("slots.json"))?)?;
    ensure!(
        state["active"] == "a" && state["last_failure"]["bundle"]["release"] == "1.1.0",
        "{state}"
    );
    Ok(())
}

/// The agent notes it in the boot record; the daemon is the one writer of the log, and finds it there.
#[test]
fn a_confirm_by_force_is_in_the_audit_log_once_whoever_restarts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let public = keys(folder.path())?;
    let edge = Edge::start(&folder.path().join("box"), &[&public], "")?;
    let bundle = release(folder.path(), "1.0.0", 0.5, true)?;
    edge.verb("push")?.arg(&bundle).run()?;
    edge.verb("activate")?.run()?;
    edge.verb("confirm")?.args(["--force", "--reason", "a patient waits"]).run()?;
    let log = edge.folder().join("spool/audit.log");
    let forced = || -> Result<Vec<Value>> {
        let lines = fs::read_to_string(&log)?;
        let lines = lines.lines().map(serde_json::from_str::<Value>);
        let lines = lines.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line["what"] == "forced").collect())
    };
    until("the audit log has it", || Ok((forced()?.len() == 1).then_some(())))?;
    // A death between the line and its note logs it again, never not at all.
    let note = edge.folder().join("spool/forced.json");
    until("its note is kept", || {
        Ok(fs::read_to_string(&note).is_ok_and(|text| text.contains("\"at\"")).then_some(()))
    })?;
    let edge = edge.kill_and_restart_daemon()?;
    edge.wait_for(&Bundle::open(&bundle)?.digest().into())?;
    let starts =
        || -> Result<usize> { Ok(fs::read_to_string(&log)?.matches("\"what\":\"start\"").count()) };
    until("the second daemon has looked", || Ok((starts()? == 2).then_some(())))?;
    let forced = forced()?;
    ensure!(forced.len() == 1 && forced[0]["slot"] == "a", "{forced:?}");
    ensure!(!forced[0].to_string().contains("patient waits"), "a person's words: {forced:?}");
    runtime()
        .args(["audit", "verify", "--config"])
        .arg(edge.folder().join("runtime.toml"))
        .json()?;
    Ok(())
}
