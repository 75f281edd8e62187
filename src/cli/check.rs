//! `windrow check`: everything that can be known before the first run.

pub(super) mod columns;
mod doubts;
mod init;
mod loaders;
mod outcome;
mod preview;
pub(super) mod sample;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::run::{open_decoder, open_source};
use super::status::counted;
use super::table::table;
use super::{FileArg, poll};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::config::poll::PollFile;
use crate::error::Error;
use crate::log::store::newest;
use crate::pipeline::{turn, writer};
use crate::query::{Query, QueryError};
use crate::sink::probe::probe;
use crate::sink::stage::file_schema;
use crate::sink::store::Store;
use crate::source::Topic;
use crate::source::registry::prepare::prepare;
use init::Init;
use loaders::Loader;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    file: FileArg,
    /// How many records to look at
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sample: usize,
    /// Look at the file and the query only, not at the broker and the sink
    #[arg(long, conflicts_with = "init")]
    offline: bool,
    /// Warn of what these loaders read differently or do not allow
    #[arg(long = "for", value_name = "LOADER", value_delimiter = ',', value_enum)]
    loaders: Vec<Loader>,
    #[command(flatten)]
    init: Init,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), Error> {
        let clock = Clock::system();
        if self.init.is_asked() {
            self.init.write(&self.file.file, self.sample, clock).await?;
        }
        if PollFile::is_one(&self.file.file) {
            return poll::check(&self.file.file, self.offline).await;
        }
        let mut pipeline = Pipeline::load(&self.file.file)?;
        prepare(&mut pipeline, clock, Some(super::PATIENCE)).await?;
        let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await;
        let query = query.map_err(|error| error.at(&pipeline.sql_place))?;
        can_close(&query).await.map_err(|error| error.at(&pipeline.sql_place))?;
        show_query(&pipeline, &query);
        for loader in &self.loaders {
            println!("\nfor {}", loader.name());
            for line in loader.warnings(&pipeline, &file_schema(query.output_schema())) {
                println!("  {line}");
            }
        }
        if self.offline {
            return Ok(());
        }
        check_sink(&pipeline).await?;
        let (mut source, name) = open_source(&pipeline, clock)?;
        let topic = sample::describe(source.as_mut(), &name).await?;
        show_topic(&topic);
        if topic.name == "stdin" {
            println!("\nstandard input is not sampled: what is read from it would be gone");
            return Ok(());
        }
        let records = sample::sample(source.as_mut(), &topic, self.sample).await?;
        let query = Arc::new(query);
        let mut decoder = open_decoder(&pipeline, &name);
        let engine = outcome::show(&pipeline, query.clone(), decoder.as_mut(), &topic, &records, clock)?;
        preview::show(engine, &query).await
    }
}

/// Runs what is done when a window closes, over a window without records: what the text alone does not show to be wrong
/// is found here, not an hour after the start.
async fn can_close(query: &Query) -> Result<(), QueryError> {
    match query.close(vec![Vec::new()]).await {
        Err(QueryError::Internal(text)) => Err(QueryError::Invalid(format!("it is planned but cannot be run: {text}"))),
        // An expression may fail over nothing, such as a division by a count: no window that is published has none.
        _ => Ok(()),
    }
}

fn show_query(pipeline: &Pipeline, query: &Query) {
    println!("pipeline {}: the file is sound", pipeline.name);
    if pipeline.format.has_schemas {
        println!("\ncolumns, declared or told by the schema");
        let rows = pipeline.columns.declared.iter().map(|column| {
            let optional = if column.optional { "optional" } else { "" };
            vec![format!("  {}", column.name), column.kind.to_string(), optional.to_owned()]
        });
        print!("{}", table(&["  column", "type", ""], &rows.collect::<Vec<_>>()));
    }
    println!("\nquery");
    for line in query.describe() {
        println!("  {line}");
    }
    println!("\nresult");
    let schema = file_schema(query.output_schema());
    let columns = schema.fields().iter();
    let rows: Vec<_> =
        columns.map(|field| vec![format!("  {}", field.name()), field.data_type().to_string()]).collect();
    print!("{}", table(&["  column", "type"], &rows));
}

async fn check_sink(pipeline: &Pipeline) -> Result<(), Error> {
    let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true)?.with_patience(super::PATIENCE);
    probe(&store, &writer::this().id).await?;
    println!("\nsink {store}: of two creates of one key, one wins");
    match newest(&store).await? {
        Some(stored) => {
            turn::belongs(&store, pipeline, &stored)?;
            let open = counted(stored.entry.open_windows().len() as u64, "window");
            println!("  its log stands at entry {}, {open} open", stored.entry.sequence.0);
        }
        None => {
            println!("  it has no log yet: the first run begins there");
            // Leave no trace in a folder that was not there.
            if let Some(folder) = store.folder() {
                for made in [folder.join("_windrow/probe"), folder.join("_windrow"), folder.to_owned()] {
                    let _ = std::fs::remove_dir(made);
                }
            }
        }
    }
    Ok(())
}

fn show_topic(topic: &Topic) {
    println!("\ntopic {}: {}", topic.name, counted(topic.partitions.len() as u64, "partition"));
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .map(|(partition, bounds)| {
            let end = bounds.end.map_or_else(|| "unknown".to_owned(), |end| end.to_string());
            vec![format!("  {partition}"), bounds.start.to_string(), end]
        })
        .collect();
    print!("{}", table(&["  partition", "first offset>", "end>"], &rows));
}
