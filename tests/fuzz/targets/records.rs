//! Records of every format.

use std::cell::RefCell;
use std::sync::Arc;

use windrow::decode::column::{Column, ColumnType, Columns, PartType, TimestampForm, Whole};
use windrow::decode::csv::{FirstLines, Form};
use windrow::decode::debezium::OnDelete;
use windrow::decode::schemas::{Known, Language, OnMissing, Origin, SchemaId, SchemaText, Schemas};
use windrow::decode::{Decode, Decoded, FORMATS, Format, Settings, avro, protobuf};
use windrow::record::{Offset, Partition, Records, Timestamp};

use super::repository;
use crate::hunt::{MANY, Target, hunt};

/// What is known of a format besides its name.
struct Sample {
    columns: Columns,
    origin: Origin,
    values: Vec<Vec<u8>>,
    words: Vec<&'static str>,
}

const RIDES: [&str; 4] = [
    r#"{"at":"2026-03-01T08:01:02.5Z","zone":"Soho \u00e9\ud83d\ude80","fare":12.50,"seats":2,"heat":-1.5e3,"paid":true,"day":"2026-03-01","any":{"a":[1,null,{"b":"c"}]},"ride":{"car":{"plate":"X\n1"}},"ms":1772352000123,"unused":[[[[1]]],{"x":{}}]}"#,
    r#" { "at" : "0001-01-03T00:00:00+14:00" , "zone" : null, "fare":"-99999999.99", "seats":-9223372036854775808, "heat":0, "paid":false, "day":"9999-12-31", "any":"", "ms":-1 } "#,
    "{\"at\":\"2026-03-01T08:01:02Z\",\"seats\":9007199254740993,\"at\":1}",
    "{}",
];

const JSON_WORDS: [&str; 22] = [
    "\"at\":",
    "\"fare\":",
    "\"seats\":",
    "\"any\":",
    "\"ride\":{\"car\":{",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "\\",
    "\u{feff}",
    "1e400",
    "-0.0",
    "2026-02-29T24:00:60Z",
    "+23:59",
];

fn column(path: &str, kind: ColumnType, optional: bool) -> Column {
    Column { name: path.replace('.', "_"), path: path.split('.').map(str::to_owned).collect(), kind, optional }
}

fn columns(key: PartType) -> Columns {
    let declared = vec![
        column("at", ColumnType::Timestamp(TimestampForm::Rfc3339), false),
        column("zone", ColumnType::Text, true),
        column("fare", ColumnType::Decimal { precision: 10, scale: 2 }, true),
        column("seats", ColumnType::Int, true),
        column("heat", ColumnType::Float, true),
        column("paid", ColumnType::Bool, true),
        column("day", ColumnType::Date, true),
        column("any", ColumnType::Json, true),
        column("ride.car.plate", ColumnType::Text, true),
        column("ms", ColumnType::Timestamp(TimestampForm::EpochMillis), true),
    ];
    let whole = Whole { key: Some(key), value: Some(PartType::Bytes), headers: true };
    Columns { declared, event_time: "at".into(), whole }
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn schema(language: Language, text: String) -> Arc<SchemaText> {
    Arc::new(SchemaText { language, text, references: Vec::new() })
}

/// The columns that a schema tells, and no others.
fn told(told: Vec<windrow::decode::schemas::Told>, more: &[&str]) -> Columns {
    let declared = told.into_iter().filter_map(|told| told.column.ok().map(|(kind, _)| column(&told.name, kind, true)));
    let declared = declared.chain(more.iter().map(|path| column(path, ColumnType::Text, true))).collect();
    Columns { declared, event_time: "at".into(), whole: Whole::default() }
}

const PROTO: &str = r#"
syntax = "proto3";
message Ride {
  int64 at = 1; string zone = 2; optional string note = 3; Kind kind = 4; uint64 meters = 5; sint32 seats = 6;
  double heat = 7; float speed = 8; bool paid = 9; repeated int32 stops = 10; map<string, Ride> others = 11;
  Ride spare = 12; bytes raw = 13; oneof how { string card = 14; bool cash = 15; } fixed64 id = 16;
}
enum Kind { STREET = 0; HAIL = 1; }
"#;

fn protobuf_values() -> Vec<Vec<u8>> {
    let inner = [&b"\x12\x04Soho"[..], b"\x30\x03"].concat();
    let full = [
        &b"\x08\x80\xc8\xaf\xa0\x25"[..],
        b"\x12\x04Soho\x1a\x00\x20\x01\x28\x96\x01\x30\x03\x39\x00\x00\x00\x00\x00\x00\xf8\x7f\x45\x00\x00\x80\x3f\x48\x01",
        b"\x52\x03\x01\x02\x03\x5a\x09\x0a\x01a\x12\x04\x12\x02ab\x62\x08",
        &inner,
        b"\x6a\x02\xff\x00\x72\x01c\x81\x01\x01\x02\x03\x04\x05\x06\x07\x08\xfa\x07\x01x",
    ];
    vec![full.concat(), b"\x08\x01".to_vec(), Vec::new()]
}

fn sample(format: &Format) -> Sample {
    let of = |values: Vec<Vec<u8>>, words: &[&'static str]| Sample {
        columns: columns(PartType::Spelled(ColumnType::Json)),
        origin: Origin::Registry(Schemas::default()),
        values,
        words: words.to_vec(),
    };
    match format.name {
        "json" | "parquet" => of(bytes(&RIDES), &JSON_WORDS),
        "debezium" => {
            let change = |op: &str, row: &str| {
                format!(
                    r#"{{"schema":{{}},"payload":{{"before":{row},"after":{row},"source":{{"ts_ms":1}},"op":"{op}","ts_ms":2}}}}"#
                )
            };
            let flat = format!(r#"{{"before":null,"after":{},"op":"c"}}"#, RIDES[0]);
            let changes = ["c", "u", "d", "r", "t", "m"].map(|op| change(op, RIDES[1]).into_bytes());
            let mut words = JSON_WORDS.to_vec();
            words.extend(["\"payload\":", "\"after\":", "\"before\":", "\"op\":\"d\"", "\"op\":"]);
            of(changes.into_iter().chain([flat.into_bytes()]).collect(), &words)
        }
        "csv" => {
            let lines = [
                "2026-03-01T08:00:00Z,Soho,12.50,2,1.5,true,2026-03-01,\"{\"\"a\"\":1}\",plate,1772352000000",
                "2026-03-01T08:00:00Z,\"So,\"\"ho\nx\",,,,,,,,",
            ];
            of(bytes(&lines), &["\"", "\"\"", ",", "\n", "\r\n", "\0", "\u{feff}", "1e400", "NaN"])
        }
        "raw" => of(bytes(&RIDES), &JSON_WORDS),
        "avro" => {
            let text = std::fs::read_to_string(repository("tests/fixtures/avro/ride.avsc")).unwrap();
            let rides = std::fs::read_to_string(repository("tests/fixtures/avro/rides.jsonl")).unwrap();
            let schema = schema(Language::Avro, text);
            let value = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let hex = line["record"].as_str().unwrap().as_bytes();
                let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
                hex.chunks(2).map(byte).collect()
            };
            Sample {
                columns: told(avro::told(&schema).unwrap(), &["driver.name", "driver.car.seats"]),
                origin: Origin::One(schema),
                values: rides.lines().map(value).collect(),
                words: vec!["\0", "\u{1}", "\u{2}", "\u{7f}"],
            }
        }
        "protobuf" => {
            let schema = schema(Language::Protobuf, PROTO.to_owned());
            Sample {
                columns: told(protobuf::told(&schema, Some("Ride")).unwrap(), &["spare.zone", "spare.spare.card"]),
                origin: Origin::One(schema),
                values: protobuf_values(),
                words: vec!["\u{8}", "\u{12}\u{4}", "b\u{8}", "Z\u{9}\n"],
            }
        }
        other => panic!("format {other} has no sample to begin with"),
    }
}

fn decoder(format: &Format, sample: &Sample, message: Option<&str>) -> Box<dyn Decode> {
    let settings = Settings {
        csv: Form::default(),
        first_lines: FirstLines::default(),
        on_delete: OnDelete::Invalid,
        on_missing: OnMissing::Null,
        origin: sample.origin.clone(),
        message: message.map(str::to_owned),
        key: None,
    };
    (format.decoder)(&sample.columns, "t", &settings)
}

/// Rows and rejects are all the records, each once and in order; each row has an event time.
fn is_sound(decoded: &Decoded, records: u32) {
    let mut all: Vec<u32> =
        decoded.rows.iter().copied().chain(decoded.rejected.iter().map(|(index, _)| *index)).collect();
    assert!(decoded.rows.is_sorted() && decoded.rejected.iter().map(|(index, _)| index).is_sorted());
    all.sort_unstable();
    assert_eq!(all, (0..records).collect::<Vec<_>>(), "every record is a row or rejected, and once");
    assert!(decoded.batch.num_rows() == decoded.rows.len() && decoded.event_times.len() == decoded.rows.len());
    for (_, reason) in &decoded.rejected {
        assert!(!reason.text.chars().any(char::is_control), "a reason acts on a terminal: {:?}", reason.text);
        assert!(reason.text.len() < 2000, "a reason of {} bytes", reason.text.len());
    }
}

fn of_format(name: &str) {
    let format = Format::named(name).unwrap();
    let sample = sample(format);
    let message = (name == "protobuf").then_some("Ride");
    let decoders = [0, 1].map(|_| RefCell::new(decoder(format, &sample, message)));
    let feed = |input: &[u8]| {
        // A record before and after it must not care, nor what came in batches before.
        let usual = &sample.values[0];
        let mut records = Records::new(Partition(0));
        for (offset, value) in (0..).zip([usual, input, usual]) {
            records.push_with(Offset(offset), Some(Timestamp(0)), Some(value), Some(value), []);
        }
        let decoded = decoders[0].borrow_mut().decode(records);
        is_sound(&decoded, 3);
        let alone = {
            let mut records = Records::new(Partition(0));
            records.push_with(Offset(1), Some(Timestamp(0)), Some(input), Some(input), []);
            decoders[1].borrow_mut().decode(records)
        };
        is_sound(&alone, 1);
        let mut rejected = decoded.rejected.iter();
        let beside = rejected.find(|(index, _)| *index == 1).map(|(_, reason)| reason);
        assert_eq!(beside, alone.rejected.first().map(|(_, reason)| reason), "neighbours change what becomes of it");
        let row = decoded.rows.iter().position(|index| *index == 1);
        if let Some(row) = row {
            for (column, own) in decoded.batch.columns().iter().zip(alone.batch.columns()) {
                assert_eq!(column.slice(row, 1).to_data(), own.to_data(), "neighbours change its values");
            }
        }
        beside.map_or("a row".to_owned(), |reason| format!("{} {}", reason.class, reason.text))
    };
    let name = match name {
        "json" => "records of json",
        "parquet" => "rows of parquet",
        "debezium" => "records of debezium",
        "csv" => "records of csv",
        "raw" => "records of raw",
        "avro" => "records of avro",
        "protobuf" => "records of protobuf",
        other => panic!("format {other} is not fed"),
    };
    hunt(&Target { name, seeds: sample.values.clone(), words: sample.words.clone(), inputs: MANY, feed: &feed });
}

#[test]
fn records_of_json() {
    of_format("json");
}

#[test]
fn records_of_debezium() {
    of_format("debezium");
}

#[test]
fn records_of_csv() {
    of_format("csv");
}

#[test]
fn whole_records() {
    of_format("raw");
}

#[test]
fn records_of_avro() {
    of_format("avro");
}

#[test]
fn records_of_protobuf() {
    of_format("protobuf");
}

#[test]
fn every_format_has_a_sample() {
    for format in FORMATS {
        let sample = sample(format);
        assert!(!sample.values.is_empty());
    }
}

/// Schemas come from a registry that anybody may write to: the text of one, and a record read by it.
fn of_schemas(target: &'static str, format: &str, language: Language, seeds: Vec<Vec<u8>>, words: &[&str]) {
    let format = Format::named(format).unwrap();
    let sample = sample(format);
    let feed = |input: &[u8]| {
        let text = SchemaText { language, text: String::from_utf8_lossy(input).into_owned(), references: Vec::new() };
        let told = match language {
            Language::Avro => avro::told(&text),
            _ => protobuf::told(&text, None),
        };
        let schemas = Schemas::default();
        schemas.put(SchemaId(7), Known::Schema(Arc::new(text)));
        let mut records = Records::new(Partition(0));
        for (offset, value) in (0..).zip(&sample.values[..2]) {
            let value = [&b"\0\0\0\0\x07\0"[..], value].concat();
            records.push_with(Offset(offset), Some(Timestamp(0)), None, Some(&value), []);
        }
        let sample = Sample {
            origin: Origin::Registry(schemas),
            columns: sample.columns.clone(),
            values: vec![],
            words: vec![],
        };
        let decoded = decoder(format, &sample, None).decode(records);
        is_sound(&decoded, 2);
        let read = decoded.rejected.first().map_or("a row", |(_, reason)| reason.class);
        format!("{read} {}", told.err().unwrap_or_default())
    };
    hunt(&Target { name: target, seeds, words: words.to_vec(), inputs: MANY, feed: &feed });
}

#[test]
fn schemas_of_avro() {
    let ride = std::fs::read(repository("tests/fixtures/avro/ride.avsc")).unwrap();
    let list =
        br#"{"type":"record","name":"L","fields":[{"name":"at","type":"long"},{"name":"next","type":["null","L"]}]}"#;
    let words = [
        "\"type\":",
        "\"record\"",
        "\"array\"",
        "\"map\"",
        "\"fixed\"",
        "\"size\":",
        "\"enum\"",
        "\"L\"",
        "\"Ride\"",
        "\"fields\":[",
        "\"items\":",
        "\"values\":",
        "\"logicalType\":\"decimal\"",
        "\"precision\":",
        "\"scale\":",
        "\"namespace\":\"\"",
        "[",
        "{",
        "]",
        "}",
    ];
    of_schemas("schemas of avro", "avro", Language::Avro, vec![ride, list.to_vec()], &words);
}

#[test]
fn schemas_of_protobuf() {
    let words = [
        "message ",
        "repeated ",
        "map<string, ",
        "oneof x {",
        "{",
        "}",
        "enum E {",
        "= 1;",
        "= 536870911;",
        "import \"google/protobuf/any.proto\";",
        "extend ",
        "group ",
        "reserved ",
        "option ",
        "service S {",
        "syntax = \"proto2\";",
        "edition = \"2023\";",
        "/*",
        "//",
        "google.protobuf.Timestamp",
        "package google.protobuf;",
        "Int32Value ",
    ];
    of_schemas("schemas of protobuf", "protobuf", Language::Protobuf, vec![PROTO.into()], &words);
}
