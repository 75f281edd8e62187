//! How fast something goes now: over the last seconds, not since the start.

use std::collections::VecDeque;

use crate::record::Timestamp;

/// The span that a rate is taken over, in microseconds.
const SPAN: i64 = 5_000_000;
/// The least time between two looks that are kept.
const GRAIN: i64 = 100_000;

/// A count that is looked at again and again.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Rate {
    looks: VecDeque<(Timestamp, u64)>,
}

impl Rate {
    /// Takes in what the count is at `now`.
    pub(in crate::cli) fn look(&mut self, now: Timestamp, count: u64) {
        if self.looks.back().is_some_and(|(last, _)| now.0.saturating_sub(last.0) < GRAIN) {
            return;
        }
        self.looks.push_back((now, count));
        // The oldest look kept is the last one that is not within the span.
        while self.looks.get(1).is_some_and(|(second, _)| now.0.saturating_sub(second.0) >= SPAN) {
            self.looks.pop_front();
        }
    }

    /// How much a second; 0 before there is anything to compare.
    pub(in crate::cli) fn per_second(&self) -> u64 {
        let (Some((first, before)), Some((last, after))) = (self.looks.front(), self.looks.back()) else { return 0 };
        let micros = u64::try_from(last.0.saturating_sub(first.0)).unwrap_or(0);
        let more = u128::from(after.saturating_sub(*before)) * 1_000_000;
        u64::try_from(more.checked_div(u128::from(micros)).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(counts: impl IntoIterator<Item = u64>) -> Rate {
        let mut rate = Rate::default();
        for (look, count) in (0i64..).zip(counts) {
            rate.look(Timestamp(look * 250_000), count);
        }
        rate
    }

    #[test]
    fn a_run_that_has_caught_up_shows_zero() {
        let catch_up = (0..40u64).map(|look| look * 100_000);
        assert_eq!(watched(catch_up.clone()).per_second(), 400_000);
        let then_nothing = catch_up.chain(std::iter::repeat_n(3_900_000, 21));
        assert_eq!(watched(then_nothing).per_second(), 0);
    }

    #[test]
    fn a_catch_up_after_a_long_rest_shows_its_real_rate() {
        let rest_then_catch_up = std::iter::repeat_n(7, 1000).chain((0..21).map(|look| 7 + look * 25_000));
        assert_eq!(watched(rest_then_catch_up).per_second(), 100_000);
    }

    #[test]
    fn one_look_is_no_rate() {
        assert_eq!(watched([]).per_second(), 0);
        assert_eq!(watched([5]).per_second(), 0);
    }
}
