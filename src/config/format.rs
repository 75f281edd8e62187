//! How records are written: `[source.csv]`, `[source.schema]`, `[source.registry]`, and what becomes of deletes and of
//! columns that a schema does not have.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::reader::{Reader, Section};
use crate::decode::csv::{FirstLines, Form, Names};
use crate::decode::debezium::OnDelete;
use crate::decode::key::{KeyLanguage, KeySettings};
use crate::decode::schemas::{OnMissing, Origin, Schemas};
use crate::decode::{Format, Settings};
use crate::time::text::TextError;

/// What a format needs to know besides the columns.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What its reader is given. The schemas in it are filled in while the pipeline is prepared and runs.
    pub settings: Settings,
    /// Where schemas come from, for formats that have them.
    pub schemas: Option<SchemaSource>,
}

/// Where schemas come from.
#[derive(Clone, Debug)]
pub enum SchemaSource {
    /// A schema registry, by the number in each record.
    Registry(RegistryConfig),
    /// Files with the one schema of all values, and of all keys.
    File {
        /// Of values, where they have one.
        value: Option<PathBuf>,
        /// Of keys, where they have one.
        key: Option<PathBuf>,
    },
}

/// A Confluent-compatible schema registry.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Its address, without a slash at the end; it holds no secret.
    pub url: String,
    /// Who asks.
    pub auth: Auth,
    /// A PEM file with the certificates that its own is signed by, instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files with the certificate and the key that this side shows.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The subject whose newest schema tells the columns; the topic's name with `-value` if not given.
    pub subject: Option<String>,
    /// The subject whose newest schema tells `_key`; the topic's name with `-key` if not given.
    pub key_subject: Option<String>,
    /// How long a number that the registry does not know is asked for again, in microseconds.
    pub unknown_timeout: i64,
}

/// Who asks. Values are secrets: never print them.
#[derive(Clone)]
pub enum Auth {
    /// Nobody in particular.
    None,
    /// A user with a password.
    Basic(String, String),
    /// Who bears a token.
    Bearer(String),
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig").field("url", &self.url).field("subject", &self.subject).finish_non_exhaustive()
    }
}

const SECOND: i64 = 1_000_000;

/// What keys are written in, where `source.key` says that they have schemas.
pub(super) fn key_language(text: &str) -> Option<KeyLanguage> {
    match text.trim() {
        "avro" => Some(KeyLanguage::Avro),
        "protobuf" => Some(KeyLanguage::Protobuf),
        _ => None,
    }
}

/// What `[source]` says about how records are written. `from_files` says whether they come from files.
pub(super) fn read(
    reader: &mut Reader<'_>,
    source: &Section<'_>,
    format: Option<&'static Format>,
    file: &str,
    from_files: bool,
    key: Option<KeyLanguage>,
) -> Option<Reading> {
    let name = format.map_or("", |format| format.name);
    let has_schemas = format.is_some_and(|format| format.has_schemas);
    let any_schemas = has_schemas || key.is_some();
    let csv = reader.section(source, "csv", "source.csv");
    let schema = reader.section(source, "schema", "source.schema");
    let registry = reader.section(source, "registry", "source.registry");
    for (section, wanted, key, formats) in [
        (&csv, name == "csv", "source.csv", "\"csv\""),
        (&schema, any_schemas, "source.schema", "\"avro\" or \"protobuf\""),
        (&registry, any_schemas, "source.registry", "\"avro\" or \"protobuf\""),
    ] {
        if section.is_there() && !wanted && format.is_some() {
            reader.problem(&section.at(), format!("[{key}] is for format = {formats}"), "leave it out");
        }
    }
    for (key, wanted) in [("on_delete", name == "debezium"), ("on_missing", any_schemas)] {
        if let Some(text) = reader.text(source, key).filter(|_| !wanted && format.is_some()) {
            let whose = if key == "on_delete" { "\"debezium\"" } else { "\"avro\" or \"protobuf\"" };
            reader.problem(&text.at, format!("source.{key} is for format = {whose}"), "leave it out");
        }
    }
    let on_delete = reader.choice(source, "on_delete", &[("ignore", OnDelete::Ignore), ("invalid", OnDelete::Invalid)]);
    let words = [("invalid", OnMissing::Invalid), ("null", OnMissing::Null)];
    let on_missing = reader.choice(source, "on_missing", &words);
    let csv = read_csv(reader, &csv, from_files);
    let message = reader.text(&schema, "message").or_else(|| reader.text(&registry, "message"));
    let message = message.map(|text| text.value);
    let key_message = reader.text(&schema, "key_message").or_else(|| reader.text(&registry, "key_message"));
    let key_message = key_message.map(|text| text.value);
    let schemas = match (registry.is_there(), schema.is_there()) {
        (true, true) => {
            let wrong = "schemas come from [source.registry] or from [source.schema]";
            reader.problem(&schema.at(), wrong, "keep one of them");
            None
        }
        (true, false) => read_registry(reader, &registry, file).map(SchemaSource::Registry),
        (false, true) => {
            let mut path = |name, wanted: bool| match wanted {
                true => reader.required(&schema, name).map(|path| Some(beside(file, &path.value))),
                false => {
                    if let Some(text) = reader.text(&schema, name).filter(|_| any_schemas) {
                        let wrong = "source.schema: file is for values with schemas, key_file for keys";
                        reader.problem(&text.at, wrong, "write those that format and key ask for");
                    }
                    Some(None)
                }
            };
            let (value, key) = (path("file", has_schemas), path("key_file", key.is_some()));
            value.zip(key).map(|(value, key)| SchemaSource::File { value, key })
        }
        (false, false) => {
            if any_schemas && source.is_there() {
                let what = if has_schemas { format!("{name} records") } else { "keys".to_owned() };
                let wrong = format!("nothing says where the schemas of {what} come from");
                reader.problem(&source.at(), wrong, "add a section [source.registry] or [source.schema]");
            }
            None
        }
    };
    if any_schemas && schemas.is_none() {
        return None;
    }
    let origin = Origin::Registry(Schemas::default());
    let key = key.map(|language| KeySettings { language, origin: origin.clone(), message: key_message });
    let settings = Settings {
        csv: csv?,
        first_lines: FirstLines::default(),
        on_delete: on_delete?,
        on_missing: on_missing?,
        origin,
        message,
        key,
    };
    Some(Reading { settings, schemas })
}

/// A path beside the pipeline file.
fn beside(file: &str, path: &str) -> PathBuf {
    Path::new(file).parent().unwrap_or(Path::new("")).join(path)
}

fn read_csv(reader: &mut Reader<'_>, section: &Section<'_>, from_files: bool) -> Option<Form> {
    let mut form = Form::default();
    let mut sound = true;
    for (key, byte) in [("delimiter", &mut form.delimiter), ("quote", &mut form.quote)] {
        let Some(text) = reader.text(section, key) else { continue };
        match text.value.as_bytes() {
            [one] if !matches!(one, b'\n' | b'\r') => *byte = *one,
            _ => {
                sound = false;
                let like = if key == "delimiter" { "write one like \";\" or \"\\t\"" } else { "write one like \"'\"" };
                reader.wrong(&text, &TextError::new("not a single character of ASCII", like));
            }
        }
    }
    if form.delimiter == form.quote {
        sound = false;
        reader.problem(&section.at(), "source.csv: delimiter and quote are the same", "write two different ones");
    }
    if let Some(text) = reader.text(section, "null") {
        form.null = text.value;
    }
    let names = section.members().into_iter().find(|(name, ..)| *name == "names");
    let first_line = reader.flag(section, "first_line");
    match (names, first_line) {
        (Some((_, at, _)), true) => {
            sound = false;
            let wrong = "names stand in source.csv.names or in each file's first line";
            reader.problem(&at, wrong, "keep one of names and first_line");
        }
        (None, true) if !from_files => {
            sound = false;
            let instead = "write names = [\"at\", \"zone\"], or leave it out: the columns are then the first fields";
            reader.problem(&section.at(), "source.csv.first_line: a topic's records have no first line", instead);
        }
        (None, true) => form.names = Names::FirstLine,
        (None, false) => {}
        (Some((_, at, value)), false) => {
            let names = match value {
                DeValue::Array(names) => names.iter().map(|name| name.get_ref().as_str().map(str::to_owned)).collect(),
                _ => None,
            };
            match names {
                Some(names) => form.names = Names::Given(names),
                None => {
                    sound = false;
                    reader.problem(&at, "source.csv.names is a list of names", "write names = [\"at\", \"zone\"]");
                }
            }
        }
    }
    sound.then_some(form)
}

fn read_registry(reader: &mut Reader<'_>, section: &Section<'_>, file: &str) -> Option<RegistryConfig> {
    let url = reader.required(section, "url").and_then(|text| {
        let url = text.value.trim().trim_end_matches('/');
        let host = url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
        // A password may stand before the @: nothing of the value is shown.
        if url.contains('@') || url.contains('?') {
            let instead = "write username and password, or token, as keys of their own";
            reader.problem(&text.at, format!("{}: an address has no credentials and no query", text.key), instead);
            return None;
        }
        let has_scheme = url.starts_with("http://") || url.starts_with("https://");
        if !has_scheme || host.is_none_or(str::is_empty) {
            reader.wrong(&text, &TextError::new("not an address", "write it like \"https://registry:8081\""));
            return None;
        }
        Some(url.to_owned())
    });
    let mut text = |name| reader.text(section, name).map(|text| (text.at, text.value));
    let (username, password, token) = (text("username"), text("password"), text("token"));
    let (ca, certificate, key) = (text("ca"), text("certificate"), text("key"));
    let subject = text("subject").map(|(_, subject)| subject);
    let key_subject = text("key_subject").map(|(_, subject)| subject);
    let auth = match (username, password, token) {
        (None, None, None) => Auth::None,
        (None, None, Some((_, token))) => Auth::Bearer(token),
        (Some((_, user)), Some((_, password)), None) => Auth::Basic(user, password),
        (user, password, token) => {
            let at = token.or(user).or(password).map_or_else(|| section.at(), |(at, _)| at);
            let instead = "write username and password, or token alone";
            reader.problem(&at, "source.registry: it is not clear who asks", instead);
            return None;
        }
    };
    let beside = |path: Option<(_, String)>| path.map(|(_, path)| beside(file, &path));
    let identity = match (beside(certificate), beside(key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let wrong = "source.registry: a certificate is shown with its key";
            reader.problem(&section.at(), wrong, "write certificate and key, both PEM files");
            return None;
        }
    };
    let unknown_timeout = reader.duration(section, "unknown_timeout", 30 * SECOND, 0..=600 * SECOND);
    Some(RegistryConfig {
        url: url?,
        auth,
        ca: beside(ca),
        identity,
        subject,
        key_subject,
        unknown_timeout: unknown_timeout?,
    })
}
