//! Avro with a schema registry, over a real one: `WINDROW_TEST_REGISTRY` is its address. Schemas change in the middle of
//! the topic, and some records name one that nobody knows.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::place::Place;
use crate::support::process::run;
use crate::support::rides::{BEGIN, MINUTE};
use crate::support::worlds::World;
use crate::support::{PATIENCE, skip, unique};

const FIRST: &str = r#"{"type": "record", "name": "Ride", "fields": [
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "zone", "type": ["null", "string"], "default": null},
    {"name": "fare", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "tip", "type": "long", "default": 0}]}"#;
/// Without the tip, in another order, with what nobody reads in between.
const SECOND: &str = r#"{"type": "record", "name": "Ride", "fields": [
    {"name": "zone", "type": ["null", "string"], "default": null},
    {"name": "tags", "type": {"type": "map", "values": "double"}, "default": {}},
    {"name": "fare", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}"#;

/// A schema's number under a subject, registered if it is new.
fn register(url: &str, subject: &str, schema: &str) -> u32 {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let body = json!({"schema": schema}).to_string();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "POST {}/subjects/{subject}/versions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        if path.is_empty() { String::new() } else { format!("/{path}") },
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (from, to) = (answer.find('{').unwrap(), answer.rfind('}').unwrap());
    let answer: Value = serde_json::from_str(&answer[from..=to]).unwrap();
    u32::try_from(answer["id"].as_u64().expect("the registry takes the schema")).unwrap()
}

fn long(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(rest & 0x7f).unwrap();
        rest >>= 7;
        bytes.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            return bytes;
        }
    }
}

fn block(bytes: &[u8]) -> Vec<u8> {
    [long(i64::try_from(bytes.len()).unwrap()), bytes.to_vec()].concat()
}

fn framed(id: u32, record: &[Vec<u8>]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), &record.concat()].concat()
}

for_every_broker_and_sink! {
    fn each_record_is_read_by_the_schema_it_was_written_with(broker: Broker, place: Place) {
        let Ok(url) = std::env::var("WINDROW_TEST_REGISTRY") else {
            return skip("each_record_is_read_by_the_schema_it_was_written_with", "WINDROW_TEST_REGISTRY is not set");
        };
        let world = World::new(broker, place, 2);
        let subject = unique("rides");
        let ids = [register(&url, &subject, FIRST), register(&url, &subject, SECOND)];
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", world.broker.servers()).create().unwrap();
        let mut truth: BTreeMap<Option<&str>, (i128, i64, i64)> = BTreeMap::new();
        for index in 0..400i64 {
            let zone = [None, Some("JFK"), Some("Zürich")][usize::try_from(index % 3).unwrap()];
            let fare = (index - 100) * 37;
            let at = long(BEGIN + index * MINUTE / 10);
            let union = zone.map_or_else(|| long(0), |zone| [long(1), block(zone.as_bytes())].concat());
            let decimal = block(&fare.to_be_bytes()[5..]);
            // Both kinds of producer are at work for a while.
            let second = index > 300 || (index > 100 && index % 2 == 0);
            let value = if second {
                let tags = [long(1), block(b"k"), 1.5f64.to_le_bytes().to_vec(), long(0)].concat();
                framed(ids[1], &[union, tags, decimal, at])
            } else {
                framed(ids[0], &[at, union, decimal, long(index)])
            };
            let sums = truth.entry(zone).or_default();
            *sums = (sums.0 + i128::from(fare), sums.1 + 1, sums.2 + if second { 0 } else { index });
            let partition = i32::try_from(index % 2).unwrap();
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&world.topic).partition(partition).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        for broken in [framed(i32::MAX.cast_unsigned(), &[]), b"{}".to_vec(), framed(ids[0], &[long(1)])] {
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(&world.topic).partition(0).payload(&broken);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let file = world.dir.path().join("rides.toml");
        let text = format!(
            "name = \"rides\"\n[source]\nformat = \"avro\"\non_missing = \"null\"\n\
             [source.kafka]\nbrokers = {:?}\ntopic = {:?}\ngroup = \"g\"\n\
             [source.registry]\nurl = {url:?}\nsubject = {subject:?}\nunknown_timeout = \"100ms\"\n\
             [source.columns]\ntip = \"int\"\n\
             [window]\nevent_time = \"at\"\nsize = \"1 hour\"\n\
             [query]\nsql = \"SELECT zone, SUM(fare) AS fare, COUNT(*) AS rides, SUM(tip) AS tips FROM t GROUP BY zone\"\n\
             [sink]\nurl = {:?}\n",
            world.broker.servers(),
            world.topic,
            world.place.url()
        );
        std::fs::write(&file, text).unwrap();
        run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
        run(world.place.windrow().arg("audit").arg(world.place.url())).expect(0);
        let newest = world.place.newest().unwrap();
        let invalid = &newest["totals"]["invalid"];
        assert_eq!(*invalid, json!({"unknown_schema": 1, "no_schema_id": 1, "not_avro": 1}));
        assert_eq!(world.place.kept("invalid").len(), 3);
        let mut found: BTreeMap<Option<String>, (i128, i64, i64)> = BTreeMap::new();
        for key in world.place.keys("data", ".parquet") {
            for batch in world.place.batches(&key) {
                let column = |name: &str| batch.column_by_name(name).unwrap();
                let (zones, fares) = (column("zone").as_string::<i32>(), column("fare").as_primitive::<Decimal128Type>());
                let rides = column("rides").as_primitive::<Int64Type>();
                let tips = column("tips");
                let tip = |row: usize| match tips.is_null(row) {
                    true => 0,
                    false => arrow::util::display::array_value_to_string(tips, row).unwrap().parse().unwrap(),
                };
                for row in 0..batch.num_rows() {
                    let zone = (!arrow::array::Array::is_null(zones, row)).then(|| zones.value(row).to_owned());
                    let sums = found.entry(zone).or_default();
                    *sums = (sums.0 + fares.value(row), sums.1 + rides.value(row), sums.2 + tip(row));
                }
            }
        }
        let truth: BTreeMap<_, _> = truth.into_iter().map(|(zone, sums)| (zone.map(str::to_owned), sums)).collect();
        assert_eq!(found, truth);
    }
}
