//! `windrow why`: what became of one record.
//!
//! The log alone tells which entry took the offset in, and in most cases which window the record can be in. With the
//! pipeline file the record itself is read, by the pipeline's own decoder and windows, and the answer is exact.

mod kept;
mod record;
mod tell;
mod trace;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::str::FromStr;

use super::terminal::Terminal;
use super::{PATIENCE, SinkArgs};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::error::Error;
use crate::log::LogError;
use crate::log::store::newest;
use crate::record::{Offset, Partition};
use crate::source::registry::prepare::prepare;
use trace::Fate;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Why {
    #[command(flatten)]
    sink: SinkArgs,
    /// The record; of a file, file/0/LINE
    #[arg(value_name = "TOPIC/PARTITION/OFFSET")]
    record: Place,
    /// The pipeline file: to read the record itself and tell its window exactly
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Other brokers than those of the pipeline file
    #[arg(long, requires = "pipeline")]
    brokers: Option<String>,
}

/// A record's place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    topic: String,
    partition: Partition,
    offset: Offset,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
        let like = || "write TOPIC/PARTITION/OFFSET, such as rides/3/1234567".to_owned();
        let topic = topic.filter(|topic| !topic.is_empty()).ok_or_else(like)?;
        let partition = partition.and_then(|text| text.parse::<i32>().ok()).filter(|number| *number >= 0);
        let offset = offset.and_then(|text| text.parse::<i64>().ok()).filter(|number| *number >= 0);
        let (Some(partition), Some(offset)) = (partition, offset) else { return Err(like()) };
        Ok(Self { topic: topic.to_owned(), partition: Partition(partition), offset: Offset(offset) })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl Why {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let answer = self.answer(terminal).await;
        terminal.clear();
        print!("{}", answer?);
        Ok(())
    }

    async fn answer(&self, terminal: &Terminal) -> Result<String, Error> {
        let store = self.sink.open()?;
        let Some(newest) = newest(&store).await? else {
            return Err(LogError::Invalid(format!("sink {store}: there is no log; has a pipeline run here?")).into());
        };
        let newest = newest.entry;
        if newest.topic.name != self.record.topic {
            let text = format!("this sink was filled from {}, not {}", newest.topic.name, self.record.topic);
            return Err(Error::Usage(text));
        }
        let mut pipeline = self.pipeline.as_deref().map(Pipeline::load).transpose()?;
        if let Some(pipeline) = &mut pipeline {
            prepare(pipeline, Clock::system(), Some(PATIENCE)).await?;
        }
        let mut fate = trace::trace(&store, &newest, &self.record).await?;
        let mut read = None;
        if let (Fate::Accepted(accepted), Some(pipeline)) = (&mut fate, pipeline) {
            let pipeline = record::with_brokers(pipeline, self.brokers.as_deref());
            if pipeline.fingerprint() == accepted.entry.fingerprint {
                let found = record::read(&pipeline, &self.record, accepted, terminal).await?;
                accepted.narrow(&found);
                read = Some(found);
            } else {
                read = Some(record::Read::OtherPipeline);
            }
        }
        tell::tell(&store, &newest, &self.record, &fate, read.as_ref()).await
    }
}
