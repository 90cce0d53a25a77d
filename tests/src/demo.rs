//! `make demo`: from a fresh clone to findings on real chest radiographs, each step a command a user would type.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::archive::{self, Archive};
use e2e::edge::Edge;
use e2e::http;
use e2e::pipeline::{Scale, Work};
use e2e::radiographs::{self, Syntax};
use e2e::tool::{exporter, runtime, trainer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs the main job end to end and prints each step's time
#[derive(Debug, Parser)]
struct Demo {
    /// Where everything is written; what an earlier demo left there is removed
    #[arg(long, default_value = "out")]
    out: PathBuf,
    /// A folder in the cxr-mini layout to train on, instead of phantoms
    #[arg(long)]
    data: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "main may print")]
fn main() -> ExitCode {
    match Demo::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Times of the steps, in order.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

#[expect(clippy::print_stdout, reason = "the demo is a program that talks")]
impl Steps {
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n── {name}");
        let start = Instant::now();
        let done = work().context(name)?;
        self.0.push((name, start.elapsed()));
        Ok(done)
    }

    fn table(&self) {
        println!("\n{:<34} {:>8}", "step", "seconds");
        for (name, time) in &self.0 {
            println!("{name:<34} {:>8.1}", time.as_secs_f64());
        }
        let total: Duration = self.0.iter().map(|(_, time)| time).sum();
        println!("{:<34} {:>8.1}", "total", total.as_secs_f64());
    }
}

impl Demo {
    #[expect(clippy::print_stdout, reason = "the demo is a program that talks")]
    fn run(self) -> Result<()> {
        if self.out.exists() {
            ensure!(
                self.out.join("demo").exists() || self.out.read_dir()?.next().is_none(),
                "{} holds something that no demo wrote, expected an empty or new folder",
                self.out.display()
            );
            fs::remove_dir_all(&self.out)?;
        }
        fs::create_dir_all(&self.out)?;
        fs::write(self.out.join("demo"), "written by `make demo`\n")?;
        let work = Work { folder: self.out.canonicalize()? };
        let (scale, mut steps) = (Scale::DEMO, Steps::default());

        let data = match &self.data {
            Some(folder) => {
                folder.canonicalize().with_context(|| format!("no folder {}", folder.display()))?
            }
            None => steps.step("trainer phantom", || work.draw_phantoms(scale))?,
        };
        steps.step("trainer index", || work.write_index(&data))?;
        steps.step("trainer pretrain", || work.pretrain(scale))?;
        steps.step("trainer finetune", || work.finetune(scale))?;
        steps.step("trainer evaluate", || {
            trainer()
                .args(["evaluate", "--task", "classification", "--checkpoint"])
                .arg(work.checkpoint())
                .arg("--data")
                .arg(work.index())
                .arg("--report")
                .arg(work.folder.join("evaluation"))
                .run()
        })?;
        steps.step("exporter distill", || work.distill())?;
        steps.step("exporter keygen", || work.make_key())?;
        steps.step("exporter quantize", || work.quantize_student())?;
        steps.step("exporter verify", || {
            exporter()
                .arg("verify")
                .arg(work.bundle())
                .arg("--data")
                .arg(work.index())
                .arg("--checkpoint")
                .arg(work.student())
                .arg("--report")
                .arg(work.folder.join("verify.html"))
                .run()
        })?;
        let archive = steps.step("an archive", || Archive::start(&work.folder.join("archive")))?;
        let edge = steps.step("firmware-host agent, runtime serve", || {
            let keys = [&*work.public_key(), &example("chest-lungs.pub")];
            Edge::start(&work.folder.join("box"), &keys, &archive.destination())
        })?;
        steps.step("push, activate, confirm", || edge.deploy(&work.bundle()))?;
        let mut phantoms_said = Vec::new();
        if self.data.is_none() {
            let phantoms = files(&data.join("dicom"))?;
            phantoms_said = steps.step("storescu, findings on phantoms", || {
                let images: Vec<_> =
                    phantoms.iter().map(|file| (file.clone(), Syntax::Uncompressed)).collect();
                analyse(&edge, &images, &work)
            })?;
            print_answers(&phantoms_said);
        }

        steps.step("push, activate, confirm: chest-lungs", || {
            edge.deploy(&example("chest-lungs.bundle"))
        })?;
        let images = steps.step("dcmtk prepares radiographs", || radiographs_to_send(&work))?;
        let answers =
            steps.step("storescu, lungs on radiographs", || analyse(&edge, &images, &work))?;
        print_answers(&answers);
        steps.step("results in the archive", || {
            delivered(&edge, &archive, [&answers, &phantoms_said], &work.folder.join("results"))
        })?;
        steps.step("runtime analyze --overlay", || {
            runtime()
                .arg("analyze")
                .arg(&images[0].0)
                .arg("--bundle")
                .arg(example("chest-lungs.bundle"))
                .arg("--overlay")
                .arg(work.folder.join("overlay.png"))
                .run()
        })?;

        steps.table();
        println!(
            "\nNot for diagnostic use: see the model cards (`exporter inspect out/chest.bundle --extract DIR`)."
        );
        Ok(())
    }
}

/// NEMA's chest RG1 as it came, and by dcmtk in the encodings that X-ray machines send; and an ankle.
fn radiographs_to_send(work: &Work) -> Result<Vec<(PathBuf, Syntax)>> {
    let chest = radiographs::nema("RG1_UNCR.dcm")?;
    let rle = work.folder.join("RG1_RLE.dcm");
    let jpeg = work.folder.join("RG1_JPEG_lossless.dcm");
    radiographs::transcode("dcmcrle", &chest, &rle)?;
    radiographs::transcode("dcmcjpeg", &chest, &jpeg)?;
    let mut images = vec![
        (chest, Syntax::Uncompressed),
        (radiographs::nema("RG1_UNCI.dcm")?, Syntax::Uncompressed),
        (rle, Syntax::Rle),
        (jpeg, Syntax::JpegLossless),
        (radiographs::nema("RG3_UNCR.dcm")?, Syntax::Uncompressed),
    ];
    // Two more chests, where the samples that do not ship with this repository are at hand.
    let samples = e2e::tool::root().join("../shared/data/dicom-samples/real");
    let more = samples.join("nih_google_DX_implicit.dcm");
    if more.exists() {
        images.push((more, Syntax::Uncompressed));
    }
    Ok(images)
}

/// Sends everything, then asks for every answer and overlay.
fn analyse(edge: &Edge, images: &[(PathBuf, Syntax)], work: &Work) -> Result<Answers> {
    for (file, syntax) in images {
        edge.send(file, *syntax).with_context(|| file.display().to_string())?;
    }
    let mut answers = Vec::new();
    for (file, _) in images {
        let uid = radiographs::sop_instance_uid(file)?;
        let answer = edge.findings(&uid)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if answer["status"] == "analysed" {
            let overlay = http::get(edge.http()?, &format!("/images/{uid}/overlay.png"))?;
            fs::write(work.folder.join(format!("{name}.png")), overlay)?;
        }
        answers.push((name, answer));
    }
    Ok(answers)
}

/// One line an image.
#[expect(clippy::print_stdout, reason = "the demo is a program that talks")]
fn print_answers(answers: &[(String, Value)]) {
    println!("\n{:<28} {:<14} findings", "image", "status");
    for (name, answer) in answers {
        let said = match answer["reason"].as_str() {
            Some(reason) => reason.to_owned(),
            None => said(answer).join(", "),
        };
        println!("{name:<28} {:<14} {said}", answer["status"].as_str().unwrap_or("?"));
    }
}

/// Probabilities of findings, shares of masks.
fn said(answer: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let name = |value: &Value| value["name"].as_str().unwrap_or("?").to_owned();
    let findings = list(&answer["findings"])
        .map(|finding| format!("{} {:.3}", name(finding), number(&finding["probability"])));
    let masks = list(&answer["masks"])
        .map(|mask| format!("{} {:.0} %", name(mask), 100.0 * number(&mask["area_fraction"])));
    findings.chain(masks).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

type Answers = Vec<(String, Value)>;

/// What the archive got: SR, SEG and SC of every radiograph with lungs, SR and SC of every phantom, an SR with the
/// reason of whatever was not analysed. Each is fetched back, the SC also as PNG.
#[expect(clippy::print_stdout, reason = "the demo is a program that talks")]
fn delivered(
    edge: &Edge,
    archive: &Archive,
    [radiographs, phantoms]: [&Answers; 2],
    folder: &Path,
) -> Result<()> {
    let analysed = |answers: &Answers| {
        answers.iter().filter(|(_, answer)| answer["status"] == "analysed").count()
    };
    let chests = analysed(radiographs);
    ensure!(chests >= 3, "{chests} radiographs analysed, expected at least 3");
    ensure!(chests < radiographs.len(), "the ankle was analysed");
    let expected = BTreeMap::from([
        ("SR".to_owned(), radiographs.len() + phantoms.len()),
        ("SEG".to_owned(), chests),
        ("OT".to_owned(), chests + analysed(phantoms)),
    ]);
    edge.delivered(expected.values().sum())?;
    let mut held = BTreeMap::new();
    for object in archive.fetch(folder)? {
        let modality = radiographs::attribute(&object, "Modality")?;
        if modality == "OT" {
            archive::picture(&object, &object.with_extension("png"))?;
        }
        *held.entry(modality).or_insert(0) += 1;
    }
    ensure!(held == expected, "{} holds {held:?}, expected {expected:?}", archive.name());
    println!(
        "{} holds {held:?} (OT is the SC); fetched back: {}",
        archive.name(),
        folder.display()
    );
    Ok(())
}

/// A file of `runtime/examples`.
fn example(name: &str) -> PathBuf {
    e2e::tool::root().join("runtime/examples").join(name)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let files =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
