//! The signature over a report: a small text beside the page and its JSON.
//!
//! ```text
//! format = 1
//! json = "SHA-256"            hexadecimal
//! html = "SHA-256"
//! # signature KEY SIGNATURE   over "cxr-edge acceptance\n" and every byte above this line; ed25519, hexadecimal
//! ```

use crate::AcceptanceError;
use ed25519_dalek::{Signature, Signer};
use keyring::{SigningKey, VerifyingKey, fingerprint, public_key};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The text for `json` and `html`.
pub fn sign(json: &[u8], html: &[u8], key: &SigningKey) -> String {
    let [json, html] = [json, html].map(sha256);
    let text = format!("format = {FORMAT}\njson = \"{json}\"\nhtml = \"{html}\"\n");
    let signature = hex::encode(key.sign(&signed(&text)).to_bytes());
    format!("{text}{SIGNATURE}{} {signature}\n", fingerprint(&key.verifying_key()))
}

/// Whose signature stands under both; an error if it is none of `trusted`, or if a byte of either was changed.
pub fn verify(
    text: &str,
    json: &[u8],
    html: &[u8],
    trusted: &[VerifyingKey],
) -> Result<VerifyingKey, AcceptanceError> {
    let bad = |reason: &str| AcceptanceError::NotASignature { reason: reason.into() };
    let at = text.find(SIGNATURE).ok_or_else(|| bad("no line `# signature KEY SIGNATURE`"))?;
    let (document, line) = text.split_at(at);
    let line = line.strip_suffix('\n').ok_or_else(|| bad("the last line does not end"))?;
    let words = line.strip_prefix(SIGNATURE).and_then(|line| line.split_once(' '));
    let (key, signature) = words.ok_or_else(|| bad("no line `# signature KEY SIGNATURE`"))?;
    let key = public_key(key).map_err(|error| bad(&error.to_string()))?;
    let bytes = hex::decode(signature).ok().and_then(|bytes| bytes.try_into().ok());
    let signature = bytes.map(|bytes: [u8; 64]| Signature::from_bytes(&bytes));
    let signature = signature.ok_or_else(|| bad("a signature has 128 hexadecimal digits"))?;
    let forged = |_| AcceptanceError::Forged { key: fingerprint(&key) };
    key.verify_strict(&signed(document), &signature).map_err(forged)?;
    if !trusted.contains(&key) {
        return Err(AcceptanceError::Stranger { found: fingerprint(&key) });
    }
    let file: File = toml::from_str(document).map_err(|error| bad(error.message()))?;
    if file.format != FORMAT {
        return Err(AcceptanceError::Format { found: file.format, expected: FORMAT });
    }
    for (name, bytes, expected) in [("the JSON", json, file.json), ("the page", html, file.html)] {
        let found = sha256(bytes);
        if found != expected {
            return Err(AcceptanceError::Changed { name, found, expected });
        }
    }
    Ok(key)
}

const FORMAT: u64 = 1;
const SIGNATURE: &str = "# signature ";
const CONTEXT: &[u8] = b"cxr-edge acceptance\n";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u64,
    json: String,
    html: String,
}

/// What is signed can be taken for nothing else that this key signs.
fn signed(document: &str) -> Vec<u8> {
    [CONTEXT, document.as_bytes()].concat()
}

/// Hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (json, html) = (b"{}".as_slice(), b"<p>".as_slice());
        let text = sign(json, html, &key(7));
        let trusted = [key(7).verifying_key()];
        assert_eq!(verify(&text, json, html, &trusted).unwrap(), trusted[0]);
        let said =
            |text: &str, json, html| verify(text, json, html, &trusted).unwrap_err().to_string();
        assert!(said(&text, b"{ }", html).starts_with("the JSON was changed after it was signed"));
        assert!(said(&text, json, b"<P>").starts_with("the page was changed after it was signed"));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(verify(&changed, json, html, &trusted).is_err(), "byte {at}");
        }
        let more = format!("{text}# signature");
        assert!(verify(&more, json, html, &trusted).is_err());
    }

    #[test]
    fn a_stranger_may_sign_and_is_not_trusted() {
        let text = sign(b"a", b"b", &key(8));
        let error = verify(&text, b"a", b"b", &[key(7).verifying_key()]).unwrap_err();
        assert!(matches!(error, AcceptanceError::Stranger { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn noise_is_no_signature(text in "\\PC{0,200}", tail in "[0-9a-f #\n]{0,260}") {
            let trusted = [key(7).verifying_key()];
            for text in [text.clone(), format!("{text}\n# signature {tail}")] {
                prop_assert!(verify(&text, b"", b"", &trusted).is_err());
            }
        }
    }
}
