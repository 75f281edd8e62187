//! A second instance over the same sink, by mistake or as a standby, and sinks that belong to something else.

use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::{MINUTE, Plan, SECOND};
use crate::support::truth::Truth;
use crate::support::worlds::World;
use crate::support::{eventually, seed};

fn writer(place: &Place) -> Option<u64> {
    place.newest()?["writer"]["pid"].as_u64()
}

fn records_read(place: &Place) -> u64 {
    place.newest().map_or(0, |entry| entry["totals"]["read"].as_u64().unwrap())
}

for_every_broker_and_sink! {
    fn a_second_instance_stands_by_and_takes_over_when_the_first_is_killed(broker: Broker, place: Place) {
        let world = World::new(broker, place, 2);
        let lines = Plan::clean(seed(), &[4_000, 4_000], 10 * MINUTE).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        let send = |range: std::ops::Range<usize>| {
            for (partition, lines) in lines.iter().enumerate() {
                lines[range.clone()].iter().for_each(|line| producer.send(partition, line.text.as_deref()));
            }
            producer.flush();
        };
        let pipeline = PipelineFile::over_topic(&world);
        let truth = Truth::of(&lines, pipeline.shape, 0);
        let file = pipeline.write(world.dir.path());
        let start = || Running::start(world.place.windrow().arg("run").arg(&file));

        send(0..1_000);
        let first = start();
        let within = Duration::from_secs(30);
        eventually("the first one reads", within, || (records_read(&world.place) == 2_000).then_some(()));
        let mut second = start();
        second.wait_for("standing by");
        send(1_000..2_000);
        eventually("the first one reads on", within, || (records_read(&world.place) == 4_000).then_some(()));
        assert_eq!(writer(&world.place), Some(u64::from(first.pid())));

        // For a cron job there is nothing to wait for.
        let once = run(world.place.windrow().args(["run", "--once"]).arg(&file)).expect(3);
        assert!(once.stderr.contains("another instance"), "{}", once.stderr);

        first.kill();
        send(2_000..4_000);
        eventually("the second one has taken over", Duration::from_secs(10), || {
            second.assert_runs();
            (writer(&world.place) == Some(u64::from(second.pid()))).then_some(())
        });
        eventually("the second one reads on", within, || (records_read(&world.place) == 8_000).then_some(()));
        second.stop().expect(0);
        run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
        truth.assert_final(&world.place);
        run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
    }

    fn of_several_started_at_once_one_writes(broker: Broker, place: Place) {
        let world = World::new(broker, place, 2);
        let lines = Plan::clean(seed(), &[2_000, 2_000], 5 * MINUTE).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        for (partition, lines) in lines.iter().enumerate() {
            lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        let pipeline = PipelineFile::over_topic(&world);
        let truth = Truth::of(&lines, pipeline.shape, 0);
        let file = pipeline.write(world.dir.path());
        let mut running: Vec<_> =
            (0..3).map(|_| Running::start(world.place.windrow().arg("run").arg(&file))).collect();
        eventually("one of them reads everything", Duration::from_secs(60), || {
            (records_read(&world.place) == 4_000).then_some(())
        });
        let writer = writer(&world.place);
        let place = running.iter().position(|running| Some(u64::from(running.pid())) == writer).unwrap();
        running.remove(place).stop().expect(0);
        // The others left, as they should, or stand by and take over in their turn.
        for mut other in running {
            if let Some(code) = other.exit_code() {
                assert_eq!(code, 3, "{}", other.stderr());
            } else {
                let ended = other.stop();
                // Left when asked, or because the other one that stood by was the first to take over.
                assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
            }
        }
        run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
        truth.assert_final(&world.place);
        run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
    }

    fn a_stop_is_quick_and_closes_nothing(broker: Broker, place: Place) {
        let world = World::new(broker, place, 2);
        let lines = Plan::clean(seed(), &[500, 500], MINUTE).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        for (partition, lines) in lines.iter().enumerate() {
            lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        let mut pipeline = PipelineFile::over_topic(&world);
        pipeline.shape.lateness = 600;
        pipeline.shape.lateness *= SECOND;
        // Longer than the test: only the stop itself commits what was read.
        pipeline.sink_lines = "commit_interval = \"10 minutes\"\n".to_owned();
        let file = pipeline.write(world.dir.path());
        let mut running = Running::start(world.place.windrow().arg("run").arg(&file));
        running.wait_for("records=1000");
        running.signal("INT");
        let ended = running.wait(Duration::from_secs(10)).expect(0);
        assert!(ended.stderr.contains("stopped in good order"), "{}", ended.stderr);
        let newest = world.place.newest().unwrap();
        assert_eq!(newest["released"], true);
        assert_eq!(newest["totals"]["read"], 1_000);
        assert_eq!(world.place.keys("data", ""), Vec::<String>::new());
        assert!(!newest["windows"].as_array().unwrap().is_empty());
    }
}

for_every_sink! {
    fn a_sink_that_belongs_to_another_pipeline_is_refused(place: Place) {
        let dir = tempfile::TempDir::new().unwrap();
        let lines = Plan::clean(seed(), &[200], MINUTE).lines();
        let input = dir.path().join("rides.jsonl");
        std::fs::write(&input, crate::support::rides::as_file(&lines[0])).unwrap();
        let rides = PipelineFile::over_file(input.to_str().unwrap(), &place);
        run(place.windrow().arg("run").arg(rides.write(dir.path()))).expect(0);
        let log = place.keys("_windrow/log", ".json").len();

        let other = PipelineFile { name: "other".to_owned(), ..rides.clone() };
        let refused = run(place.windrow().arg("run").arg(other.write(dir.path()))).expect(2);
        assert!(refused.stderr.contains("belongs to pipeline \"rides\""), "{}", refused.stderr);

        let changed = PipelineFile { query: "SELECT COUNT(*) AS n FROM rides".to_owned(), ..rides.clone() };
        let refused = run(place.windrow().arg("run").arg(changed.write(dir.path()))).expect(2);
        assert!(refused.stderr.contains("--close-all"), "{}", refused.stderr);
        assert_eq!(place.keys("_windrow/log", ".json").len(), log, "a refused run leaves no trace");

        // The way out that the message names.
        run(place.windrow().args(["run", "--once", "--close-all"]).arg(rides.write(dir.path()))).expect(0);
        run(place.windrow().args(["run", "--once"]).arg(changed.write(dir.path()))).expect(0);
    }
}
