//! What the records come to, computed the dull way: one record after the other, every window from all of its records.
//!
//! It knows nothing of batches, commits, state or restarts. The one thing it takes from the log is where an idle
//! partition's watermark was raised: that is a fact of the run, not of the topic.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::{Body, Rec};
use crate::plan::{Shape, Sql};

/// What the log has claimed of the topic.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// By partition: records in offset order.
    pub records: BTreeMap<i32, Vec<(i64, Rec)>>,
    /// By partition: from this offset on, the watermark is at least this.
    pub raised: BTreeMap<i32, Vec<(i64, i64)>>,
}

/// A result's rows as text, in the file's order.
pub type Rows = Vec<String>;

/// What becomes of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// By window start and revision: every result that has rows, or takes the place of one that had.
    pub results: BTreeMap<(i64, i32), Rows>,
    pub too_late: BTreeSet<(i32, i64)>,
    pub invalid: BTreeSet<(i32, i64)>,
    pub read: u64,
    pub aggregated: u64,
    pub filtered: u64,
    pub late: u64,
    pub missed: u64,
}

/// A record in a window of its.
#[derive(Clone, Debug)]
struct Member {
    late: bool,
    /// Records of a partition that share a place are in the order of their offsets.
    place: [i64; 3],
    partition: i32,
    offset: i64,
    key: u8,
    value: i64,
}

pub fn truth(shape: &Shape, taken: &Taken) -> Truth {
    let mut truth = Truth::default();
    let mut windows: BTreeMap<i64, Vec<Member>> = BTreeMap::new();
    for (&partition, records) in &taken.records {
        let mut watermark = i64::MIN;
        for &(offset, rec) in records {
            truth.read += 1;
            for &(from, to) in taken.raised.get(&partition).into_iter().flatten() {
                if from <= offset {
                    watermark = watermark.max(to);
                }
            }
            let Body::Good { time, key, value } = rec.body else {
                truth.invalid.insert((partition, offset));
                continue;
            };
            let every = shape.size / shape.overlap;
            let pane = time.div_euclid(every) * every;
            // Which windows were over when it came: those with an end up to here.
            let up_to = |time: i64| {
                let last = time.max(i64::MIN / 2).div_euclid(every) * every;
                if last < pane + every { i64::MIN } else { last.min(pane + shape.size) }
            };
            let (ended, settled) = (up_to(watermark), up_to(watermark.saturating_sub(shape.lateness)));
            let stood = watermark;
            watermark = watermark.max(time - shape.delay);
            let starts = (0..shape.overlap).map(|back| pane - back * every);
            let taken: Vec<i64> = starts.filter(|start| start + shape.size + shape.lateness > stood).collect();
            if taken.is_empty() {
                truth.too_late.insert((partition, offset));
                continue;
            }
            truth.missed += shape.overlap.unsigned_abs() - taken.len() as u64;
            truth.late += u64::from(pane + every <= stood);
            let passes = value != 13;
            truth.aggregated += u64::from(passes);
            truth.filtered += u64::from(!passes);
            for start in taken {
                let late = start + shape.size <= stood;
                let place =
                    if shape.overlap > 1 { [pane, ended, settled] } else { [i64::from(shape.early && late), 0, 0] };
                // What gives no row counts as late all the same.
                let offset = if passes { offset } else { -1 };
                windows.entry(start).or_default().push(Member { late, place, partition, offset, key, value });
            }
        }
    }
    for (start, members) in windows {
        let any_late = members.iter().any(|member| member.late);
        if shape.early {
            let first = rows(shape, members.iter().filter(|member| !member.late));
            let had_rows = !first.is_empty();
            truth.publish(start, 0, first, false);
            if any_late {
                truth.publish(start, 1, rows(shape, members.iter()), had_rows);
            }
        } else {
            truth.publish(start, 0, rows(shape, members.iter()), false);
        }
    }
    truth
}

impl Truth {
    fn publish(&mut self, start: i64, revision: i32, rows: Rows, even_empty: bool) {
        if even_empty || !rows.is_empty() {
            self.results.insert((start, revision), rows);
        }
    }
}

fn rows<'a>(shape: &Shape, members: impl Iterator<Item = &'a Member>) -> Rows {
    let mut members: Vec<&Member> = members.filter(|member| member.offset >= 0).collect();
    let letter = |key: u8| char::from(b'a' + key);
    if shape.sql == Sql::Rows {
        // The order of the partial results: by partition, with a first result's records before those that came late, or
        // pane by pane, and in each by how late they came.
        members.sort_by_key(|member| (member.partition, member.place, member.offset));
        let row =
            |member: &Member| format!("{}|{}|{}|{}", letter(member.key), member.value, member.partition, member.offset);
        return members.into_iter().map(row).collect();
    }
    let mut rows = Vec::new();
    for key in 0..=u8::MAX {
        let values: Vec<i64> = members.iter().filter(|member| member.key == key).map(|member| member.value).collect();
        if values.is_empty() || (shape.sql == Sql::Having && values.len() >= 3) {
            continue;
        }
        let (least, greatest) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        let sum: i64 = values.iter().sum();
        rows.push(format!("{}|{}|{sum}|{least}|{greatest}", letter(key), values.len()));
    }
    rows
}
