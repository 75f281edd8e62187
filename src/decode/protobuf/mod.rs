//! Protobuf records: each read by the schema it was written with, into the declared columns.
//!
//! With a registry a value begins with its schema's number and says which of the schema's messages it is; without one,
//! all values are one message of a file. A field that is not set is null if the schema can tell that (proto2, optional,
//! oneof, messages), else it is its default. Fields that the schema does not have are ignored, as in any Protobuf
//! reader; a column that the schema does not have is null or makes the record invalid, by `on_missing`.

mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value};

use self::schema::Schema;
use super::column::{Column, ColumnType, Columns};
use super::frame::{Frame, Row, rejection};
use super::schemas::{Language, OnMissing, Origin, SchemaId, SchemaText, Told, required_id};
use super::typed::JsonText;
use super::{Decode, Decoded, Reason, reason};
use crate::record::Records;

/// How deep a message index may go, and how many of a schema's messages are kept ready.
const DEEPEST: usize = 32;

/// The reader of Protobuf records.
#[derive(Debug)]
pub struct ProtobufDecoder {
    frame: Frame,
    origin: Origin,
    /// The message's name, where all records have one schema.
    message: Option<String>,
    schemas: HashMap<SchemaId, Schema>,
    plans: HashMap<(Option<SchemaId>, Vec<usize>), Plan>,
    scratch: Scratch,
    /// Whether these are keys.
    keys: bool,
}

/// Space that is used again.
#[derive(Debug, Default)]
struct Scratch {
    json: JsonText,
    text: String,
}

/// A message and the fields on the way to each column; `None` for a column that it does not have.
#[derive(Debug)]
struct Plan {
    message: MessageDescriptor,
    paths: Vec<Option<Vec<FieldDescriptor>>>,
}

impl ProtobufDecoder {
    /// A reader of these columns. `topic` is what `_topic` says; `message` names the message of a schema file.
    #[must_use]
    pub fn new(columns: &Columns, topic: &str, origin: Origin, message: Option<String>, on_missing: OnMissing) -> Self {
        Self {
            frame: Frame::new(columns, topic).with_missing(on_missing),
            origin,
            message,
            schemas: HashMap::new(),
            plans: HashMap::new(),
            scratch: Scratch::default(),
            keys: false,
        }
    }

    /// The same for keys, whose columns have a path that begins with `_key`.
    #[must_use]
    pub(super) fn of_keys(self) -> Self {
        Self { keys: true, ..self }
    }
}

impl Decode for ProtobufDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        let Self { frame, origin, message, schemas, plans, scratch, keys } = self;
        let outside = usize::from(*keys);
        frame.decode(records, |row, value| {
            let (key, bytes) = match origin {
                Origin::Registry(_) => {
                    let (id, rest) = required_id(value)?;
                    let (indexes, bytes) = message_index(rest)?;
                    ((Some(id), indexes), bytes)
                }
                Origin::One(_) => ((None, Vec::new()), value),
            };
            if !plans.contains_key(&key) {
                let message = match (&*origin, key.0) {
                    (Origin::Registry(known), Some(id)) => {
                        let schema = match schemas.entry(id) {
                            Entry::Occupied(entry) => entry.into_mut(),
                            Entry::Vacant(entry) => {
                                let schema = compile(&*known.find(id)?);
                                entry.insert(schema.map_err(|why| unusable(Some(id), &why))?)
                            }
                        };
                        schema
                            .at(&key.1)
                            .ok_or_else(|| unusable(Some(id), &format!("it has no message at {:?}", key.1)))?
                    }
                    (Origin::One(schema), _) => compile(schema)
                        .and_then(|schema| schema.named(message.as_deref()))
                        .map_err(|why| unusable(None, &why))?,
                    (Origin::Registry(_), None) => return Err(rejection(reason::NO_SCHEMA_ID, "no schema")),
                };
                plans.insert(key.clone(), Plan::new(message, row.columns, outside));
            }
            plans[&key].read(row, bytes, scratch)
        })
    }
}

fn compile(schema: &SchemaText) -> Result<Schema, String> {
    if schema.language != Language::Protobuf {
        return Err("it is not Protobuf".to_owned());
    }
    Schema::compile(schema)
}

#[cold]
fn unusable(id: Option<SchemaId>, why: &str) -> Box<Reason> {
    let which = id.map_or_else(|| "the schema".to_owned(), |id| format!("schema {id}"));
    rejection(reason::UNKNOWN_SCHEMA, format!("{which}: {why}"))
}

/// The columns that a schema's message tells, in its order: the named one, or the only one.
///
/// # Errors
/// What is wrong with the schema, or that it has several messages and none is named.
pub fn told(schema: &SchemaText, message: Option<&str>) -> Result<Vec<Told>, String> {
    Ok(schema::told(&compile(schema)?.named(message)?))
}

/// Which of a schema's messages follows: a path of indexes, of which the most usual, the first message, is one byte.
fn message_index(bytes: &[u8]) -> Result<(Vec<usize>, &[u8]), Box<Reason>> {
    let wrong = || rejection(reason::NO_SCHEMA_ID, "what follows the schema's number is no message index");
    let (count, mut rest) = varint(bytes).ok_or_else(wrong)?;
    if count == 0 {
        return Ok((vec![0], rest));
    }
    let count = usize::try_from(count).ok().filter(|count| *count <= DEEPEST).ok_or_else(wrong)?;
    let mut indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let (index, after) = varint(rest).ok_or_else(wrong)?;
        indexes.push(usize::try_from(index).map_err(|_| wrong())?);
        rest = after;
    }
    Ok((indexes, rest))
}

/// A zigzag number.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some(((value >> 1).cast_signed() ^ -(value & 1).cast_signed(), &bytes[index + 1..]));
        }
    }
    None
}

impl Plan {
    /// So many names of a path stand for the message itself.
    fn new(message: MessageDescriptor, columns: &[Column], outside: usize) -> Self {
        let paths = columns.iter().map(|column| path(&message, &column.path[outside..])).collect();
        Self { message, paths }
    }

    fn read(&self, row: &mut Row<'_>, bytes: &[u8], scratch: &mut Scratch) -> Result<(), Box<Reason>> {
        let message = DynamicMessage::decode(self.message.clone(), bytes)
            .map_err(|error| rejection(reason::NOT_PROTOBUF, error.to_string()))?;
        for (column, path) in self.paths.iter().enumerate() {
            match path {
                Some(path) => walk(row, column, &message, path, scratch)?,
                None => row.put_absent(column, "its schema has no such field")?,
            }
        }
        Ok(())
    }
}

/// The fields on the way to a column.
fn path(message: &MessageDescriptor, path: &[String]) -> Option<Vec<FieldDescriptor>> {
    let mut fields: Vec<FieldDescriptor> = Vec::with_capacity(path.len());
    for name in path {
        let within = match fields.last() {
            None => message.clone(),
            Some(field) => field.kind().as_message()?.clone(),
        };
        fields.push(within.get_field_by_name(name)?);
    }
    Some(fields)
}

/// Calls itself as deep as declared paths go.
fn walk(
    row: &mut Row<'_>,
    column: usize,
    message: &DynamicMessage,
    path: &[FieldDescriptor],
    scratch: &mut Scratch,
) -> Result<(), Box<Reason>> {
    let Some((field, rest)) = path.split_first() else {
        scratch.json.text.clear();
        value::object(message, &mut scratch.json);
        return row.put_json(column, &scratch.json.text);
    };
    if field.supports_presence() && !message.has_field(field) {
        return row.put_null(column, "the field is not set");
    }
    let value = message.get_field(field);
    if let [_, ..] = rest {
        let Value::Message(inner) = value.as_ref() else {
            let text = format!("{}: a message expected, found a list or map", field.name());
            return Err(rejection(reason::WRONG_TYPE, text));
        };
        return walk(row, column, inner, rest, scratch);
    }
    if row.columns[column].kind == ColumnType::Json {
        scratch.json.text.clear();
        value::json(&field.kind(), &value, &mut scratch.json);
        return row.put_json(column, &scratch.json.text);
    }
    let value = value::unwrapped(&value);
    row.put(column, value::named(&field.kind(), &value, &mut scratch.text))
}
