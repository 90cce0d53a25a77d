//! Small data sets that a peer sends us, element by element. Little endian, both VRs. No I/O.

use radiograph::has_long_length;
use thiserror::Error;

/// One element. A sequence has items, anything else a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u32,
    pub(crate) value: &'a [u8],
    pub(crate) items: Vec<Vec<Self>>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("data set: {what} at byte {at}")]
pub(crate) struct BadDataset {
    what: &'static str,
    at: usize,
}

/// Deeper sequences are refused: ours have one level.
const MOST_DEPTH: usize = 8;
const UNDEFINED: u32 = u32::MAX;
const ITEM: u32 = 0xfffe_e000;
const ITEM_END: u32 = 0xfffe_e00d;
const SEQUENCE_END: u32 = 0xfffe_e0dd;

/// Every element of `bytes`. `sequences`: tags that are sequences, which implicit VR does not say.
pub(crate) fn parse<'a>(
    bytes: &'a [u8],
    explicit: bool,
    sequences: &[u32],
) -> Result<Vec<Element<'a>>, BadDataset> {
    let mut reader = Reader { bytes, at: 0, explicit, sequences };
    reader.elements(bytes.len(), false, 0)
}

/// The text of an element, without padding.
pub(crate) fn text(elements: &[Element<'_>], tag: u32) -> Option<String> {
    let element = elements.iter().find(|element| element.tag == tag)?;
    Some(super::command::text(element.value))
}

struct Reader<'a, 's> {
    bytes: &'a [u8],
    at: usize,
    explicit: bool,
    sequences: &'s [u32],
}

struct Head {
    tag: u32,
    vr: [u8; 2],
    length: u32,
}

impl<'a> Reader<'a, '_> {
    /// Elements up to `end`, or up to the item's delimiter.
    fn elements(
        &mut self,
        end: usize,
        delimited: bool,
        depth: usize,
    ) -> Result<Vec<Element<'a>>, BadDataset> {
        if depth > MOST_DEPTH {
            return Err(self.bad("sequences too deep"));
        }
        let mut elements = Vec::new();
        loop {
            if self.at == end && !delimited {
                return Ok(elements);
            }
            let head = self.head(end)?;
            if delimited && head.tag == ITEM_END {
                return Ok(elements);
            }
            let is_sequence = head.vr == *b"SQ"
                || head.length == UNDEFINED
                || (!self.explicit && self.sequences.contains(&head.tag));
            let (value, items) = if is_sequence {
                (&[][..], self.items(head.length, end, depth + 1)?)
            } else {
                (self.value(head.length, end)?, Vec::new())
            };
            elements.push(Element { tag: head.tag, value, items });
        }
    }

    fn items(
        &mut self,
        length: u32,
        end: usize,
        depth: usize,
    ) -> Result<Vec<Vec<Element<'a>>>, BadDataset> {
        let delimited = length == UNDEFINED;
        let end = if delimited { end } else { self.end_of(length, end)? };
        let mut items = Vec::new();
        loop {
            if self.at == end && !delimited {
                return Ok(items);
            }
            let head = self.item_head(end)?;
            match head.tag {
                SEQUENCE_END if delimited => return Ok(items),
                ITEM if head.length == UNDEFINED => items.push(self.elements(end, true, depth)?),
                ITEM => {
                    let item_end = self.end_of(head.length, end)?;
                    items.push(self.elements(item_end, false, depth)?);
                }
                _ => return Err(self.bad("no item in a sequence")),
            }
        }
    }

    fn head(&mut self, end: usize) -> Result<Head, BadDataset> {
        let head = self.take::<8>(end)?;
        let tag = tag(head);
        // Delimiters have no VR, not even in explicit VR.
        if !self.explicit || tag >> 16 == 0xfffe {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            return Ok(Head { tag, vr: [0; 2], length });
        }
        let vr = [head[4], head[5]];
        if !vr.iter().all(u8::is_ascii_uppercase) {
            return Err(self.bad("no VR before the value"));
        }
        let length = if has_long_length(vr) {
            u32::from_le_bytes(*self.take::<4>(end)?)
        } else {
            u32::from(u16::from_le_bytes([head[6], head[7]]))
        };
        Ok(Head { tag, vr, length })
    }

    fn item_head(&mut self, end: usize) -> Result<Head, BadDataset> {
        let head = self.take::<8>(end)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        Ok(Head { tag: tag(head), vr: [0; 2], length })
    }

    fn value(&mut self, length: u32, end: usize) -> Result<&'a [u8], BadDataset> {
        let value_end = self.end_of(length, end)?;
        let value = &self.bytes[self.at..value_end];
        self.at = value_end;
        Ok(value)
    }

    fn take<const N: usize>(&mut self, end: usize) -> Result<&'a [u8; N], BadDataset> {
        let rest = &self.bytes[self.at..end];
        let taken = rest.first_chunk::<N>().ok_or_else(|| self.bad("ends inside an element"))?;
        self.at += N;
        Ok(taken)
    }

    fn end_of(&self, length: u32, end: usize) -> Result<usize, BadDataset> {
        let value_end = self.at.checked_add(length as usize).filter(|value_end| *value_end <= end);
        value_end.ok_or_else(|| self.bad("a value longer than what is left"))
    }

    fn bad(&self, what: &'static str) -> BadDataset {
        BadDataset { what, at: self.at }
    }
}

fn tag(head: &[u8; 8]) -> u32 {
    u32::from(u16::from_le_bytes([head[0], head[1]])) << 16
        | u32::from(u16::from_le_bytes([head[2], head[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_of_either_length_are_read() {
        let inner = b"\x08\x00\x50\x11\x04\x00\x00\x001.2\0";
        let defined =
            [&b"\x08\x00\x99\x11\x14\x00\x00\x00\xfe\xff\x00\xe0\x0c\x00\x00\x00"[..], inner];
        let open = [
            &b"\x08\x00\x99\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"[..],
            inner,
            b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
        ];
        for bytes in [defined.concat(), open.concat()] {
            let elements = parse(&bytes, false, &[0x0008_1199]).unwrap();
            assert_eq!(text(&elements[0].items[0], 0x0008_1150).unwrap(), "1.2");
        }
    }

    #[test]
    fn what_claims_more_than_there_is_is_refused() {
        let long = b"\x08\x00\x50\x11\xfe\xff\xff\xff1.2\0";
        assert_eq!(parse(long, false, &[]).unwrap_err().what, "a value longer than what is left");
        let deep = b"\x08\x00\x99\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff".repeat(1000);
        assert_eq!(parse(&deep, false, &[]).unwrap_err().what, "sequences too deep");
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), explicit: bool) {
            let _ = parse(&bytes, explicit, &[0x0008_1199]);
        }
    }
}
