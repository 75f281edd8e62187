//! The loop that joins the stations. Start and recovery are the same path.

mod ahead;
mod group;
mod observer;
mod open;
mod pace;
#[cfg(test)]
mod tests;
pub mod turn;
pub mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::{OnInvalid, Pipeline};
use crate::decode::{Decode, Decoded};
use crate::engine::{Engine, SPREAD};
use crate::error::Error;
use crate::log::entry::{Entry, Tail};
use crate::log::publish::{publish, sweep};
use crate::log::store::Stored;
use crate::log::{self};
use crate::query::Query;
use crate::record::{Offset, Partition, Records, Timestamp};
use crate::sink::stage::{Desk, Ending, Flush, Identity, stage};
use crate::sink::store::Store;
use crate::source::member::Member;
use crate::source::{Event, Source, SourceError};
use ahead::{Ahead, Early};
use group::{Shared, next_change};
pub use observer::{Detail, Holding, Observer, Together, Took, Unobserved, View};
use turn::HEARTBEAT;
use writer::Instance;

/// How often time is looked at while no record comes.
const TICK: Duration = Duration::from_millis(250);
/// The least pause between two commits, in microseconds: windows that close in a burst share one.
const BREATH: i64 = 200_000;
/// So many records are taken in at once, if they are there, before everything else is looked at.
const LOOK: usize = 1024;
/// How long the source may take to say where it ends when a run is over.
const LAST_LOOK: Duration = Duration::from_secs(5);
/// Microseconds between two looks at everything there is to see.
const DETAIL_EVERY: i64 = 250_000;
/// Bytes that wait in memory for a commit before one is made at once, and the part of the memory for windows that they
/// may be.
const UNSAVED_LIMIT: u64 = 64 << 20;
const UNSAVED: u64 = 8;
/// The part of the memory for windows that groups may take; the rest is for saving and closing them.
const GROUPS: u64 = 2;
/// The part of it, as state in memory or in the store, from which on partitions that are far ahead wait for the others.
const AHEAD: u64 = 4;

/// How a run ends by itself.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Read up to the topic's present end, then leave.
    pub once: bool,
    /// Close the windows still open at the end.
    pub close_all: bool,
}

/// Everything a run is made of.
pub struct Parts {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its query, planned.
    pub query: Arc<Query>,
    /// Where records come from.
    pub source: Box<dyn Source>,
    /// How they are read.
    pub decoder: Box<dyn Decode>,
    /// Where results go.
    pub store: Store,
    /// Who runs it.
    pub instance: Instance,
    /// What time it is.
    pub clock: Clock,
    /// Who looks on.
    pub observer: Box<dyn Observer>,
    /// Its membership in a group of instances that share the pipeline; without it this one reads every partition.
    pub member: Option<Box<dyn Member>>,
}

/// Runs until `stop` says so, the source ends, or, with `once`, the present end is reached.
///
/// # Errors
/// Whatever keeps the run from going on; everything in the log stands. [`Error::Stopped`] if `stop` came before there
/// was anything to commit: while another instance writes, or the source or the sink is waited for.
pub async fn run(parts: Parts, options: Options, mut stop: watch::Receiver<bool>) -> Result<Entry, Error> {
    let mut run = tokio::select! {
        biased;
        () = stopped(&mut stop) => return Err(Error::Stopped),
        run = Run::open(parts, options) => run?,
    };
    let ended = run.read(options, &mut stop).await?;
    run.finish(options, ended).await
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone can no longer ask to stop.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Why reading ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// Everything there was to read has been read.
    AtEnd,
    /// The operator asked.
    Stopped,
}

struct Run {
    parts: Parts,
    identity: Identity,
    engine: Engine,
    newest: Stored,
    /// What is shared with other instances, if anything is.
    shared: Option<Shared>,
    /// The last record that the log knows of each partition, until it is seen again.
    known: BTreeMap<Partition, Tail>,
    /// Where each partition ended when the run began.
    ends: BTreeMap<Partition, Offset>,
    began: BTreeMap<Partition, Offset>,
    /// Where each partition ends by the source's newest word.
    newest_ends: BTreeMap<Partition, Offset>,
    /// Why the source cannot be reached, if it cannot.
    waiting: Option<String>,
    /// When everything there is to see was last shown.
    shown_at: Option<Timestamp>,
    /// Partitions that wait for the others, and when that was last thought about.
    paused: BTreeSet<Partition>,
    /// Bytes of open windows in the store.
    stored: u64,
    paced_at: Option<Timestamp>,
    /// What came before its turn.
    ahead: Ahead,
    /// Records taken in since everything was last looked at.
    unlooked: usize,
    committed_at: Timestamp,
    /// How long the last commit took, in microseconds.
    cost: i64,
}

impl Run {
    async fn read(&mut self, options: Options, stop: &mut watch::Receiver<bool>) -> Result<Ended, Error> {
        loop {
            if options.once && self.is_at_end() {
                return Ok(Ended::AtEnd);
            }
            let early = match self.ahead.pop() {
                Some(_) if *stop.borrow() => return Ok(Ended::Stopped),
                Some(early) => Some(early),
                None => tokio::select! {
                    biased;
                    () = stopped(stop) => return Ok(Ended::Stopped),
                    change = next_change(&mut self.shared) => {
                        self.change(change?).await?;
                        None
                    }
                    event = self.parts.source.next() => Some(Early::Event(event)),
                    () = self.parts.clock.sleep(TICK) => None,
                },
            };
            match early {
                Some(Early::Event(event)) => match event? {
                    Event::Finished => return Ok(Ended::AtEnd),
                    event => self.take(event).await?,
                },
                Some(Early::Decoded(decoded)) => self.take_decoded(decoded)?,
                None => {}
            }
            if self.has_more_at_once() {
                continue;
            }
            let now = self.parts.clock.now();
            self.engine.advance(now);
            if self.shared.is_some() {
                self.share(now).await?;
            } else if self.wants_commit(now) {
                self.commit(Ending::GOES_ON).await?;
            }
            self.pace(now)?;
            self.show(now);
        }
    }

    /// Whether another event is there already, and few records came since everything was last looked at: many partitions
    /// bring small batches, and what is done for all of them is not done for each.
    fn has_more_at_once(&mut self) -> bool {
        let few = self.unlooked < LOOK;
        if few
            && self.ahead.is_empty()
            && let Some(event) = self.parts.source.next().now_or_never()
        {
            self.ahead.push(Early::Event(event));
        }
        let more = few && !self.ahead.is_empty();
        if !more {
            self.unlooked = 0;
        }
        more
    }

    async fn take(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Records(records) => self.take_records(records)?,
            Event::Reached { partition, position } => {
                self.engine.reached(partition, position);
                self.newest_ends.insert(partition, position);
            }
            Event::Ends { asked, ends } => {
                for (partition, end) in ends {
                    // A partition that is not being read is not idle, even if there is nothing to read.
                    if !(self.paused.contains(&partition) && self.engine.position(partition) == Some(end)) {
                        self.engine.observe_end(partition, end, asked);
                    }
                    self.newest_ends.insert(partition, end);
                }
            }
            // Of a shared pipeline the group gives out new partitions, too.
            Event::Added(_) if self.shared.is_some() => {}
            Event::Added(partitions) => {
                for &(partition, start) in &partitions {
                    tracing::info!(partition = partition.0, start = start.0, "found a new partition");
                    self.engine.add_partition(partition, start, start == Offset(0));
                }
                self.parts.source.assign(&partitions.into_iter().collect()).await?;
            }
            Event::Waiting(why) => {
                tracing::warn!("waiting: {why}");
                self.waiting = Some(why);
            }
            Event::Resumed => {
                tracing::info!("the source answers again");
                self.waiting = None;
            }
            Event::Finished => {}
        }
        Ok(())
    }

    fn take_records(&mut self, mut records: Records) -> Result<(), Error> {
        let partition = records.partition;
        if let Some(known) = self.known.get(&partition) {
            self.recognize(known, &records)?;
            if records.iter().next_back().is_some_and(|last| last.offset >= known.offset) {
                self.known.remove(&partition);
            }
        }
        let Some(position) = self.engine.position(partition) else {
            let text = format!("partition {partition} brings records but is not known");
            return Err(SourceError::Data(text).into());
        };
        let again = records.drop_before(position);
        if again > 0 {
            tracing::debug!(partition = partition.0, records = again, "dropped what was counted already");
        }
        if records.is_empty() {
            return Ok(());
        }
        let decoded = self.parts.decoder.decode(records);
        self.take_decoded(decoded)
    }

    fn take_decoded(&mut self, decoded: Decoded) -> Result<(), Error> {
        let now = self.parts.clock.now();
        self.parts.observer.decoded(&decoded, now);
        self.engine.push(&decoded, now)?;
        self.unlooked += decoded.records.len();
        if self.parts.pipeline.on_invalid == OnInvalid::Fail
            && let Some(kept) = self.engine.first_invalid()
        {
            let text = format!(
                "{} partition {} offset {}: {}; on_invalid = \"fail\" stops here, \"keep\" would go on",
                self.identity.topic.name, kept.partition, kept.offset, kept.reason.text
            );
            return Err(SourceError::Data(text).into());
        }
        self.parts.source.take_back(decoded.records);
        Ok(())
    }

    /// Checks that the topic still holds the last record that was taken in. One that compaction removed cannot tell.
    fn recognize(&self, known: &Tail, records: &Records) -> Result<(), Error> {
        let again = records.iter().find(|record| record.offset >= known.offset);
        if again.is_none_or(|again| again.offset != known.offset || crate::engine::fingerprint(again) == known.digest) {
            return Ok(());
        }
        let text = format!(
            "{} partition {}: the record at offset {} is not the one that was counted; the topic was deleted and made \
             anew, or this is another cluster; give the new one a new sink",
            self.identity.topic.name, records.partition, known.offset
        );
        Err(SourceError::Data(text).into())
    }

    /// Where the end is not known before it is reached, as of a file, the source itself says that it is there.
    fn is_at_end(&self) -> bool {
        let is_read = |partition, end| self.engine.position(partition).is_some_and(|next| next >= end);
        !self.ends.is_empty() && self.ends.iter().all(|(&partition, &end)| is_read(partition, end))
    }

    /// Pauses the partitions that are far ahead of the others, while open windows take much.
    fn pace(&mut self, now: Timestamp) -> Result<(), Error> {
        let held = self.stored.max(self.engine.state_bytes() as u64);
        let is_much = held > self.parts.pipeline.memory / AHEAD;
        let recently = self.paced_at.is_some_and(|paced| now.0.saturating_sub(paced.0) < DETAIL_EVERY);
        if self.paused.is_empty() && !is_much || !self.paused.is_empty() && recently {
            return Ok(());
        }
        self.paced_at = Some(now);
        let mut ahead = BTreeSet::new();
        if is_much {
            let standings = self.engine.view_partitions().map(|(partition, view)| {
                let has_more = self.newest_ends.get(&partition).is_none_or(|&end| view.position < end);
                (partition, pace::Standing { watermark: view.watermark, has_more })
            });
            ahead = pace::ahead(&standings.collect(), &self.parts.pipeline.window.windows);
        }
        if ahead != self.paused {
            tracing::debug!(?ahead, "partitions that wait for the others");
        }
        // A source may not have been able to at once.
        self.parts.source.pause(&ahead)?;
        self.paused = ahead;
        Ok(())
    }

    fn wants_commit(&self, now: Timestamp) -> bool {
        let since = now.0.saturating_sub(self.committed_at.0);
        let interval = self.parts.pipeline.sink.commit_interval.max(self.cost.saturating_mul(10));
        let unsaved = self.engine.unsaved_bytes() as u64;
        unsaved > UNSAVED_LIMIT.min(self.parts.pipeline.memory / UNSAVED)
            || self.engine.is_full()
            || (self.engine.is_due() && since >= BREATH.max(self.cost.saturating_mul(4)))
            || (self.engine.is_dirty() && since >= interval)
            || since >= HEARTBEAT
    }

    async fn commit(&mut self, ending: Ending) -> Result<(), Error> {
        if self.shared.is_some() {
            return self.commit_shared(ending).await;
        }
        self.parts.source.confirm().await?;
        let started = self.parts.clock.now();
        let cut = self.engine.cut()?;
        let Parts { pipeline, query, store, source, decoder, clock, .. } = &mut self.parts;
        let (store, newest) = (&*store, &self.newest);
        let desk = Desk { store, pipeline, identity: &self.identity, query };
        let write = async {
            let staged = match stage(desk, Some(newest), cut, ending, started).await {
                Ok(staged) => staged,
                Err(error) => return Err(log::overtaken(store, Some(newest), error).await?),
            };
            let committed = log::commit(store, Some(newest), staged).await?;
            let logged = clock.now();
            let published = publish(store, &committed).await?;
            Ok::<_, Error>((committed, logged, published))
        };
        let (committed, logged, published) = if ending.released {
            write.await?
        } else {
            // The first records after a start are looked at before they are decoded.
            let is_known = |&(partition, _): &(Partition, Offset)| !self.known.contains_key(&partition);
            let next = self.engine.positions().filter(is_known).collect();
            self.ahead.during(write, source.as_mut(), decoder.as_mut(), next).await?
        };
        source.commit(&published);
        let stored = committed.stored();
        self.engine.committed(&stored.entry);
        sweep(store, Some(&self.newest.entry), &stored.entry).await;
        self.newest = stored.clone();
        self.has_committed(started, logged, 1);
        Ok(())
    }

    /// A commit that began and was logged at these times is published.
    fn has_committed(&mut self, started: Timestamp, logged: Timestamp, attempts: u32) {
        let at = self.parts.clock.now();
        self.parts.observer.took(Took { commit: logged.0 - started.0, publish: at.0 - logged.0, at, attempts });
        self.parts.observer.committed(&self.newest.entry);
        self.stored = pace::stored(&self.newest.entry);
        // Windows have gone: what was shown of them is no longer so.
        self.shown_at = None;
        self.committed_at = at;
        self.cost = at.0 - started.0;
    }

    async fn finish(mut self, options: Options, ended: Ended) -> Result<Entry, Error> {
        // What came too early is not of this run; and it may hold the source's memory.
        self.ahead = Ahead::default();
        let mut flush = Flush::WhenWorthIt;
        if ended == Ended::AtEnd {
            flush = Flush::Now;
            self.observe_ends().await?;
            if !options.close_all && self.engine.awaits_proof() {
                self.parts.clock.sleep(Duration::from_micros(SPREAD.unsigned_abs())).await;
                self.observe_ends().await?;
            }
            if options.close_all {
                self.engine.close_all();
            }
        }
        self.commit(Ending { flush, released: true }).await?;
        self.show(self.parts.clock.now());
        Ok(self.newest.entry)
    }

    /// Asks once more where the partitions end: of a run by the clock, what tells idle partitions from late ones.
    async fn observe_ends(&mut self) -> Result<(), Error> {
        let asked = self.parts.clock.now();
        // A source that is away has no say in whether a run may end.
        let clock = self.parts.clock;
        let topic = tokio::select! {
            biased;
            topic = self.parts.source.describe() => topic?,
            () = clock.sleep(LAST_LOOK) => return Ok(()),
        };
        for (partition, bounds) in topic.partitions {
            if let Some(end) = bounds.end {
                self.engine.observe_end(partition, end, asked);
            }
        }
        self.engine.advance(self.parts.clock.now());
        Ok(())
    }

    fn show(&mut self, now: Timestamp) {
        let mut totals = self.newest.entry.totals.clone();
        totals.add(self.engine.counts());
        let (mut progress, mut lag) = ((0, 0), None);
        for (partition, next) in self.engine.positions() {
            let began = self.began.get(&partition).copied().unwrap_or(next);
            let end = self.ends.get(&partition).copied().unwrap_or(next);
            progress.0 += (next.min(end).0 - began.0).max(0).unsigned_abs();
            progress.1 += (end.0 - began.0).max(0).unsigned_abs();
            if let Some(end) = self.newest_ends.get(&partition) {
                *lag.get_or_insert(0) += (end.0 - next.0).max(0).unsigned_abs();
            }
        }
        if self.ends.is_empty()
            && let Some(way) = self.parts.source.way()
        {
            progress = way;
        }
        let view = View {
            now,
            totals,
            watermark: self.engine.watermark(),
            open_windows: self.engine.open_windows(),
            progress,
            lag,
        };
        self.parts.observer.progress(&view);
        if self.shown_at.is_none_or(|shown| now.0.saturating_sub(shown.0) >= DETAIL_EVERY) {
            self.shown_at = Some(now);
            self.show_detail(view);
        }
    }

    fn show_detail(&mut self, view: View) {
        self.parts.observer.detail(&Detail {
            view,
            quiet: self.engine.is_quiet(),
            partitions: self.engine.view_partitions().collect(),
            ends: self.newest_ends.clone(),
            windows: self.engine.view_windows().collect(),
            groups: self.engine.groups(),
            state_bytes: self.engine.state_bytes(),
            waiting: self.waiting.clone(),
        });
    }
}
