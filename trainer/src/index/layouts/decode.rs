//! Text as programs of all ages save it: UTF-8, UTF-16 with its mark, Windows-1252; gzipped or not.

use crate::index::IndexError;
use flate2::read::MultiGzDecoder;
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// Characters of Windows-1252 from 0x80 to 0x9F; `\0` where it has none. Above, it is Latin-1.
const WINDOWS_1252: [char; 32] = [
    '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0', '‘',
    '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
];

/// The bytes of a file, unpacked where they are gzipped, whatever its name.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let packed = fs::read(path)?;
    if !packed.starts_with(&[0x1f, 0x8b]) {
        return Ok(packed);
    }
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Text of a list or table, as [`table`] reads it.
pub(super) fn file(path: &Path) -> Result<String, IndexError> {
    let bytes = bytes(path).map_err(|source| IndexError::Read { path: path.to_owned(), source })?;
    let unclear = |(line, reason)| IndexError::Unclear { path: path.to_owned(), line, reason };
    Ok(table(&bytes).map_err(unclear)?.replace("\r\n", "\n").replace('\r', "\n"))
}

/// The text of a file, without the mark some programs put before it. `Err((line, why))` where its encoding is not sure.
fn table(bytes: &[u8]) -> Result<String, (usize, String)> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\xd0\xcf\x11\xe0") {
        return Err((1, "a workbook or an archive; save it as a CSV table".into()));
    }
    if let Some(text) = utf16(bytes) {
        return text.ok_or((1, "marked as UTF-16, and is none".into()));
    }
    let plain = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(at) = plain.iter().position(|&byte| byte == 0) {
        return Err((
            line_of(plain, at),
            "a NUL byte: UTF-16 without its mark? Save it as UTF-8".into(),
        ));
    }
    let wrong = match str::from_utf8(plain) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => line_of(plain, error.valid_up_to()),
    };
    let mixed =
        plain.len() != bytes.len() || plain.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    if mixed {
        return Err((wrong, "UTF-8 elsewhere, and here none".into()));
    }
    let text: Option<String> = plain.iter().map(|&byte| windows_1252(byte)).collect();
    text.ok_or((wrong, "neither UTF-8 nor Windows-1252; save it as UTF-8".into()))
}

/// A report's text: what is no UTF-8 is taken as Windows-1252, byte by byte, so that nothing is lost.
pub(super) fn report(bytes: &[u8]) -> String {
    if let Some(Some(text)) = utf16(bytes) {
        return text;
    }
    let plain = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut text = String::with_capacity(plain.len());
    for chunk in plain.utf8_chunks() {
        text.push_str(chunk.valid());
        let other = chunk.invalid().iter();
        text.extend(other.map(|&byte| windows_1252(byte).unwrap_or(char::REPLACEMENT_CHARACTER)));
    }
    text
}

/// `None` without the mark of UTF-16, `Some(None)` where the rest is none.
fn utf16(bytes: &[u8]) -> Option<Option<String>> {
    let (rest, unit): (_, fn([u8; 2]) -> u16) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        _ => return None,
    };
    let (units, odd) = rest.as_chunks::<2>();
    let text = String::from_utf16(&units.iter().map(|&pair| unit(pair)).collect::<Vec<u16>>()).ok();
    Some(text.filter(|text| odd.is_empty() && !text.contains('\0')))
}

fn windows_1252(byte: u8) -> Option<char> {
    match byte {
        0x80..=0x9f => Some(WINDOWS_1252[usize::from(byte - 0x80)]).filter(|&c| c != '\0'),
        _ => Some(char::from(byte)),
    }
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_every_program_are_text() {
        let utf16 = |of: fn(u16) -> [u8; 2], mark: [u8; 2]| {
            let units = "id,ä\n".encode_utf16().flat_map(of);
            mark.into_iter().chain(units).collect::<Vec<u8>>()
        };
        let saved: [&[u8]; 5] = [
            "id,ä\n".as_bytes(),
            "\u{feff}id,ä\n".as_bytes(),
            b"id,\xe4\n",
            &utf16(u16::to_le_bytes, [0xff, 0xfe]),
            &utf16(u16::to_be_bytes, [0xfe, 0xff]),
        ];
        for bytes in saved {
            assert_eq!(table(bytes).as_deref(), Ok("id,ä\n"), "{bytes:x?}");
            assert_eq!(report(bytes), "id,ä\n", "{bytes:x?}");
        }
    }

    #[test]
    fn an_encoding_that_is_not_sure_is_refused_with_its_line() {
        let refused: [(&[u8], usize, &str); 6] = [
            (b"PK\x03\x04\x14", 1, "workbook"),
            (b"i\0d\0,\0", 1, "NUL"),
            (b"id,a\n1,\xff\x81\n", 2, "neither"),
            (b"id,\xc3\xa4\n1,\xe4\n", 2, "UTF-8 elsewhere"),
            (b"\xef\xbb\xbfid\n\xe4\n", 2, "UTF-8 elsewhere"),
            (b"\xff\xfei\0d", 1, "UTF-16"),
        ];
        for (bytes, line, why) in refused {
            let (at, reason) = table(bytes).unwrap_err();
            assert!(at == line && reason.contains(why), "{at}: {reason}");
        }
    }

    #[test]
    fn a_report_loses_no_byte_for_its_encoding() {
        assert_eq!(report(b"30\xb0 at 5\xb5m, \xc3\xa9t\xe9 \x81"), "30° at 5µm, été \u{fffd}");
    }
}
