//! Rows of typed files as JSON objects of the declared columns: what a topic's JSON records would have been, so that
//! the same pipeline file reads either.
//!
//! Points in time are written as the column that reads them declares; those without a time zone have no offset, and are
//! refused by whoever reads them as a time. Numbers keep all their digits.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::column::{Column, ColumnType, TimestampForm};
use super::typed::{JsonText, decimal_text};
use crate::record::Timestamp;

/// Which members of rows are wanted, and how their times are written.
#[derive(Clone, Debug, Default)]
pub struct RowText {
    root: Node,
}

/// A place in rows that columns read, or that leads to one.
#[derive(Clone, Debug, Default)]
struct Node {
    members: Vec<(String, Node)>,
    /// A column reads the value here as a whole.
    whole: bool,
    form: Option<TimestampForm>,
}

impl Node {
    fn member(&self, name: &str) -> Option<&Self> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, node)| node)
    }
}

/// Everything of what lies here is wanted, and times are text.
static WHOLE: Node = Node { members: Vec::new(), whole: true, form: None };

impl RowText {
    /// For these columns.
    #[must_use]
    pub fn new(columns: &[Column]) -> Self {
        let mut root = Node::default();
        for column in columns {
            let mut node = &mut root;
            for name in &column.path {
                let index = node.members.iter().position(|(member, _)| member == name).unwrap_or_else(|| {
                    node.members.push((name.clone(), Node::default()));
                    node.members.len() - 1
                });
                node = &mut node.members[index].1;
            }
            match column.kind {
                ColumnType::Timestamp(form) => node.form = Some(form),
                _ => node.whole = true,
            }
        }
        Self { root }
    }

    /// The outermost members that are wanted.
    pub fn roots(&self) -> impl Iterator<Item = &str> {
        self.root.members.iter().map(|(name, _)| name.as_str())
    }

    /// Writes a row as one JSON object into `out`, in the place of what was there.
    ///
    /// # Errors
    /// If Arrow cannot show a value.
    pub fn write(&self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let mut text = JsonText { text: std::mem::take(out) };
        text.text.clear();
        text.raw("{");
        let mut first = true;
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let Some(node) = self.root.member(field.name()) else { continue };
            text.name(first, field.name());
            first = false;
            value(array.as_ref(), row, node, &mut text)?;
        }
        text.raw("}");
        *out = text.text;
        Ok(())
    }
}

fn value(array: &dyn Array, row: usize, node: &Node, out: &mut JsonText) -> Result<(), String> {
    if array.is_null(row) {
        out.raw("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let members = array.as_struct();
            let all = node.whole || node.members.is_empty();
            out.raw("{");
            let mut first = true;
            for (field, member) in fields.iter().zip(members.columns()) {
                let known = node.member(field.name());
                let Some(inner) = known.or(all.then_some(&WHOLE)) else { continue };
                out.name(first, field.name());
                first = false;
                value(member.as_ref(), row, inner, out)?;
            }
            out.raw("}");
        }
        DataType::List(_) => list(array.as_list::<i32>().value(row).as_ref(), out)?,
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row).as_ref(), out)?,
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(row).as_ref(), out)?,
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let keys = ArrayFormatter::try_new(entries.column(0).as_ref(), &FormatOptions::new());
            let keys = keys.map_err(|error| error.to_string())?;
            out.raw("{");
            for entry in 0..entries.len() {
                out.name(entry == 0, &keys.value(entry).to_string());
                value(entries.column(1).as_ref(), entry, &WHOLE, out)?;
            }
            out.raw("}");
        }
        DataType::Timestamp(unit, zone) => {
            let micros = micros(array, row, *unit);
            match (zone, node.form) {
                (None, _) => out.string(Timestamp(micros).to_string().trim_end_matches('Z')),
                (Some(_), Some(TimestampForm::EpochSeconds)) => out.raw(&decimal_text(micros.into(), 6)),
                (Some(_), Some(TimestampForm::EpochMillis)) => out.raw(&decimal_text(micros.into(), 3)),
                (Some(_), Some(TimestampForm::EpochMicros)) => out.raw(&micros.to_string()),
                (Some(_), _) => out.string(&Timestamp(micros).to_string()),
            }
        }
        kind => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::new()).map_err(|error| error.to_string())?;
            let text = formatter.value(row).try_to_string().map_err(|error| error.to_string())?;
            let bare = match kind {
                DataType::Boolean | DataType::Decimal128(..) | DataType::Decimal256(..) => true,
                // JSON has no NaN; as text it is no number, and says so.
                DataType::Float16 | DataType::Float32 | DataType::Float64 => super::number::is_number(text.as_bytes()),
                kind => kind.is_integer(),
            };
            if bare { out.raw(&text) } else { out.string(&text) }
        }
    }
    Ok(())
}

fn list(items: &dyn Array, out: &mut JsonText) -> Result<(), String> {
    out.raw("[");
    for item in 0..items.len() {
        if item > 0 {
            out.raw(",");
        }
        value(items, item, &WHOLE, out)?;
    }
    out.raw("]");
    Ok(())
}

/// Microseconds since the epoch; digits beyond are cut off towards the past.
fn micros(array: &dyn Array, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row).saturating_mul(1_000_000),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row).saturating_mul(1000),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1000),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray, StringArray,
        StructArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::Int64Type;

    use super::*;

    fn column(path: &str, kind: ColumnType) -> Column {
        Column { name: path.into(), path: path.split('.').map(str::to_owned).collect(), kind, optional: true }
    }

    #[test]
    fn a_row_is_the_json_that_a_topic_would_have_had() {
        let inner = StructArray::from(vec![
            (
                Arc::new(arrow::datatypes::Field::new("fare", DataType::Decimal128(9, 2), true)),
                Arc::new(Decimal128Array::from(vec![-5, 100]).with_precision_and_scale(9, 2).unwrap()) as ArrayRef,
            ),
            (
                Arc::new(arrow::datatypes::Field::new("unread", DataType::Int64, true)),
                Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
            ),
        ]);
        let at = vec![-1_500_000, 1_772_352_000_000_001];
        let batch = RecordBatch::try_from_iter([
            ("at", Arc::new(TimestampMicrosecondArray::from(at.clone()).with_timezone("UTC")) as ArrayRef),
            ("ms", Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC"))),
            ("local", Arc::new(TimestampMillisecondArray::from(vec![0, 1]))),
            ("day", Arc::new(Date32Array::from(vec![0, 20_513]))),
            ("zone", Arc::new(StringArray::from(vec![Some("a \"b\""), None]))),
            ("heat", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
            ("ride", Arc::new(inner)),
            ("tags", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None]), None]))),
            ("raw", Arc::new(BinaryArray::from(vec![&b"\xff\x00"[..], b"a"]))),
            ("unwanted", Arc::new(Int64Array::from(vec![1, 2]))),
        ])
        .unwrap();
        let columns = [
            column("at", ColumnType::Timestamp(TimestampForm::Rfc3339)),
            column("ms", ColumnType::Timestamp(TimestampForm::EpochMillis)),
            column("local", ColumnType::Timestamp(TimestampForm::EpochMillis)),
            column("day", ColumnType::Date),
            column("zone", ColumnType::Text),
            column("heat", ColumnType::Float),
            column("ride.fare", ColumnType::Decimal { precision: 9, scale: 2 }),
            column("tags", ColumnType::Json),
            column("raw", ColumnType::Text),
        ];
        let text = RowText::new(&columns);
        let row = |row| {
            let mut out = b"before".to_vec();
            text.write(&batch, row, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            row(0),
            r#"{"at":"1969-12-31T23:59:58.500Z","ms":-1500.000,"local":"1970-01-01T00:00:00","day":"1970-01-01","zone":"a \"b\"","heat":0.1,"ride":{"fare":-0.05},"tags":[1,null],"raw":"ff00"}"#
        );
        assert_eq!(
            row(1),
            r#"{"at":"2026-03-01T08:00:00.000001Z","ms":1772352000000.001,"local":"1970-01-01T00:00:00.001","day":"2026-03-01","zone":null,"heat":"NaN","ride":{"fare":1.00},"tags":null,"raw":"61"}"#
        );
    }
}
