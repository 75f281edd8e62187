//! The stream: a table of what records hold, and a view of it with the pipeline's columns.

use std::collections::BTreeSet;

use super::kafka;
use super::notes::{self, Notes};
use super::words::{TIME, interval, name, text};
use crate::config::{KafkaConfig, OnInvalid, OnQuiet, Pipeline};
use crate::decode::column::{
    Column, ColumnType, KEY, OFFSET, PARTITION, PartType, TIMESTAMP, TOPIC, TimestampForm, VALUE,
};
use crate::decode::csv::Names;
use crate::export::Refusals;
use crate::export::document::Document;
use crate::source::Start;

/// A member of a record, with what is in it.
#[derive(Debug, Default)]
struct Member {
    name: String,
    kind: Option<&'static str>,
    /// A type that is not the same for all.
    sized: String,
    members: Vec<Member>,
}

/// What is being written.
pub(super) struct Source<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) kafka: &'a KafkaConfig,
    pub(super) document: &'a Document<'a>,
    /// The stream's columns that the query names.
    pub(super) names: &'a BTreeSet<String>,
    /// What the query calls the stream.
    pub(super) stream: &'a str,
    /// Whether the job ends where the topic ends now.
    pub(super) once: bool,
    /// Microseconds that the watermark is behind, if they can be told.
    pub(super) delay: i64,
}

impl Source<'_> {
    /// The name of the event time that windows go by, which no column has.
    pub(super) fn time(&self) -> String {
        let mut time = "rowtime".to_owned();
        let columns = &self.pipeline.columns.declared;
        let taken =
            |time: &String| columns.iter().any(|column| column.name == *time || column.path.first() == Some(time));
        while taken(&time) {
            time.push('_');
        }
        time
    }

    /// The table and the view.
    pub(super) fn write(&self, refusals: &mut Refusals<'_>, notes: &mut Notes) -> String {
        let Pipeline { columns, window, .. } = self.pipeline;
        let time = self.time();
        let topic = format!("{}_topic", self.stream);
        let mut fields: Vec<String> = self.fields(refusals).iter().map(Member::written).collect();
        fields.extend(self.metadata(refusals));
        let event_time = match columns.declared.iter().find(|column| column.name == columns.event_time) {
            Some(column) => converted(column),
            None => name(TIMESTAMP),
        };
        // That the event time is there is asked by the comparison.
        let required = columns.declared.iter().filter(|column| !column.optional && column.name != columns.event_time);
        let mut sound: Vec<String> = required.map(|column| format!("{} IS NOT NULL", converted(column))).collect();
        match interval(window.max_future) {
            Some(future) => sound.push(format!("{event_time} <= CURRENT_TIMESTAMP + {future}")),
            None => refusals.refuse(self.document.line(&["window", "max_future"]), "window.max_future", FINE),
        }
        notes.add(notes::FUTURE);
        fields.push(format!(
            "-- None for what Windrow finds invalid, so that it moves no watermark either.\n    {} AS CASE WHEN {}\n        THEN {event_time} END",
            name(&time),
            sound.join("\n        AND ")
        ));
        // A millisecond more: what is before the watermark is late in Windrow, in Flink also what is at it.
        match interval(self.delay + 1000) {
            Some(delay) => fields.push(format!("WATERMARK FOR {} AS {} - {delay}", name(&time), name(&time))),
            None => refusals.refuse(self.document.line(&["window", "watermark_delay"]), "window.watermark_delay", FINE),
        }
        if window.on_quiet == OnQuiet::Advance && !self.once {
            notes.add(notes::QUIET);
        }
        notes.add(notes::IDLE);
        let options: Vec<String> = self
            .options(refusals, notes)
            .iter()
            .map(|(key, value)| format!("    {} = {}", text(key), text(value)))
            .collect();
        let taken: Vec<String> =
            columns.declared.iter().map(|column| format!("{} AS {}", converted(column), name(&column.name))).collect();
        let whole = self.whole();
        let taken = taken.into_iter().chain(whole.iter().map(|column| name(column))).chain([name(&time)]);
        format!(
            "CREATE TABLE {} (\n    {}\n) WITH (\n{}\n);\n\n-- What Windrow takes in.\nCREATE TEMPORARY VIEW {} AS\nSELECT {}\nFROM {}\nWHERE {} IS NOT NULL;\n",
            name(&topic),
            fields.join(",\n    "),
            options.join(",\n"),
            name(self.stream),
            taken.collect::<Vec<_>>().join(",\n    "),
            name(&topic),
            name(&time),
        )
    }

    /// The columns of the record as a whole that are wanted, in the order in which every stream has them.
    fn whole(&self) -> Vec<&'static str> {
        let event_time = &self.pipeline.columns.event_time;
        let wanted = |column: &&str| self.names.contains(*column) || event_time == column;
        [TOPIC, PARTITION, OFFSET, TIMESTAMP, KEY, VALUE].into_iter().filter(wanted).collect()
    }

    fn metadata(&self, refusals: &mut Refusals<'_>) -> Vec<String> {
        let columns = &self.pipeline.columns;
        let mut written = Vec::new();
        if self.pipeline.reading.settings.key.is_some() {
            let why = "Flink reads keys by a schema of its own, whose times may be in another unit";
            refusals.refuse(self.document.line(&["source", "key"]), "source.key", why);
        }
        for column in self.whole() {
            if columns.declared.iter().any(|declared| declared.path.first().is_some_and(|first| first == column)) {
                let line = self.document.line(&["source", "columns"]);
                refusals.refuse(
                    line,
                    format!("source.columns: a member {column}"),
                    "the record as a whole has that name",
                );
            }
            let (key, part) = match column {
                KEY => ("key", columns.whole.key),
                _ => ("value", columns.whole.value),
            };
            written.push(match column {
                TOPIC => format!("{} STRING METADATA FROM 'topic' VIRTUAL", name(TOPIC)),
                PARTITION => format!("{} INT METADATA FROM 'partition' VIRTUAL", name(PARTITION)),
                OFFSET => format!("{} BIGINT METADATA FROM 'offset' VIRTUAL", name(OFFSET)),
                TIMESTAMP => format!("{} {TIME} METADATA FROM 'timestamp' VIRTUAL", name(TIMESTAMP)),
                column => match part {
                    None | Some(PartType::Spelled(ColumnType::Text)) => format!("{} STRING", name(column)),
                    Some(PartType::Bytes) => format!("{} BYTES", name(column)),
                    Some(PartType::Spelled(kind)) => {
                        let what = format!("source.{key} = \"{kind}\"");
                        refusals.refuse(
                            self.document.line(&["source", key]),
                            what,
                            "only text and bytes have an equal",
                        );
                        String::new()
                    }
                },
            });
        }
        written
    }

    /// The members of a record that are read.
    fn fields(&self, refusals: &mut Refusals<'_>) -> Vec<Member> {
        let declared = &self.pipeline.columns.declared;
        let mut members = Vec::new();
        // Fields of CSV are told by their place.
        if self.pipeline.format.name == "csv"
            && let Names::Given(names) = &self.pipeline.reading.settings.csv.names
        {
            members = names.iter().map(|name| Member { name: name.clone(), ..Member::default() }).collect();
        }
        for column in declared {
            let line = self.document.line(&["source", "columns", &column.name]);
            let what = format!("source.columns.{}", column.name);
            if column.kind == ColumnType::Json {
                refusals.refuse(
                    line,
                    format!("{what} = \"json\""),
                    "Flink has no type that keeps a value's JSON as it is written",
                );
            } else if !enter(&mut members, &column.path, column.kind) {
                refusals.refuse(line, what, "another column reads the same member as another type");
            }
        }
        for member in &mut members {
            if member.kind.is_none() && member.members.is_empty() {
                member.kind = Some("STRING");
            }
        }
        members
    }

    fn options(&self, refusals: &mut Refusals<'_>, notes: &mut Notes) -> Vec<(String, String)> {
        let written = |key| self.document.text(&["source", "kafka", key]).unwrap_or_default();
        let mut options = vec![
            ("connector".to_owned(), "kafka".to_owned()),
            ("topic".to_owned(), written("topic")),
            ("properties.bootstrap.servers".to_owned(), written("brokers")),
            ("properties.group.id".to_owned(), written("group")),
            ("properties.isolation.level".to_owned(), "read_committed".to_owned()),
        ];
        let mut option = |key: &str, value: &str| options.push((key.to_owned(), value.to_owned()));
        match self.kafka.start {
            Start::Earliest => option("scan.startup.mode", "earliest-offset"),
            Start::Latest => option("scan.startup.mode", "latest-offset"),
            Start::Time(time) => {
                option("scan.startup.mode", "timestamp");
                // A record of the same millisecond comes along.
                option("scan.startup.timestamp-millis", &time.0.div_euclid(1000).to_string());
            }
        }
        if self.once {
            option("scan.bounded.mode", "latest-offset");
        }
        let whole = self.whole();
        let has_key = whole.contains(&KEY);
        if has_key {
            option("key.format", "raw");
            option("key.fields", KEY);
            option("value.fields-include", "EXCEPT_KEY");
        }
        let prefix = if has_key { "value." } else { "" };
        let skips = self.pipeline.on_invalid == OnInvalid::Keep;
        notes.add(if skips { notes::INVALID } else { notes::FAIL });
        let format = self.pipeline.format.name;
        option(&format!("{prefix}format"), format);
        let mut reading = |key: &str, value: &str| option(&format!("{prefix}{format}.{key}"), value);
        match format {
            "json" => reading("ignore-parse-errors", &skips.to_string()),
            "csv" => {
                let csv = &self.pipeline.reading.settings.csv;
                reading("ignore-parse-errors", &skips.to_string());
                reading("field-delimiter", &char::from(csv.delimiter).to_string());
                reading("quote-character", &char::from(csv.quote).to_string());
                reading("null-literal", &csv.null);
                if csv.null.is_empty() {
                    notes.add(notes::EMPTY_CSV);
                }
            }
            "raw" => {}
            other => {
                let why = match other {
                    "debezium" => "in Flink it makes a table of changes, over which no window can be taken",
                    "protobuf" => "Flink reads it by compiled classes of Java, not by a schema",
                    "avro" => "Flink reads it by a schema of its own, whose times may be in another unit",
                    _ => "this format has no equal",
                };
                refusals.refuse(self.document.line(&["source", "format"]), format!("source.format = \"{other}\""), why);
            }
        }
        if format != "raw" && whole.contains(&VALUE) {
            let why = "Flink gives a record's value as a whole, or the columns in it, but not both";
            refusals.refuse(self.document.first_line(&["query", "sql"]), format!("query.sql: {VALUE}"), why);
        }
        options.extend(kafka::options(&self.document.settings(&["source", "kafka", "properties"]), refusals, notes));
        options
    }
}

const FINE: &str = "Flink tells time in milliseconds";

/// Puts a path among the members; false if something else is there.
fn enter(members: &mut Vec<Member>, path: &[String], kind: ColumnType) -> bool {
    let [first, rest @ ..] = path else { return false };
    let place = match members.iter().position(|member| member.name == *first) {
        Some(place) => place,
        None => {
            members.push(Member { name: first.clone(), ..Member::default() });
            members.len() - 1
        }
    };
    let member = &mut members[place];
    if !rest.is_empty() {
        return member.kind.is_none() && enter(&mut member.members, rest, kind);
    }
    let (kind, sized) = held(kind);
    let fits =
        member.members.is_empty() && (member.kind.is_none() || (member.kind == Some(kind) && member.sized == sized));
    (member.kind, member.sized) = (Some(kind), sized);
    fits
}

/// The type that a member is read as.
fn held(kind: ColumnType) -> (&'static str, String) {
    match kind {
        ColumnType::Text | ColumnType::Json | ColumnType::Timestamp(TimestampForm::Rfc3339) => {
            ("STRING", String::new())
        }
        ColumnType::Bool => ("BOOLEAN", String::new()),
        ColumnType::Int | ColumnType::Timestamp(TimestampForm::EpochMicros) => ("BIGINT", String::new()),
        ColumnType::Float => ("DOUBLE", String::new()),
        ColumnType::Decimal { precision, scale } => ("DECIMAL", format!("({precision}, {scale})")),
        ColumnType::Timestamp(TimestampForm::EpochSeconds) => ("DECIMAL", "(20, 6)".to_owned()),
        ColumnType::Timestamp(TimestampForm::EpochMillis) => ("DECIMAL", "(20, 3)".to_owned()),
        ColumnType::Date => ("DATE", String::new()),
    }
}

impl Member {
    fn written(&self) -> String {
        format!("{} {}", name(&self.name), self.type_name())
    }

    fn type_name(&self) -> String {
        match self.kind {
            Some(kind) => format!("{kind}{}", self.sized),
            None => {
                let members: Vec<_> = self.members.iter().map(Self::written).collect();
                format!("ROW<{}>", members.join(", "))
            }
        }
    }
}

/// A column out of the member that it is read from.
fn converted(column: &Column) -> String {
    let path: Vec<_> = column.path.iter().map(|member| name(member)).collect();
    let member = path.join(".");
    match column.kind {
        ColumnType::Timestamp(TimestampForm::Rfc3339) => rfc3339(&member),
        ColumnType::Timestamp(TimestampForm::EpochSeconds) => {
            format!("TO_TIMESTAMP_LTZ(CAST(FLOOR({member} * 1000) AS BIGINT), 3)")
        }
        ColumnType::Timestamp(TimestampForm::EpochMillis) => {
            format!("TO_TIMESTAMP_LTZ(CAST(FLOOR({member}) AS BIGINT), 3)")
        }
        ColumnType::Timestamp(TimestampForm::EpochMicros) => {
            format!("TO_TIMESTAMP_LTZ(CAST(FLOOR(CAST({member} AS DECIMAL(20, 0)) / 1000) AS BIGINT), 3)")
        }
        _ => member,
    }
}

/// A time written by RFC 3339, with any offset and any fraction, whatever the session's time zone. Flink's own pattern for an
/// offset reads it and then leaves it out of account, so the offset is given as the time zone.
fn rfc3339(member: &str) -> String {
    let clock = format!("SUBSTRING({member} FROM 1 FOR 10) || ' ' || SUBSTRING({member} FROM 12 FOR 8)");
    let fraction =
        format!("SUBSTRING(RPAD(COALESCE(REGEXP_EXTRACT({member}, '(\\.[0-9]+)', 1), '.'), 4, '0') FROM 1 FOR 4)");
    let offset = format!("REPLACE(UPPER(REGEXP_EXTRACT({member}, '([Zz]|[+-][0-9]{{2}}:[0-9]{{2}})$', 1)), 'Z', '')");
    format!(
        "TO_TIMESTAMP_LTZ({clock}\n            || {fraction},\n            'yyyy-MM-dd HH:mm:ss.SSS', 'GMT' || {offset})"
    )
}
