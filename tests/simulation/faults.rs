//! What can happen to a request to the store, and how often it does.

use crate::chance::Chance;
use crate::time::SECOND;

/// What a request is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Put,
    Get,
    Head,
    List,
    Delete,
}

impl Verb {
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Put | Self::Delete)
    }
}

/// What becomes of one request.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Done and answered.
    Done,
    /// Refused; nothing happened.
    Before,
    /// Done, but the answer is lost.
    Lost,
    /// The answer is lost, and it is done this much later, whatever happened to the asker.
    Late(i64),
    /// Done and answered, and done once more this much later.
    Twice(i64),
    /// "Exists", although nothing does: two creates met and neither won.
    Conflict,
    /// Done and answered after this long.
    Slow(i64),
    /// The asker dies before it is sent.
    CrashBefore,
    /// The asker dies when it is done, before the answer.
    CrashAfter,
    /// The asker freezes before it is sent, this long.
    FreezeBefore(i64),
    /// The asker freezes when it is done, before the answer, this long.
    FreezeAfter(i64),
}

pub const KINDS: [&str; 11] = [
    "done",
    "before",
    "lost",
    "late",
    "twice",
    "conflict",
    "slow",
    "crash before",
    "crash after",
    "freeze before",
    "freeze after",
];

impl Fate {
    pub fn kind(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Before => 1,
            Self::Lost => 2,
            Self::Late(_) => 3,
            Self::Twice(_) => 4,
            Self::Conflict => 5,
            Self::Slow(_) => 6,
            Self::CrashBefore => 7,
            Self::CrashAfter => 8,
            Self::FreezeBefore(_) => 9,
            Self::FreezeAfter(_) => 10,
        }
    }
}

/// How a store behaves in a world.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// By [`Fate::kind`], in a thousand requests.
    pub per_mille: [u64; 11],
    /// One request, by number, and what becomes of it: the faults of exhaustive runs.
    pub only: Option<(u64, Fate)>,
    /// Microseconds that a request may take at most.
    pub latency: i64,
    /// A machine's disk instead of a distant store: what was not answered may be gone when the machine dies.
    pub disk: bool,
    /// Whether listings may lack the newest keys.
    pub listing_lags: bool,
}

impl Faults {
    pub fn judge(&self, number: u64, verb: Verb, probing: bool, chance: &mut Chance) -> Fate {
        if let Some((at, fate)) = self.only {
            return if at == number { fate } else { Fate::Done };
        }
        let mut draw = chance.below(1000);
        for (kind, &share) in self.per_mille.iter().enumerate().skip(1) {
            if draw >= share {
                draw -= share;
                continue;
            }
            // Deaths while a store is tried are dull.
            if probing && kind > 6 && chance.happens(900) {
                return Fate::Done;
            }
            let soon = |chance: &mut Chance| chance.between(SECOND / 100, 14 * SECOND);
            return match kind {
                1 => Fate::Before,
                2 => Fate::Lost,
                3 if verb.writes() => {
                    if chance.happens(300) {
                        Fate::Late(chance.between(SECOND, 200 * SECOND))
                    } else {
                        Fate::Late(soon(chance))
                    }
                }
                4 if verb.writes() => Fate::Twice(soon(chance)),
                5 if verb == Verb::Create => Fate::Conflict,
                6 => Fate::Slow(soon(chance)),
                7 => Fate::CrashBefore,
                8 => Fate::CrashAfter,
                9 => Fate::FreezeBefore(frozen(chance)),
                10 => Fate::FreezeAfter(frozen(chance)),
                _ => Fate::Done,
            };
        }
        Fate::Done
    }
}

fn frozen(chance: &mut Chance) -> i64 {
    if chance.happens(400) {
        chance.between(80 * SECOND, 200 * SECOND)
    } else {
        chance.between(SECOND / 10, 15 * SECOND)
    }
}
