//! `windrow check FILE --init`: a first pipeline file, proposed from what a topic or a file holds.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::columns::{Proposed, Seen, event_time};
use super::{loaders, sample};
use crate::cli::lateness::rounded;
use crate::cli::run::open_source;
use crate::cli::terminal::{grouped, short};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::decode::column::TIMESTAMP;
use crate::error::Error;
use crate::record::Records;
use crate::time::text;

/// Columns that are written out; a pipeline declares what its query needs.
const MOST: usize = 100;

/// The least watermark delay that is proposed, in microseconds: a sample may be too small to show disorder.
const LEAST_DELAY: i64 = 60_000_000;
/// Words in the names of amounts that one likes to see summed.
const AMOUNTS: [&str; 7] = ["total", "amount", "revenue", "price", "cost", "fare", "value"];

/// What a new file is made from.
#[derive(Debug, clap::Args)]
pub(super) struct Init {
    /// Write FILE first, proposed from the records of --topic or --data; a file that is there is left alone
    #[arg(long)]
    init: bool,
    /// With --init: the brokers
    #[arg(long, requires = "init", requires = "topic")]
    brokers: Option<String>,
    /// With --init: the topic
    #[arg(long, requires = "init", requires = "brokers")]
    topic: Option<String>,
    /// With --init: a property of librdkafka; ${NAME} in it stays as it is, and is read from the environment
    #[arg(long = "property", value_name = "KEY=VALUE", requires = "topic", value_parser = super::super::property)]
    properties: Vec<(String, String)>,
    /// With --init: a file of records, instead of a topic
    #[arg(long, value_name = "FILE", requires = "init", conflicts_with = "topic")]
    data: Option<PathBuf>,
}

impl Init {
    /// Whether a file is to be written.
    pub(super) fn is_asked(&self) -> bool {
        self.init
    }

    /// Writes the file, and says so.
    pub(super) async fn write(&self, path: &Path, count: usize, clock: Clock) -> Result<(), Error> {
        let exists = || Error::Usage(format!("{} is there already; --init writes a new file", path.display()));
        if path.exists() {
            return Err(exists());
        }
        let source = self.source()?;
        let stub = format!(
            "name = \"stub\"\n{source}[source.columns]\nat = \"timestamp\"\n[window]\nevent_time = \"at\"\nsize = \"1 hour\"\n\
             [query]\nsql = \"SELECT COUNT(*) AS records FROM stream\"\n[sink]\nurl = \"out\"\n"
        );
        let stub = Pipeline::parse(&stub, "--init", &|name| std::env::var(name).ok())?;
        let (mut reader, name) = open_source(&stub, clock)?;
        let topic = sample::describe(reader.as_mut(), &name).await?;
        let records = sample::sample(reader.as_mut(), &topic, count).await?;
        let text = self.propose(&source, &records, clock)?;
        // What is written has to be a sound file.
        Pipeline::parse(&text, &path.display().to_string(), &|name| std::env::var(name).ok())?;
        let cannot = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(),
            _ => Error::Usage(format!("cannot write {}: {error}", path.display())),
        };
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(cannot)?;
        file.write_all(text.as_bytes()).map_err(cannot)?;
        println!("wrote {}: look at its columns, event time and query\n", path.display());
        Ok(())
    }

    /// The part of the file that says where records come from.
    fn source(&self) -> Result<String, Error> {
        if let Some(path) = &self.data {
            return Ok(format!(
                "[source]\nformat = \"json\"\n\n[source.file]\npath = {}\n\n",
                literal(&path.display().to_string())
            ));
        }
        let (Some(brokers), Some(topic)) = (&self.brokers, &self.topic) else {
            let text = "--init needs --brokers and --topic, or --data FILE";
            return Err(Error::Usage(text.to_owned()));
        };
        let mut text = format!(
            "[source]\nformat = \"json\"\n\n[source.kafka]\nbrokers = {}\ntopic   = {}\ngroup   = {}\nstart   = \"earliest\"\n\n",
            quoted(brokers),
            quoted(topic),
            quoted(&format!("windrow-{}", bare(topic)))
        );
        if !self.properties.is_empty() {
            text += "[source.kafka.properties]\n";
            for (key, value) in &self.properties {
                text += &format!("{} = {}\n", quoted(key), quoted(value));
            }
            text.push('\n');
        }
        Ok(text)
    }

    fn propose(&self, source: &str, records: &[Records], clock: Clock) -> Result<String, Error> {
        let from = match (&self.topic, &self.data) {
            (Some(topic), _) => format!("topic {topic}"),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => String::new(),
        };
        let mut seen = Seen::default();
        records.iter().for_each(|records| seen.take(records));
        if seen.objects == 0 {
            let text = match seen.others {
                0 => format!("{from} brought no record, so nothing can be proposed"),
                others => {
                    format!("{} records of {from}, and none is a JSON object: nothing can be proposed", grouped(others))
                }
            };
            return Err(Error::Usage(text));
        }
        let columns = seen.propose(clock.now());
        let chosen_time = event_time(&columns);
        let time = chosen_time.map(|column| column.name.as_str());
        let time = match (time, &self.topic) {
            (Some(time), _) => time,
            (None, Some(_)) => TIMESTAMP,
            (None, None) => {
                let text = format!(
                    "no member of {from} is a time in every record: RFC 3339 with its offset, or a number since the epoch"
                );
                return Err(Error::Usage(text));
            }
        };
        let name = self.topic.as_deref().or_else(|| self.data.as_deref()?.file_stem()?.to_str()).map(bare);
        let name = name.unwrap_or_else(|| "stream".to_owned());
        let mut out = format!("# Proposed from {} records of {from}", grouped(seen.objects + seen.others));
        if seen.others > 0 {
            out += &format!("; {} of them are no JSON objects", grouped(seen.others));
        }
        out += &format!(".\nname = {}\n\n{source}", quoted(&name));
        out += "# What the query does not need can be left out: it is skipped unread then, and no record is invalid for it.\n[source.columns]\n";
        // The event time may stand behind many others.
        let (first, rest): (Vec<_>, Vec<_>) = columns.iter().partition(|column| column.name == time);
        let chosen: Vec<&Proposed> = first.into_iter().chain(rest).take(MOST).collect();
        out += &lines(&chosen);
        if columns.len() > MOST {
            out += &format!("# and {} more members\n", columns.len() - MOST);
        }
        let by = if time == TIMESTAMP { "            # Kafka's own: no member of the records is a time" } else { "" };
        let behind = chosen_time.map_or(0, |column| column.behind);
        let delay = quoted(&text::describe(rounded(behind.max(LEAST_DELAY))));
        out += &format!(
            "\n[window]\nevent_time       = {}{by}\nsize             = \"1 hour\"\n\
             # In the sample, 99% of the records come at most {} behind the newest of their partition; `windrow lateness` tells more.\n\
             watermark_delay  = {delay}\nallowed_lateness = \"1 hour\"\n",
            quoted(time),
            short(behind)
        );
        out += &format!("\n[query]\nsql = \"\"\"\n{}\"\"\"\n", query(&chosen, &name));
        out += &format!("\n[sink]\nurl = {}\n", quoted(&format!("out/{name}")));
        Ok(out)
    }
}

/// The columns' lines, their comments below each other.
fn lines(columns: &[&Proposed]) -> String {
    let width = columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    let written: Vec<String> =
        columns.iter().map(|column| format!("{:<width$} = {}", column.name, value(column))).collect();
    let edge = written.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let line = |(line, column): (&String, &&Proposed)| match column.note.as_str() {
        "" => format!("{line}\n"),
        note => format!("{line:<edge$}  # {note}\n"),
    };
    written.iter().zip(columns).map(line).collect()
}

/// A column's type, as text or as a table.
fn value(column: &Proposed) -> String {
    let kind = quoted(&column.kind);
    let moved = column.path.len() > 1 || column.path.first() != Some(&column.name);
    if !moved && !column.optional {
        return kind;
    }
    let mut parts = vec![format!("type = {kind}")];
    if moved && column.path.iter().any(|name| name.contains('.')) {
        let names: Vec<String> = column.path.iter().map(|name| literal(name)).collect();
        parts.push(format!("path = [{}]", names.join(", ")));
    } else if moved {
        parts.push(format!("path = {}", literal(&column.path.join("."))));
    }
    if column.optional {
        parts.push("optional = true".to_owned());
    }
    format!("{{ {} }}", parts.join(", "))
}

/// A first query: counted, an amount summed, by the column with the fewest values.
fn query(columns: &[&Proposed], name: &str) -> String {
    let key = columns.iter().filter(|column| column.kind == "text" && column.distinct > 1 && column.distinct <= 500);
    let key = key.min_by_key(|column| (column.optional, column.distinct)).map(|column| in_sql(&column.name));
    let liked = |column: &&&Proposed| {
        let name = column.name.to_lowercase();
        AMOUNTS.iter().position(|word| name.contains(word)).unwrap_or(AMOUNTS.len())
    };
    let amounts = columns.iter().filter(|column| column.kind.starts_with("decimal"));
    let amount = amounts.min_by_key(liked).map(|column| in_sql(&column.name));
    let mut items: Vec<String> = key.iter().cloned().collect();
    let taken = |name: &str| [&key, &amount].into_iter().flatten().any(|column| column == name);
    items.push(format!("COUNT(*) AS {}", if taken("records") { "record_count" } else { "records" }));
    items.extend(amount.map(|amount| format!("SUM({amount}) AS {amount}")));
    let from = format!("SELECT {}\nFROM   {}\n", items.join(", "), in_sql(&name.replace('-', "_")));
    key.map_or_else(|| from.clone(), |key| format!("{from}GROUP  BY {key}\n"))
}

/// A name as SQL has it: in quotes where it means something else.
fn in_sql(name: &str) -> String {
    if loaders::is_reserved(name) || name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

/// A text as TOML writes it; JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The same for a text in which `${` stands for itself.
fn literal(text: &str) -> String {
    quoted(&text.replace("${", "$${"))
}

/// A name that may be part of file names.
fn bare(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let mut name: String = name.chars().map(legal).collect();
    name.truncate(100);
    if name.starts_with('-') || name.is_empty() { format!("_{name}") } else { name }
}
