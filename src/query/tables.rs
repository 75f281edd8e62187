//! Reference tables: small CSV and Parquet files, read once when the query is planned.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::MemTable;
use datafusion::prelude::{CsvReadOptions, SessionContext};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{QueryError, internal, told};

/// A table larger than this is no reference table.
const LARGEST: u64 = 256 << 20;

/// Reads each file and makes it known by its name.
///
/// # Errors
/// [`QueryError::Invalid`] if a file is missing, too large, or is neither CSV nor Parquet.
pub(super) async fn register(context: &SessionContext, tables: &BTreeMap<String, PathBuf>) -> Result<(), QueryError> {
    for (name, path) in tables {
        let wrong = |what: String| QueryError::Invalid(format!("table {name}: {}: {what}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
        if size > LARGEST {
            return Err(wrong(format!(
                "{size} bytes are too many; a reference table is read whole, {LARGEST} at most"
            )));
        }
        let (schema, batches) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => read_csv(context, path).await.map_err(|error| wrong(told(&error)))?,
            Some("parquet") => read_parquet(path).map_err(wrong)?,
            _ => return Err(wrong("the name must end in .csv or .parquet".to_owned())),
        };
        let table = MemTable::try_new(schema, vec![batches]).map_err(internal)?;
        context.register_table(name.as_str(), Arc::new(table)).map_err(internal)?;
    }
    Ok(())
}

/// The first line names the columns; their types are found by looking at the whole file.
async fn read_csv(context: &SessionContext, path: &Path) -> datafusion::error::Result<(SchemaRef, Vec<RecordBatch>)> {
    let options = CsvReadOptions::new().has_header(true).schema_infer_max_records(usize::MAX);
    let frame = context.read_csv(path.display().to_string(), options).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    Ok((schema, frame.collect().await?))
}

fn read_parquet(path: &Path) -> Result<(SchemaRef, Vec<RecordBatch>), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
    let schema = builder.schema().clone();
    let reader = builder.build().map_err(|error| error.to_string())?;
    let batches = reader.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    Ok((schema, batches))
}
