//! From decoded batches to closed windows: watermarks, lateness and partial results.
//!
//! Pure and deterministic: batches and times go in, and what there is to commit comes out. What becomes of a record
//! depends on its own partition's records before it and on nothing else, but for the cuts of windows that closed while
//! the partition was idle; those are in what is committed. Files, the log and the clock are left to others.

mod close;
pub mod cut;
mod follow;
mod foreign;
pub mod kept;
mod partition;
pub mod view;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::config::{Emit, OnQuiet, WindowConfig};
use crate::decode::{Decoded, Reason};
use crate::log::entry::{Chunk, Counts, Entry, Hole, Lot, Missed, Part, Quiet, Tally};
use crate::query::{Keeps, Partial, Query, QueryError};
use crate::record::{Offset, Partition, Timestamp};
use crate::time::watermark::Lateness;
use crate::time::window::Window;
use cut::{Cut, PieceOf};
pub use foreign::Folded;
use foreign::{Others, Standing};
use kept::Kept;
use partition::PartitionState;
pub use partition::fingerprint;

/// How far apart the partitions may come to hear of what is produced at one time, in microseconds.
pub const SPREAD: i64 = 1_000_000;
/// Steps of the watermark that wait for proof; with more, the newest two become one.
const UNPROVED_LIMIT: usize = 256;

/// The engine of one pipeline.
#[derive(Debug)]
pub struct Engine {
    config: WindowConfig,
    query: Arc<Query>,
    partitions: BTreeMap<Partition, PartitionState>,
    /// By start; where windows overlap, the panes that they share.
    windows: BTreeMap<Timestamp, Open>,
    watermark: Option<Timestamp>,
    /// The watermark of the last commit: what it closed is not closed again.
    settled: Option<Timestamp>,
    /// Whether late records came to a pane since then that had none of their kind.
    reopened: bool,
    quiet: Option<Quiet>,
    /// Where the watermark would stand without the idle partitions, and when that was seen: what is not proved yet.
    unproved: VecDeque<(Timestamp, Timestamp)>,
    closing_all: bool,
    late: Vec<Kept>,
    invalid: Vec<Kept>,
    kept_bytes: usize,
    counts: Counts,
    /// Bytes of partial results in memory, and how many there may be.
    held: usize,
    limit: usize,
    /// What other instances have, if the stream is shared.
    others: Option<Others>,
}

/// A window that still takes records, or a pane of some.
#[derive(Debug)]
struct Open {
    window: Window,
    /// Rows of revision 0 of the window that begins here, once it is out.
    published: Option<u64>,
    /// By partition, records on time before late ones.
    parts: BTreeMap<Lot, OpenPart>,
    /// What the log has of other instances' partitions.
    foreign: BTreeMap<Lot, Part>,
}

/// What one partition brought to a window.
#[derive(Debug)]
struct OpenPart {
    partial: Partial,
    tally: Tally,
    /// What the log has of it.
    stored: Vec<Chunk>,
    /// Whether there is more than the log has.
    dirty: bool,
    /// Bytes it was last seen to hold.
    bytes: usize,
}

/// Rows of one batch that go to the same place.
struct Share {
    window: Window,
    lot: Lot,
    tally: Tally,
    rows: Vec<u32>,
}

impl Engine {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(config: WindowConfig, query: Arc<Query>) -> Self {
        Self {
            config,
            query,
            partitions: BTreeMap::new(),
            windows: BTreeMap::new(),
            watermark: None,
            settled: None,
            reopened: false,
            quiet: None,
            unproved: VecDeque::new(),
            closing_all: false,
            late: Vec::new(),
            invalid: Vec::new(),
            kept_bytes: 0,
            counts: Counts::default(),
            held: 0,
            limit: usize::MAX,
            others: None,
        }
    }

    /// The same engine, which wants a commit when its partial results take more than `limit` bytes: groups are cut off
    /// as runs then, until half of that is left.
    #[must_use]
    pub fn bounded(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// An engine that goes on where `entry` stopped. `load` gives the batches of a state piece; it is asked for the
    /// pieces of groups only, and not for runs: those and rows stay where they are.
    ///
    /// # Errors
    /// If a piece is not what the query saves.
    pub fn restore(
        config: WindowConfig,
        query: Arc<Query>,
        entry: &Entry,
        load: impl FnMut(&Chunk) -> Vec<arrow::array::RecordBatch>,
    ) -> Result<Self, QueryError> {
        Self::new(config, query).take_up(entry, |_| true, load)
    }

    /// The partitions that are this engine's own, as `entry` has them.
    fn take_up(
        self,
        entry: &Entry,
        is_own: impl Fn(Partition) -> bool,
        mut load: impl FnMut(&Chunk) -> Vec<arrow::array::RecordBatch>,
    ) -> Result<Self, QueryError> {
        let mut engine = self;
        (engine.watermark, engine.settled) = (entry.watermark, entry.watermark);
        engine.quiet = entry.quiet;
        for (&partition, claim) in entry.partitions.iter().filter(|(partition, _)| is_own(**partition)) {
            engine.partitions.insert(partition, PartitionState::restore(claim));
        }
        for open in &entry.windows {
            let mut parts = BTreeMap::new();
            for part in open.parts.iter().filter(|part| is_own(part.partition)) {
                let partial = match engine.query.keeps() {
                    Keeps::Rows => engine.query.partial(),
                    Keeps::Groups => {
                        let held = part.chunks.iter().filter(|chunk| chunk.run.is_none());
                        let saved: Vec<_> = held.flat_map(&mut load).collect();
                        engine.query.restore(&saved)?
                    }
                };
                let stored = part.chunks.clone();
                let state = OpenPart { partial, tally: part.tally, stored, dirty: false, bytes: 0 };
                parts.insert(part.lot(), state);
            }
            let foreign = foreign::parts(open, &is_own);
            let state = Open { window: open.window, published: open.published, parts, foreign };
            engine.windows.insert(open.window.start, state);
        }
        engine.measure();
        Ok(engine)
    }

    /// Adds a partition that is to be read from `start`. `whole` says that nothing came before that offset.
    pub fn add_partition(&mut self, partition: Partition, start: Offset, whole: bool) {
        let mut state = PartitionState::new(start, self.watermark);
        if !whole {
            state.holes.push(Hole { after: None, before: None });
        }
        self.partitions.insert(partition, state);
        self.quiet = None;
    }

    /// Accepts that the offsets from where the partition stands up to `to` are gone.
    pub fn accept_loss(&mut self, partition: Partition, to: Offset) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            let lost = to.0.saturating_sub(state.next.0).max(0);
            self.counts.gaps += lost.unsigned_abs();
            state.lose(to);
        }
    }

    /// The next offset wanted of each partition.
    pub fn positions(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        self.partitions.iter().map(|(&partition, state)| (partition, state.next))
    }

    /// The next offset wanted of one partition; `None` if it is not known.
    #[must_use]
    pub fn position(&self, partition: Partition) -> Option<Offset> {
        self.partitions.get(&partition).map(|state| state.next)
    }

    /// Takes in a batch whose records are all at or after the partition's position.
    ///
    /// # Errors
    /// If the query's own machinery fails; a record that it cannot take is kept as invalid instead.
    pub fn push(&mut self, decoded: &Decoded, now: Timestamp) -> Result<(), QueryError> {
        let records = &decoded.records;
        let Some(last) = records.len().checked_sub(1) else { return Ok(()) };
        let (first_offset, last) = (records.get(0).offset, records.get(last));
        let id = records.partition;
        let prepared = self.query.prepare(&decoded.batch)?;
        let state = self.partitions.entry(id).or_insert_with(|| PartitionState::new(first_offset, self.watermark));
        state.wake(first_offset, self.watermark);
        self.quiet = None;

        for (index, reason) in &decoded.rejected {
            let kept = Kept::new(id, records.get(*index as usize), reason.clone());
            keep_invalid(&mut self.invalid, &mut self.counts, &mut self.kept_bytes, kept);
        }
        let mut shares: Vec<Share> = Vec::new();
        let mut share_of: BTreeMap<(Timestamp, Lot), usize> = BTreeMap::new();
        // Neighbours mostly share a window.
        let mut window_at_hand: Option<Window> = None;
        let mut share_at_hand = 0;
        let (mut passed, mut failed) = (0, 0);
        let horizon = now.plus(self.config.max_future);
        for (row, &index) in (0u32..).zip(&decoded.rows) {
            let time = Timestamp(decoded.event_times.value(row as usize));
            let position = (prepared.passed.get(passed) == Some(&row)).then_some(passed);
            passed += usize::from(position.is_some());
            let failure = prepared.failed.get(failed).filter(|(failing, _)| *failing == row).map(|(_, why)| why);
            failed += usize::from(failure.is_some());
            let refusal = if time > horizon {
                Some(("future", format!("event time {time} is ahead of the clock, which says {now}")))
            } else {
                failure.map(|why| ("expression", why.clone()))
            };
            if !window_at_hand.is_some_and(|window| window.contains(time)) {
                window_at_hand = self.config.windows.assign(time);
            }
            let Some(window) = window_at_hand.filter(|_| refusal.is_none()) else {
                let (class, text) = refusal.unwrap_or_else(|| ("out_of_range", format!("event time {time}")));
                let mut kept = Kept::new(id, records.get(index as usize), Reason { class, text });
                kept.event_time = Some(time);
                keep_invalid(&mut self.invalid, &mut self.counts, &mut self.kept_bytes, kept);
                continue;
            };
            let mut lateness = state.clock.lateness(window.end, self.config.allowed_lateness);
            let mut missed = Missed::default();
            if lateness != Lateness::OnTime && self.config.windows.is_hopping() {
                (lateness, missed) = partition::missed(&self.config, &state.clock, window);
            }
            state.accept(time, self.config.watermark_delay);
            let offset = records.get(index as usize).offset;
            if lateness == Lateness::TooLate {
                let window = self.config.windows.from_pane(window);
                let text = format!(
                    "window {} to {} was final: the partition's watermark stood at {}",
                    window.start,
                    window.end,
                    state.clock.watermark().unwrap_or(time)
                );
                let mut kept = Kept::new(id, records.get(index as usize), Reason { class: "too_late", text });
                (kept.event_time, kept.window) = (Some(time), Some(window));
                self.counts.too_late += 1;
                self.kept_bytes += kept.bytes();
                self.late.push(kept);
                continue;
            }
            let late = lateness == Lateness::Late;
            let apart = late && (self.config.emit == Emit::Early || !missed.is_nothing());
            let lot = Lot { partition: id, late: apart, missed };
            share_at_hand = match shares.get(share_at_hand) {
                Some(share) if share.window == window && share.lot == lot => share_at_hand,
                _ => *share_of.entry((window.start, lot)).or_insert_with(|| {
                    let tally = Tally { aggregated: 0, filtered: 0, late: 0, first: offset, last: offset };
                    shares.push(Share { window, lot, tally, rows: Vec::new() });
                    shares.len() - 1
                }),
            };
            let share = &mut shares[share_at_hand];
            share.tally.last = offset;
            share.tally.late += u64::from(late);
            match position {
                Some(position) => {
                    share.tally.aggregated += 1;
                    share.rows.push(u32::try_from(position).unwrap_or(u32::MAX));
                }
                None => share.tally.filtered += 1,
            }
        }
        let read = records.len() as u64;
        self.counts.read += read;
        self.counts.gaps += state.advance_past(last, read);
        for share in shares {
            self.add(&prepared, share)?;
        }
        Ok(())
    }

    fn add(&mut self, prepared: &crate::query::Prepared, share: Share) -> Result<(), QueryError> {
        self.counts.aggregated += share.tally.aggregated;
        self.counts.filtered += share.tally.filtered;
        self.counts.late += share.tally.late;
        if let Some(settled) = share.lot.missed.settled {
            let missed = self.config.windows.of_pane(share.window).take_while(|window| window.end <= settled).count();
            self.counts.missed += missed as u64 * (share.tally.aggregated + share.tally.filtered);
        }
        let open = self.windows.entry(share.window.start).or_insert_with(|| Open {
            window: share.window,
            published: None,
            parts: BTreeMap::new(),
            foreign: BTreeMap::new(),
        });
        let part = match open.parts.entry(share.lot) {
            std::collections::btree_map::Entry::Occupied(part) => {
                let part = part.into_mut();
                part.tally = part.tally.and(share.tally);
                part
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                self.reopened |= !share.lot.missed.is_nothing();
                place.insert(OpenPart {
                    partial: self.query.partial(),
                    tally: share.tally,
                    stored: Vec::new(),
                    dirty: true,
                    bytes: 0,
                })
            }
        };
        part.dirty = true;
        part.partial.add(prepared, &share.rows)?;
        let bytes = part.partial.bytes();
        self.held = self.held - part.bytes + bytes;
        part.bytes = bytes;
        Ok(())
    }

    /// Looks anew how much is held.
    fn measure(&mut self) {
        self.held = 0;
        for part in self.windows.values_mut().flat_map(|open| open.parts.values_mut()) {
            part.bytes = part.partial.bytes();
            self.held += part.bytes;
        }
    }

    /// The parts to be cut off as runs, the largest ones, if more is held than may be.
    fn excess(&self) -> BTreeSet<(Timestamp, Lot)> {
        let mut excess = BTreeSet::new();
        if self.held <= self.limit || self.query.keeps() == Keeps::Rows {
            return excess;
        }
        let places = |open: &Open| {
            open.parts.iter().map(|(&lot, part)| (part.bytes, (open.window.start, lot))).collect::<Vec<_>>()
        };
        let mut parts: Vec<_> = self.windows.values().flat_map(places).collect();
        parts.sort_unstable_by(|one, other| other.cmp(one));
        let mut left = self.held;
        for (bytes, place) in parts {
            if left <= self.limit / 2 {
                break;
            }
            left -= bytes;
            excess.insert(place);
        }
        excess
    }

    /// Everything of `partition` below `position` has been delivered.
    pub fn reached(&mut self, partition: Partition, position: Offset) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            self.counts.gaps += position.0.saturating_sub(state.next.0).max(0).unsigned_abs();
            state.next = state.next.max(position);
        }
    }

    /// The broker's word, to a question asked at `asked`, on where `partition` ends.
    pub fn observe_end(&mut self, partition: Partition, end: Offset, asked: Timestamp) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            if end == state.next {
                state.clock.stand(asked);
            } else if end > state.next {
                state.wake(state.next, self.watermark);
                self.quiet = None;
            }
        }
    }

    /// Moves the stream's watermark on as far as the partitions allow.
    pub fn advance(&mut self, now: Timestamp) {
        for state in self.partitions.values_mut() {
            state.clock.settle(now, self.config.idle_timeout);
        }
        let standings: Vec<Standing> = self.standings().collect();
        let clocks = || standings.iter();
        let reached = if clocks().any(|clock| !clock.idle) {
            let least = clocks().filter(|clock| !clock.idle).map(|clock| clock.watermark).min().flatten();
            let proved = clocks().filter(|clock| clock.idle).map(|clock| clock.proved).min();
            self.prove(least, proved, now)
        } else {
            self.unproved.clear();
            // As if the partitions had fallen idle one after the other, the one furthest ahead last.
            let furthest = clocks().filter_map(|clock| clock.watermark).max().max(self.watermark);
            let proved = clocks().filter_map(|clock| clock.proved).min();
            let (Some(furthest), Some(proved)) = (furthest, proved) else { return };
            // Time that another instance's clock was ahead by does not pass a second time, and is not waited for.
            let going_on = self.quiet.filter(|quiet| quiet.since <= proved);
            let quiet = going_on.unwrap_or(Quiet { since: proved, watermark: furthest });
            self.quiet = Some(quiet);
            match self.config.on_quiet {
                OnQuiet::Advance => Some(quiet.watermark.plus(proved.0.saturating_sub(quiet.since.0).max(0))),
                OnQuiet::Hold => Some(quiet.watermark),
            }
        };
        self.watermark = self.watermark.max(reached);
    }

    /// How far the watermark may follow `least`, the least of the partitions that are not idle. When records come after
    /// a pause, they come to all partitions at about the same time, but are read from one before the other: an idle
    /// partition is passed only after it was `proved` empty again, `SPREAD` after what passes it had been read.
    fn prove(
        &mut self,
        least: Option<Timestamp>,
        proved: Option<Option<Timestamp>>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let Some(proved) = proved else {
            self.unproved.clear();
            return least;
        };
        let known = self.unproved.back().map(|&(_, watermark)| watermark).max(self.watermark);
        if let Some(least) = least.filter(|&least| Some(least) > known) {
            if self.unproved.len() == UNPROVED_LIMIT {
                self.unproved.pop_back();
            }
            self.unproved.push_back((now, least));
        }
        let mut reached = None;
        while let Some((_, watermark)) = self.unproved.pop_front_if(|(seen, _)| Some(seen.plus(SPREAD)) <= proved) {
            reached = Some(watermark);
        }
        // A partition that was idle when this was seen may have come back since.
        reached.min(least)
    }

    /// Whether the watermark waits for word of the idle partitions, to be asked for `SPREAD` from now.
    #[must_use]
    pub fn awaits_proof(&self) -> bool {
        !self.unproved.is_empty()
    }

    /// Closes every window that is open, for good.
    pub fn close_all(&mut self) {
        let last = self.windows.values().last().map(|open| self.last_end(open).plus(self.config.allowed_lateness));
        self.closing_all = last > self.watermark;
        self.watermark = self.watermark.max(last);
    }

    /// Whether a window waits to be published.
    #[must_use]
    pub fn is_due(&self) -> bool {
        if self.config.windows.is_hopping() {
            return self.may_be_due() && !self.due().is_empty();
        }
        let Some(watermark) = self.watermark else { return false };
        let lateness = self.config.allowed_lateness;
        let ended = self.windows.values().take_while(|open| open.window.end <= watermark);
        let early = self.config.emit == Emit::Early;
        ended.into_iter().any(|open| open.window.end.plus(lateness) <= watermark || (early && open.published.is_none()))
    }

    /// Whether there is anything that the log does not have.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.is_due() || self.partitions.values().any(PartitionState::is_dirty)
    }

    /// The stream's watermark.
    #[must_use]
    pub fn watermark(&self) -> Option<Timestamp> {
        self.watermark
    }

    /// Windows that take records.
    #[must_use]
    pub fn open_windows(&self) -> usize {
        if !self.config.windows.is_hopping() {
            return self.windows.len();
        }
        // It is asked for with every batch: whether anything is in a window, not how much.
        let is_out = |window: &Window| self.windows.get(&window.start).is_some_and(|open| open.published.is_some());
        self.open_spans().filter(|window| self.parts_in(*window).next().is_some() || is_out(window)).count()
    }

    /// Counts since the last commit.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The first invalid record since the last commit.
    #[must_use]
    pub fn first_invalid(&self) -> Option<&Kept> {
        self.invalid.first()
    }

    /// The last invalid record since the last commit.
    #[must_use]
    pub fn last_invalid(&self) -> Option<&Kept> {
        self.invalid.last()
    }

    /// Bytes that only a commit can move out of memory: rows of raw windows, late and invalid records.
    #[must_use]
    pub fn unsaved_bytes(&self) -> usize {
        let rows = if self.query.keeps() == Keeps::Rows { self.held } else { 0 };
        rows + self.kept_bytes
    }

    /// Bytes of partial results in memory, about.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.held
    }

    /// Whether partial results take more memory than they may: a commit makes room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held > self.limit
    }

    /// What there is to commit now. It has to be committed, or the engine dropped: late and invalid records move out.
    ///
    /// # Errors
    /// If the query's own machinery fails.
    pub fn cut(&mut self) -> Result<Cut, QueryError> {
        let own = self.partitions.iter().map(|(&partition, state)| (partition, state.claim()));
        let shared = self.others.is_some();
        let mut cut = Cut {
            claims: own.chain(self.foreign_claims()).collect(),
            watermark: self.watermark,
            quiet: self.quiet,
            closings: Vec::new(),
            open: Vec::new(),
            // A commit of a shared stream may have to be made again.
            late: if shared { self.late.clone() } else { std::mem::take(&mut self.late) },
            invalid: if shared { self.invalid.clone() } else { std::mem::take(&mut self.invalid) },
            counts: self.counts.clone(),
            shared,
        };
        for due in self.due() {
            self.close(due, &mut cut)?;
        }
        let excess = self.excess();
        let (windows, lateness) = (&self.config.windows, self.config.allowed_lateness);
        for open in self.windows.values_mut() {
            if Some(windows.from_pane(open.window).end.plus(lateness)) <= self.watermark {
                continue;
            }
            let mut pieces = Vec::new();
            for (&lot, part) in &mut open.parts {
                let is_excess = excess.contains(&(open.window.start, lot));
                let state = if is_excess { part.sealed()? } else { part.snapshot()? };
                pieces.push(PieceOf { lot, tally: part.tally, state });
            }
            open.carry_over(&mut pieces);
            cut.open.push(cut::StaysOpen { window: open.window, published: open.published, pieces });
        }
        Ok(cut)
    }

    /// The cut that `entry` was made of is in the log: what it took in is no longer kept here.
    pub fn committed(&mut self, entry: &Entry) {
        for (partition, state) in &mut self.partitions {
            if let Some(claim) = entry.partitions.get(partition) {
                state.committed(claim);
            }
        }
        let rows = self.query.keeps() == Keeps::Rows;
        let mut open: BTreeMap<Timestamp, _> = entry.windows.iter().map(|open| (open.window.start, open)).collect();
        self.windows.retain(|start, state| {
            let Some(logged) = open.remove(start) else { return false };
            state.published = logged.published;
            for part in &logged.parts {
                if let Some(state) = state.parts.get_mut(&part.lot()) {
                    state.stored.clone_from(&part.chunks);
                    state.dirty = false;
                    // Rows are read from the store when the window closes, and so are groups if all are in runs.
                    if rows || part.chunks.iter().all(|chunk| chunk.run.is_some()) {
                        state.partial.forget();
                    }
                }
            }
            true
        });
        self.measure();
        (self.settled, self.reopened) = (entry.watermark, false);
        self.counts = Counts::default();
        (self.late, self.invalid, self.kept_bytes) = (Vec::new(), Vec::new(), 0);
        self.closing_all = false;
        if let Some(others) = &mut self.others {
            others.committed(entry);
        }
        let horizon = entry.watermark.map(|watermark| watermark.minus(self.config.allowed_lateness));
        for state in self.partitions.values_mut() {
            state.forget_holes(horizon, &self.config.windows);
        }
    }
}

fn keep_invalid(invalid: &mut Vec<Kept>, counts: &mut Counts, bytes: &mut usize, kept: Kept) {
    *counts.invalid.entry(kept.reason.class.to_owned()).or_default() += 1;
    *bytes += kept.bytes();
    invalid.push(kept);
}
