//! What the client library says on its own: its log, its complaints, the fate of commits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::errors::{Class, class};
use super::settings;

/// Something that is wrong, in the library's words; they name the broker.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

impl Complaint {
    pub(super) fn class(&self) -> Class {
        class(self.code)
    }
}

/// Hears both clients of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The newest error, whatever it was.
    newest: Mutex<Option<Complaint>>,
    /// What keeps the brokers out of reach, until they answer.
    outage: Mutex<Option<Complaint>>,
    /// Codes of failed commits that were told.
    commits: Mutex<BTreeSet<i32>>,
}

impl Heard {
    /// The text of the error that was just returned with `code`.
    pub(super) fn text_of(&self, code: RDKafkaErrorCode) -> String {
        let newest = lock(&self.0.newest);
        newest.as_ref().filter(|said| said.code == code).map_or_else(|| code.to_string(), |said| said.text.clone())
    }

    /// What is wrong with the brokers, as far as is known.
    pub(super) fn outage(&self) -> Option<Complaint> {
        lock(&self.0.outage).clone()
    }

    /// The brokers have answered: whatever was wrong is over.
    pub(super) fn answered(&self) {
        *lock(&self.0.outage) = None;
    }

    /// Something is wrong with a partition: it came among the records.
    pub(super) fn complained(&self, code: RDKafkaErrorCode, text: &str) {
        tracing::debug!(target: "librdkafka", "{code}: {text}");
        self.complain(Complaint { code, text: text.to_owned() });
    }

    fn complain(&self, complaint: Complaint) {
        if complaint.class() != Class::Fatal {
            let mut outage = lock(&self.0.outage);
            // What may not heal outweighs what will, and "all brokers are down" says less than why one is.
            let keep = outage.as_ref().is_some_and(|known| {
                known.class() > complaint.class() || complaint.code == RDKafkaErrorCode::AllBrokersDown
            });
            if !keep {
                *outage = Some(complaint.clone());
            }
        }
        *lock(&self.0.newest) = Some(complaint);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Heard {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        settings::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        self.complain(Complaint { code, text: reason.to_owned() });
    }
}

impl ConsumerContext for Heard {
    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let partly = || offsets.elements().iter().find_map(|partition| partition.error().err());
        let Some(error) = result.err().or_else(partly) else { return };
        let Some(code) = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::NoOffset) else { return };
        if lock(&self.0.commits).insert(code as i32) {
            tracing::warn!("cannot commit offsets to Kafka: {error}; only lag tools miss them, the log has them");
        } else {
            tracing::debug!("cannot commit offsets to Kafka: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(heard: &Heard, code: RDKafkaErrorCode, text: &str) {
        heard.error(KafkaError::Global(code), text);
    }

    #[test]
    fn an_outage_is_told_by_its_cause() {
        let heard = Heard::default();
        hear(&heard, RDKafkaErrorCode::BrokerTransportFailure, "b1:9092: Connection refused");
        hear(&heard, RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(heard.outage().map(|complaint| complaint.text).as_deref(), Some("b1:9092: Connection refused"));
        hear(&heard, RDKafkaErrorCode::Authentication, "b1:9092: wrong password");
        hear(&heard, RDKafkaErrorCode::BrokerTransportFailure, "b1:9092: Disconnected");
        assert_eq!(heard.outage().map(|complaint| complaint.class()), Some(Class::Limited));
        heard.answered();
        assert!(heard.outage().is_none());
    }
}
