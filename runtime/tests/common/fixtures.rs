//! Objects to send: small, drawn from a number, no patient.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::Value};
use dicom_object::{InMemDicomObject, mem::InMemElement};

pub(crate) const CR: &str = "1.2.840.10008.5.1.4.1.1.1";
pub(crate) const DX: &str = "1.2.840.10008.5.1.4.1.1.1.1";
pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// A chest-like CR picture of `side`² pixels as a data set.
pub(crate) fn chest(uid: &str, side: u16, seed: u32) -> InMemDicomObject {
    let mut object = InMemDicomObject::new_empty();
    let mut text = |group, element, vr, value: &str| {
        let value: Value<_, _> = PrimitiveValue::from(value).into();
        object.put(InMemElement::new(Tag(group, element), vr, value));
    };
    text(0x0008, 0x0016, VR::UI, CR);
    text(0x0008, 0x0018, VR::UI, uid);
    text(0x0008, 0x0060, VR::CS, "CR");
    text(0x0010, 0x0010, VR::PN, "Phantom^Drawn");
    text(0x0010, 0x0020, VR::LO, "P-1");
    text(0x0018, 0x0015, VR::CS, "CHEST");
    text(0x0018, 0x5101, VR::CS, "PA");
    text(0x0020, 0x000d, VR::UI, &format!("{uid}.1"));
    text(0x0020, 0x000e, VR::UI, &format!("{uid}.2"));
    text(0x0028, 0x0004, VR::CS, "MONOCHROME2");
    for (element, value) in [
        (0x0002, 1),
        (0x0010, side),
        (0x0011, side),
        (0x0100, 16),
        (0x0101, 12),
        (0x0102, 11),
        (0x0103, 0),
    ] {
        object.put(DataElement::new(Tag(0x0028, element), VR::US, PrimitiveValue::from(value)));
    }
    object.put(DataElement::new(
        Tag(0x7fe0, 0x0010),
        VR::OW,
        PrimitiveValue::U16(pixels(side.into(), seed).into()),
    ));
    object
}

/// Two dark lungs on a grey body, with noise.
fn pixels(side: u32, seed: u32) -> Vec<u16> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let pixel = |at: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let place = |x: u32| x as f32 / side as f32 - 0.5;
        let (y, x) = (place(at / side), place(at % side).abs());
        let lung = ((x - 0.2) / 0.13).powi(2) + (y / 0.33).powi(2);
        let grey = if lung < 1.0 { 900.0 } else { 2600.0 - 1800.0 * x };
        grey as u16 + (state % 200) as u16
    };
    (0..side * side).map(pixel).collect()
}

/// Bytes of a data set in a transfer syntax.
pub(crate) fn encode(object: &InMemDicomObject, transfer_syntax: &str) -> Vec<u8> {
    use dicom_encoding::TransferSyntaxIndex;
    let syntax =
        dicom_transfer_syntax_registry::TransferSyntaxRegistry.get(transfer_syntax).unwrap();
    let mut bytes = Vec::new();
    object.write_dataset_with_ts(&mut bytes, syntax).unwrap();
    bytes
}
