//! What a pipeline whose records have schemas needs before its query can be planned: the schema of a file, and the
//! columns that are not declared.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::SourceError;
use super::client::{Client, Failure};
use crate::clock::Clock;
use crate::config::format::{RegistryConfig, SchemaSource};
use crate::config::{Pipeline, SourceConfig};
use crate::decode::column::{Column, ColumnType, HEADERS, KEY, META, PartType, TIMESTAMP, VALUE};
use crate::decode::key::{KeyLanguage, is_of_key};
use crate::decode::schemas::{Language, Origin, SchemaText, Told};
use crate::decode::{avro, protobuf};
use crate::error::Error;
use crate::query::{Query, QueryError};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Names that results and streams have already.
const TAKEN: [&str; 6] = ["dt", "window_start", "window_end", "_revision", VALUE, HEADERS];

/// Fills in what the pipeline file leaves to a schema: of the columns it tells, those that the query names. A pipeline
/// whose format has no schemas stays as it is. A registry that is down is waited for, `patience` at most if given.
///
/// # Errors
/// If the schema cannot be had or used, or does not tell what the query names.
pub async fn prepare(pipeline: &mut Pipeline, clock: Clock, patience: Option<Duration>) -> Result<(), Error> {
    let Some(schemas) = pipeline.reading.schemas.clone() else { return Ok(()) };
    let mut told = keys(pipeline, &schemas, clock, patience).await?;
    let (schema, place) = match &schemas {
        _ if !pipeline.format.has_schemas => return complete(pipeline, &told, "the schema of keys").await,
        SchemaSource::File { value: None, .. } => return Ok(()),
        SchemaSource::File { value: Some(path), .. } => {
            let schema = Arc::new(read(path, pipeline.format.name == "avro")?);
            pipeline.reading.settings.origin = Origin::One(schema.clone());
            (schema, path.display().to_string())
        }
        SchemaSource::Registry(registry) => {
            if is_complete(pipeline).await {
                return Ok(());
            }
            let subject = registry.subject.clone().unwrap_or_else(|| subject(pipeline, "value"));
            let schema = newest(registry, &subject, clock, patience).await?;
            (Arc::new(schema), format!("schema registry {}, subject {subject}", registry.url))
        }
    };
    let message = pipeline.reading.settings.message.as_deref();
    let of_value = match pipeline.format.name {
        "avro" => avro::told(&schema),
        _ => protobuf::told(&schema, message),
    };
    let mut all = of_value.map_err(|why| SourceError::Invalid(format!("{place}: {why}")))?;
    all.append(&mut told);
    complete(pipeline, &all, &place).await
}

/// What a topic's schemas are registered under, unless the pipeline file says otherwise.
fn subject(pipeline: &Pipeline, what: &str) -> String {
    match &pipeline.source {
        SourceConfig::Kafka(kafka) => format!("{}-{what}", kafka.topic),
        SourceConfig::File(_) => what.to_owned(),
    }
}

/// Fills in what `_key` is, where keys have schemas; the members that its schema tells.
async fn keys(
    pipeline: &mut Pipeline,
    schemas: &SchemaSource,
    clock: Clock,
    patience: Option<Duration>,
) -> Result<Vec<Told>, Error> {
    let subject = subject(pipeline, "key");
    let Some(settings) = &mut pipeline.reading.settings.key else { return Ok(Vec::new()) };
    let (schema, place) = match schemas {
        SchemaSource::File { key: None, .. } => return Ok(Vec::new()),
        SchemaSource::File { key: Some(path), .. } => {
            let schema = Arc::new(read(path, settings.language == KeyLanguage::Avro)?);
            settings.origin = Origin::One(schema.clone());
            (schema, path.display().to_string())
        }
        SchemaSource::Registry(registry) => {
            let subject = registry.key_subject.clone().unwrap_or(subject);
            let schema = newest(registry, &subject, clock, patience).await?;
            (Arc::new(schema), format!("schema registry {}, subject {subject}", registry.url))
        }
    };
    let told = match settings.language {
        KeyLanguage::Avro => avro::told_of_key(&schema),
        KeyLanguage::Protobuf => protobuf::told(&schema, settings.message.as_deref()).map(|members| {
            let whole = Told { name: KEY.to_owned(), path: Vec::new(), column: Ok((ColumnType::Json, false)) };
            (whole, members)
        }),
    };
    let invalid = |why: String| SourceError::Invalid(format!("{place}: {why}"));
    let (whole, mut members) = told.map_err(invalid)?;
    let (kind, _) = whole.column.map_err(|why| invalid(format!("{KEY}: {why}")))?;
    pipeline.columns.whole.key = Some(PartType::Spelled(kind));
    members.iter_mut().for_each(|told| told.path.insert(0, KEY.to_owned()));
    Ok(members)
}

/// Whether the declared columns are all that the query names.
async fn is_complete(pipeline: &Pipeline) -> bool {
    let columns = &pipeline.columns;
    let timed = columns.event_time == TIMESTAMP || columns.declared.iter().any(|c| c.name == columns.event_time);
    timed && !columns.declared.is_empty() && Query::names(&pipeline.sql, columns, &pipeline.tables).await.is_ok()
}

/// Adds the columns that are told and named.
async fn complete(pipeline: &mut Pipeline, told: &[Told], place: &str) -> Result<(), Error> {
    let mut taken: BTreeSet<String> = TAKEN.iter().chain(&META).map(|name| (*name).to_owned()).collect();
    taken.extend(pipeline.columns.declared.iter().map(|column| column.name.to_lowercase()));
    let mut all = pipeline.columns.clone();
    for Told { name, path, column } in told {
        let Ok((kind, optional)) = column else { continue };
        if taken.insert(name.to_lowercase()) {
            let column = Column { name: name.clone(), path: path.clone(), kind: *kind, optional: *optional };
            all.declared.push(column);
        }
    }
    event_time(pipeline, &mut all.declared, told, place)?;
    let names = Query::names(&pipeline.sql, &all, &pipeline.tables).await;
    let names = names.map_err(|error| with_reason(error, told).at(&pipeline.sql_place))?;
    let declared: BTreeSet<&String> = pipeline.columns.declared.iter().map(|column| &column.name).collect();
    let event_time = &all.event_time;
    all.declared.retain(|c| declared.contains(&c.name) || names.contains(&c.name) || c.name == *event_time);
    pipeline.columns = all;
    Ok(())
}

/// Checks that the event time is among the columns, and is one.
fn event_time(pipeline: &Pipeline, columns: &mut [Column], told: &[Told], place: &str) -> Result<(), Error> {
    let name = &pipeline.columns.event_time;
    if name == TIMESTAMP {
        return Ok(());
    }
    let invalid = |why: &str| {
        let text = format!("{place}: window.event_time = \"{name}\": {why}");
        Err(SourceError::Invalid(text).into())
    };
    match columns.iter_mut().find(|column| column.name == *name) {
        Some(column) if is_of_key(column) => invalid("it is a part of the key; name a time of the value"),
        Some(Column { kind: ColumnType::Timestamp(_), optional, .. }) => {
            // A record without one is invalid, whatever its schema allows.
            *optional = false;
            Ok(())
        }
        Some(Column { kind: ColumnType::Int, .. }) => invalid(
            "the schema gives the number no unit; declare it in [source.columns] as \"timestamp(ms)\" or another",
        ),
        Some(_) => invalid("the schema does not say that it is a time; declare it in [source.columns]"),
        None => match told.iter().find(|told| told.name == *name) {
            Some(Told { column: Err(why), .. }) => invalid(why),
            _ => invalid("the schema has no such field"),
        },
    }
}

/// The query's error, with the reason why a field that it names is no column.
fn with_reason(error: QueryError, told: &[Told]) -> QueryError {
    let QueryError::Invalid(text) = &error else { return error };
    let named = told.iter().find_map(|told| {
        let why = told.column.as_ref().err()?;
        text.starts_with(&format!("column \"{}\"", told.name)).then_some((told, why))
    });
    match named {
        Some((told, why)) => QueryError::Invalid(format!("column \"{}\" cannot be read: {why}", told.name)),
        None => error,
    }
}

async fn newest(
    registry: &RegistryConfig,
    subject: &str,
    clock: Clock,
    patience: Option<Duration>,
) -> Result<SchemaText, Error> {
    let client = Client::new(registry)?;
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    let began = clock.now();
    loop {
        let why = match client.newest(subject).await {
            Ok(schema) => {
                if said {
                    tracing::info!("the schema registry answers again");
                }
                return Ok(schema);
            }
            Err(Failure::Away(why)) => why,
            Err(Failure::Unknown(why)) => {
                let text = format!(
                    "schema registry {}: subject {subject}: {why}; register a schema, name another subject in \
                     [source.registry], or declare the columns in [source.columns]",
                    client.name()
                );
                return Err(SourceError::Invalid(text).into());
            }
            Err(Failure::Unusable(why) | Failure::Refused(why)) => {
                return Err(SourceError::Invalid(format!("schema registry {}: {why}", client.name())).into());
            }
        };
        let waited = clock.now().0.saturating_sub(began.0);
        if patience.is_some_and(|patience| i64::try_from(patience.as_micros()).is_ok_and(|most| waited >= most)) {
            return Err(SourceError::Unavailable(format!("schema registry {}: {why}", client.name())).into());
        }
        if !said {
            said = true;
            tracing::warn!("waiting: schema registry {}: {why}; its schema tells the columns", client.name());
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A schema file, with the Protobuf files that it imports and that lie beside it.
fn read(path: &Path, is_avro: bool) -> Result<SchemaText, Error> {
    let text = read_text(path)?;
    if is_avro {
        return Ok(SchemaText { language: Language::Avro, text, references: Vec::new() });
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut references: Vec<(String, String)> = Vec::new();
    let mut waiting = imports(&text);
    while let Some(name) = waiting.pop() {
        let file = folder.join(&name);
        if references.iter().any(|(known, _)| *known == name) || !file.is_file() {
            continue;
        }
        let text = read_text(&file)?;
        waiting.extend(imports(&text));
        references.push((name, text));
    }
    Ok(SchemaText { language: Language::Protobuf, text, references })
}

fn read_text(path: &Path) -> Result<String, Error> {
    let cannot = |error| SourceError::Invalid(format!("cannot read schema {}: {error}", path.display()));
    Ok(std::fs::read_to_string(path).map_err(cannot)?)
}

/// The files that a Protobuf file imports; what looks like an import and is none does no harm.
fn imports(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("import")?;
        let rest = rest.trim_start().trim_start_matches("public").trim_start_matches("weak").trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        Some(rest[1..].split(quote).next()?.to_owned())
    });
    names.collect()
}
