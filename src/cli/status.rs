//! `windrow status`: what is open in a sink and why, from the log alone.

use super::SinkArgs;
use super::table::table;
use super::terminal::grouped;
use crate::clock::Clock;
use crate::config::Emit;
use crate::error::Error;
use crate::log::LogError;
use crate::log::entry::{Claim, Entry, OpenWindow};
use crate::log::store::newest;
use crate::pipeline::writer;
use crate::record::{Partition, Timestamp};
use crate::time::text;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Status {
    #[command(flatten)]
    sink: SinkArgs,
    /// How many open windows to show
    #[arg(long, default_value_t = 20)]
    windows: usize,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), Error> {
        let store = self.sink.open()?;
        let Some(stored) = newest(&store).await? else {
            return Err(LogError::Invalid(format!("sink {store}: there is no log; has a pipeline run here?")).into());
        };
        print!("{}", describe(&stored.entry, Clock::system().now(), self.windows));
        Ok(())
    }
}

/// A sink's state in words.
fn describe(entry: &Entry, now: Timestamp, limit: usize) -> String {
    let ago = text::describe((now.0 - entry.time.0).max(0) / 1_000_000 * 1_000_000);
    let who = format!("process {} on {}", entry.writer.pid, entry.writer.host);
    let writer = if entry.released {
        format!("{who} left in good order")
    } else if writer::is_gone(&entry.writer) {
        format!("{who} is gone without having left; the next run goes on from here")
    } else {
        format!("written by {who}")
    };
    let mut out = format!(
        "pipeline {}, topic {}\nentry {}, {ago} ago, {writer}\nwatermark {}{}\n\n",
        entry.pipeline,
        entry.topic.name,
        entry.sequence.0,
        shown(entry.watermark),
        if entry.quiet.is_some() { ", stream quiet" } else { "" },
    );
    let rows: Vec<Vec<String>> = entry.partitions.iter().map(|(id, claim)| partition_row(entry, *id, claim)).collect();
    out += &table(&["partition>", "next offset>", "newest event time", "watermark", "state"], &rows);
    out += &format!("\n{}\n", counted(entry.windows.len() as u64, "open window"));
    for open in entry.windows.iter().take(limit) {
        out += &format!("  {}\n", window_line(entry, open));
    }
    if entry.windows.len() > limit {
        out += &format!("  and {} more\n", entry.windows.len() - limit);
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
    for (reason, count) in &totals.invalid {
        out += &format!("  invalid: {reason} {}\n", grouped(*count));
    }
    out
}

fn partition_row(entry: &Entry, id: Partition, claim: &Claim) -> Vec<String> {
    let newest = claim.watermark.map(|watermark| watermark.plus(entry.watermark_delay));
    let state = if claim.idle {
        "idle"
    } else if claim.standing_since.is_some() {
        "at its end"
    } else {
        "reading"
    };
    vec![id.to_string(), claim.to.to_string(), shown(newest), shown(claim.watermark), state.to_owned()]
}

/// What a window holds, and which partition it waits for.
pub(super) fn window_line(entry: &Entry, open: &OpenWindow) -> String {
    let records: u64 = open.parts.iter().map(|part| part.tally.aggregated + part.tally.filtered).sum();
    let first = entry.emit == Emit::Early && open.published.is_none();
    let boundary = if first { open.window.end } else { open.window.end.plus(entry.allowed_lateness) };
    let what = match (open.published, first) {
        (Some(_), _) => "revision 0 is out, takes late records",
        (None, true) => "fills",
        (None, false) if entry.watermark.is_some_and(|watermark| watermark >= open.window.end) => "takes late records",
        (None, false) => "fills",
    };
    let holds = |claim: &Claim| !claim.idle && claim.watermark.is_none_or(|watermark| watermark < boundary);
    let slowest = entry.partitions.iter().filter(|(_, claim)| holds(claim)).min_by_key(|(_, claim)| claim.watermark);
    let needs = boundary.plus(entry.watermark_delay);
    let waits = match slowest {
        Some((partition, Claim { watermark: Some(watermark), .. })) => {
            let newest = watermark.plus(entry.watermark_delay);
            format!("waits for partition {partition}: newest record {newest}, needs {needs}")
        }
        Some((partition, _)) => format!("waits for partition {partition}: no record yet, needs {needs} or idleness"),
        None => format!("every partition is idle: closes when the watermark has moved on to {boundary}"),
    };
    let records = counted(records, "record");
    format!("window {} to {}: {records}, {what}; {waits}", open.window.start, open.window.end)
}

/// A number of things, as people say it.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn shown(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "none yet".to_owned(), |time| time.to_string())
}
