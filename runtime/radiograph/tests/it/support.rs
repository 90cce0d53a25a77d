//! Draws a phantom and writes it as DICOM.

use dicom_core::{
    DataElement, PrimitiveValue, Tag, VR,
    value::{DataSetSequence, PixelFragmentSequence},
};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::{Compression, write::DeflateEncoder};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use std::io::Write;

pub(crate) const ROWS: usize = 37;
pub(crate) const COLUMNS: usize = 29;

/// How a phantom is stored.
#[derive(Clone, Debug)]
pub(crate) struct Phantom {
    pub(crate) allocated: u16,
    pub(crate) stored: u16,
    pub(crate) signed: bool,
    pub(crate) photometric: &'static str,
    pub(crate) syntax: &'static str,
    /// Values row by row, within `stored` bits.
    pub(crate) values: Vec<i32>,
    /// Further elements.
    pub(crate) extra: Vec<DataElement<InMemDicomObject>>,
}

impl Phantom {
    /// Two dark ovals on a slope, using all of `stored` bits.
    pub(crate) fn draw(stored: u16, signed: bool) -> Self {
        let top = (1i64 << stored) - 1;
        let value = |i: usize| {
            let (y, x) = ((i / COLUMNS) as i64, (i % COLUMNS) as i64);
            let oval = |cx: i64| 6 * (x - cx).pow(2) + (y - 18).pow(2) < 150;
            let bright = y * COLUMNS as i64 + x; // 0 … ROWS * COLUMNS - 1
            let value = top * bright / (ROWS * COLUMNS - 1) as i64;
            let value = if oval(8) || oval(20) { value / 3 } else { value };
            (if signed { value - (1i64 << (stored - 1)) } else { value }) as i32
        };
        Self {
            allocated: if stored > 8 { 16 } else { 8 },
            stored,
            signed,
            photometric: "MONOCHROME2",
            syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN,
            values: (0..ROWS * COLUMNS).map(value).collect(),
            extra: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> Self {
        self.extra.push(DataElement::new(tag, vr, value.into()));
        self
    }

    pub(crate) fn with_item(
        mut self,
        tag: Tag,
        item: impl IntoIterator<Item = DataElement<InMemDicomObject>>,
    ) -> Self {
        let items = vec![InMemDicomObject::from_element_iter(item)];
        self.extra.push(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
        self
    }

    /// A part 10 file whose pixel data is `stream`.
    pub(crate) fn file_around(&self, syntax: &'static str, stream: Vec<u8>) -> Vec<u8> {
        let fragments = PixelFragmentSequence::new_fragments(vec![stream]);
        let pixels = DataElement::new(tags::PIXEL_DATA, VR::OB, fragments);
        let mut phantom = Self { syntax, ..self.clone() };
        phantom.extra.push(pixels);
        phantom.file()
    }

    /// The bytes of a part 10 file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut object = InMemDicomObject::new_empty();
        let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
        let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
        for element in [
            text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
            text(tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION),
            text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.7"),
            text(tags::STUDY_INSTANCE_UID, VR::UI, "2.25.8"),
            text(tags::MODALITY, VR::CS, "DX"),
            text(tags::PATIENT_NAME, VR::PN, "Phantom^Draw\u{fc}n"),
            text(tags::PATIENT_ID, VR::LO, "PH-1"),
            text(tags::VIEW_POSITION, VR::CS, "PA"),
            text(tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, self.photometric),
            number(tags::SAMPLES_PER_PIXEL, 1),
            number(tags::ROWS, ROWS as u16),
            number(tags::COLUMNS, COLUMNS as u16),
            number(tags::BITS_ALLOCATED, self.allocated),
            number(tags::BITS_STORED, self.stored),
            number(tags::HIGH_BIT, self.stored - 1),
            number(tags::PIXEL_REPRESENTATION, self.signed.into()),
        ] {
            object.put(element);
        }
        object.put(self.pixel_data());
        for element in &self.extra {
            object.put(element.clone());
        }
        encode(&object, self.syntax)
    }

    fn pixel_data(&self) -> DataElement<InMemDicomObject> {
        if self.syntax == uids::RLE_LOSSLESS {
            let fragments = PixelFragmentSequence::new_fragments(vec![self.run_lengths()]);
            return DataElement::new(tags::PIXEL_DATA, VR::OB, fragments);
        }
        if self.syntax == uids::JPEG_BASELINE8_BIT {
            let fragments = PixelFragmentSequence::new_fragments(vec![self.jpeg()]);
            return DataElement::new(tags::PIXEL_DATA, VR::OB, fragments);
        }
        let value = if self.allocated == 16 {
            PrimitiveValue::U16(self.values.iter().map(|v| *v as u16).collect())
        } else {
            let mut bytes: Vec<u8> = self.values.iter().map(|v| *v as u8).collect();
            bytes.resize(bytes.len().next_multiple_of(2), 0);
            PrimitiveValue::U8(bytes.into())
        };
        let vr = if self.allocated == 16 { VR::OW } else { VR::OB };
        DataElement::new(tags::PIXEL_DATA, vr, value)
    }

    /// A grey 8-bit JPEG of the best quality.
    fn jpeg(&self) -> Vec<u8> {
        let bytes: Vec<u8> = self.values.iter().map(|v| *v as u8).collect();
        let mut stream = Vec::new();
        JpegEncoder::new_with_quality(&mut stream, 100)
            .encode(&bytes, COLUMNS as u32, ROWS as u32, ExtendedColorType::L8)
            .unwrap();
        stream.resize(stream.len().next_multiple_of(2), 0);
        stream
    }

    /// RLE with runs and literals, most significant bytes first.
    fn run_lengths(&self) -> Vec<u8> {
        let bytes = usize::from(self.allocated / 8);
        let planes: Vec<Vec<u8>> = (0..bytes)
            .rev()
            .map(|byte| {
                pack(&self.values.iter().map(|v| (*v >> (8 * byte)) as u8).collect::<Vec<_>>())
            })
            .collect();
        let mut header = [0u32; 16];
        header[0] = bytes as u32;
        let mut at = 64;
        for (offset, plane) in header[1..].iter_mut().zip(&planes) {
            *offset = at;
            at += plane.len() as u32;
        }
        let mut out: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        out.extend(planes.concat());
        out.resize(out.len().next_multiple_of(2), 0);
        out
    }
}

/// A value of US, SS or OW.
pub(crate) fn words(words: &[u16]) -> PrimitiveValue {
    PrimitiveValue::U16(words.iter().copied().collect())
}

/// PackBits: runs of 3 and more, the rest literally.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut literal: Vec<u8> = Vec::new();
    let flush = |literal: &mut Vec<u8>, out: &mut Vec<u8>| {
        for part in literal.chunks(128) {
            out.push(part.len() as u8 - 1);
            out.extend_from_slice(part);
        }
        literal.clear();
    };
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let run = rest.iter().take(128).take_while(|b| *b == first).count();
        if run >= 3 {
            flush(&mut literal, &mut out);
            out.extend([(257 - run) as u8, *first]);
        } else {
            literal.extend_from_slice(&rest[..run]);
        }
        rest = &rest[run..];
    }
    flush(&mut literal, &mut out);
    out
}

fn encode(object: &InMemDicomObject, syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
        .media_storage_sop_instance_uid("2.25.7")
        .transfer_syntax(syntax)
        .build()
        .unwrap();
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    meta.write(&mut file).unwrap();
    let plain = if syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        uids::EXPLICIT_VR_LITTLE_ENDIAN
    } else {
        syntax
    };
    let mut data_set = Vec::new();
    let encoding = TransferSyntaxRegistry.get(plain).unwrap();
    object.write_dataset_with_ts(&mut data_set, encoding).unwrap();
    if plain != syntax {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&data_set).unwrap();
        data_set = deflate.finish().unwrap();
    }
    file.extend(data_set);
    file
}
