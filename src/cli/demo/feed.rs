//! The rides, written while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::TOPIC;
use crate::error::Error;
use crate::generate::truth::Truth;
use crate::generate::{Generator, Plan};
use crate::log::entry::Entry;
use crate::pipeline::{Observer, View};
use crate::source::SourceError;
use crate::source::produce::{Message, Producer};

/// Rides that may be written and not yet read. The embedded broker keeps 5 MB of a partition and drops what is older;
/// this many stay well below that even if all of them wait in one partition, with a batch of 1 MB half read before them.
const AHEAD: u64 = 10_000;
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// What the writer and the reader of the topic know of each other.
#[derive(Debug)]
pub(super) struct Shared {
    read: AtomicU64,
    leaving: AtomicBool,
    stop: watch::Sender<bool>,
}

impl Shared {
    /// The second value tells a run to stop.
    pub(super) fn new() -> (Arc<Self>, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        (Arc::new(Self { read: AtomicU64::new(0), leaving: AtomicBool::new(false), stop }), stopped)
    }

    /// Ends both, whatever is left to do.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.stop.send_replace(true);
    }
}

/// Shows a run, and stops it when it has read every ride.
pub(super) struct Watch {
    inner: Box<dyn Observer>,
    records: u64,
    shared: Arc<Shared>,
}

impl Watch {
    pub(super) fn new(inner: Box<dyn Observer>, records: u64, shared: Arc<Shared>) -> Self {
        Self { inner, records, shared }
    }
}

impl Observer for Watch {
    fn progress(&mut self, view: &View) {
        let read = view.totals.read;
        self.shared.read.store(read, Ordering::Release);
        // The topic's end moves; how far there is to go is known here alone.
        let lag = Some(self.records.saturating_sub(read));
        self.inner.progress(&View { progress: (read, self.records), lag, ..view.clone() });
        if read >= self.records {
            self.shared.stop.send_replace(true);
        }
    }

    fn committed(&mut self, entry: &Entry) {
        self.inner.committed(entry);
    }
}

/// The thread that writes the rides.
#[derive(Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Option<Truth>, SourceError>>,
}

impl Feed {
    /// Begins to write `records` of `plan`, adding each to `truth`.
    pub(super) fn start(
        brokers: &str,
        plan: Plan,
        records: u64,
        mut truth: Truth,
        shared: Arc<Shared>,
    ) -> Result<Self, SourceError> {
        let producer = Producer::connect(brokers, &std::collections::BTreeMap::new())?;
        let watched = shared.clone();
        let thread = tokio::task::spawn_blocking(move || {
            let outcome = write(&producer, plan, records, &mut truth, &watched);
            if !matches!(outcome, Ok(true)) {
                // Without the rest of the rides the run would wait for ever.
                watched.leave();
            }
            outcome.map(|complete| complete.then_some(truth))
        });
        Ok(Self { shared, thread })
    }

    /// What is true of the rides, if all were written; waits for the thread, which has nothing left to do.
    pub(super) async fn end(self) -> Result<Option<Truth>, Error> {
        self.shared.leave();
        match self.thread.await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => Err(SourceError::Unavailable(format!("writing the rides failed: {error}")).into()),
        }
    }
}

/// Whether all of them were written.
fn write(
    producer: &Producer,
    plan: Plan,
    records: u64,
    truth: &mut Truth,
    shared: &Shared,
) -> Result<bool, SourceError> {
    let limit = usize::try_from(records).unwrap_or(usize::MAX);
    for (number, record) in (0..).zip(Generator::new(plan).take(limit)) {
        while number >= shared.read.load(Ordering::Acquire) + AHEAD {
            if shared.leaving.load(Ordering::Acquire) {
                return Ok(false);
            }
            std::thread::sleep(PAUSE);
        }
        truth.add(&record);
        let message = Message {
            partition: Some(record.partition.0),
            key: Some(&record.key),
            value: record.value.as_deref(),
            timestamp_ms: Some(record.timestamp),
        };
        producer.send(TOPIC, message)?;
    }
    producer.flush(PATIENCE)?;
    Ok(true)
}
