//! `--on-batch`: a command beside a run, for each file that the run publishes.

use clap::ValueEnum;
use tokio::sync::watch;

use crate::error::Error;
use crate::handover::command::Command;
use crate::handover::{Handover, OnFailure, Teller, Told};
use crate::log::entry::Entry;
use crate::pipeline::{self, Options, Parts, Together};

/// What is done with published files.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OnBatch {
    /// Run this for each published file, in order and at least once; {file} is its path or URL, WINDROW_… tell the rest
    #[arg(long, value_name = "COMMAND")]
    on_batch: Option<Command>,
    /// What to do when that command fails
    #[arg(long, value_enum, default_value_t = Failure::Stop, requires = "on_batch")]
    on_batch_failure: Failure,
}

/// What to do when a command fails.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Failure {
    /// Stop; the next start begins with the same file.
    Stop,
    /// Run it again, with growing pauses, until it succeeds.
    Retry,
}

impl OnBatch {
    /// Whether there is a command.
    pub(super) fn is_wanted(&self) -> bool {
        self.on_batch.is_some()
    }

    /// Runs a pipeline, and the command beside it if there is one.
    pub(super) async fn run(
        self,
        mut parts: Parts,
        options: Options,
        signals: watch::Receiver<bool>,
    ) -> Result<Entry, Error> {
        let Some(command) = self.on_batch else { return pipeline::run(parts, options, signals).await };
        let on_failure = match self.on_batch_failure {
            Failure::Stop => OnFailure::Stop,
            Failure::Retry => OnFailure::Retry,
        };
        let (tell, told) = watch::channel(Told::default());
        let (ask, stop) = watch::channel(false);
        parts.observer = Box::new(Together(vec![parts.observer, Box::new(Teller(tell.clone()))]));
        let handover = Handover { store: parts.store.clone(), command, on_failure, clock: parts.clock };
        let leaving = tokio::spawn(leave_on(signals, ask.clone(), tell.clone()));
        let handing = tokio::spawn(async move {
            let handed = handover.run(told).await;
            if handed.is_err() {
                // What is read gets its commit; then the run ends.
                let _ = ask.send(true);
            }
            handed
        });
        let ran = pipeline::run(parts, options, stop).await;
        tell.send_modify(|told| match ran {
            Ok(_) => told.ended = true,
            Err(_) => told.leave = true,
        });
        let handed = handing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        leaving.abort();
        match (ran, handed) {
            (Err(Error::Stopped) | Ok(_), Err(error)) => Err(error),
            (ran, _) => ran,
        }
    }
}

/// Passes the operator's wish on to the run and to what goes on beside it.
async fn leave_on(mut signals: watch::Receiver<bool>, ask: watch::Sender<bool>, tell: watch::Sender<Told>) {
    if signals.wait_for(|asked| *asked).await.is_ok() {
        let _ = ask.send(true);
        tell.send_modify(|told| told.leave = true);
    }
}
