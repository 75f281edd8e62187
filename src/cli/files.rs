//! `windrow files`: what has been published, for people and for loaders.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde_json::json;

use super::SinkArgs;
use super::table::table;
use super::terminal::grouped;
use crate::error::Error;
use crate::log::LogError;
use crate::log::entry::FileKind;
use crate::log::publish::{Feed, FeedFile};
use crate::sink::format::FileFormat;
use crate::sink::layout;
use crate::sink::store::Store;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Files {
    #[command(flatten)]
    sink: SinkArgs,
    /// Only what entries after this number published
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    since: u64,
    /// Only the newest revision of each window
    #[arg(long)]
    latest: bool,
    /// Late and invalid records' files, instead of results
    #[arg(long)]
    kept: bool,
    /// How to write the list
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How to write the list.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One address a line.
    Paths,
    /// One JSON object a line.
    Json,
    /// A manifest for Redshift's COPY.
    Redshift,
    /// A COPY INTO statement for Snowflake.
    Snowflake,
    /// A SELECT for DuckDB.
    Duckdb,
}

/// A file with the entry that published it.
struct Listed {
    sequence: u64,
    file: FeedFile,
}

impl Files {
    pub(super) async fn run(self) -> Result<(), Error> {
        let store = self.sink.open()?;
        let mut listed = read_feed(&store, self.since).await?;
        listed.retain(|listed| matches!(listed.file.kind, FileKind::Data | FileKind::Correction) != self.kept);
        if self.latest {
            listed = latest(listed);
        }
        let written = match self.format {
            Format::Snowflake | Format::Duckdb => written_as(&listed)?,
            Format::Table | Format::Paths | Format::Json | Format::Redshift => None,
        };
        print!("{}", write(&store, &listed, self.format, written.unwrap_or_default())?);
        Ok(())
    }
}

async fn read_feed(store: &Store, since: u64) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::new();
    for (key, _) in store.list(layout::FEED).await? {
        let number =
            key.rsplit('/').next().and_then(|name| name.strip_suffix(".json")).and_then(|n| n.parse::<u64>().ok());
        if number.is_none_or(|number| number <= since) {
            continue;
        }
        let Some(bytes) = store.get(&key).await? else { continue };
        let feed: Feed = serde_json::from_slice(&bytes)
            .map_err(|error| LogError::Data(format!("sink {store}: {key} is not a feed entry: {error}")))?;
        listed.extend(feed.files.into_iter().map(|file| Listed { sequence: feed.sequence, file }));
    }
    Ok(listed)
}

/// The newest revision of each window, in the order of windows.
fn latest(listed: Vec<Listed>) -> Vec<Listed> {
    let mut windows: BTreeMap<Option<String>, Vec<Listed>> = BTreeMap::new();
    for item in listed {
        let files = windows.entry(item.file.window_start.clone()).or_default();
        if files.first().is_some_and(|first| first.file.revision < item.file.revision) {
            files.clear();
        }
        if files.first().is_none_or(|first| first.file.revision == item.file.revision) {
            files.push(item);
        }
    }
    windows.into_values().flatten().collect()
}

/// The one format that files are written in, for statements that can name only one.
fn written_as(listed: &[Listed]) -> Result<Option<FileFormat>, Error> {
    let mut formats = listed.iter().map(|listed| listed.file.format);
    let first = formats.next();
    match formats.find(|format| Some(*format) != first) {
        None => Ok(first),
        Some(other) => {
            let first = first.unwrap_or_default();
            let text = format!(
                "the files are written as {first} and as {other}, which no one statement reads; take them apart with \
                 --since, or write --format json"
            );
            Err(Error::Usage(text))
        }
    }
}

fn write(store: &Store, listed: &[Listed], format: Format, written: FileFormat) -> Result<String, Error> {
    let address = |listed: &Listed| store.address(&listed.file.path);
    let quoted = |text: String| format!("'{}'", text.replace('\'', "''"));
    let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
    Ok(match format {
        Format::Table => {
            let rows: Vec<Vec<String>> = listed
                .iter()
                .map(|listed| {
                    let file = &listed.file;
                    vec![
                        listed.sequence.to_string(),
                        file.window_start.clone().unwrap_or_default(),
                        file.revision.to_string(),
                        grouped(file.rows),
                        grouped(file.bytes),
                        file.path.clone(),
                    ]
                })
                .collect();
            table(&["sequence>", "window", "revision>", "rows>", "bytes>", "file"], &rows)
        }
        Format::Paths => lines(listed.iter().map(address).collect()),
        Format::Json => {
            let objects = listed.iter().map(|listed| {
                let mut object = serde_json::to_value(&listed.file).unwrap_or_default();
                object["sequence"] = json!(listed.sequence);
                object["address"] = json!(address(listed));
                object.to_string()
            });
            lines(objects.collect())
        }
        Format::Redshift => {
            let entries: Vec<_> = listed
                .iter()
                .map(|listed| {
                    json!({"url": address(listed), "mandatory": true, "meta": {"content_length": listed.file.bytes}})
                })
                .collect();
            format!("{:#}\n", json!({ "entries": entries }))
        }
        Format::Snowflake => {
            // COPY takes a thousand names at most.
            let copies = listed.chunks(1000).map(|files| {
                let names: Vec<String> = files.iter().map(|listed| quoted(listed.file.path.clone())).collect();
                let kind = match written {
                    FileFormat::Parquet => "TYPE = PARQUET USE_LOGICAL_TYPE = TRUE",
                    FileFormat::Jsonl => "TYPE = JSON",
                    FileFormat::Csv => {
                        "TYPE = CSV PARSE_HEADER = TRUE FIELD_OPTIONALLY_ENCLOSED_BY = '\"' EMPTY_FIELD_AS_NULL = TRUE"
                    }
                };
                format!(
                    "COPY INTO my_table FROM @my_stage\n  FILES = ({})\n  FILE_FORMAT = ({kind})\n  MATCH_BY_COLUMN_NAME = \
                     CASE_INSENSITIVE;",
                    names.join(", ")
                )
            });
            lines(copies.collect())
        }
        Format::Duckdb if listed.is_empty() => String::new(),
        Format::Duckdb => {
            let names: Vec<String> = listed.iter().map(|listed| quoted(address(listed))).collect();
            let (function, options) = match written {
                FileFormat::Parquet => ("read_parquet", ""),
                FileFormat::Jsonl => ("read_json", ", format = 'newline_delimited'"),
                FileFormat::Csv => ("read_csv", ", header = true, allow_quoted_nulls = false"),
            };
            format!("SELECT * FROM {function}([{}], hive_partitioning = false{options});\n", names.join(", "))
        }
    })
}
