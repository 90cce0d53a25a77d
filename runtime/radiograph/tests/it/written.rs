//! Phantoms written as DICOM in many ways are read back exactly.

use crate::support::{COLUMNS, Phantom, ROWS};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use radiograph::{RadiographError, Source, header, read, read_file, stored_values};
use std::{error::Error, fs, path::Path};

const SYNTAXES: [&str; 5] = [
    uids::IMPLICIT_VR_LITTLE_ENDIAN,
    uids::EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.2", // explicit VR big endian, retired
    uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids::RLE_LOSSLESS,
];

#[test]
fn any_bit_depth_sign_and_polarity_survives_any_encoding() {
    for syntax in SYNTAXES {
        for stored in 8..=16 {
            for (signed, photometric) in [
                (false, "MONOCHROME1"),
                (false, "MONOCHROME2"),
                (true, "MONOCHROME1"),
                (true, "MONOCHROME2"),
            ] {
                let phantom = Phantom { photometric, syntax, ..Phantom::draw(stored, signed) };
                let case = format!("{syntax} {stored} bits, signed {signed}, {photometric}");
                let file = phantom.file();

                let found = stored_values(&file).unwrap();
                assert_eq!((found.rows, found.columns), (ROWS, COLUMNS), "{case}");
                assert_eq!(found.values, phantom.values, "{case}");

                // The drawing fills the range: its lowest value is black, its highest white.
                let low = f64::from(*phantom.values.iter().min().unwrap());
                let high = f64::from(*phantom.values.iter().max().unwrap());
                let grey = |v: &i32| (f64::from(*v) - low) / (high - low);
                let expected: Vec<f32> = match photometric {
                    "MONOCHROME1" => {
                        phantom.values.iter().map(|v| (1.0 - grey(v)) as f32).collect()
                    }
                    _ => phantom.values.iter().map(|v| grey(v) as f32).collect(),
                };
                assert_eq!(read(&file).unwrap().image.pixels(), expected, "{case}");
            }
        }
    }
}

#[test]
fn text_of_the_header_is_read_in_its_character_set() {
    for syntax in SYNTAXES {
        let file = Phantom { syntax, ..Phantom::draw(12, false) }.file();
        let header = header(&file).unwrap();
        assert_eq!(header.patient_name, "Phantom^Draw\u{fc}n");
        assert_eq!(header.modality, "DX");
        assert_eq!(header.sop_instance_uid, "2.25.7");
        assert_eq!(header.transfer_syntax.uid(), syntax);
        assert_eq!((header.rows, header.columns, header.frames), (37, 29, 1));
        let Source::Dicom(of_picture) = read(&file).unwrap().source else { panic!("not DICOM") };
        assert_eq!(*of_picture, header);
    }
}

#[test]
fn text_that_is_not_in_its_character_set_does_not_stop_reading() {
    let mut file = Phantom::draw(12, false).file();
    let name = file.windows(7).position(|w| w == b"Phantom").unwrap();
    file[name + 3] = 0xFF;
    assert!(read(&file).is_ok());
}

#[test]
fn samples_may_lie_in_the_high_end_of_their_cells() {
    let clean = Phantom::draw(12, false);
    let mut high = clean.clone().with(tags::HIGH_BIT, VR::US, 15u16);
    high.values.iter_mut().for_each(|value| *value <<= 4);
    assert_eq!(stored_values(&high.file()).unwrap().values, clean.values);
}

/// Points computed by hand from the formulas of PS3.3 C.11.2.1.2.
#[test]
fn windows_map_values_as_the_standard_says() {
    let cases: [(&str, &[(i32, f64)]); 4] = [
        // c = 2048, w = 4096, the standard's own example of the full range
        ("LINEAR", &[(0, 0.0), (4095, 1.0), (2047, 2047.0 / 4095.0)]),
        ("", &[(0, 0.0), (4095, 1.0), (1000, 1000.0 / 4095.0)]),
        ("LINEAR_EXACT", &[(0, 0.0), (2048, 0.5), (4095, 4095.0 / 4096.0)]),
        (
            "SIGMOID",
            &[(2048, 0.5), (1024, 1.0 / (1.0 + 1f64.exp())), (3072, 1.0 / (1.0 + (-1f64).exp()))],
        ),
    ];
    for (function, points) in cases {
        let mut phantom = Phantom::draw(12, false)
            .with(tags::WINDOW_CENTER, VR::DS, "2048\\100")
            .with(tags::WINDOW_WIDTH, VR::DS, "4096\\20")
            .with(tags::VOILUT_FUNCTION, VR::CS, function);
        for (pixel, (value, _)) in phantom.values.iter_mut().zip(points) {
            *pixel = *value;
        }
        let image = read(&phantom.file()).unwrap().image.into_owned();
        for ((value, expected), found) in points.iter().zip(&*image.pixels()) {
            let far = (f64::from(*found) - expected).abs();
            assert!(far < 1e-7, "{function} of {value} is {found}, expected {expected}");
        }
    }
}

#[test]
fn a_window_applies_to_rescaled_values() {
    let mut phantom = Phantom::draw(12, false)
        .with(tags::RESCALE_SLOPE, VR::DS, "2")
        .with(tags::RESCALE_INTERCEPT, VR::DS, "-1000")
        .with(tags::WINDOW_CENTER, VR::DS, "0")
        .with(tags::WINDOW_WIDTH, VR::DS, "1000")
        .with(tags::VOILUT_FUNCTION, VR::CS, "LINEAR_EXACT");
    phantom.values[..4].copy_from_slice(&[500, 250, 750, 625]); // 0, -500, 500, 250
    let image = read(&phantom.file()).unwrap().image.into_owned();
    assert_eq!(image.pixels()[..4], [0.5, 0.0, 1.0, 0.75]);
}

#[test]
fn look_up_tables_of_both_kinds_are_applied() {
    let table = |first: u16, bits: u16, entries: &[u16]| {
        let descriptor = [entries.len() as u16, first, bits];
        [
            DataElement::new(
                tags::LUT_DESCRIPTOR,
                VR::US,
                PrimitiveValue::U16(descriptor.into_iter().collect()),
            ),
            DataElement::new(
                tags::LUT_DATA,
                VR::OW,
                PrimitiveValue::U16(entries.iter().copied().collect()),
            ),
        ]
    };
    for syntax in SYNTAXES {
        let mut phantom = Phantom { syntax, ..Phantom::draw(12, false) }
            .with_item(tags::MODALITY_LUT_SEQUENCE, table(100, 16, &[7, 6, 5, 4]))
            .with_item(tags::VOILUT_SEQUENCE, table(4, 10, &[0, 341, 682, 1023]));
        phantom.values[..6].copy_from_slice(&[100, 101, 102, 103, 0, 4095]);
        let image = read(&phantom.file()).unwrap().image.into_owned();
        let third = (341.0f64 / 1023.0) as f32;
        assert_eq!(image.pixels()[..6], [1.0, 2.0 * third, third, 0.0, 1.0, 0.0], "{syntax}");
    }
}

#[test]
fn padding_is_black_and_does_not_count_in_the_range() {
    for (photometric, signed) in [("MONOCHROME1", false), ("MONOCHROME2", true)] {
        for syntax in SYNTAXES {
            let mut phantom = Phantom { photometric, syntax, ..Phantom::draw(12, signed) };
            let padding = if signed { -2000 } else { 4000 };
            phantom.values.iter_mut().for_each(|v| *v = (*v).clamp(-1000, 1000));
            phantom.values[..9].fill(padding);
            let vr = if signed { VR::SS } else { VR::US };
            let value = if signed {
                PrimitiveValue::from(padding as i16)
            } else {
                PrimitiveValue::from(padding as u16)
            };
            let file = phantom.with(tags::PIXEL_PADDING_VALUE, vr, value).file();
            let image = read(&file).unwrap().image;
            let pixels = image.pixels();
            assert!(pixels[..9].iter().all(|x| *x == 0.0), "{photometric} {syntax}");
            assert!(pixels.contains(&1.0), "{photometric} {syntax}");
        }
    }
}

#[test]
fn eight_bit_samples_in_big_endian_words_are_put_in_order() {
    let phantom = Phantom { syntax: SYNTAXES[2], ..Phantom::draw(8, false) };
    let mut bytes: Vec<u8> = phantom.values.iter().map(|v| *v as u8).collect();
    bytes.push(0);
    let words = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let file =
        phantom.clone().with(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.collect())).file();
    assert_eq!(stored_values(&file).unwrap().values, phantom.values);
}

#[test]
fn a_jpeg_inside_dicom_is_near_what_was_drawn() {
    let phantom = Phantom { syntax: uids::JPEG_BASELINE8_BIT, ..Phantom::draw(8, false) };
    let found = stored_values(&phantom.file()).unwrap();
    assert_eq!((found.rows, found.columns), (ROWS, COLUMNS));
    for (found, drawn) in found.values.iter().zip(&phantom.values) {
        assert!((found - drawn).abs() <= 4, "{found}, drawn {drawn}");
    }
    let taller = phantom.with(tags::ROWS, VR::US, 38u16).file();
    assert_eq!(
        line(&read(&taller).unwrap_err()),
        "compressed picture is 29 columns x 37 rows x 1 samples, \
         the header says 29 columns x 38 rows x 1 samples"
    );
}

#[test]
fn refusals_name_what_was_found_and_what_was_expected() {
    let good = Phantom::draw(12, false);
    let cases = [
        (good.clone().with(tags::ROWS, VR::US, 38u16), "pixel data has 2146 bytes, expected 2204"),
        (good.clone().with(tags::ROWS, VR::US, 36u16), "pixel data has 2146 bytes, expected 2088"),
        (
            good.clone().with(tags::BITS_STORED, VR::US, 17u16),
            "BitsStored is 17, expected at most BitsAllocated",
        ),
        (
            good.clone().with(tags::RESCALE_SLOPE, VR::DS, "NaN"),
            "RescaleSlope is \"NaN\", expected a finite number",
        ),
        (good.clone().with(tags::WINDOW_CENTER, VR::DS, "5"), "WindowWidth is missing"),
        (
            good.clone()
                .with(tags::VOILUT_FUNCTION, VR::CS, "CUBIC")
                .with(tags::WINDOW_CENTER, VR::DS, "5")
                .with(tags::WINDOW_WIDTH, VR::DS, "5"),
            "VOILUTFunction is \"CUBIC\", expected LINEAR, LINEAR_EXACT or SIGMOID",
        ),
        (
            good.clone().with(tags::STUDY_INSTANCE_UID, VR::UI, "../x"),
            "StudyInstanceUID is \"../x\", expected at most 64 digits and dots",
        ),
        (
            good.clone().with(tags::NUMBER_OF_FRAMES, VR::IS, "-1"),
            "NumberOfFrames is -1, expected at least 1",
        ),
        (
            good.clone().with(tags::VOILUT_SEQUENCE, VR::LO, "a table"),
            "VOILUTSequence is of value representation LO, expected a sequence",
        ),
    ];
    for (phantom, expected) in cases {
        assert_eq!(line(&read(&phantom.file()).unwrap_err()), expected);
    }
    let file = good.file();
    let cut = read(&file[..file.len() - 100]).unwrap_err();
    assert_eq!(line(&cut), "pixel data has 2046 bytes, expected 2146");
    assert_eq!(line(&read(b"").unwrap_err()), "empty file, expected DICOM, PNG or JPEG");
    assert_eq!(
        line(&read(b"GIF89a..").unwrap_err()),
        "not a DICOM, PNG or JPEG file: begins with \"GIF89a..\""
    );
}

#[test]
fn a_file_whose_name_claims_dicom_must_be_dicom() {
    let folder = std::env::temp_dir().join(format!("radiograph-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let picture = image::GrayImage::from_fn(200, 150, |x, y| image::Luma([(x + y) as u8]));
    let renamed = folder.join("renamed.dcm");
    picture.save_with_format(&renamed, image::ImageFormat::Png).unwrap();
    let named = folder.join("named.png");
    fs::copy(&renamed, &named).unwrap();
    let unnamed = folder.join("IM0001");
    fs::write(&unnamed, Phantom::draw(12, false).file()).unwrap();

    let refused = line(&read_file(&renamed).unwrap_err());
    assert_eq!(
        refused,
        format!("{}: found PNG, expected DICOM as the name says", renamed.display())
    );
    assert!(matches!(read_file(&named).unwrap().source, Source::Png { .. }));
    assert!(matches!(read_file(&unnamed).unwrap().source, Source::Dicom(_)));
    fs::remove_dir_all(&folder).unwrap();
    let missing = line(&read_file(Path::new("no/such/file.dcm")).unwrap_err());
    assert!(missing.starts_with("no/such/file.dcm: "), "{missing}");
}

/// As `main` prints it.
fn line(error: &RadiographError) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// 256 colours, of which each is the luma of its place: red, green and blue far apart.
#[test]
fn a_palette_is_shown_as_the_luma_of_its_colours() {
    let channel = |times: usize, bits: usize| -> Vec<u16> {
        (0..200).map(|i| (((i * times + 30) % 256) << (bits - 8)) as u16).collect()
    };
    for (bits, signed, syntax) in [
        (8, false, uids::EXPLICIT_VR_LITTLE_ENDIAN),
        (16, false, uids::IMPLICIT_VR_LITTLE_ENDIAN),
        (16, true, uids::RLE_LOSSLESS),
    ] {
        let colours = [3, 7, 11].map(|times| channel(times, bits));
        let first = if signed { -90i16 } else { 20 };
        let mut phantom =
            Phantom { photometric: "PALETTE COLOR", syntax, ..Phantom::draw(8, signed) };
        let tables = [
            (
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ),
            (
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ),
            (
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            ),
        ];
        for ((descriptor, data), colour) in tables.into_iter().zip(&colours) {
            let words = PrimitiveValue::U16([200, first as u16, bits as u16].into_iter().collect());
            let packed = colour.chunks(2).map(|pair| pair[0] | pair[1] << 8);
            let entries = match bits {
                8 => PrimitiveValue::U16(packed.collect()), // two to a word
                _ => PrimitiveValue::U16(colour.iter().copied().collect()),
            };
            phantom = phantom.with(descriptor, VR::US, words).with(data, VR::OW, entries);
        }
        let file = phantom.file();
        let image = read(&file).unwrap().image;
        let white = f64::from((1u32 << bits) - 1);
        for (grey, value) in image.pixels().iter().zip(&phantom.values) {
            let place = (value - i32::from(first)).clamp(0, 199) as usize;
            let [red, green, blue] = [0, 1, 2].map(|i| f64::from(colours[i][place]) / white);
            let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
            assert!((f64::from(*grey) - luma).abs() < 1e-6, "{grey} {luma}");
        }
    }
    let without = Phantom { photometric: "PALETTE COLOR", ..Phantom::draw(8, false) };
    let error = read(&without.file()).unwrap_err().to_string();
    assert_eq!(error, "RedPaletteColorLookupTableDescriptor is missing");
}

#[test]
fn of_stored_luma_and_chroma_the_luma_is_shown() {
    let grey = Phantom::draw(8, false);
    let pixels: Vec<[i32; 3]> = grey.values.iter().map(|luma| [*luma, 40, 240]).collect();
    for planar in [0u16, 1] {
        let values = match planar {
            0 => pixels.iter().flatten().copied().collect(),
            _ => (0..3).flat_map(|at| pixels.iter().map(move |pixel| pixel[at])).collect(),
        };
        let ybr = Phantom { photometric: "YBR_FULL", values, ..grey.clone() }
            .with(tags::SAMPLES_PER_PIXEL, VR::US, PrimitiveValue::from(3u16))
            .with(tags::PLANAR_CONFIGURATION, VR::US, PrimitiveValue::from(planar));
        let expected: Vec<f32> = grey.values.iter().map(|luma| *luma as f32 / 255.0).collect();
        let file = ybr.file();
        assert_eq!(read(&file).unwrap().image.pixels(), expected, "{planar}");
        let values = stored_values(&ybr.file()).unwrap().values;
        assert_eq!(values, pixels.as_flattened());
    }
}
