//! Every step between the fetch of a record and the commit of its offset, by name: an instance dies there, is started
//! again, and everything is exact.
//!
//! The program has no switch for this. The instance that dies is this test binary, started once more: it runs the
//! library's own pipeline, over a source, a decoder and a store that pass everything on and count.

mod dying;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use self::dying::Verb;
use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::{MINUTE, Plan, SECOND};
use crate::support::truth::Truth;
use crate::support::worlds::World;
use crate::support::{PATIENCE, seed};

const PARTITIONS: usize = 2;
const RECORDS: usize = 1_500;

/// Where an instance dies.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Records have come from the source.
    Fetched,
    /// They are decoded, and not yet counted.
    Decoded,
    /// A request to the store, before it is sent, or when it is done and not yet answered; keys begin so.
    Store { verb: Verb, key: &'static str, done: bool },
    /// The entry with which a run ends in good order, before or after it is written.
    LastEntry { done: bool },
    /// Kafka is about to be told offsets, or has been.
    Told { done: bool },
}

const fn before(verb: Verb, key: &'static str) -> Step {
    Step::Store { verb, key, done: false }
}

const fn after(verb: Verb, key: &'static str) -> Step {
    Step::Store { verb, key, done: true }
}

/// Turns each line into a test, and all of them into a table.
macro_rules! crash_points {
    ($($name:ident: $step:expr, $count:literal;)*) => {
        /// Every step, by its test's name, and which time it is reached is the last.
        const POINTS: &[(&str, Step, u64)] = &[$((stringify!($name), $step, $count)),*];

        $(mod $name {
            use super::*;

            #[test]
            fn over_mock_broker_and_disk() {
                dies_at(stringify!($name), None, Broker::mock(), Place::disk());
            }

            #[test]
            fn over_kafka_and_s3() {
                if let (Some(broker), Some(place)) = (Broker::kafka(stringify!($name)), Place::s3(stringify!($name))) {
                    dies_at(stringify!($name), None, broker, place);
                }
            }
        })*
    };
}

// The first entry and the first words to Kafka are a run's beginning; so the second ones are meant where nothing else is
// said.
crash_points! {
    while_the_store_is_tried: after(Verb::Create, "_windrow/probe/"), 2;
    after_the_first_entry_of_a_run: after(Verb::Create, "_windrow/log/"), 1;
    after_a_fetch: Step::Fetched, 2;
    after_decoding: Step::Decoded, 2;
    before_anything_is_staged: before(Verb::Put, "_windrow/st"), 1;
    after_one_file_is_staged: after(Verb::Put, "_windrow/stage/"), 1;
    after_the_state_is_saved: after(Verb::Put, "_windrow/state/"), 2;
    before_the_entry: before(Verb::Create, "_windrow/log/"), 2;
    after_the_entry: after(Verb::Create, "_windrow/log/"), 2;
    after_the_first_result: after(Verb::Create, "data/"), 1;
    between_two_results: before(Verb::Create, "data/"), 4;
    after_a_correction: after(Verb::Create, "corrections/"), 1;
    after_late_records_have_their_file: after(Verb::Create, "late/"), 1;
    after_invalid_records_have_their_file: after(Verb::Create, "invalid/"), 1;
    before_the_feed: before(Verb::Create, "feed/"), 1;
    after_the_feed: after(Verb::Create, "feed/"), 1;
    before_kafka_is_told: Step::Told { done: false }, 2;
    after_kafka_is_told: Step::Told { done: true }, 2;
    before_the_stage_is_swept: before(Verb::Delete, "_windrow/stage/"), 1;
    while_state_is_swept: after(Verb::Delete, "_windrow/state/"), 1;
    before_the_last_entry: Step::LastEntry { done: false }, 1;
    after_the_last_entry: Step::LastEntry { done: true }, 1;
}

/// Recovery is publishing once more: it dies at each of its steps, too, and the start after that makes it good.
mod in_recovery {
    use super::*;

    fn dies_again(broker: fn() -> Option<Broker>, place: fn() -> Option<Place>) {
        let again = ["after_the_first_result", "between_two_results", "before_the_feed", "after_the_feed"];
        for point in again.iter().chain(&["after_the_first_entry_of_a_run"]) {
            let (Some(broker), Some(place)) = (broker(), place()) else { return };
            dies_at("after_the_entry", Some(point), broker, place);
        }
    }

    #[test]
    fn over_mock_broker_and_disk() {
        dies_again(|| Some(Broker::mock()), || Some(Place::disk()));
    }

    #[test]
    fn over_kafka_and_s3() {
        dies_again(|| Broker::kafka("in_recovery"), || Place::s3("in_recovery"));
    }
}

#[test]
#[ignore = "the instance that the others have die: started by them, with what it is told by the environment"]
fn an_instance_that_dies() {
    let told = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let point = told("CRASH_POINT");
    let (_, step, count) = *POINTS.iter().find(|(name, ..)| *name == point).unwrap();
    dying::run(Path::new(&told("CRASH_PIPELINE")), step, count);
}

/// An instance dies there; the next one, if `again` says so, while it makes that good; the one after that is exact.
fn dies_at(point: &str, again: Option<&str>, broker: Broker, place: Place) {
    let world = World::new(broker, place, i32::try_from(PARTITIONS).unwrap());
    let seed = seed();
    let plan = Plan {
        late: (80, 20 * SECOND),
        too_late: (40, 2 * MINUTE),
        broken: 40,
        ..Plan::clean(seed, &[RECORDS; PARTITIONS], 5 * MINUTE)
    };
    let lines = plan.lines();
    let mut pipeline = PipelineFile::over_topic(&world);
    pipeline.window += "emit = \"early\"\n";
    // Late and invalid records get a file with every commit.
    pipeline.sink_lines += "late_size = \"1 KiB\"\n";
    let truth = Truth::of(&lines, pipeline.shape, 0);
    let file = pipeline.write(world.dir.path());

    let dead = Arc::new(AtomicBool::new(false));
    let sender = {
        let (producer, dead) = (world.broker.producer(&world.topic, &[]), dead.clone());
        thread::spawn(move || {
            for index in 0..RECORDS {
                for (partition, lines) in lines.iter().enumerate() {
                    producer.send(partition, lines[index].text.as_deref());
                }
                // Over several commits, as long as somebody is to die in one of them.
                if index % 150 == 149 && !dead.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(300));
                }
            }
            producer.flush();
        })
    };
    for point in [Some(point), again].into_iter().flatten() {
        let ended = Running::start(&mut instance(&world.place, point, &file)).wait(PATIENCE);
        assert_eq!(ended.code, None, "{point}: it did not die there: {}", ended.said());
        assert!(ended.stderr.contains("dies here"), "{point}: {}", ended.said());
        everything_in_sight_is_right(&world.place, &truth);
    }
    dead.store(true, Ordering::Relaxed);
    sender.join().unwrap();

    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    truth.assert_early(&world.place);
    let audit = world.place.windrow().arg("audit").arg(world.place.url()).arg("--replay").arg(&file).output().unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    assert_eq!(world.place.keys("_windrow/stage", ""), Vec::<String>::new(), "nothing staged is left");
    let committed = world.broker.committed(&world.topic, &world.topic, i32::try_from(PARTITIONS).unwrap());
    assert!(committed.values().all(|&offset| offset == i64::try_from(RECORDS).unwrap()), "{committed:?}");
}

/// This binary as an instance that dies.
fn instance(place: &Place, point: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash_points::an_instance_that_dies", "--ignored", "--nocapture"]);
    command.env("CRASH_POINT", point).env("CRASH_PIPELINE", file).stdin(Stdio::null());
    if let Some(server) = place.server() {
        command.envs(server.env());
    }
    command
}

/// What a reader finds at this moment: whole windows with the right rows, and nothing else.
fn everything_in_sight_is_right(place: &Place, truth: &Truth) {
    for (start, rows) in place.results("data") {
        assert_eq!(Some(&rows), truth.on_time.get(&start), "data, window {start}");
    }
    let corrections = truth.corrections();
    for (start, rows) in place.results("corrections") {
        assert_eq!(Some(&rows), corrections.get(&start), "corrections, window {start}");
    }
    assert!(place.kept("late").is_subset(&truth.too_late));
    assert!(place.kept("invalid").is_subset(&truth.invalid));
}
