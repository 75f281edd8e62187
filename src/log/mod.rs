//! The commit log: the one source of truth, and what follows from it.
//!
//! The order of the durable steps is in the types: a [`Staged`] becomes a [`Committed`] by [`commit`], that becomes a
//! [`Published`] by [`publish::publish`], and only that is told to Kafka. [`entry`] is the log's form and [`laws`]
//! what must hold of it.

pub mod entry;
pub mod gc;
pub mod laws;
pub mod publish;
pub mod store;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::{Error, Kind};
use crate::sink::stage::Staged;
use crate::sink::store::Store;
pub use publish::Published;
use store::{Appended, Stored};

/// An entry that is in the log. Made by [`commit`], and by [`recover`] from what the log holds.
#[derive(Debug)]
pub struct Committed {
    stored: Stored,
    payload: BTreeMap<String, Bytes>,
}

impl Committed {
    /// The entry as it stands in the log.
    #[must_use]
    pub fn stored(&self) -> &Stored {
        &self.stored
    }
}

/// Appends a staged entry to the log, after the one it was made to follow.
///
/// # Errors
/// [`LogError::Fenced`] if another instance wrote that number: what is in memory must be dropped.
pub async fn commit(store: &Store, before: Option<&Stored>, staged: Staged) -> Result<Committed, Error> {
    match try_commit(store, before, staged).await? {
        Attempt::Done(committed) => Ok(*committed),
        Attempt::Taken { theirs, .. } => Err(taken_over(&theirs).into()),
    }
}

/// What became of an attempt to append.
#[derive(Debug)]
pub enum Attempt {
    /// The entry is in the log.
    Done(Box<Committed>),
    /// Another instance has the number.
    Taken {
        /// Its entry.
        theirs: Box<Stored>,
        /// What was made durable for this attempt and can never be named now.
        unneeded: Vec<String>,
    },
}

/// Appends a staged entry to the log, after the one it was made to follow, unless another instance was there first.
///
/// # Errors
/// If the entry breaks a law, or the store refuses for good.
pub async fn try_commit(store: &Store, before: Option<&Stored>, staged: Staged) -> Result<Attempt, Error> {
    let (entry, payload) = staged.into_parts();
    laws::check(before.map(|before| &before.entry), &entry)
        .map_err(|broken| LogError::Internal(format!("refusing to commit: {broken}")))?;
    let sequence = entry.sequence;
    let made = publish::state_objects(&entry).into_iter().filter(|key| publish::made_for(key) == Some(sequence));
    let unneeded = made.chain(entry.files.iter().map(|file| file.stage.clone())).collect();
    Ok(match store::append(store, entry).await? {
        Appended::Done(stored) => Attempt::Done(Box::new(Committed { stored: *stored, payload })),
        Appended::Taken(theirs) => Attempt::Taken { theirs, unneeded },
    })
}

/// What to say of an operation that failed for want of something the log named, when `newest` was its newest entry: if
/// the log has moved on, its new writer has swept that away.
///
/// # Errors
/// If the log cannot be read.
pub async fn overtaken(store: &Store, newest: Option<&Stored>, failed: Error) -> Result<Error, Error> {
    let Some(newest) = newest.filter(|_| failed.kind() == Kind::Data) else { return Ok(failed) };
    let next = store::read(store, newest.entry.sequence.next()).await?;
    Ok(next.map_or(failed, |theirs| taken_over(&theirs).into()))
}

pub(crate) fn taken_over(theirs: &Stored) -> LogError {
    let writer = &theirs.entry.writer;
    LogError::Fenced(format!(
        "another instance has taken over this sink: entry {} was written by process {} on {}",
        theirs.entry.sequence.0, writer.pid, writer.host
    ))
}

/// The newest entry of the log, to finish what its writer may have left undone.
#[must_use]
pub fn recover(stored: Stored) -> Committed {
    Committed { stored, payload: BTreeMap::new() }
}

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What is there is not a log of this pipeline.
    #[error("{0}")]
    Invalid(String),
    /// The log is damaged.
    #[error("{0}")]
    Data(String),
    /// Another instance has taken over.
    #[error("{0}")]
    Fenced(String),
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl LogError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Data(_) => Kind::Data,
            Self::Fenced(_) => Kind::Fenced,
            Self::Internal(_) => Kind::Internal,
        }
    }
}
