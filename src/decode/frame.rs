//! What every format's reader does around its own work: rows that are taken back, event times, the columns of
//! [`super::column::META`], and the batch.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::cells::Cells;
use super::column::{Column, ColumnType, Columns, META, TIMESTAMP, Whole};
use super::meta::{Meta, TopicColumn};
use super::reason::{self, Misfit};
use super::schemas::OnMissing;
use super::typed::{self, Datum};
use super::{Decoded, Reason};
use crate::record::{Record, Records};

/// The columns to fill, and what is kept between batches. Nothing of it changes an answer.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) columns: Vec<Column>,
    /// Whether a record without the column's value is refused.
    required: Vec<bool>,
    /// Whether a record whose schema does not have the column is.
    needed: Vec<bool>,
    schema: SchemaRef,
    event_time: EventTime,
    topic: TopicColumn,
    whole: Whole,
    /// Text bytes of each column in the batch before, as a guess at this one's.
    text_bytes: Vec<usize>,
}

/// Where event times come from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum EventTime {
    Column(usize),
    /// Kafka's own time of the record.
    Record,
    /// The named column is no declared timestamp: no record has a time.
    Undeclared,
}

/// Why a record has no event time where that is the record's own.
pub(super) const NO_RECORD_TIME: &str = "_timestamp: the record has no time of its own";

/// The row that a record is to fill: one value or null for each column.
pub(super) struct Row<'a> {
    pub(super) columns: &'a [Column],
    /// Whether a record without the column's value is refused.
    pub(super) required: &'a [bool],
    /// Whether a record whose schema does not have the column is.
    needed: &'a [bool],
    pub(super) cells: &'a mut [Cells],
    /// How many rows stand before this one.
    pub(super) index: usize,
}

impl Frame {
    /// For these columns. `topic` is what `_topic` says.
    pub(super) fn new(columns: &Columns, topic: &str) -> Self {
        let is_event_time =
            |column: &Column| column.name == columns.event_time && matches!(column.kind, ColumnType::Timestamp(_));
        let event_time = match columns.declared.iter().position(is_event_time) {
            _ if columns.event_time == TIMESTAMP => EventTime::Record,
            Some(index) => EventTime::Column(index),
            None => EventTime::Undeclared,
        };
        let required = |(index, column): (usize, &Column)| !column.optional || event_time == EventTime::Column(index);
        let required: Vec<bool> = columns.declared.iter().enumerate().map(required).collect();
        Self {
            needed: required.clone(),
            required,
            schema: columns.schema(),
            event_time,
            topic: TopicColumn::new(topic),
            whole: columns.whole,
            text_bytes: vec![0; columns.declared.len()],
            columns: columns.declared.clone(),
        }
    }

    /// The same, for records whose schemas may not have every column.
    pub(super) fn with_missing(mut self, on_missing: OnMissing) -> Self {
        if on_missing == OnMissing::Null {
            for (index, needed) in self.needed.iter_mut().enumerate() {
                *needed = self.event_time == EventTime::Column(index);
            }
        }
        self
    }

    /// Lets `read` fill a row from the value of each record that has one. What it leaves there after an error is taken
    /// back.
    pub(super) fn decode(
        &mut self,
        records: Records,
        mut read: impl FnMut(&mut Row<'_>, &[u8]) -> Result<(), Box<Reason>>,
    ) -> Decoded {
        let count = records.len();
        let cells = self.columns.iter().zip(&self.text_bytes);
        let mut cells: Vec<Cells> = cells.map(|(column, &bytes)| Cells::new(column.kind, count, bytes)).collect();
        let mut meta = Meta::new(&self.topic, self.whole, count);
        let mut rows = Vec::with_capacity(count);
        let mut rejected = Vec::new();
        for (index, record) in (0u32..).zip(records.iter()) {
            let (columns, required, needed) = (&self.columns, &self.required, &self.needed);
            let mut row = Row { columns, required, needed, cells: &mut cells, index: rows.len() };
            let filled = match record.value {
                Some(value) => read(&mut row, value).and_then(|()| timed(self.event_time, &record)),
                None => Err(rejection(reason::TOMBSTONE, "the value is null")),
            };
            match filled.and_then(|()| meta.push(&record)) {
                Ok(()) => rows.push(index),
                Err(reason) => {
                    cells.iter_mut().for_each(|cells| cells.truncate(rows.len()));
                    rejected.push((index, *reason));
                }
            }
        }
        self.text_bytes = cells.iter().map(Cells::text_bytes).collect();
        let arrays = cells.into_iter().map(Cells::finish);
        let arrays = arrays.chain(meta.finish(&mut self.topic, records.partition)).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).expect("each column has its type and one length");
        let event_times = match self.event_time {
            EventTime::Column(index) => index,
            EventTime::Record | EventTime::Undeclared => {
                self.columns.len() + META.iter().position(|&name| name == TIMESTAMP).unwrap_or_default()
            }
        };
        let event_times = batch.column(event_times).as_primitive::<TimestampMicrosecondType>().clone();
        Decoded { records, rows, batch, event_times, rejected }
    }
}

/// Whether the record has an event time, as far as its columns do not tell.
#[inline]
fn timed(event_time: EventTime, record: &Record<'_>) -> Result<(), Box<Reason>> {
    match event_time {
        EventTime::Column(_) => Ok(()),
        EventTime::Record if record.timestamp.is_some() => Ok(()),
        EventTime::Record => Err(rejection(reason::MISSING_COLUMN, NO_RECORD_TIME)),
        EventTime::Undeclared => Err(rejection(reason::MISSING_COLUMN, "the event time is no declared timestamp")),
    }
}

impl Row<'_> {
    /// Fills the column with a value that has a type of its own.
    pub(super) fn put(&mut self, column: usize, datum: Datum<'_>) -> Result<(), Box<Reason>> {
        match typed::push(&mut self.cells[column].values, datum) {
            Ok(()) => {
                self.cells[column].filled();
                Ok(())
            }
            Err(misfit) => Err(self.misfit(column, datum.to_string().as_bytes(), misfit)),
        }
    }

    /// Fills a column with JSON text as it stands.
    pub(super) fn put_json(&mut self, column: usize, text: &[u8]) -> Result<(), Box<Reason>> {
        match typed::push_json(&mut self.cells[column].values, text) {
            Ok(()) => {
                self.cells[column].filled();
                Ok(())
            }
            Err(misfit) => Err(self.misfit(column, text, misfit)),
        }
    }

    /// Leaves the column without a value; `how` says why there is none.
    pub(super) fn put_null(&mut self, column: usize, how: &str) -> Result<(), Box<Reason>> {
        if self.required[column] {
            return Err(Box::new(reason::missing(&self.columns[column], how)));
        }
        self.cells[column].push_null();
        Ok(())
    }

    /// Leaves a column that the record's schema does not have without a value.
    pub(super) fn put_absent(&mut self, column: usize, how: &str) -> Result<(), Box<Reason>> {
        if self.needed[column] {
            return Err(Box::new(reason::missing(&self.columns[column], how)));
        }
        self.cells[column].push_null();
        Ok(())
    }

    /// The reason why `found` is not what the column holds.
    #[cold]
    pub(super) fn misfit(&self, column: usize, found: &[u8], misfit: Misfit) -> Box<Reason> {
        Box::new(reason::misfit(&self.columns[column], found, misfit))
    }
}

/// A reason of the whole record. The text may repeat what others wrote, such as a schema's names.
#[cold]
pub(super) fn rejection(class: &'static str, text: impl Into<String>) -> Box<Reason> {
    Box::new(Reason { class, text: reason::harmless(text.into()) })
}
