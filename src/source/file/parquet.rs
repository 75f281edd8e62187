//! Rows of Parquet files, handed over as JSON objects of the declared columns.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::place::Found;
use super::{BATCH_BYTES, BATCH_RECORDS, FIRST, Reader, SourceError, Trouble};
use crate::decode::rows::RowText;
use crate::record::{Offset, Partition, Records};

impl Reader {
    /// Reads to the end; the number of the row that would come next.
    pub(super) fn parquet(
        &self,
        name: &str,
        partition: Partition,
        found: &Found,
        from: Offset,
        text: &RowText,
    ) -> Result<Offset, Trouble> {
        let cannot = |error: &dyn std::fmt::Display| SourceError::Data(format!("cannot read {name}: {error}"));
        let chunks = self
            .place
            .open_anywhere(found, &self.runtime)
            .map_err(|error| SourceError::Invalid(format!("cannot read {name}: {error}")))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(chunks).map_err(|error| cannot(&error))?;
        let rows = builder.metadata().file_metadata().num_rows();
        let end = Offset(FIRST.0.saturating_add(rows));
        if end <= from {
            return Ok(end);
        }
        let skipped = usize::try_from(from.0 - FIRST.0).unwrap_or(0);
        let fields = builder.schema().fields();
        let wanted: Vec<usize> =
            text.roots().filter_map(|name| fields.iter().position(|field| field.name() == name)).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder.with_projection(mask).with_offset(skipped).with_batch_size(BATCH_RECORDS).build();
        let mut next = from;
        let mut row = Vec::new();
        for batch in reader.map_err(|error| cannot(&error))? {
            let batch = batch.map_err(|error| cannot(&error))?;
            let mut records = Records::new(partition);
            for index in 0..batch.num_rows() {
                text.write(&batch, index, &mut row).map_err(|error| cannot(&format!("row {next}: {error}")))?;
                records.push(next, None, None, Some(&row));
                next = next.next();
                if records.bytes() >= BATCH_BYTES {
                    self.records(std::mem::replace(&mut records, Records::new(partition)))?;
                }
            }
            self.records(records)?;
        }
        Ok(next)
    }
}
