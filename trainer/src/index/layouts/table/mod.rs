//! Tables of data sets as people have them: separated by commas, semicolons, tabs or bars, saved by any program, gzipped or not.
//! Columns go by their names, rows have their lines for messages. What could be read in two ways is refused.

mod parse;

use super::decode;
use crate::index::IndexError;
use parse::{Fields, Unclear, parse};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A table with a header.
#[derive(Debug)]
pub(in crate::index) struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Fields>,
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
pub(in crate::index) struct Row<'a> {
    table: &'a Table,
    line: usize,
    fields: &'a [String],
}

/// Where a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::index) struct Column(usize);

impl Table {
    /// `{name}.csv` or else `{name}.csv.gz`; `None` where neither is.
    pub(in crate::index) fn find(root: &Path, name: &str) -> Result<Option<Self>, IndexError> {
        let paths = ["csv", "csv.gz"].map(|ending| root.join(format!("{name}.{ending}")));
        paths.iter().find(|path| path.is_file()).map(|path| Self::read(path)).transpose()
    }

    pub(in crate::index) fn read(path: &Path) -> Result<Self, IndexError> {
        let text = decode::file(path)?;
        let (header, rows) = parse(&text).map_err(|Unclear { line, reason }| {
            IndexError::Unclear { path: path.to_owned(), line, reason }
        })?;
        if header.is_empty() {
            return Err(IndexError::Empty { path: path.to_owned() });
        }
        let table = Self { path: path.to_owned(), header, rows };
        table.no_column_twice()?;
        Ok(table)
    }

    /// Two columns of one name must say the same, however the name is written.
    fn no_column_twice(&self) -> Result<(), IndexError> {
        let keys: Vec<String> = self.header.iter().map(|name| key(name)).collect();
        for (second, name) in self.header.iter().enumerate().filter(|(at, _)| !keys[*at].is_empty())
        {
            let Some(first) = keys[..second].iter().position(|own| *own == keys[second]) else {
                continue;
            };
            let differs = |row: &Row<'_>| row.text(Column(first)) != row.text(Column(second));
            if let Some(row) = self.rows().find(differs) {
                let (one, two) = (row.text(Column(first)), row.text(Column(second)));
                let reason =
                    format!("column `{name}` is there twice, with `{one}` and with `{two}`");
                return Err(IndexError::Unclear {
                    path: self.path.clone(),
                    line: row.line,
                    reason,
                });
            }
        }
        Ok(())
    }

    pub(in crate::index) fn path(&self) -> &Path {
        &self.path
    }

    /// The first of `names` the header has: published versions of one table differ.
    pub(in crate::index) fn column(&self, names: &[&str]) -> Result<Column, IndexError> {
        self.optional(names).ok_or_else(|| IndexError::Column {
            path: self.path.clone(),
            column: names.join("` or `"),
            found: self.header.join(","),
        })
    }

    /// Columns of which no version has another name.
    pub(in crate::index) fn columns<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Column; N], IndexError> {
        let mut columns = [Column(0); N];
        for (column, name) in columns.iter_mut().zip(names) {
            *column = self.column(&[name])?;
        }
        Ok(columns)
    }

    pub(in crate::index) fn optional(&self, names: &[&str]) -> Option<Column> {
        let at = |fits: &dyn Fn(&str, &str) -> bool| {
            names.iter().find_map(|name| self.header.iter().position(|own| fits(own, name)))
        };
        let exact = at(&|own, name| own == name);
        let trimmed = || at(&|own, name| own.trim() == name.trim());
        exact.or_else(trimmed).or_else(|| at(&|own, name| key(own) == key(name))).map(Column)
    }

    /// Columns with a name that are none of `known`, each name once; pandas calls `Unnamed: 0` what has no name.
    pub(in crate::index) fn others(&self, known: &[&str]) -> Vec<(String, Column)> {
        let mut seen: BTreeSet<String> = known.iter().map(|name| key(name)).collect();
        let all = self.header.iter().enumerate();
        let all = all.map(|(at, name)| (name.trim().to_owned(), Column(at)));
        all.filter(|(name, _)| !name.is_empty() && !name.starts_with("Unnamed:"))
            .filter(|(name, _)| seen.insert(key(name)))
            .collect()
    }

    pub(in crate::index) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, fields)| Row { table: self, line: *line, fields })
    }
}

/// Fields that pandas takes as missing, beside the empty one.
const MISSING: [&str; 11] =
    ["NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "-nan", "NULL", "null", "None"];

/// `Patient_ID`, `patient id` and `PatientID` are one name; of a name without letters and digits, all of it.
fn key(name: &str) -> String {
    let own: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    if own.is_empty() { name.trim().to_owned() } else { own.to_lowercase() }
}

impl<'a> Row<'a> {
    /// Without white space around it, and without what keeps Excel from counting: `="007"` is 007.
    pub(in crate::index) fn text(&self, column: Column) -> &'a str {
        let text = self.fields[column.0].trim();
        text.strip_prefix("=\"").and_then(|text| text.strip_suffix('"')).unwrap_or(text)
    }

    /// [`Self::text`], unless it is nothing or what pandas reads and writes for nothing.
    pub(in crate::index) fn stated(&self, column: Column) -> Option<&'a str> {
        Some(self.text(column)).filter(|text| !text.is_empty() && !MISSING.contains(text))
    }

    pub(in crate::index) fn line(&self) -> usize {
        self.line
    }

    pub(in crate::index) fn number(&self, column: Column) -> Result<f32, IndexError> {
        let text = self.text(column);
        let number = text.parse().ok().filter(|number: &f32| number.is_finite());
        number.ok_or_else(|| self.wrong(column, "a number"))
    }

    /// A count, also where it is written as `2.0`.
    pub(in crate::index) fn whole(&self, column: Column) -> Result<u32, IndexError> {
        let number: Option<f64> = self.text(column).parse().ok();
        match number {
            Some(n) if n >= 0.0 && n.fract() == 0.0 && n <= f64::from(u32::MAX) => Ok(n as u32),
            _ => Err(self.wrong(column, "a whole number")),
        }
    }

    /// An error about a field of this row.
    pub(in crate::index) fn wrong(&self, column: Column, expected: &str) -> IndexError {
        IndexError::Value {
            path: self.table.path.clone(),
            line: self.line,
            column: format!("`{}`", self.table.header[column.0]),
            found: self.text(column).to_owned(),
            expected: expected.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
