//! An address with a place for the symbol, and with values of the environment that are never shown.

use std::fmt;

use crate::config::reader::Piece;

/// What the symbol is put in for.
pub(super) const SYMBOL: &str = "{symbol}";

/// An address that lacks the symbol.
#[derive(Clone)]
pub struct Template(Vec<Part>);

#[derive(Clone)]
enum Part {
    /// Before or after a symbol, as it is sent and as it is shown.
    Text {
        sent: String,
        shown: String,
    },
    Symbol,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.fill(SYMBOL, |_, shown| shown)).finish()
    }
}

impl Template {
    /// From an address in pieces. After the `?`, what the environment puts in is percent-encoded.
    pub(super) fn new(pieces: &[Piece]) -> Self {
        let mut parts = Vec::new();
        let (mut sent, mut shown) = (String::new(), String::new());
        let mut in_query = false;
        for piece in pieces {
            match piece {
                Piece::Plain(text) => {
                    in_query |= text.contains('?');
                    let mut between = text.split(SYMBOL);
                    let first = between.next().unwrap_or_default();
                    sent += first;
                    shown += first;
                    for text in between {
                        parts.push(Part::Text { sent: std::mem::take(&mut sent), shown: std::mem::take(&mut shown) });
                        parts.push(Part::Symbol);
                        sent += text;
                        shown += text;
                    }
                }
                Piece::Env { name, value } => {
                    in_query |= value.contains('?');
                    sent += &if in_query && !value.contains('?') { encoded(value) } else { value.clone() };
                    shown += &format!("${{{name}}}");
                }
            }
        }
        parts.push(Part::Text { sent, shown });
        Self(parts)
    }

    /// The address for a symbol, secrets and all.
    #[must_use]
    pub fn address(&self, symbol: &str) -> String {
        self.fill(&encoded(symbol), |sent, _| sent)
    }

    /// The address for a symbol as it may be shown.
    #[must_use]
    pub fn shown(&self, symbol: &str) -> String {
        self.fill(&encoded(symbol), |_, shown| shown)
    }

    fn fill<'a>(&'a self, symbol: &str, text: impl Fn(&'a str, &'a str) -> &'a str) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text { sent, shown } => out += text(sent, shown),
                Part::Symbol => out += symbol,
            }
        }
        out
    }
}

/// A text as it stands in a part of an address: everything but letters, digits and `-._~` as `%XX`.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Piece {
        Piece::Plain(text.to_owned())
    }

    fn env(name: &str, value: &str) -> Piece {
        Piece::Env { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn the_symbol_and_the_query_are_encoded_and_the_token_is_not_shown() {
        let url = Template::new(&[
            env("BASE", "http://h:1/v1"),
            plain("/q/{symbol}?s={symbol}&token="),
            env("TOKEN", "a+b/c="),
            plain("&x=1"),
        ]);
        assert_eq!(url.address("^BV SP"), "http://h:1/v1/q/%5EBV%20SP?s=%5EBV%20SP&token=a%2Bb%2Fc%3D&x=1");
        assert_eq!(url.shown("PETR4"), "${BASE}/q/PETR4?s=PETR4&token=${TOKEN}&x=1");
        assert_eq!(format!("{url:?}"), "Template(\"${BASE}/q/{symbol}?s={symbol}&token=${TOKEN}&x=1\")");
    }
}
