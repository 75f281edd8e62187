//! The topic that is read, and the truth about it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use clap::ValueEnum;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, types::RDKafkaErrorCode};
use windrow::generate::{Generator, Kind, Plan};
use windrow::source::produce::{Message, Producer};

use crate::Outcome;
use crate::avro::Ride;

/// Groups of rides as they are generated: the zones of a city.
pub(crate) const ZONES: u32 = 260;
const HOUR: i64 = 3_600_000_000;
const ANSWER_TIME: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// How the records are compressed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compression {
    /// Not at all
    None,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

/// What the records are.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// JSON, as generated
    Json,
    /// Avro, by a schema file
    Avro,
}

/// What the topic holds.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) records: u64,
    pub(crate) groups: u32,
    pub(crate) partitions: u32,
    pub(crate) hours: u32,
    pub(crate) compression: Compression,
    pub(crate) format: Form,
    /// The length of windows in microseconds, of which the topic knows nothing.
    pub(crate) window: i64,
}

/// What a window's group comes to: hundredths, and rides.
type Sums = (i64, u64);

/// The sums of every window's groups, by the window's start and the group's number.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    sums: HashMap<(i64, u32), Sums>,
    zones: HashMap<&'static str, u32>,
}

impl Shape {
    /// The topic's name says all of it, so one that is there need not be filled again.
    pub(crate) fn name(&self) -> String {
        let Self { records, groups, partitions, hours, .. } = self;
        let format = if self.format == Form::Avro { "avro-" } else { "" };
        format!("windrow-bench-{format}{records}-{groups}-{partitions}-{hours}h-{}", self.codec())
    }

    fn codec(&self) -> &'static str {
        match self.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    fn plan(&self) -> Plan {
        let plan = Plan { partitions: self.partitions, ..Plan::RIDES };
        plan.spread(self.records, i64::from(self.hours) * HOUR)
    }

    /// The records, their groups' names replaced where there are other than the generator's.
    fn each(&self, mut take: impl FnMut(i32, &[u8], &[u8], i64) -> Outcome<()>) -> Outcome<Truth> {
        let mut truth = Truth::default();
        let zones = (0u16..).zip(0..Kind::Rides.groups());
        truth.zones = zones.map(|(index, _)| (Kind::Rides.group_name(index), u32::from(index))).collect();
        let mut value = Vec::new();
        for (number, record) in (0u64..self.records).zip(Generator::new(self.plan())) {
            let fact = record.truth.map_err(|_| "a broken record among orderly ones")?;
            let original = record.value.unwrap_or_default();
            let mut group = u32::from(fact.group);
            value.clear();
            if self.groups == ZONES {
                value.extend_from_slice(&original);
            } else {
                group = u32::try_from(scatter(number) % u64::from(self.groups))?;
                renamed(&original, group, &mut value)?;
            }
            if self.format == Form::Avro {
                let key = String::from_utf8_lossy(&record.key);
                let known = (self.groups == ZONES).then(|| Kind::Rides.group_name(fact.group));
                let zone = known.map_or_else(|| zone(group).into(), Cow::from);
                let ride = Ride {
                    id: &key,
                    pickup_at: fact.event_time.0 - 900_000_000,
                    dropoff_at: fact.event_time.0,
                    distance: number as f64 / 8.0,
                    pickup: &zone,
                    dropoff: "Upper East Side South",
                    tip: 1.25,
                    cents: i32::try_from(fact.amount)?,
                };
                value = ride.encoded();
            }
            let start = fact.event_time.0.div_euclid(self.window) * self.window;
            let sums = truth.sums.entry((start, group)).or_default();
            *sums = (sums.0 + fact.amount, sums.1 + 1);
            take(record.partition.0, &record.key, &value, record.timestamp)?;
        }
        Ok(truth)
    }
}

fn zone(group: u32) -> String {
    format!("Zone {group:07}")
}

/// The record with its pickup zone's name replaced.
fn renamed(original: &[u8], group: u32, out: &mut Vec<u8>) -> Outcome<()> {
    const MEMBER: &[u8] = b"\"pickup_location\":\"";
    let at = original.windows(MEMBER.len()).position(|part| part == MEMBER).ok_or("a record without its zone")?;
    let start = at + MEMBER.len();
    let end = start + original[start..].iter().position(|&byte| byte == b'"').ok_or("a zone without its end")?;
    out.extend_from_slice(&original[..start]);
    out.extend_from_slice(zone(group).as_bytes());
    out.extend_from_slice(&original[end..]);
    Ok(())
}

/// A number for each number, in no visible order (Steele and others, SplitMix).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills the topic unless it is there, whole; what it holds.
pub(crate) fn prepare(brokers: &str, shape: &Shape) -> Outcome<Truth> {
    let topic = shape.name();
    match records_in(brokers, shape)? {
        Some(found) if found == shape.records => {
            eprintln!("topic {topic} is there; finding out again what it holds");
            return shape.each(|_, _, _, _| Ok(()));
        }
        Some(found) => return Err(format!("topic {topic} holds {found} records: delete it and start again").into()),
        None => {}
    }
    create(brokers, shape)?;
    eprintln!("filling topic {topic}");
    // As large as librdkafka makes them when it is let: what a busy producer writes.
    let properties = [
        ("compression.type", shape.codec()),
        ("linger.ms", "100"),
        ("batch.size", "1000000"),
        ("queue.buffering.max.kbytes", "262144"),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    let producer = Producer::connect(brokers, &properties)?;
    let truth = shape.each(|partition, key, value, timestamp| {
        let message =
            Message { partition: Some(partition), key: Some(key), value: Some(value), timestamp_ms: Some(timestamp) };
        Ok(producer.send(&topic, message)?)
    })?;
    producer.flush(PATIENCE)?;
    Ok(truth)
}

/// How many records the topic holds; `None` if there is no such topic.
fn records_in(brokers: &str, shape: &Shape) -> Outcome<Option<u64>> {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("allow.auto.create.topics", "false").create()?;
    let topic = shape.name();
    let metadata = client.fetch_metadata(Some(&topic), ANSWER_TIME)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    if found.error().is_some() || found.partitions().is_empty() {
        return Ok(None);
    }
    let mut records = 0;
    for partition in found.partitions() {
        let (start, end) = client.fetch_watermarks(&topic, partition.id(), ANSWER_TIME)?;
        records += (end - start).unsigned_abs();
    }
    Ok(Some(records))
}

pub(crate) fn admin(brokers: &str) -> Outcome<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

fn create(brokers: &str, shape: &Shape) -> Outcome<()> {
    let (topic, admin) = (shape.name(), admin(brokers)?);
    let new = NewTopic::new(&topic, i32::try_from(shape.partitions)?, TopicReplication::Fixed(1))
        .set("retention.ms", "-1")
        .set("segment.bytes", "1073741824");
    let results = futures::executor::block_on(admin.create_topics([&new], &AdminOptions::new()))?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(format!("cannot make topic {name}: {code}").into()),
        }
    }
    Ok(())
}

/// Deletes the topic.
pub(crate) fn delete(brokers: &str, shape: &Shape) -> Outcome<()> {
    let (topic, admin) = (shape.name(), admin(brokers)?);
    futures::executor::block_on(admin.delete_topics(&[&topic], &AdminOptions::new()))?;
    Ok(())
}

impl Truth {
    /// Compares what lies under `sink` with what was generated.
    pub(crate) fn check(&self, sink: &std::path::Path) -> Outcome<()> {
        let mut files = Vec::new();
        list(&sink.join("data"), &mut files)?;
        let mut rows = 0;
        let mut seen = HashSet::new();
        for file in files {
            for batch in ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file)?)?.build()? {
                rows += self.check_batch(&batch?, &mut seen)?;
            }
        }
        if rows != self.sums.len() {
            return Err(format!("{rows} rows were published, {} were to be", self.sums.len()).into());
        }
        Ok(())
    }

    fn check_batch(&self, batch: &RecordBatch, seen: &mut HashSet<(i64, u32)>) -> Outcome<usize> {
        let column = |name: &str| batch.column_by_name(name).ok_or(format!("no column {name}"));
        let starts = column("window_start")?.as_primitive::<TimestampMicrosecondType>();
        let names = column("pickup_location")?.as_string::<i32>();
        let revenues = column("revenue")?.as_primitive::<Decimal128Type>();
        let rides = column("rides")?.as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let (start, name) = (starts.value(row), names.value(row));
            let group = match name.strip_prefix("Zone ") {
                Some(number) => number.parse()?,
                None => *self.zones.get(name).ok_or(format!("{name} was never generated"))?,
            };
            let found = (revenues.value(row), rides.value(row));
            let expected = self.sums.get(&(start, group)).map(|sums| (i128::from(sums.0), sums.1.cast_signed()));
            if Some(found) != expected {
                return Err(format!("window {start}, {name}: {found:?} published, {expected:?} generated").into());
            }
            if !seen.insert((start, group)) {
                return Err(format!("window {start}, {name}: published twice").into());
            }
        }
        Ok(batch.num_rows())
    }
}

fn list(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
