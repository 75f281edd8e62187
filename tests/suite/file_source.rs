//! A file or standard input to Parquet, end to end, against the truth.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run, run_with_input};
use crate::support::rides::{BEGIN, HOUR, Line, MINUTE, Plan, Ride, SECOND, as_file, rfc3339};
use crate::support::truth::{Group, Truth, same_windows};
use crate::support::{PATIENCE, eventually, seed};

/// A file counts its lines from 1.
const FIRST: i64 = 1;

/// Everything that can go wrong with a record, in a file of this many lines.
fn rough(seed: u64, lines: usize) -> Vec<Vec<Line>> {
    let plan = Plan {
        seed,
        records: vec![lines],
        span: 20 * MINUTE,
        disorder: SECOND,
        late: (60, 20 * SECOND),
        too_late: (20, 2 * MINUTE),
        broken: 30,
        tombstones: false,
    };
    plan.lines()
}

fn write(dir: &Path, lines: &[Line]) -> PathBuf {
    let path = dir.join("rides.jsonl");
    fs::write(&path, as_file(lines)).unwrap();
    path
}

fn close_all(pipeline: &PipelineFile, place: &Place, dir: &Path) {
    run(place.windrow().args(["run", "--close-all"]).arg(pipeline.write(dir))).expect(0);
    run(place.windrow().arg("audit").arg(place.url())).expect(0);
}

for_every_sink! {
    fn every_row_and_every_count_equals_the_truth(place: Place) {
        let dir = TempDir::new().unwrap();
        let lines = rough(seed(), 20_000);
        let path = write(dir.path(), &lines[0]);
        let pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
        let truth = Truth::of(&lines, pipeline.shape, FIRST);
        assert!(truth.late > 0 && !truth.too_late.is_empty() && !truth.invalid.is_empty() && truth.filtered > 0);

        // A run ends with the file. What is still open stays open, and what is out is right.
        run(place.windrow().arg("run").arg(pipeline.write(dir.path()))).expect(0);
        let newest = place.newest().unwrap();
        truth.assert_counts(&newest);
        assert!(!newest["windows"].as_array().unwrap().is_empty(), "a normal end closes nothing");
        let found = place.results("data");
        assert!(found.len() > 50 && found.len() < truth.all.len());
        let expected = truth.all.iter().filter(|(start, _)| found.contains_key(start));
        same_windows(&found, &expected.map(|(start, rows)| (*start, rows.clone())).collect());

        close_all(&pipeline, &place, dir.path());
        truth.assert_final(&place);
    }

    fn early_results_are_corrected_once(place: Place) {
        let dir = TempDir::new().unwrap();
        let lines = rough(seed(), 10_000);
        let path = write(dir.path(), &lines[0]);
        let mut pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
        pipeline.window += "emit = \"early\"\n";
        let truth = Truth::of(&lines, pipeline.shape, FIRST);
        assert!(!truth.corrected.is_empty());
        close_all(&pipeline, &place, dir.path());
        truth.assert_early(&place);
    }

    fn a_run_killed_again_and_again_gives_the_same_rows(place: Place) {
        let dir = TempDir::new().unwrap();
        let seed = seed();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lines = rough(seed, 60_000);
        let path = write(dir.path(), &lines[0]);
        let pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
        let truth = Truth::of(&lines, pipeline.shape, FIRST);
        let file = pipeline.write(dir.path());
        for _ in 0..8 {
            let running = Running::start(place.windrow().args(["run", "--close-all"]).arg(&file));
            thread::sleep(Duration::from_millis(rng.random_range(30..600)));
            running.kill();
            for key in place.keys("data", ".parquet") {
                let file = place.result(&key);
                assert_eq!(Some(&file.rows), truth.all.get(&file.start), "{key}");
            }
        }
        close_all(&pipeline, &place, dir.path());
        truth.assert_final(&place);
    }
}

#[test]
fn standard_input_is_read_like_a_file() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    let lines = rough(seed(), 3_000);
    let path = write(dir.path(), &lines[0]);
    let pipeline = PipelineFile::over_file("-", &place);
    let file = pipeline.write(dir.path());
    run_with_input(place.windrow().args(["run", "--close-all"]).arg(file), &path).expect(0);
    Truth::of(&lines, pipeline.shape, FIRST).assert_final(&place);
}

#[test]
fn a_file_that_grew_is_read_on() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    let lines = rough(seed(), 4_000);
    let path = write(dir.path(), &lines[0][..1_500]);
    let pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
    run(place.windrow().arg("run").arg(pipeline.write(dir.path()))).expect(0);
    write(dir.path(), &lines[0]);
    close_all(&pipeline, &place, dir.path());
    Truth::of(&lines, pipeline.shape, FIRST).assert_final(&place);
}

#[test]
fn standard_input_that_stays_open_does_not_hold_up_a_stop() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    let lines = rough(seed(), 1_000);
    let pipeline = PipelineFile::over_file("-", &place);
    let mut command = place.windrow();
    let (input, mut pipe) = std::io::pipe().unwrap();
    let running = Running::start(command.arg("run").arg(pipeline.write(dir.path())).stdin(input));
    pipe.write_all(as_file(&lines[0]).as_bytes()).unwrap();
    eventually("everything is read", PATIENCE, || (place.newest()?["totals"]["read"] == lines[0].len()).then_some(()));
    running.signal("TERM");
    running.wait(Duration::from_secs(10)).expect(0);
    assert_eq!(place.newest().unwrap()["released"], true);
    drop(pipe);
}

#[test]
fn a_large_window_is_split_into_numbered_parts() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    let lines = Plan::clean(seed(), &[150_000], MINUTE).lines();
    let path = write(dir.path(), &lines[0]);
    let mut pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
    pipeline.query = "SELECT dropoff_at, _offset AS line FROM rides".to_owned();
    pipeline.shape.size = 10 * MINUTE;
    pipeline.sink_lines += "target_file_size = \"16 KiB\"\n";
    close_all(&pipeline, &place, dir.path());

    let keys = place.keys("data", ".parquet");
    let mut counts = Vec::new();
    let mut found: Vec<i64> = Vec::new();
    for key in &keys {
        let batches = place.batches(key);
        counts.push(batches.iter().map(|batch| batch.num_rows()).sum::<usize>());
        for batch in batches {
            found.extend(batch.column_by_name("line").unwrap().as_primitive::<Int64Type>().values());
        }
    }
    // The disorder of the first seconds reaches back into the window before.
    let (start, large): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key.contains("20240229T235000Z"));
    assert_eq!(start.len(), 1);
    assert!(large.len() > 1, "{keys:?}, {counts:?}");
    for (key, part) in large.iter().zip(1..) {
        assert_eq!(**key, format!("data/dt=2024-03-01/rides-20240301T000000Z-p{part:05}.parquet"));
    }
    found.sort_unstable();
    assert!(found.into_iter().eq(1..=150_000), "every line is there once");
}

#[test]
fn a_query_without_an_aggregate_gives_the_records_themselves_in_their_order() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    let lines = rough(seed(), 5_000);
    let path = write(dir.path(), &lines[0]);
    let mut pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
    pipeline.query = "SELECT * FROM rides".to_owned();
    close_all(&pipeline, &place, dir.path());

    let too_late = Truth::of(&lines, pipeline.shape, FIRST).too_late;
    let mut expected: BTreeMap<i64, Vec<(i64, String, i64)>> = BTreeMap::new();
    for (offset, line) in (FIRST..).zip(&lines[0]) {
        if let Some(ride) = &line.ride
            && !too_late.contains(&(0, offset))
        {
            let rows = expected.entry(ride.at - ride.at.rem_euclid(pipeline.shape.size)).or_default();
            rows.push((ride.at, ride.zone.clone(), ride.cents));
        }
    }
    let mut found: BTreeMap<i64, Vec<(i64, String, i64)>> = BTreeMap::new();
    for batch in place.keys("data", ".parquet").iter().flat_map(|key| place.batches(key)) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let start = column("window_start").as_primitive::<TimestampMicrosecondType>();
        let at = column("dropoff_at").as_primitive::<TimestampMicrosecondType>();
        let zones = column("pickup_location").as_string::<i32>();
        let cents = column("total_amount").as_primitive::<Decimal128Type>();
        for row in 0..batch.num_rows() {
            let ride = (at.value(row), zones.value(row).to_owned(), i64::try_from(cents.value(row)).unwrap());
            found.entry(start.value(row)).or_default().push(ride);
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn amounts_are_exact_however_they_are_written() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    // Each of these goes wrong in a float, or in a reader that goes through one.
    let amounts =
        ["0.1", "0.2", "\"0.30\"", "1e2", "12.5e-1", "9999999999.99", "\"9999999999.99\"", "4503599627.37", "\"0.07\""];
    let cents = [10, 20, 30, 10_000, 125, 999_999_999_999, 999_999_999_999, 450_359_962_737, 7];
    let line = |amount: &&str| {
        format!("{{\"dropoff_at\":\"{}\",\"pickup_location\":\"x\",\"total_amount\":{amount}}}\n", rfc3339(BEGIN, 0))
    };
    let path = dir.path().join("rides.jsonl");
    fs::write(&path, amounts.iter().map(line).collect::<String>().repeat(1_000)).unwrap();
    let pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
    close_all(&pipeline, &place, dir.path());
    let group = Group { cents: cents.iter().sum::<i64>() * 1_000, rides: 9_000, lowest: 7, highest: 999_999_999_999 };
    assert_eq!(place.results("data"), BTreeMap::from([(BEGIN, BTreeMap::from([("x".to_owned(), group)]))]));
}

#[test]
fn days_follow_the_calendar_of_their_time_zone() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    // In Berlin, 2024-03-31 has 23 hours and begins at 23:00 UTC the day before.
    let midnight = BEGIN + 30 * 24 * HOUR - HOUR;
    let times = [midnight - 1, midnight, midnight + 23 * HOUR - 1, midnight + 23 * HOUR, midnight + 47 * HOUR - 1];
    let lines: Vec<Line> = times.iter().map(|&at| Line::of(Ride { at, zone: "x".to_owned(), cents: 1 })).collect();
    let path = write(dir.path(), &lines);
    let mut pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
    pipeline.query = "SELECT COUNT(*) AS n FROM rides".to_owned();
    pipeline.window += "timezone = \"Europe/Berlin\"\n";
    let text = pipeline.text().replace("size             = \"10s\"", "size = \"1 day\"");
    let file = dir.path().join("days.toml");
    fs::write(&file, text).unwrap();
    run(place.windrow().args(["run", "--close-all"]).arg(file)).expect(0);

    let keys = place.keys("data", ".parquet");
    let expected = [
        "data/dt=2024-03-30/rides-20240329T230000Z.parquet",
        "data/dt=2024-03-31/rides-20240330T230000Z.parquet",
        "data/dt=2024-04-01/rides-20240331T220000Z.parquet",
    ];
    assert_eq!(keys, expected);
    let rows: Vec<(i64, i64)> = keys
        .iter()
        .flat_map(|key| place.batches(key))
        .map(|batch| {
            let time = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>().value(0);
            ((time(1) - time(0)) / HOUR, batch.column(2).as_primitive::<Int64Type>().value(0))
        })
        .collect();
    assert_eq!(rows, [(24, 1), (23, 2), (24, 2)]);
}

/// Windows of ten seconds, one every two: each record is in the files of five, but of those that were final when it came.
#[test]
fn hopping_windows_hold_each_record_in_all_of_theirs_and_are_audited() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    let lines = rough(seed(), 4_000);
    let path = write(dir.path(), &lines[0]);
    let mut pipeline = PipelineFile::over_file(path.to_str().unwrap(), &place);
    pipeline.query = "SELECT _offset AS o, dropoff_at AS at FROM rides WHERE total_amount > 0".to_owned();
    pipeline.window += "every = \"2s\"\n";
    // What is twenty seconds late misses some of its windows then.
    pipeline.shape.lateness = 12 * SECOND;
    let file = pipeline.write(dir.path());
    run(place.windrow().args(["run", "--once"]).arg(&file)).expect(0);
    let open = run(place.windrow().arg("status").arg(place.url()));
    assert!(open.stdout.contains(" open windows\n"), "{}", open.stdout);
    run(place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    let audit = run(place.windrow().arg("audit").arg(place.url()).arg("--replay").arg(&file));
    assert!(audit.stdout.ends_with("sound\n"), "{}", audit.stdout);

    let newest = place.newest().unwrap();
    let total = |name: &str| newest["totals"][name].as_u64().unwrap_or_default();
    assert!(total("missed") > 0 && total("late") > 0 && total("filtered") > 0, "{}", newest["totals"]);
    let mut windows: BTreeMap<i64, u64> = BTreeMap::new();
    let mut rows = 0;
    for key in place.keys("data", ".parquet") {
        for batch in place.batches(&key) {
            let time = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>().clone();
            let (starts, ends, at) = (time(0), time(1), time(3));
            for (row, offset) in batch.column(2).as_primitive::<Int64Type>().values().iter().enumerate() {
                let (start, end, at) = (starts.value(row), ends.value(row), at.value(row));
                assert!(start % (2 * SECOND) == 0 && end - start == 10 * SECOND && start <= at && at < end);
                *windows.entry(*offset).or_default() += 1;
                rows += 1;
            }
        }
    }
    assert_eq!(windows.len() as u64, total("aggregated"));
    assert!(windows.values().all(|held| (1..=5).contains(held)));
    // What was filtered may have missed windows, too.
    assert!(rows <= 5 * total("aggregated") && rows + total("missed") >= 5 * total("aggregated"));
}
