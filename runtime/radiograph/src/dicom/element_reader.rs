//! Reads elements without trusting any length, and without recursion. Nothing is copied: elements and pixel data are
//! slices of the data set.

use super::TransferSyntax;
use crate::{RadiographError, limits};
use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::{StandardDataDictionary, tags};

/// The value of `PixelData`.
pub(crate) enum RawPixels<'a> {
    Native {
        /// As many as are there, which may be fewer than claimed.
        bytes: &'a [u8],
        claimed: u64,
        vr: VR,
    },
    Encapsulated {
        offsets: Vec<u32>,
        fragments: Vec<&'a [u8]>,
    },
}

/// An element and its encoded value.
#[derive(Clone, Copy)]
pub(crate) struct Located<'a> {
    pub(crate) tag: Tag,
    /// As written in the file, or from the dictionary if the file does not say.
    pub(crate) vr: VR,
    /// Of the element; what is inside an element of VR UN is implicit VR little endian.
    pub(crate) encoding: Encoding,
    pub(crate) value: &'a [u8],
}

/// The elements of each item in the value of a sequence; sequences inside are one value.
pub(crate) fn items(
    value: &[u8],
    encoding: Encoding,
) -> Result<Vec<Vec<Located<'_>>>, RadiographError> {
    let mut reader = Reader::new(value, encoding);
    let mut items = Vec::new();
    while !reader.is_at_end() {
        let item = reader.element()?;
        match (item.tag, item.length) {
            (SEQUENCE_END, _) => break,
            (ITEM, Some(_)) => {
                let mut inside = Reader::new(reader.value(&item)?, encoding);
                let mut elements = Vec::new();
                while !inside.is_at_end() {
                    elements.push(inside.located()?);
                }
                items.push(elements);
            }
            (ITEM, None) => {
                let mut elements = Vec::new();
                while !reader.passed(ITEM_END)? {
                    elements.push(reader.located()?);
                }
                items.push(elements);
            }
            (tag, _) => return Err(damaged(format!("unexpected {tag} in a sequence"))),
        }
    }
    Ok(items)
}

/// How elements are written.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    implicit: bool,
    pub(crate) big_endian: bool,
}

impl Encoding {
    pub(crate) const EXPLICIT_LITTLE_ENDIAN: Self = Self { implicit: false, big_endian: false };
    /// Also how values of unknown VR are encoded, in any transfer syntax (PS3.5 6.2.2).
    pub(crate) const IMPLICIT_LITTLE_ENDIAN: Self = Self { implicit: true, big_endian: false };

    pub(crate) fn of(syntax: TransferSyntax) -> Self {
        Self { implicit: syntax.is_implicit(), big_endian: syntax.is_big_endian() }
    }
}

/// The header of an element, or of an item of a sequence (then `vr` is `None`).
pub(crate) struct Element {
    pub(crate) tag: Tag,
    vr: Option<VR>,
    /// `None`: undefined, ends with a delimiter.
    length: Option<u32>,
}

const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// A position in encoded elements.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
    /// Elements and items so far.
    count: usize,
}

/// A sequence or item being walked.
struct Level {
    is_item: bool,
    /// `None`: until its delimiter.
    end: Option<usize>,
    /// Outside this level.
    encoding: Encoding,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding, count: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Every element before the pixel data, and the head of that if it is there.
    pub(crate) fn top_level(
        &mut self,
    ) -> Result<(Vec<Located<'a>>, Option<Element>), RadiographError> {
        let mut found = Vec::new();
        let mut pixels = None;
        while !self.is_at_end() {
            let element = self.element()?;
            if element.tag == tags::PIXEL_DATA {
                pixels = Some(element);
                break;
            }
            found.push(self.rest_of(&element)?);
            if self.at > limits::HEADER_BYTES {
                return Err(damaged(format!("more than {} bytes of header", limits::HEADER_BYTES)));
            }
        }
        Ok((found, pixels))
    }

    /// The next element with its value, which may be a whole sequence.
    fn located(&mut self) -> Result<Located<'a>, RadiographError> {
        let element = self.element()?;
        self.rest_of(&element)
    }

    fn rest_of(&mut self, element: &Element) -> Result<Located<'a>, RadiographError> {
        let (start, bytes) = (self.at, self.bytes);
        self.skip(element)?;
        Ok(Located {
            tag: element.tag,
            vr: element.vr.unwrap_or(VR::UN),
            encoding: self.encoding,
            value: &bytes[start..self.at],
        })
    }

    /// Passes over the delimiter `tag` if it is next.
    fn passed(&mut self, tag: Tag) -> Result<bool, RadiographError> {
        let before = self.at;
        let is_next = self.element()?.tag == tag;
        if !is_next {
            self.at = before;
        }
        Ok(is_next)
    }

    /// The group of the next element.
    pub(crate) fn peek_group(&self) -> Option<u16> {
        let bytes = self.bytes.get(self.at..self.at + 2)?;
        Some(self.u16_of([bytes[0], bytes[1]]))
    }

    /// Reads the header of an element or item.
    pub(crate) fn element(&mut self) -> Result<Element, RadiographError> {
        self.count += 1;
        if self.count > limits::ELEMENTS {
            return Err(damaged(format!("more than {} elements", limits::ELEMENTS)));
        }
        let tag = Tag(self.u16()?, self.u16()?);
        if tag.group() == 0xFFFE {
            return Ok(Element { tag, vr: None, length: defined(self.u32()?) });
        }
        if self.encoding.implicit {
            let vr = vr_in_dictionary(tag);
            return Ok(Element { tag, vr: Some(vr), length: defined(self.u32()?) });
        }
        let code = self.take()?;
        let vr = VR::from_binary(code).ok_or_else(|| {
            let code = code.escape_ascii();
            damaged(format!("element {tag} has value representation \"{code}\""))
        })?;
        let length = if has_long_length(code) {
            let _reserved = self.u16()?;
            self.u32()?
        } else {
            self.u16()?.into()
        };
        Ok(Element { tag, vr: Some(vr), length: defined(length) })
    }

    /// The value of an element that is no sequence.
    pub(crate) fn value(&mut self, element: &Element) -> Result<&'a [u8], RadiographError> {
        let tag = element.tag;
        let length = element
            .length
            .ok_or_else(|| damaged(format!("element {tag} has no length and is no sequence")))?;
        let bytes = self.bytes;
        let value = bytes[self.at..].get(..length as usize).ok_or_else(|| {
            let left = self.remaining();
            let name = if tag == ITEM { "item" } else { "element" };
            damaged(format!("{name} {tag} claims {length} bytes, {left} are left"))
        })?;
        self.at += value.len();
        Ok(value)
    }

    /// Passes over the value of an element, walking through sequences.
    fn skip(&mut self, element: &Element) -> Result<(), RadiographError> {
        if element.vr.is_none() {
            return Err(damaged(format!("item {} outside a sequence", element.tag)));
        }
        let mut levels = Vec::new();
        self.enter_or_skip(element, &mut levels)?;
        while let Some(level) = levels.last() {
            match level.end {
                Some(end) if self.at == end => {
                    self.leave(&mut levels);
                    continue;
                }
                Some(end) if self.at > end => {
                    return Err(damaged(format!("sequence {} runs over its end", element.tag)));
                }
                _ => {}
            }
            let is_item = level.is_item;
            let delimited = level.end.is_none();
            let inner = self.element()?;
            match (inner.tag, is_item) {
                (ITEM, false) => self.enter(&inner, true, self.encoding, &mut levels)?,
                (ITEM_END, true) | (SEQUENCE_END, false) if delimited => self.leave(&mut levels),
                (tag, true) if tag.group() != 0xFFFE => self.enter_or_skip(&inner, &mut levels)?,
                (tag, _) => return Err(damaged(format!("unexpected {tag} in {}", element.tag))),
            }
        }
        Ok(())
    }

    fn enter_or_skip(
        &mut self,
        element: &Element,
        levels: &mut Vec<Level>,
    ) -> Result<(), RadiographError> {
        match (element.vr, element.length) {
            (Some(VR::SQ), _) => self.enter(element, false, self.encoding, levels),
            (Some(VR::UN), None) => {
                self.enter(element, false, Encoding::IMPLICIT_LITTLE_ENDIAN, levels)
            }
            // The compressed pixel data of an icon.
            (Some(VR::OB | VR::OW), None) => self.fragments().map(drop),
            _ => self.value(element).map(drop),
        }
    }

    fn enter(
        &mut self,
        element: &Element,
        is_item: bool,
        inside: Encoding,
        levels: &mut Vec<Level>,
    ) -> Result<(), RadiographError> {
        if levels.len() >= 2 * limits::DEPTH {
            return Err(damaged(format!("sequences nested deeper than {}", limits::DEPTH)));
        }
        let end = match element.length {
            Some(length) if length as usize > self.remaining() => {
                let (tag, left) = (element.tag, self.remaining());
                return Err(damaged(format!("{tag} claims {length} bytes, {left} are left")));
            }
            length => length.map(|length| self.at + length as usize),
        };
        levels.push(Level { is_item, end, encoding: self.encoding });
        self.encoding = inside;
        Ok(())
    }

    fn leave(&mut self, levels: &mut Vec<Level>) {
        if let Some(level) = levels.pop() {
            self.encoding = level.encoding;
        }
    }

    pub(crate) fn pixels(
        &mut self,
        element: &Element,
        syntax: TransferSyntax,
    ) -> Result<RawPixels<'a>, RadiographError> {
        let bytes = &self.bytes[self.at..];
        match element.length {
            Some(length) if !syntax.is_encapsulated() => Ok(RawPixels::Native {
                bytes: &bytes[..bytes.len().min(length as usize)],
                claimed: length.into(),
                vr: element.vr.unwrap_or(VR::OW),
            }),
            None if syntax.is_encapsulated() => self.fragments(),
            length => {
                let found = if length.is_some() { "one value" } else { "fragments" };
                Err(damaged(format!(
                    "pixel data is {found}, which {} does not allow",
                    syntax.name()
                )))
            }
        }
    }

    fn fragments(&mut self) -> Result<RawPixels<'a>, RadiographError> {
        let mut items = Vec::new();
        loop {
            if self.is_at_end() {
                return Err(damaged("pixel data ends without its delimiter".into()));
            }
            let item = self.element()?;
            match item.tag {
                ITEM => items.push(self.value(&item)?),
                SEQUENCE_END => break,
                tag => return Err(damaged(format!("unexpected {tag} among fragments"))),
            }
        }
        let mut items = items.into_iter();
        let table = items.next().ok_or_else(|| damaged("pixel data has no fragments".into()))?;
        let words = table.chunks_exact(4);
        let offsets = words.map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        Ok(RawPixels::Encapsulated { offsets, fragments: items.collect() })
    }

    fn u16(&mut self) -> Result<u16, RadiographError> {
        self.take().map(|bytes| self.u16_of(bytes))
    }

    fn u16_of(&self, bytes: [u8; 2]) -> u16 {
        if self.encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(&mut self) -> Result<u32, RadiographError> {
        let bytes = self.take()?;
        Ok(if self.encoding.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], RadiographError> {
        let bytes = self.bytes[self.at..].first_chunk();
        let bytes = bytes.ok_or_else(|| damaged("the file ends inside an element".into()))?;
        self.at += N;
        Ok(*bytes)
    }
}

fn damaged(what: String) -> RadiographError {
    RadiographError::Structure(what)
}

fn defined(length: u32) -> Option<u32> {
    (length != u32::MAX).then_some(length)
}

/// What is not in the dictionary is UN.
pub(crate) fn vr_in_dictionary(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

/// Whether elements of a value representation have a length of 4 bytes, after 2 that are reserved, where
/// value representations are written (PS3.5 7.1.2).
pub fn has_long_length(vr: [u8; 2]) -> bool {
    const LONG: [&[u8; 2]; 13] =
        [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
    LONG.contains(&&vr)
}
