//! Words to numbers: a WordPiece tokenizer read from a Hugging Face folder or built from the reports.

use crate::{Encoded, FILE, WordsError};
use checkpoint::one_line;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::Path,
};
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer, models::wordpiece::WordPiece, normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
};

/// All that a folder may hold of a tokenizer; the first that is there decides, the last says whether it is lower-cased.
pub const FILES: [&str; 3] = [FILE, VOCABULARY, SETTINGS];

const VOCABULARY: &str = "vocab.txt";
const SETTINGS: &str = "tokenizer_config.json";

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// A tokenizer, the two marks it puts around a report, and what fills a row behind it.
#[derive(Clone, Debug)]
pub struct Words {
    tokenizer: Tokenizer,
    begin: i64,
    end: i64,
    padding: i64,
}

impl Words {
    /// From `tokenizer.json`, or else `vocab.txt`, of a folder.
    ///
    /// A `vocab.txt` is lower-cased unless `tokenizer_config.json` says `"do_lower_case": false`, as
    /// Hugging Face does.
    pub fn open(folder: &Path) -> Result<Self, WordsError> {
        let (json, list) = (folder.join(FILE), folder.join(VOCABULARY));
        let unusable =
            |path: &Path, reason: String| WordsError::Tokenizer { path: path.into(), reason };
        if json.is_file() {
            let tokenizer = Tokenizer::from_file(&json);
            let tokenizer = tokenizer.map_err(|error| unusable(&json, one_line(&error)))?;
            return Self::new(tokenizer).map_err(|error| unusable(&json, error.to_string()));
        }
        let text = fs::read_to_string(&list).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => WordsError::NoTokenizer { folder: folder.into() },
            _ => WordsError::Read { path: list.clone(), source },
        })?;
        let vocabulary = text.lines().map(|line| line.trim_end().to_owned()).collect();
        Self::from_vocabulary(vocabulary, lower_cases(folder)?)
            .map_err(|error| unusable(&list, error.to_string()))
    }

    /// The `size` most useful pieces of these texts: every character, and the most frequent words.
    pub fn build<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        size: usize,
    ) -> Result<Self, WordsError> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for text in texts {
            for word in words(text)? {
                *counts.entry(word).or_default() += 1;
            }
        }
        if counts.is_empty() {
            return Err(WordsError::NoWords);
        }
        let characters: BTreeSet<char> = counts.keys().flat_map(|word| word.chars()).collect();
        let mut vocabulary: Vec<String> = SPECIAL.map(str::to_owned).to_vec();
        vocabulary.extend(characters.iter().map(char::to_string));
        vocabulary.extend(characters.iter().map(|c| format!("##{c}")));
        let mut frequent: Vec<(String, usize)> = counts
            .into_iter()
            .filter(|(word, n)| *n > 1 && word.chars().nth(1).is_some())
            .collect();
        frequent.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let room = size.saturating_sub(vocabulary.len());
        vocabulary.extend(frequent.into_iter().take(room).map(|(word, _)| word));
        Self::from_vocabulary(vocabulary, true)
    }

    /// Number of pieces, which the text encoder must have an embedding for.
    pub fn count(&self) -> i64 {
        self.tokenizer.get_vocab_size(true) as i64
    }

    /// What [`Self::open`] reads.
    pub fn to_json(&self) -> Result<String, WordsError> {
        let json = self.tokenizer.to_string(false);
        json.map_err(|error| WordsError::Write { reason: error.to_string() })
    }

    /// A phrase in tokens: one sentence, of which `[CLS]` and `[SEP]` are no part; with `end_counts`, as the released code
    /// has it, `[SEP]` is.
    pub fn prompt(
        &self,
        phrase: &str,
        limit: usize,
        end_counts: bool,
    ) -> Result<Encoded, WordsError> {
        let mut prompt = self.encode(&[phrase.to_owned()], limit)?;
        if prompt.sentences == 0 {
            return Err(WordsError::EmptyPrompt { text: phrase.into() });
        }
        if let (true, Some(end)) = (end_counts, prompt.sentence.last_mut()) {
            *end = 1;
        }
        Ok(prompt)
    }

    /// Tokens of a report in at most `limit`, its sentences one after the other, each tokenised on its own.
    ///
    /// `[SEP]` stays when the rest is cut. Sentences without tokens are left out.
    pub fn encode(&self, sentences: &[String], limit: usize) -> Result<Encoded, WordsError> {
        let mut report =
            Encoded { ids: vec![self.begin], sentence: vec![0], sentences: 0, padding: 0 };
        for sentence in sentences {
            let room = limit.saturating_sub(report.ids.len() + 1);
            let ids: Vec<i64> = self.pieces(sentence)?.into_iter().take(room).collect();
            if !ids.is_empty() {
                report.sentences += 1;
                report.sentence.resize(report.ids.len() + ids.len(), report.sentences as i64);
                report.ids.extend(ids);
            }
        }
        report.ids.push(self.end);
        report.sentence.push(0);
        Ok(report)
    }

    /// As the released code does: sentences are joined without a space, so that words fuse and the sentence of a token
    /// drifts, into `[SEP]` and the `[PAD]`s behind it (up to `limit`), and a cut report loses its `[SEP]`.
    pub fn encode_as_released(
        &self,
        sentences: &[String],
        limit: usize,
    ) -> Result<Encoded, WordsError> {
        let mut owner = vec![0];
        for (at, sentence) in sentences.iter().enumerate() {
            owner.resize(owner.len() + self.pieces(sentence)?.len(), at as i64 + 1);
        }
        let mut ids = vec![self.begin];
        ids.extend(self.pieces(&sentences.concat())?);
        ids.push(self.end);
        let tokens = ids.len().min(limit);
        ids.resize(ids.len().max(owner.len()), self.padding);
        owner.resize(ids.len(), 0);
        ids.truncate(limit);
        owner.truncate(limit);
        let padding = ids.len() - tokens;
        let mut report = Encoded { ids, sentence: owner, sentences: 0, padding };
        let mut last = 0; // sentences the cut or the drift emptied leave no gap
        for sentence in report.sentence.iter_mut().filter(|sentence| **sentence > 0) {
            if *sentence != last {
                last = *sentence;
                report.sentences += 1;
            }
            *sentence = report.sentences as i64;
        }
        Ok(report)
    }

    fn pieces(&self, text: &str) -> Result<Vec<i64>, WordsError> {
        let encoding =
            self.tokenizer.encode_fast(text, false).map_err(|error| unread(text, &error))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    fn from_vocabulary(vocabulary: Vec<String>, lower_case: bool) -> Result<Self, WordsError> {
        let vocabulary_error = |reason: String| WordsError::Vocabulary { reason };
        let numbered: HashMap<String, u32> =
            vocabulary.into_iter().enumerate().map(|(at, piece)| (piece, at as u32)).collect();
        // By its file format: the builder wants the hash map of a crate of its own.
        let model = json!({
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": numbered,
        });
        let model: WordPiece = serde_json::from_str(&model.to_string())
            .map_err(|error| vocabulary_error(error.to_string()))?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer
            .with_normalizer(Some(normalizer(lower_case)))
            .map_err(|error| vocabulary_error(format!("its marks: {error}")))?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        Self::new(tokenizer)
    }

    fn new(mut tokenizer: Tokenizer) -> Result<Self, WordsError> {
        tokenizer.with_padding(None);
        let whole = tokenizer.with_truncation(None);
        whole.map_err(|error| WordsError::Vocabulary { reason: error.to_string() })?;
        let id = |mark: &'static str| {
            let id = tokenizer.get_model().token_to_id(mark).or(tokenizer.token_to_id(mark));
            id.map(i64::from).ok_or(WordsError::NoMark { mark })
        };
        let (begin, end, _) = (id("[CLS]")?, id("[SEP]")?, id("[UNK]")?);
        // Where a vocabulary has none, Hugging Face fills with the first piece too.
        let padding = id("[PAD]").unwrap_or(0);
        Ok(Self { begin, end, padding, tokenizer })
    }
}

fn normalizer(lower_case: bool) -> BertNormalizer {
    BertNormalizer::new(true, true, None, lower_case)
}

/// The words of a text as BERT cuts them, lower-cased.
fn words(text: &str) -> Result<Vec<String>, WordsError> {
    let failed = |error: tokenizers::Error| unread(text, &error);
    let mut normalized = NormalizedString::from(text);
    normalizer(true).normalize(&mut normalized).map_err(failed)?;
    let mut cut = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut cut).map_err(failed)?;
    let pieces = cut.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    Ok(pieces.into_iter().map(|(word, ..)| word.to_owned()).collect())
}

fn unread(text: &str, error: &tokenizers::Error) -> WordsError {
    WordsError::Text { text: text.into(), reason: one_line(error) }
}

fn lower_cases(folder: &Path) -> Result<bool, WordsError> {
    let path = folder.join(SETTINGS);
    if !path.is_file() {
        return Ok(true);
    }
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(WordsError::Read { path, source }),
    };
    let config: serde_json::Value =
        serde_json::from_str(&text).map_err(|source| WordsError::NotJson { path, source })?;
    Ok(config.get("do_lower_case").and_then(serde_json::Value::as_bool).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: [&str; 3] = ["No effusion.", "Heart size is normal.", "No pneumothorax"];

    fn sentences() -> Vec<String> {
        REPORT.map(str::to_owned).to_vec()
    }

    fn built() -> Words {
        // Every word twice, so that all of them are kept.
        Words::build(REPORT.iter().chain(&REPORT).copied(), 4096).unwrap()
    }

    #[test]
    fn every_token_knows_its_sentence() {
        let report = built().encode(&sentences(), 256).unwrap();
        assert_eq!(report.sentence, [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 0]);
        assert_eq!(report.sentences, 3);
        assert_eq!(report.ids.len(), report.sentence.len());
    }

    #[test]
    fn a_cut_report_keeps_its_end_mark_and_counts_what_is_left() {
        let words = built();
        let report = words.encode(&sentences(), 6).unwrap();
        assert_eq!(report.ids.len(), 6);
        assert_eq!(report.ids[5], words.end);
        assert_eq!(report.sentence, [0, 1, 1, 1, 2, 0]);
        assert_eq!(report.sentences, 2);
    }

    #[test]
    fn a_prompt_is_one_sentence_and_its_end_mark_counts_only_where_asked() {
        let words = built();
        let plain = words.prompt("No effusion.", 64, false).unwrap();
        assert_eq!((&plain.sentence[..], plain.sentences), (&[0, 1, 1, 1, 0][..], 1));
        let released = words.prompt("No effusion.", 64, true).unwrap();
        assert_eq!((&released.ids, &released.sentence[..]), (&plain.ids, &[0, 1, 1, 1, 1][..]));
        let error = words.prompt(" ", 64, false).unwrap_err().to_string();
        assert!(error.contains("no tokens"), "{error}");
    }

    #[test]
    fn the_released_way_fuses_words_and_drops_the_end_mark() {
        let words = built();
        let sentences = ["No pneumothorax".to_owned(), "Heart is normal".to_owned()];
        let (ours, theirs) = (
            words.encode(&sentences, 256).unwrap(),
            words.encode_as_released(&sentences, 256).unwrap(),
        );
        assert_ne!(ours.ids, theirs.ids);
        let cut = words.encode_as_released(&sentences, 4).unwrap();
        assert_eq!(cut.ids.len(), 4);
        assert_ne!(cut.ids[3], words.end);
    }

    #[test]
    fn the_released_sentences_drift_into_the_end_mark_and_the_padding_where_words_fuse() {
        // A word with an unknown letter is one unknown piece, however long, so the joined report has three less than its
        // sentences have.
        let words = built();
        let sentences = ["No pneumothorax", "ж", "ж", "ж"].map(str::to_owned);
        let apart: Vec<usize> =
            sentences.iter().map(|sentence| words.pieces(sentence).unwrap().len()).collect();
        let joined = words.pieces(&sentences.concat()).unwrap().len();
        let whole: usize = apart.iter().sum();
        assert!(joined + 2 < whole, "{joined} {whole}: the sentences do not run far enough");
        let report = words.encode_as_released(&sentences, 256).unwrap();
        assert_eq!(report.ids.len(), 1 + whole);
        assert_eq!(report.padding, 1 + whole - (joined + 2));
        assert_eq!(report.ids[joined + 1], words.end);
        assert!(report.ids[joined + 2..].iter().all(|&id| id == words.padding));
        let expected: Vec<i64> = std::iter::once(0)
            .chain((1..).zip(&apart).flat_map(|(sentence, &n)| vec![sentence; n]))
            .collect();
        assert_eq!(report.sentence, expected);
        // A row is no longer than the limit.
        let cut = words.encode_as_released(&sentences, joined + 3).unwrap();
        assert_eq!((cut.ids.len(), cut.padding), (joined + 3, 1));
    }

    #[test]
    fn a_tokenizer_survives_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let words = built();
        fs::write(folder.path().join(FILE), words.to_json().unwrap()).unwrap();
        let again = Words::open(folder.path()).unwrap();
        assert_eq!(again.count(), words.count());
        assert_eq!(
            again.encode(&sentences(), 64).unwrap(),
            words.encode(&sentences(), 64).unwrap()
        );
    }

    #[test]
    fn a_vocabulary_list_is_lower_cased_unless_told_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let error = format!("{:#}", Words::open(path).unwrap_err());
        assert!(error.contains("vocab.txt"), "{error}");
        fs::write(path.join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\nheart\nHeart\n").unwrap();
        let encode = || Words::open(path).unwrap().encode(&["Heart".into()], 8).unwrap().ids;
        assert_eq!(encode(), [2, 4, 3]);
        fs::write(path.join("tokenizer_config.json"), r#"{"do_lower_case": false}"#).unwrap();
        assert_eq!(encode(), [2, 5, 3]);
    }
}
