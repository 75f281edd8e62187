//! What decoding costs in each format: three columns of records with twelve members into Arrow, against the format's
//! library alone, which takes each record apart and drops it. Rounds alternate; the least time of each counts.
//!
//!     cargo run --release --features bench --example bench-decode -- [RECORDS] [ROUNDS] [FILE]
//!
//! FILE takes the Avro records, each with its length in four bytes before it, for a reader outside.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on ends")]

#[path = "bench-e2e/avro.rs"]
mod avro;

use std::hint::black_box;
use std::sync::Arc;

use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use windrow::clock::Clock;
use windrow::decode::column::{Column, ColumnType, Columns, TimestampForm, Whole};
use windrow::decode::csv::{FirstLines, Form, Names};
use windrow::decode::debezium::OnDelete;
use windrow::decode::schemas::{Known, Language, OnMissing, Origin, SchemaId, SchemaText, Schemas};
use windrow::decode::{Decode, FORMATS, Settings};
use windrow::record::{Offset, Partition, Records, Timestamp};

const NAMES: [&str; 12] = [
    "ride_id",
    "vendor",
    "pickup_at",
    "dropoff_at",
    "passengers",
    "distance",
    "pickup_location",
    "dropoff_location",
    "payment",
    "tip",
    "total_amount",
    "shared",
];
const PROTO: &str = r#"syntax = "proto3"; message Ride { string ride_id = 1; int32 vendor = 2; int64 pickup_at = 3;
    int64 dropoff_at = 4; int32 passengers = 5; double distance = 6; string pickup_location = 7;
    string dropoff_location = 8; string payment = 9; double tip = 10; int64 total_amount = 11; bool shared = 12; }"#;

/// One ride in every format.
struct Ride {
    json: String,
    csv: String,
    avro: Vec<u8>,
    protobuf: Vec<u8>,
}

fn ride(index: i64, message: &MessageDescriptor) -> Ride {
    let at = 1_772_352_000_000_000 + index * 431_007;
    let id = format!("8f14e45f-ceea-467f-9a7b-{index:012}");
    let (zone, other) = (["Astoria", "JFK Airport", "Zürich"][index as usize % 3], "Upper East Side South");
    let cents = 500 + index * 7 % 9_000;
    let (distance, tip) = ((index % 300) as f64 / 10.0, (index % 90) as f64 / 4.0);
    let (pickup, dropoff) = (Timestamp(at - 900_000_000), Timestamp(at));
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    let json = format!(
        r#"{{"ride_id":"{id}","vendor":2,"pickup_at":"{pickup}","dropoff_at":"{dropoff}","passengers":1,"distance":{distance},"pickup_location":"{zone}","dropoff_location":"{other}","payment":"card","tip":{tip},"total_amount":{amount},"shared":false}}"#
    );
    let csv = format!("{id},2,{pickup},{dropoff},1,{distance},{zone},{other},card,{tip},{amount},false\n");
    let avro = avro::Ride {
        id: &id,
        pickup_at: pickup.0,
        dropoff_at: dropoff.0,
        distance,
        pickup: zone,
        dropoff: other,
        tip,
        cents: i32::try_from(cents).unwrap(),
    };
    let avro = avro.encoded();
    let mut proto = DynamicMessage::new(message.clone());
    let values = [
        Value::String(id),
        Value::I32(2),
        Value::I64(pickup.0),
        Value::I64(dropoff.0),
        Value::I32(1),
        Value::F64(distance),
        Value::String(zone.to_owned()),
        Value::String(other.to_owned()),
        Value::String("card".to_owned()),
        Value::F64(tip),
        Value::I64(cents),
        Value::Bool(false),
    ];
    for (name, value) in NAMES.iter().zip(values) {
        proto.set_field_by_name(name, value);
    }
    Ride { json, csv, avro, protobuf: proto.encode_to_vec() }
}

fn records<'a>(values: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<Records> {
    let mut batches = Vec::new();
    let mut batch = Records::new(Partition(0));
    for (offset, (head, value)) in (0..).zip(values) {
        batch.push(Offset(offset), Some(Timestamp(0)), None, Some(&[head, value].concat()));
        if batch.len() == 4096 {
            batches.push(std::mem::replace(&mut batch, Records::new(Partition(0))));
        }
    }
    batches.push(batch);
    batches
}

fn column(name: &str, kind: ColumnType) -> Column {
    Column { name: name.to_owned(), path: vec![name.to_owned()], kind, optional: false }
}

/// Nanoseconds a record.
fn measure(clock: Clock, count: usize, work: impl FnOnce() -> usize) -> f64 {
    let began = clock.now();
    let done = black_box(work());
    assert_eq!(done, count, "every record was read");
    (clock.now().0 - began.0) as f64 * 1000.0 / count as f64
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let rounds: usize = arguments.next().map_or(7, |text| text.parse().unwrap());
    let file = arguments.next();
    let mut compiler = protox::Compiler::with_file_resolver(One);
    compiler.open_file("ride.proto").unwrap();
    let message = compiler.descriptor_pool().get_message_by_name("Ride").unwrap();
    let rides: Vec<Ride> = (0..count as i64).map(|index| ride(index, &message)).collect();
    if let Some(file) = file {
        let framed = rides.iter().flat_map(|ride| [&(ride.avro.len() as u32).to_le_bytes(), &ride.avro[..]].concat());
        std::fs::write(file, framed.collect::<Vec<u8>>()).unwrap();
    }
    let schemas = Schemas::default();
    let known = |language, text: &str| {
        Known::Schema(Arc::new(SchemaText { language, text: text.to_owned(), references: Vec::new() }))
    };
    schemas.put(SchemaId(1), known(Language::Avro, avro::SCHEMA));
    schemas.put(SchemaId(2), known(Language::Protobuf, PROTO));
    let settings = Settings {
        key: None,
        csv: Form { names: Names::Given(NAMES.map(str::to_owned).to_vec()), ..Form::default() },
        first_lines: FirstLines::default(),
        on_delete: OnDelete::Ignore,
        on_missing: OnMissing::Invalid,
        origin: Origin::Registry(schemas),
        message: None,
    };
    let clock = Clock::system();
    println!("{count} records, the least of {rounds} rounds; nanoseconds a record");
    println!("{:<10} {:>8} {:>8} {:>6} {:>7}", "format", "bytes", "library", "ours", "ratio");
    for (format, library) in
        [("json", "serde_json::Value"), ("csv", "csv::ByteRecord"), ("avro", "outside"), ("protobuf", "DynamicMessage")]
    {
        let value = |ride: &'_ Ride| -> Vec<u8> {
            match format {
                "json" => ride.json.clone().into_bytes(),
                "csv" => ride.csv.clone().into_bytes(),
                "avro" => [&[0, 0, 0, 0, 1], &ride.avro[..]].concat(),
                _ => [&[0, 0, 0, 0, 2, 0], &ride.protobuf[..]].concat(),
            }
        };
        let values: Vec<Vec<u8>> = rides.iter().map(value).collect();
        let batches = records(values.iter().map(|value| (&[][..], value.as_slice())));
        let time = match format {
            "json" | "csv" => TimestampForm::Rfc3339,
            _ => TimestampForm::EpochMicros,
        };
        let amount = match format {
            "protobuf" => ColumnType::Int,
            _ => ColumnType::Decimal { precision: 12, scale: 2 },
        };
        let declared = vec![
            column("dropoff_at", ColumnType::Timestamp(time)),
            column("pickup_location", ColumnType::Text),
            column("total_amount", amount),
        ];
        let columns = Columns { declared, event_time: "dropoff_at".to_owned(), whole: Whole::default() };
        let entry = FORMATS.iter().find(|known| known.name == format).unwrap();
        let mut decoder: Box<dyn Decode> = (entry.decoder)(&columns, "rides", &settings);
        let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
        let bytes = values.iter().map(Vec::len).sum::<usize>() / count;
        for _ in 0..rounds {
            let batches = batches.clone();
            ours = ours
                .min(measure(clock, count, || batches.into_iter().map(|batch| decoder.decode(batch).rows.len()).sum()));
            theirs = theirs.min(measure(clock, count, || match format {
                "json" => {
                    let read = |value: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(value).is_ok();
                    values.iter().filter(|value| black_box(read(value))).count()
                }
                "csv" => {
                    let whole = csv::ReaderBuilder::new().has_headers(false).from_reader(Slices(values.iter(), &[]));
                    let mut reader = whole;
                    let mut record = csv::ByteRecord::new();
                    let mut read = 0;
                    while reader.read_byte_record(&mut record).unwrap() {
                        read += 1;
                    }
                    read
                }
                "avro" => count,
                _ => {
                    let read = |value: &Vec<u8>| DynamicMessage::decode(message.clone(), &value[6..]).is_ok();
                    values.iter().filter(|value| black_box(read(value))).count()
                }
            }));
        }
        if library == "outside" {
            println!("{format:<10} {bytes:>8} {:>8} {ours:>6.0} {:>7}  measured {library}", "-", "-");
        } else {
            println!("{format:<10} {bytes:>8} {theirs:>8.0} {ours:>6.0} {:>7.2}  {library}", ours / theirs);
        }
    }
}

/// The one schema file.
struct One;

impl protox::file::FileResolver for One {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        protox::file::File::from_source(name, PROTO)
    }
}

/// Values one after the other as one reader.
struct Slices<'a>(std::slice::Iter<'a, Vec<u8>>, &'a [u8]);

impl std::io::Read for Slices<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.1.is_empty() {
            let Some(next) = self.0.next() else { return Ok(0) };
            self.1 = next;
        }
        let length = buffer.len().min(self.1.len());
        buffer[..length].copy_from_slice(&self.1[..length]);
        self.1 = &self.1[length..];
        Ok(length)
    }
}
