//! Findings in words, from phrases to what a box scores.

use super::run;
use crate::{
    fixtures::prior::{self, PICTURES, PriorPlace},
    passes::{
        fold,
        interpreter::{Interpreter, output},
        shares,
    },
    prompts::{float::FloatPrompt, text::TextEncoder},
    read::{checkpoint::Checkpoint, images::Input, prior::Prior},
    verify::Network,
};
use bundle::{Bundle, Golden, SectionEntry, section};
use checkpoint::prior::Quirks;
use graph::{Backbone, LANGUAGE_GLOBAL, LANGUAGE_PLACES, Task};
use kernels::{Isa, Pool};
use language::{Carrier, Language, Scorer};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Quantizes with phrases and sentences.
pub(super) fn quantize(
    place: &PriorPlace,
    index: &Path,
    name: &str,
    bank: bool,
) -> Result<Bundle, String> {
    let out = place.folder.path().join(name);
    let mut args: Vec<&dyn AsRef<Path>> = vec![
        &"quantize",
        &"--int8",
        &"--checkpoint",
        &place.checkpoint,
        &"--prompts",
        &place.findings,
        &"--calibration",
        &index,
        &"--observer",
        &"percentile:99.99",
        &"--out",
        &out,
    ];
    if bank {
        args.extend([&"--bank" as &dyn AsRef<Path>, &place.sentences]);
    }
    run(&args)?;
    Ok(Bundle::open(&out).unwrap())
}

/// Float's and int8's raw score of each finding, by picture.
fn scores(place: &PriorPlace, bundle: &Bundle, language: &Language) -> Vec<Vec<[f32; 2]>> {
    let prior = Prior::open(&place.checkpoint).unwrap();
    let encoder = TextEncoder::new(&prior).unwrap();
    let float = language.prompts.iter().map(|prompt| {
        let (positive, negative) = (&prompt.positive_phrases, &prompt.negative_phrases);
        FloatPrompt::read(&prior, &encoder, positive, negative).unwrap()
    });
    let float: Vec<FloatPrompt> = float.collect();
    let checkpoint = Checkpoint::open(&place.checkpoint).unwrap();
    let (graph, weights) =
        shares::with_projections(&prior, &checkpoint.graph, &checkpoint.weights).unwrap();
    let (graph, weights) = fold::fold(&graph, &weights);
    let interpreter = Interpreter::new(&graph, &weights).unwrap();
    let onnx = bundle.require(section::MODEL).unwrap();
    let network = Network::open(&bundle.manifest.float_nodes, onnx).unwrap();
    let (pool, maps) = (Arc::new(Pool::new(1)), network.rounding().unwrap().maps);
    let mut scorer = Scorer::new(language, &[], maps, Isa::best(), &pool).unwrap();
    let mut of = |at: usize| {
        let path = place.folder.path().join(format!("images/{at}.png"));
        let input = Input::read(&path, &bundle.manifest.preprocess).unwrap();
        let outputs = interpreter.outputs(&input.pixels).unwrap();
        let global = output(&outputs, LANGUAGE_GLOBAL).unwrap();
        let places = output(&outputs, LANGUAGE_PLACES).unwrap();
        let int8 = network.infer(&input.pixels).unwrap();
        let embedded = network.embedded(&int8, &language.space).unwrap();
        let said = scorer.score(embedded.image());
        let float = float.iter();
        float
            .zip(said)
            .map(|(float, int8)| {
                [float.score(global, places, f64::from(prior.scale)).raw as f32, int8.raw]
            })
            .collect()
    };
    (0..PICTURES).map(&mut of).collect()
}

pub(super) fn language(bundle: &Bundle) -> Language {
    Carrier::from(bundle).language().unwrap().expect("it has findings in words")
}

/// Nobody knows anything.
pub(super) fn nothing(_: usize) -> serde_json::Value {
    json!({})
}

#[test]
fn a_bundle_scores_phrases_as_the_float_network_does() {
    let place = PriorPlace::new(true);
    let index = place.index(nothing);
    let bundle = quantize(&place, &index, "a.bundle", true).unwrap();
    let found = language(&bundle);
    assert_eq!((found.space.width, found.space.grid), (32, [2, 2]));
    assert!((found.scale - 1.0 / 0.07).abs() < 1e-3, "{}", found.scale);
    let names: Vec<&str> = found.prompts.iter().map(|prompt| prompt.name.as_str()).collect();
    assert_eq!(names, ["Effusion", "Big Heart"]);
    assert_eq!(found.prompts[1].threshold, 0.25);
    assert_eq!(found.prompts[1].code.as_ref().unwrap().code.value(), "8186001");
    // Our table knows the first.
    assert!(found.prompts[0].code.is_some());
    let bank = found.bank.as_ref().unwrap();
    let sentences: Vec<&String> = bank.sentences.iter().flatten().collect();
    assert!(!sentences.is_empty() && sentences.len() == bank.prototypes.len());
    assert!(sentences.iter().all(|own| prior::SENTENCES.contains(&own.as_str())));

    let (mut worst, mut spread) = (0.0_f32, 0.0_f32);
    for finding in 0..2 {
        let scores = scores(&place, &bundle, &found);
        let column: Vec<[f32; 2]> = scores.iter().map(|image| image[finding]).collect();
        let float = column.iter().map(|[float, _]| *float);
        let (low, high) = float.fold((1.0_f32, 0.0_f32), |(a, b), x| (a.min(x), b.max(x)));
        spread = spread.max(high - low);
        let off = column.iter().map(|[float, int8]| (float - int8).abs());
        worst = off.fold(worst, f32::max);
    }
    assert!(spread > 0.05, "the images are all alike: {spread}");
    assert!(worst < 0.25 * spread, "{worst} beside a spread of {spread}");
    run(&[&"check", &place.folder.path().join("a.bundle")]).unwrap();
    let again = quantize(&place, &index, "b.bundle", true).unwrap();
    assert_eq!(again.to_bytes().unwrap(), bundle.to_bytes().unwrap());
}

#[test]
fn golden_vectors_hold_what_phrases_and_the_bank_say_and_check_names_a_bit_that_differs() {
    let place = PriorPlace::new(true);
    let bundle = quantize(&place, &place.index(nothing), "a.bundle", true).unwrap();
    let golden = bundle.golden().unwrap();
    let path = place.folder.path().join("changed.bundle");
    let check = |golden: &Golden| {
        let part = |entry: &SectionEntry| {
            let bytes = bundle.section(&entry.name).unwrap().to_vec();
            (entry.name.clone(), bytes)
        };
        let mut sections: Vec<_> = bundle.manifest.sections.iter().map(part).collect();
        let own = sections.iter_mut().find(|(name, _)| name == section::GOLDEN).unwrap();
        own.1 = golden.to_bytes().unwrap();
        let changed = Bundle::seal(bundle.manifest.clone(), sections, None).unwrap();
        fs::write(&path, changed.to_bytes().unwrap()).unwrap();
        run(&[&"check", &path])
    };
    check(&golden).unwrap();
    let of = [LANGUAGE_GLOBAL, LANGUAGE_PLACES, "zero-shot.scores", "zero-shot.heat"];
    for name in of.into_iter().chain(["zero-shot.nearest"]) {
        for vector in 0..golden.vectors.len() {
            let mut wrong = golden.clone();
            let outputs = &mut wrong.vectors[vector].outputs;
            let output = outputs.iter_mut().find(|output| output.name == name).unwrap();
            *output.bytes.last_mut().unwrap() ^= 1;
            let error = check(&wrong).unwrap_err();
            let expected = format!("golden vector {vector}, output `{name}`: value ");
            assert!(error.contains(&expected), "{error}");
        }
    }
    // Packs and bundles from before that are whole too.
    let mut old = golden;
    for vector in &mut old.vectors {
        vector.outputs.retain(|output| !output.name.starts_with("zero-shot."));
    }
    check(&old).unwrap();
}

#[test]
fn probabilities_and_thresholds_are_fitted_where_the_validation_split_says_enough() {
    let place = PriorPlace::new(false);
    let before = quantize(&place, &place.index(nothing), "before.bundle", false).unwrap();
    let plain = language(&before);
    assert!(plain.prompts.iter().all(|prompt| prompt.calibration.is_none()));
    let chosen = &plain.prompts[0].chosen;
    assert!(chosen.contains("not fitted") && chosen.contains("0 with it"), "{chosen}");

    // Truth that the int8 score nearly tells: of each half of the validation pictures, two are swapped.
    let scores = scores(&place, &before, &plain);
    let mut of_val: Vec<usize> = (0..PICTURES).filter(|at| !at.is_multiple_of(2)).collect();
    of_val.sort_by(|&a, &b| scores[a][0][1].total_cmp(&scores[b][0][1]));
    let rank = |at: usize| of_val.iter().position(|&own| own == at);
    let swapped = [9, 11, 12, 14];
    let truth = |at: usize| rank(at).is_some_and(|at| (at >= 12) != swapped.contains(&at));
    let index = place.index(|at| json!({ "Effusion": u8::from(truth(at)) }));
    let after = quantize(&place, &index, "after.bundle", false).unwrap();
    let fitted = language(&after);
    let effusion = &fitted.prompts[0];
    assert_eq!(effusion.chosen, "Youden's J on the val split (n = 24), int8");
    let platt = effusion.calibration.unwrap();
    assert!(platt.slope > 0.0, "{platt:?}");
    // The threshold divides what the score divides.
    let probability =
        |raw: f32| 1.0 / (1.0 + (-(platt.slope * (raw / (1.0 - raw)).ln() + platt.offset)).exp());
    let says = |at: usize| probability(scores[at][0][1]) >= effusion.threshold;
    let right = of_val.iter().filter(|&&at| says(at) == truth(at));
    assert!(right.count() >= 20);
    assert!(fitted.prompts[1].calibration.is_none(), "nobody said anything of it");
    assert_eq!(fitted.prompts[1].threshold, 0.25);
    let metric = after.manifest.metrics.iter().find(|metric| metric.metric == "auroc/Effusion");
    let metric = metric.unwrap();
    assert_eq!((metric.task.as_str(), metric.n), ("language", 24));
    assert!(metric.value > 0.8, "{}", metric.value);
    let card = String::from_utf8(after.require(section::MODEL_CARD).unwrap().to_vec()).unwrap();
    assert!(card.contains("| Effusion | pleural effusion is observed; there is"), "{card}");
}

#[test]
fn verify_asks_both_networks_in_words_and_looks_where_their_maps_lie() {
    let place = PriorPlace::new(true);
    let index = place.index(
        |at| json!({ "Effusion": u8::from(at % 3 == 0), "Big Heart": u8::from(at % 4 == 1) }),
    );
    let lines = fs::read_to_string(&index).unwrap();
    let boxed: String = lines
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["boxes"] = json!([{ "label": "fluid", "x": 0, "y": 0, "w": 32, "h": 32 }]);
            format!("{line}\n")
        })
        .collect();
    fs::write(&index, boxed).unwrap();
    quantize(&place, &index, "a.bundle", false).unwrap();
    let bundle = place.folder.path().join("a.bundle");
    let report = place.folder.path().join("report.html");
    let verify = |region: &str| {
        run(&[
            &"verify",
            &bundle,
            &"--data",
            &index,
            &"--checkpoint",
            &place.checkpoint,
            &"--split",
            &"val",
            &"--region",
            &region,
            &"--report",
            &report,
        ])
    };
    verify("Effusion=boxes.fluid").unwrap();
    let page = fs::read_to_string(&report).unwrap();
    for metric in [
        "auroc/Effusion",
        "auroc-of-int8/Big Heart",
        "agreement/Effusion",
        "pointing/Effusion",
        "pointing-of-centre/Effusion",
        "near/Effusion",
        "iou-of-chance/Effusion",
    ] {
        assert!(page.contains(metric), "{metric}");
    }
    assert!(!page.contains("pointing/Big Heart"), "nobody drew it");
    let error = verify("Mass=boxes.fluid").unwrap_err();
    assert!(error.contains("--region names `Mass`"), "{error}");
}

#[test]
fn what_cannot_be_asked_in_words_is_refused_by_name() {
    let place = PriorPlace::new(false);
    let index = place.index(nothing);
    let error = quantize(&place, &index, "a.bundle", true).unwrap_err();
    assert!(error.contains("reviewed.txt") && error.contains("without prototypes"), "{error}");

    let with = |quirks: Quirks| {
        fs::remove_dir_all(&place.checkpoint).unwrap();
        prior::save(&place.checkpoint, Backbone::Resnet18, true, quirks);
        quantize(&place, &index, "a.bundle", false).unwrap_err()
    };
    let error = with(Quirks { layout: true, ..Quirks::default() });
    assert!(error.contains("released_quirks.layout is on"), "{error}");
    let error = with(Quirks { noise: true, ..Quirks::default() });
    assert!(error.contains("released_quirks.noise is on"), "{error}");
    prior::save(&place.checkpoint, Backbone::Resnet18, true, Quirks::default());
    fs::write(&place.findings, prior::FINDINGS.replace("negative = [\"no", "other = [\"no"))
        .unwrap();
    let error = quantize(&place, &index, "a.bundle", false).unwrap_err();
    assert!(error.contains("findings.toml"), "{error}");

    let (folder, checkpoint, images) = crate::fixtures::workplace(Backbone::Resnet18);
    fs::write(&place.findings, prior::FINDINGS).unwrap();
    let out: PathBuf = folder.path().join("out.bundle");
    let error = run(&[
        &"quantize",
        &"--int8",
        &"--checkpoint",
        &checkpoint,
        &"--calibration",
        &images,
        &"--prompts",
        &place.findings,
        &"--out",
        &out,
    ]);
    let error = error.unwrap_err();
    assert!(error.contains("is no PRIOR checkpoint"), "{error}");
    assert!(!out.exists());
}

#[test]
fn every_backbone_takes_findings_in_words() {
    for backbone in [Backbone::Resnet50, Backbone::Mobilenetv2, Backbone::Densenet121] {
        let place = PriorPlace::new(true);
        fs::remove_dir_all(&place.checkpoint).unwrap();
        prior::save(&place.checkpoint, backbone, true, Quirks::default());
        let bundle = quantize(&place, &place.index(nothing), "a.bundle", true).unwrap();
        assert!(bundle.manifest.head(Task::Language).is_some());
        let found = language(&bundle);
        let scores = scores(&place, &bundle, &found);
        let off = scores.iter().flatten().map(|[float, int8]| (float - int8).abs());
        let mean = off.sum::<f32>() / (2 * PICTURES) as f32;
        assert!(mean < 0.05, "{backbone}: {mean}");
    }
}

#[test]
fn a_pack_asks_a_bundle_for_findings_it_does_not_have() {
    let place = PriorPlace::new(true);
    let index = place.index(|at| json!({ "Clear": u8::from(at % 4 == 1) }));
    quantize(&place, &index, "a.bundle", false).unwrap();
    let (bundle, key) = (place.folder.path().join("a.bundle"), place.folder.path().join("key"));
    run(&[&"keygen", &"--out", &key]).unwrap();
    let [pack, asked] = ["clear.prompts", "clear.toml"].map(|name| place.folder.path().join(name));
    let clear = "[[finding]]\nname = \"Clear\"\npositive = [\"the lungs are clear\"]\nnegative = \
                 [\"there is a pleural effusion\"]\n";
    fs::write(&asked, clear).unwrap();
    let prompts = |findings: &Path| {
        let private = place.folder.path().join("key.key");
        run(&[
            &"prompts",
            &"--checkpoint",
            &place.checkpoint,
            &"--findings",
            &findings,
            &"--bundle",
            &bundle,
            &"--data",
            &index,
            &"--name",
            &"clear",
            &"--sign",
            &private,
            &"--out",
            &pack,
        ])
    };
    prompts(&asked).unwrap();
    let sealed = bundle::SealedPack::open(&pack).unwrap();
    let public = keyring::read_public_key(&place.folder.path().join("key.pub")).unwrap();
    sealed.check_signature(&[public]).unwrap();
    let read = language::Pack::unseal(&sealed).unwrap();
    read.prove(Isa::best(), &Arc::new(Pool::new(1))).unwrap();
    assert_eq!((read.name.as_str(), read.prompts.len(), read.golden.len()), ("clear", 1, 3));
    let found = language(&Bundle::open(&bundle).unwrap());
    assert_eq!((read.space, read.scale), (found.space, found.scale));
    // A few kilobytes: six vectors of D, the phrases and golden vectors.
    assert!(fs::metadata(&pack).unwrap().len() < 2000);
    let bytes = fs::read(&pack).unwrap();
    prompts(&asked).unwrap();
    assert_eq!(fs::read(&pack).unwrap(), bytes);

    let error = prompts(&place.findings).unwrap_err();
    assert!(error.contains("`Effusion` is one of the network's own"), "{error}");
    fs::remove_dir_all(&place.checkpoint).unwrap();
    prior::save(&place.checkpoint, Backbone::Resnet50, true, Quirks::default());
    let error = prompts(&asked).unwrap_err();
    assert!(error.contains("joint space"), "{error}");
    assert_eq!(fs::read(&pack).unwrap(), bytes, "a pack that failed leaves the old one");
}
