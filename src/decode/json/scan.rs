//! One pass over the bytes of a JSON text (RFC 8259): finds where values end, without recursion and in linear time.
//!
//! Every value is checked for its form, wanted or not: strings end, escapes are ones, numbers follow the grammar,
//! brackets match. Left to the reader of a wanted value: UTF-8 and surrogate pairs in strings.

use super::super::number;

/// How deep arrays and objects may lie in one another.
pub(super) const MAX_DEPTH: u32 = 64;

/// What kind of value stands somewhere.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number,
    Text,
    Object,
    Array,
}

/// A value as it stands in the text: `start..end`, a string with its quotes.
#[derive(Copy, Clone, Debug)]
pub(super) struct Raw {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    /// A string with escapes in it.
    pub(super) escaped: bool,
    /// A string of ASCII alone.
    pub(super) ascii: bool,
}

/// Where the text stops being JSON, and what should have stood there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

/// Too deep is told by this text, in place of what was expected.
pub(super) const TOO_DEEP: &str = "nested deeper than 64";

/// A place in the text.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes past white space.
    #[inline]
    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Goes past `text` if it stands here.
    #[inline]
    pub(super) fn take(&mut self, text: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    #[cold]
    pub(super) fn broken<T>(&self, expected: &'static str) -> Result<T, Broken> {
        Err(Broken { at: self.at, expected })
    }

    /// Goes past a bracket that opens and the white space after it; whether something stands in it. If nothing does,
    /// the bracket that closes is passed too.
    #[inline]
    pub(super) fn open(&mut self, close: u8) -> Result<bool, Broken> {
        if self.depth == MAX_DEPTH {
            return self.broken(TOO_DEEP);
        }
        self.depth += 1;
        self.at += 1;
        self.space();
        let empty = self.peek() == Some(close);
        if empty {
            self.at += 1;
            self.depth -= 1;
        }
        Ok(!empty)
    }

    /// Goes past what follows an item and the white space around it; whether another item comes.
    #[inline]
    pub(super) fn goes_on(&mut self, close: u8) -> Result<bool, Broken> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ => self.broken(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }),
        }
    }

    /// Goes past a member's name; its place, with the quotes, and whether it has escapes.
    #[inline]
    pub(super) fn name(&mut self) -> Result<Raw, Broken> {
        if self.peek() != Some(b'"') {
            return self.broken("a member's name in quotes");
        }
        self.string()
    }

    /// Goes past the colon after a name, and the white space around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), Broken> {
        self.space();
        if self.peek() != Some(b':') {
            return self.broken("`:`");
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Goes past the value that begins here.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Raw, Broken> {
        match self.peek() {
            Some(b'{' | b'[') => self.container(),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<Raw, Broken> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.literal(),
        }
    }

    fn raw(&self, kind: Kind, start: usize) -> Raw {
        Raw { kind, start, end: self.at, escaped: false, ascii: true }
    }

    #[inline]
    fn number(&mut self) -> Result<Raw, Broken> {
        let start = self.at;
        match number::end_of_number(self.bytes, start) {
            Ok(end) => self.at = end,
            Err(at) => return Err(Broken { at, expected: "a digit" }),
        }
        Ok(self.raw(Kind::Number, start))
    }

    fn literal(&mut self) -> Result<Raw, Broken> {
        let start = self.at;
        for (word, kind) in [(&b"null"[..], Kind::Null), (b"true", Kind::Bool(true)), (b"false", Kind::Bool(false))] {
            if self.take(word) {
                return Ok(self.raw(kind, start));
            }
        }
        self.broken("a value")
    }

    /// Goes past an array or object and all that is in it. The brackets open here are the bits of a word, 1 for an
    /// object, the innermost lowest: [`MAX_DEPTH`] is what makes them enough.
    fn container(&mut self) -> Result<Raw, Broken> {
        let start = self.at;
        let outside = self.depth;
        let mut objects = 0u64;
        let kind = if self.peek() == Some(b'{') { Kind::Object } else { Kind::Array };
        loop {
            // Here an item begins; the first is the whole.
            let mut item_ended = true;
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    let object = bracket == b'{';
                    if self.open(if object { b'}' } else { b']' })? {
                        objects = objects << 1 | u64::from(object);
                        item_ended = false;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            while item_ended {
                if self.depth == outside {
                    return Ok(self.raw(kind, start));
                }
                item_ended = !self.goes_on(if objects & 1 == 1 { b'}' } else { b']' })?;
                objects >>= u32::from(item_ended);
            }
            if objects & 1 == 1 {
                self.name()?;
                self.colon()?;
            }
        }
    }

    /// Goes past a string, eight bytes at a time as far as they last.
    #[inline]
    fn string(&mut self) -> Result<Raw, Broken> {
        let start = self.at;
        let mut at = start + 1;
        let mut seen = 0u64;
        let mut escaped = false;
        loop {
            if let Some(word) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
                let word = u64::from_le_bytes(*word);
                let stops = stops(word);
                if stops == 0 {
                    seen |= word;
                    at += 8;
                    continue;
                }
                // The first stop's lowest byte bit less one: ones in all the bytes before it.
                let before = (stops & stops.wrapping_neg()) >> 7;
                seen |= word & (before - 1);
                at += (stops.trailing_zeros() / 8) as usize;
            }
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    let ascii = seen & HIGH == 0;
                    return Ok(Raw { kind: Kind::Text, start, end: self.at, escaped, ascii });
                }
                Some(b'\\') => {
                    escaped = true;
                    at = self.escape(at)?;
                }
                Some(&byte) if byte >= b' ' => {
                    seen |= u64::from(byte);
                    at += 1;
                }
                Some(_) => return Err(Broken { at, expected: "a control character's escape" }),
                None => return Err(Broken { at, expected: "the closing quote" }),
            }
        }
    }

    /// The end of the escape whose backslash is at `at`.
    #[cold]
    fn escape(&self, at: usize) -> Result<usize, Broken> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => {
                let digits = self.bytes[at + 2..].iter().take(4).take_while(|digit| digit.is_ascii_hexdigit()).count();
                if digits == 4 { Ok(at + 6) } else { Err(Broken { at: at + 2 + digits, expected: "a hex digit" }) }
            }
            _ => Err(Broken { at: at + 1, expected: "an escape's letter" }),
        }
    }
}

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES * 0x80;

/// The high bit of every byte that ends a run of plain characters: a quote, a backslash, a control character. Bits
/// above the lowest may be wrong (Warren, Hacker's Delight, 6-1: a borrow runs upwards).
#[inline]
fn stops(word: u64) -> u64 {
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    (quote | backslash | control) & !word & HIGH
}

/// Appends the text of a string without its quotes, its escapes resolved. Their form was checked by the scanner.
///
/// # Errors
/// If half of a surrogate pair stands alone.
pub(super) fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Result<(), LoneSurrogate> {
    while let Some(plain) = text.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&text[..plain]);
        let letter = text[plain + 1];
        text = &text[plain + 2..];
        out.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut unit = hex4(text);
                text = &text[4..];
                if (0xd800..0xdc00).contains(&unit)
                    && let Some(next) = text.strip_prefix(b"\\u")
                    && let low @ 0xdc00..0xe000 = hex4(next)
                {
                    unit = 0x10000 + ((unit - 0xd800) << 10 | (low - 0xdc00));
                    text = &next[4..];
                }
                let char = char::from_u32(unit).ok_or(LoneSurrogate)?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        });
    }
    out.extend_from_slice(text);
    Ok(())
}

/// Half of a surrogate pair, which is no character.
#[derive(Debug)]
pub(super) struct LoneSurrogate;

fn hex4(text: &[u8]) -> u32 {
    text[..4].iter().fold(0, |value, &digit| value << 4 | char::from(digit).to_digit(16).unwrap_or(0))
}
