//! A Kafka topic, every partition read by this instance.
//!
//! Two threads do the work: one takes messages from the client and copies them out, one asks the brokers where
//! partitions end. Both hand events over through one bounded channel, so a slow reader stops the first, and the client
//! then stops fetching. Partitions are assigned with explicit offsets: no group decides anything here, its committed offsets are
//! written for the eyes of others.

pub mod batch;
pub mod errors;
mod heard;
mod inquiry;
pub mod member;
mod progress;
mod reader;
pub(in crate::source) mod settings;
#[cfg(test)]
mod tests;
mod topic_id;
mod watch;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::Offset as At;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::oneshot;

use self::batch::Inbox;
use self::heard::Heard;
use self::inquiry::{Inquiry, Unanswered};
use self::progress::Progress;
use self::reader::{Reader, WORTH_KEEPING};
use self::watch::Watch;
use super::{Event, Source, SourceError, Start, Topic};
use crate::clock::Clock;
use crate::config::KafkaConfig;
use crate::record::{Offset, Partition, Records};

/// Events that wait for the reader; a batch of records is about a mebibyte at most.
const EVENTS: usize = 8;
/// How long to wait before a question is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often in a row a question may seem hopeless: a topic that was just created is not known at once everywhere.
const HOPELESS: u32 = 3;
/// How often an outage at the start is told, in microseconds.
const REMIND: i64 = 60_000_000;
/// How long the client may take to set itself to another place, which it does without the brokers.
const SEEK: Duration = Duration::from_secs(10);
/// How long dropping the source may wait for its threads.
const FAREWELL: Duration = Duration::from_secs(1);

/// The client that a [`KafkaSource`] reads with, its settings included.
///
/// # Errors
/// [`SourceError::Invalid`] naming the property that is refused; never its value, which may be a secret.
pub fn inbox<C: ConsumerContext>(kafka: &KafkaConfig, context: C) -> Result<Inbox<C>, SourceError> {
    let consumer = settings::reading(kafka).create_with_context(context).map_err(|error| settings::refused(&error))?;
    Inbox::new(consumer).ok_or_else(|| SourceError::Invalid("Kafka: the client has no queue of its own".to_owned()))
}

/// A topic, read in full.
pub struct KafkaSource {
    kafka: KafkaConfig,
    topic: String,
    brokers: String,
    clock: Clock,
    heard: Heard,
    progress: Arc<Progress>,
    /// `None` only while the source is being dropped.
    inquiry: Option<Arc<Inquiry>>,
    /// The reading thread alone may drop the client, for that can take a while.
    inbox: Weak<Inbox<Heard>>,
    events: Receiver<Result<Event, SourceError>>,
    /// Where the watching thread will put its events; `None` once it runs.
    for_watch: Option<Sender<Result<Event, SourceError>>>,
    /// For batches that are done with.
    used: mpsc::SyncSender<Records>,
    group: String,
    /// Partitions that something came of.
    delivered: BTreeSet<Partition>,
    paused: BTreeSet<Partition>,
    /// Told nothing, only dropped: by each thread when it has ended.
    ended: mpsc::Receiver<()>,
    ending: Option<mpsc::Sender<()>>,
}

impl KafkaSource {
    /// A source for the topic that `kafka` names. Brokers that are down are not noticed before the first question.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] naming the property that is refused; never its value, which may be a secret.
    pub fn connect(kafka: &KafkaConfig, clock: Clock) -> Result<Self, SourceError> {
        let heard = Heard::default();
        let inquiry = Arc::new(Inquiry::connect(kafka, heard.clone())?);
        Self::open(kafka, clock, heard, inquiry)
    }

    /// With a client to read with that is new, and one to ask with that may not be: it remembers the topic.
    fn open(kafka: &KafkaConfig, clock: Clock, heard: Heard, inquiry: Arc<Inquiry>) -> Result<Self, SourceError> {
        let inbox = Arc::new(inbox(kafka, heard.clone())?);
        let (sender, events) = tokio::sync::mpsc::channel(EVENTS);
        let (used, for_reader) = mpsc::sync_channel(EVENTS);
        let (ending, ended) = mpsc::channel();
        let source = Self {
            kafka: kafka.clone(),
            topic: kafka.topic.clone(),
            brokers: kafka.brokers.clone(),
            clock,
            heard: heard.clone(),
            progress: Arc::default(),
            inquiry: Some(inquiry.clone()),
            inbox: Arc::downgrade(&inbox),
            events,
            for_watch: Some(sender.clone()),
            used,
            group: kafka.group.clone(),
            delivered: BTreeSet::new(),
            paused: BTreeSet::new(),
            ended,
            ending: Some(ending),
        };
        let (topic, group) = (kafka.topic.clone(), kafka.group.clone());
        let progress = source.progress.clone();
        let headers = kafka.headers;
        let reader =
            Reader { inbox, inquiry, heard, progress, events: sender, used: for_reader, topic, group, headers };
        source.spawn("windrow-kafka", move || reader.run())?;
        Ok(source)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), SourceError> {
        let ending = self.ending.clone();
        let work = move || {
            work();
            drop(ending);
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        thread.map(drop).map_err(|error| SourceError::Unavailable(format!("cannot start a thread: {error}")))
    }

    /// Asks once, on a thread of its own.
    async fn ask_once<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&Inquiry) -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        let (answer, answered) = oneshot::channel();
        let inquiry = self.inquiry.clone().ok_or_else(|| self.closed())?;
        self.spawn("windrow-question", move || {
            let _ = answer.send(question(&inquiry));
        })?;
        answered.await.map_err(|_| self.closed())
    }

    /// Asks again and again until there is an answer, or none to be hoped for.
    async fn ask<T, F>(&mut self, question: F) -> Result<T, SourceError>
    where
        T: Send + 'static,
        F: Fn(&Inquiry) -> Result<T, Unanswered> + Copy + Send + 'static,
    {
        let mut reminded = None;
        let mut hopeless = 0;
        loop {
            let asked = self.ask_once(move |inquiry| {
                question(inquiry).map_err(|unanswered| {
                    let hopeless = inquiry.hopeless(&unanswered);
                    (unanswered, hopeless)
                })
            });
            match asked.await? {
                Ok(found) => {
                    self.heard.answered();
                    return Ok(found);
                }
                Err((_, Some(error))) => {
                    hopeless += 1;
                    if hopeless >= HOPELESS {
                        return Err(error);
                    }
                }
                Err((unanswered, None)) => {
                    let now = self.clock.now();
                    hopeless = 0;
                    if reminded.is_none_or(|then: i64| now.0.saturating_sub(then) >= REMIND) {
                        reminded = Some(now.0);
                        tracing::warn!("waiting for {}", unanswered.text);
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn closed(&self) -> SourceError {
        SourceError::Unavailable(format!("topic {}: the client for {} has ended", self.topic, self.brokers))
    }

    fn list(&self, offsets: &BTreeMap<Partition, Offset>) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition.0, At::Offset(offset.0)).map_err(|error| {
                let text = format!("topic {} partition {partition}: offset {offset}: {error}", self.topic);
                SourceError::Data(text)
            })?;
        }
        Ok(list)
    }

    /// Asks the brokers for ends from now on.
    fn watch(&mut self) -> Result<(), SourceError> {
        let (Some(events), Some(inquiry)) = (self.for_watch.take(), self.inquiry.clone()) else { return Ok(()) };
        let watch = Watch {
            inquiry,
            heard: self.heard.clone(),
            progress: self.progress.clone(),
            events,
            clock: self.clock,
            topic: self.topic.clone(),
            group: self.group.clone(),
        };
        self.spawn("windrow-watch", move || watch.run())
    }
}

#[async_trait::async_trait]
impl Source for KafkaSource {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        self.ask(Inquiry::describe).await
    }

    async fn resolve(&mut self, start: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        self.ask(move |inquiry| inquiry.resolve(start)).await
    }

    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        let list = self.list(from)?;
        let inbox = self.inbox.upgrade().ok_or_else(|| self.closed())?;
        for (&partition, &offset) in from {
            if !inbox.lead(&self.topic, partition) {
                let text = format!("topic {}: there is no partition {partition}", self.topic);
                return Err(SourceError::Invalid(text));
            }
            self.progress.begin(partition, offset);
        }
        inbox.consumer().incremental_assign(&list).map_err(|error| {
            SourceError::Unavailable(format!("topic {}: cannot begin to read: {error}", self.topic))
        })?;
        self.watch()
    }

    /// With another client: of the one before nothing can come any more.
    async fn reassign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        let has_begun = self.for_watch.is_none();
        if has_begun {
            let inquiry = self.inquiry.clone().ok_or_else(|| self.closed())?;
            let new = Self::open(&self.kafka, self.clock, self.heard.clone(), inquiry)?;
            let old = std::mem::replace(self, new);
            // Its threads end in their own time.
            let _ = thread::Builder::new().name("windrow-farewell".to_owned()).spawn(move || drop(old));
        }
        if from.is_empty() { Ok(()) } else { self.assign(from).await }
    }

    /// The client drops what it has fetched of a paused partition, and later fetches from behind the last message that it
    /// handed over. If there was none yet it would go on behind what it dropped: such a partition is not paused. After the
    /// end of a partition its batch call takes it to stand one further than it does (librdkafka,
    /// `rd_kafka_q_serve_rkmessages`), and the next record would be left out: so it is told where to go on.
    fn pause(&mut self, partitions: &BTreeSet<Partition>) -> Result<(), SourceError> {
        let partitions = &(partitions & &self.delivered);
        if *partitions == self.paused {
            return Ok(());
        }
        let inbox = self.inbox.upgrade().ok_or_else(|| self.closed())?;
        let places = self.progress.places();
        let list = |of: BTreeSet<Partition>| {
            self.list(&of.into_iter().filter_map(|partition| Some((partition, places.get(&partition)?.next))).collect())
        };
        let stop = list(partitions - &self.paused)?;
        let go = list(&self.paused - partitions)?;
        let consumer = inbox.consumer();
        let moved = consumer.pause(&stop).and_then(|()| {
            if go.count() > 0 {
                let sought = consumer.seek_partitions(go.clone(), SEEK)?;
                sought.elements().iter().try_for_each(|partition| partition.error())?;
            }
            consumer.resume(&go)
        });
        moved.map_err(|error| {
            SourceError::Unavailable(format!("topic {}: cannot pause partitions: {error}", self.topic))
        })?;
        self.paused.clone_from(partitions);
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        let event = self.events.recv().await.ok_or_else(|| self.closed())?;
        if let Ok(Event::Records(records)) = &event {
            self.delivered.insert(records.partition);
        }
        event
    }

    async fn confirm(&mut self) -> Result<(), SourceError> {
        if self.heard.outage().is_some() {
            return Ok(());
        }
        match self.ask_once(Inquiry::remade).await? {
            Ok(remade) => remade.map_or(Ok(()), Err),
            Err(unanswered) => {
                tracing::debug!(code = ?unanswered.code, "cannot confirm the topic: {}", unanswered.text);
                Ok(())
            }
        }
    }

    fn take_back(&mut self, records: Records) {
        if records.bytes() >= WORTH_KEEPING {
            // With enough of them waiting this one is not needed.
            let _ = self.used.try_send(records);
        }
    }

    fn commit(&mut self, published: &crate::log::Published) {
        let Some(inbox) = self.inbox.upgrade() else { return };
        let committed = self.list(published.next()).map_err(|error| error.to_string()).and_then(|list| {
            if list.count() == 0 {
                return Ok(());
            }
            inbox.consumer().commit(&list, CommitMode::Async).map_err(|error| error.to_string())
        });
        if let Err(error) = committed {
            tracing::debug!("cannot commit offsets to Kafka: {error}");
        }
    }
}

impl Drop for KafkaSource {
    /// Leaves the clients to their threads, and waits a moment for them: a process that exits under a client's feet
    /// can crash in its TLS library.
    fn drop(&mut self) {
        self.events.close();
        while self.events.try_recv().is_ok() {}
        self.for_watch = None;
        self.progress.trouble();
        if let Some(inquiry) = self.inquiry.take() {
            let _ = self.spawn("windrow-farewell", move || drop(inquiry));
        }
        self.ending = None;
        // Nothing is ever sent: the wait ends when the last thread has.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("topic", &self.topic)
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}
