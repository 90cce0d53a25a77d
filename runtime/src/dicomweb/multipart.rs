//! multipart/related (RFC 2046, RFC 2387), as web servers send DICOM objects. No I/O; parts are slices of the answer.

use thiserror::Error;

/// RFC 2046: 1 to 70 characters.
const LONGEST_BOUNDARY: usize = 70;
/// Bytes of the header lines of one part.
const LONGEST_HEAD: usize = 8 << 10;
const MOST_PARTS: usize = 1000;

#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum BadMultipart {
    #[error("content type {found:?}, expected multipart/related with a boundary")]
    ContentType { found: String },
    #[error("no line with the boundary")]
    NoBoundary,
    #[error("cut off: no closing boundary")]
    Cut,
    #[error("part {part}: {why}")]
    Part { part: usize, why: &'static str },
    #[error("more than {MOST_PARTS} parts")]
    Many,
}

/// A part: its media type in small letters, without parameters, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) media_type: String,
    pub(crate) body: &'a [u8],
}

/// Whether a content type is that of several parts.
pub(crate) fn is_multipart(content_type: &str) -> bool {
    media_type(content_type) == "multipart/related"
}

/// In small letters, without parameters.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The parts of a body, in their order; at least one, each whole.
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, BadMultipart> {
    let boundary = boundary(content_type).filter(|_| is_multipart(content_type));
    let boundary = boundary.ok_or_else(|| BadMultipart::ContentType {
        found: content_type.chars().take(120).collect(),
    })?;
    let delimiter = format!("\r\n--{boundary}");
    // The first one may stand at the very beginning, without a line before it.
    let first = body.strip_prefix(&delimiter.as_bytes()[2..]);
    let mut rest = match first {
        Some(rest) => rest,
        None => split(body, delimiter.as_bytes()).ok_or(BadMultipart::NoBoundary)?.1,
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            break;
        }
        let part = parts.len() + 1;
        if part > MOST_PARTS {
            return Err(BadMultipart::Many);
        }
        let bad = |why| BadMultipart::Part { part, why };
        let line = rest.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(rest.len());
        let own = rest[line..].strip_prefix(b"\r\n").ok_or(bad("no line ends at its boundary"))?;
        let (whole, after) = split(own, delimiter.as_bytes()).ok_or(BadMultipart::Cut)?;
        parts.push(self::part(whole).map_err(bad)?);
        rest = after;
    }
    if parts.is_empty() {
        Err(BadMultipart::Part { part: 1, why: "there is none" })
    } else {
        Ok(parts)
    }
}

fn part(whole: &[u8]) -> Result<Part<'_>, &'static str> {
    // No header lines at all: the empty line comes first.
    let (head, body) = match whole.strip_prefix(b"\r\n") {
        Some(body) => (&[][..], body),
        None => split(whole, b"\r\n\r\n").ok_or("its header does not end")?,
    };
    if head.len() > LONGEST_HEAD {
        return Err("its header is too long");
    }
    let head = std::str::from_utf8(head).map_err(|_| "its header is no text")?;
    let content_type = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let content_type =
        content_type.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-type"));
    let media_type = content_type.map(|(_, value)| media_type(value)).next().unwrap_or_default();
    Ok(Part { media_type, body })
}

/// What is before and after the first occurrence.
fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let first = at.first()?;
    let mut from = 0;
    while let Some(next) = bytes[from..].iter().position(|byte| byte == first) {
        let start = from + next;
        if bytes[start..].starts_with(at) {
            return Some((&bytes[..start], &bytes[start + at.len()..]));
        }
        from = start + 1;
    }
    None
}

/// The parameter, quoted or not; of characters that RFC 2046 allows.
fn boundary(content_type: &str) -> Option<&str> {
    let lower = content_type.to_ascii_lowercase();
    let mut found = lower.match_indices("boundary=").map(|(at, name)| (at, at + name.len()));
    let (_, from) =
        found.find(|(at, _)| content_type[..*at].trim_end_matches([' ', '\t']).ends_with(';'))?;
    let value = &content_type[from..];
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => value.split([';', ' ', '\t']).next().unwrap_or_default(),
    };
    let known = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let right = (1..=LONGEST_BOUNDARY).contains(&value.len()) && value.bytes().all(known);
    right.then_some(value).filter(|value| !value.ends_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/related; type=\"application/dicom\"; boundary=b1";

    fn written(parts: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for part in parts {
            body.extend_from_slice(b"--b1\r\nContent-Type: application/dicom; x=y\r\n\r\n");
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b1--\r\n");
        body
    }

    #[test]
    fn parts_are_found_whatever_stands_around_them() {
        let of = |content_type: &str, body: &[u8]| {
            let parts = parts(content_type, body).unwrap();
            parts.iter().map(|p| (p.media_type.clone(), p.body.to_vec())).collect::<Vec<_>>()
        };
        let dicom = |body: &[u8]| ("application/dicom".to_owned(), body.to_vec());
        let two = written(&[b"one\r\n--b", b""]);
        assert_eq!(of(TYPE, &two), [dicom(b"one\r\n--b"), dicom(b"")]);
        let quoted = "Multipart/Related;boundary=\"b1\"; type=application/dicom";
        assert_eq!(of(quoted, &[b"preamble\r\n", &two[..]].concat()).len(), 2);
        let bare = b"\r\n--b1 \t\r\n\r\nx\r\n--b1--";
        assert_eq!(of(TYPE, bare), [(String::new(), b"x".to_vec())]);
    }

    #[test]
    fn what_is_cut_or_names_no_boundary_is_refused() {
        let whole = written(&[b"one", b"two"]);
        for cut in 0..whole.len() - 4 {
            let refused = parts(TYPE, &whole[..cut]);
            assert!(refused.is_err(), "cut at {cut}: {refused:?}");
        }
        let said =
            |content_type: &str, body: &[u8]| parts(content_type, body).unwrap_err().to_string();
        for content_type in ["", "application/dicom", "multipart/related", "text/x; boundary=b1"] {
            assert!(said(content_type, &whole).contains("expected multipart/related"));
        }
        let long = format!("multipart/related; boundary={}", "b".repeat(71));
        assert!(said(&long, &whole).contains("expected multipart/related"));
        assert_eq!(said("multipart/related; boundary=b2", &whole), "no line with the boundary");
        assert_eq!(said(TYPE, b"--b1--"), "part 1: there is none");
        assert_eq!(said(TYPE, b"--b1x\r\n\r\ny\r\n--b1--"), "part 1: no line ends at its boundary");
        assert_eq!(said(TYPE, b"--b1\r\nA: b\r\n--b1--"), "part 1: its header does not end");
        let many = [&b"--b1\r\n\r\n\r\n"[..].repeat(1001), &b"--b1--"[..]].concat();
        assert_eq!(said(TYPE, &many), "more than 1000 parts");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4),
        ) {
            let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
            // Bytes by chance that are the boundary itself cannot be told from one.
            prop_assume!(slices.iter().all(|body| split(body, b"\r\n--b1").is_none()));
            let whole = written(&slices);
            let read = parts(TYPE, &whole).unwrap();
            prop_assert_eq!(read.iter().map(|part| part.body).collect::<Vec<_>>(), slices);
        }

        #[test]
        fn noise_never_panics(content_type in "[ -~]{0,60}", body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parts(&content_type, &body);
            let _ = parts(TYPE, &body);
        }

        #[test]
        fn pieces_in_any_order_never_panic(
            pieces in prop::collection::vec(
                prop::sample::select(&["--b1", "\r\n", "--", "\r\n--b1", "A: b", "Content-Type: x"][..]), 0..20),
        ) {
            let _ = parts(TYPE, pieces.concat().as_bytes());
        }
    }
}
