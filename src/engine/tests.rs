//! The engine, the sink and the log together, held against the oracle: whatever the interleaving, the batches, the
//! commits and the restarts, the published files are what the partitions say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::Engine;
use super::oracle::{Content, Event, Results, Truth, truth};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::decode::Decode;
use crate::decode::json::JsonDecoder;
use crate::log::entry::{Entry, Raise, TopicId};
use crate::log::publish::{publish, sweep};
use crate::log::store::{Stored, newest};
use crate::log::{self, laws};
use crate::pipeline::writer;
use crate::query::{Keeps, Query};
use crate::record::{Offset, Partition, Records, Timestamp};
use crate::sink::stage::{Desk, Ending, Flush, Identity, stage};
use crate::sink::state;
use crate::sink::store::Store;
use crate::time::text::Size;
use crate::time::window::Windows;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const BEGIN: i64 = 1_772_352_000 * SECOND;

const GROUPS: &str = "SELECT k, COUNT(*) AS n, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, AVG(f) AS mean, \
                      LAST_VALUE(v) AS last FROM t WHERE v <> 13 GROUP BY k";
/// STDDEV cannot be merged exactly, so this one keeps rows.
const ROWS: &str = "SELECT k, COUNT(*) AS n, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi, STDDEV(f) AS spread \
                    FROM t WHERE v <> 13 GROUP BY k";

fn pipeline(emit: &str, lateness: &str, sql: &str) -> Pipeline {
    let text = format!(
        r#"
        name = "t"
        [source.file]
        path = "-"
        [source.columns]
        at = "timestamp(us)"
        k = "text"
        v = "int"
        f = "float"
        [window]
        event_time = "at"
        size = "10 minutes"
        watermark_delay = "2 minutes"
        allowed_lateness = "{lateness}"
        emit = "{emit}"
        idle_timeout = "30 seconds"
        [query]
        sql = "{sql}"
        [sink]
        url = "unused"
        "#
    );
    Pipeline::parse(&text, "t.toml", &|_| None).unwrap()
}

/// The same with windows that begin so often.
fn every(minutes: i64, pipeline: &mut Pipeline) {
    let [size, every] = [10, minutes].map(|minutes| Size::Physical(minutes * MINUTE));
    pipeline.window.windows = Windows::hopping(size, every, None, None).unwrap();
}

/// Minutes from window to window: ten as they tumble.
fn hop() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(10), 1 => Just(5), 1 => Just(2), 1 => Just(1)]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Planning is slow and the same for every case.
fn planned(sql: &'static str) -> Arc<Query> {
    static PLANNED: OnceLock<[Arc<Query>; 2]> = OnceLock::new();
    // On a thread of its own: whoever comes first may be inside a runtime already.
    let plan = |sql: &'static str| {
        let columns = pipeline("final", "0s", sql).columns;
        let plan = move || runtime().block_on(Query::plan(sql, &columns, &BTreeMap::new())).unwrap();
        Arc::new(std::thread::spawn(plan).join().unwrap())
    };
    let queries = PLANNED.get_or_init(|| [GROUPS, ROWS].map(plan));
    let index = usize::from(sql == ROWS);
    assert_eq!(queries[index].keeps(), if index == 0 { Keeps::Groups } else { Keeps::Rows });
    queries[index].clone()
}

/// A record as generated: minutes behind the partition's pace, and what it says.
#[derive(Clone, Debug)]
enum Spec {
    Good { behind: i64, key: u8, value: i64 },
    Future,
    Broken(u8),
}

#[derive(Clone, Debug)]
enum Step {
    Deliver { partition: usize, count: usize },
    Commit,
    Restart,
    Pass { seconds: i64 },
    AskEnds,
}

fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        20 => (prop_oneof![6 => 0..2i64, 2 => 0..15i64, 1 => 0..60i64], 0..4u8, -20..20i64)
            .prop_map(|(behind, key, value)| Spec::Good { behind, key, value }),
        1 => Just(Spec::Future),
        1 => (0..4u8).prop_map(Spec::Broken),
    ]
}

/// Bytes for open windows: enough, a few groups, or none at all.
fn memory() -> impl Strategy<Value = u64> {
    prop_oneof![Just(512 << 20), 2_000..40_000u64, Just(1)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3usize, 1..20usize).prop_map(|(partition, count)| Step::Deliver { partition, count }),
        3 => Just(Step::Commit),
        2 => Just(Step::Restart),
        2 => (1..40i64).prop_map(|seconds| Step::Pass { seconds }),
        2 => Just(Step::AskEnds),
    ]
}

/// Each partition's records: what goes on the wire, and what the oracle reads.
struct Topic {
    wire: Vec<Vec<Option<Vec<u8>>>>,
    events: BTreeMap<Partition, Vec<Event>>,
}

fn topic(specs: &[Vec<Spec>]) -> Topic {
    let mut topic = Topic { wire: Vec::new(), events: BTreeMap::new() };
    for (partition, specs) in specs.iter().enumerate() {
        let mut wire = Vec::new();
        let mut events = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            // Partitions run at different paces; the last is far ahead.
            let pace = BEGIN + index as i64 * MINUTE / 2 * (1 + partition as i64);
            let (time, key, value, future) = match spec {
                Spec::Good { behind, key, value } => (pace - behind * MINUTE, *key, *value, false),
                Spec::Future => (BEGIN + 100 * 24 * 60 * MINUTE, 0, 0, true),
                Spec::Broken(how) => {
                    wire.push(match how {
                        0 => None,
                        1 => Some(br#"{"at": 17"#.to_vec()),
                        2 => Some(br#"{"at": 1772352000000000, "k": "a", "f": 1}"#.to_vec()),
                        _ => Some(br#"{"at": "soon", "k": "a", "v": 1, "f": 1}"#.to_vec()),
                    });
                    events.push(Event { offset: Offset(index as i64), content: None });
                    continue;
                }
            };
            let key = format!("k{key}");
            let float = value as f64 / 7.0 + time as f64 * 1e-17;
            wire.push(Some(format!(r#"{{"at":{time},"k":"{key}","v":{value},"f":{float}}}"#).into_bytes()));
            let content = Content { time: Timestamp(time), key, value, future };
            events.push(Event { offset: Offset(index as i64), content: Some(content) });
        }
        topic.events.insert(Partition(partition as i32), events);
        topic.wire.push(wire);
    }
    topic
}

struct World<'a> {
    pipeline: &'a Pipeline,
    query: Arc<Query>,
    topic: &'a Topic,
    identity: Identity,
    store: Store,
    newest: Stored,
    engine: Engine,
    now: Timestamp,
    raised: BTreeMap<Partition, Vec<Raise>>,
}

impl<'a> World<'a> {
    async fn new(pipeline: &'a Pipeline, query: Arc<Query>, topic: &'a Topic) -> Self {
        let store = Store::over(Arc::new(InMemory::new()), Clock::system());
        let mut engine = Engine::new(pipeline.window.clone(), query.clone()).bounded(pipeline.memory as usize / 2);
        for partition in topic.events.keys() {
            engine.add_partition(*partition, Offset(0), true);
        }
        let identity = Identity {
            pipeline: pipeline.name.clone(),
            fingerprint: pipeline.fingerprint(),
            writer: writer::this(),
            topic: TopicId { name: "t".into(), cluster: None, id: None, files: Vec::new() },
        };
        let now = Timestamp(BEGIN + 24 * 60 * MINUTE);
        let cut = engine.cut().unwrap();
        let desk = Desk { store: &store, pipeline, identity: &identity, query: &query };
        let staged = stage(desk, None, cut, Ending::GOES_ON, now).await.unwrap();
        let committed = log::commit(&store, None, staged).await.unwrap();
        let newest = committed.stored().clone();
        engine.committed(&newest.entry);
        Self { pipeline, query, topic, identity, store, newest, engine, now, raised: BTreeMap::new() }
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Deliver { partition, count } => self.deliver(partition % self.topic.wire.len(), count),
            Step::Commit => self.commit(Ending::GOES_ON).await,
            Step::Restart => self.restart().await,
            Step::Pass { seconds } => self.now = self.now.plus(seconds * SECOND),
            Step::AskEnds => {
                for (partition, wire) in self.topic.wire.iter().enumerate() {
                    self.engine.observe_end(Partition(partition as i32), Offset(wire.len() as i64), self.now);
                }
            }
        }
        self.engine.advance(self.now);
        if self.engine.is_due() {
            self.commit(Ending::GOES_ON).await;
        }
    }

    fn deliver(&mut self, partition: usize, count: usize) {
        let id = Partition(partition as i32);
        let from = self.engine.position(id).unwrap().0 as usize;
        let wire = &self.topic.wire[partition];
        let mut records = Records::new(id);
        for (offset, value) in wire.iter().enumerate().skip(from).take(count) {
            records.push(Offset(offset as i64), None, None, value.as_deref());
        }
        let decoded = JsonDecoder::new(&self.pipeline.columns, "t").decode(records);
        self.engine.push(&decoded, self.now).unwrap();
    }

    async fn commit(&mut self, ending: Ending) {
        let cut = self.engine.cut().unwrap();
        let before = Some(&self.newest);
        let desk = Desk { store: &self.store, pipeline: self.pipeline, identity: &self.identity, query: &self.query };
        let staged = stage(desk, before, cut, ending, self.now);
        let committed = log::commit(&self.store, before, staged.await.unwrap()).await.unwrap();
        let stored = committed.stored().clone();
        publish(&self.store, &committed).await.unwrap();
        sweep(&self.store, Some(&self.newest.entry), &stored.entry).await;
        laws::check(Some(&self.newest.entry), &stored.entry).unwrap();
        self.engine.committed(&stored.entry);
        for (partition, claim) in &stored.entry.partitions {
            self.raised.entry(*partition).or_default().extend(&claim.raised);
        }
        self.newest = stored;
    }

    /// Forgets everything that is not in the store.
    async fn restart(&mut self) {
        self.newest = newest(&self.store).await.unwrap().unwrap();
        let entry = &self.newest.entry;
        let mut pieces = BTreeMap::new();
        for chunk in entry.windows.iter().flat_map(|open| &open.parts).flat_map(|part| &part.chunks) {
            let batches = state::read(&self.store, chunk).await.unwrap();
            pieces.insert((chunk.object.clone(), chunk.offset), batches);
        }
        let load = |chunk: &log::entry::Chunk| pieces[&(chunk.object.clone(), chunk.offset)].clone();
        self.engine = Engine::restore(self.pipeline.window.clone(), self.query.clone(), entry, load)
            .unwrap()
            .bounded(self.pipeline.memory as usize / 2);
    }

    async fn finish(mut self) -> (Entry, Found, BTreeMap<Partition, Vec<Raise>>) {
        loop {
            let left = |(partition, wire): (usize, &Vec<_>)| {
                self.engine.position(Partition(partition as i32)).unwrap().0 < wire.len() as i64
            };
            let Some(partition) = self.topic.wire.iter().enumerate().position(left) else { break };
            self.step(&Step::Deliver { partition, count: 7 }).await;
        }
        self.engine.close_all();
        self.commit(Ending { flush: Flush::Now, released: true }).await;
        let found = Found::read(&self.store).await;
        (self.newest.entry, found, self.raised)
    }
}

/// What a reader finds in the sink.
#[derive(Debug, Default, PartialEq)]
struct Found {
    results: Results,
    late: BTreeSet<(Partition, Offset)>,
    invalid: BTreeSet<(Partition, Offset)>,
    /// Every result file by name, its rows as text in their order.
    files: BTreeMap<String, Vec<String>>,
}

impl Found {
    async fn read(store: &Store) -> Self {
        let mut found = Self::default();
        for folder in ["data", "corrections"] {
            for (path, _) in store.list(folder).await.unwrap() {
                let (start, revision) = window_of(&path);
                for batch in rows(store, &path).await {
                    let int = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
                    let keys = batch.column_by_name("k").unwrap().as_string::<i32>();
                    let starts = batch.column_by_name("window_start").unwrap();
                    let starts = starts.as_primitive::<TimestampMicrosecondType>();
                    let (n, s, lo, hi) = (int("n"), int("s"), int("lo"), int("hi"));
                    for row in 0..batch.num_rows() {
                        assert_eq!(starts.value(row), start.0, "{path}");
                        let values =
                            (keys.value(row).to_owned(), n.value(row), s.value(row), lo.value(row), hi.value(row));
                        found.results.entry((start, revision)).or_default().push(values);
                        let text =
                            |column: &dyn Array| arrow::util::display::array_value_to_string(column, row).unwrap();
                        let text: Vec<_> = batch.columns().iter().map(|column| text(column)).collect();
                        found.files.entry(path.clone()).or_default().push(text.join(","));
                    }
                }
                found.results.entry((start, revision)).or_default();
                found.files.entry(path).or_default();
            }
        }
        for (folder, kept) in [("late", &mut found.late), ("invalid", &mut found.invalid)] {
            for (path, _) in store.list(folder).await.unwrap() {
                for batch in rows(store, &path).await {
                    let partitions = batch.column_by_name("partition").unwrap();
                    let partitions = partitions.as_primitive::<arrow::datatypes::Int32Type>();
                    let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
                    for row in 0..batch.num_rows() {
                        let new = kept.insert((Partition(partitions.value(row)), Offset(offsets.value(row))));
                        assert!(new, "{path} keeps a record twice");
                    }
                }
            }
        }
        found
    }
}

async fn rows(store: &Store, path: &str) -> Vec<RecordBatch> {
    let bytes = store.get(path).await.unwrap().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

/// `…/t-20260301T080000Z-r1.parquet`
fn window_of(path: &str) -> (Timestamp, i32) {
    let name = path.rsplit('/').next().unwrap().strip_prefix("t-").unwrap().strip_suffix(".parquet").unwrap();
    let (start, revision) = name.split_once("-r").map_or((name, 0), |(start, n)| (start, n.parse().unwrap()));
    let start = chrono::NaiveDateTime::parse_from_str(start, "%Y%m%dT%H%M%SZ").unwrap();
    (Timestamp(start.and_utc().timestamp_micros()), revision)
}

async fn world(pipeline: &Pipeline, query: Arc<Query>, topic: &Topic, steps: &[Step]) -> (Entry, Found, Truth) {
    let mut world = World::new(pipeline, query, topic).await;
    for step in steps {
        world.step(step).await;
    }
    let (entry, found, raised) = world.finish().await;
    let truth = truth(&pipeline.window, &topic.events, &raised);
    (entry, found, truth)
}

fn agree(entry: &Entry, found: &Found, truth: &Truth) -> Result<(), TestCaseError> {
    prop_assert_eq!(&found.results, &truth.results);
    prop_assert_eq!(&found.late, &truth.late);
    prop_assert_eq!(&found.invalid, &truth.invalid);
    prop_assert!(entry.windows.is_empty());
    prop_assert!(entry.totals.balance());
    prop_assert_eq!(entry.totals.aggregated, truth.aggregated);
    prop_assert_eq!(entry.totals.filtered, truth.filtered);
    prop_assert_eq!(entry.totals.late, truth.counted_late);
    prop_assert_eq!(entry.totals.missed, truth.missed);
    prop_assert_eq!(entry.totals.too_late, truth.late.len() as u64);
    prop_assert_eq!(entry.totals.invalid(), truth.invalid.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn published_files_are_what_the_oracle_says(
        specs in prop::collection::vec(prop::collection::vec(spec(), 0..60), 1..4),
        steps in prop::collection::vec(step(), 0..40),
        early in any::<bool>(),
        lateness in prop_oneof![Just("0s"), Just("5 minutes"), Just("25 minutes")],
        rows in any::<bool>(),
        memory in memory(),
        hop in hop(),
    ) {
        let sql = if rows { ROWS } else { GROUPS };
        let mut pipeline = pipeline(if early { "early" } else { "final" }, lateness, sql);
        every(hop, &mut pipeline);
        pipeline.memory = if rows { pipeline.memory } else { memory };
        let topic = topic(&specs);
        let (entry, found, truth) = runtime().block_on(world(&pipeline, planned(sql), &topic, &steps));
        agree(&entry, &found, &truth)?;
    }

    #[test]
    fn the_same_partitions_give_the_same_files_whatever_the_schedule(
        specs in prop::collection::vec(prop::collection::vec(spec(), 0..60), 1..4),
        one in prop::collection::vec(step(), 0..40),
        other in prop::collection::vec(step(), 0..40),
        early in any::<bool>(),
        rows in any::<bool>(),
        memory in memory(),
        hop in hop(),
    ) {
        // Idleness is the one thing that may make a difference.
        let steps = |steps: &[Step]| -> Vec<Step> {
            steps.iter().filter(|step| !matches!(step, Step::AskEnds)).cloned().collect()
        };
        let sql = if rows { ROWS } else { GROUPS };
        let mut pipeline = pipeline(if early { "early" } else { "final" }, "15 minutes", sql);
        every(hop, &mut pipeline);
        let topic = topic(&specs);
        let (entry, found, truth) = runtime().block_on(world(&pipeline, planned(sql), &topic, &steps(&one)));
        agree(&entry, &found, &truth)?;
        pipeline.memory = if rows { pipeline.memory } else { memory };
        let (_, again, _) = runtime().block_on(world(&pipeline, planned(sql), &topic, &steps(&other)));
        prop_assert_eq!(found.files, again.files);
        prop_assert_eq!(found.late, again.late);
    }
}

fn good(behind: i64, value: i64) -> Spec {
    Spec::Good { behind, key: 0, value }
}

/// Two partitions, the second read far ahead of the first: nothing of the first may count as late.
#[test]
fn a_partition_that_is_read_ahead_makes_no_other_late() {
    let specs = vec![vec![good(0, 1); 50], vec![good(0, 1); 50]];
    let pipeline = pipeline("final", "0s", GROUPS);
    let topic = topic(&specs);
    let steps = [Step::Deliver { partition: 1, count: 50 }, Step::Commit, Step::Deliver { partition: 0, count: 50 }];
    let (entry, found, truth) = runtime().block_on(world(&pipeline, planned(GROUPS), &topic, &steps));
    agree(&entry, &found, &truth).unwrap();
    assert_eq!(entry.totals.aggregated, 100);
    assert_eq!(entry.totals.too_late, 0);
}

#[test]
fn the_last_window_of_a_quiet_stream_closes_with_the_passing_time() {
    let specs = vec![vec![good(0, 1); 10], vec![]];
    let pipeline = pipeline("final", "0s", GROUPS);
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(GROUPS), &topic).await;
        world.step(&Step::Deliver { partition: 0, count: 10 }).await;
        // The empty partition holds the watermark until the broker has said for long enough that it is empty.
        for _ in 0..40 {
            world.step(&Step::AskEnds).await;
            world.step(&Step::Pass { seconds: 20 }).await;
        }
        assert_eq!(world.engine.open_windows(), 0);
        let files = Found::read(&world.store).await.files;
        assert_eq!(files.len(), 1);
    });
}

#[test]
fn an_instance_whose_clock_is_behind_closes_the_windows_of_a_quiet_stream_as_well() {
    let specs = vec![vec![good(0, 1); 10]];
    let pipeline = pipeline("final", "0s", GROUPS);
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(GROUPS), &topic).await;
        world.step(&Step::Deliver { partition: 0, count: 10 }).await;
        for _ in 0..10 {
            world.step(&Step::AskEnds).await;
            world.step(&Step::Pass { seconds: 8 }).await;
        }
        world.step(&Step::Commit).await;
        assert_eq!((world.engine.is_quiet(), world.engine.open_windows()), (true, 1));
        world.step(&Step::Restart).await;
        world.now = world.now.minus(24 * 60 * MINUTE);
        for _ in 0..150 {
            world.step(&Step::AskEnds).await;
            world.step(&Step::Pass { seconds: 8 }).await;
        }
        assert_eq!(world.engine.open_windows(), 0);
    });
}

#[test]
fn a_partition_that_cannot_be_asked_is_not_idle() {
    let specs = vec![vec![good(0, 1); 50], vec![good(0, 1); 1]];
    let pipeline = pipeline("final", "0s", GROUPS);
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(GROUPS), &topic).await;
        world.step(&Step::Deliver { partition: 0, count: 50 }).await;
        world.step(&Step::Deliver { partition: 1, count: 1 }).await;
        world.step(&Step::AskEnds).await;
        world.step(&Step::Pass { seconds: 3600 }).await;
        assert!(Found::read(&world.store).await.files.is_empty());
    });
}

#[test]
fn a_record_beyond_the_cut_of_an_idle_partition_is_late() {
    let specs = vec![vec![good(0, 1); 60], vec![good(0, 1), good(0, 1)]];
    let pipeline = pipeline("early", "60 minutes", GROUPS);
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(GROUPS), &topic).await;
        world.step(&Step::Deliver { partition: 1, count: 1 }).await;
        world.engine.observe_end(Partition(1), Offset(1), world.now);
        world.step(&Step::Pass { seconds: 31 }).await;
        world.engine.observe_end(Partition(1), Offset(1), world.now);
        world.step(&Step::Deliver { partition: 0, count: 60 }).await;
        world.step(&Step::Pass { seconds: 1 }).await;
        world.engine.observe_end(Partition(1), Offset(1), world.now);
        world.step(&Step::Commit).await;
        assert!(!Found::read(&world.store).await.files.is_empty());
        let (entry, found, raised) = world.finish().await;
        assert_eq!(entry.totals.late, 1);
        agree(&entry, &found, &truth(&pipeline.window, &topic.events, &raised)).unwrap();
    });
}

/// Both partitions are idle when records come to both; those of the first are read before the second is known to have
/// any.
#[test]
fn records_that_come_together_after_a_pause_make_each_other_not_late() {
    let specs = vec![vec![good(0, 1); 60], vec![good(0, 1); 60]];
    let pipeline = pipeline("final", "0s", GROUPS);
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(GROUPS), &topic).await;
        for partition in [0, 1] {
            world.step(&Step::Deliver { partition, count: 1 }).await;
        }
        for seconds in [0, 31] {
            world.step(&Step::Pass { seconds }).await;
            for partition in [0, 1] {
                world.engine.observe_end(Partition(partition), Offset(1), world.now);
            }
        }
        world.engine.advance(world.now);
        world.step(&Step::Deliver { partition: 0, count: 59 }).await;
        world.step(&Step::Pass { seconds: 1 }).await;
        world.step(&Step::AskEnds).await;
        world.step(&Step::Deliver { partition: 1, count: 59 }).await;
        let (entry, found, raised) = world.finish().await;
        assert_eq!((entry.totals.aggregated, entry.totals.too_late), (120, 0));
        agree(&entry, &found, &truth(&pipeline.window, &topic.events, &raised)).unwrap();
    });
}

/// Windows of ten minutes, one every five: a record is in two, and late for each by that one's own end.
#[test]
fn a_late_record_is_in_those_of_its_windows_that_are_not_final() {
    // The watermark stands two minutes behind 8:24:30, so what is 8:19:30 missed the window up to 8:20 and is in the next.
    let mut specs = vec![vec![good(0, 1); 49]];
    specs[0].extend([good(5, 7), good(20, 9)]);
    let mut pipeline = pipeline("final", "0s", GROUPS);
    every(5, &mut pipeline);
    let topic = topic(&specs);
    let (entry, found, truth) = runtime().block_on(world(&pipeline, planned(GROUPS), &topic, &[]));
    agree(&entry, &found, &truth).unwrap();
    let sums = |minute: i64| found.results[&(Timestamp(BEGIN + minute * MINUTE), 0)][0].2;
    assert_eq!((sums(10), sums(15)), (20, 19 + 7));
    let totals = &entry.totals;
    assert_eq!((totals.aggregated, totals.late, totals.missed, totals.too_late), (50, 1, 1, 1));
}

/// A window begins where no record is, and its first result is known all the same when late records come.
#[test]
fn an_early_result_of_a_window_that_begins_before_its_first_record_is_corrected_once() {
    let mut specs = vec![vec![good(0, 1); 30]];
    specs[0].extend([good(10, 7), good(0, 1)]);
    let mut pipeline = pipeline("early", "60 minutes", GROUPS);
    every(5, &mut pipeline);
    let topic = topic(&specs);
    let deliver = |count| Step::Deliver { partition: 0, count };
    let steps = [deliver(30), Step::Commit, Step::Restart, deliver(1), Step::Commit, Step::Restart, deliver(1)];
    let (entry, found, truth) = runtime().block_on(world(&pipeline, planned(GROUPS), &topic, &steps));
    agree(&entry, &found, &truth).unwrap();
    let revisions = |minute: i64| {
        let start = Timestamp(BEGIN + minute * MINUTE);
        found.results.keys().filter(|(window, _)| *window == start).count()
    };
    assert_eq!([revisions(-5), revisions(0), revisions(5)], [1, 2, 1]);
}

/// Sixty commits bring a record each, and the log names few pieces.
#[test]
fn small_pieces_of_rows_are_merged() {
    let specs = vec![vec![good(0, 1); 120]];
    let mut pipeline = pipeline("final", "0s", ROWS);
    pipeline.window.watermark_delay = 60 * MINUTE;
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(ROWS), &topic).await;
        let mut most = 0;
        for _ in 0..120 {
            world.step(&Step::Deliver { partition: 0, count: 1 }).await;
            world.step(&Step::Commit).await;
            let parts = world.newest.entry.windows.iter().flat_map(|open| &open.parts);
            most = most.max(parts.map(|part| part.chunks.len()).max().unwrap_or_default());
        }
        assert!((5..=8).contains(&most), "{most} pieces");
        let (entry, found, raised) = world.finish().await;
        agree(&entry, &found, &truth(&pipeline.window, &topic.events, &raised)).unwrap();
    });
}

/// Groups that do not fit are named by the log, run by run, and never held again.
#[test]
fn groups_beyond_the_limit_wait_in_runs() {
    let specs = vec![vec![good(0, 1); 120]];
    let mut pipeline = pipeline("final", "0s", GROUPS);
    pipeline.window.watermark_delay = 60 * MINUTE;
    pipeline.memory = 1;
    let topic = topic(&specs);
    runtime().block_on(async {
        let mut world = World::new(&pipeline, planned(GROUPS), &topic).await;
        let mut most = 0;
        for count in 0..120 {
            world.step(&Step::Deliver { partition: 0, count: 1 }).await;
            assert!(world.engine.is_full());
            world.step(&Step::Commit).await;
            assert!(!world.engine.is_full() && world.engine.state_bytes() == 0);
            if count % 7 == 0 {
                world.step(&Step::Restart).await;
                assert_eq!(world.engine.state_bytes(), 0, "runs are not read back");
            }
            for part in world.newest.entry.windows.iter().flat_map(|open| &open.parts) {
                let runs: BTreeSet<_> = part.chunks.iter().map(|chunk| chunk.run.unwrap()).collect();
                most = most.max(runs.len());
            }
        }
        assert!((5..=8).contains(&most), "{most} runs");
        let (entry, found, raised) = world.finish().await;
        agree(&entry, &found, &truth(&pipeline.window, &topic.events, &raised)).unwrap();
    });
}
