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

/// Encodes `batches` as one file, or as several near the target size. No rows give one empty file.
///
/// # Errors
/// If a column has no Parquet form, which planning has ruled out.
pub fn encode(schema: &SchemaRef, batches: &[RecordBatch], form: &Form) -> Result<Vec<Encoded>, SinkError> {
    let internal =
        |error: parquet::errors::ParquetError| SinkError::Internal(format!("cannot encode Parquet: {error}"));
    let begin = || {
        let options =
            ArrowWriterOptions::new().with_properties(properties(schema, form)).with_skip_arrow_metadata(true);
        ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options).map_err(internal)
    };
    let mut files = Vec::new();
    let mut writer = begin()?;
    let mut rows = 0u64;
    let slices = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).step_by(SLICE).map(move |at| batch.slice(at, SLICE.min(batch.num_rows() - at)))
    });
    for slice in slices {
        let size = (writer.bytes_written() + writer.in_progress_size()) as u64;
        if form.target_size > 0 && size >= form.target_size {
            files.push(Encoded { bytes: writer.into_inner().map_err(internal)?.into(), rows });
            (writer, rows) = (begin()?, 0);
        }
        writer.write(&slice).map_err(internal)?;
        rows += slice.num_rows() as u64;
    }
    files.push(Encoded { bytes: writer.into_inner().map_err(internal)?.into(), rows });
    Ok(files)
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
