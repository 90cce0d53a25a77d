//! What makes language valid: sizes that agree, numbers that are finite, names that are unique.

use crate::LanguageError;
use crate::section::{Bank, Language, Pack, Prompt, Side, Space, Vector};
use std::collections::BTreeSet;

/// Widest space, most places along a side, most prototypes, findings and phrases: beyond what any checkpoint has.
const MOST_WIDTH: u32 = 8192;
const MOST_SIDE: u32 = 64;
const MOST_PROTOTYPES: usize = 16384;
const MOST_PROMPTS: usize = 1024;
const MOST_PHRASES: usize = 256;
/// Longest name, bytes: as long as a DICOM code meaning.
const MOST_NAME: usize = 64;
/// Longest phrase or sentence, bytes.
const MOST_SENTENCE: usize = 2048;

/// Largest step of a code, and largest bias: no checkpoint comes near, and no sum of what is below is infinite.
pub(crate) const MOST_SCALE: f32 = 256.0;
const MOST_BIAS: f32 = 1e6;

type Checked = Result<(), LanguageError>;

impl Language {
    /// Whether a box can use it.
    pub fn check(&self) -> Checked {
        self.space.check()?;
        scale("the scale of the similarities", self.scale)?;
        prompts(&self.prompts, &self.space)?;
        if self.prompts.is_empty() && self.bank.is_none() {
            return Err(LanguageError::invalid("the language", "empty", "findings or a bank"));
        }
        if let Some(usual) = &self.usual {
            let what = "what places usually say";
            if usual.len() != self.space.places() {
                let found = format!("{} vectors", usual.len());
                return Err(LanguageError::invalid(what, found, self.space.places().to_string()));
            }
            for (at, vector) in usual.iter().enumerate() {
                vector.check(&self.space, || format!("{what}, place {at}"))?;
            }
        }
        self.bank.iter().try_for_each(|bank| bank.check(&self.space))
    }
}

impl Pack {
    /// Whether a box can use it, golden vectors apart.
    pub fn check(&self) -> Checked {
        text("the pack's name", &self.name, MOST_NAME)?;
        text("the pack's version", &self.version, MOST_NAME)?;
        self.space.check()?;
        scale("the scale of the similarities", self.scale)?;
        if self.prompts.is_empty() {
            return Err(LanguageError::invalid("the pack", "empty", "findings"));
        }
        prompts(&self.prompts, &self.space)
    }
}

impl Space {
    fn check(&self) -> Checked {
        let size = |what: &str, found: u32, most: u32| match found {
            1.. if found <= most => Ok(()),
            _ => Err(LanguageError::invalid(what, found, format!("1 to {most}"))),
        };
        size("the width of the space", self.width, MOST_WIDTH)?;
        size("the grid's rows", self.grid[0], MOST_SIDE)?;
        size("the grid's columns", self.grid[1], MOST_SIDE)
    }
}

/// Each of them, and that no two have one name.
fn prompts(prompts: &[Prompt], space: &Space) -> Checked {
    most("findings", prompts.len(), MOST_PROMPTS)?;
    let mut names = BTreeSet::new();
    for prompt in prompts {
        prompt.check(space)?;
        if !names.insert(&prompt.name) {
            return Err(LanguageError::Twice { name: prompt.name.clone() });
        }
    }
    Ok(())
}

impl Prompt {
    fn check(&self, space: &Space) -> Checked {
        text("a finding's name", &self.name, MOST_NAME)?;
        let of = |what: &str| format!("{what} of `{}`", self.name);
        for (what, phrases) in
            [("phrases for", &self.positive_phrases), ("phrases against", &self.negative_phrases)]
        {
            let what = format!("{what} `{}`", self.name);
            most(&what, phrases.len(), MOST_PHRASES)?;
            if phrases.is_empty() {
                return Err(LanguageError::invalid(what, 0, "one or more"));
            }
            phrases.iter().try_for_each(|phrase| text(&what, phrase, MOST_SENTENCE))?;
        }
        self.positive.check(space, &of("the positive side"))?;
        self.negative.check(space, &of("the negative side"))?;
        if let Some(platt) = self.calibration {
            scale(&of("the slope of the calibration"), platt.slope)?;
            number(&of("the offset of the calibration"), platt.offset)?;
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(LanguageError::invalid(of("the threshold"), self.threshold, "0 to 1"));
        }
        if self.chosen.len() > MOST_SENTENCE {
            let found = format!("{} bytes long", self.chosen.len());
            let expected = format!("at most {MOST_SENTENCE}");
            return Err(LanguageError::invalid(
                of("the reason for the threshold"),
                found,
                expected,
            ));
        }
        match &self.code {
            Some(code) if code.label != self.name => {
                Err(LanguageError::invalid(of("the code's label"), &code.label, &self.name))
            }
            _ => Ok(()),
        }
    }
}

impl Side {
    fn check(&self, space: &Space, of: &str) -> Checked {
        self.text.check(space, || format!("text in {of}"))?;
        self.look.check(space, || format!("look in {of}"))?;
        self.listen.check(space, || format!("listen in {of}"))?;
        number(&format!("look's bias in {of}"), self.look_bias)?;
        number(&format!("listen's bias in {of}"), self.listen_bias)
    }
}

impl Bank {
    fn check(&self, space: &Space) -> Checked {
        let (prototypes, width) = (self.prototypes.len(), space.width as usize);
        most("prototypes", prototypes, MOST_PROTOTYPES)?;
        if prototypes == 0 {
            return Err(LanguageError::invalid("the bank", "empty", "prototypes"));
        }
        for (what, found, expected) in [
            ("the bank's look vectors", self.look.len(), prototypes),
            ("the bank's look biases", self.look_bias.len(), prototypes),
            ("the bank's sentences", self.sentences.len(), prototypes),
            ("the bank's value rows", self.value.len(), width),
            ("the bank's value biases", self.value_bias.len(), width),
        ] {
            if found != expected {
                return Err(LanguageError::invalid(what, found, expected.to_string()));
            }
        }
        for (what, vectors) in
            [("look", &self.look), ("prototype", &self.prototypes), ("value", &self.value)]
        {
            for (at, vector) in vectors.iter().enumerate() {
                vector.check(space, || format!("{what} {at} of the bank"))?;
            }
        }
        for bias in self.look_bias.iter().chain(&self.value_bias) {
            number("a bias of the bank", *bias)?;
        }
        for sentence in self.sentences.iter().flatten() {
            text("a sentence of the bank", sentence, MOST_SENTENCE)?;
        }
        let is_digest = self.reviewed.len() == 64
            && self.reviewed.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !is_digest {
            let what = "the digest of the reviewed sentences";
            return Err(LanguageError::invalid(
                what,
                short(&self.reviewed),
                "64 hexadecimal digits",
            ));
        }
        Ok(())
    }
}

impl Vector {
    fn check(&self, space: &Space, what: impl Fn() -> String) -> Checked {
        let width = space.width as usize;
        if self.values.len() != width {
            let found = format!("{} values", self.values.len());
            return Err(LanguageError::invalid(what(), found, width.to_string()));
        }
        if self.values.contains(&i8::MIN) {
            return Err(LanguageError::invalid(what(), "-128 somewhere", "-127 to 127"));
        }
        if !(self.scale.is_normal() && self.scale > 0.0 && self.scale <= MOST_SCALE) {
            let expected = format!("a positive scale up to {MOST_SCALE}");
            return Err(LanguageError::invalid(what(), self.scale, expected));
        }
        Ok(())
    }
}

fn most(what: &str, found: usize, most: usize) -> Checked {
    if found > most {
        return Err(LanguageError::invalid(what, found, format!("at most {most}")));
    }
    Ok(())
}

fn scale(what: &str, found: f32) -> Checked {
    if found.is_normal() && found > 0.0 {
        return Ok(());
    }
    Err(LanguageError::invalid(what, found, "a positive number"))
}

fn number(what: &str, found: f32) -> Checked {
    if found.abs() <= MOST_BIAS {
        return Ok(());
    }
    Err(LanguageError::invalid(what, found, format!("a number from -{MOST_BIAS} to {MOST_BIAS}")))
}

/// One line of text that says something.
fn text(what: &str, found: &str, most: usize) -> Checked {
    if found.trim().is_empty() || found.len() > most || found.chars().any(char::is_control) {
        let expected = format!("one line of 1 to {most} bytes");
        return Err(LanguageError::invalid(what, format!("{:?}", short(found)), expected));
    }
    Ok(())
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
