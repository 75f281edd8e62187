//! What the tests stand on: a binary to run, brokers to read from, places to write to, and the truth to compare with.

pub(crate) mod api;
pub(crate) mod broker;
pub(crate) mod forge;
#[cfg(feature = "mongodb")]
pub(crate) mod mongo;
pub(crate) mod pipeline;
pub(crate) mod place;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod rides;
pub(crate) mod truth;
#[macro_use]
pub(crate) mod worlds;

use std::io::Write;
use std::thread;
use std::time::Duration;

use windrow::clock::Clock;

/// Long enough for a machine that builds something else beside it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until `look` finds something; panics with `what` when `limit` is over.
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    let until = clock.now().plus(i64::try_from(limit.as_micros()).unwrap());
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now() < until, "not within {} s: {what}", limit.as_secs());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Says that a test is left out, and why: past the test harness, which keeps the words of tests that pass.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "left out: {test}: {why}");
}

/// The seed of a random test: `WINDROW_TEST_SEED`, or a new one. It is printed, for the day it fails.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("WINDROW_TEST_SEED").ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| Clock::system().now().0.unsigned_abs() % 1_000_000_007);
    eprintln!("WINDROW_TEST_SEED={seed}");
    seed
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}
