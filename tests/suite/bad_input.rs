//! Records that nobody should send: each ends up under invalid/ with its reason, or is exact. None stops the run.

use std::collections::BTreeMap;
use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::util::display::array_value_to_string;
use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::run;

/// What becomes of a record.
enum Fate {
    /// It is kept under invalid/ for this reason.
    Invalid(&'static str),
    /// It is in a result, as these values of `v`, `d` and `f`.
    Row(&'static str, &'static str, &'static str),
}
use Fate::{Invalid, Row};

const PLAIN: Fate = Row("1", "1.00", "1.0");

/// A record whose members are as usual but for one, by its name; and `more` members.
fn with(name: &str, value: &str, more: &str) -> Vec<u8> {
    let mut members = BTreeMap::from([("at", r#""2026-03-01T08:00:00Z""#), ("v", "1"), ("d", "1"), ("f", "1")]);
    members.insert(name, value);
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}{more}}}", members.join(",")).into_bytes()
}

fn cases() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let beyond = |digits: usize| "9".repeat(digits);
    let mut utf8 = with("k", "\"?\"", "");
    let place = utf8.iter().position(|byte| *byte == b'?').unwrap();
    utf8[place] = 0xff;
    let long = format!(",\"unused\":\"{}\"", "x".repeat(10 << 20));
    vec![
        // The first: nothing has moved the watermark yet.
        ("the year 1", with("at", "\"0001-01-03T00:00:00Z\"", ""), PLAIN),
        // Somewhere on earth its window begins in the year before.
        ("its first day", with("at", "\"0001-01-01T00:00:00Z\"", ""), Invalid("out_of_range")),
        ("plain", with("v", "1", ""), PLAIN),
        ("1,000,000 brackets", "[".repeat(1_000_000).into_bytes(), Invalid("not_json")),
        (
            "1,000,000 levels of an unused member",
            with("v", "1", &format!(",\"u\":{}", deep(1_000_000))),
            Invalid("not_json"),
        ),
        ("60 levels of an unused member", with("v", "1", &format!(",\"u\":{}", deep(60))), PLAIN),
        ("a wanted member twice", with("v", "1", ",\"v\":2"), Invalid("duplicate")),
        ("an unused member twice", with("v", "1", ",\"u\":1,\"u\":2"), PLAIN),
        ("NaN", with("f", "NaN", ""), Invalid("not_json")),
        ("Infinity", with("f", "-Infinity", ""), Invalid("not_json")),
        ("NaN as text", with("f", "\"NaN\"", ""), Invalid("wrong_type")),
        ("a float beyond floats", with("f", "1e999", ""), Invalid("out_of_range")),
        ("a float of ten million digits", with("f", &beyond(10_000_000), ""), Invalid("out_of_range")),
        ("minus zero", with("v", "-0", ""), Row("0", "1.00", "1.0")),
        ("the greatest int", with("v", "9223372036854775807", ""), Row("9223372036854775807", "1.00", "1.0")),
        ("one more", with("v", "9223372036854775808", ""), Invalid("out_of_range")),
        ("the least int", with("v", "-9223372036854775808", ""), Row("-9223372036854775808", "1.00", "1.0")),
        ("an int that no float holds", with("v", "9007199254740993", ""), Row("9007199254740993", "1.00", "1.0")),
        ("an int of ten million digits", with("v", &beyond(10_000_000), ""), Invalid("out_of_range")),
        ("a huge exponent", with("d", "1e999999999", ""), Invalid("out_of_range")),
        ("the greatest decimal", with("d", "9999999999.99", ""), Row("1", "9999999999.99", "1.0")),
        ("a cent more", with("d", "10000000000.00", ""), Invalid("out_of_range")),
        ("a tenth of a cent", with("d", "0.001", ""), Invalid("inexact")),
        ("bytes that are no text", utf8, Invalid("not_json")),
        ("half a surrogate pair", with("k", "\"\\ud800\"", ""), Invalid("not_json")),
        ("10 MiB, not needed", with("v", "1", &long), PLAIN),
        ("10 MiB, cut off", with("v", "1", &long).split_off(20), Invalid("not_json")),
        ("the year 0", with("at", "\"0000-12-31T23:59:59Z\"", ""), Invalid("out_of_range")),
        ("the year 9999", with("at", "\"9999-12-31T23:59:59.999999Z\"", ""), Invalid("future")),
        ("the year 10000", with("at", "\"10000-01-01T00:00:00Z\"", ""), Invalid("wrong_type")),
        ("no time", with("at", "null", ""), Invalid("missing_column")),
        ("a number", b"1".to_vec(), Invalid("not_json")),
        ("null", b"null".to_vec(), Invalid("not_json")),
        ("two objects", b"{}{}".to_vec(), Invalid("not_json")),
        ("a name with control characters", with("k", "\"\\u001b[2J\\u0000/../\"", ""), PLAIN),
    ]
}

const COLUMNS: &str = "at = \"timestamp\"\nv = \"int\"\nd = \"decimal(12, 2)\"\nf = \"float\"\n\
                       k = { type = \"text\", optional = true }\n";

fn pipeline(dir: &TempDir, place: &Place, query: &str) -> PipelineFile {
    let mut pipeline = PipelineFile::over_file(dir.path().join("input").to_str().unwrap(), place);
    pipeline.query = query.to_owned();
    pipeline
}

fn text(pipeline: &PipelineFile) -> String {
    let text = pipeline.text().replace("event_time       = \"dropoff_at\"", "event_time = \"at\"");
    let (head, rest) = text.split_once("[source.columns]").unwrap();
    let (_, rest) = rest.split_once("[window]").unwrap();
    format!("{head}[source.columns]\n{COLUMNS}[window]{rest}")
}

for_every_sink! {
    fn every_bad_record_is_kept_with_its_reason_or_exact(place: Place) {
        let dir = TempDir::new().unwrap();
        let cases = cases();
        let lines: Vec<_> = cases.iter().map(|(_, bytes, _)| bytes.as_slice()).collect();
        fs::write(dir.path().join("input"), lines.join(&b"\n"[..])).unwrap();
        let pipeline = pipeline(&dir, &place, "SELECT _offset AS line, v, d, f, k FROM t");
        let file = dir.path().join("bad.toml");
        fs::write(&file, text(&pipeline)).unwrap();
        let ended = run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(0);
        assert!(!ended.said().contains('\u{1b}'), "what a record holds does not act on a terminal");

        let mut kept = BTreeMap::new();
        for key in place.keys("invalid", ".parquet") {
            for batch in place.batches(&key) {
                let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
                let reasons = batch.column_by_name("reason").unwrap().as_string::<i32>();
                let values = batch.column_by_name("value").unwrap().as_binary::<i32>();
                for row in 0..batch.num_rows() {
                    kept.insert(offsets.value(row), (reasons.value(row).to_owned(), values.value(row).to_vec()));
                }
            }
        }
        let mut rows = BTreeMap::new();
        for key in place.keys("data", ".parquet") {
            for batch in place.batches(&key) {
                let lines = batch.column_by_name("line").unwrap().as_primitive::<Int64Type>();
                let value = |name: &str, row| array_value_to_string(batch.column_by_name(name).unwrap(), row).unwrap();
                for row in 0..batch.num_rows() {
                    rows.insert(lines.value(row), ["v", "d", "f"].map(|name| value(name, row)));
                }
            }
        }
        for (line, (name, bytes, fate)) in (1..).zip(&cases) {
            match fate {
                Invalid(reason) => {
                    let (found, value) = kept.remove(&line).unwrap_or_else(|| panic!("{name} is not kept"));
                    assert_eq!(found, *reason, "{name}");
                    assert!(value == *bytes, "{name} is kept as it came");
                }
                Row(v, d, f) => {
                    let row = rows.remove(&line).unwrap_or_else(|| panic!("{name} is in no result: {:?}", kept.get(&line).map(|kept| &kept.0)));
                    assert_eq!(row, [*v, *d, *f].map(str::to_owned), "{name}");
                }
            }
        }
        assert!(kept.is_empty() && rows.is_empty(), "{kept:?}, {rows:?}");
        let audit = run(place.windrow().arg("audit").arg(place.url()).arg("--replay").arg(&file)).expect(0);
        assert!(audit.stdout.contains("\nsound\n"), "{}", audit.stdout);
    }

    fn a_sum_beyond_its_type_is_an_error_and_never_wraps(place: Place) {
        let dir = TempDir::new().unwrap();
        let lines = [with("v", "9223372036854775807", ""), with("v", "9223372036854775807", "")];
        fs::write(dir.path().join("input"), lines.join(&b"\n"[..])).unwrap();
        let wide = pipeline(&dir, &place, "SELECT SUM(v) AS s FROM t");
        let file = dir.path().join("sum.toml");
        fs::write(&file, text(&wide)).unwrap();
        let ended = run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(1);
        assert!(ended.stderr.contains("has no result"), "{}", ended.stderr);
        assert_eq!(place.keys("data", ""), Vec::<String>::new());
    }
}
