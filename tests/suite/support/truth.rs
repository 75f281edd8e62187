//! What must come out: every record looked at once, by itself, in whole cents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::place::Place;
use super::rides::Line;

/// One row of the rides query.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) cents: i64,
    pub(crate) rides: i64,
    pub(crate) lowest: i64,
    pub(crate) highest: i64,
}

/// One window's rows by zone.
pub(crate) type Rows = BTreeMap<String, Group>;

/// How windows are cut; microseconds.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) size: i64,
    pub(crate) delay: i64,
    pub(crate) lateness: i64,
}

/// What becomes of all records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Each window's rows from the records that came on time. A window without rows is not here.
    pub(crate) on_time: BTreeMap<i64, Rows>,
    /// Each window's rows, late records included.
    pub(crate) all: BTreeMap<i64, Rows>,
    /// Windows that late records came for.
    pub(crate) corrected: BTreeSet<i64>,
    pub(crate) read: u64,
    pub(crate) aggregated: u64,
    pub(crate) filtered: u64,
    pub(crate) late: u64,
    /// Partition and offset of each record that came too late.
    pub(crate) too_late: BTreeSet<(i32, i64)>,
    /// Partition and offset of each record that cannot be read.
    pub(crate) invalid: BTreeSet<(i32, i64)>,
}

impl Truth {
    /// The truth about these partitions, whose first offset is `first`, if no partition is ever idle.
    pub(crate) fn of(partitions: &[Vec<Line>], shape: Shape, first: i64) -> Self {
        let mut truth = Self::default();
        for (partition, lines) in (0..).zip(partitions) {
            let mut watermark = i64::MIN;
            for (offset, line) in (first..).zip(lines) {
                truth.read += 1;
                let Some(ride) = &line.ride else {
                    truth.invalid.insert((partition, offset));
                    continue;
                };
                let start = ride.at - ride.at.rem_euclid(shape.size);
                let end = start + shape.size;
                let (late, too_late) = (end <= watermark, end + shape.lateness <= watermark);
                watermark = watermark.max(ride.at - shape.delay);
                if too_late {
                    truth.too_late.insert((partition, offset));
                    continue;
                }
                if late {
                    truth.late += 1;
                    truth.corrected.insert(start);
                }
                if ride.cents <= 0 {
                    truth.filtered += 1;
                    continue;
                }
                truth.aggregated += 1;
                let results = if late { vec![&mut truth.all] } else { vec![&mut truth.all, &mut truth.on_time] };
                for windows in results {
                    let rows = windows.entry(start).or_default();
                    rows.entry(ride.zone.clone())
                        .and_modify(|group| {
                            group.cents += ride.cents;
                            group.rides += 1;
                            group.lowest = group.lowest.min(ride.cents);
                            group.highest = group.highest.max(ride.cents);
                        })
                        .or_insert(Group { cents: ride.cents, rides: 1, lowest: ride.cents, highest: ride.cents });
                }
            }
        }
        truth
    }

    /// The rows of the corrections that `emit = "early"` publishes.
    pub(crate) fn corrections(&self) -> BTreeMap<i64, Rows> {
        let corrected = self.all.iter().filter(|(start, _)| self.corrected.contains(start));
        corrected.map(|(start, rows)| (*start, rows.clone())).collect()
    }

    /// Holds a sink whose windows are all closed against this, `emit = "final"`.
    #[track_caller]
    pub(crate) fn assert_final(&self, place: &Place) {
        same_windows(&place.results("data"), &self.all);
        assert_eq!(place.keys("corrections", ""), Vec::<String>::new());
        self.assert_rest(place);
    }

    /// Holds a sink whose windows are all closed against this, `emit = "early"`.
    #[track_caller]
    pub(crate) fn assert_early(&self, place: &Place) {
        same_windows(&place.results("data"), &self.on_time);
        same_windows(&place.results("corrections"), &self.corrections());
        self.assert_rest(place);
    }

    #[track_caller]
    fn assert_rest(&self, place: &Place) {
        let newest = place.newest().unwrap();
        assert_eq!(newest["windows"], json!([]), "every window is closed");
        self.assert_counts(&newest);
        assert_eq!(place.kept("late"), self.too_late);
        assert_eq!(place.kept("invalid"), self.invalid);
    }

    /// Holds the totals of a log entry against this.
    #[track_caller]
    pub(crate) fn assert_counts(&self, entry: &Value) {
        let totals = &entry["totals"];
        let invalid: u64 = totals["invalid"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        let count = |name: &str| totals[name].as_u64().unwrap();
        assert_eq!(count("read"), count("aggregated") + count("filtered") + count("too_late") + invalid, "{totals}");
        let found = (count("read"), count("aggregated"), count("filtered"), count("late"), count("too_late"), invalid);
        let (too_late, invalid) = (self.too_late.len() as u64, self.invalid.len() as u64);
        assert_eq!(
            found,
            (self.read, self.aggregated, self.filtered, self.late, too_late, invalid),
            "read, aggregated, filtered, late, too late, invalid"
        );
    }
}

/// Compares window by window, so that a failure shows the first that differs and not all of them.
#[track_caller]
pub(crate) fn same_windows(found: &BTreeMap<i64, Rows>, expected: &BTreeMap<i64, Rows>) {
    let starts: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    for start in starts {
        let time = chrono::DateTime::from_timestamp_micros(*start).unwrap();
        assert_eq!(found.get(start), expected.get(start), "window {time}, found and expected");
    }
}
