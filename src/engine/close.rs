//! Windows that the watermark has passed: which have a result to publish, and what it is made of.

use std::collections::BTreeMap;

use super::cut::{Closing, Cut, State, closed_by};
use super::{Engine, Open};
use crate::config::Emit;
use crate::log::entry::{Lot, Tally};
use crate::query::QueryError;
use crate::record::{Partition, Timestamp};
use crate::time::window::Window;

impl Engine {
    /// The windows that some record is in, by start, but for those that are final.
    pub(super) fn open_spans(&self) -> impl Iterator<Item = Window> + '_ {
        let panes = self.windows.values().map(|open| open.window);
        let over = self.config.windows.is_hopping().then(|| self.config.windows.over(panes.clone()));
        let settled = |window: &Window| Some(window.end.plus(self.config.allowed_lateness)) <= self.settled;
        let tumbling = panes.filter(|_| !self.config.windows.is_hopping());
        tumbling.chain(over.into_iter().flatten().filter(move |window| !settled(window)))
    }

    /// What partitions brought to a window, pane by pane.
    pub(super) fn parts_in(&self, window: Window) -> impl Iterator<Item = (Lot, Tally)> {
        let panes = self.windows.range(window.start..window.end);
        panes.flat_map(|(_, pane)| pane.tallies()).filter(move |(lot, _)| lot.is_in(window))
    }

    /// The end of the last window that holds what is open here.
    pub(super) fn last_end(&self, open: &Open) -> Timestamp {
        self.config.windows.from_pane(open.window).end
    }

    /// Whether any pane has ended, or become final for a window, since the last commit, so that looking is worth it.
    pub(super) fn may_be_due(&self) -> bool {
        let Some(watermark) = self.watermark else { return false };
        let passed = |lateness: i64| {
            let pane = self.config.windows.assign(watermark.minus(lateness));
            pane.is_none_or(|pane| Some(pane.start.plus(lateness)) > self.settled)
        };
        self.reopened || passed(0) || passed(self.config.allowed_lateness)
    }

    /// The windows that have something to settle, by start.
    pub(super) fn due(&self) -> Vec<Window> {
        let (lateness, early) = (self.config.allowed_lateness, self.config.emit == Emit::Early);
        let has = |boundary: Timestamp| Some(boundary) <= self.watermark;
        let is_due = |window: &Window| {
            let published = self.windows.get(&window.start).and_then(|open| open.published);
            let is_due = has(window.end.plus(lateness)) || (early && published.is_none());
            is_due && (published.is_some() || self.parts_in(*window).next().is_some())
        };
        self.open_spans().take_while(|window| has(window.end)).filter(is_due).collect()
    }

    /// Adds what a window that is due publishes to `cut`.
    pub(super) fn close(&mut self, window: Window, cut: &mut Cut) -> Result<(), QueryError> {
        let early = self.config.emit == Emit::Early;
        let published = self.windows.get(&window.start).and_then(|open| open.published);
        let last = Some(window.end.plus(self.config.allowed_lateness)) <= self.watermark;
        let has_late = self.parts_in(window).any(|(lot, _)| lot.is_late_for(window));
        if early && published.is_none() {
            let first = self.closing(window, false, last, cut)?;
            cut.closings.push(Closing { last: last && !has_late, ..first });
            // A window that begins where no record is has its place, too.
            if let Some(pane) = self.config.windows.assign(window.start).filter(|_| !last) {
                self.windows.entry(pane.start).or_insert_with(|| Open {
                    window: pane,
                    published: None,
                    parts: BTreeMap::new(),
                    foreign: BTreeMap::new(),
                });
            }
        }
        if last && !early {
            let whole = self.closing(window, true, last, cut)?;
            cut.closings.push(Closing { last, ..whole });
        } else if last && has_late {
            let whole = self.closing(window, true, last, cut)?;
            cut.closings.push(Closing { last, revision: 1, ..whole });
        }
        Ok(())
    }

    fn closing(&mut self, window: Window, with_late: bool, last: bool, cut: &Cut) -> Result<Closing, QueryError> {
        let before = self.windows.get(&window.start).and_then(|open| open.published);
        let panes = self.windows.range_mut(window.start..window.end);
        let is_chosen = |lot: Lot| lot.is_in(window) && (with_late || !lot.is_late_for(window));
        let mut chosen: Vec<(Lot, Tally, State)> = Vec::new();
        for (_, pane) in panes {
            for (&lot, part) in pane.parts.iter_mut().filter(|(lot, _)| is_chosen(**lot)) {
                chosen.push((lot, part.tally, part.result()?));
            }
            let foreign = pane.foreign.iter().filter(|(lot, _)| is_chosen(**lot));
            chosen.extend(foreign.map(|(&lot, part)| (lot, part.tally, State::foreign(part))));
        }
        // By partition, and within it by time.
        chosen.sort_by_key(|(lot, ..)| lot.partition);
        let mut inputs: BTreeMap<Partition, Tally> = BTreeMap::new();
        let mut states = Vec::new();
        for (lot, tally, state) in chosen {
            let tally = lot.tally_in(window, tally);
            inputs.entry(lot.partition).and_modify(|known| *known = known.and(tally)).or_insert(tally);
            states.push(state);
        }
        let complete = !cut.claims.values().flat_map(|claim| &claim.holes).any(|hole| hole.touches(window));
        let boundary = if last { window.end.plus(self.config.allowed_lateness) } else { window.end };
        let by = closed_by(&cut.claims, boundary, self.quiet.is_some(), self.closing_all);
        Ok(Closing { window, revision: 0, last: false, by, complete, before, inputs, states })
    }
}
