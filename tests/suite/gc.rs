//! `windrow gc` deletes what nothing can need any more, and nothing else.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::run;
use crate::support::rides::{MINUTE, Plan, SECOND, as_file};

/// As if everything in a folder had been written two days ago.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = File::options().write(true).open(&path).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - Duration::from_secs(2 * 24 * 3600)).unwrap();
        }
    }
}

fn keys(place: &Place) -> BTreeSet<String> {
    place.keys("", "").into_iter().collect()
}

#[test]
fn what_crashed_runs_left_goes_and_what_may_be_needed_stays() {
    let (dir, place) = (TempDir::new().unwrap(), Place::disk());
    let input = dir.path().join("rides.jsonl");
    let pipeline = PipelineFile::over_file(input.to_str().unwrap(), &place).write(dir.path());
    let plan = Plan { late: (60, 20 * SECOND), ..Plan::clean(7, &[3_000], 5 * MINUTE) };
    let lines = plan.lines().remove(0);
    for lines in [&lines[..1_000], &lines[..2_000]] {
        fs::write(&input, as_file(lines)).unwrap();
        run(place.windrow().arg("run").arg(&pipeline)).expect(0);
    }
    let newest = place.newest().unwrap();
    let number = newest["sequence"].as_u64().unwrap();
    assert!(!newest["windows"].as_array().unwrap().is_empty(), "there are windows open");
    let sound = keys(&place);

    // What may go: staged files that are published, of attempts that lost, state nobody names, a try-out, half a file.
    let mut log = Vec::new();
    place.read_log(&mut log);
    let published = log.iter().flat_map(|entry| entry["files"].as_array().unwrap()).next().unwrap();
    let (stage, path) = (published["stage"].as_str().unwrap(), published["path"].as_str().unwrap());
    place.plant(stage, &place.get(path));
    let lost_stage = format!("_windrow/stage/{:020}-0123456789ab-0.parquet", number - 1);
    let lost_state = format!("_windrow/state/{number:020}-0123456789ab.arrow");
    let unfinished = "data/dt=2024-03-01/rides-20240301T000000Z.parquet#1";
    let goes = [stage, &lost_stage, &lost_state, "_windrow/probe/0123-1", unfinished];
    goes[1..].iter().for_each(|key| place.plant(key, b"left behind"));
    // What may not: staged for the next entry, whose writer may be slow; and what windrow did not write.
    let next_stage = format!("_windrow/stage/{:020}-0123456789ab-0.parquet", number + 1);
    let next_state = format!("_windrow/state/{:020}-0123456789ab.arrow", number + 1);
    [&next_stage, &next_state, "_windrow/state/notes.txt"].iter().for_each(|key| place.plant(key, b"not yet named"));
    // An entry whose file has not got its final name yet: the stage is the only copy.
    let last = newest["files"].as_array().unwrap().first().expect("the newest entry publishes something");
    let (only_copy, final_name) = (last["stage"].as_str().unwrap(), last["path"].as_str().unwrap());
    place.plant(only_copy, &place.get(final_name));
    place.remove(final_name);
    place.remove(&format!("feed/{number:020}.json"));
    age(&place.folder().unwrap());
    let young = format!("_windrow/state/{number:020}-ba9876543210.arrow");
    place.plant(&young, b"young");

    let before = keys(&place);
    let listed = run(place.windrow().arg("gc").arg(place.url())).expect(0);
    assert_eq!(keys(&place), before, "a dry run deletes nothing");
    for key in goes {
        let line = listed.stdout.lines().find(|line| line.contains(&format!("{key} "))).unwrap_or_default();
        assert!(line.starts_with("goes"), "{key} is not in:\n{}", listed.stdout);
    }
    let all = run(place.windrow().args(["gc", "--all"]).arg(place.url())).expect(0).stdout;
    for (key, why) in [
        (&*next_stage, "which is not written yet"),
        (&next_state, "which is not written yet"),
        ("_windrow/state/notes.txt", "none that windrow gives"),
        (only_copy, "it is not published"),
        (&young, "young"),
    ] {
        let line = all.lines().find(|line| line.contains(&format!("{key} "))).unwrap_or_default();
        assert!(line.starts_with("stays") && line.contains(why), "{key}: {why} is not in:\n{all}");
    }
    assert!(all.contains(&format!("entry {number} needs it")), "{all}");

    run(place.windrow().args(["gc", "--delete"]).arg(place.url())).expect(0);
    let gone: BTreeSet<String> = goes.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(before.difference(&keys(&place)).cloned().collect::<BTreeSet<_>>(), gone);
    run(place.windrow().args(["gc", "--delete"]).arg(place.url())).expect(0);

    // And the next run goes on as if nothing had been.
    fs::write(&input, as_file(&lines)).unwrap();
    run(place.windrow().arg("run").arg(&pipeline)).expect(0);
    assert!(place.has(final_name) && sound.contains(final_name), "it is published at last");
    let audit = run(place.windrow().arg("audit").arg(place.url())).expect(0);
    assert!(audit.stdout.contains("read 3,000"), "{}", audit.stdout);
}

for_every_sink! {
    fn a_sink_that_was_left_in_good_order_has_nothing_to_delete(place: Place) {
        let dir = TempDir::new().unwrap();
        let input = dir.path().join("rides.jsonl");
        fs::write(&input, as_file(&Plan::clean(7, &[2_000], 5 * MINUTE).lines()[0])).unwrap();
        let pipeline = PipelineFile::over_file(input.to_str().unwrap(), &place).write(dir.path());
        run(place.windrow().arg("run").arg(pipeline)).expect(0);
        let before = keys(&place);
        let said = run(place.windrow().args(["gc", "--delete"]).arg(place.url())).expect(0).stdout;
        assert!(said.starts_with("0 objects, 0 bytes may go"), "{said}");
        assert_eq!(keys(&place), before);
    }
}

#[test]
fn an_age_that_could_take_from_a_writer_is_refused() {
    let place = Place::disk();
    let ended = run(place.windrow().args(["gc", "--older-than", "10 minutes"]).arg(place.url())).expect(2);
    assert!(ended.stderr.contains("1 hour or more"), "{}", ended.stderr);
}
