//! What the sink has published after an entry, in order and without a gap.
//!
//! The feed's numbers have gaps, where an entry published nothing. Those of the log have none, and every feed entry is
//! told by its log entry; so the log is read number by number, and an entry whose feed entry is not written yet is
//! waited for, whatever comes after it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::error::Error;
use crate::log::entry::{Entry, Sequence};
use crate::log::publish::{Feed, FeedFile};
use crate::log::store::read;
use crate::record::Timestamp;
use crate::sink::layout;
use crate::sink::store::Store;

/// Entries read at once, while there are known to be many.
const AHEAD: u64 = 16;
/// Files of entries that are smaller than this are read together with them.
const SMALL: u64 = 1 << 20;

/// What a published entry brings to a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    /// The entry's number.
    pub(super) sequence: u64,
    /// Starts of the windows that are replaced as a whole.
    pub(super) corrected: BTreeSet<Timestamp>,
    /// The files of the rows, each window's newest revision.
    pub(super) files: Vec<FeedFile>,
    /// How many windows all that is.
    pub(super) windows: u64,
    /// Bytes of small files by key.
    pub(super) bytes: BTreeMap<String, Bytes>,
}

impl Due {
    /// What `entry` brings. In a catch-up one entry may publish a window's first result and its correction: only the
    /// last one stands. A correction without rows leaves nothing of its window, whether or not it has a file.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let feed = Feed::of(entry);
        let mut newest: BTreeMap<Timestamp, i32> = BTreeMap::new();
        for closed in &entry.closed {
            let revision = newest.entry(closed.window.start).or_insert(closed.revision);
            *revision = closed.revision.max(*revision);
        }
        let corrected: BTreeSet<_> =
            newest.iter().filter(|(_, revision)| **revision > 0).map(|(&start, _)| start).collect();
        if feed.is_none() && corrected.is_empty() {
            return None;
        }
        let mut windows = corrected.clone();
        let mut files = Vec::new();
        for (file, told) in entry.files.iter().zip(feed.into_iter().flat_map(|feed| feed.files)) {
            let Some(start) = file.window.map(|window| window.start) else { continue };
            if newest.get(&start).is_none_or(|&revision| revision == file.revision) {
                windows.insert(start);
                files.push(told);
            }
        }
        let windows = windows.len() as u64;
        Some(Self { sequence: entry.sequence.0, corrected, files, windows, bytes: BTreeMap::new() })
    }
}

/// A place in the log.
#[derive(Debug)]
pub(super) struct Walk {
    /// The entry that is looked at next, after those in `ahead`.
    next: u64,
    /// The newest entry known to be there.
    known: u64,
    ahead: VecDeque<Arc<Due>>,
}

enum Found {
    /// The entry publishes nothing that a table takes.
    Nothing,
    Due(Due),
    /// The log ends before it, or its files are still on their way.
    NotYet,
}

impl Walk {
    /// After the entry with this number.
    pub(super) fn after(last: u64, known: u64) -> Self {
        Self { next: last + 1, known, ahead: VecDeque::new() }
    }

    /// The last entry that is applied or brings nothing.
    pub(super) fn done(&self) -> u64 {
        self.ahead.front().map_or(self.next, |due| due.sequence) - 1
    }

    /// The next feed entry; `None` if there is none yet. It stays the next one until it is [`applied`](Self::applied).
    pub(super) async fn next(&mut self, store: &Store) -> Result<Option<Arc<Due>>, Error> {
        while self.ahead.is_empty() {
            if !self.look(store).await? {
                return Ok(None);
            }
        }
        Ok(self.ahead.front().cloned())
    }

    /// The next one is done with.
    pub(super) fn applied(&mut self) {
        self.ahead.pop_front();
    }

    /// Reads on; false if the log ends here.
    async fn look(&mut self, store: &Store) -> Result<bool, Error> {
        let many = self.known.saturating_sub(self.next).min(AHEAD - 1) + 1;
        let numbers = self.next..self.next + many;
        let found = futures::stream::iter(numbers.map(|number| find(store, Sequence(number))));
        let found: Vec<Found> = found.buffered(AHEAD as usize).try_collect().await?;
        for found in found {
            match found {
                Found::Nothing => {}
                Found::Due(due) => self.ahead.push_back(Arc::new(due)),
                Found::NotYet => return Ok(!self.ahead.is_empty()),
            }
            self.next += 1;
        }
        Ok(true)
    }
}

async fn find(store: &Store, sequence: Sequence) -> Result<Found, Error> {
    let Some(stored) = read(store, sequence).await? else { return Ok(Found::NotYet) };
    let Some(mut due) = Due::of(&stored.entry) else { return Ok(Found::Nothing) };
    // The feed entry is written last.
    if !stored.entry.files.is_empty() && store.size(&layout::feed(sequence)).await?.is_none() {
        return Ok(Found::NotYet);
    }
    if due.files.iter().map(|file| file.bytes).sum::<u64>() <= SMALL {
        for file in &due.files {
            due.bytes.extend(store.get(&file.path).await?.map(|bytes| (file.path.clone(), bytes)));
        }
    }
    Ok(Found::Due(due))
}
