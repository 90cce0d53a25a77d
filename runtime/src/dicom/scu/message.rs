//! Command sets of what we ask, and of what comes back (PS3.7). No I/O.

use crate::dicom::command::{
    C_FIND_RQ, C_MOVE_RQ, C_STORE_RQ, CommandError, N_EVENT_REPORT_RQ, NO_DATASET, RESPONSE,
    elements, put, u16_value, with_length,
};
use dicom_core::VR;
use radiograph::elements::text;

pub(crate) const N_ACTION_RQ: u16 = 0x0130;

/// What is asked, of which instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) field: u16,
    pub(crate) class: &'a str,
    pub(crate) instance: Option<&'a str>,
    /// Of N-ACTION.
    pub(crate) action: Option<u16>,
    /// AE title that a C-MOVE sends to.
    pub(crate) destination: Option<&'a str>,
    pub(crate) urgent: bool,
    pub(crate) has_dataset: bool,
}

impl Request<'_> {
    pub(crate) fn encode(&self, message_id: u16) -> Vec<u8> {
        let requested = self.action.is_some(); // N-ACTION speaks of requested, not of affected
        let mut body = Vec::with_capacity(256);
        put(&mut body, if requested { 0x0003 } else { 0x0002 }, VR::UI, self.class);
        put(&mut body, 0x0100, VR::US, self.field.to_le_bytes());
        put(&mut body, 0x0110, VR::US, message_id.to_le_bytes());
        if let Some(destination) = self.destination {
            put(&mut body, 0x0600, VR::AE, destination);
        }
        if [C_STORE_RQ, C_FIND_RQ, C_MOVE_RQ].contains(&self.field) {
            // MEDIUM is 0, HIGH is 1.
            put(&mut body, 0x0700, VR::US, u16::from(self.urgent).to_le_bytes());
        }
        let dataset = if self.has_dataset { 0x0001 } else { NO_DATASET };
        put(&mut body, 0x0800, VR::US, dataset.to_le_bytes());
        if let Some(instance) = self.instance {
            put(&mut body, if requested { 0x1001 } else { 0x1000 }, VR::UI, instance);
        }
        if let Some(action) = self.action {
            put(&mut body, 0x1008, VR::US, action.to_le_bytes());
        }
        with_length(&body)
    }
}

/// What the peer says: an answer, or a report of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Response(Response),
    /// N-EVENT-REPORT-RQ; its fields are in the command, its contents in a data set.
    Event(crate::dicom::command::Command),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) field: u16,
    /// Message id of the request.
    pub(crate) answers: u16,
    pub(crate) status: u16,
    /// Error Comment: at most 64 printable characters of it.
    pub(crate) comment: String,
    pub(crate) operations: Operations,
    pub(crate) has_dataset: bool,
}

/// C-STOREs that a C-MOVE led to, as far as the peer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations {
    pub(crate) completed: u16,
    pub(crate) failed: u16,
    pub(crate) warning: u16,
}

impl Operations {
    pub(crate) fn done(self) -> u32 {
        [self.completed, self.failed, self.warning].map(u32::from).iter().sum()
    }
}

impl Response {
    /// Whether others follow (PS3.7 annex C.5).
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.status, 0xff00 | 0xff01)
    }
}

impl Said {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        let (mut field, mut answers, mut status, mut dataset) = (None, None, None, None);
        let (mut comment, mut operations) = (String::new(), Operations::default());
        for (element, value) in elements(bytes)? {
            match element {
                0x0100 => field = Some(u16_value("command field", value)?),
                0x0120 => answers = Some(u16_value("message id being responded to", value)?),
                0x0800 => dataset = Some(u16_value("data set type", value)?),
                0x0900 => status = Some(u16_value("status", value)?),
                // Somebody else's text, fit for a log and a page.
                0x0902 => {
                    comment = text(value).chars().filter(|c| !c.is_control()).take(64).collect();
                }
                0x1021 => operations.completed = u16_value("completed operations", value)?,
                0x1022 => operations.failed = u16_value("failed operations", value)?,
                0x1023 => operations.warning = u16_value("operations with warnings", value)?,
                _ => {}
            }
        }
        let missing = |name| CommandError::Missing { name };
        let field = field.ok_or(missing("command field"))?;
        if field & RESPONSE == 0 {
            return match crate::dicom::command::Command::parse(bytes)? {
                command if field == N_EVENT_REPORT_RQ => Ok(Self::Event(command)),
                _ => Err(CommandError::Request { field }),
            };
        }
        Ok(Self::Response(Response {
            field,
            answers: answers.ok_or(missing("message id being responded to"))?,
            status: status.ok_or(missing("status"))?,
            comment,
            operations,
            has_dataset: dataset.ok_or(missing("data set type"))? != NO_DATASET,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::command::{C_ECHO_RQ, Command, Status};
    use proptest::prelude::*;

    const ECHO: Request<'_> = Request {
        field: C_ECHO_RQ,
        class: "1.2.840.10008.1.1",
        instance: None,
        action: None,
        destination: None,
        urgent: false,
        has_dataset: false,
    };

    #[test]
    fn our_own_scp_understands_our_requests_and_we_its_answers() {
        let store =
            Request { field: C_STORE_RQ, instance: Some("1.2.3"), has_dataset: true, ..ECHO };
        for request in [ECHO, store] {
            let command = Command::parse(&request.encode(7)).unwrap();
            assert_eq!((command.field, command.message_id), (request.field, 7));
            assert_eq!(command.sop_class.as_deref(), Some(request.class));
            assert_eq!(command.has_dataset, request.has_dataset);
            let answer = command.response(&Status::failure(Status::OUT_OF_RESOURCES, "full"));
            let Said::Response(response) = Said::parse(&answer).unwrap() else { panic!() };
            assert_eq!((response.field, response.answers), (request.field | RESPONSE, 7));
            assert_eq!((response.status, response.comment.as_str()), (0xa700, "full"));
        }
    }

    #[test]
    fn a_question_about_commitment_names_what_is_requested() {
        let request =
            Request { field: N_ACTION_RQ, action: Some(1), instance: Some("1.2"), ..ECHO };
        let bytes = request.encode(1);
        let tags: Vec<u16> = elements(&bytes).unwrap().iter().map(|element| element.0).collect();
        assert_eq!(tags, [0x0000, 0x0003, 0x0100, 0x0110, 0x0800, 0x1001, 0x1008]);
    }

    #[test]
    fn a_move_names_its_destination_and_its_answer_counts_operations() {
        let request = Request {
            field: C_MOVE_RQ,
            class: "1.2",
            destination: Some("BOX"),
            has_dataset: true,
            ..ECHO
        };
        let bytes = request.encode(3);
        let tags: Vec<u16> = elements(&bytes).unwrap().iter().map(|element| element.0).collect();
        assert_eq!(tags, [0x0000, 0x0002, 0x0100, 0x0110, 0x0600, 0x0700, 0x0800]);
        let mut body = Vec::new();
        for (element, value) in [
            (0x0100, C_MOVE_RQ | RESPONSE),
            (0x0120, 3),
            (0x0800, NO_DATASET),
            (0x0900, 0xff00),
            (0x1020, 9),
            (0x1021, 4),
            (0x1022, 2),
            (0x1023, 1),
        ] {
            put(&mut body, element, VR::US, value.to_le_bytes());
        }
        let Said::Response(response) = Said::parse(&with_length(&body)).unwrap() else { panic!() };
        let Operations { completed, failed, warning } = response.operations;
        assert_eq!((completed, failed, warning, response.is_pending()), (4, 2, 1, true));
        assert_eq!(response.operations.done(), 7);
    }

    #[test]
    fn a_request_that_is_no_report_is_refused_by_name() {
        let error = Said::parse(&ECHO.encode(1)).unwrap_err();
        assert!(error.to_string().contains("0030"), "{error}");
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Said::parse(&bytes);
        }

        #[test]
        fn a_spoiled_answer_never_panics(at in 0usize..90, byte: u8, cut in 0usize..120) {
            let command = Command::parse(&ECHO.encode(7)).unwrap();
            let mut answer = command.response(&Status::failure(0xc000, "no"));
            let at = at % answer.len();
            answer[at] = byte;
            answer.truncate(cut);
            let _ = Said::parse(&answer);
        }
    }
}
