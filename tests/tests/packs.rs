//! A pack comes to a box that runs a bundle with language: its finding is in the next answer, and with the pack it goes.

#[path = "../../runtime/engine/tests/int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;

use anyhow::{Context, Result, ensure};
use bundle::{
    Bundle, Golden, GoldenOutput, GoldenVector, Manifest, SealedPack, SigningKey, section,
};
use e2e::edge::Edge;
use e2e::radiographs::{self, Syntax};
use engine::{Engine, Options, ZeroShot};
use graph::{Backbone, Head, ModelConfig, Pool, Preprocess, Task};
use language::{Codes, Language, Pack, Space};
use prost::Message;
use qdq::{Layer, Qdq, Real, Rectify};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const SIDE: usize = 48;
const WIDTH: usize = 20;
const GRID: [usize; 2] = [6, 6];

fn space() -> Space {
    Space { id: [5; 32], width: WIDTH as u32, grid: GRID.map(|side| side as u32) }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A drawn network with an embedding and the two outputs of language.
fn network() -> Result<Vec<u8>> {
    let (mut net, x) = Qdq::new(77, false, [1, SIDE, SIDE]);
    net.calm = true;
    let y = net.conv(&x, Layer::square(16, 3, 2, Rectify::Relu));
    let y = net.conv(&y, Layer::square(24, 3, 4, Rectify::Relu));
    let mean = net.global_pool(&y);
    let flat = net.node("Flatten", &[&mean.name], vec![qdq::int("axis", 1)]);
    let linear = net.linear(&mean, WIDTH, true);
    let global = net.quantized(&linear, [WIDTH, 1, 1], 3.0).name;
    let places = net.conv(&y, Layer::square(WIDTH, 1, 1, Rectify::None)).name;
    let named = [(flat, "embedding"), (global, "language.global"), (places, "language.places")];
    for (made, _) in &named {
        net.output(&Real { name: made.clone(), shape: [1; 3], scale: 1.0 });
    }
    let mut model = net.model();
    let graph = model.graph.as_mut().context("a model has a graph")?;
    for (made, name) in named {
        let tensors = graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
        let outputs = graph.output.iter_mut().map(|output| &mut output.name);
        tensors.chain(outputs).filter(|n| **n == made).for_each(|n| *n = name.into());
    }
    Ok(model.encode_to_vec())
}

/// With `Finding 1` and `Finding 2`, sentences, and golden vectors of all that.
fn speaking() -> Result<Bundle> {
    let heads = vec![Head { task: Task::Language, labels: Vec::new() }];
    let model = ModelConfig { heads, ..ModelConfig::encoder(Backbone::Resnet18, Pool::Mean) };
    let preprocess = Preprocess { height: SIDE, width: SIDE, ..Preprocess::PRIOR };
    let manifest = Manifest::new("drawn", "1.0.0", model, preprocess);
    let language = Language::drawn(space(), 2, 8, 6).to_bytes()?;
    let sections = vec![(section::MODEL.into(), network()?), (section::LANGUAGE.into(), language)];
    let plain = Bundle::seal(manifest.clone(), sections.clone(), None)?;
    let mut engine = Engine::open(&plain, &Options::threads(1))?;
    let mut zero_shot = ZeroShot::open(&plain, &engine)?.context("it has language")?;
    let grey: Vec<u8> = (0..SIDE * SIDE).map(|at| (at * 7 % 251) as u8).collect();
    let (height, width) = (SIDE as u32, SIDE as u32);
    let mut vector = GoldenVector { height, width, grey, outputs: Vec::new() };
    let mut outputs = engine.run(&vector.input(&preprocess))?;
    let derived = zero_shot.derived(&outputs)?;
    outputs.outputs.extend(derived);
    for output in outputs.outputs {
        let bytes = output.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        vector.outputs.push(GoldenOutput { name: output.name, bytes });
    }
    let golden = Golden { vectors: vec![vector] }.to_bytes()?;
    let sections = sections.into_iter().chain([(section::GOLDEN.into(), golden)]).collect();
    Ok(Bundle::seal(manifest, sections, Some(&key()))?)
}

/// A signed pack of one finding; `honest`, or with one value of a golden vector changed.
fn pack(name: &str, honest: bool) -> Result<SealedPack> {
    let Language { space, scale, mut prompts, .. } = Language::drawn(space(), 1, 0, 99);
    prompts[0].name = format!("Finding of {name}");
    let (name, version, golden) = (name.into(), "1.0.0".into(), Vec::new());
    let mut pack = Pack { name, version, space, scale, prompts, golden };
    pack.prove_by(&[1, 2], Codes { scale: 1.0 / 64.0, zero: 128 })?;
    if !honest {
        pack.golden[1].heat[0][3] += 0.001;
    }
    Ok(pack.seal(Some(&key()))?)
}

/// A box at work, and the radiograph that it is sent again and again.
struct Site {
    edge: Edge,
    chest: Vec<u8>,
    folder: PathBuf,
}

impl Site {
    fn new(folder: &Path) -> Result<Self> {
        keyring::write_pair(&folder.join("site"), &key())?;
        let edge = Edge::start(&folder.join("box"), &[&folder.join("site.pub")], "")?;
        let chest = fs::read(radiographs::small_chest(folder)?)?;
        Ok(Self { edge, chest, folder: folder.to_owned() })
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// What the box says of a study that it had not: names of findings, and of packs.
    fn answer(&self, number: usize) -> Result<(Vec<String>, Value)> {
        let study = self.file("study.dcm", &radiographs::study(&self.chest, number))?;
        self.edge.send(&study, Syntax::Uncompressed)?;
        let answer = self.edge.findings(&radiographs::study_uid(number))?;
        ensure!(answer["status"] == "analysed", "{answer}");
        let findings = answer["findings"].as_array().context("findings")?;
        let names = findings.iter().filter_map(|finding| finding["name"].as_str());
        Ok((names.map(str::to_owned).collect(), answer["bundle"]["packs"].clone()))
    }
}

#[test]
fn a_pack_brings_its_finding_into_the_answers_and_takes_it_along_when_it_goes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = Site::new(folder.path())?;
    let bundle = speaking()?;
    let own = ["Finding 1", "Finding 2"];
    site.edge.deploy(&site.file("drawn.bundle", &bundle.to_bytes()?)?)?;
    ensure!(site.answer(1)? == (own.map(String::from).to_vec(), Value::Null), "before");

    let heart = pack("heart", true)?;
    let with = bundle.clone().with_packs(vec![heart.clone()]).digest();
    site.edge.verb("push")?.arg(site.file("heart.prompts", &heart.to_bytes())?).run()?;
    ensure!(site.answer(2)?.0 == own, "pushed is not activated");
    site.edge.verb("activate")?.run()?;
    site.edge.wait_for(&with.into())?;
    site.edge.verb("confirm")?.args(["--wait", "60s"]).run()?;
    let (names, packs) = site.answer(3)?;
    ensure!(names == ["Finding 1", "Finding 2", "Finding of heart"], "{names:?}");
    ensure!(packs[0]["name"] == "heart" && packs[0]["version"] == "1.0.0", "{packs}");

    site.edge.verb("rollback")?.run()?;
    site.edge.wait_for(&bundle.digest().into())?;
    ensure!(site.answer(4)? == (own.map(String::from).to_vec(), Value::Null), "rolled back");
    Ok(())
}

/// The real self-test, in its process: the value that differs is named, and the bundle of before answers on.
#[test]
fn a_pack_that_this_box_does_not_reproduce_never_answers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = Site::new(folder.path())?;
    let bundle = speaking()?;
    site.edge.deploy(&site.file("drawn.bundle", &bundle.to_bytes()?)?)?;
    let odd = site.file("odd.prompts", &pack("odd", false)?.to_bytes())?;
    site.edge.verb("push")?.arg(odd).run()?;
    let refused = site.edge.verb("activate")?.output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(8), "{:?}: {said}", refused.status);
    ensure!(said.contains("Finding of odd") && said.contains("value 3"), "{said}");
    let slots = &site.edge.verb("slots")?.json()?[0];
    ensure!(slots["active"] == "a" && slots["slots"][1]["state"] == "bad", "{slots}");
    ensure!(slots["slots"][0]["packs"] == json!([]), "{slots}");
    let (names, packs) = site.answer(1)?;
    ensure!(names == ["Finding 1", "Finding 2"] && packs == Value::Null, "{names:?} {packs}");
    Ok(())
}
