//! One record of separated values (RFC 4180), taken apart: where each field stands and whether it is in quotes.
//!
//! The crate csv reads more than the RFC allows and says neither that a quote was never closed nor whether a field was
//! in quotes, which tells an empty text from none; so the fields are found here, and that crate is what tests compare
//! with.

use super::Form;

/// Where a field stands in its record, without its quotes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) quoted: bool,
    /// Whether a quote stands in it, which is written twice.
    pub(super) doubled: bool,
}

/// Where the bytes stop being one record, and what is wrong there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) why: &'static str,
}

const UNCLOSED: &str = "a quote is not closed";

/// Finds the fields of the one record in `bytes`, which may end with a newline.
pub(super) fn split(bytes: &[u8], form: &Form, fields: &mut Vec<Field>) -> Result<(), Broken> {
    fields.clear();
    let bytes = without_newline(bytes);
    let mut at = 0;
    loop {
        let field = if bytes.get(at) == Some(&form.quote) { quoted(bytes, at, form)? } else { bare(bytes, at, form) };
        fields.push(field);
        at = field.end + usize::from(field.quoted);
        match bytes.get(at) {
            None => return Ok(()),
            Some(byte) if *byte == form.delimiter => at += 1,
            Some(b'\n' | b'\r') => return Err(Broken { at, why: "a second line begins: one record a value" }),
            Some(_) => return Err(Broken { at, why: "text follows the closing quote" }),
        }
    }
}

fn bare(bytes: &[u8], start: usize, form: &Form) -> Field {
    let ends = |byte: &u8| *byte == form.delimiter || *byte == b'\n' || *byte == b'\r';
    let end = bytes[start..].iter().position(ends).map_or(bytes.len(), |length| start + length);
    Field { start, end, quoted: false, doubled: false }
}

fn quoted(bytes: &[u8], open: usize, form: &Form) -> Result<Field, Broken> {
    let start = open + 1;
    let mut at = start;
    let mut doubled = false;
    loop {
        let quote = bytes[at..].iter().position(|byte| *byte == form.quote);
        let end = at + quote.ok_or(Broken { at: open, why: UNCLOSED })?;
        if bytes.get(end + 1) != Some(&form.quote) {
            return Ok(Field { start, end, quoted: true, doubled });
        }
        doubled = true;
        at = end + 2;
    }
}

pub(super) fn without_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// Where a byte stands.
#[derive(Copy, Clone, PartialEq, Eq)]
enum At {
    FieldStart,
    Bare,
    Quoted,
    /// After a quote that closes the field, or is the first of two.
    Closed,
}

/// Whether a record goes on after `line`: a newline in quotes ends no record. `within` says that quotes are open where
/// the line begins.
pub(super) fn goes_on(line: &[u8], form: &Form, within: bool) -> bool {
    let begin = if within { At::Quoted } else { At::FieldStart };
    let end = line.iter().fold(begin, |at, &byte| match at {
        At::Quoted if byte == form.quote => At::Closed,
        At::Quoted => At::Quoted,
        At::FieldStart | At::Closed if byte == form.quote => At::Quoted,
        _ if byte == form.delimiter => At::FieldStart,
        _ => At::Bare,
    });
    end == At::Quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(text: &[u8]) -> Result<Vec<Vec<u8>>, Broken> {
        let (form, mut fields) = (Form::default(), Vec::new());
        split(text, &form, &mut fields)?;
        let unquote = |field: &Field| {
            let text = &text[field.start..field.end];
            if field.doubled { String::from_utf8_lossy(text).replace("\"\"", "\"").into_bytes() } else { text.to_vec() }
        };
        Ok(fields.iter().map(unquote).collect())
    }

    #[test]
    fn quotes_hold_delimiters_newlines_and_quotes() {
        let texts = |text: &str| fields(text.as_bytes()).map(|fields| fields.concat()).map_err(|broken| broken.at);
        assert_eq!(fields(b"a,,c\r\n").unwrap(), [&b"a"[..], b"", b"c"]);
        assert_eq!(fields(b"").unwrap(), [b""]);
        assert_eq!(fields(b"\"a,b\",\"c\nd\",\"e \"\"f\"\"\"").unwrap(), [&b"a,b"[..], b"c\nd", b"e \"f\""]);
        assert_eq!(fields(b"5\" pipe,x").unwrap(), [&b"5\" pipe"[..], b"x"]);
        assert_eq!(texts("\"open,1"), Err(0));
        assert_eq!(texts("\"a\"b,1"), Err(3));
        assert_eq!(texts("a\nb"), Err(1));
    }

    #[test]
    fn a_record_goes_on_while_a_quote_is_open() {
        let form = Form::default();
        for (line, within, expected) in [
            ("a,b\n", false, false),
            ("a,\"b\n", false, true),
            ("b\n", true, true),
            ("b\",c\n", true, false),
            ("b\"\"\n", true, true),
            ("b\",\"c\n", true, true),
            ("5\" pipe\n", false, false),
            ("\n", false, false),
        ] {
            assert_eq!(goes_on(line.as_bytes(), &form, within), expected, "{line:?} {within}");
        }
    }

    proptest! {
        /// What the csv crate writes is read here as it was, and so is what it reads of it.
        #[test]
        fn what_another_writer_wrote_is_read_as_it_was(
            values in prop::collection::vec("[a-c,\"\r\n \\\\\u{e9}]{0,6}", 1..6),
            always in any::<bool>(),
        ) {
            let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
            let mut writer = csv::WriterBuilder::new().quote_style(style).from_writer(Vec::new());
            writer.write_record(&values).unwrap();
            let line = writer.into_inner().unwrap();
            let found = fields(&line).unwrap();
            let expected: Vec<Vec<u8>> = values.iter().map(|value| value.clone().into_bytes()).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert!(!goes_on(&line, &Form::default(), false));
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_slice());
            let theirs = reader.byte_records().next().unwrap().unwrap();
            prop_assert_eq!(theirs.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(), expected);
        }
    }
}
