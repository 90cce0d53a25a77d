//! `runtime user`: who may log in to the page.

use crate::{
    Output, print_json,
    users::{Role, Users},
};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::json;
use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
};

/// Says who may log in to the page
#[derive(Debug, Args)]
pub(crate) struct User {
    /// The file that `[http] users` names; a running daemon reads it again at SIGHUP
    #[arg(long, global = true, value_name = "PATH", default_value = "users.toml")]
    file: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Adds a person, or changes role and password of one; the password is typed or comes on standard input
    Add {
        name: String,
        /// What this person may do
        #[arg(long)]
        role: Role,
    },
    /// Adds a program and prints the token it must show; it cannot be shown again
    Token {
        name: String,
        /// What this program may do
        #[arg(long)]
        role: Role,
    },
    /// Removes a person or a program
    Remove { name: String },
    /// Lists everybody
    List,
}

impl User {
    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut users =
            if self.file.exists() { Users::read(&self.file)? } else { Users::default() };
        let mut out = io::stdout();
        match self.verb {
            Verb::Add { name, role } => {
                users.set(&name, role, &password()?)?;
                users.write(&self.file)?;
                log::info!("{name} may {role}, says {}", self.file.display());
            }
            Verb::Token { name, role } => {
                let token = users.add_token(&name, role)?;
                users.write(&self.file)?;
                if output.json {
                    return print_json(&json!({ "name": name, "role": role, "token": token }));
                }
                writeln!(out, "{token}")?;
            }
            Verb::Remove { name } => {
                users.remove(&name).with_context(|| self.file.display().to_string())?;
                users.write(&self.file)?;
            }
            Verb::List => {
                for (name, role, kind) in users.list() {
                    if output.json {
                        print_json(&json!({ "name": name, "role": role, "kind": kind }))?;
                    } else {
                        writeln!(out, "{kind:5} {role:10} {name}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Typed twice without being shown, or one line of standard input. Never an argument: those are seen by everybody.
pub(crate) fn password() -> Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line();
    }
    let first = hidden("Password: ")?;
    if first != hidden("Again: ")? {
        bail!("the two passwords differ");
    }
    Ok(first)
}

fn line() -> Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn hidden(prompt: &str) -> Result<String> {
    let (stdin, mut stderr) = (io::stdin(), io::stderr());
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let shown = tcgetattr(&stdin).context("cannot ask the terminal")?;
    let mut silent = shown.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).context("cannot hide the password")?;
    let typed = line();
    tcsetattr(&stdin, OptionalActions::Flush, &shown).context("cannot reset the terminal")?;
    writeln!(stderr)?;
    typed
}
