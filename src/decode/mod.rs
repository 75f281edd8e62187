//! From bytes to Arrow columns: one file a format, and the table of formats.
//!
//! A decoder turns the declared columns of each record into one Arrow batch and names every record that it could
//! not read, with the reason. It decides nothing about time: windows and lateness are the engine's.
//!
//! What the formats share is beside them: rows and batches (`frame`), cells that take a row back (`cells`), the columns
//! every stream has (`meta`), exact numbers and times from text (`number`, `time`) and from typed values (`typed`),
//! the schemas of a registry (`schemas`), and the words for what was wrong (`reason`).

pub mod avro;
pub mod column;
pub mod csv;
pub mod debezium;
pub mod json;
pub mod key;
pub mod raw;
pub mod protobuf;
pub mod rows;
pub mod schemas;
mod cells;
mod frame;
mod meta;
mod number;
mod part;
mod reason;
mod time;
mod typed;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};

use self::column::Columns;
use crate::record::Records;

/// Why a record is not among the rows: a short class for counting, and the text for the person who looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One of a small fixed set, such as `tombstone`, `not_json`, `missing_column`, `wrong_type`, `out_of_range`,
    /// `future`, `expression`; used to count invalid records by reason.
    pub class: &'static str,
    /// What was wrong, where and with which value; escaped and cut to a readable length.
    pub text: String,
}

/// A batch of records, decoded: rows and rejects together are all the records.
#[derive(Debug)]
pub struct Decoded {
    /// The records as they came.
    pub records: Records,
    /// For each row of `batch`, the index of its record in `records`; rising.
    pub rows: Vec<u32>,
    /// The stream's schema (see [`column::Columns::schema`]), one row a decoded record.
    pub batch: RecordBatch,
    /// Event time of each row, never null; in microseconds, UTC.
    pub event_times: TimestampMicrosecondArray,
    /// Records that could not be decoded: index in `records`, and why; rising.
    pub rejected: Vec<(u32, Reason)>,
}

/// One format's reader. It holds only scratch space: the same records give the same result whatever came before.
pub trait Decode: Send {
    /// Decodes all records; never fails as a whole.
    fn decode(&mut self, records: Records) -> Decoded;
}

/// What formats need to know besides the columns; each looks at its own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How separated values are written.
    pub csv: csv::Form,
    /// The first lines of files of separated values.
    pub first_lines: csv::FirstLines,
    /// What becomes of a delete among change events.
    pub on_delete: debezium::OnDelete,
    /// What becomes of a column that a record's schema does not have.
    pub on_missing: schemas::OnMissing,
    /// Where schemas come from.
    pub origin: schemas::Origin,
    /// Which message of a schema file records are, or tells the columns of a registry's schema.
    pub message: Option<String>,
    /// How keys are read, where they have schemas.
    pub key: Option<key::KeySettings>,
}

impl Settings {
    /// What a format does without that has no schemas, and keys without any.
    #[must_use]
    pub fn without_schemas() -> Self {
        Self {
            csv: csv::Form::default(),
            first_lines: csv::FirstLines::default(),
            on_delete: debezium::OnDelete::Ignore,
            on_missing: schemas::OnMissing::default(),
            origin: schemas::Origin::Registry(schemas::Schemas::default()),
            message: None,
            key: None,
        }
    }
}

/// A format that `source.format` may name.
#[derive(Copy, Clone, Debug)]
pub struct Format {
    /// Its name in the pipeline file.
    pub name: &'static str,
    /// What it reads, in a line.
    pub about: &'static str,
    /// Whether records have schemas: columns need not be declared then.
    pub has_schemas: bool,
    /// A reader of these columns, for the topic of that name.
    pub decoder: fn(&Columns, &str, &Settings) -> Box<dyn Decode>,
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every format, in the order that help lists them.
pub const FORMATS: &[Format] = &[
    Format {
        name: "json",
        about: "one JSON object a record",
        has_schemas: false,
        decoder: |columns, topic, _| Box::new(json::JsonDecoder::new(columns, topic)),
    },
    Format {
        name: "debezium",
        about: "Debezium's change events in JSON: the row after an insert or update",
        has_schemas: false,
        decoder: |columns, topic, settings| {
            Box::new(debezium::DebeziumDecoder::new(columns, topic, settings.on_delete))
        },
    },
    Format {
        name: "csv",
        about: "one line of separated values a record",
        has_schemas: false,
        decoder: |columns, topic, settings| {
            let lines = settings.first_lines.clone();
            Box::new(csv::CsvDecoder::new(columns, topic, settings.csv.clone(), lines))
        },
    },
    Format {
        name: "avro",
        about: "Avro, with a schema registry or a schema file",
        has_schemas: true,
        decoder: |columns, topic, settings| {
            Box::new(avro::AvroDecoder::new(columns, topic, settings.origin.clone(), settings.on_missing))
        },
    },
    Format {
        name: "protobuf",
        about: "Protobuf, with a schema registry or a schema file",
        has_schemas: true,
        decoder: |columns, topic, settings| {
            let Settings { origin, message, on_missing, .. } = settings.clone();
            Box::new(protobuf::ProtobufDecoder::new(columns, topic, origin, message, on_missing))
        },
    },
    Format {
        name: RAW,
        about: "whole records: the value is a column and is not looked into",
        has_schemas: false,
        decoder: |columns, topic, _| Box::new(raw::RawDecoder::new(columns, topic)),
    },
    Format {
        name: PARQUET,
        about: "rows of Parquet files, where records come from files",
        has_schemas: false,
        // The source hands over rows as JSON objects of the declared columns.
        decoder: |columns, topic, _| Box::new(json::JsonDecoder::new(columns, topic)),
    },
];

/// The format of files that are no lines.
pub const PARQUET: &str = "parquet";

/// The format that has no declared columns.
pub const RAW: &str = "raw";

impl Format {
    /// The format of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }
}
