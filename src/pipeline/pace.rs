//! Which partitions wait for the others. A window takes up room until the slowest partition has passed it: what is read
//! far ahead of that one only fills the state.

use std::collections::{BTreeMap, BTreeSet};

use crate::log::entry::Entry;
use crate::record::{Partition, Timestamp};
use crate::time::window::Windows;

/// Partitions that are this close, in microseconds, wait for nobody, however short the windows are.
const CLOSE: i64 = 60_000_000;

/// Where a partition stands.
#[derive(Copy, Clone, Debug)]
pub(super) struct Standing {
    /// Its watermark.
    pub(super) watermark: Option<Timestamp>,
    /// Whether there is more to be read of it, as far as is known.
    pub(super) has_more: bool,
}

/// Bytes of open windows that an entry names.
pub(super) fn stored(entry: &Entry) -> u64 {
    let chunks = entry.windows.iter().flat_map(|open| &open.parts).flat_map(|part| &part.chunks);
    chunks.map(|chunk| chunk.bytes).sum()
}

/// The partitions that are two windows or more ahead of the slowest one that has more to read. That one is never among
/// them, so somebody always goes on; and if nobody has more, nobody waits.
pub(super) fn ahead(standings: &BTreeMap<Partition, Standing>, windows: &Windows) -> BTreeSet<Partition> {
    let slowest = standings.values().filter(|standing| standing.has_more).map(|standing| standing.watermark).min();
    let Some(slowest) = slowest else { return BTreeSet::new() };
    let limit = slowest.map(|slowest| {
        let next = windows.assign(slowest).and_then(|window| windows.assign(window.end));
        next.map_or(slowest, |window| windows.from_pane(window).end).max(slowest.plus(CLOSE))
    });
    let is_ahead = |standing: &Standing| standing.watermark > slowest && standing.watermark >= limit;
    standings.iter().filter(|(_, standing)| is_ahead(standing)).map(|(&partition, _)| partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::text::Size;

    const MINUTE: i64 = 60_000_000;

    fn who(standings: &[(Option<i64>, bool)]) -> Vec<i32> {
        let windows = Windows::new(Size::Physical(10 * MINUTE), None, None).unwrap();
        let standing = |&(minutes, has_more): &(Option<i64>, bool)| Standing {
            watermark: minutes.map(|minutes| Timestamp(minutes * MINUTE)),
            has_more,
        };
        let standings = (0..).map(Partition).zip(standings.iter().map(standing)).collect();
        ahead(&standings, &windows).into_iter().map(|partition| partition.0).collect()
    }

    #[test]
    fn two_windows_ahead_is_far() {
        assert_eq!(who(&[(Some(5), true), (Some(19), true), (Some(20), true), (Some(90), false)]), [2, 3]);
    }

    #[test]
    fn a_partition_without_a_time_is_the_slowest() {
        assert_eq!(who(&[(None, true), (Some(0), true), (None, true)]), [1]);
    }

    #[test]
    fn nobody_waits_for_a_partition_that_has_ended() {
        assert_eq!(who(&[(Some(0), false), (Some(50), true), (Some(60), true)]), [0; 0]);
        assert_eq!(who(&[(Some(0), false), (Some(50), false)]), [0; 0]);
    }

    #[test]
    fn somebody_always_goes_on() {
        for slow in [None, Some(0), Some(7)] {
            assert!(!who(&[(slow, true), (Some(100), true)]).contains(&0));
        }
    }
}
