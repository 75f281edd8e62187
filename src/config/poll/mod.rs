//! The poll file: what is fetched, when, how an answer becomes a record, and where records go.
//!
//! It is read in the same manner as a pipeline file. What is known to be a secret, the values of the environment, goes
//! into [`Secrets`], so that no text that holds one is ever shown.

mod fields;
mod history;
mod keys;
mod kafka;
mod read;
mod request;
mod secrets;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json_path::JsonPath;

use super::{ConfigError, LARGEST, reader, text_of, too_large};
pub use secrets::Secrets;
pub use template::Template;

/// A poll file, every setting checked and every default filled in. Durations are in microseconds.
#[derive(Clone, Debug)]
pub struct PollFile {
    /// Its name: part of log lines and of file names.
    pub name: String,
    /// The watchlist, each symbol once.
    pub symbols: Vec<String>,
    /// How a symbol is asked for.
    pub request: Request,
    /// When.
    pub schedule: Schedule,
    /// What of the answer is kept, in the order of the record.
    pub fields: Vec<Field>,
    /// Where records are published.
    pub kafka: Publication,
    /// Where they are kept.
    pub history: Option<History>,
    /// What must not be shown.
    pub secrets: Secrets,
}

/// How a symbol is asked for.
#[derive(Clone)]
pub struct Request {
    /// The address.
    pub url: Template,
    /// Headers besides the usual ones. Values may be secrets: never print them.
    pub headers: Vec<(String, String)>,
    /// How long one call may take, from the connection to the answer's last byte.
    pub timeout: i64,
    /// The least time between the end of a call and the beginning of the next.
    pub pause: i64,
    /// How often a symbol is asked for in a round while the server fails.
    pub attempts: u32,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("url", &self.url)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .field("pause", &self.pause)
            .field("attempts", &self.attempts)
            .finish()
    }
}

/// When symbols are asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From the beginning of a round to the beginning of the next.
    pub interval: i64,
    /// How long a round may go on calling; at most the interval.
    pub budget: i64,
}

/// One member of the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where its value stands in the answer.
    pub path: JsonPath,
    /// The path as the file has it.
    pub written: String,
    /// What the value must be.
    pub kind: FieldType,
    /// Whether an answer without it is taken, with a null.
    pub optional: bool,
}

/// What a value must be, and what becomes of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    Text,
    /// A number, or text that is one.
    Number,
    /// A whole number of 64 bits, or text that is one.
    Int,
    /// True or false.
    Bool,
    /// A point in time, published as whole seconds since the epoch.
    Timestamp(Epoch),
    /// Any value, as it is.
    Json,
}

/// What a number means that stands for a point in time. RFC 3339 text is always taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Seconds since the epoch.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
}

/// The topic that records are published to.
#[derive(Clone)]
pub struct Publication {
    /// Bootstrap brokers, `host:port` with commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The field whose value is the record's key.
    pub key: String,
    /// How long the broker may take to confirm a record.
    pub delivery_timeout: i64,
    /// librdkafka's own properties, passed through. Values may be secrets: never print them.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// The store that keeps every record with the time it was fetched, `created_at`.
#[derive(Clone)]
pub enum History {
    /// A PostgreSQL table; it is made if it is missing.
    Postgres {
        /// `postgres://…`; may hold a secret.
        url: String,
        /// The password, if it is not in the address.
        password: Option<String>,
        /// The table, `name` or `schema.name`.
        table: String,
    },
    /// A MongoDB collection.
    Mongodb {
        /// `mongodb://…` or `mongodb+srv://…`; may hold a secret.
        url: String,
        /// The password, if it is not in the address.
        password: Option<String>,
        /// The collection.
        collection: String,
    },
    /// Parquet files, one a round.
    Parquet {
        /// A local folder or `s3://bucket/prefix`.
        url: String,
        /// Settings of the object store. Values may be secrets: never print them.
        properties: BTreeMap<String, String>,
    },
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres { table, .. } => f.debug_struct("Postgres").field("table", table).finish(),
            Self::Mongodb { collection, .. } => f.debug_struct("Mongodb").field("collection", collection).finish(),
            Self::Parquet { url, .. } => f.debug_struct("Parquet").field("url", url).finish(),
        }
    }
}

impl PollFile {
    /// Reads a poll file; `${NAME}` comes from the process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (text, file) = text_of(path)?;
        Self::parse(&text, &file, &|name| std::env::var(name).ok())
    }

    /// Reads a poll file's text. `file` is its path: problems are told under it. `env` tells what `${NAME}` stands for.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        if text.len() > LARGEST {
            return Err(too_large(file));
        }
        read::poll_file(text.trim_start_matches('\u{feff}'), file, env)
    }

    /// Whether a file looks like a poll file, and not like a pipeline file. One that cannot be read does not.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        let Ok((text, file)) = text_of(path) else { return false };
        let Ok((document, _)) = reader::document(&text, &file) else { return false };
        let has = |name: &str| document.get_ref().iter().any(|(key, _)| key.get_ref() == name);
        has("request") && !has("source")
    }
}
