//! Sinks that a run must not go on with, each refused with what to do about it: another query over open windows, a newer
//! form of the log, results whose log is gone.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::run;
use crate::support::rides::{MINUTE, Plan, as_file};
use crate::support::seed;

/// A sink with results and an open window, and the pipeline that filled it.
fn filled(place: &Place, dir: &TempDir) -> PipelineFile {
    let input = dir.path().join("rides.jsonl");
    let lines = Plan::clean(seed(), &[2_000], 5 * MINUTE).lines().remove(0);
    fs::write(&input, as_file(&lines)).unwrap();
    let pipeline = PipelineFile::over_file(input.to_str().unwrap(), place);
    run(place.windrow().arg("run").arg(pipeline.write(dir.path()))).expect(0);
    pipeline
}

/// A run is refused, says why, and leaves the sink as it was.
#[track_caller]
fn refused(place: &Place, dir: &TempDir, pipeline: &PipelineFile, why: &str) {
    let before = place.keys("", "");
    let ended = run(place.windrow().arg("run").arg(pipeline.write(dir.path()))).expect(2);
    assert!(ended.stderr.contains(why), "expected {why:?} in:\n{}", ended.stderr);
    assert_eq!(place.keys("", ""), before);
}

for_every_sink! {
    fn another_query_is_refused_while_windows_are_open_under_the_old_one(place: Place) {
        let dir = TempDir::new().unwrap();
        let mut pipeline = filled(&place, &dir);
        pipeline.query = "SELECT pickup_location, COUNT(*) AS rides FROM rides GROUP BY pickup_location".to_owned();
        refused(&place, &dir, &pipeline, "run the old file once with --once --close-all");
    }

    fn a_newer_form_of_the_log_is_refused(place: Place) {
        let dir = TempDir::new().unwrap();
        let pipeline = filled(&place, &dir);
        let key = place.keys("_windrow/log", ".json").pop().unwrap();
        let mut entry: Value = serde_json::from_slice(&place.get(&key)).unwrap();
        entry["format"] = 99.into();
        place.plant(&key, &serde_json::to_vec(&entry).unwrap());
        refused(&place, &dir, &pipeline, "use a newer windrow");
    }

    fn results_without_their_log_are_somebody_elses(place: Place) {
        let dir = TempDir::new().unwrap();
        let pipeline = filled(&place, &dir);
        for key in place.keys("_windrow/log", ".json") {
            place.remove(&key);
        }
        refused(&place, &dir, &pipeline, "no log of windrow's");
    }
}
