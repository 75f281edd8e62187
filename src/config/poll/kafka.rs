//! `[kafka]`: the topic that records are published to.

use super::{Field, FieldType, Publication, Secrets};
use crate::config::kafka::{check_property, checked, read_brokers, topic};
use crate::config::near;
use crate::config::reader::{Reader, Section, Text};
use crate::time::text::TextError;

const SECOND: i64 = 1_000_000;

/// Properties that the poller needs at one value, or that have a key of their own.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "write brokers in [kafka]"),
    ("metadata.broker.list", "write brokers in [kafka]"),
    ("message.timeout.ms", "write delivery_timeout in [kafka]"),
    ("delivery.timeout.ms", "write delivery_timeout in [kafka]"),
    ("enable.idempotence", "it is always on; leave it out"),
    ("acks", "it is always \"all\"; leave it out"),
    ("request.required.acks", "it is always \"all\"; leave it out"),
    ("transactional.id", "there are no transactions here; leave it out"),
    ("transaction.timeout.ms", "there are no transactions here; leave it out"),
    ("group.id", "nothing is read here; leave it out"),
    ("auto.offset.reset", "nothing is read here; leave it out"),
];

/// The section, `None` where something is wrong.
pub(super) fn read(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    fields: &Option<Vec<Field>>,
    secrets: &mut Secrets,
) -> Option<Publication> {
    let brokers = read_brokers(reader, section);
    let topic = reader.required(section, "topic").and_then(|text| checked(reader, &text, topic));
    let key = reader.required(section, "key").and_then(|text| match fields {
        Some(fields) => check_key(reader, text, fields),
        None => Some(text.value),
    });
    let delivery_timeout = reader.duration(section, "delivery_timeout", 30 * SECOND, SECOND..=600 * SECOND);
    let properties = reader.section(section, "properties", "properties");
    let properties = reader.properties(&properties);
    for (name, text) in &properties {
        match OWNED.iter().find(|(owned, _)| owned == name) {
            Some((_, instead)) => reader.problem(&text.at, format!("{name} is not a property here"), instead),
            None => check_property(reader, name, text),
        }
        if text.raw != text.value || ["password", "secret", "pem"].iter().any(|word| name.contains(word)) {
            secrets.add(&text.value);
        }
    }
    Some(Publication {
        brokers: brokers?,
        topic: topic?,
        key: key?,
        delivery_timeout: delivery_timeout?,
        properties: properties.into_iter().map(|(name, text)| (name, text.value)).collect(),
    })
}

fn check_key(reader: &mut Reader<'_>, text: Text, fields: &[Field]) -> Option<String> {
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    let error = match fields.iter().find(|field| field.name == text.value) {
        None => TextError::new("not one of [fields]", near::hint(&text.raw, &names)),
        Some(field) if field.optional => {
            TextError::new("every record needs its key", format!("leave optional out of {}", field.name))
        }
        Some(field) if !matches!(field.kind, FieldType::Text | FieldType::Int) => {
            TextError::new("a key is text or int", "name another field")
        }
        Some(_) => return Some(text.value),
    };
    reader.wrong(&text, &error);
    None
}
