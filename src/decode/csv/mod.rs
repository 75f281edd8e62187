//! Separated values: one record of RFC 4180 a value.
//!
//! A field is found by its name where the pipeline file or a file's first line gives names, else by its place: the
//! columns are then the record's first fields, in the order of the pipeline file. The null text, if it is not in
//! quotes, is no value. What is in the fields is read by the rules of JSON's numbers and texts, so that a topic gives
//! the same windows in either format.

mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use self::split::Field;
use super::cells::Values;
use super::column::{Columns, TimestampForm};
use super::frame::{Frame, Row, rejection};
use super::reason::{self, Misfit};
use super::{Decode, Decoded, Reason};
use super::{number, time, typed};
use crate::record::{Partition, Records};

/// How separated values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// What stands between two fields.
    pub delimiter: u8,
    /// What encloses a field; twice, it stands for itself.
    pub quote: u8,
    /// A field that is this text, and not in quotes, is no value.
    pub null: String,
    /// Where the names of the fields are.
    pub names: Names,
}

/// Where the names of the fields are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Nowhere: the columns are the first fields.
    None,
    /// In the pipeline file, one for each field.
    Given(Vec<String>),
    /// In the first line of each file.
    FirstLine,
}

impl Default for Form {
    fn default() -> Self {
        Self { delimiter: b',', quote: b'"', null: String::new(), names: Names::None }
    }
}

impl Form {
    /// Whether a record goes on after `line`: a newline in quotes ends no record. `within` is the answer for the line
    /// before, if that belongs to the same record.
    #[must_use]
    pub fn goes_on(&self, line: &[u8], within: bool) -> bool {
        split::goes_on(line, self, within)
    }
}

/// The first lines of files, by partition: the source puts them in before the first record of the partition.
#[derive(Clone, Debug, Default)]
pub struct FirstLines(Arc<RwLock<BTreeMap<Partition, Vec<u8>>>>);

impl FirstLines {
    /// Takes in a file's first line.
    pub fn put(&self, partition: Partition, line: &[u8]) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(partition, line.to_vec());
    }

    fn get(&self, partition: Partition) -> Option<Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&partition).cloned()
    }
}

/// The reader of separated values.
#[derive(Debug)]
pub struct CsvDecoder {
    frame: Frame,
    form: Form,
    first_lines: FirstLines,
    /// Which field each column reads, by partition; what is wrong with a file's first line.
    places: BTreeMap<Partition, Result<Places, Reason>>,
    fields: Vec<Field>,
    scratch: Vec<u8>,
}

/// Which field each column reads.
#[derive(Clone, Debug)]
struct Places {
    of: Vec<Option<usize>>,
    /// How many fields a record must have, where that is known.
    count: Option<usize>,
}

impl CsvDecoder {
    /// A reader of these columns. `topic` is what `_topic` says.
    #[must_use]
    pub fn new(columns: &Columns, topic: &str, form: Form, first_lines: FirstLines) -> Self {
        let frame = Frame::new(columns, topic);
        Self { frame, form, first_lines, places: BTreeMap::new(), fields: Vec::new(), scratch: Vec::new() }
    }

    fn find(&mut self, partition: Partition) -> Result<Places, Reason> {
        let of = |names: &[String]| {
            let place = |path: String| names.iter().position(|name| *name == path);
            let of = self.frame.columns.iter().map(|column| place(column.path.join("."))).collect();
            Places { of, count: Some(names.len()) }
        };
        match &self.form.names {
            Names::None => Ok(Places { of: (0..self.frame.columns.len()).map(Some).collect(), count: None }),
            Names::Given(names) => Ok(of(names)),
            Names::FirstLine => {
                let line = self.first_lines.get(partition).unwrap_or_default();
                let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
                let mut fields = Vec::new();
                split::split(line, &self.form, &mut fields).map_err(|broken| Reason {
                    class: reason::NOT_CSV,
                    text: format!("the file's first line: byte {}: {}", broken.at, broken.why),
                })?;
                let mut scratch = Vec::new();
                let names = fields.iter().map(|field| {
                    String::from_utf8_lossy(text(line, *field, self.form.quote, &mut scratch)).into_owned()
                });
                Ok(of(&names.collect::<Vec<_>>()))
            }
        }
    }
}

impl Decode for CsvDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        let partition = records.partition;
        let places = match self.places.get(&partition) {
            Some(places) => places.clone(),
            None => {
                let places = self.find(partition);
                self.places.insert(partition, places.clone());
                places
            }
        };
        let Self { frame, form, fields, scratch, .. } = self;
        frame.decode(records, |row, value| match &places {
            Ok(places) => read(row, value, form, places, fields, scratch),
            Err(reason) => Err(Box::new(reason.clone())),
        })
    }
}

fn read(
    row: &mut Row<'_>,
    value: &[u8],
    form: &Form,
    places: &Places,
    fields: &mut Vec<Field>,
    scratch: &mut Vec<u8>,
) -> Result<(), Box<Reason>> {
    split::split(value, form, fields)
        .map_err(|broken| rejection(reason::NOT_CSV, format!("byte {}: {}", broken.at, broken.why)))?;
    if let Some(count) = places.count.filter(|count| *count != fields.len()) {
        let text = format!("the record has {} fields, where {count} have names", fields.len());
        return Err(rejection(reason::NOT_CSV, text));
    }
    for (column, place) in places.of.iter().enumerate() {
        let Some(field) = place.and_then(|place| fields.get(place)).copied() else {
            row.put_null(column, "the record has no such field")?;
            continue;
        };
        let text = text(value, field, form.quote, scratch);
        if !field.quoted && text == form.null.as_bytes() {
            row.put_null(column, "the field is null")?;
            continue;
        }
        match push(&mut row.cells[column].values, text) {
            Ok(()) => row.cells[column].filled(),
            Err(misfit) => return Err(row.misfit(column, text, misfit)),
        }
    }
    Ok(())
}

/// A field's text.
fn text<'a>(bytes: &'a [u8], field: Field, quote: u8, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let text = &bytes[field.start..field.end];
    if !field.doubled {
        return text;
    }
    scratch.clear();
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == quote) {
        scratch.extend_from_slice(&rest[..=at]);
        rest = &rest[at + 2..];
    }
    scratch.extend_from_slice(rest);
    scratch
}

const NOT_UTF8: Misfit = Misfit::wrong_type("it is not UTF-8");

/// Adds a field to `values`. Adds nothing on an error.
#[inline]
fn push(values: &mut Values, text: &[u8]) -> Result<(), Misfit> {
    let number = || if number::is_number(text) { Ok(text) } else { Err(Misfit::WRONG_TYPE) };
    match values {
        Values::Text(texts) => {
            if !text.is_ascii() && str::from_utf8(text).is_err() {
                return Err(NOT_UTF8);
            }
            texts.push(text)?;
        }
        Values::Bool(values) => values.push(match text {
            b"true" | b"TRUE" | b"True" => true,
            b"false" | b"FALSE" | b"False" => false,
            _ => return Err(Misfit::wrong_type("write true or false")),
        }),
        Values::Int(values) => values.push(number::int(number()?)?),
        Values::Float(values) => values.push(number::float(number()?)?),
        Values::Decimal { precision, scale, values } => values.push(number::decimal(number()?, *precision, *scale)?),
        Values::Timestamp { form: TimestampForm::Rfc3339, values } => values.push(time::rfc3339(text)?),
        Values::Timestamp { form, values } => values.push(time::epoch(number()?, *form)?),
        Values::Date(values) => values.push(time::date(text)?),
        Values::Json(texts) => {
            if !typed::is_json(text) {
                return Err(Misfit::WRONG_TYPE);
            }
            texts.push(text)?;
        }
    }
    Ok(())
}
