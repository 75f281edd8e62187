//! The order of rows by some of their columns, nulls last; rows that are equal there stay in their order.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

/// Turns columns of these types into keys that compare as bytes.
pub(super) fn converter<'a>(types: impl Iterator<Item = &'a DataType>) -> Result<RowConverter, ArrowError> {
    let options = SortOptions { descending: false, nulls_first: false };
    RowConverter::new(types.map(|kind| SortField::new_with_options(kind.clone(), options)).collect())
}

/// Where each row of the sorted order is found.
///
/// # Errors
/// If a column has a type without an order.
pub(super) fn order(columns: &[ArrayRef]) -> Result<UInt32Array, ArrowError> {
    let keys = converter(columns.iter().map(|column| column.data_type()))?.convert_columns(columns)?;
    Ok(order_of(&keys))
}

/// The same of keys made before.
pub(super) fn order_of(keys: &Rows) -> UInt32Array {
    // The first bytes of a key decide most comparisons, and are at hand where the key is not.
    let head = |row: u32| {
        let mut head = [0; 16];
        head.iter_mut().zip(keys.row(row as usize).as_ref()).for_each(|(place, &byte)| *place = byte);
        (u128::from_be_bytes(head), row)
    };
    let mut order: Vec<(u128, u32)> = (0..u32::try_from(keys.num_rows()).unwrap_or(u32::MAX)).map(head).collect();
    order.sort_unstable_by(|(head, row), (other_head, other)| {
        let whole = || keys.row(*row as usize).cmp(&keys.row(*other as usize));
        head.cmp(other_head).then_with(whole).then_with(|| row.cmp(other))
    });
    order.into_iter().map(|(_, row)| row).collect()
}
