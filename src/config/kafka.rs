//! `[source.kafka]`: the topic, and which of librdkafka's properties may pass.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use super::KafkaConfig;
use super::near;
use super::reader::{Reader, Section, Text};
use crate::source::Start;
use crate::time::text::{self, TextError};

/// Properties that the pipeline file has a key for.
const SET_BY: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("group.id", "group"),
    ("auto.offset.reset", "start"),
];

/// Properties that exactness needs at one value.
const OWNED: &[(&str, &str)] = &[
    ("enable.auto.commit", "offsets are committed after files are durable, never by the clock"),
    ("auto.commit.enable", "offsets are committed after files are durable, never by the clock"),
    ("auto.commit.interval.ms", "offsets are committed after files are durable, never by the clock"),
    ("enable.auto.offset.store", "offsets are committed after files are durable, never by the clock"),
    ("offset.store.method", "the commit log in the sink is the truth"),
    ("offset.store.path", "the commit log in the sink is the truth"),
    ("offset.store.sync.interval.ms", "the commit log in the sink is the truth"),
    ("enable.partition.eof", "idleness is told by the ends of partitions, which Windrow asks for"),
    ("isolation.level", "only committed records are read, always"),
    ("check.crcs", "checksums are always checked"),
    ("allow.auto.create.topics", "a topic that is missing is an error"),
    ("group.protocol", "Windrow assigns partitions itself"),
    ("group.protocol.type", "Windrow assigns partitions itself"),
    ("group.instance.id", "Windrow assigns partitions itself"),
    ("group.remote.assignor", "Windrow assigns partitions itself"),
    ("partition.assignment.strategy", "Windrow assigns partitions itself"),
    ("enable.metrics.push", "Windrow tells its own metrics, and only to those who ask"),
    ("statistics.interval.ms", "Windrow tells its own metrics, and only to those who ask"),
    ("consume.callback.max.messages", "it is the program's, not the user's"),
    ("enabled_events", "it is the program's, not the user's"),
    ("log.queue", "it is the program's, not the user's"),
    ("interceptors", "it is the program's, not the user's"),
    ("opaque", "it is the program's, not the user's"),
    ("default_topic_conf", "it is the program's, not the user's"),
    ("internal.termination.signal", "it is the program's, not the user's"),
    ("client.software.name", "it is the program's, not the user's"),
    ("client.software.version", "it is the program's, not the user's"),
];

/// Properties that load or run code.
const RUNS_CODE: &[&str] = &[
    "plugin.library.paths",
    "ssl.engine.location",
    "ssl.engine.id",
    "ssl_engine_callback_data",
    "ssl.providers",
    "sasl.kerberos.kinit.cmd",
];

/// What people set; librdkafka tells only whether a name is known.
const USUAL: &[&str] = &[
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.scope",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "client.id",
    "client.rack",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "receive.message.max.bytes",
    "session.timeout.ms",
    "max.poll.interval.ms",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "metadata.max.age.ms",
    "topic.metadata.refresh.interval.ms",
    "broker.address.family",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "debug",
];

/// The section as a whole, `None` where something is wrong.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<KafkaConfig> {
    let brokers = read_brokers(reader, section);
    let topic = reader.required(section, "topic").and_then(|text| checked(reader, &text, topic));
    let group = reader.required(section, "group").and_then(|text| checked(reader, &text, group));
    let start = match reader.text(section, "start") {
        Some(text) => checked(reader, &text, start),
        None => Some(Start::Earliest),
    };
    let mut shared = false;
    if let Some(text) = reader.text(section, "assignment") {
        match text.value.as_str() {
            "all" => {}
            "group" => shared = true,
            other => {
                let error = TextError::new("unknown", near::hint(other, &["all", "group"]));
                reader.wrong(&text, &error);
            }
        }
    }
    let properties = reader.section(section, "properties", "properties");
    let properties = reader.properties(&properties);
    for (name, text) in &properties {
        check_property(reader, name, text);
    }
    let properties: BTreeMap<_, _> = properties.into_iter().map(|(name, text)| (name, text.value)).collect();
    Some(KafkaConfig {
        brokers: brokers?,
        topic: topic?,
        group: group?,
        start: start?,
        properties,
        headers: false,
        shared,
    })
}

/// The key `brokers` of a section.
pub(super) fn read_brokers(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<String> {
    let text = reader.required(section, "brokers")?;
    // A password may stand before the @: nothing of the value is shown.
    if text.value.contains('@') {
        let instead = "write host:port, and sasl.username and sasl.password in properties";
        reader.problem(&text.at, format!("{}: an address has no credentials", text.key), instead);
        return None;
    }
    checked(reader, &text, brokers)
}

pub(super) fn checked<T>(reader: &mut Reader<'_>, text: &Text, check: fn(&str) -> Result<T, TextError>) -> Option<T> {
    match check(&text.value) {
        Ok(value) => Some(value),
        Err(error) => {
            reader.wrong(text, &error);
            None
        }
    }
}

fn brokers(text: &str) -> Result<String, TextError> {
    let like = r#"write it like "broker1:9092,broker2:9092""#;
    let mut brokers = Vec::new();
    for broker in text.split(',').map(str::trim) {
        if let Some((scheme, _)) = broker.split_once("://") {
            let instead = match scheme.to_lowercase().as_str() {
                "ssl" | "sasl_ssl" | "sasl_plaintext" => {
                    format!("write host:port, and properties = {{ \"security.protocol\" = \"{scheme}\" }}")
                }
                _ => "write host:port alone".to_owned(),
            };
            return Err(TextError::new("a broker is no URL", instead));
        }
        let (host, port) = broker.rsplit_once(':').unwrap_or((broker, ""));
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() {
            return Err(TextError::new("a broker has no host", like));
        } else if host.contains(':') && !bracketed {
            return Err(TextError::new("an IPv6 address needs brackets", r#"write it like "[::1]:9092""#));
        } else if port.is_empty() {
            return Err(TextError::new("a broker has no port", format!("did you mean \"{host}:9092\"?")));
        } else if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(TextError::new("a port is a number from 1 to 65535", like));
        } else if !bracketed && !host.chars().all(plain) {
            return Err(TextError::new("not a host's name", like));
        }
        brokers.push(broker);
    }
    Ok(brokers.join(","))
}

pub(super) fn topic(text: &str) -> Result<String, TextError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let wrong = if text.is_empty() {
        "a topic needs a name"
    } else if text.starts_with('^') || text.contains('*') {
        "a pattern cannot be a topic"
    } else if !text.chars().all(legal) {
        "a topic's name has letters, digits, dots, _ and - only"
    } else if text.len() > 249 {
        "a topic's name has 249 letters at most"
    } else if text == "." || text == ".." {
        "Kafka has no topic of that name"
    } else {
        return Ok(text.to_owned());
    };
    Err(TextError::new(wrong, "write the name of one topic"))
}

fn group(text: &str) -> Result<String, TextError> {
    if text.trim().is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(TextError::new("a group needs a name", "write one like \"rides-hourly\""));
    }
    Ok(text.to_owned())
}

fn start(text: &str) -> Result<Start, TextError> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        other => {
            text::time(other).map(Start::Time).map_err(|error| match near::nearest(other, ["earliest", "latest"]) {
                Some(near) => TextError::new("unknown", format!("did you mean \"{near}\"?")),
                None if other.chars().any(|c| c.is_ascii_digit()) => error,
                None => {
                    TextError::new("unknown", r#"write "earliest", "latest" or a time like "2026-03-01T08:00:00Z""#)
                }
            })
        }
    }
}

/// Refuses what is not the user's to set, and what librdkafka does not take. Values are never shown.
pub(super) fn check_property(reader: &mut Reader<'_>, name: &str, text: &Text) {
    let oauth_file = name.starts_with("sasl.oauthbearer.") && name.ends_with(".file");
    if let Some((_, key)) = SET_BY.iter().find(|(owned, _)| *owned == name) {
        return reader.problem(
            &text.at,
            format!("{name} has a key of its own"),
            format!("write {key} in [source.kafka]"),
        );
    }
    if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
        return reader.problem(&text.at, format!("{name} is set by Windrow: {reason}"), "leave it out");
    }
    if RUNS_CODE.contains(&name) {
        return reader.problem(
            &text.at,
            format!("{name} loads or runs code"),
            "a pipeline file may not do that; leave it out",
        );
    }
    if oauth_file {
        return reader.problem(&text.at, format!("{name} signs what it finds in a file"), "leave it out");
    }
    if name.ends_with("_cb") || name.starts_with("test.mock.") || name.starts_with("ut_") {
        return reader.problem(&text.at, format!("{name} is the program's, not the user's"), "leave it out");
    }
    // Only taken apart, nothing is connected.
    let Err(error) = ClientConfig::new().set(name, &text.value).create_native_config() else { return };
    let said = error.to_string();
    if said.contains("No such configuration property") {
        let near = near::nearest(name, USUAL.iter().copied());
        let instead = near.map_or_else(
            || "librdkafka's CONFIGURATION.md has the names".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        reader.problem(&text.at, format!("{name} is not a property of librdkafka"), instead);
    } else {
        let instead = "librdkafka's CONFIGURATION.md has the values it takes";
        reader.problem(&text.at, format!("{name} cannot have this value"), instead);
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// Every name that may not pass.
    pub(in crate::config) fn refused() -> impl Iterator<Item = &'static str> {
        let owned = super::OWNED.iter().chain(super::SET_BY).map(|(name, _)| *name);
        owned.chain(super::RUNS_CODE.iter().copied())
    }

    #[test]
    fn librdkafka_knows_the_names_that_are_suggested() {
        for name in super::USUAL {
            let Err(error) = rdkafka::ClientConfig::new().set(*name, "?").create_native_config() else { continue };
            assert!(!error.to_string().contains("No such configuration property"), "{error}");
        }
    }
}
