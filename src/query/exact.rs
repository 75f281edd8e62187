//! Sums that never wrap and never depend on order. An integer sum is taken as a wide decimal and narrowed when the
//! window closes, where a result that does not fit is an error: DataFusion's own wraps around silently. Sums and means of
//! doubles are those of [`super::float`].

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, cast};

use super::float;

/// Wide enough for any 64-bit integer; its sum has ten digits more.
const WIDE: DataType = DataType::Decimal128(20, 0);

/// Rewrites every `SUM` and `AVG` in `plan` that is not exact as it stands; names and types of all columns stay as they
/// were.
pub(super) fn exact_sums(plan: LogicalPlan) -> Result<LogicalPlan> {
    let widened = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => widen(of_floats(aggregate)?),
        other => Ok(Transformed::no(other)),
    })?;
    // Nodes above hold schemas of their own, which are the same still.
    Ok(widened.data)
}

fn of_floats(mut aggregate: Aggregate) -> Result<Aggregate> {
    for expr in &mut aggregate.aggr_expr {
        let replaced = expr.clone().transform_down(|expr| match expr {
            Expr::AggregateFunction(mut function) if !function.params.distinct => {
                let of_float = match function.params.args.as_slice() {
                    [arg] => arg.get_type(aggregate.input.schema())? == DataType::Float64,
                    _ => false,
                };
                let exact = float::exact(function.func.name()).filter(|_| of_float);
                let is_exact = exact.is_some();
                function.func = exact.unwrap_or(function.func);
                Ok(Transformed::new(Expr::AggregateFunction(function), is_exact, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        *expr = replaced.data;
    }
    Ok(aggregate)
}

fn widen(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let schema = aggregate.schema.clone();
    let mut changed = false;
    let mut sums = Vec::new();
    for (index, expr) in aggregate.aggr_expr.iter().enumerate() {
        let wide = widened(expr, &aggregate)?;
        changed |= wide.is_some();
        sums.push(wide.map(|wide| (wide, format!("__sum{index}"))));
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let first_sum = schema.fields().len() - aggregate.aggr_expr.len();
    let restored = schema.iter().enumerate().map(|(index, (qualifier, field))| {
        match index.checked_sub(first_sum).and_then(|sum| sums[sum].as_ref()) {
            Some((_, name)) => cast(Expr::Column(Column::from_name(name)), field.data_type().clone())
                .alias_qualified(qualifier.cloned(), field.name()),
            None => Expr::Column(Column::from((qualifier, field))),
        }
    });
    let restored: Vec<Expr> = restored.collect();
    let aggregates = aggregate.aggr_expr.iter().zip(&sums).map(|(expr, wide)| match wide {
        Some((wide, name)) => wide.clone().alias(name),
        None => expr.clone(),
    });
    let aggregates = aggregates.collect();
    let wide = Aggregate::try_new(aggregate.input, aggregate.group_expr, aggregates)?;
    let projection = Projection::try_new(restored, LogicalPlan::Aggregate(wide).into())?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// The sum over a wider type, if this is a sum of integers.
fn widened(expr: &Expr, aggregate: &Aggregate) -> Result<Option<Expr>> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else { return Ok(None) };
    if func.name() != "sum" || params.distinct {
        return Ok(None);
    }
    let [arg] = params.args.as_slice() else { return Ok(None) };
    if !arg.get_type(aggregate.input.schema())?.is_integer() {
        return Ok(None);
    }
    let mut wide = AggregateFunction { func, params };
    wide.params.args = vec![cast(wide.params.args.remove(0), WIDE)];
    Ok(Some(Expr::AggregateFunction(wide)))
}
