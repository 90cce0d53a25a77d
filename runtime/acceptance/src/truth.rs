//! What is true of each image: a table of labels, matched with the images that are there.
//!
//! A line that fits no image, or that contradicts another, ends the test: a case that is dropped in silence would change
//! every figure.

use crate::AcceptanceError;
use std::collections::{BTreeMap, BTreeSet};

/// An image that could be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its path below the folder, with `/`.
    pub file: String,
    pub sop_instance_uid: String,
    pub study_instance_uid: String,
    /// Empty where a header has none.
    pub accession_number: String,
}

/// Truth of an image by finding; `None`: somebody looked and was not certain.
pub type Truths = BTreeMap<String, Option<bool>>;

/// How a line names its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    File,
    Sop,
    Study,
    Accession,
}

impl Column {
    const ALL: [(&'static str, Self); 4] = [
        ("file", Self::File),
        ("sop_instance_uid", Self::Sop),
        ("study_instance_uid", Self::Study),
        ("accession_number", Self::Accession),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }
}

/// A table with columns `finding`, `truth` and one that names the image: `file` (the path, or as much of its end as is
/// needed), `sop_instance_uid`, or `study_instance_uid` or `accession_number`, which mean all images of the study.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) column: Column,
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) name: String,
    pub(crate) finding: String,
    truth: Option<bool>,
}

impl Table {
    pub(crate) fn read(table: &[u8]) -> Result<Self, AcceptanceError> {
        let table = table.strip_prefix(b"\xef\xbb\xbf").unwrap_or(table); // as spreadsheets begin
        let delimiter = delimiter(table);
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(table);
        let head = reader.headers().map_err(AcceptanceError::NotATable)?.clone();
        let place = |name: &str| head.iter().position(|own| own.eq_ignore_ascii_case(name));
        let named: Vec<(Column, usize)> = Column::ALL
            .into_iter()
            .filter_map(|(name, column)| Some((column, place(name)?)))
            .collect();
        let (&[(column, at)], Some(finding_at), Some(truth_at)) =
            (&named[..], place("finding"), place("truth"))
        else {
            let found = head.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(AcceptanceError::Columns { found });
        };
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.map_err(AcceptanceError::NotATable)?;
            let line = row.position().map_or(0, csv::Position::line);
            let cell = |at: usize, what| match row.get(at).unwrap_or_default() {
                "" => Err(AcceptanceError::Empty { line, what }),
                text => Ok(text.to_owned()),
            };
            let (name, finding) = (cell(at, column.name())?, cell(finding_at, "finding")?);
            let truth = truth(&cell(truth_at, "truth")?, line)?;
            rows.push(Row { line, name, finding, truth });
        }
        Ok(Self { column, rows })
    }
}

/// Truths of `images`, in their order, from the bytes of a table.
pub fn read(table: &[u8], images: &[Known]) -> Result<Vec<Truths>, AcceptanceError> {
    truths(Table::read(table)?, images, |_| true)
}

/// The same of images that an archive was asked for: a study that did not come is no mistake of the table.
pub fn read_pulled(table: &[u8], images: &[Known]) -> Result<Vec<Truths>, AcceptanceError> {
    let table = Table::read(table)?;
    let known: BTreeSet<&str> = images.iter().map(|image| name(image, table.column)).collect();
    truths(table, images, |row| known.contains(&*row.name))
}

fn truths(
    table: Table,
    images: &[Known],
    counts: impl Fn(&Row) -> bool,
) -> Result<Vec<Truths>, AcceptanceError> {
    let lookup = Lookup::new(table.column, images);
    let mut truths = vec![Truths::new(); images.len()];
    let mut said: BTreeMap<(usize, String), u64> = BTreeMap::new();
    for Row { line, name, finding, truth } in table.rows.into_iter().filter(|row| counts(row)) {
        for image in lookup.find(&name, line)? {
            if let Some(before) = said.insert((image, finding.clone()), line) {
                return Err(AcceptanceError::SaidTwice { line, before, finding });
            }
            truths[image].insert(finding.clone(), truth);
        }
    }
    Ok(truths)
}

/// Every name in the labels; an error if the plan's is not among them.
pub fn check_names<'a>(
    truths: &[Truths],
    wanted: impl IntoIterator<Item = &'a str>,
) -> Result<(), AcceptanceError> {
    let names: BTreeSet<&str> =
        truths.iter().flat_map(|truths| truths.keys().map(String::as_str)).collect();
    for wanted in wanted {
        if !names.contains(wanted) {
            let found = names.iter().copied().collect::<Vec<_>>().join(", ");
            let found = if found.is_empty() { "nothing".into() } else { found };
            return Err(AcceptanceError::NotLabelled { wanted: wanted.into(), found });
        }
    }
    Ok(())
}

/// Images by what a line calls them.
struct Lookup<'a> {
    column: Column,
    images: &'a [Known],
    by: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Lookup<'a> {
    fn new(column: Column, images: &'a [Known]) -> Self {
        let mut by: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, image) in images.iter().enumerate() {
            let name = name(image, column);
            by.entry(name).or_default().push(at);
        }
        Self { column, images, by }
    }

    fn find(&self, name: &str, line: u64) -> Result<Vec<usize>, AcceptanceError> {
        let missing = || {
            let (column, count) = (self.column.name(), self.images.len());
            AcceptanceError::NoImage { line, column, count }
        };
        if self.column != Column::File {
            return self.by.get(name).cloned().ok_or_else(missing);
        }
        let name = name.replace('\\', "/");
        let name = name.strip_prefix("./").unwrap_or(&name);
        let same = |at: &&usize| {
            let file = &self.images[**at].file;
            file.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        let called = self.by.get(last(name)).ok_or_else(missing)?;
        let exact = called.iter().find(|at| self.images[**at].file == name);
        let found: Vec<usize> = match exact {
            Some(at) => vec![*at],
            None => called.iter().filter(same).copied().collect(),
        };
        match found.len() {
            0 => Err(missing()),
            1 => Ok(found),
            count => Err(AcceptanceError::Ambiguous { line, name: name.into(), count }),
        }
    }
}

/// What a line calls an image; of a path, its end.
fn name(image: &Known, column: Column) -> &str {
    match column {
        Column::File => last(&image.file),
        Column::Sop => &image.sop_instance_uid,
        Column::Study => &image.study_instance_uid,
        Column::Accession => &image.accession_number,
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn truth(text: &str, line: u64) -> Result<Option<bool>, AcceptanceError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "yes" | "true" | "positive" | "present" => Ok(Some(true)),
        "0" | "0.0" | "no" | "false" | "negative" | "absent" => Ok(Some(false)),
        "-1" | "-1.0" | "uncertain" => Ok(None),
        _ => Err(AcceptanceError::Truth { line, found: text.chars().take(40).collect() }),
    }
}

/// As the first line has it: some spreadsheets write semicolons.
fn delimiter(table: &[u8]) -> u8 {
    let head = table.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: u8| head.iter().filter(|byte| **byte == delimiter).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn images() -> Vec<Known> {
        [("a/1.dcm", "1.1", "9.1"), ("a/2.dcm", "1.2", "9.1"), ("b/1.dcm", "1.3", "9.2")]
            .map(|(file, sop, study)| Known {
                file: file.into(),
                sop_instance_uid: sop.into(),
                study_instance_uid: study.into(),
                accession_number: format!("A{study}"),
            })
            .to_vec()
    }

    fn truths(table: &str) -> Vec<Truths> {
        read(table.as_bytes(), &images()).unwrap()
    }

    fn said(table: &str) -> String {
        read(table.as_bytes(), &images()).unwrap_err().to_string()
    }

    #[test]
    fn images_are_found_by_file_by_instance_and_by_study() {
        let of = |truths: &[Truths]| -> Vec<Option<Option<bool>>> {
            truths.iter().map(|t| t.get("Mass").copied()).collect()
        };
        let (yes, no, uncertain) = (Some(Some(true)), Some(Some(false)), Some(None));
        let by_file =
            truths("file,finding,truth\na/1.dcm,Mass,1\n2.dcm,Mass,no\n.\\b\\1.dcm,Mass,-1\n");
        assert_eq!(of(&by_file), [yes, no, uncertain]);
        let by_instance = truths("\u{feff}Truth;Finding;SOP_Instance_UID\n1;Mass; 1.3\n");
        assert_eq!(of(&by_instance), [None, None, yes]);
        let by_study = truths("study_instance_uid\tfinding\ttruth\n9.1\tMass\t0\n");
        assert_eq!(of(&by_study), [no, no, None]);
        let by_number = truths("accession_number,finding,truth\nA9.2,Mass,1\n");
        assert_eq!(of(&by_number), [None, None, yes]);
    }

    #[test]
    fn a_study_that_did_not_come_has_no_truth_and_is_no_mistake() {
        let table = b"study_instance_uid,finding,truth\n9.1,Mass,0\n9.7,Mass,1\n";
        let error = read(table, &images()).unwrap_err().to_string();
        assert!(error.contains("line 3: no image has this study_instance_uid"), "{error}");
        let truths = read_pulled(table, &images()).unwrap();
        assert_eq!(truths.iter().filter(|truths| !truths.is_empty()).count(), 2);
    }

    #[test]
    fn a_line_that_fits_no_image_or_contradicts_another_is_refused_by_its_number() {
        let head = "file,finding,truth\n";
        for (rows, expected) in [
            ("a/1.dcm,Mass,1\n3.dcm,Mass,1\n", "line 3: no image has this file (3 images"),
            ("1.dcm,Mass,1\n", "line 2: 2 images are called \"1.dcm\""),
            (
                "a/1.dcm,Mass,1\na/1.dcm,Mass,0\n",
                "line 3: `Mass` was said of this image already in line 2",
            ),
            ("a/1.dcm,Mass,maybe\n", "line 2: truth is \"maybe\", expected 1, 0 or -1"),
            ("a/1.dcm,,1\n", "line 2: finding is empty"),
        ] {
            let found = said(&format!("{head}{rows}"));
            assert!(found.contains(expected), "{found}");
        }
        let both = said("file,sop_instance_uid,finding,truth\n");
        assert!(both.contains("`file`, `sop_instance_uid`") && both.contains("one of"), "{both}");
    }

    #[test]
    fn a_finding_that_nobody_labelled_is_named() {
        let truths = truths("file,finding,truth\na/1.dcm,Mass,1\n");
        check_names(&truths, ["Mass"]).unwrap();
        let error = check_names(&truths, ["Edema"]).unwrap_err().to_string();
        assert_eq!(error, "the labels speak of Mass; the plan needs `Edema`");
    }

    proptest! {
        #[test]
        fn noise_is_a_table_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, &images());
            let _ = read(&[b"file,finding,truth\n", &bytes[..]].concat(), &images());
        }
    }
}
