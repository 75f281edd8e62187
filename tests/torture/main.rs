//! The built program on real servers, with everything done to it that can be done from outside.
//!
//! Two instances over one sink read a topic under load, through a proxy to Kafka and one to the S3 server. From a
//! printed seed they are killed, asked to stop, and frozen until the other has taken over; the proxies delay, starve,
//! reset and swallow; broker and S3 server are killed and started again. All the while a reader compares every file with
//! the truth as soon as it appears. In the end every published row is compared, and the audit recomputes the sink from
//! the topic.
//!
//! It starts the servers itself, from the scripts in the folder that `WINDROW_TORTURE_SERVICES` names, on ports from
//! `WINDROW_TORTURE_PORT` on, and takes them away again. `WINDROW_TORTURE_SECONDS` says how long, `WINDROW_TEST_SEED`
//! repeats what is done, though not to the microsecond. `WINDROW_TORTURE_DUCKDB` names a Python with DuckDB, which then
//! compares every row as well.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a torture that cannot go on fails its test, and says what it saw"
)]

mod chaos;
mod group;
mod outside;
mod servers;
#[allow(dead_code, unused_macros, reason = "the suite's, of which not all is needed here")]
#[path = "../suite/support/mod.rs"]
mod support;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use windrow::clock::Clock;

use chaos::Chaos;
use servers::Servers;
use support::broker::{Broker, Producer};
use support::pipeline::PipelineFile;
use support::place::Place;
use support::process::{Running, run};
use support::rides::{Line, MINUTE, Plan, SECOND};
use support::truth::Truth;
use support::worlds::World;
use support::{eventually, seed, skip};
use watch::Watch;

const PARTITIONS: usize = 3;
/// Records a second and partition, at most.
const RATE: usize = 200;
/// Records a partition, at most: they are held in memory.
const MOST: usize = 300_000;
/// How long the end of it may take: what the topic holds must be in the log, and recomputed.
const CALM: Duration = Duration::from_secs(600);

#[test]
fn whatever_is_done_to_it_every_published_row_is_right() {
    let test = "whatever_is_done_to_it_every_published_row_is_right";
    let Some(servers) = Servers::start(0) else {
        return skip(test, "WINDROW_TORTURE_SERVICES names no folder with kafka.sh, s3.sh and toxiproxy.sh");
    };
    let seconds = std::env::var("WINDROW_TORTURE_SECONDS").map_or(120, |text| text.parse::<usize>().unwrap());
    let seed = seed();
    let world = World::new(Broker::at(&servers.brokers()), Place::on(servers.s3()), PARTITIONS.try_into().unwrap());
    // Ten seconds of event time a second, so that a window closes each second.
    let records = (seconds * RATE).min(MOST);
    let plan = Plan {
        seed,
        records: vec![records; PARTITIONS],
        span: i64::try_from(seconds).unwrap() * 10 * SECOND,
        disorder: SECOND,
        late: (40, 20 * SECOND),
        too_late: (15, 2 * MINUTE),
        broken: 15,
        tombstones: true,
    };
    let lines = plan.lines();
    let mut pipeline = PipelineFile::over_topic(&world);
    pipeline.window += "emit = \"early\"\n";
    let truth = Truth::of(&lines, pipeline.shape, 0);
    let direct = pipeline.write(world.dir.path());
    pipeline.name = "proxied".to_owned();
    let text =
        pipeline.text().replace(&servers.brokers(), &servers.proxied_brokers()).replace("\"proxied\"", "\"rides\"");
    let proxied = world.dir.path().join("proxied.toml");
    std::fs::write(&proxied, text).unwrap();

    let calm = Arc::new(AtomicBool::new(false));
    let sender = keep_sending(world.broker.producer(&world.topic, &[]), lines, seconds, calm.clone());
    let mut chaos = Chaos::new(ChaCha8Rng::seed_from_u64(seed), &servers, &world.place, proxied);
    let mut watch = Watch::new(&world.place, &truth);
    chaos.rage(Duration::from_secs(seconds.try_into().unwrap()), &mut watch);
    calm.store(true, Ordering::Relaxed);
    chaos.calm_down();
    sender.join().unwrap();

    let all = u64::try_from(records * PARTITIONS).unwrap();
    eventually("everything is read once nothing is done to it any more", CALM, || {
        chaos.keep_alive();
        (world.place.newest()?["totals"]["read"].as_u64() == Some(all)).then_some(())
    });
    let done = chaos.end();
    // Whoever wrote last may have died; it is known to be gone.
    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&direct)).expect(0);
    watch.look();
    watch.nothing_has_changed();
    truth.assert_early(&world.place);
    let mut audit = world.place.windrow();
    audit.arg("audit").arg(world.place.url()).arg("--replay").arg(&direct);
    let audit = Running::start(&mut audit).wait(CALM).expect(0);
    assert!(audit.stdout.contains("\nsound\n"), "{}", audit.said());
    let committed = world.broker.committed(&world.topic, &world.topic, PARTITIONS.try_into().unwrap());
    assert!(committed.values().all(|&offset| offset == i64::try_from(records).unwrap()), "{committed:?}");
    let outside = outside::compare(&world.place, &truth, &world.dir.path().join("copies"));
    eprintln!("{outside}\n{done}\n{} files seen as they appeared\n{}", watch.seen(), audit.stdout);
    assert!(done.takeovers > 0, "no frozen instance was taken over from");
}

/// Sends all partitions side by side at an even pace; what is left, at once when it is calm.
fn keep_sending(
    producer: Producer,
    lines: Vec<Vec<Line>>,
    seconds: usize,
    calm: Arc<AtomicBool>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let clock = Clock::system();
        let began = clock.now();
        let records = lines[0].len();
        for index in 0..records {
            for (partition, lines) in lines.iter().enumerate() {
                producer.send(partition, lines[index].text.as_deref());
            }
            let due = began.plus(i64::try_from(index * seconds).unwrap() * SECOND / i64::try_from(records).unwrap());
            while clock.now() < due && !calm.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
            }
        }
        producer.flush();
    })
}
