//! The status page, and what it shows.

use serde_json::{Value, json};

use super::behind::BOUNDS;
use super::seen::Seen;
use crate::record::Timestamp;

/// The page: one document without any other resource.
pub(super) const HTML: &str = include_str!("page.html");

/// What the page shows. Times are milliseconds since the epoch, as browsers count; spans are microseconds.
pub(super) fn status(seen: &Seen) -> Value {
    let time = |time: Timestamp| time.0.div_euclid(1000);
    let detail = seen.detail.as_ref();
    let lags: std::collections::BTreeMap<_, _> = seen.lags().collect();
    let delay = seen.pipeline.window.watermark_delay;
    let holding = seen.holding();
    let partitions: Vec<Value> = detail
        .iter()
        .flat_map(|detail| &detail.partitions)
        .map(|(partition, view)| {
            json!({
                "id": partition, "position": view.position, "lag": lags.get(partition),
                "watermark": view.watermark.map(time), "idle": view.idle,
                "holds": holding.as_ref().is_some_and(|holding| holding.partition == *partition),
                "newest": view.watermark.map(|watermark| time(watermark.plus(delay))),
            })
        })
        .collect();
    let windows: Vec<Value> = detail
        .iter()
        .flat_map(|detail| &detail.windows)
        .map(|open| {
            json!({
                "start": time(open.window.start), "end": time(open.window.end), "records": open.records,
                "late": open.late, "published": open.published,
            })
        })
        .collect();
    let results: Vec<Value> = seen
        .results
        .iter()
        .map(|result| {
            json!({
                "start": time(result.window.start), "end": time(result.window.end), "at": time(result.at), "revision": result.revision,
                "rows": result.rows, "complete": result.complete, "sequence": result.sequence,
                "files": result.files,
            })
        })
        .collect();
    let commits: Vec<Value> = seen
        .recent
        .iter()
        .rev()
        .map(|commit| {
            json!({
                "sequence": commit.sequence, "time": time(commit.time), "read": commit.read, "files": commit.files,
                "commit": commit.took.commit, "publish": commit.took.publish,
            })
        })
        .collect();
    let counts = seen.counts();
    json!({
        "pipeline": seen.pipeline.name,
        "topic": seen.topic,
        "sink": seen.pipeline.sink.url,
        "version": env!("CARGO_PKG_VERSION"),
        "now": time(seen.now),
        "started": time(seen.started),
        "unready": seen.unready(),
        "wrong": seen.wrong(),
        "sequence": seen.sequence,
        "last_commit": seen.last_commit.map(time),
        "read": counts.read,
        "late": counts.late,
        "too_late": counts.too_late,
        "invalid": counts.invalid,
        "lag": detail.and_then(|detail| detail.view.lag),
        "watermark": detail.and_then(|detail| detail.view.watermark).map(time),
        "quiet": detail.is_some_and(|detail| detail.quiet),
        "open_windows": detail.map_or(0, |detail| detail.view.open_windows),
        "groups": detail.map_or(0, |detail| detail.groups),
        "state_bytes": detail.map_or(0, |detail| detail.state_bytes),
        "watermark_delay": delay,
        "allowed_lateness": seen.pipeline.window.allowed_lateness,
        "partitions": partitions,
        "windows": windows,
        "results": results,
        "commits": commits,
        "behind": {"bounds": BOUNDS[..BOUNDS.len() - 1], "steps": seen.behind.steps},
    })
}
