//! Operating points: from which score on a finding, a region or a box is shown, and by what that was chosen.

use super::threshold::Criterion;
use serde::{Deserialize, Serialize};

/// An entry of `operating_points` in a checkpoint's `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct OperatingPoint {
    pub name: String,
    /// Probability in `[0, 1]`.
    pub threshold: f32,
    /// Absent where a person set the threshold: nothing can choose it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<Criterion>,
    /// What a person says instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
}

impl OperatingPoint {
    /// A threshold that `criterion` chose.
    pub fn new(name: impl Into<String>, threshold: f32, criterion: Criterion) -> Self {
        Self { name: name.into(), threshold, criterion: Some(criterion), chosen: None }
    }

    /// How it was chosen, for people.
    pub fn words(&self) -> String {
        match (self.criterion, &self.chosen) {
            (Some(criterion), _) => format!("{criterion} on the val split"),
            (None, Some(words)) => words.clone(),
            (None, None) => "nobody says how".into(),
        }
    }
}

/// As it stands in the file, of today or of before `criterion` was data.
#[derive(Deserialize)]
struct Saved {
    name: String,
    threshold: f32,
    criterion: Option<Criterion>,
    chosen: Option<String>,
}

impl TryFrom<Saved> for OperatingPoint {
    type Error = String;

    fn try_from(Saved { name, threshold, criterion, chosen }: Saved) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&threshold) {
            return Err(format!("the threshold of `{name}` is {threshold}, expected 0 to 1"));
        }
        // What checkpoints and bundles of before say; none for words no trainer wrote.
        let of_words = || {
            let words = chosen.as_deref()?.strip_suffix(" on the val split")?;
            let known = [Criterion::Youden, Criterion::Dice, Criterion::F1];
            let named = known.into_iter().find(|criterion| criterion.to_string() == words);
            named.or_else(|| {
                Some(Criterion::Sensitivity(words.strip_prefix("sensitivity ")?.parse().ok()?))
            })
        };
        let criterion = criterion.or_else(of_words);
        if let Some(Criterion::Sensitivity(wanted)) = criterion
            && !(0.0..=1.0).contains(&wanted)
        {
            return Err(format!("the sensitivity wanted of `{name}` is {wanted}, expected 0 to 1"));
        }
        let chosen = chosen.filter(|_| criterion.is_none());
        Ok(Self { name, threshold, criterion, chosen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(point: serde_json::Value) -> Result<OperatingPoint, String> {
        serde_json::from_value(point).map_err(|error| error.to_string())
    }

    #[test]
    fn the_words_of_old_checkpoints_mean_what_they_meant() {
        for (words, criterion) in [
            ("Youden's J on the val split", Some(Criterion::Youden)),
            ("sensitivity 0.9 on the val split", Some(Criterion::Sensitivity(0.9))),
            ("highest mean Dice on the val split", Some(Criterion::Dice)),
            ("highest F1 at IoU 0.5 on the val split", Some(Criterion::F1)),
            ("by our radiologists", None),
        ] {
            let point = read(json!({ "name": "x", "threshold": 0.25, "chosen": words })).unwrap();
            let chosen = criterion.is_none().then(|| words.to_owned());
            assert_eq!(point.words(), words);
            assert_eq!(
                point,
                OperatingPoint { name: "x".into(), threshold: 0.25, criterion, chosen }
            );
        }
        assert_eq!(read(json!({ "name": "x", "threshold": 0.25 })).unwrap().criterion, None);
    }

    #[test]
    fn a_criterion_is_read_as_it_was_written() {
        for (criterion, written) in [
            (Criterion::Youden, json!("youden")),
            (Criterion::Sensitivity(0.9), json!({ "sensitivity": 0.9 })),
            (Criterion::Dice, json!("dice")),
            (Criterion::F1, json!("f1")),
        ] {
            let point = OperatingPoint::new("x", 0.5, criterion);
            let value = serde_json::to_value(&point).unwrap();
            assert_eq!(value["criterion"], written);
            assert_eq!(read(value).unwrap(), point);
        }
    }

    #[test]
    fn what_no_threshold_can_be_is_refused_by_name() {
        let error = read(json!({ "name": "Mass", "threshold": 1.5 })).unwrap_err();
        assert!(error.contains("the threshold of `Mass` is 1.5, expected 0 to 1"), "{error}");
        let wanted =
            json!({ "name": "Mass", "threshold": 0.5, "criterion": { "sensitivity": 90 } });
        let error = read(wanted).unwrap_err();
        assert!(error.contains("the sensitivity wanted of `Mass` is 90"), "{error}");
        let error =
            read(json!({ "name": "Mass", "threshold": 0.5, "criterion": "luck" })).unwrap_err();
        assert!(error.contains("luck") && error.contains("youden"), "{error}");
    }
}
