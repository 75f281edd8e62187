//! The engine's meaning, told a second time and as plainly as can be: every record is kept, and each window is
//! computed from nothing. No batches, no state, no restarts.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Emit, WindowConfig};
use crate::log::entry::Raise;
use crate::record::{Offset, Partition, Timestamp};

/// A record as the oracle sees it.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) offset: Offset,
    /// None for a record that cannot be read.
    pub(super) content: Option<Content>,
}

#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) time: Timestamp,
    pub(super) key: String,
    pub(super) value: i64,
    /// Further ahead of the clock than is allowed.
    pub(super) future: bool,
}

/// By window start and revision: key, count, sum, least, greatest.
pub(super) type Results = BTreeMap<(Timestamp, i32), Vec<(String, i64, i64, i64, i64)>>;

/// What the topic comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) results: Results,
    pub(super) late: BTreeSet<(Partition, Offset)>,
    pub(super) invalid: BTreeSet<(Partition, Offset)>,
    pub(super) filtered: u64,
    pub(super) aggregated: u64,
    pub(super) counted_late: u64,
    /// Windows that were final for a record which another took.
    pub(super) missed: u64,
}

/// The truth for `SELECT k, COUNT(*), SUM(v), MIN(v), MAX(v) … WHERE v <> 13 GROUP BY k` when every window is closed.
/// `raised` is where the log says that an idle partition took up at the stream's watermark.
pub(super) fn truth(
    config: &WindowConfig,
    partitions: &BTreeMap<Partition, Vec<Event>>,
    raised: &BTreeMap<Partition, Vec<Raise>>,
) -> Truth {
    let mut truth = Truth::default();
    let mut accepted: BTreeMap<Timestamp, Vec<(bool, String, i64)>> = BTreeMap::new();
    for (&partition, events) in partitions {
        let mut watermark = i64::MIN;
        for event in events {
            for raise in raised.get(&partition).into_iter().flatten().filter(|raise| raise.offset == event.offset) {
                watermark = watermark.max(raise.watermark.0);
            }
            let Some(content) = event.content.as_ref().filter(|content| !content.future) else {
                truth.invalid.insert((partition, event.offset));
                continue;
            };
            let passes = content.value != 13;
            let key = if passes { content.key.clone() } else { String::new() };
            let (mut late_for, mut missed, mut taken) = (0, 0, 0);
            for window in config.windows.holding(content.time) {
                assert!(window.contains(content.time));
                if window.end.0.saturating_add(config.allowed_lateness) <= watermark {
                    missed += 1;
                    continue;
                }
                let late = window.end.0 <= watermark;
                late_for += u64::from(late);
                taken += 1;
                accepted.entry(window.start).or_default().push((late, key.clone(), content.value));
            }
            watermark = watermark.max(content.time.0 - config.watermark_delay);
            if taken == 0 {
                truth.late.insert((partition, event.offset));
                continue;
            }
            truth.missed += missed;
            truth.counted_late += u64::from(late_for + missed > 0);
            truth.filtered += u64::from(!passes);
            truth.aggregated += u64::from(passes);
        }
    }
    for (start, rows) in accepted {
        let all = result(rows.iter());
        match config.emit {
            Emit::Final => truth.publish(start, 0, all, false),
            Emit::Early => {
                let first = result(rows.iter().filter(|(late, ..)| !late));
                let had_rows = !first.is_empty();
                truth.publish(start, 0, first, false);
                if rows.iter().any(|(late, ..)| *late) {
                    truth.publish(start, 1, all, had_rows);
                }
            }
        }
    }
    truth
}

impl Truth {
    fn publish(&mut self, start: Timestamp, revision: i32, rows: Vec<(String, i64, i64, i64, i64)>, even_empty: bool) {
        if !rows.is_empty() || even_empty {
            self.results.insert((start, revision), rows);
        }
    }
}

fn result<'a>(rows: impl Iterator<Item = &'a (bool, String, i64)>) -> Vec<(String, i64, i64, i64, i64)> {
    let mut groups: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (_, key, value) in rows.filter(|(_, key, _)| !key.is_empty()) {
        groups.entry(key).or_default().push(*value);
    }
    let row = |(key, values): (&str, Vec<i64>)| {
        let (least, greatest) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        (key.to_owned(), values.len() as i64, values.iter().sum(), *least, *greatest)
    };
    groups.into_iter().map(row).collect()
}
