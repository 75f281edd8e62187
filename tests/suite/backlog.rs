//! A backlog whose partitions are read at uneven speed. Where one partition's clock closes another's windows, most of
//! it is lost; where only records move the clock, the last window of a topic that went quiet never comes.

use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::{MINUTE, Plan, SECOND};
use crate::support::truth::Truth;
use crate::support::worlds::World;
use crate::support::{eventually, seed};

/// Fills the world's topic so that a reader gets its partitions at very different speeds: one is a few large batches,
/// one is many of a single record, all cover the same time.
fn fill(world: &World, plan: &Plan) -> Truth {
    let lines = plan.lines();
    let batches = ["10000", "500", "20", "1"];
    for ((partition, lines), batch) in lines.iter().enumerate().zip(batches) {
        let linger = if batch == "1" { "0" } else { "50" };
        let producer = world.broker.producer(&world.topic, &[("batch.num.messages", batch), ("linger.ms", linger)]);
        lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        producer.flush();
    }
    Truth::of(&lines, PipelineFile::over_topic(world).shape, 0)
}

for_every_broker_and_sink! {
    fn every_group_of_an_uneven_backlog_is_right_and_the_last_window_comes(broker: Broker, place: Place) {
        let world = World::new(broker, place, 4);
        let truth = fill(&world, &Plan::clean(seed(), &[30_000, 12_000, 4_000, 1_000], 10 * MINUTE));
        assert_eq!((truth.late, truth.too_late.len()), (0, 0), "nothing is really late");
        let mut pipeline = PipelineFile::over_topic(&world);
        pipeline.window = "idle_timeout = \"2s\"\n".to_owned();
        pipeline.shape.lateness = 0;

        // No record comes any more, and nobody closes anything.
        let mut running = Running::start(world.place.windrow().arg("run").arg(pipeline.write(world.dir.path())));
        eventually("the last window is published", Duration::from_secs(90), || {
            running.assert_runs();
            (world.place.keys("data", ".parquet").len() >= truth.all.len()).then_some(())
        });
        running.stop().expect(0);
        truth.assert_final(&world.place);
        run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
    }

    fn two_runs_at_different_speeds_give_the_same_rows_in_the_same_files(broker: Broker, place: Place) {
        let world = World::new(broker, place, 4);
        let rough = Plan {
            late: (60, 20 * SECOND),
            too_late: (20, 2 * MINUTE),
            broken: 20,
            tombstones: true,
            ..Plan::clean(seed(), &[12_000, 6_000, 2_000, 500], 10 * MINUTE)
        };
        let truth = fill(&world, &rough);
        let slow = PipelineFile::over_topic(&world);
        let mut fast = PipelineFile { sink: format!("{}/fast", world.place.url()), ..slow.clone() };
        fast.sink_lines = String::new();
        let slowly = "properties = { \"max.partition.fetch.bytes\" = \"4096\" }";
        let slow = PipelineFile { source: format!("{}\n{slowly}", slow.source), sink: format!("{}/slow", slow.sink), ..slow };

        let once = ["run", "--once", "--close-all"];
        run(world.place.windrow().args(once).arg(fast.write(world.dir.path()))).expect(0);
        let file = slow.write(world.dir.path());
        for pause in [300, 900, 1_700] {
            let running = Running::start(world.place.windrow().arg("run").arg(&file));
            std::thread::sleep(Duration::from_millis(pause));
            running.kill();
        }
        run(world.place.windrow().args(once).arg(file)).expect(0);

        let (fast, slow) = (world.place.below("fast"), world.place.below("slow"));
        truth.assert_final(&fast);
        truth.assert_final(&slow);
        let files = fast.keys("data", ".parquet");
        assert_eq!(files, slow.keys("data", ".parquet"));
        for key in files {
            assert_eq!(fast.batches(&key), slow.batches(&key), "{key}");
        }
    }
}
