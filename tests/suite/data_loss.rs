//! A topic that no longer holds what comes next, or is another one of the same name: only a real broker can show it.

use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Ended, Running, run};
use crate::support::rides::{Line, MINUTE, Plan};
use crate::support::worlds::World;
use crate::support::{PATIENCE, eventually, seed};

fn send(world: &World, lines: &[Line]) {
    let producer = world.broker.producer(&world.topic, &[]);
    lines.iter().for_each(|line| producer.send(0, line.text.as_deref()));
    producer.flush();
}

fn once(world: &World, pipeline: &PipelineFile) -> Ended {
    run(world.place.windrow().args(["run", "--once"]).arg(pipeline.write(world.dir.path())))
}

/// A topic of 600 records, the first 300 of them read.
fn half_read(test: &str) -> Option<(World, PipelineFile, Vec<Line>)> {
    let world = World::new(Broker::kafka(test)?, Place::disk(), 1);
    let lines = Plan::clean(seed(), &[600], MINUTE).lines().remove(0);
    send(&world, &lines[..300]);
    let pipeline = PipelineFile::over_topic(&world);
    once(&world, &pipeline).expect(0);
    Some((world, pipeline, lines))
}

#[test]
fn records_that_kafka_deleted_before_they_were_read_stop_the_run_until_that_is_accepted() {
    let test = "records_that_kafka_deleted_before_they_were_read_stop_the_run_until_that_is_accepted";
    let Some((world, mut pipeline, lines)) = half_read(test) else { return };
    send(&world, &lines[300..]);
    world.broker.delete_records(&world.topic, 0, 450);
    let stopped = once(&world, &pipeline).expect(1);
    assert!(stopped.stderr.contains("150 records are gone"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("on_data_loss = \"continue\""), "{}", stopped.stderr);

    pipeline.source = format!("on_data_loss = \"continue\"\n{}", pipeline.source);
    once(&world, &pipeline).expect(0);
    let newest = world.place.newest().unwrap();
    assert_eq!(newest["totals"]["read"], 450);
    assert_eq!(newest["totals"]["gaps"], 150);
    let mut log = Vec::new();
    world.place.read_log(&mut log);
    assert!(log.iter().any(|entry| entry["partitions"]["0"]["lost"] == serde_json::json!([300, 450])), "{log:?}");
    run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
}

/// Deletes the topic and makes it again, with these records.
fn make_anew(world: &World, lines: &[Line]) {
    world.broker.delete_topic(&world.topic);
    // Kafka deletes in the background.
    std::thread::sleep(Duration::from_secs(2));
    world.broker.create_topic(&world.topic, 1);
    send(world, lines);
}

#[test]
fn a_topic_that_was_made_anew_stops_the_run() {
    // Fewer records than were read; others in their place, and more; the very same ones.
    for records in [500..600, 50..550, 0..300] {
        let Some((world, pipeline, lines)) = half_read("a_topic_that_was_made_anew_stops_the_run") else { return };
        make_anew(&world, &lines[records.clone()]);
        let stopped = once(&world, &pipeline).expect(1);
        assert!(stopped.stderr.contains("made anew"), "{records:?}: {}", stopped.stderr);
    }
}

#[test]
fn a_topic_made_anew_while_it_is_read_stops_the_run_before_any_of_it_is_counted() {
    let test = "a_topic_made_anew_while_it_is_read_stops_the_run_before_any_of_it_is_counted";
    let Some((world, pipeline, lines)) = half_read(test) else { return };
    let path = pipeline.write(world.dir.path());
    let mut running = Running::start(world.place.windrow().arg("run").arg(&path));
    send(&world, &lines[300..301]);
    eventually("the new record in the log", PATIENCE, || {
        running.assert_runs();
        (world.place.newest()?["totals"]["read"] == 301).then_some(())
    });
    make_anew(&world, &lines);
    let stopped = running.wait(PATIENCE).expect(1);
    assert!(stopped.stderr.contains("made anew"), "{}", stopped.stderr);
    assert_eq!(world.place.newest().unwrap()["totals"]["read"], 301);
    run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
}
