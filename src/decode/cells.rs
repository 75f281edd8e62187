//! Columns that grow a value at a time and can take an unfinished row back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, NullBufferBuilder,
    StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::column::{ColumnType, TimestampForm};
use super::reason::Misfit;

/// The values of one column, and which of them are null.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) values: Values,
    nulls: NullBufferBuilder,
}

/// Values by the column's type. A null has a value here too, of no meaning.
#[derive(Debug)]
pub(super) enum Values {
    Text(Texts),
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Float(Vec<f64>),
    Decimal { precision: u8, scale: i8, values: Vec<i128> },
    Timestamp { form: TimestampForm, values: Vec<i64> },
    Date(Vec<i32>),
    Json(Texts),
}

impl Cells {
    /// An empty column with room for `rows` values, and for `bytes` of text if it is of text.
    pub(super) fn new(kind: ColumnType, rows: usize, bytes: usize) -> Self {
        let values = match kind {
            ColumnType::Text => Values::Text(Texts::new(rows, bytes)),
            ColumnType::Bool => Values::Bool(Vec::with_capacity(rows)),
            ColumnType::Int => Values::Int(Vec::with_capacity(rows)),
            ColumnType::Float => Values::Float(Vec::with_capacity(rows)),
            ColumnType::Decimal { precision, scale } => {
                Values::Decimal { precision, scale, values: Vec::with_capacity(rows) }
            }
            ColumnType::Timestamp(form) => Values::Timestamp { form, values: Vec::with_capacity(rows) },
            ColumnType::Date => Values::Date(Vec::with_capacity(rows)),
            ColumnType::Json => Values::Json(Texts::new(rows, bytes)),
        };
        Self { values, nulls: NullBufferBuilder::new(rows) }
    }

    /// How many rows have their value.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Says that a value was pushed to `values`.
    #[inline]
    pub(super) fn filled(&mut self) {
        self.nulls.append_non_null();
    }

    /// Adds a null.
    pub(super) fn push_null(&mut self) {
        match &mut self.values {
            Values::Text(texts) | Values::Json(texts) => texts.push_empty(),
            Values::Bool(values) => values.push(false),
            Values::Int(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::Float(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Date(values) => values.push(0),
        }
        self.nulls.append_null();
    }

    /// Forgets what was added after the first `rows`.
    pub(super) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Text(texts) | Values::Json(texts) => texts.truncate(rows),
            Values::Bool(values) => values.truncate(rows),
            Values::Int(values) | Values::Timestamp { values, .. } => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Date(values) => values.truncate(rows),
        }
        self.nulls.truncate(rows);
    }

    /// Bytes of text held.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text(texts) | Values::Json(texts) => texts.bytes.len(),
            _ => 0,
        }
    }

    /// The Arrow array, of the type that [`ColumnType::arrow`] says.
    pub(super) fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        match self.values {
            Values::Text(texts) | Values::Json(texts) => Arc::new(texts.finish(nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
            Values::Int(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Float(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Decimal { precision, scale, values } => Arc::new(
                Decimal128Array::new(values.into(), nulls)
                    .with_precision_and_scale(precision, scale)
                    .expect("the declared precision and scale are ones that Arrow has"),
            ),
            Values::Timestamp { values, .. } => Arc::new(timestamps(values, nulls)),
            Values::Date(values) => Arc::new(Date32Array::new(values.into(), nulls)),
        }
    }
}

/// Microseconds as the one timestamp type.
pub(super) fn timestamps(values: Vec<i64>, nulls: Option<NullBuffer>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC")
}

/// Texts side by side in one buffer, which Arrow bounds at 2 GiB.
#[derive(Debug)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Texts {
    pub(super) fn new(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { bytes: Vec::with_capacity(bytes), ends }
    }

    /// Adds a text. `text` must be UTF-8.
    ///
    /// # Errors
    /// `out_of_range` if the batch would hold more text than an Arrow array can.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), Misfit> {
        let Ok(end) = i32::try_from(self.bytes.len() + text.len()) else {
            return Err(Misfit::out_of_range("the batch has more than 2 GiB of text"));
        };
        self.bytes.extend_from_slice(text);
        self.ends.push(end);
        Ok(())
    }

    #[inline]
    pub(super) fn push_empty(&mut self) {
        self.ends.push(self.ends[self.ends.len() - 1]);
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        let end = self.ends[self.ends.len() - 1];
        self.bytes.truncate(usize::try_from(end).expect("ends begin at 0 and rise"));
    }

    pub(super) fn finish(self, nulls: Option<NullBuffer>) -> StringArray {
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        StringArray::try_new(ends, Buffer::from_vec(self.bytes), nulls).expect("every text was checked to be UTF-8")
    }

    /// The same for bytes, which need not be UTF-8.
    pub(super) fn finish_bytes(self, nulls: Option<NullBuffer>) -> BinaryArray {
        let ends = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        BinaryArray::new(ends, Buffer::from_vec(self.bytes), nulls)
    }
}
