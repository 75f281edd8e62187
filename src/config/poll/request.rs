//! `[request]`: the address and the headers, and no token among them that the file itself holds.

use std::ops::Range;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::template::{SYMBOL, Template};
use super::{Request, Secrets};
use crate::config::reader::{Piece, Reader, Section, Text};
use crate::time::text::TextError;

const SECOND: i64 = 1_000_000;

/// The section, `None` where something is wrong.
pub(super) fn read(reader: &mut Reader<'_>, section: &Section<'_>, secrets: &mut Secrets) -> Option<Request> {
    let url = reader.required(section, "url").and_then(|text| read_url(reader, &text, secrets));
    let headers = reader.section(section, "headers", "headers");
    let mut found = Vec::new();
    for (name, text) in reader.properties(&headers) {
        let pieces = reader.pieces(&text);
        if check_header(reader, &name, &text, &pieces) && none_is_empty(reader, &text.at, &text.key, &pieces) {
            keep(secrets, &pieces);
            found.push((name, text.value));
        }
    }
    let timeout = reader.duration(section, "timeout", 10 * SECOND, SECOND / 10..=600 * SECOND);
    let pause = reader.duration(section, "pause", SECOND / 2, 0..=3600 * SECOND);
    let attempts = reader.count(section, "attempts", 3, 1..=20);
    Some(Request { url: url?, headers: found, timeout: timeout?, pause: pause?, attempts: attempts? })
}

/// What the environment puts in is a secret.
pub(super) fn keep(secrets: &mut Secrets, pieces: &[Piece]) {
    for piece in pieces {
        if let Piece::Env { value, .. } = piece {
            secrets.add(value);
        }
    }
}

/// A token that is empty is no token.
pub(super) fn none_is_empty(reader: &mut Reader<'_>, at: &Range<usize>, key: &str, pieces: &[Piece]) -> bool {
    let empty = pieces.iter().find_map(|piece| match piece {
        Piece::Env { name, value } if value.trim().is_empty() => Some(name),
        _ => None,
    });
    if let Some(name) = empty {
        reader.problem(
            at,
            format!("{key}: {name} is empty in the environment"),
            format!("set {name} before the start"),
        );
    }
    empty.is_none()
}

fn read_url(reader: &mut Reader<'_>, text: &Text, secrets: &mut Secrets) -> Option<Template> {
    let pieces = reader.pieces(text);
    if !none_is_empty(reader, &text.at, &text.key, &pieces) {
        return None;
    }
    // From here on nothing of the value may be shown before it is known to hold no token.
    if let Some(problem) = inline_token(&pieces) {
        reader.problem(&text.at, format!("{}: {problem}", text.key), "write ${NAME}, and set NAME in the environment");
        return None;
    }
    let template = Template::new(&pieces);
    let parsed = Url::parse(&template.address("SYMBOL"));
    let wrong = match &parsed {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
            Some(TextError::new("not an HTTP address", "write https://HOST/PATH"))
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            let instead = "write headers = { Authorization = \"Basic ${NAME}\" } in [request]";
            reader.problem(&text.at, format!("{}: an address has no credentials", text.key), instead);
            return None;
        }
        Ok(url) if url.fragment().is_some() => Some(TextError::new("what follows # is not sent", "leave it out")),
        Ok(_) => unknown_place(&text.raw),
        Err(_) => Some(TextError::new("not an HTTP address", "write https://HOST/PATH")),
    };
    if let Some(error) = wrong {
        reader.wrong(text, &error);
        return None;
    }
    if !text.raw.contains(SYMBOL) {
        let wrong =
            TextError::new("it is the same for every symbol", format!("write {SYMBOL} where the symbol belongs"));
        reader.wrong(text, &wrong);
        return None;
    }
    keep(secrets, &pieces);
    Some(template)
}

/// A `{name}` that is not the symbol's.
fn unknown_place(raw: &str) -> Option<TextError> {
    let plain = raw.replace(SYMBOL, "");
    let mut rest = plain.as_str();
    while let Some(at) = rest.find('{') {
        let (before, from) = (&rest[..at], &rest[at..]);
        let end = from.find('}').map_or(from.len(), |end| end + 1);
        if !before.ends_with('$') {
            let wrong = format!("{} is put in for nothing", from[..end].escape_debug());
            return Some(TextError::new(wrong, format!("write {SYMBOL} or ${{NAME}}")));
        }
        rest = &from[end..];
    }
    None
}

/// What is wrong with a query in which a token stands as it is.
fn inline_token(pieces: &[Piece]) -> Option<String> {
    // A variable is marked by a character that no address has.
    let text = |piece: &Piece| match piece {
        Piece::Plain(text) => text.clone(),
        Piece::Env { .. } => "\0".to_owned(),
    };
    let whole: String = pieces.iter().map(text).collect();
    let (_, query) = whole.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let inline = is_secret(name) && !value.contains('\0') && !value.is_empty() && value != SYMBOL;
        inline.then(|| format!("the file holds the {} itself", name.escape_debug()))
    })
}

fn check_header(reader: &mut Reader<'_>, name: &str, text: &Text, pieces: &[Piece]) -> bool {
    let env = pieces.iter().any(|piece| matches!(piece, Piece::Env { .. }));
    let lower = name.to_lowercase();
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        let wrong = format!("request.headers: \"{}\" is no header's name", name.escape_debug());
        reader.problem(&text.at, wrong, "write one like \"X-Api-Key\"");
    } else if matches!(lower.as_str(), "host" | "content-length" | "transfer-encoding" | "connection") {
        reader.problem(&text.at, format!("{} is set by the HTTP client", text.key), "leave it out");
    } else if !env
        && (matches!(lower.as_str(), "authorization" | "proxy-authorization" | "cookie") || is_secret(&lower))
    {
        let wrong = format!("{}: the file holds the token itself", text.key);
        reader.problem(&text.at, wrong, "write ${NAME}, and set NAME in the environment");
    } else if HeaderValue::from_str(&text.value).is_err() {
        let wrong = format!("{}: a header's value has printable ASCII letters only", text.key);
        reader.problem(&text.at, wrong, "write another");
    } else {
        return true;
    }
    false
}

/// Whether something of this name is a secret.
fn is_secret(name: &str) -> bool {
    let plain: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    ["token", "apikey", "appkey", "secret", "password", "passwd", "signature", "credential", "auth"]
        .iter()
        .any(|word| plain.contains(word))
        || ["key", "appid", "sig", "pwd", "accesskey"].contains(&plain.as_str())
}
