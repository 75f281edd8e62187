//! The pipeline file: as written, checked as a whole, and as the program needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::decode::column::Columns;
use crate::source::Start;
use crate::time::window::Tumbling;

/// A pipeline, every setting checked and every default filled in.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name: part of file names.
    pub name: String,
    /// Where records come from.
    pub source: SourceConfig,
    /// The stream's columns.
    pub columns: Columns,
    /// What becomes of a record that cannot be read.
    pub on_invalid: OnInvalid,
    /// What becomes of a run whose next records are gone.
    pub on_data_loss: OnDataLoss,
    /// Windows and lateness.
    pub window: WindowConfig,
    /// The query's text.
    pub sql: String,
    /// Reference tables by name: CSV or Parquet files.
    pub tables: BTreeMap<String, PathBuf>,
    /// Where results go.
    pub sink: SinkConfig,
}

/// Where records come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// A Kafka topic.
    Kafka(KafkaConfig),
    /// A file of JSON lines; `None` for standard input.
    File(Option<PathBuf>),
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
    pub windows: Tumbling,
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
    /// A local folder or `s3://bucket/prefix`.
    pub url: String,
    /// Settings of the object store, such as `endpoint` or `region`. Values may be secrets: never print them.
    pub properties: BTreeMap<String, String>,
    /// Microseconds between commits while no window closes.
    pub commit_interval: i64,
    /// Bytes at which a window's file is split into parts.
    pub target_file_size: u64,
    /// Microseconds that late and invalid records may wait for a file.
    pub late_interval: i64,
    /// Bytes of late or invalid records that are worth a file at once.
    pub late_size: u64,
}

/// What is wrong with a pipeline file: every problem found, each with its place.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
