//! Numbers and times as JSON text, without the cost of the general formatter: benchmarks wait for these records.

use chrono::{DateTime, Datelike};

use super::{Broken, Draft};

/// Appends `number` in decimal.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends an amount in hundredths as a number with two digits after the point.
pub(super) fn push_hundredths(out: &mut Vec<u8>, amount: i64) {
    if amount < 0 {
        out.push(b'-');
    }
    let amount = amount.unsigned_abs();
    push_number(out, amount / 100);
    out.push(b'.');
    push_two(out, amount % 100);
}

fn push_two(out: &mut Vec<u8>, number: u64) {
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(number / 10), digit(number)]);
}

/// Appends `text` as 16 hex digits.
pub(super) fn push_hex(out: &mut Vec<u8>, number: u64) {
    for place in (0..16).rev() {
        let digit = usize::try_from(number >> (place * 4) & 0xf).unwrap_or(0);
        out.push(b"0123456789abcdef"[digit]);
    }
}

/// Writes times, and remembers the last day.
#[derive(Debug)]
pub(super) struct Times {
    day: i64,
    text: Vec<u8>,
}

impl Times {
    pub(super) fn new() -> Self {
        Self { day: i64::MIN, text: Vec::new() }
    }

    /// Appends seconds since the epoch as RFC 3339 in UTC, without quotes.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, seconds: i64) {
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400).unsigned_abs());
        if day != self.day {
            self.day = day;
            let date = DateTime::from_timestamp(day * 86_400, 0).unwrap_or_default();
            let year = u64::from(date.year().clamp(0, 9999).unsigned_abs());
            self.text.clear();
            push_two(&mut self.text, year / 100);
            push_two(&mut self.text, year % 100);
            for part in [date.month(), date.day()] {
                self.text.push(b'-');
                push_two(&mut self.text, u64::from(part));
            }
            self.text.push(b'T');
        }
        out.extend_from_slice(&self.text);
        push_two(out, second / 3600);
        out.push(b':');
        push_two(out, second / 60 % 60);
        out.push(b':');
        push_two(out, second % 60);
        out.push(b'Z');
    }
}

/// Appends a member, its name with quotes and colon, whose value `write` appends; unless the draft says that it is
/// missing, or to be something else.
pub(super) fn push_member(
    out: &mut Vec<u8>,
    draft: Draft,
    is_amount: bool,
    name: &[u8],
    write: impl FnOnce(&mut Vec<u8>),
) {
    match draft.broken {
        Some((Broken::Missing, amount)) if amount == is_amount => {}
        Some((Broken::Mistyped, amount)) if amount == is_amount => {
            out.extend_from_slice(name);
            out.extend_from_slice(b"\"unknown\"");
        }
        _ => {
            out.extend_from_slice(name);
            write(out);
        }
    }
}
