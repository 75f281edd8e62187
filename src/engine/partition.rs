//! What the engine knows of one partition: how far it is read, and its time.

use sha2::{Digest, Sha256};

use crate::config::WindowConfig;
use crate::log::entry::{Claim, Hole, Missed, Raise, Tail};
use crate::record::{Offset, Record, Timestamp};
use crate::time::watermark::{Lateness, PartitionClock};
use crate::time::window::{Window, Windows};

#[derive(Debug)]
pub(super) struct PartitionState {
    /// Where the next claim begins.
    claimed: Offset,
    pub(super) next: Offset,
    pub(super) clock: PartitionClock,
    pub(super) holes: Vec<Hole>,
    raised: Vec<Raise>,
    tail: Option<Tail>,
    lost: Option<(Offset, Offset)>,
}

impl PartitionState {
    pub(super) fn new(start: Offset, stream: Option<Timestamp>) -> Self {
        let clock = PartitionClock::restore(stream, None);
        let raised = stream.map(|watermark| Raise { offset: start, watermark }).into_iter().collect();
        Self { claimed: start, next: start, clock, holes: Vec::new(), raised, tail: None, lost: None }
    }

    pub(super) fn restore(claim: &Claim) -> Self {
        Self {
            claimed: claim.to,
            next: claim.to,
            clock: PartitionClock::restore(claim.watermark, claim.standing_since),
            holes: claim.holes.clone(),
            raised: Vec::new(),
            tail: claim.tail.clone(),
            lost: None,
        }
    }

    /// Records from `offset` on have come: takes up at the stream's watermark if that has moved on.
    pub(super) fn wake(&mut self, offset: Offset, stream: Option<Timestamp>) {
        if let Some(watermark) = self.clock.wake(stream) {
            self.raised.push(Raise { offset, watermark });
        }
    }

    pub(super) fn accept(&mut self, time: Timestamp, watermark_delay: i64) {
        self.clock.accept(time, watermark_delay);
        if let Some(hole) = self.holes.iter_mut().find(|hole| hole.before.is_none()) {
            hole.before = Some(time.plus(watermark_delay));
        }
    }

    /// Moves past the last of `read` records; how many offsets held no record.
    pub(super) fn advance_past(&mut self, last: Record<'_>, read: u64) -> u64 {
        let offsets = (last.offset.next().0 - self.next.0).unsigned_abs();
        self.next = last.offset.next();
        self.tail = Some(Tail { offset: last.offset, digest: fingerprint(last) });
        offsets.saturating_sub(read)
    }

    pub(super) fn lose(&mut self, to: Offset) {
        self.holes.push(Hole { after: self.clock.watermark(), before: None });
        self.lost = Some((self.next, to));
        self.next = self.next.max(to);
        self.tail = None;
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.next != self.claimed
    }

    pub(super) fn claim(&self) -> Claim {
        Claim {
            from: self.claimed,
            to: self.next,
            watermark: self.clock.watermark(),
            idle: self.clock.is_idle(),
            standing_since: self.clock.standing_since(),
            tail: self.tail.clone(),
            raised: self.raised.clone(),
            holes: self.holes.clone(),
            lost: self.lost,
            held: None,
        }
    }

    /// Where the next claim begins.
    pub(super) fn claimed(&self) -> Offset {
        self.claimed
    }

    /// The highest watermark that it was raised to since the last claim.
    pub(super) fn raised(&self) -> Option<Timestamp> {
        self.raised.iter().map(|raise| raise.watermark).max()
    }

    pub(super) fn committed(&mut self, claim: &Claim) {
        self.claimed = claim.to;
        self.raised.clear();
        self.lost = None;
    }

    /// Drops holes that no window to come can touch: `horizon` is the end of the last final window.
    pub(super) fn forget_holes(&mut self, horizon: Option<Timestamp>, windows: &Windows) {
        self.holes.retain(|hole| {
            let end = hole.before.and_then(|before| windows.assign(before)).map(|pane| windows.from_pane(pane).end);
            end.is_none() || end > horizon
        });
    }
}

/// How a record of a pane that had ended stands, by all the windows that hold the pane, and which of them it missed.
pub(super) fn missed(config: &WindowConfig, clock: &PartitionClock, pane: Window) -> (Lateness, Missed) {
    let last = config.windows.from_pane(pane).end;
    // Windows end where panes do. Beyond the last one all is the same.
    let up_to = |time: Timestamp| config.windows.assign(time).map_or(last, |pane| pane.start.min(last));
    let of = |time: Timestamp| (time >= pane.end).then(|| up_to(time));
    let ended = clock.watermark().and_then(of);
    let settled = clock.watermark().and_then(|watermark| of(watermark.minus(config.allowed_lateness)));
    let lateness = if settled == Some(last) { Lateness::TooLate } else { Lateness::Late };
    (lateness, Missed { ended, settled })
}

/// A digest by which a record is known again.
pub fn fingerprint(record: Record<'_>) -> String {
    let mut digest = Sha256::new();
    digest.update(record.timestamp.map_or(i64::MIN, |time| time.0).to_le_bytes());
    for part in [record.key, record.value] {
        digest.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        digest.update(part.unwrap_or_default());
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
