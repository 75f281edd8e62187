//! Writing records to Kafka: for generated records, the demo, the poller and tests.
//!
//! What was sent counts only when [`Producer::flush`] has said so.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::SourceError;
use super::kafka::settings;

/// How long a full queue is given before it is tried again.
const FULL: Duration = Duration::from_millis(5);

/// One record to be written.
#[derive(Copy, Clone, Debug, Default)]
pub struct Message<'a> {
    /// The partition; `None` leaves the choice to the key's hash.
    pub partition: Option<i32>,
    /// The key; `None` for a null key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the epoch; `None` for the time of sending.
    pub timestamp_ms: Option<i64>,
}

/// A writer of records: idempotent, acknowledged by every replica in sync, in order within a partition.
///
/// Its methods block; from async code, call them on a blocking thread.
pub struct Producer {
    inner: ThreadedProducer<Deliveries>,
    brokers: String,
}

/// Counts what became of the records, on the client's own thread.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// The first failure since the last flush, and the last thing the client complained of.
    first_failure: Mutex<Option<String>>,
    complaint: Mutex<Option<String>>,
}

impl Producer {
    /// A producer for `brokers`; `properties` are librdkafka's own and may hold secrets.
    /// No connection is made before the first record, so a broker that is down is not noticed here.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] naming the property that is refused.
    pub fn connect(brokers: &str, properties: &BTreeMap<String, String>) -> Result<Self, SourceError> {
        let mut config = ClientConfig::new();
        config.set("linger.ms", "5").set("compression.type", "lz4");
        settings::common(&mut config, brokers, properties);
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set_log_level(RDKafkaLogLevel::Info);
        let inner = config.create_with_context(Deliveries::default()).map_err(|error| settings::refused(&error))?;
        Ok(Self { inner, brokers: brokers.to_owned() })
    }

    /// Hands one record over, waiting while the client's queue is full.
    ///
    /// # Errors
    /// If the record can never be delivered, such as one that is too large, or a partition that does not exist.
    pub fn send(&self, topic: &str, message: Message<'_>) -> Result<(), SourceError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        record.partition = message.partition;
        record.key = message.key;
        record.payload = message.value;
        record.timestamp = message.timestamp_ms;
        loop {
            let Err((error, again)) = self.inner.send(record) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(SourceError::Unavailable(format!("cannot write to topic {topic}: {error}")));
            }
            record = again;
            thread::sleep(FULL);
        }
    }

    /// Waits until every record sent so far is delivered or given up, `patience` at most.
    /// After an error the count begins anew, so the next flush speaks of later records only.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] with how many records were not delivered and why. Those still waiting when the
    /// patience ends are given up too: none is delivered after an error.
    pub fn flush(&self, patience: Duration) -> Result<(), SourceError> {
        let flushed = self.inner.flush(patience);
        if flushed.is_err() {
            self.inner.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
            // The purge itself is told through the delivery callback.
            let _ = self.inner.flush(Duration::from_secs(1));
        }
        let deliveries = self.inner.client().context();
        let failed = deliveries.failed.swap(0, Ordering::AcqRel);
        let first = take(&deliveries.first_failure);
        let complaint = take(&deliveries.complaint);
        if failed == 0 && flushed.is_ok() {
            return Ok(());
        }
        let why = match (first, complaint) {
            (Some(first), Some(complaint)) => format!("{first} ({complaint})"),
            (Some(why), None) | (None, Some(why)) => why,
            (None, None) => "no answer in time".to_owned(),
        };
        Err(SourceError::Unavailable(format!("broker {}: {failed} records were not delivered: {why}", self.brokers)))
    }

    /// How many partitions `topic` has, waiting `patience` at most for a broker to say so. Where the broker makes
    /// topics by itself, asking makes it.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] if no broker answers; [`SourceError::Invalid`] if the topic does not exist.
    pub fn partitions(&self, topic: &str, patience: Duration) -> Result<u32, SourceError> {
        let away = |why: String| SourceError::Unavailable(format!("broker {}: {why}", self.brokers));
        // A topic that is being made has no leader for a moment.
        for _ in 0..50 {
            let metadata = self.inner.client().fetch_metadata(Some(topic), patience);
            let metadata = metadata.map_err(|error| {
                away(take(&self.inner.client().context().complaint).unwrap_or_else(|| error.to_string()))
            })?;
            if let Some(found) = metadata.topics().iter().find(|found| found.name() == topic)
                && !found.partitions().is_empty()
            {
                return Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(SourceError::Invalid(format!("topic {topic}: it does not exist at {}; create it first", self.brokers)))
    }

    /// How many records have been delivered since the producer was made.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.inner.client().context().delivered.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The settings hold secrets.
        f.debug_struct("Producer").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

fn take(slot: &Mutex<Option<String>>) -> Option<String> {
    slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

fn put(slot: &Mutex<Option<String>>, text: impl FnOnce() -> String, over: bool) {
    let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if over || slot.is_none() {
        *slot = Some(text());
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        settings::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        put(&self.complaint, || reason.to_owned(), true);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::AcqRel);
            }
            Err((error, _)) => {
                self.failed.fetch_add(1, Ordering::AcqRel);
                put(&self.first_failure, || error.to_string(), false);
            }
        }
    }
}
