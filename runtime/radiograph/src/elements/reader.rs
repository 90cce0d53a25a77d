//! A position in encoded elements: heads, values, and whole elements with what is nested in them.

use super::{Element, ElementError, Encoding, ITEM, encoding::has_long_length, vr_in_dictionary};
use crate::limits;
use dicom_core::{Tag, VR};

pub(super) const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
pub(super) const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

/// What stands before the value of an element, or of an item of a sequence (then `vr` is `None`).
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub tag: Tag,
    pub(crate) vr: Option<VR>,
    /// `None`: undefined, ends with a delimiter.
    pub(crate) length: Option<u32>,
}

/// Compressed pixel data.
pub(crate) struct Fragments<'a> {
    pub(crate) offsets: Vec<u32>,
    pub(crate) fragments: Vec<&'a [u8]>,
}

/// A position in encoded elements.
#[derive(Debug)]
pub struct Reader<'a> {
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
    pub fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding, count: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next element with its value, which may be a whole sequence.
    pub(crate) fn element(&mut self) -> Result<Element<'a>, ElementError> {
        let head = self.head()?;
        self.rest_of(&head)
    }

    /// The element whose head was just read.
    pub fn rest_of(&mut self, head: &Head) -> Result<Element<'a>, ElementError> {
        let (encoding, rest) = (self.encoding, self.rest());
        let vr = head.vr.ok_or_else(|| damaged(format!("item {} outside a sequence", head.tag)))?;
        self.skip(head)?;
        let value = &rest[..rest.len() - self.rest().len()];
        Ok(Element { tag: head.tag, vr, encoding, value })
    }

    /// Passes over the delimiter `tag` if it is next.
    pub(super) fn passed(&mut self, tag: Tag) -> Result<bool, ElementError> {
        let before = self.at;
        let is_next = self.head()?.tag == tag;
        if !is_next {
            self.at = before;
        }
        Ok(is_next)
    }

    /// The head of the next element or item.
    pub fn head(&mut self) -> Result<Head, ElementError> {
        self.count += 1;
        if self.count > limits::ELEMENTS {
            return Err(damaged(format!("more than {} elements", limits::ELEMENTS)));
        }
        let tag = Tag(self.u16()?, self.u16()?);
        if !self.encoding.has_vr(tag) {
            let vr = (tag.group() != ITEM.group()).then(|| vr_in_dictionary(tag));
            return Ok(Head { tag, vr, length: defined(self.u32()?) });
        }
        let code = self.take()?;
        let vr = VR::from_binary(code).ok_or_else(|| {
            let code = code.escape_ascii().to_string();
            ElementError::Representation { tag, code }
        })?;
        let length = if has_long_length(code) {
            let _reserved = self.u16()?;
            self.u32()?
        } else {
            self.u16()?.into()
        };
        Ok(Head { tag, vr: Some(vr), length: defined(length) })
    }

    /// The value of an element that is no sequence.
    pub fn value(&mut self, head: &Head) -> Result<&'a [u8], ElementError> {
        let tag = head.tag;
        let length = head
            .length
            .ok_or_else(|| damaged(format!("element {tag} has no length and is no sequence")))?;
        let end = self.end(tag, length)?;
        let value = &self.bytes[self.at..end];
        self.at = end;
        Ok(value)
    }

    /// Where a value ends that begins here.
    fn end(&self, tag: Tag, length: u32) -> Result<usize, ElementError> {
        let left = self.rest().len();
        if length as usize > left {
            return Err(ElementError::Longer { tag, length, left });
        }
        Ok(self.at + length as usize)
    }

    /// Passes over the value of an element, walking through sequences.
    fn skip(&mut self, head: &Head) -> Result<(), ElementError> {
        let mut levels = Vec::new();
        self.enter_or_skip(head, &mut levels)?;
        while let Some(level) = levels.last() {
            match level.end {
                Some(end) if self.at == end => {
                    self.leave(&mut levels);
                    continue;
                }
                Some(end) if self.at > end => {
                    return Err(damaged(format!("sequence {} runs over its end", head.tag)));
                }
                _ => {}
            }
            let is_item = level.is_item;
            let delimited = level.end.is_none();
            let inner = self.head()?;
            match (inner.tag, is_item) {
                (ITEM, false) => self.enter(&inner, true, self.encoding, &mut levels)?,
                (ITEM_END, true) | (SEQUENCE_END, false) if delimited => self.leave(&mut levels),
                (tag, true) if tag.group() != 0xFFFE => self.enter_or_skip(&inner, &mut levels)?,
                (tag, _) => return Err(damaged(format!("unexpected {tag} in {}", head.tag))),
            }
        }
        Ok(())
    }

    fn enter_or_skip(&mut self, head: &Head, levels: &mut Vec<Level>) -> Result<(), ElementError> {
        match (head.vr, head.length) {
            (Some(VR::SQ), _) => self.enter(head, false, self.encoding, levels),
            (Some(VR::UN), None) => {
                self.enter(head, false, Encoding::IMPLICIT_LITTLE_ENDIAN, levels)
            }
            // The compressed pixel data of an icon.
            (Some(VR::OB | VR::OW), None) => self.fragments().map(drop),
            _ => self.value(head).map(drop),
        }
    }

    fn enter(
        &mut self,
        head: &Head,
        is_item: bool,
        inside: Encoding,
        levels: &mut Vec<Level>,
    ) -> Result<(), ElementError> {
        if levels.len() >= 2 * limits::DEPTH {
            return Err(damaged(format!("sequences nested deeper than {}", limits::DEPTH)));
        }
        let end = head.length.map(|length| self.end(head.tag, length)).transpose()?;
        levels.push(Level { is_item, end, encoding: self.encoding });
        self.encoding = inside;
        Ok(())
    }

    fn leave(&mut self, levels: &mut Vec<Level>) {
        if let Some(level) = levels.pop() {
            self.encoding = level.encoding;
        }
    }

    pub(crate) fn fragments(&mut self) -> Result<Fragments<'a>, ElementError> {
        let mut items = Vec::new();
        loop {
            if self.is_at_end() {
                return Err(damaged("pixel data ends without its delimiter".into()));
            }
            let item = self.head()?;
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
        Ok(Fragments { offsets, fragments: items.collect() })
    }

    fn u16(&mut self) -> Result<u16, ElementError> {
        self.take().map(|bytes| self.encoding.u16(bytes))
    }

    fn u32(&mut self) -> Result<u32, ElementError> {
        self.take().map(|bytes| self.encoding.u32(bytes))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ElementError> {
        let bytes = *self.rest().first_chunk().ok_or(ElementError::Ends)?;
        self.at += N;
        Ok(bytes)
    }
}

fn damaged(what: String) -> ElementError {
    ElementError::Structure(what)
}

fn defined(length: u32) -> Option<u32> {
    (length != u32::MAX).then_some(length)
}
