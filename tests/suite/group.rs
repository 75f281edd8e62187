//! Instances that share a topic through Kafka's group protocol, as processes. What is done to them at random is in the
//! torture.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::{MINUTE, Plan};
use crate::support::truth::Truth;
use crate::support::worlds::World;
use crate::support::{eventually, seed};

const PARTITIONS: usize = 4;
const WITHIN: Duration = Duration::from_secs(90);

/// A topic that is filled, the truth about it, and two pipeline files: for one instance alone, and for several.
struct Shared {
    world: World,
    truth: Truth,
    alone: PathBuf,
    shared: PathBuf,
}

impl Shared {
    fn new(broker: Broker, place: Place) -> Self {
        let world = World::new(broker, place, PARTITIONS.try_into().unwrap());
        let lines = Plan::clean(seed(), &[1_000; PARTITIONS], 10 * MINUTE).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        for (partition, lines) in lines.iter().enumerate() {
            lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        let pipeline = PipelineFile::over_topic(&world);
        let truth = Truth::of(&lines, pipeline.shape, 0);
        let alone = pipeline.write(world.dir.path());
        let shared = world.dir.path().join("shared.toml");
        let text = pipeline.text().replace("\ngroup = ", "\nassignment = \"group\"\ngroup = ");
        std::fs::write(&shared, text).unwrap();
        Self { world, truth, alone, shared }
    }

    fn instance(&self, name: &str) -> Command {
        let mut command = self.world.place.windrow();
        command.arg("run").arg(&self.shared).args(["--instance", name]);
        command
    }

    /// Who reads how many partitions, by the log.
    fn held(&self) -> Vec<String> {
        let newest = self.world.place.newest().unwrap_or_default();
        let claims = newest["partitions"].as_object().cloned().unwrap_or_default();
        let name = |claim: &Value| claim["held"]["name"].as_str().map(str::to_owned);
        claims.values().filter_map(name).collect()
    }

    /// All of it is read and closed, every row is right, and all that was published can be computed again.
    fn ends_well(&self) {
        let place = &self.world.place;
        run(place.windrow().args(["run", "--once", "--close-all"]).arg(&self.alone)).expect(0);
        self.truth.assert_final(place);
        run(place.windrow().arg("audit").arg(place.url()).arg("--replay").arg(&self.alone)).expect(0);
    }
}

for_every_broker_and_sink! {
    fn two_share_a_topic_and_one_gets_back_what_it_had(broker: Broker, place: Place) {
        let shared = Shared::new(broker, place);
        let start = |name: &str| Running::start(&mut shared.instance(name));
        let (one, two) = (start("one"), start("two"));
        let both = || {
            let held = shared.held();
            let of = |name: &str| held.iter().filter(|holder| *holder == name).count();
            (of("one") == 2 && of("two") == 2).then_some(())
        };
        eventually("each reads two partitions", WITHIN, both);
        one.kill();
        let mut one = start("one");
        one.wait_for("the group gives partitions to this instance");
        eventually("each has two partitions again", WITHIN, both);
        one.stop().expect(0);
        eventually("the other reads all of them", WITHIN, || {
            shared.held().iter().all(|holder| holder == "two").then_some(())
        });
        two.stop().expect(0);
        shared.ends_well();
    }
}

#[test]
fn of_two_with_one_name_the_one_that_came_later_stays() {
    let test = "of_two_with_one_name_the_one_that_came_later_stays";
    // librdkafka's mock cluster does not fence members.
    let Some(broker) = Broker::kafka(test) else { return };
    let shared = Shared::new(broker, Place::disk());
    let start = || Running::start(&mut shared.instance("one"));
    let mut first = start();
    eventually("the first one reads all partitions", WITHIN, || (shared.held().len() == PARTITIONS).then_some(()));
    let mut second = start();
    first.wait_for("this instance joins again");
    let ended = first.wait(WITHIN).expect(3);
    assert!(ended.stderr.contains("another instance has this one's name"), "{}", ended.stderr);
    let reads = |running: &Running| {
        let newest = shared.world.place.newest().unwrap();
        let pid = newest["writer"]["pid"].as_u64();
        (pid == Some(u64::from(running.pid()))).then_some(())
    };
    eventually("the second one goes on", WITHIN, || reads(&second));
    second.assert_runs();
    second.stop().expect(0);
    shared.ends_well();
}
