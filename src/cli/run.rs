//! `windrow run`: a pipeline until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::FileArg;
use super::terminal::Terminal;
use crate::clock::Clock;
use crate::config::{Pipeline, SourceConfig};
use crate::decode::json::JsonDecoder;
use crate::error::Error;
use crate::pipeline::{self, Observer, Options, Parts};
use crate::query::Query;
use crate::sink::store::Store;
use crate::source::Source;
use crate::source::file::FileSource;
use crate::source::kafka::KafkaSource;

/// How long a run may take to leave after it was asked to.
const GRACE: Duration = Duration::from_secs(20);

/// The command.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    file: FileArg,
    /// Read up to the topic's present end, commit and exit
    #[arg(long)]
    once: bool,
    /// With --once, or at a file's end: close the windows still open, too
    #[arg(long)]
    close_all: bool,
}

impl Run {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let pipeline = Pipeline::load(&self.file.file)?;
        if self.close_all && !self.once && matches!(pipeline.source, SourceConfig::Kafka(_)) {
            let text = "--close-all closes windows at the end of a run, and this one has none; add --once";
            return Err(Error::Usage(text.to_owned()));
        }
        let parts = assemble(pipeline, terminal.observer()).await?;
        let options = Options { once: self.once, close_all: self.close_all };
        let outcome = pipeline::run(parts, options, stop_on_signals()?).await;
        terminal.clear();
        let entry = outcome?;
        let totals = &entry.totals;
        tracing::info!(
            read = totals.read,
            aggregated = totals.aggregated,
            filtered = totals.filtered,
            late = totals.late,
            too_late = totals.too_late,
            invalid = totals.invalid(),
            open_windows = entry.windows.len(),
            "stopped in good order"
        );
        Ok(())
    }
}

/// Everything a pipeline needs to run.
pub(super) async fn assemble(pipeline: Pipeline, observer: Box<dyn Observer>) -> Result<Parts, Error> {
    let clock = Clock::system();
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await;
    let query = query.map_err(|error| error.at(&pipeline.sql_place))?;
    let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true)?;
    let (source, topic) = open_source(&pipeline, clock)?;
    let decoder = Box::new(JsonDecoder::new(&pipeline.columns, &topic));
    Ok(Parts { pipeline, query: Arc::new(query), source, decoder, store, clock, observer })
}

/// The pipeline's source, and the name its records bear as `_topic`.
pub(super) fn open_source(pipeline: &Pipeline, clock: Clock) -> Result<(Box<dyn Source>, String), Error> {
    Ok(match &pipeline.source {
        SourceConfig::Kafka(kafka) => (Box::new(KafkaSource::connect(kafka, clock)?), kafka.topic.clone()),
        SourceConfig::File(Some(path)) => (Box::new(FileSource::new(Some(path.clone()), clock)), "file".to_owned()),
        SourceConfig::File(None) => (Box::new(FileSource::new(None, clock)), "stdin".to_owned()),
    })
}

/// Turns Ctrl-C and SIGTERM into a request to stop; a second one, or a stop that takes too long, ends the process.
pub(super) fn stop_on_signals() -> Result<watch::Receiver<bool>, Error> {
    let cannot = |error| Error::Usage(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let (ask, stop) = watch::channel(false);
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () };
        next().await;
        tracing::info!("stopping: committing what has been read; once more to leave at once");
        let _ = ask.send(true);
        let again = tokio::time::timeout(GRACE, next()).await.is_ok();
        let why = if again { "asked twice" } else { "the commit did not finish in time" };
        eprintln!("windrow: leaving at once: {why}; the log stands, the next run goes on from it");
        std::process::exit(1);
    });
    Ok(stop)
}
