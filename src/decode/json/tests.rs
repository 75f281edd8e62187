//! Every kind of bad record, each with its class and words; what is read exactly; and that nothing depends on what
//! came before.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int64Type};
use arrow::util::display::array_value_to_string;

use super::JsonDecoder;
use crate::decode::column::{Column, ColumnType, Columns, TimestampForm, Whole};
use crate::decode::{Decode, Decoded};
use crate::record::{Offset, Partition, Records, Timestamp};

pub(super) const RFC: ColumnType = ColumnType::Timestamp(TimestampForm::Rfc3339);
const SECONDS: ColumnType = ColumnType::Timestamp(TimestampForm::EpochSeconds);
const DECIMAL: ColumnType = ColumnType::Decimal { precision: 12, scale: 2 };

/// A column that reads the member its name says, optional if the name ends in `?`.
pub(super) fn column(name: &str, kind: ColumnType) -> Column {
    let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    Column { name: name.into(), path: name.split('.').map(Into::into).collect(), kind, optional }
}

pub(super) fn columns(declared: &[(&str, ColumnType)], event_time: &str) -> Columns {
    let declared = declared.iter().map(|&(name, kind)| column(name, kind)).collect();
    Columns { declared, event_time: event_time.into(), whole: Whole::default() }
}

pub(super) fn records(values: &[Option<&[u8]>]) -> Records {
    let mut records = Records::new(Partition(3));
    for (offset, value) in (0..).zip(values) {
        records.push(Offset(offset), Some(Timestamp(offset * 1000)), Some(b"key"), *value);
    }
    records
}

/// One record with its only column `x`, the event time being Kafka's.
fn one(kind: ColumnType, value: &[u8]) -> Decoded {
    JsonDecoder::new(&columns(&[("x", kind)], "_timestamp"), "rides").decode(records(&[Some(value)]))
}

/// One record `{"x": …}` of that column.
fn x(kind: ColumnType, value: &str) -> Decoded {
    one(kind, format!(r#"{{"x": {value}}}"#).as_bytes())
}

#[track_caller]
fn accepted(decoded: &Decoded) -> &RecordBatch {
    assert_eq!(decoded.rejected, []);
    assert_eq!(decoded.batch.num_rows(), 1);
    &decoded.batch
}

#[track_caller]
fn refused(decoded: &Decoded) -> (&'static str, &str) {
    assert_eq!(decoded.batch.num_rows(), 0);
    assert_eq!(decoded.event_times.len(), 0);
    (decoded.rejected[0].1.class, &decoded.rejected[0].1.text)
}

#[test]
fn what_is_not_one_json_object_is_refused_with_the_place() {
    for (value, text) in [
        (&b""[..], "the value is empty"),
        (b" \n", "the value is white space alone"),
        (b"[]", "the value is an array, not an object"),
        (b"\"x\"", "the value is a string, not an object"),
        (b"17", "the value is a number, not an object"),
        (b"null", "the value is null, not an object"),
        (b"nul", "byte 0: a value expected, found nul"),
        (b"\x00\x00\x00\x00\x07\x0a", "the value begins as a schema registry's formats do (Avro, Protobuf)"),
        (b"\xef\xbb\xbf{\"x\":1}", "the value begins with a byte order mark"),
        (b"{", "it ends at byte 1, where a member's name in quotes should be"),
        (b"{\"x\"", "it ends at byte 4, where `:` should be"),
        (b"{\"x\":", "it ends at byte 5, where a value should be"),
        (b"{\"x\":1", "it ends at byte 6, where `,` or `}` should be"),
        (b"{\"x\":1,", "it ends at byte 7, where a member's name in quotes should be"),
        (b"{\"x\":1,}", "byte 7: a member's name in quotes expected, found }"),
        (b"{\"x\":1}{\"x\":2}", "byte 7: the end of the record expected, found {\"x\":2}"),
        (b"{\"x\":1} x", "byte 8: the end of the record expected, found x"),
        (b"{\"x\":1 \"y\":2}", "byte 7: `,` or `}` expected, found \"y\":2}"),
        (b"{'x':1}", "byte 1: a member's name in quotes expected, found 'x':1}"),
        (b"{\"x\":01}", "byte 6: `,` or `}` expected, found 1}"),
        (b"{\"x\":+1}", "byte 5: a value expected, found +1}"),
        (b"{\"x\":1.}", "byte 7: a digit expected, found }"),
        (b"{\"x\":-}", "byte 6: a digit expected, found }"),
        (b"{\"x\":1e}", "byte 7: a digit expected, found }"),
        (b"{\"x\":NaN}", "byte 5: a value expected, found NaN}"),
        (b"{\"x\":Infinity}", "byte 5: a value expected, found Infinity}"),
        (b"{\"x\":1,\"y\":tru}", "byte 11: a value expected, found tru}"),
        (b"{\"x\":1,\"y\":\"a\nb\"}", "byte 13: a control character's escape expected, found \\u{a}b\"}"),
        (b"{\"x\":1,\"y\":\"\\x\"}", "byte 13: an escape's letter expected, found x\"}"),
        (b"{\"x\":1,\"y\":\"\\u12g4\"}", "byte 16: a hex digit expected, found g4\"}"),
        (b"{\"x\":1,\"y\":\"abc", "it ends at byte 15, where the closing quote should be"),
        (b"{\"x\":1,\"y\":[1,{\"a\":2]}", "byte 20: `,` or `}` expected, found ]}"),
        (b"{\"x\":1,\"y\":[1,]}", "byte 14: a value expected, found ]}"),
    ] {
        assert_eq!(refused(&one(ColumnType::Int, value)), ("not_json", text), "{}", String::from_utf8_lossy(value));
    }
}

#[test]
fn a_tombstone_is_refused_as_such() {
    let decoded = JsonDecoder::new(&columns(&[], "_timestamp"), "t").decode(records(&[None]));
    assert_eq!(refused(&decoded), ("tombstone", "the value is null"));
}

#[test]
fn nesting_ends_at_64_wherever_it_lies_and_overflows_no_stack() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for before in [r#"{"x":"#, r#"{"x":1,"y":"#] {
            let nested = |depth| format!("{before}{}1{}}}", open.repeat(depth), close.repeat(depth));
            accepted(&one(ColumnType::Json, nested(63).as_bytes()));
            let decoded = one(ColumnType::Json, nested(64).as_bytes());
            let (class, text) = refused(&decoded);
            assert!(class == "not_json" && text.ends_with("nested deeper than 64"), "{text}");
        }
    }
    for bad in ["[".repeat(1_000_000), format!("{{\"y\":{}", "[".repeat(1_000_000)), "{\"y\":".repeat(1_000_000)] {
        assert_eq!(refused(&one(ColumnType::Int, bad.as_bytes())).0, "not_json");
    }
}

#[test]
fn a_value_of_another_type_is_refused_and_shown() {
    use ColumnType::{Bool, Date, Float, Int, Text};
    for (kind, value, class, text) in [
        (Int, r#""12""#, "wrong_type", r#"x: a whole number expected, found "12""#),
        (Int, "true", "wrong_type", "x: a whole number expected, found true"),
        (Int, "1.5", "inexact", "x: a whole number expected, found 1.5: it is not a whole number"),
        (
            Int,
            "9223372036854775808",
            "out_of_range",
            "x: a whole number expected, found 9223372036854775808: it is beyond 64 bits",
        ),
        (Float, r#""1.5""#, "wrong_type", r#"x: a number expected, found "1.5""#),
        (Float, "1e999", "out_of_range", "x: a number expected, found 1e999: it is beyond a 64-bit float"),
        (Bool, "1", "wrong_type", "x: true or false expected, found 1"),
        (Bool, r#""true""#, "wrong_type", r#"x: true or false expected, found "true""#),
        (Text, "5", "wrong_type", "x: text expected, found 5"),
        (Text, "false", "wrong_type", "x: text expected, found false"),
        (Text, r#"{"a": [1]}"#, "wrong_type", r#"x: text expected, found {"a": [1]}"#),
        (
            Text,
            r#""a\ud800b""#,
            "not_json",
            r#"x: text expected, found "a\ud800b": half of a surrogate pair stands alone"#,
        ),
        (
            Text,
            r#""\udc00\ud800""#,
            "not_json",
            r#"x: text expected, found "\udc00\ud800": half of a surrogate pair stands alone"#,
        ),
        (
            DECIMAL,
            "0.001",
            "inexact",
            "x: a number for decimal(12, 2) expected, found 0.001: it has more fraction digits than can be kept",
        ),
        (
            DECIMAL,
            "1e10",
            "out_of_range",
            "x: a number for decimal(12, 2) expected, found 1e10: it has too many digits",
        ),
        (DECIMAL, r#""abc""#, "wrong_type", r#"x: a number for decimal(12, 2) expected, found "abc""#),
        (DECIMAL, r#""""#, "wrong_type", r#"x: a number for decimal(12, 2) expected, found """#),
        (
            RFC,
            "1772352000000",
            "wrong_type",
            "x: an RFC 3339 time expected, found 1772352000000: it looks like epoch milliseconds: declare timestamp(ms)",
        ),
        (
            RFC,
            "1772352000",
            "wrong_type",
            "x: an RFC 3339 time expected, found 1772352000: it looks like epoch seconds: declare timestamp(s)",
        ),
        (RFC, r#""""#, "wrong_type", r#"x: an RFC 3339 time expected, found """#),
        (
            RFC,
            r#""2026-03-01T08:00:00""#,
            "wrong_type",
            r#"x: an RFC 3339 time expected, found "2026-03-01T08:00:00": the offset is missing: Z or such as +01:00 must follow the time"#,
        ),
        (
            RFC,
            r#""2026-12-31T23:59:60Z""#,
            "out_of_range",
            r#"x: an RFC 3339 time expected, found "2026-12-31T23:59:60Z": a leap second (:60) has no place of its own in UTC microseconds"#,
        ),
        (
            SECONDS,
            "1772352000000",
            "out_of_range",
            "x: epoch seconds expected, found 1772352000000: it looks like epoch milliseconds: declare timestamp(ms)",
        ),
        (
            SECONDS,
            r#""2026-03-01T08:00:00Z""#,
            "wrong_type",
            r#"x: epoch seconds expected, found "2026-03-01T08:00:00Z": it is RFC 3339 text: declare timestamp"#,
        ),
        (SECONDS, r#""soon""#, "wrong_type", r#"x: epoch seconds expected, found "soon""#),
        (SECONDS, "1.0000001", "inexact", "x: epoch seconds expected, found 1.0000001: it is finer than a microsecond"),
        (
            Date,
            r#""2026-02-30""#,
            "out_of_range",
            r#"x: a date as YYYY-MM-DD expected, found "2026-02-30": there is no such day"#,
        ),
        (Date, "20260301", "wrong_type", "x: a date as YYYY-MM-DD expected, found 20260301"),
    ] {
        assert_eq!(refused(&x(kind, value)), (class, text));
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_where_it_is_read() {
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"abcdefghij\xed\xa0\x80", b"\xf0\x9f\x98"] {
        let value = [b"{\"x\":\"", bytes, b"\"}"].concat();
        for kind in [ColumnType::Text, ColumnType::Json, RFC] {
            let decoded = one(kind, &value);
            let (class, text) = refused(&decoded);
            assert_eq!(class, "not_json");
            assert!(text.ends_with("it is not UTF-8"), "{text}");
        }
    }
    accepted(&one(ColumnType::Int, b"{\"x\":1,\"y\":\"\xff\"}"));
}

#[test]
fn what_a_reason_shows_is_short_and_acts_on_no_terminal() {
    let decoded = x(ColumnType::Int, &format!("\"\u{202e}\u{9b}31m{}\"", "é".repeat(1_000_000)));
    let (_, text) = refused(&decoded);
    assert!(text.starts_with("x: a whole number expected, found \"\\u{202e}\\u{9b}31mé"), "{text}");
    assert!(text.ends_with("é…") && text.chars().count() < 140, "{text}");
}

#[test]
fn missing_and_null_are_nulls_of_optional_columns_and_refused_else() {
    let decode = |columns: &Columns, value: &[u8]| JsonDecoder::new(columns, "t").decode(records(&[Some(value)]));
    let required = columns(&[("x", ColumnType::Int)], "_timestamp");
    assert_eq!(refused(&decode(&required, b"{}")), ("missing_column", "x: the member is missing"));
    assert_eq!(refused(&decode(&required, b"{\"x\":null}")), ("missing_column", "x: the member is null"));
    let kinds = [
        ColumnType::Text,
        ColumnType::Bool,
        ColumnType::Int,
        ColumnType::Float,
        DECIMAL,
        RFC,
        SECONDS,
        ColumnType::Date,
        ColumnType::Json,
    ];
    for kind in kinds {
        let optional = columns(&[("x?", kind)], "_timestamp");
        for value in [&b"{}"[..], b"{\"x\": null}", b"{ \"y\": 1 }"] {
            assert!(accepted(&decode(&optional, value)).column(0).is_null(0));
        }
    }
    // The event time has no null, whatever is declared.
    let event = columns(&[("at?", RFC)], "at");
    assert_eq!(refused(&decode(&event, b"{}")), ("missing_column", "at: the member is missing"));
    assert_eq!(refused(&decode(&event, b"{\"at\":null}")), ("missing_column", "at: the member is null"));
}

#[test]
fn the_event_time_is_the_declared_column_or_the_records_own() {
    let by_column = columns(&[("at", RFC)], "at");
    let decoded = JsonDecoder::new(&by_column, "t").decode(records(&[Some(br#"{"at":"1970-01-01T01:00:01+01:00"}"#)]));
    assert_eq!(decoded.event_times.values(), &[1_000_000]);
    let by_record = columns(&[], "_timestamp");
    let mut mixed = Records::new(Partition(0));
    mixed.push(Offset(4), Some(Timestamp(77)), None, Some(b"{}"));
    mixed.push(Offset(5), None, None, Some(b"{}"));
    let decoded = JsonDecoder::new(&by_record, "t").decode(mixed);
    assert_eq!(decoded.event_times.values(), &[77]);
    assert_eq!(decoded.rejected[0].1.text, "_timestamp: the record has no time of its own");
    let undeclared = columns(&[("at", ColumnType::Text)], "at");
    let decoded = JsonDecoder::new(&undeclared, "t").decode(records(&[Some(br#"{"at":"x"}"#)]));
    assert_eq!(refused(&decoded).0, "missing_column");
}

#[test]
fn a_wanted_member_that_comes_twice_is_refused_and_another_ignored() {
    let wanted = columns(&[("a.b", ColumnType::Int), ("c?", ColumnType::Int)], "_timestamp");
    let decode = |value: &str| JsonDecoder::new(&wanted, "t").decode(records(&[Some(value.as_bytes())]));
    accepted(&decode(r#"{"a":{"b":1,"z":1,"z":2},"y":1,"y":2}"#));
    for (value, path) in [
        (r#"{"a":{"b":1},"c":1,"c":1}"#, "c"),
        (r#"{"a":{"b":1},"\u0063":1,"c":2}"#, "c"),
        (r#"{"a":{"b":1,"b":2}}"#, "a.b"),
        (r#"{"a":{"b":1},"a":{}}"#, "a"),
        (r#"{"a":{"b":1},"c":null,"c":null}"#, "c"),
    ] {
        let text = format!("{path}: the member is there twice");
        assert_eq!(refused(&decode(value)), ("duplicate", text.as_str()), "{value}");
    }
}

#[test]
fn members_are_read_by_path_and_a_parent_may_be_kept_whole() {
    let wanted = columns(
        &[
            ("ride.fare.total", DECIMAL),
            ("ride", ColumnType::Json),
            ("ride.id?", ColumnType::Int),
            ("ride.fare?", ColumnType::Json),
        ],
        "_timestamp",
    );
    let decode = |value: &str| JsonDecoder::new(&wanted, "t").decode(records(&[Some(value.as_bytes())]));
    let decoded = decode(r#"{"fare":0,"ride": {"x":[{"total":9}], "fare" : { "tip":1, "total" : 12.5 } } }"#);
    let batch = accepted(&decoded);
    assert_eq!(batch.column(0).as_primitive::<Decimal128Type>().value(0), 1250);
    assert_eq!(
        batch.column(1).as_string::<i32>().value(0),
        r#"{"x":[{"total":9}], "fare" : { "tip":1, "total" : 12.5 } }"#
    );
    assert!(batch.column(2).is_null(0));
    assert_eq!(batch.column(3).as_string::<i32>().value(0), r#"{ "tip":1, "total" : 12.5 }"#);
    for (value, class, text) in [
        (r#"{"ride":5}"#, "wrong_type", "ride: an object expected, found 5"),
        (r#"{"ride":{"fare":[1]}}"#, "wrong_type", "ride.fare: an object expected, found [1]"),
        (r#"{"ride":{}}"#, "missing_column", "ride.fare.total: the member is missing"),
        (r#"{"ride":null}"#, "missing_column", "ride: the member is null"),
    ] {
        assert_eq!(refused(&decode(value)), (class, text));
    }
}

#[test]
fn two_columns_may_read_one_member() {
    let mut wanted = columns(&[("n", ColumnType::Int), ("text", ColumnType::Json)], "_timestamp");
    wanted.declared[1].path = vec!["n".into()];
    let decoded = JsonDecoder::new(&wanted, "t").decode(records(&[Some(b"{\"n\": 1e2}")]));
    let batch = accepted(&decoded);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 100);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "1e2");
}

#[test]
fn names_and_texts_are_read_with_their_escapes_resolved() {
    let decoded = one(ColumnType::Text, r#"{"\u0078":"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é\u0000 and on"}"#.as_bytes());
    let text = accepted(&decoded).column(0).as_string::<i32>().value(0).to_owned();
    assert_eq!(text, "a\"\\/\u{8}\u{c}\n\r\té😀é\0 and on");
    let decoded = one(RFC, br#"{"x":"2026-03-01T08:00:00\u005a"}"#);
    assert_eq!(decoded.rejected, []);
}

#[test]
fn values_come_out_exactly() {
    let wanted = columns(
        &[
            ("i", ColumnType::Int),
            ("f", ColumnType::Float),
            ("b", ColumnType::Bool),
            ("d", ColumnType::Date),
            ("m", DECIMAL),
        ],
        "_timestamp",
    );
    let value = br#"{"m":"-12.50","i":-9223372036854775808,"f":-0,"b":true,"d":"1969-12-31"}"#;
    let decoded = JsonDecoder::new(&wanted, "t").decode(records(&[Some(value)]));
    let batch = accepted(&decoded);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), i64::MIN);
    assert!(batch.column(1).as_primitive::<Float64Type>().value(0).is_sign_positive());
    assert!(batch.column(2).as_boolean().value(0));
    assert_eq!(batch.column(3).as_primitive::<Date32Type>().value(0), -1);
    assert_eq!(batch.column(4).as_primitive::<Decimal128Type>().value(0), -1250);
}

#[test]
fn the_columns_of_every_stream_follow_the_declared_ones() {
    let wanted = columns(&[("x", ColumnType::Int), ("at?", RFC)], "_timestamp");
    let mut all = Records::new(Partition(7));
    all.push(Offset(10), Some(Timestamp(5)), Some(b"k"), Some(b"{\"x\":1}"));
    let decoded = JsonDecoder::new(&wanted, "rides").decode(all);
    assert_eq!(decoded.batch.schema(), wanted.schema());
    let shown = decoded.batch.columns().iter().map(|column| array_value_to_string(column, 0).unwrap());
    let expected = ["1", "", "rides", "7", "10", "1970-01-01T00:00:00.000005Z", "k"];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[test]
fn a_key_that_is_not_text_is_null_and_the_time_of_a_record_without_one_too() {
    let mut all = Records::new(Partition(7));
    all.push(Offset(15), None, Some(b"\xff"), Some(br#"{"at":0}"#));
    all.push(Offset(16), Some(Timestamp(1)), None, Some(br#"{"at":0}"#));
    all.push(Offset(17), None, Some(b""), Some(br#"{"at":0}"#));
    let decoded = JsonDecoder::new(&columns(&[("at", SECONDS)], "at"), "rides").decode(all);
    let (times, keys) = (decoded.batch.column(4), decoded.batch.column(5));
    assert_eq!([0, 1, 2].map(|row| times.is_null(row)), [true, false, true]);
    assert_eq!([0, 1, 2].map(|row| keys.is_null(row)), [true, true, false]);
}

#[test]
fn a_record_that_fails_late_leaves_nothing_in_the_columns() {
    let wanted =
        columns(&[("t", ColumnType::Text), ("i?", ColumnType::Int), ("j?", ColumnType::Json), ("at", SECONDS)], "at");
    let good = br#"{"t":"good","i":1,"j":[],"at":1}"#;
    let bad: [&[u8]; 4] = [
        br#"{"t":"bad","i":null,"j":{},"at":"x"}"#,
        br#"{"j":1,"i":2,"at":5,"t":7}"#,
        br#"{"t":"bad""#,
        br#"{"at":3}"#,
    ];
    let mut values: Vec<Option<&[u8]>> = Vec::new();
    for bad in bad {
        values.extend([Some(bad), Some(good)]);
    }
    let decoded = JsonDecoder::new(&wanted, "t").decode(records(&values));
    assert_eq!(decoded.rows, [1, 3, 5, 7]);
    let alone: Vec<_> = [1, 3, 5, 7]
        .map(|index| {
            let mut one = Records::new(Partition(3));
            one.push(Offset(index), Some(Timestamp(index * 1000)), Some(b"key"), Some(good));
            JsonDecoder::new(&wanted, "t").decode(one).batch
        })
        .to_vec();
    assert_eq!(decoded.batch, concat_batches(&wanted.schema(), &alone).unwrap());
}

#[test]
fn a_value_of_ten_mebibytes_is_read_like_any_other() {
    let long = "é\\n".repeat(10 << 18);
    let decoded = x(ColumnType::Text, &format!("\"{long}\""));
    assert_eq!(accepted(&decoded).column(0).as_string::<i32>().value(0).len(), 3 * (10 << 18));
    assert_eq!(refused(&x(ColumnType::Int, &"9".repeat(10 << 20))).0, "out_of_range");
    assert_eq!(refused(&x(DECIMAL, &format!("0.{}", "9".repeat(10 << 20)))).0, "inexact");
    assert_eq!(refused(&x(SECONDS, "1e999999999")).0, "out_of_range");
    assert_eq!(refused(&x(SECONDS, "1e-999999999")).0, "inexact");
    accepted(&one(ColumnType::Int, format!("{{\"y\":\"{long}\",\"x\":1}}").as_bytes()));
    accepted(&one(ColumnType::Int, format!("{{{}\"x\":1}}", "\"y\":[{}],".repeat(1 << 20)).as_bytes()));
}
