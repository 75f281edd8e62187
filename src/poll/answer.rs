//! What becomes of an answer: the record, member by member. Pure.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Number, Value};

use crate::config::poll::{Epoch, Field, FieldType};
use crate::time::text;

/// The longest part of an answer that is shown.
const SHOWN: usize = 120;
/// The seconds of years 0001 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A record as it is published and kept: its members in the file's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote(Vec<(String, Cell)>);

/// A member's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// The answer has none, and it is optional.
    Null,
    /// Text.
    Text(String),
    /// A number.
    Number(Number),
    /// A whole number, or a time in seconds since the epoch.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Anything.
    Json(Value),
}

impl Quote {
    /// The record of an answer.
    ///
    /// # Errors
    /// What is wrong with the answer. It may repeat a part of it.
    pub fn read(fields: &[Field], answer: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(answer).map_err(|error| {
            let begin = excerpt(&String::from_utf8_lossy(answer));
            format!("the answer is not JSON: {error}; it begins with {begin}")
        })?;
        let mut cells = Vec::with_capacity(fields.len());
        for field in fields {
            let cell = cell(field, &value).map_err(|why| match said(&value) {
                Some(said) => format!("{}: {why}; the server says {said}", field.name),
                None => format!("{}: {why}", field.name),
            })?;
            cells.push((field.name.clone(), cell));
        }
        Ok(Self(cells))
    }

    /// Its members.
    #[must_use]
    pub fn cells(&self) -> &[(String, Cell)] {
        &self.0
    }

    /// The value of a member that is text or a whole number, as a record's key.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<String> {
        match &self.0.iter().find(|(member, _)| member == name)?.1 {
            Cell::Text(text) => Some(text.clone()),
            Cell::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// It as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Quote {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in &self.0 {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => number.serialize(serializer),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

fn cell(field: &Field, answer: &Value) -> Result<Cell, String> {
    let nodes = field.path.query(answer);
    let found = match nodes.len() {
        0 => None,
        1 => nodes.first().filter(|value| !value.is_null()),
        count => return Err(format!("{count} values at {}", field.written)),
    };
    let Some(value) = found else {
        let missing = || format!("the answer has none at {}", field.written);
        return if field.optional { Ok(Cell::Null) } else { Err(missing()) };
    };
    let misfit = |expected: &str| format!("{expected} expected at {}, found {}", field.written, shown(value));
    match (field.kind, value) {
        (FieldType::Json, value) => Ok(Cell::Json(value.clone())),
        (FieldType::Text, Value::String(text)) => Ok(Cell::Text(text.clone())),
        (FieldType::Text, _) => Err(misfit("text")),
        (FieldType::Bool, Value::Bool(flag)) => Ok(Cell::Bool(*flag)),
        (FieldType::Bool, _) => Err(misfit("true or false")),
        (FieldType::Number, value) => number(value).map(Cell::Number).ok_or_else(|| misfit("a number")),
        (FieldType::Int, value) => {
            let found = number(value).and_then(|number| whole(&number));
            found.map(Cell::Int).ok_or_else(|| misfit("a whole number"))
        }
        (FieldType::Timestamp(epoch), value) => {
            seconds(value, epoch).map(Cell::Int).map_err(|why| format!("{}; {why}", misfit("a time")))
        }
    }
}

/// A number, or text that is one by JSON's grammar.
fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => serde_json::from_str(text.trim()).ok(),
        _ => None,
    }
}

/// A whole number of 64 bits; `7.0` is one.
fn whole(number: &Number) -> Option<i64> {
    /// Beyond this, floats are not exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
    number.as_i64().or_else(|| if number.is_u64() { None } else { float().map(|float| float as i64) })
}

/// Whole seconds since the epoch, of a number or of RFC 3339 text. A fraction is cut off, towards the past.
fn seconds(value: &Value, epoch: Epoch) -> Result<i64, String> {
    let unit = match epoch {
        Epoch::Seconds => 1,
        Epoch::Millis => 1000,
        Epoch::Micros => 1_000_000,
    };
    let within = |seconds: i64| {
        let unit = match epoch {
            Epoch::Seconds => "; are these milliseconds? then write type = \"timestamp(ms)\"",
            _ => "",
        };
        let far = || format!("only the years 0001 to 9999 can be told{unit}");
        if SECONDS.contains(&seconds) { Ok(seconds) } else { Err(far()) }
    };
    match (number(value), value) {
        (Some(number), _) => match (number.as_i64(), number.as_f64()) {
            (Some(count), _) => within(count.div_euclid(unit)),
            // A cast holds what is beyond the range at its ends.
            (None, Some(count)) => within((count / unit as f64).floor() as i64),
            (None, None) => Err("out of range".to_owned()),
        },
        (None, Value::String(text)) => {
            let time = text::time(text).map_err(|_| "write epoch seconds or RFC 3339 with its offset".to_owned())?;
            within(time.0.div_euclid(1_000_000))
        }
        _ => Err("it is neither epoch seconds nor RFC 3339 text".to_owned()),
    }
}

/// What a server says of its own failure in JSON, as many do.
pub(super) fn said(answer: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(excerpt);
    for name in ["message", "error", "detail", "description", "title"] {
        let Some(found) = answer.get(name) else { continue };
        if let Some(text) = text(found).or_else(|| found.get("message").and_then(text)) {
            return Some(text);
        }
    }
    None
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => cut(&other.to_string()),
    }
}

/// A text's beginning in quotes, on one line.
pub(super) fn excerpt(text: &str) -> String {
    format!("\"{}\"", cut(text.trim()).escape_debug())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
