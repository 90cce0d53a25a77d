//! A-ASSOCIATE-RQ out, A-ASSOCIATE-AC in: which services the peer gives us. No I/O.

use crate::dicom::negotiation::{APPLICATION_CONTEXT, PROTOCOL_VERSION, peer_max_pdu, trimmed};
use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed,
    PresentationContextResultReason as Outcome, UserVariableItem,
};
use results::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};

/// A service we would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) class: &'static str,
    pub(crate) syntaxes: &'static [&'static str],
}

/// A service we have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) id: u8,
    pub(crate) class: &'static str,
    pub(crate) syntax: &'static str,
}

/// Ids are odd and ascend: 1, 3, 5 …
fn id(place: usize) -> u8 {
    (2 * place + 1) as u8
}

pub(crate) fn request(
    calling: &str,
    called: &str,
    proposals: &[Proposal],
    max_pdu: u32,
) -> AssociationRQ {
    let contexts = proposals.iter().enumerate().map(|(place, proposal)| {
        let transfer_syntaxes = proposal.syntaxes.iter().map(|&uid| uid.into()).collect();
        let abstract_syntax = proposal.class.into();
        PresentationContextProposed { id: id(place), abstract_syntax, transfer_syntaxes }
    });
    AssociationRQ {
        protocol_version: PROTOCOL_VERSION,
        calling_ae_title: calling.into(),
        called_ae_title: called.into(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: contexts.collect(),
        user_variables: vec![
            UserVariableItem::MaxLength(max_pdu),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.into()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.into()),
        ],
    }
}

/// What was accepted of `proposals`, and the longest PDU the peer takes; otherwise what is wrong with the answer.
pub(crate) fn accepted(
    answer: &AssociationAC,
    proposals: &[Proposal],
) -> Result<(Vec<Accepted>, u32), String> {
    let mut accepted: Vec<Accepted> = Vec::new();
    for result in &answer.presentation_contexts {
        let proposed = proposals.iter().enumerate().find(|(place, _)| id(*place) == result.id);
        let Some((_, proposal)) = proposed else {
            return Err(format!(
                "answer to presentation context {}, which we did not propose",
                result.id
            ));
        };
        if accepted.iter().any(|context| context.id == result.id) {
            return Err(format!("presentation context {} is answered twice", result.id));
        }
        if result.reason != Outcome::Acceptance {
            continue;
        }
        let syntax = trimmed(&result.transfer_syntax);
        let Some(syntax) = proposal.syntaxes.iter().find(|&&proposed| proposed == syntax) else {
            return Err(format!("presentation context {}: {syntax} was not proposed", result.id));
        };
        accepted.push(Accepted { id: result.id, class: proposal.class, syntax });
    }
    Ok((accepted, peer_max_pdu(&answer.user_variables)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::negotiation;

    const PROPOSALS: [Proposal; 2] = [
        Proposal { class: "1.2.840.10008.1.1", syntaxes: &["1.2.840.10008.1.2"] },
        Proposal { class: "1.2.840.10008.5.1.4.1.1.88.34", syntaxes: &["1.2.840.10008.1.2.1"] },
    ];

    fn answer() -> AssociationAC {
        negotiation::accept(&request("BOX", "PACS", &PROPOSALS, 16384), 4096, false).unwrap().0
    }

    #[test]
    fn our_own_scp_accepts_what_it_serves() {
        let (accepted, max_pdu) = accepted(&answer(), &PROPOSALS).unwrap();
        assert_eq!(
            accepted,
            [Accepted { id: 1, class: PROPOSALS[0].class, syntax: "1.2.840.10008.1.2" }]
        );
        assert_eq!(max_pdu, 4096);
    }

    #[test]
    fn an_answer_to_what_was_never_asked_is_refused() {
        let spoil = |spoil: fn(&mut AssociationAC)| {
            let mut answer = answer();
            spoil(&mut answer);
            accepted(&answer, &PROPOSALS).unwrap_err()
        };
        let id = spoil(|answer| answer.presentation_contexts[0].id = 5);
        assert!(id.contains("did not propose"), "{id}");
        let twice = spoil(|answer| {
            answer.presentation_contexts[1] = answer.presentation_contexts[0].clone();
        });
        assert!(twice.contains("answered twice"), "{twice}");
        let other = spoil(|answer| {
            answer.presentation_contexts[0].transfer_syntax = "1.2.840.10008.1.2.2".into();
        });
        assert!(other.contains("1.2.840.10008.1.2.2 was not proposed"), "{other}");
    }
}
