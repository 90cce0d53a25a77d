//! The archive: headers of 110 hexadecimal characters, everything at multiples of four bytes.

use super::{SwuError, sum};
use std::io::{self, ErrorKind, Read, Write};

pub(super) const TRAILER: &str = "TRAILER!!!";
const WITH_CHECKSUM: &[u8] = b"070702";
const WITHOUT: &[u8] = b"070701";
const HEADER: usize = 110;
/// Longest name, its zero included.
const LONGEST_NAME: u64 = 256;
/// What may follow the trailer: `cpio` fills up its blocks.
const LONGEST_END: usize = 64 << 10;

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) checksum: Option<u32>,
}

pub(super) fn write_header(
    out: &mut impl Write,
    number: u32,
    name: &str,
    size: u64,
    checksum: u32,
) -> Result<(), SwuError> {
    let limit = u32::MAX.into();
    let too_large = || SwuError::TooLarge { name: name.into(), found: size, limit };
    let size = u32::try_from(size).map_err(|_| too_large())?;
    let name_size = u32::try_from(name.len() + 1).expect("our own names are short");
    // inode, mode, uid, gid, links, time, size, device (2), special device (2), length of the name, checksum
    let fields = [number, 0o100_644, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, checksum];
    out.write_all(WITH_CHECKSUM)?;
    fields.iter().try_for_each(|field| write!(out, "{field:08X}"))?;
    out.write_all(name.as_bytes())?;
    out.write_all(&[0])?;
    Ok(pad(out, (HEADER + name.len() + 1) as u64)?)
}

/// Fills up to a multiple of four.
pub(super) fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    out.write_all(&[0; 3][..padding(length)])
}

const fn padding(length: u64) -> usize {
    (length.wrapping_neg() % 4) as usize
}

/// A reader that knows where it is.
#[derive(Debug)]
pub(super) struct Counted<R> {
    reader: R,
    at: u64,
}

impl<R: Read> Counted<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, at: 0 }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn inner(&mut self) -> &mut R {
        &mut self.reader
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// Bytes that came from elsewhere.
    pub(super) fn jumped(&mut self, length: u64) {
        self.at += length;
    }

    /// At least one byte.
    pub(super) fn some(&mut self, buffer: &mut [u8], within: &str) -> Result<usize, SwuError> {
        loop {
            match self.reader.read(buffer) {
                Ok(0) => return Err(SwuError::Short { within: within.into() }),
                Ok(length) => {
                    self.at += length as u64;
                    return Ok(length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn all(&mut self, buffer: &mut [u8], within: &str) -> Result<(), SwuError> {
        let mut filled = 0;
        while filled < buffer.len() {
            filled += self.some(&mut buffer[filled..], within)?;
        }
        Ok(())
    }

    pub(super) fn align(&mut self) -> Result<(), SwuError> {
        let mut zeros = [0; 3];
        let length = padding(self.at);
        self.all(&mut zeros[..length], "the space between two files")
    }

    pub(super) fn header(&mut self) -> Result<Entry, SwuError> {
        let mut header = [0; HEADER];
        self.all(&mut header, "a header")?;
        let (magic, fields) = header.split_at(WITH_CHECKSUM.len());
        if ![WITH_CHECKSUM, WITHOUT].contains(&magic) {
            return Err(SwuError::NotAnImage {
                found: String::from_utf8_lossy(magic).into_owned(),
            });
        }
        let damaged =
            |reason: &str| SwuError::Header { name: String::new(), reason: reason.into() };
        let numbers: Vec<u32> = fields
            .chunks(8)
            .map(|digits| {
                let plain = digits.iter().all(u8::is_ascii_hexdigit);
                let digits = std::str::from_utf8(digits).ok().filter(|_| plain);
                let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                number.ok_or_else(|| damaged("no hexadecimal number"))
            })
            .collect::<Result<_, _>>()?;
        let (size, name_size, checksum) = (numbers[6], u64::from(numbers[11]), numbers[12]);
        if !(2..=LONGEST_NAME).contains(&name_size) {
            return Err(damaged("a name of no or too many bytes"));
        }
        let mut name = vec![0; name_size as usize];
        self.all(&mut name, "the name of a file")?;
        let name = match name.split_last() {
            Some((0, name)) if !name.contains(&0) => String::from_utf8(name.to_vec()),
            _ => return Err(damaged("the name does not end where it should")),
        };
        let name = name.map_err(|_| damaged("the name is no UTF-8"))?;
        self.align()?;
        let checksum = (magic == WITH_CHECKSUM).then_some(checksum);
        Ok(Entry { name, size: size.into(), checksum })
    }

    /// A whole small file, checked.
    pub(super) fn small(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>, SwuError> {
        let Entry { name, size, checksum } = entry.clone();
        if size > limit {
            return Err(SwuError::TooLarge { name, found: size, limit });
        }
        let mut bytes = vec![0; size as usize];
        self.all(&mut bytes, &name)?;
        let found = sum(0, &bytes);
        if let Some(expected) = checksum.filter(|&expected| expected != found) {
            return Err(SwuError::Checksum { name, found, expected });
        }
        self.align()?;
        Ok(bytes)
    }

    pub(super) fn zeros_to_the_end(&mut self) -> Result<(), SwuError> {
        let mut rest = Vec::new();
        (&mut self.reader).take(LONGEST_END as u64 + 1).read_to_end(&mut rest)?;
        if rest.len() > LONGEST_END || rest.iter().any(|&byte| byte != 0) {
            let found = String::from_utf8_lossy(&rest[..rest.len().min(16)]).into_owned();
            return Err(SwuError::File { found, expected: "nothing behind the end of the image" });
        }
        Ok(())
    }
}
