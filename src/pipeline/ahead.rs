//! What is read before its turn: while a commit is being written it is decoded, too, for the processor has nothing else to
//! do when files are synced.
//!
//! Nothing of it is counted before the commit is complete: it waits here, in its order, as if it came afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;

use crate::decode::{Decode, Decoded};
use crate::record::{Offset, Partition};
use crate::source::{Event, Source, SourceError};

/// Events that may wait; a batch of records is about a mebibyte at most.
const EVENTS: usize = 16;

/// Events in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    events: VecDeque<Early>,
    ended: bool,
}

/// An event that came before its time.
#[derive(Debug)]
pub(super) enum Early {
    /// Records in their order, all of them beyond what came before.
    Decoded(Decoded),
    /// Anything else.
    Event(Result<Event, SourceError>),
}

impl Ahead {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds an event that comes after all others.
    pub(super) fn push(&mut self, early: Early) {
        self.events.push_back(early);
    }

    /// The event that came first.
    pub(super) fn pop(&mut self) -> Option<Early> {
        self.events.pop_front()
    }

    /// Does `work`, and meanwhile takes what `source` brings, as far as there is room. `next` is the next offset wanted of
    /// each partition whose records may be decoded; those of others wait as they came.
    pub(super) async fn during<T>(
        &mut self,
        work: impl Future<Output = T>,
        source: &mut dyn Source,
        decoder: &mut dyn Decode,
        mut next: BTreeMap<Partition, Offset>,
    ) -> T {
        for early in &self.events {
            match early {
                Early::Decoded(Decoded { records, .. }) => {
                    next.insert(records.partition, records.offset(records.len() - 1).next());
                }
                Early::Event(Ok(Event::Records(records))) => drop(next.remove(&records.partition)),
                Early::Event(_) => {}
            }
        }
        let mut work = pin!(work);
        loop {
            let has_room = self.events.len() < EVENTS && !self.ended;
            let event = tokio::select! {
                biased;
                done = &mut work => return done,
                event = source.next(), if has_room => event,
            };
            self.ended = matches!(event, Err(_) | Ok(Event::Finished));
            self.events.push_back(match event {
                Ok(Event::Records(records)) => match next.get_mut(&records.partition) {
                    Some(next) if !records.is_empty() && *next <= records.offset(0) => {
                        *next = records.offset(records.len() - 1).next();
                        Early::Decoded(decoder.decode(records))
                    }
                    _ => {
                        next.remove(&records.partition);
                        Early::Event(Ok(Event::Records(records)))
                    }
                },
                event => Early::Event(event),
            });
        }
    }
}
