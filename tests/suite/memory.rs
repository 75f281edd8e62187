//! Memory is bounded by configuration: a window far larger than it is exact, and the process stays small.
//!
//! `WINDROW_TEST_GROUPS=10000000` and `WINDROW_TEST_ROWS=20000000` run the same at full size, within the default limit
//! and a gibibyte in all; that is for a release build, and some minutes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::support::process::{Running, windrow};

const MIB: u64 = 1 << 20;
/// A time in the one window there is.
const AT: &str = "2026-03-01T08:00:00Z";

/// How much to do, within what.
struct Size {
    count: u64,
    limits: &'static str,
    peak: u64,
    patience: Duration,
}

fn size(name: &str, small: u64) -> Size {
    match std::env::var(name) {
        Ok(count) => {
            Size { count: count.parse().unwrap(), limits: "", peak: 1024 * MIB, patience: Duration::from_secs(1800) }
        }
        Err(_) => Size {
            count: small,
            limits: "[limits]\nmemory = \"16 MiB\"",
            peak: 224 * MIB,
            patience: Duration::from_secs(180),
        },
    }
}

/// Runs a query over generated lines on standard input; the most memory that the process had, in bytes.
fn run(dir: &Path, columns: &str, sql: &str, size: &Size, write: impl Fn(&mut dyn Write) + Send + 'static) -> u64 {
    let sink = dir.join("sink");
    let text = format!(
        "name = \"m\"\n[source.file]\npath = \"-\"\n[source.columns]\nat = \"timestamp\"\n{columns}\n[window]\n\
         event_time = \"at\"\nsize = \"1 hour\"\n[query]\nsql = \"{sql}\"\n[sink]\nurl = \"{}\"\n{}\n",
        sink.display(),
        size.limits
    );
    let file = dir.join("m.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = windrow();
    let mut running = Running::start(command.arg("run").arg("--close-all").arg(&file).stdin(Stdio::piped()));
    let mut input = BufWriter::with_capacity(1 << 16, running.input());
    let writer = thread::spawn(move || {
        write(&mut input);
        input.flush().unwrap();
    });
    // The kernel's own count of the most there was at a time.
    let status = PathBuf::from(format!("/proc/{}/status", running.pid()));
    let mut peak = 0;
    while let Some(found) = std::fs::read_to_string(&status).ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))?.trim().to_owned();
        line.parse::<u64>().ok()
    }) {
        peak = found * 1024;
        thread::sleep(Duration::from_millis(5));
    }
    running.wait(size.patience).expect(0);
    writer.join().unwrap();
    eprintln!("{} of them: {} MiB at most", size.count, peak / MIB);
    assert!(peak > 0 && peak < size.peak, "{} MiB were needed", peak / MIB);
    let audit = Running::start(windrow().arg("audit").arg(&sink)).wait(size.patience);
    audit.expect(0);
    peak
}

/// The published rows, part after part.
fn read(dir: &Path, mut each: impl FnMut(&RecordBatch)) -> usize {
    let folder = dir.join("sink/data/dt=2026-03-01");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
        reader.for_each(|batch| each(&batch.unwrap()));
    }
    files.len()
}

#[test]
fn more_groups_than_fit_into_memory_are_exact_and_in_order() {
    let size = size("WINDROW_TEST_GROUPS", 200_000);
    let dir = TempDir::new().unwrap();
    let count = size.count;
    let columns = "g = \"text\"\nv = \"int\"\nf = \"float\"";
    let sql = "SELECT g, COUNT(*) AS n, SUM(v) AS s, SUM(f) AS t FROM r GROUP BY g";
    run(dir.path(), columns, sql, &size, move |lines| {
        for round in 1..=2u64 {
            for index in 0..count {
                // A prime: every group once a round, in no order.
                let group = index * 7_368_787 % count;
                let (value, float) = (group * round, group as f64 / 10.0);
                writeln!(lines, r#"{{"at":"{AT}","g":"group-{group:09}","v":{value},"f":{float}}}"#).unwrap();
            }
        }
    });
    let mut group = 0u64;
    read(dir.path(), |batch| {
        let groups = batch.column_by_name("g").unwrap().as_string::<i32>();
        let int = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().clone();
        let (counts, sums) = (int("n"), int("s"));
        let floats = batch.column_by_name("t").unwrap().as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            assert_eq!(groups.value(row), format!("group-{group:09}"));
            assert_eq!((counts.value(row), sums.value(row)), (2, 3 * group as i64));
            assert_eq!(floats.value(row), group as f64 / 10.0 * 2.0);
            group += 1;
        }
    });
    assert_eq!(group, count);
}

#[test]
fn more_rows_than_fit_into_memory_are_all_there_and_in_order() {
    let size = size("WINDROW_TEST_ROWS", 150_000);
    let dir = TempDir::new().unwrap();
    let count = size.count;
    let body = |index: u64| {
        let word = |part: u64| format!("{:016x}", (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ part));
        (0..16).map(word).collect::<Vec<_>>().concat()
    };
    run(dir.path(), "i = \"int\"\nbody = \"text\"", "SELECT i, body FROM r", &size, move |lines| {
        for index in 0..count {
            writeln!(lines, r#"{{"at":"{AT}","i":{index},"body":"{}"}}"#, body(index)).unwrap();
        }
    });
    let mut index = 0u64;
    let files = read(dir.path(), |batch| {
        let numbers = batch.column_by_name("i").unwrap().as_primitive::<Int64Type>();
        let bodies = batch.column_by_name("body").unwrap().as_string::<i32>();
        for row in 0..batch.num_rows() {
            assert_eq!((numbers.value(row), bodies.value(row)), (index as i64, body(index).as_str()));
            index += 1;
        }
    });
    assert_eq!(index, count);
    assert!(files > 1, "a large window has several parts");
}
