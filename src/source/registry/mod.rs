//! A schema registry between a source and its reader: records are handed over when the schemas that they name are known.
//!
//! A schema's number means the same for ever, so each is asked for once. A registry that is down is waited for like a
//! broker: one line, growing pauses, and meanwhile nothing is read. A number that it does not know is asked for again
//! for a bounded time, since a schema may come a moment after its first record; then records that name it are invalid,
//! and it is asked for again from time to time.

mod client;
mod fetch;
pub mod prepare;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tokio::sync::mpsc::{Receiver, channel};

use self::client::Client;
use self::fetch::{Fetch, Said};
use super::{Event, Source, SourceError, Start, Topic};
use crate::clock::Clock;
use crate::config::format::RegistryConfig;
use crate::decode::schemas::{Known, SchemaId, Schemas, schema_id};
use crate::record::{Offset, Partition, Records, Timestamp};

/// Microseconds after which a number that the registry did not know is asked for again.
const ASK_AGAIN: i64 = 60_000_000;

/// What of a record names a schema.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// Its value.
    pub values: bool,
    /// Its key.
    pub keys: bool,
}

/// A source whose records are read by schemas of a registry.
pub struct WithSchemas {
    inner: Box<dyn Source>,
    client: Client,
    schemas: Schemas,
    whose: Whose,
    clock: Clock,
    /// How long an unknown number is asked for, in microseconds.
    patience: i64,
    /// When a number was found to be unknown.
    unknown: BTreeMap<SchemaId, Timestamp>,
    held: Option<Held>,
}

/// Records that wait for schemas, and who asks for those. He goes on by himself: whoever waits here may be called away.
struct Held {
    records: Records,
    said: Receiver<Said>,
}

impl WithSchemas {
    /// Puts the registry before `inner`. Nothing is asked yet.
    ///
    /// # Errors
    /// If the registry's settings cannot be used.
    pub fn new(
        inner: Box<dyn Source>,
        registry: &RegistryConfig,
        schemas: Schemas,
        whose: Whose,
        clock: Clock,
    ) -> Result<Self, SourceError> {
        let client = Client::new(registry)?;
        let patience = registry.unknown_timeout;
        Ok(Self { inner, client, schemas, whose, clock, patience, unknown: BTreeMap::new(), held: None })
    }

    /// The numbers that the records name and that must be asked for.
    fn missing(&self, records: &Records) -> BTreeSet<SchemaId> {
        let mut missing = BTreeSet::new();
        let Whose { values, keys } = self.whose;
        let values = records.iter().filter(|_| values).filter_map(|record| record.value);
        let keys = records.iter().filter(|_| keys).filter_map(|record| record.key);
        let mut last = None;
        for (id, _) in values.chain(keys).filter_map(schema_id) {
            // Neighbours mostly have the same.
            if last.replace(id) == Some(id) {
                continue;
            }
            let wanted = match self.schemas.get(id) {
                Some(Known::Schema(_)) => false,
                Some(Known::Unknown(_)) => {
                    self.unknown.get(&id).is_none_or(|at| self.clock.now().0.saturating_sub(at.0) >= ASK_AGAIN)
                }
                None => true,
            };
            if wanted {
                missing.insert(id);
            }
        }
        missing
    }

    fn ask(&mut self, missing: BTreeSet<SchemaId>, records: Records) {
        let (sender, said) = channel(16);
        let asked = missing.into_iter().map(|id| {
            let again = self.schemas.get(id).is_some();
            (id, if again { 0 } else { self.patience })
        });
        let fetch = Fetch {
            client: self.client.clone(),
            schemas: self.schemas.clone(),
            clock: self.clock,
            said: sender,
            asked: asked.collect(),
        };
        tokio::spawn(fetch.run());
        self.held = Some(Held { records, said });
    }
}

#[async_trait]
impl Source for WithSchemas {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        self.inner.describe().await
    }

    async fn resolve(&mut self, start: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        self.inner.resolve(start).await
    }

    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        self.inner.assign(from).await
    }

    async fn reassign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        self.held = None;
        self.inner.reassign(from).await
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        loop {
            if let Some(held) = &mut self.held {
                match held.said.recv().await {
                    Some(Said::Waiting(why)) => return Ok(Event::Waiting(why)),
                    Some(Said::Resumed) => return Ok(Event::Resumed),
                    Some(Said::Unknown(id)) => {
                        self.unknown.insert(id, self.clock.now());
                        continue;
                    }
                    Some(Said::Refused(error)) => return Err(error),
                    // All is known that can be.
                    None => {}
                }
            }
            if let Some(held) = self.held.take() {
                return Ok(Event::Records(held.records));
            }
            match self.inner.next().await? {
                Event::Records(records) => {
                    let missing = self.missing(&records);
                    if missing.is_empty() {
                        return Ok(Event::Records(records));
                    }
                    self.ask(missing, records);
                }
                event => return Ok(event),
            }
        }
    }

    async fn confirm(&mut self) -> Result<(), SourceError> {
        self.inner.confirm().await
    }

    fn way(&self) -> Option<(u64, u64)> {
        self.inner.way()
    }

    fn take_back(&mut self, records: Records) {
        self.inner.take_back(records);
    }

    fn commit(&mut self, published: &crate::log::Published) {
        self.inner.commit(published);
    }
}
