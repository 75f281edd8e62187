//! SIGKILL at random moments while records keep coming.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use windrow::clock::Clock;

use crate::support::broker::{Broker, Producer};
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::{Line, MINUTE, Plan, SECOND};
use crate::support::seed;
use crate::support::truth::{Rows, Truth};
use crate::support::worlds::World;

const PARTITIONS: i32 = 3;
const RECORDS: usize = 9_000;
const KILLS: usize = 26;

for_every_broker_and_sink! {
    fn whatever_is_killed_every_published_window_is_right(broker: Broker, place: Place) {
        killed_again_and_again(&World::new(broker, place, PARTITIONS), "final");
    }

    fn whatever_is_killed_early_results_and_corrections_are_right(broker: Broker, place: Place) {
        killed_again_and_again(&World::new(broker, place, PARTITIONS), "early");
    }
}

fn killed_again_and_again(world: &World, emit: &str) {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let plan = Plan {
        seed,
        records: vec![RECORDS; PARTITIONS as usize],
        span: 20 * MINUTE,
        disorder: SECOND,
        late: (60, 20 * SECOND),
        too_late: (20, 2 * MINUTE),
        broken: 20,
        tombstones: true,
    };
    let lines = plan.lines();
    let mut pipeline = PipelineFile::over_topic(world);
    pipeline.window += &format!("emit = \"{emit}\"\n");
    let truth = Truth::of(&lines, pipeline.shape, 0);
    let file = pipeline.write(world.dir.path());

    let killed = Arc::new(AtomicBool::new(false));
    let sender = keep_sending(world.broker.producer(&world.topic, &[]), lines, killed.clone());
    let mut witness = Witness { world, truth: &truth, early: emit == "early", log: Vec::new(), seen: BTreeMap::new() };
    // At any moment, and in turn right after an entry came to the log: there it is not published yet.
    for kill in 0..KILLS {
        let mut running = Running::start(world.place.windrow().arg("run").arg(&file));
        if kill % 2 == 0 {
            let life = Duration::from_millis(rng.random_range(100..2_000));
            thread::sleep(life / 2);
            witness.look();
            thread::sleep(life / 2);
        } else {
            witness.wait_for_entry(rng.random_range(1..6));
            thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        }
        running.assert_runs();
        running.kill();
        witness.look();
    }
    killed.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    eprintln!("{} files and {} log entries while it was being killed", witness.seen.len(), witness.log.len());
    assert!(witness.seen.len() > 10, "windows were published while it was being killed");

    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    witness.look();
    witness.nothing_has_changed();
    if emit == "early" {
        truth.assert_early(&world.place)
    } else {
        truth.assert_final(&world.place)
    }
    run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
    let committed = world.broker.committed(&world.topic, &world.topic, PARTITIONS);
    let records = i64::try_from(RECORDS).unwrap();
    assert!(
        committed.values().all(|&offset| offset == records),
        "a run that ends in good order commits: {committed:?}"
    );
}

/// Sends all partitions side by side at an even pace; what is left, at once when the killing is over.
fn keep_sending(producer: Producer, lines: Vec<Vec<Line>>, killed: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for index in 0..RECORDS {
            for (partition, lines) in lines.iter().enumerate() {
                producer.send(partition, lines[index].text.as_deref());
            }
            if index % 50 == 0 && !killed.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(350));
            }
        }
        producer.flush();
    })
}

/// Somebody who reads the sink while it is written, as a loader does.
struct Witness<'a> {
    world: &'a World,
    truth: &'a Truth,
    early: bool,
    /// The log so far.
    log: Vec<Value>,
    /// Every result file seen so far, with its bytes: none may ever change or go.
    seen: BTreeMap<String, bytes::Bytes>,
}

impl Witness<'_> {
    fn look(&mut self) {
        // First what must not be ahead, then what it must not be ahead of.
        let committed = self.world.broker.committed(&self.world.topic, &self.world.topic, PARTITIONS);
        self.world.place.read_log(&mut self.log);
        let mut keys = BTreeMap::new();
        for folder in ["data", "corrections", "late", "invalid"] {
            keys.insert(folder, self.world.place.keys(folder, ".parquet"));
        }
        self.kafka_is_not_ahead(&committed, &keys.values().flatten().map(String::as_str).collect());
        let corrections = self.truth.corrections();
        let first = if self.early { &self.truth.on_time } else { &self.truth.all };
        for (folder, expected) in [("data", first), ("corrections", &corrections)] {
            self.every_file_is_right(folder, &keys[folder], expected);
        }
        if let Some(newest) = self.log.last() {
            let totals = &newest["totals"];
            let count = |name: &str| totals[name].as_u64().unwrap();
            let invalid: u64 =
                totals["invalid"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
            assert_eq!(count("read"), count("aggregated") + count("filtered") + count("too_late") + invalid);
        }
    }

    /// Waits until the log has `more` entries more than at the last look, but not for ever.
    fn wait_for_entry(&self, more: usize) {
        let key = format!("_windrow/log/{:020}.json", self.log.len() + more);
        let clock = Clock::system();
        let until = clock.now().plus(5 * SECOND);
        while !self.world.place.has(&key) && clock.now() < until {
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn every_file_is_right(&mut self, folder: &str, keys: &[String], expected: &BTreeMap<i64, Rows>) {
        for key in self.seen.keys().filter(|key| key.starts_with(folder)) {
            assert!(keys.contains(key), "{key} was published and is gone");
        }
        for key in keys {
            if self.seen.contains_key(key) {
                continue;
            }
            // The name says the window, so no window can be there twice.
            let file = self.world.place.result(key);
            assert_eq!(Some(&file.rows), expected.get(&file.start), "{key}");
            self.seen.insert(key.clone(), self.world.place.get(key));
        }
    }

    /// No file has changed since it was first seen.
    fn nothing_has_changed(&self) {
        for (key, bytes) in &self.seen {
            assert_eq!(*bytes, self.world.place.get(key), "{key} has changed");
        }
    }

    /// Every committed offset is claimed by an entry, and what entries published up to there is in place.
    fn kafka_is_not_ahead(&self, committed: &BTreeMap<i32, i64>, keys: &BTreeSet<&str>) {
        let mut published = 0;
        for (partition, &offset) in committed {
            let mut claims =
                self.log.iter().map(|entry| entry["partitions"][partition.to_string()]["to"].as_i64().unwrap_or(0));
            let Some(entry) = claims.clone().position(|to| to >= offset) else {
                panic!("partition {partition}: Kafka stands at {offset}, the log at {:?}", claims.next_back());
            };
            published = published.max(entry + 1);
        }
        for file in self.log[..published].iter().flat_map(|entry| entry["files"].as_array().unwrap()) {
            let path = file["path"].as_str().unwrap();
            assert!(keys.contains(path), "Kafka's offsets are committed, {path} is not published");
        }
    }
}
