//! `windrow batch`: whole records in files, each once, whatever they hold.

mod on_batch;
mod records;

use std::process::Command;

use serde_json::{Value, json};

use self::records::{EVERY, Sent, an_hour_ago, parquet_rows, records, rows_of, send, text_rows};
use crate::support::broker::Broker;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::SECOND;
use crate::support::worlds::World;
use crate::support::{PATIENCE, eventually, seed};

const PARTITIONS: usize = 3;

/// The command over the world's topic, with batches of half a minute.
fn batch(world: &World, place: &Place, more: &[&str]) -> Command {
    let mut command = place.windrow();
    command.args(["batch", "--brokers", world.broker.servers(), "--topic", &world.topic, "--group", &world.topic]);
    command.args(["--name", "ticks", "--every", "30s", "--out", &place.url()]).args(more);
    command
}

fn batch_to_end(world: &World, place: &Place, more: &[&str]) {
    run(batch(world, place, more).args(["--once", "--close-all"])).expect(0);
    run(place.windrow().arg("audit").arg(place.url())).expect(0);
}

for_every_broker_and_sink! {
    fn whole_records_come_row_for_row_whatever_is_in_them(broker: Broker, place: Place) {
        let world = World::new(broker, place, 3);
        let sent = records(seed(), PARTITIONS, 700, 9 * SECOND);
        send(&world, &sent);
        batch_to_end(&world, &world.place, &["--key", "bytes", "--value", "bytes"]);
        let expected = rows_of(&sent, EVERY, |_| true);
        let found = parquet_rows(&world.place);
        assert_eq!(found.len(), expected.len());
        for (at, row) in &expected {
            assert_eq!(found.get(at), Some(row), "{at:?}");
        }
        for folder in ["late", "invalid"] {
            assert_eq!(world.place.keys(folder, ""), Vec::<String>::new());
        }
    }

    fn every_format_holds_the_same_rows(broker: Broker, place: Place) {
        let world = World::new(broker, place, 3);
        let sent = records(seed(), PARTITIONS, 300, 9 * SECOND);
        send(&world, &sent);
        let expected = rows_of(&sent, EVERY, Sent::is_text);
        let invalid = rows_of(&sent, EVERY, |one| !one.is_text());
        assert!(!expected.is_empty() && !invalid.is_empty());
        for format in ["parquet", "jsonl", "csv"] {
            let place = world.place.below(format);
            batch_to_end(&world, &place, &["--format", format]);
            let found = if format == "parquet" { parquet_rows(&place) } else { text_rows(&place, &format!(".{format}")) };
            assert_eq!(found.len(), expected.len(), "{format}");
            for (at, row) in &expected {
                assert_eq!(found.get(at), Some(row), "{format} {at:?}");
            }
            let kept: Vec<_> = place.kept("invalid").into_iter().map(|(p, o)| (i64::from(p), o)).collect();
            assert_eq!(kept, invalid.keys().copied().collect::<Vec<_>>(), "{format}: what is no text is kept apart");
            let keys = place.keys("data", "");
            assert!(keys.iter().all(|key| key.ends_with(&format!(".{format}"))), "{keys:?}");
            feed_tells_the_format(&place, format);
            recomputed_as(&world, &place, format);
            kept_have_their_headers(&place, &sent);
        }
    }
}

/// The topic gives the same again, headers and all, in the format that the files are in, and in no other.
fn recomputed_as(world: &World, place: &Place, format: &str) {
    let audit = |format: &str, code| {
        let printed = run(&mut batch(world, place, &["--format", format, "--print"])).expect(0);
        let file = world.dir.path().join("replay.toml");
        std::fs::write(&file, printed.stdout).unwrap();
        run(place.windrow().args(["audit", &place.url(), "--replay"]).arg(&file)).expect(code)
    };
    audit(format, 0);
    let other = if format == "csv" { "jsonl" } else { "csv" };
    let refused = audit(other, 2);
    assert!(refused.stderr.contains("which cannot be compared"), "{}", refused.said());
}

fn feed_tells_the_format(place: &Place, format: &str) {
    for key in place.keys("feed", ".json") {
        let feed: Value = serde_json::from_slice(&place.get(&key)).unwrap();
        for file in feed["files"].as_array().unwrap().iter().filter(|file| file["kind"] == "data") {
            let told = file["format"].as_str().unwrap_or("parquet");
            assert_eq!(told, format, "{key}");
        }
    }
    let listed = run(place.windrow().args(["files", &place.url(), "--format", "duckdb"])).expect(0);
    let function = match format {
        "jsonl" => "read_json",
        "csv" => "read_csv",
        _ => "read_parquet",
    };
    assert!(listed.stdout.contains(function), "{}", listed.stdout);
}

fn kept_have_their_headers(place: &Place, sent: &[Vec<Sent>]) {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, Int64Type};
    for key in place.keys("invalid", ".parquet") {
        for batch in place.batches(&key) {
            let headers = batch.column_by_name("headers").unwrap().as_string::<i32>();
            let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
            let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let (partition, offset) = (partitions.value(row) as usize, offsets.value(row) as usize);
                let found = headers.is_valid(row).then(|| serde_json::from_str::<Value>(headers.value(row)).unwrap());
                assert_eq!(found, sent[partition][offset].headers_as_json(), "{key} {partition}/{offset}");
            }
        }
    }
}

#[test]
fn json_members_become_columns_and_what_does_not_fit_is_kept_apart() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let producer = world.broker.producer(&world.topic, &[]);
    let at = an_hour_ago();
    let values = [
        Some(r#"{"ticker": "PETR4", "price": 38.10, "ride": {"fare": 1}}"#),
        Some(r#"{"price": "0.05"}"#),
        Some(r#"{"ticker": "VALE3"}"#),
        Some("no json"),
        None,
        Some(r#"{"ticker": null, "price": 1e1, "ride": {"fare": null}}"#),
    ];
    for value in values {
        producer.send_whole(0, at, Some(b"7"), value.map(str::as_bytes), &[("trace".to_owned(), Some(b"t1".to_vec()))]);
    }
    producer.send_whole(0, at, Some(b"seven"), Some(br#"{"price": 1}"#), &[]);
    producer.flush();
    let columns = "ticker text, price decimal(12, 2) not null, \"ride.fare\" int";
    let more = ["--columns", columns, "--key", "int", "--header", "trace", "--format", "jsonl"];
    batch_to_end(&world, &world.place, &more);
    let keys = world.place.keys("data", ".jsonl");
    let text = String::from_utf8(world.place.get(&keys[0]).to_vec()).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told =
        |row: &Value| json!([row["_offset"], row["ticker"], row["price"], row["ride.fare"], row["_key"], row["trace"]]);
    let expected = [
        json!([0, "PETR4", 38.1, 1, 7, "t1"]),
        json!([1, null, 0.05, null, 7, "t1"]),
        json!([5, null, 10.0, null, 7, "t1"]),
    ];
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected);
    let invalid = [(0, 2), (0, 3), (0, 4), (0, 6)];
    assert_eq!(world.place.kept("invalid"), invalid.into_iter().collect());
}

#[test]
fn whole_json_is_kept_as_it_is_and_what_is_no_json_is_kept_apart() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let producer = world.broker.producer(&world.topic, &[]);
    let at = an_hour_ago();
    for value in [Some(r#"{"a":  1}"#), Some("[1, 2]"), Some("{"), None, Some("7")] {
        producer.send_whole(0, at, None, value.map(str::as_bytes), &[]);
    }
    producer.flush();
    batch_to_end(&world, &world.place, &["--value", "json"]);
    let found: Vec<_> = parquet_rows(&world.place).into_iter().map(|((_, offset), row)| (offset, row.value)).collect();
    let text = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(found, [(0, text(r#"{"a":  1}"#)), (1, text("[1, 2]")), (3, None), (4, text("7"))]);
    assert_eq!(world.place.kept("invalid"), [(0, 2)].into_iter().collect());
}

#[test]
fn a_record_too_far_behind_its_partition_is_kept_apart_and_counted() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let producer = world.broker.producer(&world.topic, &[]);
    let start = an_hour_ago() / 30_000 * 30_000;
    // The second is 9 s behind the newest and comes into its own batch; the last is 11 s behind.
    for at in [start + 34_000, start + 25_000, start + 40_000, start + 29_000] {
        producer.send_whole(0, at, None, Some(b"v"), &[]);
    }
    producer.flush();
    batch_to_end(&world, &world.place, &[]);
    let found: Vec<_> = parquet_rows(&world.place).into_iter().map(|((_, offset), row)| (offset, row.window)).collect();
    let (first, second) = (start * 1000, start * 1000 + EVERY);
    assert_eq!(found, [(0, second), (1, first), (2, second)]);
    assert_eq!(world.place.kept("late"), [(0, 3)].into_iter().collect());
}

for_every_broker_and_sink! {
    fn a_quiet_topic_closes_its_batch_by_the_clock(broker: Broker, place: Place) {
        let world = World::new(broker, place, 2);
        let producer = world.broker.producer(&world.topic, &[]);
        let mut command = place_batch(&world, &["--poll", "1s"]);
        let running = Running::start(&mut command);
        let now = windrow::clock::Clock::system().now().0 / 1000;
        for number in 0..10 {
            producer.send_whole(number % 2, now, None, Some(b"v"), &[]);
        }
        producer.flush();
        // Nothing more comes, and no partition moves on by a record.
        eventually("the quiet topic's batch", PATIENCE, || {
            (world.place.keys("data", ".parquet").len() == 1).then_some(())
        });
        assert_eq!(parquet_rows(&world.place).len(), 10);
        let ended = running.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
    }
}

/// Batches of two seconds.
fn place_batch(world: &World, more: &[&str]) -> Command {
    let mut command = world.place.windrow();
    command.args(["batch", "--brokers", world.broker.servers(), "--topic", &world.topic, "--group", &world.topic]);
    command.args(["--name", "ticks", "--every", "2s", "--out", &world.place.url()]).args(more);
    command
}

#[test]
fn the_file_that_it_prints_goes_on_in_its_sink() {
    let world = World::new(Broker::mock(), Place::disk(), PARTITIONS as i32);
    let sent = records(seed(), PARTITIONS, 100, 0);
    let (first, second): (Vec<_>, Vec<_>) = sent.iter().map(|sent| (sent[..50].to_vec(), sent[50..].to_vec())).unzip();
    let more = ["--key", "bytes", "--value", "bytes"];
    send(&world, &first);
    run(batch(&world, &world.place, &more).arg("--once")).expect(0);
    let printed = run(batch(&world, &world.place, &more).arg("--print")).expect(0);
    let file = world.dir.path().join("ticks.toml");
    std::fs::write(&file, printed.stdout).unwrap();
    send(&world, &second);
    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
    assert_eq!(parquet_rows(&world.place), rows_of(&sent, EVERY, |_| true));
}

#[test]
fn headers_and_keys_can_be_used_in_any_query() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let producer = world.broker.producer(&world.topic, &[]);
    let at = an_hour_ago();
    let header = |value: Option<&str>| vec![("tenant".to_owned(), value.map(|value| value.as_bytes().to_vec()))];
    let mut twice = header(Some("first"));
    twice.extend(header(Some("acme")));
    for (key, headers, amount) in [
        ("1", twice, 5),
        ("2", header(Some("acme")), 7),
        ("3", header(Some("o'hara")), 11),
        ("4", header(None), 13),
        ("5", Vec::new(), 17),
        ("six", header(Some("acme")), 19),
    ] {
        let value = format!("{{\"amount\": {amount}}}");
        producer.send_whole(0, at, Some(key.as_bytes()), Some(value.as_bytes()), &headers);
    }
    producer.flush();
    let (servers, topic, url) = (world.broker.servers(), &world.topic, world.place.url());
    let file = world.dir.path().join("tenants.toml");
    let text = format!(
        r#"
name = "tenants"
[source]
key = "int"
[source.kafka]
brokers = "{servers}"
topic = "{topic}"
group = "{topic}"
[source.columns]
amount = "int"
[window]
event_time = "_timestamp"
size = "1 day"
[query]
sql = """
SELECT _headers['tenant'] AS tenant, SUM(amount) AS amount, MAX(_key) AS newest,
       COUNT(*) FILTER (WHERE _headers['tenant'] = 'acme') AS of_acme
FROM   records
GROUP  BY _headers['tenant']
"""
[sink]
url = "{url}"
format = "jsonl"
"#
    );
    std::fs::write(&file, text).unwrap();
    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    let keys = world.place.keys("data", ".jsonl");
    let rows = String::from_utf8(world.place.get(&keys[0]).to_vec()).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        rows.iter().map(|row| json!([row["tenant"], row["amount"], row["newest"], row["of_acme"]])).collect();
    assert_eq!(told, [json!(["acme", 12, 2, 2]), json!(["o'hara", 11, 3, 0]), json!([null, 30, 5, 0])]);
    assert_eq!(world.place.kept("invalid"), [(0, 5)].into_iter().collect(), "a key that is no number");
}

#[test]
fn results_of_other_formats_are_not_loaded() {
    let Some(address) = std::env::var("WINDROW_TEST_POSTGRES").ok().filter(|address| !address.is_empty()) else {
        crate::support::skip("results_of_other_formats_are_not_loaded", "WINDROW_TEST_POSTGRES names no server");
        return;
    };
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let producer = world.broker.producer(&world.topic, &[]);
    producer.send_whole(0, an_hour_ago(), None, Some(b"v"), &[]);
    producer.flush();
    batch_to_end(&world, &world.place, &["--format", "csv"]);
    let table = crate::support::unique("ticks").replace('-', "_");
    let load = ["load", &world.place.url(), "--into", &address, "--create", "--table", &table];
    let ended = run(world.place.windrow().args(load)).expect(2);
    assert!(ended.stderr.contains("only Parquet is loaded"), "{}", ended.said());
}

#[test]
fn columns_are_learned_once_and_nothing_of_a_record_is_lost_by_that() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let producer = world.broker.producer(&world.topic, &[]);
    let at = an_hour_ago();
    let send = |values: &[&str]| {
        values.iter().for_each(|value| producer.send_whole(0, at, None, Some(value.as_bytes()), &[]));
        producer.flush();
    };
    let more = ["--json", "--format", "jsonl"];
    let nothing = run(batch(&world, &world.place, &more).arg("--once")).expect(2);
    assert!(nothing.stderr.contains("has no records to learn columns from"), "{}", nothing.said());
    let first = [r#"{"ticker": "A", "price": 1.5, "a.b": 1, "dt": "x"}"#, "broken"];
    send(&first);
    let said = run(batch(&world, &world.place, &more).arg("--once")).expect(0).stderr;
    assert!(said.contains("ticker text, price decimal(18, 1), a_b int, record_dt text"), "{said}");
    let later = [r#"{"ticker": "B", "price": 2, "new": true}"#, r#"{"ticker": 7}"#, "{}"];
    send(&later);
    batch_to_end(&world, &world.place, &more);
    let keys = world.place.keys("data", ".jsonl");
    let text = String::from_utf8(world.place.get(&keys[0]).to_vec()).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |row: &Value| json!([row["_offset"], row["ticker"], row["price"], row["a_b"], row["_value"]]);
    let expected = [
        json!([0, "A", 1.5, 1, first[0]]),
        json!([2, "B", 2.0, null, later[0]]),
        json!([4, null, null, null, later[2]]),
    ];
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(rows.iter().all(|row| row.get("new").is_none()), "the columns stay those of the first start");
    assert_eq!(world.place.kept("invalid"), [(0, 1), (0, 3)].into_iter().collect());
}
