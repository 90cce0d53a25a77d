//! The input as torchvision's preset of ImageNet makes it. Oracle: `tests/oracles/torchvision_input.py`.

use graph::{Fit, PictureFilter, Preprocess, Side};
use radiograph::{Image, network_input};

const SIDE: usize = 32;
const SHORTER: usize = 37;
const GOLDEN: &[u8] = include_bytes!("torchvision_input.f32");
/// Rows, columns.
const PICTURES: [(usize, usize); 10] = [
    (64, 64),
    (75, 75),
    (97, 131),
    (131, 98),
    (20, 20),
    (300, 257),
    (20, 45),
    (30, 200),
    (37, 40),
    (224, 180),
];

/// The oracle's.
fn picture(height: usize, width: usize) -> Image<'static> {
    let pixel = |at: usize| {
        let (y, x) = (at / width, at % width);
        ((x * x * 3 + y * 5 + x * y / 7 + 90) % 256) as f32 / 255.0
    };
    Image::new(height, width, (0..height * width).map(pixel).collect()).unwrap()
}

fn preprocess(fit: Fit) -> Preprocess {
    let (mean, std, filter) = (0.0, 1.0, PictureFilter::Triangle);
    Preprocess { height: SIDE, width: SIDE, mean, std, fit, filter, ..Preprocess::PRIOR }
}

fn resize_crop() -> Fit {
    Fit::ResizeCrop(Side::new(SHORTER).unwrap())
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Of white's distance from black: of floats four millionths, as torch's weights are 32-bit floats; of Pillow's
/// whole grey values those of two roundings.
#[test]
fn the_input_is_torchvisions_within_four_millionths_and_pillows_within_one_grey_value() {
    let (bytes, _) = GOLDEN.as_chunks::<4>();
    let golden: Vec<f32> = bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(golden.len(), PICTURES.len() * 2 * SIDE * SIDE);
    for (&(height, width), golden) in PICTURES.iter().zip(golden.chunks_exact(2 * SIDE * SIDE)) {
        let (floats, pillow) = golden.split_at(SIDE * SIDE);
        let input = network_input(&picture(height, width), &preprocess(resize_crop()));
        let (off, of_pillow) = (furthest(&input, floats), furthest(&input, pillow));
        assert!(off <= 4e-6, "{height}x{width}: {off}");
        assert!(of_pillow <= 1.0 / 255.0, "{height}x{width}: {of_pillow}");
        let ends = [f32::min, f32::max].map(|of| floats.iter().copied().fold(floats[0], of));
        assert!(ends[1] - ends[0] > 0.2, "{height}x{width}: the golden picture shows nothing");
    }
}

#[test]
fn a_stretched_or_cropped_picture_is_further_off() {
    let image = picture(97, 131);
    let input = network_input(&image, &preprocess(resize_crop()));
    for other in [Fit::Stretch, Fit::CentreCrop, Fit::Pad] {
        let off = furthest(&input, &network_input(&image, &preprocess(other)));
        assert!(off > 0.1, "{other}: {off}");
    }
}

#[test]
fn a_picture_a_thousand_times_as_wide_as_high_takes_no_more_memory_than_it_has() {
    let image = picture(4, 4000);
    let fit = Fit::ResizeCrop(Side::new(Side::MOST).unwrap());
    let input = network_input(&image, &preprocess(fit));
    assert_eq!(input.len(), SIDE * SIDE);
    assert!(input.iter().all(|x| (0.0..=1.0).contains(x)));
}
