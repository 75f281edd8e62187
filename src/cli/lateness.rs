//! `windrow lateness`: how late a topic's records really are.
//!
//! Reads the topic as a run would, through the same source, decoder, windows and partition clocks, up to where it ends
//! now. Commits nothing and touches no sink.

mod chart;
mod show;
mod spread;
mod study;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::FileArg;
use super::run::{open_decoder, open_source};
use super::terminal::Terminal;
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::error::Error;
use crate::record::{Offset, Partition, Timestamp};
use crate::source::registry::prepare::prepare;
use crate::source::{Bounds, Event, SourceError, Start, Topic};
use crate::time::text;
pub(super) use show::rounded;
use study::Study;

/// How long the brokers may take to answer.
const BROKER_TIME: Duration = Duration::from_secs(15);
/// How long a partition may keep its records back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command.
#[derive(Debug, clap::Args)]
pub struct Lateness {
    #[command(flatten)]
    file: FileArg,
    /// Only the last N offsets of each partition; of a file, its first N lines
    #[arg(long, value_name = "N", conflicts_with_all = ["since", "until"])]
    sample: Option<u32>,
    /// Only records that came since then: an RFC 3339 time, or a span back from now such as "6 hours"
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only records that came before then, written likewise
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Write JSON instead of text
    #[arg(long)]
    json: bool,
    /// Write the histogram as a picture, too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Lateness {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let mut pipeline = Pipeline::load(&self.file.file)?;
        prepare(&mut pipeline, Clock::system(), Some(BROKER_TIME)).await?;
        let study = self.study(&pipeline, terminal).await;
        terminal.clear();
        let study = study?;
        if let Some(path) = &self.svg {
            let cannot = |error| Error::Usage(format!("cannot write {}: {error}", path.display()));
            std::fs::write(path, chart::svg(&study)).map_err(cannot)?;
        }
        if self.json {
            println!("{:#}", show::json(&study));
        } else {
            print!("{}", show::text(&study));
        }
        Ok(())
    }

    /// Reads and counts.
    async fn study(&self, pipeline: &Pipeline, terminal: &Terminal) -> Result<Study, Error> {
        let clock = Clock::system();
        let (mut source, name) = open_source(pipeline, clock)?;
        let mut decoder = open_decoder(pipeline, &name);
        let late = || {
            SourceError::Unavailable(format!(
                "topic {name}: no answer in {} s; are brokers and security.protocol right, and does the network let them through?",
                BROKER_TIME.as_secs()
            ))
        };
        let topic = tokio::time::timeout(BROKER_TIME, source.describe()).await.map_err(|_| late())??;
        let mut ways = self.ways(&topic);
        for (moment, is_end) in [(&self.since, false), (&self.until, true)] {
            let Some(moment) = moment else { continue };
            let answer = source.resolve(Start::Time(moment.at(clock.now())));
            for (partition, offset) in tokio::time::timeout(BROKER_TIME, answer).await.map_err(|_| late())?? {
                let Some(way) = ways.get_mut(&partition) else { continue };
                if is_end {
                    way.end = Some(way.end.map_or(offset, |end| end.min(offset)));
                } else {
                    way.next = way.next.max(offset);
                }
            }
        }
        let all = ways.values().map(|way| Some((way.end?.0 - way.next.0).max(0).unsigned_abs())).sum::<Option<u64>>();
        let bar = match all.filter(|_| topic.partitions.values().all(|bounds| bounds.end.is_some())) {
            Some(all) => terminal.bar(all, "reading"),
            None => terminal.spinner("records read:"),
        };
        let mut study = Study::new(pipeline, &topic, clock.now());
        let (mut said, mut done) = (clock.now(), 0);
        ways.retain(|_, way| !way.is_done());
        source.assign(&ways.iter().map(|(&partition, way)| (partition, way.next)).collect()).await?;
        while !ways.is_empty() {
            let silent =
                || SourceError::Unavailable(format!("topic {name}: nothing came for {} s", PATIENCE.as_secs()));
            match tokio::time::timeout(PATIENCE, source.next()).await.map_err(|_| silent())?? {
                Event::Records(records) => {
                    let partition = records.partition;
                    let Some(way) = ways.get_mut(&partition) else { continue };
                    let records = way.take(records);
                    done += records.len() as u64;
                    study.take(&decoder.decode(records), clock.now());
                }
                Event::Reached { partition, position } => {
                    if let Some(way) = ways.get_mut(&partition) {
                        way.next = way.next.max(position);
                    }
                }
                Event::Finished => break,
                Event::Waiting(why) => tracing::warn!("waiting: {why}"),
                Event::Ends { .. } | Event::Added(_) | Event::Resumed => {}
            }
            ways.retain(|_, way| !way.is_done());
            bar.set_position(done);
            let now = clock.now();
            if bar.is_hidden() && now.0 - said.0 >= 10_000_000 {
                said = now;
                tracing::info!(records = done, of = all, "reading");
            }
        }
        Ok(study)
    }

    /// What is to be read of each partition, times aside.
    fn ways(&self, topic: &Topic) -> BTreeMap<Partition, Way> {
        let way = |bounds: &Bounds| match (self.sample.map(i64::from), bounds.end) {
            (None, end) => Way { next: bounds.start, end },
            (Some(sample), Some(end)) => Way { next: bounds.start.max(Offset(end.0 - sample)), end: Some(end) },
            (Some(sample), None) => Way { next: bounds.start, end: Some(Offset(bounds.start.0 + sample)) },
        };
        topic.partitions.iter().map(|(&partition, bounds)| (partition, way(bounds))).collect()
    }
}

/// A time as people write it: in full, or as a span back from now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Moment {
    At(Timestamp),
    Ago(i64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = || text::duration(text).ok().map(Self::Ago);
        let like = || "write a time such as 2026-03-01T08:00:00Z, or a span such as \"6 hours\"".to_owned();
        text::time(text).ok().map(Self::At).or_else(ago).ok_or_else(like)
    }
}

impl Moment {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now.minus(span),
        }
    }
}

/// What is still to be read of a partition.
struct Way {
    next: Offset,
    end: Option<Offset>,
}

impl Way {
    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// The records that are wanted and were not taken before.
    fn take(&mut self, mut records: crate::record::Records) -> crate::record::Records {
        records.drop_before(self.next);
        if let Some(end) = self.end.filter(|end| records.iter().last().is_some_and(|last| last.offset >= *end)) {
            let mut wanted = crate::record::Records::new(records.partition);
            for record in records.iter().take_while(|record| record.offset < end) {
                wanted.push(record.offset, record.timestamp, record.key, record.value);
            }
            self.next = end;
            return wanted;
        }
        if let Some(last) = records.iter().last() {
            self.next = last.offset.next();
        }
        records
    }
}
