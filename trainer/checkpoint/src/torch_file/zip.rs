//! The part of ZIP that `torch.save` uses: members stored as they are.

use super::Result;
use std::collections::BTreeMap;

/// Members by name, and how they are compressed (0: not at all).
pub(super) struct Archive<'a> {
    members: BTreeMap<String, (u16, &'a [u8])>,
}

const END: &[u8] = b"PK\x05\x06";
const DIRECTORY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        // The end record is 22 bytes and a comment of at most 64 kB.
        let from = bytes.len().saturating_sub(22 + 65535);
        let end = bytes[from..].windows(4).rposition(|four| four == END);
        let end = Fields(&bytes[from + end.ok_or("not a whole ZIP archive: no end record")?..]);
        let (count, mut at) = (end.u16(10)?, end.u32(16)? as usize);
        let mut members = BTreeMap::new();
        for _ in 0..count {
            let entry = Fields(bytes.get(at..).ok_or("the directory lies outside")?);
            ensure!(entry.0.starts_with(DIRECTORY), "the directory is damaged");
            let (size, place) = (entry.u32(24)?, entry.u32(42)?);
            ensure!(
                size < u32::MAX && place < u32::MAX,
                "a member beyond 4 GB, which this reader does not know"
            );
            let (name, extra, comment) = (entry.u16(28)?, entry.u16(30)?, entry.u16(32)?);
            let text = entry.0.get(46..46 + name as usize).ok_or("a name lies outside")?;
            let text = String::from_utf8_lossy(text).into_owned();
            let local = Fields(bytes.get(place as usize..).ok_or("a member lies outside")?);
            ensure!(local.0.starts_with(LOCAL), "`{text}` is not where the directory says");
            let begin = 30 + local.u16(26)? as usize + local.u16(28)? as usize;
            let data = local.0.get(begin..begin + size as usize);
            members.insert(text, (entry.u16(10)?, data.ok_or("a member ends outside")?));
            at += 46 + usize::from(name) + usize::from(extra) + usize::from(comment);
        }
        Ok(Self { members })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    pub(super) fn file(&self, name: &str) -> Result<&'a [u8]> {
        let (method, data) =
            self.members.get(name).ok_or_else(|| format!("the archive has no {name}"))?;
        ensure!(*method == 0, "`{name}` is compressed, expected it stored as torch.save does");
        Ok(data)
    }
}

/// Little-endian numbers at places of a record.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&self, at: usize) -> Result<u16> {
        let two = self.0.get(at..at + 2).ok_or("the archive ends inside a record")?;
        Ok(u16::from_le_bytes(two.try_into().expect("two bytes")))
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let four = self.0.get(at..at + 4).ok_or("the archive ends inside a record")?;
        Ok(u32::from_le_bytes(four.try_into().expect("four bytes")))
    }
}
