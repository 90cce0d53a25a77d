//! What is drawn is where it belongs.

use super::*;
use results::{BundleId, Status};

fn report() -> Record {
    let finding = |name: &str, probability, threshold| Finding {
        name: name.into(),
        probability,
        threshold,
        positive: probability >= threshold,
    };
    let bundle = BundleId {
        id: "chest-14".into(),
        digest: "0123456789abcdef".into(),
        ..BundleId::default()
    };
    Record {
        status: Status::Analysed,
        reason: None,
        findings: vec![
            finding("Cardiomegaly", 0.12, 0.4),
            finding("Pleural effusion", 0.81, 0.5),
            finding("Pneumonia", 0.46, 0.5),
            finding("Enlarged cardiomediastinum of the very long name", 0.02, 0.3),
        ],
        masks: Vec::new(),
        mask: Some(MaskSummary { name: "Lung".into(), area_fraction: 0.31 }),
        boxes: Some(vec![FoundBox {
            name: "Opacity".into(),
            score: 0.7,
            x: 60.0,
            y: 90.0,
            width: 80.0,
            height: 70.0,
        }]),
        ..Record::not_analysed("chest.dcm".into(), bundle, String::new())
    }
}

fn picture(height: usize, width: usize) -> Image<'static> {
    let pixel = |i: usize| {
        let (y, x) =
            ((i / width) as f32 / height as f32 - 0.5, (i % width) as f32 / width as f32 - 0.5);
        (1.0 - 2.0 * (y * y + x * x).sqrt()).clamp(0.0, 1.0)
    };
    Image::new(height, width, (0..height * width).map(pixel).collect()).unwrap()
}

#[test]
fn mask_box_and_bars_are_where_they_belong() {
    let half = [Mask { name: "Lung".into(), height: 1, width: 2, data: vec![1, 0] }];
    let canvas = draw(&picture(240, 200), &half, &report(), 960, None);
    assert_eq!((canvas.width, canvas.height), (800 + 375, 960));
    let at = |x, y| canvas.get(x, y);
    let tinted = at(200, 480);
    assert!(
        tinted[1] > tinted[0] && at(600, 480)[0] == at(600, 480)[1],
        "mask on the left half only"
    );
    assert_eq!(at(240 + 100, 360), POSITIVE, "upper edge of the box");
    // First bar: the positive finding, filled to 81 %, empty beyond.
    let bars: Vec<_> = (0..canvas.height)
        .filter(|&y| at(800 + 30, y) == POSITIVE && at(800 + 200, y) == POSITIVE)
        .collect();
    assert!(!bars.is_empty());
    assert_eq!(at(800 + 375 - 40, bars[0] + 2), LINE);
}

#[test]
fn every_mask_is_named_in_its_colour() {
    let mut report = report();
    let summary = |name: &str| MaskSummary { name: name.into(), area_fraction: 0.2 };
    report.masks = vec![summary("Left lung"), summary("Right lung"), summary("Heart")];
    let drawn = |report: &Record, colour: Colour| {
        let canvas = draw(&picture(240, 200), &[], report, 960, None);
        let panel = (800..canvas.width).flat_map(|x| (0..canvas.height).map(move |y| (x, y)));
        panel.filter(|&(x, y)| canvas.get(x, y) == colour).count()
    };
    for colour in &MASKS[..3] {
        assert!(drawn(&report, *colour) > 0, "{colour:?}");
    }
    assert_eq!(drawn(&report, MASKS[3]), 0);
    report.masks.clear();
    assert!(drawn(&report, MASKS[0]) > 0 && drawn(&report, MASKS[1]) == 0);
}

#[test]
fn any_shape_can_be_drawn() {
    for (height, width) in [(1, 300), (300, 1), (128, 128)] {
        let canvas = draw(&picture(height, width), &[], &report(), 256, None);
        assert!(canvas.height >= 252 && canvas.width > 100);
    }
    let mut many = report();
    many.findings = (0..99)
        .map(|i| Finding {
            name: format!("f{i}"),
            probability: f32::NAN,
            threshold: 2.0,
            positive: false,
        })
        .collect();
    many.boxes.as_mut().unwrap()[0].x = -1e9;
    draw(&picture(128, 128), &[], &many, 256, None);
}
