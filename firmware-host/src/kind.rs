//! Kinds of failure, and the exit status of each: a contract with whoever scripts the verbs. Append only.

use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Failure,
    Usage,
    Link,
    Timeout,
    Busy,
    Refused,
    Unproven,
    Verification,
    Protocol,
    Halted,
    Incomplete,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Failure,
        Self::Usage,
        Self::Link,
        Self::Timeout,
        Self::Busy,
        Self::Refused,
        Self::Unproven,
        Self::Verification,
        Self::Protocol,
        Self::Halted,
        Self::Incomplete,
    ];

    /// Exit status, the `code` of `--json`, what it means.
    const fn about(self) -> (u8, &'static str, &'static str) {
        match self {
            Self::Failure => (1, "failure", "something here: a file, a key, the configuration"),
            Self::Usage => (2, "usage", "the command line"),
            Self::Link => (3, "link", "the box cannot be reached, or the link broke"),
            Self::Timeout => (4, "timeout", "no sign of life, or not done in time"),
            Self::Busy => (5, "busy", "the box does something else: try again"),
            Self::Refused => (6, "refused", "not in this state: nothing was changed"),
            Self::Unproven => (7, "unproven", "the daemon's proof is not complete: wait, or look"),
            Self::Verification => (8, "verification", "the bundle is not right: its slot is bad"),
            Self::Protocol => (9, "protocol", "the box speaks another protocol, or an older one"),
            Self::Halted => (10, "halted", "too many boxes of a wave failed: no more were begun"),
            Self::Incomplete => (11, "incomplete", "some boxes did not take the bundle"),
        }
    }

    pub const fn status(self) -> u8 {
        self.about().0
    }

    pub const fn code(self) -> &'static str {
        self.about().1
    }
}

/// For `--help`.
pub fn table() -> String {
    let mut text = "Exit status, and \"code\" with --json:\n  0  done\n".to_owned();
    for kind in Kind::ALL {
        let (status, code, meaning) = kind.about();
        let _ = writeln!(text, "  {status}  {code:<13} {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status_of_its_own_and_stands_in_the_documentation() {
        let page = include_str!("../docs/trial.md");
        for (n, kind) in (1..).zip(Kind::ALL) {
            let (status, code, meaning) = kind.about();
            assert_eq!(status, n, "{code}");
            assert!(page.contains(&format!("| {status} | `{code}` | {meaning} |")), "{code}");
        }
    }
}
