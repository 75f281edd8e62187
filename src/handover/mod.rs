//! Published files handed to a command of the user's, one after the other, each at least once.
//!
//! It works beside a run and after its commits: what is handed over is in place under its final name, and no commit ever
//! waits for a command. How far the command has come is durable in the sink after each file; killed at any moment, it
//! goes on with the first file whose command was not seen to succeed. So no file is left out, and the one at hand may be
//! run twice.
//!
//! [`command`] is what is run, `progress` how far it is; here is what joins them.

pub mod command;
mod progress;

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::log::entry::{Entry, FileKind, Sequence};
use crate::log::publish::{Feed, FeedFile};
use crate::log::store::read;
use crate::pipeline::{Observer, View};
use crate::sink::store::Store;
use command::{Command, Ended, Handed};
use progress::Progress;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a run tells about itself.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The newest entry that is published by this run; 0 for none. While another instance has its turn there is none.
    pub published: u64,
    /// Nothing more will be published: hand over what there is, and end.
    pub ended: bool,
    /// End as soon as the command at hand has.
    pub leave: bool,
}

/// What becomes of a file whose command fails.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The run stops; the next one begins with that file.
    Stop,
    /// It is run again, with growing pauses, until it succeeds.
    Retry,
}

/// An observer that tells what a run has published.
#[derive(Debug)]
pub struct Teller(pub watch::Sender<Told>);

impl Teller {
    fn tell(&self, entry: &Entry) {
        self.0.send_modify(|told| told.published = entry.sequence.0);
    }
}

impl Observer for Teller {
    fn progress(&mut self, _: &View) {}

    fn opened(&mut self, entry: &Entry) {
        self.tell(entry);
    }

    fn committed(&mut self, entry: &Entry) {
        self.tell(entry);
    }
}

/// Hands over what a run publishes.
#[derive(Debug)]
pub struct Handover {
    /// The sink.
    pub store: Store,
    /// What is run for each file.
    pub command: Command,
    /// What becomes of a file whose command fails.
    pub on_failure: OnFailure,
    /// What time it is.
    pub clock: Clock,
}

impl Handover {
    /// Hands over every file from where the sink says that it stopped, until the run is over.
    ///
    /// # Errors
    /// If the command fails, or cannot be started; if the sink refuses.
    pub async fn run(self, mut told: watch::Receiver<Told>) -> Result<(), Error> {
        let mut progress: Option<Progress> = None;
        loop {
            let news = *told.borrow_and_update();
            if news.published > 0 && !news.leave {
                let progress = match &mut progress {
                    Some(progress) => progress,
                    None => progress.insert(Progress::read(&self.store).await?),
                };
                while progress.next() <= news.published && !told.borrow().leave {
                    self.entry(progress, &mut told).await?;
                }
            }
            if news.ended || told.borrow().leave || told.changed().await.is_err() {
                break;
            }
        }
        match &mut progress {
            Some(progress) => progress.save(&self.store).await,
            None => Ok(()),
        }
    }

    /// Hands over what is left of the next entry's files. Returns early when it is time to leave.
    async fn entry(&self, progress: &mut Progress, told: &mut watch::Receiver<Told>) -> Result<(), Error> {
        let number = progress.next();
        let missing = || HandoverError::Data(format!("sink {}: log entry {number} is missing", self.store));
        let stored = read(&self.store, Sequence(number)).await?.ok_or_else(missing)?;
        let feed = Feed::of(&stored.entry);
        let files: Vec<&FeedFile> =
            feed.iter().flat_map(|feed| &feed.files).filter(|file| is_result(file.kind)).collect();
        for (index, file) in files.iter().enumerate().skip(progress.files()) {
            let handed = Handed::new(&stored.entry.pipeline, number, file, self.store.address(&file.path));
            if !self.hand(&handed, told).await? {
                return Ok(());
            }
            progress.did(index + 1, &self.store).await?;
        }
        progress.passed(&self.store).await
    }

    /// Runs the command for a file until it succeeds; false if it was time to leave before it had.
    async fn hand(&self, handed: &Handed, told: &mut watch::Receiver<Told>) -> Result<bool, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            if told.borrow().leave {
                return Ok(false);
            }
            tracing::debug!(file = handed.address(), "running the on-batch command");
            let failed = match self.command.run(handed, &self.clock, told).await? {
                Ended::Well => {
                    tracing::info!(sequence = handed.sequence(), file = handed.address(), "handed over");
                    return Ok(true);
                }
                Ended::Badly(_) if told.borrow().leave => return Ok(false),
                Ended::Badly(how) => format!("the on-batch command for {} {how}", handed.address()),
            };
            if self.on_failure == OnFailure::Stop {
                let text = format!("{failed}; the log stands, and the next start begins with this file");
                return Err(HandoverError::Failed(text).into());
            }
            tracing::warn!("{failed}; trying again in {} s", pause.as_secs());
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                _ = told.wait_for(|told| told.leave) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The published results of a sink that wait for a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many there are, up to the entry that was asked for.
    pub files: usize,
    /// The key of the first.
    pub first: Option<String>,
}

/// What waits for a command in a sink whose newest entry is `newest`; `None` if files were never handed over there.
///
/// # Errors
/// If the sink cannot be read, or does not say how far the handing over is.
pub async fn waiting(store: &Store, newest: u64) -> Result<Option<Waiting>, Error> {
    let Some(progress) = Progress::find(store).await? else { return Ok(None) };
    let mut waiting = Waiting::default();
    for number in progress.next()..=newest {
        let Some(stored) = read(store, Sequence(number)).await? else { break };
        let done = if number == progress.next() { progress.files() } else { 0 };
        let files = stored.entry.files.iter().filter(|file| is_result(file.kind)).skip(done);
        for file in files {
            waiting.files += 1;
            waiting.first.get_or_insert_with(|| file.path.clone());
        }
    }
    Ok(Some(waiting))
}

fn is_result(kind: FileKind) -> bool {
    matches!(kind, FileKind::Data | FileKind::Correction)
}

/// Why files cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The command cannot be started.
    #[error("{0}")]
    Invalid(String),
    /// The command failed.
    #[error("{0}")]
    Failed(String),
    /// The sink is not what it must be.
    #[error("{0}")]
    Data(String),
    /// A fault of this program or its machine.
    #[error("{0}")]
    Internal(String),
}

impl HandoverError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Failed(_) | Self::Data(_) => Kind::Data,
            Self::Internal(_) => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests;
