use std::io::Write;

use super::lines::LINE_LIMIT;
use super::*;

/// The only partition.
const PARTITION: Partition = Partition(0);

async fn read(path: PathBuf, from: i64) -> Result<(Vec<(i64, String)>, Offset), SourceError> {
    let mut source = FileSource::new(Some(path), Clock::system());
    source.assign(&BTreeMap::from([(PARTITION, Offset(from))])).await?;
    let (mut lines, mut end) = (Vec::new(), None);
    loop {
        match source.next().await? {
            Event::Records(records) => lines.extend(records.iter().map(|record| {
                (record.offset.0, String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
            })),
            Event::Reached { position, .. } => end = Some(position),
            Event::Finished => return Ok((lines, end.expect("the end is told before the source finishes"))),
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

#[tokio::test]
async fn lines_are_numbered_from_one_and_empty_ones_are_gaps() {
    let file = file(b"{\"a\":1}\r\n\n\r\n{\"b\":2}\nlast");
    let (lines, end) = read(file.path().to_owned(), 1).await.unwrap();
    let expected = [(1, "{\"a\":1}"), (4, "{\"b\":2}"), (5, "last")].map(|(n, text)| (n, text.to_owned()));
    assert_eq!(lines, expected);
    assert_eq!(end, Offset(6));
}

#[tokio::test]
async fn reading_goes_on_at_the_line_asked_for() {
    let file = file(b"one\ntwo\nthree\n");
    let (lines, end) = read(file.path().to_owned(), 3).await.unwrap();
    assert_eq!(lines, [(3, "three".to_owned())]);
    assert_eq!(end, Offset(4));
    assert!(read(file.path().to_owned(), 4).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_file_that_was_cut_is_an_error() {
    let file = file(b"one\ntwo\n");
    let error = read(file.path().to_owned(), 5).await.unwrap_err();
    assert!(matches!(&error, SourceError::Data(text) if text.contains("line 5 comes next")), "{error}");
}

#[tokio::test]
async fn an_empty_file_finishes_at_once() {
    let (lines, end) = read(file(b"").path().to_owned(), 1).await.unwrap();
    assert_eq!((lines.len(), end), (0, FIRST));
}

#[tokio::test]
async fn many_lines_come_in_bounded_batches_without_a_gap() {
    let content: String = (1..=10_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let (lines, end) = read(file(content.as_bytes()).path().to_owned(), 1).await.unwrap();
    assert_eq!(end, Offset(10_001));
    assert!(lines.iter().zip(1..).all(|((offset, text), n)| *offset == n && *text == format!("{{\"n\":{n}}}")));
    assert_eq!(lines.len(), 10_000);
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let mut source = FileSource::new(Some("/no/such/rides.jsonl".into()), Clock::system());
    let error = source.describe().await.unwrap_err();
    assert!(matches!(&error, SourceError::Invalid(text) if text.contains("/no/such/rides.jsonl")), "{error}");
}

#[tokio::test]
async fn a_line_beyond_the_limit_is_refused_by_its_number() {
    let mut content = b"short\n".to_vec();
    content.resize(content.len() + LINE_LIMIT + 1, b'x');
    let error = read(file(&content).path().to_owned(), 1).await.unwrap_err();
    assert!(matches!(&error, SourceError::Data(text) if text.contains("line 2")), "{error}");
}

/// Everything that a source for the files of a pipeline says: rows as `partition/offset text`, ends as `partition end`.
async fn told(path: &std::path::Path, source: &str, from: &[(i32, i64)]) -> Result<Vec<String>, SourceError> {
    let text = format!(
        "name = \"t\"\n[source]\n{source}\n[source.file]\npath = {:?}\n[source.columns]\nat = \"timestamp\"\nv = \"int\"\n\
         [window]\nevent_time = \"at\"\nsize = \"1 hour\"\n[query]\nsql = \"SELECT v FROM t\"\n[sink]\nurl = \"s\"\n",
        path.to_str().unwrap()
    );
    let pipeline = Pipeline::parse(&text, "t.toml", &|_| None).unwrap();
    let crate::config::SourceConfig::File(files) = &pipeline.source else { panic!() };
    let mut source = FileSource::open(files, &pipeline)?;
    let topic = source.describe().await?;
    let mut starts: BTreeMap<Partition, Offset> =
        topic.partitions.keys().map(|partition| (*partition, FIRST)).collect();
    starts.extend(from.iter().map(|(partition, offset)| (Partition(*partition), Offset(*offset))));
    source.assign(&starts).await?;
    let mut told = Vec::new();
    loop {
        match source.next().await? {
            Event::Records(records) => told.extend(records.iter().map(|record| {
                let text = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                format!("{}/{} {text}", records.partition, record.offset)
            })),
            Event::Reached { partition, position } => told.push(format!("{partition} end {position}")),
            Event::Finished => {
                if let Some((done, all)) = source.way() {
                    assert_eq!(done, all, "all has been read");
                }
                return Ok(told);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn zipped(name: &str, text: &[u8]) -> Vec<u8> {
    if name.ends_with(".zst") {
        return zstd::stream::encode_all(text, 3).unwrap();
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn the_files_of_a_folder_are_partitions_in_name_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("day=2/a.jsonl", b"four\n");
    write("day=1/b.jsonl.gz", &zipped("b.gz", b"two\n\nthree"));
    write("day=1/a.jsonl.zst", &[zipped("a.zst", b"one"), zipped("a.zst", b" and\n")].concat());
    write("_SUCCESS", b"no record");
    write("day=1/.hidden", b"no record");
    write("day=3", b"");
    let all = told(folder.path(), "", &[]).await.unwrap();
    let expected = ["0/1 one and", "0 end 2", "1/1 two", "1/3 three", "1 end 4", "2/1 four", "2 end 2", "3 end 1"];
    assert_eq!(all, expected);
    // Where the log has rows of the second file, the first was read to its end.
    assert_eq!(told(folder.path(), "", &[(0, 1), (1, 3)]).await.unwrap(), expected[3..]);
    let error = told(folder.path(), "", &[(2, 9)]).await.unwrap_err().to_string();
    assert!(error.contains("a.jsonl: line 9 comes next, but it ends after 1"), "{error}");
    let error = told(&folder.path().join("none"), "", &[]).await.unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
}

#[tokio::test]
async fn a_row_of_separated_values_may_have_several_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "at,v\r\n1,\"a\nb\"\r\n\n2,c\n").unwrap();
    let rows = told(&path, "format = \"csv\"\ncsv = { first_line = true }", &[]).await.unwrap();
    assert_eq!(rows, ["0/1 1,\"a\nb\"", "0/3 2,c", "0 end 4"]);
    let rows = told(&path, "format = \"csv\"\ncsv = { first_line = true }", &[(0, 3)]).await.unwrap();
    assert_eq!(rows, ["0/3 2,c", "0 end 4"]);
    let rows = told(&path, "format = \"csv\"", &[]).await.unwrap();
    assert_eq!(rows[0], "0/1 at,v");
}

#[tokio::test]
async fn rows_of_parquet_are_json_objects_of_the_declared_columns() {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let at: Vec<i64> = (0..10_000).collect();
    let batch = RecordBatch::try_from_iter([
        ("w", Arc::new(StringArray::from_iter_values(at.iter().map(i64::to_string))) as ArrayRef),
        ("v", Arc::new(Int64Array::from_iter_values(at.iter().map(|at| at * 2)))),
        ("at", Arc::new(TimestampMillisecondArray::from(at).with_timezone("UTC"))),
    ])
    .unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let rows = told(&path, "format = \"parquet\"", &[]).await.unwrap();
    assert_eq!(rows.len(), 10_001);
    assert_eq!(rows[1], r#"0/2 {"v":2,"at":"1970-01-01T00:00:00.001Z"}"#);
    let rows = told(&path, "format = \"parquet\"", &[(0, 9_999)]).await.unwrap();
    assert_eq!(
        rows,
        [
            r#"0/9999 {"v":19996,"at":"1970-01-01T00:00:09.998Z"}"#,
            r#"0/10000 {"v":19998,"at":"1970-01-01T00:00:09.999Z"}"#,
            "0 end 10001"
        ]
    );
    std::fs::write(&path, b"PAR1 and no more").unwrap();
    let error = told(&path, "format = \"parquet\"", &[]).await.unwrap_err();
    assert!(error.to_string().contains("t.parquet"), "{error}");
}
