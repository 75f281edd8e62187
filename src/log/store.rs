//! The log in the sink: append without ever replacing, and find the newest entry without listing them all.

use bytes::Bytes;

use super::LogError;
use super::entry::{Entry, FORMAT, Sequence};
use crate::error::Error;
use crate::sink::layout;
use crate::sink::state::digest;
use crate::sink::store::{Created, Store};

/// An entry as it stands in the log, with the digest of its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The entry.
    pub entry: Entry,
    /// SHA-256 of its bytes, in hex: the next entry's `previous`.
    pub digest: String,
}

/// What became of an append.
#[derive(Debug)]
pub enum Appended {
    /// The entry is in the log.
    Done(Box<Stored>),
    /// Another writer has this number.
    Taken(Box<Stored>),
}

/// The entry with this number; `None` if it is not written yet.
///
/// # Errors
/// If the entry does not parse or has a form this program does not know.
pub async fn read(store: &Store, sequence: Sequence) -> Result<Option<Stored>, Error> {
    match store.get(&layout::entry(sequence)).await? {
        Some(bytes) => Ok(Some(parse(store, sequence, &bytes)?)),
        None => Ok(None),
    }
}

/// The newest entry; `None` if there is no log. Takes a number of requests that grows with the logarithm of the
/// log's length: entries have no gaps and are never deleted.
///
/// # Errors
/// If an entry does not parse.
pub async fn newest(store: &Store) -> Result<Option<Stored>, Error> {
    let exists = async |number: u64| Ok::<_, Error>(store.size(&layout::entry(Sequence(number))).await?.is_some());
    let mut above = 1;
    while exists(above).await? {
        above *= 2;
    }
    let mut below = above / 2;
    while above - below > 1 {
        let middle = below.midpoint(above);
        if exists(middle).await? { below = middle } else { above = middle }
    }
    match below {
        0 => Ok(None),
        number => newer_than(store, Sequence(number)).await,
    }
}

/// The newest entry, known not to be older than `known`.
///
/// # Errors
/// If an entry does not parse, or `known` is gone.
pub async fn newer_than(store: &Store, known: Sequence) -> Result<Option<Stored>, Error> {
    let Some(mut newest) = read(store, known).await? else {
        return Err(
            LogError::Data(format!("log {store}: entry {} is gone; a log is never deleted from", known.0)).into()
        );
    };
    while let Some(next) = read(store, newest.entry.sequence.next()).await? {
        newest = next;
    }
    Ok(Some(newest))
}

/// Appends an entry whose every named object is durable.
///
/// # Errors
/// If the store refuses for good.
pub(super) async fn append(store: &Store, entry: Entry) -> Result<Appended, Error> {
    let bytes = Bytes::from(
        serde_json::to_vec(&entry).map_err(|error| LogError::Data(format!("cannot encode a log entry: {error}")))?,
    );
    match store.create(&layout::entry(entry.sequence), bytes.clone()).await? {
        Created::Ours => Ok(Appended::Done(Box::new(Stored { entry, digest: digest(&bytes) }))),
        Created::Theirs(theirs) => Ok(Appended::Taken(Box::new(parse(store, entry.sequence, &theirs)?))),
    }
}

fn parse(store: &Store, sequence: Sequence, bytes: &[u8]) -> Result<Stored, Error> {
    #[derive(serde::Deserialize)]
    struct Form {
        format: u32,
    }
    let damaged = |error: serde_json::Error| LogError::Data(format!("log {store}: entry {}: {error}", sequence.0));
    let form: Form = serde_json::from_slice(bytes).map_err(damaged)?;
    if form.format > FORMAT {
        let text = format!("log {store}: entry {} has form {}, this program knows {FORMAT}", sequence.0, form.format);
        return Err(LogError::Invalid(format!("{text}; use a newer windrow")).into());
    }
    let entry: Entry = serde_json::from_slice(bytes).map_err(damaged)?;
    if entry.sequence != sequence {
        let text = format!("log {store}: entry {} calls itself {}", sequence.0, entry.sequence.0);
        return Err(LogError::Data(text).into());
    }
    Ok(Stored { entry, digest: digest(bytes) })
}
