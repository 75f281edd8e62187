//! `windrow completions SHELL` and `windrow man`: made from the same definitions as the help.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::error::Error;

/// The command.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), Error> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "windrow", &mut text);
        write(&text)
    }
}

/// Writes the man page: this command's, and after it each subcommand's options.
pub(super) fn man() -> Result<(), Error> {
    write(&page().map_err(|error| Error::Usage(format!("cannot make the man page: {error}")))?)
}

fn page() -> io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let name = subcommand.get_name().to_uppercase();
        let man = clap_mangen::Man::new(subcommand.clone());
        writeln!(page, ".SH \"WINDROW {name}\"")?;
        if let Some(about) = subcommand.get_long_about().or_else(|| subcommand.get_about()) {
            writeln!(page, "{about}")?;
        }
        man.render_options_section(&mut page)?;
    }
    Ok(page)
}

/// A reader that has enough, such as `head`, is no error.
fn write(text: &[u8]) -> Result<(), Error> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Usage(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_completions_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "windrow", &mut text);
            let text = String::from_utf8(text).unwrap();
            for command in ["run", "why", "lateness", "status"] {
                assert!(text.contains(command), "{shell}: {command}");
            }
        }
    }

    #[test]
    fn the_man_page_names_every_command_with_its_options() {
        let text = String::from_utf8(page().unwrap()).unwrap();
        for word in [".TH windrow", "WINDROW RUN", "\\-\\-listen", "WINDROW LATENESS", "\\-\\-svg"] {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
    }
}
