//! The cut through a plan: below it what needs one record at a time, above it what needs the whole window.
//!
//! From the stream's scan upwards, filters and projections are the lower part, and so are the expressions of an
//! aggregate right above them. If that aggregate's functions can be saved, merged and restored without changing a
//! bit of the result, an open window keeps groups; else it keeps the lower part's rows. The upper part is the rest of
//! the plan, reading a table named [`WINDOW`] in place of what was cut off.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::plan::Planned;
use super::{QueryError, internal};
use crate::decode::column::{Columns, OFFSET, PARTITION};

/// What the upper part calls a window's rows or groups.
pub(super) const WINDOW: &str = "__window";

/// Aggregates whose partial state can be saved, restored and merged without changing a bit of the result.
const MERGEABLE: [&str; 12] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "first_value",
    "last_value",
];
/// Those that take the first or last by time, unless the query says by what.
const BY_TIME: [&str; 3] = ["first_value", "last_value", "nth_value"];

/// A plan, cut in two.
#[derive(Debug)]
pub(super) struct Split {
    /// What a record has to pass, over the stream's columns.
    pub(super) filters: Vec<Expr>,
    /// What is computed of a record that passes, over the stream's columns.
    pub(super) inputs: Vec<Expr>,
    /// How inputs become groups; none if the window keeps rows.
    pub(super) groups: Option<Groups>,
    /// The columns of [`WINDOW`]: the inputs, or group keys and finished aggregates.
    pub(super) window: SchemaRef,
    /// The plan over [`WINDOW`].
    pub(super) upper: LogicalPlan,
    /// For each column of [`WINDOW`] whether it is a group key: rows are sorted by those.
    pub(super) keys: Vec<bool>,
    /// Why rows are kept, where the query has an aggregate.
    why_rows: Option<String>,
}

/// Keys and aggregates, over the inputs.
#[derive(Debug)]
pub(super) struct Groups {
    /// The inputs that are keys come first; this many.
    pub(super) keys: usize,
    /// Aggregates over inputs named by [`input_name`].
    pub(super) aggregates: Vec<Expr>,
}

/// The lower part below some node of the plan: filters and projections over the stream's scan.
struct Chain {
    filters: Vec<Expr>,
    /// The node's output columns, each as an expression over the stream's columns.
    outputs: Vec<Expr>,
}

/// The name of the lower part's `index`th output.
pub(super) fn input_name(index: usize) -> String {
    format!("c{index}")
}

fn input(index: usize) -> Expr {
    Expr::Column(Column::from_name(input_name(index)))
}

fn window_column(index: usize) -> Expr {
    Expr::Column(Column::new(Some(WINDOW), input_name(index)))
}

/// Cuts a plan.
///
/// # Errors
/// If the plan cannot be cut so that the result is a function of the window's records.
pub(super) fn split(planned: &Planned, columns: &Columns) -> std::result::Result<Split, QueryError> {
    let mut scans = 0;
    let counted = planned.plan.apply_with_subqueries(|node| {
        scans += usize::from(is_stream(node, &planned.stream));
        Ok(TreeNodeRecursion::Continue)
    });
    counted.map_err(internal)?;
    let splitter = Splitter { stream: &planned.stream, columns, alone: scans == 1 };
    let split = splitter.cut(&planned.plan).map_err(internal)?;
    check_order(&split.upper)?;
    Ok(split)
}

fn is_stream(plan: &LogicalPlan, stream: &str) -> bool {
    matches!(plan, LogicalPlan::TableScan(scan) if scan.table_name.table() == stream)
}

struct Splitter<'a> {
    stream: &'a str,
    columns: &'a Columns,
    /// Whether the stream is read in one place only; else its records are kept as they are.
    alone: bool,
}

/// What takes the place of the lower part in the plan.
struct Replaced {
    filters: Vec<Expr>,
    inputs: Vec<Expr>,
    groups: Option<Groups>,
    window: SchemaRef,
    keys: Vec<bool>,
    why_rows: Option<String>,
}

impl Splitter<'_> {
    fn cut(&self, plan: &LogicalPlan) -> Result<Split> {
        let mut replaced: Option<Replaced> = None;
        let cut = plan.clone().transform_down_with_subqueries(|node| {
            if let LogicalPlan::Aggregate(aggregate) = &node
                && let Some(chain) = self.chain(&aggregate.input)?
                && let Some((upper, what)) = self.fold(aggregate, chain)?
            {
                replaced = Some(what);
                return Ok(Transformed::new(upper, true, TreeNodeRecursion::Jump));
            }
            if let Some(chain) = self.chain(&node)? {
                let (upper, what) = self.keep(&node, chain)?;
                replaced = Some(what);
                return Ok(Transformed::new(upper, true, TreeNodeRecursion::Jump));
            }
            Ok(Transformed::no(node))
        })?;
        // Nodes above the cut take their types from what is below them now.
        let upper = cut.data.transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?)))?.data;
        let replaced = replaced.ok_or_else(|| DataFusionError::Internal("the plan does not read the stream".into()))?;
        let Replaced { filters, inputs, groups, window, keys, why_rows } = replaced;
        Ok(Split { filters, inputs, groups, window, upper, keys, why_rows })
    }

    /// The plan as a chain of filters and projections over the stream, if it is one.
    fn chain(&self, plan: &LogicalPlan) -> Result<Option<Chain>> {
        if is_stream(plan, self.stream) {
            let outputs = plan.schema().fields().iter().map(|field| Expr::Column(Column::from_name(field.name())));
            return Ok(Some(Chain { filters: Vec::new(), outputs: outputs.collect() }));
        }
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.chain(&alias.input),
            LogicalPlan::Filter(filter) if self.alone && is_rowwise(&filter.predicate) => {
                let Some(mut chain) = self.chain(&filter.input)? else { return Ok(None) };
                chain.filters.push(chain.substitute(&filter.predicate, filter.input.schema())?);
                Ok(Some(chain))
            }
            LogicalPlan::Projection(projection) if self.alone && projection.expr.iter().all(is_rowwise) => {
                let Some(chain) = self.chain(&projection.input)? else { return Ok(None) };
                let schema = projection.input.schema();
                let outputs =
                    projection.expr.iter().map(|expr| chain.substitute(expr, schema)).collect::<Result<_>>()?;
                Ok(Some(Chain { filters: chain.filters, outputs }))
            }
            _ => Ok(None),
        }
    }

    /// Replaces a chain by its rows.
    fn keep(&self, node: &LogicalPlan, chain: Chain) -> Result<(LogicalPlan, Replaced)> {
        let mut inputs = Inputs::default();
        let places: Vec<Option<usize>> =
            chain.outputs.iter().map(|output| (!is_literal(output)).then(|| inputs.place(output))).collect();
        let schema = inputs.schema(self.columns)?;
        let restored =
            node.schema().iter().zip(&places).zip(&chain.outputs).map(|(((qualifier, field), place), output)| {
                let value = place.map_or_else(|| output.clone(), window_column);
                value.alias_qualified(qualifier.cloned(), field.name())
            });
        let upper = scan(&schema)?.project(restored)?.build()?;
        let replaced = Replaced {
            filters: chain.filters,
            keys: vec![false; inputs.exprs.len()],
            inputs: inputs.exprs,
            groups: None,
            window: schema,
            why_rows: None,
        };
        Ok((upper, replaced))
    }

    /// Replaces an aggregate over a chain by its groups, or by the aggregate over kept rows. None if it has grouping
    /// sets or expressions that need more than a record.
    fn fold(&self, aggregate: &Aggregate, chain: Chain) -> Result<Option<(LogicalPlan, Replaced)>> {
        if !self.alone || !aggregate.group_expr.iter().all(|expr| is_rowwise(expr) && !is_grouping_set(expr)) {
            return Ok(None);
        }
        let below = aggregate.input.schema();
        let mut inputs = Inputs::default();
        for expr in &aggregate.group_expr {
            let key = chain.substitute(expr, below)?;
            inputs.exprs.push(key);
        }
        let keys = inputs.exprs.len();
        let mut aggregates = Vec::new();
        let mut why_rows = None;
        for expr in &aggregate.aggr_expr {
            let Expr::AggregateFunction(function) = expr.clone().unalias() else { return Ok(None) };
            let Some(function) = self.over_inputs(function, &chain, below, &mut inputs)? else { return Ok(None) };
            if !is_mergeable(&function) && why_rows.is_none() {
                why_rows = Some(format!("{} cannot be merged from parts without changing a bit", expr.human_display()));
            }
            aggregates.push(Expr::AggregateFunction(function));
        }
        let names = aggregate.schema.iter();
        if why_rows.is_some() {
            let schema = inputs.schema(self.columns)?;
            let named = aggregates.iter().enumerate().map(|(index, expr)| expr.clone().alias(format!("__a{index}")));
            let over_rows = scan(&schema)?
                .project((0..inputs.exprs.len()).map(|index| window_column(index).alias(input_name(index))))?;
            let over_rows = over_rows.aggregate((0..keys).map(input), named.collect::<Vec<_>>())?;
            let values = (0..keys)
                .map(input)
                .chain((0..aggregates.len()).map(|index| Expr::Column(Column::from_name(format!("__a{index}")))));
            let restored = names
                .zip(values)
                .map(|((qualifier, field), value)| value.alias_qualified(qualifier.cloned(), field.name()));
            let upper = over_rows.project(restored.collect::<Vec<_>>())?.build()?;
            let sorted = (0..inputs.exprs.len()).map(|index| index < keys).collect();
            let replaced = Replaced {
                filters: chain.filters,
                inputs: inputs.exprs,
                groups: None,
                window: schema,
                keys: sorted,
                why_rows,
            };
            return Ok(Some((upper, replaced)));
        }
        let fields = aggregate.schema.fields().iter().enumerate();
        let fields = fields.map(|(index, field)| Field::new(input_name(index), field.data_type().clone(), true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let restored = names
            .enumerate()
            .map(|(index, (qualifier, field))| window_column(index).alias_qualified(qualifier.cloned(), field.name()));
        let upper = scan(&schema)?.project(restored.collect::<Vec<_>>())?.build()?;
        let sorted = (0..schema.fields().len()).map(|index| index < keys).collect();
        let replaced = Replaced {
            filters: chain.filters,
            inputs: inputs.exprs,
            groups: Some(Groups { keys, aggregates }),
            window: schema,
            keys: sorted,
            why_rows: None,
        };
        Ok(Some((upper, replaced)))
    }

    /// The aggregate with every argument taken from the inputs.
    fn over_inputs(
        &self,
        function: AggregateFunction,
        chain: &Chain,
        below: &DFSchema,
        inputs: &mut Inputs,
    ) -> Result<Option<AggregateFunction>> {
        let AggregateFunction { func, mut params } = function;
        let mut place = |expr: &Expr| -> Result<Option<Expr>> {
            if !is_rowwise(expr) {
                return Ok(None);
            }
            // What is constant, such as the 0.5 of a percentile, stays where it is: some arguments must be.
            let base = folded(chain.substitute(expr, below)?)?;
            Ok(Some(if is_literal(&base) { base } else { input(inputs.place(&base)) }))
        };
        for arg in &mut params.args {
            let Some(placed) = place(arg)? else { return Ok(None) };
            *arg = placed;
        }
        if let Some(filter) = &mut params.filter {
            let Some(placed) = place(filter)? else { return Ok(None) };
            **filter = placed;
        }
        for sort in &mut params.order_by {
            let Some(placed) = place(&sort.expr)? else { return Ok(None) };
            sort.expr = placed;
        }
        if BY_TIME.contains(&func.name()) {
            // By time unless the query says otherwise, and always in a total order, so that parts merge alike.
            for name in [self.columns.event_time.as_str(), PARTITION, OFFSET] {
                let column = Expr::Column(Column::from_name(name));
                let by = input(inputs.place(&column));
                if !params.order_by.iter().any(|sort| sort.expr == by) {
                    params.order_by.push(Sort::new(by, true, true));
                }
            }
        }
        Ok(Some(AggregateFunction { func, params }))
    }
}

impl Chain {
    /// `expr`, whose columns are this chain's outputs under the names of `schema`, over the stream's columns.
    fn substitute(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
        let substituted = expr.clone().unalias().transform_up(|expr| match expr {
            Expr::Column(column) => {
                let index = schema.index_of_column(&column)?;
                Ok(Transformed::yes(self.outputs[index].clone()))
            }
            Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(substituted.data)
    }
}

/// Expressions over the stream that the lower part computes, each once.
#[derive(Default)]
struct Inputs {
    exprs: Vec<Expr>,
}

impl Inputs {
    fn place(&mut self, expr: &Expr) -> usize {
        self.exprs.iter().position(|known| known == expr).unwrap_or_else(|| {
            self.exprs.push(expr.clone());
            self.exprs.len() - 1
        })
    }

    fn schema(&self, columns: &Columns) -> Result<SchemaRef> {
        let stream = DFSchema::try_from(columns.schema().as_ref().clone())?;
        let fields = self
            .exprs
            .iter()
            .enumerate()
            .map(|(index, expr)| Ok(Field::new(input_name(index), expr.get_type(&stream)?, true)));
        Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
    }
}

fn scan(schema: &SchemaRef) -> Result<LogicalPlanBuilder> {
    let empty = MemTable::try_new(schema.clone(), vec![vec![]])?;
    LogicalPlanBuilder::scan(TableReference::bare(WINDOW), provider_as_source(Arc::new(empty)), None)
}

/// Whether an expression needs one record and nothing else.
fn is_rowwise(expr: &Expr) -> bool {
    let mut rowwise = true;
    let walked = expr.apply(|expr| {
        rowwise &= !matches!(
            expr,
            Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::Unnest(_)
        );
        Ok(if rowwise { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    rowwise && walked.is_ok()
}

fn is_grouping_set(expr: &Expr) -> bool {
    matches!(expr, Expr::GroupingSet(_))
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

/// An expression without columns as the literal it is.
fn folded(expr: Expr) -> Result<Expr> {
    if is_literal(&expr) || expr.any_column_refs() {
        return Ok(expr);
    }
    let context = SimplifyContext::builder().with_schema(Arc::new(DFSchema::empty())).build();
    ExprSimplifier::new(context).simplify(expr)
}

pub(super) fn is_mergeable(function: &AggregateFunction) -> bool {
    let name = function.func.name();
    // A distinct sum adds in the order of a hash set.
    let distinct = !function.params.distinct || name == "count" || name == "min" || name == "max";
    distinct && MERGEABLE.contains(&name)
}

/// Where an aggregate could not be cut off, the records' order is that of partitions; time has to be asked for.
fn check_order(upper: &LogicalPlan) -> std::result::Result<(), QueryError> {
    let mut unordered = None;
    let walked = upper.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::AggregateFunction(function) = expr
                    && BY_TIME.contains(&function.func.name())
                    && function.params.order_by.is_empty()
                {
                    unordered = Some(function.func.name().to_uppercase());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(internal)?;
    match unordered {
        None => Ok(()),
        Some(name) => Err(QueryError::Invalid(format!(
            "{name} over a join or a subquery needs its order: write {name}(x ORDER BY …)"
        ))),
    }
}

impl Split {
    /// The split in words, a line each.
    pub(super) fn describe(&self, output: &SchemaRef) -> Vec<String> {
        let list = |exprs: &mut dyn Iterator<Item = &Expr>| {
            exprs.map(|expr| expr.human_display().to_string()).collect::<Vec<_>>().join(", ")
        };
        let mut lines = Vec::new();
        if !self.filters.is_empty() {
            lines.push(format!("each record has to pass: {}", list(&mut self.filters.iter())));
        }
        match &self.groups {
            Some(groups) if groups.keys == 0 => {
                lines.push("an open window keeps one row of partial aggregates".to_owned())
            }
            Some(groups) => lines.push(format!(
                "an open window keeps partial aggregates by {}",
                list(&mut self.inputs.iter().take(groups.keys))
            )),
            None => {
                let why = self.why_rows.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                lines.push(format!("an open window keeps {} columns of each of its records{why}", self.inputs.len()));
            }
        }
        let unnamed: Vec<&str> = output
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .filter(|name| name.contains(['(', '.', ' ']))
            .collect();
        if !unnamed.is_empty() {
            lines.push(format!("some loaders refuse such names, give them others with AS: {}", unnamed.join(", ")));
        }
        lines
    }
}

/// The type that carries a column of `kind` in a file; none if no type that every loader reads alike can.
pub(super) fn file_type(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Boolean => DataType::Boolean,
        kind if kind.is_integer() => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => return file_type(value),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) if *scale >= 0 && *scale <= 38 => {
            DataType::Decimal128((*precision).min(38), *scale)
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => crate::decode::column::timestamp_type(),
        _ => return None,
    })
}
