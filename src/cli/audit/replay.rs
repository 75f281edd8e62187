//! `windrow audit --replay`: the log gone through once more over the topic, with the run's own decoder, engine and
//! files, and everything that comes out compared with what was published.
//!
//! What a run took from clocks is taken from the log: each entry's claims, the stream's watermark, where a partition's
//! watermark was raised, and which records were ahead of the clock. All else must come out again. What the topic no
//! longer holds is passed over and told; so is what another pipeline file made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;

use super::again::Again;
use super::kept::{At, Awaited, places};
use super::rows;
use crate::cli::run::open_decoder;
use crate::cli::terminal::{Terminal, grouped};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::decode::Decode;
use crate::engine::Engine;
use crate::error::Error;
use crate::log::entry::{Claim, ClosedWindow, Entry, File, FileKind, Lot, Sequence, Tally};
use crate::log::publish::sweep;
use crate::log::store::{Stored, read};
use crate::query::Query;
use crate::record::{Offset, Partition, Records, Timestamp};
use crate::sink::SinkError;
use crate::sink::format::FileFormat;
use crate::sink::stage::{Desk, Ending, Identity, stage};
use crate::sink::state;
use crate::sink::store::Store;
use crate::source::{SourceError, Topic};
use crate::time::window::Window;

/// How often progress is logged where there is no bar, in microseconds.
const SAY_EVERY: i64 = 10_000_000;
/// A time before every record's: whatever a batch holds is ahead of it.
const BEFORE_ALL: Timestamp = Timestamp(i64::MIN / 2);
/// A time that no record is ahead of.
const AFTER_ALL: Timestamp = Timestamp(i64::MAX / 2);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// What is not as the topic gives it.
    pub(super) wrong: Vec<String>,
    /// Why some of it could not be compared.
    pub(super) passed_over: Vec<String>,
    /// Results compared.
    pub(super) results: u64,
    /// Results that could not be.
    pub(super) unknown: u64,
    /// Records read.
    pub(super) records: u64,
    /// Late and invalid records compared.
    pub(super) kept: u64,
}

/// Goes through the log up to `newest` with `pipeline`.
///
/// # Errors
/// If the topic or the sink cannot be read, or the topic is not the one that was counted.
pub(super) async fn replay(
    store: &Store,
    newest: &Entry,
    pipeline: &Pipeline,
    terminal: &Terminal,
) -> Result<Replayed, Error> {
    if newest.fingerprint != pipeline.fingerprint() {
        let text = "this pipeline file is not the one that the newest entry was made with: its query, columns or windows \
                    differ; give that one";
        return Err(Error::Usage(text.to_owned()));
    }
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await;
    let query = Arc::new(query.map_err(|error| error.at(&pipeline.sql_place))?);
    let (again, topic) = Again::open(pipeline).await?;
    check_topic(newest, &topic)?;
    let clock = Clock::system();
    let mut replay = Replay {
        store,
        pipeline,
        query: query.clone(),
        memory: Store::over(Arc::new(InMemory::new()), clock),
        again,
        decoder: open_decoder(pipeline, &topic.name),
        engine: Engine::new(pipeline.window.clone(), query),
        before: None,
        unseen: BTreeMap::new(),
        lacking: false,
        others: None,
        ahead: BTreeSet::new(),
        late: Awaited::default(),
        invalid: Awaited::default(),
        found: Replayed::default(),
        topic,
    };
    replay.find_ahead(newest).await?;
    let all = newest.totals.read + newest.totals.gaps;
    let bar = terminal.bar(all, "recomputing");
    let mut said = clock.now();
    for number in 1..=newest.sequence.0 {
        let Some(stored) = read(store, Sequence(number)).await? else {
            replay.found.wrong.push(format!("recomputing ends here: log entry {number} is missing"));
            return Ok(replay.found);
        };
        replay.entry(&stored).await?;
        bar.set_position(stored.entry.totals.read + stored.entry.totals.gaps);
        if bar.is_hidden() && clock.now().0 - said.0 >= SAY_EVERY {
            said = clock.now();
            tracing::info!(entry = number, of = newest.sequence.0, records = replay.found.records, "recomputing");
        }
    }
    replay.waiting(newest).await?;
    replay.tell_unseen();
    Ok(replay.found)
}

/// The topic must be the log's, and reach as far.
fn check_topic(newest: &Entry, topic: &Topic) -> Result<(), Error> {
    if newest.topic.name != topic.name {
        let text = format!("this sink was filled from {}, not {}", newest.topic.name, topic.name);
        return Err(Error::Usage(text));
    }
    for (partition, claim) in &newest.partitions {
        let Some(bounds) = topic.partitions.get(partition) else {
            let text = format!("topic {} no longer has partition {partition}; it was made anew", topic.name);
            return Err(SourceError::Data(text).into());
        };
        if let Some(end) = bounds.end.filter(|end| *end < claim.to) {
            let text = format!(
                "topic {} partition {partition}: the log has taken in what is below offset {}, the topic ends at {end}; \
                 it was cut or made anew",
                topic.name, claim.to
            );
            return Err(SourceError::Data(text).into());
        }
    }
    Ok(())
}

struct Replay<'a> {
    store: &'a Store,
    pipeline: &'a Pipeline,
    query: Arc<Query>,
    /// Where the replay keeps what a run keeps in its sink.
    memory: Store,
    again: Again<'a>,
    decoder: Box<dyn Decode>,
    engine: Engine,
    /// The last entry as the replay makes it, with the digest that the log's next one follows.
    before: Option<Stored>,
    /// Spans of offsets that were taken in and not read here, by partition, rising.
    unseen: BTreeMap<Partition, Vec<(Offset, Offset)>>,
    /// Whether the topic holds fewer records in some span than were read of it.
    lacking: bool,
    /// The first and the last entry with records that another pipeline file took in.
    others: Option<(u64, u64)>,
    /// Records that were ahead of the clock when they were read.
    ahead: BTreeSet<At>,
    late: Awaited,
    invalid: Awaited,
    topic: Topic,
    found: Replayed,
}

impl Replay<'_> {
    /// Which records were refused for being ahead of the clock: only the log's own files know.
    async fn find_ahead(&mut self, newest: &Entry) -> Result<(), Error> {
        if !newest.totals.invalid.contains_key("future") {
            return Ok(());
        }
        for number in 1..=newest.sequence.0 {
            let Some(stored) = read(self.store, Sequence(number)).await? else { continue };
            for file in stored.entry.files.iter().filter(|file| file.kind == FileKind::Invalid) {
                let batches = self.published(file).await?.and_then(|bytes| rows::read(bytes).ok());
                for batch in batches.into_iter().flatten() {
                    self.ahead.extend(places(&batch, "future").unwrap_or_default());
                }
            }
        }
        for chunk in &newest.invalid.chunks {
            for batch in state::read(self.store, chunk).await? {
                self.ahead.extend(places(&batch, "future").unwrap_or_default());
            }
        }
        Ok(())
    }

    /// A published file, from its final name or, before that, from its stage; `None` if it is not what was written,
    /// which the audit tells by itself.
    async fn published(&self, file: &File) -> Result<Option<Bytes>, SinkError> {
        let bytes = match self.store.get(&file.path).await? {
            None => self.store.get(&file.stage).await?,
            bytes => bytes,
        };
        Ok(bytes.filter(|bytes| state::digest(bytes) == file.sha256))
    }

    async fn entry(&mut self, stored: &Stored) -> Result<(), Error> {
        let entry = &stored.entry;
        let read_before = self.found.records;
        let whole = self.read(entry).await?;
        self.engine.follow(entry);
        if whole {
            self.compare_counts(entry, self.found.records - read_before);
        }
        let mut cut = self.engine.cut()?;
        for (partition, claim) in &entry.partitions {
            let Some(is) = cut.claims.get(partition) else { continue };
            self.compare_claim(entry, *partition, claim, is)?;
        }
        // These are compared by themselves.
        let (late, invalid) = (std::mem::take(&mut cut.late), std::mem::take(&mut cut.invalid));
        let topic = &entry.topic.name;
        let internal = |error: String| SinkError::Internal(format!("cannot compare kept records: {error}"));
        self.late.add(topic, &late).map_err(internal)?;
        self.invalid.add(topic, &invalid).map_err(internal)?;

        let identity = Identity {
            pipeline: entry.pipeline.clone(),
            fingerprint: entry.fingerprint.clone(),
            writer: entry.writer.clone(),
            topic: entry.topic.clone(),
        };
        let desk = Desk { store: &self.memory, pipeline: self.pipeline, identity: &identity, query: &self.query };
        let staged = stage(desk, self.before.as_ref(), cut, Ending::GOES_ON, entry.time).await?;
        let (made, payload) = staged.into_parts();
        self.compare_results(entry, &made, &payload).await?;
        self.compare_open(entry, &made);
        self.compare_kept(entry).await?;
        self.engine.committed(&made);
        sweep(&self.memory, self.before.as_ref().map(|before| &before.entry), &made).await;
        self.before = Some(Stored { entry: made, digest: stored.digest.clone() });
        Ok(())
    }

    /// Gives the engine the records that the entry took in; whether the topic still has all those spans.
    async fn read(&mut self, entry: &Entry) -> Result<bool, Error> {
        let mut wanted = BTreeMap::new();
        let mut raises = BTreeMap::new();
        let mut whole = true;
        let other = entry.fingerprint != self.pipeline.fingerprint();
        for (&partition, claim) in &entry.partitions {
            let start = self.topic.partitions.get(&partition).map_or(claim.to, |bounds| bounds.start);
            // What was lost when it was read is no more lost now.
            let from = claim.lost.map_or(claim.from, |(_, end)| end.min(claim.to));
            if (other || from < start) && claim.from < claim.to {
                whole = false;
                self.pass_over(entry, partition, claim, other);
                continue;
            }
            if self.engine.position(partition).is_none() {
                let begins_whole = claim.holes.iter().all(|hole| hole.after.is_some());
                self.engine.add_partition(partition, claim.from, begins_whole);
            }
            if let Some((_, end)) = claim.lost {
                self.engine.accept_loss(partition, end);
            }
            self.again.skip_to(partition, from);
            wanted.insert(partition, claim.to);
            raises.insert(partition, claim.raised.clone());
        }
        while let Some(records) = self.again.next(&wanted).await? {
            let raises = raises.entry(records.partition).or_default();
            self.found.records += records.len() as u64;
            let mut rest = records;
            while !rest.is_empty() {
                let due = raises.iter().take_while(|raise| raise.offset <= rest.get(0).offset).count();
                for raise in raises.drain(..due) {
                    self.engine.raise(rest.partition, raise);
                }
                let until = raises.first().map(|raise| raise.offset);
                let part = split(&mut rest, until, &self.ahead);
                let now = part.iter().next().filter(|first| self.ahead.contains(&(part.partition, first.offset)));
                let now = if now.is_some() { BEFORE_ALL } else { AFTER_ALL };
                let decoded = self.decoder.decode(part);
                self.engine.push(&decoded, now)?;
            }
        }
        for (&partition, &to) in &wanted {
            for raise in raises.remove(&partition).into_iter().flatten() {
                self.engine.raise(partition, raise);
            }
            self.engine.reached(partition, to);
        }
        Ok(whole)
    }

    /// Takes a claim as the log has it.
    fn pass_over(&mut self, entry: &Entry, partition: Partition, claim: &Claim, other: bool) {
        self.engine.skip(partition, claim);
        self.again.skip_to(partition, claim.to);
        let spans = self.unseen.entry(partition).or_default();
        match spans.last_mut() {
            Some(last) if last.1 == claim.from => last.1 = claim.to,
            _ => spans.push((claim.from, claim.to)),
        }
        if other {
            let number = entry.sequence.0;
            self.others = Some(self.others.map_or((number, number), |(first, _)| (first, number)));
        }
    }

    fn compare_counts(&mut self, entry: &Entry, read: u64) {
        let (is, was) = (self.engine.counts(), &entry.counts);
        if read < was.read {
            self.lacking = true;
            self.found.passed_over.push(format!(
                "entry {}: {} records were read, of which the topic holds {}: compaction or deletion took the others",
                entry.sequence.0,
                grouped(was.read),
                grouped(read)
            ));
        } else if is != was {
            self.found.wrong.push(format!("entry {}: the topic gives {is:?}, counted was {was:?}", entry.sequence.0));
        }
    }

    fn compare_claim(&mut self, entry: &Entry, partition: Partition, was: &Claim, is: &Claim) -> Result<(), Error> {
        if let (Some(is), Some(was)) = (&is.tail, &was.tail)
            && is.offset == was.offset
            && is.digest != was.digest
        {
            let text = format!(
                "topic {} partition {partition}: the record at offset {} is not the one that was counted; the topic was \
                 made anew, or this is another cluster",
                entry.topic.name, was.offset
            );
            return Err(SourceError::Data(text).into());
        }
        if is.watermark != was.watermark && !self.lacking {
            let told = |time: Option<Timestamp>| time.map_or_else(|| "none".to_owned(), |time| time.to_string());
            self.found.wrong.push(format!(
                "entry {}: the watermark of partition {partition} is {}, the topic gives {}",
                entry.sequence.0,
                told(was.watermark),
                told(is.watermark)
            ));
        }
        Ok(())
    }

    /// Whether some of these records were not read here.
    fn touches_unseen(&self, inputs: &BTreeMap<Partition, Tally>) -> bool {
        inputs.iter().any(|(partition, tally)| {
            let spans = self.unseen.get(partition).map_or(&[][..], Vec::as_slice);
            spans.iter().any(|&(from, to)| tally.first < to && tally.last >= from)
        })
    }

    async fn compare_results(
        &mut self,
        was: &Entry,
        is: &Entry,
        payload: &BTreeMap<String, Bytes>,
    ) -> Result<(), Error> {
        let by_window = |closed: &'_ [ClosedWindow]| -> BTreeMap<(Window, i32), ClosedWindow> {
            closed.iter().map(|closed| ((closed.window, closed.revision), closed.clone())).collect()
        };
        let mut made = by_window(&is.closed);
        for closed in &was.closed {
            let name = format!("entry {}: window {} revision {}", was.sequence.0, closed.window.start, closed.revision);
            let made = made.remove(&(closed.window, closed.revision));
            let fewer = |made: &ClosedWindow| {
                let records = |tally: &Tally| tally.records();
                closed.inputs.iter().any(|(partition, tally)| {
                    made.inputs.get(partition).is_none_or(|made| records(made) < records(tally))
                })
            };
            if self.touches_unseen(&closed.inputs) || (self.lacking && made.as_ref().is_none_or(fewer)) {
                self.found.unknown += 1;
                continue;
            }
            self.found.results += 1;
            let Some(made) = made else {
                self.found.wrong.push(format!("{name}: the topic does not give this result"));
                continue;
            };
            if made.inputs != closed.inputs {
                let text = format!("{name}: it is made of {:?}, the topic gives {:?}", closed.inputs, made.inputs);
                self.found.wrong.push(text);
                continue;
            }
            if (made.last, made.complete) != (closed.last, closed.complete) {
                self.found.wrong.push(format!(
                    "{name}: final {} and complete {}, the topic gives {} and {}",
                    closed.last, closed.complete, made.last, made.complete
                ));
            }
            if let Some(difference) = self.compare_files(closed, was, is, payload).await? {
                self.found.wrong.push(format!("{name}: {difference}"));
            }
        }
        // A window that was not read whole may close here over what is left of it.
        let unread = !self.unseen.is_empty() || self.lacking;
        for ((window, revision), _) in made.into_iter().filter(|_| !unread) {
            let text = format!("entry {}: window {} revision {revision} is missing", was.sequence.0, window.start);
            self.found.wrong.push(text);
        }
        Ok(())
    }

    /// How the files of a result differ, if they do.
    async fn compare_files(
        &self,
        closed: &ClosedWindow,
        was: &Entry,
        is: &Entry,
        payload: &BTreeMap<String, Bytes>,
    ) -> Result<Option<String>, Error> {
        let of = |file: &&File| file.window == Some(closed.window) && file.revision == closed.revision;
        let (published, made): (Vec<_>, Vec<_>) =
            (was.files.iter().filter(of).collect(), is.files.iter().filter(of).collect());
        if published.iter().map(|file| &file.sha256).eq(made.iter().map(|file| &file.sha256)) {
            return Ok(None);
        }
        let formats: BTreeSet<_> =
            published.iter().chain(&made).map(|file| FileFormat::of(&file.path).name()).collect();
        if let [one, other] = formats.iter().collect::<Vec<_>>()[..] {
            let text = format!(
                "window {}: results are written as {one} and as {other}, which cannot be compared; give the pipeline \
                 file with the format of that time",
                closed.window.start
            );
            return Err(Error::Usage(text));
        }
        if !formats.contains(FileFormat::Parquet.name()) {
            let mut has = Vec::new();
            for file in published {
                let Some(bytes) = self.published(file).await? else { return Ok(None) };
                has.push(bytes);
            }
            let should =
                made.iter().map(|file| payload.get(&file.path).cloned().unwrap_or_default()).collect::<Vec<_>>();
            return Ok(rows::text_difference(&has, &should));
        }
        // Another version may write other bytes for the same rows, and files of another size.
        let damaged = |error: String| SinkError::Data(format!("sink {}: {error}", self.store));
        let (mut has, mut should) = (Vec::new(), Vec::new());
        for file in published {
            let Some(bytes) = self.published(file).await? else { return Ok(None) };
            has.extend(rows::read(bytes).map_err(|error| damaged(format!("{}: {error}", file.path)))?);
        }
        for file in made {
            let bytes = payload.get(&file.path).cloned().unwrap_or_default();
            should.extend(rows::read(bytes).map_err(damaged)?);
        }
        Ok(rows::difference(&has, &should).map_err(damaged)?)
    }

    /// Compares what the open windows hold so far.
    fn compare_open(&mut self, was: &Entry, is: &Entry) {
        if self.lacking {
            return;
        }
        let parts = |entry: &Entry| -> BTreeMap<(Timestamp, Lot), Tally> {
            let of = |open: &crate::log::entry::OpenWindow| {
                let start = open.window.start;
                let part = move |part: &crate::log::entry::Part| ((start, part.lot()), part.tally);
                open.parts.iter().map(part).collect::<Vec<_>>()
            };
            entry.windows.iter().flat_map(of).collect()
        };
        let made = parts(is);
        for ((start, lot), tally) in parts(was) {
            let (partition, same) = (lot.partition, made.get(&(start, lot)) == Some(&tally));
            if !same && !self.touches_unseen(&BTreeMap::from([(partition, tally)])) {
                let text = format!(
                    "entry {}: open window {start} holds {tally:?} of partition {partition}, the topic gives {:?}",
                    was.sequence.0,
                    made.get(&(start, lot))
                );
                self.found.wrong.push(text);
            }
        }
    }

    async fn compare_kept(&mut self, entry: &Entry) -> Result<(), Error> {
        for file in &entry.files {
            if !matches!(file.kind, FileKind::Late | FileKind::Invalid) {
                continue;
            }
            let Some(bytes) = self.published(file).await? else { continue };
            match rows::read(bytes) {
                Ok(batches) => self.compare_batches(file.kind, &file.path, &batches),
                Err(error) => self.found.wrong.push(format!("{}: {error}", file.path)),
            }
        }
        Ok(())
    }

    fn compare_batches(&mut self, kind: FileKind, name: &str, batches: &[arrow::array::RecordBatch]) {
        let awaited = if kind == FileKind::Late { &mut self.late } else { &mut self.invalid };
        let unseen = &self.unseen;
        let lacking = self.lacking;
        let is_unseen = |(partition, offset): At| {
            let spans = unseen.get(&partition).map_or(&[][..], Vec::as_slice);
            lacking || spans.iter().any(|&(from, to)| from <= offset && offset < to)
        };
        for batch in batches {
            self.found.kept += batch.num_rows() as u64;
            match awaited.compare(batch, name, is_unseen) {
                Ok(wrong) => self.found.wrong.extend(wrong),
                Err(error) => self.found.wrong.push(format!("{name}: {error}")),
            }
        }
    }

    /// Compares the kept records that still wait for a file, and tells what is in none.
    async fn waiting(&mut self, newest: &Entry) -> Result<(), Error> {
        for (kind, waiting) in [(FileKind::Late, &newest.late), (FileKind::Invalid, &newest.invalid)] {
            for chunk in &waiting.chunks {
                let batches = state::read(self.store, chunk).await?;
                self.compare_batches(kind, &chunk.object, &batches);
            }
        }
        for (awaited, what) in [(&self.late, "came too late"), (&self.invalid, "cannot be read")] {
            if let Some((count, (partition, offset))) = awaited.missing() {
                let text = format!(
                    "{count} records that {what} are kept nowhere, the first at partition {partition} offset {offset}"
                );
                self.found.wrong.push(text);
            }
        }
        Ok(())
    }

    fn tell_unseen(&mut self) {
        if let Some((first, last)) = self.others {
            let text = format!("entries {first} to {last} or some of them were made with another pipeline file");
            self.found.passed_over.push(text);
        }
        for (partition, spans) in &self.unseen {
            let spans: Vec<_> = spans.iter().map(|(from, to)| format!("{from} to {}", to.0 - 1)).collect();
            let start = self.topic.partitions.get(partition).map_or(Offset(0), |bounds| bounds.start);
            self.found.passed_over.push(format!(
                "partition {partition}: offsets {} were not read again; the topic begins at {start} now",
                spans.join(", ")
            ));
        }
    }
}

/// Takes from the front of `rest` what lies below `until` and is all ahead of the clock, or all not.
fn split(rest: &mut Records, until: Option<Offset>, ahead: &BTreeSet<At>) -> Records {
    let partition = rest.partition;
    let is_ahead = |offset: Offset| !ahead.is_empty() && ahead.contains(&(partition, offset));
    let Some(first) = rest.iter().next().map(|first| is_ahead(first.offset)) else { return Records::new(partition) };
    let end = rest
        .iter()
        .find(|record| until.is_some_and(|until| record.offset >= until) || is_ahead(record.offset) != first);
    let Some(end) = end.map(|record| record.offset) else {
        return std::mem::replace(rest, Records::new(partition));
    };
    let mut part = Records::new(partition);
    for record in rest.iter().take_while(|record| record.offset < end) {
        part.push_with(record.offset, record.timestamp, record.key, record.value, record.headers.iter());
    }
    rest.drop_before(end);
    part
}

/// A word for each kind of result.
pub(super) fn told(replayed: &Replayed) -> String {
    let mut text = format!(
        "recomputed from {} records: {} results and {} late or invalid records compared",
        grouped(replayed.records),
        grouped(replayed.results),
        grouped(replayed.kept)
    );
    if replayed.unknown > 0 {
        text += &format!("; {} results could not be", grouped(replayed.unknown));
    }
    text
}
