//! `windrow poll`: an HTTP API into a topic and a history store, round after round.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::status::counted;
use crate::clock::Clock;
use crate::config::poll::PollFile;
use crate::error::Error;
use crate::poll::{PollError, Poller};
use crate::time::text::describe;

/// How long the broker may take to answer a check.
const BROKER_TIME: Duration = Duration::from_secs(15);

/// The command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file says what to call, how often, what of each answer to publish, and where to keep it: examples/quotes-poll.toml is \
one, and docs/poll.md has every key. `windrow check FILE` makes one call and shows its record.")]
pub struct Poll {
    /// The poll file
    file: PathBuf,
    /// Poll one round and exit: with 0 if every symbol succeeded, else with 1
    #[arg(long)]
    once: bool,
}

impl Poll {
    pub(super) async fn run(self) -> Result<(), Error> {
        let file = PollFile::load(&self.file)?;
        let (name, interval) = (file.name.clone(), file.schedule.interval);
        let mut poller = Poller::new(file, Clock::system())?;
        let mut stop = stop_on_signals()?;
        if self.once {
            let report = poller.round(&mut stop).await;
            println!("{report}");
            if report.failed > 0 {
                let text = format!("{}: {} failed", name, counted(report.failed as u64, "symbol"));
                return Err(PollError::Failed(text).into());
            }
            return Ok(());
        }
        tracing::info!("polling {}, every {}", poller.describe(), describe(interval));
        poller.run(&mut stop).await;
        tracing::info!("stopped in good order");
        Ok(())
    }
}

/// What `windrow check` tells of a poll file.
pub(super) async fn check(path: &Path, offline: bool) -> Result<(), Error> {
    let file = PollFile::load(path)?;
    println!("poll {}: the file is sound", file.name);
    let (schedule, request) = (file.schedule, file.request.clone());
    let first = file.symbols.first().cloned().unwrap_or_default();
    let topic = file.kafka.topic.clone();
    let poller = Poller::new(file, Clock::system())?;
    println!("  {}", poller.describe());
    println!(
        "  a round every {}, {} between calls, {} for a call, {} for a round",
        describe(schedule.interval),
        describe(request.pause),
        describe(request.timeout),
        describe(schedule.budget)
    );
    if offline {
        return Ok(());
    }
    println!("\nGET {}", request.url.shown(&first));
    println!("  {}", poller.sample().await?);
    let asked = tokio::task::spawn_blocking(move || poller.partitions(BROKER_TIME)).await;
    let partitions = asked.map_err(|error| PollError::Failed(error.to_string()))??;
    println!("\ntopic {topic}: {}", counted(partitions as u64, "partition"));
    println!("\nnothing was published or kept");
    Ok(())
}

/// Turns Ctrl-C and SIGTERM into a request to stop; a second one ends the process.
fn stop_on_signals() -> Result<watch::Receiver<bool>, Error> {
    let cannot = |error| Error::Usage(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let (ask, stop) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        next().await;
        tracing::info!("stopping after the symbol in hand; once more to leave at once");
        let _ = ask.send(true);
        next().await;
        std::process::exit(1);
    });
    Ok(stop)
}
