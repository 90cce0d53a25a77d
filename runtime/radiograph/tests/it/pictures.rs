//! PNG and JPEG, resizing, and the network's input.

use graph::{Fit, Preprocess};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, LumaA, Rgb, codecs::jpeg::JpegEncoder};
use proptest::{prelude::*, test_runner::RngSeed};
use radiograph::{
    Image, Kind, NotAnalysed, fitted, gate, network_input, probe, probe_file, read, read_file,
};
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
    assert_eq!(read(&png(eight.clone())).unwrap().image.pixels(), expected);

    let with_alpha = image::GrayAlphaImage::from_fn(16, 16, |x, y| {
        LumaA([eight.get_pixel(x, y)[0], (x * 16) as u8])
    });
    assert_eq!(read(&png(with_alpha)).unwrap().image.pixels(), expected);

    type Gray16 = image::ImageBuffer<Luma<u16>, Vec<u16>>;
    let sixteen = Gray16::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u16 * 257]));
    assert_eq!(read(&png(sixteen)).unwrap().image.pixels(), expected);
}

#[test]
fn colour_becomes_luma_and_grey_in_colour_stays_what_it_is() {
    let grey = image::RgbImage::from_fn(16, 16, |x, y| Rgb([(16 * y + x) as u8; 3]));
    let expected: Vec<f32> = (0..256).map(|v| (f64::from(v) / 255.0) as f32).collect();
    assert_eq!(read(&png(grey)).unwrap().image.pixels(), expected);

    let primaries = image::RgbImage::from_fn(3, 1, |x, _| {
        let mut pixel = [0; 3];
        pixel[x as usize] = 255;
        Rgb(pixel)
    });
    assert_eq!(read(&png(primaries)).unwrap().image.pixels()[..], [0.299, 0.587, 0.114]);
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
        for (found, drawn) in image.pixels().iter().zip(grey.pixels()) {
            assert!((found * 255.0 - f32::from(drawn[0])).abs() <= 3.0);
        }
    }
}

/// The definition in two dimensions, in double precision, without any cleverness.
fn resized_by_definition(image: &Image<'_>, height: usize, width: usize) -> Vec<f64> {
    let [scale_y, scale_x] =
        [image.height as f64 / height as f64, image.width as f64 / width as f64];
    let weight = |to: usize, from: usize, scale: f64| {
        let distance = (from as f64 + 0.5) - (to as f64 + 0.5) * scale;
        (1.0 - (distance / scale.max(1.0)).abs()).max(0.0)
    };
    let pixels = image.pixels();
    let mut out = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (mut sum, mut total) = (0.0, 0.0);
            for v in 0..image.height {
                for u in 0..image.width {
                    let w = weight(y, v, scale_y) * weight(x, u, scale_x);
                    sum += w * f64::from(pixels[v * image.width + u]);
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
        for (a, b) in found.pixels().iter().zip(&expected) {
            prop_assert!((f64::from(*a) - b).abs() < 2e-6, "{} {}", a, b);
        }
    }
}

/// What a trained network depends on. If this changes, every checkpoint and bundle sees other
/// pixels than it was trained on.
#[test]
fn the_network_input_of_a_picture_never_changes_by_a_bit() {
    let picture = GrayImage::from_fn(517, 431, |x, y| Luma([(x * y / 7 + x * 3) as u8]));
    let image = read(&png(picture)).unwrap().image.into_owned();
    let input = network_input(&image, &Preprocess::PRIOR);
    assert_eq!(input.len(), 224 * 224);
    let bytes: Vec<u8> = input.iter().flat_map(|x| x.to_le_bytes()).collect();
    let digest = hex::encode(Sha256::digest(&bytes));
    assert_eq!(digest, "fad786007281e07a09bf9e0c67cbb3ac1829fb189e81c37ebb91fa4c25165edb");
}

#[test]
fn a_padded_picture_is_itself_in_the_middle_and_black_beside() {
    let picture = GrayImage::from_fn(60, 120, |x, y| Luma([(100 + x + y / 2) as u8]));
    let image = read(&png(picture)).unwrap().image.into_owned();
    let preprocess = Preprocess { height: 40, width: 40, fit: Fit::Pad, ..Preprocess::PRIOR };
    let fitted = fitted(&image, &preprocess);
    let small = image.resize(40, 20);
    for (row, own) in fitted.chunks_exact(40).zip(small.pixels().chunks_exact(20)) {
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

/// Inserts EXIF data that says `orientation` into a JPEG file, after its SOI.
pub(crate) fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif =
        b"\xFF\xE1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

/// Inserts a chunk into a PNG file, after its IHDR or before its IEND.
pub(crate) fn with_chunk(png: &[u8], kind: &[u8; 4], data: &[u8], last: bool) -> Vec<u8> {
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend([&kind[..], data].concat());
    let mut crc = flate2::Crc::new();
    crc.update(&chunk[4..]);
    chunk.extend(crc.sum().to_be_bytes());
    let at = if last { png.len() - 12 } else { 33 };
    [&png[..at], &chunk, &png[at..]].concat()
}

/// Stored on its side: a quarter turn clockwise shows it upright.
const QUARTER_TURN: u8 = 6;

#[test]
fn a_photograph_is_shown_the_way_up_that_exif_says() {
    let upright = GrayImage::from_fn(64, 48, |x, y| Luma([(3 * x + y) as u8]));
    let sideways = image::imageops::rotate270(&upright);
    let mut jpeg = Vec::new();
    sideways.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 100)).unwrap();
    let stored = read(&jpeg).unwrap().image;
    assert_eq!((stored.height, stored.width), (64, 48));
    let exif = [
        &b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..],
        &[QUARTER_TURN, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let png = png(sideways.clone());
    for file in [
        with_exif(&jpeg, QUARTER_TURN),
        with_chunk(&png, b"eXIf", &exif, false),
        with_chunk(&png, b"eXIf", &exif, true),
    ] {
        let image = read(&file).unwrap().image;
        assert_eq!((image.height, image.width), (48, 64));
        for (found, drawn) in image.pixels().iter().zip(upright.pixels()) {
            assert!((found * 255.0 - f32::from(drawn[0])).abs() <= 3.0);
        }
        let probe = probe(&file).unwrap();
        assert_eq!((probe.height, probe.width), (48, 64));
    }
}

type Gray16 = image::ImageBuffer<Luma<u16>, Vec<u16>>;

#[test]
fn sixteen_bit_samples_that_use_fewer_bits_are_scaled_if_the_file_says_so_and_else_refused() {
    for bits in [10, 12, 14, 15] {
        let top = (1u16 << bits) - 1;
        let dark = Gray16::from_fn(200, 150, |x, y| Luma([((x * y) % u32::from(top)) as u16 | 1]));
        let file = png(DynamicImage::ImageLuma16(dark.clone()));
        assert_eq!(gate(&read(&file).unwrap()), Err(NotAnalysed::Depth { found: bits }));

        let told = with_chunk(&file, b"sBIT", &[bits as u8], false);
        let shown = read(&told).unwrap();
        assert_eq!(gate(&shown), Ok(()));
        for (found, stored) in shown.image.pixels().iter().zip(dark.pixels()) {
            assert_eq!(*found, (f64::from(stored[0]) / f64::from(top)) as f32);
        }
    }
    // Scaled as PNG demands: sBIT is about the past.
    let scaled = Gray16::from_fn(200, 150, |x, y| Luma([(x * y) as u16 % 4096 * 16]));
    let file = png(DynamicImage::ImageLuma16(scaled));
    let told = with_chunk(&file, b"sBIT", &[12], false);
    assert!(read(&told).unwrap().image == read(&file).unwrap().image);
    assert_eq!(gate(&read(&told).unwrap()), Ok(()));
    // Dark and scaled, or as it came: nobody can tell.
    let dark = Gray16::from_fn(200, 150, |x, y| Luma([((x * y) % 250) as u16 * 16]));
    let told = with_chunk(&png(DynamicImage::ImageLuma16(dark)), b"sBIT", &[12], false);
    assert_eq!(gate(&read(&told).unwrap()), Err(NotAnalysed::Depth { found: 12 }));
}

#[test]
fn a_file_is_what_its_first_bytes_say_whatever_it_is_called() {
    let folder = std::env::temp_dir().join(format!("radiograph-kinds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let picture = GrayImage::from_fn(70, 50, |x, y| Luma([(x * y) as u8]));
    let mut jpeg = Vec::new();
    picture.write_with_encoder(JpegEncoder::new(&mut jpeg)).unwrap();
    let files = [
        ("IM0001", png(picture), Some(Kind::Png)),
        ("1.2.840.1", jpeg, Some(Kind::Jpeg)),
        ("notes.txt", b"seen by nobody".to_vec(), None),
        ("empty", Vec::new(), None),
    ];
    for (name, bytes, kind) in files {
        let path = folder.join(name);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Kind::of_file(&path).unwrap(), kind, "{name}");
        let probe = probe_file(&path);
        assert_eq!(probe.is_ok(), kind.is_some(), "{name}");
        if let Ok(probe) = probe {
            assert_eq!((probe.kind, probe.height, probe.width), (kind.unwrap(), 50, 70));
            let image = read_file(&path).unwrap().image;
            assert_eq!((image.height, image.width), (50, 70));
        }
    }
    let missing = probe_file(&folder.join("missing")).unwrap_err();
    assert!(missing.to_string().contains("missing"), "{missing}");
    std::fs::remove_dir_all(&folder).unwrap();
}
