//! Many sorted runs of groups to one, piece by piece: what is in memory is a piece of each run, and never the window.
//!
//! A run has each group once, in the order of [`Grouping::sorted`]. The least of the last groups at hand is the bound: up
//! to there every run is at hand as far as it goes. The groups up to the bound are merged as the groups of a small
//! window are, run after run, and leave in order.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{OwnedRow, RowConverter, Rows};
use futures::stream::{BoxStream, try_unfold};
use futures::{StreamExt, TryStreamExt};

use super::partial::Grouping;
use super::{QueryError, internal};
use crate::error::Error;

/// Batches that are read when they are wanted.
pub type Pieces<'a> = BoxStream<'a, Result<RecordBatch, Error>>;

/// What becomes of the groups.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Into {
    /// A run again.
    State,
    /// Keys and finished aggregates.
    Result,
}

/// Merges runs; of a group that is in several, what the first run has comes first. Batches come out in order.
///
/// # Errors
/// If the keys have no order, which grouping by them has ruled out.
pub(super) fn merge<'a>(grouping: &Arc<Grouping>, runs: Vec<Pieces<'a>>, into: Into) -> Result<Pieces<'a>, QueryError> {
    let runs = runs.into_iter().map(|pieces| Run { pieces, at_hand: None, ended: false }).collect();
    let merge = Merge { grouping: grouping.clone(), converter: grouping.converter().map_err(internal)?, runs, into };
    Ok(try_unfold(merge, |mut merge| async move { Ok(merge.next().await?.map(|batch| (batch, merge))) }).boxed())
}

struct Merge<'a> {
    grouping: Arc<Grouping>,
    converter: RowConverter,
    runs: Vec<Run<'a>>,
    into: Into,
}

struct Run<'a> {
    pieces: Pieces<'a>,
    at_hand: Option<AtHand>,
    ended: bool,
}

/// A piece of a run, with its keys, and how many of its rows are done with.
struct AtHand {
    batch: RecordBatch,
    keys: Rows,
    done: usize,
}

impl Merge<'_> {
    async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let upto = if self.grouping.has_keys() { self.upto_bound().await? } else { self.everything().await? };
        if upto.is_empty() {
            return Ok(None);
        }
        let merged = match self.into {
            Into::State => self.grouping.merged(&upto)?,
            Into::Result => self.grouping.result(&[upto])?,
        };
        Ok(Some(merged))
    }

    /// The groups of each run up to the bound; none if all are done with.
    async fn upto_bound(&mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut bound: Option<OwnedRow> = None;
        for run in &mut self.runs {
            run.fill(&self.grouping, &self.converter).await?;
            let Some(piece) = &run.at_hand else { continue };
            let last = piece.keys.row(piece.keys.num_rows() - 1);
            if bound.as_ref().is_none_or(|bound| last < bound.row()) {
                bound = Some(last.owned());
            }
        }
        let Some(bound) = bound else { return Ok(Vec::new()) };
        Ok(self.runs.iter_mut().filter_map(|run| run.take(&bound)).collect())
    }

    /// Without keys there is one group, and so a row a run.
    async fn everything(&mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut all = Vec::new();
        for run in self.runs.drain(..) {
            all.extend(run.pieces.try_collect::<Vec<_>>().await?);
        }
        Ok(all)
    }
}

impl Run<'_> {
    async fn fill(&mut self, grouping: &Grouping, converter: &RowConverter) -> Result<(), Error> {
        while self.at_hand.is_none() && !self.ended {
            let Some(batch) = self.pieces.next().await.transpose()? else {
                self.ended = true;
                break;
            };
            if batch.num_rows() > 0 {
                let columns: Vec<ArrayRef> = grouping.order(&batch);
                let keys = converter.convert_columns(&columns).map_err(internal)?;
                self.at_hand = Some(AtHand { batch, keys, done: 0 });
            }
        }
        Ok(())
    }

    /// The rows up to `bound` that are not done with; none if there are none.
    fn take(&mut self, bound: &OwnedRow) -> Option<RecordBatch> {
        let piece = self.at_hand.as_mut()?;
        let (mut from, mut to) = (piece.done, piece.keys.num_rows());
        while from < to {
            let middle = from.midpoint(to);
            if piece.keys.row(middle) <= bound.row() { from = middle + 1 } else { to = middle }
        }
        let taken = piece.batch.slice(piece.done, from - piece.done);
        piece.done = from;
        if piece.done == piece.keys.num_rows() {
            self.at_hand = None;
        }
        (taken.num_rows() > 0).then_some(taken)
    }
}
