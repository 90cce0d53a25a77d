//! What a command line says of itself: man pages and shell completions, the same two verbs in all four binaries.
//!
//! ```
//! use clap::CommandFactory;
//! #[derive(clap::Parser)] #[command(name = "tool")] struct Cli { #[command(subcommand)] verb: Verb }
//! #[derive(clap::Subcommand)] enum Verb { /// Looks
//!     Look }
//!
//! let folder = tempfile::tempdir()?;
//! let pages = manual::write_pages(Cli::command(), folder.path())?;
//! let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap()).collect();
//! assert_eq!(names, ["tool-look.1", "tool.1"]);
//! assert!(manual::script(Cli::command(), manual::Shell::Bash).contains("look"));
//! # Ok::<(), std::io::Error>(())
//! ```

pub use clap_complete::Shell;

use clap::{Args, Command};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Prints a script that completes this program's words in a shell
#[derive(Debug, Args)]
pub struct Completion {
    pub shell: Shell,
}

/// Writes the man pages, one for each verb
#[derive(Debug, Args)]
pub struct Manual {
    /// For the pages; made if it is not there
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// What a shell reads to complete the words of `command`.
pub fn script(mut command: Command, shell: Shell) -> String {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8(script).expect("clap names everything in UTF-8")
}

/// A page for `command` and for each of its verbs that is not hidden; returns them in order of their names.
pub fn write_pages(command: Command, folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    write(&command, folder, &mut pages)?;
    pages.sort();
    Ok(pages)
}

fn write(command: &Command, folder: &Path, pages: &mut Vec<PathBuf>) -> io::Result<()> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write(verb, folder, pages)?;
    }
    // The same version on each page, whatever a verb calls itself.
    let man = clap_mangen::Man::new(command.clone()).manual("Chest X-ray AI at the edge");
    pages.push(man.source(concat!("cxr-edge ", env!("CARGO_PKG_VERSION"))).generate_to(folder)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool() -> Command {
        let ping = Command::new("ping").about("Asks a peer");
        let hidden = Command::new("dump").hide(true);
        Command::new("tool")
            .about("Does things")
            .subcommand(Command::new("dicom").about("Talks").subcommand(ping))
            .subcommand(hidden)
    }

    #[test]
    fn every_verb_has_a_page_and_hidden_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let pages = write_pages(tool(), &folder.path().join("man1")).unwrap();
        let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap()).collect();
        assert_eq!(names, ["tool-dicom-ping.1", "tool-dicom.1", "tool.1"]);
        let page = fs::read_to_string(&pages[0]).unwrap();
        assert!(page.contains(".SH NAME\ntool\\-dicom\\-ping \\- Asks a peer"), "{page}");
    }

    #[test]
    fn the_same_command_gives_the_same_pages() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| {
            let pages = write_pages(tool(), &folder.path().join(name)).unwrap();
            pages.iter().map(|page| fs::read(page).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(read("a"), read("b"));
    }

    #[test]
    fn every_shell_gets_a_script() {
        use clap::ValueEnum;
        for shell in Shell::value_variants() {
            assert!(script(tool(), *shell).contains("ping"), "{shell}");
        }
    }
}
