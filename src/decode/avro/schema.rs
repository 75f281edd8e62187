//! An Avro schema, taken apart: a list of types that refer to each other by their place.
//!
//! The crate apache-avro (0.21) parses schemas too, but forgets whether a UUID is text or sixteen bytes and then reads
//! the latter wrongly; and it builds a tree of every record, of which most is thrown away.

use std::collections::HashMap;

use serde_json::Value;

use crate::decode::column::{ColumnType, TimestampForm};
use crate::decode::schemas::{SchemaText, Told};

/// A type: how it is written, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) shape: Shape,
    pub(super) meaning: Meaning,
}

/// A type's place in its [`Schema`].
pub(super) type At = usize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(At),
    Map(At),
    Union(Vec<At>),
    Record(Vec<(String, At)>),
}

/// The logical type; what does not fit its shape is [`Meaning::Plain`], as the specification wants it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    Decimal {
        precision: u32,
        scale: u32,
    },
    Uuid,
    Date,
    /// So many of the count are a second.
    Timestamp(i64),
    LocalTimestamp,
}

/// A schema and everything it refers to.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    types: Vec<Type>,
    pub(super) root: At,
}

impl Schema {
    /// Takes a schema apart.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(schema: &SchemaText) -> Result<Self, String> {
        let mut parser = Parser { types: Vec::new(), names: HashMap::new() };
        for (name, text) in &schema.references {
            parser.document(text).map_err(|why| format!("it refers to {name}: {why}"))?;
        }
        let root = parser.document(&schema.text)?;
        Ok(Self { types: parser.types, root })
    }

    /// The schema of a record whose one field has this one: it is written the same way.
    pub(super) fn within(mut self, field: &str) -> Self {
        let fields = vec![(field.to_owned(), self.root)];
        self.types.push(Type { shape: Shape::Record(fields), meaning: Meaning::Plain });
        Self { root: self.types.len() - 1, types: self.types }
    }

    pub(super) fn get(&self, at: At) -> &Type {
        &self.types[at]
    }

    /// The columns that the schema tells.
    ///
    /// # Errors
    /// If it is no record.
    pub(super) fn told(&self) -> Result<Vec<Told>, String> {
        let Shape::Record(fields) = &self.get(self.root).shape else {
            return Err("it is not a record, so it has no columns".to_owned());
        };
        Ok(fields
            .iter()
            .map(|(name, at)| Told { name: name.clone(), path: vec![name.clone()], column: self.column(*at) })
            .collect())
    }

    fn column(&self, at: At) -> Result<(ColumnType, bool), String> {
        let kind = self.get(at);
        if let Shape::Union(branches) = &kind.shape {
            let is_null = |branch: &At| self.get(*branch).shape == Shape::Null;
            let others: Vec<At> = branches.iter().copied().filter(|branch| !is_null(branch)).collect();
            let optional = others.len() < branches.len();
            return match others.as_slice() {
                [] => Err("it is always null".to_owned()),
                [one] => self.column(*one).map(|(kind, _)| (kind, optional)),
                _ => Ok((ColumnType::Json, optional)),
            };
        }
        let column = match (kind.meaning, &kind.shape) {
            (Meaning::Decimal { precision, scale }, _) => match (u8::try_from(precision), i8::try_from(scale)) {
                (Ok(precision @ 1..=38), Ok(scale)) if scale.unsigned_abs() <= precision => {
                    ColumnType::Decimal { precision, scale }
                }
                _ => return Err(format!("a decimal({precision}, {scale}) has no place in 38 digits")),
            },
            (Meaning::Uuid, _) => ColumnType::Text,
            (Meaning::Date, _) => ColumnType::Date,
            (Meaning::Timestamp(_), _) => ColumnType::Timestamp(TimestampForm::Rfc3339),
            (Meaning::LocalTimestamp, _) => return Err(LOCAL.to_owned()),
            (Meaning::Plain, Shape::Boolean) => ColumnType::Bool,
            (Meaning::Plain, Shape::Int | Shape::Long) => ColumnType::Int,
            (Meaning::Plain, Shape::Float | Shape::Double) => ColumnType::Float,
            (Meaning::Plain, Shape::String | Shape::Enum(_)) => ColumnType::Text,
            (Meaning::Plain, Shape::Array(_) | Shape::Map(_) | Shape::Record(_) | Shape::Union(_)) => ColumnType::Json,
            (Meaning::Plain, Shape::Null) => return Err("it is always null".to_owned()),
            (Meaning::Plain, Shape::Bytes | Shape::Fixed(_)) => {
                return Err("bytes without a meaning are no column; declare text if they are UTF-8".to_owned());
            }
        };
        Ok((column, false))
    }
}

/// Why a local timestamp is no column.
pub(super) const LOCAL: &str = "a local timestamp is no point in time: its schema names no time zone";

struct Parser {
    types: Vec<Type>,
    names: HashMap<String, At>,
}

impl Parser {
    fn document(&mut self, text: &str) -> Result<At, String> {
        // A schema that is a name alone may stand without quotes.
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(_) if text.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') => {
                Value::String(text.trim().to_owned())
            }
            Err(error) => return Err(format!("it is not JSON: {error}")),
        };
        self.read(&value, "")
    }

    fn add(&mut self, shape: Shape, meaning: Meaning) -> At {
        self.types.push(Type { shape, meaning });
        self.types.len() - 1
    }

    fn read(&mut self, value: &Value, namespace: &str) -> Result<At, String> {
        match value {
            Value::String(name) => self.named(name, namespace, Meaning::Plain),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.read(branch, namespace));
                let branches = branches.collect::<Result<Vec<_>, _>>()?;
                Ok(self.add(Shape::Union(branches), Meaning::Plain))
            }
            Value::Object(object) => {
                let kind = object.get("type").ok_or("a type is missing")?;
                let Value::String(kind) = kind else {
                    // A type in a type is that type.
                    return self.read(kind, namespace);
                };
                let member = |name: &str| object.get(name).ok_or_else(|| format!("{kind} without {name}"));
                match kind.as_str() {
                    "array" => {
                        let items = self.read(member("items")?, namespace)?;
                        Ok(self.add(Shape::Array(items), Meaning::Plain))
                    }
                    "map" => {
                        let values = self.read(member("values")?, namespace)?;
                        Ok(self.add(Shape::Map(values), Meaning::Plain))
                    }
                    "record" | "error" | "enum" | "fixed" => self.definition(kind, object, namespace),
                    name => {
                        let shape = primitive(name);
                        let meaning = shape.map_or(Meaning::Plain, |shape| meaning(object, &shape));
                        self.named(name, namespace, meaning)
                    }
                }
            }
            _ => Err("a type is a name, an object or a list".to_owned()),
        }
    }

    fn named(&mut self, name: &str, namespace: &str, meaning: Meaning) -> Result<At, String> {
        if let Some(shape) = primitive(name) {
            return Ok(self.add(shape, meaning));
        }
        let full = full_name(name, namespace);
        let found = self.names.get(&full).or_else(|| self.names.get(name));
        found.copied().ok_or_else(|| format!("no type is called {full}"))
    }

    fn definition(&mut self, kind: &str, object: &serde_json::Map<String, Value>, outside: &str) -> Result<At, String> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| format!("{kind} without name"))?;
        let full = match text("namespace") {
            Some(namespace) if !name.contains('.') => full_name(name, namespace),
            _ => full_name(name, outside),
        };
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let shape = match kind {
            "enum" => {
                let symbols = object.get("symbols").and_then(Value::as_array).ok_or("enum without symbols")?;
                let symbols: Option<Vec<_>> = symbols.iter().map(|symbol| symbol.as_str().map(str::to_owned)).collect();
                Shape::Enum(symbols.ok_or("an enum's symbols are names")?)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                Shape::Fixed(size.ok_or("fixed without size")?)
            }
            _ => Shape::Record(Vec::new()),
        };
        let meaning = meaning(object, &shape);
        let at = self.add(shape, meaning);
        if self.names.insert(full.clone(), at).is_some() {
            return Err(format!("two types are called {full}"));
        }
        // Its name is known by now: a record may hold itself.
        if let Shape::Record(_) = self.types[at].shape {
            let fields = object.get("fields").and_then(Value::as_array).ok_or("record without fields")?;
            let mut read = Vec::with_capacity(fields.len());
            for field in fields {
                let name = field.get("name").and_then(Value::as_str).ok_or("a field without name")?;
                let kind = field.get("type").ok_or_else(|| format!("field {name} without type"))?;
                let kind = self.read(kind, &namespace)?;
                read.push((name.to_owned(), kind));
            }
            self.types[at].shape = Shape::Record(read);
        }
        Ok(at)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn primitive(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::String,
        _ => return None,
    })
}

fn meaning(object: &serde_json::Map<String, Value>, shape: &Shape) -> Meaning {
    let number = |name: &str| object.get(name).map(|value| value.as_u64().and_then(|value| u32::try_from(value).ok()));
    match (object.get("logicalType").and_then(Value::as_str).unwrap_or_default(), shape) {
        ("decimal", Shape::Bytes | Shape::Fixed(_)) => match (number("precision"), number("scale")) {
            (Some(Some(precision)), None) => Meaning::Decimal { precision, scale: 0 },
            (Some(Some(precision)), Some(Some(scale))) if scale <= precision => Meaning::Decimal { precision, scale },
            _ => Meaning::Plain,
        },
        ("uuid", Shape::String | Shape::Fixed(16)) => Meaning::Uuid,
        ("date", Shape::Int) => Meaning::Date,
        ("timestamp-millis", Shape::Long) => Meaning::Timestamp(1000),
        ("timestamp-micros", Shape::Long) => Meaning::Timestamp(1_000_000),
        ("timestamp-nanos", Shape::Long) => Meaning::Timestamp(1_000_000_000),
        ("local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos", Shape::Long) => {
            Meaning::LocalTimestamp
        }
        _ => Meaning::Plain,
    }
}
