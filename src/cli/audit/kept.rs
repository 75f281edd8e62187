//! Late and invalid records: those that the topic gives, against those that the sink keeps.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use arrow::row::{RowConverter, SortField};

use crate::engine::kept::{self, Kept};
use crate::record::{Offset, Partition};
use crate::sink::state::digest;

/// What of a kept record must be as it was: the words about it may be another version's, or tell the clock.
const COMPARED: [&str; 7] = ["timestamp", "event_time", "window_start", "window_end", "reason", "key", "value"];

/// A record's place.
pub(super) type At = (Partition, Offset);

/// Kept records of one kind that the topic has given and no file has shown yet: a digest of each.
#[derive(Debug, Default)]
pub(super) struct Awaited(BTreeMap<At, String>);

impl Awaited {
    /// Adds what the topic gave.
    ///
    /// # Errors
    /// If the records do not fit a batch.
    pub(super) fn add(&mut self, topic: &str, records: &[Kept]) -> Result<(), String> {
        if records.is_empty() {
            return Ok(());
        }
        let batch = kept::batch(topic, records, false).map_err(|error| error.to_string())?;
        self.0.extend(rows(&batch)?.into_iter().map(|row| (row.at, row.digest)));
        Ok(())
    }

    /// Compares what the sink shows; gives a line for each record that the topic does not give, or gives otherwise.
    /// Records for which `unseen` holds were not read.
    ///
    /// # Errors
    /// If the batch is no batch of kept records.
    pub(super) fn compare(
        &mut self,
        shown: &RecordBatch,
        place: &str,
        unseen: impl Fn(At) -> bool,
    ) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        for Row { at, reason, digest } in rows(shown)? {
            let (partition, offset) = at;
            match self.0.remove(&at) {
                Some(expected) if expected == digest => {}
                Some(_) => wrong.push(format!(
                    "{place}: partition {partition} offset {offset} is kept as {reason}, not as the topic has it"
                )),
                None if unseen(at) => {}
                None => wrong.push(format!(
                    "{place}: partition {partition} offset {offset} is kept as {reason}, which the topic does not bear out"
                )),
            }
        }
        Ok(wrong)
    }

    /// How many the sink has not shown, and the first of them.
    pub(super) fn missing(&self) -> Option<(usize, At)> {
        self.0.keys().next().map(|&first| (self.0.len(), first))
    }
}

/// A kept record, as far as it is compared.
struct Row {
    at: At,
    reason: String,
    digest: String,
}

/// The places of the records of a batch that were kept for this reason.
///
/// # Errors
/// If it is no batch of kept records.
pub(super) fn places(batch: &RecordBatch, reason: &str) -> Result<Vec<At>, String> {
    Ok(rows(batch)?.into_iter().filter(|row| row.reason == reason).map(|row| row.at).collect())
}

fn rows(batch: &RecordBatch) -> Result<Vec<Row>, String> {
    let column = |name: &str| {
        let schema = kept::schema(false);
        let expected = schema.field_with_name(name).map_err(|error| error.to_string())?.data_type();
        let found = batch.column_by_name(name).ok_or_else(|| format!("it has no column \"{name}\""))?;
        // Times are read back with the zone by another of its names.
        let alike = found.data_type() == expected
            || matches!((found.data_type(), expected), (DataType::Timestamp(a, _), DataType::Timestamp(b, _)) if a == b);
        if alike { Ok(found.clone()) } else { Err(format!("its column \"{name}\" is a {}", found.data_type())) }
    };
    let (partitions, offsets, reasons) = (column("partition")?, column("offset")?, column("reason")?);
    let columns = COMPARED.map(column).into_iter().collect::<Result<Vec<_>, _>>()?;
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&columns));
    let converted = converted.map_err(|error| error.to_string())?;
    let (partitions, offsets) = (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
    let row = |row: usize| Row {
        at: (Partition(partitions.value(row)), Offset(offsets.value(row))),
        reason: reasons.as_string::<i32>().value(row).to_owned(),
        digest: digest(converted.row(row).as_ref()),
    };
    Ok((0..batch.num_rows()).map(row).collect())
}
