//! `windrow audit` finds whatever was done to a sink behind Windrow's back.

use std::fs;

use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::run;
use crate::support::rides::{MINUTE, Plan, SECOND, as_file};
use crate::support::seed;

/// A sound sink with results, corrections, late and invalid records, some windows still open.
fn filled(place: &Place) {
    let dir = TempDir::new().unwrap();
    let rough = Plan {
        late: (60, 20 * SECOND),
        too_late: (20, 2 * MINUTE),
        broken: 20,
        ..Plan::clean(seed(), &[3_000], 5 * MINUTE)
    };
    let input = dir.path().join("rides.jsonl");
    let mut pipeline = PipelineFile::over_file(input.to_str().unwrap(), place);
    pipeline.window += "emit = \"early\"\n";
    let file = pipeline.write(dir.path());
    let lines = rough.lines().remove(0);
    // Two runs, for a log of some length.
    for lines in [&lines[..1_500], &lines[..]] {
        fs::write(&input, as_file(lines)).unwrap();
        run(place.windrow().arg("run").arg(&file)).expect(0);
    }
    assert!(place.keys("_windrow/log", ".json").len() >= 4, "each run begins and ends with an entry");
    let audit = run(place.windrow().arg("audit").arg(place.url())).expect(0);
    assert!(audit.stdout.contains("sound"), "{}", audit.stdout);
}

/// The audit finds something, and names it.
#[track_caller]
fn finds(place: &Place, named: &str) {
    let audit = run(place.windrow().arg("audit").arg(place.url())).expect(1);
    assert!(audit.said().contains(named), "expected {named:?} in:\n{}", audit.said());
    assert!(audit.said().contains("not sound") || audit.said().contains("entry"), "{}", audit.said());
}

for_every_sink! {
    fn a_file_that_is_gone_is_found(place: Place) {
        filled(&place);
        let key = place.keys("data", ".parquet").remove(3);
        place.remove(&key);
        finds(&place, &key);
    }

    fn a_file_that_is_cut_short_is_found(place: Place) {
        filled(&place);
        let key = place.keys("corrections", ".parquet").remove(1);
        let bytes = place.get(&key);
        place.plant(&key, &bytes[..bytes.len() / 2]);
        finds(&place, &key);
    }

    fn a_single_changed_bit_is_found(place: Place) {
        filled(&place);
        let key = place.keys("late", ".parquet").remove(0);
        let mut bytes = place.get(&key).to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        place.plant(&key, &bytes);
        finds(&place, &key);
    }

    fn a_stranger_among_the_results_is_found(place: Place) {
        filled(&place);
        let key = place.keys("data", ".parquet").remove(0);
        let stranger = key.replace(".parquet", "-copy.parquet");
        place.plant(&stranger, &place.get(&key));
        finds(&place, &stranger);
    }

    fn a_log_entry_that_was_edited_is_found(place: Place) {
        filled(&place);
        let key = place.keys("_windrow/log", ".json").remove(1);
        let text = String::from_utf8(place.get(&key).to_vec()).unwrap();
        let edited = text.replacen("\"sequence\":2", "\"sequence\": 2", 1);
        assert_ne!(text, edited);
        place.plant(&key, edited.as_bytes());
        finds(&place, "entry 3");
    }

    fn a_log_entry_that_is_gone_is_found(place: Place) {
        filled(&place);
        let key = place.keys("_windrow/log", ".json").remove(2);
        place.remove(&key);
        finds(&place, "log entry 3 is missing");
    }

    fn lost_state_is_found(place: Place) {
        filled(&place);
        let key = place.keys("_windrow/state", ".arrow").remove(0);
        place.remove(&key);
        finds(&place, &key);
    }

    fn state_that_was_cut_off_is_found_and_holds_nobody_up(place: Place) {
        filled(&place);
        let key = place.keys("_windrow/state", ".arrow").remove(0);
        place.plant(&key, b"");
        finds(&place, &key);
    }

    fn a_feed_entry_that_was_changed_is_found(place: Place) {
        filled(&place);
        let key = place.keys("feed", ".json").remove(0);
        place.plant(&key, b"{}");
        finds(&place, &key);
    }
}
