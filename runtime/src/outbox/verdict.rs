//! What an answer, or the lack of one, means for a delivery. The one place that tells errors apart.
//!
//! | answer | meaning |
//! |---|---|
//! | 0000; B000 … B00F (stored with a warning); 0111 (has it already); STOW 200, 202, 409 | delivered |
//! | A7xx, 0110, 0213; no connection, no answer, abort; rejected as transient; STOW 401, 407, 408, 429, 5xx | later |
//! | A9xx, Cxxx, 0122 and every other status; no context; rejected for good; redirects and other STOW statuses | dead letter |
//!
//! A 429 or 503 may say when to come back; until then the destination is left alone, for an hour at most.
//!
//! Where the body of a STOW answer gives a Failure Reason for our object, that counts as its status would.

use super::{
    state::Event,
    stow::{Said, StowAnswer},
};
use crate::{
    dicom::scu::{Response, ScuError},
    dicomweb::WebError,
};
use std::time::Duration;

/// What follows for one delivery, and for the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) event: Event,
    /// The destination itself is in trouble: other objects would fare no better now.
    pub(crate) pause: bool,
    /// It said when it wants to be asked again.
    pub(crate) after: Option<Duration>,
}

impl Verdict {
    pub(crate) fn new(event: Event, pause: bool) -> Self {
        Self { event, pause, after: None }
    }
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
        0x0000 | 0x0111 | 0xb000..=0xb00f => Verdict::new(Event::Delivered, false),
        0xa700..=0xa7ff | 0x0110 | 0x0213 => Verdict::new(Event::Later(reason), true),
        _ => Verdict::new(Event::Refused(reason), false),
    }
}

/// Of a question or an object that got no answer.
pub(crate) fn of_error(error: &ScuError) -> Verdict {
    let reason = error.to_string();
    match error {
        ScuError::NoContext { .. } | ScuError::Rejected { permanent: true, .. } => {
            Verdict::new(Event::Refused(reason), false)
        }
        _ => Verdict::new(Event::Later(reason), true),
    }
}

/// Of a STOW-RS request.
pub(super) fn of_stow(answer: Result<StowAnswer, WebError>) -> Verdict {
    let StowAnswer { status, said, location, retry_after } = match answer {
        Ok(answer) => answer,
        Err(error) => return Verdict::new(Event::Later(error.to_string()), true),
    };
    let reason = format!("HTTP status {status}");
    match (status, said) {
        (429 | 503, _) => Verdict { after: retry_after, ..Verdict::new(Event::Later(reason), true) },
        // A secret that expired is renewed; it is about no object.
        (401 | 407 | 408 | 500..=599, _) => Verdict::new(Event::Later(reason), true),
        // Not followed: what is configured says who gets patients' data.
        (300..=399, _) => {
            let to = location.unwrap_or_else(|| "nowhere".into());
            let reason = format!("{reason}, a redirect, which is not followed: to {to}");
            Verdict::new(Event::Refused(reason), false)
        }
        (200 | 202 | 409, Said::Failed(Some(why))) => of_status(why, &reason),
        (200, Said::Stored | Said::Nothing)
        | (202, Said::Stored)
        // A conflict that gives no other reason: it has the object.
        | (409, Said::Stored | Said::Nothing | Said::Failed(None)) => {
            Verdict::new(Event::Delivered, false)
        }
        (200 | 202, Said::Failed(None)) => {
            Verdict::new(Event::Refused(format!("{reason}, but it failed")), false)
        }
        (202, Said::Nothing) => {
            let reason = format!("{reason}, and an answer that does not say whether it is stored");
            Verdict::new(Event::Refused(reason), false)
        }
        _ => Verdict::new(Event::Refused(reason), false),
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
    Some(Verdict::new(event, false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::ended::Ended;
    use crate::dicom::scu::Operations;
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
            operations: Operations::default(),
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
            (307, Said::Nothing, "dead"),
            (400, Said::Nothing, "dead"),
            (415, Said::Nothing, "dead"),
            (401, Said::Nothing, "later"),
            (403, Said::Nothing, "dead"),
        ] {
            let (location, retry_after) = (None, None);
            let verdict = of_stow(Ok(StowAnswer { status, said, location, retry_after }));
            assert_eq!(meaning(&verdict.event), expected, "{status} {said:?}");
        }
        let silent = of_stow(Err(WebError::Silent { limit: Duration::from_secs(1) }));
        assert_eq!((meaning(&silent.event), silent.pause), ("later", true));
    }

    #[test]
    fn a_question_that_was_taken_has_no_verdict() {
        assert_eq!(of_question(Ok(response(0))), None);
        assert_eq!(meaning(&of_question(Ok(response(0x0110))).unwrap().event), "later");
        assert_eq!(meaning(&of_question(Ok(response(0x0122))).unwrap().event), "dead");
    }
}
