//! What the client library is told, and what it says back, with no secret in it.

use std::collections::BTreeMap;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::SourceError;
use crate::config::KafkaConfig;

/// Settings of every client: where the brokers are, what the user wishes, and what keeps a connection healthy.
pub(in crate::source) fn common(config: &mut ClientConfig, brokers: &str, properties: &BTreeMap<String, String>) {
    config.set("client.id", "windrow").set("socket.keepalive.enable", "true");
    config.set("reconnect.backoff.max.ms", "3000");
    // The library is linked with a TLS of its own, which does not know where this system keeps its authorities.
    let has_authorities = ["ssl.ca.location", "ssl.ca.pem"].iter().any(|key| properties.contains_key(*key));
    if uses_tls(properties) && !has_authorities {
        config.set("ssl.ca.location", "probe");
    }
    for (key, value) in properties {
        config.set(key, value);
    }
    config.set("bootstrap.servers", brokers);
    // A broker may ask its clients for telemetry: nothing leaves that was not configured.
    config.set("enable.metrics.push", "false");
    let level = if properties.contains_key("debug") { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info };
    config.set_log_level(level);
}

fn uses_tls(properties: &BTreeMap<String, String>) -> bool {
    properties.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"))
}

/// Settings of the client that asks questions: no group, nothing fetched.
pub(super) fn asking(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    common(&mut config, &kafka.brokers, &kafka.properties);
    guard(&mut config);
    // With a group, dropping the client would wait for the group's coordinator.
    config.remove("group.id");
    config
}

/// Settings of the client that reads.
pub(super) fn reading(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    // Small fetches stay in the processor's cache, and a queue that is refilled at once never runs dry: measured to be
    // the fastest. By default the library waits a second after its queue was full.
    config.set("fetch.message.max.bytes", "262144").set("fetch.max.bytes", "8388608");
    config.set("queued.min.messages", "5000").set("fetch.queue.backoff.ms", "2");
    config.set("queued.max.messages.kbytes", "32768");
    common(&mut config, &kafka.brokers, &kafka.properties);
    guard(&mut config);
    config.set("group.id", &kafka.group).set("group.protocol", "classic");
    config
}

/// Settings of the client that is a member of the group, and reads nothing.
pub(super) fn member(kafka: &KafkaConfig, name: Option<&str>) -> ClientConfig {
    let mut config = ClientConfig::new();
    // A dead instance is missed after this; a shorter time would take a moment's trouble for death.
    config.set("session.timeout.ms", "15000");
    common(&mut config, &kafka.brokers, &kafka.properties);
    guard(&mut config);
    config.set("group.id", &kafka.group).set("group.protocol", "classic");
    config.set("partition.assignment.strategy", "cooperative-sticky");
    // It assigns ends, which nothing is read from: an offset that is gone is no concern of its.
    config.set("auto.offset.reset", "latest").set("enable.partition.eof", "false");
    // It is polled as long as the instance goes on with its work.
    config.set("max.poll.interval.ms", "60000");
    if let Some(name) = name {
        config.set("group.instance.id", name);
    }
    config
}

/// What correctness rests on; set last, so that no property overrides it.
fn guard(config: &mut ClientConfig) {
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Any other policy skips records without a word when an offset is gone.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        // Nobody is a member of a group here, and a slow sink may hold the reading up for as long as it likes.
        .set("max.poll.interval.ms", "86400000");
}

/// Why a client could not be made. Values may be secrets, so only the property's name is told.
pub(in crate::source) fn refused(error: &KafkaError) -> SourceError {
    SourceError::Invalid(match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
            format!("Kafka property \"{key}\": librdkafka knows no such property")
        }
        KafkaError::ClientConfig(_, _, key, _) => {
            format!(
                "Kafka property \"{key}\": librdkafka does not take this value (it is not shown: it may be a secret)"
            )
        }
        KafkaError::ClientCreation(why) => format!("Kafka properties do not fit together: {why}"),
        other => format!("cannot make a Kafka client: {other}"),
    })
}

/// One line of the library's own log: details for whoever looks for them, never more than debug.
pub(in crate::source) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    tracing::debug!(target: "librdkafka", level = level as i32, "{facility}: {message}");
}
