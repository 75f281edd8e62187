//! What runs once over a closed window: HAVING, ORDER BY, joins and the like, and the form of the result.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{BatchCoalescer, CastOptions, cast_with_options, concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{collect, execute_stream};
use futures::stream::{self, try_unfold};
use futures::{StreamExt, TryStreamExt};

use super::lower::compile;
use super::merge::Pieces;
use super::split::{Split, WINDOW, file_type};
use super::spool::{Room, Spool};
use super::{QueryError, internal, sort, told};
use crate::error::Error;

/// Rows in a batch of the result, however the window's rows came: so equal rows give equal files.
const RESULT_ROWS: usize = 65_536;
/// Names that a file or its path has already.
const TAKEN: [&str; 4] = ["dt", "window_start", "window_end", "_revision"];

/// The upper part of a query, ready to run.
pub(super) struct Upper {
    state: SessionState,
    plan: LogicalPlan,
    window: SchemaRef,
    /// Columns of the window's table that the plan reads.
    needed: Vec<bool>,
    /// The plan as expressions over the window's table, where it is no more than that.
    direct: Option<Vec<Arc<dyn PhysicalExpr>>>,
    output: SchemaRef,
    sorted_by: Vec<usize>,
    /// The output columns that rows are put in order by when the plan has run, all of them; none if they come in order.
    order: Vec<usize>,
    room: Room,
}

impl Upper {
    pub(super) fn new(state: SessionState, split: &Split) -> std::result::Result<Self, QueryError> {
        let whole = in_total_order(&split.upper).map_err(internal)?;
        let plan = state.optimize(&whole).map_err(internal)?;
        let output = output(plan.schema().as_arrow())?;
        let direct = direct(&state, &plan).map_err(internal)?;
        let ordered = direct.is_none() && is_ordered(&split.upper);
        let sorted_by = traced(&split.upper, &split.keys).into_iter().map(|(column, _)| column);
        let sorted_by = if ordered { Vec::new() } else { sorted_by.collect() };
        let needed = needed(&plan, split.window.fields().len()).map_err(internal)?;
        // Groups come in order, and rows as they are keep theirs.
        let has_order = direct.is_some() || ordered || (sorted_by.is_empty() && keeps_order(&split.upper));
        let columns = 0..if has_order { 0 } else { output.fields().len() };
        let (keys, rest): (Vec<_>, Vec<_>) = columns.partition(|column| sorted_by.contains(column));
        let order = [keys, rest].concat();
        let room = Room::of(&plan).map_err(internal)?;
        Ok(Self { plan, window: split.window.clone(), needed, direct, output, sorted_by, order, room, state })
    }

    pub(super) fn output_schema(&self) -> &SchemaRef {
        &self.output
    }

    pub(super) fn sort_columns(&self) -> &[usize] {
        &self.sorted_by
    }

    /// The result over the window's rows or groups.
    pub(super) async fn run(&self, window: Vec<RecordBatch>) -> std::result::Result<Vec<RecordBatch>, QueryError> {
        let data = |error| QueryError::Data(told(&error));
        let rows = match &self.direct {
            Some(exprs) => {
                let evaluate = |batch: &RecordBatch| self.evaluated(exprs, batch);
                window.iter().map(evaluate).collect::<Result<Vec<_>>>().map_err(data)?
            }
            None => {
                let whole = self.table(&window).map_err(internal)?;
                let plan = self.over(Arc::new(whole)).map_err(internal)?;
                let plan =
                    self.state.query_planner().create_physical_plan(&plan, &self.state).await.map_err(internal)?;
                let rows = collect(plan, self.state.task_ctx()).await.map_err(data)?;
                let shape = |batch: &RecordBatch| self.shaped(batch.columns().to_vec(), batch.num_rows());
                rows.iter().map(shape).collect::<Result<Vec<_>>>().map_err(data)?
            }
        };
        let rows = if self.order.is_empty() { rows } else { vec![self.sorted(&rows).map_err(internal)?] };
        self.evenly(rows).map_err(internal)
    }

    /// The result over a window that comes piece by piece.
    pub(super) fn run_by_pieces<'a>(&'a self, window: Pieces<'a>, memory: u64) -> Pieces<'a> {
        let rows = match &self.direct {
            Some(exprs) => window
                .map(|batch| Ok(self.evaluated(exprs, &batch?).map_err(|error| QueryError::Data(told(&error)))?))
                .boxed(),
            None => stream::once(self.run_spooled(window, memory)).try_flatten().boxed(),
        };
        let even = BatchCoalescer::new(self.output.clone(), RESULT_ROWS);
        try_unfold((rows, even, false), |(mut rows, mut even, mut ended)| async move {
            while !even.has_completed_batch() && !ended {
                match rows.try_next().await? {
                    Some(batch) => even.push_batch(batch).map_err(internal)?,
                    None => {
                        even.finish_buffered_batch().map_err(internal)?;
                        ended = true;
                    }
                }
            }
            Ok(even.next_completed_batch().map(|batch| (batch, (rows, even, ended))))
        })
        .boxed()
    }

    /// The plan over a window in a temporary file, in so much memory.
    async fn run_spooled(&self, mut window: Pieces<'_>, memory: u64) -> std::result::Result<Pieces<'_>, Error> {
        let too_large = |what: &str| QueryError::Large(format!("{what} over all of it at once does not fit"));
        let data = move |error: DataFusionError| match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => too_large("what the query does"),
            _ => QueryError::Data(told(&error)),
        };
        let mut spool = Spool::new(self.window.clone()).map_err(internal)?;
        while let Some(batch) = window.try_next().await? {
            spool.push(&self.seen(&batch).map_err(internal)?).map_err(internal)?;
            if self.room == Room::Memory && spool.bytes() > memory / 2 {
                return Err(too_large("a window function").into());
            }
        }
        let state = self.room.bounded(&self.state, memory).map_err(internal)?;
        let mut plan = self.over(spool.table().map_err(internal)?).map_err(internal)?;
        if !self.order.is_empty() {
            let columns = plan.schema().columns();
            let by = self.order.iter().map(|&column| Sort::new(Expr::Column(columns[column].clone()), true, false));
            let by: Vec<Sort> = by.collect();
            plan = LogicalPlanBuilder::from(plan).sort(by).and_then(LogicalPlanBuilder::build).map_err(internal)?;
        }
        let plan = state.query_planner().create_physical_plan(&plan, &state).await.map_err(internal)?;
        let rows = execute_stream(plan, state.task_ctx()).map_err(internal)?;
        let shaped = rows.map(move |batch| {
            let batch = batch.map_err(&data)?;
            Ok(self
                .shaped(batch.columns().to_vec(), batch.num_rows())
                .map_err(|error| QueryError::Data(told(&error)))?)
        });
        Ok(shaped.boxed())
    }

    /// The plan's expressions over rows of the window.
    fn evaluated(&self, exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()));
        self.shaped(columns.collect::<Result<_>>()?, batch.num_rows())
    }

    /// Columns as the types of the output. A value that does not fit is an error, never another value.
    fn shaped(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let columns = columns.iter().zip(self.output.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column.clone())
            } else {
                cast_with_options(column, field.data_type(), &options)
            }
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?)
    }

    /// The window's rows as one table.
    fn table(&self, window: &[RecordBatch]) -> Result<MemTable> {
        let batch = match window.first() {
            Some(first) => concat_batches(&first.schema(), window)?,
            None => RecordBatch::new_empty(self.window.clone()),
        };
        MemTable::try_new(self.window.clone(), vec![vec![self.seen(&batch)?]])
    }

    /// Rows of the window as the plan sees them; what it does not read is null there.
    fn seen(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.window.fields()).zip(&self.needed);
        let columns = columns.map(|((column, field), needed)| match needed {
            true if column.data_type() != field.data_type() => arrow::compute::cast(column, field.data_type()),
            true => Ok(column.clone()),
            false => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.window.clone(), columns, &options)?)
    }

    /// The plan, reading this table.
    fn over(&self, table: Arc<dyn TableProvider>) -> Result<LogicalPlan> {
        let source = provider_as_source(table);
        let plan = self.plan.clone().transform_down_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) if scan.table_name.table() == WINDOW => {
                scan.source = source.clone();
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }

    fn sorted(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        let all = concat_batches(&self.output, rows)?;
        let keys: Vec<ArrayRef> = self.order.iter().map(|&column| all.column(column).clone()).collect();
        Ok(take_record_batch(&all, &sort::order(&keys)?)?)
    }

    fn evenly(&self, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let mut even = BatchCoalescer::new(self.output.clone(), RESULT_ROWS);
        for batch in rows {
            even.push_batch(batch)?;
        }
        even.finish_buffered_batch()?;
        Ok(std::iter::from_fn(|| even.next_completed_batch()).collect())
    }
}

/// The file's columns for a plan's, if each has a name and a type that a file can have.
fn output(plan: &Schema) -> std::result::Result<SchemaRef, QueryError> {
    let mut fields: Vec<Field> = Vec::new();
    for field in plan.fields() {
        let name = field.name();
        if TAKEN.contains(&name.as_str()) {
            let text = format!("column \"{name}\" is added to every file by windrow; give yours another name with AS");
            return Err(QueryError::Invalid(text));
        }
        if fields.iter().any(|other| other.name() == name) {
            return Err(QueryError::Invalid(format!(
                "two columns are called \"{name}\"; give one another name with AS"
            )));
        }
        let Some(kind) = file_type(field.data_type()) else {
            let text =
                format!("column \"{name}\" is a {}, which loaders do not read alike; CAST it", field.data_type());
            return Err(QueryError::Invalid(text));
        };
        fields.push(Field::new(name, kind, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The plan as expressions, if it is a scan or a projection of one.
fn direct(state: &SessionState, plan: &LogicalPlan) -> Result<Option<Vec<Arc<dyn PhysicalExpr>>>> {
    let (exprs, scan) = match plan {
        LogicalPlan::Projection(projection) => (Some(&projection.expr), projection.input.as_ref()),
        other => (None, other),
    };
    let LogicalPlan::TableScan(scan) = scan else { return Ok(None) };
    if scan.table_name.table() != WINDOW || !scan.filters.is_empty() || scan.fetch.is_some() {
        return Ok(None);
    }
    let whole = datafusion::common::DFSchema::try_from_qualified_schema(WINDOW, scan.source.schema().as_ref())?;
    let columns: Vec<Expr> = scan.projected_schema.columns().into_iter().map(Expr::Column).collect();
    let exprs = exprs.unwrap_or(&columns).iter();
    Ok(Some(exprs.map(|expr| compile(state, &expr.clone().unalias(), &whole)).collect::<Result<_>>()?))
}

/// The plan with an order in every ORDER BY that leaves nothing open: rows that are equal in what it names are ordered by
/// their other columns. Else the order of such rows would depend on how they were sorted.
fn in_total_order(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let ordered = plan.clone().transform_up_with_subqueries(|node| match node {
        LogicalPlan::Sort(mut sort) => {
            let rest = sort.input.schema().columns().into_iter().map(Expr::Column);
            let rest: Vec<Expr> = rest.filter(|column| !sort.expr.iter().any(|by| by.expr == *column)).collect();
            sort.expr.extend(rest.into_iter().map(|column| Sort::new(column, true, false)));
            Ok(Transformed::yes(LogicalPlan::Sort(sort)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(ordered.data)
}

/// Whether rows come out in the order in which they went in.
fn keeps_order(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Limit(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            plan.inputs().into_iter().all(keeps_order)
        }
        _ => false,
    }
}

/// Whether the plan puts rows in an order of its own.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Limit(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
            plan.inputs().into_iter().all(is_ordered)
        }
        _ => false,
    }
}

/// The group keys in the order of the output.
pub(super) fn key_order(split: &Split) -> Vec<usize> {
    traced(&split.upper, &split.keys).into_iter().map(|(_, key)| key).collect()
}

/// The output columns that are group keys, in their order, and which column of the window's table each is.
fn traced(plan: &LogicalPlan, keys: &[bool]) -> Vec<(usize, usize)> {
    let columns = 0..plan.schema().fields().len();
    columns.filter_map(|column| Some((column, key(plan, column, keys)?))).collect()
}

fn key(plan: &LogicalPlan, column: usize, keys: &[bool]) -> Option<usize> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.table_name.table() == WINDOW => {
            let column = scan.projection.as_ref().map_or(column, |projection| projection[column]);
            keys.get(column).copied().unwrap_or(false).then_some(column)
        }
        LogicalPlan::Projection(projection) => below(&projection.expr[column], &projection.input, keys),
        LogicalPlan::Aggregate(aggregate) => below(aggregate.group_expr.get(column)?, &aggregate.input, keys),
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {
            key(plan.inputs().first()?, column, keys)
        }
        // A window function's columns stand after those it is given.
        LogicalPlan::Window(window) if column < window.input.schema().fields().len() => {
            key(&window.input, column, keys)
        }
        _ => None,
    }
}

/// The same of an expression over `input`: only a column itself is a key.
fn below(expr: &Expr, input: &LogicalPlan, keys: &[bool]) -> Option<usize> {
    let Expr::Column(name) = expr.clone().unalias() else { return None };
    key(input, input.schema().index_of_column(&name).ok()?, keys)
}

/// The columns of the window's table that a plan reads.
fn needed(plan: &LogicalPlan, columns: usize) -> Result<Vec<bool>> {
    let mut needed = vec![false; columns];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.table() == WINDOW
        {
            match &scan.projection {
                Some(projection) => projection.iter().for_each(|&column| needed[column] = true),
                None => needed.iter_mut().for_each(|needed| *needed = true),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(needed)
}
