//! `windrow audit`: proves a sink sound, or says where it is not.
//!
//! By itself it looks at the sink alone. With `--replay` it also reads the topic, and computes everything anew.

mod again;
mod kept;
mod replay;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::terminal::{Terminal, grouped};
use super::{PATIENCE, SinkArgs};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::error::{Error, Kind};
use crate::log::LogError;
use crate::log::entry::{Entry, File, FileKind, Sequence, Tally};
use crate::log::laws;
use crate::log::publish::Feed;
use crate::log::store::{Stored, newest, read};
use crate::record::{Partition, Timestamp};
use crate::sink::format::FileFormat;
use crate::sink::layout;
use crate::sink::state::{self, digest};
use crate::sink::store::Store;
use crate::source::registry::prepare::prepare;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Audit {
    #[command(flatten)]
    sink: SinkArgs,
    /// Also recompute every published window from the topic, and compare row by row; FILE is the pipeline file
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// How many findings are told one by one.
const TOLD: usize = 50;

/// What is found wrong, and what was looked at.
#[derive(Default)]
struct Findings {
    wrong: Vec<String>,
    files: u64,
    rows: u64,
    /// Every key an entry publishes.
    named: BTreeSet<String>,
    /// What each window's newest result was made of, by window start.
    results: BTreeMap<Timestamp, (i32, BTreeMap<Partition, Tally>)>,
    late_rows: u64,
    invalid_rows: u64,
    replayed: Option<replay::Replayed>,
}

impl Audit {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let mut pipeline = self.replay.as_deref().map(Pipeline::load).transpose()?;
        if let Some(pipeline) = &mut pipeline {
            prepare(pipeline, Clock::system(), Some(PATIENCE)).await?;
        }
        let store = self.sink.open()?;
        let Some(newest) = newest(&store).await? else {
            return Err(LogError::Invalid(format!("sink {store}: there is no log; has a pipeline run here?")).into());
        };
        let mut findings = Findings::default();
        let bar = terminal.bar(newest.entry.sequence.0, "entries");
        let mut before: Option<Stored> = None;
        for number in 1..=newest.entry.sequence.0 {
            let Some(stored) = read(&store, Sequence(number)).await? else {
                findings.wrong.push(format!("log entry {number} is missing"));
                before = None;
                continue;
            };
            findings.entry(&store, before.as_ref(), &stored, stored.entry.sequence == newest.entry.sequence).await?;
            before = Some(stored);
            bar.set_position(number);
        }
        findings.sums(&newest.entry);
        findings.strangers(&store).await?;
        findings.state(&store, &newest.entry).await?;
        if let Some(pipeline) = &pipeline {
            match replay::replay(&store, &newest.entry, pipeline, terminal).await {
                Ok(mut replayed) => {
                    findings.wrong.append(&mut replayed.wrong);
                    findings.replayed = Some(replayed);
                }
                // What was found before is told, too.
                Err(error) if error.kind() == Kind::Data => findings.wrong.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        terminal.clear();
        findings.report(&store, &newest.entry)
    }
}

/// A damaged entry may count more than a number holds.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

impl Findings {
    async fn entry(
        &mut self,
        store: &Store,
        before: Option<&Stored>,
        stored: &Stored,
        newest: bool,
    ) -> Result<(), Error> {
        let entry = &stored.entry;
        if let Err(broken) = laws::check(before.map(|before| &before.entry), entry) {
            self.wrong.push(broken.to_string());
        }
        if before.is_some_and(|before| entry.previous.as_ref() != Some(&before.digest)) {
            self.wrong.push(format!("entry {}: the entry before it is not the one it followed", entry.sequence.0));
        }
        for file in &entry.files {
            self.file(store, file, newest).await?;
        }
        for closed in &entry.closed {
            let result = self.results.entry(closed.window.start).or_insert((-1, BTreeMap::new()));
            if closed.revision <= result.0 {
                let text = format!("window {} revision {} is published twice", closed.window.start, closed.revision);
                self.wrong.push(text);
            }
            *result = (closed.revision, closed.inputs.clone());
            let files = entry.files.iter();
            let files = files.filter(|file| file.window == Some(closed.window) && file.revision == closed.revision);
            let named = sum(files.map(|file| file.rows));
            if named != closed.rows {
                self.wrong
                    .push(format!("window {}: {} rows closed, {named} in files", closed.window.start, closed.rows));
            }
        }
        let key = layout::feed(entry.sequence);
        let expected = Feed::of(entry).map(|feed| serde_json::to_vec(&feed).unwrap_or_default());
        match (expected, store.get(&key).await?) {
            (Some(_), None) if newest => {}
            (Some(_), None) => self.wrong.push(format!("{key} is missing")),
            (Some(expected), Some(found)) if expected != found => self.wrong.push(format!("{key} is not what it was")),
            _ => {}
        }
        Ok(())
    }

    /// A file is there, whole, and holds the rows it should. The newest entry's may still be on their way.
    async fn file(&mut self, store: &Store, file: &File, newest: bool) -> Result<(), Error> {
        if !self.named.insert(file.path.clone()) {
            self.wrong.push(format!("{} is published twice", file.path));
        }
        let found = match store.get(&file.path).await? {
            None if newest => store.get(&file.stage).await?,
            found => found,
        };
        let Some(bytes) = found else {
            self.wrong.push(format!("{} is missing", file.path));
            return Ok(());
        };
        if bytes.len() as u64 != file.bytes || digest(&bytes) != file.sha256 {
            self.wrong.push(format!("{} is not what was written", file.path));
            return Ok(());
        }
        match FileFormat::of(&file.path).rows(bytes) {
            Ok(rows) if rows == file.rows => {}
            Ok(rows) => self.wrong.push(format!("{} holds {rows} rows, not {}", file.path, file.rows)),
            Err(error) => self.wrong.push(format!("{} cannot be read: {error}", file.path)),
        }
        self.files += 1;
        match file.kind {
            FileKind::Data | FileKind::Correction => self.rows += file.rows,
            FileKind::Late => self.late_rows += file.rows,
            FileKind::Invalid => self.invalid_rows += file.rows,
        }
        Ok(())
    }

    /// Every record counted is in a result, in an open window, or kept.
    fn sums(&mut self, newest: &Entry) {
        let windows = newest.open_windows();
        let open: BTreeSet<Timestamp> = windows.iter().map(|open| open.window.start).collect();
        let settled = self.results.iter().filter(|(start, _)| !open.contains(start));
        let settled = settled.flat_map(|(_, (_, inputs))| inputs.values());
        let filling = windows.iter().flat_map(|open| &open.parts).map(|part| &part.tally);
        let tallies: Vec<&Tally> = settled.chain(filling).collect();
        let totals = &newest.totals;
        let waiting = |chunks: &[crate::log::entry::Chunk]| sum(chunks.iter().map(|chunk| chunk.rows));
        let [aggregated, filtered, late] = [
            sum(tallies.iter().map(|tally| tally.aggregated)),
            sum(tallies.iter().map(|tally| tally.filtered)),
            sum(tallies.iter().map(|tally| tally.late)),
        ];
        // Each record is in all of the windows that hold it, but for those that were final.
        let places = newest.tumbling.overlap().saturating_mul(sum([totals.aggregated, totals.filtered].into_iter()));
        let in_windows = if newest.tumbling.is_hopping() {
            vec![("in windows", places.saturating_sub(totals.missed), aggregated.saturating_add(filtered))]
        } else {
            vec![
                ("aggregated", totals.aggregated, aggregated),
                ("filtered", totals.filtered, filtered),
                ("late", totals.late, late),
            ]
        };
        let kept = [
            ("too late", totals.too_late, self.late_rows + waiting(&newest.late.chunks)),
            ("invalid", totals.invalid(), self.invalid_rows + waiting(&newest.invalid.chunks)),
        ];
        for (what, counted, found) in in_windows.into_iter().chain(kept) {
            if counted != found {
                self.wrong.push(format!("{counted} records were counted as {what}, {found} are found"));
            }
        }
    }

    /// Nothing lies where readers look that no entry names.
    async fn strangers(&mut self, store: &Store) -> Result<(), Error> {
        for folder in [layout::DATA, layout::CORRECTIONS, layout::LATE, layout::INVALID] {
            for (key, _) in store.list(folder).await? {
                if !self.named.contains(&key) {
                    self.wrong.push(format!("{key} is not in the log"));
                }
            }
        }
        Ok(())
    }

    /// What the newest entry needs to go on is there.
    async fn state(&mut self, store: &Store, newest: &Entry) -> Result<(), Error> {
        let open = newest.windows.iter().flat_map(|open| &open.parts).flat_map(|part| &part.chunks);
        for chunk in open.chain(&newest.late.chunks).chain(&newest.invalid.chunks) {
            if let Err(error) = state::read(store, chunk).await {
                self.wrong.push(error.to_string());
            }
        }
        Ok(())
    }

    fn report(self, store: &Store, newest: &Entry) -> Result<(), Error> {
        let totals = &newest.totals;
        println!(
            "{} log entries, {} files, {} result rows, {} windows settled, {} open",
            grouped(newest.sequence.0),
            grouped(self.files),
            grouped(self.rows),
            grouped(self.results.len() as u64),
            newest.open_windows().len()
        );
        println!(
            "read {} = aggregated {} + filtered {} + too late {} + invalid {}; late {}; offsets without a record {}",
            grouped(totals.read),
            grouped(totals.aggregated),
            grouped(totals.filtered),
            grouped(totals.too_late),
            grouped(totals.invalid()),
            grouped(totals.late),
            grouped(totals.gaps)
        );
        if let Some(replayed) = &self.replayed {
            println!("{}", replay::told(replayed));
            replayed.passed_over.iter().take(TOLD).for_each(|why| println!("  not compared: {why}"));
        }
        if self.wrong.is_empty() {
            let partly = self.replayed.as_ref().is_some_and(|replayed| !replayed.passed_over.is_empty());
            println!("{}", if partly { "sound, as far as the topic can still tell" } else { "sound" });
            return Ok(());
        }
        for wrong in self.wrong.iter().take(TOLD) {
            println!("  {wrong}");
        }
        if self.wrong.len() > TOLD {
            println!("  and {} more", self.wrong.len() - TOLD);
        }
        Err(LogError::Data(format!("sink {store} is not sound: {} findings", self.wrong.len())).into())
    }
}
