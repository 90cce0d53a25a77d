//! Questions to whoever sits at the terminal. What is asked goes to standard error, so that `--json` stays JSON.

use anyhow::{Result, bail};
use std::io::{self, BufRead, IsTerminal, Write};

/// Somebody who can be asked.
#[derive(Debug)]
pub(super) struct Terminal(());

impl Terminal {
    /// `None`: nobody is there.
    pub(super) fn open() -> Option<Self> {
        io::stdin().is_terminal().then_some(Self(()))
    }

    pub(super) fn say(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(io::stderr(), "{text}")?)
    }

    /// Asks until `read` understands the answer. An empty one is the default.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T>,
    ) -> Result<T> {
        loop {
            let typed = self.line(&format!("{question} [{default}]: "))?;
            match read(if typed.is_empty() { default } else { &typed }) {
                Ok(answer) => return Ok(answer),
                Err(error) => self.say(&format!("  {error:#}"))?,
            }
        }
    }

    /// Asks for one more until nothing is typed.
    pub(super) fn list<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut list = Vec::new();
        loop {
            let typed = self.line(&format!("{question} (empty: no more): "))?;
            if typed.is_empty() {
                return Ok(list);
            }
            match read(&typed) {
                Ok(one) => list.push(one),
                Err(error) => self.say(&format!("  {error:#}"))?,
            }
        }
    }

    pub(super) fn yes(&mut self, question: &str) -> Result<bool> {
        loop {
            match &*self.line(&format!("{question} [y/n]: "))?.to_lowercase() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => {}
            }
        }
    }

    fn line(&mut self, question: &str) -> Result<String> {
        let mut out = io::stderr();
        write!(out, "{question}")?;
        out.flush()?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            bail!("the input ended before the last question");
        }
        Ok(line.trim().to_owned())
    }
}
