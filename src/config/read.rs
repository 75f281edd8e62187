//! The sections, one after the other, and what must hold between them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use toml::de::{DeTable, DeValue};

use super::reader::{Env, Reader, Section, Text, document};
use super::{
    ConfigError, Emit, FileConfig, OnDataLoss, OnInvalid, OnQuiet, Pipeline, SinkConfig, SourceConfig, WindowConfig,
    asked, columns, format, kafka, keys, near, place,
};
use crate::decode::column::{Column, ColumnType, Columns, PartType, TIMESTAMP, Whole};
use crate::decode::key;
use crate::decode::{FORMATS, PARQUET, RAW};
use crate::sink::format::FileFormat;
use crate::time::text::{self, TextError};
use crate::time::window::{LONGEST, Windows};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A pipeline out of a file's text.
pub(super) fn pipeline(text: &str, file: &str, env: Env<'_>) -> Result<Pipeline, ConfigError> {
    let mut reader = Reader::new(file, text, env, keys::KEYS);
    let (document, errors) = document(text, file)?;
    let whole = reader.parse(&document, &errors);
    let pipeline = if whole { read(&mut reader, &document, file) } else { None };
    match (reader.error(), pipeline) {
        (None, Some(pipeline)) => Ok(pipeline),
        (Some(error), _) => Err(error),
        (None, None) => Err(ConfigError(format!("{file}: cannot be used, and the reason is not known"))),
    }
}

fn read(reader: &mut Reader<'_>, document: &serde_spanned::Spanned<DeTable<'_>>, file: &str) -> Option<Pipeline> {
    let root = reader.root(document);
    let name = reader.required(&root, "name").and_then(|text| checked_name(reader, text));
    let source = needed(reader, &root, "source", "source");
    let formats: Vec<_> = FORMATS.iter().map(|format| (format.name, format)).collect();
    let format = reader.choice(&source, "format", &formats);
    let on_invalid = reader.choice(&source, "on_invalid", &[("keep", OnInvalid::Keep), ("fail", OnInvalid::Fail)]);
    let words = [("stop", OnDataLoss::Stop), ("continue", OnDataLoss::Continue)];
    let on_data_loss = reader.choice(&source, "on_data_loss", &words);
    let mut from = origin_of_records(reader, &source);
    let section = reader.section(&source, "columns", "columns");
    let declared = columns::read(reader, &section);
    let is_raw = format.is_some_and(|format| format.name == RAW);
    if let Some(first) = section.members().first().filter(|_| is_raw) {
        let wrong = "records of format = \"raw\" have no columns: their value is not looked into";
        reader.problem(&first.1, wrong, "leave [source.columns] out, or write format = \"json\"");
    }
    let key_text = reader.text(&source, "key");
    let key_language = key_text.as_ref().and_then(|text| format::key_language(&text.value));
    let key = key_text.as_ref().filter(|_| key_language.is_none()).and_then(|text| columns::read_part(reader, text));
    let value = reader.text(&source, "value").and_then(|text| columns::read_part(reader, &text));
    if let (Some(text), Some(_), Some(SourceConfig::File(_))) = (&key_text, key_language, &from) {
        reader.wrong(text, &TextError::new("rows of files have no keys", "leave it out"));
    }
    let window = needed(reader, &root, "window", "window");
    let file_source = matches!(from, Some(SourceConfig::File(_)));
    let reading = format::read(reader, &source, format, file, file_source, key_language);
    let has_schemas = format.is_some_and(|format| format.has_schemas);
    let lines = format.is_none_or(|format| format.name != PARQUET && !format.has_schemas);
    let wrong = match &from {
        Some(SourceConfig::Kafka(_)) if format.is_some_and(|format| format.name == PARQUET) => {
            Some("records of a topic are no Parquet files")
        }
        Some(SourceConfig::File(_)) if has_schemas => Some("files are read as JSON lines, CSV or Parquet"),
        Some(SourceConfig::File(FileConfig { place: None, .. })) if !lines => Some("standard input is read as lines"),
        _ => None,
    };
    if let Some(wrong) = wrong
        && let Some(text) = reader.text(&source, "format")
    {
        reader.wrong(&text, &TextError::new(wrong, "write another format"));
    }
    let event_time = reader.required(&window, "event_time");
    // What a schema tells is not known yet.
    let event_time = event_time.and_then(|text| match declared.iter().any(|column| column.name == text.value) {
        false if has_schemas => Some(text.value),
        true if key_language.is_some() && declared.iter().any(|c| c.name == text.value && key::is_of_key(c)) => {
            reader.wrong(&text, &TextError::new("a part of the key", "name a timestamp of the value"));
            None
        }
        _ => checked_event_time(reader, text, &declared, file_source),
    });
    let window = read_window(reader, &window);
    let query = needed(reader, &root, "query", "query");
    let sql = reader.required(&query, "sql").and_then(|text| checked_sql(reader, text));
    let asked = sql.as_ref().map(|(sql, _)| asked::of(sql)).unwrap_or_default();
    let has_value = is_raw || asked.value;
    let value = value.or(Some(PartType::Spelled(ColumnType::Text))).filter(|_| has_value);
    let whole = Whole { key, value, headers: asked.headers };
    if let Some(SourceConfig::Kafka(kafka)) = &mut from {
        kafka.headers = asked.headers;
    }
    let tables = reader.section(&root, "tables", "tables");
    let tables = read_tables(reader, &tables, file);
    let sink = needed(reader, &root, "sink", "sink");
    let sink = read_sink(reader, &sink);
    let limits = reader.section(&root, "limits", "limits");
    let memory = reader.bytes(&limits, "memory", 512 << 20, 16 << 20..=1 << 40);
    let (sql, sql_place) = sql?;
    Some(Pipeline {
        name: name?,
        source: from?,
        format: format?,
        reading: reading?,
        columns: Columns { declared, event_time: event_time?, whole },
        on_invalid: on_invalid?,
        on_data_loss: on_data_loss?,
        window: window?,
        sql,
        sql_place,
        tables,
        sink: sink?,
        memory: memory?,
    })
}

/// A section that may not be missing.
pub(super) fn needed<'t>(
    reader: &mut Reader<'_>,
    root: &Section<'t>,
    name: &'static str,
    kind: &'static str,
) -> Section<'t> {
    let section = reader.section(root, name, kind);
    if !section.is_there() {
        reader.problem(&section.at(), format!("[{name}] is missing"), format!("add a section [{name}]"));
    }
    section
}

pub(super) fn checked_name(reader: &mut Reader<'_>, text: Text) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.value.is_empty() || text.value.len() > 100 || text.value.starts_with('-') || !text.value.chars().all(legal)
    {
        let instead = "write 1 to 100 letters, digits, _ and -, such as \"rides_hourly\"";
        reader.wrong(&text, &TextError::new("a name that is part of file names", instead));
        return None;
    }
    Some(text.value)
}

fn origin_of_records(reader: &mut Reader<'_>, source: &Section<'_>) -> Option<SourceConfig> {
    let topic = reader.section(source, "kafka", "source.kafka");
    let file = reader.section(source, "file", "source.file");
    match (topic.is_there(), file.is_there()) {
        (true, true) => {
            reader.problem(&file.at(), "records come from [source.kafka] or from [source.file]", "keep one of them");
            None
        }
        (false, false) => {
            if source.is_there() {
                let wrong = "nothing says where records come from";
                reader.problem(&source.at(), wrong, "add a section [source.kafka] or [source.file]");
            }
            None
        }
        (true, false) => kafka::read(reader, &topic).map(SourceConfig::Kafka),
        (false, true) => {
            let path = reader.required(&file, "path")?;
            if path.value.is_empty() {
                reader.wrong(&path, &TextError::new("empty", "write a file's path, or \"-\" for standard input"));
                return None;
            }
            let settings = reader.section(&file, "properties", "properties");
            let properties = reader.properties(&settings);
            let place = if path.value.starts_with("s3://") { place::url(reader, &path)? } else { path.value };
            for (name, text) in &properties {
                if place.starts_with("s3://") {
                    place::check_property(reader, name, text);
                } else {
                    reader.problem(&text.at, format!("{name}: local files have no properties"), "leave it out");
                }
            }
            let properties = properties.into_iter().map(|(name, text)| (name, text.value)).collect();
            Some(SourceConfig::File(FileConfig { place: (place != "-").then_some(place), properties }))
        }
    }
}

fn checked_event_time(reader: &mut Reader<'_>, text: Text, declared: &[Column], file: bool) -> Option<String> {
    let is_time = |column: &&Column| matches!(column.kind, ColumnType::Timestamp(_));
    let times: Vec<_> = declared.iter().filter(is_time).map(|column| column.name.as_str()).collect();
    let found = declared.iter().find(|column| column.name == text.value);
    let error = match found {
        None if text.value == TIMESTAMP && file => {
            TextError::new("lines of a file have no Kafka timestamp", "name a timestamp of [source.columns]")
        }
        None if text.value == TIMESTAMP => return Some(text.value),
        None if times.is_empty() => {
            let instead = format!("declare {} = \"timestamp\" in [source.columns], or write \"{TIMESTAMP}\"", text.raw);
            TextError::new("not a declared column", instead)
        }
        None => TextError::new("not a declared column", near::hint(&text.raw, &times)),
        Some(column) if !is_time(&column) => {
            let instead = match times.as_slice() {
                [] => format!("declare {} = \"timestamp\" or \"timestamp(ms)\"", column.name),
                times => near::hint(&text.raw, times),
            };
            TextError::new("not a timestamp", instead)
        }
        Some(column) if column.optional => {
            TextError::new("every record needs its event time", format!("leave optional out of {}", column.name))
        }
        Some(_) => return Some(text.value),
    };
    reader.wrong(&text, &error);
    None
}

fn read_window(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<WindowConfig> {
    let size_text = reader.required(section, "size");
    let every_text = reader.text(section, "every");
    let zone_text = reader.text(section, "timezone");
    let origin_text = reader.text(section, "origin");
    let size = size_text.as_ref().and_then(|text| or_note(reader, text, text::window_size(&text.value)));
    let every = every_text.as_ref().map(|text| or_note(reader, text, text::window_size(&text.value)));
    let zone = zone_text.as_ref().map(|text| checked_zone(reader, text));
    let origin = origin_text.as_ref().map(|text| or_note(reader, text, text::time(&text.value)));
    // A problem with one of them has been noted; the others are still checked against each other.
    let windows = size.and_then(|size| {
        let (origin, zone) = (origin.flatten(), zone.flatten());
        let tumbling = Windows::new(size, origin, zone).map_err(|error| (error, &size_text));
        let windows = tumbling.and_then(|tumbling| match every.flatten() {
            Some(every) => Windows::hopping(size, every, origin, zone).map_err(|error| (error, &every_text)),
            None => Ok(tumbling),
        });
        windows
            .map_err(|(error, text)| {
                use crate::time::window::WindowError as E;
                let at_origin = matches!(error, E::OriginDay | E::OriginRange);
                let text = if at_origin { origin_text.as_ref() } else { text.as_ref() };
                let said = error.to_string();
                let (wrong, instead) = said.split_once("; ").unwrap_or((&said, "write another"));
                text.map(|text| reader.wrong(text, &TextError::new(wrong, instead)))
            })
            .ok()
    });
    let watermark_delay = reader.duration(section, "watermark_delay", 0, 0..=LONGEST);
    let allowed_lateness = reader.duration(section, "allowed_lateness", 0, 0..=LONGEST);
    let emit = reader.choice(section, "emit", &[("final", Emit::Final), ("early", Emit::Early)]);
    let idle_timeout = reader.duration(section, "idle_timeout", 30 * SECOND, SECOND..=LONGEST);
    let on_quiet = reader.choice(section, "on_quiet", &[("advance", OnQuiet::Advance), ("hold", OnQuiet::Hold)]);
    let max_future = reader.duration(section, "max_future", HOUR, 0..=LONGEST);
    Some(WindowConfig {
        windows: windows?,
        watermark_delay: watermark_delay?,
        allowed_lateness: allowed_lateness?,
        emit: emit?,
        idle_timeout: idle_timeout?,
        on_quiet: on_quiet?,
        max_future: max_future?,
    })
}

fn or_note<T>(reader: &mut Reader<'_>, text: &Text, value: Result<T, TextError>) -> Option<T> {
    value.map_err(|error| reader.wrong(text, &error)).ok()
}

fn checked_zone(reader: &mut Reader<'_>, text: &Text) -> Option<Tz> {
    let zone = text.value.parse().map_err(|_| {
        let near = near::zone(&text.raw).map_or_else(
            || "write a name like \"Europe/Paris\"".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        TextError::new("unknown time zone", near)
    });
    or_note(reader, text, zone)
}

fn checked_sql(reader: &mut Reader<'_>, text: Text) -> Option<(String, String)> {
    if text.value.trim().is_empty() {
        reader.wrong(&text, &TextError::new("empty", "write a query such as \"SELECT * FROM rides\""));
        return None;
    }
    let place = reader.place(&text.at);
    Some((text.value, place))
}

fn read_tables(reader: &mut Reader<'_>, section: &Section<'_>, file: &str) -> BTreeMap<String, PathBuf> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut tables = BTreeMap::new();
    for (name, at, value) in section.members() {
        let key = format!("tables.{name}");
        let DeValue::String(raw) = value else {
            reader.problem(&at, format!("{key} must be text"), format!("write {name} = \"{name}.csv\""));
            continue;
        };
        let Some(text) = reader.expand(&key, &at, raw) else { continue };
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let path = Path::new(&text.value);
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        if !name.chars().all(legal) || name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
            reader.problem(&at, format!("{key} is no table's name"), "write letters, digits and _");
        } else if !matches!(extension.as_str(), "csv" | "parquet") {
            reader.wrong(
                &text,
                &TextError::new("not a table this version reads", "write a path that ends with .csv or .parquet"),
            );
        } else {
            tables.insert(name.to_owned(), folder.join(path));
        }
    }
    tables
}

fn read_sink(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SinkConfig> {
    let url = reader.required(section, "url").and_then(|text| place::url(reader, &text));
    let settings = reader.section(section, "properties", "properties");
    let properties = reader.properties(&settings);
    for (name, text) in &properties {
        if url.as_ref().is_some_and(|url| !url.starts_with("s3://")) {
            reader.problem(&text.at, format!("{name}: a local folder has no properties"), "leave it out");
        } else {
            place::check_property(reader, name, text);
        }
    }
    let formats = FileFormat::ALL.map(|format| (format.name(), format));
    let format = reader.choice(section, "format", &formats);
    let commit_interval = reader.duration(section, "commit_interval", 10 * SECOND, SECOND / 10..=HOUR);
    let target_file_size = reader.bytes(section, "target_file_size", 256 << 20, 1 << 10..=16 << 30);
    let late_interval = reader.duration(section, "late_interval", 15 * MINUTE, SECOND..=24 * HOUR);
    let late_size = reader.bytes(section, "late_size", 16 << 20, 1 << 10..=1 << 30);
    Some(SinkConfig {
        url: url?,
        properties: properties.into_iter().map(|(name, text)| (name, text.value)).collect(),
        format: format?,
        commit_interval: commit_interval?,
        target_file_size: target_file_size?,
        late_interval: late_interval?,
        late_size: late_size?,
    })
}
