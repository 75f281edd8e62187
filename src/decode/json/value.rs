//! From a value as it stands in the record to a cell of its column's type: exactly, or with the reason why not.

use super::super::cells::Values;
use super::super::column::TimestampForm;
use super::super::reason::Misfit;
use super::super::{number, time};
use super::scan::{Kind, Raw, unescape};

const NOT_UTF8: Misfit = Misfit::not_json("it is not UTF-8");
const LONE_SURROGATE: Misfit = Misfit::not_json("half of a surrogate pair stands alone");

/// Adds the value `raw` of the record `bytes`, which is not null, to `values`. Adds nothing on an error.
#[inline]
pub(super) fn push(values: &mut Values, raw: Raw, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<(), Misfit> {
    let whole = &bytes[raw.start..raw.end];
    match values {
        Values::Text(texts) => texts.push(string(raw, whole, scratch)?)?,
        Values::Timestamp { form: TimestampForm::Rfc3339, values } => values.push(match raw.kind {
            Kind::Number => time::epoch(whole, TimestampForm::Rfc3339)?,
            _ => time::rfc3339(string(raw, whole, scratch)?)?,
        }),
        Values::Timestamp { form, values } => values.push(epoch(raw, whole, scratch, *form)?),
        Values::Int(values) => values.push(number::int(plain_number(raw, whole)?)?),
        Values::Float(values) => values.push(number::float(plain_number(raw, whole)?)?),
        Values::Decimal { precision, scale, values } => {
            values.push(number::decimal(number_or_text(raw, whole, scratch)?, *precision, *scale)?);
        }
        Values::Bool(values) => match raw.kind {
            Kind::Bool(value) => values.push(value),
            _ => return Err(Misfit::WRONG_TYPE),
        },
        Values::Date(values) => values.push(time::date(string(raw, whole, scratch)?)?),
        Values::Json(texts) => {
            if str::from_utf8(whole).is_err() {
                return Err(NOT_UTF8);
            }
            texts.push(whole)?;
        }
    }
    Ok(())
}

/// The text of a string, its escapes resolved.
#[inline]
fn string<'a>(raw: Raw, whole: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Misfit> {
    if raw.kind != Kind::Text {
        return Err(Misfit::WRONG_TYPE);
    }
    let text = &whole[1..whole.len() - 1];
    if !raw.ascii && str::from_utf8(text).is_err() {
        return Err(NOT_UTF8);
    }
    if !raw.escaped {
        return Ok(text);
    }
    scratch.clear();
    unescape(text, scratch).map_err(|_| LONE_SURROGATE)?;
    Ok(scratch)
}

#[inline]
fn plain_number(raw: Raw, whole: &[u8]) -> Result<&[u8], Misfit> {
    if raw.kind == Kind::Number { Ok(whole) } else { Err(Misfit::WRONG_TYPE) }
}

/// The text of a number that may be written as a string, as is usual for money and for counts beyond 53 bits.
#[inline]
fn number_or_text<'a>(raw: Raw, whole: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Misfit> {
    if raw.kind == Kind::Number {
        return Ok(whole);
    }
    let text = string(raw, whole, scratch)?;
    if number::is_number(text) { Ok(text) } else { Err(Misfit::WRONG_TYPE) }
}

fn epoch(raw: Raw, whole: &[u8], scratch: &mut Vec<u8>, form: TimestampForm) -> Result<i64, Misfit> {
    let text = if raw.kind == Kind::Number { whole } else { string(raw, whole, scratch)? };
    if number::is_number(text) {
        time::epoch(text, form)
    } else if time::rfc3339(text).is_ok() {
        Err(Misfit::wrong_type("it is RFC 3339 text: declare timestamp"))
    } else {
        Err(Misfit::WRONG_TYPE)
    }
}

/// A value's kind in words.
pub(super) fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool(true) => "true",
        Kind::Bool(false) => "false",
        Kind::Number => "a number",
        Kind::Text => "a string",
        Kind::Object => "an object",
        Kind::Array => "an array",
    }
}
