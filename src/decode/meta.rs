//! The columns that every stream has besides the declared ones: [`super::column::META`].

use std::iter;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, NullBufferBuilder, StringArray};

use super::cells::{Texts, timestamps};
use super::reason::Misfit;
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
    keys: Texts,
    keyed: NullBufferBuilder,
}

impl Meta {
    pub(super) fn new(topic: &TopicColumn, rows: usize) -> Self {
        Self {
            most_rows: topic.most_rows(),
            offsets: Vec::with_capacity(rows),
            timestamps: Vec::with_capacity(rows),
            timed: NullBufferBuilder::new(rows),
            keys: Texts::new(rows, 16 * rows),
            keyed: NullBufferBuilder::new(rows),
        }
    }

    /// Adds a record whole or, on an error, not at all.
    ///
    /// # Errors
    /// `out_of_range` if the batch would hold more text than an Arrow array can.
    #[inline]
    pub(super) fn push(&mut self, record: &Record<'_>) -> Result<(), Misfit> {
        if self.offsets.len() >= self.most_rows {
            return Err(Misfit::out_of_range("the batch has too many records"));
        }
        match record.key.filter(|key| key.is_ascii() || str::from_utf8(key).is_ok()) {
            Some(key) => {
                self.keys.push(key)?;
                self.keyed.append_non_null();
            }
            None => {
                self.keys.push_empty();
                self.keyed.append_null();
            }
        }
        self.offsets.push(record.offset.0);
        self.timestamps.push(record.timestamp.map_or(0, |timestamp| timestamp.0));
        self.timed.append(record.timestamp.is_some());
        Ok(())
    }

    /// The columns in the order of [`super::column::META`].
    pub(super) fn finish(mut self, topic: &mut TopicColumn, partition: Partition) -> [ArrayRef; 5] {
        let rows = self.offsets.len();
        [
            topic.slice(rows),
            Arc::new(Int64Array::from_value(partition.0.into(), rows)),
            Arc::new(Int64Array::from(self.offsets)),
            Arc::new(timestamps(self.timestamps, self.timed.finish())),
            Arc::new(self.keys.finish(self.keyed.finish())),
        ]
    }
}
