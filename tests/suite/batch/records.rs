//! Records of every kind there is, and what a sink holds of them, each read without Windrow's own code.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use windrow::clock::Clock;

use crate::support::place::Place;
use crate::support::rides::{MINUTE, SECOND};
use crate::support::worlds::World;

/// One record as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    /// Milliseconds since the epoch.
    pub(super) at: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What a row says of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) window: i64,
    /// Microseconds.
    pub(super) at: i64,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Option<Value>,
}

/// Rows by partition and offset.
pub(super) type Rows = BTreeMap<(i64, i64), Row>;

impl Sent {
    pub(super) fn headers_as_json(&self) -> Option<Value> {
        if self.headers.is_empty() {
            return None;
        }
        let list =
            self.headers.iter().map(|(name, value)| match value.as_ref().map(|value| std::str::from_utf8(value)) {
                None => json!({"name": name, "value": null}),
                Some(Ok(text)) => json!({"name": name, "value": text}),
                Some(Err(_)) => {
                    let digits = value.iter().flatten().map(|byte| format!("{byte:02x}")).collect::<String>();
                    json!({"name": name, "hex": digits})
                }
            });
        Some(Value::Array(list.collect()))
    }

    pub(super) fn is_text(&self) -> bool {
        [&self.key, &self.value].into_iter().flatten().all(|part| std::str::from_utf8(part).is_ok())
    }

    pub(super) fn row(&self, size: i64) -> Row {
        let at = self.at * 1000;
        Row {
            window: at - at.rem_euclid(size),
            at,
            key: self.key.clone(),
            value: self.value.clone(),
            headers: self.headers_as_json(),
        }
    }
}

/// A span of time that lies in the past, but not so far that a broker would throw its records away.
pub(super) fn an_hour_ago() -> i64 {
    (Clock::system().now().0 - 60 * MINUTE) / 1000
}

/// Records of each partition over five minutes, none more than `disorder` microseconds behind the newest before it.
pub(super) fn records(seed: u64, partitions: usize, count: usize, disorder: i64) -> Vec<Vec<Sent>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let from = an_hour_ago();
    let part = |rng: &mut ChaCha8Rng| match rng.random_range(0..6) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![0xff, rng.random(), 0, b'\n']),
        3 => Some(format!("\"quoted\", comma\r\nline {}", rng.random_range(0..9)).into_bytes()),
        4 => Some("zwölf 🚕".as_bytes().to_vec()),
        _ => Some(format!("k{}", rng.random_range(0..50)).into_bytes()),
    };
    let mut all = Vec::new();
    for _ in 0..partitions {
        let mut sent = Vec::new();
        for index in 0..count {
            let on_time = from + 5 * MINUTE / 1000 * i64::try_from(index).unwrap() / i64::try_from(count).unwrap();
            let at = on_time - rng.random_range(0..=disorder / 1000);
            let headers = (0..[0, 0, 1, 3][rng.random_range(0..4)])
                .map(|_| (["trace", "schema", "ä \"b\""][rng.random_range(0..3)].to_owned(), part(&mut rng)))
                .collect();
            sent.push(Sent { at, key: part(&mut rng), value: part(&mut rng), headers });
        }
        all.push(sent);
    }
    all
}

pub(super) fn send(world: &World, records: &[Vec<Sent>]) {
    let producer = world.broker.producer(&world.topic, &[]);
    for (partition, sent) in records.iter().enumerate() {
        for one in sent {
            producer.send_whole(partition, one.at, one.key.as_deref(), one.value.as_deref(), &one.headers);
        }
    }
    producer.flush();
}

/// What each record is as a row, if `kept` says that it is one.
pub(super) fn rows_of(records: &[Vec<Sent>], size: i64, kept: impl Fn(&Sent) -> bool) -> Rows {
    let numbered = (0i64..)
        .zip(records)
        .flat_map(|(partition, sent)| (0i64..).zip(sent).map(move |(offset, one)| ((partition, offset), one)));
    numbered.filter(|(_, one)| kept(one)).map(|(place, one)| (place, one.row(size))).collect()
}

/// Every row of the Parquet files under data/; a panic if a record is there twice.
pub(super) fn parquet_rows(place: &Place) -> Rows {
    let mut rows = Rows::new();
    for key in place.keys("data", ".parquet") {
        for batch in place.batches(&key) {
            for row in 0..batch.num_rows() {
                let (at, row) = parquet_row(&batch, row);
                assert!(rows.insert(at, row).is_none(), "{key}: {at:?} is there twice");
            }
        }
    }
    rows
}

fn parquet_row(batch: &RecordBatch, row: usize) -> ((i64, i64), Row) {
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let part = |name: &str| {
        let array = column(name);
        let bytes = || match array.as_binary_opt::<i32>() {
            Some(bytes) => bytes.value(row).to_vec(),
            None => array.as_string::<i32>().value(row).as_bytes().to_vec(),
        };
        array.is_valid(row).then(bytes)
    };
    let time = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>().value(row);
    let whole = |name: &str| column(name).as_primitive::<Int64Type>().value(row);
    let headers = part("_headers").map(|json| serde_json::from_slice(&json).unwrap());
    let found =
        Row { window: time("window_start"), at: time("_timestamp"), key: part("_key"), value: part("_value"), headers };
    ((whole("_partition"), whole("_offset")), found)
}

/// The same of files of text, whose cells are `None` where they are null.
pub(super) fn text_rows(place: &Place, end: &str) -> Rows {
    let mut rows = Rows::new();
    for key in place.keys("data", end) {
        let text = String::from_utf8(place.get(&key).to_vec()).unwrap();
        let tables = if end == ".csv" { csv(&text) } else { text.lines().map(json_line).collect() };
        for cells in tables {
            let cell = |name: &str| cells.get(name).unwrap_or_else(|| panic!("{key}: no column {name}")).clone();
            let time =
                |name: &str| chrono::DateTime::parse_from_rfc3339(&cell(name).unwrap()).unwrap().timestamp_micros();
            let whole = |name: &str| cell(name).unwrap().parse::<i64>().unwrap();
            let row = Row {
                window: time("window_start"),
                at: time("_timestamp"),
                key: cell("_key").map(String::into_bytes),
                value: cell("_value").map(String::into_bytes),
                headers: cell("_headers").map(|json| serde_json::from_str(&json).unwrap()),
            };
            let at = (whole("_partition"), whole("_offset"));
            assert!(rows.insert(at, row).is_none(), "{key}: {at:?} is there twice");
        }
    }
    rows
}

type Cells = BTreeMap<String, Option<String>>;

fn json_line(line: &str) -> Cells {
    let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
    let text = |value: Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    object.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// Lines of quoted and plain cells; a plain cell of no characters is a null.
fn csv(text: &str) -> Vec<Cells> {
    let mut lines: Vec<Vec<Option<String>>> = vec![Vec::new()];
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let mut cell = None;
        if rest.next_if_eq(&'"').is_some() {
            let mut quoted = String::new();
            loop {
                match rest.next().unwrap() {
                    '"' if rest.next_if_eq(&'"').is_some() => quoted.push('"'),
                    '"' => break,
                    other => quoted.push(other),
                }
            }
            cell = Some(quoted);
        } else {
            while let Some(plain) = rest.next_if(|&c| c != ',' && c != '\n') {
                cell.get_or_insert_with(String::new).push(plain);
            }
        }
        lines.last_mut().unwrap().push(cell);
        match rest.next().unwrap() {
            ',' => {}
            '\n' => lines.push(Vec::new()),
            other => panic!("{other:?} after a cell"),
        }
    }
    assert_eq!(lines.pop(), Some(Vec::new()), "the last line ends");
    let names = lines.remove(0);
    let named = |cells: Vec<Option<String>>| {
        assert_eq!(cells.len(), names.len());
        names.iter().map(|name| name.clone().unwrap()).zip(cells).collect()
    };
    lines.into_iter().map(named).collect()
}

/// The windows' size in these tests.
pub(super) const EVERY: i64 = 30 * SECOND;
