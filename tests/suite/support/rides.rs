//! Rides as a city's fleet sends them: mostly in order, some late, some too late, some broken, written in all the
//! ways that JSON allows.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// 2024-03-01T00:00:00Z.
pub(crate) const BEGIN: i64 = 1_709_251_200 * SECOND;

const ZONES: [&str; 7] = ["Astoria", "Bay Ridge", "O'Hare", "a,b", "Zürich", "成田", "\"quoted\" \\ zone"];

/// A ride that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Ride {
    /// Event time, microseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) zone: String,
    pub(crate) cents: i64,
}

/// One record as it is sent; without text it is a tombstone, without a ride it cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: Option<String>,
    pub(crate) ride: Option<Ride>,
}

impl Line {
    pub(crate) fn of(ride: Ride) -> Self {
        let amount = format!("{}{}.{:02}", sign(ride.cents), ride.cents.abs() / 100, ride.cents.abs() % 100);
        let text = format!(
            r#"{{"dropoff_at":"{}","pickup_location":{},"total_amount":{amount}}}"#,
            rfc3339(ride.at, 0),
            serde_json::Value::from(ride.zone.as_str())
        );
        Self { text: Some(text), ride: Some(ride) }
    }

    fn broken(text: &str) -> Self {
        Self { text: Some(text.to_owned()), ride: None }
    }
}

/// What to generate; shares are out of a thousand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Records of each partition.
    pub(crate) records: Vec<usize>,
    /// All partitions cover this much event time.
    pub(crate) span: i64,
    /// Ordinary disorder: a ride may lie this far behind.
    pub(crate) disorder: i64,
    /// Rides that lie further behind: share, and how far.
    pub(crate) late: (u32, i64),
    /// Rides that lie much further behind.
    pub(crate) too_late: (u32, i64),
    /// Records that cannot be read.
    pub(crate) broken: u32,
    /// Whether records without a value are among those: files have none.
    pub(crate) tombstones: bool,
}

impl Plan {
    /// In order but for ordinary disorder, nothing broken.
    pub(crate) fn clean(seed: u64, records: &[usize], span: i64) -> Self {
        let none = (0, 0);
        let records = records.to_vec();
        Self { seed, records, span, disorder: SECOND, late: none, too_late: none, broken: 0, tombstones: false }
    }

    /// Every partition's records, in their order.
    pub(crate) fn lines(&self) -> Vec<Vec<Line>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        self.records.iter().map(|&count| (0..count).map(|index| self.line(&mut rng, index, count)).collect()).collect()
    }

    fn line(&self, rng: &mut ChaCha8Rng, index: usize, count: usize) -> Line {
        if rng.random_range(0..1000) < self.broken {
            return self.unreadable(rng, index);
        }
        let pace = BEGIN + i64::try_from(index * usize::try_from(self.span).unwrap() / count).unwrap();
        let back = match rng.random_range(0..1000) {
            share if share < self.late.0 => self.disorder + rng.random_range(0..self.late.1),
            share if share < self.late.0 + self.too_late.0 => self.too_late.1 + rng.random_range(0..self.too_late.1),
            _ => rng.random_range(0..self.disorder),
        };
        let cents = match rng.random_range(0..20) {
            0 => 0,
            1 => -rng.random_range(1..5_000),
            2 => 999_999_999_999,
            _ => rng.random_range(1..20_000),
        };
        let zone = ZONES[rng.random_range(0..ZONES.len())].to_owned();
        let ride = Ride { at: pace - back, zone, cents };
        Line { text: Some(written(rng, index, &ride)), ride: Some(ride) }
    }

    fn unreadable(&self, rng: &mut ChaCha8Rng, index: usize) -> Line {
        let at = rfc3339(BEGIN, 0);
        match rng.random_range(0..if self.tombstones { 8 } else { 7 }) {
            0 => Line::broken("not json at all"),
            1 => Line::broken(&format!(r#"{{"dropoff_at":"{at}","pickup_location":"cut off"#)),
            2 => Line::broken(&format!(r#"{{"pickup_location":"no time","total_amount":{index}}}"#)),
            3 => Line::broken(&format!(r#"{{"dropoff_at":"yesterday","pickup_location":"x","total_amount":{index}}}"#)),
            4 => Line::broken(&format!(r#"{{"dropoff_at":"{at}","pickup_location":"x","total_amount":"a lot"}}"#)),
            5 => {
                Line::broken(&format!(r#"{{"dropoff_at":"{at}","pickup_location":"x","total_amount":10000000000.00}}"#))
            }
            // A clock that is broken: it must move nothing.
            6 => Line::broken(r#"{"dropoff_at":"2999-01-01T00:00:00Z","pickup_location":"x","total_amount":1}"#),
            _ => Line { text: None, ride: None },
        }
    }
}

/// The same ride, written in one of many ways.
fn written(rng: &mut ChaCha8Rng, index: usize, ride: &Ride) -> String {
    let amount = format!("{}{}.{:02}", sign(ride.cents), ride.cents.abs() / 100, ride.cents.abs() % 100);
    let amount = match rng.random_range(0..4) {
        0 => format!("\"{amount}\""),
        1 => amount.strip_suffix('0').map_or_else(|| amount.clone(), str::to_owned),
        2 => amount.strip_suffix(".00").map_or_else(|| amount.clone(), str::to_owned),
        _ => amount,
    };
    let at = rfc3339(ride.at, [0, 0, 60, -300, 330][rng.random_range(0..5)]);
    let zone = serde_json::Value::from(ride.zone.as_str());
    match rng.random_range(0..3) {
        0 => format!(r#"{{"total_amount":{amount},"dropoff_at":"{at}","pickup_location":{zone}}}"#),
        1 => format!(
            r#"{{"ride":{{"total_amount":[1,{{"dropoff_at":null}}],"n":{index}}}, "pickup_location" : {zone},"dropoff_at":"{at}" ,"total_amount":{amount}}}"#
        ),
        _ => format!(r#"{{"dropoff_at":"{at}","pickup_location":{zone},"total_amount":{amount},"id":"{index}"}}"#),
    }
}

fn sign(cents: i64) -> &'static str {
    if cents < 0 { "-" } else { "" }
}

/// A time as text, as a clock shows it that many minutes east of Greenwich.
pub(crate) fn rfc3339(at: i64, east: i32) -> String {
    let zone = FixedOffset::east_opt(east * 60).unwrap();
    let time = DateTime::from_timestamp_micros(at).unwrap().with_timezone(&zone);
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Lines as the text of a file.
pub(crate) fn as_file(lines: &[Line]) -> String {
    lines.iter().map(|line| line.text.clone().unwrap() + "\n").collect()
}
