//! What the files say, read with Parquet's own reader.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use windrow::log::entry::File;
use windrow::time::window::Window;

use crate::plan::Sql;

fn batches(bytes: &Bytes) -> Result<Vec<RecordBatch>, String> {
    let told = |error: &dyn std::fmt::Display| format!("a file cannot be read: {error}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|error| told(&error))?;
    reader.build().map_err(|error| told(&error))?.collect::<Result<_, _>>().map_err(|error| told(&error))
}

/// What a staged file holds. Reading is slow, so it is done once.
#[derive(Debug)]
pub struct Content {
    /// A result's rows as text, in the file's order.
    pub rows: Vec<String>,
    /// Records under late/ or invalid/.
    pub kept: Vec<KeptRow>,
}

/// A record under late/ or invalid/.
#[derive(Debug)]
pub struct KeptRow {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// Reads a file as what its entry calls it.
pub fn read(bytes: &Bytes, file: &File, sql: Sql) -> Result<Content, String> {
    if let (true, Some(window)) = (file.path.ends_with(".jsonl"), file.window) {
        return Ok(Content { rows: lines(bytes, window, file.revision, sql)?, kept: Vec::new() });
    }
    let batches = batches(bytes)?;
    match file.window {
        Some(window) => {
            let rows =
                batches.iter().map(|batch| rows(batch, window, file.revision, sql)).collect::<Result<Vec<_>, _>>()?;
            Ok(Content { rows: rows.concat(), kept: Vec::new() })
        }
        None => {
            let kept = batches.iter().map(kept).collect::<Result<Vec<_>, _>>()?;
            Ok(Content { rows: Vec::new(), kept: kept.into_iter().flatten().collect() })
        }
    }
}

/// The rows of a result as JSON lines.
fn lines(bytes: &[u8], window: Window, revision: i32, sql: Sql) -> Result<Vec<String>, String> {
    let columns = if sql == Sql::Rows { &["k", "v", "p", "o"][..] } else { &["k", "n", "s", "lo", "hi"][..] };
    let time = |time: &Value| {
        let time = time.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        time.map(|time| time.timestamp_micros())
    };
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let right = time(&row["window_start"]) == Some(window.start.0)
            && time(&row["window_end"]) == Some(window.end.0)
            && row["_revision"] == revision;
        if !right {
            return Err(format!("a file of window {} revision {revision} says otherwise", window.start));
        }
        let values = columns.iter().map(|column| match &row[column] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        Ok(values.collect::<Vec<_>>().join("|"))
    };
    std::str::from_utf8(bytes).map_err(|error| error.to_string())?.lines().map(row).collect()
}

fn rows(batch: &RecordBatch, window: Window, revision: i32, sql: Sql) -> Result<Vec<String>, String> {
    let [starts, ends] = [0, 1].map(|column| batch.column(column).as_primitive::<TimestampMicrosecondType>());
    let revisions = batch.column(batch.num_columns() - 1).as_primitive::<Int32Type>();
    let right = (0..batch.num_rows()).all(|row| {
        starts.value(row) == window.start.0 && ends.value(row) == window.end.0 && revisions.value(row) == revision
    });
    if !right {
        return Err(format!("a file of window {} revision {revision} says otherwise", window.start));
    }
    let numbers = if sql == Sql::Rows { 3 } else { 4 };
    let keys = batch.column(2).as_string::<i32>();
    let columns: Vec<_> = (3..3 + numbers).map(|column| batch.column(column).as_primitive::<Int64Type>()).collect();
    let row = |row: usize| {
        let values: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
        format!("{}|{}", keys.value(row), values.join("|"))
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn kept(batch: &RecordBatch) -> Result<Vec<KeptRow>, String> {
    let named = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
    let partitions = named("partition")?.as_primitive::<Int32Type>();
    let offsets = named("offset")?.as_primitive::<Int64Type>();
    let (keys, values) = (named("key")?.as_binary::<i32>(), named("value")?.as_binary::<i32>());
    let row = |row: usize| KeptRow {
        partition: partitions.value(row),
        offset: offsets.value(row),
        key: keys.is_valid(row).then(|| keys.value(row).to_vec()),
        value: values.is_valid(row).then(|| values.value(row).to_vec()),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
