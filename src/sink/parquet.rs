//! Parquet bytes that every loader reads alike, the same bytes for the same rows.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::SinkError;

/// Rows written between two looks at the file's size.
const SLICE: usize = 65_536;
const ROW_GROUP_ROWS: usize = 1_048_576;

/// One file, encoded.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its bytes.
    pub bytes: Bytes,
    /// Rows in it.
    pub rows: u64,
}

/// How to encode a result.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Bytes at which a file is ended and the next one begun; 0 for never.
    pub target_size: u64,
    /// Columns the rows are sorted by, for the readers' statistics.
    pub sorted_by: Vec<usize>,
    /// What the files say of themselves.
    pub metadata: Vec<(String, String)>,
}

/// Files in the making: rows go in, and whole files near the target size come out.
#[derive(Debug)]
pub struct Encoder<'a> {
    schema: SchemaRef,
    form: &'a Form,
    writer: ArrowWriter<Vec<u8>>,
    rows: u64,
}

impl<'a> Encoder<'a> {
    /// Begins the first file.
    ///
    /// # Errors
    /// If a column has no Parquet form, which planning has ruled out.
    pub fn new(schema: SchemaRef, form: &'a Form) -> Result<Self, SinkError> {
        Ok(Self { writer: begin(&schema, form)?, schema, form, rows: 0 })
    }

    /// Appends rows; gives the files that are full.
    ///
    /// # Errors
    /// If the rows cannot be encoded.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Encoded>, SinkError> {
        let mut full = Vec::new();
        for at in (0..batch.num_rows()).step_by(SLICE) {
            let slice = batch.slice(at, SLICE.min(batch.num_rows() - at));
            let size = (self.writer.bytes_written() + self.writer.in_progress_size()) as u64;
            if self.form.target_size > 0 && size >= self.form.target_size {
                let next = begin(&self.schema, self.form)?;
                full.push(encoded(std::mem::replace(&mut self.writer, next), std::mem::take(&mut self.rows))?);
            }
            self.writer.write(&slice).map_err(|error| internal(&error))?;
            self.rows += slice.num_rows() as u64;
        }
        Ok(full)
    }

    /// The last file. It holds no rows if none were written.
    ///
    /// # Errors
    /// If the rows cannot be encoded.
    pub fn finish(self) -> Result<Encoded, SinkError> {
        encoded(self.writer, self.rows)
    }
}

/// Encodes `batches` as one file, or as several near the target size. No rows give one empty file.
///
/// # Errors
/// If a column has no Parquet form, which planning has ruled out.
pub fn encode(schema: &SchemaRef, batches: &[RecordBatch], form: &Form) -> Result<Vec<Encoded>, SinkError> {
    let mut encoder = Encoder::new(schema.clone(), form)?;
    let mut files = Vec::new();
    for batch in batches {
        files.extend(encoder.write(batch)?);
    }
    files.push(encoder.finish()?);
    Ok(files)
}

fn begin(schema: &SchemaRef, form: &Form) -> Result<ArrowWriter<Vec<u8>>, SinkError> {
    let options = ArrowWriterOptions::new().with_properties(properties(schema, form)).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options).map_err(|error| internal(&error))
}

fn encoded(writer: ArrowWriter<Vec<u8>>, rows: u64) -> Result<Encoded, SinkError> {
    Ok(Encoded { bytes: writer.into_inner().map_err(|error| internal(&error))?.into(), rows })
}

fn internal(error: &parquet::errors::ParquetError) -> SinkError {
    SinkError::Internal(format!("cannot encode Parquet: {error}"))
}

/// zstd at level 1 is as small as level 3 here; dictionaries pay for text only.
fn properties(schema: &SchemaRef, form: &Form) -> WriterProperties {
    let sorting = form.sorted_by.iter().filter_map(|&column| i32::try_from(column).ok());
    let sorting: Vec<_> =
        sorting.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false }).collect();
    let metadata = form.metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("windrow ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_dictionary_enabled(false)
        .set_sorting_columns((!sorting.is_empty()).then_some(sorting))
        .set_key_value_metadata(Some(metadata));
    for field in schema.fields().iter().filter(|field| field.data_type() == &DataType::Utf8) {
        builder = builder.set_column_dictionary_enabled(ColumnPath::new(vec![field.name().clone()]), true);
    }
    builder.build()
}
