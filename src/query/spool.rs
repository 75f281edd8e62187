//! A window that is too large to be held, as a table in a temporary file, and the room that a plan over it is given.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;
use uuid::Uuid;

use super::split::is_mergeable;

/// A table in the making.
pub(super) struct Spool {
    schema: SchemaRef,
    file: File,
    writer: StreamWriter<BufWriter<File>>,
    bytes: u64,
}

impl Spool {
    /// An empty table in a file without a name: it is gone when nobody reads it any more, however the process ends.
    pub(super) fn new(schema: SchemaRef) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("windrow-{}", Uuid::new_v4().simple()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        let writer = StreamWriter::try_new(BufWriter::new(file.try_clone()?), &schema)?;
        Ok(Self { schema, file, writer, bytes: 0 })
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.bytes += batch.get_array_memory_size() as u64;
        Ok(self.writer.write(batch)?)
    }

    /// Bytes in memory of what is in it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn table(mut self) -> Result<Arc<dyn TableProvider>> {
        self.writer.finish()?;
        let spooled = Spooled { schema: self.schema.clone(), file: Arc::new(self.file) };
        Ok(Arc::new(StreamingTable::try_new(self.schema, vec![Arc::new(spooled)])?))
    }
}

/// The table, which is read from its beginning as often as a plan wants.
#[derive(Debug)]
struct Spooled {
    schema: SchemaRef,
    file: Arc<File>,
}

impl PartitionStream for Spooled {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = BufReader::new(From { file: self.file.clone(), at: 0 });
        let batches = StreamReader::try_new(reader, None).map_err(DataFusionError::from).map(|reader| {
            let batches = reader.map(|batch| batch.map_err(DataFusionError::from));
            Box::new(batches) as Box<dyn Iterator<Item = Result<RecordBatch>> + Send>
        });
        let batches = batches.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(batches)))
    }
}

/// A file from some place on, whoever else reads it.
struct From {
    file: Arc<File>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Where a plan over a large window may put what it has to remember.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// In memory and in temporary files: what is sorted there comes out as if it had been in memory.
    Disk,
    /// In memory only: an aggregate that is not exact would give another result if it were merged from files.
    Bounded,
    /// In memory that is not counted: window functions.
    Memory,
}

impl Room {
    pub(super) fn of(plan: &LogicalPlan) -> Result<Self> {
        let mut room = Self::Disk;
        plan.apply_with_subqueries(|node| {
            let exact = |expr: &Expr| matches!(expr.clone().unalias(), Expr::AggregateFunction(function) if is_mergeable(&function));
            match node {
                LogicalPlan::Window(_) => room = Self::Memory,
                LogicalPlan::Aggregate(aggregate) if room == Self::Disk && !aggregate.aggr_expr.iter().all(exact) => {
                    room = Self::Bounded;
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(room)
    }

    /// The state, with a pool of so many bytes.
    pub(super) fn bounded(self, state: &SessionState, memory: u64) -> Result<SessionState> {
        let pool = GreedyMemoryPool::new(usize::try_from(memory).unwrap_or(usize::MAX));
        let mode = if self == Self::Disk { DiskManagerMode::OsTmpDirectory } else { DiskManagerMode::Disabled };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()?;
        Ok(SessionStateBuilder::new_from_existing(state.clone()).with_runtime_env(runtime).build())
    }
}
