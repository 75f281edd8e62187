//! How far event time has come: one watermark a partition, and the stream's as their least.
//!
//! The rules are DESIGN's section 2. A partition's watermark rises with its own records alone. The one thing that
//! reaches it from outside is the floor: a partition that was idle, or new, while windows moved on takes up at the
//! stream's watermark, so that a record beyond a closed window's cut is late.

use crate::record::Timestamp;

/// Microseconds that the broker's word about a partition's end is good for.
pub const PROOF_VALID: i64 = 10_000_000;

/// Where a record stands when it is read, by its own partition's watermark.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// Its window's end is still ahead.
    OnTime,
    /// Its window has ended but still takes records.
    Late,
    /// Its window is final.
    TooLate,
}

/// One partition's progress in event time, and whether it is idle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionClock {
    watermark: Option<Timestamp>,
    standing: Option<Standing>,
    idle: bool,
}

/// The broker's word that the partition ends where the reader stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Standing {
    since: Timestamp,
    proved: Timestamp,
}

impl PartitionClock {
    /// A clock as the log has it. It is not idle before the broker has said so anew.
    #[must_use]
    pub fn restore(watermark: Option<Timestamp>, standing_since: Option<Timestamp>) -> Self {
        let standing = standing_since.map(|since| Standing { since, proved: since });
        Self { watermark, standing, idle: false }
    }

    /// The partition's watermark.
    #[must_use]
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Whether it holds nobody back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Since when the reader has stood at the partition's end.
    #[must_use]
    pub fn standing_since(&self) -> Option<Timestamp> {
        self.standing.map(|standing| standing.since)
    }

    /// The last time the broker said that the partition ends where the reader stands.
    #[must_use]
    pub fn proved(&self) -> Option<Timestamp> {
        self.standing.map(|standing| standing.proved)
    }

    /// Where a record of a window that ends at `end` stands.
    #[must_use]
    pub fn lateness(&self, end: Timestamp, allowed_lateness: i64) -> Lateness {
        match self.watermark {
            Some(watermark) if end.plus(allowed_lateness) <= watermark => Lateness::TooLate,
            Some(watermark) if end <= watermark => Lateness::Late,
            _ => Lateness::OnTime,
        }
    }

    /// Takes in a record's event time.
    pub fn accept(&mut self, time: Timestamp, watermark_delay: i64) {
        self.watermark = self.watermark.max(Some(time.minus(watermark_delay)));
    }

    /// Records have come, or are known to wait: the partition is not idle. Raises its watermark to the stream's and
    /// says so, if windows have moved on without it.
    #[must_use]
    pub fn wake(&mut self, stream: Option<Timestamp>) -> Option<Timestamp> {
        self.standing = None;
        self.idle = false;
        if self.watermark < stream {
            self.watermark = stream;
            return stream;
        }
        None
    }

    /// The broker said, to a question asked at `asked`, that the partition ends where the reader stands.
    pub fn stand(&mut self, asked: Timestamp) {
        // What another instance's clock said may lie ahead of this one's.
        let since = self.standing.map_or(asked, |standing| standing.since.min(asked));
        self.standing = Some(Standing { since, proved: asked });
    }

    /// Settles whether the partition is idle now.
    pub fn settle(&mut self, now: Timestamp, idle_timeout: i64) {
        self.idle = self.standing.is_some_and(|standing| {
            standing.proved.0.saturating_sub(standing.since.0) >= idle_timeout
                && now.0.saturating_sub(standing.proved.0) <= PROOF_VALID
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_is_not_waited_for() {
        let hour = 3_600_000_000;
        let mut clock = PartitionClock::restore(Some(Timestamp(0)), Some(Timestamp(hour)));
        clock.stand(Timestamp(0));
        assert_eq!((clock.standing_since(), clock.proved()), (Some(Timestamp(0)), Some(Timestamp(0))));
        clock.stand(Timestamp(30_000_000));
        clock.settle(Timestamp(30_000_000), 30_000_000);
        assert!(clock.is_idle());
    }

    #[test]
    fn standing_goes_on_from_what_the_log_says() {
        let mut clock = PartitionClock::restore(None, Some(Timestamp(0)));
        clock.settle(Timestamp(30_000_000), 30_000_000);
        assert!(!clock.is_idle(), "the broker has not said so anew");
        clock.stand(Timestamp(30_000_000));
        clock.settle(Timestamp(30_000_000), 30_000_000);
        assert!(clock.is_idle());
    }
}
