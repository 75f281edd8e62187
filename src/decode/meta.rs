//! The columns that a stream has besides the declared ones: [`super::column::META`], and the record as a whole.

use std::iter;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, NullBufferBuilder, StringArray};

use super::Reason;
use super::cells::timestamps;
use super::column::{ColumnType, HEADERS, KEY, PartType, VALUE, Whole};
use super::part::Part;
use super::reason::OUT_OF_RANGE;
use crate::record::{Partition, Record};

/// The topic's name as often as the longest batch so far needed it; shorter ones take a slice.
#[derive(Debug)]
pub(super) struct TopicColumn {
    name: String,
    repeated: StringArray,
}

impl TopicColumn {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), repeated: StringArray::from(Vec::<&str>::new()) }
    }

    fn slice(&mut self, rows: usize) -> ArrayRef {
        if self.repeated.len() < rows {
            self.repeated = StringArray::from_iter_values(iter::repeat_n(&self.name, rows.next_power_of_two()));
        }
        Arc::new(self.repeated.slice(0, rows))
    }

    /// The rows whose names fit one Arrow array, also when rounded up to a power of two.
    fn most_rows(&self) -> usize {
        (1 << 30) / self.name.len().max(1)
    }
}

/// The columns of one batch.
#[derive(Debug)]
pub(super) struct Meta {
    most_rows: usize,
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    timed: NullBufferBuilder,
    keys: Part,
    values: Option<Part>,
    headers: Option<Part>,
}

impl Meta {
    pub(super) fn new(topic: &TopicColumn, whole: Whole, rows: usize) -> Self {
        let text = PartType::Spelled(ColumnType::Text);
        Self {
            most_rows: topic.most_rows(),
            offsets: Vec::with_capacity(rows),
            timestamps: Vec::with_capacity(rows),
            timed: NullBufferBuilder::new(rows),
            keys: Part::new(KEY, whole.key, rows),
            values: whole.value.map(|kind| Part::new(VALUE, Some(kind), rows)),
            headers: whole.headers.then(|| Part::new(HEADERS, Some(text), rows)),
        }
    }

    /// Adds a record whole or, on an error, not at all.
    ///
    /// # Errors
    /// If its key or value is not what the column holds, or the batch would hold more text than an Arrow array can.
    #[inline]
    pub(super) fn push(&mut self, record: &Record<'_>) -> Result<(), Box<Reason>> {
        let rows = self.offsets.len();
        if rows >= self.most_rows {
            let text = "the batch has too many records".to_owned();
            return Err(Box::new(Reason { class: OUT_OF_RANGE, text }));
        }
        self.keys.push(record.key)?;
        if self.values.is_some() || self.headers.is_some() {
            self.push_rest(record).inspect_err(|_| self.truncate(rows))?;
        }
        self.offsets.push(record.offset.0);
        self.timestamps.push(record.timestamp.map_or(0, |timestamp| timestamp.0));
        self.timed.append(record.timestamp.is_some());
        Ok(())
    }

    fn push_rest(&mut self, record: &Record<'_>) -> Result<(), Box<Reason>> {
        if let Some(values) = &mut self.values {
            values.push(record.value)?;
        }
        if let Some(headers) = &mut self.headers {
            headers.push(record.headers.json().as_deref().map(str::as_bytes))?;
        }
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.keys.truncate(rows);
        self.values.iter_mut().chain(&mut self.headers).for_each(|part| part.truncate(rows));
    }

    /// The columns in the order of the stream's schema.
    pub(super) fn finish(
        self,
        topic: &mut TopicColumn,
        partition: Partition,
    ) -> impl Iterator<Item = ArrayRef> + use<> {
        let Self { offsets, timestamps: times, mut timed, keys, values, headers, .. } = self;
        let rows = offsets.len();
        let always: [ArrayRef; 5] = [
            topic.slice(rows),
            Arc::new(Int64Array::from_value(partition.0.into(), rows)),
            Arc::new(Int64Array::from(offsets)),
            Arc::new(timestamps(times, timed.finish())),
            keys.finish(),
        ];
        always.into_iter().chain(values.map(Part::finish)).chain(headers.map(Part::finish))
    }
}
