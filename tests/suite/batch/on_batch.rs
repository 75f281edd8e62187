//! `--on-batch`: every file in order and at least once, whatever is killed or fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::records::{Sent, parquet_rows, records, rows_of, send};
use super::{PARTITIONS, place_batch};
use crate::support::broker::{Broker, Producer};
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::SECOND;
use crate::support::worlds::World;
use crate::support::{PATIENCE, eventually, seed};

const KILLS: usize = 12;

/// A script that writes down what it is told, and what it wrote.
struct Script {
    path: PathBuf,
    lines: PathBuf,
}

impl Script {
    /// `before` is what it does first; a failure there ends it.
    fn new(world: &World, before: &str) -> Self {
        let (path, lines) = (world.dir.path().join("on batch.sh"), world.dir.path().join("lines"));
        let text = format!(
            "#!/bin/sh\nset -e\n{before}\necho \"$WINDROW_SEQUENCE $WINDROW_ROWS $1\" >> '{}'\n",
            lines.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&lines, "").unwrap();
        Self { path, lines }
    }

    fn option(&self) -> String {
        format!("'{}' {{file}}", self.path.display())
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.lines).unwrap().lines().map(str::to_owned).collect()
    }
}

/// The line that the script writes for each published file, in the feed's order.
fn published(place: &Place) -> Vec<String> {
    let mut lines = Vec::new();
    for key in place.keys("feed", ".json") {
        let feed: Value = serde_json::from_slice(&place.get(&key)).unwrap();
        let address = |path: &Value| format!("{}/{}", place.url(), path.as_str().unwrap());
        let files = feed["files"].as_array().unwrap().iter().filter(|file| file["kind"] == "data");
        lines.extend(files.map(|file| format!("{} {} {}", feed["sequence"], file["rows"], address(&file["path"]))));
    }
    lines
}

/// Every file was handed over, none before the one before it; how many were more than once.
#[track_caller]
fn in_order_and_at_least_once(lines: &[String], published: &[String]) -> usize {
    let mut done = 0;
    for line in lines {
        let index = published.iter().position(|file| file == line).unwrap_or_else(|| panic!("{line} is not published"));
        assert!(index <= done, "{line} was handed over before {}", published[done]);
        done = done.max(index + 1);
    }
    assert_eq!(done, published.len(), "files that were not handed over");
    lines.len() - done
}

/// Compares line by line, so that a failure shows the first that differs and not all of them.
#[track_caller]
fn same(lines: &[String], expected: &[String]) {
    for (number, (line, expected)) in lines.iter().zip(expected).enumerate() {
        assert_eq!(line, expected, "line {number}");
    }
    assert_eq!(lines.len(), expected.len());
}

for_every_broker_and_sink! {
    fn whatever_is_killed_every_file_is_handed_over_in_order(broker: Broker, place: Place) {
        let world = World::new(broker, place, 3);
        let seed = seed();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let sent = records(seed, PARTITIONS, 900, SECOND);
        // Slow enough to be in its midst when windrow is killed, and then it dies with it.
        let script = Script::new(&world, "sleep 0.02\nkill -0 $PPID");
        let option = script.option();
        let more = ["--key", "bytes", "--value", "bytes", "--on-batch", &option];
        let over = Arc::new(AtomicBool::new(false));
        let sender = keep_sending(world.broker.producer(&world.topic, &[]), sent.clone(), over.clone());
        for _ in 0..KILLS {
            let mut running = Running::start(&mut place_batch(&world, &more));
            let lines = script.lines().len();
            // In the midst of handing over, and sometimes before.
            let busy = rng.random_range(0..4);
            for _ in 0..100 {
                if script.lines().len() >= lines + busy {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            thread::sleep(Duration::from_millis(rng.random_range(0..60)));
            running.assert_runs();
            running.kill();
        }
        over.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        run(place_batch(&world, &more).args(["--once", "--close-all"])).expect(0);
        run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
        assert_eq!(parquet_rows(&world.place), rows_of(&sent, 2 * SECOND, |_| true));
        let again = in_order_and_at_least_once(&script.lines(), &published(&world.place));
        assert!(again <= KILLS, "a kill repeats one file at most");
        let before = script.lines().len();
        run(place_batch(&world, &more).arg("--once")).expect(0);
        assert_eq!(script.lines().len(), before, "what is handed over stays so");
    }
}

/// Sends all partitions side by side at an even pace; what is left, at once when it is over.
fn keep_sending(producer: Producer, sent: Vec<Vec<Sent>>, over: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for index in 0..sent[0].len() {
            for (partition, sent) in sent.iter().enumerate() {
                let one = &sent[index];
                producer.send_whole(partition, one.at, one.key.as_deref(), one.value.as_deref(), &one.headers);
            }
            if index % 10 == 0 && !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
            }
        }
        producer.flush();
    })
}

#[test]
fn a_failure_stops_the_run_and_the_next_one_begins_with_that_file() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let sent = records(seed(), 1, 200, 0);
    send(&world, &sent);
    let flag = world.dir.path().join("fails");
    let script = Script::new(
        &world,
        &format!("test $(wc -l < '{0}/lines') -lt 3 || test ! -e '{0}/fails'", world.dir.path().display()),
    );
    fs::write(&flag, "").unwrap();
    let option = script.option();
    let more = ["--key", "bytes", "--value", "bytes", "--on-batch", &option, "--once", "--close-all"];
    let ended = run(&mut place_batch(&world, &more)).expect(1);
    let published = published(&world.place);
    same(&script.lines(), &published[..3]);
    let failed = published[3].rsplit(' ').next().unwrap();
    assert!(
        ended.stderr.contains(&format!("the on-batch command for {failed} ended with exit code 1")),
        "{}",
        ended.said()
    );
    assert_eq!(parquet_rows(&world.place), rows_of(&sent, 2 * SECOND, |_| true), "commits do not wait for it");
    let status = || run(world.place.windrow().args(["status", &world.place.url()])).expect(0).stdout;
    let first = failed.strip_prefix(&world.place.url()).unwrap().trim_start_matches('/');
    let waits = format!("on-batch: {} files to be handed over, first {first}", published.len() - 3);
    assert!(status().contains(&waits), "{waits} is not in:\n{}", status());
    fs::remove_file(flag).unwrap();
    run(&mut place_batch(&world, &more)).expect(0);
    assert!(status().contains("on-batch: every file is handed over"), "{}", status());
    same(&script.lines(), &published);
}

#[test]
fn a_failure_is_tried_again_as_asked_while_commits_go_on() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    let sent = records(seed(), 1, 200, 0);
    send(&world, &sent);
    let script = Script::new(&world, &format!("test ! -e '{}/fails'", world.dir.path().display()));
    let flag = world.dir.path().join("fails");
    fs::write(&flag, "").unwrap();
    let option = script.option();
    let more = ["--key", "bytes", "--value", "bytes", "--on-batch", &option, "--on-batch-failure", "retry"];
    let mut running = Running::start(&mut place_batch(&world, &more));
    running.wait_for("trying again in 1 s");
    eventually("windows are published meanwhile", PATIENCE, || (published(&world.place).len() > 50).then_some(()));
    assert_eq!(script.lines(), Vec::<String>::new());
    fs::remove_file(flag).unwrap();
    let some = eventually("files are handed over", PATIENCE, || {
        let lines = script.lines();
        (lines.len() > 50).then_some(lines)
    });
    same(&some, &published(&world.place)[..some.len()]);
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let lines = script.lines();
    same(&lines, &published(&world.place)[..lines.len()]);
}

#[test]
fn a_command_that_cannot_be_started_is_a_fault_of_the_command_line() {
    let world = World::new(Broker::mock(), Place::disk(), 1);
    send(&world, &records(seed(), 1, 50, 0));
    let more = ["--value", "bytes", "--key", "bytes", "--on-batch", "/no/such/loader {file}", "--once", "--close-all"];
    let ended = run(&mut place_batch(&world, &more)).expect(2);
    assert!(ended.stderr.contains("cannot start the on-batch command /no/such/loader"), "{}", ended.said());
}
