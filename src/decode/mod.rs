//! From bytes to Arrow columns: one file a format, and the table of formats.
//!
//! A decoder turns the declared columns of each record into one Arrow batch and names every record that it could
//! not read, with the reason. It decides nothing about time: windows and lateness are the engine's.
//!
//! What the formats share is beside them: cells that take a row back (`cells`), the columns every stream has
//! (`meta`), exact numbers and times from text (`number`, `time`), and the words for what was wrong (`reason`).

pub mod column;
pub mod json;
pub mod raw;
mod cells;
mod meta;
mod number;
mod part;
mod reason;
mod time;

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

/// A format that `source.format` may name.
#[derive(Copy, Clone, Debug)]
pub struct Format {
    /// Its name in the pipeline file.
    pub name: &'static str,
    /// What it reads, in a line.
    pub about: &'static str,
    /// A reader of these columns, for the topic of that name.
    pub decoder: fn(&Columns, &str) -> Box<dyn Decode>,
}

/// Every format, in the order that help lists them.
pub const FORMATS: &[Format] = &[
    Format {
        name: "json",
        about: "one JSON object a record",
        decoder: |columns, topic| Box::new(json::JsonDecoder::new(columns, topic)),
    },
    Format {
        name: RAW,
        about: "whole records: the value is a column and is not looked into",
        decoder: |columns, topic| Box::new(raw::RawDecoder::new(columns, topic)),
    },
];

/// The format that has no declared columns.
pub const RAW: &str = "raw";

impl Format {
    /// The format of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }
}
