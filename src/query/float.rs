//! SUM and AVG of doubles whose result does not depend on the order of the records, nor on where partial results were
//! cut: sums are exact until the window closes, and rounded then. DataFusion's own round at every step.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Float64Builder, ListBuilder, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::total::Total;

/// The exact function of this name over doubles, if it is one of those that need it.
pub(super) fn exact(name: &str) -> Option<Arc<AggregateUDF>> {
    let mean = match name {
        "sum" => false,
        "avg" => true,
        _ => return None,
    };
    let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
    Some(Arc::new(AggregateUDF::new_from_impl(Exact { mean, signature })))
}

/// An exact sum, or that divided by how many there are.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    mean: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        if self.mean { "avg" } else { "sum" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(Sums::new(self.mean))))
    }

    /// Numbers whose sum is the sum; for a mean, how many were added comes first.
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let count = self.mean.then(|| Field::new(format!("{}[count]", args.name), DataType::UInt64, true));
        let sum = Field::new_list(format!("{}[sum]", args.name), Field::new_list_field(DataType::Float64, true), true);
        Ok(count.into_iter().chain([sum]).map(Arc::new).collect())
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Sums::new(self.mean)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// A sum for each group.
#[derive(Clone, Debug)]
struct Sums {
    mean: bool,
    sums: Vec<Sum>,
    /// Bytes of the sums that are wide.
    wide: usize,
}

#[derive(Clone, Debug, Default)]
struct Sum {
    total: Total,
    /// Numbers added; of a sum that was saved, one at least.
    count: u64,
}

impl Sums {
    fn new(mean: bool) -> Self {
        Self { mean, sums: Vec::new(), wide: 0 }
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Sum> {
        let taken = emit_to.take_needed(&mut self.sums);
        self.wide = self.wide.saturating_sub(taken.iter().map(|sum| sum.total.size()).sum());
        taken
    }

    fn add(&mut self, group: usize, number: f64) {
        let sum = &mut self.sums[group].total;
        let before = sum.size();
        sum.add(number);
        self.wide += sum.size() - before;
    }
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sums.resize_with(total_num_groups, Sum::default);
        let numbers = values[0].as_primitive::<Float64Type>();
        for (row, (&group, number)) in group_indices.iter().zip(numbers).enumerate() {
            let passes = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let Some(number) = number.filter(|_| passes) {
                self.add(group, number);
                self.sums[group].count += 1;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mean = self.mean;
        let value = |sum: Sum| {
            let value = sum.total.value();
            (sum.count > 0).then(|| if mean { value / sum.count as f64 } else { value })
        };
        Ok(Arc::new(self.take(emit_to).into_iter().map(value).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = self.take(emit_to);
        let mut lists = ListBuilder::new(Float64Builder::new());
        for sum in &sums {
            if sum.count > 0 {
                sum.total.parts(|part| lists.values().append_value(part));
            }
            lists.append(sum.count > 0);
        }
        let counts =
            self.mean.then(|| -> ArrayRef { Arc::new(sums.iter().map(|sum| sum.count).collect::<UInt64Array>()) });
        Ok(counts.into_iter().chain([Arc::new(lists.finish()) as ArrayRef]).collect())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.sums.resize_with(total_num_groups, Sum::default);
        let counts = self.mean.then(|| values[0].as_primitive::<UInt64Type>());
        let lists = values[usize::from(self.mean)].as_list::<i32>();
        let parts = lists.values().as_primitive::<Float64Type>();
        for (row, &group) in group_indices.iter().enumerate().filter(|(row, _)| lists.is_valid(*row)) {
            let span = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
            let mut some = 0;
            for part in span.filter(|&part| parts.is_valid(part)) {
                self.add(group, parts.value(part));
                some = 1;
            }
            self.sums[group].count +=
                counts.map_or(some, |counts| if counts.is_valid(row) { counts.value(row) } else { 0 });
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut each = Self::new(self.mean);
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Sum>() + self.wide
    }
}

/// The same for one group.
#[derive(Debug)]
struct One(Sums);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.sums.resize_with(1, Sum::default);
        ScalarValue::try_from_array(&self.0.clone().evaluate(EmitTo::All)?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.sums.resize_with(1, Sum::default);
        let state = self.0.clone().state(EmitTo::All)?;
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }
}
