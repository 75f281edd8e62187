//! What the log knows of one offset.

use std::collections::BTreeMap;

use super::Place;
use super::kept::{self, Found};
use super::record::Read;
use crate::error::Error;
use crate::log::LogError;
use crate::log::entry::{Entry, Sequence, Tally};
use crate::log::store::read;
use crate::record::{Offset, Partition, Timestamp};
use crate::sink::store::Store;
use crate::time::watermark::Lateness;
use crate::time::window::Window;

/// What became of an offset.
pub(super) enum Fate {
    /// No entry knows the partition.
    UnknownPartition,
    /// It lies at or beyond where the log stands.
    NotYet(Offset),
    /// The pipeline began behind it.
    BeforeStart(Offset, Box<Entry>),
    /// Kafka no longer had it, and going on without was accepted.
    Lost((Offset, Offset), Box<Entry>),
    /// There was no record with this offset.
    NoRecord(Box<Entry>),
    /// It is kept as it came: too late, or unreadable.
    Kept(Box<Found>, Box<Entry>),
    /// It was counted in a window, or left out of it by WHERE.
    Accepted(Box<Accepted>),
}

/// What the log says of a record that was accepted.
pub(super) struct Accepted {
    /// The entry that took it in.
    pub(super) entry: Entry,
    /// The partition's watermark before that entry.
    pub(super) before: Option<Timestamp>,
    /// What the entry added to windows in which the record can be, by start.
    pub(super) added: BTreeMap<Window, Tally>,
    /// Whether it is sure that there was a record at all.
    pub(super) sure: bool,
}

/// Finds out what became of a record, from the log and what it names.
pub(super) async fn trace(store: &Store, newest: &Entry, place: &Place) -> Result<Fate, Error> {
    let Some(last) = newest.partitions.get(&place.partition) else { return Ok(Fate::UnknownPartition) };
    if place.offset >= last.to {
        return Ok(Fate::NotYet(last.to));
    }
    let takes_in = |entry: &Entry| entry.partitions.get(&place.partition).is_some_and(|claim| claim.to > place.offset);
    let entry = first(store, Sequence::FIRST, newest, takes_in).await?;
    let Some(claim) = entry.partitions.get(&place.partition).cloned() else { return Ok(Fate::UnknownPartition) };
    if place.offset < claim.from {
        return Ok(Fate::BeforeStart(claim.from, Box::new(entry)));
    }
    if let Some(lost) = claim.lost.filter(|(from, to)| (*from..*to).contains(&place.offset)) {
        return Ok(Fate::Lost(lost, Box::new(entry)));
    }
    // Behind the last record there were only offsets without one.
    if claim.tail.as_ref().is_some_and(|tail| tail.offset < place.offset) {
        return Ok(Fate::NoRecord(Box::new(entry)));
    }
    if let Some(found) = kept::find(store, newest, &entry, place).await? {
        return Ok(Fate::Kept(Box::new(found), Box::new(entry)));
    }
    let before = match entry.sequence.0 {
        1 => None,
        number => Some(entry_at(store, Sequence(number - 1)).await?),
    };
    let all = added(before.as_ref(), &entry, place.partition);
    let has_all = all.values().fold(0, |sum: u64, tally| sum.saturating_add(tally.records()));
    let within = |tally: &&Tally| tally.first <= place.offset && place.offset <= tally.last;
    let mut can: BTreeMap<Window, Tally> =
        all.iter().filter(|(_, tally)| within(tally)).map(|(window, tally)| (*window, *tally)).collect();
    if can.is_empty() {
        return Ok(Fate::NoRecord(Box::new(entry)));
    }
    // The first and the last offset of a window are those of records in it.
    let edge = can.iter().find(|(_, tally)| tally.first == place.offset || tally.last == place.offset);
    let edge = edge.map(|(window, tally)| (*window, *tally));
    let sure = edge.is_some() || entry.counts.gaps == 0 || has_all == (claim.to.0 - claim.from.0).unsigned_abs();
    // A record of hopping windows is in several.
    if let Some((window, tally)) = edge.filter(|_| !entry.tumbling.is_hopping()) {
        can = BTreeMap::from([(window, tally)]);
    }
    let before = before.and_then(|before| before.partitions.get(&place.partition)?.watermark);
    Ok(Fate::Accepted(Box::new(Accepted { entry, before, added: can, sure })))
}

impl Accepted {
    /// Leaves only the windows that the record itself names, if the log knows them as such that the record can be in.
    pub(super) fn narrow(&mut self, read: &Read) {
        let Read::Record { windows, .. } = read else { return };
        let overlap = windows.len() > 1;
        let taken = windows.iter().filter(|(_, lateness)| !overlap || *lateness != Some(Lateness::TooLate));
        let known: BTreeMap<_, _> = taken.filter_map(|(window, _)| Some((*window, *self.added.get(window)?))).collect();
        if !known.is_empty() {
            (self.added, self.sure) = (known, true);
        }
    }
}

/// The entry with this number.
async fn entry_at(store: &Store, sequence: Sequence) -> Result<Entry, Error> {
    let missing = || LogError::Data(format!("log {store}: entry {} is missing; windrow audit says more", sequence.0));
    Ok(read(store, sequence).await?.ok_or_else(missing)?.entry)
}

/// The first entry from `low` on for which `holds`, which holds for `newest` and, once it does, for all that follow.
pub(super) async fn first(
    store: &Store,
    low: Sequence,
    newest: &Entry,
    holds: impl Fn(&Entry) -> bool,
) -> Result<Entry, Error> {
    let (mut low, mut found) = (low.0, newest.clone());
    while low < found.sequence.0 {
        let middle = entry_at(store, Sequence(low.midpoint(found.sequence.0))).await?;
        if holds(&middle) {
            found = middle;
        } else {
            low = middle.sequence.0 + 1;
        }
    }
    Ok(found)
}

/// What an entry added of one partition to each window. First and last are those of all the partition's records in it.
fn added(before: Option<&Entry>, entry: &Entry, partition: Partition) -> BTreeMap<Window, Tally> {
    let had = before.map(|before| shares(before, partition)).unwrap_or_default();
    let more = shares(entry, partition).into_iter().filter_map(|(window, share)| {
        // A window that the entry before settled for good does not come back.
        let had = had.get(&window).copied().unwrap_or(Tally { aggregated: 0, filtered: 0, late: 0, ..share });
        let added = Tally {
            aggregated: share.aggregated.saturating_sub(had.aggregated),
            filtered: share.filtered.saturating_sub(had.filtered),
            late: share.late.saturating_sub(had.late),
            ..share
        };
        (added.records() > 0).then_some((window, added))
    });
    more.collect()
}

/// One partition's records in each window that an entry speaks of.
fn shares(entry: &Entry, partition: Partition) -> BTreeMap<Window, Tally> {
    let mut shares = BTreeMap::new();
    for closed in &entry.closed {
        // A correction comes after the result it corrects, and holds it.
        if let Some(tally) = closed.inputs.get(&partition) {
            shares.insert(closed.window, *tally);
        }
    }
    for open in entry.open_windows().iter() {
        let parts = open.parts.iter().filter(|part| part.partition == partition).map(|part| part.tally);
        if let Some(tally) = parts.reduce(Tally::and) {
            shares.insert(open.window, tally);
        }
    }
    shares
}
