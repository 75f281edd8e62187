//! The files: a table that is a folder, with a folder a day in it.

use std::path::Path;

use arrow::datatypes::SchemaRef;

use super::notes::{self, Notes};
use super::words::{TIME, name, text, type_name};
use crate::config::SinkConfig;
use crate::sink::format::FileFormat;

/// Where the files go; `other` in the place of the pipeline's own folder, which Windrow writes to.
pub(super) fn place(written: &str, other: Option<&str>) -> String {
    let url = match other {
        Some(other) => other.to_owned(),
        None => format!("{}-flink", written.trim_end_matches('/')),
    };
    let url = url.trim_end_matches('/');
    if url.contains("://") {
        return format!("{url}/data");
    }
    let absolute =
        std::path::absolute(Path::new(url)).map_or_else(|_| url.to_owned(), |path| path.display().to_string());
    format!("file://{absolute}/data")
}

/// The table.
pub(super) fn write(table: &str, output: &SchemaRef, sink: &SinkConfig, place: &str, notes: &mut Notes) -> String {
    notes.add(notes::FILES);
    notes.add(notes::EXACTLY_ONCE);
    notes.add(notes::SINK);
    if place.starts_with("file:") {
        notes.add(notes::LOCAL);
    }
    let mut columns = vec![format!("`window_start` {TIME}"), format!("`window_end` {TIME}")];
    columns.extend(
        output
            .fields()
            .iter()
            .map(|field| format!("{} {}", name(field.name()), type_name(field.data_type()).unwrap_or_default())),
    );
    columns.push("`_revision` INT".to_owned());
    columns.push("`dt` STRING".to_owned());
    let mut options = vec![("connector", "filesystem".to_owned()), ("path", place.to_owned())];
    options.extend(match sink.format {
        FileFormat::Parquet => vec![
            ("format", "parquet".to_owned()),
            ("parquet.utc-timezone", "true".to_owned()),
            ("parquet.write.int64.timestamp", "true".to_owned()),
            ("parquet.timestamp.time.unit", "micros".to_owned()),
        ],
        FileFormat::Jsonl => vec![
            ("format", "json".to_owned()),
            ("json.timestamp-format.standard", "ISO-8601".to_owned()),
            ("json.encode.decimal-as-plain-number", "true".to_owned()),
        ],
        FileFormat::Csv => {
            notes.add("Files of CSV have no line of names.");
            vec![("format", "csv".to_owned())]
        }
    });
    options.push(("sink.rolling-policy.file-size", format!("{} b", sink.target_file_size)));
    let options: Vec<_> = options.iter().map(|(key, value)| format!("    {} = {}", text(key), text(value))).collect();
    format!(
        "CREATE TABLE {} (\n    {}\n) PARTITIONED BY (`dt`) WITH (\n{}\n);\n",
        name(table),
        columns.join(",\n    "),
        options.join(",\n")
    )
}

/// What an S3 sink needs in Flink's own configuration: it does not take it from a script.
pub(super) fn configuration(settings: &std::collections::BTreeMap<String, (usize, String)>) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, (_, value)) in settings {
        let known = match key.to_lowercase().as_str() {
            "endpoint" => "s3.endpoint",
            "region" => "s3.endpoint.region",
            "access_key_id" => "s3.access-key",
            "secret_access_key" => "s3.secret-key",
            "virtual_hosted_style_request" => {
                lines.push(format!("s3.path.style.access: {}", value != "true"));
                continue;
            }
            "allow_http" => continue,
            other => {
                lines.push(format!("# not carried over: {other}"));
                continue;
            }
        };
        lines.push(format!("{known}: {value}"));
    }
    if !settings.keys().any(|key| key.eq_ignore_ascii_case("virtual_hosted_style_request")) {
        lines.push("s3.path.style.access: true".to_owned());
    }
    lines
}
