//! How fast is the whole path, from a Kafka topic to Parquet files, against a loop that only fetches the same topic?
//!
//! ```text
//! cargo run --release --features bench --example bench-e2e -- --brokers localhost:9092
//! ```
//!
//! It fills a topic with generated rides, once for each shape of topic, and then measures, round by round, how long it
//! takes to read it: the bare client, which drops every record (the limit), then Windrow cut off after fetching, after
//! decoding and after aggregating, and Windrow whole, with exactly-once on and every file synced. Each measurement is a
//! process of its own, so that its CPU time and its peak of memory are its own. The files that the whole run published
//! are compared, row by row, with what was generated: a fast wrong answer counts as none.
//!
//! `--only recover` and `--only latency` measure something else: how long a killed run takes to read on, and how long after
//! a window's end its file is durable (see `live.rs`). They are not among the measurements made without being asked for.
//!
//! Compare ratios and CPU seconds rather than rates: on a busy machine, they are what holds.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the terminal")]

mod avro;
mod live;
mod measure;
mod process;
mod stages;
mod topic;

use std::process::ExitCode;

use clap::Parser;

use measure::Table;
use stages::Stage;
use topic::{Compression, Form, Shape};

/// Measures the path from Kafka to Parquet against the bare client
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, host:port with commas
    #[arg(long)]
    brokers: String,
    /// Records in the topic
    #[arg(long, default_value_t = 2_000_000)]
    records: u64,
    /// Groups that they fall into
    #[arg(long, default_value_t = topic::ZONES)]
    groups: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Hours of event time that the records span; each is a window
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// Windows are this long
    #[arg(long, default_value = "1 hour", value_parser = duration)]
    window: String,
    /// Late records are waited for this long, so windows stay open for it
    #[arg(long, default_value = "2 hours")]
    lateness: String,
    /// What limits.memory says
    #[arg(long, default_value = "512 MiB")]
    memory: String,
    /// How the records are compressed
    #[arg(long, value_enum, default_value_t = Compression::None)]
    compression: Compression,
    /// What the records are
    #[arg(long, value_enum, default_value_t = Form::Json)]
    format: Form,
    /// Threads that Windrow works with
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How often each measurement is made
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Stage>,
    /// A property of the client in every measurement, such as check.crcs=false
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// Print each measurement as a line of JSON, too
    #[arg(long)]
    json: bool,
    /// Delete the topic in the end; otherwise it stays, and the next run need not fill it
    #[arg(long)]
    delete: bool,
    /// Make this one measurement, in this process
    #[arg(long, value_enum, hide = true)]
    stage: Option<Stage>,
    /// Where windows are published of which the latency is measured, such as s3://bucket/prefix; a folder here if not said
    #[arg(long, default_value = "")]
    sink: String,
    /// Seconds for which records are written to measure latency
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Args {
    fn shape(&self) -> Shape {
        let Self { records, groups, partitions, hours, compression, format, .. } = *self;
        let window = humantime::parse_duration(&self.window).map_or(0, |window| window.as_micros());
        Shape {
            records,
            groups,
            partitions,
            hours,
            compression,
            format,
            window: i64::try_from(window).unwrap_or(i64::MAX),
        }
    }

    fn stages(&self) -> &[Stage] {
        if self.only.is_empty() { &Stage::ALL } else { &self.only }
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// As it is written, if it is a length of time.
fn duration(text: &str) -> Result<String, humantime::DurationError> {
    humantime::parse_duration(text).map(|_| text.to_owned())
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.stage {
        Some(stage) => stages::run(stage, &args),
        None => run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-e2e: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Outcome<()> {
    if args.only.contains(&Stage::Latency) {
        return live::latency(args);
    }
    let truth = topic::prepare(&args.brokers, &args.shape())?;
    if args.only.contains(&Stage::Recover) {
        return live::recover(args);
    }
    let mut table = Table::default();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for &stage in args.stages() {
            let measured = measure::measure(stage, args, &truth)?;
            if args.json {
                measure::print_json(stage, &measured);
            }
            table.add(stage, measured);
        }
    }
    table.print(args);
    if args.delete {
        topic::delete(&args.brokers, &args.shape())?;
    }
    Ok(())
}
