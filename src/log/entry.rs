//! One entry of the commit log, as a value. An entry alone is enough to start from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::Emit;
use crate::record::{Offset, Partition, Timestamp};
use crate::time::window::{Window, Windows};

/// The version of the entry's form that this program writes; a newer one is refused.
pub const FORMAT: u32 = 1;

/// An entry's number: 1 for the first, then without gaps.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The first entry's number.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    /// Twenty digits, so that names sort as numbers do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

/// What one commit claims, holds open and publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The form's version, [`FORMAT`].
    pub format: u32,
    /// This entry's number.
    pub sequence: Sequence,
    /// SHA-256 of the entry before, in hex; none for the first.
    pub previous: Option<String>,
    /// The pipeline's name.
    pub pipeline: String,
    /// Digest of query, columns and windows.
    pub fingerprint: String,
    /// The instance that wrote it.
    pub writer: Writer,
    /// When it was made, by the writer's clock.
    pub time: Timestamp,
    /// The topic that was read.
    pub topic: TopicId,
    /// Which window a time falls into.
    pub tumbling: Windows,
    /// When results are published.
    pub emit: Emit,
    /// How far a partition's watermark stays behind its newest record, in microseconds.
    pub watermark_delay: i64,
    /// How much longer a window takes late records in, in microseconds.
    pub allowed_lateness: i64,
    /// The stream's watermark; none before every partition has one.
    pub watermark: Option<Timestamp>,
    /// Since when every partition has been idle, and the watermark at that moment.
    pub quiet: Option<Quiet>,
    /// Each partition's claim.
    pub partitions: BTreeMap<Partition, Claim>,
    /// Windows that are still open, by start; of hopping windows the panes, which hold what the windows share:
    /// [`Entry::open_windows`] gives the windows.
    pub windows: Vec<OpenWindow>,
    /// Too late records that wait for a file.
    pub late: Waiting,
    /// Invalid records that wait for a file.
    pub invalid: Waiting,
    /// Windows whose result this entry settles, with or without a file.
    pub closed: Vec<ClosedWindow>,
    /// Files this entry publishes.
    pub files: Vec<File>,
    /// What became of the records claimed here.
    pub counts: Counts,
    /// What became of all records since the first entry, this one's included.
    pub totals: Counts,
    /// Whether the writer left in good order after this entry; of a shared pipeline, the last of its writers.
    pub released: bool,
    /// Whether the partitions are shared among several instances.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// Which instance wrote an entry, and where it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writer {
    /// A random id, new for each start.
    pub id: String,
    /// The host's name.
    pub host: String,
    /// The process's number on that host.
    pub pid: u32,
    /// When that process started, as the host counts it; tells it from a later one with the same number.
    pub started: Option<u64>,
}

/// The topic an entry speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicId {
    /// Its name.
    pub name: String,
    /// The cluster's id, where it tells one.
    pub cluster: Option<String>,
    /// The topic's own id, where the brokers give one: a topic made anew has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The files that are its partitions, in their order, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

/// A quiet stream: every partition idle.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quiet {
    /// Since when.
    pub since: Timestamp,
    /// The watermark then.
    pub watermark: Timestamp,
}

/// What an entry takes in of one partition, and where the partition stands after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The first offset taken in; the `to` of the partition's claim before.
    pub from: Offset,
    /// The offset after the last one taken in.
    pub to: Offset,
    /// The partition's watermark after `to`.
    pub watermark: Option<Timestamp>,
    /// Whether the partition is idle.
    pub idle: bool,
    /// Since when the broker has said that the partition ends where we stand.
    pub standing_since: Option<Timestamp>,
    /// The last record taken in, to know the topic again.
    pub tail: Option<Tail>,
    /// Where the watermark was raised from outside in this claim: a record beyond the cut of a closed window is late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub raised: Vec<Raise>,
    /// Spans of event time of which this partition has not seen every record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
    /// Offsets in this claim that Kafka no longer had: `[first, end)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<(Offset, Offset)>,
    /// Of a shared pipeline: which instance reads the partition; none if nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// The instance that reads a partition of a shared pipeline, by its own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The writer's id.
    pub writer: String,
    /// What that instance is called.
    pub name: String,
    /// When it last said so, by its clock.
    pub at: Timestamp,
    /// Of an idle partition: when the broker last said that nothing more is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved: Option<Timestamp>,
}

/// A record to know the topic again by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Its offset.
    pub offset: Offset,
    /// Digest of its timestamp, key and value, in hex.
    pub digest: String,
}

/// A partition's watermark raised to the stream's, because windows had moved on while the partition was idle or new.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// From this offset on.
    pub offset: Offset,
    /// To this.
    pub watermark: Timestamp,
}

/// A span of event time of which a partition has not seen every record: the run began in its middle, or records were
/// lost and that was accepted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    /// Windows that end at or before this are whole.
    pub after: Option<Timestamp>,
    /// Windows that start at or after this are whole; none while no record has come since.
    pub before: Option<Timestamp>,
}

impl Hole {
    /// Whether `window` may lack records for it.
    #[must_use]
    pub fn touches(&self, window: Window) -> bool {
        self.after.is_none_or(|after| window.end > after) && self.before.is_none_or(|before| window.start < before)
    }
}

/// A window that still takes records, or a pane that such windows share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenWindow {
    /// Its span.
    pub window: Window,
    /// Whether revision 0 of the window that begins here is out, and how many rows it had.
    pub published: Option<u64>,
    /// What each partition brought so far.
    pub parts: Vec<Part>,
}

/// What one partition brought to one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The partition.
    pub partition: Partition,
    /// Whether these are the late records, kept apart from those on time.
    pub late: bool,
    /// Of late records in a pane, for which of its windows they were late.
    #[serde(default, skip_serializing_if = "Missed::is_nothing")]
    pub missed: Missed,
    /// Counts and offsets of the records in it.
    pub tally: Tally,
    /// The state objects that hold the partial result, in order.
    pub chunks: Vec<Chunk>,
}

/// Which windows of a pane had ended when late records came to it. Both are ends of panes, and so of windows.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missed {
    /// Windows up to this end had ended: the records are late for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Windows up to this end were final: the records are not in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
}

impl Missed {
    /// Whether windows do not overlap, or none had ended.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Records of a window or a pane that become of one fate: whose they are, and how late they came.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lot {
    /// The partition.
    pub partition: Partition,
    /// Whether these are late records, kept apart from those on time.
    pub late: bool,
    /// Of hopping windows, for which of them.
    pub missed: Missed,
}

impl Lot {
    /// Whether they came after the end of `window`, one of those they could be in.
    #[must_use]
    pub fn is_late_for(&self, window: Window) -> bool {
        self.missed.ended.map_or(self.late, |ended| window.end <= ended)
    }

    /// Whether `window`, one of those they could be in, was not final when they came.
    #[must_use]
    pub fn is_in(&self, window: Window) -> bool {
        self.missed.settled.is_none_or(|settled| settled < window.end)
    }

    /// What `tally` of these records says of `window`, which has them all.
    #[must_use]
    pub fn tally_in(&self, window: Window, tally: Tally) -> Tally {
        match self.missed.ended {
            Some(_) if !self.is_late_for(window) => Tally { late: 0, ..tally },
            _ => tally,
        }
    }
}

impl Part {
    /// Which records it has.
    #[must_use]
    pub fn lot(&self) -> Lot {
        Lot { partition: self.partition, late: self.late, missed: self.missed }
    }
}

impl Entry {
    /// The windows that take more records, by start. Those of hopping windows name no state: it is their panes'.
    #[must_use]
    pub fn open_windows(&self) -> Cow<'_, [OpenWindow]> {
        if !self.tumbling.is_hopping() {
            return Cow::Borrowed(&self.windows);
        }
        let mut open = Vec::new();
        for window in self.tumbling.over(self.windows.iter().map(|pane| pane.window)) {
            if Some(window.end.plus(self.allowed_lateness)) <= self.watermark {
                continue;
            }
            let first = self.windows.partition_point(|pane| pane.window.start < window.start);
            let panes = self.windows[first..].iter().take_while(|pane| pane.window.end <= window.end);
            let mut parts: BTreeMap<(Partition, bool), Tally> = BTreeMap::new();
            for part in panes.flat_map(|pane| &pane.parts).filter(|part| part.lot().is_in(window)) {
                let tally = part.lot().tally_in(window, part.tally);
                let known = parts.entry((part.partition, part.lot().is_late_for(window)));
                known.and_modify(|known| *known = known.and(tally)).or_insert(tally);
            }
            let published = self.windows.get(first).filter(|pane| pane.window.start == window.start);
            let published = published.and_then(|pane| pane.published);
            if parts.is_empty() && published.is_none() {
                continue;
            }
            let part = |((partition, late), tally)| Part {
                partition,
                late,
                missed: Missed::default(),
                tally,
                chunks: Vec::new(),
            };
            open.push(OpenWindow { window, published, parts: parts.into_iter().map(part).collect() });
        }
        Cow::Owned(open)
    }
}

/// Records of one partition in one window, counted.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Records that passed the query's WHERE.
    pub aggregated: u64,
    /// Records that did not.
    pub filtered: u64,
    /// Of both, those that came late.
    pub late: u64,
    /// The first record's offset.
    pub first: Offset,
    /// The last record's offset.
    pub last: Offset,
}

impl Tally {
    /// All records.
    #[must_use]
    pub fn records(self) -> u64 {
        self.aggregated.saturating_add(self.filtered)
    }

    /// This and `other` together. A damaged entry may count more than a number holds.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            aggregated: self.aggregated.saturating_add(other.aggregated),
            filtered: self.filtered.saturating_add(other.filtered),
            late: self.late.saturating_add(other.late),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

/// A piece of state: a span of bytes in a state object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// The object's key in the sink.
    pub object: String,
    /// Where the piece begins in it.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 of the piece, in hex.
    pub sha256: String,
    /// Of groups, the number of the run that this is the next piece of: sorted by the group columns, and no longer held
    /// in memory. Rows, and the groups that are in memory, have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
}

/// Records that wait in the state until they are worth a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Where they are.
    pub chunks: Vec<Chunk>,
    /// When the first of them came.
    pub since: Option<Timestamp>,
}

/// A window whose result is settled by an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClosedWindow {
    /// Its span.
    pub window: Window,
    /// The result's revision.
    pub revision: i32,
    /// Whether nothing can change it any more.
    pub last: bool,
    /// What let it close.
    pub by: ClosedBy,
    /// Whether every record of it was seen.
    pub complete: bool,
    /// Rows of the result; no file if there are none.
    pub rows: u64,
    /// What each partition brought.
    pub inputs: BTreeMap<Partition, Tally>,
}

/// What let a window close.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// Every partition's own records.
    Watermark,
    /// Some partition was idle: the cut is where its claim ends.
    Idle,
    /// All were idle and time passed: the cut is where the claims end.
    Quiet,
    /// The operator: the cut is where the claims end.
    CloseAll,
}

/// A file that an entry publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it holds.
    pub kind: FileKind,
    /// Its key before it is published.
    pub stage: String,
    /// Its final key.
    pub path: String,
    /// The window of its rows, for results.
    pub window: Option<Window>,
    /// The result's revision.
    pub revision: i32,
    /// Which part of the result, from 1.
    pub part: u32,
    /// How many parts the result has.
    pub parts: u32,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// What a published file holds.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A window's first result.
    Data,
    /// A window's result again, late records included.
    Correction,
    /// Records that came too late, as they came.
    Late,
    /// Records that could not be read, as they came.
    Invalid,
}

/// What became of records. `read = aggregated + filtered + too_late + invalid`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Records taken in.
    pub read: u64,
    /// Records that are in a window's result.
    pub aggregated: u64,
    /// Records that the query's WHERE left out.
    pub filtered: u64,
    /// Of aggregated and filtered, those that came late; of hopping windows, for the first to end that holds them.
    pub late: u64,
    /// Windows that were final for records that a later window took, counted once for each such record and window.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// Records whose window was final; of hopping windows, every one that holds them.
    pub too_late: u64,
    /// Records that could not be read, by reason.
    pub invalid: BTreeMap<String, u64>,
    /// Offsets that held no record.
    pub gaps: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counts {
    /// All invalid records.
    #[must_use]
    pub fn invalid(&self) -> u64 {
        self.invalid.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether every record read is accounted for.
    #[must_use]
    pub fn balance(&self) -> bool {
        // What a damaged entry says may be more than a number holds.
        let parts = [self.aggregated, self.filtered, self.too_late];
        let parts = parts.iter().chain(self.invalid.values()).map(|count| u128::from(*count));
        u128::from(self.read) == parts.sum::<u128>()
    }

    /// Adds `other` to this.
    pub fn add(&mut self, other: &Self) {
        self.read = self.read.saturating_add(other.read);
        self.aggregated = self.aggregated.saturating_add(other.aggregated);
        self.filtered = self.filtered.saturating_add(other.filtered);
        self.late = self.late.saturating_add(other.late);
        self.missed += other.missed;
        self.too_late = self.too_late.saturating_add(other.too_late);
        self.gaps = self.gaps.saturating_add(other.gaps);
        for (reason, count) in &other.invalid {
            let sum = self.invalid.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}
