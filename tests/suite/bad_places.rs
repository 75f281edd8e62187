//! Sinks that are full, closed or not there, and brokers that are away.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::{Place, S3};
use crate::support::process::{Running, run};
use crate::support::proxy::Proxy;
use crate::support::rides::{HOUR, MINUTE, Plan, SECOND, as_file};
use crate::support::truth::Truth;
use crate::support::worlds::World;
use crate::support::{eventually, seed, skip};

/// A small file system of its own.
struct Mounted(TempDir);

impl Mounted {
    /// `None`, told as left out, where this user may not mount.
    fn new(test: &str, size: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], dir.path());
        if !mounted {
            skip(test, "mounting a tmpfs is not allowed here");
        }
        mounted.then(|| Self(dir))
    }

    fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.0.path()), "remount {options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    let done = Command::new("mount").args(options).arg(at).output();
    done.is_ok_and(|done| done.status.success())
}

#[test]
fn a_full_disk_stops_the_run_with_a_clear_error_and_loses_nothing() {
    let Some(disk) = Mounted::new("a_full_disk_stops_the_run_with_a_clear_error_and_loses_nothing", "400k") else {
        return;
    };
    let place = Place::at(disk.0.path());
    let dir = TempDir::new().unwrap();
    // Ten thousand rides as they are do not fit.
    let lines = Plan::clean(seed(), &[40_000], HOUR).lines();
    let input = dir.path().join("rides.jsonl");
    std::fs::write(&input, as_file(&lines[0])).unwrap();
    let pipeline = PipelineFile::over_file(input.to_str().unwrap(), &place);
    let truth = Truth::of(&lines, pipeline.shape, 1);
    let file = pipeline.write(dir.path());
    let ended = run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(1);
    assert!(ended.stderr.contains("make room"), "{}", ended.stderr);
    // What was published before is right, and whole.
    for (start, rows) in place.results("data") {
        assert_eq!(Some(&rows), truth.all.get(&start));
    }

    disk.remount("size=100m");
    run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(0);
    truth.assert_final(&place);
    run(place.windrow().arg("audit").arg(place.url())).expect(0);
}

#[test]
fn a_sink_that_cannot_be_written_is_refused_at_once() {
    let Some(disk) = Mounted::new("a_sink_that_cannot_be_written_is_refused_at_once", "1m") else { return };
    disk.remount("ro");
    for place in [Place::at(disk.0.path()), Place::at(disk.0.path()).below("new")] {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("rides.jsonl"), "").unwrap();
        let pipeline = PipelineFile::over_file(dir.path().join("rides.jsonl").to_str().unwrap(), &place);
        let file = pipeline.write(dir.path());
        for command in ["run", "check"] {
            let refused = run(place.windrow().arg(command).arg(&file)).expect(2);
            assert!(refused.stderr.contains(&place.url()), "{}", refused.stderr);
            assert!(refused.stderr.to_lowercase().contains("read-only"), "{}", refused.stderr);
        }
    }
}

#[test]
fn a_sink_that_is_a_file_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("rides.jsonl"), "").unwrap();
    let place = Place::disk();
    let input = dir.path().join("rides.jsonl");
    let pipeline =
        PipelineFile { sink: input.display().to_string(), ..PipelineFile::over_file(input.to_str().unwrap(), &place) };
    let refused = run(place.windrow().arg("run").arg(pipeline.write(dir.path()))).expect(2);
    assert!(refused.stderr.contains("rides.jsonl"), "{}", refused.stderr);
}

#[test]
fn a_bucket_that_is_not_there_and_keys_that_are_wrong_are_refused_at_once() {
    let test = "a_bucket_that_is_not_there_and_keys_that_are_wrong_are_refused_at_once";
    let Some(server) = S3::from_env(test) else { return };
    let dir = TempDir::new().unwrap();
    let input = dir.path().join("rides.jsonl");
    std::fs::write(&input, "").unwrap();
    let pipeline = PipelineFile::over_file(input.to_str().unwrap(), &Place::disk());
    let missing = PipelineFile { sink: "s3://no-such-bucket-here/rides".to_owned(), ..pipeline.clone() };
    let forbidden = PipelineFile { sink: format!("s3://{}/rides", server.bucket), ..pipeline };
    let wrong = S3 { secret: "wrong-canary-5f1d".to_owned(), ..server.clone() };
    for (pipeline, server, word) in [(missing, server, "bucket"), (forbidden, wrong, "credentials")] {
        let file = pipeline.write(dir.path());
        let mut command = crate::support::process::windrow();
        let refused = run(command.arg("run").arg(file).envs(server.env())).expect(2);
        assert!(refused.stderr.contains(&pipeline.sink) && refused.stderr.contains(word), "{}", refused.stderr);
        assert!(!refused.said().contains("canary"), "{}", refused.said());
    }
}

for_every_broker_and_sink! {
    fn a_broker_that_is_away_at_the_start_is_waited_for_with_few_words(broker: Broker, place: Place) {
        let world = World::new(broker, place, 1);
        let lines = Plan::clean(seed(), &[1_000], MINUTE).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        lines[0].iter().for_each(|line| producer.send(0, line.text.as_deref()));
        producer.flush();
        // A port that nobody listens on yet.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut pipeline = PipelineFile::over_topic(&world);
        pipeline.source = pipeline.source.replace(world.broker.servers(), &format!("127.0.0.1:{port}"));

        let mut running = Running::start(world.place.windrow().arg("run").arg(pipeline.write(world.dir.path())));
        running.wait_for("waiting");
        thread::sleep(Duration::from_secs(6));
        running.assert_runs();
        let lines_said = running.stderr().lines().count();
        assert!(lines_said <= 4, "{lines_said} lines:\n{}", running.stderr());
        Proxy::listen(port, world.broker.servers(), 0);
        eventually("everything is read", Duration::from_secs(60), || {
            running.assert_runs();
            (world.place.newest()?["totals"]["read"] == 1_000).then_some(())
        });
        running.stop().expect(0);
    }
}

#[test]
fn a_broker_that_goes_away_in_mid_run_is_waited_for_with_few_words() {
    let world = World::new(Broker::mock(), Place::disk(), 2);
    let lines = Plan::clean(seed(), &[1_000, 1_000], MINUTE).lines();
    let send = |range: std::ops::Range<usize>| {
        let producer = world.broker.producer(&world.topic, &[]);
        for (partition, lines) in lines.iter().enumerate() {
            lines[range.clone()].iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
    };
    let read = || world.place.newest().map(|entry| entry["totals"]["read"].as_u64().unwrap());
    send(0..500);
    let pipeline = PipelineFile::over_topic(&world);
    let truth = Truth::of(&lines, pipeline.shape, 0);
    let file = pipeline.write(world.dir.path());
    let mut running = Running::start(world.place.windrow().arg("run").arg(&file));
    eventually("the first half is read", Duration::from_secs(30), || (read()? == 1_000).then_some(()));

    let before = running.stderr().lines().count();
    world.broker.set_reachable(false);
    running.wait_for("waiting");
    thread::sleep(Duration::from_secs(6));
    running.assert_runs();
    let said = running.stderr().lines().count() - before;
    assert!(said <= 4, "{said} lines:\n{}", running.stderr());
    world.broker.set_reachable(true);
    send(500..1_000);
    eventually("the second half is read", Duration::from_secs(60), || (read()? == 2_000).then_some(()));
    running.stop().expect(0);
    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    truth.assert_final(&world.place);
}

/// The world's S3 server behind a proxy, and a command that goes through it.
fn behind_a_proxy(place: &Place, seed: u64) -> (Proxy, impl Fn() -> Command + use<>) {
    let server = place.server().unwrap().clone();
    let proxy = Proxy::listen(0, server.endpoint.strip_prefix("http://").unwrap(), seed);
    let server = S3 { endpoint: format!("http://{}", proxy.address()), ..server };
    let command = move || {
        let mut command = crate::support::process::windrow();
        command.envs(server.env());
        command
    };
    (proxy, command)
}

#[test]
fn a_store_that_goes_away_in_mid_run_is_waited_for_with_few_words() {
    let Some(place) = Place::s3("a_store_that_goes_away_in_mid_run_is_waited_for_with_few_words") else { return };
    let world = World::new(Broker::mock(), place, 2);
    let lines = Plan::clean(seed(), &[1_000, 1_000], MINUTE).lines();
    let producer = world.broker.producer(&world.topic, &[]);
    let send = |range: std::ops::Range<usize>| {
        for (partition, lines) in lines.iter().enumerate() {
            lines[range.clone()].iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
    };
    let read = || world.place.newest().map(|entry| entry["totals"]["read"].as_u64().unwrap());
    let pipeline = PipelineFile::over_topic(&world);
    let truth = Truth::of(&lines, pipeline.shape, 0);
    let file = pipeline.write(world.dir.path());
    let (proxy, windrow) = behind_a_proxy(&world.place, 0);
    send(0..500);
    let mut running = Running::start(windrow().arg("run").arg(&file));
    eventually("the first half is read", Duration::from_secs(30), || (read()? == 1_000).then_some(()));

    let before = running.stderr().lines().count();
    proxy.cut(true);
    send(500..1_000);
    running.wait_for("trying again");
    thread::sleep(Duration::from_secs(6));
    running.assert_runs();
    let said = running.stderr().lines().count() - before;
    assert!(said <= 5, "{said} lines:\n{}", running.stderr());
    proxy.cut(false);
    eventually("the second half is read", Duration::from_secs(60), || (read()? == 2_000).then_some(()));
    running.stop().expect(0);
    run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    truth.assert_final(&world.place);
}

#[test]
fn a_store_whose_answers_are_lost_changes_nothing() {
    let Some(place) = Place::s3("a_store_whose_answers_are_lost_changes_nothing") else { return };
    let world = World::new(Broker::mock(), place, 2);
    let seed = seed();
    let plan = Plan { late: (60, 20 * SECOND), ..Plan::clean(seed, &[4_000, 4_000], 10 * MINUTE) };
    let lines = plan.lines();
    let producer = world.broker.producer(&world.topic, &[]);
    let pipeline = PipelineFile::over_topic(&world);
    let truth = Truth::of(&lines, pipeline.shape, 0);
    let file = pipeline.write(world.dir.path());
    let (proxy, windrow) = behind_a_proxy(&world.place, seed);
    proxy.lose(30);
    let mut running = Running::start(windrow().arg("run").arg(&file));
    // A little at a time, so that there are many commits.
    for start in (0..4_000).step_by(100) {
        for (partition, lines) in lines.iter().enumerate() {
            lines[start..start + 100].iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        thread::sleep(Duration::from_millis(250));
        running.assert_runs();
    }
    eventually("everything is read", Duration::from_secs(60), || {
        running.assert_runs();
        (world.place.newest()?["totals"]["read"] == 8_000).then_some(())
    });
    assert!(proxy.lost() > 5, "{} lost", proxy.lost());
    proxy.lose(0);
    running.stop().expect(0);
    run(windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
    truth.assert_final(&world.place);
    run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
}
