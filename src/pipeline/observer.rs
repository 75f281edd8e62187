//! What can be seen of a run while it goes on. Whoever looks changes nothing.

use std::collections::BTreeMap;

use crate::decode::Decoded;
use crate::engine::view::{PartitionView, WindowView};
use crate::log::entry::{Counts, Entry};
use crate::record::{Offset, Partition, Timestamp};

/// What a run looks like at a moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The time.
    pub now: Timestamp,
    /// What became of all records, since the first entry.
    pub totals: Counts,
    /// The stream's watermark.
    pub watermark: Option<Timestamp>,
    /// Windows that take records.
    pub open_windows: usize,
    /// Offsets read since the start, and to be read up to the end known at the start; of files bytes.
    pub progress: (u64, u64),
    /// Offsets between what is read and where the partitions end by the source's newest word; `None` if it has not
    /// said where.
    pub lag: Option<u64>,
}

/// All there is to see of a run at a moment. It costs more than a [`View`], so it is shown less often.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The cheap part.
    pub view: View,
    /// Whether every partition is idle.
    pub quiet: bool,
    /// How far each partition is read, and its time.
    pub partitions: BTreeMap<Partition, PartitionView>,
    /// Where each partition ends by the source's newest word.
    pub ends: BTreeMap<Partition, Offset>,
    /// Windows that take records, by start.
    pub windows: Vec<WindowView>,
    /// Groups of open windows, those of each partition by themselves.
    pub groups: usize,
    /// Bytes of partial results in memory, about.
    pub state_bytes: usize,
    /// Why the source cannot be reached, if it cannot.
    pub waiting: Option<String>,
}

/// The partition that the watermark waits for, well behind the furthest one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Which one.
    pub partition: Partition,
    /// Its watermark.
    pub watermark: Timestamp,
    /// How far the furthest partition is ahead of it, in microseconds.
    pub by: i64,
}

impl Detail {
    /// The partition that holds the others back; `None` while they are as near to each other as disorder within
    /// `watermark_delay` explains, or less than a minute apart.
    #[must_use]
    pub fn holding(&self, watermark_delay: i64) -> Option<Holding> {
        let furthest = self.partitions.values().filter_map(|view| view.watermark).max()?;
        let awake = self.partitions.iter().filter(|(_, view)| !view.idle);
        let told = awake.filter_map(|(partition, view)| Some((view.watermark?, *partition)));
        let (watermark, partition) = told.min()?;
        let by = furthest.0.saturating_sub(watermark.0);
        (by > watermark_delay.saturating_mul(2).max(60_000_000)).then_some(Holding { partition, watermark, by })
    }
}

/// How long the durable steps of one commit took, in microseconds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Took {
    /// Until the entry was in the log: results computed and staged, state saved, entry appended.
    pub commit: i64,
    /// From there until everything it names was under its final name.
    pub publish: i64,
    /// When that was.
    pub at: Timestamp,
    /// How often it was made: more than once if other instances of a shared pipeline took the number.
    pub attempts: u32,
}

/// Somebody who looks on.
pub trait Observer: Send {
    /// Called after each batch and a few times a second.
    fn progress(&mut self, view: &View);

    /// Called when an entry is in the log and published.
    fn committed(&mut self, entry: &Entry);

    /// Called before reading begins, with what the run does now.
    fn begins(&mut self, _what: &'static str) {}

    /// Called when the run's first entry is in the log: from here on it reads.
    fn opened(&mut self, _entry: &Entry) {}

    /// Called with each batch before it is taken in.
    fn decoded(&mut self, _decoded: &Decoded, _now: Timestamp) {}

    /// Called a few times a second.
    fn detail(&mut self, _detail: &Detail) {}

    /// Called before [`Observer::committed`] of the same entry.
    fn took(&mut self, _took: Took) {}
}

/// An observer that looks away.
#[derive(Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&mut self, _: &View) {}
    fn committed(&mut self, _: &Entry) {}
}

/// Several observers, told one after the other.
pub struct Together(pub Vec<Box<dyn Observer>>);

impl Observer for Together {
    fn progress(&mut self, view: &View) {
        self.0.iter_mut().for_each(|one| one.progress(view));
    }

    fn committed(&mut self, entry: &Entry) {
        self.0.iter_mut().for_each(|one| one.committed(entry));
    }

    fn begins(&mut self, what: &'static str) {
        self.0.iter_mut().for_each(|one| one.begins(what));
    }

    fn opened(&mut self, entry: &Entry) {
        self.0.iter_mut().for_each(|one| one.opened(entry));
    }

    fn decoded(&mut self, decoded: &Decoded, now: Timestamp) {
        self.0.iter_mut().for_each(|one| one.decoded(decoded, now));
    }

    fn detail(&mut self, detail: &Detail) {
        self.0.iter_mut().for_each(|one| one.detail(detail));
    }

    fn took(&mut self, took: Took) {
        self.0.iter_mut().for_each(|one| one.took(took));
    }
}
