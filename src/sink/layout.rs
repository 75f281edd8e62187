//! The names of everything in a sink. Users and loaders rely on them.

use chrono::{DateTime, NaiveDate};

use super::format::FileFormat;
use crate::log::entry::Sequence;
use crate::record::Timestamp;
use crate::time::window::Window;

/// The folder of first results.
pub const DATA: &str = "data";
/// The folder of corrections.
pub const CORRECTIONS: &str = "corrections";
/// The folder of records that came too late.
pub const LATE: &str = "late";
/// The folder of records that could not be read.
pub const INVALID: &str = "invalid";
/// The folder of what each commit published.
pub const FEED: &str = "feed";
/// The folder of the commit log.
pub const LOG: &str = "_windrow/log";
/// The folder of open windows' partial results.
pub const STATE: &str = "_windrow/state";
/// The folder of files before they are published.
pub const STAGE: &str = "_windrow/stage";
/// The folder of keys that stores are tried with.
pub const PROBE: &str = "_windrow/probe";

/// How far what was published is handed over to a command; the one key here that is written again and again.
pub const HANDED_OVER: &str = "_windrow/handed-over.json";

/// The columns that `windrow batch --json` learned at its first start.
pub const LEARNED: &str = "_windrow/columns.json";

/// The key of a log entry.
///
/// ```
/// # use windrow::{log::entry::Sequence, sink::layout};
/// assert_eq!(layout::entry(Sequence(42)), "_windrow/log/00000000000000000042.json");
/// ```
#[must_use]
pub fn entry(sequence: Sequence) -> String {
    format!("{LOG}/{sequence}.json")
}

/// The key of a feed entry.
#[must_use]
pub fn feed(sequence: Sequence) -> String {
    format!("{FEED}/{sequence}.json")
}

/// A key to try the store with; `nonce` keeps those who try apart.
#[must_use]
pub fn probe(nonce: &str, index: usize) -> String {
    format!("{PROBE}/{nonce}-{index}")
}

/// The key of a commit's `index`th state object. `attempt` keeps rival writers apart.
#[must_use]
pub fn state(sequence: Sequence, attempt: &str, index: usize) -> String {
    match index {
        0 => format!("{STATE}/{sequence}-{attempt}.arrow"),
        index => format!("{STATE}/{sequence}-{attempt}-{index}.arrow"),
    }
}

/// The key of a commit's `index`th staged file.
#[must_use]
pub fn stage(sequence: Sequence, attempt: &str, index: usize, format: FileFormat) -> String {
    format!("{STAGE}/{sequence}-{attempt}-{index}.{format}")
}

/// The final key of one part of a window's result. `date` is the window's start in its time zone.
#[must_use]
pub fn result(
    pipeline: &str,
    window: Window,
    date: NaiveDate,
    revision: i32,
    part: u32,
    parts: u32,
    format: FileFormat,
) -> String {
    let start = compact(window.start);
    let folder = if revision == 0 { DATA } else { CORRECTIONS };
    let revision = if revision == 0 { String::new() } else { format!("-r{revision}") };
    let part = if parts == 1 { String::new() } else { format!("-p{part:05}") };
    format!("{folder}/dt={date}/{pipeline}-{start}{revision}{part}.{format}")
}

/// The final key of late or invalid records that the entry `sequence` publishes; `folder` is [`LATE`] or [`INVALID`].
#[must_use]
pub fn kept(folder: &str, pipeline: &str, sequence: Sequence, time: Timestamp) -> String {
    let date = DateTime::from_timestamp_micros(time.0).map_or(NaiveDate::MIN, |time| time.date_naive());
    format!("{folder}/dt={date}/{pipeline}-{folder}-{sequence}.parquet")
}

/// A time as `20260301T080000Z`, with microseconds only where they are not zero.
fn compact(time: Timestamp) -> String {
    let Some(when) = DateTime::from_timestamp_micros(time.0) else { return time.0.to_string() };
    match time.0.rem_euclid(1_000_000) {
        0 => when.format("%Y%m%dT%H%M%SZ").to_string(),
        micros => format!("{}.{micros:06}Z", when.format("%Y%m%dT%H%M%S")),
    }
}
