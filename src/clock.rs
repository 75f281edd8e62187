//! The only file that reads the clock, and waits by it.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;

use crate::record::Timestamp;

/// A time that is made up: what a simulation counts instead of the machine's.
pub trait Time: fmt::Debug + Send + Sync {
    /// Microseconds that have passed since this time began; they never go back.
    fn passed(&self) -> i64;

    /// Ready when `span` has passed.
    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;
}

/// What time it is. Never goes back while the process runs, however the system's clock is set.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    ticks: Ticks,
    at_start: Timestamp,
}

#[derive(Copy, Clone, Debug)]
enum Ticks {
    Machine(Instant),
    MadeUp(&'static dyn Time),
}

impl Clock {
    /// A clock that starts from the system's time and then only counts on.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Self { ticks: Ticks::Machine(Instant::now()), at_start: Timestamp(micros) }
    }

    /// A clock that counts on by `time` and shows `at_start` where that began: clocks of one time may disagree.
    #[must_use]
    pub fn made_up(time: &'static dyn Time, at_start: Timestamp) -> Self {
        Self { ticks: Ticks::MadeUp(time), at_start }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = match self.ticks {
            Ticks::Machine(started) => i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX),
            Ticks::MadeUp(time) => time.passed(),
        };
        self.at_start.plus(passed)
    }

    /// Waits until `span` has passed.
    pub async fn sleep(&self, span: Duration) {
        match self.ticks {
            Ticks::Machine(_) => tokio::time::sleep(span).await,
            Ticks::MadeUp(time) => time.sleep(span).await,
        }
    }
}
