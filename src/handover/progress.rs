//! How far the handing over is, durable in the sink.
//!
//! One key, written again after each file. Should two instances ever write it, each writes only what was handed over up
//! to there, by itself or before it: the worst is that files are handed over again.

use serde::{Deserialize, Serialize};

use super::HandoverError;
use crate::error::Error;
use crate::sink::layout::HANDED_OVER;
use crate::sink::store::Store;

/// The version of the key's form.
const FORMAT: u32 = 1;
/// Entries without files that may pass before it is said where the handing over stands.
const SAVE_EVERY: u64 = 100;

/// The next file to hand over.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    format: u32,
    /// Everything that entries before this one published is handed over.
    sequence: u64,
    /// Of this entry's results, so many are.
    files: usize,
}

/// A place that moves on, and is saved.
#[derive(Debug)]
pub(super) struct Progress {
    place: Place,
    saved: Place,
}

impl Progress {
    /// Where the sink says that the handing over stands; the beginning if it says nothing.
    pub(super) async fn read(store: &Store) -> Result<Self, Error> {
        let beginning = Place { format: FORMAT, sequence: 1, files: 0 };
        Ok(Self::find(store).await?.unwrap_or(Self { place: beginning, saved: beginning }))
    }

    /// Where the sink says that the handing over stands, if it says anything.
    pub(super) async fn find(store: &Store) -> Result<Option<Self>, Error> {
        let Some(bytes) = store.get(HANDED_OVER).await? else { return Ok(None) };
        let place = serde_json::from_slice(&bytes).ok().filter(|place: &Place| place.format == FORMAT);
        let damaged = || {
            let text = format!(
                "sink {store}: {HANDED_OVER} does not say how far files are handed over; delete it to hand every file \
                 over again"
            );
            HandoverError::Data(text)
        };
        let place = place.ok_or_else(damaged)?;
        Ok(Some(Self { place, saved: place }))
    }

    /// The entry whose files come next.
    pub(super) fn next(&self) -> u64 {
        self.place.sequence
    }

    /// How many of its files are handed over.
    pub(super) fn files(&self) -> usize {
        self.place.files
    }

    /// The first `files` of the entry's files are handed over.
    pub(super) async fn did(&mut self, files: usize, store: &Store) -> Result<(), Error> {
        self.place.files = files;
        self.save(store).await
    }

    /// All of the entry's files are.
    pub(super) async fn passed(&mut self, store: &Store) -> Result<(), Error> {
        self.place = Place { sequence: self.place.sequence + 1, files: 0, ..self.place };
        if self.place.sequence - self.saved.sequence >= SAVE_EVERY { self.save(store).await } else { Ok(()) }
    }

    /// Makes it durable, if it is not.
    pub(super) async fn save(&mut self, store: &Store) -> Result<(), Error> {
        if self.place != self.saved {
            let bytes = serde_json::to_vec(&self.place)
                .map_err(|error| HandoverError::Internal(format!("cannot write {HANDED_OVER}: {error}")))?;
            store.put(HANDED_OVER, bytes.into()).await?;
            self.saved = self.place;
        }
        Ok(())
    }
}
