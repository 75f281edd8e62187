//! When records arrive, and how far behind the things they tell of they are.

use super::chance::Chance;
use super::{Kind, Plan, Share};
use crate::record::Timestamp;

/// An hour in microseconds.
pub(super) const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = 60_000_000;
/// Ordinary disorder: no record is this far behind, in seconds.
const DISORDER: u32 = 180;

/// How busy each UTC hour is, in percent of the mean. Rides are few when it is night at five hours west.
const BUSY: [u32; 24] =
    [138, 132, 122, 106, 84, 60, 40, 28, 20, 18, 28, 58, 94, 110, 108, 106, 110, 116, 122, 134, 142, 152, 162, 150];
const EVEN: [u32; 24] = [100; 24];

fn rhythm(kind: Kind) -> &'static [u32; 24] {
    match kind {
        Kind::Rides => &BUSY,
        Kind::Quotes => &EVEN,
    }
}

fn busy(rhythm: &[u32; 24], time: i64) -> u64 {
    let hour = time.div_euclid(HOUR).rem_euclid(24);
    u64::from(usize::try_from(hour).ok().and_then(|hour| rhythm.get(hour)).copied().unwrap_or(100))
}

/// Nanoseconds between two arrivals at an ordinary hour, if `records` are to arrive in `span` microseconds.
pub(super) fn interval(kind: Kind, start: Timestamp, span: i64, records: u64) -> u64 {
    let rhythm = rhythm(kind);
    let (mut from, end) = (start.0, start.0.saturating_add(span.max(1)));
    let mut hundredths: u128 = 0;
    while from < end {
        let next = ((from.div_euclid(HOUR) + 1) * HOUR).min(end);
        hundredths += u128::from(busy(rhythm, from)) * u128::from(from.abs_diff(next));
        from = next;
    }
    u64::try_from(hundredths * 10 / u128::from(records.max(1))).unwrap_or(u64::MAX).max(1)
}

/// The times of arrival, one record after the other.
#[derive(Debug)]
pub(super) struct Arrivals {
    rhythm: &'static [u32; 24],
    interval: u64,
    /// Microseconds since the epoch, and nanoseconds beyond them.
    next: i64,
    beyond: u64,
}

impl Arrivals {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { rhythm: rhythm(plan.kind), interval: plan.interval, next: plan.start.0, beyond: 0 }
    }

    /// When the next record arrives.
    pub(super) fn step(&mut self) -> Timestamp {
        let time = self.next;
        let passed = self.beyond + self.interval.saturating_mul(100) / busy(self.rhythm, time).max(1);
        self.next = time.saturating_add(i64::try_from(passed / 1000).unwrap_or(i64::MAX));
        self.beyond = passed % 1000;
        Timestamp(time)
    }
}

/// How many microseconds a record is behind: seconds for most, and 12 minutes to 6 hours, shorter spans more often,
/// for the late ones.
pub(super) fn behind(chance: &mut Chance, late: Share) -> i64 {
    let disorder = i64::from(chance.below(DISORDER).min(chance.below(DISORDER))) * 1_000_000;
    if !chance.happens(late) {
        return disorder;
    }
    let shortest = (12 * MINUTE) << chance.below(5);
    shortest + shortest / 1000 * i64::from(chance.below(1000))
}
