//! What a query over batches, snapshots and merges gives, against what the same query over one table gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;

use super::{Keeps, Pieces, Query, QueryError, Share};
use crate::decode::column::{Column, ColumnType, Columns, TimestampForm, Whole};

fn columns() -> Columns {
    let column = |name: &str, kind| Column { name: name.into(), path: vec![name.into()], kind, optional: true };
    Columns {
        declared: vec![
            column("at", ColumnType::Timestamp(TimestampForm::Rfc3339)),
            column("k", ColumnType::Text),
            column("v", ColumnType::Int),
            column("f", ColumnType::Float),
            column("amount", ColumnType::Decimal { precision: 12, scale: 2 }),
        ],
        event_time: "at".into(),
        whole: Whole::default(),
    }
}

#[derive(Clone, Debug)]
struct Row {
    time: i64,
    key: Option<u8>,
    value: Option<i64>,
    float: f64,
    cents: i64,
}

fn batch(partition: i64, first_offset: i64, rows: &[Row]) -> RecordBatch {
    let count = rows.len();
    let time = |times: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef;
    let amounts = Decimal128Array::from_iter_values(rows.iter().map(|row| i128::from(row.cents)));
    let arrays: Vec<ArrayRef> = vec![
        time(rows.iter().map(|row| row.time).collect()),
        Arc::new(rows.iter().map(|row| row.key.map(|key| format!("k{key}"))).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.value).collect::<Int64Array>()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.float))),
        Arc::new(amounts.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(StringArray::from(vec!["t"; count])),
        Arc::new(Int64Array::from(vec![partition; count])),
        Arc::new(Int64Array::from_iter_values(first_offset..first_offset + count as i64)),
        time(rows.iter().map(|row| row.time).collect()),
        Arc::new(StringArray::from(vec![None::<&str>; count])),
    ];
    RecordBatch::try_new(columns().schema(), arrays).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn plan(sql: &str) -> Result<Query, QueryError> {
    runtime().block_on(Query::plan(sql, &columns(), &BTreeMap::new()))
}

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// Every partition's rows in batches of `size`, its share saved and restored after each batch if asked.
fn windowed(query: &Query, partitions: &[Vec<Row>], size: usize, restart: bool) -> Vec<RecordBatch> {
    let mut states = Vec::new();
    for (partition, rows) in (0i64..).zip(partitions) {
        let mut partial = query.partial();
        let mut saved: Vec<RecordBatch> = Vec::new();
        for (index, chunk) in rows.chunks(size).enumerate() {
            let prepared = query.prepare(&batch(partition, (index * size) as i64, chunk)).unwrap();
            assert!(prepared.failed.is_empty(), "{:?}", prepared.failed);
            let all: Vec<u32> = (0..prepared.passed.len() as u32).collect();
            let (even, odd): (Vec<u32>, Vec<u32>) = all.iter().partition(|row| **row < 3);
            partial.add(&prepared, &even).unwrap();
            partial.add(&prepared, &odd).unwrap();
            if restart {
                let snapshot = partial.snapshot().unwrap();
                if snapshot.replaces {
                    saved.clear();
                }
                saved.extend(snapshot.batches);
                partial = match query.keeps() {
                    Keeps::Groups => query.restore(&saved).unwrap(),
                    Keeps::Rows => query.partial(),
                };
            }
        }
        let last = partial.snapshot().unwrap();
        if last.replaces {
            saved.clear();
        }
        saved.extend(last.batches);
        states.push(saved);
    }
    runtime().block_on(query.close(states)).unwrap()
}

fn pieces<'a>(batches: Vec<RecordBatch>) -> Pieces<'a> {
    let rows = |batch: &RecordBatch| -> Vec<_> {
        (0..batch.num_rows()).step_by(3).map(|at| Ok(batch.slice(at, 3.min(batch.num_rows() - at)))).collect()
    };
    stream::iter(batches.iter().flat_map(rows).collect::<Vec<_>>()).boxed()
}

/// The same, as if memory ended after every second batch: the share is cut off and read again when the window closes.
/// With `join`, what was cut off is one run by then.
fn spilled(query: &Query, partitions: &[Vec<Row>], size: usize, join: bool) -> Vec<RecordBatch> {
    let mut shares = Vec::new();
    for (partition, rows) in (0i64..).zip(partitions) {
        let mut partial = query.partial();
        let mut saved: Vec<Vec<RecordBatch>> = Vec::new();
        for (index, chunk) in rows.chunks(size).enumerate() {
            let prepared = query.prepare(&batch(partition, (index * size) as i64, chunk)).unwrap();
            let all: Vec<u32> = (0..prepared.passed.len() as u32).collect();
            partial.add(&prepared, &all).unwrap();
            if index % 2 == 0 {
                saved.push(partial.seal().unwrap().batches);
                partial.forget();
                assert!(partial.snapshot().unwrap().batches.is_empty());
            }
        }
        if query.keeps() == Keeps::Rows {
            saved = vec![saved.concat()];
        } else if join && !saved.is_empty() {
            let runs = saved.into_iter().map(pieces).collect();
            saved = vec![runtime().block_on(query.join(runs).unwrap().try_collect()).unwrap()];
        }
        let saved = saved.into_iter().map(pieces).collect();
        shares.push(Share { saved, fresh: partial.snapshot().unwrap().batches });
    }
    let rows = query.close_by_pieces(shares, 64 << 20).unwrap();
    runtime().block_on(rows.try_collect()).unwrap()
}

/// The query run by DataFusion over all rows as one table.
fn at_once(sql: &str, partitions: &[Vec<Row>]) -> Vec<RecordBatch> {
    let batches: Vec<RecordBatch> =
        (0i64..).zip(partitions).map(|(partition, rows)| batch(partition, 0, rows)).collect();
    let whole = concat_batches(&columns().schema(), &batches).unwrap();
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let context = SessionContext::new_with_config(config);
    let table = MemTable::try_new(columns().schema(), vec![vec![whole]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    runtime().block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() })
}

/// Each is ordered so that both sides give rows in one order; the flag says whether groups are kept.
const QUERIES: [(&str, bool); 14] = [
    ("SELECT k, COUNT(*) AS n, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi FROM t GROUP BY k ORDER BY k", true),
    ("SELECT k, SUM(amount) AS revenue, AVG(amount) AS mean FROM t WHERE v > 0 GROUP BY k ORDER BY k", true),
    ("SELECT COUNT(*) AS n, COUNT(v) AS some, COUNT(DISTINCT k) AS kinds FROM t", true),
    ("SELECT k, v % 3 AS m, COUNT(*) FILTER (WHERE f > 0.5) AS n FROM t GROUP BY k, v % 3 ORDER BY k, m", true),
    ("SELECT k, SUM(v) AS s FROM t GROUP BY k HAVING COUNT(*) > 2 ORDER BY s DESC, k LIMIT 2", true),
    (
        "SELECT k, FIRST_VALUE(v ORDER BY at, _partition, _offset) AS a, \
      LAST_VALUE(v ORDER BY at, _partition, _offset) AS b FROM t GROUP BY k ORDER BY k",
        true,
    ),
    ("SELECT DISTINCT k FROM t ORDER BY k", true),
    ("SELECT k, n * 2 AS twice FROM (SELECT k, COUNT(*) AS n FROM t WHERE v IS NOT NULL GROUP BY k) ORDER BY k", true),
    ("SELECT upper(kk) AS u, MAX(w) AS m FROM (SELECT k AS kk, v + 1 AS w FROM t) GROUP BY upper(kk) ORDER BY u", true),
    ("SELECT k, SUM(v) AS s, RANK() OVER (ORDER BY COUNT(*) DESC, k) AS place FROM t GROUP BY k ORDER BY place", true),
    ("SELECT k, MEDIAN(v) AS m, STDDEV(f) AS d, SUM(v) AS s FROM t GROUP BY k ORDER BY k", false),
    ("SELECT _partition, _offset, k, amount FROM t WHERE v > 0 ORDER BY _partition, _offset", false),
    (
        "SELECT a.k, COUNT(*) AS n FROM t a JOIN (SELECT k, MAX(v) AS m FROM t GROUP BY k) b ON a.k = b.k AND a.v = b.m \
      GROUP BY a.k ORDER BY a.k",
        false,
    ),
    ("SELECT k, SUM(amount) AS s FROM t WHERE v > (SELECT AVG(v) FROM t) GROUP BY k ORDER BY k", false),
];

/// Those that leave much of the order open.
const LOOSE: [&str; 9] = [
    "SELECT k, COUNT(*) AS n, SUM(f / 3) AS s, AVG(f / 7) AS a, AVG(v) AS b FROM t GROUP BY k",
    "SELECT v, k, MIN(at) AS first, COUNT(DISTINCT f) AS kinds FROM t GROUP BY k, v, amount",
    "SELECT COUNT(*) AS n FROM t GROUP BY k, v",
    "SELECT k, COUNT(*) AS n FROM t GROUP BY k, v HAVING COUNT(*) < 3",
    "SELECT k, v, COUNT(*) AS n FROM t GROUP BY k, v ORDER BY n LIMIT 7",
    "SELECT k, v, f FROM t ORDER BY k",
    "SELECT *, v + 1 AS w FROM t WHERE v > 0",
    "SELECT SUM(f) AS s, FIRST_VALUE(k) AS k FROM t WHERE v > 5",
    "SELECT k, STDDEV(f) AS d FROM t GROUP BY k, v",
];

fn row() -> impl Strategy<Value = Row> {
    (0..40i64, prop::option::weighted(0.9, 0..4u8), prop::option::weighted(0.9, -9..9i64), 0..100i64, -900..900i64)
        .prop_map(|(time, key, value, float, cents)| Row { time, key, value, float: float as f64 / 64.0, cents })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_window_gives_what_the_query_over_its_records_gives(
        partitions in prop::collection::vec(prop::collection::vec(row(), 1..40), 1..4),
        size in 1..20usize,
        restart in any::<bool>(),
    ) {
        for (sql, groups) in QUERIES {
            let query = plan(sql).unwrap();
            prop_assert_eq!(query.keeps() == Keeps::Groups, groups, "{}", sql);
            let found = windowed(&query, &partitions, size, restart);
            let expected: Vec<_> = at_once(sql, &partitions).into_iter().filter(|batch| batch.num_rows() > 0).collect();
            let bare = |text: String| -> Vec<String> {
                // An empty result has no batch to take the head from.
                text.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| line.replace(' ', "")).collect()
            };
            prop_assert_eq!(bare(shown(&found)), bare(shown(&expected)), "{}", sql);
        }
    }

    #[test]
    fn what_does_not_fit_into_memory_changes_no_bit(
        partitions in prop::collection::vec(prop::collection::vec(row(), 1..60), 1..4),
        size in 1..8usize,
        other in 1..20usize,
        join in any::<bool>(),
    ) {
        for sql in QUERIES.iter().map(|(sql, _)| *sql).chain(LOOSE) {
            let query = plan(sql).unwrap();
            let whole = windowed(&query, &partitions, other, false);
            prop_assert_eq!(spilled(&query, &partitions, size, join), whole, "{}", sql);
        }
    }

    #[test]
    fn batches_and_restarts_change_no_bit(
        partitions in prop::collection::vec(prop::collection::vec(row(), 1..40), 1..4),
        one in 1..20usize,
        other in 1..20usize,
    ) {
        let sql = "SELECT k, SUM(f) AS s, AVG(f) AS a, LAST_VALUE(f) AS z, STDDEV(f) AS d FROM t GROUP BY k";
        for sql in [sql, &sql.replace(", STDDEV(f) AS d", "")] {
            let query = plan(sql).unwrap();
            let (first, second) = (windowed(&query, &partitions, one, false), windowed(&query, &partitions, other, true));
            prop_assert_eq!(first, second);
        }
    }
}

fn simple(value: i64) -> Row {
    Row { time: 0, key: Some(1), value: Some(value), float: 0.0, cents: 100 }
}

#[test]
fn rows_are_sorted_by_group_keys_where_the_query_says_nothing() {
    let query = plan("SELECT COUNT(*) AS n, k FROM t GROUP BY k").unwrap();
    assert_eq!(query.sort_columns(), [1]);
    let rows: Vec<Row> = [3, 1, 2].map(|key| Row { key: Some(key), ..simple(1) }).to_vec();
    let result = windowed(&query, &[rows], 2, false);
    let keys = result[0].column(1).as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!(keys.iter().flatten().collect::<Vec<_>>(), ["k1", "k2", "k3"]);
}

#[test]
fn an_integer_sum_that_does_not_fit_is_an_error_and_never_wraps() {
    let query = plan("SELECT SUM(v) AS s FROM t").unwrap();
    let rows = vec![simple(i64::MAX), simple(1)];
    let mut partial = query.partial();
    let prepared = query.prepare(&batch(0, 0, &rows)).unwrap();
    partial.add(&prepared, &[0, 1]).unwrap();
    let state = partial.snapshot().unwrap().batches;
    let error = runtime().block_on(query.close(vec![state])).unwrap_err();
    assert!(matches!(error, QueryError::Data(_)), "{error}");
    // On the way it may be as large as it likes.
    let rows = [i64::MAX, i64::MAX, -i64::MAX].map(simple).to_vec();
    let result = windowed(&query, &[rows], 1, true);
    let sums = result[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!(sums.value(0), i64::MAX);
}

#[test]
fn a_record_that_an_expression_cannot_take_fails_alone() {
    let query = plan("SELECT SUM(100 / v) AS s, SUM(v * 4611686018427387904) AS big FROM t WHERE f < 1").unwrap();
    let rows: Vec<Row> = [1, 0, 2, -1].map(simple).to_vec();
    let prepared = query.prepare(&batch(0, 0, &rows)).unwrap();
    assert_eq!(prepared.passed, [0, 3]);
    let failed: Vec<u32> = prepared.failed.iter().map(|(row, _)| *row).collect();
    assert_eq!(failed, [1, 2]);
    assert!(prepared.failed[0].1.to_lowercase().contains("divide by zero"), "{}", prepared.failed[0].1);
    assert!(prepared.failed[1].1.to_lowercase().contains("overflow"), "{}", prepared.failed[1].1);
}

#[test]
fn a_stream_may_have_any_name_and_columns_keep_their_capitals() {
    let query = plan("SELECT k AS Kind, COUNT(*) AS Rides FROM whatever GROUP BY k").unwrap();
    let names: Vec<_> = query.output_schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["Kind", "Rides"]);
}

#[test]
fn a_star_gives_the_records_themselves() {
    let query = plan("SELECT * FROM t").unwrap();
    assert_eq!(query.keeps(), Keeps::Rows);
    let result = windowed(&query, &[vec![simple(1), simple(2)], vec![simple(3)]], 1, true);
    assert_eq!(result.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(result[0].num_columns(), 10);
}

#[test]
fn a_count_without_any_column_takes_rows_that_are_no_neighbours() {
    let query = plan("SELECT COUNT(*) AS n FROM t").unwrap();
    let prepared = query.prepare(&batch(0, 0, &[simple(1), simple(2), simple(3)])).unwrap();
    let mut partial = query.partial();
    partial.add(&prepared, &[0, 2]).unwrap();
    let rows = runtime().block_on(query.close(vec![partial.snapshot().unwrap().batches])).unwrap();
    assert!(shown(&rows).contains("| 2 |"), "{}", shown(&rows));
}

#[test]
fn a_count_of_nothing_but_filtered_records_is_a_row_of_zero() {
    let query = plan("SELECT COUNT(*) AS n FROM t WHERE v > 5").unwrap();
    let result = windowed(&query, &[vec![simple(1)]], 1, true);
    assert!(shown(&result).contains("| 0 |"), "{}", shown(&result));
}

#[test]
fn a_sum_over_nothing_but_filtered_records_is_null() {
    let sql = "SELECT SUM(v) AS i, SUM(f) AS f, SUM(amount) AS d, AVG(v) AS a, MIN(v) AS lo, COUNT(v) AS n FROM t WHERE v > 5";
    let query = plan(sql).unwrap();
    assert_eq!(query.keeps(), Keeps::Groups);
    let nothing = "|   |   |   |   |    | 0 |";
    let filtered = || vec![simple(1), simple(2)];
    for restart in [false, true] {
        let result = windowed(&query, &[filtered(), filtered()], 1, restart);
        assert!(shown(&result).contains(nothing), "{}", shown(&result));
        let result = windowed(&query, &[filtered(), vec![simple(1), simple(7)], filtered()], 1, restart);
        assert!(shown(&result).contains("| 7 | 0.0 | 1.00 | 7.0 | 7  | 1 |"), "{}", shown(&result));
    }
}

#[test]
fn percentiles_take_their_share_as_it_is_written() {
    for sql in [
        "SELECT k, approx_percentile_cont(f, 0.5) AS p FROM t GROUP BY k",
        "SELECT k, approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY f) AS p FROM t GROUP BY k",
        "SELECT k, approx_percentile_cont(v, 1.0 / 2) AS p FROM t GROUP BY k",
        "SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY f) AS p FROM t GROUP BY k",
    ] {
        let query = plan(sql).unwrap();
        let result = windowed(&query, &[vec![simple(3)], vec![simple(3)]], 1, true);
        assert_eq!(result[0].num_rows(), 1, "{sql}");
    }
}

#[test]
fn a_reference_table_is_joined_when_the_window_closes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zones.csv");
    std::fs::write(&path, "k,borough\nk1,Queens\nk2,Bronx\n").unwrap();
    let tables = BTreeMap::from([("zones".to_owned(), path)]);
    for sql in [
        "SELECT borough, SUM(amount) AS s FROM rides JOIN zones ON rides.k = zones.k GROUP BY borough",
        "SELECT z.borough, r.s FROM (SELECT k, SUM(amount) AS s FROM rides GROUP BY k) r JOIN zones z ON r.k = z.k",
    ] {
        let query = runtime().block_on(Query::plan(sql, &columns(), &tables)).unwrap();
        let result = windowed(&query, &[vec![simple(1), simple(2)], vec![simple(3)]], 1, true);
        assert!(shown(&result).contains("| Queens  | 3.00 |"), "{}", shown(&result));
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let refused = [
        ("SELECT kk FROM t", "column \"kk\" is not known here; did you mean \"k\"?"),
        ("SELECT k, COUNT(*) AS dt FROM t GROUP BY k", "column \"dt\" is added to every file"),
        ("SELECT k AS a, v AS a FROM t", "a"),
        ("SELECT 1", "does not read the stream"),
        ("SELECT * FROM t JOIN u ON t.k = u.k", "it reads \"t\" and \"u\""),
        ("SELECT k, now() AS n FROM t", "now() gives another answer each time"),
        ("SELECT k, random() AS n FROM t", "random() gives another answer each time"),
        ("DROP TABLE t", "write one SELECT"),
        ("CREATE TABLE x AS SELECT * FROM t", "write one SELECT"),
        ("SELEC k FROM t", "SELEC"),
        ("SELECT k FROM t; SELECT v FROM t", ""),
        ("SELECT array_agg(v) AS a FROM t", "CAST it"),
        ("SELECT SUM(k) AS s FROM t", ""),
        ("SELECT nosuch(k) AS s FROM t", "nosuch"),
    ];
    for (sql, reason) in refused {
        let error = plan(sql).unwrap_err();
        assert!(matches!(error, QueryError::Invalid(_)), "{sql}: {error:?}");
        assert!(error.to_string().contains(reason), "{sql}: {error}");
    }
}

/// What cannot go on in files without changing a bit says what it needs.
#[test]
fn a_window_that_is_too_large_for_its_query_is_an_error_and_not_another_result() {
    let rows: Vec<Row> =
        (0..40_000).map(|value| Row { key: None, value: Some(value), float: value as f64, ..simple(0) }).collect();
    for (sql, fits) in [
        ("SELECT v, MEDIAN(f) AS m FROM t GROUP BY v", false),
        ("SELECT v, RANK() OVER (ORDER BY f) AS r FROM t", false),
        ("SELECT v, k, f FROM t ORDER BY f DESC", true),
    ] {
        let query = plan(sql).unwrap();
        let mut partial = query.partial();
        let prepared = query.prepare(&batch(0, 0, &rows)).unwrap();
        partial.add(&prepared, &(0..40_000).collect::<Vec<_>>()).unwrap();
        let fresh = partial.snapshot().unwrap().batches;
        let close = |memory| {
            let share = Share { saved: Vec::new(), fresh: fresh.clone() };
            let pieces = query.close_by_pieces(vec![share], memory).unwrap();
            runtime().block_on(pieces.try_collect::<Vec<_>>())
        };
        let whole = close(1 << 30).unwrap();
        match close(if fits { 14 << 20 } else { 1 << 20 }) {
            Ok(found) => assert!(fits && found == whole, "{sql}"),
            Err(error) => assert!(!fits && error.to_string().contains("does not fit"), "{sql}: {error}"),
        }
    }
}
