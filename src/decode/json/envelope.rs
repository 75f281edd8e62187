//! The envelope of a change event, gone through once: its operation, and where the row after the change stands.

use super::scan::{Broken, Kind, Raw, Scanner};
use super::{not_json, reason, rejection};
use crate::decode::Reason;

/// What a change event says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Change<'a> {
    /// The row as JSON, after it was read, created or updated.
    Row(&'a [u8]),
    /// A row is gone, or all of them; in words.
    Delete(&'static str),
}

/// The members of the envelope that count.
#[derive(Default)]
struct Envelope {
    op: Option<Raw>,
    after: Option<Raw>,
    payload: Option<Raw>,
}

/// What the change event in `bytes` says.
///
/// # Errors
/// If it is not JSON, or none of the events that Debezium writes of rows.
pub(in crate::decode) fn read(bytes: &[u8]) -> Result<Change<'_>, Box<Reason>> {
    let mut envelope = Envelope::default();
    go(bytes, 0, &mut envelope, true).map_err(|broken| not_json(bytes, broken))?;
    if envelope.op.is_none()
        && let Some(payload) = envelope.payload
    {
        if payload.kind == Kind::Null {
            return Ok(Change::Delete("the payload is null, as after a delete"));
        }
        envelope = Envelope::default();
        // Its form was checked on the way past it.
        go(bytes, payload.start, &mut envelope, false).map_err(|broken| not_json(bytes, broken))?;
    }
    let Some(op) = envelope.op else {
        return Err(rejection(reason::NOT_DEBEZIUM, "the record has no \"op\", at its top or under \"payload\""));
    };
    match &bytes[op.start..op.end] {
        b"\"c\"" | b"\"u\"" | b"\"r\"" => match envelope.after {
            Some(after) if after.kind == Kind::Object => Ok(Change::Row(&bytes[after.start..after.end])),
            _ => Err(rejection(reason::NOT_DEBEZIUM, "the change has no row in \"after\"")),
        },
        b"\"d\"" => Ok(Change::Delete("the row was deleted")),
        b"\"t\"" => Ok(Change::Delete("the table was truncated")),
        other => {
            let text = format!("op: \"c\", \"u\", \"r\", \"d\" or \"t\" expected, found {}", reason::excerpt(other));
            Err(rejection(reason::NOT_DEBEZIUM, text))
        }
    }
}

/// Goes through the members of the object that begins at `start`; with `whole`, nothing may follow it.
fn go(bytes: &[u8], start: usize, envelope: &mut Envelope, whole: bool) -> Result<(), Broken> {
    let mut scanner = Scanner::new(bytes);
    scanner.at = start;
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return scanner.broken("an object");
    }
    let mut more = scanner.open(b'}')?;
    while more {
        let name = scanner.name()?;
        scanner.colon()?;
        let value = scanner.value()?;
        match &bytes[name.start..name.end] {
            b"\"op\"" => envelope.op = Some(value),
            b"\"after\"" => envelope.after = Some(value),
            b"\"payload\"" => envelope.payload = Some(value),
            _ => {}
        }
        more = scanner.goes_on(b'}')?;
    }
    scanner.space();
    if whole && scanner.peek().is_some() {
        return scanner.broken("the end of the record");
    }
    Ok(())
}
