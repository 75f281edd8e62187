//! A MongoDB collection: one document a record.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Bson, DateTime, Document, serialize_to_bson};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, ConnectionString};
use mongodb::{Client, Collection};

use super::{CREATED_AT, Keep, Lost};
use crate::poll::PollError;
use crate::poll::answer::{Cell, Quote};
use crate::record::Timestamp;

/// How long the server may take for one document.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server is looked for: shorter, so that the driver can still tell why there is none.
const SELECTION: Duration = Duration::from_secs(8);
/// What an address is written like.
const LIKE: &str = "write it like mongodb://USER@HOST:27017/DATABASE";

/// The collection and the way to it.
#[derive(Clone)]
pub(super) struct Place {
    address: ConnectionString,
    password: Option<String>,
    database: String,
    collection: String,
    /// User, hosts and database.
    shown: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.shown).field(&self.collection).finish()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, collection {}", self.shown, self.collection)
    }
}

impl Place {
    /// Without a password in the address, `password` is taken.
    pub(super) fn new(url: &str, password: Option<String>, collection: &str) -> Result<Self, PollError> {
        let invalid = |what: &str| PollError::Invalid(format!("history.url: {what}; {LIKE}"));
        let address = ConnectionString::parse(url).map_err(|error| invalid(&told(&error)))?;
        let database = address.default_database.clone().ok_or_else(|| invalid("it names no database"))?;
        if password.is_some() && address.credential.as_ref().is_none_or(|user| user.username.is_none()) {
            return Err(invalid("there is a history.password, but no user whose it is"));
        }
        Ok(Self { address, password, database, collection: collection.to_owned(), shown: shown(url) })
    }

    /// A client of its own; it connects when it is used.
    async fn open(&self) -> Result<Collection<Document>, Error> {
        let mut options = ClientOptions::parse(self.address.clone()).await?;
        if let Some(credential) = &mut options.credential
            && credential.password.is_none()
        {
            credential.password = self.password.clone();
        }
        options.app_name.get_or_insert_with(|| "windrow poll".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION);
        let client = Client::with_options(options)?;
        Ok(client.database(&self.database).collection(&self.collection))
    }
}

/// The address without its password and options.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("mongodb", url));
    let place = rest.split('?').next().unwrap_or_default();
    match place.rsplit_once('@') {
        Some((user, hosts)) => format!("{scheme} {}@{hosts}", user.split(':').next().unwrap_or_default()),
        None => format!("{scheme} {place}"),
    }
}

/// The driver's reason in a line, without the labels and the answer that it prints beside it.
fn told(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(failed) => failed.message.clone(),
        ErrorKind::Write(WriteFailure::WriteError(failed)) => failed.message.clone(),
        ErrorKind::Write(WriteFailure::WriteConcernError(failed)) => failed.message.clone(),
        ErrorKind::Io(failed) => failed.to_string(),
        ErrorKind::InvalidArgument { message, .. } => message.clone(),
        // It prints all it knows of every server; the first server's error is what matters.
        ErrorKind::ServerSelection { message, .. } => match message.split_once("Error: Kind: ") {
            Some((_, rest)) => rest.split(", labels: ").next().unwrap_or(rest).to_owned(),
            None => "no server can be reached that takes writes".to_owned(),
        },
        kind => kind.to_string(),
    }
}

/// The record as a document, its members in their order.
fn document(quote: &Quote, created_at: Timestamp) -> Result<Document, String> {
    let mut document = Document::new();
    for (name, cell) in quote.cells() {
        let value = match cell {
            Cell::Null => Bson::Null,
            Cell::Text(text) => Bson::String(text.clone()),
            Cell::Number(number) => number.as_f64().map_or(Bson::Null, Bson::Double),
            Cell::Int(number) => Bson::Int64(*number),
            Cell::Bool(flag) => Bson::Boolean(*flag),
            Cell::Json(json) => serialize_to_bson(json).map_err(|error| format!("{name}: {error}"))?,
        };
        document.insert(name.as_str(), value);
    }
    document.insert(CREATED_AT, DateTime::from_millis(created_at.0.div_euclid(1000)));
    Ok(document)
}

/// The collection during one round.
pub(super) struct Session {
    place: Place,
    collection: Option<Collection<Document>>,
}

impl Session {
    pub(super) fn new(place: Place) -> Self {
        Self { place, collection: None }
    }

    async fn insert(&mut self, document: &Document) -> Result<(), Error> {
        let collection = match self.collection.take() {
            Some(collection) => collection,
            None => self.place.open().await?,
        };
        self.collection.insert(collection).insert_one(document).await.map(|_| ())
    }
}

#[async_trait]
impl Keep for Session {
    async fn keep(&mut self, quote: &Quote, created_at: Timestamp) -> Result<(), Lost> {
        let document = document(quote, created_at).map_err(Lost::Refused)?;
        let inserted = tokio::time::timeout(PATIENCE, self.insert(&document)).await;
        let shown = &self.place.shown;
        match inserted {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let told = told(&error).split_whitespace().collect::<Vec<_>>().join(" ");
                let why = format!("{shown}: {told}");
                let refused = matches!(error.kind.as_ref(), ErrorKind::Command(_) | ErrorKind::Write(_));
                Err(if refused { Lost::Refused(why) } else { Lost::Away(why) })
            }
            Err(_) => {
                // Whether the document is there is not known.
                self.collection = None;
                Err(Lost::Away(format!("{shown}: no answer in {} s", PATIENCE.as_secs())))
            }
        }
    }
}
