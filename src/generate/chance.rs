//! Chance from a seed.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Share;

/// A source of numbers that only the seed decides. The steps from the cipher's words to a number are written here,
/// because those of libraries may change from one version to the next.
#[derive(Debug)]
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `bound`, or 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        // The product's upper half: even to one in 2^32 / bound, with no division.
        u32::try_from((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32).unwrap_or(0)
    }

    /// Whether something so likely happens.
    pub(super) fn happens(&mut self, share: Share) -> bool {
        self.below(1_000_000) < share.0
    }
}
