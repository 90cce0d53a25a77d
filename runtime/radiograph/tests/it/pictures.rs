//! PNG and JPEG, resizing, and the network's input.

use graph::{Fit, Preprocess};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, LumaA, Rgb, codecs::jpeg::JpegEncoder};
use proptest::{prelude::*, test_runner::RngSeed};
use radiograph::{Image, fitted, network_input, read};
use sha2::{Digest, Sha256};
use std::io::Cursor;

fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn png_samples_are_exact_at_8_and_16_bits() {
    let eight = GrayImage::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u8]));
    let expected: Vec<f32> = (0..256).map(|v| (f64::from(v) / 255.0) as f32).collect();
    assert_eq!(read(&png(eight.clone())).unwrap().image.pixels, expected);

    let with_alpha = image::GrayAlphaImage::from_fn(16, 16, |x, y| {
        LumaA([eight.get_pixel(x, y)[0], (x * 16) as u8])
    });
    assert_eq!(read(&png(with_alpha)).unwrap().image.pixels, expected);

    type Gray16 = image::ImageBuffer<Luma<u16>, Vec<u16>>;
    let sixteen = Gray16::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u16 * 257]));
    assert_eq!(read(&png(sixteen)).unwrap().image.pixels, expected);
}

#[test]
fn colour_becomes_luma_and_grey_in_colour_stays_what_it_is() {
    let grey = image::RgbImage::from_fn(16, 16, |x, y| Rgb([(16 * y + x) as u8; 3]));
    let expected: Vec<f32> = (0..256).map(|v| (f64::from(v) / 255.0) as f32).collect();
    assert_eq!(read(&png(grey)).unwrap().image.pixels, expected);

    let primaries = image::RgbImage::from_fn(3, 1, |x, _| {
        let mut pixel = [0; 3];
        pixel[x as usize] = 255;
        Rgb(pixel)
    });
    assert_eq!(read(&png(primaries)).unwrap().image.pixels, [0.299, 0.587, 0.114]);
}

#[test]
fn jpeg_is_near_what_was_encoded_in_grey_and_in_colour() {
    let grey = GrayImage::from_fn(64, 48, |x, y| Luma([(2 * x + 2 * y) as u8]));
    for picture in
        [DynamicImage::from(grey.clone()), DynamicImage::from(grey.clone()).to_rgb8().into()]
    {
        let mut bytes = Vec::new();
        picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 95)).unwrap();
        let image = read(&bytes).unwrap().image;
        assert_eq!((image.height, image.width), (48, 64));
        for (found, drawn) in image.pixels.iter().zip(grey.pixels()) {
            assert!((found * 255.0 - f32::from(drawn[0])).abs() <= 3.0);
        }
    }
}

/// The definition in two dimensions, in double precision, without any cleverness.
fn resized_by_definition(image: &Image, height: usize, width: usize) -> Vec<f64> {
    let [scale_y, scale_x] =
        [image.height as f64 / height as f64, image.width as f64 / width as f64];
    let weight = |to: usize, from: usize, scale: f64| {
        let distance = (from as f64 + 0.5) - (to as f64 + 0.5) * scale;
        (1.0 - (distance / scale.max(1.0)).abs()).max(0.0)
    };
    let mut out = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (mut sum, mut total) = (0.0, 0.0);
            for v in 0..image.height {
                for u in 0..image.width {
                    let w = weight(y, v, scale_y) * weight(x, u, scale_x);
                    sum += w * f64::from(image.pixels[v * image.width + u]);
                    total += w;
                }
            }
            out.push(sum / total);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn resizing_is_the_antialiased_triangle_filter(
        from in (1usize..40, 1usize..40),
        to in (1usize..40, 1usize..40),
        seed in any::<u32>(),
    ) {
        let pixels = (0..from.0 * from.1)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) as f32 / u32::MAX as f32)
            .collect();
        let image = Image::new(from.0, from.1, pixels).unwrap();
        let expected = resized_by_definition(&image, to.0, to.1);
        let found = image.resize(to.0, to.1);
        prop_assert_eq!((found.height, found.width), to);
        for (a, b) in found.pixels.iter().zip(&expected) {
            prop_assert!((f64::from(*a) - b).abs() < 2e-6, "{} {}", a, b);
        }
    }
}

/// What a trained network depends on. If this changes, every checkpoint and bundle sees other
/// pixels than it was trained on.
#[test]
fn the_network_input_of_a_picture_never_changes_by_a_bit() {
    let picture = GrayImage::from_fn(517, 431, |x, y| Luma([(x * y / 7 + x * 3) as u8]));
    let image = read(&png(picture)).unwrap().image;
    let input = network_input(&image, &Preprocess::PRIOR);
    assert_eq!(input.len(), 224 * 224);
    let bytes: Vec<u8> = input.iter().flat_map(|x| x.to_le_bytes()).collect();
    let digest = hex::encode(Sha256::digest(&bytes));
    assert_eq!(digest, "fad786007281e07a09bf9e0c67cbb3ac1829fb189e81c37ebb91fa4c25165edb");
}

#[test]
fn a_padded_picture_is_itself_in_the_middle_and_black_beside() {
    let picture = GrayImage::from_fn(60, 120, |x, y| Luma([(100 + x + y / 2) as u8]));
    let image = read(&png(picture)).unwrap().image;
    let preprocess = Preprocess { height: 40, width: 40, fit: Fit::Pad, ..Preprocess::PRIOR };
    let fitted = fitted(&image, &preprocess);
    let small = image.resize(40, 20);
    for (row, own) in fitted.chunks_exact(40).zip(small.pixels.chunks_exact(20)) {
        assert!(row[..10].iter().chain(&row[30..]).all(|&x| x == 0.0));
        assert_eq!(&row[10..30], own);
    }
    let input = network_input(&image, &preprocess);
    assert_eq!(input[0], (0.0 - preprocess.mean) / preprocess.std);
}

#[test]
fn a_picture_of_the_right_size_is_only_normalised() {
    let image = Image::new(224, 224, vec![0.25; 224 * 224]).unwrap();
    let preprocess = Preprocess { mean: 0.5, std: 0.125, ..Preprocess::PRIOR };
    assert!(network_input(&image, &preprocess).iter().all(|x| *x == -2.0));
}

#[test]
fn grey_bytes_are_rounded_and_clamped() {
    let image = Image::new(1, 4, vec![0.0, 0.5, 1.0, 2.0]).unwrap();
    assert_eq!(image.to_gray8(), [0, 128, 255, 255]);
    assert!(Image::new(2, 2, vec![0.0; 3]).is_err());
    assert!(Image::new(0, 2, vec![]).is_err());
}
