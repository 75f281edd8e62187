//! The store that keeps every record with the time it was fetched.

#[cfg(feature = "mongodb")]
mod mongodb;
mod parquet;
mod postgres;

use async_trait::async_trait;

use super::PollError;
use super::answer::Quote;
use crate::clock::Clock;
use crate::config::poll::{Field, History, PollFile};
use crate::record::Timestamp;

/// The column that every store adds.
pub(super) const CREATED_AT: &str = "created_at";
/// How long a store that was away is left alone, in microseconds: each attempt holds the round up.
const REST: i64 = 30_000_000;

/// Why a record is not kept.
#[derive(Debug)]
pub(super) enum Lost {
    /// The store is away; the next record will hardly fare better.
    Away(String),
    /// The store refuses this record.
    Refused(String),
}

/// A store during one round.
#[async_trait]
pub(super) trait Keep: Send {
    /// Keeps a record. What a store collects is safe only after [`Keep::finish`].
    async fn keep(&mut self, quote: &Quote, created_at: Timestamp) -> Result<(), Lost>;

    /// Ends the round.
    ///
    /// # Errors
    /// Why the records that were collected are not kept.
    async fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// What a poll file says of the store, checked as far as it can be without it. Connections last for a round: one that
/// died between two rounds does no harm.
#[derive(Debug)]
pub(super) struct Place {
    kind: Kind,
    fields: Vec<Field>,
    name: String,
    clock: Clock,
}

#[derive(Debug)]
enum Kind {
    #[cfg(feature = "mongodb")]
    Mongodb(Box<mongodb::Place>),
    Postgres(Box<postgres::Table>),
    Parquet(parquet::Files),
}

impl Place {
    /// # Errors
    /// If the address cannot be used.
    pub(super) fn new(file: &PollFile, clock: Clock) -> Result<Option<Self>, PollError> {
        let kind = match &file.history {
            None => return Ok(None),
            #[cfg(feature = "mongodb")]
            Some(History::Mongodb { url, password, collection }) => {
                Kind::Mongodb(Box::new(mongodb::Place::new(url, password.clone(), collection)?))
            }
            #[cfg(not(feature = "mongodb"))]
            Some(History::Mongodb { .. }) => {
                let why = "history.url: this windrow was built without MongoDB; build it with --features mongodb";
                return Err(PollError::Invalid(why.to_owned()));
            }
            Some(History::Postgres { url, password, table }) => {
                Kind::Postgres(Box::new(postgres::Table::new(url, password.clone(), table, &file.fields)?))
            }
            Some(History::Parquet { url, properties }) => Kind::Parquet(parquet::Files::new(url, properties)),
        };
        Ok(Some(Self { kind, fields: file.fields.clone(), name: file.name.clone(), clock }))
    }

    /// It as people write it.
    pub(super) fn shown(&self) -> String {
        match &self.kind {
            #[cfg(feature = "mongodb")]
            Kind::Mongodb(place) => place.to_string(),
            Kind::Postgres(table) => table.to_string(),
            Kind::Parquet(files) => files.to_string(),
        }
    }

    /// The store for a round that begins at `begun`.
    pub(super) fn open(&self, begun: Timestamp) -> Keeper {
        let store: Box<dyn Keep> = match &self.kind {
            #[cfg(feature = "mongodb")]
            Kind::Mongodb(place) => Box::new(mongodb::Session::new((**place).clone())),
            Kind::Postgres(table) => Box::new(postgres::Session::new((**table).clone())),
            Kind::Parquet(files) => Box::new(parquet::Batch::new(files.clone(), &self.name, &self.fields, begun)),
        };
        Keeper { store, clock: self.clock, away: None }
    }
}

/// A store that is left alone for a while once it was found away.
pub(super) struct Keeper {
    store: Box<dyn Keep>,
    clock: Clock,
    away: Option<(Timestamp, String)>,
}

impl Keeper {
    pub(super) async fn keep(&mut self, quote: &Quote, created_at: Timestamp) -> Result<(), String> {
        if let Some((until, why)) = &self.away
            && self.clock.now() < *until
        {
            return Err(why.clone());
        }
        match self.store.keep(quote, created_at).await {
            Ok(()) => {
                self.away = None;
                Ok(())
            }
            Err(Lost::Refused(why)) => Err(why),
            Err(Lost::Away(why)) => {
                self.away = Some((self.clock.now().plus(REST), why.clone()));
                Err(why)
            }
        }
    }

    pub(super) async fn finish(mut self) -> Result<(), String> {
        self.store.finish().await
    }
}
