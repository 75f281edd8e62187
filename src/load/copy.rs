//! A file's rows on their way into a table, by binary COPY.

use std::error::Error as StdError;
use std::pin::Pin;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};
use bytes::{BufMut, Bytes, BytesMut};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::schema::{Column, Kind, columns};
use super::table::{TableName, Theirs, fit, quoted};
use super::{LoadError, numeric};
use crate::log::publish::FeedFile;
use crate::sink::state::digest;

/// 2000-01-01, from which PostgreSQL counts, in microseconds and in days.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;
/// PostgreSQL's first and last moments, as it counts.
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// PostgreSQL's first and last days.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;
const BATCH: usize = 8192;

/// How the files of one schema become rows of one table.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The types to send, in the order of the columns.
    types: Vec<Type>,
    statement: String,
}

impl Plan {
    /// For files of this schema, and a table that has `theirs`.
    pub(super) fn new(table: &TableName, schema: SchemaRef, theirs: &[Theirs]) -> Result<Self, LoadError> {
        let columns = columns(&schema)?;
        let types = fit(table, &columns, theirs)?;
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let statement = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.sql(), names.join(", "));
        Ok(Self { schema, columns, types, statement })
    }

    pub(super) fn statement(&self) -> &str {
        &self.statement
    }

    pub(super) fn types(&self) -> &[Type] {
        &self.types
    }

    /// Whether it is for files of this schema.
    pub(super) fn is_for(&self, schema: &SchemaRef) -> bool {
        self.schema.fields() == schema.fields()
    }
}

/// A file whose bytes are those that the feed names.
pub(super) struct Whole {
    path: String,
    schema: SchemaRef,
    reader: ParquetRecordBatchReader,
}

impl Whole {
    /// Checks size, digest and row count.
    pub(super) fn open(file: &FeedFile, bytes: Bytes) -> Result<Self, LoadError> {
        let damaged = |why: String| {
            let text = format!("{}: {why}; nothing of this entry is loaded; look with windrow audit", file.path);
            LoadError::Data(text)
        };
        if !file.format.is_parquet() {
            let text = format!(
                "{}: its results are written as {}, and only Parquet is loaded; fill a sink with format = \"parquet\", or \
                 load these files by the database's own means",
                file.path, file.format
            );
            return Err(LoadError::Invalid(text));
        }
        if bytes.len() as u64 != file.bytes || digest(&bytes) != file.sha256 {
            return Err(damaged("it is not what was published".to_owned()));
        }
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| damaged(error.to_string()))?;
        let rows = builder.metadata().file_metadata().num_rows().unsigned_abs();
        if rows != file.rows {
            return Err(damaged(format!("it holds {rows} rows, the feed says {}", file.rows)));
        }
        let schema = builder.schema().clone();
        let reader = builder.with_batch_size(BATCH).build().map_err(|error| damaged(error.to_string()))?;
        Ok(Self { path: file.path.clone(), schema, reader })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

/// Why a file did not go over.
pub(super) enum Broken {
    /// The server, or the way there.
    Server(tokio_postgres::Error),
    /// The file, or a value that has no place in PostgreSQL.
    File(LoadError),
}

/// Sends every row of a file.
pub(super) async fn send(plan: &Plan, file: Whole, mut to: Pin<&mut BinaryCopyInWriter>) -> Result<(), Broken> {
    let mut before = 0;
    for batch in file.reader {
        let damaged = |error| Broken::File(LoadError::Data(format!("{}: {error}", file.path)));
        let batch = batch.map_err(damaged)?;
        let cells: Vec<Cells<'_>> = plan.columns.iter().zip(batch.columns()).map(Cells::of).collect();
        for (column, cells) in plan.columns.iter().zip(&cells) {
            if let Some((row, why)) = cells.impossible() {
                let text = format!("{} row {}, column \"{}\": {why}", file.path, before + row + 1, column.name);
                return Err(Broken::File(LoadError::Data(text)));
            }
        }
        send_batch(&batch, &cells, to.as_mut()).await.map_err(Broken::Server)?;
        before += batch.num_rows();
    }
    Ok(())
}

async fn send_batch(
    batch: &RecordBatch,
    cells: &[Cells<'_>],
    mut to: Pin<&mut BinaryCopyInWriter>,
) -> Result<(), tokio_postgres::Error> {
    for row in 0..batch.num_rows() {
        to.as_mut().write_raw(cells.iter().map(|cells| cells.at(row))).await?;
    }
    Ok(())
}

/// A column's values.
enum Cells<'a> {
    Timestamp(&'a TimestampMicrosecondArray),
    Date(&'a Date32Array),
    Numeric(&'a Decimal128Array, u8),
    BigInt(&'a Int64Array),
    Integer(&'a Int32Array),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
}

impl<'a> Cells<'a> {
    fn of((column, array): (&Column, &'a std::sync::Arc<dyn Array>)) -> Self {
        match column.kind {
            Kind::Timestamp => Self::Timestamp(array.as_primitive::<TimestampMicrosecondType>()),
            Kind::Date => Self::Date(array.as_primitive::<Date32Type>()),
            Kind::Numeric { scale, .. } => Self::Numeric(array.as_primitive::<Decimal128Type>(), scale),
            Kind::BigInt => Self::BigInt(array.as_primitive::<Int64Type>()),
            Kind::Integer => Self::Integer(array.as_primitive::<Int32Type>()),
            Kind::Double => Self::Double(array.as_primitive::<Float64Type>()),
            Kind::Boolean => Self::Boolean(array.as_boolean()),
            Kind::Text => Self::Text(array.as_string::<i32>()),
            Kind::Bytes => Self::Bytes(array.as_binary::<i32>()),
        }
    }

    /// The first row whose value PostgreSQL cannot hold, and why.
    fn impossible(&self) -> Option<(usize, &'static str)> {
        match self {
            Self::Text(array) => {
                let (first, last) = (array.value_offsets().first()?, array.value_offsets().last()?);
                let bytes = array.value_data().get(*first as usize..*last as usize)?;
                // One look at all the bytes; only what has a NUL somewhere is looked through row by row.
                bytes.contains(&0).then_some(())?;
                let row = array.iter().position(|text| text.is_some_and(|text| text.contains('\0')))?;
                Some((
                    row,
                    "the text has a NUL character in it, which PostgreSQL's text cannot hold; take it out in the query",
                ))
            }
            Self::Timestamp(array) => {
                let fits = |time: i64| time.checked_sub(EPOCH_MICROS).is_some_and(|time| MICROS.contains(&time));
                let row = array.iter().position(|time| time.is_some_and(|time| !fits(time)))?;
                Some((row, "the time is beyond those that PostgreSQL can hold, 4714 BC to 294276"))
            }
            Self::Date(array) => {
                let fits = |day: i32| day.checked_sub(EPOCH_DAYS).is_some_and(|day| DAYS.contains(&day));
                let row = array.iter().position(|day| day.is_some_and(|day| !fits(day)))?;
                Some((row, "the day is beyond those that PostgreSQL can hold, 4714 BC to 5874897"))
            }
            _ => None,
        }
    }

    fn at(&self, row: usize) -> Cell<'a> {
        fn some<'a, A: Array>(array: &A, row: usize, value: impl FnOnce() -> Cell<'a>) -> Cell<'a> {
            if array.is_null(row) { Cell::Null } else { value() }
        }
        match *self {
            Self::Timestamp(array) => some(array, row, || Cell::Timestamp(array.value(row))),
            Self::Date(array) => some(array, row, || Cell::Date(array.value(row))),
            Self::Numeric(array, scale) => some(array, row, || Cell::Numeric(array.value(row), scale)),
            Self::BigInt(array) => some(array, row, || Cell::Int(array.value(row))),
            Self::Integer(array) => some(array, row, || Cell::Int(i64::from(array.value(row)))),
            Self::Double(array) => some(array, row, || Cell::Double(array.value(row))),
            Self::Boolean(array) => some(array, row, || Cell::Boolean(array.value(row))),
            Self::Text(array) => some(array, row, || Cell::Text(array.value(row))),
            Self::Bytes(array) => some(array, row, || Cell::Bytes(array.value(row))),
        }
    }
}

/// One value, in the units of the file.
#[derive(Copy, Clone, Debug)]
pub(super) enum Cell<'a> {
    Null,
    /// Microseconds since 1970.
    Timestamp(i64),
    /// Days since 1970.
    Date(i32),
    /// Unscaled, and the scale.
    Numeric(i128, u8),
    Int(i64),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl ToSql for Cell<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match *self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Timestamp(time) => out.put_i64(time.checked_sub(EPOCH_MICROS).ok_or("time out of range")?),
            Self::Date(day) => out.put_i32(day.checked_sub(EPOCH_DAYS).ok_or("day out of range")?),
            Self::Numeric(unscaled, scale) => numeric::write(unscaled, scale, out),
            Self::Int(number) if *kind == Type::INT4 => out.put_i32(i32::try_from(number)?),
            Self::Int(number) => out.put_i64(number),
            Self::Double(number) => out.put_f64(number),
            Self::Boolean(truth) => out.put_u8(u8::from(truth)),
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    /// The plan has chosen the type.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
