//! How result files are written. Late and invalid records are kept in Parquet whatever the results are written in.

use std::fmt;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::parquet::{Encoded, Form};
use super::{SinkError, csv, jsonl, parquet};

/// A format of result files.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    /// Parquet.
    #[default]
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a line of names.
    Csv,
}

impl FileFormat {
    /// Every format, the default first.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::Jsonl, Self::Csv];

    /// Its name in the pipeline file, which is also what file names end with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// The format of the file that has this key: its name tells.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let extension = path.rsplit('.').next();
        Self::ALL.into_iter().find(|format| Some(format.name()) == extension).unwrap_or_default()
    }

    /// Whether it is the usual one, of which nothing need be said.
    #[must_use]
    pub fn is_parquet(&self) -> bool {
        *self == Self::Parquet
    }

    /// The rows that a file holds.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn rows(self, bytes: Bytes) -> Result<u64, String> {
        match self {
            Self::Parquet => {
                let reader = SerializedFileReader::new(bytes).map_err(|error| error.to_string())?;
                Ok(reader.metadata().file_metadata().num_rows().unsigned_abs())
            }
            Self::Jsonl => jsonl::rows(&bytes),
            Self::Csv => csv::rows(&bytes),
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Files in the making: rows go in, and whole files near the target size come out.
#[derive(Debug)]
pub enum Encoder<'a> {
    /// Parquet files.
    Parquet(Box<parquet::Encoder<'a>>),
    /// Files of text.
    Text(Text),
}

impl<'a> Encoder<'a> {
    /// Begins the first file.
    ///
    /// # Errors
    /// If a column has no form in this format, which planning has ruled out.
    pub fn new(format: FileFormat, schema: SchemaRef, form: &'a Form) -> Result<Self, SinkError> {
        Ok(match format {
            FileFormat::Parquet => Self::Parquet(Box::new(parquet::Encoder::new(schema, form)?)),
            FileFormat::Jsonl => Self::Text(Text::new(Vec::new(), jsonl::write, form.target_size)),
            FileFormat::Csv => Self::Text(Text::new(csv::head(&schema), csv::write, form.target_size)),
        })
    }

    /// Appends rows; gives the files that are full.
    ///
    /// # Errors
    /// If the rows cannot be encoded.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Encoded>, SinkError> {
        match self {
            Self::Parquet(encoder) => encoder.write(batch),
            Self::Text(text) => text.write(batch),
        }
    }

    /// The last file. It holds no rows if none were written.
    ///
    /// # Errors
    /// If the rows cannot be encoded.
    pub fn finish(self) -> Result<Encoded, SinkError> {
        match self {
            Self::Parquet(encoder) => encoder.finish(),
            Self::Text(text) => Ok(text.finish()),
        }
    }
}

/// Encodes `batches` as one file, or as several near the target size. No rows give one file without any.
///
/// # Errors
/// If a column has no form in this format, which planning has ruled out.
pub fn encode(
    format: FileFormat,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    form: &Form,
) -> Result<Vec<Encoded>, SinkError> {
    let mut encoder = Encoder::new(format, schema.clone(), form)?;
    let mut files = Vec::new();
    for batch in batches {
        files.extend(encoder.write(batch)?);
    }
    files.push(encoder.finish()?);
    Ok(files)
}

/// Appends rows as text.
type Write = fn(&RecordBatch, &mut Vec<u8>) -> Result<(), SinkError>;

/// Text files in the making.
pub struct Text {
    /// What every file begins with.
    head: Vec<u8>,
    append: Write,
    /// Bytes at which a file is ended; 0 for never.
    target_size: u64,
    bytes: Vec<u8>,
    rows: u64,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Text {
    /// Rows written between two looks at the file's size.
    const SLICE: usize = 8192;

    fn new(head: Vec<u8>, append: Write, target_size: u64) -> Self {
        Self { bytes: head.clone(), head, append, target_size, rows: 0 }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<Vec<Encoded>, SinkError> {
        let mut full = Vec::new();
        for at in (0..batch.num_rows()).step_by(Self::SLICE) {
            let slice = batch.slice(at, Self::SLICE.min(batch.num_rows() - at));
            if self.target_size > 0 && self.rows > 0 && self.bytes.len() as u64 >= self.target_size {
                let bytes = std::mem::replace(&mut self.bytes, self.head.clone());
                full.push(Encoded { bytes: bytes.into(), rows: std::mem::take(&mut self.rows) });
            }
            (self.append)(&slice, &mut self.bytes)?;
            self.rows += slice.num_rows() as u64;
        }
        Ok(full)
    }

    fn finish(self) -> Encoded {
        Encoded { bytes: self.bytes.into(), rows: self.rows }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    fn rows() -> RecordBatch {
        let texts = StringArray::from(vec![Some("plain"), Some(""), None, Some("two\nlines, \"quoted\"\r\n")]);
        let bytes: Vec<Option<&[u8]>> = vec![Some(&[0, 0xff]), Some(b""), None, Some(b"x")];
        let decimals = Decimal128Array::from(vec![Some(1_005), Some(-1), None, Some(i128::pow(10, 37))]);
        let times = TimestampMicrosecondArray::from(vec![Some(0), Some(1_500_000), None, Some(-1)]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("text \"t\"", Arc::new(texts)),
            ("bytes", Arc::new(BinaryArray::from(bytes))),
            ("money", Arc::new(decimals.with_precision_and_scale(38, 2).unwrap())),
            ("at", Arc::new(times.with_timezone("UTC"))),
            ("whole", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN), None, Some(0)]))),
            ("float", Arc::new(Float64Array::from(vec![Some(0.1), Some(1e300), None, Some(f64::NAN)]))),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
            ("day", Arc::new(Date32Array::from(vec![Some(0), Some(20_513), None, Some(-1)]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn one(format: FileFormat, batch: &RecordBatch) -> Encoded {
        let mut files = encode(format, &batch.schema(), std::slice::from_ref(batch), &Form::default()).unwrap();
        assert_eq!(files.len(), 1);
        files.remove(0)
    }

    #[test]
    fn csv_tells_null_from_empty_and_keeps_every_digit() {
        let text = String::from_utf8(one(FileFormat::Csv, &rows()).bytes.to_vec()).unwrap();
        let expected = [
            r#""text ""t""","bytes","money","at","whole","float","flag","day""#,
            r#""plain",00ff,10.05,1970-01-01T00:00:00Z,9223372036854775807,0.1,true,1970-01-01"#,
            r#""",,-0.01,1970-01-01T00:00:01.500Z,-9223372036854775808,1e300,false,2026-03-01"#,
            ",,,,,,,",
            "\"two\nlines, \"\"quoted\"\"\r\n\",78,100000000000000000000000000000000000.00,\
             1969-12-31T23:59:59.999999Z,0,NaN,true,1969-12-31",
        ];
        assert_eq!(text, expected.join("\n") + "\n");
    }

    #[test]
    fn json_lines_have_every_column_of_every_row() {
        let file = one(FileFormat::Jsonl, &rows());
        let text = String::from_utf8(file.bytes.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let first = r#"{"text \"t\"":"plain","bytes":"00ff","money":10.05,"at":"1970-01-01T00:00:00Z","whole":9223372036854775807,"float":0.1,"flag":true,"day":"1970-01-01"}"#;
        assert_eq!(lines[0], first);
        let null = serde_json::json!({
            "text \"t\"": null, "bytes": null, "money": null, "at": null, "whole": null, "float": null, "flag": null,
            "day": null
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(lines[2]).unwrap(), null);
        assert!(lines[3].contains(r#""money":100000000000000000000000000000000000.00"#), "{}", lines[3]);
        assert!(lines[3].contains(r#""text \"t\"":"two\nlines, \"quoted\"\r\n""#), "{}", lines[3]);
        assert!(lines[3].contains(r#""float":null"#), "{}", lines[3]);
    }

    #[test]
    fn the_rows_of_a_file_are_counted_as_they_were_written() {
        let batch = rows();
        for format in FileFormat::ALL {
            let file = one(format, &batch);
            assert_eq!((file.rows, format.rows(file.bytes.clone())), (4, Ok(4)), "{format}");
            let empty = one(format, &batch.slice(0, 0));
            assert_eq!((empty.rows, format.rows(empty.bytes)), (0, Ok(0)), "{format}");
            let cut = file.bytes.slice(..file.bytes.len() - 1);
            assert!(format.rows(cut).is_err(), "{format}: a file that was cut is told");
        }
    }

    #[test]
    fn a_large_result_is_split_and_no_row_is_lost() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..40_000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let form = Form { target_size: 64 << 10, ..Form::default() };
        for format in [FileFormat::Jsonl, FileFormat::Csv] {
            let files = encode(format, &batch.schema(), std::slice::from_ref(&batch), &form).unwrap();
            assert!(files.len() > 1, "{format}");
            let rows: u64 = files.iter().map(|file| format.rows(file.bytes.clone()).unwrap()).sum();
            assert_eq!((rows, files.iter().map(|file| file.rows).sum::<u64>()), (40_000, 40_000), "{format}");
        }
    }
}
