use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::decode::column::{Column, TimestampForm};
use crate::decode::schemas::{Known, Schemas};
use crate::record::{Offset, Partition, Timestamp};

/// Every type and logical type, plain, under null unions, and nested.
const RIDE: &str = include_str!("../../../tests/fixtures/avro/ride.avsc");
/// Records of it as another library wrote them, and what their columns must show: see rides.py beside it.
const RIDES: &str = include_str!("../../../tests/fixtures/avro/rides.jsonl");

fn text(schema: &str) -> SchemaText {
    SchemaText { language: Language::Avro, text: schema.to_owned(), references: Vec::new() }
}

fn column(path: &str, kind: ColumnType, optional: bool) -> Column {
    Column { name: path.replace('.', "_"), path: path.split('.').map(str::to_owned).collect(), kind, optional }
}

/// A column for everything that the schema tells, and some within.
fn everything() -> Columns {
    let told = told(&text(RIDE)).unwrap();
    let mut declared: Vec<Column> = told
        .into_iter()
        .filter_map(|told| told.column.ok().map(|(kind, optional)| column(&told.name, kind, optional)))
        .collect();
    declared.push(column("driver.name", ColumnType::Text, true));
    declared.push(column("driver.car.seats", ColumnType::Int, true));
    declared.push(column("driver.kind", ColumnType::Text, true));
    Columns { declared, event_time: "at".into(), whole: Default::default() }
}

fn decode(columns: &Columns, schema: &str, values: &[Vec<u8>]) -> Decoded {
    let mut records = Records::new(Partition(0));
    for (offset, value) in (0..).zip(values) {
        records.push(Offset(offset), Some(Timestamp(0)), None, Some(value));
    }
    let origin = Origin::One(Arc::new(text(schema)));
    AvroDecoder::new(columns, "t", origin, OnMissing::Invalid).decode(records)
}

/// A row as text, nulls as `-`.
fn shown(decoded: &Decoded, row: usize, columns: usize) -> Vec<String> {
    let columns = &decoded.batch.columns()[..columns];
    let show = |column: &arrow::array::ArrayRef| match column.is_null(row) {
        true => "-".to_owned(),
        false => arrow::util::display::array_value_to_string(column, row).unwrap(),
    };
    columns.iter().map(show).collect()
}

/// The records of [`RIDES`], each with what its columns must show.
fn rides() -> Vec<(Vec<u8>, serde_json::Value)> {
    let read = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let hex = line["record"].as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        (hex.chunks(2).map(byte).collect(), line["columns"].clone())
    };
    RIDES.lines().map(read).collect()
}

#[test]
fn what_another_library_wrote_is_read_as_it_was() {
    let (columns, rides) = (everything(), rides());
    let values: Vec<_> = rides.iter().map(|(value, _)| value.clone()).collect();
    let decoded = decode(&columns, RIDE, &values);
    assert!(decoded.rejected.is_empty() && rides.len() == 100, "{:?}", decoded.rejected);
    for (row, (_, expected)) in rides.iter().enumerate() {
        for (column, found) in columns.declared.iter().zip(shown(&decoded, row, columns.declared.len())) {
            let expected = expected[&column.name].as_str().unwrap_or("-");
            match column.kind {
                // The same number, however it is written.
                ColumnType::Float => assert_eq!(found.parse::<f64>(), expected.parse::<f64>(), "{}", column.name),
                _ => assert_eq!(found, expected, "{} of record {row}", column.name),
            }
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_record_is_refused_or_read_and_never_a_panic(
        ride in 0usize..100, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let whole = rides()[ride].0.clone();
        let mut value = whole.clone();
        let at = at.index(value.len());
        value[at] = byte;
        let cut = whole[..cut.index(whole.len())].to_vec();
        let longer: Vec<u8> = whole.iter().copied().chain([0]).collect();
        let decoded = decode(&everything(), RIDE, &[value, cut, longer, whole]);
        let rejected: Vec<u32> = decoded.rejected.iter().map(|(index, _)| *index).collect();
        prop_assert!(rejected.ends_with(&[1, 2]), "cut or longer, it is no record: {:?}", decoded.rejected);
        prop_assert_eq!(decoded.rows.last(), Some(&3));
    }
}

#[test]
fn the_schema_tells_the_columns_and_why_some_are_none() {
    let told = told(&text(RIDE)).unwrap();
    let of = |name: &str| told.iter().find(|told| told.name == name).unwrap().column.clone();
    assert_eq!(of("at"), Ok((ColumnType::Timestamp(TimestampForm::Rfc3339), false)));
    assert_eq!(of("toll"), Ok((ColumnType::Decimal { precision: 9, scale: 3 }, true)));
    assert_eq!(of("driver"), Ok((ColumnType::Json, true)));
    assert_eq!(of("any"), Ok((ColumnType::Json, true)));
    assert!(of("local").unwrap_err().contains("no time zone"));
    assert!(of("raw").unwrap_err().contains("bytes"));
}

#[test]
fn a_local_timestamp_is_refused_with_the_reason() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "at", "type": {"type": "long", "logicalType": "local-timestamp-micros"}}]}"#;
    let at = column("at", ColumnType::Timestamp(TimestampForm::EpochMicros), false);
    let columns = Columns { declared: vec![at], event_time: "at".into(), whole: Default::default() };
    let decoded = decode(&columns, schema, &[vec![2]]);
    assert_eq!(decoded.rejected[0].1.class, "wrong_type");
    assert!(decoded.rejected[0].1.text.contains("names no time zone"), "{:?}", decoded.rejected);
}

#[test]
fn a_uuid_of_sixteen_bytes_is_text_too() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}},
        {"name": "again", "type": "U"}]}"#;
    let declared = vec![column("id", ColumnType::Text, false), column("again", ColumnType::Text, false)];
    let columns = Columns { declared, event_time: "_timestamp".into(), whole: Default::default() };
    let id = uuid::Uuid::from_u128(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
    let decoded = decode(&columns, schema, &[[id.into_bytes(), id.into_bytes()].concat()]);
    assert_eq!(shown(&decoded, 0, 2), [id.to_string(), id.to_string()]);
}

#[test]
fn counts_that_no_bytes_stand_behind_end_at_once() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "nothing", "type": {"type": "array", "items": "null"}}]}"#;
    let columns = Columns {
        declared: vec![column("nothing", ColumnType::Json, false)],
        event_time: "_timestamp".into(),
        whole: Default::default(),
    };
    // 2^62 nulls.
    let many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0];
    let decoded = decode(&columns, schema, &[many.to_vec(), vec![4, 0]]);
    assert_eq!(decoded.rejected[0].1.class, "not_avro");
    assert_eq!(shown(&decoded, 0, 1), ["[null,null]"]);
    let list = r#"{"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}, {"name": "v", "type": "int"}]}"#;
    let columns = Columns {
        declared: vec![column("v", ColumnType::Int, false)],
        event_time: "_timestamp".into(),
        whole: Default::default(),
    };
    let deep: Vec<u8> = [2].repeat(100_000);
    let decoded = decode(&columns, list, &[deep, vec![2, 0, 8, 10]]);
    assert!(decoded.rejected[0].1.text.contains("deeper"), "{:?}", decoded.rejected);
    assert_eq!(shown(&decoded, 0, 1), ["5"]);
}

#[test]
fn every_record_is_read_by_its_own_schema() {
    let first =
        r#"{"type": "record", "name": "R", "fields": [{"name": "v", "type": "int"}, {"name": "w", "type": "string"}]}"#;
    let second = r#"{"type": "record", "name": "R", "fields": [{"name": "u", "type": "double"}, {"name": "v", "type": "long"}]}"#;
    let schemas = Schemas::default();
    schemas.put(SchemaId(1), Known::Schema(Arc::new(text(first))));
    schemas.put(SchemaId(2), Known::Schema(Arc::new(text(second))));
    schemas.put(SchemaId(3), Known::Unknown("the registry has none of this number".into()));
    schemas.put(SchemaId(4), Known::Schema(Arc::new(text("{\"type\": \"int\""))));
    let declared = vec![column("v", ColumnType::Int, false), column("w", ColumnType::Text, false)];
    let columns = Columns { declared, event_time: "_timestamp".into(), whole: Default::default() };
    let values = |on_missing| {
        let mut records = Records::new(Partition(0));
        let value = |id: u8, rest: &[u8]| [&[0, 0, 0, 0, id], rest].concat();
        let second = value(2, &[0, 0, 0, 0, 0, 0, 0, 0, 14]);
        let all = [value(1, &[2, 2, b'x']), second, value(3, &[]), value(4, &[]), b"{}".to_vec(), value(1, &[4, 0])];
        for (offset, value) in (0..).zip(all) {
            records.push(Offset(offset), Some(Timestamp(0)), None, Some(&value));
        }
        AvroDecoder::new(&columns, "t", Origin::Registry(schemas.clone()), on_missing).decode(records)
    };
    let decoded = values(OnMissing::Null);
    assert_eq!(decoded.rows, [0, 1, 5]);
    assert_eq!(shown(&decoded, 1, 2), ["7", "-"]);
    assert_eq!(shown(&decoded, 2, 2), ["2", ""]);
    let classes: Vec<_> = decoded.rejected.iter().map(|(_, reason)| reason.class).collect();
    assert_eq!(classes, ["unknown_schema", "unknown_schema", "no_schema_id"]);
    let decoded = values(OnMissing::Invalid);
    assert_eq!(decoded.rows, [0, 5]);
    assert_eq!(decoded.rejected[0].1.text, "w: its schema has no such field");
}

#[test]
fn names_are_found_in_their_namespaces_and_in_other_schemas() {
    let car = r#"{"type": "record", "name": "cars.Car", "fields": [{"name": "seats", "type": "int"}]}"#;
    let ride = r#"{"type": "record", "name": "Ride", "namespace": "rides", "fields": [
        {"name": "one", "type": "cars.Car"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A"]}},
        {"name": "two", "type": ["null", "rides.Kind"]}, {"name": "three", "type": "Kind"}]}"#;
    let schema = SchemaText {
        language: Language::Avro,
        text: ride.to_owned(),
        references: vec![("cars.Car".to_owned(), car.to_owned())],
    };
    let told = told(&schema).unwrap();
    let kinds: Vec<_> = told.into_iter().map(|told| told.column.unwrap()).collect();
    assert_eq!(
        kinds,
        [(ColumnType::Json, false), (ColumnType::Text, false), (ColumnType::Text, true), (ColumnType::Text, false)]
    );
    let why = Schema::parse(&text(ride)).unwrap_err();
    assert_eq!(why, "no type is called cars.Car");
}
