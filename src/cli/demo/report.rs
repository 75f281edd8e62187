//! The demo's last page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use chrono::{DateTime, Timelike};

use super::chart::Style;
use super::folder::Folder;
use super::result::compare;
use super::{HOUR, Outcome};
use crate::cli::table::table;
use crate::cli::terminal::grouped;
use crate::error::Error;
use crate::generate::truth::decimal;
use crate::record::Timestamp;

/// Zones shown.
const TOP: usize = 5;
/// The longest bar.
const ROOM: usize = 48;

/// The page; it says that the result is right only if it is.
///
/// # Errors
/// If the result is not the truth.
pub(super) fn report(outcome: &Outcome, folder: &Folder, program: &str, style: Style) -> Result<String, Error> {
    let published = &outcome.published;
    compare(&outcome.truth, published, &outcome.entry.totals)?;
    let mut hours: BTreeMap<Timestamp, (i128, u64)> = BTreeMap::new();
    let mut zones: BTreeMap<&str, (i128, u64)> = BTreeMap::new();
    for ((start, zone), &(revenue, rides)) in &published.rows {
        for sum in [hours.entry(*start).or_default(), zones.entry(zone).or_default()] {
            *sum = (sum.0 + revenue, sum.1 + rides);
        }
    }
    let mut text = format!("\n{}\n\n", style.strong(&title(&hours)));
    text += &by_hour(&hours, style);
    text += &format!("\n{}\n\n{}", style.strong("Busiest pickup zones of the day"), busiest(zones));
    text += &format!("\n{}\n", what_became(outcome, folder));
    text += &what_next(folder, program, style);
    Ok(text)
}

fn title(hours: &BTreeMap<Timestamp, (i128, u64)>) -> String {
    let day = hours.keys().next().map(Timestamp::to_string).unwrap_or_default();
    format!(
        "Revenue per hour from {} on (UTC), read back from the published files",
        day.split('T').next().unwrap_or("")
    )
}

fn by_hour(hours: &BTreeMap<Timestamp, (i128, u64)>, style: Style) -> String {
    let most = hours.values().map(|sum| sum.0).max().unwrap_or(0);
    let rows = |room: usize| {
        let row = |(start, &(revenue, rides)): (&Timestamp, &(i128, u64))| {
            let bar = style.bar(revenue as f64, most as f64, room);
            vec![hour(*start), grouped(rides), money(revenue), bar]
        };
        hours.iter().map(row).collect::<Vec<_>>()
    };
    let head = ["hour", "rides>", "revenue>", ""];
    // What the other columns leave; a line is at least wide enough for a bar of a few characters.
    let taken = table(&head, &rows(0)).lines().map(|line| line.chars().count()).max().unwrap_or(0);
    table(&head, &rows(style.width.saturating_sub(taken + 4).clamp(8, ROOM)))
}

fn hour(start: Timestamp) -> String {
    let time = DateTime::from_timestamp_micros(start.0).unwrap_or_default();
    format!("{:02}:{:02}", time.hour(), time.minute())
}

fn busiest(zones: BTreeMap<&str, (i128, u64)>) -> String {
    let mut zones: Vec<_> = zones.into_iter().collect();
    zones.sort_by_key(|(name, (revenue, _))| (std::cmp::Reverse(*revenue), *name));
    let row = |(name, (revenue, rides)): (&str, (i128, u64))| vec![name.to_owned(), grouped(rides), money(revenue)];
    let rows: Vec<_> = zones.into_iter().take(TOP).map(row).collect();
    table(&["zone", "rides>", "revenue>"], &rows)
}

fn what_became(outcome: &Outcome, folder: &Folder) -> String {
    let (totals, published, sink) = (&outcome.entry.totals, &outcome.published, folder.sink());
    let (revenue, rides) = published.total();
    let hours = outcome.published.rows.keys().map(|(start, _)| start.0.div_euclid(HOUR));
    let hours = hours.collect::<std::collections::BTreeSet<_>>().len();
    let rows = vec![
        vec![grouped(totals.read), "rides read from the embedded broker".to_owned()],
        vec![grouped(rides), format!("in {hours} windows, {} of them late but in time", grouped(totals.late))],
        vec![grouped(totals.too_late), format!("too late, kept as they came under {sink}/late/")],
        vec![grouped(totals.invalid()), format!("broken, kept as they came with the reason under {sink}/invalid/")],
    ];
    let mut text = String::new();
    for line in table(&[">", ""], &rows).lines().skip(1) {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(
        text,
        "\nProved: all {} sums and counts, {} in all, equal what the generator knows, to the cent.",
        grouped(published.rows.len() as u64),
        money(revenue)
    );
    text
}

fn what_next(folder: &Folder, program: &str, style: Style) -> String {
    let sink = folder.sink();
    let glob = format!("{sink}/data/**/*.parquet").replace('\'', "''");
    let sql = format!(
        "SELECT window_start, SUM(revenue) AS revenue, SUM(rides) AS rides FROM '{glob}' GROUP BY ALL ORDER BY ALL"
    );
    let place = word(&sink);
    format!(
        "{}\n  {sink}/data/  one Parquet file for each hour\n  {}  the pipeline\n\n\
         {}\n  duckdb -c {}\n\n\
         {}\n  {program} status {place}   what is open, and why\n  {program} audit {place}    proves the sink sound\n  \
         {program} files {place}    what has been published\n",
        style.strong("The files"),
        folder.file("rides.toml"),
        style.strong("Query them with DuckDB"),
        quoted(&sql),
        style.strong("Look further"),
    )
}

/// An amount with its thousands apart.
fn money(hundredths: i128) -> String {
    let text = decimal(hundredths);
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    whole.parse().map_or(text.clone(), |whole| format!("{}.{cents}", grouped(whole)))
}

/// How this program was called, to be called so again.
pub(super) fn program() -> String {
    word(&std::env::args().next().unwrap_or_else(|| "windrow".to_owned()))
}

/// A word of a shell command, quoted only if it must be.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text in a shell's double quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if "\"\\$`".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// Writes the page. A reader who has gone is no failure.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
