//! Unique identifiers that follow from what they identify: made again, they are the same.

use sha2::{Digest, Sha256};

/// What all UIDs of one result have in common.
#[derive(Clone, Debug)]
pub(crate) struct Seed(Sha256);

impl Seed {
    /// Of parts that may hold any text: the length of each is part of the digest.
    pub(crate) fn new(parts: &[&str]) -> Self {
        let mut digest = Sha256::new_with_prefix(b"cxr-edge result 1\0");
        parts.iter().for_each(|part| update(&mut digest, part));
        Self(digest)
    }

    /// `2.25.` and a UUID as one number (PS3.5 B.2), of version 8 (RFC 9562).
    pub(crate) fn uid(&self, what: &str) -> String {
        let mut digest = self.0.clone();
        update(&mut digest, what);
        let digest = digest.finalize();
        let mut uuid: [u8; 16] = std::array::from_fn(|at| digest[at]);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        format!("2.25.{}", u128::from_be_bytes(uuid))
    }
}

fn update(digest: &mut Sha256, part: &str) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_never_change() {
        let uid = Seed::new(&["1.2.3", "00"]).uid("sr");
        assert_eq!(uid, "2.25.267748253585370913535378411635016767092");
        assert_eq!(uid, Seed::new(&["1.2.3", "00"]).uid("sr"));
        assert_ne!(uid, Seed::new(&["1.2.30", "0"]).uid("sr"));
        assert!(uid.len() <= 44 && uid.starts_with("2.25."));
        let number: u128 = uid["2.25.".len()..].parse().unwrap();
        assert_eq!((number >> 76 & 0xf, number >> 62 & 0b11), (8, 0b10), "version and variant");
    }
}
