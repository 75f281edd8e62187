//! Worlds: drawn from a seed, or written down small so that every fault can be tried at every request.

use crate::broker::{Body, Manner, Rec};
use crate::chance::Chance;
use crate::faults::{Fate, Faults};
use crate::plan::{Action, BEGIN, Plan, Shape, Sql};
use crate::time::{MILLI, SECOND};

/// How a partition's event times go on.
pub struct Pace {
    pub time: i64,
    pub step: i64,
    pub disorder: i64,
    pub keys: u64,
    pub serial: u64,
}

impl Pace {
    pub fn records(&mut self, count: i64, chance: &mut Chance, gaps: u64) -> Vec<Option<Rec>> {
        let mut records = Vec::new();
        for _ in 0..count {
            if chance.happens(gaps) {
                records.push(None);
            }
            self.time += chance.between(0, self.step);
            let body = match chance.below(40) {
                0 => Body::Future,
                1 => Body::Broken(u8::try_from(chance.below(4)).unwrap()),
                _ => {
                    let behind = match chance.below(10) {
                        0..=5 => 0,
                        6..=8 => chance.between(0, self.disorder),
                        _ => chance.between(0, self.disorder * 6),
                    };
                    let (key, value) = (u8::try_from(chance.below(self.keys)).unwrap(), chance.between(10, 20));
                    Body::Good { time: self.time - behind, key, value }
                }
            };
            self.serial += 1;
            records.push(Some(Rec { serial: self.serial, body }));
        }
        records
    }
}

pub fn shape(chance: &mut Chance) -> Shape {
    Shape {
        sql: chance.pick(&[Sql::Groups, Sql::Groups, Sql::Having, Sql::Rows]),
        early: chance.happens(500),
        size: chance.pick(&[5 * SECOND, 10 * SECOND, 60 * SECOND]),
        overlap: 1,
        delay: chance.pick(&[0, SECOND, 5 * SECOND]),
        lateness: chance.pick(&[0, 5 * SECOND, 20 * SECOND]),
        idle_timeout: chance.pick(&[SECOND, 10 * SECOND, 3600 * SECOND]),
        hold: chance.happens(300),
        commit_interval: chance.pick(&[SECOND, 5 * SECOND, 20 * SECOND]),
        late_interval: chance.pick(&[SECOND, 900 * SECOND]),
        late_size: chance.pick(&[1, 1 << 20]),
        accept_loss: chance.happens(500),
        memory: PLENTY,
        lines: false,
    }
}

/// Bytes for open windows that no world fills.
pub const PLENTY: u64 = 512 << 20;

/// So little memory that groups and rows are in the store alone, for some of the worlds. What HAVING runs over is spooled
/// and sorted, which needs some.
pub fn memory(seed: u64, sql: Sql) -> u64 {
    match (seed % 4, sql) {
        (0 | 1, _) | (_, Sql::Having) => PLENTY,
        (2, _) => 10_000,
        _ => 1,
    }
}

/// How many windows hold a record, in some of the worlds.
pub fn overlap(seed: u64) -> i64 {
    match seed % 7 {
        3 => 5,
        5 => 2,
        _ => 1,
    }
}

pub fn manner(chance: &mut Chance) -> Manner {
    Manner {
        batch: chance.pick(&[1, 5, 50]),
        again_per_mille: chance.pick(&[0, 100, 400]),
        latency: chance.pick(&[0, 50 * MILLI, 2 * SECOND]),
        tells_ends: chance.happens(700),
        from_middle: chance.happens(100),
    }
}

pub fn faults(chance: &mut Chance) -> Faults {
    let mut faults = Faults { latency: chance.pick(&[0, 10 * MILLI, 300 * MILLI]), ..Faults::default() };
    faults.listing_lags = chance.happens(300);
    if chance.happens(200) {
        faults.disk = true;
        return faults;
    }
    // Half of the kinds are off in a world, the rest rare or common.
    for kind in 1..11 {
        let share = if kind > 6 { chance.pick(&[1, 3, 8]) } else { chance.pick(&[5, 20, 80]) };
        faults.per_mille[kind] = if chance.happens(500) { share } else { 0 };
    }
    faults
}

/// A world of this seed: which faults it has, how strong, and when.
pub fn random(seed: u64) -> Plan {
    let mut chance = Chance::new(seed ^ 0x5eed);
    let mut shape = shape(&mut chance);
    (shape.memory, shape.overlap) = (memory(seed, shape.sql), overlap(seed));
    let manner = manner(&mut chance);
    let faults = faults(&mut chance);
    let lanes = usize::try_from(chance.between(1, 3)).unwrap();
    let lasts = chance.pick(&[20, 60, 120]) * SECOND;
    let gaps = chance.pick(&[0, 50, 200]);
    let mut script: Vec<(i64, Action)> = Vec::new();
    let (mut later, mut gone, mut cut) = (None, false, false);
    let mut paces: Vec<Pace> = (0..4)
        .map(|lane| Pace {
            time: BEGIN + chance.between(0, 10) * SECOND,
            step: chance.pick(&[SECOND / 2, 2 * SECOND, 6 * SECOND]),
            disorder: shape.delay.max(SECOND) * chance.pick(&[1, 2, 4]),
            keys: chance.pick(&[1, 2, 4]),
            serial: lane * 1_000_000,
        })
        .collect();
    let at = |chance: &mut Chance| chance.between(0, lasts / MILLI) * MILLI;
    for (lane, pace) in paces.iter_mut().enumerate().take(lanes) {
        let bursts = chance.between(1, 5);
        let mut times: Vec<i64> = (0..bursts).map(|_| at(&mut chance)).collect();
        times[0] = if chance.happens(600) { 0 } else { times[0] };
        times.sort_unstable();
        for time in times {
            let count = chance.between(1, 12);
            script.push((time, Action::Append(lane, pace.records(count, &mut chance, gaps))));
        }
    }
    if chance.happens(250) {
        let time = at(&mut chance);
        script.push((time, Action::AddLane));
        let count = chance.between(1, 12);
        later = Some((time + chance.between(0, 20) * SECOND, paces[lanes].records(count, &mut chance, gaps)));
    }
    if chance.happens(120) {
        gone = true;
        let (lane, keep) = (chance.below(lanes as u64), chance.between(0, 6));
        script.push((at(&mut chance), Action::Retain(usize::try_from(lane).unwrap(), keep)));
    } else if chance.happens(120) {
        cut = true;
        let lane = usize::try_from(chance.below(lanes as u64)).unwrap();
        let mut pace = Pace { serial: 500_000 + lane as u64 * 1_000_000, ..Pace { ..paces.swap_remove(lane) } };
        let (back, count) = (chance.between(1, 6), chance.between(1, 10));
        script.push((at(&mut chance), Action::Truncate(lane, back, pace.records(count, &mut chance, 0))));
    }
    if let Some((time, records)) = later {
        script.push((time, Action::Append(lanes, records)));
    }
    if chance.happens(300) {
        for _ in 0..chance.between(1, 2) {
            let from = at(&mut chance);
            script.push((from, Action::Broker(true)));
            script.push((from + chance.between(1, 40) * SECOND, Action::Broker(false)));
        }
    }
    if chance.happens(200) && !faults.disk {
        let from = at(&mut chance);
        script.push((from, Action::Outage(true)));
        script.push((from + chance.between(1, 60) * SECOND, Action::Outage(false)));
    }
    let deaths = chance.pick(&[0, 0, 1, 3, 6]);
    for _ in 0..deaths {
        let time = at(&mut chance);
        let pick = chance.number() >> 1;
        let action = match chance.below(10) {
            0..=3 => Action::Crash(pick),
            4..=5 => Action::Freeze(pick, chance.between(1, 200) * SECOND),
            6..=7 => Action::Stop(pick),
            8 => Action::PowerCut,
            _ => Action::Once(chance.happens(500)),
        };
        script.push((time, action));
    }
    if faults.disk {
        for _ in 0..chance.between(1, 4) {
            // At any microsecond: in the middle of a request.
            script.push((chance.between(0, lasts), Action::PowerCut));
        }
    }
    let may_stop = cut || (gone && !shape.accept_loss);
    let hosts = if faults.disk { 1 } else { chance.pick(&[1, 1, 2, 3]) };
    Plan {
        seed,
        manner,
        faults,
        script,
        calm_at: lasts + chance.between(0, 60) * SECOND,
        wanted: usize::try_from(chance.pick(&[1, 1, 2, 3])).unwrap(),
        hosts,
        skew: chance.pick(&[0, 0, 2 * SECOND, 60 * SECOND, 86_400 * SECOND]),
        lanes,
        shared: false,
        may_stop,
        plant: None,
        shape,
    }
}

/// A world of one to five instances that share the topic: partitions move between them at any moment, and an instance
/// that was frozen goes on with what is no longer its own.
pub fn shared(seed: u64) -> Plan {
    let mut plan = random(seed);
    let mut chance = Chance::new(seed ^ 0x9a0b);
    plan.shared = true;
    plan.wanted = usize::try_from(chance.between(1, 5)).unwrap();
    // Of a machine's disk all instances see what is not yet safe; a store answers when it is.
    plan.faults.disk = false;
    plan.script.retain(|(_, action)| !matches!(action, Action::PowerCut));
    let lasts = plan.calm_at;
    for _ in 0..chance.pick(&[0, 2, 8, 20]) {
        let pick = chance.number() >> 1;
        let action = match chance.below(10) {
            0..=4 => Action::Shuffle,
            5..=6 => Action::Crash(pick),
            7..=8 => Action::Freeze(pick, chance.between(1, 100) * SECOND),
            _ => Action::Stop(pick),
        };
        plan.script.push((chance.between(0, lasts), action));
    }
    plan
}

/// A pair of worlds over the same topic: nothing is idle, so every schedule must give the same files.
pub fn same_topic(seed: u64) -> (Plan, Plan) {
    let mut first = random(seed);
    first.script.retain(|(_, action)| !matches!(action, Action::Retain(..) | Action::Truncate(..) | Action::AddLane));
    first.script.retain(|(_, action)| !matches!(action, Action::Append(lane, _) if *lane >= first.lanes));
    first.may_stop = false;
    // Every partition has records from the first moment, so that none is new when windows move on.
    (first.manner.tells_ends, first.manner.from_middle) = (false, false);
    let other = random(seed ^ 0xffff_ffff);
    let mut second = first.clone();
    second.seed = other.seed;
    (second.faults, second.wanted, second.hosts) = (other.faults.clone(), other.wanted, other.hosts);
    second.manner = Manner { tells_ends: false, from_middle: false, ..other.manner };
    second.shape.commit_interval = other.shape.commit_interval;
    second.shape.memory = memory(other.seed, second.shape.sql);
    second.calm_at = first.calm_at.max(other.calm_at);
    first.calm_at = second.calm_at;
    second.script.retain(|(_, action)| matches!(action, Action::Append(..)));
    let deaths = |action: &Action| {
        let of_topic =
            matches!(action, Action::Append(..) | Action::Retain(..) | Action::Truncate(..) | Action::AddLane);
        // A run that closes all windows cuts them where it stands.
        !of_topic && !matches!(action, Action::Once(true))
    };
    first.script.retain(|(_, action)| !matches!(action, Action::Once(true)));
    second.script.extend(other.script.into_iter().filter(|(_, action)| deaths(action)));
    (first, second)
}

/// A small world's name, and how to write it down.
pub type Small = (&'static str, fn() -> Plan);

/// Small worlds. Nothing in them is left to chance but the order of what happens at once.
pub const SMALL: [Small; 11] = [
    ("one window closes by its own records", one_window),
    ("a first result and its correction", early_and_correction),
    ("windows share their panes", hopping),
    ("late and invalid records get their files", kept),
    ("rows wait in the state over two commits", rows),
    ("groups wait in runs over two commits", runs),
    ("a standby on another host", standby),
    ("two start at once", two_at_once),
    ("a stop in good order and a start", stop_and_start),
    ("a quiet topic closes by the clock", quiet),
    ("two go on where both died", two_go_on),
];

pub fn calm(name: u64) -> Plan {
    Plan {
        seed: name,
        shape: Shape {
            sql: Sql::Groups,
            early: false,
            size: 10 * SECOND,
            overlap: 1,
            delay: 0,
            lateness: 0,
            idle_timeout: 3600 * SECOND,
            hold: true,
            commit_interval: SECOND,
            late_interval: 900 * SECOND,
            late_size: 1 << 20,
            accept_loss: false,
            memory: PLENTY,
            lines: false,
        },
        manner: Manner { batch: 50, again_per_mille: 0, latency: 0, tells_ends: false, from_middle: false },
        faults: Faults::default(),
        script: Vec::new(),
        calm_at: 20 * SECOND,
        wanted: 1,
        hosts: 1,
        skew: 0,
        lanes: 1,
        shared: false,
        may_stop: false,
        plant: None,
    }
}

/// Records at these seconds, with the second itself as value; below zero: one that cannot be read.
pub fn at(seconds: &[i64]) -> Vec<Option<Rec>> {
    let rec = |(serial, &second): (u64, &i64)| {
        let body = if second < 0 {
            Body::Broken(1)
        } else {
            Body::Good { time: BEGIN + second * SECOND, key: u8::try_from(second % 3).unwrap(), value: second + 20 }
        };
        // The place in the script tells records of one second apart.
        Some(Rec { serial: serial + 1000 * second.unsigned_abs(), body })
    };
    (0u64..).zip(seconds).map(rec).collect()
}

fn one_window() -> Plan {
    let script = vec![(0, Action::Append(0, at(&[1, 2, 3]))), (3 * SECOND, Action::Append(0, at(&[11, 12])))];
    Plan { script, ..calm(1) }
}

/// Windows of ten seconds, one every five: a late record is in one of its two windows, and corrects its first result.
fn hopping() -> Plan {
    let mut plan = calm(11);
    (plan.shape.early, plan.shape.lateness, plan.shape.overlap) = (true, 5 * SECOND, 2);
    plan.script = vec![
        (0, Action::Append(0, at(&[1, 7, 11, 4]))),
        (3 * SECOND, Action::Append(0, at(&[16, 4, 9, 1, 21]))),
        (6 * SECOND, Action::Append(0, at(&[31, 60]))),
    ];
    plan
}

fn early_and_correction() -> Plan {
    let mut plan = calm(2);
    (plan.shape.early, plan.shape.lateness) = (true, 10 * SECOND);
    plan.script = vec![
        (0, Action::Append(0, at(&[1, 2, 11]))),
        (3 * SECOND, Action::Append(0, at(&[4, 12]))),
        (5 * SECOND, Action::Append(0, at(&[31]))),
    ];
    plan
}

fn kept() -> Plan {
    let mut plan = calm(3);
    plan.shape.late_size = 1;
    plan.script = vec![
        (0, Action::Append(0, at(&[1, -1, 11]))),
        (3 * SECOND, Action::Append(0, at(&[2, 12]))),
        (6 * SECOND, Action::Append(0, at(&[3, 13]))),
    ];
    plan
}

fn rows() -> Plan {
    let mut plan = calm(4);
    plan.shape.sql = Sql::Rows;
    plan.lanes = 2;
    plan.script = vec![
        (0, Action::Append(0, at(&[1, 2]))),
        (0, Action::Append(1, at(&[3]))),
        (3 * SECOND, Action::Append(0, at(&[4, 11]))),
        (6 * SECOND, Action::Append(1, at(&[5, 12]))),
    ];
    plan
}

fn runs() -> Plan {
    let mut plan = rows();
    (plan.seed, plan.shape.sql, plan.shape.memory) = (12, Sql::Groups, 1);
    plan
}

fn standby() -> Plan {
    let mut plan = one_window();
    (plan.seed, plan.wanted, plan.hosts) = (5, 2, 2);
    plan.script.push((8 * SECOND, Action::Crash(0)));
    plan.script.push((9 * SECOND, Action::Append(0, at(&[21, 22]))));
    plan
}

fn two_at_once() -> Plan {
    let mut plan = one_window();
    (plan.seed, plan.wanted) = (6, 2);
    plan.script.push((5 * SECOND, Action::Append(0, at(&[21, 22]))));
    plan
}

fn stop_and_start() -> Plan {
    let mut plan = one_window();
    plan.seed = 7;
    plan.script.push((2 * SECOND, Action::Stop(0)));
    plan
}

fn quiet() -> Plan {
    let mut plan = one_window();
    plan.seed = 8;
    (plan.shape.idle_timeout, plan.shape.hold, plan.manner.tells_ends) = (SECOND, false, true);
    plan.calm_at = 40 * SECOND;
    plan
}

fn two_go_on() -> Plan {
    let mut plan = rows();
    (plan.seed, plan.wanted) = (9, 2);
    plan.shape.sql = Sql::Groups;
    plan.script.push((4 * SECOND, Action::PowerCut));
    plan.script.push((15 * SECOND, Action::Append(0, at(&[21, 22]))));
    plan
}

/// A window whose groups HAVING leaves out once its late record is in, first result and correction in one commit.
pub fn correction_without_rows() -> Plan {
    let mut plan = calm(10);
    (plan.shape.sql, plan.shape.early, plan.shape.lateness) = (Sql::Having, true, 10 * SECOND);
    plan.script = vec![(0, Action::Append(0, at(&[1, 4, 11, 7, 41])))];
    plan
}

/// A topic that is cut below what was counted and written on, read by a source that delivers records again.
pub fn cut_and_read_again() -> Plan {
    let mut plan = calm(11);
    plan.manner.again_per_mille = 1000;
    plan.may_stop = true;
    let more: Vec<i64> = (20..32).collect();
    plan.script = vec![
        (0, Action::Append(0, at(&[1, 2, 3, 4, 5, 6, 7, 8]))),
        (3 * SECOND, Action::Crash(0)),
        (3 * SECOND, Action::Truncate(0, 4, at(&more))),
    ];
    plan
}

/// What is tried at every request of a small world.
pub const SINGLE: [Fate; 10] = [
    Fate::Before,
    Fate::Lost,
    Fate::Late(SECOND),
    Fate::Late(150 * SECOND),
    Fate::Twice(5 * SECOND),
    Fate::Conflict,
    Fate::CrashBefore,
    Fate::CrashAfter,
    Fate::FreezeBefore(120 * SECOND),
    Fate::FreezeAfter(120 * SECOND),
];
