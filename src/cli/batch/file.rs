//! The pipeline file that does what the options say.

use std::fmt::Write;

use super::columns::Listed;
use super::{Batch, Value};
use crate::decode::column::{HEADERS, KEY, OFFSET, PARTITION, TIMESTAMP, VALUE};

/// What problems with the file's text are told under.
pub(super) const LABEL: &str = "batch";

/// The options that keys of the file come from.
const OPTIONS: &[(&str, &str)] = &[
    ("name", "--name"),
    ("source.key", "--key"),
    ("source.columns", "--columns"),
    ("source.kafka.brokers", "--brokers"),
    ("source.kafka.topic", "--topic"),
    ("source.kafka.group", "--group"),
    ("source.kafka.start", "--start"),
    ("source.kafka.properties", "--kafka-property"),
    ("window.size", "--every"),
    ("window.idle_timeout", "--poll"),
    ("window.watermark_delay", "--delay"),
    ("sink.url", "--out"),
    ("sink.properties", "--property"),
];

/// Problems with the file as problems with options.
pub(super) fn by_option(problems: &str) -> String {
    let lines = problems.lines().map(|line| {
        // FILE:LINE: says nothing to somebody who wrote neither.
        let line = line.strip_prefix(LABEL).and_then(|rest| rest.split_once(": ")).map_or(line, |(_, rest)| rest);
        let begins = |key: &str| line.strip_prefix(key).filter(|rest| rest.starts_with([' ', ':', '.']));
        let option = OPTIONS.iter().find_map(|(key, option)| Some(format!("{option}{}", begins(key)?)));
        // A column of the list has its type and nothing else.
        option.map_or_else(|| line.to_owned(), |line| line.replacen(".type = ", " = ", 1))
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Batch {
    /// The file's text, with a column for each of these members if there is a list. `${NAME}` stays as it is.
    pub(super) fn file(&self, list: Option<&Listed>) -> String {
        let (brokers, topic, group) = (quoted(&self.brokers), quoted(&self.topic), quoted(&self.group));
        let (start, key, url) = (quoted(&self.start), quoted(&self.key), quoted(&self.out));
        let (size, idle) = (quoted(&self.every), quoted(&self.poll));
        let delay = quoted(self.delay.as_ref().unwrap_or(&self.poll));
        let name = quoted(&self.pipeline_name());
        let format = self.format.format();
        // Writing to a string cannot fail.
        let mut text = format!(
            "# What `windrow batch` does with these options; `windrow run` does it with this file.\nname = {name}\n\n"
        );
        let _ = match list {
            Some(_) => writeln!(text, "[source]\nformat = \"json\"\nkey    = {key}\n"),
            None => writeln!(text, "[source]\nformat = \"raw\"\nkey    = {key}\nvalue  = \"{}\"\n", self.value_type()),
        };
        let _ = writeln!(
            text,
            "[source.kafka]\nbrokers = {brokers}\ntopic   = {topic}\ngroup   = {group}\nstart   = {start}\n"
        );
        table(&mut text, "source.kafka.properties", &self.kafka_properties);
        if let Some(list) = list {
            text += "[source.columns]\n";
            for column in &list.members {
                let (name, kind) = (key_of(&column.name), quoted(&column.kind));
                let steps: Vec<String> = column.path.iter().map(|step| quoted(step)).collect();
                let path = match column.path.as_slice() {
                    [] => String::new(),
                    [step] if *step == column.name && !step.contains('.') => String::new(),
                    _ => format!(", path = [{}]", steps.join(", ")),
                };
                let optional = if column.required { "" } else { ", optional = true" };
                let _ = writeln!(text, "{name} = {{ type = {kind}{path}{optional} }}");
            }
            text += "\n";
        }
        let _ = writeln!(
            text,
            "[window]\nevent_time      = \"{TIMESTAMP}\"\nsize            = {size}\nwatermark_delay = {delay}\n\
             idle_timeout    = {idle}\n"
        );
        let _ = writeln!(text, "[query]\nsql = {}\n", block(&self.sql(list)));
        let _ = writeln!(text, "[sink]\nurl    = {url}\nformat = \"{format}\"\n");
        table(&mut text, "sink.properties", &self.sink_properties);
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    fn value_type(&self) -> &'static str {
        match self.value {
            Value::Json => "json",
            Value::Text => "text",
            Value::Bytes => "bytes",
        }
    }

    /// The records as they are: what they hold, then where and when they were.
    fn sql(&self, listed: Option<&Listed>) -> String {
        let identifier = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let members = listed.iter().flat_map(|listed| &listed.members);
        let mut list: Vec<String> = members.map(|column| identifier(&column.name)).collect();
        list.push(KEY.to_owned());
        if listed.is_none_or(|listed| listed.learned) {
            list.push(VALUE.to_owned());
        }
        list.extend(
            self.headers
                .iter()
                .map(|name| format!("{HEADERS}['{}'] AS {}", name.replace('\'', "''"), identifier(name))),
        );
        list.extend([HEADERS, TIMESTAMP, PARTITION, OFFSET].map(str::to_owned));
        format!("SELECT {} FROM records", list.join(", "))
    }

    /// A topic's name may have dots in it, a pipeline's may not.
    fn pipeline_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let name: String = self.topic.chars().map(|c| if c == '.' { '_' } else { c }).take(100).collect();
            name.trim_start_matches('-').to_owned()
        })
    }
}

fn table(text: &mut String, name: &str, properties: &[(String, String)]) {
    if properties.is_empty() {
        return;
    }
    let _ = writeln!(text, "[{name}]");
    for (key, value) in properties {
        let _ = writeln!(text, "{} = {}", key_of(key), quoted(value));
    }
    text.push('\n');
}

/// A name as TOML has it, with quotes only where they must be.
fn key_of(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A text as it is, where TOML can have it so; it is meant to be read.
fn block(text: &str) -> String {
    let plain = !text.contains("'''") && !text.ends_with('\'') && !text.chars().any(char::is_control);
    if plain { format!("'''{text}'''") } else { quoted(text) }
}

/// A text as TOML has it, which is as JSON has it but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
