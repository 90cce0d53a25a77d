//! What the objects promise, read back by dicom-rs.

use crate::made::{self, chest, drawing, file, not_analysed, object, put_bytes, record};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::{FileDicomObject, InMemDicomObject};
use proptest::prelude::*;
use results::{Device, Kind, Record, ResultsError, Segment};

type Read = FileDicomObject<InMemDicomObject>;

fn read(bytes: &[u8]) -> Read {
    FileDicomObject::from_reader(bytes).unwrap()
}

fn made(kind: Kind, record: &Record, source: &[u8]) -> Read {
    read(&object(kind, record, source).unwrap().unwrap().bytes)
}

fn text(object: &InMemDicomObject, tag: Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned()
}

/// The bytes of an element in a file of ours, as they lie there: explicit VR little endian with a short length.
fn raw(file: &[u8], tag: Tag, vr: &[u8; 2]) -> Option<Vec<u8>> {
    let head = [&tag.group().to_le_bytes()[..], &tag.element().to_le_bytes(), vr].concat();
    let at = file.windows(6).position(|window| window == head)? + 6;
    let length = usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    Some(file[at + 2..at + 2 + length].to_vec())
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let json = serde_json::to_vec(&record(&source)).unwrap();
    for kind in Kind::ALL {
        let once = object(kind, &record(&source), &source).unwrap().unwrap();
        let from_disk: Record = serde_json::from_slice(&json).unwrap();
        assert_eq!(object(kind, &from_disk, &source).unwrap().unwrap(), once);
        let uid = results::sop_instance_uid(kind, &from_disk, "1.2.3.4.5");
        assert_eq!(once.sop_instance_uid, uid);
        assert_eq!(text(&read(&once.bytes), tags::SOP_INSTANCE_UID), uid);
        assert_eq!(once.sop_class_uid, kind.sop_class_uid());
    }
}

#[test]
fn the_box_that_found_it_speaks_whichever_box_sends_it() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let record = Record { device: Some(made::device()), ..record(&source) };
    for kind in Kind::ALL {
        let ours = object(kind, &record, &source).unwrap();
        let other = Device::new("another box");
        assert_eq!(results::object(kind, &record, &source, &other, drawing).unwrap(), ours);
    }
}

#[test]
fn every_object_has_another_uid_and_so_has_every_other_result() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let analysed = record(&source);
    let mut others = vec![analysed.clone(), not_analysed(&source, "a"), not_analysed(&source, "b")];
    others.push(Record { configuration: None, ..analysed.clone() });
    let mut bundle = analysed.bundle.clone();
    bundle.digest = "ff".into();
    others.push(Record { bundle, ..analysed });
    let mut uids: Vec<String> = Vec::new();
    for record in &others {
        uids.extend(Kind::ALL.map(|kind| results::sop_instance_uid(kind, record, "1.2.3.4.5")));
    }
    uids.push(results::sop_instance_uid(Kind::Sr, &others[0], "1.2.3.4.6"));
    let count = uids.len();
    uids.sort();
    uids.dedup();
    assert_eq!(uids.len(), count);
}

#[test]
fn names_keep_their_bytes_in_every_character_set_and_encoding() {
    let names: [(&str, &[u8]); 5] = [
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B="),
        ("ISO_IR 192", "Wáng^XiǎoDōng=王^小东".as_bytes()),
        ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
        ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
        // Not what it claims to be, as consoles write it.
        ("", b"M\xfcller^J\xf6rg"),
    ];
    for (charset, name) in names {
        for syntax in [made::EXPLICIT, made::IMPLICIT, made::BIG_ENDIAN] {
            let mut source = chest("1.2.3.4.5");
            put_bytes(&mut source, tags::SPECIFIC_CHARACTER_SET, VR::CS, charset.as_bytes());
            put_bytes(&mut source, tags::PATIENT_NAME, VR::PN, name);
            let source = file(source, syntax);
            let record = record(&source);
            for kind in Kind::ALL {
                let bytes = object(kind, &record, &source).unwrap().unwrap().bytes;
                let ours = raw(&bytes, tags::PATIENT_NAME, b"PN").unwrap();
                let is_whole = ours.starts_with(name) && ours.len() - name.len() < 2;
                assert!(is_whole, "{charset} {syntax} {kind}: {ours:02x?}");
                let ours = raw(&bytes, tags::SPECIFIC_CHARACTER_SET, b"CS").unwrap_or_default();
                assert_eq!(String::from_utf8(ours).unwrap().trim(), charset);
            }
        }
    }
}

#[test]
fn what_the_image_does_not_say_is_there_and_empty() {
    let mut source = chest("1.2.3.4.5");
    for tag in [tags::STUDY_DATE, tags::ACCESSION_NUMBER, tags::PATIENT_NAME] {
        source.remove_element(tag);
    }
    let source = file(source, made::EXPLICIT);
    for kind in Kind::ALL {
        let made = made(kind, &record(&source), &source);
        for tag in [tags::STUDY_DATE, tags::STUDY_ID, tags::ACCESSION_NUMBER, tags::PATIENT_NAME] {
            assert_eq!(text(&made, tag), "", "{tag}");
        }
    }
}

#[test]
fn what_is_optional_and_wrong_is_left_out() {
    let mut source = chest("1.2.3.4.5");
    put_bytes(&mut source, tags::PATIENT_AGE, VR::AS, b"81");
    put_bytes(&mut source, tags::PATIENT_SIZE, VR::DS, b"tall");
    put_bytes(&mut source, tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, b"CET ");
    put_bytes(&mut source, tags::STUDY_DESCRIPTION, VR::LO, b"Chest PA");
    let source = file(source, made::EXPLICIT);
    let made = made(Kind::Sr, &record(&source), &source);
    for tag in [tags::PATIENT_AGE, tags::PATIENT_SIZE, tags::TIMEZONE_OFFSET_FROM_UTC] {
        assert!(made.element(tag).is_err(), "{tag}");
    }
    assert_eq!(text(&made, tags::STUDY_DESCRIPTION), "Chest PA");
    assert_eq!(text(&made, tags::CONTENT_TIME), "143500");
}

#[test]
fn times_are_in_the_zone_of_the_study() {
    let mut source = chest("1.2.3.4.5");
    put_bytes(&mut source, tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, b"+1030 ");
    let source = file(source, made::EXPLICIT);
    let made = made(Kind::Seg, &record(&source), &source);
    assert_eq!(text(&made, tags::CONTENT_DATE), "20261130");
    assert_eq!(text(&made, tags::CONTENT_TIME), "010500");
}

#[test]
fn what_was_compressed_with_loss_says_so() {
    let mut lossy = chest("1.2.3.4.5");
    lossy.remove_element(tags::PIXEL_DATA);
    let mut lossy = file(lossy, "1.2.840.10008.1.2.4.50");
    // Pixel data of undefined length: no offsets, one fragment, the end.
    lossy.extend_from_slice(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0");
    lossy.extend_from_slice(b"\xfe\xff\0\xe0\x02\0\0\0\xff\xd8\xfe\xff\xdd\xe0\0\0\0\0");
    for kind in [Kind::Sc, Kind::Seg] {
        let made = made(kind, &record(&lossy), &lossy);
        assert_eq!(text(&made, tags::LOSSY_IMAGE_COMPRESSION), "01");
        assert_eq!(text(&made, tags::LOSSY_IMAGE_COMPRESSION_METHOD), "ISO_10918_1");
    }
    let whole = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let made = made(Kind::Sc, &record(&whole), &whole);
    assert_eq!(text(&made, tags::LOSSY_IMAGE_COMPRESSION), "00");
}

#[test]
fn nothing_to_say_is_no_object_but_always_a_report() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let empty = Segment::pack("left lung", [30, 25], &[0; 750]);
    let nothing =
        Record { segments: vec![empty], boxes: Some(vec![]), findings: vec![], ..record(&source) };
    assert_eq!(object(Kind::Seg, &nothing, &source).unwrap(), None);
    made(Kind::Sr, &nothing, &source);

    let refused = not_analysed(&source, "view is LL, expected frontal (AP or PA)");
    for kind in [Kind::Seg, Kind::Sc] {
        assert_eq!(object(kind, &refused, &source).unwrap(), None);
    }
    let bytes = object(Kind::Sr, &refused, &source).unwrap().unwrap().bytes;
    let said = b"Not analysed: view is LL, expected frontal (AP or PA). Unverified, not for diagnostic use.";
    assert!(bytes.windows(said.len()).any(|window| window == said));
}

#[test]
fn every_object_says_that_it_is_not_for_diagnostic_use() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    for kind in Kind::ALL {
        let made = made(kind, &record(&source), &source);
        assert!(
            text(&made, tags::SERIES_DESCRIPTION).contains("unverified, not for diagnostic use")
        );
        let equipment = made.element(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE).unwrap();
        let algorithm = &equipment.items().unwrap()[1];
        let description = text(algorithm, tags::CONTRIBUTION_DESCRIPTION);
        assert!(description.contains("Unverified, not for diagnostic use"), "{description}");
    }
    let report = made(Kind::Sr, &record(&source), &source);
    assert_eq!(text(&report, tags::VERIFICATION_FLAG), "UNVERIFIED");
}

#[test]
fn masks_run_on_from_frame_to_frame() {
    // 750 pixels a frame: the second begins in the middle of a byte.
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let record = record(&source);
    let made = made(Kind::Seg, &record, &source);
    assert_eq!(text(&made, tags::NUMBER_OF_FRAMES), "2", "the empty one is left out");
    let bits = made.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert_eq!(bits.len(), 188);
    let found: Vec<u8> = (0..1500).map(|at| bits[at / 8] >> (at % 8) & 1).collect();
    let left = record.segments[0].pixels().unwrap();
    assert_eq!(found, [left, record.segments[2].pixels().unwrap()].concat());
}

#[test]
fn a_picture_keeps_its_pixels() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let made = made(Kind::Sc, &record(&source), &source);
    let pixels = made.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    let mut expected = drawing().unwrap().into_raw();
    expected.push(0); // 33x21x3 is odd
    assert_eq!(pixels, expected);
}

#[test]
fn another_image_than_the_results_is_refused() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let other = file(chest("1.2.3.4.6"), made::EXPLICIT);
    let error = object(Kind::Sr, &record(&source), &other).unwrap_err();
    assert!(matches!(error, ResultsError::OtherImage { .. }), "{error}");
    let mut refused = not_analysed(&source, "x");
    refused.source = None;
    let error = object(Kind::Sr, &refused, &other).unwrap_err();
    assert!(matches!(error, ResultsError::OtherImage { .. }), "{error}");
}

#[test]
fn what_no_object_can_be_made_of_is_named() {
    let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
    let good = record(&source);
    let mut nan = good.clone();
    nan.findings[0].probability = f32::NAN;
    let shape = Segment::pack("left lung", [25, 30], &[1; 750]);
    for (record, expected) in [
        (Record { analysed: None, ..good.clone() }, "no analysed"),
        (Record { source: None, ..good.clone() }, "no source"),
        (Record { analysed: Some("soon".into()), ..good.clone() }, "analysed is \"soon\""),
        (nan, "probability is \"NaN\""),
        (Record { segments: vec![shape], ..good.clone() }, "[25, 30] rows and columns"),
    ] {
        let error = object(Kind::Sr, &record, &source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut homeless = chest("1.2.3.4.5");
    homeless.remove_element(tags::STUDY_INSTANCE_UID);
    let homeless = file(homeless, made::EXPLICIT);
    let error = object(Kind::Sr, &record(&homeless), &homeless).unwrap_err().to_string();
    assert!(error.contains("no StudyInstanceUID"), "{error}");
}

/// A sequence in a sequence in a sequence …, undefined lengths, implicit VR.
fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..levels {
        bytes.extend_from_slice(&[0x08, 0, 0x32, 0x10, 0xff, 0xff, 0xff, 0xff]);
        bytes.extend_from_slice(&[0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff]);
    }
    bytes
}

#[test]
fn a_deep_source_is_refused_not_followed() {
    let whole = file(chest("1.2.3.4.5"), made::IMPLICIT);
    // Before the patient's name, where tags are in order.
    let at = whole.windows(4).position(|w| w == [0x10, 0, 0x10, 0]).unwrap();
    let deep = [&whole[..at], &nested(100_000), &whole[at..]].concat();
    let refused = Record { source: None, ..not_analysed(&whole, "x") };
    assert!(object(Kind::Sr, &refused, &deep).is_err());
}

proptest! {
    #[test]
    fn hostile_sources_never_panic(
        at in prop::collection::vec((0_usize..1400, any::<u8>()), 1..8),
        cut in 0_usize..1600,
        implicit: bool,
    ) {
        let syntax = if implicit { made::IMPLICIT } else { made::EXPLICIT };
        let whole = file(chest("1.2.3.4.5"), syntax);
        let record = Record { source: None, sop_instance_uid: None, ..not_analysed(&whole, "x") };
        let mut bytes = whole;
        for (place, byte) in at {
            let length = bytes.len();
            bytes[place % length] = byte;
        }
        bytes.truncate(bytes.len().min(132 + cut));
        if let Ok(Some(made)) = object(Kind::Sr, &record, &bytes) {
            read(&made.bytes);
        }
    }

    #[test]
    fn any_text_of_a_record_can_be_said(
        name in "\\PC*", reason in "\\PC{0,300}", id in "\\PC{0,100}", version: String,
    ) {
        let source = file(chest("1.2.3.4.5"), made::EXPLICIT);
        let mut said = record(&source);
        said.findings[0].name = name;
        said.bundle.id = id;
        said.bundle.version = version;
        read(&object(Kind::Sr, &said, &source).unwrap().unwrap().bytes);
        read(&object(Kind::Sr, &not_analysed(&source, &reason), &source).unwrap().unwrap().bytes);
    }
}
