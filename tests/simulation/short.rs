//! Short worlds: some seconds, a few records, a death or two. So many of them can be tried that the rare meeting of two
//! faults in one commit is met, which long worlds would take hours for.

use crate::broker::Manner;
use crate::chance::Chance;
use crate::plan::{Action, BEGIN, Plan};
use crate::scenarios::{Pace, calm, faults, memory, shape};
use crate::time::{MILLI, SECOND};

/// A short world of this seed.
pub fn short(seed: u64) -> Plan {
    let mut chance = Chance::new(seed ^ 0x5a11);
    let mut shape = shape(&mut chance);
    shape.memory = memory(seed, shape.sql);
    shape.lines = true;
    shape.size = chance.pick(&[2 * SECOND, 5 * SECOND]);
    shape.lateness = chance.pick(&[0, 2 * SECOND]);
    shape.commit_interval = chance.pick(&[SECOND, 3 * SECOND]);
    let faults = faults(&mut chance);
    let lanes = usize::try_from(chance.between(1, 2)).unwrap();
    let lasts = chance.between(3, 8) * SECOND;
    let mut script: Vec<(i64, Action)> = Vec::new();
    for lane in 0..lanes {
        let mut pace = Pace { time: BEGIN, step: SECOND, disorder: SECOND, keys: 2, serial: lane as u64 * 1_000_000 };
        for at in [0, lasts / 2].into_iter().take(usize::try_from(chance.between(1, 2)).unwrap()) {
            let count = chance.between(1, 5);
            script.push((at, Action::Append(lane, pace.records(count, &mut chance, 50))));
        }
    }
    let pick = chance.number() >> 1;
    let death = match chance.below(8) {
        0..=2 => Some(Action::Crash(pick)),
        3 => Some(Action::Freeze(pick, chance.between(1, 150) * SECOND)),
        4 => Some(Action::Stop(pick)),
        5 => Some(Action::PowerCut),
        _ => None,
    };
    script.extend(death.map(|death| (chance.between(0, lasts), death)));
    Plan {
        shape,
        manner: Manner {
            batch: chance.pick(&[1, 50]),
            again_per_mille: chance.pick(&[0, 300]),
            latency: chance.pick(&[0, 50 * MILLI]),
            tells_ends: chance.happens(500),
            from_middle: false,
        },
        hosts: if faults.disk { 1 } else { chance.pick(&[1, 2]) },
        faults,
        script,
        calm_at: lasts,
        wanted: usize::try_from(chance.pick(&[1, 1, 1, 2])).unwrap(),
        lanes,
        ..calm(seed)
    }
}
