//! How far records come behind the newest of their own partition, counted by steps that grow.

use std::collections::BTreeMap;

use crate::decode::Decoded;
use crate::record::{Partition, Timestamp};

/// Bounds of the steps, in microseconds: a step holds what is more than the bound before it and no more than its own.
pub const BOUNDS: [i64; 24] = [
    0,
    1_000,
    10_000,
    100_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
    7_200_000_000,
    21_600_000_000,
    43_200_000_000,
    86_400_000_000,
    172_800_000_000,
    604_800_000_000,
    2_592_000_000_000,
    31_536_000_000_000,
    i64::MAX,
];

/// The step that a span falls into.
#[must_use]
pub fn step(span: i64) -> usize {
    BOUNDS.partition_point(|bound| *bound < span).min(BOUNDS.len() - 1)
}

/// Records counted by how far they came behind.
#[derive(Clone, Debug, Default)]
pub struct Behind {
    newest: BTreeMap<Partition, Timestamp>,
    /// Records by [`BOUNDS`].
    pub steps: [u64; BOUNDS.len()],
    /// All of their spans together, in seconds.
    pub seconds: f64,
}

impl Behind {
    /// Begins where the log says that the partitions stand.
    pub(super) fn begin(&mut self, newest: impl Iterator<Item = (Partition, Timestamp)>) {
        self.newest = newest.collect();
    }

    /// Counts a batch. A time ahead of `horizon` moves nothing, as in the engine.
    pub(super) fn take(&mut self, decoded: &Decoded, horizon: Timestamp) {
        let newest = self.newest.entry(decoded.records.partition).or_insert(Timestamp(i64::MIN));
        // Neighbours mostly share a step.
        let (mut at_hand, mut low, mut high) = (0, i64::MIN, 0);
        for &time in decoded.event_times.values() {
            if time > horizon.0 {
                continue;
            }
            newest.0 = newest.0.max(time);
            let span = newest.0.saturating_sub(time);
            if span <= low || span > high {
                at_hand = step(span);
                (low, high) = (at_hand.checked_sub(1).map_or(-1, |before| BOUNDS[before]), BOUNDS[at_hand]);
            }
            self.steps[at_hand] += 1;
            self.seconds += span as f64 / 1e6;
        }
    }
}
