//! `_headers['name']` in a query: one header's value out of the record's list.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::GetFieldAccess;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarUDF, Volatility, create_udf, lit};
use datafusion::prelude::SessionContext;

use crate::decode::column::HEADERS;
use crate::record::last_header;

/// Lets the context's queries say `_headers['name']`.
pub(super) fn register(context: &mut SessionContext) -> Result<()> {
    let header = Arc::new(create_udf(
        "header",
        vec![DataType::Utf8, DataType::Utf8],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(header),
    ));
    context.register_expr_planner(Arc::new(Planner { header }))
}

#[derive(Debug)]
struct Planner {
    header: Arc<ScalarUDF>,
}

impl ExprPlanner for Planner {
    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        match (&expr.expr, &expr.field_access) {
            (Expr::Column(column), GetFieldAccess::NamedStructField { name: ScalarValue::Utf8(Some(name)) })
                if column.name == HEADERS =>
            {
                let name = lit(name.as_str());
                Ok(PlannerResult::Planned(self.header.call(vec![expr.expr.clone(), name])))
            }
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}

/// The value of the last header of a name in each list, null if there is none.
fn header(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let [lists, names] = arrays.as_slice() else {
        return datafusion::common::exec_err!("header takes a list and a name");
    };
    let lists = lists.as_string::<i32>().iter().zip(names.as_string::<i32>());
    let values = lists.map(|(list, name)| last_header(list?, name?));
    let values: ArrayRef = Arc::new(values.collect::<StringArray>());
    Ok(ColumnarValue::Array(values))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::util::pretty::pretty_format_batches;

    use crate::decode::Decode;
    use crate::decode::column::{ColumnType, Columns, PartType, TIMESTAMP, Whole};
    use crate::decode::raw::RawDecoder;
    use crate::query::{Keeps, Query, QueryError};
    use crate::record::{Header, Offset, Partition, Records, Timestamp};

    fn columns() -> Columns {
        let text = Some(PartType::Spelled(ColumnType::Text));
        let whole = Whole { key: Some(PartType::Bytes), value: text, headers: true };
        Columns { declared: Vec::new(), event_time: TIMESTAMP.to_owned(), whole }
    }

    async fn plan(sql: &str) -> Result<Query, QueryError> {
        Query::plan(sql, &columns(), &BTreeMap::new()).await
    }

    /// The query over records with no header, with one, with two of a name, and with one that is no text.
    async fn result(sql: &str) -> String {
        let mut records = Records::new(Partition(0));
        let header = |value: &'static [u8]| Header { name: b"tenant", value: Some(value) };
        let headers = [vec![], vec![header(b"a")], vec![header(b"x"), header(b"b")], vec![header(&[0xff])]];
        for (offset, headers) in (0..).zip(headers) {
            records.push_with(Offset(offset), Some(Timestamp(0)), Some(&[7]), Some(b"v"), headers);
        }
        let query = plan(sql).await.unwrap();
        let prepared = query.prepare(&RawDecoder::new(&columns(), "t").decode(records).batch).unwrap();
        let mut partial = query.partial();
        partial.add(&prepared, &(0..u32::try_from(prepared.passed.len()).unwrap()).collect::<Vec<_>>()).unwrap();
        let rows = query.close(vec![partial.snapshot().unwrap().batches]).await.unwrap();
        let table = pretty_format_batches(&rows).unwrap().to_string();
        let cells = table.lines().skip(3).filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
        cells
            .map(|row| row.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned())
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[tokio::test]
    async fn a_header_is_the_last_of_its_name_wherever_an_expression_may_stand() {
        let each = "SELECT _offset, _headers['tenant'] AS tenant FROM t";
        assert_eq!(result(each).await, "0, 1 a, 2 b, 3");
        let grouped = "SELECT COALESCE(r._headers['tenant'], '?') AS tenant, COUNT(*) AS n FROM t AS r GROUP BY 1";
        assert_eq!(plan(grouped).await.unwrap().keeps(), Keeps::Groups);
        assert_eq!(result(grouped).await, "? 2, a 1, b 1");
        assert_eq!(result("SELECT _offset FROM t WHERE _headers['tenant'] > 'a'").await, "2");
        assert_eq!(result("SELECT _offset, _headers['no'] AS none FROM t WHERE _offset < 1").await, "0");
    }

    #[tokio::test]
    async fn whole_records_have_columns_that_a_file_can_hold() {
        let query = plan("SELECT * FROM t").await.unwrap();
        let names: Vec<_> = query.output_schema().fields().iter().map(|field| field.name().as_str()).collect();
        let expected = ["_topic", "_partition", "_offset", "_timestamp", "_key", "_value", "_headers"];
        assert_eq!(names, expected);
        assert_eq!(
            result("SELECT _key, _headers FROM t WHERE _offset = 1").await,
            r#"07 [{"name":"tenant","value":"a"}]"#
        );
    }

    #[tokio::test]
    async fn other_ways_into_headers_are_refused() {
        for sql in ["SELECT _headers[1] AS x FROM t", "SELECT _value['a'] AS x FROM t"] {
            assert!(matches!(plan(sql).await, Err(QueryError::Invalid(_))), "{sql}");
        }
    }
}
