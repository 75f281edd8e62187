use std::sync::Arc;

use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::{MapKey, ReflectMessage};

use super::*;
use crate::decode::column::TimestampForm;
use crate::decode::schemas::{Known, Schemas};
use crate::record::{Offset, Partition, Timestamp};

const RIDE: &str = r#"
syntax = "proto3";
package rides.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "confluent/type/decimal.proto";
import "cars/car.proto";
enum Kind { STREET = 0; HAIL = 1; }
message Other { int32 x = 1; message Within { string y = 1; } }
message Ride {
  google.protobuf.Timestamp at = 1;
  int64 at_ms = 2;
  string zone = 3;
  optional string note = 4;
  Kind kind = 5;
  uint64 meters = 6;
  sint32 seats = 7;
  double heat = 8;
  bool paid = 9;
  confluent.type.Decimal fare = 10;
  google.protobuf.StringValue tip = 11;
  repeated int32 stops = 12;
  map<string, int64> extras = 13;
  cars.Car car = 14;
  bytes raw = 15;
  oneof how { string card = 16; bool cash = 17; }
}
"#;
const CAR: &str = "syntax = \"proto3\"; package cars; message Car { string plate = 1; Car spare = 2; }";

fn schema() -> SchemaText {
    let references = vec![("cars/car.proto".to_owned(), CAR.to_owned())];
    SchemaText { language: Language::Protobuf, text: RIDE.to_owned(), references }
}

fn column(path: &str, kind: ColumnType, optional: bool) -> Column {
    Column { name: path.replace('.', "_"), path: path.split('.').map(str::to_owned).collect(), kind, optional }
}

fn columns() -> Columns {
    let declared = vec![
        column("at", ColumnType::Timestamp(TimestampForm::Rfc3339), false),
        column("at_ms", ColumnType::Timestamp(TimestampForm::EpochMillis), false),
        column("zone", ColumnType::Text, false),
        column("note", ColumnType::Text, true),
        column("kind", ColumnType::Text, false),
        column("meters", ColumnType::Int, false),
        column("seats", ColumnType::Int, false),
        column("heat", ColumnType::Float, false),
        column("paid", ColumnType::Bool, false),
        column("fare", ColumnType::Decimal { precision: 12, scale: 2 }, true),
        column("tip", ColumnType::Text, true),
        column("stops", ColumnType::Json, false),
        column("extras", ColumnType::Json, false),
        column("car", ColumnType::Json, true),
        column("car.spare.plate", ColumnType::Text, true),
        column("card", ColumnType::Text, true),
        column("cash", ColumnType::Bool, true),
    ];
    Columns { declared, event_time: "at".into(), whole: Default::default() }
}

fn decode(columns: &Columns, origin: Origin, message: Option<&str>, values: &[Vec<u8>]) -> Decoded {
    let mut records = Records::new(Partition(0));
    for (offset, value) in (0..).zip(values) {
        records.push(Offset(offset), Some(Timestamp(0)), None, Some(value));
    }
    let message = message.map(str::to_owned);
    ProtobufDecoder::new(columns, "t", origin, message, OnMissing::Invalid).decode(records)
}

fn one() -> Origin {
    Origin::One(Arc::new(schema()))
}

/// A row as text, nulls as `-`.
fn shown(decoded: &Decoded, row: usize, columns: usize) -> Vec<String> {
    let show = |column: &arrow::array::ArrayRef| match column.is_null(row) {
        true => "-".to_owned(),
        false => arrow::util::display::array_value_to_string(column, row).unwrap(),
    };
    decoded.batch.columns()[..columns].iter().map(show).collect()
}

/// A message made by the library.
fn message(name: &str, set: impl Fn(&mut DynamicMessage)) -> DynamicMessage {
    let descriptor = Schema::compile(&schema()).unwrap().named(Some(name)).unwrap();
    let mut message = DynamicMessage::new(descriptor);
    set(&mut message);
    message
}

fn field(message: &DynamicMessage, name: &str) -> DynamicMessage {
    let field = message.descriptor().get_field_by_name(name).unwrap();
    DynamicMessage::new(field.kind().as_message().unwrap().clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_the_library_wrote_is_read_as_it_was(
        seconds in -60_000_000_000i64..250_000_000_000, nanos in 0i32..1_000_000_000, at_ms in -1_000_000_000_000i64..1_000_000_000_000,
        zone in "[a-z\u{e9}\"]{0,4}", note in prop::option::of("[a-z]{0,3}"), kind in 0i32..2, meters in 0u64..=i64::MAX as u64,
        seats in any::<i32>(), heat in -1e200f64..1e200, paid in any::<bool>(), fare in prop::option::of(-99_999_999i64..99_999_999),
        tip in prop::option::of("[a-z]{0,3}"), stops in prop::collection::vec(any::<i32>(), 0..4),
        extras in prop::collection::btree_map("[a-c]", any::<i64>(), 0..3),
        plate in prop::option::of("[A-Z]{1,3}"), card in prop::option::of("[a-z]{0,2}"),
    ) {
        let ride = message("rides.v1.Ride", |ride| {
            let mut at = field(ride, "at");
            at.set_field_by_name("seconds", Value::I64(seconds));
            at.set_field_by_name("nanos", Value::I32(nanos));
            ride.set_field_by_name("at", Value::Message(at));
            ride.set_field_by_name("at_ms", Value::I64(at_ms));
            ride.set_field_by_name("zone", Value::String(zone.clone()));
            if let Some(note) = &note {
                ride.set_field_by_name("note", Value::String(note.clone()));
            }
            ride.set_field_by_name("kind", Value::EnumNumber(kind));
            ride.set_field_by_name("meters", Value::U64(meters));
            ride.set_field_by_name("seats", Value::I32(seats));
            ride.set_field_by_name("heat", Value::F64(heat));
            ride.set_field_by_name("paid", Value::Bool(paid));
            if let Some(fare) = fare {
                let mut decimal = field(ride, "fare");
                decimal.set_field_by_name("value", Value::Bytes(fare.to_be_bytes().to_vec().into()));
                decimal.set_field_by_name("scale", Value::I32(2));
                ride.set_field_by_name("fare", Value::Message(decimal));
            }
            if let Some(tip) = &tip {
                let mut wrapper = field(ride, "tip");
                wrapper.set_field_by_name("value", Value::String(tip.clone()));
                ride.set_field_by_name("tip", Value::Message(wrapper));
            }
            ride.set_field_by_name("stops", Value::List(stops.iter().map(|stop| Value::I32(*stop)).collect()));
            let map = extras.iter().map(|(key, value)| (MapKey::String(key.clone()), Value::I64(*value)));
            ride.set_field_by_name("extras", Value::Map(map.collect()));
            if let Some(plate) = &plate {
                let mut car = field(ride, "car");
                let mut spare = field(&car, "spare");
                spare.set_field_by_name("plate", Value::String(plate.clone()));
                car.set_field_by_name("spare", Value::Message(spare));
                ride.set_field_by_name("car", Value::Message(car));
            }
            match &card {
                Some(card) => ride.set_field_by_name("card", Value::String(card.clone())),
                None => ride.set_field_by_name("cash", Value::Bool(false)),
            }
        });
        let columns = columns();
        let decoded = decode(&columns, one(), Some("rides.v1.Ride"), &[ride.encode_to_vec()]);
        prop_assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let time = |micros: i64| {
            let text = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            text.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        };
        let none = || "-".to_owned();
        let expected = [
            time(seconds * 1_000_000 + i64::from(nanos) / 1000), time(at_ms * 1000), zone, note.unwrap_or_else(none),
            ["STREET", "HAIL"][usize::try_from(kind).unwrap()].to_owned(), meters.to_string(), seats.to_string(),
            heat.to_string(), paid.to_string(),
            fare.map_or_else(none, |fare| crate::decode::typed::decimal_text(fare.into(), 2)),
            tip.unwrap_or_else(none), serde_json::json!(stops).to_string(), serde_json::json!(extras).to_string(),
            plate.as_ref().map_or_else(none, |plate| format!("{{\"plate\":\"\",\"spare\":{{\"plate\":\"{plate}\"}}}}")),
            plate.unwrap_or_else(none), card.clone().unwrap_or_else(none),
            if card.is_some() { none() } else { "false".to_owned() },
        ];
        let found = shown(&decoded, 0, columns.declared.len());
        for ((column, found), expected) in columns.declared.iter().zip(&found).zip(&expected) {
            match column.kind {
                ColumnType::Float => prop_assert_eq!(found.parse::<f64>().unwrap(), expected.parse::<f64>().unwrap()),
                _ => prop_assert_eq!(found, expected, "{}", column.name),
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_read_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let decoded = decode(&columns(), one(), Some("rides.v1.Ride"), std::slice::from_ref(&bytes));
        prop_assert_eq!(decoded.rows.len() + decoded.rejected.len(), 1);
        let schemas = Schemas::default();
        schemas.put(SchemaId(1), Known::Schema(Arc::new(schema())));
        let framed = [&[0, 0, 0, 0, 1], bytes.as_slice()].concat();
        let decoded = decode(&columns(), Origin::Registry(schemas), None, &[framed]);
        prop_assert_eq!(decoded.rows.len() + decoded.rejected.len(), 1);
    }
}

#[test]
fn a_field_that_cannot_tell_whether_it_was_set_is_its_default() {
    let declared = ["zone", "note", "meters", "kind"]
        .map(|name| column(name, if name == "meters" { ColumnType::Int } else { ColumnType::Text }, name == "note"));
    let columns = Columns { declared: declared.to_vec(), event_time: "_timestamp".into(), whole: Default::default() };
    let decoded = decode(&columns, one(), Some("rides.v1.Ride"), &[vec![]]);
    assert_eq!(shown(&decoded, 0, 4), ["", "-", "0", "STREET"]);
}

#[test]
fn the_message_index_says_which_message_it_is() {
    let schemas = Schemas::default();
    schemas.put(SchemaId(7), Known::Schema(Arc::new(schema())));
    let value = |index: &[u8], rest: &[u8]| [&[0, 0, 0, 0, 7], index, rest].concat();
    let columns = Columns {
        declared: vec![column("y", ColumnType::Text, false)],
        event_time: "_timestamp".into(),
        whole: Default::default(),
    };
    // Other.Within is the first message within the first; the field y is text.
    let values = [
        value(&[4, 0, 0], &[10, 1, b'a']),
        value(&[2, 0], &[]),
        value(&[0], &[]),
        value(&[2, 8], &[]),
        value(&[2], &[]),
        value(&[1], &[]),
        vec![0, 0, 0],
        vec![8, 1],
    ];
    let decoded = decode(&columns, Origin::Registry(schemas.clone()), None, &values);
    assert_eq!((decoded.rows.as_slice(), shown(&decoded, 0, 1)), (&[0][..], vec!["a".to_owned()]));
    let classes: Vec<_> = decoded.rejected.iter().map(|(_, reason)| reason.class).collect();
    assert_eq!(
        classes,
        [
            "missing_column",
            "missing_column",
            "unknown_schema",
            "no_schema_id",
            "no_schema_id",
            "no_schema_id",
            "no_schema_id"
        ]
    );
    // The second message, as most clients write it.
    let columns = Columns {
        declared: vec![column("zone", ColumnType::Text, false)],
        event_time: "_timestamp".into(),
        whole: Default::default(),
    };
    let decoded = decode(&columns, Origin::Registry(schemas), None, &[value(&[2, 2], &[26, 1, b'z'])]);
    assert_eq!(shown(&decoded, 0, 1), ["z"]);
}

#[test]
fn the_schema_tells_the_columns() {
    let told = told(&schema(), Some("rides.v1.Ride")).unwrap();
    let of = |name: &str| told.iter().find(|told| told.name == name).unwrap().column.clone();
    assert_eq!(of("at"), Ok((ColumnType::Timestamp(TimestampForm::Rfc3339), true)));
    assert_eq!(of("zone"), Ok((ColumnType::Text, false)));
    assert_eq!(of("note"), Ok((ColumnType::Text, true)));
    assert_eq!(of("tip"), Ok((ColumnType::Text, true)));
    assert_eq!(of("stops"), Ok((ColumnType::Json, false)));
    assert!(of("fare").unwrap_err().contains("decimal(p, s)"));
    assert!(of("raw").is_err());
    let error = super::told(&schema(), None).unwrap_err();
    assert_eq!(error, "it has several messages; write message = \"…\" with one of rides.v1.Other, rides.v1.Ride");
}

#[test]
fn a_schema_in_its_compiled_form_is_read_too() {
    use base64::Engine;
    let compiled = Schema::compile(&schema()).unwrap().named(Some("cars.Car")).unwrap();
    let bytes = compiled.parent_file().file_descriptor_proto().encode_to_vec();
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let schema = SchemaText { language: Language::Protobuf, text, references: Vec::new() };
    assert_eq!(Schema::compile(&schema).unwrap().at(&[0]).unwrap().full_name(), "cars.Car");
}

#[test]
fn a_schema_that_does_not_compile_makes_its_records_invalid() {
    let broken = SchemaText { text: "message Ride {".to_owned(), ..schema() };
    let decoded = decode(&columns(), Origin::One(Arc::new(broken)), None, &[vec![]]);
    assert_eq!(decoded.rejected[0].1.class, "unknown_schema");
}

#[test]
fn long_texts_in_a_schema_take_no_stack() {
    let long = "x".repeat(1 << 16);
    let texts = [
        format!("option java_package = \"{long}\";"),
        format!("// {long}"),
        format!("/* {long} */"),
        format!("message {long} {{ int64 {long} = 1; }}"),
        format!("message Ride {{ reserved '{}'; }}", long.replace('x', "\\n")),
        " ".repeat(1 << 16),
        "\n".repeat(1 << 16),
        "1".repeat(1 << 16),
    ];
    for text in texts {
        let text = format!("syntax = \"proto3\";\n{text}");
        let _ = Schema::compile(&SchemaText { language: Language::Protobuf, text, references: Vec::new() });
    }
}

#[test]
fn a_schema_that_wraps_a_wrapper_in_itself_is_read() {
    let text = "syntax = \"proto3\"; package google.protobuf; \
                message Int32Value { Int32Value value = 1; } message Ride { int64 at = 1; Int32Value seats = 2; }";
    let schema = SchemaText { language: Language::Protobuf, text: text.to_owned(), references: Vec::new() };
    let told = told(&schema, Some("google.protobuf.Ride")).unwrap();
    assert_eq!(told[1].column, Ok((ColumnType::Json, true)));
    let declared = vec![
        column("at", ColumnType::Timestamp(TimestampForm::EpochMillis), false),
        column("seats", ColumnType::Json, true),
    ];
    let columns = Columns { declared, event_time: "at".into(), whole: Default::default() };
    let origin = Origin::One(Arc::new(schema));
    let decoded = decode(&columns, origin, Some("google.protobuf.Ride"), &[b"\x08\x01\x12\x02\x0a\x00".to_vec()]);
    assert_eq!(shown(&decoded, 0, 2)[1], r#"{"value":{}}"#);
}
