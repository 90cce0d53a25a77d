//! What the labels of a network mean, in words that other systems know: codes for DICOM objects.

use crate::BundleError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A coded concept (PS3.3 8.8). Always fit for a DICOM object: what does not fit is refused when it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Code {
    value: String,
    scheme: String,
    meaning: String,
}

/// Left or right of the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Left,
    Right,
}

/// What is said of a label in DICOM objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCode {
    pub label: String,
    /// The finding, or what the segment shows.
    pub code: Code,
    /// What kind of thing that is: an anatomical structure, a morphologically abnormal one.
    pub category: Code,
    /// Where in the body it is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Code>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// sRGB, for those who draw it; `None`: whatever they like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<[u8; 3]>,
}

/// The scheme of codes that are ours.
pub const PRIVATE_SCHEME: &str = "99CXREDGE";

/// As long as a code value or a coding scheme designator may be.
const SHORT: usize = 16;
/// As long as a code meaning may be.
const LONG: usize = 64;

impl Code {
    /// Refuses what DICOM does not allow: longer than 16 (meaning: 64) characters, empty, not printable ASCII.
    pub fn new(value: &str, scheme: &str, meaning: &str) -> Result<Self, BundleError> {
        for (what, text, most) in
            [("value", value, SHORT), ("scheme", scheme, SHORT), ("meaning", meaning, LONG)]
        {
            let is_plain = text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\');
            if !is_plain || text.trim() != text || !(1..=most).contains(&text.len()) {
                return Err(BundleError::Code {
                    what,
                    found: text.chars().take(80).collect(),
                    most,
                });
            }
        }
        Ok(Self { value: value.into(), scheme: scheme.into(), meaning: meaning.into() })
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    pub fn meaning(&self) -> &str {
        &self.meaning
    }
}

impl LabelCode {
    /// A code of our own for a label that no terminology of ours has.
    ///
    /// Its value is the label in capitals; where that loses something, the end is a digest of the label.
    pub fn private(label: &str) -> Self {
        let slug = |most: usize| -> String {
            let plain =
                |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '-' };
            label.chars().map(plain).take(most).collect()
        };
        let is_kept = label.len() <= SHORT
            && !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b" _-".contains(&b));
        let value = if is_kept {
            slug(SHORT)
        } else {
            let digest = hex::encode_upper(&Sha256::digest(label.as_bytes())[..3]);
            format!("{}-{digest}", slug(SHORT - 7))
        };
        let plain = |c: char| if (' '..='~').contains(&c) && c != '\\' { c } else { '?' };
        let meaning: String = label.chars().map(plain).take(LONG).collect();
        let meaning = match meaning.trim() {
            "" => "unnamed",
            meaning => meaning,
        };
        let fits = "private codes are made to fit";
        Self {
            label: label.into(),
            code: Code::new(&value, PRIVATE_SCHEME, meaning).expect(fits),
            category: Code::new("49755003", "SCT", "Morphologically Abnormal Structure")
                .expect(fits),
            site: None,
            side: None,
            colour: None,
        }
    }
}

/// The codes as a section, for [`section::CODES`](crate::section::CODES): JSON, so that people can read what they extract.
pub fn codes_to_bytes(codes: &[LabelCode]) -> Vec<u8> {
    serde_json::to_vec_pretty(codes).expect("text in a list is JSON")
}

pub(crate) fn codes_from_bytes(bytes: &[u8]) -> Result<Vec<LabelCode>, BundleError> {
    serde_json::from_slice(bytes).map_err(|e| BundleError::Codes { reason: e.to_string() })
}

/// A [`Code`] before it is checked.
#[derive(Deserialize)]
struct Written {
    value: String,
    scheme: String,
    meaning: String,
}

impl TryFrom<Written> for Code {
    type Error = BundleError;

    fn try_from(it: Written) -> Result<Self, BundleError> {
        Self::new(&it.value, &it.scheme, &it.meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_private_code_says_the_label_where_it_can() {
        let code = |label| LabelCode::private(label).code;
        assert_eq!(
            code("Lung Opacity"),
            Code::new("LUNG-OPACITY", "99CXREDGE", "Lung Opacity").unwrap()
        );
        let long = code("Enlarged Cardiomediastinum");
        assert_eq!(
            (long.value(), long.meaning()),
            ("ENLARGED--1E6CA0", "Enlarged Cardiomediastinum")
        );
        assert_ne!(code("肺"), code("胸"), "what ASCII does not have is told apart");
    }

    #[test]
    fn what_dicom_does_not_allow_is_refused_by_name() {
        for (value, scheme, meaning, expected) in [
            ("", "SCT", "Lung", "value"),
            ("12345678901234567", "SCT", "Lung", "value"),
            ("39607008", "S\\T", "Lung", "scheme"),
            ("39607008", "SCT", "Poumon é", "meaning"),
            ("39607008", "SCT", " Lung", "meaning"),
        ] {
            let error = Code::new(value, scheme, meaning).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let json = br#"[{"label":"x","code":{"value":"","scheme":"SCT","meaning":"x"},"category":{"value":"1","scheme":"2","meaning":"3"}}]"#;
        assert!(codes_from_bytes(json).unwrap_err().to_string().contains("code value"));
    }

    #[test]
    fn a_bundle_has_a_code_for_each_of_its_labels_and_an_old_one_gets_ours() {
        use crate::{Bundle, Manifest, section};
        use graph::{Backbone, Head, ModelConfig, Pool, Preprocess, Task};

        let mut model = ModelConfig::encoder(Backbone::Resnet18, Pool::Mean);
        let labels = |labels: [&str; 2]| labels.map(Into::into).to_vec();
        model.heads = vec![
            Head { task: Task::Segmentation, labels: labels(["lung", "heart"]) },
            Head { task: Task::Detection, labels: labels(["heart", "Mass"]) },
        ];
        let manifest = Manifest::new("chest", "1.0.0", model, Preprocess::PRIOR);
        let codes = |sections| {
            let sealed = Bundle::seal(manifest.clone(), sections, None).unwrap();
            Bundle::read(sealed.to_bytes().unwrap()).unwrap().codes()
        };
        let ours = ["lung", "heart", "Mass"].map(LabelCode::private);
        assert_eq!(codes(vec![]).unwrap(), ours);

        let mut lung = LabelCode::private("lung");
        lung.code = Code::new("39607008", "SCT", "Lung").unwrap();
        let bytes = codes_to_bytes(&[LabelCode::private("other"), lung.clone()]);
        let found = codes(vec![(section::CODES.into(), bytes)]).unwrap();
        assert_eq!(found, [lung, ours[1].clone(), ours[2].clone()]);
        let error = codes(vec![(section::CODES.into(), b"[{}]".to_vec())]).unwrap_err();
        assert!(error.to_string().contains("codes of its labels are damaged"), "{error}");
    }

    proptest! {
        #[test]
        fn every_label_has_a_code_and_survives_the_bundle(label: String) {
            let codes = vec![LabelCode::private(&label)];
            prop_assert_eq!(codes_from_bytes(&codes_to_bytes(&codes)).unwrap(), codes);
        }
    }
}
