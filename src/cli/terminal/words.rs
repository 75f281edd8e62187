//! Numbers and spans of time as short as they can be read.

/// A number with its thousands apart.
pub(in crate::cli) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const UNITS: [(&str, i64); 4] = [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)];

/// A span of time by its two largest units, such as `4m 12s`; below ten seconds with a tenth, below one in
/// milliseconds or microseconds.
pub(in crate::cli) fn short(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let span = micros.saturating_abs();
    let text = match span {
        0 => "0s".to_owned(),
        1..1000 => format!("{span}µs"),
        1000..1_000_000 => format!("{}ms", span / 1000),
        1_000_000..10_000_000 if span % 1_000_000 >= 100_000 => {
            format!("{}.{}s", span / 1_000_000, span % 1_000_000 / 100_000)
        }
        _ => {
            let first = UNITS.iter().position(|(_, unit)| span >= *unit).unwrap_or(UNITS.len() - 1);
            let (name, unit) = UNITS[first];
            let rest = UNITS.get(first + 1).map(|(name, next)| (span % unit / next, name));
            match rest.filter(|(count, _)| *count > 0) {
                Some((count, next)) => format!("{}{name} {count}{next}", span / unit),
                None => format!("{}{name}", span / unit),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn spans_are_told_by_their_two_largest_units() {
        let second = 1_000_000;
        for (micros, text) in [
            (0, "0s"),
            (250, "250µs"),
            (1500, "1ms"),
            (second, "1s"),
            (second * 3 / 2, "1.5s"),
            (59 * second, "59s"),
            (60 * second, "1m"),
            (252 * second, "4m 12s"),
            (3600 * second, "1h"),
            (90_061 * second, "1d 1h"),
            (i64::MIN, "-106751991d 4h"),
        ] {
            assert_eq!(short(micros), text);
        }
    }
}
