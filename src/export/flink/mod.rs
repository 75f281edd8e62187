//! A pipeline as a script of Flink SQL: a table over the topic with a watermark, windows by a table function, and files in
//! the sink's layout.
//!
//! The query is translated from its syntax tree, with the types that planning gave its parts. Where Flink means something
//! else, the script either says it in another way or has a comment; what has no equal is refused with its line. Nothing
//! here talks to Flink: `.ci/flink_check.py` runs scripts on it and compares the rows.

mod expr;
mod functions;
mod kafka;
mod notes;
mod query;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod windows;
mod words;

use super::document::{Document, names};
use super::{ExportError, Refusals, Written};
use crate::config::{Emit, Pipeline, SourceConfig};
use crate::error::Error;
use crate::sink::format::FileFormat;
use notes::Notes;
use query::Asked;
use source::Source;
use windows::Windows;
use words::{comment, interval, text};

/// The versions that scripts are for, and were tried with.
pub const FLINK: &str = "2.3.0";
/// The connector that goes with it.
pub const KAFKA_CONNECTOR: &str = "5.0.0-2.2";
/// What Flink's Parquet stands on.
pub const HADOOP: &str = "3.5.0";

/// What is asked for besides the pipeline.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Read up to the topic's present end and close every window, as `run --once --close-all`.
    pub once: bool,
    /// Another place for the files than beside the pipeline's own.
    pub sink: Option<String>,
}

/// Windows where there are none, while the rest is looked at.
const FALLBACK: &str = "windows";

/// The script.
///
/// # Errors
/// What has no equal in Flink, each with its line; a query that cannot be planned.
pub async fn script(written: &Written, options: &Options) -> Result<String, Error> {
    let Written { pipeline, text, file } = written;
    let Some(document) = Document::new(text) else { return Err(ExportError(format!("{file}: not TOML")).into()) };
    let mut refusals = Refusals::new(file);
    let mut notes = Notes::default();
    let kafka = match &pipeline.source {
        SourceConfig::Kafka(kafka) => Some(kafka),
        SourceConfig::File(_) => {
            refusals.refuse(document.line(&["source", "file"]), "[source.file]", "only a topic is written as a stream");
            None
        }
    };
    for table in pipeline.tables.keys() {
        let why = "a reference table has no versions, and after a regular join Flink no longer knows the event time; join \
                   where the files are read";
        refusals.refuse(document.line(&["tables", table]), format!("tables.{table}"), why);
    }
    let windows = Windows::new(&pipeline.window.windows);
    let mut refuse =
        |(key, why): (&str, _)| refusals.refuse(document.line(&["window", key]), format!("window.{key}"), why);
    let windows = windows.map_err(&mut refuse).ok();
    if windows.as_ref().is_some_and(Windows::zoned) {
        notes.add(notes::CALENDAR);
    }
    let sql = document.text(&["query", "sql"]).unwrap_or_default();
    let first_line = document.first_line(&["query", "sql"]);
    let asked = Asked::new(pipeline, &sql, first_line).await?;
    if asked.is_none() {
        let why = "it cannot be read without the values of its ${NAME}; write them out outside of quotes";
        refusals.refuse(first_line, "query.sql", why);
    }
    let delay = delay(pipeline, &mut notes);
    let (Some(kafka), Some(windows), Some(asked)) = (kafka, windows, asked) else {
        refusals.result()?;
        return Err(ExportError(format!("{file}: cannot be written")).into());
    };
    let stream = asked.stream().unwrap_or_else(|| FALLBACK.to_owned());
    let source = Source {
        pipeline,
        kafka,
        document: &document,
        names: &asked.names,
        stream: &stream,
        once: options.once,
        delay,
    };
    let table = format!("{}_files", pipeline.name);
    let place = sink::place(&document.text(&["sink", "url"]).unwrap_or_default(), options.sink.as_deref());
    let topic = source.write(&mut refusals, &mut notes);
    let files = sink::write(&table, &asked.output, &pipeline.sink, &place, &mut notes);
    let insert = asked.insert(&windows, &source.time(), &table, &mut refusals, &mut notes);
    let settings = settings(pipeline, &windows, &document, &mut refusals);
    if pipeline.on_data_loss == crate::config::OnDataLoss::Stop {
        notes.add(notes::DATA_LOSS);
    }
    if pipeline
        .columns
        .declared
        .iter()
        .any(|column| matches!(column.kind, crate::decode::column::ColumnType::Timestamp(_)))
    {
        notes.add(notes::MILLISECONDS);
    }
    refusals.result()?;
    let body = format!("{settings}\n{topic}\n{files}\n{insert}");
    Ok(format!("{}\n{body}", head(written, &document, &place, &body, &notes)))
}

/// How far the watermark is behind, and what that means for late records.
fn delay(pipeline: &Pipeline, notes: &mut Notes) -> i64 {
    let window = &pipeline.window;
    let delay = match window.emit {
        Emit::Early if window.allowed_lateness > 0 => {
            notes.add(notes::EARLY);
            window.watermark_delay
        }
        _ => {
            notes.add(notes::LATE);
            window.watermark_delay + window.allowed_lateness
        }
    };
    notes.add(notes::WHOSE_WATERMARK);
    delay
}

fn settings(pipeline: &Pipeline, windows: &Windows, document: &Document<'_>, refusals: &mut Refusals<'_>) -> String {
    let mut millis = |micros: i64, section: &str, key: &str| {
        if interval(micros).is_none() {
            let why = "Flink tells time in milliseconds";
            refusals.refuse(document.line(&[section, key]), format!("{section}.{key}"), why);
        }
        format!("{} ms", micros / 1000)
    };
    let settings = [
        ("pipeline.name", pipeline.name.clone()),
        ("table.local-time-zone", windows.zone.clone()),
        ("execution.checkpointing.interval", millis(pipeline.sink.commit_interval, "sink", "commit_interval")),
        ("execution.checkpointing.mode", "EXACTLY_ONCE".to_owned()),
        ("table.exec.source.idle-timeout", millis(pipeline.window.idle_timeout, "window", "idle_timeout")),
    ];
    settings.iter().map(|(key, value)| format!("SET {} = {};\n", text(key), text(value))).collect()
}

/// What the script is, what it needs, and where its meaning is another one.
fn head(written: &Written, document: &Document<'_>, place: &str, body: &str, notes: &Notes) -> String {
    let Pipeline { name, sink, .. } = &written.pipeline;
    let mut head = comment(&format!(
        "{name} as Flink SQL, written by windrow {} from its pipeline file. For Flink {FLINK} on Java 17.",
        env!("CARGO_PKG_VERSION")
    ));
    let mut jars = vec![format!("org.apache.flink:flink-sql-connector-kafka:{KAFKA_CONNECTOR}")];
    if sink.format == FileFormat::Parquet {
        jars.push(format!("org.apache.flink:flink-sql-parquet:{FLINK}"));
        jars.push(format!("org.apache.hadoop:hadoop-client-api:{HADOOP}"));
        jars.push(format!("org.apache.hadoop:hadoop-client-runtime:{HADOOP}"));
    }
    head += "--\n-- From Maven Central, into Flink's lib/:\n";
    jars.iter().for_each(|jar| head += &format!("--   {jar}\n"));
    if place.starts_with("s3://") {
        head += &format!("-- and into plugins/s3-fs-hadoop/:\n--   org.apache.flink:flink-s3-fs-hadoop:{FLINK}\n");
        head +=
            "-- Into Flink's config.yaml, as the script cannot set it (keys and region may also come from AWS_…):\n";
        for line in sink::configuration(&document.settings(&["sink", "properties"])) {
            head += &format!("--   {line}\n");
        }
    }
    let wanted: Vec<_> = names(body).into_iter().map(|name| format!("${{{name}}}")).collect();
    head += "--\n";
    if wanted.is_empty() {
        head += "--   sql-client.sh -f SCRIPT\n";
    } else {
        head += &comment("Values of the environment are not in it. This puts them in, without a file that holds them:");
        head += &format!("--   sql-client.sh -f <(envsubst '{}' < SCRIPT)\n", wanted.join(" "));
    }
    head += "--\n-- Where Flink's meaning is another one than Windrow's:\n";
    head + &notes.comments()
}
