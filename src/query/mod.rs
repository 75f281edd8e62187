//! SQL over one window, split in two: what is done record by record and kept as mergeable partial results, and what
//! runs once over the closed window.
//!
//! Parsing, planning, expressions and accumulators are DataFusion's. What is done here is the cut through its plan:
//! [`bounds`] says how large a query may be, [`plan`] reads the text, [`split`] finds the cut, [`lower`] is what every batch passes through, [`partial`] is what
//! an open window keeps, and [`upper`] gives the rows of a closed one.

mod bounds;
mod exact;
mod float;
mod headers;
mod lower;
mod merge;
mod partial;
mod plan;
mod sort;
mod split;
mod spool;
mod tables;
#[cfg(test)]
mod tests;
mod total;
mod upper;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use futures::{StreamExt, stream};

use crate::decode::column::Columns;
use crate::error::Kind;
use lower::Lower;
pub use lower::Prepared;
pub use merge::Pieces;
use partial::Grouping;
pub use partial::{Partial, Snapshot};
use upper::Upper;

/// Why a query cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query's text is at fault.
    #[error("query: {0}")]
    Invalid(String),
    /// The data does not fit the query: an overflow in a window's result.
    #[error("query: {0}")]
    Data(String),
    /// A window is larger than what the query does with it can take in the memory it is given.
    #[error("query: {0}")]
    Large(String),
    /// The engine below failed in a way it should not.
    #[error("query: {0}")]
    Internal(String),
}

impl QueryError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::Large(_) => Kind::Invalid,
            Self::Data(_) => Kind::Data,
            Self::Internal(_) => Kind::Internal,
        }
    }

    /// The same error, saying where the query's text stands.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Invalid(text) => Self::Invalid(format!("{place}: {text}")),
            other => other,
        }
    }
}

/// What an open window keeps of its records.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// The columns that the query needs of every record.
    Rows,
    /// Partial aggregates by group.
    Groups,
}

/// Rows of a piece that is made of what is in memory.
const PIECE_ROWS: usize = 16_384;

/// One partition's share of a window that is closed piece by piece.
pub struct Share<'a> {
    /// What is not in memory: of groups, runs as [`Partial::seal`] made them; of rows, all of them as one.
    pub saved: Vec<Pieces<'a>>,
    /// What is in memory, and comes after it.
    pub fresh: Vec<RecordBatch>,
}

/// A query, planned and split.
pub struct Query {
    lower: Lower,
    grouping: Option<Arc<Grouping>>,
    upper: Upper,
    described: Vec<String>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("described", &self.described).finish_non_exhaustive()
    }
}

impl Query {
    /// Plans `sql` over a stream with these columns, which FROM may call by any name, and reference tables by name:
    /// CSV or Parquet files, read now.
    ///
    /// # Errors
    /// If the text is no single SELECT, names what does not exist, reads no stream, cannot be repeated with the same
    /// result (`now()`, `random()`), or gives columns that a file may not have.
    pub async fn plan(sql: &str, columns: &Columns, tables: &BTreeMap<String, PathBuf>) -> Result<Self, QueryError> {
        bounds::few_words(sql)?;
        let (sql, columns, tables) = (sql.to_owned(), columns.clone(), tables.clone());
        bounds::on_a_deep_stack(async move || Self::plan_here(&sql, &columns, &tables).await).await
    }

    async fn plan_here(sql: &str, columns: &Columns, tables: &BTreeMap<String, PathBuf>) -> Result<Self, QueryError> {
        let planned = plan::plan(sql, columns, tables).await?;
        let split = split::split(&planned, columns)?;
        let lower = Lower::new(&planned.state, &columns.schema(), &split)?;
        let grouping = match split.groups {
            Some(ref groups) => {
                let first = upper::key_order(&split);
                Some(Arc::new(Grouping::new(&planned.state, lower.schema(), groups, &first)?))
            }
            None => None,
        };
        let upper = Upper::new(planned.state, &split)?;
        Ok(Self { described: split.describe(upper.output_schema()), lower, grouping, upper })
    }

    /// The stream's columns that the query needs, planned as by [`Query::plan`].
    ///
    /// # Errors
    /// As [`Query::plan`].
    pub async fn names(
        sql: &str,
        columns: &Columns,
        tables: &BTreeMap<String, PathBuf>,
    ) -> Result<BTreeSet<String>, QueryError> {
        bounds::few_words(sql)?;
        let (sql, columns, tables) = (sql.to_owned(), columns.clone(), tables.clone());
        let names = async move || {
            let planned = plan::plan(&sql, &columns, &tables).await?;
            let split = split::split(&planned, &columns)?;
            let expressions = split.filters.iter().chain(&split.inputs);
            Ok(expressions.flat_map(|expr| expr.column_refs()).map(|column| column.name.clone()).collect())
        };
        bounds::on_a_deep_stack(names).await
    }

    /// The type of the first column that this text selects, whatever files may hold; none if it cannot be planned.
    pub async fn type_of(sql: &str, columns: &Columns) -> Option<DataType> {
        bounds::few_words(sql).ok()?;
        let (sql, columns) = (sql.to_owned(), columns.clone());
        let first = async move || {
            let planned = plan::plan(&sql, &columns, &BTreeMap::new()).await?;
            Ok(planned.plan.schema().fields().first().map(|field| field.data_type().clone()))
        };
        bounds::on_a_deep_stack(first).await.ok().flatten()
    }

    /// What an open window keeps.
    #[must_use]
    pub fn keeps(&self) -> Keeps {
        if self.grouping.is_some() { Keeps::Groups } else { Keeps::Rows }
    }

    /// Does with a batch what is done record by record: WHERE, and the expressions that groups and aggregates need.
    ///
    /// # Errors
    /// Only if the machinery itself fails; a record that an expression cannot take is named in [`Prepared::failed`].
    pub fn prepare(&self, batch: &RecordBatch) -> Result<Prepared, QueryError> {
        self.lower.prepare(batch)
    }

    /// What a partition's share of a window starts with.
    #[must_use]
    pub fn partial(&self) -> Partial {
        Partial::new(self.grouping.clone())
    }

    /// A share as [`Partial::snapshot`] saved it.
    ///
    /// # Errors
    /// If the batches are not such a snapshot's.
    pub fn restore(&self, batches: &[RecordBatch]) -> Result<Partial, QueryError> {
        let mut partial = self.partial();
        partial.merge(batches)?;
        Ok(partial)
    }

    /// The window's result from the shares' snapshots, in partition order: rows of [`Query::output_schema`]. They are
    /// in the query's ORDER BY or, if it has none, sorted by [`Query::sort_columns`], nulls last.
    ///
    /// # Errors
    /// [`QueryError::Data`] if an aggregate does not fit its type.
    pub async fn close(&self, states: Vec<Vec<RecordBatch>>) -> Result<Vec<RecordBatch>, QueryError> {
        if states.is_empty() {
            return Ok(Vec::new());
        }
        let window = match &self.grouping {
            Some(grouping) => vec![grouping.result(&states)?],
            None => states.into_iter().flatten().collect(),
        };
        self.upper.run(window).await
    }

    /// The same as [`Query::close`], row by row, of a window that is too large to be held: it is read as it is wanted.
    /// What runs over the whole window takes `memory` bytes at most, and temporary files.
    ///
    /// # Errors
    /// Also from the pieces: [`QueryError::Data`] if an aggregate does not fit its type, [`QueryError::Large`] if the memory
    /// does not suffice.
    pub fn close_by_pieces<'a>(&'a self, shares: Vec<Share<'a>>, memory: u64) -> Result<Pieces<'a>, QueryError> {
        let mut runs: Vec<Pieces<'a>> = Vec::new();
        for share in shares {
            runs.extend(share.saved);
            for batch in share.fresh {
                let batch = match &self.grouping {
                    Some(grouping) => grouping.sorted(batch).map_err(internal)?,
                    None => batch,
                };
                let starts = (0..batch.num_rows()).step_by(PIECE_ROWS);
                runs.push(
                    stream::iter(starts)
                        .map(move |at| Ok(batch.slice(at, PIECE_ROWS.min(batch.num_rows() - at))))
                        .boxed(),
                );
            }
        }
        let window = match &self.grouping {
            Some(grouping) => merge::merge(grouping, runs, merge::Into::Result)?,
            None => stream::iter(runs).flatten().boxed(),
        };
        Ok(self.upper.run_by_pieces(window, memory))
    }

    /// Several runs of one share as one run.
    ///
    /// # Errors
    /// Of a query that keeps rows, which have no runs.
    pub fn join<'a>(&self, runs: Vec<Pieces<'a>>) -> Result<Pieces<'a>, QueryError> {
        let grouping = self.grouping.as_ref().ok_or_else(|| QueryError::Internal("rows have no runs".to_owned()))?;
        merge::merge(grouping, runs, merge::Into::State)
    }

    /// The split in words, a line each.
    #[must_use]
    pub fn describe(&self) -> &[String] {
        &self.described
    }

    /// The columns of a result, as types that every loader reads alike.
    #[must_use]
    pub fn output_schema(&self) -> &SchemaRef {
        self.upper.output_schema()
    }

    /// The output columns that rows are sorted by: group keys, if the query has no ORDER BY of its own.
    #[must_use]
    pub fn sort_columns(&self) -> &[usize] {
        self.upper.sort_columns()
    }
}

/// The heart of a DataFusion error, in one line.
fn told(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::SQL(error, _) => error.to_string(),
        other => other.message().into_owned(),
    };
    let text = text.split("\nbacktrace").next().unwrap_or_default();
    let mut line: String = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(300) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

fn internal(error: impl Into<DataFusionError>) -> QueryError {
    QueryError::Internal(told(&error.into()))
}
