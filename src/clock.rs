//! The only file that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::record::Timestamp;

/// What time it is. Never goes back while the process runs, however the system's clock is set.
#[derive(Copy, Clone, Debug)]
pub struct Clock {
    started: Instant,
    at_start: Timestamp,
}

impl Clock {
    /// A clock that starts from the system's time and then only counts on.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        Self { started: Instant::now(), at_start: Timestamp(micros) }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed: Duration = self.started.elapsed();
        self.at_start.plus(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX))
    }
}
