//! The pipeline file: as written, checked as a whole, and as the program needs it.
//!
//! What is checked here needs the file and the environment alone. Whether the query can be planned, and whether broker
//! and sink can be reached, is found out by those who use them.

mod asked;
mod columns;
pub mod format;
mod keys;
mod kafka;
pub(crate) mod near;
mod place;
pub mod poll;
mod read;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::decode::Format;
use crate::decode::column::Columns;
use crate::sink::format::FileFormat;
use crate::source::Start;
use crate::time::window::Windows;

/// The largest pipeline file in bytes.
pub const LARGEST: usize = 1 << 20;

/// A pipeline, every setting checked and every default filled in.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name: part of file names.
    pub name: String,
    /// Where records come from.
    pub source: SourceConfig,
    /// How its records are written.
    pub format: &'static Format,
    /// What that format needs to know besides the columns.
    pub reading: format::Reading,
    /// The stream's columns; of a format with schemas those declared, until the schema has told the others.
    pub columns: Columns,
    /// What becomes of a record that cannot be read.
    pub on_invalid: OnInvalid,
    /// What becomes of a run whose next records are gone.
    pub on_data_loss: OnDataLoss,
    /// Windows and lateness.
    pub window: WindowConfig,
    /// The query's text.
    pub sql: String,
    /// Where the query stands, such as `rides.toml:31`, for whoever finds fault with it.
    pub sql_place: String,
    /// Reference tables by name: CSV or Parquet files.
    pub tables: BTreeMap<String, PathBuf>,
    /// Where results go.
    pub sink: SinkConfig,
    /// Bytes of memory for open windows and for closing them; what does not fit is kept in the sink.
    pub memory: u64,
}

/// Where records come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// A Kafka topic.
    Kafka(KafkaConfig),
    /// Files, or standard input.
    File(FileConfig),
}

/// Files, and where they lie.
#[derive(Clone)]
pub struct FileConfig {
    /// A file, a folder or `s3://bucket/prefix`; `None` for standard input. It holds no secret.
    pub place: Option<String>,
    /// Settings of the object store. Values may be secrets: never print them.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for FileConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> = self.properties.keys().collect();
        f.debug_struct("FileConfig").field("place", &self.place).field("properties", &properties).finish()
    }
}

/// A Kafka topic, and how to read it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:port` with commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The group whose committed offsets follow along.
    pub group: String,
    /// Where the first run begins.
    pub start: Start,
    /// librdkafka's own properties, passed through. Values may be secrets: never print them.
    pub properties: BTreeMap<String, String>,
    /// Whether the records' headers are wanted.
    pub headers: bool,
    /// Whether the group's instances share the partitions.
    pub shared: bool,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// What becomes of a record that cannot be read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// It is kept under invalid/ with the reason.
    Keep,
    /// The run stops.
    Fail,
}

/// What becomes of a run whose next records are gone from Kafka.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnDataLoss {
    /// It stops and says how many are missing.
    Stop,
    /// It goes on, and the log keeps the gap.
    Continue,
}

/// When a window's result is published.
#[derive(Copy, Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Emit {
    /// Once, when nothing can change it any more.
    Final,
    /// At the window's end, and once more if late records came.
    Early,
}

/// What the watermark does when every partition is idle.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnQuiet {
    /// It moves on with the passing time.
    Advance,
    /// It stands.
    Hold,
}

/// Windows and lateness; all durations in microseconds.
#[derive(Clone, Debug)]
pub struct WindowConfig {
    /// Which window a time falls into.
    pub windows: Windows,
    /// How much disorder is ordinary.
    pub watermark_delay: i64,
    /// How much longer a window takes late records in.
    pub allowed_lateness: i64,
    /// When results are published.
    pub emit: Emit,
    /// When a partition with nothing to read stops holding the others back.
    pub idle_timeout: i64,
    /// What a quiet stream does.
    pub on_quiet: OnQuiet,
    /// How far ahead of the clock an event time may lie.
    pub max_future: i64,
}

/// Where results go.
#[derive(Clone)]
pub struct SinkConfig {
    /// A local folder or `s3://bucket/prefix`; it holds no secret.
    pub url: String,
    /// Settings of the object store, such as `endpoint` or `region`. Values may be secrets: never print them.
    pub properties: BTreeMap<String, String>,
    /// How result files are written.
    pub format: FileFormat,
    /// Microseconds between commits while no window closes.
    pub commit_interval: i64,
    /// Bytes at which a window's file is split into parts.
    pub target_file_size: u64,
    /// Microseconds that late and invalid records may wait for a file.
    pub late_interval: i64,
    /// Bytes of late or invalid records that are worth a file at once.
    pub late_size: u64,
}

impl fmt::Debug for SinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkConfig")
            .field("url", &self.url)
            .field("properties", &self.properties.keys())
            .field("format", &self.format)
            .field("commit_interval", &self.commit_interval)
            .field("target_file_size", &self.target_file_size)
            .field("late_interval", &self.late_interval)
            .field("late_size", &self.late_size)
            .finish()
    }
}

/// What is wrong with a pipeline file: every problem found, each on a line of its own after `FILE:LINE:`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Pipeline {
    /// Reads a pipeline file; `${NAME}` comes from the process's environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (text, file) = text_of(path)?;
        Self::parse(&text, &file, &|name| std::env::var(name).ok())
    }

    /// Reads a pipeline file's text. `file` is its path: problems are told under it, and reference tables lie relative
    /// to its folder. `env` tells what `${NAME}` stands for.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        if text.len() > LARGEST {
            return Err(too_large(file));
        }
        read::pipeline(text.trim_start_matches('\u{feff}'), file, env)
    }

    /// What results depend on, as SHA-256 in hex: query, columns, windows, lateness and the tables' names. Brokers, sink
    /// and intervals may change under an existing log; this may not.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        #[derive(Serialize)]
        struct Meaning<'a> {
            sql: &'a str,
            columns: &'a Columns,
            windows: &'a Windows,
            watermark_delay: i64,
            allowed_lateness: i64,
            emit: Emit,
            tables: Vec<&'a String>,
        }
        let meaning = Meaning {
            sql: &self.sql,
            columns: &self.columns,
            windows: &self.window.windows,
            watermark_delay: self.window.watermark_delay,
            allowed_lateness: self.window.allowed_lateness,
            emit: self.window.emit,
            tables: self.tables.keys().collect(),
        };
        let json = serde_json::to_vec(&meaning).expect("text and numbers are always JSON");
        Sha256::digest(&json).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A file's text, and its path as people see it.
pub(crate) fn text_of(path: &Path) -> Result<(String, String), ConfigError> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| ConfigError(format!("{file}: {error}")))?;
    if bytes.len() > LARGEST {
        return Err(too_large(&file));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let sound = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + sound.iter().filter(|byte| **byte == b'\n').count();
        ConfigError(format!("{file}:{line}: not UTF-8; save the file as UTF-8"))
    })?;
    Ok((text, file))
}

fn too_large(file: &str) -> ConfigError {
    ConfigError(format!("{file}: larger than 1 MiB; is this the pipeline file?"))
}
