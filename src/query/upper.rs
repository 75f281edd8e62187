//! What runs once over a closed window: HAVING, ORDER BY, joins and the like, and the form of the result.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::SortOptions;
use arrow::compute::{BatchCoalescer, CastOptions, cast_with_options, concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::catalog::MemTable;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::collect;

use super::lower::compile;
use super::split::{Split, WINDOW, file_type};
use super::{QueryError, internal, told};

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
}

impl Upper {
    pub(super) fn new(state: SessionState, split: &Split) -> std::result::Result<Self, QueryError> {
        let plan = state.optimize(&split.upper).map_err(internal)?;
        let output = output(plan.schema().as_arrow())?;
        let direct = direct(&state, &plan).map_err(internal)?;
        let ordered = direct.is_none() && is_ordered(&split.upper);
        let sorted_by = if ordered { Vec::new() } else { traced(&split.upper, &split.keys) };
        let needed = needed(&plan, split.window.fields().len()).map_err(internal)?;
        Ok(Self { plan, window: split.window.clone(), needed, direct, output, sorted_by, state })
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
                let evaluate = |batch: &RecordBatch| {
                    let columns = exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows()));
                    self.shaped(columns.collect::<Result<_>>()?, batch.num_rows())
                };
                window.iter().map(evaluate).collect::<Result<Vec<_>>>().map_err(data)?
            }
            None => {
                let whole = self.table(&window).map_err(internal)?;
                let plan = self.over(whole).map_err(internal)?;
                let plan =
                    self.state.query_planner().create_physical_plan(&plan, &self.state).await.map_err(internal)?;
                let rows = collect(plan, self.state.task_ctx()).await.map_err(data)?;
                let shape = |batch: &RecordBatch| self.shaped(batch.columns().to_vec(), batch.num_rows());
                rows.iter().map(shape).collect::<Result<Vec<_>>>().map_err(data)?
            }
        };
        let rows = if self.sorted_by.is_empty() { rows } else { vec![self.sorted(&rows).map_err(internal)?] };
        self.evenly(rows).map_err(internal)
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

    /// The window's rows as one table; what the plan does not read is null there.
    fn table(&self, window: &[RecordBatch]) -> Result<MemTable> {
        let batch = match window.first() {
            Some(first) => concat_batches(&first.schema(), window)?,
            None => RecordBatch::new_empty(self.window.clone()),
        };
        let columns = batch.columns().iter().zip(self.window.fields()).zip(&self.needed);
        let columns = columns.map(|((column, field), needed)| match needed {
            true if column.data_type() != field.data_type() => arrow::compute::cast(column, field.data_type()),
            true => Ok(column.clone()),
            false => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.window.clone(), columns, &options)?;
        MemTable::try_new(self.window.clone(), vec![vec![batch]])
    }

    /// The plan, reading this table.
    fn over(&self, table: MemTable) -> Result<LogicalPlan> {
        let source = provider_as_source(Arc::new(table));
        let plan = self.plan.clone().transform_down_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) if scan.table_name.table() == WINDOW => {
                scan.source = source.clone();
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }

    /// Sorted by the group keys; what is equal there stays in its order.
    fn sorted(&self, rows: &[RecordBatch]) -> Result<RecordBatch> {
        let all = concat_batches(&self.output, rows)?;
        let options = SortOptions { descending: false, nulls_first: false };
        let fields = self
            .sorted_by
            .iter()
            .map(|&column| SortField::new_with_options(self.output.field(column).data_type().clone(), options));
        let keys: Vec<ArrayRef> = self.sorted_by.iter().map(|&column| all.column(column).clone()).collect();
        let keys = RowConverter::new(fields.collect())?.convert_columns(&keys)?;
        // The first bytes of a key decide most comparisons, and are at hand where the key is not.
        let head = |row: u32| {
            let mut head = [0; 16];
            head.iter_mut().zip(keys.row(row as usize).as_ref()).for_each(|(place, &byte)| *place = byte);
            (u128::from_be_bytes(head), row)
        };
        let mut order: Vec<(u128, u32)> = (0..u32::try_from(all.num_rows()).unwrap_or(u32::MAX)).map(head).collect();
        order.sort_unstable_by(|(head, row), (other_head, other)| -> Ordering {
            let whole = || keys.row(*row as usize).cmp(&keys.row(*other as usize));
            head.cmp(other_head).then_with(whole).then_with(|| row.cmp(other))
        });
        let order: UInt32Array = order.into_iter().map(|(_, row)| row).collect();
        Ok(take_record_batch(&all, &order)?)
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

/// The output columns that are group keys, in their order.
fn traced(plan: &LogicalPlan, keys: &[bool]) -> Vec<usize> {
    (0..plan.schema().fields().len()).filter(|&column| is_key(plan, column, keys)).collect()
}

fn is_key(plan: &LogicalPlan, column: usize, keys: &[bool]) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) if scan.table_name.table() == WINDOW => {
            let column = scan.projection.as_ref().map_or(column, |projection| projection[column]);
            keys.get(column).copied().unwrap_or(false)
        }
        LogicalPlan::Projection(projection) => match projection.expr[column].clone().unalias() {
            Expr::Column(name) => projection
                .input
                .schema()
                .index_of_column(&name)
                .is_ok_and(|column| is_key(&projection.input, column, keys)),
            _ => false,
        },
        LogicalPlan::Aggregate(aggregate) => {
            match aggregate.group_expr.get(column).map(|expr| expr.clone().unalias()) {
                Some(Expr::Column(name)) => aggregate
                    .input
                    .schema()
                    .index_of_column(&name)
                    .is_ok_and(|column| is_key(&aggregate.input, column, keys)),
                _ => false,
            }
        }
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => {
            plan.inputs().first().is_some_and(|input| is_key(input, column, keys))
        }
        // A window function's columns stand after those it is given.
        LogicalPlan::Window(window) => {
            column < window.input.schema().fields().len() && is_key(&window.input, column, keys)
        }
        _ => false,
    }
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
