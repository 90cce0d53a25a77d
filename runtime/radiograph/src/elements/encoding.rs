//! How elements are written.

use dicom_core::{Tag, VR};
use thiserror::Error;

/// The head of an item of a sequence.
pub const ITEM: Tag = Tag(0xFFFE, 0xE000);

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub(super) implicit: bool,
    pub(crate) big_endian: bool,
}

/// A value that its length field cannot say.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("element {tag} has {found} bytes, its value representation allows {most}")]
pub struct TooLong {
    tag: Tag,
    found: usize,
    most: u32,
}

impl Encoding {
    pub const EXPLICIT_LITTLE_ENDIAN: Self = Self { implicit: false, big_endian: false };
    pub const EXPLICIT_BIG_ENDIAN: Self = Self { implicit: false, big_endian: true };
    /// Also how values of unknown VR are encoded, in any transfer syntax (PS3.5 6.2.2).
    pub const IMPLICIT_LITTLE_ENDIAN: Self = Self { implicit: true, big_endian: false };

    /// Appends an element, or an [`ITEM`], padded to an even length.
    pub fn put(
        self,
        out: &mut Vec<u8>,
        tag: Tag,
        vr: VR,
        value: impl AsRef<[u8]>,
    ) -> Result<(), TooLong> {
        let value = value.as_ref();
        let odd = value.len() % 2;
        let found = value.len() + odd;
        let code = self.has_vr(tag).then(|| vr.to_bytes());
        let is_short = code.is_some_and(|code| !has_long_length(code));
        let most = if is_short { u32::from(u16::MAX) - 1 } else { u32::MAX - 1 };
        let length = u32::try_from(found).ok().filter(|length| *length <= most);
        let length = length.ok_or(TooLong { tag, found, most })?;

        out.extend_from_slice(&self.u16_bytes(tag.group()));
        out.extend_from_slice(&self.u16_bytes(tag.element()));
        out.extend_from_slice(code.as_ref().map_or(&[], |code| &code[..]));
        if is_short {
            out.extend_from_slice(&self.u16_bytes(length as u16));
        } else {
            out.extend_from_slice(if code.is_some() { &[0, 0] } else { &[] });
            let length = if self.big_endian { length.to_be_bytes() } else { length.to_le_bytes() };
            out.extend_from_slice(&length);
        }
        out.extend_from_slice(value);
        let padding = if matches!(vr, VR::UI | VR::OB | VR::UN) { 0 } else { b' ' };
        out.extend(std::iter::repeat_n(padding, odd));
        Ok(())
    }

    /// Whether a VR stands before the value. Items and delimiters never have one.
    pub(super) fn has_vr(self, tag: Tag) -> bool {
        !self.implicit && tag.group() != ITEM.group()
    }

    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn u16_bytes(self, n: u16) -> [u8; 2] {
        if self.big_endian { n.to_be_bytes() } else { n.to_le_bytes() }
    }
}

/// Whether elements of a VR have a length of 4 bytes, after 2 that are reserved, where VRs are written (PS3.5 7.1.2).
pub(super) fn has_long_length(vr: [u8; 2]) -> bool {
    const LONG: [&[u8; 2]; 13] =
        [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
    LONG.contains(&&vr)
}
