//! `[source.columns]`: names, types and paths.

use std::ops::Range;

use toml::de::{DeArray, DeValue};

use super::near;
use super::reader::{Reader, Section, Text};
use crate::decode::column::{Column, ColumnType, HEADERS, META, PartType, TimestampForm, VALUE};
use crate::time::text::TextError;

/// The columns that every result has already.
const RESULT: [&str; 3] = ["window_start", "window_end", "_revision"];

const TYPES: [&str; 11] = [
    "text",
    "bool",
    "int",
    "float",
    "decimal(12, 2)",
    "timestamp",
    "timestamp(s)",
    "timestamp(ms)",
    "timestamp(us)",
    "date",
    "json",
];

/// What others call the types.
const ALIASES: &[(&str, &[&str])] = &[
    ("text", &["string", "str", "varchar", "char", "utf8", "uuid"]),
    ("bool", &["boolean"]),
    ("int", &["integer", "bigint", "long", "int64", "int32", "smallint", "i64", "int8"]),
    ("float", &["double", "float64", "real", "number", "f64", "double precision", "float32"]),
    ("decimal(12, 2)", &["decimal", "numeric", "money"]),
    ("timestamp", &["datetime", "time", "timestamptz", "instant"]),
    ("json", &["object", "array", "struct", "map", "list", "variant", "jsonb"]),
];

/// The declared columns, in the file's order.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (name, at, value) in section.members() {
        check_name(reader, name, &at, &columns);
        let key = format!("source.columns.{}", shown(name));
        let column = match value {
            DeValue::String(raw) => {
                let kind = reader.expand(&key, &at, raw).and_then(|text| read_type(reader, &text));
                let path = split(reader, name, &key, &at);
                kind.zip(path).map(|(kind, path)| Column { name: name.to_owned(), path, kind, optional: false })
            }
            DeValue::Table(table) if !table.iter().any(|(key, _)| key.get_ref() == "type") && is_dotted(value) => {
                let full = format!("{name}.{}", leaf(value));
                reader.problem(
                    &at,
                    format!("source.columns.{full}: a name with dots needs quotes"),
                    format!("write \"{full}\" = …"),
                );
                None
            }
            DeValue::Table(table) => {
                let inner = reader.column(section, &shown(name), &at, table);
                let kind = reader.required(&inner, "type").and_then(|text| read_type(reader, &text));
                let path = inner.members().into_iter().find(|(member, ..)| *member == "path");
                let path = match path {
                    None => split(reader, name, &key, &at),
                    Some((_, at, DeValue::Array(members))) => list(reader, members, &key, &at),
                    Some((_, at, _)) => {
                        reader.text(&inner, "path").and_then(|text| split(reader, &text.value, &text.key, &at))
                    }
                };
                let optional = reader.flag(&inner, "optional");
                kind.zip(path).map(|(kind, path)| Column { name: name.to_owned(), path, kind, optional })
            }
            _ => {
                let instead = format!("write {} = \"text\" or one of the other types", shown(name));
                reader.problem(&at, format!("{key} must be a type"), instead);
                None
            }
        };
        columns.extend(column);
    }
    columns
}

fn check_name(reader: &mut Reader<'_>, name: &str, at: &Range<usize>, before: &[Column]) {
    let reason = if name.eq_ignore_ascii_case("dt") {
        "the sink's folders are named dt=…, and loaders would see two columns of that name"
    } else if RESULT.iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        "every result has a column of that name"
    } else if META.iter().chain(&[VALUE, HEADERS]).any(|taken| name.eq_ignore_ascii_case(taken)) {
        "every stream has a column of that name"
    } else if name.trim().is_empty() || name.chars().any(char::is_control) || name.len() > 200 {
        let wrong = format!("\"{}\" cannot be a column's name", name.escape_debug());
        return reader.problem(at, wrong, "write a name of 1 to 200 letters");
    } else if let Some(other) = before.iter().find(|other| other.name.to_lowercase() == name.to_lowercase()) {
        let wrong =
            format!("source.columns.{}: many loaders see no difference from {}", shown(name), shown(&other.name));
        return reader.problem(at, wrong, format!("write other = {{ type = \"…\", path = \"{name}\" }}"));
    } else {
        return;
    };
    let name = name.to_lowercase();
    let other = if name == "dt" { "day".to_owned() } else { format!("record_{}", name.trim_start_matches('_')) };
    let instead = format!("give it another: {other} = {{ type = \"…\", path = \"{name}\" }}");
    reader.problem(at, format!("source.columns.{name}: {reason}"), instead);
}

/// A name as it is written as a key.
fn shown(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { format!("\"{}\"", name.escape_debug()) }
}

/// Whether a table is what TOML makes of `ride.fare = "int"`.
fn is_dotted(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(_) => true,
        DeValue::Table(table) => {
            let own = ["path", "optional"];
            !table.is_empty()
                && table.iter().all(|(key, value)| !own.contains(&key.get_ref().as_ref()) && is_dotted(value.get_ref()))
        }
        _ => false,
    }
}

fn leaf(value: &DeValue<'_>) -> String {
    let Some((key, inner)) = value.as_table().and_then(|table| table.iter().next()) else { return String::new() };
    match inner.get_ref() {
        DeValue::Table(table) if !table.iter().any(|(key, _)| key.get_ref() == "type") => {
            format!("{}.{}", key.get_ref(), leaf(inner.get_ref()))
        }
        _ => key.get_ref().to_string(),
    }
}

fn split(reader: &mut Reader<'_>, path: &str, key: &str, at: &Range<usize>) -> Option<Vec<String>> {
    let path: Vec<_> = path.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        reader.problem(
            at,
            format!("{key}: a path has a name on each side of a dot"),
            "write it like \"ride.fare.total\"",
        );
        return None;
    }
    Some(path)
}

/// A path as a list, for members whose names have dots.
fn list(reader: &mut Reader<'_>, members: &DeArray<'_>, key: &str, at: &Range<usize>) -> Option<Vec<String>> {
    let path: Option<Vec<_>> = members.iter().map(|member| member.get_ref().as_str().map(str::to_owned)).collect();
    let path = path.filter(|path| !path.is_empty() && !path.iter().any(String::is_empty));
    if path.is_none() {
        reader.problem(at, format!("{key}: a path is a list of names"), r#"write path = ["ride.v2", "fare"]"#);
    }
    path
}

fn read_type(reader: &mut Reader<'_>, text: &Text) -> Option<ColumnType> {
    parse_type(&text.value).map_err(|error| reader.wrong(text, &error)).ok()
}

/// What the record's key or its value as a whole holds: `bytes`, or a column's type.
pub(super) fn read_part(reader: &mut Reader<'_>, text: &Text) -> Option<PartType> {
    if text.value.trim().eq_ignore_ascii_case("bytes") {
        return Some(PartType::Bytes);
    }
    let aliases = ["binary", "bytea", "blob", "raw"];
    if aliases.contains(&text.value.trim().to_lowercase().as_str()) {
        reader.wrong(text, &TextError::new("unknown type", "did you mean \"bytes\"?"));
        return None;
    }
    read_type(reader, text).map(PartType::Spelled)
}

fn parse_type(text: &str) -> Result<ColumnType, TextError> {
    let lower = text.trim().to_lowercase();
    let (name, arguments) = match lower.split_once('(') {
        Some((name, rest)) => (name.trim_end(), rest.strip_suffix(')').map(|rest| rest.trim().replace(' ', ""))),
        None => (lower.as_str(), Some(String::new())),
    };
    let arguments =
        arguments.ok_or_else(|| TextError::new("a bracket is not closed", "write it like \"decimal(12, 2)\""))?;
    let kind = match (name, arguments.as_str()) {
        ("text", "") => ColumnType::Text,
        ("bool", "") => ColumnType::Bool,
        ("int", "") => ColumnType::Int,
        ("float", "") => ColumnType::Float,
        ("date", "") => ColumnType::Date,
        ("json", "") => ColumnType::Json,
        ("timestamp", "") => ColumnType::Timestamp(TimestampForm::Rfc3339),
        ("timestamp", "s") => ColumnType::Timestamp(TimestampForm::EpochSeconds),
        ("timestamp", "ms") => ColumnType::Timestamp(TimestampForm::EpochMillis),
        ("timestamp", "us" | "µs" | "μs") => ColumnType::Timestamp(TimestampForm::EpochMicros),
        ("timestamp", _) => {
            let instead =
                r#"write "timestamp" for RFC 3339 text, or "timestamp(s)", "timestamp(ms)" or "timestamp(us)""#;
            return Err(TextError::new("unknown unit of a timestamp", instead));
        }
        ("decimal" | "numeric", "") => {
            return Err(TextError::new(
                "a decimal needs its digits",
                r#"write "decimal(12, 2)": 12 digits, 2 of them after the point"#,
            ));
        }
        ("decimal", arguments) => return parse_decimal(arguments),
        ("text" | "bool" | "int" | "float" | "date" | "json", _) => {
            return Err(TextError::new(format!("{name} takes nothing in brackets"), format!("write \"{name}\"")));
        }
        _ => {
            let alias = ALIASES.iter().find(|(_, others)| others.contains(&name)).map(|(known, _)| *known);
            let near = alias
                .or_else(|| near::nearest(&lower, TYPES))
                .or_else(|| near::nearest(name, ["decimal", "timestamp"]));
            let instead = near
                .map_or_else(|| format!("write {}", near::one_of(&TYPES)), |near| format!("did you mean \"{near}\"?"));
            return Err(TextError::new("unknown type", instead));
        }
    };
    Ok(kind)
}

fn parse_decimal(arguments: &str) -> Result<ColumnType, TextError> {
    let like = r#"write it like "decimal(12, 2)": 12 digits, 2 of them after the point"#;
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    let (Ok(precision), Ok(scale)) = (precision.parse::<i64>(), scale.parse::<i64>()) else {
        return Err(TextError::new("a decimal has two whole numbers", like));
    };
    let precision = u8::try_from(precision).ok().filter(|precision| (1..=38).contains(precision));
    let precision = precision.ok_or_else(|| TextError::new("a decimal has 1 to 38 digits", like))?;
    let scale = i8::try_from(scale).ok().filter(|scale| (0..=precision.cast_signed()).contains(scale));
    let scale = scale
        .ok_or_else(|| TextError::new(format!("0 to {precision} of its digits can stand after the point"), like))?;
    Ok(ColumnType::Decimal { precision, scale })
}
