//! What became of a record, in words.

use std::fmt::Write as _;

use super::Place;
use super::kept::Found;
use super::record::Read;
use super::trace::{Accepted, Fate, first};
use crate::cli::status::window_line;
use crate::cli::terminal::grouped;
use crate::config::Emit;
use crate::error::Error;
use crate::log::entry::{Entry, FileKind, Sequence, Tally};
use crate::record::Timestamp;
use crate::sink::store::Store;
use crate::time::watermark::Lateness;
use crate::time::window::Window;

/// How many characters of a key or value are shown.
const EXCERPT: usize = 400;
/// How many windows are shown that a record can be in.
const WINDOWS: usize = 8;

/// The whole answer.
pub(super) async fn tell(
    store: &Store,
    newest: &Entry,
    place: &Place,
    fate: &Fate,
    read: Option<&Read>,
) -> Result<String, Error> {
    let mut out = format!("{place}\n");
    match fate {
        Fate::UnknownPartition => {
            let known: Vec<String> = newest.partitions.keys().map(ToString::to_string).collect();
            line(&mut out, &format!("no entry knows partition {}; known are {}", place.partition, known.join(", ")));
        }
        Fate::NotYet(next) => {
            let ahead = place.offset.0 - next.0;
            let stands = format!("the log stands at offset {next}, {} before it", grouped(ahead.unsigned_abs()));
            let stands = if ahead == 0 { "it is the next one".to_owned() } else { stands };
            line(&mut out, &format!("not read yet, or not yet committed: {stands}"));
            line(&mut out, &format!("entry {} is the newest, of {}", newest.sequence.0, newest.time));
        }
        Fate::BeforeStart(from, entry) => {
            line(&mut out, &format!("never read: the pipeline began partition {} at offset {from}", place.partition));
            line(&mut out, &began(entry));
        }
        Fate::Lost((from, to), entry) => {
            line(
                &mut out,
                &format!("lost: offsets {from} to {} were gone from the topic before they were read", to.0 - 1),
            );
            line(
                &mut out,
                &format!("entry {} of {} went on without them, as on_data_loss says", entry.sequence.0, entry.time),
            );
        }
        Fate::NoRecord(entry) => {
            line(&mut out, "no record: the offset was empty when it was read (an empty line of a file; in Kafka a");
            line(&mut out, "transaction's mark, an aborted record, or one that compaction took)");
            line(&mut out, &taken_in(entry, place));
        }
        Fate::Kept(found, entry) => kept(&mut out, store, newest, found, entry, place),
        Fate::Accepted(accepted) => {
            line(&mut out, &taken_in(&accepted.entry, place));
            if let Some(read) = read {
                self::read(&mut out, read, accepted);
            }
            windows(&mut out, store, newest, accepted, read).await?;
        }
    }
    Ok(out)
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "  {text}");
}

fn began(entry: &Entry) -> String {
    format!("entry {} of {} is the first that knows the partition", entry.sequence.0, entry.time)
}

fn taken_in(entry: &Entry, place: &Place) -> String {
    let range = entry.partitions.get(&place.partition).map_or_else(String::new, |claim| {
        format!(": offsets {} to {} of partition {}", claim.from, claim.to.0 - 1, place.partition)
    });
    format!("taken in by entry {} of {}{range}", entry.sequence.0, entry.time)
}

fn kept(out: &mut String, store: &Store, newest: &Entry, found: &Found, entry: &Entry, place: &Place) {
    let what = if found.kind == FileKind::Late { "too late" } else { "invalid" };
    line(out, &format!("{what}: it is in no window ({})", found.reason));
    line(out, &found.detail);
    if let Some(time) = found.event_time {
        line(out, &format!("event time {time}"));
    }
    if let Some(time) = found.timestamp {
        line(out, &format!("Kafka's time {time}"));
    }
    line(out, &taken_in(entry, place));
    let folder = if found.kind == FileKind::Late { "late/" } else { "invalid/" };
    match &found.file {
        Some(path) => line(out, &format!("kept in {}", store.address(path))),
        None => line(out, &format!("waits in the state of entry {} for a file under {folder}", newest.sequence.0)),
    }
    bytes(out, found.key.as_deref(), found.value.as_deref());
}

fn bytes(out: &mut String, key: Option<&[u8]>, value: Option<&[u8]>) {
    if let Some(key) = key {
        line(out, &format!("key   {}", excerpt(key)));
    }
    line(out, &format!("value {}", value.map_or_else(|| "none: a tombstone".to_owned(), excerpt)));
}

fn read(out: &mut String, read: &Read, accepted: &Accepted) {
    match read {
        Read::OtherPipeline => line(
            out,
            &format!(
                "the pipeline file is not the one of entry {}: its query, columns or windows have changed",
                accepted.entry.sequence.0
            ),
        ),
        Read::Gone(why) => line(out, &format!("the record cannot be read any more: {why}")),
        Read::Changed(why) => line(out, &format!("it was accepted, but the record there now cannot be read: {why}")),
        Read::Record { event_time, windows, passed, key, value } => {
            // The last window to end is the one that takes it if any does.
            let how = match windows.last().and_then(|(_, lateness)| *lateness) {
                Some(Lateness::OnTime) if windows.iter().any(|(_, how)| *how != Some(Lateness::OnTime)) => {
                    ", late for some of its windows"
                }
                Some(Lateness::OnTime) => ", on time",
                Some(Lateness::Late) => ", late but not too late",
                Some(Lateness::TooLate) => ", too late by the records that the topic holds now",
                None => "",
            };
            line(out, &format!("event time {event_time}{how}"));
            for (window, _) in windows.iter().filter(|(_, how)| windows.len() > 1 && *how == Some(Lateness::TooLate)) {
                line(out, &format!("window {} was final: the record is not in it", span(*window)));
            }
            if let Some((window, _)) = windows.iter().find(|(window, how)| {
                !accepted.added.contains_key(window) && (windows.len() == 1 || *how != Some(Lateness::TooLate))
            }) {
                line(
                    out,
                    &format!(
                        "its window is {}, which entry {} did not fill: was the topic made anew?",
                        span(*window),
                        accepted.entry.sequence.0
                    ),
                );
            } else if !passed {
                line(out, "left out of the result by the query's WHERE");
            }
            bytes(out, key.as_deref(), value.as_deref());
        }
    }
}

/// The windows it can be in, and what became of them.
async fn windows(
    out: &mut String,
    store: &Store,
    newest: &Entry,
    accepted: &Accepted,
    read: Option<&Read>,
) -> Result<(), Error> {
    let exact = matches!(read, Some(Read::Record { .. }));
    let overlap = accepted.entry.tumbling.is_hopping();
    if accepted.added.len() > 1 && !(overlap && exact) {
        line(
            out,
            &format!(
                "in {} of {} windows; which the log does not tell{}",
                if overlap { "some" } else { "one" },
                accepted.added.len(),
                if read.is_some() { "" } else { ", --pipeline FILE does" }
            ),
        );
    }
    if !accepted.sure {
        line(out, "if there was a record at all: some offsets of that entry had none");
    }
    for (&window, tally) in accepted.added.iter().take(WINDOWS) {
        let late = match read {
            Some(Read::Record { windows, .. }) => {
                let own = windows.iter().find(|(own, _)| *own == window).and_then(|(_, lateness)| *lateness);
                own.map(|lateness| lateness != Lateness::OnTime).or_else(|| of_all(tally.late, tally))
            }
            _ => of_all(tally.late, tally),
        };
        let mut what = String::new();
        if !exact {
            match of_all(tally.filtered, tally) {
                Some(true) => what += ", left out of the result by the query's WHERE",
                Some(false) => {}
                None => what += ", in its result unless the query's WHERE left it out",
            }
            match late {
                Some(true) => what += ", came late",
                Some(false) => what += ", came on time",
                None => {}
            }
        }
        line(out, &format!("window {}{what}", span(window)));
        for text in results(store, newest, &accepted.entry, window, late).await? {
            line(out, &format!("  {text}"));
        }
    }
    if accepted.added.len() > WINDOWS {
        line(out, &format!("and {} more windows", accepted.added.len() - WINDOWS));
    }
    Ok(())
}

/// Whether all of a tally are of one kind, or none; `None` if some are.
fn of_all(some: u64, tally: &Tally) -> Option<bool> {
    let all = tally.records();
    if some == 0 { Some(false) } else { (some == all).then_some(true) }
}

/// What became of a window that `entry` added to.
async fn results(
    store: &Store,
    newest: &Entry,
    entry: &Entry,
    window: Window,
    late: Option<bool>,
) -> Result<Vec<String>, Error> {
    let is_open = |entry: &Entry| entry.open_windows().iter().any(|open| open.window == window);
    let published =
        |entry: &Entry| entry.open_windows().iter().any(|open| open.window == window && open.published.is_some());
    let is_out = |entry: &Entry| published(entry) || !is_open(entry);
    let mut lines = Vec::new();
    if entry.emit == Emit::Early {
        let early = if published(entry) {
            // Published before the record came, or with it.
            Some(first(store, Sequence::FIRST, entry, published).await?)
        } else if is_out(newest) {
            Some(first(store, entry.sequence, newest, is_out).await?)
        } else {
            None
        };
        if let Some(early) = early {
            lines.extend(settled(store, &early, window, 0, late).await?);
        }
    }
    if is_open(newest) {
        let open_windows = newest.open_windows();
        let open = open_windows.iter().find(|open| open.window == window);
        lines.extend(open.map(|open| {
            let line = window_line(newest, open, None);
            format!("still open: {}", line.split_once(": ").map_or(line.as_str(), |(_, what)| what))
        }));
        return Ok(lines);
    }
    let last = first(store, entry.sequence, newest, |entry| !is_open(entry)).await?;
    let revision = last.closed.iter().filter(|closed| closed.window == window).map(|closed| closed.revision).max();
    match revision {
        Some(0) if entry.emit == Emit::Early => {}
        Some(revision) => lines.extend(settled(store, &last, window, revision, late).await?),
        None => lines.push(format!("final with entry {}; no late record came, so revision 0 stands", last.sequence.0)),
    }
    Ok(lines)
}

/// A result of a window, as the entry that settled it tells.
async fn settled(
    store: &Store,
    entry: &Entry,
    window: Window,
    revision: i32,
    late: Option<bool>,
) -> Result<Vec<String>, Error> {
    let Some(closed) = entry.closed.iter().find(|closed| closed.window == window && closed.revision == revision) else {
        return Ok(Vec::new());
    };
    let without = match late {
        Some(true) if entry.emit == Emit::Early && revision == 0 => ", without the late records",
        _ if revision > 0 => ", in the place of the revision before",
        _ => "",
    };
    let mut lines = vec![format!(
        "revision {revision}, entry {} of {}: {} rows{without}{}",
        entry.sequence.0,
        entry.time,
        grouped(closed.rows),
        if closed.complete { "" } else { "; the window is not complete: reading began, or records were lost, in it" }
    )];
    for file in entry.files.iter().filter(|file| file.window == Some(window) && file.revision == revision) {
        let there = store.size(&file.path).await?.is_some();
        let note = if there { "" } else { "  (not there yet: the next start publishes it)" };
        lines.push(format!("  {}{note}", store.address(&file.path)));
    }
    Ok(lines)
}

fn span(window: Window) -> String {
    let (start, end) = (window.start.to_string(), window.end.to_string());
    // The date is not said twice.
    let same_day =
        Timestamp(window.end.0 - 1).0.div_euclid(86_400_000_000) == window.start.0.div_euclid(86_400_000_000);
    match end.split_once('T').filter(|_| same_day && !end.contains("T00:00:00Z")) {
        Some((_, time)) => format!("{start} to {time}"),
        None => format!("{start} to {end}"),
    }
}

/// Bytes as text, cut to a readable length, with what would act on a terminal escaped.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT)]);
    let mut shown: String = text
        .chars()
        .take(EXCERPT)
        .flat_map(|char| {
            let safe = !char.is_control()
                && !('\u{200b}'..='\u{202e}').contains(&char)
                && !('\u{2060}'..='\u{206f}').contains(&char);
            if safe { vec![char] } else { char.escape_unicode().collect() }
        })
        .collect();
    if text.chars().nth(EXCERPT).is_some() || bytes.len() > 4 * EXCERPT {
        shown.push('…');
    }
    shown
}
