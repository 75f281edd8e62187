//! What is run of it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::driver::{Report, run};
use crate::faults::{Fate, KINDS};
use crate::plan::{Action, Plan};
use crate::planted::Plant;
use crate::scenarios::{SINGLE, SMALL, correction_without_rows, cut_and_read_again, random, same_topic, shared};
use crate::short::short;
use crate::table::{CRASH_TABLE, MORE, Tried, machine};
use crate::time::{MILLI, SECOND};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn elapsed_since(began: &mut Option<Instant>) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "how long to go on, not what happens")]
    began.get_or_insert_with(Instant::now).elapsed()
}

/// What many worlds came to.
#[derive(Debug, Default)]
struct Sum {
    worlds: u64,
    requests: u64,
    fates: [u64; 11],
    starts: u64,
    crashes: u64,
    freezes: u64,
    fenced: u64,
    entries: u64,
    files: u64,
    records: u64,
    simulated: i64,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.worlds += 1;
        self.requests += report.requests;
        for (sum, fate) in self.fates.iter_mut().zip(report.fates) {
            *sum += fate;
        }
        self.starts += report.starts;
        self.crashes += report.crashes;
        self.freezes += report.freezes;
        self.fenced += report.fenced;
        self.entries += report.entries;
        self.files += report.files;
        self.records += report.records;
        self.simulated += report.simulated;
    }

    fn tell(&self, what: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        let worlds = self.worlds as f64;
        println!(
            "{what}: {} worlds in {seconds:.1} s, {:.0} a second; {:.1} h simulated, {:.0} times as fast",
            self.worlds,
            worlds / seconds,
            self.simulated as f64 / 3.6e9,
            self.simulated as f64 / 1e6 / seconds
        );
        let each = |count: u64| count as f64 / worlds;
        println!(
            "  a world: {:.0} requests, {:.1} starts, {:.2} crashes, {:.2} freezes, {:.2} fenced, {:.1} entries, {:.1} files, \
             {:.1} records",
            each(self.requests),
            each(self.starts),
            each(self.crashes),
            each(self.freezes),
            each(self.fenced),
            each(self.entries),
            each(self.files),
            each(self.records)
        );
        let faults: Vec<String> =
            KINDS.iter().zip(self.fates).skip(1).map(|(kind, count)| format!("{kind} {:.2}", each(count))).collect();
        println!("  faults a world: {}", faults.join(", "));
    }
}

/// What to say of a world that broke something.
fn broken(report: &Report, repeat: &str) -> Option<String> {
    let (name, how) = report.violations.first()?;
    Some(format!("{name}: {how}\n  repeat it: {repeat}"))
}

fn repeat(name: &str, seed: u64) -> String {
    format!("WINDROW_SIM_SEED={seed} WINDROW_SIM_TRACE=1 cargo test --release --test simulation {name} -- --nocapture")
}

fn regressions() -> Vec<u64> {
    let lines = include_str!("regressions.txt").lines();
    let seeds = lines.map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty());
    seeds.map(|seed| seed.parse().unwrap()).collect()
}

#[test]
fn random_worlds_keep_every_promise() {
    many_worlds("random_worlds", random);
}

#[test]
fn short_worlds_keep_every_promise() {
    many_worlds("short_worlds", short);
}

#[test]
fn instances_that_share_a_topic_keep_every_promise() {
    many_worlds("instances_that_share", shared);
}

fn many_worlds(name: &str, plan: fn(u64) -> Plan) {
    if let Some(seed) = number("WINDROW_SIM_SEED") {
        let verbose = number("WINDROW_SIM_TRACE").is_some();
        let report = run(&plan(seed), verbose);
        report.trace.iter().for_each(|line| println!("{line}"));
        println!("seed {seed}: hash {:016x}, {} entries, {} files", report.hash, report.entries, report.files);
        if let Some(text) = broken(&report, &repeat(name, seed)) {
            panic!("{text}");
        }
        return;
    }
    let span = Duration::from_secs(number("WINDROW_SIM_SECONDS").unwrap_or(8));
    let first = number("WINDROW_SIM_FROM").unwrap_or(1);
    let most = number("WINDROW_SIM_FAILURES").unwrap_or(1);
    let mut began = None;
    let mut sum = Sum::default();
    let mut failures = Vec::new();
    for seed in first.. {
        if elapsed_since(&mut began) >= span || failures.len() as u64 >= most {
            break;
        }
        let report = run(&plan(seed), false);
        sum.add(&report);
        if let Some(text) = broken(&report, &repeat(name, seed)) {
            println!("seed {seed}: {text}");
            failures.push(seed);
        }
    }
    sum.tell(name, elapsed_since(&mut began));
    // A short world meets few faults, so that it takes more of them to meet all.
    if sum.worlds >= if name == "short_worlds" { 4000 } else { 200 } {
        let unused = KINDS.iter().zip(sum.fates).find(|(_, count)| *count == 0);
        assert!(
            unused.is_none() && sum.fenced > 0 && sum.freezes > 0,
            "these worlds are too tame: {unused:?}, {sum:?}"
        );
    }
    assert!(failures.is_empty(), "seeds {failures:?} break a promise");
}

#[test]
fn worlds_that_once_broke_a_promise_keep_it_now() {
    for seed in regressions() {
        let report = run(&random(seed), false);
        if let Some(text) = broken(&report, &repeat("random_worlds", seed)) {
            panic!("{text}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_bytes() {
    for seed in 1..=40 {
        let (once, again) = (run(&random(seed), false), run(&random(seed), false));
        assert_eq!(once.hash, again.hash, "seed {seed}");
        // A thread of its own: nothing of an earlier world may leak into the next.
        let elsewhere = std::thread::spawn(move || run(&random(seed), true).hash).join().unwrap();
        assert_eq!(once.hash, elsewhere, "seed {seed}");
        assert_ne!(once.hash, run(&random(seed + 1000), false).hash, "the hash tells worlds apart");
    }
}

#[test]
fn the_same_topic_gives_the_same_files_whatever_the_schedule() {
    let mut compared = 0;
    for seed in 1..=150 {
        let (first, second) = same_topic(seed);
        let (one, other) = (run(&first, false), run(&second, false));
        for report in [&one, &other] {
            if let Some(text) = broken(report, &format!("same_topic({seed})")) {
                panic!("{text}");
            }
        }
        assert_eq!(one.results, other.results, "seed {seed}");
        compared += one.results.len();
    }
    println!("{compared} results compared");
}

#[test]
fn every_single_fault_at_every_request_of_small_worlds() {
    let next = AtomicU64::new(0);
    let failures: Mutex<Vec<String>> = Mutex::default();
    let sum: Mutex<Sum> = Mutex::default();
    let mut began = None;
    let mut cases: Vec<(usize, u64, usize)> = Vec::new();
    elapsed_since(&mut began);
    let small: Vec<_> = SMALL.iter().chain(&MORE).collect();
    for (index, (name, plan)) in small.iter().enumerate() {
        let report = run(&plan(), true);
        assert!(report.violations.is_empty(), "{name}: {:?}", report.violations);
        // One world has the store's trial tried, too.
        let tried = requests(&report, index == 0);
        println!("{name}: {} requests, {} files", tried.len(), report.files);
        cases.extend(tried.into_iter().flat_map(|request| (0..SINGLE.len()).map(move |fate| (index, request, fate))));
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&(index, request, fate)) = cases.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let plan = with_fault(small[index].1(), request, SINGLE[fate]);
                    let report = run(&plan, false);
                    sum.lock().unwrap().add(&report);
                    if let Some((name, how)) = report.violations.first() {
                        let text =
                            format!("{}: {:?} at request {request}: {name}: {how}", small[index].0, SINGLE[fate]);
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    sum.lock().unwrap().tell("every single fault", elapsed_since(&mut began));
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len(),
        failures[..failures.len().min(12)].join("\n")
    );
}

/// The machine dies, and with it what its disk had not answered for: at every hundredth of a second of a run.
#[test]
fn a_machine_may_die_with_its_disk_at_any_moment() {
    let mut sum = Sum::default();
    let mut began = None;
    elapsed_since(&mut began);
    for at in (0..6 * SECOND).step_by(10 * MILLI as usize) {
        let mut plan = machine();
        plan.script.push((at, Action::PowerCut));
        let report = run(&plan, false);
        sum.add(&report);
        assert!(report.violations.is_empty(), "power cut at {at} µs: {:?}", report.violations);
    }
    sum.tell("power cuts", elapsed_since(&mut began));
}

#[test]
fn every_row_of_the_crash_table_is_tried() {
    let planted: Vec<String> = PLANTED.iter().map(|(plant, _)| format!("{plant:?}")).collect();
    for (number, (row, tried)) in (1..).zip(&CRASH_TABLE) {
        assert!(!tried.is_empty(), "row {number}, {row}, is not tried");
        for one in *tried {
            match one {
                Tried::Here(name) => {
                    let known = SMALL.iter().chain(&MORE).any(|(known, _)| known == name);
                    assert!(known, "row {number}, {row}: no scenario is called {name:?}");
                }
                Tried::Planted(name) => assert!(planted.iter().any(|known| known == name), "row {number}: {name}"),
                Tried::Test(target, name) => {
                    let (module, test) = name.rsplit_once("::").unwrap();
                    let file = format!("tests/{target}/{}.rs", module.replace("::", "/"));
                    let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file));
                    let text = text.unwrap_or_else(|error| panic!("row {number}, {row}: {file}: {error}"));
                    let found = text.contains(&format!("fn {test}(")) || text.contains(&format!("    {test}: "));
                    assert!(found, "row {number}, {row}: {file} has no test {test}");
                }
            }
        }
    }
}

#[test]
fn a_correction_without_rows_has_a_file_even_in_the_commit_of_the_first_result() {
    let report = run(&correction_without_rows(), true);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let empty = report.results.iter().filter(|(_, rows)| rows.is_empty()).count();
    assert_eq!(empty, 1, "{:?}", report.results);
}

#[test]
fn a_topic_that_was_cut_is_known_though_its_records_come_again_from_before() {
    let report = run(&cut_and_read_again(), true);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    let refused = report.trace.iter().any(|line| line.contains("is not the one that was counted"));
    assert!(refused, "{:#?}", report.trace);
}

fn with_fault(mut plan: Plan, request: u64, fate: Fate) -> Plan {
    plan.faults.only = Some((request, fate));
    plan.calm_at = plan.calm_at.max(60 * SECOND);
    plan
}

/// The numbers of a world's requests before it is calm.
fn requests(report: &Report, with_probes: bool) -> Vec<u64> {
    let lines = report.trace.iter().take_while(|line| !line.ends_with(" calm"));
    let asked = lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let number = words.next()?.strip_prefix('#')?.parse().ok()?;
        (with_probes || !line.contains("_windrow/probe")).then_some(number)
    });
    asked.collect()
}

/// Each planted fault, and the invariants that it may trip first.
const PLANTED: &[(Plant, &[&str])] = &[
    (Plant::StoreOverwrites, &["an instance fails only for a reason"]),
    (Plant::LogIsOverwritten, &["keys are written once"]),
    (Plant::ResultIsSwallowed, &["a glob is right at every moment"]),
    (Plant::StateIsSwallowed, &["what an entry names is there"]),
    (Plant::StageIsSwallowed, &["what an entry names is there", "every published row is the oracle's"]),
    (Plant::ResultIsCut, &["a glob is right at every moment"]),
    (Plant::ResultBeforeEntry, &["a glob is right at every moment"]),
    (Plant::StateIsSwept, &["nothing is deleted that is needed"]),
    (Plant::CommitsEarly, &["Kafka's offsets are never ahead of what is published"]),
    (Plant::SourceSkips, &["read = aggregated + filtered + too late + invalid"]),
    (
        Plant::SourceAlters,
        &["every published row is the oracle's", "read = aggregated + filtered + too late + invalid"],
    ),
    (Plant::SourceStalls, &["all of it comes out once faults stop"]),
    (Plant::ClaimIsShifted, &["claims are contiguous and disjoint"]),
    (Plant::CountIsLost, &["read = aggregated + filtered + too late + invalid"]),
    (Plant::WatermarkGoesBack, &["watermarks never go back"]),
    (Plant::ChainIsBroken, &["the log is a chain"]),
    (Plant::ClosedAgain, &["a window and revision is published once"]),
    (Plant::KeptIsForgotten, &["late and invalid records are kept, each once"]),
    (Plant::CalledIncomplete, &["a window that lost nothing is complete"]),
    (
        Plant::LossIsInvented,
        &["a window that lost nothing is complete", "read = aggregated + filtered + too late + invalid"],
    ),
    (Plant::ResultIsForgotten, &["every published row is the oracle's"]),
    (Plant::ResultVanishes, &["nothing is missing in the end"]),
    (Plant::CutsAreHidden, &["a topic that was cut is not counted on"]),
    (Plant::NothingIsDeleted, &["nothing is left behind in the end"]),
];

#[test]
fn every_planted_fault_trips_its_invariant() {
    let mut tripped = BTreeSet::new();
    let mut began = None;
    elapsed_since(&mut began);
    for (plant, expected) in PLANTED {
        let mut found = None;
        let mut tried = 0;
        for seed in 1..400 {
            let mut plan = random(seed);
            plan.plant = Some(*plant);
            tried += 1;
            let report = run(&plan, false);
            let names: Vec<&str> = report.violations.iter().map(|(name, _)| *name).collect();
            if let Some(name) = names.iter().find(|name| expected.contains(name)) {
                found = Some(*name);
                break;
            }
            if let Some((name, how)) = report.violations.first() {
                println!("{plant:?}, seed {seed}: trips {name}: {how}");
            }
        }
        println!("{plant:?}: {found:?} after {tried} worlds");
        tripped.insert(found.unwrap_or_else(|| panic!("{plant:?} was not found")));
    }
    println!("{} invariants tripped in {:?}", tripped.len(), elapsed_since(&mut began));
    let never: Vec<&str> =
        crate::invariants::INVARIANTS.iter().map(|(name, _)| *name).filter(|name| !tripped.contains(name)).collect();
    assert!(never.is_empty(), "nothing trips {never:?}");
}

/// `windrow gc` beside runs that crash, freeze and take over: whatever it takes, nobody misses it.
#[test]
fn a_sink_can_be_cleared_at_any_moment() {
    let mut cleared = 0;
    for seed in 1..=60 {
        let mut plan = random(seed);
        let times = (1..).map(|count| count * 3 * SECOND).take_while(|at| *at < plan.calm_at);
        plan.script.extend(times.map(|at| (at, Action::Gc)));
        let report = run(&plan, false);
        cleared += report.cleared;
        if let Some(text) = broken(&report, &format!("seed {seed}, with Action::Gc every three seconds")) {
            panic!("{text}");
        }
    }
    assert!(cleared > 50, "only {cleared} objects were there to be cleared");
}
