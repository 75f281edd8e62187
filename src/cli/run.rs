//! `windrow run`: a pipeline until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::FileArg;
use super::listen::Address;
use super::on_batch::OnBatch;
use super::terminal::Terminal;
use crate::clock::Clock;
use crate::config::format::{Reading, SchemaSource};
use crate::config::{Pipeline, SourceConfig};
use crate::decode::schemas::Origin;
use crate::decode::{Decode, key};
use crate::error::Error;
use crate::pipeline::writer::Instance;
use crate::pipeline::{Observer, Options, Parts, Together};
use crate::query::Query;
use crate::sink::store::Store;
use crate::source::Source;
use crate::source::file::FileSource;
use crate::source::kafka::KafkaSource;
use crate::source::kafka::member::KafkaMember;
use crate::source::registry::prepare::prepare;
use crate::source::registry::{Whose, WithSchemas};
use crate::telemetry::Telemetry;

/// How long a run may take to leave after it was asked to.
const GRACE: Duration = Duration::from_secs(20);

/// The command.
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    file: FileArg,
    #[command(flatten)]
    how: How,
}

/// How a run ends, and what goes on beside it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct How {
    /// Read up to the topic's present end, commit and exit
    #[arg(long)]
    once: bool,
    /// With --once, or at a file's end: close the windows still open, too
    #[arg(long)]
    close_all: bool,
    /// Serve metrics, health and a status page here, such as 127.0.0.1:9184; a port alone is this machine's
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Address>,
    /// With assignment = "group": this instance's name in the group, the same at every start and no other's
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    #[command(flatten)]
    on_batch: OnBatch,
}

impl How {
    /// What goes only with one instance that reads everything, and what only with several.
    fn check_shared(&self, shared: bool) -> Result<(), Error> {
        let text = if !shared {
            if self.instance.is_none() {
                return Ok(());
            }
            "--instance names one of several instances; write assignment = \"group\" in [source.kafka], or leave it out"
        } else if self.once || self.close_all {
            "--once and --close-all need all of the topic; write assignment = \"all\" in [source.kafka]"
        } else if self.on_batch.is_wanted() {
            "--on-batch hands files over in one order, and with assignment = \"group\" several instances publish them; \
             write assignment = \"all\", or load what windrow files lists"
        } else {
            return Ok(());
        };
        Err(Error::Usage(text.to_owned()))
    }
}

impl Run {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        drive(Pipeline::load(&self.file.file)?, self.how, terminal).await
    }
}

/// Runs a pipeline to its end, seen on the terminal.
pub(super) async fn drive(pipeline: Pipeline, how: How, terminal: &Terminal) -> Result<(), Error> {
    if how.close_all && !how.once && matches!(pipeline.source, SourceConfig::Kafka(_)) {
        let text = "--close-all closes windows at the end of a run, and this one has none; add --once";
        return Err(Error::Usage(text.to_owned()));
    }
    let shared = matches!(&pipeline.source, SourceConfig::Kafka(kafka) if kafka.shared);
    how.check_shared(shared)?;
    let mut observer = terminal.observer(&pipeline);
    let mut telemetry = None;
    if let Some(address) = &how.listen {
        let told = Telemetry::new(&pipeline, Clock::system());
        let listener = address.bind().await?;
        tokio::spawn(told.clone().serve(listener));
        observer = Box::new(Together(vec![observer, told.observer()]));
        telemetry = Some(told);
    }
    let mut parts = assemble(pipeline, Instance::this(), Clock::system(), observer).await?;
    if let SourceConfig::Kafka(kafka) = &parts.pipeline.source
        && kafka.shared
    {
        let writer = parts.instance.writer();
        let unnamed = format!("process {} on {}", writer.pid, writer.host);
        let traffic = parts.store.traffic();
        let requests = move || traffic.counts().map(|(_, asked, _)| asked).sum();
        let member = KafkaMember::join(kafka, how.instance.as_deref(), &unnamed, parts.clock, requests)?;
        parts.member = Some(Box::new(member));
    }
    if let Some(told) = telemetry {
        told.watch_store(&parts.store);
    }
    let options = Options { once: how.once, close_all: how.close_all };
    let outcome = how.on_batch.run(parts, options, stop_on_signals()?).await;
    terminal.clear();
    let entry = match outcome {
        Err(Error::Stopped) => {
            tracing::info!("stopped before anything was read");
            return Ok(());
        }
        outcome => outcome?,
    };
    let totals = &entry.totals;
    tracing::info!(
        read = totals.read,
        aggregated = totals.aggregated,
        filtered = totals.filtered,
        late = totals.late,
        too_late = totals.too_late,
        invalid = totals.invalid(),
        open_windows = entry.open_windows().len(),
        "stopped in good order"
    );
    Ok(())
}

/// Everything a pipeline needs to run, by this instance and this clock.
pub(crate) async fn assemble(
    mut pipeline: Pipeline,
    instance: Instance,
    clock: Clock,
    observer: Box<dyn Observer>,
) -> Result<Parts, Error> {
    prepare(&mut pipeline, clock, None).await?;
    let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await;
    let query = query.map_err(|error| error.at(&pipeline.sql_place))?;
    let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true)?;
    let (source, topic) = open_source(&pipeline, clock)?;
    let decoder = open_decoder(&pipeline, &topic);
    Ok(Parts { pipeline, query: Arc::new(query), source, decoder, store, instance, clock, observer, member: None })
}

/// The reader of the pipeline's records. `topic` is what they bear as `_topic`.
pub(super) fn open_decoder(pipeline: &Pipeline, topic: &str) -> Box<dyn Decode> {
    key::decoder(pipeline.format, &pipeline.columns, topic, &pipeline.reading.settings)
}

/// The pipeline's source, and the name its records bear as `_topic`.
pub(super) fn open_source(pipeline: &Pipeline, clock: Clock) -> Result<(Box<dyn Source>, String), Error> {
    let (source, topic): (Box<dyn Source>, String) = match &pipeline.source {
        SourceConfig::Kafka(kafka) => (Box::new(KafkaSource::connect(kafka, clock)?), kafka.topic.clone()),
        SourceConfig::File(file) => {
            let name = if file.place.is_some() { "file" } else { "stdin" };
            (Box::new(FileSource::open(file, pipeline)?), name.to_owned())
        }
    };
    let Reading { settings, schemas } = &pipeline.reading;
    match (schemas, &settings.origin) {
        (Some(SchemaSource::Registry(registry)), Origin::Registry(schemas)) => {
            let whose = Whose { values: pipeline.format.has_schemas, keys: settings.key.is_some() };
            Ok((Box::new(WithSchemas::new(source, registry, schemas.clone(), whose, clock)?), topic))
        }
        _ => Ok((source, topic)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{self, Unobserved};

    #[tokio::test]
    async fn once_reads_a_file_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t.jsonl"), "{\"v\": 1, \"at\": \"2026-03-01T08:00:00Z\"}\n".repeat(3)).unwrap();
        let text = format!(
            r#"
            name = "t"
            [source.file]
            path = "{0}/t.jsonl"
            [source.columns]
            at = "timestamp"
            v = "int"
            [window]
            event_time = "at"
            size = "1 hour"
            [query]
            sql = "SELECT SUM(v) AS s FROM t"
            [sink]
            url = "{0}/sink"
            "#,
            dir.path().display()
        );
        let pipeline = Pipeline::parse(&text, "t.toml", &|_| None).unwrap();
        let parts = assemble(pipeline, Instance::this(), Clock::system(), Box::new(Unobserved)).await.unwrap();
        let options = Options { once: true, close_all: true };
        let entry = pipeline::run(parts, options, watch::channel(false).1).await.unwrap();
        assert_eq!((entry.totals.read, entry.windows.len()), (3, 0));
    }
}
