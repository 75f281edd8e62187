//! What was seen of the run so far: everything that metrics and the status page tell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use prometheus_client::metrics::histogram::Histogram;

use super::behind::Behind;
use crate::config::Pipeline;
use crate::engine::view::PartitionView;
use crate::log::entry::{Counts, Entry, FileKind};
use crate::pipeline::turn::HEARTBEAT;
use crate::pipeline::{Detail, Holding, Took};
use crate::record::{Partition, Timestamp};
use crate::sink::traffic::Traffic;
use crate::time::text::describe;
use crate::time::window::Window;

/// Bounds of the steps of commits and publishing, in seconds.
const DURATIONS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds of the steps from a window's end to its file, in seconds.
const DELAYS: [f64; 14] =
    [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0];
/// Commits and results that are remembered for the page.
const REMEMBERED: usize = 12;
const RESULTS: usize = 48;
/// A run that has shown nothing for this long does something that takes long, in microseconds.
const STILL: i64 = 15_000_000;
/// A run that has not committed for this long is in trouble, in microseconds.
const OVERDUE: i64 = 3 * HEARTBEAT;

/// Fewer records than this are no sign of anything.
const TELLING: u64 = 10;

/// One commit, as the page shows it.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
    pub(super) read: u64,
    pub(super) files: usize,
    pub(super) took: Took,
}

/// One published result, as the page shows it.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) window: Window,
    pub(super) revision: i32,
    pub(super) rows: u64,
    pub(super) complete: bool,
    pub(super) sequence: u64,
    /// When it was durable.
    pub(super) at: Timestamp,
    /// Its parts, by their keys in the sink.
    pub(super) files: Vec<String>,
}

/// Files of one kind.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Everything seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) pipeline: Pipeline,
    pub(super) now: Timestamp,
    pub(super) started: Timestamp,
    /// What the run does before it reads; `None` once it does.
    pub(super) begins: Option<&'static str>,
    /// The topic's name, once it is known.
    pub(super) topic: Option<String>,
    /// The counts that the run began with: counters tell what came after.
    base: Counts,
    pub(super) detail: Option<Detail>,
    pub(super) sequence: u64,
    pub(super) commits: u64,
    pub(super) last_commit: Option<Timestamp>,
    took: Option<Took>,
    pub(super) commit_seconds: Histogram,
    pub(super) publish_seconds: Histogram,
    pub(super) delay_seconds: Histogram,
    pub(super) files: BTreeMap<&'static str, Files>,
    pub(super) recent: VecDeque<Commit>,
    pub(super) results: VecDeque<Published>,
    pub(super) behind: Behind,
    pub(super) traffic: Option<Arc<Traffic>>,
}

impl Seen {
    pub(super) fn new(pipeline: Pipeline, now: Timestamp) -> Self {
        Self {
            pipeline,
            now,
            started: now,
            begins: Some("starting"),
            topic: None,
            base: Counts::default(),
            detail: None,
            sequence: 0,
            commits: 0,
            last_commit: None,
            took: None,
            commit_seconds: Histogram::new(DURATIONS),
            publish_seconds: Histogram::new(DURATIONS),
            delay_seconds: Histogram::new(DELAYS),
            files: BTreeMap::new(),
            recent: VecDeque::new(),
            results: VecDeque::new(),
            behind: Behind::default(),
            traffic: None,
        }
    }

    pub(super) fn opened(&mut self, entry: &Entry) {
        self.begins = None;
        self.topic = Some(entry.topic.name.clone());
        self.base = entry.totals.clone();
        self.sequence = entry.sequence.0;
        self.last_commit = Some(entry.time);
        let newest = entry.partitions.iter();
        let newest =
            newest.filter_map(|(&partition, claim)| Some((partition, claim.watermark?.plus(entry.watermark_delay))));
        self.behind.begin(newest);
    }

    pub(super) fn took(&mut self, took: Took) {
        self.commit_seconds.observe(took.commit as f64 / 1e6);
        self.publish_seconds.observe(took.publish as f64 / 1e6);
        self.took = Some(took);
    }

    pub(super) fn committed(&mut self, entry: &Entry) {
        self.commits += 1;
        self.sequence = entry.sequence.0;
        let took = self.took.take().unwrap_or(Took { commit: 0, publish: 0, at: entry.time, attempts: 1 });
        self.last_commit = Some(took.at);
        for file in &entry.files {
            let files = self.files.entry(kind(file.kind)).or_default();
            files.files += 1;
            files.rows += file.rows;
            files.bytes += file.bytes;
        }
        for closed in &entry.closed {
            self.delay_seconds.observe((took.at.0 - closed.window.end.0) as f64 / 1e6);
            let (window, revision, rows, complete) = (closed.window, closed.revision, closed.rows, closed.complete);
            let of_it = entry.files.iter().filter(|file| file.window == Some(window) && file.revision == revision);
            let files = of_it.map(|file| file.path.clone()).collect();
            let sequence = entry.sequence.0;
            self.results.push_back(Published { window, revision, rows, complete, sequence, at: took.at, files });
        }
        let (time, read, files) = (entry.time, entry.counts.read, entry.files.len());
        self.recent.push_back(Commit { sequence: entry.sequence.0, time, read, files, took });
        keep_last(&mut self.recent, REMEMBERED);
        keep_last(&mut self.results, RESULTS);
    }

    /// What became of records since the run began.
    pub(super) fn counts(&self) -> Counts {
        let Some(detail) = &self.detail else { return Counts::default() };
        let (now, base) = (&detail.view.totals, &self.base);
        let before = |reason: &String| base.invalid.get(reason).copied().unwrap_or(0);
        Counts {
            read: now.read.saturating_sub(base.read),
            aggregated: now.aggregated.saturating_sub(base.aggregated),
            filtered: now.filtered.saturating_sub(base.filtered),
            late: now.late.saturating_sub(base.late),
            missed: now.missed.saturating_sub(base.missed),
            too_late: now.too_late.saturating_sub(base.too_late),
            invalid: now
                .invalid
                .iter()
                .map(|(reason, count)| (reason.clone(), count.saturating_sub(before(reason))))
                .collect(),
            gaps: now.gaps.saturating_sub(base.gaps),
        }
    }

    /// Why the run does not do its work now; `None` if it does.
    pub(super) fn unready(&self) -> Option<String> {
        let span = |micros: i64| describe(micros / 1_000_000 * 1_000_000);
        let Some(detail) = self.detail.as_ref().filter(|_| self.begins.is_none()) else {
            let what = self.begins.unwrap_or("beginning to read");
            let since = self.now.0.saturating_sub(self.started.0);
            let long = if since >= STILL {
                format!(", {} after the start; the log says why", span(since))
            } else {
                String::new()
            };
            return Some(format!("not reading yet: {what}{long}"));
        };
        if let Some(why) = &detail.waiting {
            return Some(format!("the source cannot be reached: {why}"));
        }
        let still = self.now.0.saturating_sub(detail.view.now.0);
        if still >= STILL {
            return Some(format!("nothing moved for {}: a commit takes that long, or the sink is away", span(still)));
        }
        let since = self.last_commit.map_or(0, |last| self.now.0.saturating_sub(last.0));
        (since >= OVERDUE).then(|| format!("the last commit is {} ago", span(since)))
    }

    /// What a person should look at, in words.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.unready().into_iter().collect();
        let Some(detail) = &self.detail else { return wrong };
        let waits = |view: &PartitionView| !view.idle && view.watermark.is_none();
        for (partition, _) in detail.partitions.iter().filter(|(_, view)| waits(view)) {
            wrong.push(format!(
                "partition {partition} has brought no record yet: no window closes before it does or is idle"
            ));
        }
        if let Some(Holding { partition, watermark, by }) = self.holding() {
            let newest = watermark.plus(self.pipeline.window.watermark_delay).to_second();
            let by = describe(by / 1_000_000 * 1_000_000);
            wrong.push(format!(
                "partition {partition} holds the watermark back: its newest record is of {newest}, {by} behind the furthest; \
                 windows wait until it brings newer ones or is idle"
            ));
        }
        if let Some(watermark) = detail.view.watermark.filter(|watermark| watermark.is_ancient()) {
            let watermark = watermark.to_second();
            wrong.push(format!(
                "event times are around {watermark}: a clock that was never set, or another unit than the column's"
            ));
        }
        let counts = self.counts();
        let share = |part: u64, what: &str| {
            (part >= TELLING && part > counts.read / 100)
                .then(|| format!("{:.1}% of the records read are {what}", part as f64 * 100.0 / counts.read as f64))
        };
        wrong.extend(share(
            counts.too_late,
            "too late; windrow lateness FILE says which watermark_delay would keep them",
        ));
        let main = counts.invalid.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason.as_str());
        wrong.extend(share(counts.invalid(), &format!("invalid, most of them {main}; they are kept under invalid/")));
        wrong
    }

    /// The partition that the watermark waits for.
    pub(super) fn holding(&self) -> Option<Holding> {
        self.detail.as_ref()?.holding(self.pipeline.window.watermark_delay)
    }

    /// How many offsets each partition is behind its end, where that is known.
    pub(super) fn lags(&self) -> impl Iterator<Item = (Partition, u64)> + '_ {
        self.detail.iter().flat_map(|detail| {
            detail.partitions.iter().filter_map(|(partition, view)| {
                let end = detail.ends.get(partition)?;
                Some((*partition, (end.0 - view.position.0).max(0).unsigned_abs()))
            })
        })
    }
}

/// What a kind of file is called.
fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Data => "data",
        FileKind::Correction => "correction",
        FileKind::Late => "late",
        FileKind::Invalid => "invalid",
    }
}

fn keep_last<T>(all: &mut VecDeque<T>, count: usize) {
    while all.len() > count {
        all.pop_front();
    }
}
