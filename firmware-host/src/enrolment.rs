//! How a workstation and a box that never met come to trust each other: both know a one-time code.
//!
//! ```text
//! proof(end) = HMAC-SHA-256(code, "cxr-edge enrolment 1" · end · session · workstation's key · box's key)
//!
//! workstation ── TLS, no key pinned ──▶ box       session: exported from TLS, the same at both ends (RFC 9266's idea)
//! workstation ── proof(0) ────────────▶ box       checks, admits the workstation's key
//! workstation ◀──────────── proof(1) ── box       checks, pins the box's key
//! ```
//!
//! Somebody in between has two sessions, so two values of `session`, and keys of his own: what he gets from one
//! side is no proof for the other. The code has 80 random bits, so that trying codes against a proof he saw is
//! out of reach. Whoever does not know it cannot make proof(1) either: a false box is found out.

use crate::random::random;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, Mac};
use keyring::VerifyingKey;
use sha2::Sha256;
use std::fmt;
use std::io;
use std::str::FromStr;

const CONTEXT: &[u8] = b"cxr-edge enrolment 1";
const LENGTH: usize = 10;

/// 80 random bits; `ABCD-EFGH-IJKL-MNOP` for people.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; LENGTH]);

impl Code {
    pub fn draw() -> io::Result<Self> {
        let bytes = random()?;
        Ok(Self(*bytes.first_chunk().expect("16 bytes hold 10")))
    }

    /// What `end` says to prove that it knows the code in this session.
    pub fn proof(&self, end: End, binding: &Binding) -> [u8; 32] {
        self.mac(end, binding).finalize().into_bytes().into()
    }

    /// Whether `end` knows the code; takes the same time whatever is wrong.
    pub fn is_proven(&self, proof: &[u8; 32], end: End, binding: &Binding) -> bool {
        self.mac(end, binding).verify_slice(proof).is_ok()
    }

    fn mac(&self, end: End, binding: &Binding) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(CONTEXT)
            .chain_update([end as u8])
            .chain_update(binding.session)
            .chain_update(binding.workstation.as_bytes())
            .chain_update(binding.of_box.as_bytes())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = BASE32_NOPAD.encode(&self.0);
        let (a, b) = letters.split_at(8);
        write!(f, "{}-{}-{}-{}", &a[..4], &a[4..], &b[..4], &b[4..])
    }
}

/// A secret: not for logs.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

impl FromStr for Code {
    type Err = &'static str;

    /// As it is read aloud: small letters, spaces, and digits that look like letters are forgiven.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters: String = text
            .chars()
            .filter(|letter| !matches!(letter, '-' | ' '))
            .map(|letter| match letter.to_ascii_uppercase() {
                '0' => 'O',
                '1' => 'I',
                '8' => 'B',
                letter => letter,
            })
            .collect();
        let bytes = BASE32_NOPAD.decode(letters.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("no enrolment code, expected such as ABCD-EFGH-IJKL-MNOP")
    }
}

/// Who proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Workstation = 0,
    Box = 1,
}

/// What a proof counts for: one session between two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub session: [u8; 32],
    pub workstation: VerifyingKey,
    pub of_box: VerifyingKey,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> VerifyingKey {
        keyring::SigningKey::from_bytes(&[n; 32]).verifying_key()
    }

    fn binding() -> Binding {
        Binding { session: [7; 32], workstation: key(1), of_box: key(2) }
    }

    #[test]
    fn a_proof_counts_for_one_code_end_session_and_pair_of_keys() {
        let code = Code([1; 10]);
        let proof = code.proof(End::Workstation, &binding());
        assert!(code.is_proven(&proof, End::Workstation, &binding()));
        assert!(!code.is_proven(&proof, End::Box, &binding()));
        assert!(!Code([2; 10]).is_proven(&proof, End::Workstation, &binding()));
        for other in [
            Binding { session: [8; 32], ..binding() },
            Binding { workstation: key(3), ..binding() },
            Binding { of_box: key(3), ..binding() },
            Binding { workstation: key(2), of_box: key(1), ..binding() },
        ] {
            assert!(!code.is_proven(&proof, End::Workstation, &other), "{other:?}");
        }
    }

    /// HMAC-SHA-256 by Python's `hmac` of the documented bytes: a third party can make the same proof.
    #[test]
    fn the_construction_never_changes() {
        let binding = Binding { session: [7; 32], workstation: key(1), of_box: key(2) };
        let proof = Code([1; 10]).proof(End::Workstation, &binding);
        assert_eq!(
            hex::encode(proof),
            "d06e47927a69105987ed96a63d986d66bf559b1584828f4f6f0a00532b9d6769"
        );
    }

    #[test]
    fn codes_are_drawn_anew_and_read_as_people_write_them() {
        let code = Code::draw().unwrap();
        assert_ne!(code, Code::draw().unwrap());
        let text = code.to_string();
        assert_eq!(text.len(), 19);
        assert_eq!(text.parse(), Ok(code.clone()));
        assert_eq!(text.to_lowercase().replace('-', " ").parse(), Ok(code));
        assert_eq!("OI0I-BB8B-AAAA-AAAA".parse::<Code>(), "OIOI-BBBB-AAAA-AAAA".parse());
        for wrong in
            ["", "ABCD", "ABCD-EFGH-IJKL-MNO", "ABCD-EFGH-IJKL-MNOP-Q", "ÄBCD-EFGH-IJKL-MNO"]
        {
            assert!(wrong.parse::<Code>().is_err(), "{wrong}");
        }
        assert!(!format!("{:?}", Code([1; 10])).contains('1'));
    }

    proptest! {
        #[test]
        fn no_text_is_a_surprise(text in "\\PC{0,40}") {
            if let Ok(code) = text.parse::<Code>() {
                prop_assert_eq!(code.to_string().parse::<Code>(), Ok(code));
            }
        }
    }
}
