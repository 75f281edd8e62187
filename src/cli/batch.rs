//! `windrow batch`: a topic's whole records, one file for each span of their Kafka time, with no pipeline file.
//!
//! It writes the pipeline file that does this and runs it: what is here is only that file (`file`), and the list of
//! columns as people write it (`columns`) or as records tell it (`learn`).

mod columns;
mod file;
mod learn;

use clap::ValueEnum;

use self::columns::Listed;
use super::property;
use super::run::{How, drive};
use super::terminal::Terminal;
use crate::config::Pipeline;
use crate::error::Error;
use crate::sink::format::FileFormat;

/// The command.
#[derive(Clone, Debug, clap::Args)]
pub struct Batch {
    /// Bootstrap brokers, host:port with commas
    #[arg(long)]
    brokers: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// The consumer group that offsets are committed under, for lag tools
    #[arg(long)]
    group: String,
    /// The span of Kafka time that one file holds, such as 30s, 5m or 1h
    #[arg(long, value_name = "DURATION")]
    every: String,
    /// How long a partition may have nothing to read before it no longer holds a batch open
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    poll: String,
    /// How far behind a partition's newest record the time of another one may be [default: --poll]
    #[arg(long, value_name = "DURATION")]
    delay: Option<String>,
    /// Where files go: a local folder or s3://bucket/prefix; S3 settings come from the AWS_… environment variables
    #[arg(long, value_name = "SINK")]
    out: String,
    /// What file names begin with [default: the topic's name]
    #[arg(long)]
    name: Option<String>,
    /// Where the first run begins: earliest, latest or a time
    #[arg(long, default_value = "earliest")]
    start: String,
    /// Values are JSON objects: a column for each of these members, such as 'ticker text, price decimal(12,2) not null'
    #[arg(long, value_name = "LIST", value_parser = columns::parse)]
    columns: Option<Listed>,
    /// Values are JSON objects: the columns are learned from the topic's first records at the first start, and kept
    #[arg(long, conflicts_with_all = ["columns", "value"])]
    json: bool,
    /// What values are, without --columns and --json: each is kept whole
    #[arg(long, value_enum, default_value_t = Value::Text, conflicts_with = "columns")]
    value: Value,
    /// What keys are: text, bytes, or a column's type such as int
    #[arg(long, value_name = "TYPE", default_value = "text")]
    key: String,
    /// A column with the value of this header; may be given several times
    #[arg(long = "header", value_name = "NAME")]
    headers: Vec<String>,
    /// How files are written
    #[arg(long, value_enum, default_value_t = Written::Parquet)]
    format: Written,
    /// A property of librdkafka, such as security.protocol=SSL; ${NAME} in it is the environment's value
    #[arg(long = "kafka-property", value_name = "KEY=VALUE", value_parser = property)]
    kafka_properties: Vec<(String, String)>,
    /// A setting of the object store, such as endpoint=http://127.0.0.1:9000
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property)]
    sink_properties: Vec<(String, String)>,
    /// Write the pipeline file that does the same to standard output, and do nothing
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    how: How,
}

/// What a value is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Value {
    /// Text; a value that is no UTF-8 goes to invalid/.
    Text,
    /// Bytes, whatever they are.
    Bytes,
    /// JSON, kept as its text; a value that is none goes to invalid/.
    Json,
}

/// How files are written.
#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// Parquet.
    Parquet,
    /// JSON lines.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

impl Written {
    fn format(self) -> FileFormat {
        match self {
            Self::Parquet => FileFormat::Parquet,
            Self::Jsonl => FileFormat::Jsonl,
            Self::Csv => FileFormat::Csv,
        }
    }
}

impl Batch {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let env = |name: &str| std::env::var(name).ok();
        let list = match &self.columns {
            None if self.json => Some(learn::columns(&self.pipeline(None, &env)?, !self.print).await?),
            columns => columns.clone(),
        };
        if self.print {
            print!("{}", self.file(list.as_ref()));
            return Ok(());
        }
        drive(self.pipeline(list.as_ref(), &env)?, self.how, terminal).await
    }

    /// The pipeline, from its file. Problems are told by the option that they come from.
    fn pipeline(&self, list: Option<&Listed>, env: &dyn Fn(&str) -> Option<String>) -> Result<Pipeline, Error> {
        let parsed = Pipeline::parse(&self.file(list), file::LABEL, env);
        let mut pipeline = parsed.map_err(|error| Error::Usage(file::by_option(&error.to_string())))?;
        "windrow batch".clone_into(&mut pipeline.sql_place);
        Ok(pipeline)
    }
}

#[cfg(test)]
mod tests;
