//! What is counted of each record.

use std::collections::BTreeMap;

use super::spread::Spread;
use crate::config::{Pipeline, WindowConfig};
use crate::decode::Decoded;
use crate::record::{Offset, Partition, Timestamp};
use crate::source::Topic;
use crate::time::watermark::{Lateness, PartitionClock};

/// How many offsets are named of each kind.
const NAMED: usize = 5;

/// Everything that was counted.
pub(super) struct Study {
    pub(super) pipeline: String,
    pub(super) topic: String,
    pub(super) window: WindowConfig,
    pub(super) partitions: BTreeMap<Partition, Counted>,
    /// The watermark delay each record would have needed to be on time.
    pub(super) needed: Spread,
    /// Records that cannot be read or whose time cannot be, by reason.
    pub(super) invalid: BTreeMap<String, Named>,
    /// Event times before 1980: they are accepted, and too late.
    pub(super) ancient: Named,
    pub(super) now: Timestamp,
}

/// Records of one kind: how many, and where the first of them are.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) count: u64,
    pub(super) first: Vec<(Partition, Offset, String)>,
}

impl Named {
    fn add(&mut self, partition: Partition, offset: Offset, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push((partition, offset, text()));
        }
    }
}

/// What was counted of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    clock: PartitionClock,
    /// The greatest event time so far.
    pub(super) newest: Option<Timestamp>,
    pub(super) oldest: Option<Timestamp>,
    /// Records read.
    pub(super) read: u64,
    /// How far each record came behind the newest before it.
    pub(super) behind: Spread,
    pub(super) late: u64,
    pub(super) too_late: u64,
}

impl Study {
    pub(super) fn new(pipeline: &Pipeline, topic: &Topic, now: Timestamp) -> Self {
        Self {
            pipeline: pipeline.name.clone(),
            topic: topic.name.clone(),
            window: pipeline.window.clone(),
            partitions: topic.partitions.keys().map(|partition| (*partition, Counted::default())).collect(),
            needed: Spread::default(),
            invalid: BTreeMap::new(),
            ancient: Named::default(),
            now,
        }
    }

    /// Counts a batch, by the engine's rules.
    pub(super) fn take(&mut self, decoded: &Decoded, now: Timestamp) {
        self.now = now;
        let (records, config) = (&decoded.records, &self.window);
        let partition = records.partition;
        let counted = self.partitions.entry(partition).or_default();
        counted.read += records.len() as u64;
        for (index, reason) in &decoded.rejected {
            let named = self.invalid.entry(reason.class.to_owned()).or_default();
            named.add(partition, records.get(*index as usize).offset, || reason.text.clone());
        }
        let horizon = now.plus(config.max_future);
        for (row, &index) in decoded.rows.iter().enumerate() {
            let time = Timestamp(decoded.event_times.value(row));
            let offset = || records.get(index as usize).offset;
            if time > horizon {
                let named = self.invalid.entry("future".to_owned()).or_default();
                named.add(partition, offset(), || format!("event time {time}"));
                continue;
            }
            let Some(window) = config.windows.assign(time) else {
                let named = self.invalid.entry("out_of_range".to_owned()).or_default();
                named.add(partition, offset(), || format!("event time {time}"));
                continue;
            };
            if time.is_ancient() {
                self.ancient.add(partition, offset(), || format!("event time {time}"));
            }
            // On time for all windows that hold it, or taken by one of them: the last.
            let first = counted.clock.lateness(window.end, config.allowed_lateness);
            let last = config.windows.from_pane(window).end;
            match counted.clock.lateness(last, config.allowed_lateness) {
                Lateness::OnTime if first != Lateness::OnTime => counted.late += 1,
                Lateness::OnTime => {}
                Lateness::Late => counted.late += 1,
                Lateness::TooLate => counted.too_late += 1,
            }
            counted.clock.accept(time, config.watermark_delay);
            let newest = counted.newest.max(Some(time)).unwrap_or(time);
            // On time is who comes before the watermark is at the window's end.
            let needed = counted.newest.map_or(0, |newest| newest.0.saturating_sub(window.end.0).saturating_add(1));
            self.needed.add(needed);
            counted.behind.add(newest.0.saturating_sub(time.0));
            counted.newest = Some(newest);
            counted.oldest = counted.oldest.map_or(Some(time), |oldest| Some(oldest.min(time)));
        }
    }

    /// All partitions together.
    pub(super) fn all(&self) -> Counted {
        let mut all = Counted::default();
        for counted in self.partitions.values() {
            all.read += counted.read;
            all.late += counted.late;
            all.too_late += counted.too_late;
            all.behind.merge(&counted.behind);
            all.newest = all.newest.max(counted.newest);
            all.oldest = [all.oldest, counted.oldest].into_iter().flatten().min();
        }
        all
    }
}
