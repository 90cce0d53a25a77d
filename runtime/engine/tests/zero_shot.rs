//! Findings by phrases and nearest sentences of a bundle: what its network's outputs say by the formulas.
#![expect(clippy::unwrap_used, reason = "a test may")]

#[path = "int8/qdq.rs"]
#[expect(dead_code, reason = "not every layer is drawn here")]
mod qdq;

use bundle::{Bundle, Golden, GoldenOutput, GoldenVector, LabelCode, Manifest, section};
use engine::{Analysis, Analyzer, Engine, EngineError, Findings, Options, ZeroShot, selftest};
use graph::{Backbone, Fit, Head, ModelConfig, Pool, Preprocess, Task};
use kernels::Isa;
use language::{Language, Pack, Space, definition};
use prost::Message;
use qdq::{Layer, Qdq, Real, Rectify};
use radiograph::{Image, Radiograph, Source};

const SIDE: usize = 48;
const WIDTH: usize = 20;
const GRID: [usize; 2] = [6, 6];

fn space() -> Space {
    Space { id: [5; 32], width: WIDTH as u32, grid: GRID.map(|side| side as u32) }
}

/// A network with an embedding and, of those, the outputs of language.
fn network(outputs: &[&str]) -> Vec<u8> {
    let (mut net, x) = Qdq::new(77, false, [1, SIDE, SIDE]);
    net.calm = true;
    let y = net.conv(&x, Layer::square(16, 3, 2, Rectify::Relu));
    let y = net.conv(&y, Layer::square(24, 3, 4, Rectify::Relu));
    assert_eq!(y.shape[1..], GRID);
    let mean = net.global_pool(&y);
    let flat = net.node("Flatten", &[&mean.name], vec![qdq::int("axis", 1)]);
    let mut named = vec![(flat, "embedding")];
    for output in outputs {
        let made = match *output {
            "language.global" => {
                let linear = net.linear(&mean, WIDTH, true);
                net.quantized(&linear, [WIDTH, 1, 1], 3.0).name
            }
            "language.places" | "language.global_places" => {
                net.conv(&y, Layer::square(WIDTH, 1, 1, Rectify::None)).name
            }
            "language.places in float" => {
                net.bare_conv(&y, Layer::square(WIDTH, 1, 1, Rectify::None))
            }
            other => panic!("{other}"),
        };
        named.push((made, output.strip_suffix(" in float").unwrap_or(output)));
    }
    for (made, _) in &named {
        net.output(&Real { name: made.clone(), shape: [1; 3], scale: 1.0 });
    }
    let mut model = net.model();
    let graph = model.graph.as_mut().unwrap();
    for (made, name) in named {
        let tensors = graph.node.iter_mut().flat_map(|n| n.input.iter_mut().chain(&mut n.output));
        let outputs = graph.output.iter_mut().map(|output| &mut output.name);
        tensors.chain(outputs).filter(|n| **n == made).for_each(|n| *n = name.into());
    }
    model.encode_to_vec()
}

const BOTH: [&str; 2] = ["language.global", "language.places"];
const ALL: [&str; 3] = ["language.global", "language.places", "language.global_places"];

fn seal(outputs: &[&str], language: Option<&Language>, golden: Option<Golden>) -> Bundle {
    seal_as(language.is_some(), outputs, language, golden)
}

fn seal_as(
    head: bool,
    outputs: &[&str],
    language: Option<&Language>,
    golden: Option<Golden>,
) -> Bundle {
    let mut model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
    model.heads.extend(head.then(|| Head { task: Task::Language, labels: Vec::new() }));
    let preprocess = Preprocess { height: SIDE, width: SIDE, fit: Fit::Pad, ..Preprocess::PRIOR };
    let mut sections = vec![(section::MODEL.to_owned(), network(outputs))];
    let language = language.map(|it| (section::LANGUAGE.to_owned(), it.to_bytes().unwrap()));
    sections.extend(language);
    sections.extend(golden.map(|it| (section::GOLDEN.to_owned(), it.to_bytes().unwrap())));
    Bundle::seal(Manifest::new("drawn", "1.0.0", model, preprocess), sections, None).unwrap()
}

fn options(isa: Isa) -> Options {
    Options { isa: Some(isa.name().into()), ..Options::threads(1) }
}

/// Twice as wide as high, so that padding shows.
fn radiograph() -> Radiograph<'static> {
    let (height, width) = (300, 600);
    let pixel = |at: usize| (at * 37 % 251) as f32 / 251.0 * (at % width) as f32 / width as f32;
    let image = Image::new(height, width, (0..height * width).map(pixel).collect()).unwrap();
    Radiograph { image, source: Source::Jpeg }
}

fn analyse(bundle: &Bundle, isa: Isa) -> Findings {
    let mut analyzer = Analyzer::open(bundle, &options(isa)).unwrap();
    match analyzer.analyze(&radiograph()).unwrap() {
        Analysis::Analysed(findings) => findings,
        Analysis::NotAnalysed(reason) => panic!("{reason}"),
    }
}

#[test]
fn findings_heat_maps_and_sentences_are_those_of_the_formulas() {
    let language = Language::drawn(space(), 4, 24, 6);
    let bundle = seal(&BOTH, Some(&language), None);
    let found = analyse(&bundle, Isa::best());

    let mut engine = Engine::open(&bundle, &options(Isa::best())).unwrap();
    let preprocess = bundle.manifest.preprocess;
    let input = radiograph::network_input(&radiograph().image, &preprocess);
    let outputs = engine.run(&input).unwrap();
    let reals = |name| -> Vec<f64> {
        outputs.require(name).unwrap().data.iter().map(|x| f64::from(*x)).collect()
    };
    let (global, planes) = (reals("language.global"), reals("language.places"));
    let sites = GRID[0] * GRID[1];
    let places: Vec<f64> =
        (0..sites * WIDTH).map(|at| planes[at % WIDTH * sites + at / WIDTH]).collect();

    assert_eq!((found.findings.len(), found.heat.len()), (4, 4));
    for ((found, heat), prompt) in found.findings.iter().zip(&found.heat).zip(&language.prompts) {
        let expected = definition::score(prompt, language.scale, &global, &places);
        assert_eq!((&found.name, &heat.name), (&prompt.name, &prompt.name));
        assert!((f64::from(found.probability) - expected.raw).abs() < 2e-5, "{found:?}");
        assert_eq!(found.positive, found.probability >= 0.5);
        for (found, expected) in heat.values.iter().zip(&expected.heat) {
            assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
        }
        // The picture takes the middle half of the rows: places of the rows beside it are no peak.
        let [x, y] = heat.peak;
        assert_eq!(heat.area, [0.0, -150.0, 600.0, 600.0]);
        assert!((0.0..=600.0).contains(&x) && (0.0..=300.0).contains(&y), "{heat:?}");
    }
    let similarities = definition::similarities(language.bank.as_ref().unwrap(), &places);
    let mut order: Vec<usize> = (0..24).step_by(2).collect();
    order.sort_by(|a, b| similarities[*b].total_cmp(&similarities[*a]));
    assert_eq!(found.nearest.len(), 3);
    for (near, k) in found.nearest.iter().zip(order) {
        assert_eq!(near.sentence, format!("sentence {k} is observed"));
        assert!((f64::from(near.similarity) - similarities[k]).abs() < 2e-4, "{near:?}");
    }
    // A pack may come and go: what drift compares stays.
    assert_eq!(found.figures(), []);
}

#[test]
fn heat_maps_are_what_places_add_to_the_score_where_the_bundle_has_what_is_usual() {
    let plain = Language::drawn(space(), 3, 8, 6);
    let language = plain.clone().with_usual(4);
    let bundle = with_pack(seal(&ALL, Some(&language), None), "More");
    let found = analyse(&bundle, Isa::best());
    for isa in Isa::available() {
        assert_eq!(analyse(&bundle, isa), found, "{isa:?}");
    }
    let before = analyse(&with_pack(seal(&BOTH, Some(&plain), None), "More"), Isa::best());
    assert_eq!((&found.findings, &found.nearest), (&before.findings, &before.nearest));

    let mut engine = Engine::open(&bundle, &options(Isa::best())).unwrap();
    let preprocess = bundle.manifest.preprocess;
    let outputs = engine.run(&radiograph::network_input(&radiograph().image, &preprocess)).unwrap();
    let planes = &outputs.require("language.global_places").unwrap().data;
    let sites = GRID[0] * GRID[1];
    let places: Vec<f64> =
        (0..sites * WIDTH).map(|at| f64::from(planes[at % WIDTH * sites + at / WIDTH])).collect();
    let Language { prompts: more, .. } = Language::drawn(space(), 1, 0, 99);
    let prompts = language.prompts.iter().chain(&more);
    let usual = language.usual.as_ref().unwrap();
    assert_eq!(found.heat.len(), 4);
    for (heat, prompt) in found.heat.iter().zip(prompts) {
        let expected = definition::shares(prompt, language.scale, usual, &places);
        for (found, expected) in heat.values.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-5, "{found} {expected}");
        }
    }
}

/// A bundle with a pack of one finding, whose phrases are those of the first of a drawn language.
fn with_pack(bundle: Bundle, finding: &str) -> Bundle {
    let Language { space, scale, mut prompts, .. } = Language::drawn(space(), 1, 0, 99);
    prompts[0].name = finding.into();
    let (name, version, golden) = ("pack".into(), "1.0.0".into(), Vec::new());
    let pack = Pack { name, version, space, scale, prompts, golden };
    bundle.with_packs(vec![pack.seal(None).unwrap()])
}

#[test]
fn a_pack_adds_its_findings_behind_the_bundles_own_and_changes_none_of_them() {
    let bundle = seal(&BOTH, Some(&Language::drawn(space(), 2, 8, 6)), None);
    let before = analyse(&bundle, Isa::best());
    let after = analyse(&with_pack(bundle.clone(), "More"), Isa::best());
    assert_eq!(after.findings[..2], before.findings);
    assert_eq!((after.findings[2].name.as_str(), after.heat[2].name.as_str()), ("More", "More"));
    assert_eq!(after.heat[..2], before.heat);
    assert_eq!(after.nearest, before.nearest);
    // What it says is what a bundle would say that had been made with it.
    let alone = seal(&BOTH, Some(&Language::drawn(space(), 1, 0, 99)), None);
    let alone = analyse(&alone, Isa::best());
    assert_eq!(after.findings[2].probability.to_bits(), alone.findings[0].probability.to_bits());
    assert_eq!(after.heat[2].values, alone.heat[0].values);
}

#[test]
fn a_pack_that_does_not_fit_its_bundle_is_refused_by_name() {
    let speaking = seal(&BOTH, Some(&Language::drawn(space(), 2, 0, 6)), None);
    for (bundle, expected) in [
        (with_pack(speaking, "Finding 2"), "pack `pack` has finding `Finding 2`"),
        (with_pack(seal(&[], None, None), "More"), "has no language"),
    ] {
        let Err(EngineError::Packs { source }) = Analyzer::open(&bundle, &options(Isa::best()))
        else {
            panic!("it is refused")
        };
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[test]
fn every_instruction_set_says_the_same_to_the_bit() {
    let bundle = seal(&BOTH, Some(&Language::drawn(space(), 3, 9, 6)), None);
    let expected = analyse(&bundle, Isa::scalar());
    for isa in Isa::available() {
        assert_eq!(analyse(&bundle, isa), expected, "{isa:?}");
    }
}

#[test]
fn a_finding_by_phrases_has_its_code_or_one_of_ours() {
    let mut language = Language::drawn(space(), 2, 0, 6);
    let code = bundle::Code::new("60046008", "SCT", "Pleural effusion").unwrap();
    let code = LabelCode { code, ..LabelCode::private("Finding 2") };
    language.prompts[1].code = Some(code.clone());
    let bundle = seal(&BOTH, Some(&language), None);
    let analyzer = Analyzer::open(&bundle, &options(Isa::best())).unwrap();
    assert_eq!(analyzer.zero_shot_codes(), [LabelCode::private("Finding 1"), code]);
}

#[test]
fn half_of_language_is_refused_by_the_name_of_what_lacks() {
    let error = |head: bool, outputs: &[&str], language: Option<&Language>| {
        let bundle = seal_as(head, outputs, language, None);
        let error = Analyzer::open(&bundle, &options(Isa::best())).err().expect("it is refused");
        match error {
            EngineError::Packs { source } => source.to_string(),
            error => error.to_string(),
        }
    };
    let language = Language::drawn(space(), 1, 0, 1);
    let some = Some(&language);
    for (head, outputs, language, expected) in [
        (true, &BOTH[..], None, "bundle drawn 1.0.0 has a language head and no language.bin"),
        (false, &BOTH, some, "bundle drawn 1.0.0 has language.bin and no language head"),
        (true, &BOTH[..1], some, "the bundle has language, but its network has no output"),
        (true, &BOTH[1..], some, "the bundle has language, but its network has no output"),
        (true, &[], some, "the bundle has language, but its network has no output"),
        (
            true,
            &["language.global", "language.places in float"],
            some,
            "output `language.places` is not quantized",
        ),
    ] {
        let found = error(head, outputs, language);
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(error(true, &BOTH[..1], some).ends_with("`language.places`"));
    assert!(error(true, &BOTH[1..], some).ends_with("`language.global`"));
    let lacking = error(true, &BOTH, Some(&language.clone().with_usual(1)));
    assert!(lacking.ends_with("has no output `language.global_places`"), "{lacking}");
    let useless = error(true, &ALL, some);
    assert!(useless.starts_with("the network has output `language.global_places`"), "{useless}");
    let other = |space| Language::drawn(space, 1, 0, 1);
    let narrow = error(true, &BOTH, Some(&other(Space { width: 19, ..space() })));
    assert!(narrow.contains("`language.global` has shape [1, 20], expected [1, 19]"), "{narrow}");
    let coarse = error(true, &BOTH, Some(&other(Space { grid: [3, 12], ..space() })));
    assert!(coarse.contains("`language.places` has shape [1, 20, 6, 6]"), "{coarse}");
}

#[test]
fn a_network_whose_outputs_are_called_as_those_of_language_speaks_only_if_its_manifest_says_so() {
    let found = analyse(&seal(&BOTH, None, None), Isa::best());
    assert_eq!(
        (&found.findings[..], &found.heat[..], &found.nearest[..]),
        (&[][..], &[][..], &[][..])
    );
}

#[test]
fn golden_vectors_hold_what_phrases_say_and_a_bit_that_differs_is_named() {
    let language = Language::drawn(space(), 2, 8, 6);
    let plain = seal(&BOTH, Some(&language), None);
    let mut engine = Engine::open(&plain, &options(Isa::best())).unwrap();
    let mut zero_shot = ZeroShot::open(&plain, &engine).unwrap().unwrap();
    let grey: Vec<u8> = (0..SIDE * SIDE).map(|at| (at * 7 % 251) as u8).collect();
    let (height, width) = (SIDE as u32, SIDE as u32);
    let mut vector = GoldenVector { height, width, grey, outputs: Vec::new() };
    let mut outputs = engine.run(&vector.input(&plain.manifest.preprocess)).unwrap();
    outputs.outputs.extend(zero_shot.derived(&outputs).unwrap());
    for output in outputs.outputs {
        let bytes = output.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        vector.outputs.push(GoldenOutput { name: output.name, bytes });
    }
    let prove = |vector: &GoldenVector| {
        let golden = Golden { vectors: vec![vector.clone()] };
        let bundle = seal(&BOTH, Some(&language), Some(golden));
        let mut engine = Engine::open(&bundle, &options(Isa::scalar())).unwrap();
        selftest(&mut engine, &bundle).unwrap()
    };
    let proven = prove(&vector);
    assert!(proven.passed() && proven.outputs == 6, "{proven:?}");
    assert_eq!(proven.unproven, [""; 0]);
    // A bundle from before what phrases say was among them still proves itself, and says what that leaves out.
    let mut old = vector.clone();
    old.outputs.retain(|output| !output.name.starts_with("zero-shot."));
    let proven = prove(&old);
    assert!(proven.passed() && proven.outputs == 3, "{proven:?}");
    assert_eq!(proven.unproven, ["zero-shot.heat", "zero-shot.nearest", "zero-shot.scores"]);
    // Whatever was added to the bundle since.
    let golden = Golden { vectors: vec![vector.clone()] };
    let packed = with_pack(seal(&BOTH, Some(&language), Some(golden)), "More");
    let mut engine = Engine::open(&packed, &options(Isa::best())).unwrap();
    let proven = selftest(&mut engine, &packed).unwrap();
    assert!(proven.passed() && proven.outputs == 6, "{proven:?}");
    for name in ["zero-shot.scores", "zero-shot.heat", "zero-shot.nearest"] {
        let mut wrong = vector.clone();
        let output = wrong.outputs.iter_mut().find(|output| output.name == name).unwrap();
        output.bytes[4] ^= 1;
        let mismatch = prove(&wrong).mismatch.unwrap();
        assert_eq!((mismatch.output.as_str(), mismatch.at), (name, 1));
    }
}
