//! More short scenarios for every single fault, and the crash table: what a run can die of, where, and what tries it.

use crate::plan::{Action, Plan, Sql};
use crate::scenarios::{Small, at, calm};
use crate::time::{MILLI, SECOND};

/// Beside [`crate::scenarios::SMALL`].
pub const MORE: [Small; 12] = [
    ("several windows and both kinds of kept files in one commit", all_in_one_commit),
    ("a correction after a stop", correction_after_a_stop),
    ("HAVING leaves a window without rows", having),
    ("retention passes what comes next, and that is accepted", retention),
    ("a partition is added", partition_added),
    ("clocks of two hosts a minute apart", skewed),
    ("a run from cron between others", cron),
    ("the sink is cleared while it is written to", cleared),
    ("the store is away", store_away),
    ("the broker is away", broker_away),
    ("records come again, one at a time", again),
    ("a machine with its disk dies", machine),
];

fn lines(seed: u64) -> Plan {
    let mut plan = calm(seed);
    plan.shape.lines = true;
    plan.script = vec![(0, Action::Append(0, at(&[1, 2, 3]))), (3 * SECOND, Action::Append(0, at(&[11, 12])))];
    plan
}

fn all_in_one_commit() -> Plan {
    let mut plan = lines(20);
    (plan.shape.late_size, plan.shape.commit_interval) = (1, 5 * SECOND);
    plan.script = vec![(0, Action::Append(0, at(&[1, 11, -1, 21, 2, 31, 3, 41])))];
    plan
}

fn correction_after_a_stop() -> Plan {
    let mut plan = lines(21);
    (plan.shape.early, plan.shape.lateness) = (true, 10 * SECOND);
    plan.script = vec![
        (0, Action::Append(0, at(&[1, 2, 11]))),
        (3 * SECOND, Action::Stop(0)),
        (4 * SECOND, Action::Append(0, at(&[4, 31]))),
    ];
    plan
}

fn having() -> Plan {
    let mut plan = lines(22);
    plan.shape.sql = Sql::Having;
    plan.script = vec![(0, Action::Append(0, at(&[1, 4, 7, 11, 12, 31])))];
    plan
}

fn retention() -> Plan {
    let mut plan = lines(23);
    plan.shape.accept_loss = true;
    plan.script = vec![
        (0, Action::Append(0, at(&[1, 2]))),
        (3 * SECOND, Action::Crash(0)),
        (3 * SECOND, Action::Append(0, at(&[3, 4, 5, 11]))),
        (3 * SECOND, Action::Retain(0, 1)),
        (15 * SECOND, Action::Append(0, at(&[21, 22]))),
    ];
    plan
}

fn partition_added() -> Plan {
    let mut plan = lines(24);
    plan.script.push((SECOND, Action::AddLane));
    plan.script.push((2 * SECOND, Action::Append(1, at(&[2, 13]))));
    plan
}

fn skewed() -> Plan {
    let mut plan = lines(25);
    (plan.wanted, plan.hosts, plan.skew) = (2, 2, 60 * SECOND);
    plan.script.push((4 * SECOND, Action::Crash(0)));
    plan
}

fn cron() -> Plan {
    let mut plan = lines(26);
    plan.script.push((2 * SECOND, Action::Stop(0)));
    plan.script.push((2 * SECOND + 500 * MILLI, Action::Once(true)));
    plan
}

fn cleared() -> Plan {
    let mut plan = lines(27);
    plan.script.extend((1..6).map(|second| (second * SECOND, Action::Gc)));
    plan
}

fn store_away() -> Plan {
    let mut plan = lines(28);
    plan.script.push((3 * SECOND, Action::Outage(true)));
    plan.script.push((10 * SECOND, Action::Outage(false)));
    plan
}

fn broker_away() -> Plan {
    let mut plan = lines(29);
    plan.script.push((2 * SECOND, Action::Broker(true)));
    plan.script.push((6 * SECOND, Action::Broker(false)));
    plan
}

fn again() -> Plan {
    let mut plan = lines(30);
    (plan.manner.again_per_mille, plan.manner.batch) = (1000, 1);
    plan
}

/// What was not yet answered is lost with the machine.
pub fn machine() -> Plan {
    let mut plan = lines(31);
    (plan.faults.disk, plan.faults.latency) = (true, 10 * MILLI);
    plan.script.push((3 * SECOND + 40 * MILLI, Action::PowerCut));
    plan
}

/// What tries a row of the crash table.
pub enum Tried {
    /// This scenario, with every fault of [`crate::scenarios::SINGLE`] at every request.
    Here(&'static str),
    /// This test of this target.
    Test(&'static str, &'static str),
    /// This planted fault.
    Planted(&'static str),
}
use Tried::{Here, Planted, Test};

/// The crash table: after what a run dies, or what happens to it, and what tries that.
pub const CRASH_TABLE: [(&str, &[Tried]); 35] = [
    ("fetched, before the cut", &[Test("suite", "crash_points::after_a_fetch")]),
    ("in the middle of staging", &[Here("several windows and both kinds of kept files in one commit")]),
    ("all is staged", &[Here("one window closes by its own records")]),
    ("the state is written", &[Here("rows wait in the state over two commits")]),
    ("the entry's answer is lost, it landed", &[Here("one window closes by its own records")]),
    ("the entry was sent and never landed", &[Here("one window closes by its own records")]),
    ("the entry lands while a successor starts", &[Here("a standby on another host")]),
    ("the entry is there, nothing published", &[Here("one window closes by its own records")]),
    ("some of the final names", &[Here("several windows and both kinds of kept files in one commit")]),
    ("all final names, before the feed", &[Here("several windows and both kinds of kept files in one commit")]),
    ("before the feed entry", &[Test("suite", "crash_points::before_the_feed")]),
    ("the feed, before Kafka is told", &[Test("suite", "crash_points::before_kafka_is_told")]),
    ("Kafka is told, before sweeping", &[Test("suite", "crash_points::before_the_stage_is_swept")]),
    ("in the middle of clearing", &[Here("the sink is cleared while it is written to")]),
    ("frozen before the entry, awake after a successor's", &[Here("a standby on another host")]),
    ("frozen while publishing", &[Here("a standby on another host")]),
    ("frozen between the feed and Kafka", &[Here("two start at once")]),
    ("two start at once", &[Here("two start at once"), Here("two go on where both died")]),
    (
        "the same, with another query",
        &[Test("suite", "refused_sinks::another_query_is_refused_while_windows_are_open_under_the_old_one")],
    ),
    ("a disk's power is cut after the link", &[Here("a machine with its disk dies")]),
    ("a disk's power is cut after publishing", &[Here("a machine with its disk dies")]),
    ("\"exists\" is answered although ours won", &[Here("one window closes by its own records")]),
    (
        "a state object is lost or damaged",
        &[Planted("StateIsSwept"), Test("suite", "unsound_sinks::lost_state_is_found")],
    ),
    ("retention passed what comes next", &[Here("retention passes what comes next, and that is accepted")]),
    (
        "the topic is deleted and made anew",
        &[Planted("CutsAreHidden"), Test("suite", "data_loss::a_topic_that_was_made_anew_stops_the_run")],
    ),
    ("the log is deleted", &[Test("suite", "refused_sinks::results_without_their_log_are_somebody_elses")]),
    ("the store ignores create-only", &[Planted("StoreOverwrites"), Planted("LogIsOverwritten")]),
    ("credentials expire", &[Here("the store is away")]),
    ("a clock jumps", &[Here("clocks of two hosts a minute apart")]),
    ("a record of next year", &[Test("suite", "bad_input::every_bad_record_is_kept_with_its_reason_or_exact")]),
    ("the topic is cut below what was counted", &[Planted("CutsAreHidden")]),
    ("a newer form of the log", &[Test("suite", "refused_sinks::a_newer_form_of_the_log_is_refused")]),
    ("a stop in good order", &[Here("a stop in good order and a start")]),
    (
        "a loader dies while it loads",
        &[Test(
            "suite",
            "load::crashes::killed_again_and_again_while_it_follows_a_running_pipeline_the_table_equals_the_sink",
        )],
    ),
    (
        "the disk is full",
        &[Test("suite", "bad_places::a_full_disk_stops_the_run_with_a_clear_error_and_loses_nothing")],
    ),
];
