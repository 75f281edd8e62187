//! Result files as comma-separated values (RFC 4180, with newlines alone), the first line with the columns' names.
//!
//! Written here and not by a library, for one thing that loaders need and writers do not give: text stands in quotes
//! always, and a null is nothing at all, so that an empty text (`""`) can be told from a null. That is how COPY of
//! PostgreSQL has it. Times are RFC 3339 in UTC, bytes are hex digits.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::SinkError;

/// The line of names.
pub(super) fn head(schema: &SchemaRef) -> Vec<u8> {
    let mut head = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        begin(index, &mut head);
        quote(field.name(), &mut head);
    }
    head.push(b'\n');
    head
}

fn begin(column: usize, out: &mut Vec<u8>) {
    if column > 0 {
        out.push(b',');
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends the rows.
pub(super) fn write(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), SinkError> {
    use std::io::Write;
    let internal = |why: &dyn std::fmt::Display| SinkError::Internal(format!("cannot encode CSV: {why}"));
    let options = FormatOptions::new().with_display_error(false);
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| internal(&error))?;
    for row in 0..batch.num_rows() {
        for (index, (array, shown)) in batch.columns().iter().zip(&columns).enumerate() {
            begin(index, out);
            if array.is_null(row) {
                continue;
            }
            if array.data_type() == &DataType::Utf8 {
                quote(array.as_string::<i32>().value(row), out);
            } else {
                write!(out, "{}", shown.value(row)).map_err(|error| internal(&error))?;
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

/// Counts the lines that are not within quotes, but for the first, which has the names.
pub(super) fn rows(bytes: &[u8]) -> Result<u64, String> {
    let (mut quoted, mut lines) = (false, 0_u64);
    for byte in bytes {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => lines += 1,
            _ => {}
        }
    }
    if quoted || bytes.last() != Some(&b'\n') {
        return Err("its last line does not end".to_owned());
    }
    Ok(lines - 1)
}
