//! What a commit is made of: the engine's state at one moment, as values that share its memory.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;

use super::OpenPart;
use super::kept::Kept;
use crate::log::entry::{Chunk, Claim, ClosedBy, Counts, Lot, Part, Quiet, Tally};
use crate::query::QueryError;
use crate::record::{Partition, Timestamp};
use crate::time::window::Window;

/// Everything that one commit has to make durable.
#[derive(Debug)]
pub struct Cut {
    /// Each partition's claim.
    pub claims: BTreeMap<Partition, Claim>,
    /// The stream's watermark.
    pub watermark: Option<Timestamp>,
    /// Whether the stream is quiet.
    pub quiet: Option<Quiet>,
    /// Results to publish, by window and revision.
    pub closings: Vec<Closing>,
    /// Windows that take more records, by start.
    pub open: Vec<StaysOpen>,
    /// Records that came too late, since the last commit.
    pub late: Vec<Kept>,
    /// Records that could not be read, since the last commit.
    pub invalid: Vec<Kept>,
    /// What became of the records since the last commit.
    pub counts: Counts,
    /// Whether other instances have partitions of the stream, too.
    pub shared: bool,
}

/// A window whose result is to be published.
#[derive(Debug)]
pub struct Closing {
    /// The window.
    pub window: Window,
    /// 0 for the first result, 1 for its correction.
    pub revision: i32,
    /// Whether nothing can change it any more.
    pub last: bool,
    /// What let it close.
    pub by: ClosedBy,
    /// Whether every record of it was seen.
    pub complete: bool,
    /// Rows of the revision before, if there was one.
    pub before: Option<u64>,
    /// What each partition brought.
    pub inputs: BTreeMap<Partition, Tally>,
    /// Partial results in partition order.
    pub states: Vec<State>,
}

/// A partial result: pieces the store has, then batches that it does not have.
#[derive(Clone, Debug)]
pub struct State {
    /// Pieces in the store that still count.
    pub stored: Vec<Chunk>,
    /// Batches beyond them.
    pub fresh: Vec<RecordBatch>,
    /// Whether the batches become a run of groups: they are held in memory no more once it is stored.
    pub run: bool,
    /// Whether another instance has it: all of it is in the store, and what is there is not this one's to change.
    pub foreign: bool,
}

/// A window that takes more records, or a pane of some.
#[derive(Debug)]
pub struct StaysOpen {
    /// The window.
    pub window: Window,
    /// Rows of revision 0 of the window that begins here, if it is out.
    pub published: Option<u64>,
    /// What each partition brought.
    pub pieces: Vec<PieceOf>,
}

/// What one partition brought to an open window.
#[derive(Debug)]
pub struct PieceOf {
    /// Which records these are.
    pub lot: Lot,
    /// Their counts.
    pub tally: Tally,
    /// Their partial result.
    pub state: State,
}

impl State {
    /// What another instance has stored.
    pub(super) fn foreign(part: &Part) -> Self {
        Self { stored: part.chunks.clone(), fresh: Vec::new(), run: false, foreign: true }
    }
}

impl OpenPart {
    /// The partial result as the next entry will name it: what is stored already is not written again.
    pub(super) fn snapshot(&mut self) -> Result<State, QueryError> {
        if !self.dirty {
            return Ok(State { stored: self.stored.clone(), fresh: Vec::new(), run: false, foreign: false });
        }
        self.result()
    }

    /// The partial result for closing: from memory as far as it is there.
    pub(super) fn result(&mut self) -> Result<State, QueryError> {
        let snapshot = self.partial.snapshot()?;
        let stored = if snapshot.replaces { self.runs().collect() } else { self.stored.clone() };
        Ok(State { stored, fresh: snapshot.batches, run: false, foreign: false })
    }

    /// The partial result as the next entry will name it when memory runs short: what is held becomes a run.
    pub(super) fn sealed(&mut self) -> Result<State, QueryError> {
        let sealed = self.partial.seal()?;
        Ok(State { stored: self.runs().collect(), fresh: sealed.batches, run: true, foreign: false })
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Chunk> + '_ {
        self.stored.iter().filter(|chunk| chunk.run.is_some()).cloned()
    }
}

/// What let the stream's watermark pass `boundary`.
pub(super) fn closed_by(
    claims: &BTreeMap<Partition, Claim>,
    boundary: Timestamp,
    quiet: bool,
    closing_all: bool,
) -> ClosedBy {
    if claims.values().all(|claim| claim.watermark.is_some_and(|watermark| boundary <= watermark)) {
        ClosedBy::Watermark
    } else if closing_all {
        ClosedBy::CloseAll
    } else if quiet {
        ClosedBy::Quiet
    } else {
        ClosedBy::Idle
    }
}
