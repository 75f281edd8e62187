use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::format::Auth;
use crate::decode::schemas::Language;

/// Records in a row, then the end.
struct Scripted(VecDeque<Records>);

#[async_trait]
impl Source for Scripted {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        Ok(Topic { name: "t".into(), cluster: None, id: None, files: Vec::new(), partitions: BTreeMap::new() })
    }

    async fn resolve(&mut self, _: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        Ok(BTreeMap::new())
    }

    async fn assign(&mut self, _: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        Ok(self.0.pop_front().map_or(Event::Finished, Event::Records))
    }

    fn commit(&mut self, _: &crate::log::Published) {}
}

/// A registry that gives these answers in turn, the last one for ever; and what it was asked.
struct Registry {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    async fn start(answers: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut answers: VecDeque<(u16, String)> = answers.iter().map(|(s, b)| (*s, (*b).to_owned())).collect();
        let log = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                log.lock().unwrap().push(String::from_utf8(request).unwrap());
                let (status, body) = answers.front().cloned().unwrap();
                if answers.len() > 1 {
                    answers.pop_front();
                }
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            }
        });
        Self { url, asked }
    }

    fn config(&self, unknown_timeout: i64) -> RegistryConfig {
        let auth = Auth::Basic("me".into(), "open sesame".into());
        RegistryConfig {
            url: self.url.clone(),
            auth,
            ca: None,
            identity: None,
            subject: None,
            key_subject: None,
            unknown_timeout,
        }
    }

    fn paths(&self) -> Vec<String> {
        let path = |request: &String| request.split(' ').nth(1).unwrap().to_owned();
        self.asked.lock().unwrap().iter().map(path).collect()
    }
}

fn records(ids: &[u8]) -> Records {
    let mut records = Records::new(Partition(0));
    for (offset, id) in (0..).zip(ids) {
        records.push(Offset(offset), None, None, Some(&[0, 0, 0, 0, *id, 1]));
    }
    records.push(Offset(100), None, None, None);
    records.push(Offset(101), None, None, Some(b"{}"));
    records
}

fn source(batches: &[&[u8]], config: &RegistryConfig) -> (WithSchemas, Schemas) {
    let schemas = Schemas::default();
    let inner = Scripted(batches.iter().map(|ids| records(ids)).collect());
    (
        WithSchemas::new(Box::new(inner), config, schemas.clone(), Whose { values: true, keys: true }, Clock::system())
            .unwrap(),
        schemas,
    )
}

/// What the source says up to its end, as words; calls to it are given up again and again, as the pipeline does.
async fn said(source: &mut WithSchemas) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let event = tokio::select! {
            biased;
            event = source.next() => event,
            () = tokio::time::sleep(Duration::from_millis(3)) => continue,
        };
        said.push(match event {
            Ok(Event::Records(records)) => format!("{} records", records.len()),
            Ok(Event::Waiting(why)) => format!("waiting: {why}"),
            Ok(Event::Resumed) => "resumed".to_owned(),
            Ok(Event::Finished) => return said,
            Ok(other) => format!("{other:?}"),
            Err(error) => {
                said.push(format!("error: {error}"));
                return said;
            }
        });
    }
}

#[tokio::test]
async fn each_schema_is_asked_for_once_with_what_it_refers_to() {
    let answers = [
        (
            200,
            r#"{"schema": "one", "schemaType": "PROTOBUF", "references": [{"name": "a.proto", "subject": "a b/c", "version": 3}]}"#,
        ),
        (200, r#"{"schema": "other", "references": []}"#),
        (200, r#"{"schema": "two"}"#),
    ];
    let registry = Registry::start(&answers).await;
    let (mut source, schemas) = source(&[&[1, 1, 2], &[2, 1]], &registry.config(0));
    assert_eq!(said(&mut source).await, ["5 records", "4 records"]);
    let expected = ["/base/schemas/ids/1", "/base/subjects/a%20b%2Fc/versions/3", "/base/schemas/ids/2"];
    assert_eq!(registry.paths(), expected);
    let Some(Known::Schema(schema)) = schemas.get(SchemaId(1)) else { panic!() };
    assert_eq!((schema.language, schema.text.as_str()), (Language::Protobuf, "one"));
    assert_eq!(schema.references, [("a.proto".to_owned(), "other".to_owned())]);
    let asked = registry.asked.lock().unwrap();
    assert!(asked[0].to_lowercase().contains("authorization: basic bwu6b3blbibzzxnhbwu="), "{}", asked[0]);
}

#[tokio::test]
async fn schemas_of_keys_are_asked_for_as_those_of_values_are() {
    let registry = Registry::start(&[(200, r#"{"schema": "\"int\""}"#)]).await;
    let mut keyed = Records::new(Partition(0));
    keyed.push(Offset(0), None, Some(&[0, 0, 0, 0, 7, 1]), Some(&[0, 0, 0, 0, 8, 1]));
    for (whose, asked) in [
        (Whose { values: false, keys: true }, vec!["/base/schemas/ids/7"]),
        (Whose { values: true, keys: true }, vec!["/base/schemas/ids/7", "/base/schemas/ids/7", "/base/schemas/ids/8"]),
    ] {
        let inner = Box::new(Scripted(VecDeque::from([keyed.clone()])));
        let schemas = Schemas::default();
        let mut source = WithSchemas::new(inner, &registry.config(0), schemas.clone(), whose, Clock::system()).unwrap();
        assert_eq!(said(&mut source).await, ["1 records"]);
        assert_eq!(registry.paths(), asked);
        assert_eq!(schemas.get(SchemaId(8)).is_some(), whose.values);
    }
}

/// Keys are Avro, values JSON: the registry tells `_key` and the members of it that the query names.
#[tokio::test]
async fn what_the_schema_of_keys_tells_is_a_column() {
    let prepared = async |schema: &str, sql: &str| {
        let body = serde_json::json!({"subject": "t-key", "version": 1, "id": 1, "schema": schema}).to_string();
        let registry = Registry::start(&[(200, &body)]).await;
        let text = format!(
            r#"
            name = "t"
            [source]
            format = "json"
            key = "avro"
            [source.kafka]
            brokers = "unused:1"
            topic = "t"
            group = "g"
            [source.registry]
            url = "{}"
            [source.columns]
            v = "int"
            [window]
            event_time = "_timestamp"
            size = "1 hour"
            [query]
            sql = "{sql}"
            [sink]
            url = "unused"
            "#,
            registry.url
        );
        let mut pipeline = crate::config::Pipeline::parse(&text, "t.toml", &|_| None).unwrap();
        prepare::prepare(&mut pipeline, Clock::system(), None).await.unwrap();
        assert_eq!(registry.paths(), ["/base/subjects/t-key/versions/latest"]);
        let names = pipeline.columns.declared.iter().map(|column| (column.name.clone(), column.path.join(".")));
        (pipeline.columns.whole.key.unwrap(), names.collect::<Vec<_>>())
    };
    use crate::decode::column::{ColumnType, PartType};
    let (kind, declared) = prepared("\"long\"", "SELECT _key, SUM(v) AS s FROM t GROUP BY _key").await;
    assert_eq!((kind, declared.len()), (PartType::Spelled(ColumnType::Int), 1));
    let record = r#"{"type": "record", "name": "K", "fields": [
        {"name": "id", "type": "long"}, {"name": "unread", "type": "string"}, {"name": "v", "type": "string"}]}"#;
    let (kind, declared) = prepared(record, "SELECT id, SUM(v) AS s FROM t GROUP BY id").await;
    assert_eq!(kind, PartType::Spelled(ColumnType::Json));
    assert_eq!(declared, [("v".to_owned(), "v".to_owned()), ("id".to_owned(), "_key.id".to_owned())]);
}

#[tokio::test]
async fn a_registry_that_is_down_is_waited_for_and_said_once() {
    let answers = [(503, ""), (500, ""), (503, ""), (200, r#"{"schema": "\"int\""}"#)];
    let registry = Registry::start(&answers).await;
    let (mut source, _) = source(&[&[1], &[1]], &registry.config(0));
    let said = said(&mut source).await;
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[0].starts_with("waiting: schema registry http://127.0.0.1:"), "{said:?}");
    assert_eq!(said[1..], ["resumed", "3 records", "3 records"]);
    assert!(!said[0].contains("sesame"), "{said:?}");
}

const UNKNOWN: (u16, &str) = (404, r#"{"error_code": 40403, "message": "Schema not found"}"#);

#[tokio::test]
async fn a_schema_that_comes_a_moment_after_its_record_is_waited_for() {
    let registry = Registry::start(&[UNKNOWN, UNKNOWN, (200, r#"{"schema": "late"}"#)]).await;
    let (mut source, schemas) = source(&[&[1]], &registry.config(i64::MAX));
    assert_eq!(said(&mut source).await, ["3 records"]);
    assert!(matches!(schemas.get(SchemaId(1)), Some(Known::Schema(_))));
}

#[tokio::test]
async fn a_number_that_stays_unknown_is_given_up_and_holds_nobody_back() {
    let registry = Registry::start(&[UNKNOWN]).await;
    let (mut source, schemas) = source(&[&[2], &[2, 2]], &registry.config(0));
    assert_eq!(said(&mut source).await, ["3 records", "4 records"]);
    let Some(Known::Unknown(why)) = schemas.get(SchemaId(2)) else { panic!() };
    assert_eq!(why, "the registry does not know it: Schema not found");
    assert_eq!(registry.paths(), ["/base/schemas/ids/2"], "not asked again at once");
}

#[tokio::test]
async fn a_registry_that_refuses_ends_the_source_without_telling_secrets() {
    let registry = Registry::start(&[(401, r#"{"error_code": 401, "message": "no"}"#)]).await;
    let (mut source, _) = source(&[&[1]], &registry.config(0));
    let said = said(&mut source).await;
    assert!(said[0].starts_with("error: schema registry") && said[0].contains("username and password"), "{said:?}");
    assert!(!said[0].contains("sesame"), "{said:?}");
}
