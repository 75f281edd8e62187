//! What was counted, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::spread::Spread;
use super::study::{Named, Study};
use crate::cli::table::table;
use crate::cli::terminal::{grouped, short};
use crate::telemetry::behind::{BOUNDS, step};
use crate::time::text::describe;

/// Shares of records, in parts of a million, and how they are called.
pub(super) const SHARES: [(u64, &str); 4] =
    [(990_000, "99%"), (999_000, "99.9%"), (999_900, "99.99%"), (1_000_000, "100%")];
/// The longest bar of the histogram.
const BAR: usize = 40;
const SECOND: i64 = 1_000_000;

/// A delay as one would write it: whole seconds, and from ten minutes on whole minutes, never less than asked for.
pub(in crate::cli) fn rounded(micros: i64) -> i64 {
    let unit = if micros > 600 * SECOND { 60 * SECOND } else { SECOND };
    micros.checked_add(unit - 1).map_or(micros, |above| above / unit * unit)
}

/// What a bin is called.
pub(super) fn bin_name(bin: usize) -> String {
    match bin {
        0 => "in order".to_owned(),
        bin if bin == BOUNDS.len() - 1 => format!("> {}", short(BOUNDS[bin - 1])),
        bin => format!("≤ {}", short(BOUNDS[bin])),
    }
}

/// The bins from the first to the last that hold anything.
pub(super) fn shown_bins(spread: &Spread) -> std::ops::Range<usize> {
    let last = spread.bins.iter().rposition(|count| *count > 0).unwrap_or(0);
    0..last + 1
}

/// A report for the terminal.
pub(super) fn text(study: &Study) -> String {
    let all = study.all();
    let mut out =
        format!("topic {}: {} records of {} partitions", study.topic, grouped(all.read), study.partitions.len());
    if let (Some(oldest), Some(newest)) = (all.oldest, all.newest) {
        let _ = write!(out, ", event times {oldest} to {newest}");
    }
    out += "\n";
    if all.behind.count == 0 {
        out += "\nno record with an event time\n";
        impossible(&mut out, study);
        return out;
    }
    out += "\nhow far records come behind the newest of their own partition\n";
    histogram(&mut out, &all.behind, study);
    let rows: Vec<Vec<String>> = study
        .partitions
        .iter()
        .map(|(partition, counted)| {
            let share = |share| short(counted.behind.keeping(share));
            let median = share(500_000);
            vec![
                format!("  {partition}"),
                grouped(counted.read),
                median,
                share(990_000),
                share(999_000),
                share(999_900),
                short(counted.behind.most),
                grouped(counted.late),
                grouped(counted.too_late),
            ]
        })
        .collect();
    out += "\nby partition: at most this far behind\n";
    out +=
        &table(&["  partition", "records>", "half>", "99%>", "99.9%>", "99.99%>", "all>", "late>", "too late>"], &rows);
    out += "\nwhich watermark_delay keeps how many on time, in this pipeline's windows\n";
    let rows: Vec<Vec<String>> = SHARES
        .iter()
        .map(|(share, name)| {
            let needed = rounded(study.needed.keeping(*share));
            vec![format!("  {name}"), format!("\"{}\"", describe(needed)), short(all.behind.keeping(*share))]
        })
        .collect();
    out += &table(&["  share", "watermark_delay", "behind at most>"], &rows);
    let _ = writeln!(
        out,
        "\nwith watermark_delay \"{}\" and allowed_lateness \"{}\" as they are: {} on time, {} late, {} too late",
        describe(study.window.watermark_delay),
        describe(study.window.allowed_lateness),
        percent(all.behind.count - all.late - all.too_late, all.behind.count),
        counted(all.late, all.behind.count),
        counted(all.too_late, all.behind.count)
    );
    impossible(&mut out, study);
    out
}

fn histogram(out: &mut String, behind: &Spread, study: &Study) {
    let most = behind.bins.iter().copied().max().unwrap_or(1).max(1);
    let (delay, beyond) = (study.window.watermark_delay, study.window.allowed_lateness);
    for bin in shown_bins(behind) {
        let count = behind.bins[bin];
        let mut notes = Vec::new();
        if bin == step(delay) {
            notes.push("watermark_delay");
        }
        if bin == step(delay.saturating_add(beyond)) {
            notes.push("watermark_delay + allowed_lateness");
        }
        let note = if notes.is_empty() { String::new() } else { format!("  ◂ {}", notes.join(", ")) };
        let line = format!(
            "  {:>8}  {:>13}  {:>8}  {}{note}",
            bin_name(bin),
            grouped(count),
            percent(count, behind.count),
            bar(count, most)
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push_str("  (the bars' scale is logarithmic)\n");
}

/// A bar whose length grows with the logarithm of the count: ten among a million are seen, too.
fn bar(count: u64, most: u64) -> String {
    if count == 0 {
        return String::new();
    }
    let length = ((count as f64).ln_1p() / (most as f64).ln_1p() * (BAR * 8) as f64).round().max(1.0) as usize;
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    format!("{}{}", "█".repeat(length / 8), EIGHTHS[length % 8])
}

fn percent(part: u64, all: u64) -> String {
    let share = part as f64 * 100.0 / all.max(1) as f64;
    // A share that is not all is never told as all.
    let digits = if part == all || part == 0 {
        0
    } else if !(1.0..99.0).contains(&share) {
        4
    } else {
        1
    };
    let text = format!("{share:.digits$}");
    let text = if part < all && text.starts_with("100") { "99.9999".to_owned() } else { text };
    if part > 0 && text == "0.0000" { "<0.0001%".to_owned() } else { format!("{text}%") }
}

fn counted(part: u64, all: u64) -> String {
    if part == 0 { "0".to_owned() } else { format!("{} ({})", grouped(part), percent(part, all)) }
}

/// Records whose times, or whole selves, cannot be right.
fn impossible(out: &mut String, study: &Study) {
    if study.invalid.is_empty() && study.ancient.count == 0 {
        return;
    }
    let all: u64 = study.invalid.values().map(|named| named.count).sum();
    if all > 0 {
        let _ = writeln!(out, "\n{} records are invalid and in none of the counts above", grouped(all));
    }
    let mut tell = |what: &str, named: &Named| {
        let _ = writeln!(out, "  {what}: {}", grouped(named.count));
        for (partition, offset, text) in &named.first {
            let _ = writeln!(out, "    {}/{partition}/{offset}  {text}", study.topic);
        }
    };
    for (reason, named) in &study.invalid {
        tell(reason, named);
    }
    if study.ancient.count > 0 {
        out.push_str(
            "\nevent times before 1980, which are accepted: a clock never set, or seconds read as milliseconds\n",
        );
        let mut tell = |named: &Named| {
            let _ = writeln!(out, "  {}", grouped(named.count));
            for (partition, offset, text) in &named.first {
                let _ = writeln!(out, "    {}/{partition}/{offset}  {text}", study.topic);
            }
        };
        tell(&study.ancient);
    }
}

/// The same for programs; durations in microseconds.
pub(super) fn json(study: &Study) -> Value {
    let all = study.all();
    let spread = |spread: &Spread| {
        let bins: Vec<Value> = shown_bins(spread)
            .map(|bin| json!({"at_most": (bin + 1 < BOUNDS.len()).then_some(BOUNDS[bin]), "records": spread.bins[bin]}))
            .collect();
        let shares: serde_json::Map<_, _> =
            SHARES.iter().map(|(share, name)| ((*name).to_owned(), json!(spread.keeping(*share)))).collect();
        json!({"records": spread.count, "most": spread.most, "at_most_by_share": shares, "bins": bins})
    };
    let named = |named: &Named| {
        let first: Vec<Value> = named
            .first
            .iter()
            .map(|(partition, offset, text)| json!({"partition": partition, "offset": offset, "detail": text}))
            .collect();
        json!({"records": named.count, "first": first})
    };
    let partitions: serde_json::Map<_, _> = study
        .partitions
        .iter()
        .map(|(partition, counted)| {
            let value = json!({
                "read": counted.read, "late": counted.late, "too_late": counted.too_late,
                "newest": counted.newest.map(|time| time.to_string()), "behind": spread(&counted.behind),
            });
            (partition.to_string(), value)
        })
        .collect();
    let delays: serde_json::Map<_, _> = SHARES
        .iter()
        .map(|(share, name)| {
            let needed = study.needed.keeping(*share);
            ((*name).to_owned(), json!({"microseconds": needed, "watermark_delay": describe(rounded(needed))}))
        })
        .collect();
    let invalid: serde_json::Map<_, _> =
        study.invalid.iter().map(|(reason, found)| (reason.clone(), named(found))).collect();
    json!({
        "pipeline": study.pipeline,
        "topic": study.topic,
        "time": study.now.to_string(),
        "read": all.read,
        "behind": spread(&all.behind),
        "on_time_by_watermark_delay": delays,
        "present": {
            "watermark_delay": study.window.watermark_delay,
            "allowed_lateness": study.window.allowed_lateness,
            "on_time": all.behind.count - all.late - all.too_late,
            "late": all.late,
            "too_late": all.too_late,
        },
        "partitions": partitions,
        "invalid": invalid,
        "before_1980": named(&study.ancient),
    })
}
