//! Fields of a table, as RFC 4180 has them and pandas reads them: a quote opens a field only at its beginning, and inside is
//! doubled. What another reader could understand otherwise is refused with its line.

use std::collections::BTreeSet;

/// One row: the line it begins in, and its fields.
pub(super) type Fields = (usize, Vec<String>);

/// Why a table cannot be read for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    pub(super) line: usize,
    pub(super) reason: String,
}

const SEPARATORS: [char; 4] = [',', ';', '\t', '|'];

/// Header and rows, all of the header's width, by the separator the table is written with.
pub(super) fn parse(text: &str) -> Result<(Vec<String>, Vec<Fields>), Unclear> {
    let (said, text, skipped) = said(text);
    if let Some(separator) = said {
        return rows(text, separator, skipped).and_then(|rows| of_one_width(rows, text, separator));
    }
    // Those that cut the header into columns; a table of one column has none.
    let header = |separator| {
        rows(text, separator, 0).map(|rows| rows.first().map_or(0, |(_, row)| row.len()))
    };
    let cutting: Vec<char> = SEPARATORS
        .into_iter()
        .filter(|&separator| header(separator).is_ok_and(|n| n > 1))
        .collect();
    let tried = if cutting.is_empty() { vec![','] } else { cutting };
    let read = |&separator: &char| {
        let rows = rows(text, separator, 0)?;
        of_one_width(rows, text, separator).map(|table| (separator, table))
    };
    let mut fitting: Vec<_> = tried.iter().map(read).collect();
    let first = fitting.iter().position(Result::is_ok).unwrap_or(0);
    let others = fitting[first + 1..].iter().filter_map(|read| read.as_ref().ok());
    if let (Ok((own, table)), Some((other, _))) = (&fitting[first], others.into_iter().next())
        && !table.1.is_empty()
    {
        let reason = format!("its columns may be separated by `{own}` or by `{other}`");
        return Err(Unclear { line: 1, reason });
    }
    fitting.swap_remove(first).map(|(_, table)| table)
}

/// Excel's first line `sep=;`, the rest, and how many lines that was.
fn said(text: &str) -> (Option<char>, &str, usize) {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let separator = line.strip_prefix("sep=").filter(|rest| rest.chars().count() == 1);
    match separator.and_then(|rest| rest.chars().next()) {
        None => (None, text, 0),
        Some(own) => (Some(own), text[line.len()..].trim_start_matches(['\n', '\r']), 1),
    }
}

/// Rows as they stand; those without any text are left out.
fn rows(text: &str, separator: char, skipped: usize) -> Result<Vec<Fields>, Unclear> {
    let mut all = Vec::new();
    let mut rest = text.chars().peekable();
    let mut line = 1 + skipped;
    while rest.peek().is_some() {
        let began = line;
        let mut fields = Vec::new();
        loop {
            let (field, end) = field(&mut rest, separator, &mut line)?;
            fields.push(field);
            if end != End::Field {
                break;
            }
        }
        if fields.iter().any(|field| !field.trim().is_empty()) {
            all.push((began, fields));
        }
    }
    Ok(all)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Field,
    Row,
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn field(
    rest: &mut Characters<'_>,
    separator: char,
    line: &mut usize,
) -> Result<(String, End), Unclear> {
    let mut text = String::new();
    // White space may stand around the quotes.
    while let Some(space) = rest.next_if(|&c| (c == ' ' || c == '\t') && c != separator) {
        text.push(space);
    }
    let quoted = rest.next_if_eq(&'"').is_some();
    if quoted {
        text.clear();
        until_closed(rest, &mut text, line)?;
    }
    loop {
        let end = match rest.next() {
            None => End::Row,
            Some(c) if c == separator => End::Field,
            Some('\n') => End::Row,
            Some('\r') => {
                rest.next_if_eq(&'\n');
                End::Row
            }
            Some(' ' | '\t') if quoted => continue,
            Some(c) if quoted => {
                let reason = format!(
                    "`{c}` after a quoted field: a quote inside one is written twice, and a field that begins with a quote is quoted as a whole"
                );
                return Err(Unclear { line: *line, reason });
            }
            Some(c) => {
                text.push(c);
                continue;
            }
        };
        *line += usize::from(end == End::Row);
        return Ok((text, end));
    }
}

fn until_closed(
    rest: &mut Characters<'_>,
    text: &mut String,
    line: &mut usize,
) -> Result<(), Unclear> {
    let opened = *line;
    loop {
        match rest.next() {
            Some('"') if rest.next_if_eq(&'"').is_some() => text.push('"'),
            Some('"') => return Ok(()),
            Some('\r') => {
                rest.next_if_eq(&'\n');
                *line += 1;
                text.push('\n');
            }
            Some(c) => {
                *line += usize::from(c == '\n');
                text.push(c);
            }
            None => {
                let reason = "a quote opens a field here, and nothing closes it".to_owned();
                return Err(Unclear { line: opened, reason });
            }
        }
    }
}

/// Empty fields beyond the header, and those under columns without a name, may be missing or too many.
fn of_one_width(
    mut rows: Vec<Fields>,
    text: &str,
    separator: char,
) -> Result<(Vec<String>, Vec<Fields>), Unclear> {
    if rows.is_empty() {
        return Ok((Vec::new(), rows));
    }
    let (_, header) = rows.remove(0);
    let width = header.len();
    let named = header.iter().rposition(|name| !name.trim().is_empty()).map_or(0, |at| at + 1);
    for (line, row) in &mut rows {
        let found = row.len();
        let filled = row.iter().rposition(|field| !field.trim().is_empty()).map_or(0, |at| at + 1);
        row.truncate(width.max(filled));
        if row.len() >= named {
            row.resize(row.len().max(width), String::new());
        }
        if row.len() != width {
            let reason = format!("{found} fields, expected {width} as in the header");
            return Err(Unclear { line: *line, reason });
        }
    }
    nothing_swallowed(&rows, text, separator, width)?;
    Ok((header, rows))
}

/// A quote that opens a field by accident, and one that closes it rows later, make one field of several patients' rows. A line inside
/// a field that reads as a row of its own is such a case, or cannot be told from one.
fn nothing_swallowed(
    rows: &[Fields],
    text: &str,
    separator: char,
    width: usize,
) -> Result<(), Unclear> {
    if width < 2 {
        return Ok(());
    }
    let breaks =
        |row: &[String]| row.iter().map(|field| field.matches('\n').count()).sum::<usize>();
    if rows.iter().all(|(_, row)| breaks(row) == 0) {
        return Ok(());
    }
    let first = rows.iter().filter(|(_, row)| breaks(row) == 0).map(|(_, row)| row[0].trim());
    let keys = Keys::of(first);
    let lines: Vec<&str> = text.split_inclusive(['\n', '\r']).collect();
    let lines = joined(&lines);
    for (began, row) in rows.iter().filter(|(_, row)| breaks(row) > 0) {
        for inner in began + 1..=began + breaks(row) {
            let Some(line) = lines.get(inner - 1) else { continue };
            let (key, _) = line.split_once(separator).unwrap_or((line, ""));
            if line.matches(separator).count() + 1 == width && keys.may_be(key.trim()) {
                let reason = format!(
                    "a quote opened in line {began} makes this line part of a field, but it reads as a row of its own; write quotes inside a field twice"
                );
                return Err(Unclear { line: inner, reason });
            }
        }
    }
    Ok(())
}

/// `\r\n` is one end of a line.
fn joined<'a>(parts: &[&'a str]) -> Vec<&'a str> {
    let mut lines = Vec::new();
    for part in parts {
        if *part == "\n" && lines.last().is_some_and(|last: &&str| last.ends_with('\r')) {
            continue;
        }
        lines.push(*part);
    }
    lines.into_iter().map(|line| line.trim_end_matches(['\n', '\r'])).collect()
}

/// What the first fields of a table's rows have in common.
struct Keys {
    lengths: (usize, usize),
    characters: BTreeSet<char>,
    digits: bool,
    spaces: bool,
}

impl Keys {
    fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut own = Self {
            lengths: (usize::MAX, 0),
            characters: BTreeSet::new(),
            digits: true,
            spaces: false,
        };
        for key in keys {
            own.lengths = (own.lengths.0.min(key.len()), own.lengths.1.max(key.len()));
            own.characters.extend(key.chars().map(class));
            own.digits &= key.chars().any(|c| c.is_ascii_digit());
            own.spaces |= key.contains(' ');
        }
        own
    }

    /// Whether `key` could be one of them; with none known, whether it is a word with a digit.
    fn may_be(&self, key: &str) -> bool {
        let digits = key.chars().any(|c| c.is_ascii_digit());
        if self.lengths.1 == 0 {
            return digits && !key.contains(' ');
        }
        let (least, most) = (self.lengths.0.saturating_sub(2), self.lengths.1 + 2);
        (least.max(1)..=most).contains(&key.len())
            && key.chars().all(|c| self.characters.contains(&class(c)))
            && (digits || !self.digits)
            && (self.spaces || !key.contains(' '))
    }
}

/// Digits are alike, letters of one case are alike.
fn class(c: char) -> char {
    match c {
        '0'..='9' => '9',
        c if c.is_lowercase() => 'a',
        c if c.is_uppercase() => 'A',
        other => other,
    }
}

#[cfg(test)]
mod tests;
