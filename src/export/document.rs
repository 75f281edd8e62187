//! A pipeline file as it is written: texts with their `${NAME}`, and the line of each key.

use std::collections::{BTreeMap, BTreeSet};

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

/// Where nothing is but settings of others, and secrets: what a name stands for need not be known there.
const OPEN: [&[&str]; 6] = [
    &["source", "kafka", "properties"],
    &["source", "file", "properties"],
    &["source", "registry", "username"],
    &["source", "registry", "password"],
    &["source", "registry", "token"],
    &["sink", "properties"],
];

/// A file's text as TOML.
pub(super) struct Document<'t> {
    text: &'t str,
    table: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// `None` if it is not TOML.
    pub(super) fn new(text: &'t str) -> Option<Self> {
        let text = text.trim_start_matches('\u{feff}');
        Some(Self { text, table: DeTable::parse(text).ok()? })
    }

    /// The line of a key; of the nearest one around it if it is not there.
    pub(super) fn line(&self, path: &[&str]) -> usize {
        let (mut table, mut at) = (self.table.get_ref(), 0);
        for name in path {
            let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
            at = key.span().start;
            let Some(inner) = value.get_ref().as_table() else { break };
            table = inner;
        }
        self.line_of(at)
    }

    /// The line that a text of several lines begins on: its first line may be empty and is then none of it.
    pub(super) fn first_line(&self, path: &[&str]) -> usize {
        let Some(value) = self.value(path) else { return self.line(path) };
        let at = value.span().start;
        let rest = &self.text[at..];
        let opens = ["\"\"\"", "'''"].iter().find_map(|quote| rest.strip_prefix(quote));
        let skipped = opens.is_some_and(|rest| rest.starts_with('\n') || rest.starts_with("\r\n"));
        self.line_of(at) + usize::from(skipped)
    }

    /// A text as it is written: `${NAME}` is itself.
    pub(super) fn text(&self, path: &[&str]) -> Option<String> {
        self.value(path)?.get_ref().as_str().map(unescaped)
    }

    /// The members of a section with settings of others: name, line and value as it is written. `a.b = 1` and
    /// `"a.b" = "1"` are the same.
    pub(super) fn settings(&self, path: &[&str]) -> BTreeMap<String, (usize, String)> {
        let mut found = BTreeMap::new();
        let mut waiting: Vec<(String, &DeTable<'_>)> = Vec::new();
        waiting
            .extend(self.value(path).and_then(|value| value.get_ref().as_table()).map(|table| (String::new(), table)));
        while let Some((before, table)) = waiting.pop() {
            for (key, value) in table.iter() {
                let name = format!("{before}{}", key.get_ref());
                let text = match value.get_ref() {
                    DeValue::String(text) => unescaped(text),
                    DeValue::Integer(number) => number.as_str().to_owned(),
                    DeValue::Boolean(flag) => flag.to_string(),
                    DeValue::Table(inner) => {
                        waiting.push((format!("{name}."), inner));
                        continue;
                    }
                    _ => continue,
                };
                found.insert(name, (self.line_of(key.span().start), text));
            }
        }
        found
    }

    /// The names whose values have to be known to read the file.
    pub(super) fn needed(&self) -> BTreeSet<String> {
        let mut needed = BTreeSet::new();
        let mut waiting: Vec<(Vec<&str>, &DeValue<'_>)> = Vec::new();
        waiting.extend(self.table.get_ref().iter().map(|(key, value)| (vec![key.get_ref().as_ref()], value.get_ref())));
        while let Some((path, value)) = waiting.pop() {
            match value {
                _ if OPEN.contains(&path.as_slice()) => {}
                DeValue::String(text) => needed.extend(names(text)),
                DeValue::Table(table) => {
                    for (key, value) in table.iter() {
                        waiting.push(([path.as_slice(), &[key.get_ref().as_ref()]].concat(), value.get_ref()));
                    }
                }
                _ => {}
            }
        }
        needed
    }

    fn value(&self, path: &[&str]) -> Option<&Spanned<DeValue<'t>>> {
        let (last, sections) = path.split_last()?;
        let mut table = self.table.get_ref();
        for name in sections {
            table = table.iter().find(|(key, _)| key.get_ref() == name)?.1.get_ref().as_table()?;
        }
        table.iter().find(|(key, _)| key.get_ref() == last).map(|(_, value)| value)
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }
}

/// `$${` is a literal `${`.
fn unescaped(text: impl AsRef<str>) -> String {
    text.as_ref().replace("$${", "${")
}

/// The environment's names in a text.
pub(super) fn names(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let escaped = rest[..at].ends_with('$');
        rest = &rest[at + 2..];
        if let Some((name, _)) = rest.split_once('}')
            && !escaped
        {
            found.insert(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"name = "rides"
[source.kafka]
brokers = "${BROKERS}"
properties = { "sasl.password" = "${SECRET}", a.b = 1 }
[query]
sql = """
SELECT 1
FROM rides"""
[sink]
url = "s3://${BUCKET}/$${x}"
"#;

    #[test]
    fn what_the_environment_puts_in_stays_a_name_and_has_its_line() {
        let document = Document::new(FILE).unwrap();
        assert_eq!(document.text(&["sink", "url"]).as_deref(), Some("s3://${BUCKET}/${x}"));
        assert_eq!(document.line(&["source", "kafka", "properties", "sasl.password"]), 4);
        assert_eq!(document.line(&["source", "format"]), 2);
        assert_eq!(document.first_line(&["query", "sql"]), 7);
        let settings = document.settings(&["source", "kafka", "properties"]);
        assert_eq!(settings["sasl.password"], (4, "${SECRET}".to_owned()));
        assert_eq!(settings["a.b"], (4, "1".to_owned()));
    }

    #[test]
    fn secrets_need_not_be_known() {
        let needed = Document::new(FILE).unwrap().needed();
        assert_eq!(needed.into_iter().collect::<Vec<_>>(), ["BROKERS", "BUCKET"]);
        assert_eq!(names("$${A} ${B}${C}").into_iter().collect::<Vec<_>>(), ["B", "C"]);
    }
}
