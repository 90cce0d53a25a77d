//! What an answer, or the lack of one, means for a delivery. The one place that tells errors apart.
//!
//! | answer | meaning |
//! |---|---|
//! | 0000; B000 … B00F (stored with a warning); 0111 (has it already); STOW 200, 202, 409 | delivered |
//! | A7xx, 0110, 0213; no connection, no answer, abort; rejected as transient; STOW 408, 429, 5xx | later |
//! | A9xx, Cxxx, 0122 and every other status; no context; rejected for good; other STOW statuses | dead letter |
//!
//! Where the body of a STOW answer gives a Failure Reason for our object, that counts as its status would.

use super::{
    state::Event,
    stow::{Said, StowAnswer, StowError},
};
use crate::dicom::scu::{Response, ScuError};

/// What follows for one delivery, and for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) event: Event,
    /// The destination itself is in trouble: other objects would fare no better now.
    pub(crate) pause: bool,
}

/// Of a C-STORE.
pub(crate) fn of_store(answer: Result<Response, ScuError>) -> Verdict {
    match answer {
        Ok(response) => of_status(response.status, &response.comment),
        Err(error) => of_error(&error),
    }
}

fn of_status(status: u16, comment: &str) -> Verdict {
    let reason = if comment.is_empty() {
        format!("status {status:04X}")
    } else {
        format!("status {status:04X}: {comment}")
    };
    match status {
        0x0000 | 0x0111 | 0xb000..=0xb00f => Verdict { event: Event::Delivered, pause: false },
        0xa700..=0xa7ff | 0x0110 | 0x0213 => Verdict { event: Event::Later(reason), pause: true },
        _ => Verdict { event: Event::Refused(reason), pause: false },
    }
}

/// Of a question or an object that got no answer.
pub(crate) fn of_error(error: &ScuError) -> Verdict {
    let reason = error.to_string();
    match error {
        ScuError::NoContext { .. } | ScuError::Rejected { permanent: true, .. } => {
            Verdict { event: Event::Refused(reason), pause: false }
        }
        _ => Verdict { event: Event::Later(reason), pause: true },
    }
}

/// Of a STOW-RS request.
pub(super) fn of_stow(answer: Result<StowAnswer, StowError>) -> Verdict {
    let StowAnswer { status, said } = match answer {
        Ok(answer) => answer,
        Err(error) => return Verdict { event: Event::Later(error.to_string()), pause: true },
    };
    let reason = format!("HTTP status {status}");
    match (status, said) {
        (408 | 429 | 500..=599, _) => Verdict { event: Event::Later(reason), pause: true },
        (200 | 202 | 409, Said::Failed(Some(why))) => of_status(why, &reason),
        (200, Said::Stored | Said::Nothing)
        | (202, Said::Stored)
        // A conflict that gives no other reason: it has the object.
        | (409, Said::Stored | Said::Nothing | Said::Failed(None)) => {
            Verdict { event: Event::Delivered, pause: false }
        }
        (200 | 202, Said::Failed(None)) => {
            Verdict { event: Event::Refused(format!("{reason}, but it failed")), pause: false }
        }
        (202, Said::Nothing) => {
            let reason = format!("{reason}, and an answer that does not say whether it is stored");
            Verdict { event: Event::Refused(reason), pause: false }
        }
        _ => Verdict { event: Event::Refused(reason), pause: false },
    }
}

/// Of an N-ACTION: `None` if the question was taken.
pub(crate) fn of_question(answer: Result<Response, ScuError>) -> Option<Verdict> {
    let response = match answer {
        Ok(Response { status: 0, .. }) => return None,
        Ok(response) => response,
        Err(error) => {
            let verdict = of_error(&error);
            let event = match verdict.event {
                Event::Later(reason) => Event::NotTaken(reason),
                event => event,
            };
            return Some(Verdict { event, ..verdict });
        }
    };
    let reason = format!("storage commitment: status {:04X} {}", response.status, response.comment);
    let reason = reason.trim_end().to_owned();
    let event = match response.status {
        0x0110 | 0x0213 | 0xa700..=0xa7ff => Event::NotTaken(reason),
        _ => Event::Refused(reason),
    };
    Some(Verdict { event, pause: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::ended::Ended;
    use std::time::Duration;

    fn meaning(event: &Event) -> &'static str {
        match event {
            Event::Delivered => "delivered",
            Event::Later(_) | Event::NotTaken(_) => "later",
            Event::Refused(_) => "dead",
            other => panic!("{other:?} is no verdict"),
        }
    }

    fn response(status: u16) -> Response {
        Response {
            field: 0x8001,
            answers: 1,
            status,
            comment: "said so".into(),
            has_dataset: false,
        }
    }

    #[test]
    fn a_status_means_what_the_table_says() {
        for (statuses, expected, pause) in [
            (&[0x0000, 0xb000, 0xb006, 0xb007, 0x0111][..], "delivered", false),
            (&[0xa700, 0xa701, 0xa7ff, 0x0110, 0x0213], "later", true),
            (
                &[0xa900, 0xa9ff, 0xc000, 0xcfff, 0x0122, 0x0124, 0xb010, 0xfe00, 0x0001],
                "dead",
                false,
            ),
        ] {
            for status in statuses {
                let verdict = of_store(Ok(response(*status)));
                assert_eq!(
                    (meaning(&verdict.event), verdict.pause),
                    (expected, pause),
                    "{status:04x}"
                );
            }
        }
        let Event::Refused(reason) = of_store(Ok(response(0xc000))).event else { panic!() };
        assert_eq!(reason, "status C000: said so");
    }

    #[test]
    fn a_lack_of_an_answer_means_what_the_table_says() {
        let deadline = Ended::Deadline { what: "an answer", limit: Duration::from_secs(1) };
        for (error, expected) in [
            (ScuError::Rejected { permanent: false, why: "busy".into() }, "later"),
            (ScuError::Ended(Ended::Closed), "later"),
            (ScuError::Ended(Ended::Aborted), "later"),
            (ScuError::Ended(deadline), "later"),
            (ScuError::Rejected { permanent: true, why: "who?".into() }, "dead"),
            (ScuError::NoContext { class: "1.2".into() }, "dead"),
        ] {
            assert_eq!(meaning(&of_error(&error).event), expected, "{error}");
        }
    }

    #[test]
    fn a_stow_answer_means_what_the_table_says() {
        for (status, said, expected) in [
            (200, Said::Stored, "delivered"),
            (200, Said::Nothing, "delivered"),
            (200, Said::Failed(Some(0xa700)), "later"),
            (200, Said::Failed(Some(0xc000)), "dead"),
            (200, Said::Failed(None), "dead"),
            (202, Said::Stored, "delivered"),
            (202, Said::Nothing, "dead"),
            (409, Said::Nothing, "delivered"),
            (409, Said::Failed(None), "delivered"),
            (409, Said::Failed(Some(0x0111)), "delivered"),
            (409, Said::Failed(Some(0x0122)), "dead"),
            (409, Said::Failed(Some(0xa700)), "later"),
            (503, Said::Nothing, "later"),
            (429, Said::Nothing, "later"),
            (302, Said::Nothing, "dead"),
            (400, Said::Nothing, "dead"),
            (415, Said::Nothing, "dead"),
            (401, Said::Nothing, "dead"),
        ] {
            let verdict = of_stow(Ok(StowAnswer { status, said }));
            assert_eq!(meaning(&verdict.event), expected, "{status} {said:?}");
        }
        let silent = of_stow(Err(StowError::Silent { limit: Duration::from_secs(1) }));
        assert_eq!((meaning(&silent.event), silent.pause), ("later", true));
    }

    #[test]
    fn a_question_that_was_taken_has_no_verdict() {
        assert_eq!(of_question(Ok(response(0))), None);
        assert_eq!(meaning(&of_question(Ok(response(0x0110))).unwrap().event), "later");
        assert_eq!(meaning(&of_question(Ok(response(0x0122))).unwrap().event), "dead");
    }
}
