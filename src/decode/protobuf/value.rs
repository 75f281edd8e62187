//! From a message's values to typed ones, and to JSON.

use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value};

use super::schema::Special;
use crate::decode::time;
use crate::decode::typed::{self, Datum, JsonText};

/// The typed value of a field's single value.
pub(super) fn datum<'a>(value: &'a Value, scratch: &'a mut String) -> Datum<'a> {
    match value {
        Value::Bool(value) => Datum::Bool(*value),
        Value::I32(value) => Datum::Int((*value).into()),
        Value::I64(value) => Datum::Int(*value),
        Value::U32(value) => Datum::Int((*value).into()),
        Value::U64(value) => i64::try_from(*value).map_or(Datum::Unsigned(*value), Datum::Int),
        Value::F32(value) => Datum::Float((*value).into()),
        Value::F64(value) => Datum::Float(*value),
        Value::String(text) => Datum::Text(text),
        Value::Bytes(bytes) => Datum::Bytes(bytes),
        Value::EnumNumber(number) => Datum::Int((*number).into()),
        Value::Message(message) => special(message, scratch),
        Value::List(_) => Datum::Nested("a list"),
        Value::Map(_) => Datum::Nested("a map"),
    }
}

/// The name of an enum's value, as text; a number that has no name stays one.
pub(super) fn named<'a>(kind: &Kind, value: &'a Value, scratch: &'a mut String) -> Datum<'a> {
    if let (Kind::Enum(names), Value::EnumNumber(number)) = (kind, value)
        && let Some(name) = names.get_value(*number)
    {
        scratch.clear();
        scratch.push_str(name.name());
        return Datum::Text(scratch);
    }
    datum(value, scratch)
}

fn special<'a>(message: &'a DynamicMessage, scratch: &'a mut String) -> Datum<'a> {
    let integer = |name: &str| {
        let value = message.get_field_by_name(name);
        value.and_then(|value| value.as_i64().or(value.as_i32().map(i64::from))).unwrap_or_default()
    };
    match Special::of(&message.descriptor()) {
        Some(Special::Time) => {
            let micros = integer("nanos").div_euclid(1000);
            Datum::Time(integer("seconds").saturating_mul(1_000_000).saturating_add(micros))
        }
        Some(Special::Date) => {
            let text = format!("{:04}-{:02}-{:02}", integer("year"), integer("month"), integer("day"));
            match time::date(text.as_bytes()) {
                Ok(days) => Datum::Date(days),
                Err(_) => {
                    *scratch = text;
                    Datum::Text(scratch)
                }
            }
        }
        Some(Special::Decimal) => {
            let value = message.get_field_by_name("value");
            let bytes = value.as_ref().and_then(|value| value.as_bytes()).cloned().unwrap_or_default();
            match (typed::big_endian(&bytes), u32::try_from(integer("scale"))) {
                (Some(unscaled), Ok(scale)) => Datum::Decimal { unscaled, scale },
                _ => Datum::Beyond,
            }
        }
        Some(Special::Wrapper) | None => Datum::Nested("a message"),
    }
}

/// What a wrapper message holds; any other value as it is.
pub(super) fn unwrapped(value: &Value) -> std::borrow::Cow<'_, Value> {
    if let Value::Message(message) = value
        && Special::of(&message.descriptor()) == Some(Special::Wrapper)
        && let Some(inner) = message.get_field_by_number(1)
    {
        return inner;
    }
    std::borrow::Cow::Borrowed(value)
}

/// Writes a value as JSON: messages by their fields' names in the schema's order, maps by key.
pub(super) fn json(kind: &Kind, value: &Value, out: &mut JsonText) {
    match value {
        Value::List(items) => {
            out.raw("[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.raw(",");
                }
                json(kind, item, out);
            }
            out.raw("]");
        }
        Value::Map(map) => {
            let entry = kind.as_message().map(prost_reflect::MessageDescriptor::map_entry_value_field);
            let of_value = entry.map(|field| field.kind());
            // A hash map has another order each time.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.raw("{");
            for (index, (key, value)) in entries.into_iter().enumerate() {
                out.name(index == 0, &key_text(key));
                json(of_value.as_ref().unwrap_or(kind), value, out);
            }
            out.raw("}");
        }
        Value::Message(message) => match Special::of(&message.descriptor()) {
            Some(Special::Wrapper) => {
                let inner = message.descriptor().get_field(1);
                json(&inner.map_or(Kind::Bool, |field| field.kind()), &unwrapped(value), out);
            }
            Some(_) => out.datum(special(message, &mut String::new())),
            None => object(message, out),
        },
        _ => out.datum(named(kind, value, &mut String::new())),
    }
}

/// Writes a message as JSON.
pub(super) fn object(message: &DynamicMessage, out: &mut JsonText) {
    out.raw("{");
    let mut first = true;
    for field in message.descriptor().fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        out.name(first, field.name());
        first = false;
        json(&field.kind(), &message.get_field(&field), out);
    }
    out.raw("}");
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
