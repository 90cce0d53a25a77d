//! Elements of small data sets, written and read by tests: independent of the daemon's own readers.

/// Elements of group 0008 get their group here; those of a command set are moved by [`of_group_0`].
pub(crate) fn put(out: &mut Vec<u8>, element: u16, vr: &[u8; 2], value: &[u8], explicit: bool) {
    let odd = value.len() % 2;
    let length = value.len() + odd;
    out.extend_from_slice(&8u16.to_le_bytes());
    out.extend_from_slice(&element.to_le_bytes());
    match (explicit, vr) {
        (false, _) => out.extend_from_slice(&(length as u32).to_le_bytes()),
        (true, b"SQ") => {
            out.extend_from_slice(b"SQ\0\0");
            out.extend_from_slice(&(length as u32).to_le_bytes());
        }
        (true, _) => {
            out.extend_from_slice(vr);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
    }
    out.extend_from_slice(value);
    out.extend(std::iter::repeat_n(0, odd));
}

pub(crate) fn of_group_0(elements: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = elements;
    while let Some(head) = rest.first_chunk::<8>() {
        let length = 8 + u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&rest[2..length]);
        rest = &rest[length..];
    }
    out
}

/// The value of an element in implicit VR, whatever its group.
pub(crate) fn value(elements: &[u8], element: u16) -> Option<&[u8]> {
    let mut rest = elements;
    while let Some(head) = rest.first_chunk::<8>() {
        let end = 8 + u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if [head[2], head[3]] == element.to_le_bytes() {
            return rest.get(8..end);
        }
        rest = rest.get(end..)?;
    }
    None
}

pub(crate) fn number(elements: &[u8], element: u16) -> Option<u16> {
    Some(u16::from_le_bytes(value(elements, element)?.try_into().ok()?))
}

pub(crate) fn text(elements: &[u8], element: u16) -> Option<String> {
    let text = String::from_utf8_lossy(value(elements, element)?).into_owned();
    Some(text.trim_end_matches('\0').to_owned())
}

/// Transaction, and class and instance of each object, in the form that we write it: defined lengths.
pub(crate) fn read_question(
    dataset: &[u8],
    explicit: bool,
) -> Option<(String, Vec<(String, String)>)> {
    let trimmed = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let mut at = 0;
    let mut next = |wanted: u16| -> Option<String> {
        let head = dataset.get(at..at + 8)?;
        assert_eq!([head[2], head[3]], wanted.to_le_bytes(), "at {at}");
        let length = if explicit {
            u16::from_le_bytes([head[6], head[7]]).into()
        } else {
            u32::from_le_bytes([head[4], head[5], head[6], head[7]])
        } as usize;
        let value = dataset.get(at + 8..at + 8 + length)?;
        at += 8 + length;
        if wanted == 0x1195 {
            at += if explicit { 12 } else { 8 }; // head of the sequence
        }
        at += if wanted == 0x1155 || wanted == 0x1195 { 8 } else { 0 }; // head of the next item
        Some(trimmed(value))
    };
    let transaction = next(0x1195)?;
    let mut objects = Vec::new();
    while let Some(class) = next(0x1150) {
        objects.push((class, next(0x1155)?));
    }
    Some((transaction, objects))
}
