use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::{Buf, BytesMut};
use proptest::prelude::*;
use serde_json::json;

use super::LoadError;
use super::feed::Due;
use super::numeric;
use super::schema::{Kind, columns};
use super::table::{TableName, Theirs, create, fit};
use super::target::Target;
use crate::log::entry::Entry;
use crate::record::Timestamp;
use crate::time::text::Size;
use crate::time::window::Windows;

/// The text that PostgreSQL makes of a numeric in its binary form, as `numeric.c` describes the form.
fn text_of(mut form: &[u8]) -> String {
    let (count, weight, sign, places) = (form.get_i16(), form.get_i16(), form.get_u16(), form.get_i16());
    let digits: Vec<u16> = (0..count).map(|_| form.get_u16()).collect();
    assert!(form.is_empty() && digits.iter().all(|&digit| digit < 10_000));
    assert!(digits.first() != Some(&0) && digits.last() != Some(&0), "no group of zeros at either end");
    let group =
        |power: i16| usize::try_from(weight - power).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0);
    let whole: String = (0..=weight.max(0)).rev().map(|power| format!("{:04}", group(power))).collect();
    let whole = whole.trim_start_matches('0');
    let fraction: String = (1..=(places + 3) / 4).map(|power| format!("{:04}", group(-power))).collect();
    let fraction = &fraction[..usize::try_from(places).unwrap()];
    let lowest = 1 - digits.len() as i16 + weight;
    assert!(digits.is_empty() || lowest >= -(places + 3) / 4, "a group below the decimal places");
    let sign = if sign == 0x4000 { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The same number, by another way.
fn expected(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn written(unscaled: i128, scale: u8) -> String {
    let mut form = BytesMut::new();
    numeric::write(unscaled, scale, &mut form);
    text_of(&form)
}

proptest! {
    #[test]
    fn every_decimal_keeps_all_its_digits(unscaled in any::<i128>(), shift in 0u32..127, scale in 0u8..=38) {
        let unscaled = unscaled >> shift;
        prop_assert_eq!(written(unscaled, scale), expected(unscaled, scale));
    }

    #[test]
    fn decimals_with_groups_of_zeros_keep_them(digit in -9i128..10, power in 0u32..38, scale in 0u8..=38) {
        let unscaled = digit * 10i128.pow(power);
        prop_assert_eq!(written(unscaled, scale), expected(unscaled, scale));
    }
}

#[test]
fn the_greatest_decimals_of_38_digits_are_exact() {
    let nines = 10i128.pow(38) - 1;
    for scale in 0..=38 {
        for unscaled in [nines, -nines, 0, 1, -1] {
            assert_eq!(written(unscaled, scale), expected(unscaled, scale), "scale {scale}");
        }
    }
}

fn file_schema() -> Schema {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
    Schema::new(vec![
        Field::new("window_start", time(), false),
        Field::new("window_end", time(), false),
        Field::new("zone", DataType::Utf8, true),
        Field::new("revenue", DataType::Decimal128(22, 2), true),
        Field::new("rides", DataType::Int64, false),
        Field::new("_revision", DataType::Int32, false),
    ])
}

fn table() -> TableName {
    TableName { schema: "reports".to_owned(), name: "ri\"des".to_owned() }
}

fn theirs(columns: &[(&str, &str)]) -> Vec<Theirs> {
    let theirs = |(name, sql): &(&str, &str)| Theirs {
        name: (*name).to_owned(),
        sql: (*sql).to_owned(),
        needed: false,
        generated: false,
    };
    columns.iter().map(theirs).collect()
}

const FITTING: [(&str, &str); 6] = [
    ("window_start", "timestamp with time zone"),
    ("window_end", "timestamp with time zone"),
    ("zone", "text"),
    ("revenue", "numeric(22,2)"),
    ("rides", "bigint"),
    ("_revision", "integer"),
];

#[test]
fn the_table_is_made_with_exact_types_and_an_index_on_the_window() {
    let statements = create(&table(), &columns(&file_schema()).unwrap());
    assert_eq!(
        statements,
        "CREATE TABLE \"reports\".\"ri\"\"des\" (\"window_start\" timestamp with time zone NOT NULL, \"window_end\" \
         timestamp with time zone NOT NULL, \"zone\" text, \"revenue\" numeric(22,2), \"rides\" bigint NOT NULL, \
         \"_revision\" integer NOT NULL); CREATE INDEX ON \"reports\".\"ri\"\"des\" (\"window_start\")"
    );
}

#[test]
fn a_table_may_be_wider_and_have_columns_of_its_own() {
    let columns = columns(&file_schema()).unwrap();
    assert!(fit(&table(), &columns, &theirs(&FITTING)).is_ok());
    let mut wider = theirs(&FITTING);
    wider[2].sql = "character varying(40)".to_owned();
    wider[3].sql = "numeric".to_owned();
    wider[5].sql = "bigint".to_owned();
    wider.reverse();
    wider.extend(theirs(&[("loaded_by", "text")]));
    assert!(fit(&table(), &columns, &wider).is_ok());
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_every_difference() {
    let columns = columns(&file_schema()).unwrap();
    let mut theirs = theirs(&[
        ("window_start", "timestamp without time zone"),
        ("window_end", "timestamp with time zone"),
        ("zone", "text"),
        ("revenue", "numeric(22,3)"),
        ("_revision", "integer"),
        ("note", "text"),
    ]);
    theirs[2].generated = true;
    theirs[5].needed = true;
    let LoadError::Invalid(text) = fit(&table(), &columns, &theirs).unwrap_err() else { panic!("the kind") };
    for part in [
        "\"window_start\" is timestamp without time zone, the files bring timestamp with time zone",
        "\"zone\" is generated",
        "\"revenue\" is numeric(22,3), the files bring numeric(22,2)",
        "\"rides\" is missing: ALTER TABLE \"reports\".\"ri\"\"des\" ADD COLUMN \"rides\" bigint;",
        "\"note\", text, is not in the files",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(text.lines().count(), 6, "{text}");
}

#[test]
fn a_numeric_fits_if_no_digit_can_be_lost() {
    let kind = Kind::Numeric { precision: 12, scale: 2 };
    for sql in ["numeric", "numeric(12,2)", "numeric(13,3)", "numeric(38,10)"] {
        assert!(kind.fits(sql).is_some(), "{sql}");
    }
    for sql in
        ["numeric(12,3)", "numeric(12,1)", "numeric(11,2)", "numeric(5,-2)", "double precision", "money", "bigint"]
    {
        assert!(kind.fits(sql).is_none(), "{sql}");
    }
    for sql in ["integer", "timestamp(0) with time zone", "real", "json"] {
        for kind in [Kind::BigInt, Kind::Timestamp, Kind::Double, Kind::Text] {
            assert!(kind.fits(sql).is_none(), "{kind:?} {sql}");
        }
    }
}

#[test]
fn names_that_postgres_would_cut_are_refused() {
    let schema = Schema::new(vec![Field::new("x".repeat(64), DataType::Int64, true)]);
    assert!(columns(&schema).unwrap_err().to_string().contains("63 bytes"));
}

const CANARY: &str = "canary";

#[test]
fn an_address_is_shown_without_its_password() {
    for address in [
        "postgres://ann:canary@db.example:5433/rides",
        "postgresql://ann@db.example:5433/rides?password=canary&sslmode=verify-full",
        "postgres://ann:a%40canary%2F@db.example:5433/rides?sslmode=disable",
    ] {
        let target = Target::parse(address, None).unwrap();
        assert_eq!(target.to_string(), "postgres ann@db.example:5433/rides");
        assert!(!format!("{target:?}").contains(CANARY));
    }
}

#[test]
fn an_address_that_cannot_be_read_is_not_repeated() {
    for address in [
        "canary",
        "mysql://ann:canary@db/rides",
        "postgres://ann:p@canary@db/rides",
        "postgres://ann:x@db:canary/rides",
        "postgres://ann:x@db/rides?sslmode=canary",
        "postgres://ann:x@db/rides?canary=1",
        "postgres://ann:x@[canary/rides",
        "postgres://",
        "host=db password=canary",
    ] {
        let error = Target::parse(address, None).unwrap_err().to_string();
        assert!(error.contains("postgres://USER@HOST") && !error.contains(CANARY), "{error}");
    }
}

fn entry(closed: &[(i64, i32, u64)], files: &[(i64, i32)]) -> Entry {
    let window = |hour: i64| json!({"start": hour * 3_600_000_000, "end": (hour + 1) * 3_600_000_000});
    let closed: Vec<_> = closed
        .iter()
        .map(|&(hour, revision, rows)| {
            json!({"window": window(hour), "revision": revision, "last": true, "by": "watermark", "complete": true,
                "rows": rows, "inputs": {}})
        })
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|&(hour, revision)| {
            json!({"kind": if revision == 0 { "data" } else { "correction" }, "stage": "s",
                "path": format!("{hour}-{revision}"), "window": window(hour), "revision": revision, "part": 1, "parts": 1,
                "rows": 1, "bytes": 1, "sha256": ""})
        })
        .collect();
    let counts = json!({"read": 0, "aggregated": 0, "filtered": 0, "late": 0, "too_late": 0, "invalid": {}, "gaps": 0});
    serde_json::from_value(json!({
        "format": 1, "sequence": 7, "previous": null, "pipeline": "rides", "fingerprint": "",
        "writer": {"id": "", "host": "", "pid": 1, "started": null}, "time": 0,
        "topic": {"name": "rides", "cluster": null}, "tumbling": example_windows(), "emit": "early", "watermark_delay": 0,
        "allowed_lateness": 0, "watermark": null, "quiet": null, "partitions": {}, "windows": [],
        "late": {"chunks": [], "since": null}, "invalid": {"chunks": [], "since": null}, "closed": closed, "files": files,
        "counts": counts, "totals": counts, "released": false,
    }))
    .unwrap()
}

fn example_windows() -> serde_json::Value {
    let windows = Windows::new(Size::Physical(3_600_000_000), None, None);
    serde_json::to_value(windows.unwrap()).unwrap()
}

fn hour(hour: i64) -> Timestamp {
    Timestamp(hour * 3_600_000_000)
}

#[test]
fn of_a_first_result_and_its_correction_in_one_entry_only_the_correction_stands() {
    let due = Due::of(&entry(&[(1, 0, 1), (1, 1, 1), (2, 0, 1)], &[(1, 0), (1, 1), (2, 0)])).unwrap();
    let paths: Vec<_> = due.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["1-1", "2-0"]);
    assert_eq!((due.corrected.into_iter().collect::<Vec<_>>(), due.windows), (vec![hour(1)], 2));
}

#[test]
fn a_correction_without_rows_and_without_a_file_empties_its_window() {
    let due = Due::of(&entry(&[(1, 1, 0)], &[])).unwrap();
    assert_eq!((due.corrected.into_iter().collect::<Vec<_>>(), due.files.len(), due.windows), (vec![hour(1)], 0, 1));
    assert_eq!(Due::of(&entry(&[(1, 0, 0)], &[])), None);
}
