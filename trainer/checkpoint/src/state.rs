//! `state.json`: where a run stands.

use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimizer steps taken over all stages.
    pub step: u64,
    /// Epochs finished, counted within the stage.
    pub epoch: u64,
    #[serde(default)]
    pub stage: Stage,
    /// What random numbers were drawn from; `None` where none were, as for imported weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// SHA-256 of what was trained on; empty where nobody knows.
    #[serde(default)]
    pub data_digest: String,
    /// Nothing is left to do.
    #[serde(default)]
    pub finished: bool,
    /// What else the owner wants to remember.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl State {
    /// Of weights another tool trained.
    pub fn imported() -> Self {
        Self { stage: Stage::Imported, finished: true, ..Self::default() }
    }
}

/// Which stage is at work, or where the weights are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StageText", into = "StageText")]
pub enum Stage {
    /// Of pre-training, counted from 0; the number of stages once all are done.
    Number(usize),
    /// Another tool trained them, `exporter import` brought them.
    Imported,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Number(0)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the number of a stage or `imported`")]
enum StageText {
    Number(usize),
    Name(String),
}

impl TryFrom<StageText> for Stage {
    type Error = String;

    fn try_from(text: StageText) -> Result<Self, String> {
        match text {
            StageText::Number(number) => Ok(Self::Number(number)),
            StageText::Name(name) if name == "imported" => Ok(Self::Imported),
            StageText::Name(name) => {
                Err(format!("stage is `{name}`, expected the number of a stage or `imported`"))
            }
        }
    }
}

impl From<Stage> for StageText {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Number(number) => Self::Number(number),
            Stage::Imported => Self::Name("imported".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_imports_wrote_is_read() {
        let state: State =
            serde_json::from_str(r#"{"epoch":0,"stage":"imported","step":0}"#).unwrap();
        assert_eq!((state.stage, state.seed), (Stage::Imported, None));
    }

    #[test]
    fn a_run_keeps_the_number_of_its_stage() {
        let text = r#"{"step":7,"epoch":1,"stage":2,"seed":3,"data_digest":"ab","finished":false}"#;
        let state: State = serde_json::from_str(text).unwrap();
        assert_eq!((state.stage, state.seed), (Stage::Number(2), Some(3)));
        assert_eq!(serde_json::to_string(&state).unwrap(), text);
    }

    #[test]
    fn an_unknown_stage_is_named() {
        let error = serde_json::from_str::<State>(r#"{"step":0,"epoch":0,"stage":"dreamt"}"#);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`dreamt`") && error.contains("`imported`"), "{error}");
    }
}
