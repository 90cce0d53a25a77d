//! A-ASSOCIATE-RQ in, A-ASSOCIATE-AC out: which objects we take, in which encodings. No I/O.

use super::commitment;
use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult,
    AssociationRJServiceProviderPresentationReason as Busy,
    AssociationRJServiceUserReason as Refused, AssociationRJSource, AssociationRQ,
    PresentationContextResult, PresentationContextResultReason as Outcome, RequestorRoles,
    UserVariableItem,
};
use radiograph::TransferSyntax;
use results::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION};

pub(super) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Bit 0 stands for version 1, the only one there is.
pub(super) const PROTOCOL_VERSION: u16 = 1;

/// Images we take: UID and what we call it.
pub(crate) const STORAGE_CLASSES: [(&str, &str); 4] = [
    (uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE, "CR"),
    (uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION, "DX for presentation"),
    (uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PROCESSING, "DX for processing"),
    (uids::SECONDARY_CAPTURE_IMAGE_STORAGE, "secondary capture"),
];

/// A presentation context both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) id: u8,
    pub(crate) class: Class,
    pub(crate) syntax: TransferSyntax,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Verification,
    /// UID of one of [`STORAGE_CLASSES`].
    Storage(&'static str),
    /// Reports about storage commitment; the peer is the SCP of that service.
    Commitment,
}

/// What both sides agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    /// AE title of the peer.
    pub(crate) peer: String,
    pub(crate) contexts: Vec<Context>,
    /// Longest PDU the peer takes.
    pub(crate) peer_max_pdu: u32,
}

/// Why there is no association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Version,
    ApplicationContext,
    CalledTitle,
    CallingTitle,
    /// All places are taken: the peer may try again.
    Full,
    /// Presentation context ids even or used twice: not even a refusal fits, so we abort.
    Contexts,
}

impl Refusal {
    /// The A-ASSOCIATE-RJ to send; `None` if only an abort will do.
    pub(crate) fn pdu(self) -> Option<AssociationRJ> {
        let permanent =
            |reason| (AssociationRJResult::Permanent, AssociationRJSource::ServiceUser(reason));
        let (result, source) = match self {
            Self::Version => permanent(Refused::NoReasonGiven),
            Self::ApplicationContext => permanent(Refused::ApplicationContextNameNotSupported),
            Self::CalledTitle => permanent(Refused::CalledAETitleNotRecognized),
            Self::CallingTitle => permanent(Refused::CallingAETitleNotRecognized),
            Self::Full => (
                AssociationRJResult::Transient,
                AssociationRJSource::ServiceProviderPresentation(Busy::LocalLimitExceeded),
            ),
            Self::Contexts => return None,
        };
        Some(AssociationRJ { result, source })
    }
}

/// Answers a request that passed access control. `reports`: whether we wait for reports about storage commitment
/// of this peer.
pub(crate) fn accept(
    request: &AssociationRQ,
    max_pdu: u32,
    reports: bool,
) -> Result<(AssociationAC, Agreement), Refusal> {
    if request.protocol_version & PROTOCOL_VERSION == 0 {
        return Err(Refusal::Version);
    }
    if trimmed(&request.application_context_name) != APPLICATION_CONTEXT {
        return Err(Refusal::ApplicationContext);
    }
    let mut seen = [false; 256];
    let (mut contexts, mut results) = (Vec::new(), Vec::new());
    for proposed in &request.presentation_contexts {
        if proposed.id.is_multiple_of(2)
            || std::mem::replace(&mut seen[usize::from(proposed.id)], true)
        {
            return Err(Refusal::Contexts);
        }
        let class = class(trimmed(&proposed.abstract_syntax))
            .filter(|class| *class != Class::Commitment || (reports && will_report(request)));
        let is_offered =
            |uid: &&str| class != Some(Class::Commitment) || commitment::SYNTAXES.contains(uid);
        let offered = proposed.transfer_syntaxes.iter().map(|uid| trimmed(uid));
        let known = |uid: &str| TransferSyntax::all().find(|known| known.uid() == uid);
        let syntax = offered.filter(is_offered).find_map(known);
        let reason = match (class, syntax) {
            (Some(class), Some(syntax)) => {
                contexts.push(Context { id: proposed.id, class, syntax });
                Outcome::Acceptance
            }
            (None, _) => Outcome::AbstractSyntaxNotSupported,
            (_, None) => Outcome::TransferSyntaxesNotSupported,
        };
        let transfer_syntax =
            syntax.unwrap_or(TransferSyntax::ImplicitLittleEndian).uid().to_owned();
        results.push(PresentationContextResult { id: proposed.id, reason, transfer_syntax });
    }
    let mut user_variables = vec![
        UserVariableItem::MaxLength(max_pdu),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.into()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.into()),
    ];
    if contexts.iter().any(|context: &Context| context.class == Class::Commitment) {
        let roles = RequestorRoles { scu: false, scp: true };
        let item = UserVariableItem::ScuScpRoleSelectionSubItem(commitment::CLASS.into(), roles);
        user_variables.push(item);
    }
    let answer = AssociationAC {
        protocol_version: PROTOCOL_VERSION,
        calling_ae_title: request.calling_ae_title.clone(),
        called_ae_title: request.called_ae_title.clone(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: results,
        user_variables,
    };
    let agreement = Agreement {
        peer: request.calling_ae_title.clone(),
        contexts,
        peer_max_pdu: peer_max_pdu(&request.user_variables),
    };
    Ok((answer, agreement))
}

/// The UID among [`STORAGE_CLASSES`], if it is one.
pub(crate) fn storage_class(uid: &str) -> Option<&'static str> {
    STORAGE_CLASSES.iter().find(|(known, _)| *known == uid).map(|(known, _)| *known)
}

fn class(uid: &str) -> Option<Class> {
    match uid {
        uids::VERIFICATION => Some(Class::Verification),
        commitment::CLASS => Some(Class::Commitment),
        uid => storage_class(uid).map(Class::Storage),
    }
}

/// Whether the peer wants to be the SCP of storage commitment: reports come from there.
fn will_report(request: &AssociationRQ) -> bool {
    request.user_variables.iter().any(|item| match item {
        UserVariableItem::ScuScpRoleSelectionSubItem(class, roles) => {
            trimmed(class) == commitment::CLASS && roles.scp
        }
        _ => false,
    })
}

/// 0 means no limit.
pub(super) fn peer_max_pdu(variables: &[UserVariableItem]) -> u32 {
    let offered = variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    match offered {
        None | Some(0) => 16 * 1024,
        Some(length) => length,
    }
}

pub(super) fn trimmed(uid: &str) -> &str {
    uid.trim_end_matches(['\0', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_ul::pdu::PresentationContextProposed;

    fn request(contexts: &[(u8, &str, &[&str])]) -> AssociationRQ {
        AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "XRAY1".into(),
            called_ae_title: "CXR-EDGE".into(),
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: contexts
                .iter()
                .map(|(id, class, syntaxes)| PresentationContextProposed {
                    id: *id,
                    abstract_syntax: (*class).into(),
                    transfer_syntaxes: syntaxes.iter().map(|&s| s.into()).collect(),
                })
                .collect(),
            user_variables: vec![UserVariableItem::MaxLength(0)],
        }
    }

    #[test]
    fn each_context_gets_its_own_answer() {
        let ct = uids::CT_IMAGE_STORAGE;
        let cr = uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE;
        let implicit = uids::IMPLICIT_VR_LITTLE_ENDIAN;
        let (answer, agreement) = accept(
            &request(&[
                (1, uids::VERIFICATION, &[implicit]),
                (3, ct, &[implicit]),
                (5, cr, &["1.2.3.4"]),
                (7, &format!("{cr}\0"), &["1.2.3.4", uids::JPEG_LOSSLESS_SV1, implicit]),
            ]),
            65536,
            false,
        )
        .unwrap();
        let reasons: Vec<_> =
            answer.presentation_contexts.iter().map(|c| c.reason.clone()).collect();
        assert_eq!(
            reasons,
            [
                Outcome::Acceptance,
                Outcome::AbstractSyntaxNotSupported,
                Outcome::TransferSyntaxesNotSupported,
                Outcome::Acceptance
            ]
        );
        assert_eq!(
            agreement.contexts,
            [
                Context {
                    id: 1,
                    class: Class::Verification,
                    syntax: TransferSyntax::ImplicitLittleEndian
                },
                Context {
                    id: 7,
                    class: Class::Storage(cr),
                    syntax: TransferSyntax::JpegLosslessFirstOrder
                }
            ]
        );
    }

    #[test]
    fn reports_are_taken_from_whom_we_asked_and_only_in_the_role_that_reports() {
        let [explicit, implicit] = commitment::SYNTAXES;
        let jpeg = uids::JPEG_LOSSLESS_SV1;
        let mut request = request(&[
            (1, commitment::CLASS, &[jpeg, implicit, explicit]),
            (3, commitment::CLASS, &[jpeg]),
        ]);
        let accepted = |request: &AssociationRQ, reports| {
            let (answer, agreement) = accept(request, 65536, reports).unwrap();
            let roles = answer.user_variables.into_iter().find_map(|item| match item {
                UserVariableItem::ScuScpRoleSelectionSubItem(_, roles) => Some(roles),
                _ => None,
            });
            (agreement.contexts.iter().map(|context| context.id).collect::<Vec<_>>(), roles)
        };
        assert_eq!(
            accepted(&request, true),
            (vec![], None),
            "the default role asks, it does not report"
        );
        let roles = RequestorRoles { scu: false, scp: true };
        let item = UserVariableItem::ScuScpRoleSelectionSubItem(commitment::CLASS.into(), roles);
        request.user_variables.push(item);
        assert_eq!(accepted(&request, true), (vec![1], Some(roles)));
        assert_eq!(accepted(&request, false), (vec![], None), "whom we did not ask");
    }

    #[test]
    fn even_and_repeated_context_ids_are_refused() {
        let verification = (1, uids::VERIFICATION, &[uids::IMPLICIT_VR_LITTLE_ENDIAN][..]);
        for ids in [[1, 2], [1, 1], [0, 1]] {
            let contexts = ids.map(|id| (id, verification.1, verification.2));
            assert_eq!(accept(&request(&contexts), 65536, false).unwrap_err(), Refusal::Contexts);
        }
    }

    #[test]
    fn another_application_context_or_version_is_refused() {
        let mut other = request(&[]);
        other.application_context_name = "1.2".into();
        assert_eq!(accept(&other, 65536, false).unwrap_err(), Refusal::ApplicationContext);
        let mut newer = request(&[]);
        newer.protocol_version = 2;
        assert_eq!(accept(&newer, 65536, false).unwrap_err(), Refusal::Version);
    }
}
