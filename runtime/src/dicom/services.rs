//! What we ask other nodes for: the one table that couriers propose, `runtime dicom ping` asks for, and the conformance
//! statement prints.

use super::{VERIFICATION, commitment, query, scu::Proposal};

/// A service that we use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// In one word, for programs.
    pub(crate) word: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    pub(crate) proposal: Proposal,
}

const EXPLICIT: &[&str] = &["1.2.840.10008.1.2.1"];

/// Objects of results, in which transfer syntax we make them.
const OBJECTS: [Service; 3] = [
    Service {
        word: "sr",
        name: "Comprehensive 3D SR",
        proposal: Proposal { class: "1.2.840.10008.5.1.4.1.1.88.34", syntaxes: EXPLICIT },
    },
    Service {
        word: "seg",
        name: "Segmentation",
        proposal: Proposal { class: "1.2.840.10008.5.1.4.1.1.66.4", syntaxes: EXPLICIT },
    },
    Service {
        word: "sc",
        name: "Secondary Capture",
        proposal: Proposal { class: "1.2.840.10008.5.1.4.1.1.7", syntaxes: EXPLICIT },
    },
];

const COMMITMENT: Service = Service {
    word: "commit",
    name: "Storage Commitment Push Model",
    proposal: Proposal { class: commitment::CLASS, syntaxes: &commitment::SYNTAXES },
};

pub(crate) const ECHO: Service = Service {
    word: "echo",
    name: "Verification (`runtime dicom ping`)",
    proposal: Proposal { class: VERIFICATION, syntaxes: &["1.2.840.10008.1.2"] },
};

/// What an archive is asked for that studies are pulled from.
pub(crate) const OF_ARCHIVE: [Service; 2] = [
    Service {
        word: "find",
        name: "Study Root Query/Retrieve, FIND (`runtime acceptance`)",
        proposal: Proposal { class: query::FIND, syntaxes: &query::SYNTAXES },
    },
    Service {
        word: "move",
        name: "Study Root Query/Retrieve, MOVE (`runtime acceptance`)",
        proposal: Proposal { class: query::MOVE, syntaxes: &query::SYNTAXES },
    },
];

/// What a destination is asked for.
pub(crate) fn of_destination(commits: bool) -> Vec<Service> {
    OBJECTS.into_iter().chain(commits.then_some(COMMITMENT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use results::Kind;

    #[test]
    fn there_is_a_service_for_every_kind_of_result() {
        let expected = Kind::USUAL.map(|kind| (kind.to_string(), kind.sop_class_uid()));
        let found = OBJECTS.map(|service| (service.word.to_owned(), service.proposal.class));
        assert_eq!(found, expected);
        assert_eq!(Kind::Heat.sop_class_uid(), Kind::Seg.sop_class_uid(), "one service for both");
        assert_eq!(of_destination(false).len(), 3);
        assert_eq!(of_destination(true).last().map(|service| service.word), Some("commit"));
    }
}
