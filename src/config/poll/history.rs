//! `[history]`: the store, told by its address.

use super::request::{keep, none_is_empty};
use super::{History, Secrets};
use crate::config::place;
use crate::config::reader::{Piece, Reader, Section, Text};
use crate::time::text::TextError;

/// The collection or table, if the file names none.
const NAME: &str = "price_history";

/// What kind of store an address means.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Kind {
    Mongodb,
    Postgres,
    Parquet,
}

/// The section, `None` where something is wrong.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>, secrets: &mut Secrets) -> Option<History> {
    let url = reader.required(section, "url").and_then(|text| read_url(reader, &text, secrets));
    let password = reader.text(section, "password");
    let collection = reader.text(section, "collection");
    let table = reader.text(section, "table");
    let settings = reader.section(section, "properties", "properties");
    let properties = reader.properties(&settings);
    let (kind, url) = url?;
    let only = [
        (&password, kind == Kind::Parquet, "a bucket or a folder takes no password; leave it out"),
        (&collection, kind != Kind::Mongodb, "a collection is MongoDB's; leave it out"),
        (&table, kind != Kind::Postgres, "a table is PostgreSQL's; leave it out"),
    ];
    for (text, misplaced, instead) in only {
        if let (Some(text), true) = (text, misplaced) {
            reader.problem(&text.at, format!("{} does not belong to this store", text.key), instead);
        }
    }
    let password = match password {
        Some(text) => Some(read_password(reader, text, secrets)?),
        None => None,
    };
    for (name, text) in &properties {
        match kind {
            Kind::Parquet if url.starts_with("s3://") => {
                place::check_property(reader, name, text);
                if ["key", "secret", "token"].iter().any(|word| name.contains(word)) {
                    secrets.add(&text.value);
                }
            }
            _ => reader.problem(&text.at, format!("{name}: only a bucket has properties"), "leave it out"),
        }
    }
    Some(match kind {
        Kind::Mongodb => History::Mongodb { url, password, collection: named(reader, collection)? },
        Kind::Postgres => History::Postgres { url, password, table: named(reader, table)? },
        Kind::Parquet => {
            let properties = properties.into_iter().map(|(name, text)| (name, text.value)).collect();
            History::Parquet { url, properties }
        }
    })
}

fn named(reader: &mut Reader<'_>, text: Option<Text>) -> Option<String> {
    let Some(text) = text else { return Some(NAME.to_owned()) };
    let legal = |c: char| !c.is_control() && !matches!(c, '$' | '"');
    if text.value.trim().is_empty() || text.value.len() > 120 || !text.value.chars().all(legal) {
        reader.wrong(&text, &TextError::new("no name", format!("write one like \"{NAME}\"")));
        return None;
    }
    Some(text.value)
}

fn read_password(reader: &mut Reader<'_>, text: Text, secrets: &mut Secrets) -> Option<String> {
    let pieces = reader.pieces(&text);
    if !pieces.iter().any(|piece| matches!(piece, Piece::Env { .. })) {
        let wrong = format!("{}: the file holds the password itself", text.key);
        reader.problem(&text.at, wrong, "write ${NAME}, and set NAME in the environment");
        return None;
    }
    keep(secrets, &pieces);
    secrets.add(&text.value);
    none_is_empty(reader, &text.at, &text.key, &pieces).then_some(text.value)
}

fn read_url(reader: &mut Reader<'_>, text: &Text, secrets: &mut Secrets) -> Option<(Kind, String)> {
    let pieces = reader.pieces(text);
    keep(secrets, &pieces);
    let url = text.value.trim();
    let kind = match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("mongodb" | "mongodb+srv") => Kind::Mongodb,
        Some("postgres" | "postgresql") => Kind::Postgres,
        Some("file" | "s3") | None => return place::url(reader, text).map(|url| (Kind::Parquet, url)),
        Some(_) => {
            let instead =
                "write mongodb://USER@HOST/DATABASE, postgres://USER@HOST/DATABASE, s3://BUCKET/PREFIX or a folder";
            reader.problem(&text.at, format!("{}: unknown kind of store", text.key), instead);
            return None;
        }
    };
    if !none_is_empty(reader, &text.at, &text.key, &pieces) {
        return None;
    }
    let (_, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?']).next().unwrap_or(rest);
    let password = rest.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    let hold = |password: &str| {
        let from_env =
            |piece: &Piece| matches!(piece, Piece::Env { value, .. } if value.contains(password) && !value.is_empty());
        !pieces.iter().any(from_env)
    };
    if let Some(password) = password {
        secrets.add(password);
        if !password.is_empty() && hold(password) {
            let wrong = format!("{}: the file holds the password itself", text.key);
            reader.problem(&text.at, wrong, "write password = \"${NAME}\", and set NAME in the environment");
            return None;
        }
    }
    if place.is_empty() {
        reader.problem(&text.at, format!("{}: it names no host", text.key), "write HOST or HOST:PORT after ://");
        return None;
    }
    Some((kind, url.to_owned()))
}
