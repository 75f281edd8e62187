//! What people write on the command line, read.

use crate::generate::{Kind, Share};
use crate::record::Timestamp;
use crate::time::text;

pub(super) fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "rides" => Ok(Kind::Rides),
        "quotes" => Ok(Kind::Quotes),
        _ => Err("write rides or quotes".to_owned()),
    }
}

/// A number of records; `1_000_000` and `1,000,000` are read, too.
pub(in crate::cli) fn count(text: &str) -> Result<u64, String> {
    let digits = text.replace(['_', ','], "");
    digits.parse().ok().filter(|&count| count > 0).ok_or_else(|| "write a whole number of at least 1".to_owned())
}

/// Records a second: `5000/s`, or the number alone.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim().replace(['_', ','], "");
    let rate = number.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 1e-6);
    rate.ok_or_else(|| "write records a second, such as 5000/s or 0.5/s".to_owned())
}

/// `2%` or `0.02`.
pub(super) fn share(text: &str) -> Result<Share, String> {
    let wrong = || "write a share such as 2% or 0.02".to_owned();
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().map_err(|_| wrong())? / whole;
    if !(0.0..=1.0).contains(&share) {
        return Err(wrong());
    }
    Ok(Share((share * 1e6).round() as u32))
}

/// A time whose days have four-digit years, before and after a long run.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    const LAST: i64 = 253_402_300_800_000_000;
    let time = text::time(text).map_err(|error| error.to_string())?;
    let fits = (0..LAST).contains(&time.0);
    if fits { Ok(time) } else { Err("write a time from 1970 to 9999".to_owned()) }
}

pub(super) fn duration(text: &str) -> Result<i64, String> {
    text::duration(text).map_err(|error| error.to_string())
}

/// A window's size; the truth knows no calendar.
pub(super) fn window(text: &str) -> Result<i64, String> {
    let size = duration(text)?;
    if size < 1_000_000 { Err("write a window of at least a second".to_owned()) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_percent_or_fraction() {
        assert_eq!(share("2%"), Ok(Share(20_000)));
        assert_eq!(share("0.1%"), Ok(Share(1000)));
        assert_eq!(share("0.02"), Ok(Share(20_000)));
        assert_eq!(share("0"), Ok(Share(0)));
        for wrong in ["2", "101%", "-1%", "nan", "", "%", "much"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_and_counts_are_read_as_people_write_them() {
        assert_eq!(rate("5000/s"), Ok(5000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(rate("0/s").is_err() && rate("fast").is_err() && rate("inf").is_err());
        assert_eq!(count("2_000_000"), Ok(2_000_000));
        assert!(count("0").is_err() && count("-1").is_err() && count("1e6").is_err());
    }
}
