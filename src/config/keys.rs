//! Every key of a pipeline file, with how it is written: the one list that unknown keys, missing keys and wrong types
//! are told from. A poll file has a list of its own.

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// The section it stands in, empty for the top; `column` for a column that is written as a table.
    pub(super) section: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// A line as it may be written.
    pub(super) like: &'static str,
}

pub(super) const fn key(section: &'static str, name: &'static str, like: &'static str) -> Key {
    Key { section, name, like }
}

/// Every key. The members of `properties`, `columns` and `tables` have names of their own.
pub(super) const KEYS: &[Key] = &[
    key("", "name", r#"name = "rides_hourly""#),
    key("", "source", "[source]"),
    key("", "window", "[window]"),
    key("", "query", "[query]"),
    key("", "tables", "[tables]"),
    key("", "sink", "[sink]"),
    key("", "limits", "[limits]"),
    key("source", "format", r#"format = "json""#),
    key("source", "key", r#"key = "text""#),
    key("source", "value", r#"value = "bytes""#),
    key("source", "on_invalid", r#"on_invalid = "keep""#),
    key("source", "on_data_loss", r#"on_data_loss = "stop""#),
    key("source", "on_missing", r#"on_missing = "invalid""#),
    key("source", "on_delete", r#"on_delete = "ignore""#),
    key("source", "kafka", "[source.kafka]"),
    key("source", "file", "[source.file]"),
    key("source", "columns", "[source.columns]"),
    key("source", "csv", "[source.csv]"),
    key("source", "schema", "[source.schema]"),
    key("source", "registry", "[source.registry]"),
    key("source.kafka", "brokers", r#"brokers = "localhost:9092""#),
    key("source.kafka", "topic", r#"topic = "rides""#),
    key("source.kafka", "group", r#"group = "rides-hourly""#),
    key("source.kafka", "start", r#"start = "earliest""#),
    key("source.kafka", "assignment", r#"assignment = "all""#),
    key("source.kafka", "properties", r#"properties = { "security.protocol" = "SSL" }"#),
    key("source.file", "path", r#"path = "rides.jsonl""#),
    key("source.file", "properties", r#"properties = { region = "eu-west-1" }"#),
    key("source.csv", "names", r#"names = ["at", "zone", "fare"]"#),
    key("source.csv", "first_line", "first_line = true"),
    key("source.csv", "delimiter", r#"delimiter = ",""#),
    key("source.csv", "quote", r#"quote = "'""#),
    key("source.csv", "null", r#"null = "NULL""#),
    key("source.schema", "file", r#"file = "ride.avsc""#),
    key("source.schema", "key_file", r#"key_file = "ride-key.avsc""#),
    key("source.schema", "key_message", r#"key_message = "rides.v1.Key""#),
    key("source.schema", "message", r#"message = "rides.v1.Ride""#),
    key("source.registry", "url", r#"url = "http://localhost:8081""#),
    key("source.registry", "username", r#"username = "windrow""#),
    key("source.registry", "password", r#"password = "${REGISTRY_PASSWORD}""#),
    key("source.registry", "token", r#"token = "${REGISTRY_TOKEN}""#),
    key("source.registry", "ca", r#"ca = "ca.pem""#),
    key("source.registry", "certificate", r#"certificate = "client.pem""#),
    key("source.registry", "key", r#"key = "client.key""#),
    key("source.registry", "subject", r#"subject = "rides-value""#),
    key("source.registry", "key_subject", r#"key_subject = "rides-key""#),
    key("source.registry", "key_message", r#"key_message = "rides.v1.Key""#),
    key("source.registry", "message", r#"message = "rides.v1.Ride""#),
    key("source.registry", "unknown_timeout", r#"unknown_timeout = "30 seconds""#),
    key("column", "type", r#"type = "text""#),
    key("column", "path", r#"path = "ride.fare.total""#),
    key("column", "optional", "optional = true"),
    key("window", "event_time", r#"event_time = "dropoff_at""#),
    key("window", "size", r#"size = "1 hour""#),
    key("window", "every", r#"every = "10 minutes""#),
    key("window", "timezone", r#"timezone = "Europe/Paris""#),
    key("window", "origin", r#"origin = "2026-03-01T00:00:00Z""#),
    key("window", "watermark_delay", r#"watermark_delay = "10 minutes""#),
    key("window", "allowed_lateness", r#"allowed_lateness = "2 hours""#),
    key("window", "emit", r#"emit = "final""#),
    key("window", "idle_timeout", r#"idle_timeout = "30 seconds""#),
    key("window", "on_quiet", r#"on_quiet = "advance""#),
    key("window", "max_future", r#"max_future = "1 hour""#),
    key("query", "sql", r#"sql = "SELECT COUNT(*) AS rides FROM rides""#),
    key("sink", "url", r#"url = "s3://lake/rides_hourly""#),
    key("sink", "properties", r#"properties = { region = "eu-west-1" }"#),
    key("sink", "format", r#"format = "parquet""#),
    key("sink", "commit_interval", r#"commit_interval = "10 seconds""#),
    key("sink", "target_file_size", r#"target_file_size = "256 MiB""#),
    key("sink", "late_interval", r#"late_interval = "15 minutes""#),
    key("sink", "late_size", r#"late_size = "16 MiB""#),
    key("limits", "memory", r#"memory = "512 MiB""#),
];

/// The names of a section's keys, out of the list of a kind of file.
pub(super) fn of<'s>(keys: &'static [Key], section: &'s str) -> impl Iterator<Item = &'static str> + use<'s> {
    keys.iter().filter(move |key| key.section == section).map(|key| key.name)
}

/// How a key is written.
pub(super) fn like(keys: &'static [Key], section: &str, name: &str) -> &'static str {
    keys.iter().find(|key| key.section == section && key.name == name).map_or("", |key| key.like)
}
