//! Two results of one window, row by row.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The rows of a Parquet file.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(bytes: Bytes) -> Result<Vec<RecordBatch>, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
    let batches = reader.map_err(|error| error.to_string())?.collect::<Result<_, _>>();
    batches.map_err(|error| error.to_string())
}

/// What the published rows say otherwise than the expected ones; `None` if they are the same in the same order.
///
/// # Errors
/// If one of them cannot be read as a table.
pub(super) fn difference(published: &[RecordBatch], expected: &[RecordBatch]) -> Result<Option<String>, String> {
    let (Some(published), Some(expected)) = (whole(published)?, whole(expected)?) else {
        let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let (has, should) = (rows(published), rows(expected));
        return Ok((has != should).then(|| format!("it has {has} rows, the topic gives {should}")));
    };
    let names = |batch: &RecordBatch| {
        let schema = batch.schema();
        let fields = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type()));
        fields.collect::<Vec<_>>().join(", ")
    };
    if names(&published) != names(&expected) {
        return Ok(Some(format!("its columns are {}; the query gives {}", names(&published), names(&expected))));
    }
    let fields = expected.columns().iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(|error| error.to_string())?;
    let rows = |batch: &RecordBatch| converter.convert_columns(batch.columns()).map_err(|error| error.to_string());
    let (has, should) = (rows(&published)?, rows(&expected)?);
    if let Some(row) = (0..has.num_rows().min(should.num_rows())).find(|&row| has.row(row) != should.row(row)) {
        return Ok(Some(format!("row {}: {}", row + 1, differing(&published, &expected, row))));
    }
    let (has, should) = (has.num_rows(), should.num_rows());
    Ok((has != should).then(|| format!("it has {has} rows, the topic gives {should}")))
}

/// The same of files of text, line by line.
pub(super) fn text_difference(published: &[Bytes], expected: &[Bytes]) -> Option<String> {
    let lines =
        |files: &[Bytes]| files.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect::<String>();
    let (has, should) = (lines(published), lines(expected));
    let shown = |line: &str| line.escape_debug().take(120).collect::<String>();
    for (number, (has, should)) in (1..).zip(has.lines().zip(should.lines())) {
        if has != should {
            return Some(format!("line {number}: {}, the topic gives {}", shown(has), shown(should)));
        }
    }
    let (has, should) = (has.lines().count(), should.lines().count());
    (has != should).then(|| format!("it has {has} lines, the topic gives {should}"))
}

fn whole(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, String> {
    let Some(first) = batches.first() else { return Ok(None) };
    concat_batches(&first.schema(), batches).map(Some).map_err(|error| error.to_string())
}

/// The columns in which a row differs.
fn differing(published: &RecordBatch, expected: &RecordBatch, row: usize) -> String {
    let text = |batch: &RecordBatch, column: usize| {
        let text = array_value_to_string(batch.column(column), row).unwrap_or_else(|error| error.to_string());
        if text.is_empty() { "nothing".to_owned() } else { text.escape_debug().take(80).collect() }
    };
    let columns = (0..expected.num_columns()).filter_map(|column| {
        let (has, should) = (text(published, column), text(expected, column));
        let name = expected.schema().field(column).name().clone();
        (has != should).then(|| format!("{name} is {has}, the topic gives {should}"))
    });
    let columns: Vec<_> = columns.collect();
    if columns.is_empty() { "it differs in what is not shown".to_owned() } else { columns.join("; ") }
}
