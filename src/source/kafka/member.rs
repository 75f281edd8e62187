//! Membership in the Kafka group: a client of its own that is given partitions and never reads them.
//!
//! It assigns what it gets at the partitions' ends and pauses it at once, so nothing is fetched here. The client that reads
//! is another one, and is told its offsets by the log. Offsets are committed through this client: Kafka takes them from
//! members only. A thread polls it, as long as the loop says that it goes on with its work; one that hangs stops the
//! polling, and Kafka gives its partitions to others. A process that is beyond hope is ended.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset as At;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::errors;
use super::heard::Heard;
use super::settings;
use super::watchdog::{Verdict, Watchdog};
use crate::clock::Clock;
use crate::config::KafkaConfig;
use crate::log::Published;
use crate::record::Partition;
use crate::source::SourceError;
use crate::source::member::{Change, Member};

/// How long the client waits for an event before it looks around.
const POLL: Duration = Duration::from_millis(100);
/// How long the loop may take to let partitions go. A last commit that takes longer is left to claims to judge.
const LET_GO: Duration = Duration::from_secs(20);
/// How long leaving may keep a process from its end.
const FAREWELL: Duration = Duration::from_secs(2);

/// An instance that was fenced off joins again, unless it was fenced off before within this time, in microseconds: a coordinator
/// that died may bring an older member back, but of two instances with one name one has to leave.
const FENCED_AGAIN: i64 = 600_000_000;

/// A member of the group that `[source.kafka]` names.
pub struct KafkaMember {
    topic: String,
    name: String,
    clock: Clock,
    watched: Arc<Watched>,
    changes: UnboundedReceiver<Result<Change, SourceError>>,
    let_go: Sender<()>,
    commits: Sender<TopicPartitionList>,
    ended: Receiver<()>,
}

/// What both sides look at.
#[derive(Debug, Default)]
struct Watched {
    /// When the loop last said that it goes on.
    alive: AtomicI64,
    over: AtomicBool,
    /// Whether the group stands: no offset is committed while it is being made anew.
    settled: AtomicBool,
}

/// Answers what the client library asks, on the thread that polls.
struct Answers {
    heard: Heard,
    watched: Arc<Watched>,
    changes: UnboundedSender<Result<Change, SourceError>>,
    let_go: Arc<Mutex<Receiver<()>>>,
    /// The client was fenced off: what it is still asked means nothing.
    retired: AtomicBool,
}

impl KafkaMember {
    /// Joins the group. With a `name` the member is known by it after a restart, too, and gets back what it had. `requests`
    /// tells how many the sink has had: as long as they become more, the process is not given up.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] naming the property that is refused; never its value, which may be a secret.
    pub fn join(
        kafka: &KafkaConfig,
        name: Option<&str>,
        unnamed: &str,
        clock: Clock,
        requests: impl Fn() -> u64 + Send + 'static,
    ) -> Result<Self, SourceError> {
        let (sender, changes) = unbounded_channel();
        let (let_go, to_let_go) = channel();
        let (commits, to_commit) = channel();
        let (ending, ended) = channel();
        let watched = Arc::new(Watched::default());
        watched.alive.store(clock.now().0, Ordering::Relaxed);
        let polling = Polling {
            kafka: kafka.clone(),
            name: name.map(str::to_owned),
            watched: watched.clone(),
            changes: sender,
            let_go: Arc::new(Mutex::new(to_let_go)),
            commits: to_commit,
            clock,
        };
        let client = polling.client()?;
        let work = move || {
            polling.run(client, requests);
            drop(ending);
        };
        thread::Builder::new()
            .name("windrow-member".to_owned())
            .spawn(work)
            .map_err(|error| SourceError::Unavailable(format!("cannot start a thread: {error}")))?;
        let name = name.unwrap_or(unnamed).to_owned();
        Ok(Self { topic: kafka.topic.clone(), name, clock, watched, changes, let_go, commits, ended })
    }
}

#[async_trait]
impl Member for KafkaMember {
    fn name(&self) -> &str {
        &self.name
    }

    async fn next(&mut self) -> Result<Change, SourceError> {
        let closed = || SourceError::Unavailable(format!("topic {}: the group's client has ended", self.topic));
        self.changes.recv().await.unwrap_or_else(|| Err(closed()))
    }

    fn let_go(&mut self) {
        let _ = self.let_go.send(());
    }

    fn alive(&mut self) {
        self.watched.alive.store(self.clock.now().0, Ordering::Relaxed);
    }

    fn commit(&mut self, published: &Published, of: &BTreeSet<Partition>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in published.next().iter().filter(|(partition, _)| of.contains(partition)) {
            let _ = list.add_partition_offset(&self.topic, partition.0, At::Offset(offset.0));
        }
        if list.count() > 0 {
            let _ = self.commits.send(list);
        }
    }
}

impl Drop for KafkaMember {
    /// Leaves the group, if it is there to be left.
    fn drop(&mut self) {
        self.changes.close();
        self.watched.over.store(true, Ordering::Relaxed);
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

type Client = BaseConsumer<Answers>;

struct Polling {
    kafka: KafkaConfig,
    name: Option<String>,
    watched: Arc<Watched>,
    changes: UnboundedSender<Result<Change, SourceError>>,
    let_go: Arc<Mutex<Receiver<()>>>,
    commits: Receiver<TopicPartitionList>,
    clock: Clock,
}

impl Polling {
    /// A client that joins the group.
    fn client(&self) -> Result<Client, SourceError> {
        let Self { kafka, name, .. } = self;
        let answers = Answers {
            heard: Heard::default(),
            watched: self.watched.clone(),
            changes: self.changes.clone(),
            let_go: self.let_go.clone(),
            retired: AtomicBool::new(false),
        };
        let client: Client = settings::member(kafka, name.as_deref())
            .create_with_context(answers)
            .map_err(|error| settings::refused(&error))?;
        client.subscribe(&[&kafka.topic]).map_err(|error| {
            SourceError::Unavailable(format!("topic {}: cannot join group {}: {error}", kafka.topic, kafka.group))
        })?;
        Ok(client)
    }

    fn run(self, mut client: Client, requests: impl Fn() -> u64) {
        let mut watchdog = Watchdog::new(self.clock.now());
        let mut before = Verdict::Works;
        let mut fenced: Option<i64> = None;
        while !self.watched.over.load(Ordering::Relaxed) {
            let now = self.clock.now();
            let verdict = watchdog.look(now, self.watched.alive.load(Ordering::Relaxed), requests());
            match (std::mem::replace(&mut before, verdict), verdict) {
                (_, Verdict::Over) => {
                    tracing::error!(
                        "nothing has moved in this instance for a quarter of an hour: it ends, to be started again"
                    );
                    std::process::exit(1);
                }
                (Verdict::Works, Verdict::Hangs) => {
                    tracing::error!("nothing goes on in this instance: its partitions are left to others");
                }
                (Verdict::Hangs, Verdict::Works) => tracing::warn!("it goes on in this instance again"),
                _ => {}
            }
            if verdict == Verdict::Hangs {
                thread::sleep(POLL);
                continue;
            }
            let event = client.poll(POLL);
            self.commit(&client);
            let Some(Err(error)) = event else { continue };
            let Some(error) = self.ending(&client, &error) else { continue };
            let again = matches!(error, SourceError::Fenced(_))
                && fenced.is_none_or(|before| now.0.saturating_sub(before) > FENCED_AGAIN);
            let joined = if again { self.join_again(&client) } else { Err(error) };
            match joined {
                Ok(new) => {
                    fenced = Some(now.0);
                    client = new;
                }
                Err(error) => {
                    let _ = self.changes.send(Err(error));
                    return;
                }
            }
        }
        self.commit(&client);
        client.unsubscribe();
        // The library answers the last questions while it is polled.
        let _ = client.poll(POLL);
    }

    /// Gives up what the client had, which was fenced off; a new one.
    fn join_again(&self, fenced: &Client) -> Result<Client, SourceError> {
        tracing::warn!("the group has another member of this name: this instance joins again");
        let answers = fenced.context();
        answers.retired.store(true, Ordering::Relaxed);
        self.watched.settled.store(false, Ordering::Relaxed);
        let lost = fenced.assignment().map(|list| partitions(&list)).unwrap_or_default();
        if !lost.is_empty() {
            let _ = self.changes.send(Ok(Change::Leaving(lost)));
        }
        self.client()
    }

    /// Passes on offsets that were published.
    fn commit(&self, client: &Client) {
        for list in self.commits.try_iter() {
            if self.watched.settled.load(Ordering::Relaxed)
                && let Err(error) = client.commit(&list, CommitMode::Async)
            {
                tracing::debug!("cannot commit offsets to Kafka: {error}");
            }
        }
    }

    /// The error that ends the run; `None` if the library goes on by itself. The client that reads has its own say.
    fn ending(&self, client: &Client, error: &KafkaError) -> Option<SourceError> {
        use RDKafkaErrorCode as Code;
        let KafkaConfig { topic, group, .. } = &self.kafka;
        let code = error.rdkafka_error_code();
        tracing::debug!(target: "librdkafka", "member: {error}");
        let said = || code.map_or_else(|| error.to_string(), |code| client.context().heard.text_of(code));
        let fenced =
            || SourceError::Fenced(format!("group {group}: another instance has this one's name; give each its own"));
        match code {
            Some(Code::FencedInstanceId) => Some(fenced()),
            Some(Code::Fatal) => {
                let (code, text) = client.client().fatal_error().unwrap_or((Code::Fatal, said()));
                if code == Code::FencedInstanceId {
                    return Some(fenced());
                }
                Some(SourceError::Unavailable(format!("group {group}: {text}")))
            }
            Some(
                code @ (Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::InconsistentGroupProtocol
                | Code::InvalidSessionTimeout
                | Code::InvalidGroupId),
            ) => Some(errors::ending(topic, group, code, &said())),
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                Some(SourceError::Unavailable(format!("group {group}: {}", said())))
            }
            _ => None,
        }
    }
}

fn partitions(list: &TopicPartitionList) -> BTreeSet<Partition> {
    list.elements().iter().map(|each| Partition(each.partition())).collect()
}

impl Answers {
    fn gained(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let mut ends = TopicPartitionList::new();
        for each in list.elements() {
            ends.add_partition_offset(each.topic(), each.partition(), At::End)?;
        }
        client.incremental_assign(&ends)?;
        if ends.count() > 0 {
            client.pause(&ends)?;
        }
        let partitions = partitions(list);
        if !partitions.is_empty() {
            let _ = self.changes.send(Ok(Change::Gained(partitions)));
        }
        self.watched.settled.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn leaving(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        self.watched.settled.store(false, Ordering::Relaxed);
        let partitions = partitions(list);
        let let_go = self.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        // An answer that came too late the last time is none to this question.
        while let_go.try_recv().is_ok() {}
        if !partitions.is_empty()
            && self.changes.send(Ok(Change::Leaving(partitions))).is_ok()
            && !client.assignment_lost()
        {
            self.wait(&let_go);
        }
        client.incremental_unassign(list)
    }

    fn wait(&self, let_go: &Receiver<()>) {
        let mut left = LET_GO;
        while left > Duration::ZERO && !self.watched.over.load(Ordering::Relaxed) {
            match let_go.recv_timeout(POLL) {
                Err(RecvTimeoutError::Timeout) => left = left.saturating_sub(POLL),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        settings::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.error(error, reason);
    }
}

impl ConsumerContext for Answers {
    fn rebalance(&self, client: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if self.retired.load(Ordering::Relaxed) {
            // The library wants an answer, and that is all there is to it.
            let _ = client.unassign();
            return;
        }
        let done = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.gained(client, list),
            _ => self.leaving(client, list),
        };
        if let Err(error) = done {
            let text = format!("the group's client cannot take up what it is given: {error}");
            let _ = self.changes.send(Err(SourceError::Unavailable(text)));
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.heard.commit_callback(result, offsets);
    }
}

impl std::fmt::Debug for KafkaMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaMember").field("topic", &self.topic).field("name", &self.name).finish_non_exhaustive()
    }
}
