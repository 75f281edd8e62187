//! `windrow check`: everything that can be known before the first run.

use std::sync::Arc;
use std::time::Duration;

use super::FileArg;
use super::run::{open_decoder, open_source};
use super::status::counted;
use super::table::table;
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::decode::Decode;
use crate::engine::Engine;
use crate::error::Error;
use crate::log::entry::Counts;
use crate::log::store::newest;
use crate::pipeline::{turn, writer};
use crate::query::Query;
use crate::record::{Offset, Record, Records};
use crate::sink::probe::probe;
use crate::sink::stage::file_schema;
use crate::sink::store::Store;
use crate::source::{Event, Source, SourceError, Topic};

/// How long the first records may take to come.
const SAMPLE_TIME: Duration = Duration::from_secs(5);
/// How long the broker may take to answer.
const BROKER_TIME: Duration = Duration::from_secs(15);

/// The command.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    file: FileArg,
    /// How many records to look at
    #[arg(long, default_value_t = 10)]
    sample: usize,
    /// Look at the file and the query only, not at the broker and the sink
    #[arg(long)]
    offline: bool,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), Error> {
        let pipeline = Pipeline::load(&self.file.file)?;
        let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await;
        let query = query.map_err(|error| error.at(&pipeline.sql_place))?;
        println!("pipeline {}: the file is sound", pipeline.name);
        println!("\nquery");
        for line in query.describe() {
            println!("  {line}");
        }
        println!("\nresult");
        let schema = file_schema(query.output_schema());
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| vec![format!("  {}", field.name()), field.data_type().to_string()])
            .collect();
        print!("{}", table(&["  column", "type"], &columns));
        if self.offline {
            return Ok(());
        }
        check_sink(&pipeline).await?;
        let clock = Clock::system();
        let (mut source, topic_name) = open_source(&pipeline, clock)?;
        let described = tokio::time::timeout(BROKER_TIME, source.describe()).await;
        let topic = described.map_err(|_| {
            SourceError::Unavailable(format!("topic {topic_name}: no answer in {} s", BROKER_TIME.as_secs()))
        })??;
        show_topic(&topic);
        if topic.name == "stdin" {
            println!("\nstandard input is not sampled: what is read from it would be gone");
            return Ok(());
        }
        let sample = sample(source.as_mut(), &topic, self.sample).await?;
        let decoder = open_decoder(&pipeline, &topic_name);
        show_sample(&pipeline, Arc::new(query), decoder, &topic, &sample, self.sample, clock)
    }
}

async fn check_sink(pipeline: &Pipeline) -> Result<(), Error> {
    let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true)?.with_patience(super::PATIENCE);
    probe(&store, &writer::this().id).await?;
    println!("\nsink {store}: of two creates of one key, one wins");
    match newest(&store).await? {
        Some(stored) => {
            turn::belongs(&store, pipeline, &stored)?;
            let open = counted(stored.entry.windows.len() as u64, "window");
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

/// The topic's first records, as they come.
async fn sample(source: &mut dyn Source, topic: &Topic, count: usize) -> Result<Vec<Records>, Error> {
    let from = topic.partitions.iter().map(|(&partition, bounds)| (partition, bounds.start)).collect();
    source.assign(&from).await?;
    let mut batches: Vec<Records> = Vec::new();
    let mut waiting = topic.partitions.len();
    let read = async {
        while waiting > 0 && batches.iter().map(Records::len).sum::<usize>() < count {
            match source.next().await? {
                Event::Records(records) => batches.push(records),
                Event::Reached { .. } => waiting -= 1,
                Event::Finished => break,
                Event::Waiting(why) => eprintln!("waiting: {why}"),
                Event::Ends { .. } | Event::Added(_) | Event::Resumed => {}
            }
        }
        Ok::<_, Error>(())
    };
    // What has come when the time is over is enough.
    tokio::time::timeout(SAMPLE_TIME, read).await.unwrap_or(Ok(()))?;
    Ok(batches)
}

fn show_sample(
    pipeline: &Pipeline,
    query: Arc<Query>,
    mut decoder: Box<dyn Decode>,
    topic: &Topic,
    batches: &[Records],
    count: usize,
    clock: Clock,
) -> Result<(), Error> {
    let mut engine = Engine::new(pipeline.window.clone(), query);
    for (&partition, bounds) in &topic.partitions {
        engine.add_partition(partition, bounds.start, true);
    }
    let mut rows = Vec::new();
    let sampled = batches.iter().flat_map(|batch| batch.iter().map(move |record| (batch, record)));
    for (batch, record) in sampled.take(count) {
        rows.push(outcome(pipeline, &mut engine, decoder.as_mut(), batch, record, clock)?);
    }
    let total = rows.len();
    println!("\nthe first {}", counted(total as u64, "record"));
    print!("{}", table(&["  partition/offset", "event time", "window", "outcome"], &rows));
    let counts = engine.counts();
    println!(
        "\nof {total}: {} would be aggregated, {} filtered, {} too late, {} invalid",
        counts.aggregated,
        counts.filtered,
        counts.too_late,
        counts.invalid()
    );
    Ok(())
}

/// What becomes of one record, by the engine itself.
fn outcome(
    pipeline: &Pipeline,
    engine: &mut Engine,
    decoder: &mut dyn Decode,
    batch: &Records,
    record: Record<'_>,
    clock: Clock,
) -> Result<Vec<String>, Error> {
    let mut one = Records::new(batch.partition);
    one.push_with(record.offset, record.timestamp, record.key, record.value, record.headers.iter());
    let before: Counts = engine.counts().clone();
    let decoded = decoder.decode(one);
    engine.push(&decoded, clock.now())?;
    let after = engine.counts();
    let time = (!decoded.event_times.is_empty()).then(|| crate::record::Timestamp(decoded.event_times.value(0)));
    let window = time.and_then(|time| pipeline.window.windows.assign(time));
    let text = if after.aggregated > before.aggregated {
        "aggregated".to_owned()
    } else if after.filtered > before.filtered {
        "filtered by WHERE".to_owned()
    } else if after.too_late > before.too_late {
        "too late: to late/".to_owned()
    } else {
        engine.last_invalid().map_or_else(String::new, |kept| format!("invalid: {}", kept.reason.text))
    };
    let Offset(offset) = record.offset;
    Ok(vec![
        format!("  {}/{offset}", batch.partition),
        time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        window.map_or_else(|| "-".to_owned(), |window| window.start.to_string()),
        text,
    ])
}
