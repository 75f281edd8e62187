//! Avro records: each read by the schema it was written with, straight into the declared columns.
//!
//! With a registry a value begins with its schema's number; without one, all values have the schema of a file. Fields
//! that no column reads are passed over. A column that a record's schema does not have is null or makes the record
//! invalid, by `on_missing`: defaults of other schemas are not put in. A record must end where its schema ends.

mod plan;
mod read;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use self::plan::{Plan, Within};
use self::read::{Broken, Bytes};
use self::schema::{At, Schema};
use super::column::{ColumnType, Columns, KEY};
use super::frame::{Frame, Row, rejection};
use super::schemas::{Language, OnMissing, Origin, SchemaId, SchemaText, Told, required_id};
use super::typed::JsonText;
use super::{Decode, Decoded, Reason, reason};
use crate::record::Records;

/// The reader of Avro records.
#[derive(Debug)]
pub struct AvroDecoder {
    frame: Frame,
    origin: Origin,
    /// What is done with records of each schema; `None` is the one schema of all records.
    known: HashMap<Option<SchemaId>, Compiled>,
    json: JsonText,
    /// Whether these are keys: a record's one field.
    keys: bool,
}

/// A schema and what is done with its records.
#[derive(Debug)]
struct Compiled {
    schema: Schema,
    plan: Plan,
}

impl AvroDecoder {
    /// A reader of these columns. `topic` is what `_topic` says.
    #[must_use]
    pub fn new(columns: &Columns, topic: &str, origin: Origin, on_missing: OnMissing) -> Self {
        let frame = Frame::new(columns, topic).with_missing(on_missing);
        Self { frame, origin, known: HashMap::new(), json: JsonText::default(), keys: false }
    }

    /// The same for keys, whose columns have a path that begins with `_key`.
    #[must_use]
    pub(super) fn of_keys(self) -> Self {
        Self { keys: true, ..self }
    }
}

impl Decode for AvroDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        let Self { frame, origin, known, json, keys } = self;
        frame.decode(records, |row, value| {
            let (id, bytes) = match origin {
                Origin::Registry(_) => required_id(value).map(|(id, bytes)| (Some(id), bytes))?,
                Origin::One(_) => (None, value),
            };
            let compiled = match known.entry(id) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let schema = match (&*origin, id) {
                        (Origin::Registry(schemas), Some(id)) => schemas.find(id)?,
                        (Origin::Registry(_), None) => return Err(rejection(reason::NO_SCHEMA_ID, "no schema")),
                        (Origin::One(schema), _) => schema.clone(),
                    };
                    entry.insert(compile(&schema, row, id, *keys)?)
                }
            };
            let mut reader = Reader { schema: &compiled.schema, bytes: Bytes::new(bytes), row, json };
            reader.record(&compiled.plan)?;
            reader.bytes.end().map_err(not_avro)
        })
    }
}

fn compile(schema: &SchemaText, row: &Row<'_>, id: Option<SchemaId>, keys: bool) -> Result<Compiled, Box<Reason>> {
    let wrong = |why: String| {
        let which = id.map_or_else(|| "the schema".to_owned(), |id| format!("schema {id}"));
        rejection(reason::UNKNOWN_SCHEMA, format!("{which}: {why}"))
    };
    if schema.language != Language::Avro {
        return Err(wrong("it is not Avro".to_owned()));
    }
    let mut schema = Schema::parse(schema).map_err(wrong)?;
    if keys {
        schema = schema.within(KEY);
    }
    let plan = Plan::new(&schema, row.columns).map_err(wrong)?;
    Ok(Compiled { schema, plan })
}

/// The columns that a schema tells, in its order.
///
/// # Errors
/// What is wrong with the schema.
pub fn told(schema: &SchemaText) -> Result<Vec<Told>, String> {
    Schema::parse(schema)?.told()
}

/// What a schema of keys tells: `_key` itself, and the members of a record.
///
/// # Errors
/// What is wrong with the schema.
pub fn told_of_key(schema: &SchemaText) -> Result<(Told, Vec<Told>), String> {
    let schema = Schema::parse(schema)?;
    let members = schema.told().unwrap_or_default();
    let key = schema.within(KEY).told()?.pop().ok_or("it tells nothing")?;
    Ok((key, members))
}

/// One record being read.
struct Reader<'a, 'r, 'c> {
    schema: &'a Schema,
    bytes: Bytes<'a>,
    row: &'r mut Row<'c>,
    json: &'r mut JsonText,
}

impl Reader<'_, '_, '_> {
    /// Goes past a record, and fills the columns that read its fields.
    fn record(&mut self, plan: &Plan) -> Result<(), Box<Reason>> {
        for field in &plan.fields {
            let start = self.bytes.at;
            for &column in &field.columns {
                self.bytes.at = start;
                self.value(field.kind, column)?;
            }
            if let Some(within) = &field.within {
                self.bytes.at = start;
                self.within(field.kind, within)?;
            } else if field.columns.is_empty() {
                self.bytes.skip(self.schema, field.kind, 0).map_err(not_avro)?;
            }
        }
        for &column in &plan.absent {
            self.row.put_absent(column, "its schema has no such field")?;
        }
        Ok(())
    }

    #[inline]
    fn value(&mut self, kind: At, column: usize) -> Result<(), Box<Reason>> {
        let kind = self.bytes.branch(self.schema, kind).map_err(not_avro)?;
        if self.row.columns[column].kind == ColumnType::Json {
            return self.json(kind, column);
        }
        match self.bytes.datum(self.schema, kind).map_err(not_avro)? {
            Some(datum) => self.row.put(column, datum),
            None => self.row.put_null(column, "the field is null"),
        }
    }

    fn json(&mut self, kind: At, column: usize) -> Result<(), Box<Reason>> {
        self.json.text.clear();
        self.bytes.json(self.schema, kind, self.json, 0).map_err(not_avro)?;
        if self.json.text == b"null" {
            return self.row.put_null(column, "the field is null");
        }
        self.row.put_json(column, &self.json.text)
    }

    /// Goes past a field of which columns read what is in it. Calls itself as deep as declared paths go.
    fn within(&mut self, kind: At, within: &Within) -> Result<(), Box<Reason>> {
        let branch = self.bytes.branch(self.schema, kind).map_err(not_avro)?;
        if let Some((_, plan)) = within.records.iter().find(|(record, _)| *record == branch) {
            return self.record(plan);
        }
        let Some(datum) = self.bytes.datum(self.schema, branch).map_err(not_avro)? else {
            return within
                .columns
                .iter()
                .try_for_each(|&column| self.row.put_null(column, "the record it is in is null"));
        };
        let path = within.columns.first().map_or_else(String::new, |&column| {
            let path = &self.row.columns[column].path;
            path[..path.len() - 1].join(".")
        });
        let text = format!("{path}: a record expected, found {}", reason::excerpt(datum.to_string().as_bytes()));
        Err(rejection(reason::WRONG_TYPE, text))
    }
}

#[cold]
fn not_avro(broken: Broken) -> Box<Reason> {
    rejection(reason::NOT_AVRO, format!("byte {}: {}", broken.at, broken.why))
}
