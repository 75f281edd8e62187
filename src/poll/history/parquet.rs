//! Parquet files on disk or in a bucket, by the sink's own store and encoder: one file a round.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field as Column, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use chrono::DateTime;

use super::{CREATED_AT, Keep, Lost};
use crate::config::poll::{Field, FieldType};
use crate::poll::answer::{Cell, Quote};
use crate::record::Timestamp;
use crate::sink::parquet::{Form, encode};
use crate::sink::store::{Created, Store};

/// How long a store that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the files go.
#[derive(Clone)]
pub(super) struct Files {
    url: String,
    properties: BTreeMap<String, String>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.url).finish()
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parquet files in {}", self.url)
    }
}

impl Files {
    pub(super) fn new(url: &str, properties: &BTreeMap<String, String>) -> Self {
        Self { url: url.to_owned(), properties: properties.clone() }
    }
}

/// A round's records on their way into a file.
pub(super) struct Batch {
    files: Files,
    name: String,
    schema: SchemaRef,
    begun: Timestamp,
    quotes: Vec<(Quote, Timestamp)>,
}

impl Batch {
    pub(super) fn new(files: Files, name: &str, fields: &[Field], begun: Timestamp) -> Self {
        let mut columns: Vec<Column> =
            fields.iter().map(|field| Column::new(&field.name, kind(field.kind), field.optional)).collect();
        columns.push(Column::new(CREATED_AT, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false));
        let schema = Arc::new(Schema::new(columns));
        Self { files, name: name.to_owned(), schema, begun, quotes: Vec::new() }
    }

    /// `dt=2026-03-01/NAME-20260301T103000.000000Z.parquet`: the moment the round began.
    fn key(&self) -> String {
        let time = DateTime::from_timestamp_micros(self.begun.0).unwrap_or_default();
        format!("dt={}/{}-{}.parquet", time.date_naive(), self.name, time.format("%Y%m%dT%H%M%S%.6fZ"))
    }

    fn rows(&self) -> Result<RecordBatch, String> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (index, field) in self.schema.fields().iter().enumerate().take(self.schema.fields().len() - 1) {
            let cells = || self.quotes.iter().map(move |(quote, _)| quote.cells().get(index).map(|(_, cell)| cell));
            columns.push(match field.data_type() {
                DataType::Float64 => Arc::new(cells().map(|cell| number(cell?)).collect::<Float64Array>()),
                DataType::Int64 => Arc::new(cells().map(|cell| int(cell?)).collect::<Int64Array>()),
                DataType::Boolean => Arc::new(cells().map(|cell| flag(cell?)).collect::<BooleanArray>()),
                _ => Arc::new(cells().map(|cell| text(cell?)).collect::<StringArray>()),
            });
        }
        let created_at = TimestampMicrosecondArray::from_iter_values(self.quotes.iter().map(|(_, at)| at.0));
        columns.push(Arc::new(created_at.with_timezone("UTC")));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| error.to_string())
    }

    async fn write(&self) -> Result<(), String> {
        let rows = self.rows()?;
        let form = Form { metadata: vec![("windrow.poll".to_owned(), self.name.clone())], ..Form::default() };
        let files = encode(&self.schema, &[rows], &form).map_err(|error| error.to_string())?;
        let store = Store::open(&self.files.url, &self.files.properties, true).map_err(|error| error.to_string())?;
        let store = store.with_patience(PATIENCE);
        let key = self.key();
        for file in files {
            match store.create(&key, file.bytes).await.map_err(|error| error.to_string())? {
                Created::Ours => tracing::debug!(rows = file.rows, "kept {}", store.address(&key)),
                Created::Theirs(_) => return Err(format!("{}: it is there already", store.address(&key))),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Keep for Batch {
    async fn keep(&mut self, quote: &Quote, created_at: Timestamp) -> Result<(), Lost> {
        self.quotes.push((quote.clone(), created_at));
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), String> {
        if self.quotes.is_empty() { Ok(()) } else { self.write().await }
    }
}

fn kind(kind: FieldType) -> DataType {
    match kind {
        FieldType::Number => DataType::Float64,
        FieldType::Int | FieldType::Timestamp(_) => DataType::Int64,
        FieldType::Bool => DataType::Boolean,
        FieldType::Text | FieldType::Json => DataType::Utf8,
    }
}

fn number(cell: &Cell) -> Option<f64> {
    if let Cell::Number(number) = cell { number.as_f64() } else { None }
}

fn int(cell: &Cell) -> Option<i64> {
    if let Cell::Int(number) = cell { Some(*number) } else { None }
}

fn flag(cell: &Cell) -> Option<bool> {
    if let Cell::Bool(flag) = cell { Some(*flag) } else { None }
}

fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Json(value) => Some(value.to_string()),
        _ => None,
    }
}
