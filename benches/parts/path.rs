//! The parts, in the order of the path.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio::runtime::Runtime;
use windrow::clock::Clock;
use windrow::config::Pipeline;
use windrow::decode::json::JsonDecoder;
use windrow::decode::{Decode, Decoded};
use windrow::engine::Engine;
use windrow::generate::{Generator, Plan};
use windrow::log;
use windrow::log::entry::{Sequence, TopicId};
use windrow::log::store::Stored;
use windrow::pipeline::writer::Instance;
use windrow::query::Query;
use windrow::record::{Offset, Partition, Records, Timestamp};
use windrow::sink::format::{FileFormat, encode};
use windrow::sink::layout;
use windrow::sink::parquet::Form;
use windrow::sink::stage::{Desk, Ending, Identity, stage};
use windrow::sink::store::Store;

/// Groups beyond what fits into a processor's cache.
const MANY: usize = 1 << 20;
/// A moment after every ride.
const NOW: Timestamp = Timestamp(4_000_000_000_000_000);

fn pipeline(sink: &str) -> Pipeline {
    let text = include_str!("rides.toml").replace("SINK", &serde_json::Value::from(sink).to_string());
    Pipeline::parse(&text, "rides.toml", &|_| None).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn query(pipeline: &Pipeline) -> Arc<Query> {
    Arc::new(runtime().block_on(Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables)).unwrap())
}

/// Rides of an hour; `change` is let at the value of each, with its number.
fn rides(count: usize, change: impl Fn(usize, String) -> String) -> Vec<Vec<u8>> {
    let plan = Plan { partitions: 1, ..Plan::RIDES }.spread(count as u64, 3_000_000_000);
    let values = Generator::new(plan).filter_map(|ride| ride.value).take(count);
    let values = values.enumerate().map(|(number, value)| change(number, String::from_utf8(value).unwrap()));
    values.map(String::into_bytes).collect()
}

/// As they come: no more than so many in a batch.
fn batches(values: Vec<Vec<u8>>) -> Vec<Records> {
    let mut offsets = 0..;
    let batch = |values: &[Vec<u8>]| {
        let mut records = Records::new(Partition(0));
        for (value, offset) in values.iter().zip(&mut offsets) {
            records.push(Offset(offset), Some(Timestamp(0)), Some(b"ride-0123456789a"), Some(value));
        }
        records
    };
    values.chunks(4096).map(batch).collect()
}

fn decoded(pipeline: &Pipeline, batches: Vec<Records>) -> Vec<Decoded> {
    let mut decoder = JsonDecoder::new(&pipeline.columns, "rides");
    let decoded: Vec<Decoded> = batches.into_iter().map(|batch| decoder.decode(batch)).collect();
    assert!(decoded.iter().all(|decoded| decoded.rejected.is_empty()));
    decoded
}

fn as_they_are(_: usize, value: String) -> String {
    value
}

/// Each in a group of its own.
fn zoned(number: usize, value: String) -> String {
    let group = number.wrapping_mul(0x9e37_79b1) % MANY;
    let (before, rest) = value.split_once("\"pickup_location\":\"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    format!("{before}\"pickup_location\":\"Zone {group:07}\"{after}")
}

/// Records into columns, by their shape.
pub(crate) fn decode(count: usize) -> Box<dyn FnMut()> {
    decoding(count, as_they_are)
}

/// The same of records that have none: the white space of each is another.
pub(crate) fn decode_spaced(count: usize) -> Box<dyn FnMut()> {
    decoding(count, |number, value| value.replace("\":", &format!("\":{}", " ".repeat(number % 7))))
}

fn decoding(count: usize, change: fn(usize, String) -> String) -> Box<dyn FnMut()> {
    let mut decoder = JsonDecoder::new(&pipeline("unused").columns, "rides");
    let batches = batches(rides(count, change));
    Box::new(move || {
        for batch in &batches {
            let decoded = decoder.decode(batch.clone());
            assert_eq!(black_box(&decoded).rows.len(), batch.len());
        }
    })
}

/// Rows into the groups of a window, which are there already.
pub(crate) fn group(count: usize) -> Box<dyn FnMut()> {
    let pipeline = pipeline("unused");
    let mut engine = Engine::new(pipeline.window.clone(), query(&pipeline));
    let batches = decoded(&pipeline, batches(rides(count, as_they_are)));
    Box::new(move || batches.iter().for_each(|batch| engine.push(batch, NOW).unwrap()))
}

/// Rows into new groups of a window.
pub(crate) fn group_many(count: usize) -> Box<dyn FnMut()> {
    let pipeline = pipeline("unused");
    let query = query(&pipeline);
    let batches = decoded(&pipeline, batches(rides(count, zoned)));
    Box::new(move || {
        let mut engine = Engine::new(pipeline.window.clone(), query.clone());
        batches.iter().for_each(|batch| engine.push(batch, NOW).unwrap());
        assert!(black_box(&engine).groups() > 0);
    })
}

/// Groups of two partitions, as they are saved, into the rows of a window.
fn saved(count: usize) -> (Pipeline, Arc<Query>, Vec<Vec<RecordBatch>>) {
    let pipeline = pipeline("unused");
    let query = query(&pipeline);
    let share = || {
        let mut partial = query.partial();
        for batch in decoded(&pipeline, batches(rides(count, zoned))) {
            let prepared = query.prepare(&batch.batch).unwrap();
            let rows: Vec<u32> = (0..batch.rows.len() as u32).collect();
            partial.add(&prepared, &rows).unwrap();
        }
        partial.snapshot().unwrap().batches
    };
    let shares = vec![share(), share()];
    (pipeline, query, shares)
}

/// Many groups of two partitions into the rows of a closed window.
pub(crate) fn close_many(count: usize) -> Box<dyn FnMut()> {
    let (_, query, shares) = saved(count);
    let runtime = runtime();
    Box::new(move || {
        let rows = runtime.block_on(query.close(shares.clone())).unwrap();
        assert!(black_box(rows).iter().map(RecordBatch::num_rows).sum::<usize>() > 0);
    })
}

/// The rows of a closed window into a file's bytes.
pub(crate) fn parquet(count: usize) -> Box<dyn FnMut()> {
    let (_, query, shares) = saved(count);
    let rows = runtime().block_on(query.close(shares)).unwrap();
    Box::new(move || {
        let files = encode(FileFormat::Parquet, query.output_schema(), &rows, &Form::default()).unwrap();
        assert!(!black_box(files).is_empty());
    })
}

/// Entries of a log that has run for months.
const LONG: u64 = 100_000;

/// A commit that publishes nothing, with a window open: state and entry written and synced.
pub(crate) fn commit(_: usize) -> Box<dyn FnMut()> {
    let mut committing = Committing::new();
    Box::new(move || committing.commit())
}

/// The same after very many.
pub(crate) fn commit_long(_: usize) -> Box<dyn FnMut()> {
    let mut committing = Committing::after(LONG);
    Box::new(move || committing.commit())
}

/// The newest entry of a log of ten, as a start looks for it.
pub(crate) fn newest(_: usize) -> Box<dyn FnMut()> {
    finding(10)
}

/// The newest entry of very many.
pub(crate) fn newest_long(_: usize) -> Box<dyn FnMut()> {
    finding(LONG)
}

fn finding(entries: u64) -> Box<dyn FnMut()> {
    let committing = Committing::after(entries);
    Box::new(move || {
        // The folder, too, lives as long as this does.
        let Committing { folder, runtime, store, .. } = &committing;
        assert!(folder.path().exists());
        let found = runtime.block_on(log::store::newest(store)).unwrap();
        assert_eq!(found.unwrap().entry.sequence, Sequence(entries));
    })
}

/// A pipeline that commits the same records again and again, at the offsets that follow.
struct Committing {
    folder: tempfile::TempDir,
    store: Store,
    pipeline: Pipeline,
    query: Arc<Query>,
    identity: Identity,
    batch: Decoded,
    engine: Engine,
    runtime: Runtime,
    next: i64,
    newest: Option<Stored>,
}

impl Committing {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("windrow-parts-").tempdir_in(".").unwrap();
        let pipeline = pipeline(&folder.path().display().to_string());
        let query = query(&pipeline);
        let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true).unwrap();
        let batch = decoded(&pipeline, batches(rides(260, as_they_are))).remove(0);
        let topic = TopicId { name: "rides".into(), cluster: None, id: None, files: Vec::new() };
        let writer = Instance::this().writer().clone();
        let identity = Identity { pipeline: "parts".into(), fingerprint: pipeline.fingerprint(), writer, topic };
        let engine = Engine::new(pipeline.window.clone(), query.clone());
        let (runtime, next, newest) = (runtime(), 0, None);
        Self { folder, store, pipeline, query, identity, batch, engine, runtime, next, newest }
    }

    /// With so many entries in the log: the first, and copies of it under the numbers that follow.
    fn after(entries: u64) -> Self {
        let mut committing = Self::new();
        committing.commit();
        let mut entry = committing.newest.take().unwrap().entry;
        for number in 2..=entries {
            entry.sequence = Sequence(number);
            let path = committing.folder.path().join(layout::entry(entry.sequence));
            std::fs::write(path, serde_json::to_vec(&entry).unwrap()).unwrap();
        }
        committing.newest = committing.runtime.block_on(log::store::newest(&committing.store)).unwrap();
        committing
    }

    fn commit(&mut self) {
        let mut records = Records::new(Partition(0));
        for record in self.batch.records.iter() {
            records.push(Offset(self.next), record.timestamp, record.key, record.value);
            self.next += 1;
        }
        let decoded = Decoded {
            records,
            rows: self.batch.rows.clone(),
            batch: self.batch.batch.clone(),
            event_times: self.batch.event_times.clone(),
            rejected: Vec::new(),
        };
        self.engine.push(&decoded, NOW).unwrap();
        let cut = self.engine.cut().unwrap();
        let desk = Desk { store: &self.store, pipeline: &self.pipeline, identity: &self.identity, query: &self.query };
        let newest = self.newest.as_ref();
        let staged = stage(desk, newest, cut, Ending::GOES_ON, Clock::system().now());
        let staged = self.runtime.block_on(staged).unwrap();
        let committed = self.runtime.block_on(log::commit(&self.store, newest, staged)).unwrap();
        self.engine.committed(&committed.stored().entry);
        self.newest = Some(committed.stored().clone());
    }
}
