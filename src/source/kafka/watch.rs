//! The thread that asks: where the partitions end while nothing comes, whether there are new ones, and whether the
//! brokers answer at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::errors::{Class, LIMIT, class};
use super::heard::Heard;
use super::inquiry::{Inquiry, Unanswered, gone};
use super::progress::{Place, Progress};
use super::{Event, SourceError, errors};
use crate::clock::Clock;
use crate::record::{Offset, Partition, Timestamp};
use crate::source::Bounds;

/// Between two questions for the ends.
const ENDS: Duration = Duration::from_secs(1);
/// Between two looks at the topic's partitions, in microseconds.
const LOOK: i64 = 10_000_000;
/// How long brokers may fail to answer before that is an outage, in microseconds: a change of leaders is none.
const GRACE: i64 = 3_000_000;
/// How often in a row what cannot be is seen before it is believed: a leader that was deposed may answer once more.
const BELIEVED: u32 = 3;

/// The source is no longer wanted, or the error that ends it has been sent.
struct Over;

/// Asks until the source is dropped.
pub(super) struct Watch {
    pub(super) inquiry: Arc<Inquiry>,
    pub(super) heard: Heard,
    pub(super) progress: Arc<Progress>,
    pub(super) events: Sender<Result<Event, SourceError>>,
    pub(super) clock: Clock,
    pub(super) topic: String,
    pub(super) group: String,
}

/// What the watch remembers between two questions.
struct Memory {
    looked: Timestamp,
    outage: Option<Outage>,
    /// Partitions that were told to be new.
    added: BTreeSet<Partition>,
    /// How often in a row a partition was seen to be missing, or to end before the reader's place.
    missing: u32,
    cut: BTreeMap<Partition, u32>,
}

/// The brokers do not answer.
struct Outage {
    since: Timestamp,
    /// Since when for a reason that may not heal.
    limited: Option<Timestamp>,
    said: bool,
}

impl Watch {
    pub(super) fn run(self) {
        let mut memory =
            Memory { looked: self.clock.now(), outage: None, added: BTreeSet::new(), missing: 0, cut: BTreeMap::new() };
        while self.turn(&mut memory).is_ok() {}
    }

    fn turn(&self, memory: &mut Memory) -> Result<(), Over> {
        let trouble = self.progress.wait(ENDS);
        if self.events.is_closed() {
            return Err(Over);
        }
        if trouble {
            // Complaints come in swarms.
            std::thread::sleep(Duration::from_millis(200));
        }
        let now = self.clock.now();
        let look = now.0.saturating_sub(memory.looked.0) >= LOOK;
        let places = self.progress.places();
        let standing = places.values().any(|place| place.at_end);
        if !(look || trouble || standing || memory.outage.is_some()) {
            return Ok(());
        }
        match self.ask(&places, look, memory) {
            Ok(()) => {
                self.heard.answered();
                if look {
                    memory.looked = now;
                }
                match memory.outage.take() {
                    Some(outage) if outage.said => self.send(Ok(Event::Resumed)),
                    _ => Ok(()),
                }
            }
            Err(Trouble::Unanswered(unanswered)) => self.unanswered(&unanswered, now, memory),
            Err(Trouble::Broken(error)) => {
                self.send(Err(error))?;
                Err(Over)
            }
            Err(Trouble::Over) => Err(Over),
        }
    }

    fn ask(&self, places: &BTreeMap<Partition, Place>, look: bool, memory: &mut Memory) -> Result<(), Trouble> {
        let asked = self.clock.now();
        let ends = self.inquiry.ends(&places.keys().copied().collect())?;
        self.check_ends(places, &ends, memory)?;
        self.send(Ok(Event::Ends { asked, ends }))?;
        if look {
            self.look(places, memory)?;
        }
        Ok(())
    }

    /// A partition cannot end before what was read of it.
    fn check_ends(
        &self,
        places: &BTreeMap<Partition, Place>,
        ends: &[(Partition, Offset)],
        memory: &mut Memory,
    ) -> Result<(), Trouble> {
        for &(partition, end) in ends {
            let Some(place) = places.get(&partition).filter(|place| end < place.next) else {
                memory.cut.remove(&partition);
                continue;
            };
            let seen = memory.cut.entry(partition).or_default();
            *seen += 1;
            let bounds = Bounds { start: Offset(0), end: Some(end) };
            if *seen >= BELIEVED
                && let Some(error) = gone(&self.topic, partition, place.next, &bounds)
            {
                return Err(Trouble::Broken(error));
            }
        }
        Ok(())
    }

    /// Looks whether it is the same topic still, and for partitions that are new, or gone.
    fn look(&self, places: &BTreeMap<Partition, Place>, memory: &mut Memory) -> Result<(), Trouble> {
        if let Some(error) = self.inquiry.remade()? {
            return Err(Trouble::Broken(error));
        }
        let found = self.inquiry.partitions()?;
        match places.keys().find(|partition| !found.contains(partition)) {
            Some(partition) if memory.missing + 1 >= BELIEVED => {
                let text = format!(
                    "topic {} no longer has partition {partition}; it was deleted and made anew, which needs a new sink",
                    self.topic
                );
                return Err(Trouble::Broken(SourceError::Data(text)));
            }
            Some(_) => memory.missing += 1,
            None => memory.missing = 0,
        }
        let is_new = |partition: &Partition| !places.contains_key(partition) && !memory.added.contains(partition);
        let new: BTreeSet<Partition> = found.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let bounds = self.inquiry.bounds(&new)?;
        self.send(Ok(Event::Added(bounds.into_iter().map(|(partition, bounds)| (partition, bounds.start)).collect())))?;
        memory.added.extend(new);
        Ok(())
    }

    fn unanswered(&self, unanswered: &Unanswered, now: Timestamp, memory: &mut Memory) -> Result<(), Over> {
        use rdkafka::error::RDKafkaErrorCode as Code;
        tracing::debug!(code = ?unanswered.code, "no answer: {}", unanswered.text);
        if matches!(unanswered.code, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) {
            self.send(Err(errors::ending(&self.topic, &self.group, unanswered.code, &unanswered.text)))?;
            return Err(Over);
        }
        let outage = memory.outage.get_or_insert(Outage { since: now, limited: None, said: false });
        let complaint = self.heard.outage().map_or(Class::Transient, |complaint| complaint.class());
        if class(unanswered.code).max(complaint) > Class::Transient {
            let since = *outage.limited.get_or_insert(now);
            if now.0.saturating_sub(since.0) >= i64::try_from(LIMIT.as_micros()).unwrap_or(i64::MAX) {
                let text = format!("topic {}: given up after {} s: {}", self.topic, LIMIT.as_secs(), unanswered.text);
                self.send(Err(SourceError::Unavailable(text)))?;
                return Err(Over);
            }
        } else {
            outage.limited = None;
        }
        if !outage.said && self.clock.now().0.saturating_sub(outage.since.0) >= GRACE {
            outage.said = true;
            return self.send(Ok(Event::Waiting(unanswered.text.clone())));
        }
        Ok(())
    }

    fn send(&self, event: Result<Event, SourceError>) -> Result<(), Over> {
        self.events.blocking_send(event).map_err(|_| Over)
    }
}

/// Why a question came to nothing.
enum Trouble {
    Unanswered(Unanswered),
    Broken(SourceError),
    Over,
}

impl From<Unanswered> for Trouble {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl From<Over> for Trouble {
    fn from(Over: Over) -> Self {
        Self::Over
    }
}
