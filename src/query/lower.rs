//! What every batch passes through: WHERE, and the expressions that groups and aggregates need.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{and, filter_record_batch, prep_null_mask_filter, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;

use super::split::{Split, input_name};
use super::{QueryError, internal, told};

/// The lower part of a query, ready to run.
pub(super) struct Lower {
    filters: Vec<Arc<dyn PhysicalExpr>>,
    inputs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

/// A batch after the lower part.
#[derive(Debug)]
pub struct Prepared {
    /// The rows that passed WHERE; rising.
    pub passed: Vec<u32>,
    /// Rows that an expression could not take, and why; rising. They are not among the passed.
    pub failed: Vec<(u32, String)>,
    /// One row for each that passed: what groups and aggregates need of it.
    pub(super) inputs: RecordBatch,
}

impl Lower {
    pub(super) fn new(
        state: &SessionState,
        stream: &SchemaRef,
        split: &Split,
    ) -> std::result::Result<Self, QueryError> {
        let schema = DFSchema::try_from(stream.as_ref().clone()).map_err(internal)?;
        let compile = |expr: &Expr| compile(state, expr, &schema);
        let filters = split.filters.iter().map(compile).collect::<Result<Vec<_>>>().map_err(internal)?;
        let inputs = split.inputs.iter().map(compile).collect::<Result<Vec<_>>>().map_err(internal)?;
        let fields = inputs
            .iter()
            .enumerate()
            .map(|(index, expr)| Ok(arrow::datatypes::Field::new(input_name(index), expr.data_type(stream)?, true)));
        let fields = fields.collect::<Result<Vec<_>>>().map_err(internal)?;
        Ok(Self { filters, inputs, schema: Arc::new(arrow::datatypes::Schema::new(fields)) })
    }

    /// The schema of [`Prepared::inputs`].
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn prepare(&self, batch: &RecordBatch) -> std::result::Result<Prepared, QueryError> {
        if let Ok((passed, inputs)) = self.run(batch) {
            return Ok(Prepared { passed, failed: Vec::new(), inputs });
        }
        // Some record cannot be taken. Which one, is found by trying each alone; this is rare.
        let mut failed = Vec::new();
        let mut sound: Vec<u32> = Vec::new();
        for row in 0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX) {
            match self.run(&batch.slice(row as usize, 1)) {
                Ok(_) => sound.push(row),
                Err(error) => failed.push((row, told(&error))),
            }
        }
        let rest = take_record_batch(batch, &UInt32Array::from(sound.clone())).map_err(internal)?;
        let (passed, inputs) = self.run(&rest).map_err(internal)?;
        let passed = passed.into_iter().map(|row| sound[row as usize]).collect();
        Ok(Prepared { passed, failed, inputs })
    }

    fn run(&self, batch: &RecordBatch) -> Result<(Vec<u32>, RecordBatch)> {
        let rows = batch.num_rows();
        let mut mask: Option<BooleanArray> = None;
        for filter in &self.filters {
            let passes = filter.evaluate(batch)?.into_array(rows)?;
            let passes = passes.as_boolean();
            // A null is not true; the kernel wants there to be one.
            let passes = if passes.null_count() > 0 { prep_null_mask_filter(passes) } else { passes.clone() };
            mask = Some(match mask {
                Some(mask) => and(&mask, &passes)?,
                None => passes,
            });
        }
        let all = 0..u32::try_from(rows).unwrap_or(u32::MAX);
        let (passed, kept) = match mask {
            Some(mask) if mask.true_count() < rows => {
                let passed = all.filter(|row| mask.value(*row as usize)).collect();
                (passed, filter_record_batch(batch, &mask)?)
            }
            _ => (all.collect(), batch.clone()),
        };
        let inputs = self.inputs.iter().map(|input| input.evaluate(&kept)?.into_array(kept.num_rows()));
        let inputs = inputs.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        Ok((passed, RecordBatch::try_new_with_options(self.schema.clone(), inputs, &options)?))
    }
}

/// An expression ready to run, constants folded, whose integer arithmetic fails where it would wrap around.
pub(super) fn compile(state: &SessionState, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .build();
    let simple = ExprSimplifier::new(context).simplify(expr.clone())?;
    let physical = state.create_physical_expr(simple, schema)?;
    let checked = physical.transform_up(|node| match node.downcast_ref::<BinaryExpr>() {
        Some(binary) => {
            let checked = BinaryExpr::new(binary.left().clone(), *binary.op(), binary.right().clone());
            Ok(Transformed::yes(Arc::new(checked.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
        }
        None => Ok(Transformed::no(node)),
    })?;
    Ok(checked.data)
}
