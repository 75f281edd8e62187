//! State objects: partial results and waiting records as Arrow IPC streams, many pieces side by side in one object.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::SinkError;
use super::store::Store;
use crate::log::entry::Chunk;

/// A state object in the making.
#[derive(Debug)]
pub struct StateWriter {
    key: String,
    bytes: Vec<u8>,
}

impl StateWriter {
    /// An empty object that will have this key.
    #[must_use]
    pub fn new(key: String) -> Self {
        Self { key, bytes: Vec::new() }
    }

    /// Appends batches of one schema as a piece; `None` if there are no batches.
    ///
    /// # Errors
    /// If a batch cannot be encoded.
    pub fn push(&mut self, batches: &[RecordBatch]) -> Result<Option<Chunk>, SinkError> {
        let Some(first) = batches.first() else { return Ok(None) };
        let internal = |error: arrow::error::ArrowError| SinkError::Internal(format!("cannot encode state: {error}"));
        let start = self.bytes.len();
        let mut writer = StreamWriter::try_new(&mut self.bytes, &first.schema()).map_err(internal)?;
        for batch in batches {
            writer.write(batch).map_err(internal)?;
        }
        writer.finish().map_err(internal)?;
        drop(writer);
        Ok(Some(Chunk {
            object: self.key.clone(),
            offset: start as u64,
            bytes: (self.bytes.len() - start) as u64,
            rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
            sha256: digest(&self.bytes[start..]),
        }))
    }

    /// The object's key and bytes; `None` if it holds nothing.
    #[must_use]
    pub fn finish(self) -> Option<(String, Bytes)> {
        (!self.bytes.is_empty()).then(|| (self.key, self.bytes.into()))
    }
}

/// Reads a piece back.
///
/// # Errors
/// [`SinkError::Data`] if the object is gone or is not what was written.
pub async fn read(store: &Store, chunk: &Chunk) -> Result<Vec<RecordBatch>, SinkError> {
    let damaged = |how: &str| SinkError::Data(format!("sink {store}: state {} is {how}", chunk.object));
    let bytes = store.get_span(&chunk.object, chunk.offset, chunk.bytes).await?.ok_or_else(|| damaged("missing"))?;
    if digest(&bytes) != chunk.sha256 {
        return Err(damaged("not what was written"));
    }
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| damaged(&error.to_string()))?;
    reader.collect::<Result<_, _>>().map_err(|error| damaged(&error.to_string()))
}

/// SHA-256 in hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
