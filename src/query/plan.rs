//! The query's text to a logical plan over the stream and the reference tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::catalog::MemTable;
use datafusion::common::SchemaError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::{QueryError, bounds, exact, headers, internal, tables, told};
use crate::decode::column::Columns;

/// A query's plan before it is split.
pub(super) struct Planned {
    /// Functions, rules and settings that everything else of the query uses.
    pub(super) state: SessionState,
    /// What the query calls the stream.
    pub(super) stream: String,
    /// The plan, types coerced, not optimized.
    pub(super) plan: LogicalPlan,
}

pub(super) async fn plan(
    sql: &str,
    columns: &Columns,
    tables: &BTreeMap<String, PathBuf>,
) -> Result<Planned, QueryError> {
    let mut context = SessionContext::new_with_config(settings());
    headers::register(&mut context).map_err(internal)?;
    tables::register(&context, tables).await?;
    let state = context.state();
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(|error| invalid(&error, columns))?;
    let is_select =
        matches!(&statement, Statement::Statement(statement) if matches!(**statement, SqlStatement::Query(_)));
    if !is_select {
        return Err(QueryError::Invalid("write one SELECT: a window is only read".to_owned()));
    }
    let references = state.resolve_table_references(&statement).map_err(|error| invalid(&error, columns))?;
    let mut streams: Vec<String> = references.iter().map(|table| table.table().to_owned()).collect();
    streams.retain(|name| !tables.contains_key(name));
    streams.sort();
    streams.dedup();
    let stream = match streams.as_slice() {
        [stream] => stream.clone(),
        [] => {
            return Err(QueryError::Invalid("it does not read the stream: write FROM with any name for it".to_owned()));
        }
        [one, two, ..] => {
            let text =
                format!("it reads \"{one}\" and \"{two}\": one is the stream, the other must be named in [tables]");
            return Err(QueryError::Invalid(text));
        }
    };
    // Every column may be null here: a window's rows leave out what the query does not need.
    let fields: Vec<Field> =
        columns.schema().fields().iter().map(|field| Field::clone(field).with_nullable(true)).collect();
    let empty = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]]).map_err(internal)?;
    context.register_table(stream.as_str(), Arc::new(empty)).map_err(internal)?;

    let state = context.state();
    let plan = state.statement_to_plan(statement).await.map_err(|error| invalid(&error, columns))?;
    bounds::not_too_deep(&plan)?;
    repeatable(&plan)?;
    let plan = state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})
        .map_err(|error| invalid(&error, columns))?;
    // DISTINCT is grouping by another name; as such it can be kept as groups.
    let plan = Optimizer::with_rules(vec![Arc::new(ReplaceDistinctWithAggregate::new())])
        .optimize(plan, &OptimizerContext::new(), |_, _| {})
        .map_err(internal)?;
    let plan = exact::exact_sums(plan).map_err(internal)?;
    Ok(Planned { state, stream, plan })
}

fn settings() -> SessionConfig {
    // One thread: the order of rows is part of the result.
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    // Columns are called as they were declared, capitals and all.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    // 1.1 is exact, as money is; beside a float it becomes one.
    options.sql_parser.parse_float_as_decimal = true;
    config
}

/// Refuses what would give another answer when a window is computed again.
fn repeatable(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut refused = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(function) = expr
                    && function.func.signature().volatility != Volatility::Immutable
                {
                    refused = Some(function.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(internal)?;
    match refused {
        None => Ok(()),
        Some(name) => Err(QueryError::Invalid(format!(
            "{name}() gives another answer each time, so a window computed again would differ; use the record's own times"
        ))),
    }
}

/// An error of the query's text, with the column that was probably meant.
fn invalid(error: &DataFusionError, columns: &Columns) -> QueryError {
    let DataFusionError::SchemaError(schema, _) = error.find_root() else {
        return QueryError::Invalid(told(error));
    };
    let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() else {
        return QueryError::Invalid(told(error));
    };
    let nearest = valid_fields
        .iter()
        .map(|valid| (strsim::jaro_winkler(&valid.name.to_lowercase(), &field.name.to_lowercase()), &valid.name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((likeness, name)) if likeness > 0.8 => format!("did you mean \"{name}\"? else "),
        _ => String::new(),
    };
    let declared: Vec<&str> = columns.declared.iter().map(|column| column.name.as_str()).collect();
    QueryError::Invalid(format!(
        "column \"{}\" is not known here; {hint}declare it in [source.columns], which has {}",
        field.name,
        if declared.is_empty() { "none".to_owned() } else { declared.join(", ") }
    ))
}
