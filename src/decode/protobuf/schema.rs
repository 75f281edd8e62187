//! A Protobuf schema compiled from its text, and the columns that a message of it tells.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::{Compiler, Error};

use crate::decode::column::{ColumnType, TimestampForm};
use crate::decode::schemas::{SchemaText, Told};

/// What the schema itself is called among the files it imports.
const ROOT: &str = "record.schema.proto";

/// Files that clients take for known, so that a registry does not have them: the parts that are read.
const KNOWN: [(&str, &str); 2] = [
    (
        "confluent/type/decimal.proto",
        "syntax = \"proto3\"; package confluent.type; \
         message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
    (
        "google/type/date.proto",
        "syntax = \"proto3\"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }",
    ),
];

/// How deep blocks and the like may be nested. A schema comes from a registry that others write to, and the compiler
/// goes down by recursion.
const DEEPEST: usize = 64;

/// How deep brackets of any kind are nested at most, outside comments and strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let mut rest = text.as_bytes();
    // What follows the end of a comment or string that begins at `rest`.
    let after = |rest: &[u8], end: &[u8]| rest.windows(end.len()).position(|span| span == end).map(|at| at + end.len());
    while let Some((&byte, mut next)) = rest.split_first() {
        match byte {
            b'/' if next.starts_with(b"/") => next = &next[after(next, b"\n").unwrap_or(next.len())..],
            b'/' if next.starts_with(b"*") => next = &next[after(&next[1..], b"*/").map_or(next.len(), |at| at + 1)..],
            b'"' | b'\'' => {
                let mut at = 0;
                while next.get(at).is_some_and(|&inside| inside != byte && inside != b'\n') {
                    at += if next[at] == b'\\' { 2 } else { 1 };
                }
                next = next.get(at + 1..).unwrap_or_default();
            }
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        rest = next;
    }
    deepest
}

/// A compiled schema file.
#[derive(Clone, Debug)]
pub(super) struct Schema(DescriptorPool);

/// Files by the name they are imported under.
struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let text = self.0.get(name).ok_or_else(|| Error::file_not_found(name))?;
        // Some clients register the compiled form, in base64.
        let compiled = STANDARD.decode(text.trim()).ok().and_then(|bytes| FileDescriptorProto::decode(&*bytes).ok());
        match compiled {
            Some(mut compiled) => {
                compiled.name = Some(name.to_owned());
                Ok(File::from_file_descriptor_proto(compiled))
            }
            None => File::from_source(name, text),
        }
    }
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn compile(schema: &SchemaText) -> Result<Self, String> {
        let texts = schema.references.iter().map(|(_, text)| text).chain([&schema.text]);
        if texts.into_iter().any(|text| depth(text) > DEEPEST) {
            return Err(format!("it is nested deeper than {DEEPEST}"));
        }
        let known = KNOWN.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut texts: HashMap<String, String> = known.into_iter().chain(schema.references.iter().cloned()).collect();
        texts.insert(ROOT.to_owned(), schema.text.clone());
        let mut files = ChainFileResolver::new();
        files.add(Texts(texts));
        files.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(files);
        compiler.include_imports(true);
        let wrong = |error: Error| error.to_string().replace(ROOT, "the schema");
        compiler.open_file(ROOT).map_err(wrong)?;
        Ok(Self(compiler.descriptor_pool()))
    }

    /// The message at a path of indexes: of the file's messages, then of those declared within.
    pub(super) fn at(&self, indexes: &[usize]) -> Option<MessageDescriptor> {
        let (first, rest) = indexes.split_first()?;
        let top = self.0.get_file_by_name(ROOT)?.messages().nth(*first)?;
        rest.iter().try_fold(top, |message, index| message.child_messages().nth(*index))
    }

    /// The message of a name, with its package; without a name the file's only one.
    ///
    /// # Errors
    /// If there is none, or more than one without a name.
    pub(super) fn named(&self, name: Option<&str>) -> Result<MessageDescriptor, String> {
        let messages: Vec<MessageDescriptor> =
            self.0.get_file_by_name(ROOT).iter().flat_map(|file| file.messages().collect::<Vec<_>>()).collect();
        let names = || messages.iter().map(MessageDescriptor::full_name).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => {
                let found = self.0.get_message_by_name(name);
                found.ok_or_else(|| format!("it has no message {name}; at its top it has {}", names()))
            }
            None => match messages.as_slice() {
                [one] => Ok(one.clone()),
                [] => Err("it has no message".to_owned()),
                _ => Err(format!("it has several messages; write message = \"…\" with one of {}", names())),
            },
        }
    }
}

/// The columns that a message tells.
pub(super) fn told(message: &MessageDescriptor) -> Vec<Told> {
    let told = |field: FieldDescriptor| {
        let name = field.name().to_owned();
        Told { path: vec![name.clone()], name, column: column(&field) }
    };
    message.fields().map(told).collect()
}

fn column(field: &FieldDescriptor) -> Result<(ColumnType, bool), String> {
    if field.is_list() || field.is_map() {
        return Ok((ColumnType::Json, false));
    }
    let kind = match field.kind() {
        Kind::Bool => ColumnType::Bool,
        Kind::String | Kind::Enum(_) => ColumnType::Text,
        Kind::Float | Kind::Double => ColumnType::Float,
        Kind::Bytes => return Err("bytes are no column; declare text if they are UTF-8".to_owned()),
        Kind::Message(message) => match Special::of(&message) {
            Some(Special::Time) => ColumnType::Timestamp(TimestampForm::Rfc3339),
            Some(Special::Date) => ColumnType::Date,
            Some(Special::Decimal) => return Err("the schema gives no digits; declare decimal(p, s)".to_owned()),
            Some(Special::Wrapper) => match message.get_field(1) {
                Some(value) => column(&value)?.0,
                None => ColumnType::Json,
            },
            None => ColumnType::Json,
        },
        _ => ColumnType::Int,
    };
    Ok((kind, field.supports_presence()))
}

/// Messages that are one value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Seconds and nanoseconds.
    Time,
    /// Year, month and day.
    Date,
    /// Unscaled bytes and a scale.
    Decimal,
    /// A value that may be missing.
    Wrapper,
}

impl Special {
    pub(super) fn of(message: &MessageDescriptor) -> Option<Self> {
        Some(match message.full_name() {
            "google.protobuf.Timestamp" => Self::Time,
            "google.type.Date" => Self::Date,
            "confluent.type.Decimal" => Self::Decimal,
            "google.protobuf.DoubleValue"
            | "google.protobuf.FloatValue"
            | "google.protobuf.Int64Value"
            | "google.protobuf.UInt64Value"
            | "google.protobuf.Int32Value"
            | "google.protobuf.UInt32Value"
            | "google.protobuf.BoolValue"
            | "google.protobuf.StringValue"
            | "google.protobuf.BytesValue"
                if wraps_a_scalar(message) =>
            {
                Self::Wrapper
            }
            _ => return None,
        })
    }
}

/// Whether its first field is one value of no message. A schema may declare these names itself, even around each other.
fn wraps_a_scalar(message: &MessageDescriptor) -> bool {
    message.get_field(1).is_some_and(|value| !value.is_list() && !matches!(value.kind(), Kind::Message(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_comments_and_strings_is_not_nested() {
        let rulers = format!("// {}\n/* {} */ message M {{ }}", "<".repeat(100), "{".repeat(100));
        assert_eq!(depth(&rulers), 1);
        assert_eq!(depth("option x = \"{{{\\\"{{{\"; message M { map<string, int32> a = 1; }"), 2);
        assert_eq!(depth(&"message M {".repeat(100)), 100);
    }
}
