//! Times and dates from text and numbers: RFC 3339, epoch counts, calendar days. Years 0001 to 9999.

use super::column::TimestampForm;
use super::number;
use super::reason::Misfit;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The first microsecond of year 0001.
const FIRST: i64 = days_from_civil(1, 1, 1) * DAY;
/// The first microsecond after year 9999.
const END: i64 = days_from_civil(10_000, 1, 1) * DAY;

const YEARS: Misfit = Misfit::out_of_range("only the years 0001 to 9999 can be told");
const NO_SUCH_DAY: Misfit = Misfit::out_of_range("there is no such day");
const NO_SUCH_TIME: Misfit = Misfit::out_of_range("there is no such time of day");
const NO_SUCH_OFFSET: Misfit = Misfit::out_of_range("there is no such offset from UTC");
const LEAP_SECOND: Misfit = Misfit::out_of_range("a leap second (:60) has no place of its own in UTC microseconds");
const NO_OFFSET: Misfit = Misfit::wrong_type("the offset is missing: Z or such as +01:00 must follow the time");
const BAD_OFFSET: Misfit = Misfit::wrong_type("the offset must be Z or such as +01:00");
const BAD_FRACTION: Misfit = Misfit::wrong_type("a fraction of a second has one to nine digits");
const NO_TIME_OF_DAY: Misfit = Misfit::wrong_type("it is a day without a time: declare date");

/// Microseconds of RFC 3339 text, `2026-03-01T08:00:00.5+01:00`. A space may stand for the `T`, and both letters may be
/// small. Digits beyond microseconds, up to nanoseconds, are cut off: towards the past, also before 1970.
#[inline]
pub(super) fn rfc3339(text: &[u8]) -> Result<i64, Misfit> {
    let Some((head, rest)) = text.split_first_chunk::<19>() else { return Err(not_rfc3339(text)) };
    let seconds = match usual(head) {
        Some(seconds) => seconds,
        None => unusual(head, text)?,
    };
    let (micros, rest) = fraction(rest)?;
    let ahead = offset_minutes(rest)? * 60;
    in_years((seconds - ahead) * SECOND + micros)
}

/// Seconds of a time as nearly all are written, `2026-03-01T08:00:00`, by the word: where it is sound, all bytes but those
/// of digits are what stands below, and those of digits have their value after it is taken away (Lemire, 2022).
#[inline]
fn usual(text: &[u8; 19]) -> Option<i64> {
    const DATE: u64 = u64::from_le_bytes(*b"0000-00-");
    const CLOCK: u64 = u64::from_le_bytes(*b"00T00:00");
    const DATE_MARKS: u64 = u64::from_le_bytes([0, 0, 0, 0, 0xff, 0, 0, 0xff]);
    const CLOCK_MARKS: u64 = u64::from_le_bytes([0, 0, 0xff, 0, 0, 0xff, 0, 0]);
    const ONES: u64 = u64::MAX / 255;
    let (date, rest) = text.split_first_chunk()?;
    let (clock, &[colon, tens, units]) = rest.split_first_chunk()? else { return None };
    let (date, clock) = (u64::from_le_bytes(*date) ^ DATE, u64::from_le_bytes(*clock) ^ CLOCK);
    // The high bit of a byte beyond 9, and perhaps of the one after it.
    let beyond = |word: u64| word | word.wrapping_add(ONES * (0x7f - 9));
    let second = two(tens, units);
    if (beyond(date) | beyond(clock)) & (ONES * 0x80) != 0
        || date & DATE_MARKS | clock & CLOCK_MARKS != 0
        || colon != b':'
    {
        return None;
    }
    // Each byte as the tens of the next one's units.
    let pairs = |word: u64| (word * 10 + (word >> 8)).to_le_bytes().map(i64::from);
    let ([century, _, year, _, _, month, ..], [day, _, _, hour, _, _, minute, _]) = (pairs(date), pairs(clock));
    let year = century * 100 + year;
    if year == 0 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The same of any time of that length; the only one that says what is wrong.
#[cold]
fn unusual(head: &[u8; 19], text: &[u8]) -> Result<i64, Misfit> {
    let (day, clock) = head.split_at(10);
    if !(matches!(clock[0], b'T' | b't' | b' ') && clock[3] == b':' && clock[6] == b':') {
        return Err(not_rfc3339(text));
    }
    let day =
        day_number(day).map_err(|misfit| if misfit == Misfit::WRONG_TYPE { not_rfc3339(text) } else { misfit })?;
    let (hour, minute, second) = (two(clock[1], clock[2]), two(clock[4], clock[5]), two(clock[7], clock[8]));
    if hour > 23 || minute > 59 || second > 59 {
        return Err(wrong_clock(hour, minute, second, text));
    }
    Ok(day * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The value of two digits; far beyond 99 if they are none.
#[inline]
fn two(tens: u8, units: u8) -> i64 {
    let (tens, units) = (tens.wrapping_sub(b'0'), units.wrapping_sub(b'0'));
    if tens > 9 || units > 9 { NOT_DIGITS } else { i64::from(tens) * 10 + i64::from(units) }
}

const NOT_DIGITS: i64 = 1_000_000;

/// The fraction of a second in microseconds, and what follows it.
#[inline]
fn fraction(rest: &[u8]) -> Result<(i64, &[u8]), Misfit> {
    let Some(rest) = rest.strip_prefix(b".") else { return Ok((0, rest)) };
    let mut micros = 0;
    let mut count = 0;
    while let Some(digit @ b'0'..=b'9') = rest.get(count) {
        if count < 6 {
            micros = micros * 10 + i64::from(digit - b'0');
        }
        count += 1;
    }
    if !(1..=9).contains(&count) {
        return Err(BAD_FRACTION);
    }
    const PARTS: [i64; 7] = [1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
    Ok((micros * PARTS[count.min(6)], &rest[count..]))
}

/// The minutes that local time is ahead of UTC.
#[inline]
fn offset_minutes(text: &[u8]) -> Result<i64, Misfit> {
    match *text {
        [b'Z' | b'z'] => Ok(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2), two(m1, m2));
            if hours.max(minutes) == NOT_DIGITS {
                return Err(BAD_OFFSET);
            }
            if hours > 23 || minutes > 59 {
                return Err(NO_SUCH_OFFSET);
            }
            let ahead = hours * 60 + minutes;
            Ok(if sign == b'-' { -ahead } else { ahead })
        }
        [] => Err(NO_OFFSET),
        _ => Err(BAD_OFFSET),
    }
}

#[cold]
fn wrong_clock(hour: i64, minute: i64, second: i64, text: &[u8]) -> Misfit {
    match (hour, minute, second) {
        (0..24, 0..60, 60) => LEAP_SECOND,
        _ if [hour, minute, second].contains(&NOT_DIGITS) => not_rfc3339(text),
        _ => NO_SUCH_TIME,
    }
}

#[cold]
fn not_rfc3339(text: &[u8]) -> Misfit {
    if day_number(text).is_ok() {
        return NO_TIME_OF_DAY;
    }
    Misfit::wrong_type(epoch_hint(text).unwrap_or(""))
}

/// Days since the epoch of a date as `YYYY-MM-DD`.
pub(super) fn date(text: &[u8]) -> Result<i32, Misfit> {
    let day = day_number(text).map_err(|misfit| match text.get(..10) {
        Some(head) if text.len() > 10 && day_number(head).is_ok() => {
            Misfit::wrong_type("it has a time: declare timestamp")
        }
        _ => misfit,
    })?;
    i32::try_from(day).map_err(|_| YEARS)
}

#[inline]
fn day_number(text: &[u8]) -> Result<i64, Misfit> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return Err(Misfit::WRONG_TYPE) };
    let (year, month, day) = (two(y1, y2) * 100 + two(y3, y4), two(m1, m2), two(d1, d2));
    if year > 9999 || month >= NOT_DIGITS || day >= NOT_DIGITS {
        return Err(Misfit::WRONG_TYPE);
    }
    if year == 0 {
        return Err(YEARS);
    }
    if day < 1 || day > days_in_month(year, month) {
        return Err(NO_SUCH_DAY);
    }
    Ok(days_from_civil(year, month, day))
}

/// 0 for a month that is not there.
#[inline]
fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, for years from 1: the year is taken to begin in March, so that the
/// leap day is its last.
#[inline]
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    let days_to_epoch = 719_468;
    365 * year + year / 4 - year / 100 + year / 400 + days_before_month + day - 1 - days_to_epoch
}

/// Microseconds of a count since the epoch. `text` is a number by JSON's grammar.
///
/// # Errors
/// `inexact` if it is finer than a microsecond, `out_of_range` outside the years.
pub(super) fn epoch(text: &[u8], form: TimestampForm) -> Result<i64, Misfit> {
    let scale = match form {
        TimestampForm::EpochSeconds => 6,
        TimestampForm::EpochMillis => 3,
        TimestampForm::EpochMicros => 0,
        TimestampForm::Rfc3339 => return Err(Misfit::wrong_type(epoch_hint(text).unwrap_or(""))),
    };
    let years = || epoch_hint(text).map_or(YEARS, Misfit::out_of_range);
    let micros = number::scaled(text, scale).map_err(|misfit| match misfit.class {
        super::reason::INEXACT => Misfit::inexact("it is finer than a microsecond"),
        _ => years(),
    })?;
    i64::try_from(micros).map_err(|_| years()).and_then(|micros| in_years(micros).map_err(|_| years()))
}

/// Microseconds of a whole count since the epoch.
///
/// # Errors
/// `out_of_range` outside the years.
pub(super) fn count(count: i64, form: TimestampForm) -> Result<i64, Misfit> {
    let unit = match form {
        TimestampForm::EpochSeconds => SECOND,
        TimestampForm::EpochMillis => 1000,
        TimestampForm::EpochMicros => 1,
        TimestampForm::Rfc3339 => return Err(Misfit::WRONG_TYPE),
    };
    let micros = count.checked_mul(unit).ok_or(YEARS).and_then(in_years);
    micros.map_err(|_| epoch_hint(count.to_string().as_bytes()).map_or(YEARS, Misfit::out_of_range))
}

/// A day that has a place in the calendar.
///
/// # Errors
/// `out_of_range` outside the years.
pub(super) fn day(days: i32) -> Result<i32, Misfit> {
    in_years(i64::from(days).saturating_mul(DAY)).map(|_| days)
}

/// A day as `YYYY-MM-DD`.
pub(super) fn day_text(days: i32) -> String {
    let day = chrono::DateTime::from_timestamp(i64::from(days) * 86_400, 0);
    day.map_or_else(|| format!("day {days}"), |day| day.date_naive().to_string())
}

#[inline]
pub(super) fn in_years(micros: i64) -> Result<i64, Misfit> {
    if (FIRST..END).contains(&micros) { Ok(micros) } else { Err(YEARS) }
}

/// What a number that is no time as declared would be a time as: a unit in which it lies in this century or the last
/// years of the one before.
#[cold]
pub(super) fn epoch_hint(text: &[u8]) -> Option<&'static str> {
    if !number::is_number(text) {
        return None;
    }
    let count = number::scaled(text, 9).ok()? / 1_000_000_000;
    let recent = 800_000_000..4_200_000_000;
    [
        (1, "it looks like epoch seconds: declare timestamp(s)"),
        (1000, "it looks like epoch milliseconds: declare timestamp(ms)"),
        (1_000_000, "it looks like epoch microseconds: declare timestamp(us)"),
        (1_000_000_000, "it looks like epoch nanoseconds, which no timestamp reads"),
    ]
    .into_iter()
    .find(|&(unit, _)| recent.contains(&(count / unit)))
    .map(|(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_day_of_the_calendar_is_counted_as_chrono_counts_it() {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        let mut day = NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        let end = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap();
        loop {
            let expected = i32::try_from((day - epoch).num_days()).unwrap();
            assert_eq!(date(day.format("%Y-%m-%d").to_string().as_bytes()), Ok(expected), "{day}");
            if day == end {
                break;
            }
            day = day.succ_opt().unwrap();
        }
    }

    #[test]
    fn rfc3339_reads_as_chrono_reads_it() {
        for text in [
            "2026-03-01T08:00:00Z",
            "2026-03-01t08:00:00.5z",
            "2026-03-01 23:59:59.123456+05:30",
            "1969-12-31T23:59:59.9999999Z",
            "1969-12-31T23:59:59.999999999-23:59",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "2024-02-29T00:00:00-00:00",
            "2000-02-29T12:30:15.000001+14:00",
        ] {
            let expected = DateTime::parse_from_rfc3339(&text.to_uppercase().replace(' ', "T")).unwrap();
            assert_eq!(rfc3339(text.as_bytes()), Ok(expected.timestamp_micros()), "{text}");
        }
    }

    #[test]
    fn a_time_read_by_the_word_is_what_it_is_read_by_the_byte() {
        let mut chance = ChaCha8Rng::seed_from_u64(3);
        let mut read = 0;
        for _ in 0..200_000 {
            let mut text = *b"2026-03-01T08:00:00";
            for _ in 0..chance.random_range(0..4) {
                let at = chance.random_range(0..text.len());
                text[at] = match chance.random_range(0..10) {
                    0 => chance.random(),
                    1 => *b"/:0-9Tt ".choose(&mut chance).unwrap(),
                    _ => chance.random_range(b'0'..=b'9'),
                };
            }
            let by_byte = unusual(&text, &text);
            if let Some(seconds) = usual(&text) {
                assert_eq!(by_byte, Ok(seconds), "{}", text.escape_ascii());
                read += 1;
            } else if let Ok(seconds) = by_byte {
                assert!(matches!(text[10], b't' | b' '), "{}: {seconds}", text.escape_ascii());
            }
        }
        assert!(read > 50_000, "{read}");
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_cause() {
        for (text, expected) in [
            ("", Misfit::WRONG_TYPE),
            ("soon", Misfit::WRONG_TYPE),
            ("2026-03-01", NO_TIME_OF_DAY),
            ("2026-03-01T08:00Z", Misfit::WRONG_TYPE),
            ("2026-03-01T08:00:00", NO_OFFSET),
            ("2026-03-01T08:00:00.25", NO_OFFSET),
            ("2026-03-01T08:00:00+0100", BAD_OFFSET),
            ("2026-03-01T08:00:00+1:00", BAD_OFFSET),
            ("2026-03-01T08:00:00Z ", BAD_OFFSET),
            ("2026-03-01T08:00:00+24:00", NO_SUCH_OFFSET),
            ("2026-03-01T08:00:00+aa:00", BAD_OFFSET),
            ("2026-03-01T08:00:00.Z", BAD_FRACTION),
            ("2026-03-01T08:00:00.1234567890Z", BAD_FRACTION),
            ("2026-12-31T23:59:60Z", LEAP_SECOND),
            ("2026-12-31T24:00:00Z", NO_SUCH_TIME),
            ("2026-12-31T23:60:00Z", NO_SUCH_TIME),
            ("2026-02-29T08:00:00Z", NO_SUCH_DAY),
            ("2026-13-01T08:00:00Z", NO_SUCH_DAY),
            ("2026-00-01T08:00:00Z", NO_SUCH_DAY),
            ("2026-01-00T08:00:00Z", NO_SUCH_DAY),
            ("0000-01-01T00:00:00Z", YEARS),
            ("0001-01-01T00:00:00+00:01", YEARS),
            ("9999-12-31T23:59:59-00:01", YEARS),
            ("2026-03-01T0x:00:00Z", Misfit::WRONG_TYPE),
            ("2026/03/01T08:00:00Z", Misfit::WRONG_TYPE),
            ("1772352000000", Misfit::wrong_type("it looks like epoch milliseconds: declare timestamp(ms)")),
        ] {
            assert_eq!(rfc3339(text.as_bytes()), Err(expected), "{text}");
        }
    }

    #[test]
    fn epoch_counts_are_exact_to_a_microsecond() {
        use TimestampForm::{EpochMicros, EpochMillis, EpochSeconds};
        assert_eq!(epoch(b"1772352000", EpochSeconds), Ok(1_772_352_000_000_000));
        assert_eq!(epoch(b"1772352000.000001", EpochSeconds), Ok(1_772_352_000_000_001));
        assert_eq!(epoch(b"1.772352e9", EpochSeconds), Ok(1_772_352_000_000_000));
        assert_eq!(epoch(b"-1.5", EpochMillis), Ok(-1500));
        assert_eq!(epoch(b"0", EpochMicros), Ok(0));
        assert_eq!(epoch(b"1.5", EpochMicros), Err(Misfit::inexact("it is finer than a microsecond")));
        let hint = Misfit::out_of_range("it looks like epoch milliseconds: declare timestamp(ms)");
        assert_eq!(epoch(b"1772352000000", EpochSeconds), Err(hint));
        assert_eq!(epoch(b"9223372036854775807", EpochMicros), Err(YEARS));
        assert_eq!(epoch(b"1e999", EpochMicros), Err(YEARS));
        assert_eq!(epoch(b"-62135596800", EpochSeconds), Ok(FIRST));
        assert_eq!(epoch(b"-62135596801", EpochSeconds), Err(YEARS));
        assert_eq!(epoch(b"253402300799.999999", EpochSeconds), Ok(END - 1));
        assert_eq!(epoch(b"253402300800", EpochSeconds), Err(YEARS));
    }

    #[test]
    fn a_date_is_ten_characters() {
        assert_eq!(date(b"1970-01-02"), Ok(1));
        assert_eq!(date(b"1970-1-2"), Err(Misfit::WRONG_TYPE));
        assert_eq!(date(b"1970-02-30"), Err(NO_SUCH_DAY));
        assert_eq!(date(b"1970-01-02T00:00:00Z"), Err(Misfit::wrong_type("it has a time: declare timestamp")));
    }
}
