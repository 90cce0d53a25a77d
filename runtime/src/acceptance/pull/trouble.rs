//! Why something did not come: in words for the report, which name no patient, beside what the archive said.

use crate::{
    dicom::{
        ended::Ended,
        scu::{Operations, Response, ScuError},
    },
    dicomweb::WebError,
};
use anyhow::anyhow;

#[derive(Debug)]
pub(super) enum Trouble {
    /// No other study would fare better.
    Archive(anyhow::Error),
    /// Others may come.
    Study {
        /// In our words.
        why: String,
        /// By the archive, for whoever sits at the terminal.
        said: String,
    },
}

impl Trouble {
    pub(super) fn study(why: impl Into<String>) -> Self {
        Self::Study { why: why.into(), said: String::new() }
    }

    /// Whether the study's other series are not worth asking for.
    pub(super) fn ends_study(&self) -> bool {
        match self {
            Self::Archive(_) => true,
            Self::Study { why, .. } => why.starts_with(BROKEN),
        }
    }

    /// Of an association.
    pub(super) fn of_scu(error: ScuError) -> Self {
        let ScuError::Ended(ended) = &error else { return Self::Archive(anyhow!("{error}")) };
        let why = match ended {
            Ended::Deadline { .. } => "no answer in time",
            Ended::Aborted => "aborted by the archive",
            Ended::Closed => "the archive hung up",
            Ended::Protocol(_) => "an answer breaks the protocol",
            Ended::Refused(_) | Ended::Displaced | Ended::Stopping | Ended::Tls(_) => "cut off",
        };
        Self::Study { why: format!("{BROKEN}: {why}"), said: error.to_string() }
    }

    /// Of the last response to a C-FIND or C-MOVE; `Ok` if all went well.
    pub(super) fn of_status(command: &str, response: &Response) -> Result<(), Self> {
        let Response { status, comment, operations, .. } = response;
        let meaning = match status {
            0x0000 if operations.failed == 0 => return Ok(()),
            0x0000 => "success, though operations failed",
            0x0122 => "SOP class not supported",
            0x0124 => "not authorized",
            0xa701 | 0xa702 => "out of resources",
            0xa801 => "it does not know our AE title as a destination",
            0xa900 => "the question does not fit the SOP class",
            0xb000 => "some operations failed or had warnings",
            0xfe00 => "cancelled",
            0xc000..=0xcfff => "unable to process",
            _ => "unknown",
        };
        let Operations { completed, failed, warning } = operations;
        let counts = match operations.done() {
            0 => String::new(),
            _ => format!(
                "; sub-operations: {completed} completed, {failed} failed, {warning} with warnings"
            ),
        };
        let why = format!("{command}: status {status:04X}, {meaning}{counts}");
        // These are about us, not about a study.
        if [0x0122, 0x0124, 0xa801].contains(status) {
            return Err(Self::Archive(anyhow!("{why} {comment}")));
        }
        Err(Self::Study { why, said: comment.clone() })
    }

    /// Of a web server that did not answer.
    pub(super) fn of_web(error: WebError) -> Self {
        let why = match &error {
            WebError::Unreachable(_) => return Self::Archive(anyhow!("{error}")),
            WebError::Silent { .. } => "no answer in time",
            WebError::Broken(_) => "its answer cannot be read",
        };
        Self::Study { why: why.into(), said: error.to_string() }
    }

    /// Of an answer that has not what was asked for.
    pub(super) fn of_http(what: &str, status: u16) -> Self {
        let why = format!("{what}: HTTP status {status}");
        match status {
            300..=399 => Self::Archive(anyhow!("{why}, a redirect, which is not followed")),
            401 | 403 | 407 => Self::Archive(anyhow!("{why}: not allowed")),
            _ => Self::study(why),
        }
    }
}

const BROKEN: &str = "association";

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, failed: u16) -> Response {
        let operations = Operations { completed: 2, failed, warning: 0 };
        let comment = "Doe^John".to_owned();
        Response { field: 0x8021, answers: 1, status, comment, operations, has_dataset: false }
    }

    #[test]
    fn a_status_is_of_the_study_or_of_the_archive_and_the_comment_stays_at_the_terminal() {
        assert!(Trouble::of_status("C-MOVE", &response(0, 0)).is_ok());
        for (status, failed, expected) in [
            (
                0x0000,
                1,
                "status 0000, success, though operations failed; sub-operations: 2 completed",
            ),
            (0xb000, 1, "status B000, some operations failed"),
            (0xa702, 0, "status A702, out of resources"),
            (0xc123, 0, "status C123, unable to process"),
            (0x1234, 0, "status 1234, unknown"),
        ] {
            let trouble = Trouble::of_status("C-MOVE", &response(status, failed)).unwrap_err();
            assert!(!trouble.ends_study());
            let Trouble::Study { why, said } = trouble else { panic!("{trouble:?}") };
            assert!(why.contains(expected) && !why.contains("Doe"), "{why}");
            assert_eq!(said, "Doe^John");
        }
        for status in [0xa801, 0x0122, 0x0124] {
            let trouble = Trouble::of_status("C-MOVE", &response(status, 0)).unwrap_err();
            assert!(matches!(trouble, Trouble::Archive(_)), "{trouble:?}");
        }
        let broken = Trouble::of_scu(Ended::Aborted.into());
        assert!(broken.ends_study(), "{broken:?}");
        for (status, whole) in [(302, true), (401, true), (403, true), (404, false), (500, false)] {
            let trouble = Trouble::of_http("QIDO-RS", status);
            assert_eq!(matches!(trouble, Trouble::Archive(_)), whole, "{trouble:?}");
        }
    }
}
