//! The published files, read back as any reader would, and compared with the truth.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::Error;
use crate::generate::truth::{Truth, decimal};
use crate::log::entry::Counts;
use crate::record::Timestamp;
use crate::sink::store::Store;
use crate::sink::{SinkError, layout};

/// What lies under data/.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// How many files.
    pub(super) files: usize,
    /// Revenue in hundredths and rides, by window start and zone.
    pub(super) rows: BTreeMap<(Timestamp, String), (i128, u64)>,
}

impl Published {
    pub(super) async fn read(store: &Store) -> Result<Self, Error> {
        let mut published = Self::default();
        for (key, _) in store.list(layout::DATA).await? {
            let wrong = |why: String| SinkError::Data(format!("{}: {why}", store.address(&key)));
            let bytes = store.get(&key).await?.ok_or_else(|| wrong("it is gone".to_owned()))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
            for batch in reader.map_err(|error| wrong(error.to_string()))? {
                let batch = batch.map_err(|error| wrong(error.to_string()))?;
                published.add(&batch).map_err(wrong)?;
            }
            published.files += 1;
        }
        Ok(published)
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("there is no column {name}"));
        let unexpected = |name: &str| format!("column {name} is not of the type it should be");
        let start = column("window_start")?;
        let start = start.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| unexpected("window_start"))?;
        let zone = column("pickup_location")?;
        let zone = zone.as_string_opt::<i32>().ok_or_else(|| unexpected("pickup_location"))?;
        let revenue = column("revenue")?;
        if !matches!(revenue.data_type(), DataType::Decimal128(_, 2)) {
            return Err(unexpected("revenue"));
        }
        let revenue = revenue.as_primitive_opt::<Decimal128Type>().ok_or_else(|| unexpected("revenue"))?;
        let rides = column("rides")?;
        let rides = rides.as_primitive_opt::<Int64Type>().ok_or_else(|| unexpected("rides"))?;
        for row in 0..batch.num_rows() {
            let key = (Timestamp(start.value(row)), zone.value(row).to_owned());
            if self.rows.insert(key, (revenue.value(row), rides.value(row).unsigned_abs())).is_some() {
                return Err(format!("{} of {} is there twice", zone.value(row), Timestamp(start.value(row))));
            }
        }
        Ok(())
    }

    /// Revenue and rides of everything.
    pub(super) fn total(&self) -> (i128, u64) {
        self.rows.values().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
    }
}

/// Whether the result, and what the log counted, is the truth to the last digit.
///
/// # Errors
/// The first difference.
pub(super) fn compare(truth: &Truth, published: &Published, totals: &Counts) -> Result<(), Error> {
    let differs = |text: String| Err(SinkError::Data(format!("the result is not the truth: {text}")).into());
    let mut expected = truth.rows();
    for ((start, zone), &(revenue, rides)) in &published.rows {
        let found = expected.remove(&(*start, zone.as_str())).unwrap_or_default();
        if (found.amount, found.count) != (revenue, rides) {
            return differs(format!(
                "window {start}, {zone}: published {} for {rides} rides, generated {} for {}",
                decimal(revenue),
                decimal(found.amount),
                found.count
            ));
        }
    }
    if let Some(((start, zone), _)) = expected.into_iter().next() {
        return differs(format!("window {start}, {zone}: nothing is published"));
    }
    let tally = truth.tally();
    for (what, counted, generated) in [
        ("read", totals.read, tally.records),
        ("late", totals.late, tally.late),
        ("too late", totals.too_late, tally.too_late),
        ("invalid", totals.invalid(), tally.all_broken()),
    ] {
        if counted != generated {
            return differs(format!("{counted} records were counted as {what}, {generated} were generated so"));
        }
    }
    Ok(())
}
