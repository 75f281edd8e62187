//! Files as sources, and a record's time as text on its way into windows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use windrow::config::{Pipeline, SourceConfig};
use windrow::source::file::FileSource;
use windrow::source::{Event, Source, Start};

use super::{pipeline, runtime};
use crate::hunt::{FEW, Target, hunt};

const COLUMNS: &str = "at = \"timestamp(s)\"\nk = \"text\"\nv = { type = \"int\", optional = true }";

/// Reads the file to its end, or to what is wrong with it.
fn read(pipeline: &Pipeline, path: &Path) -> String {
    let SourceConfig::File(files) = &pipeline.source else { panic!("a pipeline over files") };
    let mut files = files.clone();
    files.place = Some(path.to_str().unwrap().to_owned());
    runtime().block_on(async {
        let mut source = match FileSource::open(&files, pipeline) {
            Ok(source) => source,
            Err(error) => return error.to_string(),
        };
        let mut records = 0;
        let run = async {
            source.describe().await?;
            let from: BTreeMap<_, _> = source.resolve(Start::Earliest).await?;
            source.assign(&from).await?;
            loop {
                match source.next().await? {
                    Event::Records(batch) => records += batch.len(),
                    Event::Finished => return Ok::<_, windrow::source::SourceError>(()),
                    _ => {}
                }
            }
        };
        match run.await {
            Ok(()) => format!("{} records", "x".repeat(records.min(8))),
            Err(error) => error.to_string(),
        }
    })
}

fn files(target: &'static str, format: &str, ending: &str, seeds: Vec<Vec<u8>>, words: &[&str]) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(format!("input{ending}"));
    let pipeline = pipeline(format, COLUMNS, "SELECT k, v FROM t");
    let feed = |input: &[u8]| {
        std::fs::write(&path, input).unwrap();
        read(&pipeline, &path).replace(path.to_str().unwrap(), "")
    };
    hunt(&Target { name: target, seeds, words: words.to_vec(), inputs: FEW, feed: &feed });
}

#[test]
fn parquet_files() {
    let column = |name: &str, array: ArrayRef| (name.to_owned(), array);
    let batch = RecordBatch::try_from_iter([
        column("at", Arc::new(Int64Array::from(vec![1_772_352_000, 1_772_352_060, 1_772_352_120]))),
        column("k", Arc::new(StringArray::from(vec!["a", "b", "a"]))),
        column("v", Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)]))),
    ]);
    let batch = batch.unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    files("parquet files", "parquet", ".parquet", vec![file], &["PAR1", "\u{0}\u{0}\u{0}\u{0}"]);
}

const LINES: &[u8] = b"at,k,v\n1772352000,a,1\r\n1772352060,\"b\n\"\"c\",2\n\n1772352120,d,";

#[test]
fn files_of_separated_values() {
    files(
        "files of separated values",
        "csv",
        ".csv",
        vec![LINES.to_vec()],
        &["\"", "\n", "\r", ",", "\"\n\"", "\u{feff}"],
    );
}

#[test]
fn compressed_files() {
    let zstd = zstd::stream::encode_all(LINES, 0).unwrap();
    files("files of zstd", "json", ".zst", vec![zstd], &[]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, LINES).unwrap();
    files("files of gzip", "json", ".gz", vec![gzip.finish().unwrap()], &[]);
}
