//! A comma-separated table, plain or gzipped.

use crate::index::IndexError;
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Its cells by line and column.
pub(super) struct Table {
    path: PathBuf,
    header: Vec<String>,
    /// With the line each begins in.
    rows: Vec<(usize, Vec<String>)>,
}

impl Table {
    /// `{name}.csv` or else `{name}.csv.gz`; `None` where neither is.
    pub(super) fn open(root: &Path, name: &str) -> Result<Option<Self>, IndexError> {
        for ending in ["csv", "csv.gz"] {
            let path = root.join(format!("{name}.{ending}"));
            if path.is_file() {
                let text = read(&path)
                    .map_err(|source| IndexError::Read { path: path.clone(), source })?;
                return Self::parse(path, &text).map(Some);
            }
        }
        Ok(None)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self, IndexError> {
        let mut rows = cells(text.trim_start_matches('\u{feff}')).into_iter();
        let Some((_, header)) = rows.next() else { return Err(IndexError::Empty { path }) };
        let rows: Vec<_> = rows.collect();
        if let Some((line, row)) = rows.iter().find(|(_, row)| row.len() != header.len()) {
            return Err(IndexError::Value {
                path,
                line: *line,
                column: "the line".into(),
                found: format!("{} cells", row.len()),
                expected: format!("{} as the header has", header.len()),
            });
        }
        Ok(Self { path, header, rows })
    }

    /// Where these columns are, wherever the header puts them.
    pub(super) fn columns<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[usize; N], IndexError> {
        let mut places = [0; N];
        for (place, name) in places.iter_mut().zip(names) {
            *place = self.header.iter().position(|column| column == name).ok_or_else(|| {
                IndexError::Column {
                    path: self.path.clone(),
                    column: name.into(),
                    found: self.header.join(", "),
                }
            })?;
        }
        Ok(places)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &[String])> {
        self.rows.iter().map(|(line, row)| (*line, row.as_slice()))
    }

    /// A whole number.
    pub(super) fn number(&self, line: usize, column: usize) -> Result<u32, IndexError> {
        let number: Option<f64> = self.cell(line, column).trim().parse().ok();
        match number {
            Some(n) if n >= 0.0 && n.fract() == 0.0 && n <= f64::from(u32::MAX) => Ok(n as u32),
            _ => Err(self.value(line, column, "a whole number")),
        }
    }

    /// The complaint that a cell is not what was expected.
    pub(super) fn value(&self, line: usize, column: usize, expected: &str) -> IndexError {
        IndexError::Value {
            path: self.path.clone(),
            line,
            column: self.header[column].clone(),
            found: self.cell(line, column).into(),
            expected: expected.into(),
        }
    }

    fn cell(&self, line: usize, column: usize) -> &str {
        let at = self.rows.binary_search_by_key(&line, |(line, _)| *line);
        at.map_or("", |at| &self.rows[at].1[column])
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?;
    if path.extension().is_some_and(|ending| ending == "gz") {
        MultiGzDecoder::new(file).read_to_string(&mut text)?;
    } else {
        file.read_to_string(&mut text)?;
    }
    Ok(text)
}

/// RFC 4180: cells may stand in quotes and then hold commas, line ends and doubled quotes. Blank lines are no rows.
fn cells(text: &str) -> Vec<(usize, Vec<String>)> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut line, mut begun) = (false, 1, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                if row.len() > 1 || !row[0].is_empty() {
                    rows.push((begun, std::mem::take(&mut row)));
                }
                row.clear();
                line += 1;
                begun = line;
            }
            other => {
                line += usize::from(other == '\n');
                cell.push(other);
            }
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push((begun, row));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_cells_keep_commas_quotes_and_line_ends() {
        let text = "\u{feff}a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n2,";
        let table = Table::parse("t.csv".into(), text).unwrap();
        let rows: Vec<_> = table.rows().map(|(line, row)| (line, row.to_vec())).collect();
        assert_eq!(rows[0], (2, vec!["1".into(), "x, \"y\"\nz".into()]));
        assert_eq!(rows[1], (5, vec!["2".into(), String::new()]));
        let error = Table::parse("t.csv".into(), "a,b\n1\n").err().unwrap().to_string();
        assert_eq!(error, "t.csv:2: the line is `1 cells`, expected 2 as the header has");
    }

    #[test]
    fn a_missing_column_and_a_wrong_number_are_named() {
        let table = Table::parse("t.csv".into(), "a,b\n1,2.0\n3,x\n").unwrap();
        let [b] = table.columns(["b"]).unwrap();
        assert_eq!(table.number(2, b).unwrap(), 2);
        let error = table.number(3, b).unwrap_err().to_string();
        assert_eq!(error, "t.csv:3: b is `x`, expected a whole number");
        let error = table.columns(["c"]).unwrap_err().to_string();
        assert_eq!(error, "t.csv: column `c` is missing, the header has a, b");
    }
}
