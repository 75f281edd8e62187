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
mod load;
mod outside;
mod servers;
#[allow(dead_code, unused_macros, reason = "the suite's, of which not all is needed here")]
#[path = "../suite/support/mod.rs"]
mod support;
mod watch;

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use chaos::Chaos;
use load::{CALM, Load};
use servers::Servers;
use support::process::run;
use support::{eventually, skip};
use watch::Watch;

const PARTITIONS: usize = 3;
/// Records a second and partition, at most.
const RATE: usize = 200;
/// Records a partition, at most: they are held in memory.
const MOST: usize = 300_000;

#[test]
fn whatever_is_done_to_it_every_published_row_is_right() {
    let test = "whatever_is_done_to_it_every_published_row_is_right";
    let Some(servers) = Servers::start(0) else {
        return skip(test, "WINDROW_TORTURE_SERVICES names no folder with kafka.sh, s3.sh and toxiproxy.sh");
    };
    let seconds = std::env::var("WINDROW_TORTURE_SECONDS").map_or(120, |text| text.parse::<usize>().unwrap());
    let mut load = Load::new(&servers, PARTITIONS, (seconds * RATE).min(MOST), seconds);
    let dir = load.world.dir.path().to_owned();
    let direct = load.pipeline.write(&dir);
    load.pipeline.name = "proxied".to_owned();
    let text = load.pipeline.text();
    let text = text.replace(&servers.brokers(), &servers.proxied_brokers()).replace("\"proxied\"", "\"rides\"");
    let proxied = dir.join("proxied.toml");
    std::fs::write(&proxied, text).unwrap();

    let sending = load.send();
    let place = &load.world.place;
    let mut chaos = Chaos::new(ChaCha8Rng::seed_from_u64(load.seed), &servers, place, proxied);
    let mut watch = Watch::new(place, &load.truth);
    chaos.rage(Duration::from_secs(seconds.try_into().unwrap()), &mut watch);
    sending.hurry();
    chaos.calm_down();
    sending.end();
    eventually("everything is read once nothing is done to it any more", CALM, || {
        chaos.keep_alive();
        load.is_read()
    });
    let done = chaos.end();
    // Whoever wrote last may have died; it is known to be gone.
    run(place.windrow().args(["run", "--once", "--close-all"]).arg(&direct)).expect(0);
    eprintln!("{done}\n{}", load.judge(watch, &direct));
    assert_eq!(load.committed(), load.ends());
    assert!(done.takeovers > 0, "no frozen instance was taken over from");
}
