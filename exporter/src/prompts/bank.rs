//! The bank of prototypes with sentences that somebody reviewed: what an image's nearest training sentences are found among.

use super::{
    fold::vector,
    linear::Linear,
    text::{Phrase, TextEncoder},
};
use crate::read::prior::Prior;
use anyhow::{Context, Result, ensure};
use language::{Bank, Vector};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fs, path::Path};

/// The prototypes that sentences of the file stand nearest to, each with the nearest of them.
///
/// The file has one sentence a line; empty lines and those that begin with `#` are left out. No other text ships. A
/// prototype that no sentence stands nearest to cannot be explained, and does not ship either.
pub(crate) fn bank(prior: &Prior, encoder: &TextEncoder<'_>, path: &Path) -> Result<Bank> {
    ensure!(
        prior.objective.weights.uses_prototypes(),
        "{}: the checkpoint was trained without prototypes, expected a stage with them to make a bank of sentences",
        path.display()
    );
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text =
        str::from_utf8(&bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    let sentences = sentences(text).with_context(|| path.display().to_string())?;
    let read = sentences.iter().map(|sentence| encoder.read(sentence));
    let read = read.collect::<Result<Vec<Phrase>>>().with_context(|| path.display().to_string())?;
    let named = named(&sentences, &read);
    let bank = of_prototypes(prior, &named, hex::encode(Sha256::digest(&bytes)))?;
    log::info!(
        "{}: {} sentences stand nearest to {} of {} prototypes",
        path.display(),
        sentences.len(),
        named.len(),
        prior.config.prototypes
    );
    Ok(bank)
}

/// One a line, each once.
fn sentences(text: &str) -> Result<Vec<&str>> {
    let lines = text.lines().map(str::trim);
    let mut seen = BTreeSet::new();
    let sentences: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#') && seen.insert(*line))
        .collect();
    ensure!(!sentences.is_empty(), "found no sentence, expected one a line");
    if let Some(line) = sentences.iter().find(|line| line.chars().any(char::is_control)) {
        anyhow::bail!("sentence {line:?} has control characters, expected plain text");
    }
    Ok(sentences)
}

/// Numbers of the prototypes that some sentence stands nearest to, with the sentence of the highest cosine. Each sentence
/// speaks for one prototype, the one that the mixture gives most to.
fn named<'a>(sentences: &[&'a str], read: &[Phrase]) -> Vec<(usize, &'a str)> {
    let mut best: Vec<Option<(f64, &str)>> = Vec::new();
    for (sentence, phrase) in sentences.iter().zip(read) {
        best.resize(phrase.prototypes.len(), None);
        let nearest = phrase.prototypes.iter().enumerate().max_by(|a, b| a.1[0].total_cmp(&b.1[0]));
        let Some((at, [_, cosine])) = nearest else { continue };
        if best[at].is_none_or(|(most, _)| *cosine > most) {
            best[at] = Some((*cosine, sentence));
        }
    }
    let named = best.into_iter().enumerate();
    named.filter_map(|(at, best)| Some((at, best?.1))).collect()
}

/// Folds the local attention into what each prototype sees, as of a sentence: `read/prior.rs` refuses what has none.
fn of_prototypes(prior: &Prior, named: &[(usize, &str)], reviewed: String) -> Result<Bank> {
    let width = prior.width();
    let part = |name: &str| Linear::of(&prior.weights, &format!("local_cross_attention.{name}"));
    let (asks, shows, value) = (part("query2")?, part("key1")?, part("value1")?);
    let all = &prior.weights["sentence_bank.embed.weight"].values;
    let scale = 1.0 / (width as f64).sqrt();
    let mut bank = Bank {
        look: Vec::new(),
        look_bias: Vec::new(),
        prototypes: Vec::new(),
        value: value.rows().map(|row| vector(&wide(row))).collect::<Result<Vec<Vector>>>()?,
        value_bias: value.bias().to_vec(),
        sentences: Vec::new(),
        reviewed,
    };
    for &(at, sentence) in named {
        let prototype = wide(&all[at * width..][..width]);
        let (look, bias) = shows.seen_by(&asks.apply(&prototype));
        let look: Vec<f64> = look.iter().map(|x| x * scale).collect();
        bank.look.push(vector(&look)?);
        bank.look_bias.push((bias * scale) as f32);
        bank.prototypes.push(vector(&prototype)?);
        bank.sentences.push(Some(sentence.to_owned()));
    }
    Ok(bank)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(alike: &[[f64; 2]]) -> Phrase {
        Phrase { sentence: Vec::new(), text: Vec::new(), prototypes: alike.to_vec() }
    }

    #[test]
    fn a_prototype_gets_the_nearest_of_the_sentences_that_stand_nearest_to_it() {
        let read = [
            phrase(&[[3.0, 0.5], [1.0, 0.9], [0.0, 0.0]]),
            phrase(&[[2.0, 0.7], [1.0, 0.1], [0.0, 0.9]]),
            phrase(&[[0.0, 0.9], [1.0, 0.1], [0.5, 0.9]]),
        ];
        assert_eq!(named(&["a", "b", "c"], &read), [(0, "b"), (1, "c")]);
    }

    #[test]
    fn a_list_has_a_sentence_a_line_and_notes_of_its_own() {
        let text = "# reviewed by A. B.\n\nNo effusion.\n The heart is normal. \r\nNo effusion.\n";
        assert_eq!(sentences(text).unwrap(), ["No effusion.", "The heart is normal."]);
        assert!(sentences("# nothing\n").unwrap_err().to_string().contains("no sentence"));
        assert!(sentences("a\u{7}b").unwrap_err().to_string().contains("control characters"));
    }
}
