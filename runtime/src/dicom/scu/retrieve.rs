//! C-FIND and C-MOVE: one question, many answers, and an end to each wait.

use super::{Accepted, Association, Response, ScuError, message::Request};
use crate::dicom::{
    command::{C_FIND_RQ, C_MOVE_RQ},
    ended::Ended,
    query::{self, Answer, BadAnswer, MOST_ANSWERS, Question},
};
use std::time::Duration;
use tokio::time::Instant;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) answers: Vec<Answer>,
    /// The last response: its status says whether these are all.
    pub(crate) end: Response,
}

/// How much longer to wait for a C-MOVE: an archive need not say anything until it is done.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    until: Instant,
    /// Objects that came, and operations that are done, at the last sign of life.
    came: u64,
    done: u32,
}

impl Patience {
    fn new(limit: Duration, came: u64) -> Self {
        Self { limit, until: Instant::now() + limit, came, done: 0 }
    }

    /// Looks for progress; whether there was some.
    fn look(&mut self, came: u64, done: u32) -> bool {
        let moved = came > self.came || done > self.done;
        if moved {
            (self.came, self.done) = (self.came.max(came), self.done.max(done));
            self.until = Instant::now() + self.limit;
        }
        moved
    }
}

impl Association {
    /// C-FIND. Answers that are about something else are dropped; one that cannot be read ends it.
    pub(crate) async fn find(&mut self, question: &Question) -> Result<Found, ScuError> {
        let context = self.of(query::FIND)?;
        let request = Request {
            field: C_FIND_RQ,
            class: query::FIND,
            has_dataset: true,
            ..Request::default()
        };
        self.begin(&request, Some(&question.encode(context.syntax))).await?;
        let (mut answers, mut heard) = (Vec::new(), 0);
        loop {
            let until = Instant::now() + self.timeout;
            let pdu = self.wire.receive_until(until, "an answer", self.timeout).await?;
            let Some((response, dataset)) = self.take(C_FIND_RQ, pdu, until).await? else {
                continue;
            };
            if !response.is_pending() {
                return Ok(Found { answers, end: response });
            }
            heard += 1;
            if heard > MOST_ANSWERS {
                return Err(protocol(BadAnswer::Many.to_string()));
            }
            let dataset = dataset.ok_or_else(|| protocol("an answer without a data set".into()))?;
            let answer = Answer::parse(&dataset, context.syntax)
                .map_err(|error| protocol(format!("an answer to C-FIND: {error}")))?;
            if answer.is_about(question) {
                answers.push(answer);
            }
        }
    }

    /// C-MOVE of what `encode` names to the AE title `destination`; its last response. `came` says how many objects have
    /// come there so far.
    pub(crate) async fn move_to(
        &mut self,
        destination: &str,
        encode: impl FnOnce(&str) -> Vec<u8>,
        came: impl Fn() -> u64,
    ) -> Result<Response, ScuError> {
        let context = self.of(query::MOVE)?;
        let request = Request {
            field: C_MOVE_RQ,
            class: query::MOVE,
            destination: Some(destination),
            has_dataset: true,
            ..Request::default()
        };
        let mut patience = Patience::new(self.timeout, came());
        self.begin(&request, Some(&encode(context.syntax))).await?;
        loop {
            let what = "an answer, and no object came";
            let pdu = match self.wire.receive_until(patience.until, what, self.timeout).await {
                Err(Ended::Deadline { .. }) if patience.look(came(), 0) => continue,
                pdu => pdu?,
            };
            let Some((response, _)) = self.take(C_MOVE_RQ, pdu, patience.until).await? else {
                continue;
            };
            if !response.is_pending() {
                return Ok(response);
            }
            patience.look(came(), response.operations.done());
        }
    }

    fn of(&self, class: &str) -> Result<Accepted, ScuError> {
        let context = self.context(class).cloned();
        context.ok_or_else(|| ScuError::NoContext { class: class.into() })
    }
}

fn protocol(why: String) -> ScuError {
    Ended::Protocol(why).into()
}

#[cfg(test)]
mod tests;
