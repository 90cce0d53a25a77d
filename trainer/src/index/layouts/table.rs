//! CSV tables of data sets, plain or gzipped: columns by their exact names, rows with their lines for messages.

use crate::index::IndexError;
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A table with a header.
#[derive(Debug)]
pub(in crate::index) struct Table {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<(usize, Vec<String>)>,
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
        let text =
            text(path).map_err(|source| IndexError::Read { path: path.to_owned(), source })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let mut rows = parse(text);
        if rows.is_empty() {
            return Err(IndexError::Empty { path: path.to_owned() });
        }
        let (_, header) = rows.remove(0);
        let table = Self { path: path.to_owned(), header, rows };
        // Trailing commas make empty fields without a name, which some published tables have.
        let width = table.header.len();
        match table.rows.iter().find(|(_, row)| row.len() != width) {
            None => Ok(table),
            Some((line, row)) => Err(IndexError::Value {
                path: path.to_owned(),
                line: *line,
                column: "the row".into(),
                found: format!("{} fields", row.len()),
                expected: format!("{width} as in the header"),
            }),
        }
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
        names.iter().find_map(|name| self.header.iter().position(|own| own == name)).map(Column)
    }

    /// Columns after the first that are none of `known`.
    pub(in crate::index) fn others(&self, known: &[&str]) -> Vec<(String, Column)> {
        let all = self.header.iter().enumerate();
        let other = all.filter(|(_, name)| !known.contains(&name.as_str()) && !name.is_empty());
        other.map(|(at, name)| (name.clone(), Column(at))).collect()
    }

    pub(in crate::index) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, fields)| Row { table: self, line: *line, fields })
    }
}

impl<'a> Row<'a> {
    pub(in crate::index) fn text(&self, column: Column) -> &'a str {
        self.fields[column.0].trim()
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

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?;
    if path.extension().is_some_and(|ending| ending == "gz") {
        MultiGzDecoder::new(file).read_to_string(&mut text)?;
    } else {
        file.read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Rows with their line numbers; quoted fields may hold commas, doubled quotes and line ends. Empty lines are left out.
fn parse(text: &str) -> Vec<(usize, Vec<String>)> {
    let (mut rows, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut began, mut quoted) = (1, 1, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                line += 1;
                finish(&mut rows, &mut fields, &mut field, began);
                began = line;
            }
            other => {
                line += usize::from(other == '\n');
                field.push(other);
            }
        }
    }
    finish(&mut rows, &mut fields, &mut field, began);
    rows
}

fn finish(
    rows: &mut Vec<(usize, Vec<String>)>,
    fields: &mut Vec<String>,
    field: &mut String,
    line: usize,
) {
    if fields.is_empty() && field.is_empty() {
        return;
    }
    fields.push(std::mem::take(field));
    rows.push((line, std::mem::take(fields)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table, IndexError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, text).unwrap();
        Table::read(&path)
    }

    #[test]
    fn counts_are_whole_numbers_however_they_are_written() {
        let table = table("a\n2.0\n3\n2.5\n-1\n").unwrap();
        let [a] = table.columns(["a"]).unwrap();
        let found: Vec<_> = table.rows().map(|row| row.whole(a).ok()).collect();
        assert_eq!(found, [Some(2), Some(3), None, None]);
    }

    #[test]
    fn quotes_hold_commas_and_lines_are_counted() {
        let table = table("\u{feff}a, b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n2,w\n").unwrap();
        let (a, b) = (table.column(&["a"]).unwrap(), table.column(&["b", " b"]).unwrap());
        let rows: Vec<_> = table.rows().collect();
        assert_eq!((rows[0].text(a), rows[0].text(b)), ("1", "x, \"y\"\nz"));
        assert_eq!((rows[1].line, rows[1].text(b)), (5, "w"));
        assert!(
            rows[1]
                .number(b)
                .unwrap_err()
                .to_string()
                .ends_with(":5: ` b` is `w`, expected a number")
        );
    }

    #[test]
    fn a_missing_column_and_a_short_row_are_named() {
        let error = table("a,b\n1,2\n").unwrap().column(&["c"]).unwrap_err().to_string();
        assert!(error.ends_with("t.csv: column `c` is missing, the header has a,b"), "{error}");
        let error = table("a,b\n1,2\n1\n").unwrap_err().to_string();
        assert!(
            error.ends_with("t.csv:3: the row is `1 fields`, expected 2 as in the header"),
            "{error}"
        );
    }
}
