//! State objects: partial results and waiting records as Arrow IPC streams, many pieces side by side in one object.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::store::Store;
use super::{SinkError, layout, sound};
use crate::log::entry::{Chunk, Sequence};

/// A piece is read whole. With this part of the memory for windows, very many of them may be at hand at once.
const PIECE: u64 = 128;
/// An object this part of that memory is put before its commit is complete.
const OBJECT: u64 = 16;
/// So many small pieces of a size are merged.
const FAN: usize = 8;
/// Sizes of pieces that are small, each `FAN` times the one before.
const SIZES: u32 = 4;

/// The state objects of one commit.
#[derive(Debug)]
pub struct StateWriter<'a> {
    store: &'a Store,
    sequence: Sequence,
    attempt: &'a str,
    /// Objects that are put already.
    done: usize,
    /// The object in the making.
    bytes: Vec<u8>,
    memory: u64,
}

impl<'a> StateWriter<'a> {
    /// The objects of the commit `sequence`. Pieces and objects are made so large that many pieces, and an object or
    /// two, fit into `memory` bytes. `attempt` keeps rival writers apart.
    #[must_use]
    pub fn new(store: &'a Store, sequence: Sequence, attempt: &'a str, memory: u64) -> Self {
        Self { store, sequence, attempt, done: 0, bytes: Vec::new(), memory }
    }

    /// Appends a batch as pieces, of a run of groups if it has a number. Objects that have become large are put.
    ///
    /// # Errors
    /// If the batch cannot be encoded, or the store refuses for good.
    pub async fn push(&mut self, batch: &RecordBatch, run: Option<u32>) -> Result<Vec<Chunk>, SinkError> {
        let mut chunks = Vec::new();
        let bytes = batch.get_array_memory_size().max(1) as u128;
        let rows = u128::from(self.memory / PIECE) * batch.num_rows() as u128 / bytes;
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).max(1);
        for at in (0..batch.num_rows()).step_by(rows) {
            chunks.push(self.piece(&batch.slice(at, rows.min(batch.num_rows() - at)), run)?);
            if self.bytes.len() as u64 >= self.memory / OBJECT {
                let (key, bytes) = (self.key(), std::mem::take(&mut self.bytes));
                self.store.put(&key, bytes.into()).await?;
                self.done += 1;
            }
        }
        Ok(chunks)
    }

    fn piece(&mut self, batch: &RecordBatch, run: Option<u32>) -> Result<Chunk, SinkError> {
        let internal = |error: arrow::error::ArrowError| SinkError::Internal(format!("cannot encode state: {error}"));
        let start = self.bytes.len();
        let mut writer = StreamWriter::try_new(&mut self.bytes, &batch.schema()).map_err(internal)?;
        writer.write(batch).map_err(internal)?;
        writer.finish().map_err(internal)?;
        drop(writer);
        Ok(Chunk {
            object: self.key(),
            offset: start as u64,
            bytes: (self.bytes.len() - start) as u64,
            rows: batch.num_rows() as u64,
            sha256: digest(&self.bytes[start..]),
            run,
        })
    }

    fn key(&self) -> String {
        layout::state(self.sequence, self.attempt, self.done)
    }

    /// The last object's key and bytes, to be put; `None` if it holds nothing.
    #[must_use]
    pub fn finish(self) -> Option<(String, Bytes)> {
        (!self.bytes.is_empty()).then(|| (self.key(), self.bytes.into()))
    }
}

/// From which piece on rows should be merged into larger pieces: commits that bring little each would make the log's
/// entries long. Every row is written again at most a few times, once for each size of small pieces.
#[must_use]
pub fn worth_merging(chunks: &[Chunk], memory: u64) -> Option<usize> {
    let large = memory / PIECE / 2;
    (0..SIZES).find_map(|size| {
        let small = large >> (FAN.ilog2() * (SIZES - 1 - size));
        let tail = chunks.iter().rev().take_while(|chunk| chunk.bytes < small).count();
        (tail >= FAN * (size as usize + 1)).then(|| chunks.len() - tail)
    })
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
    sound::check(&bytes, chunk.rows).map_err(damaged)?;
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| damaged(&error.to_string()))?;
    reader.collect::<Result<_, _>>().map_err(|error| damaged(&error.to_string()))
}

/// SHA-256 in hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(sizes: &[u64]) -> Vec<Chunk> {
        let piece =
            |&bytes: &u64| Chunk { object: String::new(), offset: 0, bytes, rows: 1, sha256: String::new(), run: None };
        sizes.iter().map(piece).collect()
    }

    /// Commits that bring so many bytes each: the most pieces there were, and how often a byte was written.
    fn grown(sizes: impl Iterator<Item = u64>) -> (usize, f64) {
        let (mut chunks, mut most, mut written, mut came) = (Vec::new(), 0, 0, 0);
        for bytes in sizes {
            if let Some(from) = worth_merging(&chunks, 512 << 20) {
                let whole = chunks.split_off(from).iter().map(|chunk| chunk.bytes).sum();
                chunks.extend(pieces(&[whole]));
                written += whole;
            }
            chunks.extend(pieces(&[bytes]));
            (written, came, most) = (written + bytes, came + bytes, most.max(chunks.len()));
        }
        (most, written as f64 / came as f64)
    }

    #[test]
    fn a_day_of_small_commits_makes_few_pieces_and_writes_them_a_few_times() {
        for size in [1_000, 3_000, 10_000, 50_000] {
            let (most, often) = grown((0..8640).map(|_| size));
            assert!(most < 250 && often < 6.0, "{size}: {most} pieces, written {often} times");
        }
        let (most, often) = grown((0..8640u64).map(|commit| 1_000 + commit * 7919 % 60_000));
        assert!(most < 250 && often < 6.0, "{most} pieces, written {often} times");
    }

    #[test]
    fn large_pieces_stay() {
        assert_eq!(worth_merging(&pieces(&[4 << 20; 100]), 512 << 20), None);
    }
}
