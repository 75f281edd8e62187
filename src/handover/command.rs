//! The command that is run for each file.
//!
//! It is started directly, with no shell between: the text is taken apart as a shell would, once, and the file's address
//! is put into the words after that. So nothing in an address can become syntax.

use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::watch;

use super::{HandoverError, Told};
use crate::clock::Clock;
use crate::log::publish::FeedFile;

/// What stands for the file's address.
const FILE: &str = "{file}";
/// How often a command that runs is looked at; the pauses grow to the longest one.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// How long the command at hand may go on when the run is to end.
const GRACE: Duration = Duration::from_secs(10);

/// A command and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<String>,
}

impl FromStr for Command {
    type Err = String;

    /// Takes a text apart into words as a shell does: by spaces, with quotes and backslashes. Nothing else has a meaning.
    ///
    /// ```
    /// use windrow::handover::command::Command;
    /// assert!("./load.sh {file}".parse::<Command>().is_ok());
    /// assert!("./load.sh '{file}".parse::<Command>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, String> {
        let words = shlex::split(text).ok_or("a quote is not closed")?;
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self { words }),
            _ => Err("write a command such as './load.sh {file}'".to_owned()),
        }
    }
}

/// A published file, as the command is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    sequence: u64,
    address: String,
    environment: Vec<(&'static str, String)>,
}

impl Handed {
    /// What `pipeline` published with the entry `sequence`, at this address.
    #[must_use]
    pub fn new(pipeline: &str, sequence: u64, file: &FeedFile, address: String) -> Self {
        let time = |time: &Option<String>| time.clone().unwrap_or_default();
        let environment = vec![
            ("WINDROW_PIPELINE", pipeline.to_owned()),
            ("WINDROW_SEQUENCE", sequence.to_string()),
            ("WINDROW_FILE", address.clone()),
            ("WINDROW_PATH", file.path.clone()),
            ("WINDROW_FORMAT", file.format.to_string()),
            ("WINDROW_WINDOW_START", time(&file.window_start)),
            ("WINDROW_WINDOW_END", time(&file.window_end)),
            ("WINDROW_REVISION", file.revision.to_string()),
            ("WINDROW_FINAL", file.last.to_string()),
            ("WINDROW_COMPLETE", file.complete.to_string()),
            ("WINDROW_PART", file.part.to_string()),
            ("WINDROW_PARTS", file.parts.to_string()),
            ("WINDROW_ROWS", file.rows.to_string()),
            ("WINDROW_BYTES", file.bytes.to_string()),
            ("WINDROW_SHA256", file.sha256.clone()),
        ];
        Self { sequence, address, environment }
    }

    /// The number of the entry that published it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The file's path or URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With exit code 0.
    Well,
    /// In any other way, in words.
    Badly(String),
}

impl Command {
    /// The words with this file's address in them.
    #[must_use]
    pub fn words(&self, handed: &Handed) -> Vec<String> {
        self.words.iter().map(|word| word.replace(FILE, &handed.address)).collect()
    }

    /// Runs the command for a file and waits for its end. When it is time to leave it may go on for a moment, and is
    /// killed then.
    ///
    /// # Errors
    /// If it cannot be started at all.
    pub async fn run(
        &self,
        handed: &Handed,
        clock: &Clock,
        told: &watch::Receiver<Told>,
    ) -> Result<Ended, HandoverError> {
        let mut child = self.start(handed)?;
        let (mut pause, mut leaving) = (FIRST_LOOK, None);
        loop {
            let cannot = |error| HandoverError::Internal(format!("cannot wait for the on-batch command: {error}"));
            if let Some(status) = child.try_wait().map_err(cannot)? {
                return Ok(ended(status));
            }
            if told.borrow().leave {
                let since = *leaving.get_or_insert(clock.now());
                if clock.now().0.saturating_sub(since.0) >= i64::try_from(GRACE.as_micros()).unwrap_or(i64::MAX) {
                    let _ = child.kill();
                    let _ = child.wait();
                    tracing::warn!(file = handed.address, "the on-batch command did not end in time and was killed");
                    return Ok(Ended::Badly("was killed".to_owned()));
                }
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    fn start(&self, handed: &Handed) -> Result<Child, HandoverError> {
        let words = self.words(handed);
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).envs(handed.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own, so that Ctrl-C on the terminal lets it finish.
        command.stdin(Stdio::null()).process_group(0);
        command.spawn().map_err(|error| {
            HandoverError::Invalid(format!("cannot start the on-batch command {}: {error}", self.words[0]))
        })
    }
}

fn ended(status: ExitStatus) -> Ended {
    match status.code() {
        Some(0) => Ended::Well,
        Some(code) => Ended::Badly(format!("ended with exit code {code}")),
        None => Ended::Badly("was ended by a signal".to_owned()),
    }
}
