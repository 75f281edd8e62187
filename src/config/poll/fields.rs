//! `[fields]`: the record's members, where they stand in the answer, and what they must be.

use std::ops::Range;

use serde_json_path::JsonPath;
use toml::de::DeValue;

use super::{Epoch, Field, FieldType};
use crate::config::near;
use crate::config::reader::{Reader, Section, Text};
use crate::time::text::TextError;

/// What a history store adds by itself.
const CREATED_AT: &str = "created_at";

const TYPES: [(&str, FieldType); 9] = [
    ("text", FieldType::Text),
    ("number", FieldType::Number),
    ("int", FieldType::Int),
    ("bool", FieldType::Bool),
    ("timestamp", FieldType::Timestamp(Epoch::Seconds)),
    ("timestamp(s)", FieldType::Timestamp(Epoch::Seconds)),
    ("timestamp(ms)", FieldType::Timestamp(Epoch::Millis)),
    ("timestamp(us)", FieldType::Timestamp(Epoch::Micros)),
    ("json", FieldType::Json),
];

/// What others call the types.
const ALIASES: [(&str, &[&str]); 5] = [
    ("text", &["string", "str", "varchar"]),
    ("number", &["float", "double", "decimal", "numeric", "real"]),
    ("int", &["integer", "long", "bigint"]),
    ("bool", &["boolean"]),
    ("timestamp", &["time", "datetime", "epoch", "date"]),
];

/// The fields in the file's order, `None` where something is wrong.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut sound = true;
    for (name, at, value) in section.members() {
        match field(reader, section, name, &at, value) {
            Some(field) => fields.push(field),
            None => sound = false,
        }
    }
    if section.is_there() && sound && fields.is_empty() {
        reader.problem(&section.at(), "[fields] is empty", "write price = { path = \"price\", type = \"number\" }");
        return None;
    }
    (section.is_there() && sound).then_some(fields)
}

fn field(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    name: &str,
    at: &Range<usize>,
    value: &DeValue<'_>,
) -> Option<Field> {
    let key = format!("fields.{}", name.escape_debug());
    let named = check_name(reader, name, &key, at);
    let (path, kind, optional) = match value {
        DeValue::String(raw) => {
            let path = reader.expand(&key, at, raw).and_then(|text| read_path(reader, &text));
            (path, Some(FieldType::Text), false)
        }
        DeValue::Table(table) => {
            let inner = reader.named("field", section, name, at, table);
            let path = reader.required(&inner, "path").and_then(|text| read_path(reader, &text));
            let kind = match inner.members().iter().any(|(member, ..)| *member == "type") {
                true => reader.text(&inner, "type").and_then(|text| read_type(reader, &text)),
                false => Some(FieldType::Text),
            };
            (path, kind, reader.flag(&inner, "optional"))
        }
        _ => {
            let instead = format!("write {name} = {{ path = \"price\", type = \"number\" }}");
            reader.problem(at, format!("{key} must be a path"), instead);
            return None;
        }
    };
    let ((path, written), kind) = (path?, kind?);
    named.then(|| Field { name: name.to_owned(), path, written, kind, optional })
}

fn check_name(reader: &mut Reader<'_>, name: &str, key: &str, at: &Range<usize>) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name == CREATED_AT {
        reader.problem(at, format!("{key}: the history store has a column of that name"), "give it another");
    } else if name.is_empty()
        || name.len() > 60
        || !name.chars().all(legal)
        || name.starts_with(|c: char| c.is_numeric())
    {
        reader.problem(at, format!("{key} is no field's name"), "write 1 to 60 letters, digits and _");
    } else {
        return true;
    }
    false
}

/// A JSONPath (RFC 9535). One that does not begin with `$` stands in the answer's top.
fn read_path(reader: &mut Reader<'_>, text: &Text) -> Option<(JsonPath, String)> {
    let written = text.value.trim();
    let whole = match written.chars().next() {
        Some('$') => written.to_owned(),
        Some('[') => format!("${written}"),
        _ => format!("$.{written}"),
    };
    match JsonPath::parse(&whole) {
        Ok(path) => Some((path, text.raw.trim().to_owned())),
        Err(_) => {
            let instead = "write it like \"results[0].price\" or \"$['last price']\"";
            reader.wrong(text, &TextError::new("not a path", instead));
            None
        }
    }
}

fn read_type(reader: &mut Reader<'_>, text: &Text) -> Option<FieldType> {
    let plain = text.value.trim().to_lowercase().replace(' ', "");
    if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == plain) {
        return Some(*kind);
    }
    let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
    let alias = ALIASES.iter().find(|(_, others)| others.contains(&plain.as_str())).map(|(known, _)| *known);
    let instead = alias.map_or_else(|| near::hint(&plain, &names), |known| format!("did you mean \"{known}\"?"));
    reader.wrong(text, &TextError::new("unknown type", instead));
    None
}
