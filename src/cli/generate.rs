//! `windrow generate`: generated records to a topic, a file or standard output.

mod args;
mod output;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::terminal::{Terminal, grouped};
use crate::clock::Clock;
use crate::error::Error;
use crate::generate::truth::{Cut, Truth};
use crate::generate::{Generator, Kind, Plan, Share};
use crate::record::Timestamp;
pub(super) use args::count;
use output::{Failure, Output};

/// The longest sleep between two looks at whether to stop, in microseconds.
const NAP: i64 = 100_000;
/// Takes shorter than this show no bar, in microseconds.
const SOON: i64 = 1_000_000;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// The command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same options give the same records, byte for byte. To a file or standard output go the values alone, one a line; \
what would be without a value in a topic (a tombstone) is a truncated one there.

Examples:
  windrow generate rides --records 1000000 --late 2% --broken 0.1% --out rides.jsonl --truth truth.csv
  windrow generate rides --records 2000000 --partitions 4 --brokers localhost:9092 --topic rides
  windrow generate quotes --now --rate 50/s --brokers localhost:9092 --topic quotes")]
pub struct Generate {
    /// What to generate
    #[arg(value_parser = args::kind, value_name = "rides|quotes")]
    kind: Kind,
    /// How many records; without it, on and on until stopped
    #[arg(long, value_name = "N", value_parser = args::count)]
    records: Option<u64>,
    /// Records a second, such as 5000/s; without it, as fast as it goes
    #[arg(long, value_parser = args::rate)]
    rate: Option<f64>,
    /// Share of records whose event time is 12 minutes to 6 hours behind
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0%")]
    late: Share,
    /// Share of records that cannot be read: no value, truncated, a member missing or of a wrong type
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0%")]
    broken: Share,
    /// How many partitions of the topic to write to
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When the first record arrives, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = args::time, default_value = "2026-03-01T00:00:00Z")]
    start: Timestamp,
    /// Hours of event time that the records span; 24 if neither this nor --per-hour is given
    #[arg(long, requires = "records", conflicts_with = "per_hour")]
    hours: Option<u32>,
    /// Records in an hour of event time, on a day's average; 10000 if nothing tells
    #[arg(long, value_name = "N", value_parser = args::count)]
    per_hour: Option<u64>,
    /// Let event times follow the clock instead; usually with --rate
    #[arg(long, conflicts_with_all = ["start", "hours", "per_hour"])]
    now: bool,
    /// Kafka brokers to write to, host:port with commas
    #[arg(long, requires = "topic", conflicts_with = "out")]
    brokers: Option<String>,
    /// The topic; the broker makes one that is missing, if it is set up so
    #[arg(long, requires = "brokers")]
    topic: Option<String>,
    /// A property of the Kafka client, such as security.protocol=SSL
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = super::property, requires = "brokers")]
    properties: Vec<(String, String)>,
    /// A file to write to, made anew; without it and --brokers, standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write what a correct pipeline makes of the records to this CSV file: for each window the revenue and number of
    /// rides by pickup_location, or low, high and number of quotes by ticker
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// The windows of --truth
    #[arg(long, value_name = "SIZE", value_parser = args::window, default_value = "1 hour", requires = "truth")]
    window: i64,
    /// With --allowed-lateness: the watermark delay of the pipeline that --truth is for
    #[arg(long, value_name = "DURATION", value_parser = args::duration, requires_all = ["truth", "allowed_lateness"])]
    watermark_delay: Option<i64>,
    /// With --watermark-delay: leave out of --truth what comes too late; without both, every readable record counts
    #[arg(long, value_name = "DURATION", value_parser = args::duration, requires_all = ["truth", "watermark_delay"])]
    allowed_lateness: Option<i64>,
}

impl Generate {
    pub(super) fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let clock = Clock::system();
        let stop = stop_on_signals()?;
        let mut output = Output::open(&self)?;
        // Made before the records, so that a place that cannot be written to is known at once.
        let truth_file = self.truth.as_ref().map(|path| Ok::<_, Error>((path, output::create(path)?))).transpose()?;
        let mut truth = Truth::new(self.kind, self.window, self.cut());
        let outcome = self.write(&mut output, &mut truth, clock, &stop, terminal);
        terminal.clear();
        match outcome {
            Ok(()) => {}
            // Whoever read standard output has seen enough.
            Err(Failure::Unread) => return Ok(()),
            Err(Failure::Error(error)) => return Err(error),
        }
        if let Some((path, file)) = truth_file {
            write_truth(&truth, file).map_err(|error| output::cannot_write(path, &error))?;
        }
        let tally = truth.tally();
        tracing::info!(broken = tally.all_broken(), "wrote {} records {}", grouped(tally.records), output.place());
        Ok(())
    }

    fn cut(&self) -> Option<Cut> {
        let (watermark_delay, allowed_lateness) = (self.watermark_delay?, self.allowed_lateness?);
        Some(Cut { watermark_delay, allowed_lateness })
    }

    fn plan(&self, clock: Clock) -> Plan {
        let is_topic = self.brokers.is_some();
        let plan = Plan {
            kind: self.kind,
            seed: self.seed,
            // A file is one partition, whatever the topic would have.
            partitions: if is_topic { self.partitions } else { 1 },
            // Early enough for the most belated record.
            start: if self.now { clock.now().minus(DAY) } else { self.start },
            late: self.late,
            broken: self.broken,
            // A line cannot be without a value.
            tombstones: is_topic,
            ..Plan::RIDES
        };
        match (self.per_hour, self.records, self.hours) {
            (Some(per_hour), ..) => plan.per_hour(per_hour),
            (None, Some(records), hours) => plan.spread(records, i64::from(hours.unwrap_or(24)) * HOUR),
            (None, None, _) => plan.per_hour(10_000),
        }
    }

    fn write(
        &self,
        output: &mut Output,
        truth: &mut Truth,
        clock: Clock,
        stop: &AtomicBool,
        terminal: &Terminal,
    ) -> Result<(), Failure> {
        let mut generator = Generator::new(self.plan(clock));
        let began = clock.now();
        let mut bar = None;
        for number in 0..self.records.unwrap_or(u64::MAX) {
            if number.is_multiple_of(256) || self.rate.is_some() {
                if let Some(rate) = self.rate {
                    let due = began.plus((number as f64 / rate * 1e6) as i64);
                    wait_until(due, clock, stop, output)?;
                }
                if stop.load(Ordering::Acquire) {
                    break;
                }
                if let Some(records) = self.records.filter(|_| !output.is_terminal())
                    && clock.now().0 - began.0 > SOON
                {
                    bar.get_or_insert_with(|| terminal.bar(records, "records")).set_position(number);
                }
            }
            let record = if self.now { Some(generator.next_at(clock.now())) } else { generator.next() };
            let Some(record) = record else { break };
            truth.add(&record);
            output.write(&record)?;
        }
        output.push()
    }
}

fn wait_until(due: Timestamp, clock: Clock, stop: &AtomicBool, output: &mut Output) -> Result<(), Failure> {
    loop {
        let left = due.0.saturating_sub(clock.now().0);
        if left <= 0 || stop.load(Ordering::Acquire) {
            return Ok(());
        }
        // Whoever reads along sees every record before the pause.
        output.push()?;
        std::thread::sleep(Duration::from_micros(left.min(NAP).unsigned_abs()));
    }
}

fn write_truth(truth: &Truth, file: File) -> std::io::Result<()> {
    truth.write_csv(&mut BufWriter::new(file))
}

/// Set by the first Ctrl-C or SIGTERM; a second one ends the process.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Error> {
    let cannot = |error| Error::Usage(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        next().await;
        asked.store(true, Ordering::Release);
        next().await;
        std::process::exit(1);
    });
    Ok(stop)
}

#[cfg(test)]
mod tests;
