//! The studies that a table of labels names, for an archive that is asked for them.

use crate::{
    AcceptanceError,
    truth::{Column, Table},
};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// A study of the table that has a label the plan needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub name: StudyName,
    /// The first line that names it.
    pub line: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StudyName {
    /// Study Instance UID.
    Uid(String),
    /// Accession Number.
    Accession(String),
}

impl StudyName {
    /// As the table has it.
    pub fn text(&self) -> &str {
        match self {
            Self::Uid(text) | Self::Accession(text) => text,
        }
    }
}

/// The studies that are to be pulled, in the order of the table, which is checked to its end: a mistake is better known
/// before hours of pulling than after. `wanted` are the labels that the plan needs.
pub fn read<'a>(
    table: &[u8],
    wanted: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Asked>, AcceptanceError> {
    let Table { column, rows } = Table::read(table)?;
    let name: fn(&str) -> Option<StudyName> = match column {
        Column::Study => uid,
        Column::Accession => accession,
        Column::File | Column::Sop => {
            return Err(AcceptanceError::NotAStudy { column: column.name() });
        }
    };
    let wanted: BTreeSet<&str> = wanted.into_iter().collect();
    let (mut asked, mut known, mut said, mut found) =
        (Vec::new(), BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for row in rows {
        let study = name(&row.name).ok_or_else(|| {
            let (column, found) = (column.name(), row.name.chars().take(70).collect());
            AcceptanceError::StudyName { line: row.line, column, found }
        })?;
        match said.entry((study.clone(), row.finding.clone())) {
            Entry::Vacant(entry) => drop(entry.insert(row.line)),
            Entry::Occupied(entry) => {
                let (line, before, finding) = (row.line, *entry.get(), row.finding);
                return Err(AcceptanceError::SaidTwice { line, before, finding });
            }
        }
        if wanted.contains(&*row.finding) && known.insert(study.clone()) {
            asked.push(Asked { name: study, line: row.line });
        }
        found.insert(row.finding);
    }
    match wanted.into_iter().find(|wanted| !found.contains(*wanted)) {
        None => Ok(asked),
        Some(wanted) => {
            let found = found.into_iter().collect::<Vec<_>>().join(", ");
            Err(AcceptanceError::NotLabelled { wanted: wanted.into(), found })
        }
    }
}

/// Digits and dots, no empty component, at most 64.
fn uid(text: &str) -> Option<StudyName> {
    let component = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let right = text.len() <= 64 && text.split('.').all(component);
    right.then(|| StudyName::Uid(text.into()))
}

/// At most 16 printable characters, and none that would ask for other studies too: `*`, `?` and `\`.
fn accession(text: &str) -> Option<StudyName> {
    let known = |b: u8| (b' '..=b'~').contains(&b) && !b"*?\\".contains(&b);
    let right = (1..=16).contains(&text.len()) && text.bytes().all(known);
    right.then(|| StudyName::Accession(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(table: &str) -> String {
        read(table.as_bytes(), ["Mass"]).unwrap_err().to_string()
    }

    #[test]
    fn studies_are_asked_for_once_and_only_with_a_label_that_the_plan_needs() {
        let table = "accession_number,finding,truth\nA 7,Edema,1\nA 7,Mass,1\nA8,Edema,0\nA9,Mass,-1\n\
                     A9,Edema,1\n";
        let asked = read(table.as_bytes(), ["Mass"]).unwrap();
        let number = |text: &str, line| Asked { name: StudyName::Accession(text.into()), line };
        assert_eq!(asked, [number("A 7", 3), number("A9", 5)]);
        let table = "Study_Instance_UID;Finding;Truth\n1.2.3;Mass;0\n";
        let asked = read(table.as_bytes(), ["Mass"]).unwrap();
        assert_eq!(asked, [Asked { name: StudyName::Uid("1.2.3".into()), line: 2 }]);
        assert_eq!(asked[0].name.text(), "1.2.3");
    }

    #[test]
    fn a_line_that_would_ask_for_other_studies_is_refused_by_its_number() {
        let by_number = "accession_number,finding,truth\nA1,Mass,1\n";
        let by_uid = "study_instance_uid,finding,truth\n1.2,Mass,1\n";
        for (head, row, expected) in [
            (by_number, "A*,Mass,1", "line 3: accession_number is \"A*\", expected"),
            (by_number, "A?,Mass,1", "line 3: accession_number is \"A?\", expected"),
            (by_number, "A\\B,Mass,1", "line 3: accession_number"),
            (by_number, "12345678901234567,Mass,1", "line 3: accession_number"),
            (by_uid, "1.2.*,Mass,1", "line 3: study_instance_uid is \"1.2.*\", expected"),
            (by_uid, "1..2,Mass,1", "line 3: study_instance_uid"),
            (by_uid, "1.2,Mass,0", "line 3: `Mass` was said of this image already in line 2"),
            ("sop_instance_uid,finding,truth\n", "1.2,Mass,1", "an archive is asked for studies"),
            ("file,finding,truth\n", "a.dcm,Mass,1", "an archive is asked for studies"),
            ("study_instance_uid,finding,truth\n", "1.2,Edema,1", "the plan needs `Mass`"),
        ] {
            let found = said(&format!("{head}{row}\n"));
            assert!(found.contains(expected), "{found}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_a_list_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, ["Mass"]);
            let _ = read(&[b"accession_number,finding,truth\n", &bytes[..]].concat(), ["Mass"]);
        }
    }
}
