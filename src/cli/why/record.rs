//! The record itself, read from the topic and taken through the pipeline's own decoder, query and windows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Place;
use super::trace::Accepted;
use crate::cli::run::{open_decoder, open_source};
use crate::cli::terminal::Terminal;
use crate::clock::Clock;
use crate::config::{Pipeline, SourceConfig};
use crate::error::Error;
use crate::query::Query;
use crate::record::{Offset, Records, Timestamp};
use crate::source::{Event, SourceError};
use crate::time::watermark::{Lateness, PartitionClock};
use crate::time::window::Window;

/// How long the source may be silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the count of records read is shown.
const SHOW_EVERY: u64 = 1000;

/// What reading the record gave.
pub(super) enum Read {
    /// The pipeline file is not the one that the entry was made with.
    OtherPipeline,
    /// The topic no longer holds the record, or never did.
    Gone(String),
    /// Now it cannot be read, but it was accepted: the topic's record is another one.
    Changed(String),
    /// The record.
    Record {
        event_time: Timestamp,
        /// The windows that hold this time, the first to end first, and how the record came for each; `None` where the
        /// topic no longer has all the records before it.
        windows: Vec<(Window, Option<Lateness>)>,
        /// Whether it passed the query's WHERE.
        passed: bool,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    },
}

/// The pipeline, with these brokers if there are any.
pub(super) fn with_brokers(mut pipeline: Pipeline, brokers: Option<&str>) -> Pipeline {
    if let (SourceConfig::Kafka(kafka), Some(brokers)) = (&mut pipeline.source, brokers) {
        brokers.clone_into(&mut kafka.brokers);
    }
    pipeline
}

/// Reads from where the record's entry began, so that the partition's watermark is what it was, up to the record.
pub(super) async fn read(
    pipeline: &Pipeline,
    place: &Place,
    accepted: &Accepted,
    terminal: &Terminal,
) -> Result<Read, Error> {
    let clock = Clock::system();
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await;
    let query = query.map_err(|error| error.at(&pipeline.sql_place))?;
    let (mut source, name) = open_source(pipeline, clock)?;
    if name == "stdin" {
        return Ok(Read::Gone("standard input cannot be read again".to_owned()));
    }
    let mut decoder = open_decoder(pipeline, &name);
    let silent = || {
        SourceError::Unavailable(format!(
            "{name}: no answer in {} s; are brokers and security.protocol right, and does the network let them through?",
            PATIENCE.as_secs()
        ))
    };
    let topic = tokio::time::timeout(PATIENCE, source.describe()).await.map_err(|_| silent())??;
    let Some(bounds) = topic.partitions.get(&place.partition) else {
        return Ok(Read::Gone(format!("{name} no longer has partition {}", place.partition)));
    };
    if place.offset < bounds.start {
        return Ok(Read::Gone(format!("the topic begins at offset {} now", bounds.start)));
    }
    let Some(claim) = accepted.entry.partitions.get(&place.partition) else {
        return Ok(Read::Gone("the entry does not name the partition".to_owned()));
    };
    let from = claim.from.max(bounds.start);
    source.assign(&BTreeMap::from([(place.partition, from)])).await?;
    let mut history = History { clock: PartitionClock::restore(accepted.before, None), raised: claim.raised.clone() };
    let bar = terminal.bar((place.offset.0 - from.0).max(0).unsigned_abs() + 1, "reading");
    let mut shown = 0;
    loop {
        let event = tokio::time::timeout(PATIENCE, source.next()).await.map_err(|_| silent())??;
        let mut records = match event {
            Event::Records(records) => records,
            Event::Reached { position, .. } if position > place.offset => break,
            Event::Finished => break,
            _ => continue,
        };
        records.drop_before(from);
        let done = records.iter().last().map_or(0, |last| (last.offset.0 - from.0).max(0).unsigned_abs());
        if done >= shown + SHOW_EVERY {
            shown = done;
            bar.set_position(done);
        }
        let wanted = records.iter().any(|record| record.offset == place.offset);
        let beyond = records.iter().last().is_some_and(|last| last.offset >= place.offset);
        let upto =
            cut(&records, if wanted { place.offset } else { records.iter().last().map_or(from, |last| last.offset) });
        let decoded = decoder.decode(upto);
        let prepared = query.prepare(&decoded.batch)?;
        let failed = |row: usize| prepared.failed.iter().any(|(failed, _)| *failed as usize == row);
        let last = decoded.records.len().checked_sub(1);
        for (row, index) in decoded.rows.iter().enumerate() {
            let record = decoded.records.get(*index as usize);
            let time = Timestamp(decoded.event_times.value(row));
            history.raise(record.offset);
            if record.offset == place.offset {
                let lateness = |window: &Window| {
                    let lateness = history.clock.lateness(window.end, pipeline.window.allowed_lateness);
                    (from == claim.from).then_some(lateness)
                };
                let windows = pipeline.window.windows.holding(time).map(|window| (window, lateness(&window)));
                let windows: Vec<_> = windows.collect();
                if windows.is_empty() {
                    return Ok(Read::Changed(format!("its event time {time} is in no window")));
                }
                return Ok(Read::Record {
                    event_time: time,
                    windows,
                    passed: prepared.passed.contains(&u32::try_from(row).unwrap_or(u32::MAX)),
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                });
            }
            // An event time that was ahead of the writer's clock moved nothing; that clock stood at the entry's time.
            let future = time > accepted.entry.time.plus(pipeline.window.max_future);
            if !future && !failed(row) && pipeline.window.windows.assign(time).is_some() {
                history.clock.accept(time, pipeline.window.watermark_delay);
            }
        }
        if wanted {
            let why = decoded.rejected.iter().find(|(index, _)| Some(*index as usize) == last);
            return Ok(Read::Changed(why.map_or_else(String::new, |(_, reason)| reason.text.clone())));
        }
        if beyond {
            break;
        }
    }
    Ok(Read::Gone(
        "the topic has no record at this offset now: compaction took it, or it marks a transaction".to_owned(),
    ))
}

/// A partition's time as it passed.
struct History {
    clock: PartitionClock,
    raised: Vec<crate::log::entry::Raise>,
}

impl History {
    /// Applies what raised the watermark from outside before this offset was read.
    fn raise(&mut self, offset: Offset) {
        while let Some(raise) = self.raised.first().filter(|raise| raise.offset <= offset).copied() {
            let _ = self.clock.wake(Some(raise.watermark));
            self.raised.remove(0);
        }
    }
}

/// The records up to and with `last`.
fn cut(records: &Records, last: Offset) -> Records {
    let mut upto = Records::new(records.partition);
    for record in records.iter().take_while(|record| record.offset <= last) {
        upto.push_with(record.offset, record.timestamp, record.key, record.value, record.headers.iter());
    }
    upto
}
