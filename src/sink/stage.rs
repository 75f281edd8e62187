//! Making a cut durable: results encoded and staged, partial results saved, and the entry that will name them all.
//!
//! Nothing here is visible outside `_windrow/`. What comes out is a [`Staged`], the only thing the log appends.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::format::{FileFormat, encode};
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
    ClosedWindow, Entry, FORMAT, File, FileKind, OpenWindow, Part, Sequence, TopicId, Waiting, Writer,
};
use crate::log::store::Stored;
use crate::query::{Query, QueryError};
use crate::record::Timestamp;

/// Objects in flight at once.
const CONCURRENT: usize = 8;

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
    let mut saved = StateWriter::new(layout::state(sequence, &attempt));
    let mut outgoing = Outgoing { sequence, attempt: &attempt, files: Vec::new(), bytes: Vec::new() };

    let mut closed: Vec<ClosedWindow> = Vec::new();
    for closing in &cut.closings {
        let (schema, batches) = result(store, query, closing).await?;
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        // An empty result has no file, unless it takes the place of one that had rows.
        let first = closed.iter().find(|closed| closed.window == closing.window).map(|closed| closed.rows);
        if rows > 0 || closing.before.or(first).is_some_and(|before| before > 0) {
            let form = Form {
                target_size: pipeline.sink.target_file_size,
                sorted_by: query.sort_columns().iter().map(|column| column + 2).collect(),
                metadata: metadata(identity, sequence, closing),
            };
            let files = encode(pipeline.sink.format, &schema, &batches, &form)?;
            outgoing.result(pipeline, closing, files);
        }
        closed.push(ClosedWindow {
            window: closing.window,
            revision: closing.revision,
            last: closing.last,
            by: closing.by,
            complete: closing.complete,
            rows,
            inputs: closing.inputs.clone(),
        });
    }

    let mut windows = Vec::new();
    for open in cut.open {
        let just_closed = closed.iter().find(|closed| closed.window == open.window).map(|closed| closed.rows);
        let mut parts = Vec::new();
        for piece in open.pieces {
            let mut chunks = piece.state.stored;
            chunks.extend(saved.push(&piece.state.fresh)?);
            parts.push(Part { partition: piece.partition, late: piece.late, tally: piece.tally, chunks });
        }
        windows.push(OpenWindow { window: open.window, published: just_closed.or(open.published), parts });
    }

    let mut keep = async |kind: FileKind, waiting: Option<&Waiting>, fresh: &[Kept]| {
        let folder = if kind == FileKind::Late { layout::LATE } else { layout::INVALID };
        let held = waiting.cloned().unwrap_or_default();
        let fresh = if fresh.is_empty() {
            Vec::new()
        } else {
            let batch = kept::batch(&identity.topic.name, fresh, pipeline.columns.whole.headers);
            vec![batch.map_err(|error| SinkError::Internal(format!("cannot keep {folder} records: {error}")))?]
        };
        let since = held.since.or((!fresh.is_empty()).then_some(now));
        let size = held.chunks.iter().map(|chunk| chunk.bytes).sum::<u64>()
            + fresh.iter().map(|batch| batch.get_array_memory_size() as u64).sum::<u64>();
        let old = since.is_some_and(|since| now.0.saturating_sub(since.0) >= pipeline.sink.late_interval);
        let worth_it = ending.flush == Flush::Now || old || size >= pipeline.sink.late_size;
        if since.is_none() || !worth_it {
            let mut chunks = held.chunks;
            chunks.extend(saved.push(&fresh)?);
            return Ok::<_, Error>(Waiting { chunks, since });
        }
        let state = State { stored: held.chunks, fresh };
        let form = Form { metadata: vec![("windrow.pipeline".into(), identity.pipeline.clone())], ..Form::default() };
        let rows = kept::alike(load(store, &state).await?, pipeline.columns.whole.headers)
            .map_err(|error| SinkError::Internal(format!("cannot keep {folder} records: {error}")))?;
        let files = encode(FileFormat::Parquet, &kept::schema(pipeline.columns.whole.headers), &rows, &form)?;
        outgoing.kept(kind, layout::kept(folder, &identity.pipeline, sequence, now), files);
        Ok(Waiting::default())
    };
    let late = keep(FileKind::Late, before.map(|before| &before.entry.late), &cut.late).await?;
    let invalid = keep(FileKind::Invalid, before.map(|before| &before.entry.invalid), &cut.invalid).await?;

    let Outgoing { files, bytes, .. } = outgoing;
    let mut objects: Vec<(String, Bytes)> =
        files.iter().zip(&bytes).map(|(file, bytes)| (file.stage.clone(), bytes.clone())).collect();
    objects.extend(saved.finish());
    let puts = objects.into_iter().map(|(key, bytes)| async move { store.put(&key, bytes).await });
    futures::stream::iter(puts).buffer_unordered(CONCURRENT).try_collect::<()>().await?;

    let mut totals = before.map(|before| before.entry.totals.clone()).unwrap_or_default();
    totals.add(&cut.counts);
    let payload = files.iter().map(|file| file.path.clone()).zip(bytes).collect();
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
    };
    Ok(Staged { entry, payload })
}

/// Files on their way out, in the order of the entry.
struct Outgoing<'a> {
    sequence: Sequence,
    attempt: &'a str,
    files: Vec<File>,
    bytes: Vec<Bytes>,
}

impl Outgoing<'_> {
    fn result(&mut self, pipeline: &Pipeline, closing: &Closing, encoded: Vec<Encoded>) {
        let parts = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
        let date = pipeline.window.windows.date(closing.window);
        for (part, encoded) in (1u32..).zip(encoded) {
            let format = pipeline.sink.format;
            let path = layout::result(&pipeline.name, closing.window, date, closing.revision, part, parts, format);
            let kind = if closing.revision == 0 { FileKind::Data } else { FileKind::Correction };
            let file = self.file(kind, path, encoded);
            (file.window, file.revision, file.part, file.parts) = (Some(closing.window), closing.revision, part, parts);
        }
    }

    fn kept(&mut self, kind: FileKind, path: String, encoded: Vec<Encoded>) {
        for encoded in encoded {
            self.file(kind, path.clone(), encoded);
        }
    }

    fn file(&mut self, kind: FileKind, path: String, encoded: Encoded) -> &mut File {
        let index = self.files.len();
        self.files.push(File {
            kind,
            stage: layout::stage(self.sequence, self.attempt, index, FileFormat::of(&path)),
            path,
            window: None,
            revision: 0,
            part: 1,
            parts: 1,
            rows: encoded.rows,
            bytes: encoded.bytes.len() as u64,
            sha256: digest(&encoded.bytes),
        });
        self.bytes.push(encoded.bytes);
        &mut self.files[index]
    }
}

/// All batches of a partial result.
async fn load(store: &Store, state: &State) -> Result<Vec<RecordBatch>, SinkError> {
    let mut batches = Vec::new();
    for chunk in &state.stored {
        batches.extend(state::read(store, chunk).await?);
    }
    batches.extend(state.fresh.iter().cloned());
    Ok(batches)
}

/// A window's rows with the columns every file has.
async fn result(store: &Store, query: &Query, closing: &Closing) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let mut states = Vec::new();
    for state in &closing.states {
        states.push(load(store, state).await?);
    }
    let rows = query.close(states).await.map_err(|error| match error {
        QueryError::Data(text) => QueryError::Data(format!(
            "window {} to {} has no result: {text}; nothing is lost: guard the expression or widen its types \
             (CAST), and run into a new sink",
            closing.window.start, closing.window.end
        )),
        other => other,
    })?;
    let schema = file_schema(query.output_schema());
    let batches = rows.iter().map(|batch| {
        let count = batch.num_rows();
        let time = |time: Timestamp| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from_value(time.0, count).with_timezone("UTC"))
        };
        let mut columns = vec![time(closing.window.start), time(closing.window.end)];
        columns.extend(batch.columns().iter().cloned());
        columns.push(Arc::new(Int32Array::from_value(closing.revision, count)));
        RecordBatch::try_new(schema.clone(), columns)
    });
    let batches = batches.collect::<Result<Vec<_>, _>>();
    let batches = batches.map_err(|error| SinkError::Internal(format!("window {}: {error}", closing.window.start)))?;
    Ok((schema, batches))
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
