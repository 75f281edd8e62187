//! What a sample gives reason to doubt: a column that no record has, times of another unit, most records invalid.

use crate::config::Pipeline;
use crate::decode::column::{Column, ColumnType, TimestampForm};
use crate::log::entry::Counts;
use crate::record::{Records, Timestamp};

/// Records whose members are looked at.
const LOOKED_AT: usize = 100;
/// Members that are named where none is near.
const NAMED: usize = 12;

/// Words for a person who may have misspelt a name or mistaken a unit; none if all is as one expects.
pub(super) fn doubts(
    pipeline: &Pipeline,
    batches: &[Records],
    counts: &Counts,
    ancient: Option<Timestamp>,
) -> Vec<String> {
    let mut doubts = Vec::new();
    if counts.invalid() * 2 > counts.read {
        let most = counts.invalid.iter().max_by_key(|(_, count)| **count);
        let (class, count) = most.map_or(("", 0), |(class, count)| (class.as_str(), *count));
        doubts.push(format!(
            "most of these records are invalid, {count} of {} by {class}: a run would keep them under invalid/",
            counts.read
        ));
    }
    if pipeline.format.name == "json" {
        doubts.extend(strangers(&pipeline.columns.declared, batches));
    }
    if let Some(time) = ancient {
        let event_time = pipeline.columns.declared.iter().find(|column| column.name == pipeline.columns.event_time);
        let finer = event_time.and_then(|column| match column.kind {
            ColumnType::Timestamp(TimestampForm::EpochMillis) => Some("timestamp(s)"),
            ColumnType::Timestamp(TimestampForm::EpochMicros) => Some("timestamp(ms)"),
            _ => None,
        });
        let cure = finer.map_or_else(
            || "look at the producer's clock".to_owned(),
            |kind| format!("is the unit right? declare \"{kind}\""),
        );
        doubts.push(format!("event times are before 1980, such as {time}: {cure}"));
    }
    doubts
}

/// Columns whose member no record has, with the nearest that they have.
fn strangers(declared: &[Column], batches: &[Records]) -> Vec<String> {
    let values = batches.iter().flat_map(Records::iter).filter_map(|record| record.value).take(LOOKED_AT);
    let objects: Vec<serde_json::Value> =
        values.filter_map(|value| serde_json::from_slice(value).ok()).filter(serde_json::Value::is_object).collect();
    let mut doubts = Vec::new();
    for column in declared.iter().filter(|_| !objects.is_empty()) {
        for depth in 0..column.path.len() {
            let member = &column.path[depth];
            let around = objects.iter().filter_map(|object| {
                column.path[..depth].iter().try_fold(object, |value, name| value.get(name))?.as_object()
            });
            let around: Vec<_> = around.collect();
            if around.is_empty() || around.iter().any(|object| object.contains_key(member)) {
                continue;
            }
            let mut names: Vec<&str> = Vec::new();
            for name in around.iter().flat_map(|object| object.keys()) {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
            let hint = match crate::config::near::nearest(member, names.iter().copied()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => {
                    let more = if names.len() > NAMED { ", …" } else { "" };
                    names.truncate(NAMED);
                    format!("they have {}{more}", names.join(", "))
                }
            };
            doubts.push(format!("column {}: no record has the member \"{member}\"; {hint}", column.name));
        }
    }
    doubts
}
