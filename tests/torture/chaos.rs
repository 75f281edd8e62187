//! What is done, to whom and when.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use windrow::clock::Clock;
use windrow::record::Timestamp;

use crate::servers::{Server, Servers};
use crate::support::eventually;
use crate::support::place::Place;
use crate::support::process::Running;
use crate::watch::Watch;

/// How long a standby may take to replace a frozen writer: its silence is waited for, and the store may be away.
const TAKEOVER: Duration = Duration::from_secs(240);
/// How long after a takeover the next writer is frozen, in microseconds.
const BETWEEN: i64 = 240_000_000;

/// What was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done {
    kills: u32,
    stops: u32,
    pub(crate) takeovers: u32,
    fenced: u32,
    poisons: u32,
    broker_kills: u32,
    s3_kills: u32,
    starts: u32,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, stops, takeovers, fenced, poisons, broker_kills, s3_kills, starts } = self;
        write!(
            f,
            "{starts} starts, {kills} SIGKILL, {stops} SIGTERM, {takeovers} frozen writers taken over from, {fenced} \
             instances left to another, {poisons} disturbances of the network, {broker_kills} kills of the broker, \
             {s3_kills} of the S3 server"
        )
    }
}

pub(crate) struct Chaos<'a> {
    rng: ChaCha8Rng,
    servers: &'a Servers,
    place: &'a Place,
    file: PathBuf,
    clock: Clock,
    instances: [Option<Running>; 2],
    /// Which one is frozen, and since when.
    frozen: Option<(usize, Timestamp)>,
    freeze_at: Timestamp,
    done: Done,
}

impl<'a> Chaos<'a> {
    pub(crate) fn new(rng: ChaCha8Rng, servers: &'a Servers, place: &'a Place, file: PathBuf) -> Self {
        let clock = Clock::system();
        let (instances, frozen, freeze_at) = ([None, None], None, clock.now());
        Self { rng, servers, place, file, clock, instances, frozen, freeze_at, done: Done::default() }
    }

    /// Goes on for this long, and until whoever is frozen then has been taken over from.
    pub(crate) fn rage(&mut self, span: Duration, watch: &mut Watch<'_>) {
        let began = self.clock.now();
        let span = i64::try_from(span.as_micros()).unwrap();
        self.freeze_at = began.plus(span / 5);
        self.keep_alive();
        while self.clock.now() < began.plus(span) || self.frozen.is_some() || self.done.takeovers == 0 {
            let pause = self.rng.random_range(300..2_000);
            thread::sleep(Duration::from_millis(pause));
            match self.rng.random_range(0..14) {
                0..=2 => self.kill(),
                3..=4 => self.stop(),
                5..=9 => self.poison(),
                10 => self.fell(Server::Kafka),
                11 => self.fell(Server::S3),
                _ => {}
            }
            self.keep_alive();
            self.freeze();
            self.thaw();
            watch.look();
        }
    }

    /// Starts whoever is not there; a panic if one has ended without a reason.
    pub(crate) fn keep_alive(&mut self) {
        for number in 0..self.instances.len() {
            if let Some(running) = &mut self.instances[number]
                && let Some(code) = running.exit_code()
            {
                assert_eq!(code, 3, "an instance ended by itself: {}", running.stderr());
                self.done.fenced += 1;
                self.instances[number] = None;
            }
            if self.instances[number].is_none() {
                let mut command = self.place.windrow();
                command.envs(self.servers.proxied_s3().env()).arg("run").arg(&self.file);
                self.instances[number] = Some(Running::start(&mut command));
                self.done.starts += 1;
            }
        }
    }

    /// While one is frozen, both are needed.
    fn victim(&mut self) -> Option<Running> {
        let number = self.rng.random_range(0..self.instances.len());
        if self.frozen.is_some() { None } else { self.instances[number].take() }
    }

    fn kill(&mut self) {
        if let Some(running) = self.victim() {
            running.kill();
            self.done.kills += 1;
        }
    }

    fn stop(&mut self) {
        let Some(running) = self.victim() else { return };
        let ended = running.stop();
        // Left in good order; or to another, or because the store did not answer in time.
        assert!(matches!(ended.code, Some(0 | 1 | 3)), "{ended:?}");
        assert!(ended.code != Some(1) || ended.stderr.contains("leaving at once"), "{ended:?}");
        self.done.stops += 1;
    }

    fn poison(&mut self) {
        let server = if self.rng.random_bool(0.5) { Server::Kafka } else { Server::S3 };
        let (upstream, amount) = (self.rng.random_bool(0.5), self.rng.random_range(1..100));
        match self.rng.random_range(0..5) {
            0 => self.servers.poison(server, "latency", upstream, &[("latency", 20 * amount), ("jitter", 10 * amount)]),
            1 => self.servers.poison(server, "bandwidth", upstream, &[("rate", amount)]),
            2 => self.servers.poison(server, "reset_peer", upstream, &[("timeout", 5 * amount)]),
            3 => self.servers.poison(server, "limit_data", upstream, &[("bytes", 700 * amount)]),
            // Open, and nothing passes.
            _ => self.servers.poison(server, "timeout", upstream, &[("timeout", 0)]),
        }
        self.done.poisons += 1;
        let span = self.rng.random_range(300..6_000);
        thread::sleep(Duration::from_millis(span));
        self.servers.pass(server);
    }

    fn fell(&mut self, server: Server) {
        self.servers.kill(server);
        let span = self.rng.random_range(0..3_000);
        thread::sleep(Duration::from_millis(span));
        self.servers.up(server);
        *if server == Server::Kafka { &mut self.done.broker_kills } else { &mut self.done.s3_kills } += 1;
    }

    /// The number of the instance that wrote the newest entry, if it lives.
    fn writer(&self) -> Option<usize> {
        let writer = self.place.newest()?["writer"]["pid"].as_u64()?;
        self.instances.iter().position(|running| running.as_ref().is_some_and(|one| u64::from(one.pid()) == writer))
    }

    fn freeze(&mut self) {
        if self.frozen.is_some() || self.clock.now() < self.freeze_at {
            return;
        }
        let Some(writer) = self.writer() else { return };
        self.instances[writer].as_ref().unwrap().signal("STOP");
        self.frozen = Some((writer, self.clock.now()));
    }

    /// Wakes the frozen one when the other has taken over.
    fn thaw(&mut self) {
        let Some((frozen, since)) = self.frozen else { return };
        if self.writer() != Some(1 - frozen) {
            let waited = self.clock.now().0 - since.0;
            let other = self.instances[1 - frozen].as_ref().map(Running::stderr);
            assert!(u128::try_from(waited).unwrap() < TAKEOVER.as_micros(), "nobody took over: {other:?}");
            return;
        }
        let pause = self.rng.random_range(0..2_000);
        thread::sleep(Duration::from_millis(pause));
        let running = self.instances[frozen].take().unwrap();
        running.signal("CONT");
        let ended = running.wait(TAKEOVER);
        assert_eq!(ended.code, Some(3), "a writer that woke up must find that it is none any more: {ended:?}");
        self.done.takeovers += 1;
        self.done.fenced += 1;
        self.frozen = None;
        self.freeze_at = self.clock.now().plus(BETWEEN);
    }

    /// From now on nothing is done any more.
    pub(crate) fn calm_down(&mut self) {
        [Server::Kafka, Server::S3].iter().for_each(|&server| self.servers.up(server));
        self.keep_alive();
    }

    /// Asks everybody to leave.
    pub(crate) fn end(mut self) -> Done {
        // Who stands by leaves first, or it would take over.
        let writer = eventually("somebody writes", TAKEOVER, || self.writer());
        for number in [1 - writer, writer] {
            let ended = self.instances[number].take().unwrap().stop();
            // One that was started a moment ago does not listen yet, and ends as it is.
            let had_begun = !ended.stderr.is_empty();
            assert!(matches!(ended.code, Some(0 | 3)) || ended.code.is_none() && !had_begun, "{ended:?}");
        }
        self.done
    }
}
