//! Keys that have a schema of their own: `_key`, and the columns whose path leads into it.
//!
//! A key's schema is read as that of a record with the one field `_key`, of which Avro writes nothing but the field. So
//! `_key` is a typed value where the schema is of one, and JSON where it is of a record, whose members are columns by
//! their path. The values of the same records are read by the pipeline's format, which knows nothing of keys.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter, filter_record_batch, take};
use arrow::datatypes::SchemaRef;

use super::avro::AvroDecoder;
use super::column::{Column, ColumnType, Columns, KEY, PartType, TIMESTAMP, Whole};
use super::protobuf::ProtobufDecoder;
use super::schemas::Origin;
use super::{Decode, Decoded, Format, Reason, Settings};
use crate::record::{Records, Timestamp};

/// How keys are read that have schemas.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// What they are written in.
    pub language: KeyLanguage,
    /// Where their schemas come from.
    pub origin: Origin,
    /// Which message of a schema file they are, or tells the members of a registry's schema.
    pub message: Option<String>,
}

/// What keys with schemas are written in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum KeyLanguage {
    /// Avro.
    Avro,
    /// Protobuf.
    Protobuf,
}

/// Whether a column is read from the key, where keys have schemas.
#[must_use]
pub fn is_of_key(column: &Column) -> bool {
    column.path.len() > 1 && column.path[0] == KEY
}

/// The reader of a pipeline's records.
#[must_use]
pub fn decoder(format: &Format, columns: &Columns, topic: &str, settings: &Settings) -> Box<dyn Decode> {
    match &settings.key {
        None => (format.decoder)(columns, topic, settings),
        Some(key) => Box::new(WithKeys::new(format, columns, topic, settings, key)),
    }
}

/// A reader of values, beside one of keys.
struct WithKeys {
    values: Box<dyn Decode>,
    keys: Box<dyn Decode>,
    schema: SchemaRef,
    /// Where each column of the stream comes from.
    places: Vec<Place>,
}

/// A column of one of the two batches.
#[derive(Copy, Clone, Debug)]
enum Place {
    Value(usize),
    Key(usize),
}

impl WithKeys {
    fn new(format: &Format, columns: &Columns, topic: &str, settings: &Settings, key: &KeySettings) -> Self {
        let (of_key, declared): (Vec<_>, Vec<_>) = columns.declared.iter().cloned().partition(is_of_key);
        // As it comes it is looked at by nobody.
        let whole = Whole { key: Some(PartType::Bytes), ..columns.whole };
        let of_value = Columns { declared, event_time: columns.event_time.clone(), whole };
        let kind = match columns.whole.key {
            Some(PartType::Spelled(kind)) => kind,
            _ => ColumnType::Json,
        };
        let all = Column { name: KEY.to_owned(), path: vec![KEY.to_owned()], kind, optional: true };
        let whole = Columns {
            declared: std::iter::once(all).chain(of_key).collect(),
            event_time: TIMESTAMP.to_owned(),
            whole: Whole::default(),
        };
        let KeySettings { language, origin, message } = key.clone();
        let keys: Box<dyn Decode> = match language {
            KeyLanguage::Avro => Box::new(AvroDecoder::new(&whole, topic, origin, settings.on_missing).of_keys()),
            KeyLanguage::Protobuf => {
                Box::new(ProtobufDecoder::new(&whole, topic, origin, message, settings.on_missing).of_keys())
            }
        };
        let schema = columns.schema();
        let value_schema = of_value.schema();
        let place = |name: &str| match whole.declared.iter().position(|column| column.name == name) {
            Some(index) => Place::Key(index),
            None => Place::Value(value_schema.index_of(name).expect("a column is the key's or among the others")),
        };
        let places = schema.fields().iter().map(|field| place(field.name())).collect();
        Self { values: (format.decoder)(&of_value, topic, settings), keys, schema, places }
    }

    /// The keys, as values of records: the batch, and for each record its row or what is wrong with its key. A record
    /// without a key has neither.
    fn keys(&mut self, records: &Records) -> (RecordBatch, Vec<Option<Result<u32, Reason>>>) {
        let mut keys = Records::new(records.partition);
        keys.reserve(records.len(), 0);
        let mut whose = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            if let Some(key) = record.key {
                keys.push(record.offset, Some(Timestamp(0)), None, Some(key));
                whose.push(index);
            }
        }
        let mut found = vec![None; records.len()];
        let Decoded { rows, batch, rejected, .. } = self.keys.decode(keys);
        for (row, key) in (0u32..).zip(rows) {
            found[whose[key as usize]] = Some(Ok(row));
        }
        for (key, reason) in rejected {
            // What is wrong with the record and not with a column does not say that it is the key.
            let text = if reason.text.starts_with(KEY) { reason.text } else { format!("{KEY}: {}", reason.text) };
            found[whose[key as usize]] = Some(Err(Reason { class: reason.class, text }));
        }
        (batch, found)
    }
}

impl Decode for WithKeys {
    fn decode(&mut self, records: Records) -> Decoded {
        let Decoded { records, mut rows, mut batch, mut event_times, mut rejected } = self.values.decode(records);
        let (keys, mut found) = self.keys(&records);
        let is_sound: Vec<bool> = rows.iter().map(|&row| !matches!(found[row as usize], Some(Err(_)))).collect();
        if is_sound.contains(&false) {
            for (&row, _) in rows.iter().zip(&is_sound).filter(|(_, sound)| !**sound) {
                if let Some(Err(reason)) = found[row as usize].take() {
                    rejected.push((row, reason));
                }
            }
            rejected.sort_by_key(|(row, _)| *row);
            let mut sound = is_sound.iter();
            rows.retain(|_| sound.next().copied().unwrap_or_default());
            let sound = BooleanArray::from(is_sound);
            batch = filter_record_batch(&batch, &sound).expect("as many rows as there were");
            event_times = filter(&event_times, &sound).expect("as many rows as there were").into_data().into();
        }
        let of_key = |row: &u32| found[*row as usize].as_ref().and_then(|key| key.as_ref().ok()).copied();
        let chosen: UInt32Array = rows.iter().map(of_key).collect();
        let column = |place: &Place| -> ArrayRef {
            match *place {
                Place::Value(index) => batch.column(index).clone(),
                Place::Key(index) => take(keys.column(index), &chosen, None).expect("each row is one of the keys'"),
            }
        };
        let columns = self.places.iter().map(column).collect();
        let batch =
            RecordBatch::try_new(self.schema.clone(), columns).expect("each column has its type and one length");
        Decoded { records, rows, batch, event_times, rejected }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::super::schemas::{Known, Language, SchemaId, SchemaText, Schemas};
    use super::*;
    use crate::record::{Offset, Partition};

    fn column(name: &str, path: &[&str], kind: ColumnType, optional: bool) -> Column {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        Column { name: name.to_owned(), path, kind, optional }
    }

    fn schema(language: Language, text: &str) -> Arc<SchemaText> {
        Arc::new(SchemaText { language, text: text.to_owned(), references: Vec::new() })
    }

    fn reader(kind: ColumnType, members: &[Column], language: KeyLanguage, origin: Origin) -> Box<dyn Decode> {
        let mut declared = vec![column("v", &["v"], ColumnType::Int, false)];
        declared.extend_from_slice(members);
        let whole = Whole { key: Some(PartType::Spelled(kind)), ..Whole::default() };
        let columns = Columns { declared, event_time: TIMESTAMP.to_owned(), whole };
        let settings =
            Settings { key: Some(KeySettings { language, origin, message: None }), ..Settings::without_schemas() };
        decoder(Format::named("json").unwrap(), &columns, "t", &settings)
    }

    fn records(of: &[(Option<&[u8]>, &str)]) -> Records {
        let mut records = Records::new(Partition(0));
        for (offset, (key, value)) in (0..).zip(of) {
            records.push(Offset(offset), Some(Timestamp(offset)), *key, Some(value.as_bytes()));
        }
        records
    }

    fn ints(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
        batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
    }

    #[test]
    fn a_key_of_one_value_is_typed_and_a_bad_one_makes_its_record_invalid() {
        let schemas = Schemas::default();
        schemas.put(SchemaId(1), Known::Schema(schema(Language::Avro, "\"long\"")));
        schemas.put(SchemaId(2), Known::Schema(schema(Language::Avro, "\"string\"")));
        let mut reader = reader(ColumnType::Int, &[], KeyLanguage::Avro, Origin::Registry(schemas));
        let decoded = reader.decode(records(&[
            (Some(&[0, 0, 0, 0, 1, 84]), r#"{"v": 1}"#),
            (Some(&[0, 0, 0, 0, 2, 2, b'x']), r#"{"v": 2}"#),
            (None, r#"{"v": 3}"#),
            (Some(&[0, 0, 0, 0, 1, 2]), "{}"),
            (Some(b"plain"), r#"{"v": 5}"#),
            (Some(&[0, 0, 0, 0, 1, 1]), r#"{"v": 6}"#),
        ]));
        assert_eq!(ints(&decoded.batch, "_key"), [Some(42), None, Some(-1)]);
        assert_eq!(ints(&decoded.batch, "v"), [Some(1), Some(3), Some(6)]);
        assert_eq!((decoded.rows, decoded.event_times.values().to_vec()), (vec![0, 2, 5], vec![0, 2, 5]));
        let rejected: Vec<_> = decoded.rejected.iter().map(|(row, why)| (*row, why.class, &why.text[..5])).collect();
        assert_eq!(
            rejected,
            [(1, "wrong_type", "_key:"), (3, "missing_column", "v: th"), (4, "no_schema_id", "_key:")]
        );
    }

    #[test]
    fn a_key_that_is_a_record_is_json_and_its_members_are_columns() {
        let text = r#"{"type": "record", "name": "Key", "fields": [
            {"name": "id", "type": "long"}, {"name": "region", "type": ["null", "string"]}]}"#;
        let members = [
            column("id", &["_key", "id"], ColumnType::Int, false),
            column("region", &["_key", "region"], ColumnType::Text, true),
        ];
        let origin = Origin::One(schema(Language::Avro, text));
        let mut reader = reader(ColumnType::Json, &members, KeyLanguage::Avro, origin);
        let decoded =
            reader.decode(records(&[(Some(&[14, 2, 4, b'e', b'u']), r#"{"v": 1}"#), (Some(&[2, 0]), r#"{"v": 2}"#)]));
        assert_eq!(decoded.rejected, []);
        assert_eq!(ints(&decoded.batch, "id"), [Some(7), Some(1)]);
        let texts = |name: &str| decoded.batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!(texts("region").iter().collect::<Vec<_>>(), [Some("eu"), None]);
        assert_eq!(texts("_key").value(0), r#"{"id":7,"region":"eu"}"#);
    }

    #[test]
    fn a_key_that_is_a_message_is_json_and_its_fields_are_columns() {
        let text = "syntax = \"proto3\"; message Key { int64 id = 1; string region = 2; }";
        let members = [column("id", &["_key", "id"], ColumnType::Int, false)];
        let schemas = Schemas::default();
        schemas.put(SchemaId(9), Known::Schema(schema(Language::Protobuf, text)));
        let mut reader = reader(ColumnType::Json, &members, KeyLanguage::Protobuf, Origin::Registry(schemas));
        let key = [0, 0, 0, 0, 9, 0, 8, 7, 18, 2, b'e', b'u'];
        let decoded = reader.decode(records(&[(Some(&key), r#"{"v": 1}"#), (Some(&key[..6]), r#"{"v": 2}"#)]));
        assert_eq!(decoded.rejected, []);
        assert_eq!(ints(&decoded.batch, "id"), [Some(7), Some(0)]);
        let keys = decoded.batch.column_by_name("_key").unwrap().as_string::<i32>();
        assert_eq!([keys.value(0), keys.value(1)], [r#"{"id":7,"region":"eu"}"#, r#"{"id":0,"region":""}"#]);
    }
}
