//! A real PostgreSQL: a schema of its own for each test, and what its tables hold, as text.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::place::Place;
use super::{skip, unique};

/// Rows as text, sorted.
pub(crate) type Table = Vec<Vec<Option<String>>>;

/// A database that the environment names, with a new schema in it. The schema goes with this.
pub(crate) struct Postgres {
    url: String,
    schema: String,
    runtime: Runtime,
    client: Client,
}

impl Postgres {
    /// The database that the environment names; `None`, told as left out, if it names none.
    pub(crate) fn from_env(test: &str) -> Option<Self> {
        let Some(url) = std::env::var("WINDROW_TEST_POSTGRES").ok().filter(|url| !url.is_empty()) else {
            skip(test, "WINDROW_TEST_POSTGRES names no database");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(&url, NoTls)).unwrap();
        runtime.spawn(connection);
        let found = Self { url, schema: unique("load").replace('-', "_"), runtime, client };
        found.execute(&format!("CREATE SCHEMA {}", found.schema));
        Some(found)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same database by another way in.
    pub(crate) fn url_over(&self, address: &str) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let (before, path) = rest.rsplit_once('/').unwrap();
        let user = before.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
        format!("{scheme}://{user}{address}/{path}")
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        let before = self.url.split_once("://").unwrap().1.rsplit_once('/').unwrap().0;
        before.rsplit_once('@').map_or(before, |(_, address)| address).to_owned()
    }

    /// A table's name with this test's schema.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema)
    }

    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The answer's rows, every value as PostgreSQL writes it.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> Table {
        let answer =
            self.runtime.block_on(self.client.simple_query(sql)).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = answer.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.map(|row| (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()).collect()
    }

    /// A number that a query gives.
    #[track_caller]
    pub(crate) fn number(&self, sql: &str) -> u64 {
        self.query(sql)[0][0].as_deref().unwrap_or("0").parse().unwrap()
    }

    /// The table's rows: times as microseconds, days as numbers, doubles as their bits.
    #[track_caller]
    pub(crate) fn rows(&self, table: &str) -> Table {
        let columns = self.query(&format!(
            "SELECT attname, atttypid::regtype FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND \
             NOT attisdropped ORDER BY attnum"
        ));
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                let (name, kind) = (column[0].as_deref().unwrap(), column[1].as_deref().unwrap());
                match kind {
                    "timestamp with time zone" => format!("(extract(epoch FROM \"{name}\") * 1000000)::bigint::text"),
                    "date" => format!("(\"{name}\" - '1970-01-01'::date)::text"),
                    "double precision" => format!("encode(float8send(\"{name}\"), 'hex')"),
                    _ => format!("\"{name}\"::text"),
                }
            })
            .collect();
        let mut rows = self.query(&format!("SELECT {} FROM {table}", values.join(", ")));
        rows.sort();
        rows
    }

    /// What the ledger says of the table: the last entry, and how many entries are applied.
    pub(crate) fn ledger(&self, table: &str) -> (u64, u64) {
        let ledger = self.table("_windrow_loads");
        let there = self.query(&format!("SELECT to_regclass('{ledger}')"));
        if there[0][0].is_none() {
            return (0, 0);
        }
        let of = format!("FROM {ledger} WHERE target = '{table}' AND sequence > 0");
        (self.number(&format!("SELECT max(sequence) {of}")), self.number(&format!("SELECT count(*) {of}")))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let gone = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        let _ = self.runtime.block_on(self.client.batch_execute(&gone));
    }
}

/// What a table must hold when the sink's entries up to `last` are in it: each window's newest revision, read from the
/// files without Windrow's own code.
pub(crate) fn expected(place: &Place, last: u64) -> Table {
    let mut log = Vec::new();
    place.read_log(&mut log);
    let mut windows: BTreeMap<i64, (i64, Table)> = BTreeMap::new();
    for entry in log.iter().filter(|entry| entry["sequence"].as_u64().unwrap() <= last) {
        let files = entry["files"].as_array().unwrap().iter().filter(|file| !file["window"].is_null());
        for file in files {
            let (start, revision) = (file["window"]["start"].as_i64().unwrap(), file["revision"].as_i64().unwrap());
            let (newest, rows) = windows.entry(start).or_insert((revision, Vec::new()));
            if *newest < revision {
                (*newest, *rows) = (revision, Vec::new());
            }
            assert_eq!(*newest, revision, "revisions come in order");
            rows.extend(file_rows(place, file));
        }
    }
    let mut rows: Table = windows.into_values().flat_map(|(_, rows)| rows).collect();
    rows.sort();
    rows
}

fn file_rows(place: &Place, file: &Value) -> Table {
    let mut rows = Vec::new();
    for batch in place.batches(file["path"].as_str().unwrap()) {
        rows.extend((0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| text(column, row)).collect()));
    }
    rows
}

fn text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Float64 => format!("{:016x}", column.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(row),
        other => panic!("a column of {other}"),
    })
}
