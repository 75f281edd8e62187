//! The pipeline file as a user meets it: what it means, and what is said when it is wrong.

mod refusals;

use super::*;
use crate::decode::column::{ColumnType, TimestampForm};
use crate::record::Timestamp;
use crate::time::text::Size;

/// DESIGN's example.
const RIDES: &str = r#"# rides.toml: revenue per hour and pickup zone
name = "rides_hourly"

[source]
format = "json"

[source.kafka]
brokers = "localhost:9092"
topic   = "rides"
group   = "rides-hourly"
start   = "earliest"                     # earliest | latest | an RFC 3339 time
assignment = "all"                       # all: this instance reads every partition, a second one stands by
properties = { "security.protocol" = "SASL_SSL", "sasl.password" = "${RIDES_PASSWORD}" }

[source.columns]                         # only what the query needs; the rest of a record is skipped unread
dropoff_at      = "timestamp"
pickup_location = "text"
total_amount    = "decimal(12, 2)"

[window]
event_time       = "dropoff_at"          # or "_timestamp", the Kafka record's own
size             = "1 hour"
watermark_delay  = "10 minutes"          # how much disorder is ordinary
allowed_lateness = "2 hours"             # how much longer a window takes late records in
emit             = "final"               # final: one result, when nothing can change it
idle_timeout     = "30 seconds"          # when a partition with nothing to read stops holding the others back

[query]
sql = """
SELECT pickup_location, SUM(total_amount) AS revenue, COUNT(*) AS rides
FROM   rides
GROUP  BY pickup_location
"""

[sink]
url = "s3://lake/rides_hourly"           # or a local folder
"#;

const SECRET: &str = "hunter2-in-the-environment";

fn env(name: &str) -> Option<String> {
    match name {
        "RIDES_PASSWORD" | "S3_KEY" | "S3_SECRET" | "SECRET" => Some(SECRET.to_owned()),
        "RIDES_BROKERS" => Some("broker-1:9092,broker-2:9092".to_owned()),
        "S3_ENDPOINT" => Some("http://127.0.0.1:9000".to_owned()),
        "BREAKOUT" => Some("\"\nname = \"other".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Pipeline, ConfigError> {
    Pipeline::parse(text, "etc/rides.toml", &env)
}

/// A small pipeline, with `old` replaced by `new`; what is wrong with it, without the file's name.
fn wrong(old: &str, new: &str) -> String {
    assert!(SMALL.contains(old), "{old}");
    let error = parse(&SMALL.replacen(old, new, 1)).expect_err(new).to_string();
    assert!(!error.contains(SECRET), "{error}");
    error.lines().map(|line| line.strip_prefix("etc/rides.toml:").expect(line)).collect::<Vec<_>>().join("\n")
}

fn right(old: &str, new: &str) -> Pipeline {
    assert!(SMALL.contains(old), "{old}");
    parse(&SMALL.replacen(old, new, 1)).unwrap()
}

const SMALL: &str = r#"name = "rides"
[source]
format = "json"
[source.kafka]
brokers = "localhost:9092"
topic = "rides"
group = "g"
start = "latest"
properties = { "client.id" = "x" }
[source.columns]
at = "timestamp"
fare = "decimal(12, 2)"
[window]
event_time = "at"
size = "1 hour"
[query]
sql = "SELECT * FROM rides"
[tables]
zones = "zones.csv"
[sink]
url = "s3://lake/rides"
properties = { region = "eu-west-1" }
"#;

#[test]
fn the_example_of_the_design_is_taken_literally() {
    let pipeline = parse(RIDES).unwrap();
    assert_eq!(pipeline.name, "rides_hourly");
    let SourceConfig::Kafka(kafka) = &pipeline.source else { panic!() };
    assert_eq!((kafka.brokers.as_str(), kafka.topic.as_str()), ("localhost:9092", "rides"));
    assert_eq!((kafka.group.as_str(), kafka.start), ("rides-hourly", Start::Earliest));
    assert_eq!(kafka.properties["security.protocol"], "SASL_SSL");
    assert_eq!(kafka.properties["sasl.password"], SECRET);
    let columns: Vec<_> = pipeline.columns.declared.iter().map(|column| (column.name.as_str(), column.kind)).collect();
    let expected = [
        ("dropoff_at", ColumnType::Timestamp(TimestampForm::Rfc3339)),
        ("pickup_location", ColumnType::Text),
        ("total_amount", ColumnType::Decimal { precision: 12, scale: 2 }),
    ];
    assert_eq!(columns, expected);
    assert!(pipeline.columns.declared.iter().all(|column| !column.optional && column.path == [column.name.clone()]));
    assert_eq!(pipeline.columns.event_time, "dropoff_at");
    assert_eq!(pipeline.window.windows, Windows::new(Size::Physical(3_600_000_000), None, None).unwrap());
    assert_eq!((pipeline.window.watermark_delay, pipeline.window.allowed_lateness), (600_000_000, 7_200_000_000));
    assert_eq!((pipeline.window.emit, pipeline.window.on_quiet), (Emit::Final, OnQuiet::Advance));
    assert_eq!((pipeline.window.idle_timeout, pipeline.window.max_future), (30_000_000, 3_600_000_000));
    assert_eq!((pipeline.on_invalid, pipeline.on_data_loss), (OnInvalid::Keep, OnDataLoss::Stop));
    assert!(pipeline.sql.contains("GROUP  BY pickup_location"));
    assert_eq!(pipeline.sql_place, "etc/rides.toml:29");
    assert_eq!(pipeline.sink.url, "s3://lake/rides_hourly");
    assert_eq!((pipeline.sink.commit_interval, pipeline.sink.late_interval), (10_000_000, 900_000_000));
    assert_eq!((pipeline.sink.target_file_size, pipeline.sink.late_size), (256 << 20, 16 << 20));
}

#[test]
fn every_example_is_a_pipeline() {
    let examples = [
        ("rides-hourly", include_str!("../../examples/rides-hourly.toml")),
        ("rides-s3", include_str!("../../examples/rides-s3.toml")),
        ("quotes-candles", include_str!("../../examples/quotes-candles.toml")),
        ("raw-minutely", include_str!("../../examples/raw-minutely.toml")),
        ("rides-file", include_str!("../../examples/rides-file.toml")),
    ];
    for (name, text) in examples {
        let pipeline = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!format!("{pipeline:?}").contains(SECRET), "{name}");
    }
}

#[test]
fn every_key_can_be_written_as_the_errors_say() {
    for key in keys::KEYS {
        assert!(toml::de::DeTable::parse(key.like).is_ok(), "{}", key.like);
    }
}

#[test]
fn a_table_lies_beside_the_pipeline_file_and_a_sink_where_it_is_said() {
    assert_eq!(right("name", "name").tables["zones"], Path::new("etc/zones.csv"));
    assert_eq!(right("zones.csv", "/data/zones.PARQUET").tables["zones"], Path::new("/data/zones.PARQUET"));
    let local = right("s3://lake/rides\"\nproperties = { region = \"eu-west-1\" }", "out/rides\"");
    assert_eq!(local.sink.url, "out/rides");
}

#[test]
fn columns_are_nested_by_path_or_by_a_dotted_name() {
    let column = |text: &str| right("fare = \"decimal(12, 2)\"", text).columns.declared[1].clone();
    assert_eq!(column(r#""ride.fare.total" = "int""#).path, ["ride", "fare", "total"]);
    assert_eq!(column(r#""ride.fare.total" = "int""#).name, "ride.fare.total");
    assert_eq!(column(r#"fare = { type = "int", path = "ride.fare" }"#).path, ["ride", "fare"]);
    assert_eq!(column(r#""ride.fare" = { type = "int", path = "fare" }"#).path, ["fare"]);
    assert_eq!(column(r#"fare = { type = "int", path = ["ride.v2", "fare"] }"#).path, ["ride.v2", "fare"]);
    assert!(column(r#"fare = { type = "int", optional = true }"#).optional);
    for (text, kind) in [
        ("TEXT", ColumnType::Text),
        ("bool", ColumnType::Bool),
        ("int", ColumnType::Int),
        ("float", ColumnType::Float),
        ("decimal(38,38)", ColumnType::Decimal { precision: 38, scale: 38 }),
        ("decimal(9)", ColumnType::Decimal { precision: 9, scale: 0 }),
        ("timestamp(s)", ColumnType::Timestamp(TimestampForm::EpochSeconds)),
        ("timestamp( ms )", ColumnType::Timestamp(TimestampForm::EpochMillis)),
        ("timestamp(us)", ColumnType::Timestamp(TimestampForm::EpochMicros)),
        ("date", ColumnType::Date),
        ("json", ColumnType::Json),
    ] {
        assert_eq!(column(&format!("fare = \"{text}\"")).kind, kind, "{text}");
    }
}

#[test]
fn properties_may_be_written_with_or_without_quotes() {
    let of = |text: &str| match right("{ \"client.id\" = \"x\" }", text).source {
        SourceConfig::Kafka(kafka) => kafka.properties,
        SourceConfig::File(_) => panic!(),
    };
    let quoted = of(r#"{ "fetch.min.bytes" = "1024", "socket.keepalive.enable" = "true" }"#);
    assert_eq!(of("{ fetch.min.bytes = 1024, socket.keepalive.enable = true }"), quoted);
}

#[test]
fn sources_begin_where_they_are_told() {
    let start = |text: &str| match right("\"latest\"", text).source {
        SourceConfig::Kafka(kafka) => kafka.start,
        SourceConfig::File(_) => panic!(),
    };
    assert_eq!(start("\"earliest\""), Start::Earliest);
    assert_eq!(start("\"1970-01-01T01:00:00+01:00\""), Start::Time(Timestamp(0)));
    assert_eq!(start("1970-01-01T00:00:01Z"), Start::Time(Timestamp(1_000_000)));
}

#[test]
fn a_file_may_be_standard_input() {
    let kafka = &SMALL[SMALL.find("[source.kafka]").unwrap()..SMALL.find("[source.columns]").unwrap()];
    let path = |path: &str| match right(kafka, &format!("[source.file]\npath = \"{path}\"\n")).source {
        SourceConfig::File(file) => file.place,
        SourceConfig::Kafka(_) => panic!(),
    };
    assert_eq!(path("-"), None);
    assert_eq!(path("a.jsonl").as_deref(), Some("a.jsonl"));
    let file = "[source.file]\npath = \"-\"\n";
    let by_kafka_time = SMALL.replacen(kafka, file, 1).replace("event_time = \"at\"", "event_time = \"_timestamp\"");
    assert_eq!(
        parse(&by_kafka_time).unwrap_err().to_string(),
        "etc/rides.toml:10: window.event_time = \"_timestamp\": lines of a file have no Kafka timestamp; \
         name a timestamp of [source.columns]"
    );
}

#[test]
fn secrets_are_not_in_debug_output() {
    let pipeline = parse(&RIDES.replace("[sink]", "[sink]\nproperties = { token = \"${SECRET}\" }")).unwrap();
    let debug = format!("{pipeline:?}");
    assert!(!debug.contains(SECRET) && debug.contains("sasl.password") && debug.contains("token"), "{debug}");
}

#[test]
fn a_value_of_the_environment_is_never_syntax() {
    let pipeline = right("\"SELECT * FROM rides\"", "\"SELECT '${BREAKOUT}'\"");
    assert_eq!(pipeline.name, "rides");
    assert_eq!(pipeline.sql, "SELECT '\"\nname = \"other'");
    assert_eq!(right("SELECT *", "SELECT '$${x}'").sql, "SELECT '${x}' FROM rides");
}

#[test]
fn a_fingerprint_changes_with_what_results_depend_on_and_nothing_else() {
    let print = right("name", "name").fingerprint();
    assert_eq!(print.len(), 64);
    for (old, new) in [
        ("localhost", "elsewhere"),
        ("\"g\"", "\"h\""),
        ("latest", "earliest"),
        ("eu-west-1", "eu-west-2"),
        ("s3://lake/rides", "s3://lake/other"),
        ("zones.csv", "other.csv"),
        ("\"1 hour\"", "\"60 minutes\""),
        ("size", "idle_timeout = \"5s\"\nmax_future = \"2h\"\nsize"),
        ("url", "commit_interval = \"1s\"\nurl"),
        ("name", "# comment\nname"),
    ] {
        assert_eq!(right(old, new).fingerprint(), print, "{new}");
    }
    for (old, new) in [
        ("\"SELECT *", "\"SELECT fare"),
        ("(12, 2)", "(12, 3)"),
        ("fare", "toll"),
        ("\"1 hour\"", "\"2 hours\""),
        ("size", "origin = \"2026-03-01T00:30:00Z\"\nsize"),
        ("size", "timezone = \"Europe/Paris\"\nsize"),
        ("size", "watermark_delay = \"1s\"\nsize"),
        ("size", "allowed_lateness = \"1s\"\nsize"),
        ("size", "emit = \"early\"\nsize"),
        ("\"at\"", "\"_timestamp\""),
        ("zones", "areas"),
    ] {
        assert_ne!(right(old, new).fingerprint(), print, "{new}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text = SMALL
        .replace("\"rides\"\n[source]", "\"ri des\"\n[source]")
        .replace("localhost:9092", "localhost")
        .replace("\"1 hour\"", "60")
        .replace("url", "ulr");
    assert_eq!(
        parse(&text).unwrap_err().to_string(),
        "etc/rides.toml:1: name = \"ri des\": a name that is part of file names; write 1 to 100 letters, digits, _ and -, \
         such as \"rides_hourly\"\n\
         etc/rides.toml:5: source.kafka.brokers = \"localhost\": a broker has no port; did you mean \"localhost:9092\"?\n\
         etc/rides.toml:15: window.size must be text, not a number; write size = \"1 hour\"\n\
         etc/rides.toml:20: sink.url is missing; write url = \"s3://lake/rides_hourly\"\n\
         etc/rides.toml:21: sink.ulr is not a key; did you mean \"url\"?"
    );
}

#[test]
fn an_empty_file_says_what_is_missing() {
    assert_eq!(
        parse("").unwrap_err().to_string(),
        "etc/rides.toml:1: name is missing; write name = \"rides_hourly\"\n\
         etc/rides.toml:1: [source] is missing; add a section [source]\n\
         etc/rides.toml:1: [window] is missing; add a section [window]\n\
         etc/rides.toml:1: [query] is missing; add a section [query]\n\
         etc/rides.toml:1: [sink] is missing; add a section [sink]"
    );
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    refusals::check(&[
        ("name = \"rides\"", "name = rides", "1: not TOML: text without quotes; write it in \"quotes\""),
        ("[query]", "[query", "16: not TOML: unclosed table, expected `]`; a line reads key = \"text\" or [section]"),
    ]);
    assert!(wrong("\"1 hour\"", "\"1 hour").starts_with("15: not TOML: invalid basic string"));
}

#[test]
fn a_byte_order_mark_is_no_problem() {
    assert!(parse(&format!("\u{feff}{SMALL}")).is_ok());
    assert!(parse(&SMALL.replace('\n', "\r\n")).is_ok());
}

#[test]
fn files_that_cannot_be_pipelines_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |bytes: &[u8]| {
        let path = folder.path().join("p.toml");
        std::fs::write(&path, bytes).unwrap();
        Pipeline::load(&path).unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "")
    };
    assert_eq!(file(b"name = \"x\"\n# \xff"), "p.toml:2: not UTF-8; save the file as UTF-8");
    assert_eq!(file(&vec![b'#'; LARGEST + 1]), "p.toml: larger than 1 MiB; is this the pipeline file?");
    assert!(
        Pipeline::load(&folder.path().join("none.toml")).unwrap_err().to_string().contains("none.toml: No such file")
    );
}

#[test]
fn what_is_asked_of_the_record_as_a_whole_is_what_is_fetched() {
    use crate::decode::column::{PartType, Whole};
    let text = Some(PartType::Spelled(ColumnType::Text));
    let asks = |sql: &str, lines: &str| {
        let source = format!("format = \"json\"\n{lines}");
        let text = SMALL.replacen("SELECT * FROM rides", sql, 1).replacen("format = \"json\"", &source, 1);
        let pipeline = parse(&text).unwrap();
        let SourceConfig::Kafka(kafka) = &pipeline.source else { panic!() };
        assert_eq!(kafka.headers, pipeline.columns.whole.headers);
        pipeline.columns.whole
    };
    assert_eq!(asks("SELECT * FROM rides", ""), Whole::default());
    assert_eq!(asks("SELECT _headers['a'] AS a FROM rides", ""), Whole { headers: true, ..Whole::default() });
    assert_eq!(asks("SELECT _value FROM rides", ""), Whole { value: text, ..Whole::default() });
    let bytes = Some(PartType::Bytes);
    assert_eq!(asks("SELECT _value FROM rides", "value = \"bytes\""), Whole { value: bytes, ..Whole::default() });
    let key = Some(PartType::Spelled(ColumnType::Int));
    assert_eq!(asks("SELECT * FROM rides", "key = \"int\""), Whole { key, ..Whole::default() });
}

#[test]
fn keys_with_schemas_say_where_those_come_from() {
    use crate::config::format::SchemaSource;
    let keyed = |more: &str| {
        parse(&SMALL.replacen("[source.columns]", &format!("{more}\n[source.columns]"), 1).replacen(
            "format = \"json\"",
            "format = \"json\"\nkey = \"avro\"",
            1,
        ))
    };
    let pipeline = keyed("[source.schema]\nkey_file = \"key.avsc\"").unwrap();
    assert!(pipeline.reading.settings.key.is_some() && pipeline.columns.whole.key.is_none());
    let Some(SchemaSource::File { value: None, key: Some(path) }) = pipeline.reading.schemas else { panic!() };
    assert!(path.ends_with("key.avsc"));
    let pipeline = keyed("[source.registry]\nurl = \"http://r\"\nkey_subject = \"k\"").unwrap();
    let Some(SchemaSource::Registry(registry)) = pipeline.reading.schemas else { panic!() };
    assert_eq!(registry.key_subject.as_deref(), Some("k"));
    for (more, says) in [
        ("", "nothing says where the schemas of keys come from"),
        ("[source.schema]\nfile = \"value.avsc\"", "file is for values with schemas, key_file for keys"),
    ] {
        let error = keyed(more).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn windows_hop_by_a_part_of_their_size() {
    let windows = |every: &str| {
        let pipeline = right("size = \"1 hour\"", &format!("size = \"1 hour\"\nevery = \"{every}\""));
        (pipeline.window.windows.overlap(), pipeline.fingerprint())
    };
    assert_eq!(windows("20 minutes").0, 3);
    assert_eq!(windows("1 hour").1, right("fare", "fare").fingerprint());
    assert_ne!(windows("20 minutes").1, right("fare", "fare").fingerprint());
    let error = wrong("size = \"1 hour\"", "size = \"1 hour\"\nevery = \"25 minutes\"");
    assert!(error.contains("window.every = \"25 minutes\": the size is not a multiple of it"), "{error}");
}

#[test]
fn a_pipeline_without_whole_records_has_the_fingerprint_it_always_had() {
    let json = serde_json::to_value(&right("fare", "fare").columns).unwrap();
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["declared", "event_time"]);
}

#[test]
fn whole_records_have_no_columns_and_their_own_time() {
    let raw = SMALL.replacen("\"json\"", "\"raw\"", 1);
    let error = parse(&raw).unwrap_err().to_string();
    assert!(error.contains("records of format = \"raw\" have no columns"), "{error}");
    let bare = raw.replace("at = \"timestamp\"\nfare = \"decimal(12, 2)\"\n", "").replace("\"at\"", "\"_timestamp\"");
    let pipeline = parse(&bare).unwrap();
    assert_eq!(pipeline.format.name, "raw");
    assert!(pipeline.columns.whole.value.is_some());
}

#[test]
fn results_are_written_as_asked() {
    use crate::sink::format::FileFormat;
    assert_eq!(right("url", "url").sink.format, FileFormat::Parquet);
    assert_eq!(right("url", "format = \"csv\"\nurl").sink.format, FileFormat::Csv);
    let error = wrong("url", "format = \"json\"\nurl");
    assert_eq!(error, "21: sink.format = \"json\": unknown; did you mean \"jsonl\"?");
}

#[test]
fn brackets_without_an_end_take_no_stack() {
    for times in [10, 1999, 2001, 20_000] {
        for piece in ["a={", "a = [", "[", "\na = {\"\n", "x={a\n}\n=["] {
            let error = Pipeline::parse(&format!("name = {}", piece.repeat(times)), "t.toml", &|_| None).unwrap_err();
            assert!(error.0.starts_with("t.toml"), "{error}");
        }
    }
}
