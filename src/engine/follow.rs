//! Going through a log once more: the engine made to follow what the entries say, where a run follows clocks.

use super::Engine;
use super::partition::PartitionState;
use crate::log::entry::{Claim, ClosedBy, Entry, Raise};
use crate::record::Partition;

impl Engine {
    /// Takes a partition for read up to where `claim` ends, without its records: its time is what the claim says.
    pub fn skip(&mut self, partition: Partition, claim: &Claim) {
        self.partitions.insert(partition, PartitionState::restore(claim));
    }

    /// Raises a partition's watermark from outside, at the offset where the log says that it was raised.
    pub fn raise(&mut self, partition: Partition, raise: Raise) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.wake(raise.offset, Some(raise.watermark));
        }
    }

    /// Moves the stream's time to where it stood when `entry` was made: what [`Engine::cut`] closes then is what closed
    /// then.
    pub fn follow(&mut self, entry: &Entry) {
        self.watermark = entry.watermark;
        self.quiet = entry.quiet;
        self.closing_all = entry.closed.iter().any(|closed| closed.by == ClosedBy::CloseAll);
    }
}
