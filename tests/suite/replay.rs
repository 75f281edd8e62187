//! `windrow audit --replay`: everything published comes out of the topic again, and whatever would not is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Decimal128Type;
use tempfile::TempDir;

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Ended, Running, run};
use crate::support::rides::{Line, MINUTE, Plan, SECOND, as_file};
use crate::support::worlds::World;
use crate::support::{eventually, forge, seed};

fn rough(records: &[usize]) -> Plan {
    Plan { late: (60, 20 * SECOND), too_late: (20, 2 * MINUTE), broken: 20, ..Plan::clean(seed(), records, 5 * MINUTE) }
}

/// A sink filled from a file in two runs, and its pipeline file. Some windows are still open.
fn filled(place: &Place, dir: &Path) -> PathBuf {
    let input = dir.join("rides.jsonl");
    let mut pipeline = PipelineFile::over_file(input.to_str().unwrap(), place);
    pipeline.window += "emit = \"early\"\n";
    let file = pipeline.write(dir);
    let lines = rough(&[3_000]).lines().remove(0);
    for lines in [&lines[..1_500], &lines[..]] {
        fs::write(&input, as_file(lines)).unwrap();
        run(place.windrow().arg("run").arg(&file)).expect(0);
    }
    file
}

fn audit(place: &Place, file: &Path) -> Ended {
    run(place.windrow().arg("audit").arg(place.url()).arg("--replay").arg(file))
}

/// The sink agrees with itself, and not with the topic.
#[track_caller]
fn only_the_replay_finds(place: &Place, file: &Path, named: &str) {
    let plain = run(place.windrow().arg("audit").arg(place.url())).expect(0);
    assert!(plain.stdout.contains("sound"), "{}", plain.stdout);
    let audit = audit(place, file).expect(1);
    assert!(audit.stdout.contains(named), "expected {named:?} in:\n{}", audit.said());
    assert!(audit.stderr.contains("not sound"), "{}", audit.stderr);
}

/// The batch with one value of a decimal column a cent higher.
fn a_cent_more(batch: &RecordBatch, column: &str) -> RecordBatch {
    let index = batch.schema().index_of(column).unwrap();
    let values = batch.column(index).as_primitive::<Decimal128Type>();
    let mut changed: Vec<_> = values.iter().collect();
    let last = changed.last_mut().unwrap();
    *last = last.map(|value| value + 1);
    let changed: Decimal128Array = changed.into_iter().collect();
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(changed.with_data_type(values.data_type().clone())) as ArrayRef;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// The batch without its row of this number.
fn without(batch: &RecordBatch, row: usize) -> RecordBatch {
    let keep: BooleanArray = (0..batch.num_rows()).map(|index| Some(index != row)).collect();
    filter_record_batch(batch, &keep).unwrap()
}

for_every_broker_and_sink! {
    fn a_sink_that_was_filled_with_interruptions_comes_out_of_its_topic_again(broker: Broker, place: Place) {
        let world = World::new(broker, place, 3);
        // One partition has far more than the others, and one falls idle while the others go on.
        let lines = rough(&[6_000, 900, 1_500]).lines();
        let producer = world.broker.producer(&world.topic, &[]);
        let send = |partition: usize, lines: &[Line]| {
            lines.iter().for_each(|line| producer.send(partition, line.text.as_deref()));
            producer.flush();
        };
        let mut pipeline = PipelineFile::over_topic(&world);
        pipeline.window = "idle_timeout = \"1 second\"\nemit = \"early\"\non_quiet = \"hold\"\n".to_owned();
        let file = pipeline.write(world.dir.path());
        let halves = [[0..3_000, 3_000..6_000], [0..450, 450..900], [0..300, 300..1_500]];
        for half in 0..2 {
            for (partition, ranges) in halves.iter().enumerate() {
                send(partition, &lines[partition][ranges[half].clone()]);
            }
            let sent: u64 = halves.iter().map(|ranges| ranges[..=half].iter().map(|range| range.len() as u64).sum::<u64>()).sum();
            let running = Running::start(world.place.windrow().arg("run").arg(&file));
            eventually("all of it is read", Duration::from_secs(60), || {
                (world.place.newest()?["totals"]["read"].as_u64() == Some(sent)).then_some(())
            });
            // Idleness takes effect, and what comes after it is judged by it.
            std::thread::sleep(Duration::from_secs(3));
            running.kill();
        }
        let found = audit(&world.place, &file).expect(0);
        assert!(found.stdout.contains("\nsound\n"), "{}", found.stdout);
        assert!(found.stdout.contains("recomputed from 8,400 records"), "{}", found.stdout);

        run(world.place.windrow().args(["run", "--once", "--close-all"]).arg(&file)).expect(0);
        let found = audit(&world.place, &file).expect(0);
        assert!(found.stdout.contains("\nsound\n"), "{}", found.stdout);
    }
}

for_every_sink! {
    fn rows_as_they_are_come_out_again_from_over_several_commits(place: Place) {
        let dir = TempDir::new().unwrap();
        let input = dir.path().join("rides.jsonl");
        let mut pipeline = PipelineFile::over_file(input.to_str().unwrap(), &place);
        pipeline.query = "SELECT *, _offset AS line FROM rides WHERE total_amount > 0".to_owned();
        let file = pipeline.write(dir.path());
        let lines = rough(&[3_000]).lines().remove(0);
        for lines in [&lines[..1_000], &lines[..2_000], &lines[..]] {
            fs::write(&input, as_file(lines)).unwrap();
            run(place.windrow().arg("run").arg(&file)).expect(0);
        }
        let found = audit(&place, &file).expect(0);
        assert!(found.stdout.contains("\nsound\n"), "{}", found.stdout);
    }

    fn a_wrong_number_is_found(place: Place) {
        let dir = TempDir::new().unwrap();
        let file = filled(&place, dir.path());
        let key = place.keys("data", ".parquet").remove(2);
        forge::file(&place, &key, |batch| a_cent_more(&batch, "revenue"));
        only_the_replay_finds(&place, &file, "revenue is ");
    }

    fn a_missing_row_is_found(place: Place) {
        let dir = TempDir::new().unwrap();
        let file = filled(&place, dir.path());
        let key = place.keys("corrections", ".parquet").remove(1);
        forge::file(&place, &key, |batch| without(&batch, batch.num_rows() - 1));
        only_the_replay_finds(&place, &file, "rows, the topic gives ");
    }

    fn a_late_record_that_was_changed_is_found(place: Place) {
        let dir = TempDir::new().unwrap();
        let file = filled(&place, dir.path());
        let key = place.keys("late", ".parquet").remove(0);
        forge::file(&place, &key, |batch| {
            // Its own value under another record's offset.
            let index = batch.schema().index_of("value").unwrap();
            let values = batch.column(index).as_binary::<i32>();
            let mut swapped: Vec<_> = values.iter().collect();
            swapped.swap(0, 1);
            let mut columns = batch.columns().to_vec();
            columns[index] = Arc::new(arrow::array::BinaryArray::from(swapped));
            RecordBatch::try_new(batch.schema(), columns).unwrap()
        });
        only_the_replay_finds(&place, &file, "not as the topic has it");
    }

    fn a_window_that_was_kept_back_is_found(place: Place) {
        let dir = TempDir::new().unwrap();
        let file = filled(&place, dir.path());
        forge::log(&place, |entry| {
            // The first windows are not settled, their files not named.
            if entry.sequence.0 == 2 {
                let gone = entry.closed.remove(0);
                entry.files.retain(|file| file.window != Some(gone.window));
            }
        });
        let audit = audit(&place, &file).expect(1);
        assert!(audit.stdout.contains("revision 0 is missing"), "{}", audit.said());
    }

    fn a_file_that_was_tampered_with_is_found(place: Place) {
        let dir = TempDir::new().unwrap();
        let file = filled(&place, dir.path());
        let key = place.keys("data", ".parquet").remove(0);
        let mut bytes = place.get(&key).to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        place.plant(&key, &bytes);
        let audit = audit(&place, &file).expect(1);
        assert!(audit.stdout.contains(&format!("{key} is not what was written")), "{}", audit.said());
    }

    fn another_pipeline_file_and_another_input_are_told_apart_from_a_wrong_result(place: Place) {
        let dir = TempDir::new().unwrap();
        let file = filled(&place, dir.path());
        let text = fs::read_to_string(&file).unwrap();
        let other = dir.path().join("other.toml");
        fs::write(&other, text.replace("COUNT(*)", "COUNT(1)")).unwrap();
        let refused = audit(&place, &other).expect(2);
        assert!(refused.stderr.contains("not the one that the newest entry was made with"), "{}", refused.stderr);

        let input = dir.path().join("rides.jsonl");
        let text = fs::read_to_string(&input).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let moved: Vec<&str> = lines[1..].iter().chain(&lines[..1]).copied().collect();
        fs::write(&input, moved.join("\n")).unwrap();
        let found = audit(&place, &file).expect(1);
        assert!(found.stdout.contains("is not the one that was counted"), "{}", found.said());
        fs::write(&input, lines[..2_000].join("\n")).unwrap();
        let found = audit(&place, &file).expect(1);
        assert!(found.stdout.contains("it was cut"), "{}", found.said());
    }

    fn a_pipeline_that_was_changed_between_runs_is_recomputed_as_far_as_it_goes(place: Place) {
        let dir = TempDir::new().unwrap();
        let input = dir.path().join("rides.jsonl");
        let mut pipeline = PipelineFile::over_file(input.to_str().unwrap(), &place);
        let lines = rough(&[3_000]).lines().remove(0);
        fs::write(&input, as_file(&lines[..1_500])).unwrap();
        run(place.windrow().args(["run", "--close-all"]).arg(pipeline.write(dir.path()))).expect(0);
        pipeline.query = pipeline.query.replace("WHERE  total_amount > 0", "WHERE  total_amount > 1");
        fs::write(&input, as_file(&lines)).unwrap();
        let file = pipeline.write(dir.path());
        run(place.windrow().args(["run", "--close-all"]).arg(&file)).expect(0);
        let found = audit(&place, &file).expect(0);
        assert!(found.stdout.contains("made with another pipeline file"), "{}", found.stdout);
        assert!(found.stdout.contains("sound, as far as the topic can still tell"), "{}", found.stdout);
    }
}

#[test]
fn records_that_kafka_no_longer_has_are_told_and_the_rest_is_compared() {
    let test = "records_that_kafka_no_longer_has_are_told_and_the_rest_is_compared";
    let Some(broker) = Broker::kafka(test) else { return };
    let world = World::new(broker, Place::disk(), 2);
    let lines = rough(&[4_000, 4_000]).lines();
    let producer = world.broker.producer(&world.topic, &[]);
    let mut pipeline = PipelineFile::over_topic(&world);
    pipeline.window += "emit = \"early\"\n";
    let file = pipeline.write(world.dir.path());
    for half in [0..2_000, 2_000..4_000] {
        for (partition, lines) in lines.iter().enumerate() {
            lines[half.clone()].iter().for_each(|line| producer.send(partition, line.text.as_deref()));
        }
        producer.flush();
        run(world.place.windrow().args(["run", "--once"]).arg(&file)).expect(0);
    }
    world.broker.delete_records(&world.topic, 1, 500);
    let found = audit(&world.place, &file).expect(0);
    assert!(found.stdout.contains("partition 1: offsets 0 to 1999 were not read again"), "{}", found.stdout);
    assert!(found.stdout.contains("the topic begins at 500 now"), "{}", found.stdout);
    assert!(found.stdout.contains("results could not be"), "{}", found.stdout);
    assert!(found.stdout.contains("sound, as far as the topic can still tell"), "{}", found.stdout);

    // What can still be told is.
    let key = world.place.keys("corrections", ".parquet").pop().unwrap();
    forge::file(&world.place, &key, |batch| a_cent_more(&batch, "revenue"));
    only_the_replay_finds(&world.place, &file, "revenue is ");
}
