//! librdkafka's properties as the Java client has them. Values stay as they are written: secrets remain `${NAME}`.

use std::collections::BTreeMap;

use super::notes::Notes;
use crate::export::Refusals;

/// Properties that both clients have, by librdkafka's name and Java's.
const SAME: &[(&str, &str)] = &[
    ("security.protocol", "security.protocol"),
    ("ssl.keystore.password", "ssl.keystore.password"),
    ("ssl.key.password", "ssl.key.password"),
    ("client.id", "client.id"),
    ("client.rack", "client.rack"),
    ("fetch.min.bytes", "fetch.min.bytes"),
    ("fetch.max.bytes", "fetch.max.bytes"),
    ("fetch.wait.max.ms", "fetch.max.wait.ms"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("max.partition.fetch.bytes", "max.partition.fetch.bytes"),
    ("session.timeout.ms", "session.timeout.ms"),
    ("max.poll.interval.ms", "max.poll.interval.ms"),
    ("reconnect.backoff.ms", "reconnect.backoff.ms"),
    ("reconnect.backoff.max.ms", "reconnect.backoff.max.ms"),
    ("metadata.max.age.ms", "metadata.max.age.ms"),
];

/// Properties that are about how librdkafka works, not about what is read.
const OWN: &[&str] = &[
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "receive.message.max.bytes",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "topic.metadata.refresh.interval.ms",
    "broker.address.family",
    "debug",
    "log_level",
];

/// Handled together, as one of Java's.
const TOGETHER: &[&str] = &["sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"];

/// The table's options: `properties.` and Java's name.
pub(super) fn options(
    settings: &BTreeMap<String, (usize, String)>,
    refusals: &mut Refusals<'_>,
    notes: &mut Notes,
) -> Vec<(String, String)> {
    let mut options = Vec::new();
    let mut left_out = Vec::new();
    let mut option = |key: &str, value: &str| options.push((format!("properties.{key}"), value.to_owned()));
    for (key, (line, value)) in settings {
        let mut refuse = |why: &str| refusals.refuse(*line, format!("source.kafka.properties: {key}"), why);
        if let Some((_, java)) = SAME.iter().find(|(name, _)| name == key) {
            // Java knows the protocol in capitals only.
            let value = if key == "security.protocol" && !value.contains('$') { &value.to_uppercase() } else { value };
            option(java, value);
            continue;
        }
        match key.as_str() {
            "ssl.ca.location" => {
                option("ssl.truststore.type", "PEM");
                option("ssl.truststore.location", value);
            }
            "ssl.ca.pem" => {
                option("ssl.truststore.type", "PEM");
                option("ssl.truststore.certificates", value);
            }
            "ssl.certificate.pem" => {
                option("ssl.keystore.type", "PEM");
                option("ssl.keystore.certificate.chain", value);
            }
            "ssl.key.pem" => option("ssl.keystore.key", value),
            "ssl.keystore.location" => {
                option("ssl.keystore.type", "PKCS12");
                option("ssl.keystore.location", value);
            }
            "ssl.endpoint.identification.algorithm" => {
                option(key, if value == "none" { "" } else { value });
            }
            "ssl.certificate.location" | "ssl.key.location" => {
                refuse(
                    "the Java client wants key and certificate in one file; write ssl.keystore.location, a PKCS#12 file",
                );
            }
            key if TOGETHER.contains(&key) => {}
            key if OWN.contains(&key) => left_out.push(key.to_owned()),
            _ => refuse("the Java client has no such property, or another meaning for it"),
        }
    }
    options.extend(sasl(settings, refusals));
    if !left_out.is_empty() {
        notes.add(format!("Left out, as they are librdkafka's own: {}.", left_out.join(", ")));
    }
    options
}

/// Who reads: Java has mechanism, user and password in one.
fn sasl(settings: &BTreeMap<String, (usize, String)>, refusals: &mut Refusals<'_>) -> Vec<(String, String)> {
    let Some((line, mechanism)) = settings.get("sasl.mechanism").or_else(|| settings.get("sasl.mechanisms")) else {
        return Vec::new();
    };
    let module = match mechanism.as_str() {
        "PLAIN" => "plain.PlainLoginModule",
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => "scram.ScramLoginModule",
        other => {
            let why =
                "only PLAIN and SCRAM-SHA-… are written; the Java client needs a login module of its own for others";
            refusals.refuse(*line, format!("source.kafka.properties: sasl.mechanism = \"{other}\""), why);
            return Vec::new();
        }
    };
    let quoted = |key: &str| {
        let value = settings.get(key).map_or("", |(_, value)| value);
        value.replace('\\', "\\\\").replace('"', "\\\"")
    };
    let login = format!(
        "org.apache.kafka.common.security.{module} required username=\"{}\" password=\"{}\";",
        quoted("sasl.username"),
        quoted("sasl.password")
    );
    vec![("properties.sasl.mechanism".to_owned(), mechanism.clone()), ("properties.sasl.jaas.config".to_owned(), login)]
}
