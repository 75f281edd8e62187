//! What would become of each record of the sample, by the engine itself.

use std::sync::Arc;

use super::doubts::doubts;
use crate::cli::status::counted;
use crate::cli::table::table;
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::decode::Decode;
use crate::engine::Engine;
use crate::error::Error;
use crate::log::entry::Counts;
use crate::query::Query;
use crate::record::{Offset, Record, Records, Timestamp};
use crate::source::Topic;

/// How many records are shown one by one; besides them, those that are not aggregated.
const SHOWN: usize = 10;
/// How many of those.
const SHOWN_OTHERS: usize = 10;

/// Shows it, and gives the engine that has taken them in.
pub(super) fn show(
    pipeline: &Pipeline,
    query: Arc<Query>,
    decoder: &mut dyn Decode,
    topic: &Topic,
    batches: &[Records],
    clock: Clock,
) -> Result<Engine, Error> {
    let mut engine = Engine::new(pipeline.window.clone(), query);
    for (&partition, bounds) in &topic.partitions {
        engine.add_partition(partition, bounds.start, true);
    }
    let (mut rows, mut others) = (Vec::new(), 0);
    let (mut total, mut left_out) = (0, 0);
    let mut ancient = None;
    // From the partitions in turn, so that the first ones shown are not all of one.
    let most = batches.iter().map(Records::len).max().unwrap_or(0);
    let in_turn =
        (0..most).flat_map(|at| batches.iter().filter_map(move |batch| (at < batch.len()).then_some((batch, at))));
    for (batch, at) in in_turn {
        let record = batch.get(at);
        let (is_aggregated, time, row) = outcome(pipeline, &mut engine, decoder, batch, record, clock)?;
        ancient = ancient.or(time.filter(|time| time.is_ancient()));
        total += 1;
        if total <= SHOWN || (!is_aggregated && others < SHOWN_OTHERS) {
            others += usize::from(!is_aggregated);
            rows.push(row);
        } else {
            left_out += 1;
        }
    }
    println!("\nthe first {}", counted(total as u64, "record"));
    print!("{}", table(&["  partition/offset", "event time", "window", "outcome"], &rows));
    if left_out > 0 {
        println!("  and {left_out} more");
    }
    let counts = engine.counts();
    println!(
        "\nof {total}: {} would be aggregated, {} filtered, {} too late, {} invalid",
        counts.aggregated,
        counts.filtered,
        counts.too_late,
        counts.invalid()
    );
    for doubt in doubts(pipeline, batches, counts, ancient) {
        println!("doubtful: {doubt}");
    }
    Ok(engine)
}

/// Whether one record is aggregated, its event time, and what becomes of it in words.
fn outcome(
    pipeline: &Pipeline,
    engine: &mut Engine,
    decoder: &mut dyn Decode,
    batch: &Records,
    record: Record<'_>,
    clock: Clock,
) -> Result<(bool, Option<Timestamp>, Vec<String>), Error> {
    let mut one = Records::new(batch.partition);
    one.push_with(record.offset, record.timestamp, record.key, record.value, record.headers.iter());
    let before: Counts = engine.counts().clone();
    let decoded = decoder.decode(one);
    engine.push(&decoded, clock.now())?;
    let after = engine.counts();
    let time = (!decoded.event_times.is_empty()).then(|| Timestamp(decoded.event_times.value(0)));
    let windows = &pipeline.window.windows;
    let window = time.and_then(|time| windows.holding(time).next());
    let others = if windows.is_hopping() { format!(" and {} more", windows.overlap() - 1) } else { String::new() };
    let is_aggregated = after.aggregated > before.aggregated;
    let text = if decoded.records.is_empty() {
        "left out: a delete".to_owned()
    } else if is_aggregated {
        "aggregated".to_owned()
    } else if after.filtered > before.filtered {
        "filtered by WHERE".to_owned()
    } else if after.too_late > before.too_late {
        "too late: to late/".to_owned()
    } else {
        engine.last_invalid().map_or_else(String::new, |kept| format!("invalid: {}", kept.reason.text))
    };
    let Offset(offset) = record.offset;
    let row = vec![
        format!("  {}/{offset}", batch.partition),
        time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        window.map_or_else(|| "-".to_owned(), |window| format!("{}{others}", window.start)),
        text,
    ];
    Ok((is_aggregated, time, row))
}
