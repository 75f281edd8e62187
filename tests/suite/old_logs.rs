//! A sink that an earlier version wrote and left with a window open is gone on with.
//!
//! `fixtures/log-form-1` is what the version before runs of groups left of the first 250 lines of `input.jsonl`.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::support::process::{run, windrow};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/fixtures/log-form-1")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn results(sink: &Path) -> Vec<RecordBatch> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(sink.join("data/dt=2026-03-01")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    files.into_iter().map(read).collect()
}

fn goes_on(name: &str, sql: &str) {
    let dir = TempDir::new().unwrap();
    let pipeline = |sink: &Path| {
        let text = format!(
            "name = \"{name}\"\n[source.file]\npath = \"{}\"\n[source.columns]\nat = \"timestamp(s)\"\nk = \"text\"\n\
             v = \"int\"\nf = \"float\"\n[window]\nevent_time = \"at\"\nsize = \"30 minutes\"\n\
             watermark_delay = \"1 minute\"\nallowed_lateness = \"10 minutes\"\n[query]\nsql = \"{sql}\"\n\
             [sink]\nurl = \"{}\"\n",
            fixture().join("input.jsonl").display(),
            sink.display()
        );
        let file = dir.path().join("pipeline.toml");
        fs::write(&file, text).unwrap();
        file
    };
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    copy(&fixture().join(name), &old);
    for sink in [&old, &new] {
        run(windrow().args(["run", "--close-all"]).arg(pipeline(sink))).expect(0);
        run(windrow().arg("audit").arg(sink)).expect(0);
    }
    let results_of_old = results(&old);
    assert_eq!(results_of_old.len(), 4);
    assert_eq!(results_of_old, results(&new));
}

#[test]
fn an_open_window_of_groups_is_closed_with_what_an_earlier_version_saved() {
    let sql = "SELECT k, COUNT(*) AS n, SUM(v) AS s, SUM(f) AS t, AVG(f) AS m, AVG(v) AS a, LAST_VALUE(v) AS z \
               FROM r GROUP BY k";
    goes_on("groups", sql);
}

#[test]
fn an_open_window_of_rows_is_closed_with_what_an_earlier_version_saved() {
    goes_on("rows", "SELECT *, _offset AS o FROM r");
}
