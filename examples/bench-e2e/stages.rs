//! The measurements: each reads the whole topic, does so much with its records, and prints what that took.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use windrow::clock::Clock;
use windrow::config::{KafkaConfig, Pipeline, SourceConfig};
use windrow::decode::schemas::{Language, Origin, SchemaText};
use windrow::decode::{Decode, key};
use windrow::engine::Engine;
use windrow::log::entry::Entry;
use windrow::pipeline::writer::Instance;
use windrow::pipeline::{self, Observer, Options, Parts, View};
use windrow::query::Query;
use windrow::record::{Offset, Partition, Timestamp};
use windrow::sink::store::Store;
use windrow::source::kafka::KafkaSource;
use windrow::source::{Event, Source};

use crate::topic::Form;
use crate::{Args, Outcome, avro, process};

/// How far the records go.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Stage {
    /// The client's batch call in a loop; every batch is dropped
    Bare,
    /// Windrow's source: fetched, copied out, checked, handed over
    Fetch,
    /// And decoded into columns
    Decode,
    /// And assigned to windows and aggregated
    Aggregate,
    /// Everything: also Parquet, the log, publishing, each file synced
    Whole,
    /// How long a killed run takes to read on; by itself
    Recover,
    /// How long after a window's end its file is durable; by itself
    Latency,
}

impl Stage {
    /// In the order of the path.
    pub(crate) const ALL: [Self; 5] = [Self::Bare, Self::Fetch, Self::Decode, Self::Aggregate, Self::Whole];

    /// As it is written on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What one measurement found.
#[derive(Copy, Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Records read.
    pub(crate) records: u64,
    /// From the process's start to its first records, in seconds.
    pub(crate) start: f64,
    /// CPU seconds used until then.
    pub(crate) start_cpu: f64,
    /// From the first records until everything was done, in seconds.
    pub(crate) wall: f64,
    /// CPU seconds of the whole process.
    pub(crate) cpu: f64,
    /// The peak of memory in MiB.
    pub(crate) peak_mib: f64,
}

/// Notes what happens when.
#[derive(Debug)]
struct Watcher {
    clock: Clock,
    began: Timestamp,
    /// When the first records came, and the CPU seconds until then.
    first: Option<(Timestamp, f64)>,
}

impl Watcher {
    fn seen(&mut self) -> Outcome<()> {
        if self.first.is_none() {
            self.first = Some((self.clock.now(), process::cpu_seconds()?));
        }
        Ok(())
    }

    fn measured(&self, records: u64) -> Outcome<Measured> {
        let now = self.clock.now();
        let (first, start_cpu) = self.first.ok_or("no record came")?;
        let seconds = |from: Timestamp, to: Timestamp| (to.0 - from.0) as f64 / 1e6;
        Ok(Measured {
            records,
            start: seconds(self.began, first),
            start_cpu,
            wall: seconds(first, now),
            cpu: process::cpu_seconds()?,
            peak_mib: process::peak_mib()?,
        })
    }
}

/// Makes one measurement and prints it as a line of JSON.
pub(crate) fn run(stage: Stage, args: &Args) -> Outcome<()> {
    let clock = Clock::system();
    let watcher = Watcher { clock, began: clock.now(), first: None };
    let pipeline = pipeline(args)?;
    let measured = match stage {
        Stage::Bare => bare(watcher, kafka(&pipeline)?, args)?,
        _ => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(args.threads).enable_all().build()?;
            let outcome = runtime.block_on(async {
                match stage {
                    Stage::Whole => whole(watcher, pipeline).await,
                    Stage::Recover | Stage::Latency => crate::live::run(pipeline, clock).await,
                    _ => cut_off(stage, watcher, pipeline).await,
                }
            });
            runtime.shutdown_background();
            outcome?
        }
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn pipeline(args: &Args) -> Outcome<Pipeline> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let properties = args.properties.iter().map(|(key, value)| format!("{} = {}\n", quoted(key), quoted(value)));
    let live = args.stage == Some(Stage::Latency);
    let topic = if live { crate::live::topic(args.partitions) } else { args.shape().name() };
    // What is measured live is of the present: nothing comes out of order, and every window is for itself.
    let [window, lateness, delay] =
        if live { ["1 second", "0 seconds", "0 seconds"] } else { [&*args.window, &*args.lateness, "10 minutes"] };
    let commits = if args.stage == Some(Stage::Recover) { "1 second" } else { "10 seconds" };
    let text = include_str!("rides.toml")
        .replace("FORMAT", &quoted(if args.format == Form::Avro { "avro" } else { "json" }))
        .replace("# SCHEMA", if args.format == Form::Avro { "[source.schema]\nfile = \"ride.avsc\"" } else { "" })
        .replace("BROKERS", &quoted(&args.brokers))
        .replace("TOPIC", &quoted(&topic))
        .replace("WINDOW", &quoted(window))
        .replace("LATENESS", &quoted(lateness))
        .replace("DELAY", &quoted(delay))
        .replace("COMMITS", &quoted(commits))
        .replace("MEMORY", &quoted(&args.memory))
        .replace("SINK", &quoted(if args.sink.is_empty() { "unused" } else { &args.sink }))
        .replace("# PROPERTIES\n", &properties.collect::<String>());
    let mut pipeline = Pipeline::parse(&text, "rides.toml", &|name| std::env::var(name).ok())?;
    let schema = SchemaText { language: Language::Avro, text: avro::SCHEMA.to_owned(), references: Vec::new() };
    pipeline.reading.settings.origin = Origin::One(Arc::new(schema));
    Ok(pipeline)
}

pub(crate) fn decoder(pipeline: &Pipeline) -> Outcome<Box<dyn Decode>> {
    let topic = &kafka(pipeline)?.topic;
    Ok(key::decoder(pipeline.format, &pipeline.columns, topic, &pipeline.reading.settings))
}

pub(crate) fn kafka(pipeline: &Pipeline) -> Outcome<&KafkaConfig> {
    match &pipeline.source {
        SourceConfig::Kafka(kafka) => Ok(kafka),
        SourceConfig::File(_) => Err("the pipeline reads no topic".into()),
    }
}

/// The limit: the same client with the same settings, and nothing else.
fn bare(mut watcher: Watcher, kafka: &KafkaConfig, args: &Args) -> Outcome<Measured> {
    use rdkafka::consumer::{Consumer, DefaultConsumerContext};
    let inbox = windrow::source::kafka::inbox(kafka, DefaultConsumerContext)?;
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..i32::try_from(args.partitions)? {
        if !inbox.lead(&kafka.topic, Partition(partition)) {
            return Err("no such partition".into());
        }
        list.add_partition_offset(&kafka.topic, partition, rdkafka::Offset::Beginning)?;
    }
    // As Windrow does it: a client that does not know the topic yet may begin half a second late.
    inbox.consumer().fetch_metadata(Some(&kafka.topic), Duration::from_secs(10))?;
    inbox.consumer().assign(&list)?;
    let mut read = 0;
    while read < args.records {
        let batch = inbox.receive(4096, Duration::from_millis(20));
        read += batch.iter().filter(Result::is_ok).count() as u64;
        if read > 0 {
            watcher.seen()?;
        }
        inbox.serve()?;
    }
    let measured = watcher.measured(read);
    // Closing the client is no part of it.
    std::mem::forget(inbox);
    measured
}

/// The source, and as much of what follows as `stage` says.
async fn cut_off(stage: Stage, mut watcher: Watcher, pipeline: Pipeline) -> Outcome<Measured> {
    let clock = watcher.clock;
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await?;
    let mut source = KafkaSource::connect(kafka(&pipeline)?, clock)?;
    let mut decoder = decoder(&pipeline)?;
    let mut engine = Engine::new(pipeline.window.clone(), Arc::new(query));
    let topic = source.describe().await?;
    let from: BTreeMap<Partition, Offset> = topic.partitions.keys().map(|&partition| (partition, Offset(0))).collect();
    let ends: Vec<Offset> = topic.partitions.values().filter_map(|bounds| bounds.end).collect();
    let expected: u64 = ends.iter().map(|end| end.0.unsigned_abs()).sum();
    from.iter().for_each(|(&partition, &start)| engine.add_partition(partition, start, true));
    source.assign(&from).await?;
    let mut read = 0;
    while read < expected {
        let Event::Records(records) = source.next().await? else { continue };
        watcher.seen()?;
        read += records.len() as u64;
        if stage == Stage::Fetch {
            source.take_back(records);
            continue;
        }
        let decoded = decoder.decode(records);
        if stage == Stage::Aggregate {
            engine.push(&decoded, clock.now())?;
            engine.advance(clock.now());
        }
        source.take_back(decoded.records);
    }
    let measured = watcher.measured(read);
    // Dropping all groups, and closing the client, are no part of it.
    std::mem::forget((source, engine));
    measured
}

struct Noted(Arc<Mutex<Watcher>>);

impl Observer for Noted {
    fn progress(&mut self, view: &View) {
        if view.totals.read > 0 {
            // A watcher that cannot be told shows as a measurement without a first record.
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).seen();
        }
    }

    fn committed(&mut self, _: &Entry) {}
}

/// `windrow run --once --close-all`.
async fn whole(watcher: Watcher, pipeline: Pipeline) -> Outcome<Measured> {
    let clock = watcher.clock;
    let watcher = Arc::new(Mutex::new(watcher));
    let query = Arc::new(Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await?);
    let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true)?;
    let source = Box::new(KafkaSource::connect(kafka(&pipeline)?, clock)?);
    let decoder = decoder(&pipeline)?;
    let observer = Box::new(Noted(watcher.clone()));
    let instance = Instance::this();
    let parts = Parts { pipeline, query, source, decoder, store, instance, clock, observer, member: None };
    let (_stop, stop) = watch::channel(false);
    let entry = pipeline::run(parts, Options { once: true, close_all: true }, stop).await?;
    let watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    watcher.measured(entry.totals.read)
}
