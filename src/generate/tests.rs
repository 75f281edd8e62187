use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;

use super::truth::{Cut, Sums, Truth, decimal};
use super::*;

const HOUR: i64 = arrival::HOUR;
const MESSY: Plan = Plan { partitions: 3, late: Share(20_000), broken: Share(10_000), ..Plan::RIDES };
const QUOTES: Plan = Plan { kind: Kind::Quotes, ..MESSY };

fn some(plan: Plan, count: usize) -> Vec<Generated> {
    Generator::new(plan).take(count).collect()
}

#[test]
fn the_same_seed_gives_the_same_records_and_another_seed_gives_others() {
    for plan in [MESSY, QUOTES] {
        assert_eq!(some(plan, 5000), some(plan, 5000));
        assert_ne!(some(plan, 5000), some(Plan { seed: 2, ..plan }, 5000));
    }
}

#[test]
fn a_seed_gives_these_bytes_in_every_version() {
    let digest = |plan| {
        let mut bytes = Vec::new();
        for record in some(plan, 1000) {
            bytes.extend_from_slice(&record.key);
            bytes.extend_from_slice(record.value.as_deref().unwrap_or(b"-"));
            bytes.extend_from_slice(format!("{} {}\n", record.partition, record.timestamp).as_bytes());
        }
        crate::sink::state::digest(&bytes)
    };
    // Whoever changes these breaks comparisons with records generated before, and says so in the changelog.
    assert_eq!(digest(MESSY), "c5bdde035d67dbb17a12c11c2032d9ab11db6bed80f7d97f29f57d8d2825a6f0");
    assert_eq!(digest(QUOTES), "e74fd371e3a3a248a3f815a005c1681de63123c940741b46feecfdae4a0480c5");
}

#[test]
fn a_ride_is_a_flat_object_of_about_300_bytes() {
    let rides = some(Plan::RIDES, 10_000);
    let bytes: usize = rides.iter().map(|ride| ride.value.as_ref().unwrap().len()).sum();
    assert!((270..330).contains(&(bytes / rides.len())), "{} bytes a ride", bytes / rides.len());
    let ids: std::collections::BTreeSet<_> = rides.iter().map(|ride| &ride.key).collect();
    assert_eq!(ids.len(), rides.len());
    for ride in rides {
        let value: Value = serde_json::from_slice(&ride.value.unwrap()).unwrap();
        assert_eq!(value["ride_id"].as_str().unwrap().as_bytes(), ride.key);
        let time = |name: &str| DateTime::parse_from_rfc3339(value[name].as_str().unwrap()).unwrap();
        assert!(time("pickup_at") < time("dropoff_at"));
        assert!(value["passengers"].as_u64().unwrap() >= 1);
    }
}

#[test]
fn records_span_the_time_asked_for_with_a_rhythm() {
    let plan = Plan::RIDES.spread(50_000, 24 * HOUR);
    let rides = some(plan, 50_000);
    let last = rides[49_999].timestamp * 1000 - plan.start.0;
    assert!((last - 24 * HOUR).abs() < HOUR / 10, "the last ride comes after {last} µs");
    let in_hour =
        |hour: i64| rides.iter().filter(|ride| (ride.timestamp * 1000 - plan.start.0).div_euclid(HOUR) == hour).count();
    assert!(in_hour(22) > 4 * in_hour(8));
    assert!(in_hour(8) > 100);
}

#[test]
fn late_and_broken_records_come_as_often_as_asked() {
    for plan in [MESSY, QUOTES] {
        let records = some(plan, 100_000);
        let broken = records.iter().filter(|record| record.truth.is_err()).count();
        assert!((800..1200).contains(&broken), "{broken} broken");
        let lag = |record: &Generated| record.timestamp * 1000 - record.truth.unwrap().event_time.0;
        let readable: Vec<_> = records.iter().filter(|record| record.truth.is_ok()).collect();
        let late = readable.iter().filter(|record| lag(record) > 600_000_000).count();
        assert!((1600..2400).contains(&late), "{late} late");
        assert!(readable.iter().all(|record| (0..=6 * HOUR + HOUR / 2).contains(&lag(record))));
        for partition in 0..3 {
            let share = records.iter().filter(|record| record.partition == Partition(partition)).count();
            assert!((25_000..42_000).contains(&share), "{share} in partition {partition}");
        }
    }
    assert!(some(Plan::RIDES, 10_000).iter().all(|record| record.truth.is_ok()));
}

#[test]
fn a_broken_record_is_broken_as_it_says_and_any_other_is_whole() {
    for plan in [MESSY, QUOTES] {
        let (time, amount) = (plan.kind.event_time(), plan.kind.amount());
        let mut seen = BTreeMap::new();
        for record in some(Plan { broken: Share(100_000), ..plan }, 10_000) {
            let json = record.value.as_ref().map(|bytes| serde_json::from_slice::<Value>(bytes));
            let whole = |value: &Value| {
                (value[time].is_u64() || value[time].as_str().is_some_and(|text| text.ends_with('Z')))
                    && value[amount].is_f64()
            };
            match (record.truth, json) {
                (Ok(_), Some(Ok(value))) => assert!(whole(&value), "{value}"),
                (Err(Broken::Tombstone), None) | (Err(Broken::Truncated), Some(Err(_))) => {}
                (Err(Broken::Missing), Some(Ok(value))) => {
                    assert!(value.get(time).is_none() != value.get(amount).is_none(), "{value}");
                }
                (Err(Broken::Mistyped), Some(Ok(value))) => {
                    assert!((value[time] == "unknown") != (value[amount] == "unknown"), "{value}");
                }
                (truth, json) => panic!("{truth:?}: {json:?}"),
            }
            if let Err(broken) = record.truth {
                *seen.entry(broken).or_insert(0) += 1;
            }
        }
        assert!(seen.len() == 4 && seen.values().all(|&count| count > 150), "{seen:?}");
    }
}

/// Window start in microseconds, group, sum and count, from the JSON alone.
fn recomputed(plan: Plan, records: &[Generated]) -> BTreeMap<(i64, String), (i128, u64)> {
    let mut sums = BTreeMap::new();
    for record in records {
        let Some(Ok(value)) = record.value.as_ref().map(|bytes| serde_json::from_slice::<Value>(bytes)) else {
            continue;
        };
        let time = match &value[plan.kind.event_time()] {
            Value::Number(seconds) => seconds.as_i64().unwrap() * 1_000_000,
            Value::String(text) => match DateTime::parse_from_rfc3339(text) {
                Ok(time) => time.timestamp_micros(),
                Err(_) => continue,
            },
            _ => continue,
        };
        let Some(amount) = value[plan.kind.amount()].as_f64() else { continue };
        let group = value[plan.kind.group()].as_str().unwrap().to_owned();
        let sum = sums.entry((time.div_euclid(HOUR) * HOUR, group)).or_insert((0, 0));
        sum.0 += (amount * 100.0).round() as i128;
        sum.1 += 1;
    }
    sums
}

#[test]
fn without_tombstones_every_record_has_a_value_and_all_others_are_the_same() {
    let with = some(MESSY, 10_000);
    let without = some(Plan { tombstones: false, ..MESSY }, 10_000);
    for (with, without) in with.iter().zip(&without) {
        match with.truth {
            Err(Broken::Tombstone) => assert_eq!((without.truth, &without.key), (Err(Broken::Truncated), &with.key)),
            _ => assert_eq!(with, without),
        }
    }
    assert!(without.iter().all(|record| record.value.is_some()));
    assert!(with.iter().any(|record| record.value.is_none()));
}

#[test]
fn the_truth_equals_a_recomputation_from_the_json() {
    for plan in [MESSY, QUOTES] {
        let records = some(plan.per_hour(5000), 40_000);
        let mut truth = Truth::new(plan.kind, HOUR, None);
        records.iter().for_each(|record| truth.add(record));
        let rows = truth.rows();
        let rows = rows.iter().map(|((start, name), sums)| ((start.0, (*name).to_owned()), (sums.amount, sums.count)));
        assert_eq!(rows.collect::<BTreeMap<_, _>>(), recomputed(plan, &records));
        assert_eq!(truth.tally().counted(), truth.rows().values().map(|sums| sums.count).sum::<u64>());
        assert_eq!(truth.tally().too_late, 0);
    }
}

#[test]
fn the_truth_leaves_out_what_comes_too_late_for_its_own_partition() {
    let cut = Cut { watermark_delay: HOUR / 6, allowed_lateness: 2 * HOUR };
    let mut truth = Truth::new(Kind::Rides, HOUR, Some(cut));
    let mut add = |partition, minute: i64| {
        truth.add(&Generated {
            partition: Partition(partition),
            key: Vec::new(),
            value: None,
            timestamp: 0,
            truth: Ok(Fact { event_time: Timestamp(minute * 60_000_000), group: 0, amount: 125 }),
        });
    };
    add(0, 69); // watermark 0:59
    add(0, 10); // on time
    add(0, 70); // watermark 1:00
    add(0, 10); // late
    add(0, 189); // watermark 2:59
    add(0, 59); // late
    add(0, 190); // watermark 3:00
    add(0, 59); // too late
    add(1, 59); // on time: another partition
    assert_eq!((truth.tally().late, truth.tally().too_late, truth.tally().counted()), (2, 1, 8));
    let first = truth.rows()[&(Timestamp(0), Kind::Rides.group_name(0))];
    assert_eq!(first, Sums { count: 4, amount: 500, least: 125, greatest: 125 });
}

#[test]
fn the_truth_is_written_as_csv_with_exact_sums() {
    let mut truth = Truth::new(Kind::Rides, HOUR, None);
    some(Plan::RIDES, 1000).iter().for_each(|record| truth.add(record));
    let mut csv = Vec::new();
    truth.write_csv(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    let rows: Vec<&str> = csv.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rows[0], "window_start,pickup_location,revenue,rides");
    assert_eq!(rows.len(), truth.rows().len() + 1);
    let ((start, name), sums) = truth.rows().into_iter().next().unwrap();
    assert_eq!(rows[1], format!("{start},{name},{},{}", decimal(sums.amount), sums.count));
    assert!(csv.contains("# records 1000, counted below 1000, broken 0\n"), "{csv}");
}
