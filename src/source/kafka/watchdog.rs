//! Whether the work that a membership is for still goes on, as the thread that polls sees it.

use crate::record::Timestamp;

/// A loop that has said nothing for this long hangs, in microseconds.
const HANGS: i64 = 60_000_000;
/// And one is beyond hope that has asked nothing of the sink either for this long: a sink that is away is asked again and again.
const OVER: i64 = 900_000_000;
/// What counts of the time between two looks at most: in a longer one the process itself stood still.
const LOOK: i64 = 1_000_000;

/// What silence means.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Works,
    /// Others should have its partitions.
    Hangs,
    /// It will never go on.
    Over,
}

/// Counts silence by looks.
#[derive(Debug)]
pub(super) struct Watchdog {
    looked: Timestamp,
    word: i64,
    requests: u64,
    silent: i64,
    still: i64,
}

impl Watchdog {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { looked: now, word: i64::MIN, requests: 0, silent: 0, still: 0 }
    }

    /// Looks at the loop's last word, which differs from the one before, and at how many requests the sink has had.
    pub(super) fn look(&mut self, now: Timestamp, word: i64, requests: u64) -> Verdict {
        let span = now.0.saturating_sub(self.looked.0).clamp(0, LOOK);
        let spoke = std::mem::replace(&mut self.word, word) != word;
        let asked = std::mem::replace(&mut self.requests, requests) != requests;
        self.looked = now;
        self.silent = if spoke { 0 } else { self.silent + span };
        self.still = if spoke || asked { 0 } else { self.still + span };
        match (self.silent, self.still) {
            (_, OVER..) => Verdict::Over,
            (HANGS.., _) => Verdict::Hangs,
            _ => Verdict::Works,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: i64 = 100_000;

    /// Looks each tenth of a second for `seconds`; the last verdict.
    fn looks(dog: &mut Watchdog, seconds: i64, mut each: impl FnMut(i64) -> (i64, u64)) -> Verdict {
        let mut verdict = Verdict::Works;
        for _ in 0..seconds * 10 {
            let now = dog.looked.plus(TICK);
            let (word, requests) = each(now.0);
            verdict = dog.look(now, word, requests);
        }
        verdict
    }

    #[test]
    fn silence_lets_go_and_a_word_takes_it_up_again() {
        let mut dog = Watchdog::new(Timestamp(0));
        assert_eq!(looks(&mut dog, 7200, |now| (now, 0)), Verdict::Works);
        let last = dog.word;
        assert_eq!(looks(&mut dog, 59, |_| (last, 0)), Verdict::Works);
        assert_eq!(looks(&mut dog, 2, |_| (last, 0)), Verdict::Hangs);
        assert_eq!(looks(&mut dog, 1, |now| (now, 0)), Verdict::Works);
    }

    #[test]
    fn a_process_in_which_nothing_moves_is_over_and_one_that_waits_for_its_sink_is_not() {
        let mut dog = Watchdog::new(Timestamp(0));
        assert_eq!(looks(&mut dog, 7200, |now| (0, now.unsigned_abs())), Verdict::Hangs);
        let asked = dog.requests;
        assert_eq!(looks(&mut dog, 899, |_| (0, asked)), Verdict::Hangs);
        assert_eq!(looks(&mut dog, 2, |_| (0, asked)), Verdict::Over);
    }

    #[test]
    fn a_process_that_was_frozen_has_not_been_silent() {
        let mut dog = Watchdog::new(Timestamp(0));
        looks(&mut dog, 10, |now| (now, 0));
        let (word, later) = (dog.word, dog.looked.plus(24 * 3_600_000_000));
        assert_eq!(dog.look(later, word, 0), Verdict::Works);
        // A clock that was set back counts nothing.
        assert_eq!(dog.look(Timestamp(0), word, 0), Verdict::Works);
    }
}
