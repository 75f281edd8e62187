//! What can be seen of an engine from outside.

use super::Engine;
use crate::record::{Offset, Partition, Timestamp};
use crate::time::window::Window;

/// How far a partition is read, and its time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The next offset wanted.
    pub position: Offset,
    /// Its watermark.
    pub watermark: Option<Timestamp>,
    /// Whether it holds nobody back.
    pub idle: bool,
    /// Since when the broker has said that it ends where the reader stands.
    pub standing_since: Option<Timestamp>,
}

/// A window that takes records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Its span.
    pub window: Window,
    /// Whether revision 0 is out, and how many rows it had.
    pub published: Option<u64>,
    /// Records in it, with those that the query's WHERE leaves out.
    pub records: u64,
    /// Of these, late ones.
    pub late: u64,
}

impl Engine {
    /// How far each partition is read, and its time.
    pub fn view_partitions(&self) -> impl Iterator<Item = (Partition, PartitionView)> + '_ {
        self.partitions.iter().map(|(&partition, state)| {
            let clock = &state.clock;
            let view = PartitionView {
                position: state.next,
                watermark: clock.watermark(),
                idle: clock.is_idle(),
                standing_since: clock.standing_since(),
            };
            (partition, view)
        })
    }

    /// The windows that take records, by start.
    pub fn view_windows(&self) -> impl Iterator<Item = WindowView> + '_ {
        self.open_spans().filter_map(|window| {
            let published = self.windows.get(&window.start).and_then(|open| open.published);
            let tallies = || self.parts_in(window).map(|(lot, tally)| lot.tally_in(window, tally));
            let view = WindowView {
                window,
                published,
                records: tallies().fold(0, |sum: u64, tally| sum.saturating_add(tally.records())),
                late: tallies().fold(0, |sum: u64, tally| sum.saturating_add(tally.late)),
            };
            (view.records > 0 || published.is_some()).then_some(view)
        })
    }

    /// Whether every partition is idle.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet.is_some()
    }

    /// Groups of open windows, those of each partition and each run by themselves; none where the query keeps rows.
    #[must_use]
    pub fn groups(&self) -> usize {
        let parts = self.windows.values().flat_map(|open| open.parts.values());
        parts.map(|part| part.partial.groups() + part.runs().map(|run| run.rows as usize).sum::<usize>()).sum()
    }
}
