//! The input as TorchXRayVision makes it. Oracle: `tests/oracles/torchxrayvision_input.py`.

use graph::{Fit, PictureFilter, Preprocess};
use radiograph::{Image, network_input};

const SIDE: usize = 32;
const GOLDEN: &[u8] = include_bytes!("torchxrayvision_input.f32");
/// Rows, columns, and whether it is bright.
const PICTURES: [(usize, usize, bool); 9] = [
    (32, 32, false),
    (75, 75, false),
    (97, 131, false),
    (131, 98, false),
    (20, 20, false),
    (300, 257, false),
    (20, 45, false),
    (50, 50, true),
    (20, 20, true),
];

/// The oracle's.
fn picture(height: usize, width: usize, bright: bool) -> Image<'static> {
    let pixel = |at: usize| {
        let (y, x) = (at / width, at % width);
        let grey = (x * x * 3 + y * 5 + x * y / 7 + 90) % 256;
        let grey = if bright { 200 + grey / 8 } else { grey };
        grey as f32 / 255.0
    };
    Image::new(height, width, (0..height * width).map(pixel).collect()).unwrap()
}

/// As the preset of that name has it: −1024 to 1024.
fn preprocess() -> Preprocess {
    let (mean, std) = (0.5, 1.0 / 2048.0);
    let (fit, filter) = (Fit::CentreCrop, PictureFilter::Gaussian);
    Preprocess { height: SIDE, width: SIDE, mean, std, fit, filter, ..Preprocess::PRIOR }
}

#[test]
fn the_input_is_torchxrayvisions_within_a_millionth_of_the_range() {
    let (bytes, _) = GOLDEN.as_chunks::<4>();
    let golden: Vec<f32> = bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(golden.len(), PICTURES.len() * SIDE * SIDE);
    for (&(height, width, bright), golden) in PICTURES.iter().zip(golden.chunks_exact(SIDE * SIDE))
    {
        let input = network_input(&picture(height, width, bright), &preprocess());
        assert_eq!(input.len(), golden.len());
        let off = input.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 2048.0 * 1e-6, "{height}x{width}: {off}");
        let spread = golden.iter().fold(f32::MIN, |most, x| most.max(*x))
            - golden.iter().fold(f32::MAX, |least, x| least.min(*x));
        assert!(spread > 40.0, "{height}x{width}: the golden picture shows nothing, {spread}");
    }
}

#[test]
fn a_filter_that_is_not_theirs_is_further_off() {
    let triangle = Preprocess { filter: PictureFilter::Triangle, ..preprocess() };
    let image = picture(75, 75, false);
    let pairs =
        network_input(&image, &triangle).into_iter().zip(network_input(&image, &preprocess()));
    let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off > 10.0, "{off}");
}
