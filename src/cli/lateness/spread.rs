//! How spans of time are spread: counted finely enough to tell a share of them to within a hundredth.

use crate::telemetry::behind::{BOUNDS, step};

/// Bits of a span that are told apart, below the highest one.
const BITS: u32 = 7;

/// Spans of time, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    fine: Vec<u64>,
    /// By [`BOUNDS`].
    pub(super) bins: [u64; BOUNDS.len()],
    pub(super) count: u64,
    /// The longest.
    pub(super) most: i64,
}

impl Spread {
    /// Counts a span; less than nothing is nothing.
    pub(super) fn add(&mut self, span: i64) {
        let span = span.max(0);
        let cell = cell(span);
        if self.fine.len() <= cell {
            self.fine.resize(cell + 1, 0);
        }
        self.fine[cell] += 1;
        self.bins[step(span)] += 1;
        self.count += 1;
        self.most = self.most.max(span);
    }

    /// Adds all of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.fine.len() < other.fine.len() {
            self.fine.resize(other.fine.len(), 0);
        }
        self.fine.iter_mut().zip(&other.fine).for_each(|(mine, theirs)| *mine += theirs);
        self.bins.iter_mut().zip(&other.bins).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.most = self.most.max(other.most);
    }

    /// The shortest span, to within a hundredth above, that no more than `share` parts in a million exceed.
    pub(super) fn keeping(&self, share: u64) -> i64 {
        let may_exceed = u64::try_from(u128::from(self.count) * u128::from(1_000_000 - share) / 1_000_000).unwrap_or(0);
        let mut exceeding = self.count;
        for (cell, count) in self.fine.iter().enumerate() {
            exceeding -= count;
            if exceeding <= may_exceed {
                return largest(cell).min(self.most);
            }
        }
        self.most
    }
}

/// The cell of a span: exact below 256 microseconds, then 128 cells for each doubling.
fn cell(span: i64) -> usize {
    let span = span.unsigned_abs();
    let shift = (63 - span.max(1).leading_zeros()).saturating_sub(BITS);
    (shift as usize) * (1 << BITS) + usize::try_from(span >> shift).unwrap_or(0)
}

/// The largest span of a cell.
fn largest(cell: usize) -> i64 {
    if cell < 2 << BITS {
        return i64::try_from(cell).unwrap_or(i64::MAX);
    }
    let shift = cell / (1 << BITS) - 1;
    let top = (cell % (1 << BITS)) + (1 << BITS);
    let next = (top as u128 + 1) << shift;
    i64::try_from(next - 1).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cell_tells_a_span_to_within_a_hundredth(span in 0..i64::MAX) {
            let largest = largest(cell(span));
            prop_assert!(largest >= span);
            prop_assert!(largest - span <= span / 128);
        }

        #[test]
        fn a_share_is_kept_by_the_span_told_for_it(spans in prop::collection::vec(0..10_000_000_000i64, 1..300), share in 0..=1_000_000u64) {
            let mut spread = Spread::default();
            spans.iter().for_each(|span| spread.add(*span));
            let told = spread.keeping(share);
            let kept = spans.iter().filter(|span| **span <= told).count() as u64;
            prop_assert!(kept * 1_000_000 >= share * spans.len() as u64);
            prop_assert_eq!(spread.keeping(1_000_000), *spans.iter().max().unwrap());
        }
    }

    #[test]
    fn bins_hold_what_is_no_more_than_their_bound() {
        let mut spread = Spread::default();
        for span in [-5, 0, 1, 1_000, 1_001, 3_600_000_000, i64::MAX] {
            spread.add(span);
        }
        assert_eq!((spread.bins[0], spread.bins[1], spread.bins[2]), (2, 2, 1));
        assert_eq!((spread.bins[14], spread.bins[23], spread.count), (1, 1, 7));
    }
}
