//! The decoder held against serde_json: the same records accepted, with the same values, over random objects, whole
//! and damaged; and the same result however records are cut into batches.

use std::fmt;

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type};
use proptest::prelude::*;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::JsonDecoder;
use super::tests::{columns, records};
use crate::decode::column::{ColumnType, Columns};
use crate::decode::{Decode, Decoded};

const DECIMAL: ColumnType = ColumnType::Decimal { precision: 12, scale: 3 };

/// All optional, so that what is left out is a null; but for one, so that it is refused too.
fn wanted() -> Columns {
    let declared = [
        ("id", ColumnType::Int),
        ("count?", ColumnType::Int),
        ("name?", ColumnType::Text),
        ("rate?", ColumnType::Float),
        ("sum?", DECIMAL),
        ("flag?", ColumnType::Bool),
        ("in.a?", ColumnType::Int),
        ("in.b.c?", ColumnType::Text),
        ("in.b?", ColumnType::Json),
    ];
    columns(&declared, "_timestamp")
}

/// The members of an object as serde_json finds them: name, and the value's text.
struct Members<'a>(Vec<(Vec<u8>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A name as bytes: so serde_json lets half surrogates through, as the decoder does in names that nobody wants. It lets
/// control characters through too, so the record must have passed it as a whole before.
struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name, E> {
                Ok(Name(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The row that a record should give, a text for each column; `None` if it should be refused.
fn expected(columns: &Columns, record: &str) -> Option<Vec<Option<String>>> {
    serde_json::from_str::<IgnoredAny>(record).ok()?;
    let whole: Members<'_> = serde_json::from_str(record).ok()?;
    columns
        .declared
        .iter()
        .map(|column| match find(&whole, &column.path)? {
            None => column.optional.then_some(None),
            Some(text) => cell(column.kind, text).map(Some),
        })
        .collect()
}

/// The text of the member at `path`: `Some(None)` where it is missing or null, `None` where the record is to be refused.
fn find<'a>(members: &Members<'a>, path: &[String]) -> Option<Option<&'a str>> {
    let (name, rest) = path.split_first()?;
    let mut found = members.0.iter().filter(|(member, _)| member == name.as_bytes());
    let value = match (found.next(), found.next()) {
        (None, _) => return Some(None),
        (Some((_, value)), None) => value.get(),
        _ => return None,
    };
    match value {
        "null" => Some(None),
        _ if rest.is_empty() => Some(Some(value)),
        _ => find(&serde_json::from_str::<Members<'a>>(value).ok()?, rest),
    }
}

fn cell(kind: ColumnType, text: &str) -> Option<String> {
    let is_number = |text: &str| text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match kind {
        ColumnType::Int => digits(text, 0).filter(|_| is_number(text))?.parse::<i64>().ok().map(|int| int.to_string()),
        ColumnType::Float if is_number(text) => {
            text.parse::<f64>().ok().filter(|float| float.is_finite()).map(|float| (float + 0.0).to_string())
        }
        ColumnType::Text => serde_json::from_str(text).ok(),
        ColumnType::Bool => serde_json::from_str(text).ok().map(|flag: bool| flag.to_string()),
        ColumnType::Json => Some(text.to_owned()),
        ColumnType::Decimal { precision, scale } => {
            let unquoted = serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned());
            serde_json::from_str::<serde_json::Number>(&unquoted).ok().or_else(|| huge(&unquoted))?;
            // Of a string, white space around the number is not part of it.
            let value = digits(&unquoted, scale.into()).filter(|_| unquoted.trim() == unquoted)?;
            (value.trim_start_matches('-').len() <= precision.into()).then_some(value)
        }
        _ => None,
    }
}

/// serde_json refuses numbers beyond a float, whose form is right all the same.
fn huge(text: &str) -> Option<serde_json::Number> {
    serde_json::from_str::<&RawValue>(text).ok().filter(|_| !text.contains(['"', '[', '{', 'a', 'u'])).map(|_| 0.into())
}

/// `text` · 10^`scale` in digits, by moving the point through the text; `None` if it is not whole, or far too long.
fn digits(text: &str, scale: i64) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if all.bytes().all(|digit| digit == b'0') {
        return Some("0".into());
    }
    let point = whole.len() as i64 + exponent.parse::<i64>().ok()? + scale;
    let (kept, lost) = all.split_at(point.clamp(0, all.len() as i64) as usize);
    if !lost.bytes().all(|digit| digit == b'0') || point > 100 {
        return None;
    }
    let zeros = "0".repeat((point - kept.len() as i64).max(0) as usize);
    Some(format!("{sign}{}{zeros}", kept.trim_start_matches('0')))
}

/// The rows decoded, as texts like [`expected`]'s.
fn rows(decoded: &Decoded, columns: &Columns) -> Vec<Vec<Option<String>>> {
    let text = |column: &dyn Array, kind, row| match kind {
        _ if column.is_null(row) => None,
        ColumnType::Int => Some(column.as_primitive::<Int64Type>().value(row).to_string()),
        ColumnType::Float => Some(column.as_primitive::<Float64Type>().value(row).to_string()),
        ColumnType::Decimal { .. } => Some(column.as_primitive::<Decimal128Type>().value(row).to_string()),
        ColumnType::Bool => Some(column.as_boolean().value(row).to_string()),
        _ => Some(column.as_string::<i32>().value(row).to_owned()),
    };
    let row = |row| {
        let cells = columns.declared.iter().zip(decoded.batch.columns());
        cells.map(|(column, array)| text(array, column.kind, row)).collect()
    };
    (0..decoded.batch.num_rows()).map(row).collect()
}

/// Writes random objects, with much of what JSON allows.
struct Writer {
    random: ChaCha8Rng,
    text: String,
}

impl Writer {
    fn object(seed: u64) -> String {
        let mut writer = Self { random: ChaCha8Rng::seed_from_u64(seed), text: String::new() };
        let mut names = vec!["id", "count", "name", "rate", "sum", "flag", "in", "x", "tip", "länge"];
        // Often the order of the record before, as producers have it.
        if writer.random.random_bool(0.5) {
            names.shuffle(&mut writer.random);
        }
        names.retain(|_| writer.random.random_bool(0.85));
        if writer.random.random_bool(0.05) {
            names.push(["id", "in", "x"].choose(&mut writer.random).unwrap());
        }
        writer.space();
        writer.members(&names, 0);
        writer.space();
        writer.text
    }

    fn members(&mut self, names: &[&str], depth: usize) {
        self.text.push('{');
        for (index, name) in names.iter().enumerate() {
            self.text.push_str(if index > 0 { "," } else { "" });
            self.space();
            self.string(name);
            self.space();
            self.text.push(':');
            self.space();
            if self.random.random_bool(0.03) {
                self.value(depth + 1);
            } else {
                self.usual(name, depth);
            }
            self.space();
        }
        self.space();
        self.text.push('}');
    }

    /// A value as its column most often has it.
    fn usual(&mut self, name: &str, depth: usize) {
        match name {
            "id" | "count" | "a" if self.random.random_bool(0.95) => {
                let bits = self.random.random_range(0..63);
                let int = self.random.random::<i64>() >> bits;
                self.text.push_str(&int.to_string());
            }
            "sum" if self.random.random_bool(0.95) => {
                let (bits, fraction) = (self.random.random_range(36..63), self.random.random_range(0..4));
                let quote = if self.random.random_bool(0.3) { "\"" } else { "" };
                let number = (self.random.random::<i64>() >> bits) as f64 / 1000.0;
                self.text.push_str(&format!("{quote}{number:.fraction$}{quote}"));
            }
            "id" | "count" | "a" | "rate" | "sum" => self.number(),
            "name" | "c" => self.any_string(),
            "flag" => self.text.push_str(["true", "false"].choose(&mut self.random).unwrap()),
            "in" => self.members(&["a", "z", "b"], depth + 1),
            "b" => self.members(&["c", "c2"], depth + 1),
            _ => self.value(depth + 1),
        }
    }

    fn value(&mut self, depth: usize) {
        match self.random.random_range(0..if depth < 4 { 8 } else { 6 }) {
            0 => self.text.push_str("null"),
            1 => self.text.push_str("true"),
            2 => self.text.push_str("false"),
            3 | 4 => self.number(),
            5 => self.any_string(),
            6 => {
                let count = self.random.random_range(0..4);
                self.members(&["a", "b", "a", "id"][..count], depth + 1);
            }
            _ => {
                self.text.push('[');
                for index in 0..self.random.random_range(0..4) {
                    self.text.push_str(if index > 0 { "," } else { "" });
                    self.space();
                    self.value(depth + 1);
                    self.space();
                }
                self.text.push(']');
            }
        }
    }

    fn space(&mut self) {
        while self.random.random_bool(0.15) {
            self.text.push(*[' ', '\n', '\t', '\r'].choose(&mut self.random).unwrap());
        }
    }

    fn number(&mut self) {
        const SHAPES: [&str; 12] = [
            "0",
            "-0",
            "-0.0",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "1e400",
            "0.1",
            "1E+2",
            "9007199254740993",
            "123456789.125",
            "0.00000000000000000000000000000000000000001",
        ];
        if self.random.random_bool(0.2) {
            self.text.push_str(SHAPES.choose(&mut self.random).unwrap());
            return;
        }
        let magnitude = self.random.random_range(0..20);
        let number = self.random.random_range(0..10u64.pow(magnitude.min(19)));
        self.text.push_str(if self.random.random_bool(0.2) { "-" } else { "" });
        self.text.push_str(&number.to_string());
        if self.random.random_bool(0.3) {
            self.text.push_str(&format!(".{}", self.random.random_range(0..1000)));
        }
        if self.random.random_bool(0.1) {
            self.text.push_str(&format!("e{}", self.random.random_range(-5..12)));
        }
    }

    fn any_string(&mut self) {
        const PARTS: [&str; 12] = [
            "Zone 7",
            "",
            "é",
            "😀",
            "a long piece of text, longer than a word",
            "\"",
            "\\",
            "\n",
            "\u{0}",
            "/",
            "\u{7f}",
            "{}[],:",
        ];
        let parts: Vec<&str> =
            (0..self.random.random_range(0..4)).map(|_| *PARTS.choose(&mut self.random).unwrap()).collect();
        self.string(&parts.concat());
    }

    /// The string, some of its characters escaped though they need not be.
    fn string(&mut self, text: &str) {
        let often = if self.random.random_bool(0.1) { 0.5 } else { 0.0 };
        self.text.push('"');
        for char in text.chars() {
            if self.random.random_bool(often) {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    self.text.push_str(&format!("\\u{unit:04x}"));
                }
            } else if char == '/' && self.random.random_bool(0.5) {
                self.text.push_str("\\/");
            } else {
                let quoted = serde_json::to_string(&char).unwrap();
                self.text.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
        self.text.push('"');
    }
}

/// The object of that seed, damaged in a few places: bytes changed, put in or taken out.
fn damaged(seed: u64) -> Vec<u8> {
    let mut bytes = Writer::object(seed).into_bytes();
    let mut random = ChaCha8Rng::seed_from_u64(!seed);
    for _ in 0..random.random_range(1..3) {
        let at = random.random_range(0..bytes.len());
        let any: u8 = random.random();
        let byte = *[b'"', b'\\', b'{', b'}', b'[', b',', b':', b'0', b'.', b'u', b'e', b' ', any]
            .choose(&mut random)
            .unwrap();
        match random.random_range(0..4) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => bytes[at] ^= 1 << random.random_range(0..8),
        }
    }
    bytes
}

fn decode(decoder: &mut JsonDecoder, record: &[u8]) -> Decoded {
    decoder.decode(records(&[Some(record)]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whole_objects_are_read_as_serde_json_reads_them(seeds in prop::collection::vec(any::<u64>(), 1..40)) {
        let columns = wanted();
        let mut decoder = JsonDecoder::new(&columns, "t");
        for seed in seeds {
            let record = Writer::object(seed);
            let decoded = decode(&mut decoder, record.as_bytes());
            let expected: Vec<_> = expected(&columns, &record).into_iter().collect();
            prop_assert_eq!(rows(&decoded, &columns), expected, "{}\n{:?}", record, decoded.rejected);
        }
    }

    /// What is valid UTF-8 is accepted or refused as serde_json says. What is not may only be accepted if that is the
    /// one thing wrong with it, and then outside the wanted members.
    #[test]
    fn damaged_objects_are_refused_where_serde_json_refuses_them(seeds in prop::collection::vec(any::<u64>(), 1..40)) {
        let columns = wanted();
        let mut decoder = JsonDecoder::new(&columns, "t");
        for seed in seeds {
            let record = damaged(seed);
            let decoded = decode(&mut decoder, &record);
            let found = rows(&decoded, &columns);
            let mended = String::from_utf8_lossy(&record);
            let expected: Vec<_> = expected(&columns, &mended).into_iter().collect();
            if str::from_utf8(&record).is_ok() || !found.is_empty() {
                prop_assert_eq!(found, expected, "{}\n{:?}", mended, decoded.rejected);
            }
        }
    }

    #[test]
    fn records_decoded_one_by_one_give_what_they_give_at_once(seeds in prop::collection::vec(any::<u64>(), 0..40)) {
        let columns = wanted();
        let values: Vec<_> = seeds.iter().map(|&seed| if seed % 4 == 0 { damaged(seed) } else { Writer::object(seed).into_bytes() }).collect();
        let all: Vec<_> = values.iter().map(|value| Some(value.as_slice())).collect();
        let at_once = JsonDecoder::new(&columns, "t").decode(records(&all));
        let (mut batches, mut rejected) = (Vec::new(), Vec::new());
        for (index, record) in (0..).zip(records(&all).iter()) {
            let mut one = crate::record::Records::new(at_once.records.partition);
            one.push(record.offset, record.timestamp, record.key, record.value);
            let decoded = JsonDecoder::new(&columns, "t").decode(one);
            rejected.extend(decoded.rejected.into_iter().map(|(_, reason)| (index, reason)));
            batches.push(decoded.batch);
        }
        prop_assert_eq!(&at_once.batch, &concat_batches(&columns.schema(), &batches).unwrap());
        prop_assert_eq!(&at_once.rejected, &rejected);
        let mut places: Vec<u32> = at_once.rows.iter().copied().chain(rejected.iter().map(|(index, _)| *index)).collect();
        places.sort_unstable();
        prop_assert!(places.into_iter().eq(0..u32::try_from(seeds.len()).unwrap()));
    }
}
