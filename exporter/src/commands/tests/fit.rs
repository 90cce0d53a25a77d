//! Pictures that are not square, in a bundle that keeps their aspect.

use crate::fixtures;
use bundle::{Bundle, section};
use engine::{Analyzer, Detection, Findings, Options, interpret};
use graph::{Backbone, Fit};
use radiograph::Image;
use std::fs;

const SIDE: usize = 64;
/// Columns of the square that the picture takes: half of them, in the middle.
const TAKEN: std::ops::Range<usize> = 16..48;

#[test]
fn a_padded_picture_is_answered_as_the_square_it_is_padded_to() {
    let (folder, checkpoint, images) = fixtures::workplace(Backbone::Resnet18);
    let quantize = |fit: Fit| {
        let config = checkpoint.join("config.toml");
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace("fit = \"stretch\"", &format!("fit = \"{fit}\""));
        fs::write(&config, text).unwrap();
        let out = folder.path().join(format!("{fit}.bundle"));
        super::quantize(&checkpoint, &images, &out).unwrap();
        Bundle::open(&out).unwrap()
    };
    let (stretch, pad) = (quantize(Fit::Stretch), quantize(Fit::Pad));
    // The images of calibration are square: nothing but the fit differs.
    assert_eq!(stretch.section(section::MODEL), pad.section(section::MODEL));
    let card = String::from_utf8_lossy(pad.require(section::MODEL_CARD).unwrap()).into_owned();
    assert!(card.contains("padded with black to 64x64"), "{card}");

    let grey = |y: usize, x: usize| ((y * 5 + x * 3) % 64) as f32 / 63.0;
    let narrow = (0..SIDE).flat_map(|y| TAKEN.map(move |x| grey(y, x))).collect();
    let black = |y: usize, x: usize| if TAKEN.contains(&x) { grey(y, x) } else { 0.0 };
    let square = (0..SIDE * SIDE).map(|i| black(i / SIDE, i % SIDE)).collect();
    let answer = |bundle: &Bundle, width: usize, pixels: Vec<f32>| -> Findings {
        let image = Image::new(SIDE, width, pixels).unwrap();
        let mut analyzer = Analyzer::open(bundle, &Options::threads(1)).unwrap();
        let input = radiograph::network_input(&image, &bundle.manifest.preprocess);
        let outputs = analyzer.engine().run(&input).unwrap();
        interpret(&outputs, &bundle.manifest, [SIDE, width]).unwrap()
    };
    let (found, expected) = (answer(&pad, TAKEN.len(), narrow), answer(&stretch, SIDE, square));

    assert_eq!(found.findings, expected.findings);
    assert_eq!(found.embedding_digest, expected.embedding_digest);
    let of_square = expected.masks[0].data.chunks_exact(SIDE);
    let cut: Vec<u8> = of_square.flat_map(|row| row[TAKEN].to_vec()).collect();
    assert!(cut.contains(&0) && cut.contains(&1));
    assert_eq!(found.masks[0].data, cut);
    let cut = |d: Detection| {
        let place = |x: f32| (x - TAKEN.start as f32).clamp(0.0, TAKEN.len() as f32);
        let (left, right) = (place(d.x), place(d.x + d.width));
        (right > left).then_some(Detection { x: left, width: right - left, ..d })
    };
    let boxes = expected.boxes.unwrap();
    assert!(!boxes.is_empty());
    assert_eq!(found.boxes.unwrap(), boxes.into_iter().filter_map(cut).collect::<Vec<_>>());
}
