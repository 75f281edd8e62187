//! `windrow load` into a real PostgreSQL: the table holds what the files hold, whatever is killed.

mod crashes;
mod refusals;

use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::postgres::{Postgres, expected};
use crate::support::process::{Running, run, windrow};
use crate::support::rides::{Line, MINUTE, Plan, SECOND, as_file};
use crate::support::seed;
use crate::support::worlds::World;

fn plan(records: usize) -> Plan {
    Plan {
        seed: seed(),
        records: vec![records],
        span: 20 * MINUTE,
        disorder: SECOND,
        late: (60, 20 * SECOND),
        too_late: (20, 2 * MINUTE),
        broken: 10,
        tombstones: false,
    }
}

/// Runs the rides query over a file, with corrections.
fn fill(place: &Place, lines: &[Line], change: impl FnOnce(&mut PipelineFile)) {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("rides.jsonl"), as_file(lines)).unwrap();
    let mut pipeline = PipelineFile::over_file(dir.path().join("rides.jsonl").to_str().unwrap(), place);
    pipeline.window += "emit = \"early\"\n";
    change(&mut pipeline);
    run(place.windrow().args(["run", "--close-all"]).arg(pipeline.write(dir.path()))).expect(0);
}

fn raw(pipeline: &mut PipelineFile) {
    pipeline.query = "SELECT * FROM rides".to_owned();
}

fn load(postgres: &Postgres, place: &Place, table: &str, options: &[&str]) -> std::process::Command {
    let mut command = place.windrow();
    command.arg("load").arg(place.url()).args(["--into", postgres.url(), "--table", table]).args(options);
    command
}

/// The table holds exactly what its ledger says, and gives how far that is.
#[track_caller]
fn assert_consistent(postgres: &Postgres, place: &Place, table: &str) -> u64 {
    let (last, _) = postgres.ledger(table);
    let there = !postgres.query(&format!("SELECT 1 WHERE to_regclass('{table}') IS NOT NULL")).is_empty();
    let found = if there { postgres.rows(table) } else { Vec::new() };
    let expected = expected(place, last);
    assert_eq!(found.len(), expected.len(), "rows after entry {last}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "a row after entry {last}");
    }
    last
}

/// The table holds everything that the sink does.
#[track_caller]
fn assert_whole(postgres: &Postgres, place: &Place, table: &str) {
    assert_consistent(postgres, place, table);
    let all = expected(place, u64::MAX).len();
    assert!(all > 0);
    assert_eq!(postgres.rows(table).len(), all);
}

for_every_sink! {
    fn a_table_is_made_and_holds_the_files_row_by_row_corrections_included(place: Place) {
        let Some(postgres) = Postgres::from_env("a_table_is_made_and_holds_the_files") else { return };
        fill(&place, &plan(8_000).lines()[0], |_| {});
        assert!(!place.keys("corrections", ".parquet").is_empty());
        let table = postgres.table("rides");
        let ended = run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
        assert!(ended.stdout.contains("corrections") && ended.stdout.contains("holds everything"), "{}", ended.stdout);
        assert_whole(&postgres, &place, &table);
        let indexed = format!("SELECT 1 FROM pg_indexes WHERE indexdef LIKE '%{table} %(window_start)'");
        assert_eq!(postgres.query(&indexed).len(), 1);

        let again = run(&mut load(&postgres, &place, &table, &[])).expect(0);
        assert!(again.stdout.starts_with("nothing new"), "{}", again.stdout);
        assert_whole(&postgres, &place, &table);
    }
}

#[test]
fn a_loader_that_follows_waits_for_the_pipelines_first_commit() {
    let Some(postgres) = Postgres::from_env("a_loader_that_follows_waits_for_the_pipelines_first_commit") else {
        return;
    };
    let place = Place::disk();
    // Neither is there: the folder, nor a log in it.
    let below = place.below("sink");
    let table = postgres.table("rides");
    let mut running =
        Running::start(&mut load(&postgres, &below, &table, &["--create", "--follow", "--poll", "100ms"]));
    running.wait_for("there is no log yet; waiting for the pipeline's first commit");
    fill(&below, ride_lines(), |_| {});
    running.wait_for("holds everything up to entry");
    running.stop().expect(0);
    // It was stopped wherever it was, perhaps before there was a table.
    run(&mut load(&postgres, &below, &table, &["--create"])).expect(0);
    assert_whole(&postgres, &below, &table);
    let nowhere = place.below("nowhere");
    let ended = run(&mut load(&postgres, &nowhere, &table, &["--create"])).expect(2);
    assert!(ended.stderr.contains("No such file or directory"), "{}", ended.stderr);
}

#[test]
fn the_table_is_named_after_the_pipeline() {
    let Some(postgres) = Postgres::from_env("the_table_is_named_after_the_pipeline") else { return };
    let place = Place::disk();
    fill(&place, &plan(500).lines()[0], |_| {});
    let table = postgres.table("rides");
    let schema = table.split('.').next().unwrap();
    let url = format!("{}?options=-csearch_path%3D{schema}", postgres.url());
    run(place.windrow().arg("load").arg(place.url()).args(["--create", "--into", &url])).expect(0);
    assert_whole(&postgres, &place, &table);
}

#[test]
fn every_type_is_exact_at_its_ends() {
    let Some(postgres) = Postgres::from_env("every_type_is_exact_at_its_ends") else { return };
    let (dir, place) = (TempDir::new().unwrap(), Place::disk());
    let nines = "9".repeat(38);
    let small = format!("0.{}1", "0".repeat(37));
    let lines = format!(
        r#"{{"at":"2026-03-01T00:00:00.000001Z","t":"","b":true,"i":9223372036854775807,"f":1.7976931348623157e308,"d":{nines},"e":{small},"y":"9999-12-31","j":{{"a":[1,null]}}}}
{{"at":"2026-03-01T00:00:01Z","t":"line\nend \u0001 \\ 成田 'quoted' \"x\"","b":false,"i":-9223372036854775808,"f":5e-324,"d":-{nines},"e":-{small},"y":"0001-01-01","j":"\\N"}}
{{"at":"2026-03-01T00:00:02Z","t":null,"b":null,"i":null,"f":null,"d":null,"e":null,"y":null,"j":null}}
{{"at":"2026-03-01T00:00:03Z","t":"NULL","b":true,"i":0,"f":-0.0,"d":0,"e":0.0001000000,"y":"1969-12-31","j":0}}
{{"at":"2026-03-01T00:00:04Z","t":"\\N","b":true,"i":-1,"f":0.1,"d":10000,"e":0.99999999999999999999999999999999999999,"y":"2000-02-29","j":[]}}
"#
    );
    std::fs::write(dir.path().join("x.jsonl"), lines).unwrap();
    let text = format!(
        r#"
name = "types"
[source]
format = "json"
[source.file]
path = {:?}
[source.columns]
at = "timestamp"
t = {{ type = "text", optional = true }}
b = {{ type = "bool", optional = true }}
i = {{ type = "int", optional = true }}
f = {{ type = "float", optional = true }}
d = {{ type = "decimal(38, 0)", optional = true }}
e = {{ type = "decimal(38, 38)", optional = true }}
y = {{ type = "date", optional = true }}
j = {{ type = "json", optional = true }}
[window]
event_time = "at"
size = "1 hour"
[query]
sql = "SELECT * FROM x"
[sink]
url = {:?}
"#,
        dir.path().join("x.jsonl"),
        place.url()
    );
    std::fs::write(dir.path().join("x.toml"), text).unwrap();
    run(windrow().args(["run", "--close-all"]).arg(dir.path().join("x.toml"))).expect(0);
    let table = postgres.table("types");
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    assert_whole(&postgres, &place, &table);
    assert_eq!(postgres.number(&format!("SELECT count(*) FROM {table}")), 5);
    let greatest = postgres.query(&format!("SELECT max(d), min(e), min(y), max(at)::text FROM {table}"));
    let expected = [nines.as_str(), &format!("-{small}"), "0001-01-01"];
    assert_eq!(greatest[0][..3].iter().map(|cell| cell.as_deref().unwrap()).collect::<Vec<_>>(), expected);
}

fn ride_lines() -> &'static [Line] {
    static LINES: std::sync::OnceLock<Vec<Line>> = std::sync::OnceLock::new();
    LINES.get_or_init(|| plan(12_000).lines().remove(0))
}

/// Runs over a file as far as it goes, and leaves its windows open.
fn grow(place: &Place, lines: &[Line], change: impl FnOnce(&mut PipelineFile)) {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("rides.jsonl"), as_file(lines)).unwrap();
    let mut pipeline = PipelineFile::over_file(dir.path().join("rides.jsonl").to_str().unwrap(), place);
    pipeline.window += "emit = \"early\"\n";
    change(&mut pipeline);
    run(place.windrow().arg("run").arg(pipeline.write(dir.path()))).expect(0);
}

#[test]
fn a_dropped_table_is_loaded_anew_and_an_emptied_one_is_told() {
    let Some(postgres) = Postgres::from_env("a_dropped_table_is_loaded_anew") else { return };
    let place = Place::disk();
    fill(&place, &plan(500).lines()[0], |_| {});
    let table = postgres.table("rides");
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    postgres.execute(&format!("DROP TABLE {table}"));
    run(&mut load(&postgres, &place, &table, &[])).expect(2);
    run(&mut load(&postgres, &place, &table, &["--create"])).expect(0);
    assert_whole(&postgres, &place, &table);

    postgres.execute(&format!("TRUNCATE {table}"));
    let ended = run(&mut load(&postgres, &place, &table, &[])).expect(0);
    assert!(ended.stderr.contains("is empty, though"), "{}", ended.stderr);
    let (_, mend) = ended.stderr.split_once("again run ").unwrap();
    postgres.execute(mend.lines().next().unwrap());
    run(&mut load(&postgres, &place, &table, &[])).expect(0);
    assert_whole(&postgres, &place, &table);
}

for_every_broker_and_sink! {
    fn a_raw_pipeline_brings_a_topic_into_a_table(broker: Broker, place: Place) {
        let Some(postgres) = Postgres::from_env("a_raw_pipeline_brings_a_topic_into_a_table") else { return };
        let world = World::new(broker, place, 2);
        let lines = Plan::clean(seed(), &[3_000, 3_000], 10 * MINUTE).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        for (partition, lines) in lines.iter().enumerate() {
            lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        let mut pipeline = PipelineFile::over_topic(&world);
        raw(&mut pipeline);
        let file = pipeline.write(world.dir.path());
        run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
        let table = postgres.table("rides");
        run(&mut load(&postgres, &world.place, &table, &["--create"])).expect(0);
        assert_whole(&postgres, &world.place, &table);
        // Every record of the topic is one row.
        let found = postgres.query(&format!(
            "SELECT (extract(epoch FROM dropoff_at) * 1000000)::bigint::text, pickup_location, (total_amount * 100)::bigint::text \
             FROM {table} ORDER BY _partition, _offset"
        ));
        let sent = lines.iter().flatten().map(|line| {
            let ride = line.ride.as_ref().unwrap();
            vec![Some(ride.at.to_string()), Some(ride.zone.clone()), Some(ride.cents.to_string())]
        });
        assert_eq!(found, sent.collect::<Vec<_>>());
    }
}
