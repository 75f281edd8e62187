//! When rounds begin, and whose turn it is within one. Pure: the time is an argument.

use std::collections::VecDeque;

use crate::record::Timestamp;

const SECOND: i64 = 1_000_000;
/// The longest pause that is taken without having been asked for one.
const LONGEST_PAUSE: i64 = 60 * SECOND;
/// The longest pause that a server can ask for.
const LONGEST_WISH: i64 = 24 * 3600 * SECOND;

/// When rounds begin: at once, then at multiples of the interval after that. One that would begin while another goes on
/// is left out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    first: Timestamp,
    interval: i64,
}

impl Rounds {
    /// Rounds every `interval` microseconds, the first one at `first`.
    #[must_use]
    pub fn new(first: Timestamp, interval: i64) -> Self {
        Self { first, interval: interval.max(1) }
    }

    /// When the next round begins, after one that ended at `now`.
    ///
    /// ```
    /// # use windrow::{poll::schedule::Rounds, record::Timestamp};
    /// let rounds = Rounds::new(Timestamp(5), 10);
    /// assert_eq!(rounds.after(Timestamp(8)), Timestamp(15));
    /// assert_eq!(rounds.after(Timestamp(38)), Timestamp(45), "those at 15, 25 and 35 are left out");
    /// ```
    #[must_use]
    pub fn after(&self, now: Timestamp) -> Timestamp {
        let passed = now.0.saturating_sub(self.first.0).max(0);
        let begun = passed / self.interval + 1;
        self.first.plus(self.interval.saturating_mul(begun))
    }
}

/// How fast calls may follow each other. It outlives a round: a server that asked for a pause has it also when the next
/// round begins.
#[derive(Copy, Clone, Debug)]
pub struct Pace {
    /// Between the end of a call and the beginning of the next.
    pause: i64,
    /// No call begins before this.
    not_before: Timestamp,
    /// Calls in a row that the server had no time for.
    limited: u32,
}

impl Pace {
    /// Calls with `pause` microseconds between them.
    #[must_use]
    pub fn new(pause: i64) -> Self {
        Self { pause, not_before: Timestamp(i64::MIN), limited: 0 }
    }
}

/// What to do next in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call for this symbol, then tell [`Round::answered`].
    Call(Turn),
    /// Nothing before this time.
    Wait(Timestamp),
    /// The round's time does not suffice for these any more; they are left.
    GiveUp(Vec<usize>),
    /// Every symbol has been called for or given up.
    Done,
}

/// A symbol's turn.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The symbol's index in the watchlist.
    pub symbol: usize,
    /// Which attempt this is, from 1; calls that the server put off are not counted.
    pub attempt: u32,
    not_before: Timestamp,
}

/// How a call ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// With an answer, good or bad: the symbol has had its turn.
    Answered,
    /// The server failed or did not answer; `wish` is the pause in microseconds that it asked for.
    Failed {
        /// `Retry-After`, if there was one.
        wish: Option<i64>,
    },
    /// The server has no time for calls now.
    Limited {
        /// `Retry-After`, if there was one.
        wish: Option<i64>,
    },
}

/// One round over the watchlist. A symbol whose call failed goes to the end of the queue, so that the others do not
/// wait for it.
#[derive(Debug)]
pub struct Round {
    queue: VecDeque<Turn>,
    attempts: u32,
    deadline: Timestamp,
    pace: Pace,
}

impl Round {
    /// A round over `symbols` symbols, each called for `attempts` times at most. No call begins at `deadline` or later.
    #[must_use]
    pub fn new(symbols: usize, attempts: u32, deadline: Timestamp, pace: Pace) -> Self {
        let turn = |symbol| Turn { symbol, attempt: 1, not_before: Timestamp(i64::MIN) };
        Self { queue: (0..symbols).map(turn).collect(), attempts, deadline, pace }
    }

    /// What to do at `now`. A [`Step::Call`] takes the symbol out of the queue.
    pub fn next(&mut self, now: Timestamp) -> Step {
        let free = now.max(self.pace.not_before);
        let due = self.queue.iter().position(|turn| turn.not_before <= free);
        let soonest = || (0..self.queue.len()).min_by_key(|&index| self.queue.get(index).map(|turn| turn.not_before));
        let Some(index) = due.or_else(soonest) else { return Step::Done };
        let Some(turn) = self.queue.get(index).copied() else { return Step::Done };
        let begin = free.max(turn.not_before);
        if begin >= self.deadline {
            return Step::GiveUp(self.queue.drain(..).map(|turn| turn.symbol).collect());
        }
        if begin > now {
            return Step::Wait(begin);
        }
        self.queue.remove(index);
        Step::Call(turn)
    }

    /// Takes in how the call of `turn` ended at `now`: whether and when the symbol will be called for again.
    pub fn answered(&mut self, turn: Turn, called: Called, now: Timestamp) -> Option<Timestamp> {
        self.pace.not_before = self.pace.not_before.max(now.plus(self.pace.pause));
        let (attempt, wait) = match called {
            Called::Answered => {
                self.pace.limited = 0;
                return None;
            }
            Called::Failed { wish } => {
                self.pace.limited = 0;
                self.hold(wish, now);
                (turn.attempt + 1, doubled(turn.attempt))
            }
            Called::Limited { wish } => {
                self.pace.limited = self.pace.limited.saturating_add(1);
                let least = doubled(self.pace.limited);
                self.hold(Some(wish.map_or(least, |wish| wish.max(least.min(SECOND)))), now);
                (turn.attempt, 0)
            }
        };
        if attempt > self.attempts {
            return None;
        }
        let not_before = now.plus(wait).max(self.pace.not_before);
        self.queue.push_back(Turn { symbol: turn.symbol, attempt, not_before });
        Some(not_before)
    }

    fn hold(&mut self, wish: Option<i64>, now: Timestamp) {
        if let Some(wish) = wish {
            self.pace.not_before = self.pace.not_before.max(now.plus(wish.clamp(0, LONGEST_WISH)));
        }
    }

    /// Symbols that still have a turn.
    #[must_use]
    pub fn left(&self) -> usize {
        self.queue.len()
    }

    /// The pace for the next round.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }
}

/// 1, 2, 4 … seconds.
fn doubled(times: u32) -> i64 {
    SECOND.saturating_mul(1i64.checked_shl(times.saturating_sub(1).min(30)).unwrap_or(i64::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
