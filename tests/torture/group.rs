//! Three instances share a topic of twelve partitions. They are killed, stopped, frozen for longer than the group waits,
//! joined by a fourth that leaves again; the broker is killed and started again.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use windrow::clock::Clock;
use windrow::record::Timestamp;

use crate::load::{CALM, Load};
use crate::servers::{Server, Servers};
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::SECOND;
use crate::support::{eventually, skip};
use crate::watch::Watch;

const PARTITIONS: usize = 12;
/// Records a second and partition.
const RATE: usize = 40;
/// Ports after those of the other torture.
const PORTS: u16 = 60;
/// The one that comes and goes.
const GUEST: usize = 3;

/// What was done.
#[derive(Debug, Default)]
struct Done {
    starts: u32,
    /// When each was.
    kills: Vec<Timestamp>,
    stops: u32,
    freezes: u32,
    guests: u32,
    broker_kills: u32,
}

struct Group<'a> {
    rng: ChaCha8Rng,
    place: &'a Place,
    file: PathBuf,
    clock: Clock,
    /// The last one is there for a while only.
    instances: [Option<Running>; 4],
    /// Who is frozen, and until when.
    frozen: Option<(usize, Timestamp)>,
    done: Done,
}

impl Group<'_> {
    /// Starts whoever should be there; a panic if one has ended by itself.
    fn keep_alive(&mut self) {
        for number in 0..GUEST {
            self.start(number);
        }
    }

    fn start(&mut self, number: usize) {
        if let Some(running) = &mut self.instances[number] {
            let code = running.exit_code();
            assert_eq!(code, None, "an instance ended by itself: {}", running.stderr());
            return;
        }
        let mut command = self.place.windrow();
        command.arg("run").arg(&self.file);
        // Two of them are known again after a restart, and get back what they had.
        if number < 2 {
            command.args(["--instance", &format!("torture-{number}")]);
        }
        self.instances[number] = Some(Running::start(&mut command));
        self.done.starts += 1;
    }

    fn act(&mut self, servers: &Servers) {
        let number = self.rng.random_range(0..GUEST);
        let is_frozen = self.frozen.is_some_and(|(frozen, _)| frozen == number);
        match self.rng.random_range(0..10) {
            0..=2 if !is_frozen => {
                self.instances[number].take().unwrap().kill();
                self.done.kills.push(self.clock.now());
            }
            3..=4 if !is_frozen => self.stop(number),
            5..=6 if self.frozen.is_none() => {
                self.instances[number].as_ref().unwrap().signal("STOP");
                // The group waits for fifteen seconds.
                let span = self.rng.random_range(5..40) * SECOND;
                self.frozen = Some((number, self.clock.now().plus(span)));
                self.done.freezes += 1;
            }
            7..=8 => {
                if self.instances[GUEST].is_some() {
                    self.stop(GUEST);
                } else {
                    self.start(GUEST);
                    self.done.guests += 1;
                }
            }
            9 => {
                servers.kill(Server::Kafka);
                servers.up(Server::Kafka);
                self.done.broker_kills += 1;
            }
            _ => {}
        }
    }

    fn stop(&mut self, number: usize) {
        let ended = self.instances[number].take().unwrap().stop();
        assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
        assert!(ended.code != Some(1) || ended.stderr.contains("leaving at once"), "{ended:?}");
        self.done.stops += 1;
    }

    fn thaw(&mut self, now: bool) {
        if let Some((number, until)) = self.frozen
            && (now || self.clock.now() >= until)
        {
            self.instances[number].as_ref().unwrap().signal("CONT");
            self.frozen = None;
        }
    }
}

impl Done {
    /// With how long each kill kept the next windows from being published.
    fn told(&self, place: &Place) -> String {
        let mut log = Vec::new();
        place.read_log(&mut log);
        let time = |entry: &Value| serde_json::from_value::<Timestamp>(entry["time"].clone()).unwrap();
        let publishes = log.iter().filter(|entry| entry["closed"].as_array().is_some_and(|closed| !closed.is_empty()));
        let publishes: Vec<Timestamp> = publishes.map(time).collect();
        let next = |kill: &Timestamp| Some(publishes.iter().find(|publish| *publish > kill)?.0 - kill.0);
        let mut waits: Vec<i64> = self.kills.iter().filter_map(next).collect();
        waits.sort_unstable();
        let seconds = |wait: Option<&i64>| wait.map_or(f64::NAN, |&wait| wait as f64 / 1e6);
        format!(
            "{} starts, {} kills, {} stops, {} freezes, {} guests, {} kills of the broker; from a kill to the next entry that \
             closes windows {:.1} s (median), {:.1} s at most; {} entries",
            self.starts,
            self.kills.len(),
            self.stops,
            self.freezes,
            self.guests,
            self.broker_kills,
            seconds(waits.get(waits.len() / 2)),
            seconds(waits.last()),
            log.len()
        )
    }
}

#[test]
fn whatever_is_done_to_instances_that_share_a_topic_every_published_row_is_right() {
    let test = "whatever_is_done_to_instances_that_share_a_topic_every_published_row_is_right";
    let Some(seconds) = std::env::var("WINDROW_TORTURE_GROUP_SECONDS").ok() else {
        return skip(test, "WINDROW_TORTURE_GROUP_SECONDS does not say how long");
    };
    let seconds = seconds.parse::<usize>().unwrap();
    let Some(servers) = Servers::start(PORTS) else {
        return skip(test, "WINDROW_TORTURE_SERVICES names no folder with kafka.sh, s3.sh and toxiproxy.sh");
    };
    let load = Load::new(&servers, PARTITIONS, seconds * RATE, seconds);
    let dir = load.world.dir.path();
    let alone = load.pipeline.write(dir);
    let shared = dir.join("shared.toml");
    let text = load.pipeline.text();
    std::fs::write(&shared, text.replace("\ngroup = ", "\nassignment = \"group\"\ngroup = ")).unwrap();

    let sending = load.send();
    let place = &load.world.place;
    let mut group = Group {
        rng: ChaCha8Rng::seed_from_u64(load.seed),
        place,
        file: shared,
        clock: Clock::system(),
        instances: [None, None, None, None],
        frozen: None,
        done: Done::default(),
    };
    let mut watch = Watch::new(place, &load.truth);
    let until = group.clock.now().plus(i64::try_from(seconds).unwrap() * SECOND);
    while group.clock.now() < until {
        group.keep_alive();
        let pause = group.rng.random_range(1_000..6_000);
        thread::sleep(Duration::from_millis(pause));
        group.act(&servers);
        group.thaw(false);
        watch.look();
    }
    group.thaw(true);
    sending.end();
    eventually("everything is read once nothing is done to it any more", CALM, || {
        group.keep_alive();
        load.is_read()
    });
    let writers = place.newest().unwrap();
    for number in 0..group.instances.len() {
        if group.instances[number].is_some() {
            group.stop(number);
        }
    }
    // Who was killed last may still be thought to read: the log has to stand still for a while then.
    eventually("a run that is alone may close what is open", CALM, || {
        let ended = run(place.windrow().args(["run", "--once", "--close-all"]).arg(&alone));
        if ended.code == Some(3) {
            return None;
        }
        Some(ended.expect(0))
    });
    let held: std::collections::BTreeSet<_> = writers["partitions"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(|claim| claim["held"]["writer"].as_str())
        .collect();
    // Kafka takes no offsets from outside a group that has members, and those that were killed are among them for a while:
    // theirs may stay behind.
    eprintln!("{}\n{}", group.done.told(place), load.judge(watch, &alone));
    assert!(held.len() > 1, "the topic was not shared: {held:?}");
}
