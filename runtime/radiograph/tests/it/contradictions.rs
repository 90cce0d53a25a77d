//! Headers that say one thing of pixels or tables that are another, as consoles and gateways write them.

use crate::{
    jpeg2000,
    support::{COLUMNS, Phantom, words},
};
use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use radiograph::{Image, read, stored_values};

fn picture(phantom: &Phantom) -> Image<'static> {
    read(&phantom.file()).unwrap().image.into_owned()
}

fn refusal(phantom: &Phantom) -> String {
    read(&phantom.file()).map(drop).unwrap_err().to_string()
}

#[test]
fn what_cells_hold_besides_samples_is_no_part_of_the_picture() {
    let clean = Phantom::draw(12, false);
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2", uids::RLE_LOSSLESS] {
        let overlay = |i: usize| if (300..500).contains(&i) { 0x9000 } else { 0 };
        let letters = |i: usize| if i % 7 < 3 { 0x8000 } else { 0 };
        let noise = |i: usize| [0x0000, 0x1000, 0x8000, 0xF000][i * i % 4];
        let alike = |_| 0xA000;
        let marks: [&dyn Fn(usize) -> i32; 4] = [&overlay, &letters, &noise, &alike];
        for (number, mark) in marks.into_iter().enumerate() {
            let mut marked = Phantom { syntax, ..clean.clone() };
            marked.values.iter_mut().enumerate().for_each(|(i, value)| *value |= mark(i));
            assert_eq!(
                stored_values(&marked.file()).unwrap().values,
                clean.values,
                "{syntax}, mark {number}"
            );
        }
    }
}

#[test]
fn a_header_that_leaves_out_bits_of_the_picture_is_refused() {
    for signed in [false, true] {
        let mut hills = Phantom::draw(12, signed);
        for (i, value) in hills.values.iter_mut().enumerate() {
            let (x, y) = ((i % COLUMNS) as i32, (i / COLUMNS) as i32);
            let height = (2 * x * x + 3 * y * y + 37 * x) % 8192;
            *value = height.min(8191 - height) - if signed { 2048 } else { 0 };
        }
        for stored in [9u16, 10, 11] {
            let few = hills.clone().with(tags::BITS_STORED, VR::US, words(&[stored]));
            let few = few.with(tags::HIGH_BIT, VR::US, words(&[stored - 1]));
            let expected = format!("BitsStored is {stored} and leaves out bit ");
            assert!(refusal(&few).starts_with(&expected), "{signed}: {}", refusal(&few));
        }
    }
    let elsewhere = Phantom::draw(12, false).with(tags::HIGH_BIT, VR::US, words(&[15]));
    assert!(refusal(&elsewhere).starts_with("BitsStored is 12 and leaves out bit 3"));
}

#[test]
fn what_stands_above_a_negative_sample_is_its_sign_or_nothing() {
    let extended = Phantom::draw(12, true);
    let mut cut = extended.clone();
    cut.values.iter_mut().for_each(|value| *value &= 0x0FFF);
    assert!(picture(&cut) == picture(&extended));
}

#[test]
fn a_stream_of_more_bits_than_the_header_says_keeps_them() {
    let phantom = Phantom::draw(12, false);
    for stored in [8u16, 10, 12, 16] {
        let header = phantom.clone().with(tags::BITS_STORED, VR::US, words(&[stored]));
        let header = header.with(tags::HIGH_BIT, VR::US, words(&[stored - 1]));
        let file = header.file_around(uids::JPEG2000_LOSSLESS, jpeg2000::LOSSLESS.to_vec());
        assert_eq!(stored_values(&file).unwrap().values, phantom.values, "{stored}");
        assert!(read(&file).unwrap().image == picture(&phantom), "{stored}");
    }
}

#[test]
fn padding_that_no_sample_can_have_masks_none() {
    for (signed, paddings) in
        [(false, &[65535u16, 63536, 4096][..]), (true, &[4096, 0x7FFF, 0x8000])]
    {
        let mut phantom = Phantom::draw(12, signed);
        let [low, high] = if signed { [-2048, 2047] } else { [0, 4095] };
        phantom.values[..COLUMNS].fill(low);
        phantom.values[COLUMNS..2 * COLUMNS].fill(high);
        let plain = picture(&phantom);
        for padding in paddings {
            let padded =
                phantom.clone().with(tags::PIXEL_PADDING_VALUE, VR::US, words(&[*padding]));
            assert!(picture(&padded) == plain, "{signed} {padding}");
            let range = padded.with(tags::PIXEL_PADDING_RANGE_LIMIT, VR::US, words(&[0]));
            assert!(refusal(&range).contains("PixelPaddingRangeLimit is 0"), "{signed} {padding}");
        }
        // Written without its sign, or as a number of the other VR, it is the same value.
        let same = |vr, padding: u16| {
            phantom.clone().with(tags::PIXEL_PADDING_VALUE, vr, words(&[padding]))
        };
        let low = low as u16;
        assert!(picture(&same(VR::US, low)) == picture(&same(VR::SS, low)));
        assert!(picture(&same(VR::US, low & 0x0FFF)) == picture(&same(VR::SS, low)));
        assert!(picture(&same(VR::US, low)) != plain);
    }
}

fn voi(descriptor: [u16; 3], entries: &[u16]) -> [DataElement<InMemDicomObject>; 2] {
    [
        DataElement::new(tags::LUT_DESCRIPTOR, VR::US, words(&descriptor)),
        DataElement::new(tags::LUT_DATA, VR::OW, words(entries)),
    ]
}

/// Agfa's CR consoles say 16, the bits an entry is stored in, of entries of 12.
#[test]
fn the_white_of_a_table_is_that_of_its_entries() {
    let table: Vec<u16> = (0..4096u32).map(|i| (i * i / 4096) as u16).collect();
    let with = |descriptor, entries: &[u16]| {
        Phantom::draw(12, false).with_item(tags::VOILUT_SEQUENCE, voi(descriptor, entries))
    };
    let right = picture(&with([4096, 0, 12], &table));
    assert!(right.pixels().iter().any(|x| *x > 0.99));
    assert!(picture(&with([4096, 0, 16], &table)) == right, "stored in 16");
    assert!(picture(&with([4096, 0, 8], &table)) == right, "more than the 8 it claims");
    // A darker table of 12 bits is as dark as it says.
    let dark: Vec<u16> = table.iter().map(|entry| entry / 2).collect();
    let dark = picture(&with([4096, 0, 12], &dark));
    assert!(dark.pixels().iter().all(|x| *x < 0.5));
    // Two entries to a word are those of 8 bits only, and all of them.
    for (descriptor, entries) in
        [([5000, 0, 16], 4096), ([4096, 0, 16], 2048), ([4096, 0, 8], 1024), ([4096, 0, 8], 3000)]
    {
        let refusal = refusal(&with(descriptor, &table[..entries]));
        assert!(refusal.contains(&format!("LUTData is {entries} values for ")), "{refusal}");
    }
}

#[test]
fn the_first_window_is_the_one_that_is_written_first() {
    let with = |center: &str, width: &str| {
        let phantom = Phantom::draw(12, false).with(tags::WINDOW_CENTER, VR::DS, center);
        phantom.with(tags::WINDOW_WIDTH, VR::DS, width)
    };
    let right = picture(&with("2000", "1000"));
    for (center, width) in [("2000\\40", "1000\\1"), (" 2000.0 ", "1.0E3"), ("2000\\", "1000\\")] {
        assert!(picture(&with(center, width)) == right, "{center}, {width}");
    }
    assert!(picture(&with("", "")) != right && picture(&with("\\", "\\")) != right);
    let refusal = refusal(&with("\\2000", "\\1000"));
    assert_eq!(refusal, "WindowCenter is \"\\\\2000\", expected a finite number");
    let lower = with("2000", "1000").with(tags::VOILUT_FUNCTION, VR::CS, "linear");
    assert!(picture(&lower) == right);
}

#[test]
fn a_deflated_data_set_may_have_the_header_of_zlib() {
    let phantom = Phantom::draw(12, false);
    let syntax = uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;
    let file = Phantom { syntax, ..phantom.clone() }.file();
    let length = u32::from_le_bytes(file[140..144].try_into().unwrap()) as usize;
    let (meta, raw) = file.split_at(144 + length);
    for second in [0x01, 0x5E, 0x9C, 0xDA] {
        let file = [meta, &[0x78, second], raw, &[1, 2, 3, 4]].concat();
        assert!(read(&file).unwrap().image == picture(&phantom), "{second}");
    }
}
