//! Who gets what of an answer. Pure.

use super::{
    rows::{Addressed, Answered, Past},
    state::Policy,
};
use crate::config::{Destination, Target, When};
use results::Kind;

/// What routing needs to know about an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// SOP Instance UID of the image.
    pub(crate) source: String,
    /// Of its contents.
    pub(crate) digest: String,
    /// A finding is positive: urgent, and what `when = "positive"` asks for.
    pub(crate) positive: bool,
    /// Given up for now: another answer may come under the same key.
    pub(crate) parked: bool,
    /// What can be made of it: kind, SOP Class UID, SOP Instance UID.
    pub(crate) objects: Vec<(Kind, String, String)>,
    /// For the history; `None` where it is not known.
    pub(crate) past: Option<Past>,
}

pub(super) fn route(key: &str, answer: &Answer, destinations: &[Destination]) -> Answered {
    let mut deliveries = Vec::new();
    for destination in destinations {
        let wanted = match destination.when {
            When::Always => true,
            When::Positive => answer.positive,
            When::Fallback => false,
        };
        // In the order of the configuration, so that a report may come before its pictures.
        for kind in destination.objects.iter().filter(|_| wanted) {
            for (_, class, object) in answer.objects.iter().filter(|(made, ..)| made == kind) {
                deliveries.push(Addressed {
                    destination: destination.name.clone(),
                    kind: *kind,
                    class: class.clone(),
                    object: object.clone(),
                });
            }
        }
    }
    Answered {
        key: key.to_owned(),
        source: answer.source.clone(),
        digest: answer.digest.clone(),
        urgent: answer.positive,
        parked: answer.parked,
        deliveries,
        past: answer.past.clone(),
    }
}

impl Policy {
    pub(super) fn of(destination: &Destination) -> Self {
        Self {
            commits: destination.commits(),
            commit_within: destination.commit_within.as_millis() as i64,
        }
    }
}

impl Destination {
    /// Whether reports about storage commitment by this AE title are about what we sent here.
    pub(super) fn commits_as(&self, peer: &str) -> bool {
        matches!(&self.target, Target::Dicom { ae_title, commit: true, .. } if ae_title == peer.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(toml: &str) -> Vec<Destination> {
        crate::config::destinations_of(toml).unwrap()
    }

    fn answer(positive: bool) -> Answer {
        let object = |kind, uid: &str| (kind, "1.2".to_owned(), uid.to_owned());
        let objects = vec![object(Kind::Sr, "2.25.1"), object(Kind::Seg, "2.25.2")];
        Answer {
            source: "1.2.3".into(),
            digest: "ab".into(),
            positive,
            parked: false,
            objects,
            past: None,
        }
    }

    fn routed(toml: &str, positive: bool) -> Vec<String> {
        let routed = route("key", &answer(positive), &destinations(toml));
        assert_eq!(routed.urgent, positive);
        routed.deliveries.iter().map(|d| format!("{} {}", d.destination, d.object)).collect()
    }

    #[test]
    fn each_destination_gets_the_kinds_it_wants_when_it_wants_them() {
        let toml = "[[destinations]]\nname = \"pacs\"\nae_title = \"A\"\naddress = \"a:104\"\n\
                    objects = [\"seg\", \"sr\"]\n\
                    [[destinations]]\nname = \"page\"\nurl = \"http://x/studies\"\n\
                    objects = [\"sr\"]\nwhen = \"positive\"\n";
        assert_eq!(routed(toml, false), ["pacs 2.25.2", "pacs 2.25.1"]);
        assert_eq!(routed(toml, true), ["pacs 2.25.2", "pacs 2.25.1", "page 2.25.1"]);
    }

    #[test]
    fn who_stands_in_for_another_gets_nothing_of_its_own_unless_it_says_when() {
        let toml = "[[destinations]]\nname = \"pacs\"\nae_title = \"A\"\naddress = \"a:104\"\n\
                    objects = [\"sr\"]\nfallback = \"spare\"\n\
                    [[destinations]]\nname = \"spare\"\nae_title = \"B\"\naddress = \"b:104\"\n";
        assert_eq!(routed(toml, true), ["pacs 2.25.1"]);
        let both = format!("{toml}when = \"always\"\n");
        assert_eq!(routed(&both, true), ["pacs 2.25.1", "spare 2.25.1", "spare 2.25.2"]);
    }
}
