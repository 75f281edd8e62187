//! Making a cut durable: results encoded and staged, partial results saved, and the entry that will name them all.
//!
//! Nothing here is visible outside `_windrow/`. What comes out is a [`Staged`], the only thing the log appends.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::format::{Encoder, FileFormat, encode};
use super::parquet::{Encoded, Form};
use super::state::{self, StateWriter, digest};
use super::store::Store;
use super::{SinkError, layout};
use crate::config::Pipeline;
use crate::decode::column::timestamp_type;
use crate::engine::cut::{Closing, Cut, State};
use crate::engine::kept::{self, Kept};
use crate::error::Error;
use crate::log::entry::{
    Chunk, ClosedWindow, Entry, FORMAT, File, FileKind, Lot, OpenWindow, Part, Sequence, TopicId, Waiting, Writer,
};
use crate::log::store::Stored;
use crate::query::{Keeps, Pieces, Query, QueryError, Share};
use crate::record::Timestamp;

/// Objects in flight at once.
const CONCURRENT: usize = 8;
/// Parts of the memory for windows: a window up to this one is closed at once, a larger one piece by piece;
const WHOLE: u64 = 8;
/// files together up to this one are kept until the commit is complete, others are staged as they are made;
const KEPT: u64 = 8;
/// a file is at most about this one;
const FILE: u64 = 4;
/// and what runs over a whole window that is large has this one.
const UPPER: u64 = 2;
/// So many runs of a share are joined into one.
const RUNS: usize = 8;

/// What is the same in all entries of a run.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The pipeline's name.
    pub pipeline: String,
    /// Digest of query, columns and windows.
    pub fingerprint: String,
    /// This instance.
    pub writer: Writer,
    /// The topic.
    pub topic: TopicId,
}

/// An entry whose every named object is durable. Only [`stage`] makes one.
#[derive(Debug)]
pub struct Staged {
    entry: Entry,
    /// The bytes of staged files by final key, to spare reading them back.
    payload: BTreeMap<String, Bytes>,
}

impl Staged {
    /// The entry to append, and the bytes of the files it publishes.
    #[must_use]
    pub fn into_parts(self) -> (Entry, BTreeMap<String, Bytes>) {
        (self.entry, self.payload)
    }
}

/// Whether late and invalid records that wait get their file now, however few they are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Only if they are many or have waited long.
    WhenWorthIt,
    /// Now: the run ends here.
    Now,
}

/// How an entry ends a run, or does not.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whether waiting records get their file.
    pub flush: Flush,
    /// Whether the writer leaves in good order.
    pub released: bool,
}

impl Ending {
    /// The run goes on.
    pub const GOES_ON: Self = Self { flush: Flush::WhenWorthIt, released: false };
}

/// What every commit of a run is made with.
#[derive(Copy, Clone, Debug)]
pub struct Desk<'a> {
    /// Where the sink is.
    pub store: &'a Store,
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// What the run's entries have in common.
    pub identity: &'a Identity,
    /// The pipeline's query.
    pub query: &'a Query,
}

/// Makes everything that `cut` names durable, and the entry that names it, to follow `before`.
///
/// # Errors
/// If a result cannot be computed or the store refuses for good.
pub async fn stage(
    desk: Desk<'_>,
    before: Option<&Stored>,
    cut: Cut,
    ending: Ending,
    now: Timestamp,
) -> Result<Staged, Error> {
    let Desk { store, pipeline, identity, query } = desk;
    let sequence = before.map_or(Sequence::FIRST, |before| before.entry.sequence.next());
    // A run stages each number once: what it was made for is in the log, or the run is over.
    let attempt: String = identity.writer.id.chars().take(12).collect();
    let mut saved = StateWriter::new(store, sequence, &attempt, pipeline.memory);
    let mut outgoing = Outgoing::new(store, sequence, &attempt, pipeline.memory / KEPT);

    let mut closed: Vec<ClosedWindow> = Vec::new();
    for mut closing in cut.closings {
        bring(desk, &mut closing).await?;
        let form = Form {
            target_size: pipeline.sink.target_file_size.min(pipeline.memory / FILE),
            sorted_by: query.sort_columns().iter().map(|column| column + 2).collect(),
            metadata: metadata(identity, sequence, &closing),
        };
        // An empty result has no file, unless it takes the place of one that had rows.
        let first = closed.iter().find(|closed| closed.window == closing.window).map(|closed| closed.rows);
        let even_empty = closing.before.or(first).is_some_and(|before| before > 0);
        let rows = publish_window(desk, &closing, &form, even_empty, &mut outgoing).await?;
        closed.push(ClosedWindow {
            window: closing.window,
            revision: closing.revision,
            last: closing.last,
            by: closing.by,
            complete: closing.complete,
            rows,
            inputs: closing.inputs,
        });
    }

    let mut windows = Vec::new();
    for open in cut.open {
        let just_closed =
            closed.iter().find(|closed| closed.window.start == open.window.start).map(|closed| closed.rows);
        let mut parts = Vec::new();
        for piece in open.pieces {
            let chunks = save(desk, piece.state, &mut saved).await?;
            let Lot { partition, late, missed } = piece.lot;
            parts.push(Part { partition, late, missed, tally: piece.tally, chunks });
        }
        windows.push(OpenWindow { window: open.window, published: just_closed.or(open.published), parts });
    }

    let mut keep = async |kind: FileKind, waiting: Option<&Waiting>, fresh: &[Kept]| {
        let folder = if kind == FileKind::Late { layout::LATE } else { layout::INVALID };
        let held = waiting.cloned().unwrap_or_default();
        let fresh = if fresh.is_empty() {
            None
        } else {
            let batch = kept::batch(&identity.topic.name, fresh, pipeline.columns.whole.headers);
            Some(batch.map_err(|error| SinkError::Internal(format!("cannot keep {folder} records: {error}")))?)
        };
        let since = held.since.or(fresh.as_ref().map(|_| now));
        let size = held.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>()
            + fresh.iter().map(|batch| batch.get_array_memory_size() as u64).sum::<u64>();
        let old = since.is_some_and(|since| now.0.saturating_sub(since.0) >= pipeline.sink.late_interval);
        let worth_it = ending.flush == Flush::Now || old || size >= pipeline.sink.late_size;
        if since.is_none() || !worth_it {
            let mut chunks = held.chunks;
            if let Some(fresh) = fresh {
                chunks.extend(saved.push(&fresh, None).await?);
            }
            return Ok::<_, Error>(Waiting { chunks, since });
        }
        let form = Form { metadata: vec![("windrow.pipeline".into(), identity.pipeline.clone())], ..Form::default() };
        let mut rows = load(store, &held.chunks).await?;
        rows.extend(fresh);
        let headers = pipeline.columns.whole.headers;
        let rows = kept::alike(rows, headers)
            .map_err(|error| SinkError::Internal(format!("cannot keep {folder} records: {error}")))?;
        for encoded in encode(FileFormat::Parquet, &kept::schema(headers), &rows, &form)? {
            let file = outgoing.file(kind, FileFormat::Parquet, encoded).await?;
            file.path = layout::kept(folder, &identity.pipeline, sequence, now);
        }
        Ok(Waiting::default())
    };
    let late = keep(FileKind::Late, before.map(|before| &before.entry.late), &cut.late).await?;
    let invalid = keep(FileKind::Invalid, before.map(|before| &before.entry.invalid), &cut.invalid).await?;

    let Outgoing { files, bytes, .. } = outgoing;
    let kept = files.iter().zip(&bytes).filter_map(|(file, bytes)| Some((file, bytes.clone()?)));
    let mut objects: Vec<(String, Bytes)> = kept.clone().map(|(file, bytes)| (file.stage.clone(), bytes)).collect();
    objects.extend(saved.finish());
    let puts = objects.into_iter().map(|(key, bytes)| async move { store.put(&key, bytes).await });
    futures::stream::iter(puts).buffer_unordered(CONCURRENT).try_collect::<()>().await?;

    let mut totals = before.map(|before| before.entry.totals.clone()).unwrap_or_default();
    totals.add(&cut.counts);
    let payload = kept.map(|(file, bytes)| (file.path.clone(), bytes)).collect();
    let entry = Entry {
        format: FORMAT,
        sequence,
        previous: before.map(|before| before.digest.clone()),
        pipeline: identity.pipeline.clone(),
        fingerprint: identity.fingerprint.clone(),
        writer: identity.writer.clone(),
        time: now,
        topic: identity.topic.clone(),
        tumbling: pipeline.window.windows.clone(),
        emit: pipeline.window.emit,
        watermark_delay: pipeline.window.watermark_delay,
        allowed_lateness: pipeline.window.allowed_lateness,
        watermark: cut.watermark,
        quiet: cut.quiet,
        partitions: cut.claims,
        windows,
        late,
        invalid,
        closed,
        files,
        counts: cut.counts,
        totals,
        released: ending.released,
        shared: cut.shared,
    };
    Ok(Staged { entry, payload })
}

/// Files on their way out, in the order of the entry.
struct Outgoing<'a> {
    store: &'a Store,
    sequence: Sequence,
    attempt: &'a str,
    files: Vec<File>,
    /// Of each file, unless it is staged already.
    bytes: Vec<Option<Bytes>>,
    /// Bytes that may still be kept.
    room: u64,
}

impl<'a> Outgoing<'a> {
    fn new(store: &'a Store, sequence: Sequence, attempt: &'a str, room: u64) -> Self {
        Self { store, sequence, attempt, files: Vec::new(), bytes: Vec::new(), room }
    }

    /// A file, whose final name is still to be said. If it is too large to be kept until the others are there, it is
    /// staged at once.
    async fn file(&mut self, kind: FileKind, format: FileFormat, encoded: Encoded) -> Result<&mut File, SinkError> {
        let index = self.files.len();
        let size = encoded.bytes.len() as u64;
        let stage = layout::stage(self.sequence, self.attempt, index, format);
        let sha256 = digest(&encoded.bytes);
        if let Some(room) = self.room.checked_sub(size) {
            self.room = room;
            self.bytes.push(Some(encoded.bytes));
        } else {
            self.store.put(&stage, encoded.bytes).await?;
            self.bytes.push(None);
        }
        self.files.push(File {
            kind,
            stage,
            path: String::new(),
            window: None,
            revision: 0,
            part: 1,
            parts: 1,
            rows: encoded.rows,
            bytes: size,
            sha256,
        });
        Ok(&mut self.files[index])
    }

    /// The files from `first` on are the parts of this result.
    fn name(&mut self, pipeline: &Pipeline, closing: &Closing, first: usize) {
        let parts = u32::try_from(self.files.len() - first).unwrap_or(u32::MAX);
        let date = pipeline.window.windows.date(closing.window);
        for (part, file) in (1u32..).zip(&mut self.files[first..]) {
            let format = pipeline.sink.format;
            file.path = layout::result(&pipeline.name, closing.window, date, closing.revision, part, parts, format);
            (file.window, file.revision, file.part, file.parts) = (Some(closing.window), closing.revision, part, parts);
        }
    }
}

/// Brings the groups that other instances have in memory, too, to hand from the store. Runs stay there.
async fn bring(desk: Desk<'_>, closing: &mut Closing) -> Result<(), Error> {
    if desk.query.keeps() == Keeps::Rows {
        return Ok(());
    }
    let brought = closing.states.iter_mut().filter(|state| state.foreign).map(|state| async move {
        let (runs, held) = std::mem::take(&mut state.stored).into_iter().partition(|chunk| chunk.run.is_some());
        state.stored = runs;
        state.fresh = load(desk.store, &held).await?;
        Ok::<_, Error>(())
    });
    futures::stream::iter(brought).buffer_unordered(CONCURRENT).try_collect::<()>().await
}

/// A partial result as the entry names it: what is stored already, many small pieces made one, and what is new.
async fn save(desk: Desk<'_>, state: State, saved: &mut StateWriter<'_>) -> Result<Vec<Chunk>, Error> {
    let State { stored, fresh, run, foreign } = state;
    if foreign {
        return Ok(stored);
    }
    let mut chunks = match desk.query.keeps() {
        Keeps::Rows => merge_rows(desk, stored, saved).await?,
        Keeps::Groups => join_runs(desk, stored, saved).await?,
    };
    let run = run.then(|| next_run(&chunks));
    for batch in &fresh {
        chunks.extend(saved.push(batch, run).await?);
    }
    Ok(chunks)
}

async fn merge_rows(desk: Desk<'_>, mut chunks: Vec<Chunk>, saved: &mut StateWriter<'_>) -> Result<Vec<Chunk>, Error> {
    let Some(from) = state::worth_merging(&chunks, desk.pipeline.memory) else { return Ok(chunks) };
    let small = load(desk.store, &chunks.split_off(from)).await?;
    let Some(first) = small.first() else { return Ok(chunks) };
    let whole = concat_batches(&first.schema(), &small)
        .map_err(|error| SinkError::Internal(format!("cannot merge state: {error}")))?;
    chunks.extend(saved.push(&whole, None).await?);
    Ok(chunks)
}

/// The pieces that are in memory, too, stay behind those of runs.
async fn join_runs(desk: Desk<'_>, chunks: Vec<Chunk>, saved: &mut StateWriter<'_>) -> Result<Vec<Chunk>, Error> {
    let runs = runs(&chunks);
    if runs.len() < RUNS {
        return Ok(chunks);
    }
    let mut whole = desk.query.join(runs.iter().map(|run| read_later(desk.store, run)).collect())?;
    let run = next_run(&chunks);
    let mut joined = Vec::new();
    while let Some(batch) = whole.try_next().await? {
        joined.extend(saved.push(&batch, Some(run)).await?);
    }
    joined.extend(chunks.into_iter().filter(|chunk| chunk.run.is_none()));
    Ok(joined)
}

fn next_run(chunks: &[Chunk]) -> u32 {
    chunks.iter().filter_map(|chunk| chunk.run).max().map_or(0, |run| run.wrapping_add(1))
}

/// The runs among the pieces of a state of groups.
fn runs(chunks: &[Chunk]) -> Vec<Vec<Chunk>> {
    let stored: Vec<Chunk> = chunks.iter().filter(|chunk| chunk.run.is_some()).cloned().collect();
    stored.chunk_by(|one, next| one.run == next.run).map(<[Chunk]>::to_vec).collect()
}

/// Pieces, each of them read when it is wanted.
fn read_later<'a>(store: &'a Store, chunks: &[Chunk]) -> Pieces<'a> {
    let reads = futures::stream::iter(chunks.to_vec());
    let batches = reads.then(move |chunk| async move {
        let batches = state::read(store, &chunk).await?;
        Ok::<_, Error>(futures::stream::iter(batches).map(Ok))
    });
    batches.try_flatten().boxed()
}

/// All batches of some pieces.
async fn load(store: &Store, chunks: &[Chunk]) -> Result<Vec<RecordBatch>, SinkError> {
    let mut batches = Vec::new();
    for chunk in chunks {
        batches.extend(state::read(store, chunk).await?);
    }
    Ok(batches)
}

/// Encodes a window's result into files; how many rows it has.
async fn publish_window(
    desk: Desk<'_>,
    closing: &Closing,
    form: &Form,
    even_empty: bool,
    outgoing: &mut Outgoing<'_>,
) -> Result<u64, Error> {
    let kind = if closing.revision == 0 { FileKind::Data } else { FileKind::Correction };
    let (format, schema) = (desk.pipeline.sink.format, file_schema(desk.query.output_schema()));
    let mut result = result(desk, closing, &schema).await?;
    let mut encoder: Option<Encoder<'_>> = None;
    let (first, mut rows) = (outgoing.files.len(), 0);
    while let Some(batch) = result.try_next().await.map_err(|error| no_result(error, closing, desk.pipeline.memory))? {
        let encoder = match &mut encoder {
            Some(encoder) => encoder,
            None => encoder.insert(Encoder::new(format, schema.clone(), form)?),
        };
        rows += batch.num_rows() as u64;
        for full in encoder.write(&batch)? {
            outgoing.file(kind, format, full).await?;
        }
    }
    drop(result);
    if encoder.is_none() && even_empty {
        encoder = Some(Encoder::new(format, schema, form)?);
    }
    if let Some(encoder) = encoder {
        outgoing.file(kind, format, encoder.finish()?).await?;
    }
    outgoing.name(desk.pipeline, closing, first);
    Ok(rows)
}

fn no_result(error: Error, closing: &Closing, memory: u64) -> Error {
    match error {
        Error::Query(QueryError::Large(text)) => QueryError::Large(format!(
            "window {} to {} has no result: {text} into the half of limits.memory, {}, that it has; nothing is lost: \
             write more into [limits] and start again",
            closing.window.start,
            closing.window.end,
            bytesize::ByteSize(memory).display().iec()
        ))
        .into(),
        Error::Query(QueryError::Data(text)) => QueryError::Data(format!(
            "window {} to {} has no result: {text}; nothing is lost: guard the expression or widen its types \
             (CAST), and run into a new sink",
            closing.window.start, closing.window.end
        ))
        .into(),
        other => other,
    }
}

/// A window's rows with the columns every file has: of a small window at once, of a large one as they are wanted.
async fn result<'a>(desk: Desk<'a>, closing: &Closing, schema: &SchemaRef) -> Result<Pieces<'a>, Error> {
    let Desk { store, pipeline, query, .. } = desk;
    let stored = closing.states.iter().flat_map(|state| &state.stored);
    let has_runs = stored.clone().any(|chunk| chunk.run.is_some());
    let fresh = closing.states.iter().flat_map(|state| &state.fresh);
    let size = stored.map(|chunk| chunk.bytes).sum::<u64>()
        + fresh.map(|batch| batch.get_array_memory_size() as u64).sum::<u64>();
    let rows = if has_runs || size > pipeline.memory / WHOLE {
        let shares = closing.states.iter().map(|state| Share {
            saved: match query.keeps() {
                Keeps::Rows => vec![read_later(store, &state.stored)],
                Keeps::Groups => runs(&state.stored).iter().map(|run| read_later(store, run)).collect(),
            },
            fresh: state.fresh.clone(),
        });
        query
            .close_by_pieces(shares.collect(), pipeline.memory / UPPER)
            .map_err(|error| no_result(error.into(), closing, pipeline.memory))?
    } else {
        let mut states = Vec::new();
        for state in &closing.states {
            let mut batches = load(store, &state.stored).await?;
            batches.extend(state.fresh.iter().cloned());
            states.push(batches);
        }
        let rows = query.close(states).await.map_err(|error| no_result(error.into(), closing, pipeline.memory))?;
        futures::stream::iter(rows).map(Ok).boxed()
    };
    let (window, revision, schema) = (closing.window, closing.revision, schema.clone());
    let framed = rows.map(move |batch| {
        let batch = batch?;
        let count = batch.num_rows();
        let time = |time: Timestamp| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_value(time.0, count).with_timezone("UTC"))
        };
        let mut columns = vec![time(window.start), time(window.end)];
        columns.extend(batch.columns().iter().cloned());
        columns.push(Arc::new(Int32Array::from_value(revision, count)));
        let framed = RecordBatch::try_new(schema.clone(), columns);
        Ok(framed.map_err(|error| SinkError::Internal(format!("window {}: {error}", window.start)))?)
    });
    Ok(framed.boxed())
}

/// The schema of result files: the window, the query's columns, the revision.
#[must_use]
pub fn file_schema(query: &SchemaRef) -> SchemaRef {
    let window = ["window_start", "window_end"].map(|name| Arc::new(Field::new(name, timestamp_type(), false)));
    let revision = Arc::new(Field::new("_revision", DataType::Int32, false));
    Arc::new(Schema::new(
        window.into_iter().chain(query.fields().iter().cloned()).chain([revision]).collect::<Vec<_>>(),
    ))
}

/// What a result file says of itself.
fn metadata(identity: &Identity, sequence: Sequence, closing: &Closing) -> Vec<(String, String)> {
    let inputs: serde_json::Map<_, _> = closing
        .inputs
        .iter()
        .map(|(partition, tally)| {
            let input = json!({
                "first_offset": tally.first, "last_offset": tally.last,
                "aggregated": tally.aggregated, "filtered": tally.filtered, "late": tally.late,
            });
            (partition.to_string(), input)
        })
        .collect();
    let text = |key: &str, value: String| (format!("windrow.{key}"), value);
    vec![
        text("pipeline", identity.pipeline.clone()),
        text("topic", identity.topic.name.clone()),
        text("window_start", closing.window.start.to_string()),
        text("window_end", closing.window.end.to_string()),
        text("revision", closing.revision.to_string()),
        text("final", closing.last.to_string()),
        text("complete", closing.complete.to_string()),
        text("sequence", sequence.0.to_string()),
        text("inputs", serde_json::Value::Object(inputs).to_string()),
    ]
}
