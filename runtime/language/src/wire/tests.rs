//! What is written is read, what does not agree is refused by name, and no bytes panic.

use super::*;
use crate::{Platt, Space, Vector};
use bundle::{Code, LabelCode, Side};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn space() -> Space {
    Space { id: [7; 32], width: 12, grid: [2, 3] }
}

/// With everything that is optional.
fn whole() -> Language {
    let mut language = Language::drawn(space(), 2, 3, 11);
    let mut code = LabelCode::private("Finding 1");
    code.code = Code::new("60046008", "SCT", "Pleural effusion").unwrap();
    code.side = Some(Side::Left);
    code.colour = Some([1, 2, 3]);
    language.prompts[0].code = Some(code);
    language.prompts[1].calibration = Some(Platt { slope: 2.5, offset: -0.5 });
    language
}

#[test]
fn what_is_written_is_read() {
    for language in [
        whole(),
        Language::drawn(space(), 1, 0, 3),
        Language::drawn(space(), 0, 2, 3),
        whole().with_usual(5),
    ] {
        let bytes = language.to_bytes().unwrap();
        let read = Language::from_bytes(&bytes).unwrap();
        assert_eq!(read, language);
        assert_eq!(read.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn the_format_keeps_its_bytes() {
    let digest = hex::encode(Sha256::digest(whole().to_bytes().unwrap()));
    assert_eq!(digest, "a62526f846ae1d5e706c475b7763e81f0597aeccb3891009c70c66dbb5a1e988");
    let digest = hex::encode(Sha256::digest(whole().with_usual(5).to_bytes().unwrap()));
    assert_eq!(digest, "702436097c6240f25d4b85c83f1e485f104f805eb8b33b653c8d7af350e26a18");
}

#[test]
fn what_does_not_agree_is_refused_by_name() {
    type Change = fn(&mut Language);
    let changes: [(Change, &str); 18] = [
        (
            |l| l.usual = Some(vec![l.prompts[0].positive.text.clone(); 5]),
            "what places usually say is 5 vectors, expected 6",
        ),
        (
            |l| {
                let short = Vector { scale: 1.0, values: vec![1; 11] };
                l.usual = Some(vec![short; 6]);
            },
            "what places usually say, place 0 is 11 values, expected 12",
        ),
        (
            |l| l.space.width = 11,
            "text in the positive side of `Finding 1` is 12 values, expected 11",
        ),
        (|l| l.space.grid = [0, 3], "the grid's rows is 0"),
        (|l| l.scale = f32::NAN, "the scale of the similarities is NaN"),
        (|l| l.prompts[1].name = "Finding 1".into(), "a second finding is called `Finding 1`"),
        (|l| l.prompts[1].name = " ".into(), "a finding's name"),
        (|l| l.prompts[0].name = "Other".into(), "the code's label of `Other` is Finding 1"),
        (|l| l.prompts[1].threshold = 1.5, "the threshold of `Finding 2` is 1.5"),
        (|l| l.prompts[1].negative_phrases.clear(), "phrases against `Finding 2` is 0"),
        (|l| l.prompts[1].positive_phrases[0] = "a\nb".into(), "phrases for `Finding 2`"),
        (|l| l.prompts[0].negative.listen.values[3] = -128, "listen in the negative side"),
        (|l| l.prompts[0].positive.look.scale = 0.0, "expected a positive scale"),
        (|l| l.prompts[0].positive.look_bias = f32::INFINITY, "look's bias"),
        (
            |l| l.prompts[1].calibration = Some(Platt { slope: -1.0, offset: 0.0 }),
            "the slope of the calibration of `Finding 2` is -1",
        ),
        (|l| drop(l.bank.as_mut().unwrap().look.pop()), "the bank's look vectors is 2, expected 3"),
        (|l| l.bank.as_mut().unwrap().reviewed.clear(), "digest of the reviewed sentences"),
        (
            |l| {
                l.prompts.clear();
                l.bank = None;
            },
            "the language is empty",
        ),
    ];
    for (change, expected) in changes {
        let mut language = whole();
        change(&mut language);
        let written = language.to_bytes().unwrap_err().to_string();
        assert!(written.contains(expected), "{written:?} does not say {expected:?}");
        // The same by the reader, of bytes that somebody else wrote.
        let bytes = match &language.usual {
            None => postcard::to_extend(&language, vec![FIRST]),
            Some(usual) => postcard::to_extend(&(&language, usual), vec![SECOND]),
        };
        let bytes = bytes.unwrap();
        let read = Language::from_bytes(&bytes).unwrap_err().to_string();
        assert_eq!(read, written);
    }
}

#[test]
fn another_format_and_bytes_behind_the_end_are_refused() {
    let mut bytes = whole().to_bytes().unwrap();
    bytes.push(0);
    let error = Language::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("1 bytes after its end"), "{error}");
    bytes[0] = 3;
    let error = Language::from_bytes(&bytes).unwrap_err();
    assert_eq!(error, LanguageError::UnknownFormat { found: 3, expected: 2 });
    assert!(Language::from_bytes(&[]).is_err());
}

#[test]
fn a_vector_of_zeros_or_of_tiny_numbers_stays_small() {
    for values in [[0.0; 3], [f32::MIN_POSITIVE; 3]] {
        assert_eq!(Vector::quantize(&values), Vector { scale: 1.0, values: vec![0; 3] });
    }
}

proptest! {
    #[test]
    fn a_quantized_vector_is_within_half_a_step(values in prop::collection::vec(-1e3_f32..1e3, 1..40)) {
        let vector = Vector::quantize(&values);
        for (found, expected) in vector.dequantized().iter().zip(&values) {
            prop_assert!((found - expected).abs() <= vector.scale * 0.5001, "{found} {expected}");
        }
    }

    #[test]
    fn noise_never_panics(bytes: Vec<u8>) {
        let _ = Language::from_bytes(&bytes);
        let _ = Language::from_bytes(&[&[FIRST][..], &bytes].concat());
        let _ = Language::from_bytes(&[&[SECOND][..], &bytes].concat());
    }

    /// A change in one place is an error or another valid language, which is written again as it was read.
    #[test]
    fn a_damaged_section_is_refused_or_valid(
        at: prop::sample::Index,
        to: u8,
        cut: bool,
        second: bool,
    ) {
        let whole = if second { whole().with_usual(5) } else { whole() };
        let mut bytes = whole.to_bytes().unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(Language::from_bytes(&bytes).is_err());
        } else {
            bytes[at] = to;
            if let Ok(language) = Language::from_bytes(&bytes) {
                prop_assert!(Language::from_bytes(&language.to_bytes().unwrap()).is_ok());
            }
        }
    }
}
