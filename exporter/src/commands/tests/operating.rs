//! Thresholds of a bundle: what the int8 network says of the validation split decides, for every head.

use super::{
    place::{
        IMAGES, INSIDE, Place, best_j, boxes, card, known, labelled, output, point, positive,
        probabilities, refit,
    },
    run,
};
use crate::{fixtures, write::provenance::Quantized};
use bundle::{Bundle, section};
use engine::decode;
use graph::{Backbone, Preprocess, Task};
use metrics::threshold::Criterion;
use serde_json::json;
use std::fs;

#[test]
fn every_threshold_is_fitted_on_what_the_int8_network_says() {
    let place = Place::new();
    let (before, int8) = place.before();
    let scores = probabilities(&int8);
    let truth = known(&scores);

    // Truth the int8 network meets exactly: its own regions at one threshold, and its surest box of every second picture.
    fs::create_dir(place.folder.path().join("masks")).unwrap();
    for (at, outputs) in int8.iter().enumerate() {
        let logits = output(outputs, "segmentation");
        let mask =
            decode::mask("", logits, [32, 32], &Preprocess::PRIOR.place([64, 64]), INSIDE).data;
        let grey: Vec<u8> = mask.iter().map(|inside| inside * 255).collect();
        fixtures::save_picture(&place.folder.path().join(format!("masks/{at}.png")), &grey);
    }
    let found: Vec<_> = int8.iter().map(|outputs| boxes(&place, &before, outputs)).collect();
    let drawn = |at: usize| at.is_multiple_of(2);
    let index = place.index(|at| {
        let sure = &found[at][0];
        let own = json!({ "label": "Opacity", "x": sure.x, "y": sure.y, "w": sure.width, "h": sure.height });
        json!({
            "masks": [{ "path": format!("masks/{at}.png"), "cls": "Lung" }],
            "boxes": if drawn(at) { vec![own] } else { vec![] }, "looked_for": ["Opacity"],
            "labels": { "Pneumonia": i32::from(truth[at]) },
        })
    });
    let after = place.quantize(&index, "after.bundle", &[]).unwrap();
    let model = |bundle: &Bundle| bundle.require(section::MODEL).unwrap().to_vec();
    assert!(model(&before) == model(&after), "truth changes no weight");

    let (pneumonia, chosen) = point(&after, "Pneumonia");
    assert_eq!(pneumonia, best_j(&scores, &truth));
    assert_eq!(chosen, "Youden's J on the val split (n = 36), int8; float 0.1230");
    // Float would have it elsewhere.
    let float = best_j(&probabilities(&place.float()), &truth);
    assert!((pneumonia - float).abs() > 1e-5, "{pneumonia} {float}");
    let told = refit(&after, "Pneumonia");
    assert_eq!((told.old, told.new, told.n, told.kept), (0.123, pneumonia, 36, None));
    let [low, high] = told.interval.unwrap();
    assert!(low <= pneumonia && pneumonia <= high && low < high, "{low} {pneumonia} {high}");
    let row = format!("| Pneumonia | 0.1230 | {pneumonia:.4} | {low:.4} to {high:.4} | 36 | yes |");
    assert!(card(&after).contains(&row), "{row}\n{}", card(&after));

    // Only at the threshold the masks were drawn from is every Dice 1.
    let (lung, chosen) = point(&after, "Lung");
    assert_eq!(lung, INSIDE);
    assert_eq!(chosen, "highest mean Dice on the val split (n = 36), int8; float 0.1230");

    // Random boxes: nine in ten are wrong at any score, so no score is better than another.
    let (opacity, chosen) = point(&after, "Opacity");
    assert_eq!(opacity, 0.123);
    assert!(
        chosen.starts_with("highest F1 at IoU 0.5 on the val split; kept from float: "),
        "{chosen}"
    );
    let told = refit(&after, "Opacity");
    assert!(told.interval.is_some() && told.kept.unwrap().contains("% of the boxes undecided"));

    let metrics = &after.manifest.metrics;
    let of_int8: Vec<&str> =
        metrics.iter().filter(|m| m.arithmetic == "int8").map(|m| m.metric.as_str()).collect();
    assert_eq!(of_int8, ["auroc/Pneumonia", "dice/Lung", "map/.40-.75"]);
    assert_eq!(metrics[metrics.len() - 2].value, 1.0);
}

/// In the words of a checkpoint of before.
#[test]
fn a_wished_sensitivity_is_wished_of_the_int8_network_too() {
    let place = Place::new();
    let config = place.checkpoint.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let words = "chosen = \"sensitivity 0.75 on the val split\"";
    fs::write(&config, text.replacen("criterion = \"youden\"", words, 1)).unwrap();
    let truth = known(&probabilities(&place.before().1));
    let bundle = place.quantize(&place.index(|at| labelled(truth[at])), "a.bundle", &[]).unwrap();
    let (threshold, chosen) = point(&bundle, "Pneumonia");
    assert_eq!(chosen, "sensitivity 0.75 on the val split (n = 36), int8; float 0.1230");
    assert_eq!(refit(&bundle, "Pneumonia").criterion, Some(Criterion::Sensitivity(0.75)));
    let scores = probabilities(&place.int8(&bundle));
    let found =
        |threshold: f32| (0..IMAGES).filter(|&at| truth[at] && scores[at] >= threshold).count();
    // Nine of twelve, and no higher threshold finds as many.
    assert_eq!(found(threshold), 9);
    let next = scores.iter().copied().filter(|&s| s >= threshold).fold(1.0, f32::min);
    assert_eq!(found(next + 1e-7), 8);
}

#[test]
fn thresholds_stay_as_they_were_where_nothing_says_better() {
    let place = Place::new();
    let from_folder = place.quantize(&place.images.clone(), "folder.bundle", &[]).unwrap();
    // Two positives say nothing.
    let index = place.index(|at| labelled(at < 2));
    let from_few = place.quantize(&index, "few.bundle", &[]).unwrap();
    for bundle in [&from_folder, &from_few] {
        for name in ["Pneumonia", "Lung", "Opacity"] {
            let (threshold, chosen) = point(bundle, name);
            assert_eq!(threshold, 0.123, "{name}");
            assert!(!chosen.contains("int8"), "{chosen}");
        }
        assert_eq!(point(bundle, "Effusion").0, 0.5);
    }
    assert_eq!(point(&from_folder, "Effusion").1, "not fitted: even odds");
    assert!(card(&from_folder).contains("Thresholds are the float network's"));
    let kept = refit(&from_few, "Pneumonia").kept.unwrap();
    assert_eq!(kept, "patients: 2 with it and 34 without, expected 10");
    assert!(card(&from_few).contains(&kept));
}

/// Issue 18, fault 4: other images moved a threshold from 0.225 to 0.649.
#[test]
fn images_the_checkpoint_was_not_trained_for_move_no_threshold() {
    let place = Place::new();
    place.configure("[training]\nsource = \"ours\"\nhaving = [\"Edema\"]\n");
    let scores = probabilities(&place.before().1);
    let truth = known(&scores);
    // The same pictures from elsewhere, and without edema, say the opposite.
    let line = |at: usize, source: &str, edema: bool, truth: bool| {
        let labels = json!({ "Pneumonia": i32::from(truth), "Edema": i32::from(edema) });
        let record = json!({
            "id": format!("{source}{edema}{at}"), "patient_id": format!("{source}{edema}{at}"),
            "split": "val", "source": source, "image": format!("images/{at}.png"), "labels": labels,
        });
        format!("{record}\n")
    };
    let lines = (0..IMAGES).flat_map(|at| {
        let other = !truth[at];
        [
            line(at, "ours", true, truth[at]),
            line(at, "ours", false, other),
            line(at, "theirs", true, other),
        ]
    });
    let index = place.write(lines.collect());
    let bundle = place.quantize(&index, "ours.bundle", &[]).unwrap();
    assert_eq!(point(&bundle, "Pneumonia").0, best_j(&scores, &truth));
    let told = refit(&bundle, "Pneumonia");
    assert_eq!((told.old, told.n), (0.123, 36));
    let quantized = Quantized::of(&bundle.manifest).unwrap().unwrap();
    assert_eq!(quantized.selection().to_string(), "images from ours with Edema");
    assert!(card(&bundle).contains("images from ours with Edema of the val split"));
    let metrics = &bundle.manifest.metrics;
    assert_eq!(
        (metrics[0].n, metrics[0].data.as_str()),
        (36, "the calibration index, images from ours with Edema")
    );

    // Whoever wants others names them, and the bundle says so.
    let theirs = place.quantize(&index, "theirs.bundle", &["--source", "theirs"]).unwrap();
    let quantized = Quantized::of(&theirs.manifest).unwrap().unwrap();
    assert_eq!(quantized.selection().to_string(), "images from theirs");
    assert_eq!(refit(&theirs, "Pneumonia").n, 36);
    let all = place.quantize(&index, "all.bundle", &["--unselected"]).unwrap();
    assert_eq!(refit(&all, "Pneumonia").n, 108);
    let error = place.quantize(&index, "mars.bundle", &["--source", "mars"]).err().unwrap();
    assert!(error.contains("no image is from `mars`; the index has ours, theirs"), "{error}");

    // What is verified is what thresholds are for, each network at its own.
    let (report, path) =
        (place.folder.path().join("report.html"), place.folder.path().join("ours.bundle"));
    run(&[&"verify", &path, &"--data", &index, &"--split", &"val", &"--report", &report]).unwrap();
    let page = fs::read_to_string(&report).unwrap();
    assert!(page.contains("36 images of split <b>val, images from ours with Edema</b>"), "{page}");
    assert!(page.contains(&format!("<td>0.123, {:.3}", told.new)), "{page}");
}

#[test]
fn a_threshold_whose_interval_leaves_too_much_undecided_stays() {
    let place = Place::new();
    // Labels that have nothing to do with the pictures: any threshold is as good as another.
    let bundle =
        place.quantize(&place.index(|at| labelled(positive(at))), "a.bundle", &[]).unwrap();
    let told = refit(&bundle, "Pneumonia");
    assert_eq!((told.old, told.new), (0.123, 0.123));
    let kept = told.kept.unwrap();
    assert!(kept.contains("of the images undecided, expected at most 25 %"), "{kept}");
    assert!(told.interval.is_some());
}

#[test]
fn a_threshold_that_a_person_set_stays() {
    let place = Place::new();
    let config = place.checkpoint.join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let words = "chosen = \"by our radiologists\"";
    fs::write(&config, text.replacen("criterion = \"youden\"", words, 1)).unwrap();
    let truth = known(&probabilities(&place.before().1));
    let bundle = place.quantize(&place.index(|at| labelled(truth[at])), "a.bundle", &[]).unwrap();
    let (threshold, chosen) = point(&bundle, "Pneumonia");
    assert_eq!(threshold, 0.123);
    assert!(chosen.starts_with("by our radiologists; kept from float: nobody says"), "{chosen}");
}

#[test]
fn the_inside_of_boxes_is_a_region_here_too() {
    let mut model = fixtures::config(Backbone::Resnet18);
    model.heads.iter_mut().find(|head| head.task == Task::Segmentation).unwrap().labels =
        vec!["boxes.Opacity".into()];
    let (folder, checkpoint, _) = fixtures::workplace_of(model);
    let line = |at: usize| {
        let own = json!({ "label": "Opacity", "x": 8 + at, "y": 8, "w": 30, "h": 40 });
        let record = json!({
            "id": at.to_string(), "split": "val", "image": format!("images/{at}.png"), "boxes": [own],
        });
        format!("{record}\n")
    };
    let (index, out) = (folder.path().join("index.jsonl"), folder.path().join("a.bundle"));
    fs::write(&index, (0..8).map(line).collect::<String>()).unwrap();
    run(&[
        &"quantize",
        &"--int8",
        &"--checkpoint",
        &checkpoint,
        &"--calibration",
        &index,
        &"--out",
        &out,
    ])
    .unwrap();
    let bundle = Bundle::open(&out).unwrap();
    let dice = bundle.manifest.metrics.iter().find(|metric| metric.metric == "dice/boxes.Opacity");
    assert_eq!(dice.unwrap().n, 8);
    assert_eq!(
        refit(&bundle, "boxes.Opacity").kept.unwrap(),
        "patients: 8 with it drawn, expected 10"
    );
    let report = folder.path().join("report.html");
    run(&[&"verify", &out, &"--data", &index, &"--split", &"val", &"--report", &report]).unwrap();
    assert!(fs::read_to_string(&report).unwrap().contains("dice/boxes.Opacity"));
}

#[test]
fn the_same_index_and_passes_give_the_same_digest() {
    let place = Place::new();
    let index = place.index(|_| json!({}));
    let more = ["--observer", "auto", "--adaround", "--equalize"];
    let digest = |name: &str| place.quantize(&index, name, &more).unwrap().digest();
    let once = digest("a.bundle");
    assert_eq!(once, digest("b.bundle"));
    // Another picture is another bundle.
    fixtures::save_picture(&place.images.join("5.png"), &[[9, 200]; 32 * 64].concat());
    assert_ne!(once, digest("c.bundle"));
}

#[test]
fn masks_of_another_size_are_named_with_both_sizes() {
    let place = Place::new();
    let mask = place.folder.path().join("mask.png");
    image::save_buffer(&mask, &[255; 32 * 48], 32, 48, image::ColorType::L8).unwrap();
    let index = place.index(|_| json!({ "masks": [{ "path": "mask.png", "cls": "Lung" }] }));
    let error = place.quantize(&index, "a.bundle", &[]).err().unwrap();
    assert!(error.contains("mask.png: mask is 32x48, expected the image's 64x64"), "{error}");
}
