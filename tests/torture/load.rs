//! What every torture has: a topic under load, the truth about it, and how the sink is judged in the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use windrow::clock::Clock;

use crate::outside;
use crate::servers::Servers;
use crate::support::broker::{Broker, Producer};
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::Running;
use crate::support::rides::{Line, MINUTE, Plan, SECOND};
use crate::support::seed;
use crate::support::truth::Truth;
use crate::support::worlds::World;
use crate::watch::Watch;

/// How long the end of it may take: what the topic holds must be in the log, and recomputed.
pub(crate) const CALM: Duration = Duration::from_secs(600);

/// A topic and what is to come of it.
pub(crate) struct Load {
    pub(crate) world: World,
    pub(crate) truth: Truth,
    /// Reads the topic straight from the broker.
    pub(crate) pipeline: PipelineFile,
    /// What is drawn from it is the same in another run with it.
    pub(crate) seed: u64,
    lines: Arc<Vec<Vec<Line>>>,
    seconds: usize,
}

/// Records on their way into the topic.
pub(crate) struct Sending {
    calm: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    /// An empty topic, and `records` for each of its partitions.
    pub(crate) fn new(servers: &Servers, partitions: usize, records: usize, seconds: usize) -> Self {
        let partition_count = partitions.try_into().unwrap();
        let world = World::new(Broker::at(&servers.brokers()), Place::on(servers.s3()), partition_count);
        // Ten seconds of event time a second, so that a window closes each second.
        let seed = seed();
        let plan = Plan {
            seed,
            records: vec![records; partitions],
            span: i64::try_from(seconds).unwrap() * 10 * SECOND,
            disorder: SECOND,
            late: (40, 20 * SECOND),
            too_late: (15, 2 * MINUTE),
            broken: 15,
            tombstones: true,
        };
        let lines = Arc::new(plan.lines());
        let mut pipeline = PipelineFile::over_topic(&world);
        pipeline.window += "emit = \"early\"\n";
        let truth = Truth::of(&lines, pipeline.shape, 0);
        Self { world, truth, pipeline, seed, lines, seconds }
    }

    /// Begins to send all partitions side by side at an even pace.
    pub(crate) fn send(&self) -> Sending {
        let calm = Arc::new(AtomicBool::new(false));
        let producer = self.world.broker.producer(&self.world.topic, &[]);
        let (lines, seconds, is_calm) = (self.lines.clone(), self.seconds, calm.clone());
        Sending { calm, thread: thread::spawn(move || pace(&producer, &lines, seconds, &is_calm)) }
    }

    /// Whether the log has taken in all of it.
    pub(crate) fn is_read(&self) -> Option<()> {
        let all: usize = self.lines.iter().map(Vec::len).sum();
        let read = self.world.place.newest()?["totals"]["read"].as_u64()?;
        (read == u64::try_from(all).unwrap()).then_some(())
    }

    /// Kafka's offsets of the group, of each partition that has one.
    pub(crate) fn committed(&self) -> Vec<i64> {
        let partitions = self.lines.len().try_into().unwrap();
        self.world.broker.committed(&self.world.topic, &self.world.topic, partitions).into_values().collect()
    }

    /// Where each partition ends.
    pub(crate) fn ends(&self) -> Vec<i64> {
        self.lines.iter().map(|lines| i64::try_from(lines.len()).unwrap()).collect()
    }

    /// Everything that is published, against the truth; by DuckDB, too, if there is one. `file` is the pipeline of which
    /// every window is recomputed. What was found, in words.
    pub(crate) fn judge(&self, mut watch: Watch<'_>, file: &Path) -> String {
        watch.look();
        watch.nothing_has_changed();
        self.truth.assert_early(&self.world.place);
        let mut audit = self.world.place.windrow();
        audit.arg("audit").arg(self.world.place.url()).arg("--replay").arg(file);
        let audit = Running::start(&mut audit).wait(CALM).expect(0);
        assert!(audit.stdout.contains("\nsound\n"), "{}", audit.said());
        let (committed, ends) = (self.committed(), self.ends());
        assert!(committed.iter().zip(&ends).all(|(committed, end)| committed <= end), "{committed:?}");
        let outside = outside::compare(&self.world.place, &self.truth, &self.world.dir.path().join("copies"));
        format!("{outside}\n{} files seen as they appeared\n{}", watch.seen(), audit.stdout)
    }
}

impl Sending {
    /// What is left is sent at once.
    pub(crate) fn hurry(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// All of it is in the topic.
    pub(crate) fn end(self) {
        self.hurry();
        self.thread.join().unwrap();
    }
}

fn pace(producer: &Producer, lines: &[Vec<Line>], seconds: usize, calm: &AtomicBool) {
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
}
