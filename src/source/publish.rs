//! Writing single records to Kafka, each with an answer of its own: for the poller.
//!
//! [`super::produce`] is for many records, of which only the whole matters.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::SourceError;
use super::kafka::settings;

/// How much longer than its own limit the client may take to tell that a record was not delivered.
const GRACE: Duration = Duration::from_secs(5);

/// A writer of records: idempotent, acknowledged by every replica in sync. A key's partition is the one that Java's
/// client gives it.
pub struct Publisher {
    inner: ThreadedProducer<Answers>,
    brokers: String,
    timeout: Duration,
}

/// What became of a record is told by this.
#[derive(Debug)]
pub struct Delivery {
    answer: oneshot::Receiver<Result<(), String>>,
    timeout: Duration,
}

/// Passes each answer on, and keeps what the client last complained of.
#[derive(Default)]
struct Answers {
    complaint: Mutex<Option<String>>,
}

impl Publisher {
    /// A publisher for `brokers`; `properties` are librdkafka's own and may hold secrets. A record that is not confirmed
    /// within `timeout` counts as lost. No connection is made before the first record.
    ///
    /// # Errors
    /// [`SourceError::Invalid`] naming the property that is refused.
    pub fn connect(
        brokers: &str,
        properties: &BTreeMap<String, String>,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        let mut config = ClientConfig::new();
        config.set("linger.ms", "0").set("partitioner", "murmur2_random");
        settings::common(&mut config, brokers, properties);
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", timeout.as_millis().to_string());
        let inner = config.create_with_context(Answers::default()).map_err(|error| settings::refused(&error))?;
        Ok(Self { inner, brokers: brokers.to_owned(), timeout })
    }

    /// Hands a record over; the delivery tells what becomes of it.
    ///
    /// # Errors
    /// Why it cannot even be tried.
    pub fn publish(&self, topic: &str, key: &str, value: &[u8]) -> Result<Delivery, String> {
        let (sender, answer) = oneshot::channel();
        let opaque = Box::new(Mutex::new(Some(sender)));
        let record = BaseRecord::with_opaque_to(topic, opaque).key(key).payload(value);
        match self.inner.send(record) {
            Ok(()) => Ok(Delivery { answer, timeout: self.timeout }),
            Err((error, _)) => Err(format!("cannot write to topic {topic}: {error}")),
        }
    }

    /// How many partitions the topic has. Blocks for `patience` at most.
    ///
    /// # Errors
    /// Why the brokers do not tell.
    pub fn partitions(&self, topic: &str, patience: Duration) -> Result<usize, SourceError> {
        let metadata = self.inner.client().fetch_metadata(Some(topic), patience);
        let metadata = metadata.map_err(|error| {
            let why = self.inner.client().context().take().unwrap_or_else(|| error.to_string());
            SourceError::Unavailable(format!("broker {}: {why}", self.brokers))
        })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map_or(0, |found| found.partitions().len()) {
            0 => Err(SourceError::Invalid(format!("topic {topic}: it does not exist at {}; create it", self.brokers))),
            count => Ok(count),
        }
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The settings hold secrets.
        f.debug_struct("Publisher").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Delivery {
    /// Waits for the broker's answer.
    ///
    /// # Errors
    /// Why the record did not arrive, or is not known to have.
    pub async fn confirmed(self) -> Result<(), String> {
        match tokio::time::timeout(self.timeout + GRACE, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err("no answer from the broker".to_owned()),
        }
    }
}

impl Answers {
    fn take(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

impl ClientContext for Answers {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        settings::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        *self.complaint.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<Mutex<Option<oneshot::Sender<Result<(), String>>>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let sender = opaque.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let answer = result.as_ref().map(|_| ()).map_err(|(error, _)| self.told(error));
        // Whoever does not wait any more has counted it as lost.
        let _ = sender.map(|sender| sender.send(answer));
    }
}

impl Answers {
    /// Why a record did not arrive. A record that only waited in vain has the connection's trouble for a reason.
    fn told(&self, error: &KafkaError) -> String {
        let waited = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::OperationTimedOut)
        );
        let complaint = self.complaint.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match complaint.as_ref() {
            Some(complaint) if waited => format!("the broker did not confirm it in time ({complaint})"),
            _ if waited => "the broker did not confirm it in time".to_owned(),
            _ => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::embedded::Broker;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_record_has_an_answer_of_its_own() {
        let broker = Broker::start("quotes", 3).unwrap();
        let publisher = Publisher::connect(broker.brokers(), &BTreeMap::new(), Duration::from_secs(60)).unwrap();
        let deliveries: Vec<_> =
            (0..20).map(|number| publisher.publish("quotes", &format!("T{number}"), b"{}").unwrap()).collect();
        for delivery in deliveries {
            delivery.confirmed().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_that_does_not_arrive_is_told() {
        let broker = Broker::start("quotes", 1).unwrap();
        broker.set_reachable(false).unwrap();
        let publisher = Publisher::connect(broker.brokers(), &BTreeMap::new(), Duration::from_secs(1)).unwrap();
        let why = publisher.publish("quotes", "T", b"{}").unwrap().confirmed().await.unwrap_err();
        assert!(why.contains("did not confirm it in time"), "{why}");
    }
}
