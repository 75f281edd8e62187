use tokio::sync::watch;

use super::*;
use crate::cli::run::assemble;
use crate::cli::{LogFormat, Talk};
use crate::clock::Clock;
use crate::decode::Decoded;
use crate::log::entry::Entry;
use crate::pipeline::writer::Instance;
use crate::pipeline::{self, Observer, Options, Unobserved, View};
use crate::record::Timestamp;

/// A folder with a file of records, a pipeline over it, and a sink.
struct World {
    dir: tempfile::TempDir,
}

/// Records of windows of ten minutes, a watermark delay of a minute and an allowed lateness of ten.
const LINES: [&str; 10] = [
    r#"{"at": "2026-03-01T08:00:00Z", "k": "a", "v": 1}"#,
    r#"{"at": "2026-03-01T08:05:00Z", "k": "a", "v": 13}"#,
    "",
    r#"{"at": "2026-03-01T08:12:00Z", "k": "b", "v": 2}"#,
    r#"{"at": "2026-03-01T08:09:00Z", "k": "late", "v": 3}"#,
    r#"{"at": "yesterday", "k": "a", "v": 4}"#,
    r#"{"at": "2026-03-01T08:55:00Z", "k": "a", "v": 5}"#,
    r#"{"at": "2026-03-01T08:01:00Z", "k": "too late", "v": 6}"#,
    r#"{"at": "2026-03-01T08:58:00Z", "k": "a", "v": 7}"#,
    r#"{"at": "2026-03-01T08:56:00Z", "k": "\u001b[31m", "v": 8}"#,
];

impl World {
    fn new(emit: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.jsonl"), LINES.join("\n")).unwrap();
        let text = format!(
            r#"
            name = "t"
            [source.file]
            path = "{0}/t.jsonl"
            [source.columns]
            at = "timestamp"
            k = "text"
            v = "int"
            [window]
            event_time = "at"
            size = "10 minutes"
            watermark_delay = "1 minute"
            allowed_lateness = "10 minutes"
            emit = "{emit}"
            [query]
            sql = "SELECT k, COUNT(*) AS n FROM t WHERE v <> 13 GROUP BY k"
            [sink]
            url = "{0}/sink"
            "#,
            dir.path().display()
        );
        std::fs::write(dir.path().join("t.toml"), text).unwrap();
        Self { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("t.toml")
    }

    async fn run(&self, observer: Box<dyn Observer>, stop: watch::Receiver<bool>) -> Entry {
        let pipeline = Pipeline::load(&self.file()).unwrap();
        let parts = assemble(pipeline, Instance::this(), Clock::system(), observer).await.unwrap();
        pipeline::run(parts, Options::default(), stop).await.unwrap()
    }

    async fn run_to_the_end(&self) -> Entry {
        self.run(Box::new(Unobserved), watch::channel(false).1).await
    }

    async fn why(&self, offset: i64, with_pipeline: bool) -> String {
        self.try_why(&format!("file/0/{offset}"), with_pipeline).await.unwrap()
    }

    async fn try_why(&self, place: &str, with_pipeline: bool) -> Result<String, Error> {
        let sink = SinkArgs { sink: self.dir.path().join("sink").display().to_string(), properties: Vec::new() };
        let pipeline = with_pipeline.then(|| self.file());
        let why = Why { sink, record: place.parse().unwrap(), pipeline, brokers: None };
        why.answer(&Terminal::start(Talk { quiet: true, log_format: LogFormat::Text })).await
    }
}

/// Asks the run to stop when it has read so many records.
struct StopAt(usize, watch::Sender<bool>);

impl Observer for StopAt {
    fn decoded(&mut self, decoded: &Decoded, _: Timestamp) {
        self.0 = self.0.saturating_sub(decoded.records.len());
        if self.0 == 0 {
            self.1.send_replace(true);
        }
    }

    fn progress(&mut self, _: &View) {}

    fn committed(&mut self, _: &Entry) {}
}

fn has(answer: &str, words: &[&str]) {
    for word in words {
        assert!(answer.contains(word), "{word:?} is not in:\n{answer}");
    }
}

#[tokio::test]
async fn an_accepted_record_is_followed_to_its_window_and_file() {
    let world = World::new("final");
    world.run_to_the_end().await;
    // The first and the last record of a window are known to be in it.
    has(
        &world.why(1, false).await,
        &[
            "taken in by entry 2",
            "window 2026-03-01T08:00:00Z to 08:10:00Z",
            "revision 0",
            "/data/dt=2026-03-01/t-20260301T080000Z.parquet",
        ],
    );
    has(&world.why(5, false).await, &["window 2026-03-01T08:00:00Z to 08:10:00Z"]);
    // In between the log cannot tell, and says so.
    let between = world.why(4, false).await;
    has(&between, &["window 2026-03-01T08:10:00Z to 08:20:00Z", "t-20260301T081000Z.parquet"]);
    let still_open = world.why(9, false).await;
    has(&still_open, &["window 2026-03-01T08:50:00Z to 09:00:00Z", "still open", "waits for partition 0"]);
}

#[tokio::test]
async fn with_the_pipeline_file_the_record_itself_is_told() {
    let world = World::new("early");
    world.run_to_the_end().await;
    has(
        &world.why(1, true).await,
        &["event time 2026-03-01T08:00:00Z, on time", "revision 0", "revision 1", "corrections/"],
    );
    has(&world.why(2, true).await, &["on time", "left out of the result by the query's WHERE", "\"v\": 13"]);
    has(&world.why(5, true).await, &["late but not too late", "without the late records", "revision 1, entry"]);
    // A value is shown so that it does nothing to the terminal.
    let shown = world.why(10, true).await;
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[tokio::test]
async fn a_kept_record_is_found_with_its_reason_in_a_file() {
    let world = World::new("final");
    world.run_to_the_end().await;
    has(
        &world.why(8, false).await,
        &["too late", "was final", "event time 2026-03-01T08:01:00Z", "/late/dt=", "\"too late\""],
    );
    has(&world.why(6, false).await, &["invalid", "wrong_type", "yesterday", "/invalid/dt="]);
}

#[tokio::test]
async fn a_kept_record_is_found_while_it_waits_for_a_file_and_when_a_later_entry_wrote_it() {
    let world = World::new("final");
    let (ask, stop) = watch::channel(false);
    world.run(Box::new(StopAt(9, ask)), stop).await;
    has(&world.why(8, false).await, &["too late", "waits in the state of entry 2 for a file under late/"]);
    has(&world.why(6, true).await, &["invalid", "waits in the state"]);
    let newest = world.run_to_the_end().await;
    assert!(newest.sequence.0 > 2);
    has(&world.why(8, false).await, &["taken in by entry 2", "/late/dt="]);
}

#[tokio::test]
async fn what_is_not_in_the_log_is_told_from_what_never_was() {
    let world = World::new("final");
    world.run_to_the_end().await;
    has(&world.why(3, false).await, &["if there was a record at all"]);
    has(&world.why(3, true).await, &["the topic has no record at this offset"]);
    has(&world.why(0, false).await, &["never read", "at offset 1"]);
    has(&world.why(11, false).await, &["not read yet", "it is the next one"]);
    has(&world.why(5000, false).await, &["the log stands at offset 11, 4,989 before it"]);
    has(&world.try_why("file/7/1", false).await.unwrap(), &["no entry knows partition 7"]);
    let other = world.try_why("rides/0/1", false).await.unwrap_err();
    has(&other.to_string(), &["filled from file, not rides"]);
}

#[tokio::test]
async fn a_changed_pipeline_file_is_not_taken_for_the_one_that_ran() {
    let world = World::new("final");
    world.run_to_the_end().await;
    let text = std::fs::read_to_string(world.file()).unwrap();
    std::fs::write(world.file(), text.replace("size = \"10 minutes\"", "size = \"1 hour\"")).unwrap();
    has(
        &world.why(1, true).await,
        &["the pipeline file is not the one of entry 2", "window 2026-03-01T08:00:00Z to 08:10:00Z"],
    );
}

#[test]
fn a_place_is_topic_partition_and_offset() {
    let place: Place = "a.b-c/3/42".parse().unwrap();
    assert_eq!(place, Place { topic: "a.b-c".to_owned(), partition: Partition(3), offset: Offset(42) });
    assert_eq!(place.to_string(), "a.b-c/3/42");
    for wrong in ["", "rides", "rides/1", "rides/x/1", "rides/1/-1", "/1/1", "rides/1/1/"] {
        assert!(wrong.parse::<Place>().is_err(), "{wrong}");
    }
}
