//! Durations, window sizes, byte sizes and points in time as people write them, and durations told back to them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::record::Timestamp;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Why a text is not what it should be, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {instead}")]
pub struct TextError {
    wrong: String,
    instead: String,
}

impl TextError {
    /// An error from what is wrong and what to write instead.
    #[must_use]
    pub fn new(wrong: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), instead: instead.into() }
    }
}

/// A window's size as written. Days and longer follow the calendar where there is a time zone.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// Microseconds, the same in every zone.
    Physical(i64),
    /// Calendar days.
    Days(i64),
    /// Calendar weeks.
    Weeks(i64),
    /// Calendar months.
    Months(i64),
}

/// Microseconds of a duration such as `"90s"`, `"10 minutes"` or `"1h 30m"`; never negative.
///
/// ```
/// # use windrow::time::text::duration;
/// assert_eq!(duration("10 minutes"), Ok(600_000_000));
/// assert_eq!(duration("60").unwrap_err().to_string(), r#"no unit; did you mean "60s"?"#);
/// ```
///
/// # Errors
/// If it is no duration, or one without a fixed length, such as a month.
pub fn duration(text: &str) -> Result<i64, TextError> {
    const LIKE: &str = r#"write it like "90s", "10 minutes" or "1h 30m""#;
    let text = text.trim();
    if text.is_empty() {
        return Err(TextError::new("empty", LIKE));
    }
    if text.starts_with('-') {
        return Err(TextError::new("negative", "write a duration of zero or more"));
    }
    if text != "0" && is_number(text) {
        return Err(TextError::new("no unit", format!("did you mean \"{text}s\"?")));
    }
    let text = lowered(text);
    if words(&text).any(|word| MONTHS.contains(&word) || YEARS.contains(&word) || word == "M") {
        return Err(TextError::new("months and years have no fixed length", r#"write days, such as "30 days""#));
    }
    let parsed = humantime::parse_duration(&text).map_err(|error| match error {
        humantime::DurationError::UnknownUnit { unit, .. } if !unit.is_empty() => {
            let near = UNITS.iter().min_by_key(|known| strsim::damerau_levenshtein(known, &unit));
            let near = near.filter(|known| strsim::damerau_levenshtein(known, &unit) <= 2);
            let instead = near.map_or_else(|| LIKE.to_owned(), |known| format!("did you mean \"{known}\"?"));
            TextError::new(format!("unknown unit \"{unit}\""), instead)
        }
        humantime::DurationError::NumberOverflow => TextError::new("too large or too fine", LIKE),
        _ => TextError::new("not a duration", LIKE),
    })?;
    if !parsed.subsec_nanos().is_multiple_of(1000) {
        return Err(TextError::new("finer than a microsecond", "write whole microseconds"));
    }
    i64::try_from(parsed.as_micros()).map_err(|_| TextError::new("too large", LIKE))
}

/// A window's size: a [`duration`], or a whole number of days, weeks, months or years.
///
/// # Errors
/// If it is neither.
pub fn window_size(text: &str) -> Result<Size, TextError> {
    let text = lowered(text.trim());
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = unit.trim();
    if let Ok(count) = number.parse::<u32>() {
        let count = i64::from(count);
        if DAYS.contains(&unit) {
            return Ok(Size::Days(count));
        } else if WEEKS.contains(&unit) {
            return Ok(Size::Weeks(count));
        } else if MONTHS.contains(&unit) {
            return Ok(Size::Months(count));
        } else if YEARS.contains(&unit) {
            return Ok(Size::Months(count * 12));
        }
    }
    // A day and a half has no meaning where a day may have 23 hours.
    if words(&text).any(|word| [DAYS, WEEKS, MONTHS, YEARS].concat().contains(&word)) && !text.starts_with('-') {
        let wrong = "days, weeks and months are taken alone and whole";
        return Err(TextError::new(wrong, r#"write "36 hours" or "2 days""#));
    }
    duration(&text).map(Size::Physical)
}

/// Bytes of a size such as `"64 MiB"` or `"1.5 GB"`.
///
/// # Errors
/// If it is no size.
pub fn bytes(text: &str) -> Result<u64, TextError> {
    const LIKE: &str = r#"write it like "64 MiB" or "500 KB""#;
    let text = text.trim();
    if is_number(text) {
        let unit = if text.len() > 5 { "B" } else { "MiB" };
        return Err(TextError::new("no unit", format!("did you mean \"{text} {unit}\"?")));
    }
    let size: bytesize::ByteSize = text.parse().map_err(|_| TextError::new("not a size in bytes", LIKE))?;
    if size.0 > u64::MAX / 2 {
        return Err(TextError::new("too large", LIKE));
    }
    Ok(size.0)
}

/// A point in time as RFC 3339 writes it.
///
/// # Errors
/// If it is not written so, with its offset from UTC.
pub fn time(text: &str) -> Result<Timestamp, TextError> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(time.timestamp_micros()));
    }
    let wrong = if text.parse::<NaiveDate>().is_ok() {
        "a date without a time"
    } else if text.replacen(' ', "T", 1).parse::<NaiveDateTime>().is_ok() {
        "a time without its offset from UTC"
    } else {
        "not an RFC 3339 time"
    };
    Err(TextError::new(wrong, r#"write it like "2026-03-01T08:00:00Z" or "2026-03-01T09:00:00+01:00""#))
}

/// A duration in words, exact: [`duration`] reads it back.
///
/// ```
/// # use windrow::time::text::describe;
/// assert_eq!(describe(5_400_000_000), "1 hour 30 minutes");
/// assert_eq!(describe(0), "0 seconds");
/// ```
#[must_use]
pub fn describe(micros: i64) -> String {
    if micros == 0 {
        return "0 seconds".to_owned();
    }
    let mut rest = micros.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, name) in [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (SECOND, "second"), (1000, "ms"), (1, "µs")]
    {
        let count = rest / unit.unsigned_abs();
        rest %= unit.unsigned_abs();
        let plural = if count == 1 || unit < SECOND { "" } else { "s" };
        if count > 0 {
            parts.push(format!("{count} {name}{plural}"));
        }
    }
    format!("{}{}", if micros < 0 { "-" } else { "" }, parts.join(" "))
}

const DAYS: &[&str] = &["d", "day", "days"];
const WEEKS: &[&str] = &["w", "wk", "wks", "week", "weeks"];
const MONTHS: &[&str] = &["month", "months", "mon", "mo"];
const YEARS: &[&str] = &["y", "yr", "yrs", "year", "years"];
const UNITS: &[&str] =
    &["seconds", "second", "minutes", "minute", "hours", "hour", "days", "day", "weeks", "week", "ms"];

/// Words of two letters and more in small letters; a single `M` stays what it is.
fn lowered(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_alphabetic()) {
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        out += &if letters > 1 { word.to_lowercase() } else { word.to_owned() };
    }
    out
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_taken_as_people_write_them() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("90s", 90 * SECOND),
            ("90 seconds", 90 * SECOND),
            ("10 minutes", 10 * MINUTE),
            ("10 Minutes", 10 * MINUTE),
            ("10min", 10 * MINUTE),
            ("1 hour", HOUR),
            (" 2 hours ", 2 * HOUR),
            ("1h 30m", 90 * MINUTE),
            ("1h30m", 90 * MINUTE),
            ("1.5 hours", 90 * MINUTE),
            ("250ms", SECOND / 4),
            ("7 us", 7),
            ("1 day", DAY),
            ("2 weeks", 14 * DAY),
        ];
        for (text, micros) in table {
            assert_eq!(duration(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_what_to_write() {
        let table = [
            ("", r#"empty; write it like "90s", "10 minutes" or "1h 30m""#),
            ("60", r#"no unit; did you mean "60s"?"#),
            ("1.5", r#"no unit; did you mean "1.5s"?"#),
            ("-5s", "negative; write a duration of zero or more"),
            ("10 minuts", r#"unknown unit "minuts"; did you mean "minutes"?"#),
            ("10 parsecs", r#"unknown unit "parsecs"; write it like "90s", "10 minutes" or "1h 30m""#),
            ("soon", r#"not a duration; write it like "90s", "10 minutes" or "1h 30m""#),
            ("1 hour and 5 minutes", r#"not a duration; write it like "90s", "10 minutes" or "1h 30m""#),
            ("1 month", r#"months and years have no fixed length; write days, such as "30 days""#),
            ("1M", r#"months and years have no fixed length; write days, such as "30 days""#),
            ("2 years", r#"months and years have no fixed length; write days, such as "30 days""#),
            ("500ns", "finer than a microsecond; write whole microseconds"),
            ("9999999999 weeks", r#"too large; write it like "90s", "10 minutes" or "1h 30m""#),
            ("99999999999999999999s", r#"too large or too fine; write it like "90s", "10 minutes" or "1h 30m""#),
        ];
        for (text, error) in table {
            assert_eq!(duration(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn days_weeks_and_months_are_calendar_sizes() {
        let table = [
            ("1 hour", Size::Physical(HOUR)),
            ("24 hours", Size::Physical(DAY)),
            ("1 day", Size::Days(1)),
            ("7d", Size::Days(7)),
            ("1 Week", Size::Weeks(1)),
            ("2 weeks", Size::Weeks(2)),
            ("1 month", Size::Months(1)),
            ("3 months", Size::Months(3)),
            ("1 year", Size::Months(12)),
        ];
        for (text, size) in table {
            assert_eq!(window_size(text), Ok(size), "{text}");
        }
        let whole = r#"days, weeks and months are taken alone and whole; write "36 hours" or "2 days""#;
        let table = [
            ("1.5 days", whole),
            ("1 day 12 hours", whole),
            ("1 month 2 days", whole),
            ("-1 day", "negative; write a duration of zero or more"),
            ("60", r#"no unit; did you mean "60s"?"#),
        ];
        for (text, error) in table {
            assert_eq!(window_size(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn byte_sizes_are_taken_as_people_write_them() {
        let table = [("64 MiB", 64 << 20), ("64MiB", 64 << 20), ("1 kb", 1000), ("1.5 GiB", 3 << 29), ("12 B", 12)];
        for (text, size) in table {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        let table = [
            ("64", r#"no unit; did you mean "64 MiB"?"#),
            ("268435456", r#"no unit; did you mean "268435456 B"?"#),
            ("64 megs", r#"not a size in bytes; write it like "64 MiB" or "500 KB""#),
            ("-1 MiB", r#"not a size in bytes; write it like "64 MiB" or "500 KB""#),
            ("99999 EiB", r#"too large; write it like "64 MiB" or "500 KB""#),
        ];
        for (text, error) in table {
            assert_eq!(bytes(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn times_need_their_offset() {
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(Timestamp(0)));
        for (text, wrong) in [
            ("2026-03-01", "a date without a time"),
            ("2026-03-01 08:00:00", "a time without its offset from UTC"),
            ("2026-03-01T08:00:00", "a time without its offset from UTC"),
            ("yesterday", "not an RFC 3339 time"),
        ] {
            assert!(time(text).unwrap_err().to_string().starts_with(wrong), "{text}");
        }
    }

    #[test]
    fn durations_are_told_in_words() {
        for (micros, words) in [
            (1, "1 µs"),
            (SECOND, "1 second"),
            (90 * SECOND, "1 minute 30 seconds"),
            (2 * HOUR, "2 hours"),
            (400 * DAY + 1500, "400 days 1 ms 500 µs"),
            (-MINUTE, "-1 minute"),
        ] {
            assert_eq!(describe(micros), words);
        }
    }

    proptest! {
        #[test]
        fn what_is_told_can_be_read_back(micros in 0..400 * DAY) {
            prop_assert_eq!(duration(&describe(micros)), Ok(micros));
        }

        #[test]
        fn no_text_is_too_strange(text in ".*") {
            let _ = (duration(&text), window_size(&text), bytes(&text), time(&text));
        }
    }
}
