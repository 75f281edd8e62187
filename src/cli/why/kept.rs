//! Records that were kept as they came, found again: in a file under late/ or invalid/, or where they wait for one.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Place;
use super::trace::first;
use crate::error::Error;
use crate::log::entry::{Entry, FileKind, Waiting};
use crate::record::Timestamp;
use crate::sink::SinkError;
use crate::sink::state;
use crate::sink::store::Store;

/// A record that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Late or invalid.
    pub(super) kind: FileKind,
    /// The file it is in; none while it waits for one.
    pub(super) file: Option<String>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) event_time: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
}

/// Looks among what `entry` kept; `None` if the record is not there.
pub(super) async fn find(store: &Store, newest: &Entry, entry: &Entry, place: &Place) -> Result<Option<Found>, Error> {
    for (kind, kept) in [(FileKind::Late, entry.counts.too_late), (FileKind::Invalid, entry.counts.invalid())] {
        if kept == 0 {
            continue;
        }
        // Records wait until they are written to a file together; the moment the first came tells one such lot.
        let waiting = |entry: &Entry| if kind == FileKind::Late { entry.late.clone() } else { entry.invalid.clone() };
        let Waiting { since, .. } = waiting(entry);
        let found = if since.is_some() && waiting(newest).since == since {
            let mut found = None;
            for chunk in &waiting(newest).chunks {
                let batches = state::read(store, chunk).await?;
                found = found.or_else(|| batches.iter().find_map(|batch| row(batch, kind, None, place)));
            }
            found
        } else {
            let writer = match since {
                None => entry.clone(),
                Some(_) => first(store, entry.sequence.next(), newest, |later| waiting(later).since != since).await?,
            };
            let mut found = None;
            for file in writer.files.iter().filter(|file| file.kind == kind) {
                let bytes = match store.get(&file.path).await? {
                    None => store.get(&file.stage).await?,
                    bytes => bytes,
                };
                let bytes = bytes.ok_or_else(|| SinkError::Data(format!("sink {store}: {} is missing", file.path)))?;
                found = found.or(in_file(bytes, kind, &file.path, place)
                    .map_err(|error| SinkError::Data(format!("sink {store}: {}: {error}", file.path)))?);
            }
            found
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn in_file(bytes: Bytes, kind: FileKind, path: &str, place: &Place) -> Result<Option<Found>, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
    for batch in reader.map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        if let Some(found) = row(&batch, kind, Some(path), place) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The record's row of a batch of [`crate::engine::kept::schema`].
fn row(batch: &RecordBatch, kind: FileKind, path: Option<&str>, place: &Place) -> Option<Found> {
    let partitions = batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?;
    let offsets = batch.column_by_name("offset")?.as_primitive_opt::<Int64Type>()?;
    let row = (0..batch.num_rows())
        .find(|&row| offsets.value(row) == place.offset.0 && partitions.value(row) == place.partition.0)?;
    let time = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| Timestamp(column.value(row)))
    };
    let text = |name: &str| Some(batch.column_by_name(name)?.as_string_opt::<i32>()?.value(row).to_owned());
    let bytes = |name: &str| {
        let column = batch.column_by_name(name)?.as_binary_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_vec())
    };
    Some(Found {
        kind,
        file: path.map(str::to_owned),
        timestamp: time("timestamp"),
        event_time: time("event_time"),
        reason: text("reason")?,
        detail: text("detail")?,
        key: bytes("key"),
        value: bytes("value"),
    })
}
