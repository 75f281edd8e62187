//! The commands, one file each. Everything a person reads on the terminal is written here.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands talk to the terminal")]

pub mod audit;
pub mod batch;
pub mod check;
pub mod demo;
pub mod export;
pub mod files;
pub mod gc;
pub mod generate;
pub mod lateness;
pub mod health;
mod listen;
mod on_batch;
mod shells;
pub mod load;
pub mod poll;
pub mod run;
pub mod status;
pub mod why;
mod table;
mod terminal;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::sink::store::Store;

/// Windowed aggregation from Kafka to exactly one Parquet file for each closed window.
#[derive(Debug, Parser)]
#[command(name = "windrow", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    talk: Talk,
    #[command(subcommand)]
    command: Command,
}

/// How much is said, and in which form.
#[derive(Copy, Clone, Debug, clap::Args)]
pub struct Talk {
    /// Log only warnings and errors, and show no progress.
    #[arg(long, global = true, display_order = 900)]
    quiet: bool,
    /// The form of log lines on standard error.
    #[arg(long, global = true, display_order = 900, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// The form of log lines.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for log collectors.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the main job on generated taxi rides; needs nothing installed
    Demo(demo::Demo),
    /// Run a pipeline until stopped
    Run(run::Run),
    /// Write a topic's whole records as files, one for each span of time; no pipeline file needed
    Batch(Box<batch::Batch>),
    /// Validate a pipeline file, its broker, its sink, and look at the topic's first records
    Check(check::Check),
    /// Show what is open in a sink, and why
    Status(status::Status),
    /// Tell how late a topic's records are, and which watermark delay keeps how many of them
    Lateness(lateness::Lateness),
    /// Tell what became of one record
    Why(why::Why),
    /// List what has been published, for people and for loaders
    Files(files::Files),
    /// Load what has been published into a PostgreSQL table, exactly once
    Load(load::Load),
    /// Prove a sink sound
    Audit(audit::Audit),
    /// Find, and with --delete clear away, what crashed runs left in a sink
    Gc(gc::Gc),
    /// Poll an HTTP API on a schedule into a topic and a history store
    Poll(poll::Poll),
    /// Write generated records
    Generate(generate::Generate),
    /// Write a pipeline in the words of another engine, for those who outgrow one process
    Export(export::Export),
    /// Ask a running instance whether it is well, for health checks
    Health(health::Health),
    /// Write completions for a shell to standard output
    Completions(shells::Completions),
    /// Write the man page to standard output
    #[command(hide = true)]
    Man,
}

/// How long a person waits for a sink that is away. A run waits as long as it takes.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of stack of each thread that runs queries; only what is used is ever given.
const STACK: usize = 32 << 20;

/// A sink on the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct SinkArgs {
    /// A local folder or s3://bucket/prefix; S3 settings come from the AWS_… environment variables
    sink: String,
    /// A setting of the object store, such as endpoint=http://127.0.0.1:9000
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
}

impl SinkArgs {
    /// The sink, which must be there.
    fn open(&self) -> Result<Store, Error> {
        let store = Store::open(&self.sink, &self.properties.iter().cloned().collect(), false)?;
        Ok(store.with_patience(PATIENCE))
    }

    /// Whether it is a local folder that is not there. What a bucket holds is known only by asking.
    fn lacks_folder(&self) -> bool {
        let folder = self.sink.strip_prefix("file://").unwrap_or(&self.sink);
        !folder.contains("://") && !std::path::Path::new(folder).exists()
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A pipeline file on the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct FileArg {
    /// The pipeline file
    file: PathBuf,
}

/// Runs the command of this process and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A thread that panics must not leave a half-alive process behind.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(why) = info.payload_as_str().and_then(|text| text.strip_prefix("failed printing to stdout: ")) {
            // As in `windrow files … | head`: whoever read along has seen enough.
            if why.starts_with("Broken pipe") {
                std::process::exit(0);
            }
            // As into a file on a full disk. Standard error may be as full.
            let _ = writeln!(std::io::stderr(), "windrow: cannot write to standard output: {why}");
            std::process::exit(1);
        }
        report(info);
        std::process::abort();
    }));
    // Queries are run by recursion: a thread of their own has a stack for the deepest that planning lets through.
    match thread::Builder::new()
        .name("windrow-main".to_owned())
        .stack_size(STACK)
        .spawn(|| start(cli))
        .map(JoinHandle::join)
    {
        Ok(Ok(code)) => code,
        Ok(Err(_)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("windrow: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(2).thread_stack_size(STACK).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("windrow: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // Threads that wait on a broker or on standard input must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("windrow: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn dispatch(cli: Cli) -> Result<(), Error> {
    let terminal = terminal::Terminal::start(cli.talk);
    match cli.command {
        Command::Demo(command) => command.run(&terminal).await,
        Command::Run(command) => command.run(&terminal).await,
        Command::Batch(command) => command.run(&terminal).await,
        Command::Check(command) => command.run().await,
        Command::Status(command) => command.run().await,
        Command::Lateness(command) => command.run(&terminal).await,
        Command::Why(command) => command.run(&terminal).await,
        Command::Files(command) => command.run().await,
        Command::Load(command) => command.run(&terminal).await,
        Command::Audit(command) => command.run(&terminal).await,
        Command::Gc(command) => command.run().await,
        Command::Poll(command) => command.run().await,
        Command::Generate(command) => command.run(&terminal),
        Command::Export(command) => command.run().await,
        Command::Health(command) => command.run().await,
        Command::Completions(command) => command.run(),
        Command::Man => shells::man(),
    }
}
