//! What one partition brought to an open window: partial aggregates by group, or the rows themselves.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::RowConverter;
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::lower::Prepared;
use super::split::{Groups, input_name};
use super::{QueryError, internal, sort, told};

/// How inputs become groups.
pub(super) struct Grouping {
    /// The group keys' columns.
    keys: SchemaRef,
    /// The order in which the keys decide the order of groups.
    order: Vec<usize>,
    aggregates: Vec<Aggregate>,
}

struct Aggregate {
    function: Arc<AggregateFunctionExpr>,
    /// Arguments, then what FIRST_VALUE and the like order by.
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// The types of the columns that its partial result is saved in.
    states: Vec<DataType>,
}

/// One partition's share of a window.
pub struct Partial {
    kept: Kept,
}

enum Kept {
    Groups(GroupTable),
    Rows(Rows),
}

/// A share as it is saved.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether it holds all of the share, or only what came since the last one that was saved.
    pub replaces: bool,
    /// Its batches, of one schema; none if there is nothing.
    pub batches: Vec<RecordBatch>,
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kept {
            Kept::Groups(table) => write!(f, "Partial({} groups)", table.len()),
            Kept::Rows(rows) => write!(f, "Partial({} batches)", rows.fresh.len()),
        }
    }
}

impl Partial {
    pub(super) fn new(grouping: Option<Arc<Grouping>>) -> Self {
        let kept = match grouping {
            Some(grouping) => Kept::Groups(GroupTable::new(grouping)),
            None => Kept::Rows(Rows::default()),
        };
        Self { kept }
    }

    /// Takes in some of a batch's rows: `rows` are positions in [`Prepared::passed`], rising.
    ///
    /// # Errors
    /// If the machinery fails.
    pub fn add(&mut self, prepared: &Prepared, rows: &[u32]) -> std::result::Result<(), QueryError> {
        let chosen = choose(&prepared.inputs, rows).map_err(internal)?;
        match &mut self.kept {
            Kept::Groups(table) => table.update(&chosen).map_err(|error| QueryError::Data(told(&error))),
            Kept::Rows(rows) => {
                if chosen.num_rows() > 0 {
                    rows.bytes += chosen.get_array_memory_size();
                    rows.fresh.push(chosen);
                }
                Ok(())
            }
        }
    }

    /// Groups held; none where rows are kept.
    #[must_use]
    pub fn groups(&self) -> usize {
        match &self.kept {
            Kept::Groups(table) => table.len(),
            Kept::Rows(_) => 0,
        }
    }

    /// Takes in a share that was saved.
    pub(super) fn merge(&mut self, batches: &[RecordBatch]) -> std::result::Result<(), QueryError> {
        match &mut self.kept {
            Kept::Groups(table) => batches.iter().try_for_each(|batch| table.merge(batch)).map_err(internal),
            Kept::Rows(rows) => {
                rows.fresh.extend(batches.iter().cloned());
                Ok(())
            }
        }
    }

    /// The share, to be saved; it stays as it is.
    ///
    /// # Errors
    /// If the machinery fails.
    pub fn snapshot(&mut self) -> std::result::Result<Snapshot, QueryError> {
        match &mut self.kept {
            Kept::Groups(table) => {
                let batches = table.save().map_err(internal)?.into_iter().collect();
                Ok(Snapshot { replaces: true, batches })
            }
            Kept::Rows(rows) => Ok(Snapshot { replaces: false, batches: rows.save().map_err(internal)? }),
        }
    }

    /// The share of groups as a run, to be saved and then forgotten: each group once, in order.
    ///
    /// # Errors
    /// If the machinery fails.
    pub fn seal(&mut self) -> std::result::Result<Snapshot, QueryError> {
        if let Kept::Groups(table) = &mut self.kept {
            table.sort().map_err(internal)?;
        }
        self.snapshot()
    }

    /// The last snapshot is saved where it is read from when the window closes: it need not be held any more.
    pub fn forget(&mut self) {
        match &mut self.kept {
            Kept::Groups(table) => (table.tables, table.saved) = (None, None),
            Kept::Rows(rows) => *rows = Rows::default(),
        }
    }

    /// Bytes held, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::Groups(table) => table.bytes(),
            Kept::Rows(rows) => rows.bytes,
        }
    }
}

/// The chosen rows of a batch, without copying where they are neighbours.
fn choose(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
    let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else { return Ok(batch.slice(0, 0)) };
    if (last - first) as usize + 1 == rows.len() {
        return Ok(batch.slice(first as usize, rows.len()));
    }
    // COUNT(*) alone needs no column, and Arrow takes no rows of none.
    if batch.num_columns() == 0 {
        return Ok(batch.slice(0, rows.len()));
    }
    Ok(take_record_batch(batch, &UInt32Array::from(rows.to_vec()))?)
}

/// Rows that are not saved yet.
#[derive(Default)]
struct Rows {
    fresh: Vec<RecordBatch>,
    bytes: usize,
}

impl Rows {
    /// As one batch, so that small ones do not add up.
    fn save(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(first) = self.fresh.first() else { return Ok(Vec::new()) };
        let all = concat_batches(&first.schema(), &self.fresh)?;
        self.bytes = all.get_array_memory_size();
        self.fresh = vec![all];
        Ok(self.fresh.clone())
    }
}

impl Grouping {
    /// `inputs` is the schema of [`Prepared::inputs`]; the keys that are `first` decide the order of groups first.
    pub(super) fn new(
        state: &SessionState,
        inputs: &SchemaRef,
        groups: &Groups,
        first: &[usize],
    ) -> std::result::Result<Self, QueryError> {
        let logical = DFSchema::try_from(inputs.as_ref().clone()).map_err(internal)?;
        let aggregates = groups.aggregates.iter().map(|expr| {
            let name = expr.schema_name().to_string();
            let context = PhysicalPlanningContext::default();
            let lowered = LoweredAggregateBuilder::new(expr, &logical, inputs, state.execution_props(), &context);
            let LoweredAggregate { aggregate: function, filter, .. } = lowered.with_name(name).build()?;
            let mut arguments = function.expressions();
            arguments.extend(function.order_bys().iter().map(|sort| sort.expr.clone()));
            let states = function.state_fields()?.iter().map(|field| field.data_type().clone()).collect();
            Ok(Aggregate { function, arguments, filter, states })
        });
        let aggregates = aggregates.collect::<Result<_>>().map_err(internal)?;
        let mut order: Vec<usize> = Vec::new();
        for key in first.iter().copied().chain(0..groups.keys) {
            if !order.contains(&key) {
                order.push(key);
            }
        }
        Ok(Self { keys: Arc::new(Schema::new(inputs.fields()[..groups.keys].to_vec())), order, aggregates })
    }

    /// Whether there may be more than one group.
    pub(super) fn has_keys(&self) -> bool {
        !self.order.is_empty()
    }

    /// The columns of groups that decide their order, the first one first.
    pub(super) fn order(&self, groups: &RecordBatch) -> Vec<ArrayRef> {
        self.order.iter().map(|&key| groups.column(key).clone()).collect()
    }

    /// What turns [`Grouping::order`] into keys that compare.
    pub(super) fn converter(&self) -> Result<RowConverter> {
        Ok(sort::converter(self.order.iter().map(|&key| self.keys.field(key).data_type()))?)
    }

    /// Groups in their order. Every group is there once, so there is only one such order.
    pub(super) fn sorted(&self, groups: RecordBatch) -> Result<RecordBatch> {
        if self.order.is_empty() {
            return Ok(groups);
        }
        Ok(take_record_batch(&groups, &sort::order(&self.order(&groups))?)?)
    }

    /// Merges saved groups in their order into such groups again.
    pub(super) fn merged(self: &Arc<Self>, saved: &[RecordBatch]) -> std::result::Result<RecordBatch, QueryError> {
        let mut table = GroupTable::new(self.clone());
        saved.iter().try_for_each(|batch| table.merge(batch)).map_err(internal)?;
        let merged = table.sort().map_err(internal)?;
        merged.ok_or_else(|| QueryError::Internal("nothing to merge".to_owned()))
    }

    fn tables(&self) -> Result<Tables> {
        let keys = match self.keys.fields().is_empty() {
            true => None,
            false => Some(new_group_values(self.keys.clone(), &GroupOrdering::None)?),
        };
        let accumulators = self.aggregates.iter().map(Aggregate::accumulator).collect::<Result<_>>()?;
        Ok(Tables { keys, accumulators })
    }

    /// The columns of a saved share as they are saved now: an older version's state of a float sum is one number, which as
    /// a list of one says the same. Refuses what is no such share: accumulators would panic over columns of another type.
    fn current(&self, saved: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let refused = || DataFusionError::Internal("the state is not one that this query saves".to_owned());
        let keys = self.keys.fields().iter().map(|field| field.data_type());
        let expected: Vec<_> = keys.chain(self.aggregates.iter().flat_map(|aggregate| &aggregate.states)).collect();
        if expected.len() != saved.num_columns() {
            return Err(refused());
        }
        let columns = saved.columns().iter().zip(expected).map(|(column, kind)| match (kind, column.data_type()) {
            (kind, found) if kind == found => Ok(column.clone()),
            (DataType::List(_), DataType::Float64) => Ok(cast(column, kind)?),
            _ => Err(refused()),
        });
        columns.collect()
    }

    /// Merges shares in their order and finishes the aggregates: keys, then results, one row a group, in order.
    pub(super) fn result(
        self: &Arc<Self>,
        states: &[Vec<RecordBatch>],
    ) -> std::result::Result<RecordBatch, QueryError> {
        let mut table = GroupTable::new(self.clone());
        for batch in states.iter().flatten() {
            table.merge(batch).map_err(internal)?;
        }
        let result = table.finish().map_err(|error| QueryError::Data(told(&error)))?;
        self.sorted(result).map_err(internal)
    }
}

impl Aggregate {
    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = self.function.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }
}

struct Tables {
    /// None if there are no keys: everything is one group.
    keys: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

impl Tables {
    fn len(&self) -> usize {
        self.keys.as_ref().map_or(1, |keys| keys.len())
    }

    /// The group of each row, into `groups`.
    fn assign(&mut self, columns: &[ArrayRef], rows: usize, groups: &mut Vec<usize>) -> Result<()> {
        groups.clear();
        match &mut self.keys {
            Some(keys) => keys.intern(columns, groups),
            None => {
                groups.resize(rows, 0);
                Ok(())
            }
        }
    }

    fn emit_keys(&mut self) -> Result<Vec<ArrayRef>> {
        self.keys.as_mut().map_or(Ok(Vec::new()), |keys| keys.emit(EmitTo::All))
    }
}

/// Partial aggregates by group. The tables are made when the first row comes.
struct GroupTable {
    grouping: Arc<Grouping>,
    tables: Option<Tables>,
    /// All of it as it was saved, while there are no tables: a window that closes is saved and never filled again.
    saved: Option<RecordBatch>,
    /// Scratch: the group of each row at hand.
    groups: Vec<usize>,
}

impl GroupTable {
    fn new(grouping: Arc<Grouping>) -> Self {
        Self { grouping, tables: None, saved: None, groups: Vec::new() }
    }

    fn len(&self) -> usize {
        let saved = self.saved.as_ref().map_or(0, RecordBatch::num_rows);
        self.tables.as_ref().map_or(saved, Tables::len)
    }

    fn open(&mut self) -> Result<&mut Tables> {
        if self.tables.is_none() {
            self.tables = Some(self.grouping.tables()?);
            if let Some(saved) = self.saved.take() {
                self.merge(&saved)?;
            }
        }
        self.tables.as_mut().ok_or_else(|| DataFusionError::Internal("no group tables".into()))
    }

    fn update(&mut self, inputs: &RecordBatch) -> Result<()> {
        if inputs.num_rows() == 0 {
            // Without keys there is a group even if no record is in it.
            let is_lacking = self.grouping.keys.fields().is_empty() && self.tables.is_none();
            return if is_lacking { self.open_empty(&inputs.schema()) } else { Ok(()) };
        }
        let (grouping, mut groups) = (self.grouping.clone(), std::mem::take(&mut self.groups));
        let tables = self.open()?;
        let keys = grouping.keys.fields().len();
        tables.assign(&inputs.columns()[..keys], inputs.num_rows(), &mut groups)?;
        let total = tables.len();
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&mut tables.accumulators) {
            let arguments =
                aggregate.arguments.iter().map(|argument| argument.evaluate(inputs)?.into_array(inputs.num_rows()));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            let filter = match &aggregate.filter {
                Some(filter) => Some(filter.evaluate(inputs)?.into_array(inputs.num_rows())?),
                None => None,
            };
            accumulator.update_batch(&arguments, &groups, filter.as_ref().map(|filter| filter.as_boolean()), total)?;
        }
        self.groups = groups;
        Ok(())
    }

    /// Makes the one group that there is without keys. Accumulators tell a group without values, whose sum is null,
    /// only from a row that their filter leaves out: told of no row at all, they would say zero.
    fn open_empty(&mut self, inputs: &SchemaRef) -> Result<()> {
        let nulls = inputs.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(inputs.clone(), nulls, &options)?;
        let (grouping, left_out) = (self.grouping.clone(), BooleanArray::from(vec![false]));
        let tables = self.open()?;
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&mut tables.accumulators) {
            let arguments = aggregate.arguments.iter().map(|argument| argument.evaluate(&row)?.into_array(1));
            accumulator.update_batch(&arguments.collect::<Result<Vec<_>>>()?, &[0], Some(&left_out), 1)?;
        }
        Ok(())
    }

    fn merge(&mut self, saved: &RecordBatch) -> Result<()> {
        let columns = self.grouping.current(saved)?;
        let (grouping, mut groups) = (self.grouping.clone(), std::mem::take(&mut self.groups));
        let tables = self.open()?;
        let (keys, mut states) = columns.split_at(grouping.keys.fields().len());
        tables.assign(keys, saved.num_rows(), &mut groups)?;
        let total = tables.len();
        for (aggregate, accumulator) in grouping.aggregates.iter().zip(&mut tables.accumulators) {
            let (own, rest) = states.split_at(aggregate.states.len());
            accumulator.merge_batch(own, &groups, total)?;
            states = rest;
        }
        self.groups = groups;
        Ok(())
    }

    /// All of it as one batch. Accumulators can only be emptied; they are filled again, from what they gave, when the
    /// next row comes.
    fn save(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(mut tables) = self.tables.take() {
            let mut columns = tables.emit_keys()?;
            for accumulator in &mut tables.accumulators {
                columns.extend(accumulator.state(EmitTo::All)?);
            }
            self.saved = Some(batch(columns)?);
        }
        Ok(self.saved.clone())
    }

    /// The same, in order.
    fn sort(&mut self) -> Result<Option<RecordBatch>> {
        self.save()?;
        let (saved, grouping) = (self.saved.take(), self.grouping.clone());
        self.saved = saved.map(|saved| grouping.sorted(saved)).transpose()?;
        Ok(self.saved.clone())
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let tables = self.open()?;
        if tables.keys.is_some() && tables.len() == 0 {
            let types = self.grouping.aggregates.iter().map(|aggregate| aggregate.function.field());
            let fields: Vec<_> = self.grouping.keys.fields().iter().cloned().chain(types).collect();
            return batch(fields.iter().map(|field| arrow::array::new_empty_array(field.data_type())).collect());
        }
        let mut columns = tables.emit_keys()?;
        for accumulator in &mut tables.accumulators {
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        batch(columns)
    }

    fn bytes(&self) -> usize {
        let saved = self.saved.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        self.tables.as_ref().map_or(saved, |tables| {
            let accumulators: usize = tables.accumulators.iter().map(|accumulator| accumulator.size()).sum();
            accumulators + tables.keys.as_ref().map_or(0, |keys| keys.size())
        })
    }
}

/// Columns side by side under the names of inputs.
fn batch(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let fields = columns
        .iter()
        .enumerate()
        .map(|(index, column)| Field::new(input_name(index), column.data_type().clone(), true));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?)
}
