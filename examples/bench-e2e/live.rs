//! What can only be measured of a run that goes on: how long it takes to read on after it was killed, and how long after a
//! window's end its file is durable.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use windrow::clock::Clock;
use windrow::config::Pipeline;
use windrow::log::entry::Entry;
use windrow::pipeline::writer::Instance;
use windrow::pipeline::{self, Detail, Observer, Options, Parts, Took, View};
use windrow::query::Query;
use windrow::record::Timestamp;
use windrow::sink::store::Store;
use windrow::source::kafka::KafkaSource;
use windrow::source::produce::{Message, Producer};

use crate::measure::child;
use crate::stages::{Stage, decoder, kafka};
use crate::{Args, Outcome, process, topic as filled};

/// Between two records of a partition, in microseconds.
const BETWEEN: i64 = 5_000;
/// Windows that begin before the run has settled.
const SETTLING: usize = 3;

/// What a run says of itself, a line of JSON each.
#[derive(Serialize, Deserialize)]
enum Said {
    /// The first entry of this run is in the log; the groups it had restored are told with the first records.
    Opened { after: f64 },
    /// Records came after that, so many groups are held.
    Reads { after: f64, groups: usize, cpu: f64, peak_mib: f64 },
    /// An entry is in the log: records read since the first entry, and how long after their end windows became durable.
    Committed { read: u64, open_groups: u64, late_by: Vec<f64> },
}

/// Tells on standard output.
struct Telling {
    clock: Clock,
    began: Timestamp,
    /// Records read when the run began to read.
    before: Option<u64>,
    reads: bool,
    published: Timestamp,
}

impl Telling {
    fn after(&self) -> f64 {
        (self.clock.now().0 - self.began.0) as f64 / 1e6
    }

    fn say(said: &Said) {
        // Whoever does not listen any more has what it wanted.
        println!("{}", serde_json::to_string(said).unwrap_or_default());
    }
}

impl Observer for Telling {
    fn progress(&mut self, _: &View) {}

    fn opened(&mut self, entry: &Entry) {
        self.before = Some(entry.totals.read);
        Self::say(&Said::Opened { after: self.after() });
    }

    fn detail(&mut self, detail: &Detail) {
        if !self.reads && self.before.is_some_and(|before| detail.view.totals.read > before) {
            self.reads = true;
            let cpu = process::cpu_seconds().unwrap_or(f64::NAN);
            let peak_mib = process::peak_mib().unwrap_or(f64::NAN);
            Self::say(&Said::Reads { after: self.after(), groups: detail.groups, cpu, peak_mib });
        }
    }

    fn took(&mut self, took: Took) {
        self.published = took.at;
    }

    fn committed(&mut self, entry: &Entry) {
        let late_by = |end: Timestamp| (self.published.0 - end.0) as f64 / 1e6;
        let late_by = entry.closed.iter().map(|closed| late_by(closed.window.end)).collect();
        let parts = entry.windows.iter().flat_map(|open| &open.parts);
        let open_groups = parts.flat_map(|part| &part.chunks).map(|chunk| chunk.rows).sum();
        Self::say(&Said::Committed { read: entry.totals.read, open_groups, late_by });
    }
}

/// `windrow run`, which says what it does until it is killed.
pub(crate) async fn run(pipeline: Pipeline, clock: Clock) -> Outcome<crate::stages::Measured> {
    let began = clock.now();
    let query = Arc::new(Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await?);
    let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true)?;
    let source = Box::new(KafkaSource::connect(kafka(&pipeline)?, clock)?);
    let decoder = decoder(&pipeline)?;
    let observer = Box::new(Telling { clock, began, before: None, reads: false, published: began });
    let instance = Instance::this();
    let parts = Parts { pipeline, query, source, decoder, store, instance, clock, observer, member: None };
    let (_stop, stop) = watch::channel(false);
    pipeline::run(parts, Options::default(), stop).await?;
    Err("the run ended by itself".into())
}

/// A run that is under way, killed when dropped.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(stage: Stage, args: &Args, sink: &str) -> Outcome<Self> {
        let mut child = child(stage, args, sink)?.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, lines })
    }

    fn next(&mut self) -> Outcome<Said> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err("the run ended by itself".into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Running {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a run in the middle, round by round, and measures how long the next takes from its start until it reads on.
pub(crate) fn recover(args: &Args) -> Outcome<()> {
    println!("| killed with groups | entry in the log after | reads on after | CPU seconds until then | peak MiB |");
    println!("| --- | --- | --- | --- | --- |");
    for _ in 0..args.rounds {
        let sink = tempfile::Builder::new().prefix("windrow-bench-").tempdir_in(".")?;
        let sink = sink.path().display().to_string();
        let mut first = Running::start(Stage::Recover, args, &sink)?;
        let half = args.records / 2;
        let held = loop {
            match first.next()? {
                Said::Committed { read, open_groups, .. } if read >= half => break open_groups,
                _ => {}
            }
        };
        drop(first);
        let mut second = Running::start(Stage::Recover, args, &sink)?;
        let mut opened = f64::NAN;
        loop {
            match second.next()? {
                Said::Opened { after } => opened = after,
                Said::Reads { after, cpu, peak_mib, .. } => {
                    println!("| {held} | {opened:.2} s | {after:.2} s | {cpu:.2} | {peak_mib:.0} |");
                    break;
                }
                Said::Committed { .. } => {}
            }
        }
    }
    Ok(())
}

/// The topic that latency is measured with.
pub(crate) fn topic(partitions: u32) -> String {
    format!("windrow-bench-live-{partitions}")
}

/// Writes records of the present, and measures how long after the end of each window of a second its file is durable.
pub(crate) fn latency(args: &Args) -> Outcome<()> {
    let (topic, admin) = (topic(args.partitions), filled::admin(&args.brokers)?);
    // A topic of its own for every measurement: an old one holds windows of the past.
    let _ = futures::executor::block_on(admin.delete_topics(&[&topic], &AdminOptions::new()))?;
    let new = NewTopic::new(&topic, i32::try_from(args.partitions)?, TopicReplication::Fixed(1));
    loop {
        let made = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new()))?;
        match made.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => std::thread::sleep(Duration::from_millis(200)),
            Some(Err((name, code))) => return Err(format!("cannot make topic {name}: {code}").into()),
            _ => break,
        }
    }
    let folder = tempfile::Builder::new().prefix("windrow-bench-").tempdir_in(".")?;
    let sink = if args.sink.is_empty() { folder.path().display().to_string() } else { args.sink.clone() };
    let over = Arc::new(AtomicBool::new(false));
    let properties = [("linger.ms".to_owned(), "0".to_owned())].into_iter().collect();
    let producer = Producer::connect(&args.brokers, &properties)?;
    let writing = std::thread::spawn({
        let (over, partitions) = (over.clone(), i32::try_from(args.partitions)?);
        move || write(&producer, &topic, partitions, &over).map_err(|error| error.to_string())
    });
    let mut run = Running::start(Stage::Latency, args, &sink)?;
    let mut all = Vec::new();
    while all.len() < SETTLING + usize::try_from(args.seconds)? {
        if let Said::Committed { late_by, .. } = run.next()? {
            all.extend(late_by);
        }
        if writing.is_finished() {
            break;
        }
    }
    drop(run);
    over.store(true, Ordering::Relaxed);
    writing.join().map_err(|_| "the writer panicked")??;
    let mut all = all.split_off(SETTLING.min(all.len()));
    all.sort_by(f64::total_cmp);
    let part = |of: usize| all.get(all.len() * of / 100).or(all.last()).copied().unwrap_or(f64::NAN) * 1000.0;
    println!("| windows | median | p90 | p99 | most |\n| --- | --- | --- | --- | --- |");
    println!("| {} | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms |", all.len(), part(50), part(90), part(99), part(100));
    Ok(())
}

/// A record of now to every partition, again and again.
fn write(producer: &Producer, topic: &str, partitions: i32, over: &AtomicBool) -> Outcome<()> {
    let clock = Clock::system();
    while !over.load(Ordering::Relaxed) {
        let now = clock.now();
        for partition in 0..partitions {
            let value = format!(
                "{{\"dropoff_at\":\"{now}\",\"pickup_location\":\"Zone {:03}\",\"total_amount\":12.50}}",
                now.0 / BETWEEN % 260
            );
            let message = Message { partition: Some(partition), value: Some(value.as_bytes()), ..Message::default() };
            producer.send(topic, message)?;
        }
        std::thread::sleep(Duration::from_micros(BETWEEN.unsigned_abs()));
    }
    Ok(producer.flush(Duration::from_secs(30))?)
}
