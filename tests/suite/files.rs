//! Files in the place of a topic: the same windows, whether the records came by Kafka or from a folder of any format.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Running, run};
use crate::support::rides::{BEGIN, Line, MINUTE, Plan, Ride, SECOND, as_file, rfc3339};
use crate::support::truth::{Truth, same_windows};
use crate::support::worlds::World;
use crate::support::{PATIENCE, eventually, seed};

/// A file counts its rows from 1.
const FIRST: i64 = 1;

/// Late and too late records in each of three partitions, of unequal length.
fn plan(seed: u64, broken: u32) -> Vec<Vec<Line>> {
    let plan = Plan {
        seed,
        records: vec![3_000, 500, 2_000],
        span: 10 * MINUTE,
        disorder: SECOND,
        late: (60, 20 * SECOND),
        too_late: (20, 2 * MINUTE),
        broken,
        tombstones: false,
    };
    plan.lines()
}

/// A way to write one partition's records to a file.
struct Form {
    name: &'static str,
    source: &'static str,
    write: fn(&[Line]) -> Vec<u8>,
}

const FORMS: [Form; 4] = [
    Form { name: "jsonl.gz", source: "format = \"json\"", write: |lines| gzip(as_file(lines).as_bytes()) },
    Form {
        name: "csv.zst",
        source: "format = \"csv\"\ncsv = { first_line = true }",
        write: |lines| zstd::stream::encode_all(csv(lines, true).as_bytes(), 3).unwrap(),
    },
    Form {
        name: "csv",
        source: "format = \"csv\"\ncsv = { names = [\"n\", \"total_amount\", \"pickup_location\", \"dropoff_at\"] }",
        write: |lines| csv(lines, false).into_bytes(),
    },
    Form { name: "parquet", source: "format = \"parquet\"", write: parquet },
];

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

fn rides(lines: &[Line]) -> impl Iterator<Item = &Ride> {
    lines.iter().map(|line| line.ride.as_ref().unwrap())
}

fn csv(lines: &[Line], first_line: bool) -> String {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    if first_line {
        writer.write_record(["n", "total_amount", "pickup_location", "dropoff_at"]).unwrap();
    }
    for (n, ride) in rides(lines).enumerate() {
        let amount = format!(
            "{}{}.{:02}",
            if ride.cents < 0 { "-" } else { "" },
            ride.cents.abs() / 100,
            ride.cents.abs() % 100
        );
        writer.write_record([&n.to_string(), &amount, &ride.zone, &rfc3339(ride.at, 60)]).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

fn parquet(lines: &[Line]) -> Vec<u8> {
    let at = TimestampMicrosecondArray::from_iter_values(rides(lines).map(|ride| ride.at)).with_timezone("UTC");
    let amount = Decimal128Array::from_iter_values(rides(lines).map(|ride| ride.cents.into()));
    let batch = RecordBatch::try_from_iter([
        ("unread", Arc::new(StringArray::from_iter_values(rides(lines).map(|_| "x"))) as ArrayRef),
        ("total_amount", Arc::new(amount.with_precision_and_scale(12, 2).unwrap())),
        ("dropoff_at", Arc::new(at)),
        ("pickup_location", Arc::new(StringArray::from_iter_values(rides(lines).map(|ride| &ride.zone)))),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn write(folder: &Path, partitions: &[Vec<Line>], form: &Form) {
    fs::create_dir_all(folder).unwrap();
    for (number, lines) in partitions.iter().enumerate() {
        fs::write(folder.join(format!("part-{number}.{}", form.name)), (form.write)(lines)).unwrap();
    }
}

fn over_files(folder: &Path, form: &Form, place: &Place) -> PipelineFile {
    let mut pipeline = PipelineFile::over_file(folder.to_str().unwrap(), place);
    pipeline.format = form.source.to_owned();
    pipeline
}

for_every_broker_and_sink! {
    fn a_topic_and_its_files_give_the_same_windows(broker: Broker, place: Place) {
        let partitions = plan(seed(), 0);
        let world = World::new(broker, place.below("topic"), 3);
        let producer = world.broker.producer(&world.topic, &[]);
        for (partition, lines) in partitions.iter().enumerate() {
            lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        let pipeline = PipelineFile::over_topic(&world);
        let mut command = world.place.windrow();
        run(command.args(["run", "--once", "--close-all"]).arg(pipeline.write(world.dir.path()))).expect(0);
        let by_topic = world.place.results("data");
        let truth = Truth::of(&partitions, pipeline.shape, 0);
        same_windows(&by_topic, &truth.all);
        assert!(truth.late > 0 && !truth.too_late.is_empty() && by_topic.len() > 30);
        for form in &FORMS {
            let folder = world.dir.path().join(form.name);
            write(&folder, &partitions, form);
            let place = place.below(form.name);
            let pipeline = over_files(&folder, form, &place);
            run(place.windrow().args(["run", "--close-all"]).arg(pipeline.write(&folder.with_extension("d")))).expect(0);
            run(place.windrow().arg("audit").arg(place.url())).expect(0);
            same_windows(&place.results("data"), &by_topic);
            Truth::of(&partitions, pipeline.shape, FIRST).assert_final(&place);
        }
    }
}

for_every_sink! {
    fn a_backfill_that_is_killed_goes_on_where_its_log_stands(place: Place) {
        let dir = TempDir::new().unwrap();
        let mut partitions = plan(seed(), 20);
        let folder = dir.path().join("files");
        write(&folder, &partitions, &FORMS[0]);
        let pipeline = over_files(&folder, &FORMS[0], &place);
        let file = pipeline.write(dir.path());
        let running = Running::start(place.windrow().arg("run").arg(&file));
        eventually("a first entry", PATIENCE, || place.keys("_windrow/log", ".json").pop());
        running.kill();
        run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(0);
        run(place.windrow().arg("audit").arg(place.url())).expect(0);
        let truth = Truth::of(&partitions, pipeline.shape, FIRST);
        truth.assert_final(&place);
        truth.assert_counts(&place.newest().unwrap());

        // A file that came since is read, too: all of it later than what was published.
        let later = Ride { at: BEGIN + 30 * MINUTE, zone: "later".to_owned(), cents: 100 };
        partitions.push(vec![Line::of(later)]);
        write(&folder, &partitions, &FORMS[0]);
        run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(0);
        let truth = Truth::of(&partitions, pipeline.shape, FIRST);
        truth.assert_final(&place);

        // One whose name comes before that of a file already read would move them all.
        fs::write(folder.join("part-1a.jsonl.gz"), gzip(b"{}\n")).unwrap();
        let said = run(place.windrow().arg("run").arg(&file)).expect(1).said();
        assert!(said.contains("file part-1a.jsonl.gz comes before part-2.jsonl.gz, which was read already"), "{said}");
    }
}

#[test]
fn files_in_a_bucket_are_read_as_those_of_a_folder() {
    let Some(place) = Place::s3("files_in_a_bucket_are_read_as_those_of_a_folder") else { return };
    let dir = TempDir::new().unwrap();
    let partitions = plan(seed(), 0);
    for (index, form) in FORMS.iter().enumerate() {
        let bucket = place.below(&format!("in-{index}"));
        for (number, lines) in partitions.iter().enumerate() {
            bucket.plant(&format!("part-{number}.{}", form.name), &(form.write)(lines));
        }
        let sink = place.below(&format!("out-{}", form.name));
        let mut pipeline = over_files(dir.path(), form, &sink);
        pipeline.source = format!("[source.file]\npath = {:?}", bucket.url());
        run(sink.windrow().args(["run", "--close-all"]).arg(pipeline.write(dir.path()))).expect(0);
        Truth::of(&partitions, pipeline.shape, FIRST).assert_final(&sink);
    }
}
