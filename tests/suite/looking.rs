//! What is seen of a pipeline before, while and after it runs: `check`, `status`, and the files that Prometheus and
//! Grafana read.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Ended, run, windrow};
use crate::support::rides::{MINUTE, Plan};
use crate::support::worlds::World;

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

fn status_tells_the_lag(world: &World) {
    let producer = world.broker.producer(&world.topic, &[]);
    let lines = Plan::clean(7, &[1_000, 1_000], 5 * MINUTE).lines();
    let send = |from: usize, to: usize| {
        for (partition, lines) in lines.iter().enumerate() {
            lines[from..to].iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
    };
    send(0, 600);
    let file = PipelineFile::over_topic(world).write(world.dir.path());
    run(world.place.windrow().args(["run", "--once"]).arg(&file)).expect(0);
    send(600, 1_000);
    let status = |arguments: &[&str]| run(world.place.windrow().arg("status").arg(world.place.url()).args(arguments));
    let alone = status(&[]).expect(0).stdout;
    assert!(!alone.contains("lag"), "{alone}");
    has(&alone, &["behind the clock", "waits for partition", "or idleness"]);
    let asked = status(&["--brokers", world.broker.servers()]).expect(0).stdout;
    has(&asked, &["lag 800 offsets beyond this entry", "1000  400", "400 offsets to read"]);
    assert_eq!(
        status(&["--pipeline", file.to_str().unwrap()]).expect(0).stdout.matches("400 offsets to read").count(),
        asked.matches("400 offsets to read").count()
    );
    let other = world.dir.path().join("other.toml");
    fs::write(
        &other,
        fs::read_to_string(&file).unwrap().replace(&format!("topic = {:?}", world.topic), "topic = \"x\""),
    )
    .unwrap();
    has(&status(&["--pipeline", other.to_str().unwrap()]).expect(2).stderr, &["not x"]);
}

#[test]
fn status_tells_the_lag_over_mock_broker() {
    status_tells_the_lag(&World::new(Broker::mock(), Place::disk(), 2));
}

#[test]
fn status_tells_the_lag_over_kafka() {
    if let Some(broker) = Broker::kafka("status_tells_the_lag") {
        status_tells_the_lag(&World::new(broker, Place::disk(), 2));
    }
}

#[test]
fn lateness_reads_what_came_between_two_times() {
    let Some(broker) = Broker::kafka("lateness_reads_what_came_between_two_times") else { return };
    let world = World::new(broker, Place::disk(), 2);
    let producer = world.broker.producer(&world.topic, &[]);
    for (partition, lines) in Plan::clean(7, &[300, 300], 5 * MINUTE).lines().iter().enumerate() {
        lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
    }
    producer.flush();
    let file = PipelineFile::over_topic(&world).write(world.dir.path());
    let read = |arguments: &[&str]| {
        let ended = run(windrow().args(["lateness", "--json"]).arg(&file).args(arguments)).expect(0);
        serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap()["read"].as_u64().unwrap()
    };
    assert_eq!(read(&["--since", "1 hour"]), 600);
    assert_eq!(read(&["--until", "1 hour"]), 0);
    assert_eq!(read(&["--since", "2000-01-01T00:00:00Z", "--until", "0s"]), 600);
}

/// Three kinds of times, money, an id, nested members, some missing, a name that is taken.
const RECORDS: &str = r#"{"id": "a1", "occurredAt": "2026-03-01T08:00:00Z", "sent": 1772352000123, "zone": "north", "fare": 12.50, "ride": {"km": 3.25871, "stops": [1, 2]}, "dt": "2026-03-01", "paid": true}
{"id": "a2", "occurredAt": "2026-03-01T08:01:00+01:00", "sent": 1772352060456, "zone": "south", "fare": 7.25, "ride": {"km": 12.1, "stops": []}, "dt": "2026-03-01", "tip": "1.50", "paid": false}
not JSON
{"id": "a3", "occurredAt": "2026-03-01T08:02:00Z", "sent": 1772352120789, "zone": "north", "fare": 9, "ride": {"km": 0.5, "stops": []}, "dt": "2026-03-02", "tip": null, "paid": true}
"#;

fn check(dir: &Path, arguments: &[&str]) -> Ended {
    run(windrow().current_dir(dir).arg("check").args(arguments))
}

#[test]
fn a_first_pipeline_file_is_proposed_and_runs_as_it_is() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("rides.jsonl"), RECORDS).unwrap();
    let ended = check(dir.path(), &["first.toml", "--init", "--data", "rides.jsonl"]).expect(0);
    let file = fs::read_to_string(dir.path().join("first.toml")).unwrap();
    has(
        &file,
        &[
            "Proposed from 4 records of rides.jsonl; 1 of them are no JSON objects",
            "occurredAt = \"timestamp\"",
            "\"timestamp(ms)\"",
            "# milliseconds since the epoch: 2026-03-01T08:00:00.123Z to 2026-03-01T08:02:00.789Z",
            "\"decimal(18, 2)\"",
            "ride_km    = { type = \"float\", path = \"ride.km\" }",
            "ride_stops = { type = \"json\", path = \"ride.stops\" }",
            "record_dt  = { type = \"date\", path = \"dt\" }",
            "tip        = { type = \"decimal(18, 2)\", optional = true }",
            "event_time       = \"occurredAt\"",
            "SELECT zone, COUNT(*) AS records, SUM(fare) AS fare",
        ],
    );
    // The same command then checks it, and shows what it would give.
    has(&ended.stdout, &["the file is sound", "preview", "north", "21.50", "of 4: 3 would be aggregated", "1 invalid"]);
    let again = check(dir.path(), &["first.toml", "--init", "--data", "rides.jsonl"]).expect(2);
    has(&again.stderr, &["first.toml is there already"]);
    assert_eq!(fs::read_to_string(dir.path().join("first.toml")).unwrap(), file, "it is left alone");
    run(windrow().current_dir(dir.path()).args(["run", "--close-all", "first.toml"])).expect(0);
    run(windrow().current_dir(dir.path()).args(["audit", "out/rides"])).expect(0);
}

#[test]
fn nothing_is_proposed_from_nothing() {
    let dir = TempDir::new().unwrap();
    for (content, why) in [
        ("", "brought no record"),
        ("a,b\n1,2\n", "none is a JSON object"),
        ("{\"n\": 1}\n", "no member of rides.jsonl is a time in every record"),
    ] {
        fs::write(dir.path().join("rides.jsonl"), content).unwrap();
        let ended = check(dir.path(), &["first.toml", "--init", "--data", "rides.jsonl"]).expect(2);
        has(&ended.stderr, &[why]);
        assert!(!dir.path().join("first.toml").exists());
    }
    has(&check(dir.path(), &["first.toml", "--init"]).expect(2).stderr, &["--brokers and --topic, or --data"]);
}

#[test]
fn a_pipeline_file_is_proposed_from_a_topic() {
    let world = World::new(Broker::mock(), Place::disk(), 2);
    let producer = world.broker.producer(&world.topic, &[]);
    for (partition, lines) in Plan::clean(7, &[50, 50], 5 * MINUTE).lines().iter().enumerate() {
        lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
    }
    producer.flush();
    let arguments = ["first.toml", "--init", "--brokers", world.broker.servers(), "--topic", &world.topic];
    let property = ["--property", "client.rack=${RACK}"];
    let mut command = windrow();
    command.env("RACK", "not-to-be-seen").current_dir(world.dir.path());
    let ended = run(command.arg("check").args(arguments).args(property)).expect(0);
    let file = fs::read_to_string(world.dir.path().join("first.toml")).unwrap();
    has(
        &file,
        &[
            "\"client.rack\" = \"${RACK}\"",
            "dropoff_at",
            "\"timestamp\"",
            "event_time       = \"dropoff_at\"",
            "99% of the records come at most",
        ],
    );
    assert!(!ended.said().contains("not-to-be-seen") && !file.contains("not-to-be-seen"));
    // Records of both partitions are looked at.
    has(&ended.stdout, &["0/0", "1/0", "of 100: "]);
}

#[test]
fn a_misspelt_member_and_a_mistaken_unit_are_doubted() {
    let dir = TempDir::new().unwrap();
    let lines: String =
        (0..20).map(|n| format!("{{\"at\": {}, \"ride\": {{\"zone\": \"a\"}}}}\n", 1_772_352_000 + n)).collect();
    fs::write(dir.path().join("t.jsonl"), lines).unwrap();
    let text = |kind: &str, path: &str| {
        format!(
            "name = \"t\"\n[source.file]\npath = \"t.jsonl\"\n[source.columns]\nat = \"{kind}\"\nzone = {{ type = \"text\", path = \"{path}\" }}\n\
             [window]\nevent_time = \"at\"\nsize = \"1 hour\"\n[query]\nsql = \"SELECT zone, COUNT(*) AS n FROM t GROUP BY zone\"\n[sink]\nurl = \"out\"\n"
        )
    };
    let checked = |kind: &str, path: &str| {
        fs::write(dir.path().join("t.toml"), text(kind, path)).unwrap();
        check(dir.path(), &["t.toml"]).expect(0).stdout
    };
    assert!(!checked("timestamp(s)", "ride.zone").contains("doubtful"));
    has(
        &checked("timestamp(s)", "ride.zon"),
        &[
            "doubtful: most of these records are invalid, 20 of 20 by missing_column",
            "doubtful: column zone: no record has the member \"zon\"; did you mean \"zone\"?",
        ],
    );
    has(&checked("timestamp(s)", "ride.pickup"), &["no record has the member \"pickup\"; they have zone"]);
    has(
        &checked("timestamp(ms)", "ride.zone"),
        &[
            "doubtful: event times are before 1980, such as 1970-01-21T12:19:12Z: is the unit right? declare \"timestamp(s)\"",
        ],
    );
    // And a run says so in its log, where nobody asked.
    fs::write(dir.path().join("t.toml"), text("timestamp(s)", "ride.zon")).unwrap();
    let ran = run(windrow().current_dir(dir.path()).args(["run", "t.toml"])).expect(0);
    has(
        &ran.stderr,
        &["100.0% of the records read are invalid, such as partition 0, offset 1: ride.zon: the member is missing"],
    );
}

#[test]
fn loaders_are_warned_of() {
    let dir = TempDir::new().unwrap();
    let text = |columns: &str, size: &str| {
        format!(
            "name = \"t\"\n[source.file]\npath = \"t.jsonl\"\n[source.columns]\nat = \"timestamp\"\nv = \"decimal(38, 0)\"\nj = \"json\"\nz = \"text\"\n\
             [window]\nevent_time = \"at\"\nsize = \"{size}\"\nemit = \"early\"\n[query]\nsql = \"SELECT {columns} FROM t\"\n[sink]\nurl = \"out\"\n"
        )
    };
    let warned = |text: String| {
        fs::write(dir.path().join("t.toml"), text).unwrap();
        check(dir.path(), &["t.toml", "--offline", "--for", "redshift,snowflake,bigquery"]).expect(0).stdout
    };
    let rough = warned(text("v, j, z AS user, z AS hash, z AS _TABLE_x, z AS Zone, z AS zone", "1 minute"));
    has(
        &rough,
        &[
            "for Redshift",
            "column user: a reserved word",
            "matched by their position",
            "for Snowflake",
            "PARSE_JSON makes a VARIANT",
            "USE_LOGICAL_TYPE = TRUE",
            "one COPY takes 1,000 names",
            "for BigQuery",
            "column hash: a reserved word, to be written in `…`",
            "column _TABLE_x: no column may begin like that",
            "column v: decimal(38, 0) is wider than NUMERIC",
            "column zone: another is told from it by capitals only",
            "2,880 files a day where every window has records, corrections included: a load job for each is beyond the 1,500",
        ],
    );
    let smooth = warned(text("z AS place, COUNT(*) AS n", "1 hour").replace("FROM t", "FROM t GROUP BY z"));
    assert!(!smooth.contains("reserved") && smooth.matches("within what is allowed").count() == 3, "{smooth}");
}

/// Every name that begins like a metric of ours.
fn names(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.split(|c| !is_name(c)).filter(|word| word.starts_with("windrow_"));
    found.collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let known: Vec<String> = windrow::telemetry::METRICS
        .iter()
        .flat_map(|metric| {
            let name = metric.full_name();
            match metric.kind() {
                "histogram" => ["_bucket", "_count", "_sum"].iter().map(|end| format!("{name}{end}")).collect(),
                _ => vec![name],
            }
        })
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut asked = Vec::new();
    for file in ["dashboard.json", "alerts.yml", "alerts_test.yml"] {
        let text = fs::read_to_string(root.join("examples/monitoring").join(file)).unwrap();
        assert!(names(&text).len() > 10, "{file}");
        for name in names(&text) {
            assert!(known.iter().any(|known| known == name), "{file}: there is no metric {name}");
            asked.push(name.to_owned());
        }
    }
    let dashboard = fs::read_to_string(root.join("examples/monitoring/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 15);
    // What an operator is told of in words is there as a number, too.
    let operating = fs::read_to_string(root.join("docs/operating.md")).unwrap();
    for metric in windrow::telemetry::METRICS {
        assert!(
            operating.contains(&format!("`{}`", metric.full_name())),
            "{} is not in docs/operating.md",
            metric.full_name()
        );
    }
    let alerts = fs::read_to_string(root.join("examples/monitoring/alerts.yml")).unwrap();
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(operating.contains(&format!("### {alert}\n")), "{alert} is not in docs/operating.md");
        let anchor = format!("runbook: docs/operating.md#{}", alert.to_lowercase());
        assert!(alerts.contains(&anchor), "{anchor}");
    }
}
