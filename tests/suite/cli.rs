//! The commands as a person or a script meets them: words, exit codes, forms of output.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Ended, run, windrow};
use crate::support::rides::{MINUTE, Plan, SECOND, as_file};

const COMMANDS: [&str; 7] = ["demo", "run", "check", "status", "files", "audit", "generate"];

#[test]
fn help_names_every_command_and_every_command_has_help() {
    let help = run(windrow().arg("--help")).expect(0);
    for command in COMMANDS {
        assert!(help.stdout.contains(command), "{command} is not in:\n{}", help.stdout);
        let own = run(windrow().args([command, "--help"])).expect(0);
        assert!(own.stdout.contains("Usage: windrow"), "{}", own.stdout);
    }
}

#[test]
fn version_is_that_of_the_crate() {
    let version = run(windrow().arg("--version")).expect(0);
    assert_eq!(version.stdout.trim(), format!("windrow {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in
        [&["unheard-of"][..], &[], &["run"], &["run", "--unheard-of", "x.toml"], &["files", "x", "--format", "x"]]
    {
        let ended = run(windrow().args(arguments)).expect(2);
        assert!(ended.stderr.contains("Usage") || ended.stderr.contains("invalid value"), "{}", ended.stderr);
    }
    let ended = run(windrow().args(["run", "no/such/file.toml"])).expect(2);
    assert!(ended.stderr.contains("no/such/file.toml"), "{}", ended.stderr);
}

/// A pipeline file that is sound as it stands.
fn sound(dir: &Path) -> PipelineFile {
    let mut pipeline = PipelineFile::over_file("rides.jsonl", &Place::disk());
    pipeline.source =
        "[source.kafka]\nbrokers = \"127.0.0.1:1\"\ntopic = \"rides\"\ngroup = \"rides\"\nproperties = { \"client.rack\" = \"a\" }".to_owned();
    pipeline.sink = dir.join("sink").display().to_string();
    pipeline
}

fn check_offline(text: &str, dir: &Path) -> Ended {
    let path = dir.join("wrong.toml");
    fs::write(&path, text).unwrap();
    run(windrow().args(["check", "--offline"]).arg(path))
}

/// What is wrong, what the file has instead, and the words that must be in the error.
const WRONG: [(&str, &str, &str, &[&str]); 16] = [
    ("an unknown key", "watermark_delay ", "watermark_dely", &["watermark_dely", "watermark_delay"]),
    ("an unknown table", "[window]", "[windw]", &["windw", "window"]),
    ("a duration that is none", "\"20s\"", "\"20 parsecs\"", &["20 parsecs", "allowed_lateness"]),
    ("a size of nothing", "size             = \"10s\"", "size = \"0s\"", &["size"]),
    ("a type that is none", "\"timestamp\"", "\"timestmp\"", &["timestmp", "timestamp"]),
    ("digits that are too many", "decimal(12, 2)", "decimal(42, 2)", &["decimal(42, 2)", "38"]),
    ("a column that nobody declares", "= \"dropoff_at\"", "= \"picked_up\"", &["picked_up"]),
    ("a column in the query that nobody declares", "SUM(total_amount)", "SUM(fare)", &["fare"]),
    ("a query that is no SQL", "GROUP  BY", "GROOP  BY", &["query"]),
    ("dt as a column", "AS rides", "AS dt", &["dt"]),
    ("a name that is not set", "url = \"", "url = \"${WINDROW_NOT_SET}", &["WINDROW_NOT_SET"]),
    ("a property that Windrow owns", "client.rack", "enable.auto.commit", &["enable.auto.commit"]),
    ("the group as a property", "client.rack", "group.id", &["group.id"]),
    ("a property that runs code", "client.rack", "plugin.library.paths", &["plugin.library.paths"]),
    ("two sources", "[source.columns]", "[source.file]\npath = \"x\"\n[source.columns]", &["source"]),
    ("text where TOML is due", "[sink]", "[sink", &["TOML"]),
];

#[test]
fn what_is_wrong_in_a_pipeline_file_is_told_with_its_line() {
    let dir = TempDir::new().unwrap();
    let text = sound(dir.path()).text();
    check_offline(&text, dir.path()).expect(0);
    for (what, before, after, words) in WRONG {
        assert!(text.contains(before), "{what}: {before:?} is not in the file");
        let wrong = text.replacen(before, after, 1);
        let ended = check_offline(&wrong, dir.path());
        assert_eq!(ended.code, Some(2), "{what}: {}", ended.said());
        for word in words {
            assert!(ended.stderr.contains(word), "{what}: {word:?} is not in:\n{}", ended.stderr);
        }
        let line = wrong.lines().position(|line| after.lines().any(|new| line.contains(new))).unwrap() + 1;
        let place = format!("wrong.toml:{line}");
        // A query is several lines; its error may name the one where it begins.
        let query = wrong.lines().position(|line| line.starts_with("sql")).unwrap() + 1;
        let in_query = line > query && ended.stderr.contains(&format!("wrong.toml:{query}"));
        assert!(ended.stderr.contains(&place) || in_query, "{what}: {place} is not in:\n{}", ended.stderr);
        assert!(ended.stderr.lines().count() <= 4, "{what}: a line or two:\n{}", ended.stderr);
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let dir = TempDir::new().unwrap();
    let text = sound(dir.path()).text();
    let wrong =
        text.replace("\"20s\"", "\"long\"").replace("\"timestamp\"", "\"time\"").replace("watermark_delay ", "delay");
    let ended = check_offline(&wrong, dir.path()).expect(2);
    for word in ["long", "time", "delay"] {
        assert!(ended.stderr.contains(word), "{word:?} is not in:\n{}", ended.stderr);
    }
}

#[test]
fn every_example_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        seen += 1;
        let mut command = windrow();
        // What it wants from the environment, told by the name.
        for part in fs::read_to_string(&path).unwrap().split("${").skip(1) {
            let name = part.split_once('}').unwrap().0;
            let likely = [("BROKERS", "localhost:9092"), ("ENDPOINT", "http://localhost:9000"), ("BUCKET", "lake")];
            let value = likely.iter().find(|(end, _)| name.ends_with(end)).map_or("secret", |(_, value)| value);
            command.env(name, value);
        }
        let ended = run(command.args(["check", "--offline"]).arg(&path));
        assert_eq!(ended.code, Some(0), "{}: {}", path.display(), ended.stderr);
    }
    assert!(seen > 0);
}

/// A sink with results, corrections and what came too late.
fn filled(place: &Place, dir: &Path) -> PipelineFile {
    let rough = Plan {
        late: (60, 20 * SECOND),
        too_late: (20, 2 * MINUTE),
        broken: 20,
        ..Plan::clean(7, &[3_000], 5 * MINUTE)
    };
    let input = dir.join("rides.jsonl");
    fs::write(&input, as_file(&rough.lines()[0])).unwrap();
    let mut pipeline = PipelineFile::over_file(input.to_str().unwrap(), place);
    pipeline.window += "emit = \"early\"\n";
    run(place.windrow().arg("run").arg(pipeline.write(dir))).expect(0);
    pipeline
}

for_every_sink! {
    fn check_shows_what_would_become_of_the_first_records(place: Place) {
        let dir = TempDir::new().unwrap();
        let pipeline = filled(&place, dir.path());
        let fresh = PipelineFile { sink: place.below("fresh").url(), ..pipeline.clone() };
        let checked = run(place.windrow().args(["check", "--sample", "500"]).arg(fresh.write(dir.path()))).expect(0);
        for word in ["the file is sound", "revenue", "Decimal", "0/1", "aggregated", "invalid"] {
            assert!(checked.stdout.contains(word), "{word:?} is not in:\n{}", checked.stdout);
        }
        assert_eq!(place.below("fresh").keys("", ""), Vec::<String>::new(), "a check leaves nothing behind");
        // And over a sink that is in use.
        let checked = run(place.windrow().arg("check").arg(pipeline.write(dir.path()))).expect(0);
        assert!(checked.stdout.contains("its log stands at entry"), "{}", checked.stdout);
    }

    fn files_lists_what_is_published_in_every_form(place: Place) {
        let dir = TempDir::new().unwrap();
        filled(&place, dir.path());
        let files = |arguments: &[&str]| run(place.windrow().arg("files").arg(place.url()).args(arguments)).expect(0).stdout;
        let (data, corrections) = (place.keys("data", ""), place.keys("corrections", ""));
        let mut all: Vec<String> = data.iter().chain(&corrections).map(|key| format!("{}/{key}", place.url())).collect();
        all.sort();

        let mut paths: Vec<String> = files(&["--format", "paths"]).lines().map(str::to_owned).collect();
        paths.sort();
        assert_eq!(paths, all);

        let objects: Vec<Value> =
            files(&["--format", "json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), all.len());
        for object in &objects {
            let rows: usize = place.batches(object["path"].as_str().unwrap()).iter().map(|batch| batch.num_rows()).sum();
            assert_eq!(object["rows"], rows);
        }

        // One file a window: its correction where there is one.
        let latest = files(&["--latest", "--format", "paths"]);
        let windows: BTreeSet<i64> = place.results("data").into_keys().chain(place.results("corrections").into_keys()).collect();
        assert_eq!(latest.lines().count(), windows.len());
        assert_eq!(latest.lines().filter(|line| line.contains("/corrections/")).count(), corrections.len());

        let redshift: Value = serde_json::from_str(&files(&["--format", "redshift"])).unwrap();
        assert_eq!(redshift["entries"].as_array().unwrap().len(), all.len());
        assert!(files(&["--format", "snowflake"]).contains("COPY INTO"));
        assert!(files(&["--format", "duckdb"]).contains("read_parquet"));
        assert!(files(&[]).contains("data/dt=2024-03-01/rides-20240301T"));
        let kept = files(&["--kept", "--format", "paths"]);
        assert_eq!(kept.lines().count(), place.keys("late", "").len() + place.keys("invalid", "").len());

        let newest = objects.iter().map(|object| object["sequence"].as_u64().unwrap()).max().unwrap();
        assert_eq!(files(&["--since", &newest.to_string(), "--format", "paths"]), "");
    }

    fn status_says_what_is_open_and_why(place: Place) {
        let dir = TempDir::new().unwrap();
        filled(&place, dir.path());
        let status = run(place.windrow().arg("status").arg(place.url())).expect(0).stdout;
        for word in ["pipeline rides", "left in good order", "waits for partition 0", "newest record 2024-03-01T00:0", "read 3,000"] {
            assert!(status.contains(word), "{word:?} is not in:\n{status}");
        }
    }

    fn a_place_without_a_log_is_told_from_an_empty_one(place: Place) {
        for command in ["status", "audit"] {
            let ended = run(place.windrow().arg(command).arg(place.url())).expect(2);
            assert!(ended.stderr.contains(&place.url()), "{}", ended.stderr);
        }
    }
}

#[test]
fn log_lines_are_json_where_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let place = Place::disk();
    fs::write(dir.path().join("rides.jsonl"), as_file(&Plan::clean(7, &[500], MINUTE).lines()[0])).unwrap();
    let pipeline = PipelineFile::over_file(dir.path().join("rides.jsonl").to_str().unwrap(), &place);
    let ended = run(place.windrow().args(["run", "--log-format", "json"]).arg(pipeline.write(dir.path()))).expect(0);
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stopped = lines.iter().find(|line| line["fields"]["message"] == "stopped in good order").unwrap();
    assert_eq!(stopped["fields"]["read"], 500);
    assert_eq!(run(place.windrow().args(["run", "--quiet"]).arg(pipeline.write(dir.path()))).expect(0).stderr, "");
}

#[test]
fn the_demo_shows_a_result_that_is_right_and_leaves_a_sound_sink() {
    let dir = TempDir::new().unwrap();
    let demo = dir.path().join("demo");
    let ended =
        run(windrow().current_dir(dir.path()).args(["demo", "--records", "20000", "--out"]).arg(&demo)).expect(0);
    for word in ["revenue per hour", "duckdb -c", "audit"] {
        assert!(ended.stdout.to_lowercase().contains(word), "{word:?} is not in:\n{}", ended.said());
    }
    let log =
        walk(&demo).into_iter().find(|path| path.ends_with("00000000000000000001.json") && path.contains("_windrow"));
    let sink = log.unwrap().split("/_windrow").next().unwrap().to_owned();
    let audit = run(windrow().arg("audit").arg(&sink)).expect(0);
    assert!(audit.stdout.contains("read 20,000"), "{}", audit.stdout);
    // A second one does not disturb the first.
    run(windrow().current_dir(dir.path()).args(["demo", "--records", "1000", "--out"]).arg(&demo)).expect(2);
    run(windrow().current_dir(dir.path()).args(["demo", "--records", "1000"])).expect(0);
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}
