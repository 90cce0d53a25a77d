//! DICOM files as people have them: unknown value representations, odd counts, padding, no preamble.

use crate::support::{COLUMNS, Phantom, ROWS};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use radiograph::{NotAnalysed, Source, gate_header, header, probe, read, stored_values};

const EXPLICIT: [&str; 3] = [
    uids::EXPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.2", // explicit VR big endian, retired
    uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
];

fn bytes(value: &[u8]) -> PrimitiveValue {
    PrimitiveValue::U8(value.iter().copied().collect())
}

/// Everything that a display depends on.
fn phantom(syntax: &'static str) -> Phantom {
    Phantom { syntax, photometric: "MONOCHROME1", ..Phantom::draw(12, true) }
        .with(tags::WINDOW_CENTER, VR::DS, "128\\4")
        .with(tags::WINDOW_WIDTH, VR::DS, "3000.5\\7")
        .with(tags::VOILUT_FUNCTION, VR::CS, "LINEAR_EXACT")
        .with(tags::RESCALE_SLOPE, VR::DS, "1.5")
        .with(tags::RESCALE_INTERCEPT, VR::DS, "-10")
        .with(tags::PIXEL_PADDING_VALUE, VR::SS, PrimitiveValue::from(-2000i16))
        .with(tags::PIXEL_PADDING_RANGE_LIMIT, VR::SS, PrimitiveValue::from(-1500i16))
        .with(tags::NUMBER_OF_FRAMES, VR::IS, "1")
}

/// The values of [`phantom`] as a gateway passes them on that does not know what they are: bytes of
/// implicit VR little endian, whatever the transfer syntax.
fn passed_on() -> Vec<(Tag, Vec<u8>)> {
    let word = |value: i16| value.to_le_bytes().to_vec();
    vec![
        (tags::SOP_INSTANCE_UID, b"2.25.7".to_vec()),
        (tags::STUDY_INSTANCE_UID, b"2.25.8\0".to_vec()),
        (tags::SPECIFIC_CHARACTER_SET, b"ISO_IR 192".to_vec()),
        (tags::MODALITY, b"DX".to_vec()),
        (tags::PATIENT_NAME, "Phantom^Drawün".as_bytes().to_vec()),
        (tags::VIEW_POSITION, b"PA".to_vec()),
        (tags::BODY_PART_EXAMINED, b"CHEST ".to_vec()),
        (tags::PHOTOMETRIC_INTERPRETATION, b"MONOCHROME1 ".to_vec()),
        (tags::SAMPLES_PER_PIXEL, word(1)),
        (tags::ROWS, word(ROWS as i16)),
        (tags::COLUMNS, word(COLUMNS as i16)),
        (tags::BITS_ALLOCATED, word(16)),
        (tags::BITS_STORED, word(12)),
        (tags::HIGH_BIT, word(11)),
        (tags::PIXEL_REPRESENTATION, word(1)),
        (tags::WINDOW_CENTER, b"128\\4 ".to_vec()),
        (tags::WINDOW_WIDTH, b"3000.5\\7".to_vec()),
        (tags::VOILUT_FUNCTION, b"LINEAR_EXACT".to_vec()),
        (tags::RESCALE_SLOPE, b"1.5 ".to_vec()),
        (tags::RESCALE_INTERCEPT, b"-10 ".to_vec()),
        (tags::PIXEL_PADDING_VALUE, word(-2000)),
        (tags::PIXEL_PADDING_RANGE_LIMIT, word(-1500)),
        (tags::NUMBER_OF_FRAMES, b"1 ".to_vec()),
    ]
}

#[test]
fn attributes_of_unknown_vr_are_what_the_dictionary_says() {
    for syntax in EXPLICIT {
        let twin = read(&phantom(syntax).file()).unwrap().into_owned();
        let Source::Dicom(expected) = twin.source else { panic!() };
        let all = passed_on().into_iter();
        let unknown =
            all.fold(phantom(syntax), |p, (tag, value)| p.with(tag, VR::UN, bytes(&value)));
        let mut files = vec![unknown.file()];
        // One by one. (The writer looks at the character set to encode the name.)
        for (tag, value) in passed_on().split_off(3) {
            files.push(phantom(syntax).with(tag, VR::UN, bytes(&value)).file());
            // Bytes by name (OB) are no better, where text should be.
            if value.len() > 2 {
                files.push(phantom(syntax).with(tag, VR::OB, bytes(&value)).file());
            }
        }
        for (number, file) in files.iter().enumerate() {
            let found = read(file).unwrap();
            let Source::Dicom(header) = found.source else { panic!() };
            assert_eq!(header, expected, "{syntax}, file {number}");
            assert!(found.image == twin.image, "{syntax}, file {number}: other pixels");
        }
    }
}

#[test]
fn a_lateral_view_of_unknown_vr_is_not_frontal() {
    let file = Phantom::draw(12, false).with(tags::VIEW_POSITION, VR::UN, bytes(b"LL")).file();
    assert_eq!(gate_header(&header(&file).unwrap()), Err(NotAnalysed::View("LL".into())));
}

const ENTRIES: [u16; 4] = [0, 341, 682, 1023];

/// An item of a VOI LUT sequence in implicit VR little endian.
fn item() -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let element = |tag: Tag, value: Vec<u8>| {
        let mut bytes = words(&[tag.group(), tag.element()]);
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value);
        bytes
    };
    let lut = [
        element(tags::LUT_DESCRIPTOR, words(&[4, 4, 10])),
        element(tags::LUT_DATA, words(&ENTRIES)),
    ];
    element(Tag(0xFFFE, 0xE000), lut.concat())
}

#[test]
fn sequences_of_unknown_vr_and_unknown_vr_in_sequences_are_read() {
    let words = |words: &[u16]| PrimitiveValue::U16(words.iter().copied().collect());
    let in_bytes =
        |words: &[u16]| bytes(&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>());
    for syntax in EXPLICIT {
        let plain = Phantom { syntax, ..Phantom::draw(12, false) };
        let twin = plain.clone().with_item(
            tags::VOILUT_SEQUENCE,
            [
                DataElement::new(tags::LUT_DESCRIPTOR, VR::US, words(&[4, 4, 10])),
                DataElement::new(tags::LUT_DATA, VR::OW, words(&ENTRIES)),
            ],
        );
        let inside = plain.clone().with_item(
            tags::VOILUT_SEQUENCE,
            [
                DataElement::new(tags::LUT_DESCRIPTOR, VR::UN, in_bytes(&[4, 4, 10])),
                DataElement::new(tags::LUT_DATA, VR::UN, in_bytes(&ENTRIES)),
            ],
        );
        let outside = plain.clone().with(tags::VOILUT_SEQUENCE, VR::UN, bytes(&item()));
        let expected = read(&twin.file()).unwrap().image.into_owned();
        assert!(expected != read(&plain.file()).unwrap().image, "the table does something");
        assert!(read(&inside.file()).unwrap().image == expected, "{syntax}: inside");
        assert!(read(&outside.file()).unwrap().image == expected, "{syntax}: outside");
    }
    // Of undefined length, as some archives write it.
    let plain = Phantom::draw(12, false).with(tags::VOILUT_SEQUENCE, VR::UN, bytes(&item()));
    let mut file = plain.file();
    let value = file.windows(item().len()).position(|part| part == item()).unwrap();
    file.splice(value - 4..value, u32::MAX.to_le_bytes());
    let end = value + item().len();
    file.splice(end..end, *b"\xFE\xFF\xDD\xE0\0\0\0\0");
    assert!(read(&file).unwrap().image == read(&plain.file()).unwrap().image);
}

#[test]
fn a_code_of_unknown_vr_names_the_view() {
    let file = Phantom::draw(12, false)
        .with(tags::VIEW_POSITION, VR::CS, "")
        .with_item(
            tags::VIEW_CODE_SEQUENCE,
            [DataElement::new(tags::CODE_VALUE, VR::UN, bytes(b"R-10236 "))],
        )
        .file();
    assert_eq!(header(&file).unwrap().view_position, "LL");
}

#[test]
fn a_private_element_of_unknown_vr_is_left_alone_however_deep() {
    let private = Phantom::draw(12, false)
        .with(Tag(0x0029, 0x0010), VR::UN, bytes(b"SOME VENDOR "))
        .with(Tag(0x0029, 0x1001), VR::UN, bytes(&item()))
        .with_item(
            tags::ANATOMIC_REGION_SEQUENCE,
            [
                DataElement::new(Tag(0x0029, 0x0010), VR::UN, bytes(b"SOME VENDOR ")),
                DataElement::new(Tag(0x0029, 0x1028), VR::UN, bytes(b"\x01\x02\x03\x04")),
                DataElement::new(tags::CODE_MEANING, VR::UN, bytes(b"Chest ")),
            ],
        )
        .with(tags::BODY_PART_EXAMINED, VR::CS, "");
    assert_eq!(header(&private.file()).unwrap().body_part, "Chest");
    assert!(read(&private.file()).is_ok());
}

#[test]
fn the_pixels_themselves_may_be_of_unknown_vr() {
    for syntax in EXPLICIT {
        let twin = Phantom { syntax, ..Phantom::draw(12, false) };
        let little = twin.values.iter().flat_map(|v| (*v as u16).to_le_bytes());
        let file = twin.clone().with(tags::PIXEL_DATA, VR::UN, bytes(&little.collect::<Vec<_>>()));
        assert_eq!(stored_values(&file.file()).unwrap().values, twin.values, "{syntax}");
    }
}

#[test]
fn no_frames_means_one() {
    let twin = Phantom::draw(12, false);
    for frames in ["0", "00", "", " 0"] {
        let file = twin.clone().with(tags::NUMBER_OF_FRAMES, VR::IS, frames).file();
        assert_eq!(header(&file).unwrap().frames, 1, "{frames:?}");
        assert_eq!(stored_values(&file).unwrap().values, twin.values, "{frames:?}");
    }
}

#[test]
fn padding_after_the_pixels_is_no_part_of_them_and_anything_else_is_refused() {
    let twin = Phantom::draw(12, false);
    let row = 2 * COLUMNS;
    for (padding, filler) in [(2, 7), (row + 64, 0), (row * ROWS, 0), (512, 0xFF)] {
        let mut value: Vec<u8> =
            twin.values.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect();
        value.resize(value.len() + padding, filler);
        let file = twin.clone().with(tags::PIXEL_DATA, VR::OB, bytes(&value)).file();
        assert_eq!(stored_values(&file).unwrap().values, twin.values, "{padding} of {filler}");
        *value.last_mut().unwrap() ^= 1;
        let file = twin.clone().with(tags::PIXEL_DATA, VR::OB, bytes(&value)).file();
        assert_eq!(stored_values(&file).is_ok(), padding < row, "{padding} of another");
    }
}

#[test]
fn a_file_without_its_preamble_is_read_and_probed_alike() {
    let whole = Phantom::draw(12, false).file();
    let expected = read(&whole).unwrap().image;
    for start in [128, 132] {
        assert!(read(&whole[start..]).unwrap().image == expected);
        let probe = probe(&whole[start..]).unwrap();
        assert_eq!((probe.height, probe.width), (ROWS as u32, COLUMNS as u32));
        assert_eq!(probe.header.unwrap().patient_id, "PH-1");
    }
}

#[test]
fn a_probe_needs_no_pixels() {
    for syntax in
        [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::RLE_LOSSLESS]
    {
        let file = Phantom { syntax, ..Phantom::draw(12, false) }.file();
        let probe = probe(&file[..file.len() - 1000]).unwrap();
        assert_eq!(*probe.header.unwrap(), header(&file).unwrap(), "{syntax}");
    }
}

/// Code strings are ASCII; consoles write their own language into them, in whatever character set.
#[test]
fn words_of_a_country_are_read_whatever_character_set_the_file_claims() {
    let cases: [(&str, &[u8], &str); 5] = [
        ("ISO_IR 192", b"T\xd3RAX ", "TÓRAX"),
        ("ISO_IR 100", b"T\xd3RAX ", "TÓRAX"),
        ("ISO_IR 192", "TÓRAX".as_bytes(), "TÓRAX"),
        ("ISO_IR 100", "TÓRAX".as_bytes(), "TÓRAX"),
        ("ISO_IR 144", b"\xb3\xc0\xc3\xb4\xbd\xb0\xcf ", "ГРУДНАЯ"),
    ];
    for (charset, written, expected) in cases {
        let file = Phantom::draw(12, false)
            .with(tags::SPECIFIC_CHARACTER_SET, VR::CS, charset)
            .with(tags::PATIENT_NAME, VR::PN, "Phantom")
            .with(tags::BODY_PART_EXAMINED, VR::CS, bytes(written))
            .file();
        let header = header(&file).unwrap();
        assert_eq!(header.body_part, expected, "{charset}");
        assert_eq!(gate_header(&header), Ok(()), "{charset}");
    }
}
