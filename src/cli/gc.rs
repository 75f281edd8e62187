//! `windrow gc`: what crashed runs left in a sink, and why each piece may go or has to stay.

use std::collections::BTreeMap;

use super::SinkArgs;
use super::status::counted;
use super::table::table;
use super::terminal::{grouped, short};
use crate::clock::Clock;
use crate::error::Error;
use crate::log::LogError;
use crate::log::gc::{LEAST_AGE, Verdict, delete, judge};
use crate::log::store::newest;
use crate::record::Timestamp;
use crate::sink::SinkError;
use crate::time::text;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Gc {
    #[command(flatten)]
    sink: SinkArgs,
    /// Delete what may go; without it, it is only listed
    #[arg(long)]
    delete: bool,
    /// What is younger than this stays, whatever it is; an hour or more
    #[arg(long, value_name = "DURATION", default_value = "1 day", value_parser = age)]
    older_than: i64,
    /// List what stays, too
    #[arg(long)]
    all: bool,
}

fn age(text: &str) -> Result<i64, String> {
    let age = text::duration(text).map_err(|error| error.to_string())?;
    let least = text::describe(LEAST_AGE);
    if age < LEAST_AGE { Err(format!("write {least} or more: what is younger may be in use")) } else { Ok(age) }
}

impl Gc {
    pub(super) async fn run(self) -> Result<(), Error> {
        let store = self.sink.open()?;
        let Some(newest) = newest(&store).await? else {
            return Err(LogError::Invalid(format!("sink {store}: there is no log; has a pipeline run here?")).into());
        };
        let now = Clock::system().now();
        let verdicts = judge(&store, &newest, now, self.older_than).await?;
        print!("{}", list(&verdicts, now, self.all));
        if !self.delete {
            if verdicts.iter().any(|verdict| verdict.goes) {
                println!("nothing is deleted; --delete does it");
            }
            return Ok(());
        }
        let failed = delete(&store, &verdicts).await;
        if let Some(first) = failed.first() {
            let text =
                format!("sink {store}: {} could not be deleted: {first}", counted(failed.len() as u64, "object"));
            return Err(SinkError::Unavailable(text).into());
        }
        println!("deleted {}", sum(&verdicts, true));
        Ok(())
    }
}

/// The verdicts as a table with sums below.
fn list(verdicts: &[Verdict], now: Timestamp, all: bool) -> String {
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .filter(|verdict| all || verdict.goes)
        .map(|verdict| {
            let object = &verdict.object;
            let age = short((now.0 - object.written.0).max(0) / 1_000_000 * 1_000_000);
            let word = if verdict.goes { "goes" } else { "stays" };
            vec![word.to_owned(), object.key.clone(), grouped(object.bytes), age, verdict.reason.clone()]
        })
        .collect();
    let mut out = String::new();
    if !rows.is_empty() {
        out += &table(&["", "key", "bytes>", "age>", "why"], &rows);
        out.push('\n');
    }
    out += &format!("{} may go, {} stay\n", sum(verdicts, true), sum(verdicts, false));
    let mut stays: BTreeMap<String, u64> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|verdict| !all && !verdict.goes) {
        *stays.entry(verdict.reason.clone()).or_default() += 1;
    }
    for (reason, count) in stays {
        out += &format!("  {} stays: {reason}\n", grouped(count));
    }
    out
}

fn sum(verdicts: &[Verdict], goes: bool) -> String {
    let chosen = || verdicts.iter().filter(|verdict| verdict.goes == goes);
    let bytes = chosen().map(|verdict| verdict.object.bytes).sum::<u64>();
    format!("{}, {} bytes", counted(chosen().count() as u64, "object"), grouped(bytes))
}
