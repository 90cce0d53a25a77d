//! The text of `sw-description`: groups, lists and strings of libconfig, and nothing that looks elsewhere.

use super::SwuError;

/// Groups and lists within each other.
const DEEPEST: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// A number or a boolean, as written.
    Bare(String),
    Group(Vec<(String, Self)>),
    /// `( … )` and `[ … ]`.
    List(Vec<Self>),
}

/// The settings of a whole file.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Value)>, SwuError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let settings = parser.settings()?;
    match parser.peek()? {
        None => Ok(settings),
        Some(found) => Err(parser.wrong(&format!("found {found:?}, expected a setting"))),
    }
}

/// A string as libconfig reads it back.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' | '\x7f' => quoted.push_str(&format!("\\x{:02x}", character as u32)),
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn settings(&mut self) -> Result<Vec<(String, Value)>, SwuError> {
        let mut settings: Vec<(String, Value)> = Vec::new();
        while self.peek()?.is_some_and(|c| c.is_ascii_alphabetic() || c == '*') {
            let name = self.word();
            if !self.takes('=')? && !self.takes(':')? {
                return Err(self.wrong(&format!("expected = after {name}")));
            }
            let value = self.value()?;
            if !self.takes(';')? {
                self.takes(',')?;
            }
            if settings.iter().any(|(before, _)| *before == name) {
                return Err(self.wrong(&format!("{name} is set twice")));
            }
            settings.push((name, value));
        }
        Ok(settings)
    }

    fn value(&mut self) -> Result<Value, SwuError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(&format!("more than {DEEPEST} levels")));
        }
        let value = match self.peek()? {
            Some('"') => Value::Text(self.strings()?),
            Some('{') => {
                self.at += 1;
                let settings = self.settings()?;
                self.expect('}')?;
                Value::Group(settings)
            }
            Some('(') => self.list(')')?,
            Some('[') => self.list(']')?,
            Some(c) if c.is_ascii_alphanumeric() || "+-.".contains(c) => Value::Bare(self.word()),
            Some(found) => return Err(self.wrong(&format!("found {found:?}, expected a value"))),
            None => return Err(self.wrong("the text ends where a value is expected")),
        };
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self, end: char) -> Result<Value, SwuError> {
        self.at += 1;
        let mut values = Vec::new();
        while self.peek()? != Some(end) {
            values.push(self.value()?);
            if !self.takes(',')? {
                break;
            }
        }
        self.expect(end)?;
        Ok(Value::List(values))
    }

    /// One or more strings, which count as one.
    fn strings(&mut self) -> Result<String, SwuError> {
        let mut text = String::new();
        while self.peek()? == Some('"') {
            self.at += 1;
            loop {
                match self.next() {
                    Some('"') => break,
                    Some('\\') => text.push(self.escaped()?),
                    Some(c) => text.push(c),
                    None => return Err(self.wrong("the text ends within a string")),
                }
            }
        }
        Ok(text)
    }

    fn escaped(&mut self) -> Result<char, SwuError> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('f') => '\x0c',
            Some(c @ ('"' | '\\')) => c,
            Some('x') => {
                let digits = self.text.get(self.at..self.at + 2);
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte = byte.filter(u8::is_ascii);
                self.at += 2;
                byte.ok_or_else(|| self.wrong("\\x without two digits of an ASCII character"))?
                    .into()
            }
            _ => return Err(self.wrong("a backslash before something else than \" \\ n r t f x")),
        })
    }

    fn word(&mut self) -> String {
        let rest = &self.text[self.at..];
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_*+.".contains(c);
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word.to_owned()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.text.get(self.at..)?.chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// The next character that counts: space and comments do not.
    fn peek(&mut self) -> Result<Option<char>, SwuError> {
        loop {
            let rest = &self.text[self.at.min(self.text.len())..];
            let trimmed = rest.trim_start();
            self.at = self.text.len() - trimmed.len();
            if trimmed.starts_with('#') || trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                let end = comment.find("*/");
                let end = end.ok_or_else(|| self.wrong("the text ends within a comment"))?;
                self.at += end + 4;
            } else {
                return Ok(trimmed.chars().next());
            }
        }
    }

    fn takes(&mut self, wanted: char) -> Result<bool, SwuError> {
        let is_there = self.peek()? == Some(wanted);
        self.at += if is_there { wanted.len_utf8() } else { 0 };
        Ok(is_there)
    }

    fn expect(&mut self, wanted: char) -> Result<(), SwuError> {
        if self.takes(wanted)? { Ok(()) } else { Err(self.wrong(&format!("expected {wanted:?}"))) }
    }

    fn wrong(&self, reason: &str) -> SwuError {
        let read = self.text.get(..self.at).unwrap_or(self.text);
        SwuError::Syntax { line: read.matches('\n').count() + 1, reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let text = |t: &str| Value::Text(t.into());
        let inner = Value::Group(vec![("a".into(), Value::Bare("-1.5".into()))]);
        let list = Value::List(vec![inner, Value::List(vec![text("xA\n"), text("y")])]);
        let expected = Value::Group(vec![
            ("version".into(), text("1.2")),
            ("on".into(), Value::Bare("true".into())),
            ("list".into(), list),
        ]);
        let source = "# a comment\nsoftware : {\n  version = \"1.\" \"2\"; // two strings\n  on = true,\n  list = ( { a = -1.5; }, [ \"x\\x41\\n\", \"y\" ] ); /* and\n so on */\n}\n";
        assert_eq!(parse(source).unwrap(), [("software".to_owned(), expected)]);
    }

    #[test]
    fn a_quoted_string_is_read_back() {
        for string in ["", "chest 1.0", "a \"b\" \\ c\n\u{7f}", "Lungenröntgen"] {
            let read = parse(&format!("a = {};", quoted(string))).unwrap();
            assert_eq!(read, [("a".to_owned(), Value::Text(string.into()))]);
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line, reason) in [
            ("a = 1;\nb 2;", 2, "expected = after b"),
            ("a = {\n", 2, "expected '}'"),
            ("a = \"x", 1, "the text ends within a string"),
            ("a = \"\\u1\";", 1, "a backslash"),
            ("\n\n@include \"/etc/passwd\"", 3, "found '@'"),
            ("a = 1; a = 2;", 1, "a is set twice"),
            ("/* for ever", 1, "within a comment"),
            ("a = ( b = 2 );", 1, "expected ')'"),
            (&format!("a = {}", "(".repeat(3000)), 1, "more than 16 levels"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}: ")), "{error}");
            assert!(error.contains(reason), "{error}, expected {reason}");
        }
    }
}
