use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::*;
use crate::cli::run::assemble;
use crate::pipeline::writer::Instance;
use crate::pipeline::{self, Options};
use crate::record::Partition;

fn pipeline(dir: &std::path::Path) -> Pipeline {
    let text = format!(
        r#"
        name = "t"
        [source.file]
        path = "{0}/t.jsonl"
        [source.columns]
        at = "timestamp"
        [window]
        event_time = "at"
        size = "10 minutes"
        watermark_delay = "1 minute"
        allowed_lateness = "10 minutes"
        [query]
        sql = "SELECT COUNT(*) AS n FROM t"
        [sink]
        url = "{0}/sink"
        "#,
        dir.display()
    );
    Pipeline::parse(&text, "t.toml", &|_| None).unwrap()
}

/// Runs over these lines to their end, and gives what was told of it.
async fn told_of(dir: &std::path::Path, lines: &[&str]) -> (Telemetry, Entry) {
    let path = dir.join("t.jsonl");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(&path, lines.iter().fold(before, |text, line| text + line + "\n")).unwrap();
    let (pipeline, clock) = (pipeline(dir), Clock::system());
    let telemetry = Telemetry::new(&pipeline, clock);
    let parts = assemble(pipeline, Instance::this(), clock, telemetry.observer()).await.unwrap();
    telemetry.watch_store(&parts.store);
    let entry = pipeline::run(parts, Options::default(), watch::channel(false).1).await.unwrap();
    (telemetry, entry)
}

const LINES: [&str; 6] = [
    r#"{"at": "2026-03-01T08:00:00Z"}"#,
    r#"{"at": "2026-03-01T08:12:00Z"}"#,
    r#"{"at": "2026-03-01T08:09:00Z"}"#,
    "{",
    r#"{"at": "2026-03-01T08:55:00Z"}"#,
    r#"{"at": "2026-03-01T08:01:00Z"}"#,
];

/// Sends a request, and gives status, head and body.
async fn ask(address: std::net::SocketAddr, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

async fn serving(telemetry: Telemetry) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(telemetry.serve(listener));
    address
}

fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[tokio::test]
async fn metrics_tell_what_became_of_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, entry) = told_of(dir.path(), &LINES).await;
    has(
        &telemetry.metrics(),
        &[
            "windrow_records_read_total{pipeline=\"t\"} 6\n",
            "windrow_records_aggregated_total{pipeline=\"t\"} 4\n",
            "windrow_records_late_total{pipeline=\"t\"} 1\n",
            "windrow_records_too_late_total{pipeline=\"t\"} 1\n",
            "windrow_records_invalid_total{pipeline=\"t\",reason=\"not_json\"} 1\n",
            "windrow_partition_position{pipeline=\"t\",partition=\"0\"} 7.0\n",
            "windrow_published_files_total{pipeline=\"t\",kind=\"data\"} 2\n",
            "windrow_record_behind_seconds_count{pipeline=\"t\"} 5\n",
            "windrow_record_behind_seconds_bucket{pipeline=\"t\",le=\"0.0\"} 3\n",
            &format!("windrow_log_sequence{{pipeline=\"t\"}} {}.0\n", entry.sequence.0),
            "operation=\"create\"",
            "windrow_build_info{",
        ],
    );
}

#[tokio::test]
async fn every_metric_of_the_table_is_told_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let text = telemetry.metrics();
    assert!(text.ends_with("# EOF\n"));
    let told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(told, METRICS.iter().map(|metric| metric.name).collect::<Vec<_>>());
    assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len());
    for metric in METRICS {
        assert!(!metric.help.ends_with('.') && !metric.help.contains('\n'), "{metric:?}");
        assert!(!metric.name.ends_with("_total") && metric.full_name().starts_with("windrow_"), "{metric:?}");
        assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind())), "{metric:?}");
    }
    // No line twice: each value is told apart.
    let lines: Vec<&str> = text.lines().filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name)).collect();
    assert_eq!(lines.len(), lines.iter().collect::<BTreeSet<_>>().len());
}

/// With `WINDROW_TEST_PROMTOOL` set to that program.
#[tokio::test]
async fn promtool_finds_no_fault_with_the_metrics() {
    let Some(promtool) = std::env::var_os("WINDROW_TEST_PROMTOOL") else {
        eprintln!("left out: WINDROW_TEST_PROMTOOL names no program");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let metrics = dir.path().join("metrics");
    std::fs::write(&metrics, telemetry.classic_metrics()).unwrap();
    let mut command = std::process::Command::new(promtool);
    let command = command.args(["check", "metrics"]).stdin(std::fs::File::open(metrics).unwrap());
    let said = command.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
}

#[tokio::test]
async fn who_does_not_ask_for_open_metrics_gets_the_older_form() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let classic = telemetry.classic_metrics();
    has(
        &classic,
        &[
            "# TYPE windrow_records_read_total counter\nwindrow_records_read_total{pipeline=\"t\"} 6\n",
            "# TYPE windrow_build_info gauge\n",
            "# TYPE windrow_commit_duration_seconds histogram\n",
        ],
    );
    assert!(!classic.contains("# EOF"));
    let values = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(values(&classic), values(&telemetry.metrics()));
    let (_, head, _) = ask(serving(telemetry).await, "GET", "/metrics").await;
    assert!(head.contains("version=0.0.4"), "{head}");
}

#[tokio::test]
async fn counters_begin_at_zero_with_each_process() {
    let dir = tempfile::tempdir().unwrap();
    told_of(dir.path(), &LINES).await;
    let (telemetry, entry) = told_of(dir.path(), &[r#"{"at": "2026-03-01T08:57:00Z"}"#]).await;
    assert_eq!(entry.totals.read, 7);
    has(&telemetry.metrics(), &["windrow_records_read_total{pipeline=\"t\"} 1\n"]);
    // And lateness goes on from where the log stands.
    let (telemetry, _) = told_of(dir.path(), &[r#"{"at": "2026-03-01T08:56:00Z"}"#]).await;
    has(&telemetry.metrics(), &["windrow_record_behind_seconds_sum{pipeline=\"t\"} 60.0\n"]);
}

#[tokio::test]
async fn readiness_says_why_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = Telemetry::new(&pipeline(dir.path()), Clock::system());
    let address = serving(telemetry.clone()).await;
    telemetry.observer().begins("trying the sink");
    assert_eq!(ask(address, "GET", "/healthz").await.0, 200);
    let (status, _, body) = ask(address, "GET", "/readyz").await;
    assert_eq!((status, body.as_str()), (503, "not ready: not reading yet: trying the sink\n"));
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let (status, _, body) = ask(serving(telemetry).await, "GET", "/readyz").await;
    assert_eq!((status, body.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn a_partition_that_holds_the_others_back_is_named_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let mut seen = telemetry.shared.look();
    assert_eq!(seen.holding(), None);
    let delay = seen.pipeline.window.watermark_delay;
    let detail = seen.detail.as_mut().unwrap();
    let mut ahead = detail.partitions[&Partition(0)];
    let newest = ahead.watermark.unwrap().plus(delay).to_second();
    ahead.watermark = ahead.watermark.map(|watermark| watermark.plus(2 * delay + 60_000_000));
    detail.partitions.insert(Partition(1), ahead);
    detail.partitions.get_mut(&Partition(0)).unwrap().idle = false;
    assert_eq!(seen.holding().unwrap().partition, Partition(0));
    let words = format!("partition 0 holds the watermark back: its newest record is of {newest}");
    assert!(seen.wrong()[0].starts_with(&words), "{:?}", seen.wrong());
    let page = page::status(&seen);
    assert_eq!((&page["partitions"][0]["holds"], &page["partitions"][1]["holds"]), (&true.into(), &false.into()));
    // One that is idle holds nobody back.
    seen.detail.as_mut().unwrap().partitions.get_mut(&Partition(0)).unwrap().idle = true;
    assert_eq!(seen.holding(), None);
}

#[tokio::test]
async fn a_source_out_of_reach_and_an_overdue_commit_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let mut seen = telemetry.shared.look();
    let now = seen.now;
    seen.detail.as_mut().unwrap().waiting = Some("no broker answers".to_owned());
    assert_eq!(seen.unready().unwrap(), "the source cannot be reached: no broker answers");
    seen.detail.as_mut().unwrap().waiting = None;
    assert_eq!(seen.unready(), None);
    seen.now = now.plus(20_000_000);
    has(&seen.unready().unwrap(), &["nothing moved for"]);
    seen.now = now.plus(100_000_000);
    seen.detail.as_mut().unwrap().view.now = seen.now;
    has(&seen.unready().unwrap(), &["the last commit is 1 minute"]);
}

#[tokio::test]
async fn nothing_is_served_but_reading() {
    let dir = tempfile::tempdir().unwrap();
    let address = serving(Telemetry::new(&pipeline(dir.path()), Clock::system())).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (status, head, _) = ask(address, method, "/metrics").await;
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get, head"), "{head}");
    }
    assert_eq!(ask(address, "GET", "/etc/passwd").await.0, 404);
    assert_eq!(ask(address, "HEAD", "/").await.2, "");
}

#[tokio::test]
async fn the_page_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let address = serving(telemetry).await;
    let (status, head, body) = ask(address, "GET", "/").await;
    assert_eq!(status, 200);
    has(&head, &["content-security-policy: default-src 'none'", "nosniff", "no-store"]);
    for outside in ["http://", "https://", " src=", "@import", "url("] {
        assert!(!body.contains(outside), "{outside}");
    }
    let (_, _, json) = ask(address, "GET", "/status.json").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["read"].as_u64(), json["unready"].as_str()), (Some(6), None));
    assert_eq!(json["results"].as_array().unwrap().len(), 2);
    assert_eq!(json["windows"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn events_come_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (telemetry, _) = told_of(dir.path(), &LINES).await;
    let address = serving(telemetry).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
    let (mut text, mut buffer) = (String::new(), vec![0; 1 << 16]);
    while text.matches("data: {").count() < 2 {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{text}");
        text += &String::from_utf8_lossy(&buffer[..read]);
    }
    has(&text.to_lowercase(), &["content-type: text/event-stream"]);
}
