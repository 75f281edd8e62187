//! Result files as JSON lines: an object a row, every column in it, null or not.
//!
//! Numbers have all their digits, times are RFC 3339 in UTC, bytes are hex digits. JSON has no word for a float that is
//! no number or infinite: those are null.

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use super::SinkError;

/// Appends the rows.
pub(super) fn write(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), SinkError> {
    let internal = |error: arrow::error::ArrowError| SinkError::Internal(format!("cannot encode JSON: {error}"));
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
    writer.write(batch).map_err(internal)?;
    writer.finish().map_err(internal)
}

/// Counts the lines.
pub(super) fn rows(bytes: &[u8]) -> Result<u64, String> {
    if bytes.last().is_some_and(|&last| last != b'\n') {
        return Err("its last line does not end".to_owned());
    }
    Ok(bytes.iter().filter(|&&byte| byte == b'\n').count() as u64)
}
