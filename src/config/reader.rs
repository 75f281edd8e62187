//! Typed values out of parsed TOML: every problem is noted with its line, and reading goes on.
//!
//! `${NAME}` is put in here, in strings that are parsed already, so that no value of the environment can become syntax.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key};
use super::{ConfigError, near};
use crate::time::text::{self, TextError};

/// The kinds of tables whose names are the user's.
const NAMED: [&str; 2] = ["column", "field"];

/// What tells the value of an environment variable.
pub(super) type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Reads values and collects problems.
pub(super) struct Reader<'e> {
    file: &'e str,
    text: &'e str,
    env: Env<'e>,
    /// Every key of this kind of file.
    keys: &'static [Key],
    problems: Vec<(usize, String)>,
}

/// A table of the file, empty where the file has none.
pub(super) struct Section<'t> {
    /// Its name in the list of keys.
    kind: &'static str,
    /// Its name to people.
    shown: String,
    table: Option<&'t DeTable<'t>>,
    at: Range<usize>,
}

/// A text value.
pub(super) struct Text {
    /// With the environment's values in it.
    pub(super) value: String,
    /// As the file has it: this may be shown, a value of the environment may be a secret.
    pub(super) raw: String,
    /// The key's name to people.
    pub(super) key: String,
    /// Where it stands.
    pub(super) at: Range<usize>,
}

/// Brackets that a file may open. The parser goes down by a call for each, and what has no end may lead it as deep.
const BRACKETS: usize = 2000;
/// What each may take of the stack, in a build without optimisation.
const STACK_OF_EACH: usize = 8 << 10;

/// The file as TOML, as far as it is, and what is wrong with it.
///
/// # Errors
/// If it opens more brackets than any pipeline needs.
pub(super) fn document<'t>(
    text: &'t str,
    file: &str,
) -> Result<(Spanned<DeTable<'t>>, Vec<toml::de::Error>), ConfigError> {
    let opened = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opened > BRACKETS {
        return Err(ConfigError(format!("{file}: it has {opened} opening brackets, {BRACKETS} are the most")));
    }
    let stack = (opened + 100) * STACK_OF_EACH;
    std::thread::scope(|scope| {
        let parsing = std::thread::Builder::new()
            .stack_size(stack)
            .spawn_scoped(scope, || DeTable::parse_recoverable(text))
            .map_err(|error| ConfigError(format!("{file}: cannot start a thread to read it: {error}")))?;
        parsing.join().map_err(|_| ConfigError(format!("{file}: the parser of TOML gave up")))
    })
}

impl<'t> Section<'t> {
    /// Whether the file has it.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Where it begins.
    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Where one of its members stands.
    pub(super) fn place_of(&self, name: &str) -> Option<Range<usize>> {
        self.member(name).map(|(at, _)| at)
    }

    /// Its members in the file's order.
    pub(super) fn members(&self) -> Vec<(&'t str, Range<usize>, &'t DeValue<'t>)> {
        let Some(table) = self.table else { return Vec::new() };
        let mut members: Vec<_> =
            table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value.get_ref())).collect();
        members.sort_by_key(|(_, at, _)| at.start);
        members
    }

    fn member(&self, name: &str) -> Option<(Range<usize>, &'t DeValue<'t>)> {
        let (key, value) = self.table?.iter().find(|(key, _)| key.get_ref() == name)?;
        Some((key.span(), value.get_ref()))
    }

    fn key(&self, name: &str) -> String {
        if self.shown.is_empty() { name.to_owned() } else { format!("{}.{name}", self.shown) }
    }
}

/// Problems that are told, at most.
const MOST: usize = 100;

impl<'e> Reader<'e> {
    pub(super) fn new(file: &'e str, text: &'e str, env: Env<'e>, keys: &'static [Key]) -> Self {
        Self { file, text, env, keys, problems: Vec::new() }
    }

    /// How a key is written.
    fn like(&self, section: &str, name: &str) -> &'static str {
        keys::like(self.keys, section, name)
    }

    /// `FILE:LINE` of a place.
    pub(super) fn place(&self, at: &Range<usize>) -> String {
        format!("{}:{}", self.file, self.line(at))
    }

    fn line(&self, at: &Range<usize>) -> usize {
        1 + self.text.as_bytes().iter().take(at.start).filter(|byte| **byte == b'\n').count()
    }

    /// Notes a problem: what is wrong, and what to write instead.
    pub(super) fn problem(&mut self, at: &Range<usize>, wrong: impl AsRef<str>, instead: impl AsRef<str>) {
        self.note(at, format!("{}; {}", wrong.as_ref(), instead.as_ref()));
    }

    fn note(&mut self, at: &Range<usize>, text: String) {
        // Nobody reads more, and to find the lines of thousands in a large file takes long.
        if self.problems.len() >= MOST {
            return;
        }
        // What stands in the file is told as text, whatever it would do to a terminal.
        let text = text.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() });
        let problem = (self.line(at), text.collect::<String>());
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Notes that a value is not what it should be. The value is shown as the file has it; where the environment has a
    /// part in it the error is not told, as it may quote what nobody should read.
    pub(super) fn wrong(&mut self, text: &Text, error: &TextError) {
        let shown = format!("{} = \"{}\"", text.key, text.raw.escape_debug());
        if text.raw == text.value {
            return self.note(&text.at, format!("{shown}: {error}"));
        }
        let (section, name) = text.key.rsplit_once('.').unwrap_or(("", &text.key));
        let like = Some(self.like(section, name)).filter(|like| !like.is_empty());
        let instead = like.map_or_else(|| "correct it there".to_owned(), |like| format!("it must read like {like}"));
        self.problem(&text.at, format!("{shown}: the environment's value does not fit"), instead);
    }

    /// All problems in the file's order.
    pub(super) fn error(mut self) -> Option<ConfigError> {
        self.problems.sort_by_key(|(line, _)| *line);
        let lines: Vec<_> = self.problems.iter().map(|(line, text)| format!("{}:{line}: {text}", self.file)).collect();
        (!lines.is_empty()).then(|| ConfigError(lines.join("\n")))
    }

    /// Whether the whole file is TOML.
    pub(super) fn parse(&mut self, document: &Spanned<DeTable<'_>>, errors: &[toml::de::Error]) -> bool {
        let mut whole = true;
        for error in errors {
            let at = error.span().unwrap_or_else(|| document.span());
            let found = self.text.get(at.clone()).unwrap_or_default();
            if error.message() == "duplicate key" {
                self.problem(&at, format!("{found} is given twice"), "keep one of them");
            } else {
                whole = false;
                let (wrong, instead) = if error.message().starts_with("string values must be quoted") {
                    ("text without quotes", "write it in \"quotes\"")
                } else {
                    (error.message(), "a line reads key = \"text\" or [section]")
                };
                self.problem(&at, format!("not TOML: {wrong}"), instead);
            }
        }
        whole
    }

    /// The top of the file.
    pub(super) fn root<'t>(&mut self, document: &'t Spanned<DeTable<'t>>) -> Section<'t> {
        let section = Section { kind: "", shown: String::new(), table: Some(document.get_ref()), at: 0..0 };
        self.know(&section);
        section
    }

    /// A section within another; empty if it is missing.
    pub(super) fn section<'t>(&mut self, parent: &Section<'t>, name: &'static str, kind: &'static str) -> Section<'t> {
        let shown = parent.key(name);
        match parent.member(name) {
            Some((at, DeValue::Table(table))) => {
                let section = Section { kind, shown, table: Some(table), at };
                self.know(&section);
                section
            }
            Some((at, value)) => {
                self.mistyped(&at, &shown, "a section", value, self.like(parent.kind, name));
                Section { kind, shown, table: None, at }
            }
            None => Section { kind, shown, table: None, at: parent.at.clone() },
        }
    }

    /// A column that is written as a table.
    pub(super) fn column<'t>(
        &mut self,
        parent: &Section<'t>,
        name: &str,
        at: &Range<usize>,
        table: &'t DeTable<'t>,
    ) -> Section<'t> {
        self.named("column", parent, name, at, table)
    }

    /// A table whose name is the user's: a column, or a field of a poll file.
    pub(super) fn named<'t>(
        &mut self,
        kind: &'static str,
        parent: &Section<'t>,
        name: &str,
        at: &Range<usize>,
        table: &'t DeTable<'t>,
    ) -> Section<'t> {
        let section = Section { kind, shown: parent.key(name), table: Some(table), at: at.clone() };
        self.know(&section);
        section
    }

    /// Refuses keys that nobody knows; sections without known keys hold names of their own.
    fn know(&mut self, section: &Section<'_>) {
        let known: Vec<_> = keys::of(self.keys, section.kind).collect();
        if known.is_empty() {
            return;
        }
        for (name, at, _) in section.members() {
            if known.contains(&name) {
                continue;
            }
            let elsewhere = self.keys.iter().find(|key| key.name == name && !NAMED.contains(&key.section));
            let instead = match elsewhere {
                _ if NAMED.contains(&section.kind) => near::hint(name, &known),
                Some(key) if key.section.is_empty() => "it belongs at the top of the file".to_owned(),
                Some(key) => format!("it belongs in [{}]", key.section),
                None => near::hint(name, &known),
            };
            self.problem(&at, format!("{} is not a key", section.key(name)), instead);
        }
    }

    fn mistyped(&mut self, at: &Range<usize>, key: &str, form: &str, found: &DeValue<'_>, like: &str) {
        self.problem(at, format!("{key} must be {form}, not {}", kind(found)), format!("write {like}"));
    }

    /// A key that may be missing. Points in time may stand without quotes.
    pub(super) fn text(&mut self, section: &Section<'_>, name: &'static str) -> Option<Text> {
        let (at, value) = section.member(name)?;
        let key = section.key(name);
        match value {
            DeValue::String(raw) => self.expand(&key, &at, raw),
            DeValue::Datetime(time) => {
                let raw = time.to_string();
                Some(Text { value: raw.clone(), raw, key, at })
            }
            other => {
                self.mistyped(&at, &key, "text", other, self.like(section.kind, name));
                None
            }
        }
    }

    /// A key that may not be missing where its section is there.
    pub(super) fn required(&mut self, section: &Section<'_>, name: &'static str) -> Option<Text> {
        if section.is_there() && section.member(name).is_none() {
            let wrong = format!("{} is missing", section.key(name));
            self.problem(&section.at, wrong, format!("write {}", self.like(section.kind, name)));
        }
        self.text(section, name)
    }

    /// True or false.
    pub(super) fn flag(&mut self, section: &Section<'_>, name: &'static str) -> bool {
        match section.member(name) {
            Some((_, DeValue::Boolean(flag))) => *flag,
            Some((at, other)) => {
                self.mistyped(&at, &section.key(name), "true or false", other, self.like(section.kind, name));
                false
            }
            None => false,
        }
    }

    /// A whole number.
    pub(super) fn count(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        default: u32,
        within: RangeInclusive<u32>,
    ) -> Option<u32> {
        let Some((at, value)) = section.member(name) else { return Some(default) };
        let key = section.key(name);
        let DeValue::Integer(number) = value else {
            self.mistyped(&at, &key, "a whole number", value, self.like(section.kind, name));
            return None;
        };
        let found = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|count| within.contains(count));
        if found.is_none() {
            let instead = format!("write {} to {}", within.start(), within.end());
            self.problem(&at, format!("{key} = {}: out of range", number.as_str()), instead);
        }
        found
    }

    /// One of a few words; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let Some(text) = self.text(section, name) else {
            return if section.member(name).is_some() { None } else { Some(words.first()?.1) };
        };
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(&text, &TextError::new("unknown", near::hint(&text.raw, &words)));
        }
        found.map(|(_, value)| *value)
    }

    /// A duration in microseconds.
    pub(super) fn duration(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        default: i64,
        within: RangeInclusive<i64>,
    ) -> Option<i64> {
        self.measure(section, name, default, within, text::duration, text::describe)
    }

    /// A size in bytes.
    pub(super) fn bytes(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        default: u64,
        within: RangeInclusive<u64>,
    ) -> Option<u64> {
        let shown = |size: u64| bytesize::ByteSize(size).display().iec().to_string();
        self.measure(section, name, default, within, text::bytes, shown)
    }

    fn measure<T: PartialOrd + Copy>(
        &mut self,
        section: &Section<'_>,
        name: &'static str,
        default: T,
        within: RangeInclusive<T>,
        parse: fn(&str) -> Result<T, TextError>,
        shown: fn(T) -> String,
    ) -> Option<T> {
        let Some(text) = self.text(section, name) else {
            return if section.member(name).is_some() { None } else { Some(default) };
        };
        let value = parse(&text.value).and_then(|value| {
            if value < *within.start() {
                Err(TextError::new("too little", format!("write \"{}\" or more", shown(*within.start()))))
            } else if value > *within.end() {
                Err(TextError::new("too much", format!("write \"{}\" or less", shown(*within.end()))))
            } else {
                Ok(value)
            }
        });
        value.map_err(|error| self.wrong(&text, &error)).ok()
    }

    /// Names and values of somebody else's settings. `a.b = 1` and `"a.b" = "1"` are the same.
    pub(super) fn properties(&mut self, section: &Section<'_>) -> BTreeMap<String, Text> {
        let mut found = BTreeMap::new();
        let mut waiting: Vec<_> =
            section.members().into_iter().map(|(name, at, value)| (name.to_owned(), at, value)).collect();
        while let Some((name, at, value)) = waiting.pop() {
            let key = section.key(&name);
            let text = match value {
                DeValue::String(raw) => self.expand(&key, &at, raw),
                DeValue::Integer(_) | DeValue::Boolean(_) => {
                    let value = match value {
                        DeValue::Integer(number) => number.as_str().to_owned(),
                        other => other.as_bool().unwrap_or_default().to_string(),
                    };
                    Some(Text { raw: value.clone(), value, key, at: at.clone() })
                }
                DeValue::Table(table) => {
                    let inner = table
                        .iter()
                        .map(|(key, value)| (format!("{name}.{}", key.get_ref()), key.span(), value.get_ref()));
                    waiting.extend(inner);
                    continue;
                }
                other => {
                    self.mistyped(&at, &key, "text", other, &format!("\"{name}\" = \"…\""));
                    None
                }
            };
            let Some(text) = text else { continue };
            if let Some(other) = found.insert(name, text) {
                let text: Text = other;
                self.problem(&text.at, format!("{} is given twice", text.key), "keep one of them");
            }
        }
        found
    }

    /// Puts the environment's values in.
    pub(super) fn expand(&mut self, key: &str, at: &Range<usize>, raw: &str) -> Option<Text> {
        match expand(raw, self.env) {
            Ok(value) => Some(Text { value, raw: raw.to_owned(), key: key.to_owned(), at: at.clone() }),
            Err(error) => {
                self.note(at, format!("{key}: {error}"));
                None
            }
        }
    }

    /// A text that was read before, in pieces.
    pub(super) fn pieces(&self, text: &Text) -> Vec<Piece> {
        pieces(&text.raw, self.env).unwrap_or_default()
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As the file has it.
    Plain(String),
    /// What the environment puts in, and the variable's name.
    Env { name: String, value: String },
}

/// `${NAME}` is the environment's value, `$${` a literal `${`.
fn pieces(raw: &str, env: Env<'_>) -> Result<Vec<Piece>, TextError> {
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            plain += &rest[..at - 1];
            plain += "${";
            rest = &rest[at + 2..];
            continue;
        }
        plain += &rest[..at];
        let Some((name, after)) = rest[at + 2..].split_once('}') else {
            return Err(TextError::new("${ without its }", "write ${NAME}, or $${ for a literal ${"));
        };
        let known = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !known || name.starts_with(|c: char| c.is_ascii_digit()) {
            let wrong = format!("${{{}}} is no name of the environment", name.escape_debug());
            return Err(TextError::new(wrong, "write ${NAME}, or $${ for a literal ${"));
        }
        let missing =
            || TextError::new(format!("the environment has no {name}"), format!("set {name} before the start"));
        out.push(Piece::Plain(std::mem::take(&mut plain)));
        out.push(Piece::Env { name: name.to_owned(), value: env(name).ok_or_else(missing)? });
        rest = after;
    }
    out.push(Piece::Plain(plain + rest));
    Ok(out)
}

fn expand(raw: &str, env: Env<'_>) -> Result<String, TextError> {
    let text = |piece| match piece {
        Piece::Plain(text) | Piece::Env { value: text, .. } => text,
    };
    Ok(pieces(raw, env)?.into_iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_put_in_once_and_never_read_again() {
        let env = |name: &str| match name {
            "A" => Some("${B}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (raw, value) in [
            ("plain $ {text} $", "plain $ {text} $"),
            ("x${A}y", "x${B}y"),
            ("${EMPTY}", ""),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$${A} ${A}", "${A} ${B}"),
        ] {
            assert_eq!(expand(raw, &env).as_deref(), Ok(value), "{raw}");
        }
        for (raw, error) in [
            ("${B}", "the environment has no B; set B before the start"),
            ("${A", "${ without its }; write ${NAME}, or $${ for a literal ${"),
            ("${A:-x}", "${A:-x} is no name of the environment; write ${NAME}, or $${ for a literal ${"),
            ("${}", "${} is no name of the environment; write ${NAME}, or $${ for a literal ${"),
            ("${1}", "${1} is no name of the environment; write ${NAME}, or $${ for a literal ${"),
        ] {
            assert_eq!(expand(raw, &env).unwrap_err().to_string(), error, "{raw}");
        }
    }
}
