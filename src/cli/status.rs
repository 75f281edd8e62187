//! `windrow status`: what is open in a sink and why, from the log alone; with brokers named, how far behind it is.

mod topic;

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::SinkArgs;
use super::table::table;
use super::terminal::{grouped, short};
use crate::clock::Clock;
use crate::config::Emit;
use crate::error::Error;
use crate::handover::{self, Waiting};
use crate::log::LogError;
use crate::log::entry::{Claim, Entry, OpenWindow};
use crate::log::store::newest;
use crate::pipeline::writer;
use crate::record::{Offset, Partition, Timestamp};
use crate::time::text;
use topic::Ends;

/// An instance that has said nothing for longer is told to be silent, in microseconds: an idle one says so every 30 s.
const SILENT: i64 = 60_000_000;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    sink: SinkArgs,
    /// How many open windows to show
    #[arg(long, default_value_t = 20)]
    windows: usize,
    /// Ask these brokers where the topic ends: shows the lag
    #[arg(long)]
    brokers: Option<String>,
    /// Ask the brokers of this pipeline file, with its properties
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), Error> {
        let store = self.sink.open()?;
        let Some(stored) = newest(&store).await? else {
            return Err(LogError::Invalid(format!("sink {store}: there is no log; has a pipeline run here?")).into());
        };
        let ends = topic::ends(&stored.entry, self.pipeline.as_deref(), self.brokers.as_deref()).await?;
        print!("{}", describe(&stored.entry, ends.as_ref(), Clock::system().now(), self.windows));
        if let Some(waiting) = handover::waiting(&store, stored.entry.sequence.0).await? {
            println!("{}", handed_over(&waiting));
        }
        Ok(())
    }
}

/// What waits for the command of `--on-batch`, in words.
fn handed_over(waiting: &Waiting) -> String {
    match &waiting.first {
        None => "on-batch: every file is handed over".to_owned(),
        Some(first) => format!("on-batch: {} to be handed over, first {first}", counted(waiting.files as u64, "file")),
    }
}

/// A sink's state in words. `ends` is where the topic's partitions end, if that was asked.
fn describe(entry: &Entry, ends: Option<&Ends>, now: Timestamp, limit: usize) -> String {
    let ago = text::describe((now.0 - entry.time.0).max(0) / 1_000_000 * 1_000_000);
    let who = format!("process {} on {}", entry.writer.pid, entry.writer.host);
    let writer = if entry.released {
        format!("{who} left in good order")
    } else if entry.shared {
        format!("written by {who}; {}", shared_by(entry))
    } else if writer::is_gone(&entry.writer) {
        format!("{who} is gone without having left; the next run goes on from here")
    } else {
        format!("written by {who}")
    };
    let mut out = format!(
        "pipeline {}, topic {}\nentry {}, {ago} ago, {writer}\nwatermark {}{}{}\n\n",
        entry.pipeline,
        entry.topic.name,
        entry.sequence.0,
        shown(entry.watermark),
        entry.watermark.map(|watermark| format!(", {}", from_clock(now, watermark))).unwrap_or_default(),
        if entry.quiet.is_some() { ", stream quiet" } else { "" },
    );
    let rows: Vec<Vec<String>> =
        entry.partitions.iter().map(|(id, claim)| partition_row(entry, *id, claim, ends, now)).collect();
    let mut head = vec!["partition>", "next offset>", "newest event time", "watermark", "state"];
    if ends.is_some() {
        head.splice(2..2, ["end>", "lag>"]);
    }
    if entry.shared {
        head.push("read by");
    }
    out += &table(&head, &rows);
    out += &unread(entry);
    for partition in ends.into_iter().flat_map(|ends| ends.keys()).filter(|id| !entry.partitions.contains_key(id)) {
        out += &format!("partition {partition} is new: no run has read it yet\n");
    }
    if let Some(ends) = ends {
        let lags = entry.partitions.iter().filter_map(|(id, claim)| lag(claim, ends.get(id).copied()));
        out += &format!("lag {} offsets beyond this entry\n", grouped(lags.sum()));
    }
    let open_windows = entry.open_windows();
    out += &format!("\n{}\n", counted(open_windows.len() as u64, "open window"));
    for open in open_windows.iter().take(limit) {
        out += &format!("  {}\n", window_line(entry, open, ends));
    }
    if open_windows.len() > limit {
        out += &format!("  and {} more\n", open_windows.len() - limit);
    }
    let totals = &entry.totals;
    out += &format!(
        "\nread {} = aggregated {} + filtered {} + too late {} + invalid {}; late {}\n",
        grouped(totals.read),
        grouped(totals.aggregated),
        grouped(totals.filtered),
        grouped(totals.too_late),
        grouped(totals.invalid()),
        grouped(totals.late)
    );
    if totals.missed > 0 {
        out += &format!("late records missed {} that had become final\n", counted(totals.missed, "window"));
    }
    for (reason, count) in &totals.invalid {
        out += &format!("  invalid: {reason} {}\n", grouped(*count));
    }
    out
}

/// How many instances share the topic.
fn shared_by(entry: &Entry) -> String {
    let held = entry.partitions.values().filter_map(|claim| claim.held.as_ref());
    let instances: BTreeSet<&str> = held.map(|held| held.writer.as_str()).collect();
    format!("{} share the topic", counted(instances.len() as u64, "instance"))
}

/// The partitions of a shared topic that nobody reads: they hold the watermark.
fn unread(entry: &Entry) -> String {
    let free = entry.partitions.iter().filter(|(_, claim)| entry.shared && claim.held.is_none());
    let free: Vec<String> = free.map(|(id, _)| id.to_string()).collect();
    if free.is_empty() {
        return String::new();
    }
    format!("nobody reads partition {}: no window closes before somebody does\n", free.join(", "))
}

/// Which instance reads a partition, and since when nothing was heard of it.
fn reader(claim: &Claim, now: Timestamp) -> String {
    let Some(held) = &claim.held else { return "nobody".to_owned() };
    let silent = now.0.saturating_sub(held.at.0);
    if silent < SILENT {
        return held.name.clone();
    }
    format!("{}, silent for {}", held.name, short(silent / 1_000_000 * 1_000_000))
}

fn partition_row(entry: &Entry, id: Partition, claim: &Claim, ends: Option<&Ends>, now: Timestamp) -> Vec<String> {
    let newest = claim.watermark.map(|watermark| watermark.plus(entry.watermark_delay));
    let state = if claim.idle {
        "idle"
    } else if claim.standing_since.is_some() {
        "at its end"
    } else {
        "reading"
    };
    let mut row = vec![id.to_string(), claim.to.to_string()];
    if let Some(ends) = ends {
        let end = ends.get(&id).copied();
        row.push(end.map_or_else(|| "gone".to_owned(), |end| end.to_string()));
        row.push(lag(claim, end).map_or_else(String::new, grouped));
    }
    row.extend([shown(newest), shown(claim.watermark), state.to_owned()]);
    if entry.shared {
        row.push(reader(claim, now));
    }
    row
}

/// Offsets from where the log stands to the partition's end.
fn lag(claim: &Claim, end: Option<Offset>) -> Option<u64> {
    Some((end?.0 - claim.to.0).max(0).unsigned_abs())
}

/// What a window holds, which partition it waits for, and what would release it.
pub(super) fn window_line(entry: &Entry, open: &OpenWindow, ends: Option<&Ends>) -> String {
    let records = open.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.tally.records()));
    let first = entry.emit == Emit::Early && open.published.is_none();
    let boundary = if first { open.window.end } else { open.window.end.plus(entry.allowed_lateness) };
    let what = match (open.published, first) {
        (Some(_), _) => "revision 0 is out, takes late records",
        (None, true) => "fills",
        (None, false) if entry.watermark.is_some_and(|watermark| watermark >= open.window.end) => "takes late records",
        (None, false) => "fills",
    };
    let holds = |claim: &Claim| !claim.idle && claim.watermark.is_none_or(|watermark| watermark < boundary);
    let mut slow: Vec<_> = entry.partitions.iter().filter(|(_, claim)| holds(claim)).collect();
    slow.sort_by_key(|(_, claim)| claim.watermark);
    let needs = boundary.plus(entry.watermark_delay);
    let waits = match slow.as_slice() {
        [] => format!("every partition is idle: closes when the watermark has moved on to {boundary}"),
        [(id, claim), others @ ..] => {
            let others = match others.len() {
                0 => String::new(),
                others => format!(" and {}", counted(others as u64, "other")),
            };
            let mut state = held_by(entry, claim, ends.and_then(|ends| ends.get(id).copied()));
            if entry.shared && claim.held.is_none() {
                state += ", nobody reads it";
            }
            format!("waits for partition {id}{others}: {state}, needs {needs} or idleness")
        }
    };
    let records = counted(records, "record");
    format!("window {} to {}: {records}, {what}; {waits}", open.window.start, open.window.end)
}

/// How far a partition is that holds a window.
fn held_by(entry: &Entry, claim: &Claim, end: Option<Offset>) -> String {
    let newest = claim.watermark.map_or_else(
        || "no record yet".to_owned(),
        |watermark| format!("newest record {}", watermark.plus(entry.watermark_delay)),
    );
    let left = match lag(claim, end) {
        None => String::new(),
        Some(0) => ", nothing more to read there".to_owned(),
        Some(lag) => format!(", {} offsets to read", grouped(lag)),
    };
    format!("{newest}{left}")
}

/// A number of things, as people say it.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn shown(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "none yet".to_owned(), |time| time.to_string())
}

/// Where a time stands by the clock, to the second.
fn from_clock(now: Timestamp, time: Timestamp) -> String {
    let micros = now.0.saturating_sub(time.0) / 1_000_000 * 1_000_000;
    let side = if micros < 0 { "ahead of" } else { "behind" };
    format!("{} {side} the clock", short(micros.saturating_abs()))
}
