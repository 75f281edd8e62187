use clap::Parser;
use proptest::prelude::*;

use super::columns::Member;
use super::*;
use crate::config::SourceConfig;
use crate::decode::column::{ColumnType, PartType};
use crate::query::{Keeps, Query};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    batch: Batch,
}

fn batch(more: &[&str]) -> Batch {
    let always =
        ["batch", "--brokers", "b:9092", "--topic", "market.ticks", "--group", "g", "--every", "30s", "--out", "o"];
    Line::try_parse_from(always.iter().chain(more)).unwrap_or_else(|error| panic!("{error}")).batch
}

fn pipeline(more: &[&str]) -> Result<Pipeline, String> {
    let env = |name: &str| (name == "PASSWORD").then(|| "secret".to_owned());
    let batch = batch(more);
    batch.pipeline(batch.columns.as_ref(), &env).map_err(|error| error.to_string())
}

async fn columns(more: &[&str]) -> Vec<String> {
    let pipeline = pipeline(more).unwrap();
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await.unwrap();
    assert_eq!(query.keeps(), Keeps::Rows);
    let fields = query.output_schema().fields().iter();
    fields.map(|field| format!("{} {}", field.name(), field.data_type())).collect()
}

#[test]
fn nothing_asked_for_is_the_loop_that_people_write() {
    let pipeline = pipeline(&[]).unwrap();
    assert_eq!((pipeline.name.as_str(), pipeline.format.name), ("market_ticks", "raw"));
    let window = &pipeline.window;
    assert_eq!((window.idle_timeout, window.watermark_delay, window.allowed_lateness), (10_000_000, 10_000_000, 0));
    let whole = pipeline.columns.whole;
    let text = PartType::Spelled(ColumnType::Text);
    assert_eq!((whole.key, whole.value, whole.headers), (Some(text), Some(text), true));
    let SourceConfig::Kafka(kafka) = &pipeline.source else { panic!("a topic") };
    assert!(kafka.headers);
}

#[tokio::test]
async fn columns_are_those_asked_for() {
    let rest = ["_headers Utf8", "_timestamp Timestamp(µs, \"UTC\")", "_partition Int64", "_offset Int64"];
    let with = |first: &[&str]| first.iter().chain(&rest).map(|&column| column.to_owned()).collect::<Vec<_>>();
    assert_eq!(columns(&[]).await, with(&["_key Utf8", "_value Utf8"]));
    assert_eq!(columns(&["--value", "json"]).await, with(&["_key Utf8", "_value Utf8"]));
    assert_eq!(columns(&["--value", "bytes", "--key", "bytes"]).await, with(&["_key Binary", "_value Binary"]));
    let listed = ["--columns", "ticker text, Price decimal(12,2) not null", "--key", "int", "--header", "trace-id"];
    let expected = ["ticker Utf8", "Price Decimal128(12, 2)", "_key Int64", "trace-id Utf8"];
    assert_eq!(columns(&listed).await, with(&expected));
}

#[tokio::test]
async fn learned_columns_have_their_paths_and_the_value_is_there_whole_beside_them() {
    let member = |name: &str, path: &[&str], kind: &str| {
        let path = path.iter().map(|&step| step.to_owned()).collect();
        Member { name: name.to_owned(), path, kind: kind.to_owned(), required: false }
    };
    let list = vec![
        member("a_b", &["a.b"], "int"),
        member("ride_fare", &["ride", "fare"], "int"),
        member("id", &["id"], "text"),
    ];
    let list = Listed { members: list, learned: true };
    let pipeline = batch(&["--json"]).pipeline(Some(&list), &|_| None).unwrap();
    let paths: Vec<_> = pipeline.columns.declared.iter().map(|column| column.path.join("/")).collect();
    assert_eq!(paths, ["a.b", "ride/fare", "id"]);
    assert!(pipeline.columns.declared.iter().all(|column| column.optional));
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await.unwrap();
    let names: Vec<_> = query.output_schema().fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["a_b", "ride_fare", "id", "_key", "_value", "_headers", "_timestamp", "_partition", "_offset"]);
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    for wrong in
        [&["--json", "--columns", "a int"][..], &["--json", "--value", "bytes"], &["--on-batch-failure", "retry"]]
    {
        let always = ["batch", "--brokers", "b:1", "--topic", "t", "--group", "g", "--every", "1s", "--out", "o"];
        assert!(Line::try_parse_from(always.iter().chain(wrong)).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_problem_names_the_option() {
    for (more, told) in [
        (&["--every", "30"][..], "--every = \"30\": no unit; did you mean \"30s\"?"),
        (&["--poll", "0s"], "--poll = \"0s\": too little; write \"1 second\" or more"),
        (&["--columns", "a integer"], "--columns.a = \"integer\": unknown type; did you mean \"int\"?"),
        (&["--key", "uuid"], "--key = \"uuid\": unknown type; did you mean \"text\"?"),
        (&["--kafka-property", "group.id=x"], "--kafka-property"),
        (&["--start", "erliest"], "--start = \"erliest\": unknown; did you mean \"earliest\"?"),
    ] {
        let always = ["batch", "--brokers", "b:1", "--topic", "t", "--group", "g", "--out", "o"];
        let every = if more[0] == "--every" { &[][..] } else { &["--every", "1s"] };
        let line =
            Line::try_parse_from(always.iter().chain(every).chain(more)).unwrap_or_else(|error| panic!("{error}"));
        let error = line.batch.pipeline(line.batch.columns.as_ref(), &|_| None).unwrap_err().to_string();
        assert!(error.starts_with(told) || (told == "--kafka-property" && error.contains("group.id")), "{error}");
    }
    let error = pipeline(&["--poll", "0s", "--delay", "x"]).unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn secrets_come_from_the_environment_and_stay_out_of_the_file() {
    let more = ["--kafka-property", "sasl.password=${PASSWORD}"];
    let SourceConfig::Kafka(kafka) = pipeline(&more).unwrap().source else { panic!("a topic") };
    assert_eq!(kafka.properties["sasl.password"], "secret");
    let file = batch(&more).file(None);
    assert!(file.contains("${PASSWORD}") && !file.contains("secret"), "{file}");
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back_as_it_was(group in "[^$\\p{Cc}]{1,20}", column in "[^$,()\"\\p{Cc}]{1,20}") {
        prop_assume!(!group.trim().is_empty() && column.trim() == column && !column.is_empty());
        prop_assume!(!column.starts_with('.') && !column.ends_with('.') && !column.contains(".."));
        let mut batch = batch(&[]);
        batch.group.clone_from(&group);
        batch.columns = Some(columns::parse(&format!("\"{column}\" text")).unwrap());
        batch.out = format!("a \"b\" \\ {}", '\u{7f}');
        let pipeline = batch.pipeline(batch.columns.as_ref(), &|_| None).unwrap();
        let SourceConfig::Kafka(kafka) = &pipeline.source else { panic!("a topic") };
        prop_assert_eq!(&kafka.group, &group);
        prop_assert_eq!(&pipeline.columns.declared[0].name, &column);
        prop_assert_eq!(&pipeline.sink.url, &batch.out);
    }
}
