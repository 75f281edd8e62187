//! Where generated records go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Generate;
use crate::error::Error;
use crate::generate::Generated;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::source::produce::{Message, Producer};

/// How long the broker may take for the last records.
const PATIENCE: Duration = Duration::from_secs(60);
/// Records between two looks at what the broker has refused.
const BETWEEN: u64 = 50_000;

/// Why writing ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody reads standard output any more.
    Unread,
    /// What is to be told.
    Error(Error),
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Error(error.into())
    }
}

/// A place for records.
pub(super) enum Output {
    /// A topic, and how many records were sent since the last look.
    Topic { producer: Producer, topic: String, sent: u64 },
    /// A file of lines.
    File { file: BufWriter<File>, path: PathBuf },
    /// Standard output.
    Standard(BufWriter<io::Stdout>),
}

impl Output {
    pub(super) fn open(command: &Generate) -> Result<Self, Error> {
        if let (Some(brokers), Some(topic)) = (&command.brokers, &command.topic) {
            let properties: BTreeMap<String, String> = command.properties.iter().cloned().collect();
            let producer = Producer::connect(brokers, &properties)?;
            let found = producer.partitions(topic, PATIENCE)?;
            if command.partitions > found {
                let text = format!(
                    "topic {topic}: --partitions asks for {}, the topic has {found}; create it with as many, or ask for \
                     no more",
                    command.partitions
                );
                return Err(Error::Usage(text));
            }
            return Ok(Self::Topic { producer, topic: topic.clone(), sent: 0 });
        }
        Ok(match &command.out {
            Some(path) => Self::File { file: BufWriter::with_capacity(1 << 18, create(path)?), path: path.clone() },
            None => Self::Standard(BufWriter::with_capacity(1 << 16, io::stdout())),
        })
    }

    pub(super) fn write(&mut self, record: &Generated) -> Result<(), Failure> {
        match self {
            Self::Topic { producer, topic, sent } => {
                let message = Message {
                    partition: Some(record.partition.0),
                    key: Some(&record.key),
                    value: record.value.as_deref(),
                    // The time of sending: brokers delete by this time, and the events may be of long ago.
                    timestamp_ms: None,
                };
                producer.send(topic, message)?;
                *sent += 1;
                // A broker that refuses everything is not asked for hours.
                if sent.is_multiple_of(BETWEEN) {
                    producer.flush(PATIENCE)?;
                }
                Ok(())
            }
            Self::File { file, path } => line(file, record).map_err(|error| Failure::Error(cannot_write(path, &error))),
            Self::Standard(out) => line(out, record).map_err(|error| unread(&error)),
        }
    }

    /// Makes sure that everything written has arrived where a reader sees it.
    pub(super) fn push(&mut self) -> Result<(), Failure> {
        match self {
            Self::Topic { producer, .. } => Ok(producer.flush(PATIENCE)?),
            Self::File { file, path } => file.flush().map_err(|error| Failure::Error(cannot_write(path, &error))),
            Self::Standard(out) => out.flush().map_err(|error| unread(&error)),
        }
    }

    /// Whether a person reads the records, and a progress bar would be in the way.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Standard(_)) && io::stdout().is_terminal()
    }

    /// Where the records are, in words.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Topic { topic, .. } => format!("to topic {topic}"),
            Self::File { path, .. } => format!("to {}", path.display()),
            Self::Standard(_) => "to standard output".to_owned(),
        }
    }
}

fn line(out: &mut impl Write, record: &Generated) -> io::Result<()> {
    out.write_all(record.value.as_deref().unwrap_or_default())?;
    out.write_all(b"\n")
}

fn unread(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::Error(SinkError::Unavailable(format!("cannot write to standard output: {error}")).into()),
    }
}

/// A file to write to, made anew.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(|error| Error::Usage(format!("cannot write to {}: {error}", path.display())))
}

/// What is told when a file that was open cannot be written to.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> Error {
    SinkError::Unavailable(format!("cannot write to {}: {error}", path.display())).into()
}
