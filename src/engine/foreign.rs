//! A stream that several instances share: what the others have of it, as the log says.
//!
//! An engine owns some of the partitions and holds their clocks and partial results in memory. The others' are claims and
//! stored pieces; they hold the watermark back, and come into the results, as if they were its own. What it commits
//! carries them over unchanged. [`Engine::fold`] takes in what another instance has committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::cut::{Cut, PieceOf, State};
use super::{Engine, Open};
use crate::config::{Emit, WindowConfig};
use crate::log::entry::{Chunk, Claim, Entry, Lot, OpenWindow, Part, Tally};
use crate::query::{Query, QueryError};
use crate::record::{Partition, Timestamp};

/// What an engine of a shared stream knows beyond its own partitions.
#[derive(Debug)]
pub(super) struct Others {
    /// The id that this instance writes with.
    me: String,
    claims: BTreeMap<Partition, Claim>,
    /// Own partitions of which the log does not know yet that they are.
    adopting: BTreeSet<Partition>,
    /// Own partitions as the log has them.
    logged: BTreeMap<Partition, Logged>,
}

/// Where the log has an own partition.
#[derive(Copy, Clone, Debug)]
struct Logged {
    watermark: Option<Timestamp>,
    idle: bool,
    proved: Option<Timestamp>,
}

/// What another instance's entry means for what is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folded {
    /// It stands, and goes on from that entry.
    Stands,
    /// It does not; these partitions are another instance's now. What is in memory has to be dropped.
    Lost(BTreeSet<Partition>),
}

/// What a partition has to say about the stream's watermark.
#[derive(Copy, Clone, Debug)]
pub(super) struct Standing {
    pub(super) watermark: Option<Timestamp>,
    pub(super) idle: bool,
    pub(super) proved: Option<Timestamp>,
}

impl Standing {
    /// A partition that nobody has is not idle, whatever the log said of it last.
    fn of(claim: &Claim) -> Self {
        let proved = claim.held.as_ref().and_then(|held| held.proved);
        Self { watermark: claim.watermark, idle: claim.idle && proved.is_some(), proved }
    }
}

impl Others {
    pub(super) fn committed(&mut self, entry: &Entry) {
        self.adopting.clear();
        for (partition, logged) in &mut self.logged {
            if let Some(claim) = entry.partitions.get(partition) {
                *logged = Logged::of(claim);
            }
        }
    }
}

impl Logged {
    fn of(claim: &Claim) -> Self {
        let Standing { watermark, idle, proved } = Standing::of(claim);
        Self { watermark, idle, proved }
    }
}

/// What others brought to a window.
pub(super) fn parts(open: &OpenWindow, is_own: &impl Fn(Partition) -> bool) -> BTreeMap<Lot, Part> {
    open.parts.iter().filter(|part| !is_own(part.partition)).map(|part| (part.lot(), part.clone())).collect()
}

impl Open {
    /// What partitions brought, own or not.
    pub(super) fn tallies(&self) -> impl Iterator<Item = (Lot, Tally)> + '_ {
        let own = self.parts.iter().map(|(&lot, part)| (lot, part.tally));
        own.chain(self.foreign.iter().map(|(&lot, part)| (lot, part.tally)))
    }

    /// Puts what others brought among the pieces, in partition order.
    pub(super) fn carry_over(&self, pieces: &mut Vec<PieceOf>) {
        if self.foreign.is_empty() {
            return;
        }
        let foreign = self.foreign.iter();
        pieces.extend(foreign.map(|(&lot, part)| PieceOf { lot, tally: part.tally, state: State::foreign(part) }));
        pieces.sort_by_key(|piece| piece.lot);
    }
}

impl Engine {
    /// The engine of the instance that writes as `me` and owns these partitions of a shared stream, where `entry`
    /// stopped. `load` as for [`Engine::restore`]. A partition of its own that the log does not know is to be added.
    ///
    /// # Errors
    /// If a piece is not what the query saves.
    pub fn restore_shared(
        config: WindowConfig,
        query: Arc<Query>,
        entry: &Entry,
        own: &BTreeSet<Partition>,
        me: &str,
        load: impl FnMut(&Chunk) -> Vec<RecordBatch>,
    ) -> Result<Self, QueryError> {
        let mut engine = Self::new(config, query).take_up(entry, |partition| own.contains(&partition), load)?;
        let holds = |partition: &&Partition| {
            let claim = entry.partitions.get(*partition);
            claim.and_then(|claim| claim.held.as_ref()).is_some_and(|held| held.writer == me)
        };
        let claims = entry.partitions.iter();
        let (owned, claims): (Vec<_>, Vec<_>) = claims.partition(|(partition, _)| own.contains(partition));
        engine.others = Some(Others {
            me: me.to_owned(),
            claims: claims.into_iter().map(|(&partition, claim)| (partition, claim.clone())).collect(),
            adopting: own.iter().filter(|partition| !holds(partition)).copied().collect(),
            logged: owned.into_iter().map(|(&partition, claim)| (partition, Logged::of(claim))).collect(),
        });
        Ok(engine)
    }

    /// The claims of others, to be carried over: they take in nothing.
    pub(super) fn foreign_claims(&self) -> impl Iterator<Item = (Partition, Claim)> + '_ {
        let claims = self.others.iter().flat_map(|others| &others.claims);
        claims.map(|(&partition, claim)| {
            (partition, Claim { from: claim.to, raised: Vec::new(), lost: None, ..claim.clone() })
        })
    }

    /// What each partition, own or not, has to say about the watermark.
    pub(super) fn standings(&self) -> impl Iterator<Item = Standing> + '_ {
        let own = self.partitions.values().map(|state| Standing {
            watermark: state.clock.watermark(),
            idle: state.clock.is_idle(),
            proved: state.clock.proved(),
        });
        own.chain(self.others.iter().flat_map(|others| others.claims.values()).map(Standing::of))
    }

    /// Takes in the entry that another instance has written after the one that this engine stands on. The stream's
    /// watermark may not pass records that are in memory alone: they would have been late.
    pub fn fold(&mut self, entry: &Entry) -> Folded {
        let Some(others) = &mut self.others else { return Folded::Lost(BTreeSet::new()) };
        let mut stands = true;
        let mut lost = BTreeSet::new();
        for (&partition, state) in &self.partitions {
            let Some(claim) = entry.partitions.get(&partition) else { continue };
            if others.adopting.contains(&partition) {
                // Whoever had it may have gone on with it until now.
                let logged = others.logged.get(&partition).map(|logged| logged.watermark);
                stands &= claim.to == state.claimed() && logged == Some(claim.watermark);
                continue;
            }
            if claim.held.as_ref().is_none_or(|held| held.writer != others.me) || claim.to != state.claimed() {
                lost.insert(partition);
            } else if state.is_dirty() && entry.watermark > claim.watermark.max(state.raised()) {
                stands = false;
            }
        }
        for closed in &entry.closed {
            // A first result that is not the last takes no late records.
            let takes = |lot: &Lot| lot.is_in(closed.window) && (closed.last || !lot.is_late_for(closed.window));
            let panes = self.windows.range(closed.window.start..closed.window.end);
            stands &= !panes.flat_map(|(_, pane)| &pane.parts).any(|(lot, part)| part.dirty && takes(lot));
        }
        let (windows, lateness) = (&self.config.windows, self.config.allowed_lateness);
        let is_over = |open: &Open| Some(windows.from_pane(open.window).end.plus(lateness)) <= entry.watermark;
        stands &= !self.windows.values().any(|open| is_over(open) && open.parts.values().any(|part| part.dirty));
        // Whoever had a partition until now may have joined its pieces to others.
        let moved = |open: &Open, part: &Part| open.parts.get(&part.lot()).is_some_and(|own| own.stored != part.chunks);
        stands &= !entry.windows.iter().any(|logged| {
            let open = self.windows.get(&logged.window.start);
            open.is_some_and(|open| logged.parts.iter().any(|part| moved(open, part)))
        });
        if !stands || !lost.is_empty() {
            return Folded::Lost(lost);
        }
        let own = &self.partitions;
        let is_own = |partition: Partition| own.contains_key(&partition);
        let claims = entry.partitions.iter().filter(|(partition, _)| !is_own(**partition));
        others.claims = claims.map(|(&partition, claim)| (partition, claim.clone())).collect();
        self.windows.retain(|_, open| !is_over(open));
        self.settled = entry.watermark;
        for open in self.windows.values_mut() {
            open.foreign.clear();
        }
        for logged in &entry.windows {
            let foreign = parts(logged, &is_own);
            let open = self.windows.entry(logged.window.start).or_insert_with(|| Open {
                window: logged.window,
                published: None,
                parts: BTreeMap::new(),
                foreign: BTreeMap::new(),
            });
            (open.published, open.foreign) = (logged.published, foreign);
        }
        // What this engine has seen itself holds as far as nobody has woken up behind it.
        let least = others.claims.values().map(Standing::of).filter(|standing| !standing.idle);
        let least = least.map(|standing| standing.watermark).min();
        let seen = least.map_or(self.watermark, |least| self.watermark.min(least));
        self.watermark = entry.watermark.max(seen);
        let all_idle = self.partitions.values().all(|state| state.clock.is_idle() && !state.is_dirty());
        self.quiet = entry.quiet.filter(|_| all_idle);
        self.measure();
        Folded::Stands
    }

    /// As [`Engine::cut`], with the stream's watermark only so far that about so many windows are settled: a commit that
    /// takes long is overtaken by others again and again. What is left is due at once.
    ///
    /// # Errors
    /// If the query's own machinery fails.
    pub fn cut_some(&mut self, most: usize) -> Result<Cut, QueryError> {
        let reached = self.watermark;
        let mut boundaries: Vec<Timestamp> = self.boundaries().collect();
        boundaries.retain(|&boundary| Some(boundary) <= reached && Some(boundary) > self.settled);
        boundaries.sort_unstable();
        if let Some(&last) = boundaries.get(most.max(1) - 1) {
            self.watermark = Some(last);
        }
        let cut = self.cut();
        self.watermark = reached;
        cut
    }

    /// When the windows here have something to settle: at their end, if a first result is to come, and when they are
    /// final.
    fn boundaries(&self) -> impl Iterator<Item = Timestamp> + '_ {
        let early = self.config.emit == Emit::Early;
        let boundaries = self.open_spans().flat_map(move |window| {
            let published = self.windows.get(&window.start).and_then(|open| open.published);
            let first = (early && published.is_none()).then_some(window.end);
            [first, Some(window.end.plus(self.config.allowed_lateness))]
        });
        boundaries.flatten()
    }

    /// Whether others wait for word of this engine's partitions: the log has them before the boundary of an open window,
    /// and they have passed it.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        let Some(others) = &self.others else { return false };
        let least = |clocks: &mut dyn Iterator<Item = (Option<Timestamp>, bool)>| {
            clocks.filter(|(_, idle)| !idle).map(|(watermark, _)| watermark).min()
        };
        let here = least(&mut self.partitions.values().map(|state| (state.clock.watermark(), state.clock.is_idle())));
        let logged = least(&mut others.logged.values().map(|logged| (logged.watermark, logged.idle)));
        let (Some(here), Some(logged)) = (here, logged) else { return false };
        let passed = |boundary: Timestamp| Some(boundary) <= here && Some(boundary) > logged;
        self.boundaries().any(|boundary| Some(boundary) > self.watermark && passed(boundary))
    }

    /// Whether an own partition is idle, by later word than the log has, while windows are open.
    #[must_use]
    pub fn has_word(&self) -> bool {
        let Some(others) = &self.others else { return false };
        let news = |(partition, state): (&Partition, &super::PartitionState)| {
            let logged = others.logged.get(partition);
            let proved = state.clock.proved().filter(|_| state.clock.is_idle());
            proved.is_some() && proved > logged.and_then(|logged| logged.proved)
        };
        !self.windows.is_empty() && self.partitions.iter().any(news)
    }

    /// The last word of the broker on an own partition that is idle.
    #[must_use]
    pub fn proof_of(&self, partition: Partition) -> Option<Timestamp> {
        let clock = &self.partitions.get(&partition)?.clock;
        clock.proved().filter(|_| clock.is_idle())
    }

    /// Whether a partition is this engine's own.
    #[must_use]
    pub fn owns(&self, partition: Partition) -> bool {
        self.partitions.contains_key(&partition)
    }
}
