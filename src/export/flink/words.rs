//! Names, texts, types and spans of time as Flink SQL writes them.

use arrow::datatypes::{DataType, TimeUnit};

const MILLISECOND: i64 = 1000;

/// A name in backticks.
pub(super) fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// A text in quotes.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The type that holds what this one does; times to the millisecond, which is what Flink's event time can tell.
pub(super) fn type_name(kind: &DataType) -> Option<String> {
    Some(match kind {
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) if *scale >= 0 => format!("DECIMAL({precision}, {scale})"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => TIME.to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Binary => "BYTES".to_owned(),
        _ => return None,
    })
}

/// A point in time.
pub(super) const TIME: &str = "TIMESTAMP_LTZ(3)";

/// A span of so many microseconds; none if it is finer than Flink's milliseconds.
pub(super) fn interval(micros: i64) -> Option<String> {
    if micros % MILLISECOND != 0 {
        return None;
    }
    let millis = micros / MILLISECOND;
    for (unit, word) in [(86_400_000, "DAY"), (3_600_000, "HOUR"), (60_000, "MINUTE"), (1000, "SECOND")] {
        // More than two digits are not taken for every unit.
        if millis % unit == 0 && (1..100).contains(&(millis / unit)) {
            return Some(format!("INTERVAL '{}' {word}", millis / unit));
        }
    }
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let digits = if days < 100 { "" } else { "(3)" };
    Some(format!("INTERVAL '{days} {hours:02}:{minutes:02}:{:02}.{millis:03}' DAY{digits} TO SECOND(3)", seconds % 60))
}

/// Lines of comment, of readable length; what follows the first line of a point is indented.
pub(super) fn comment(text: &str) -> String {
    const WIDTH: usize = 116;
    let indent = if text.starts_with("* ") { "--   " } else { "-- " };
    let mut lines = vec!["--".to_owned()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if last.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{indent}{word}"));
        } else {
            *last = format!("{last} {word}");
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_largest_unit_that_fits() {
        for (micros, written) in [
            (0, "INTERVAL '0 00:00:00.000' DAY TO SECOND(3)"),
            (1_000_000, "INTERVAL '1' SECOND"),
            (90_000_000, "INTERVAL '90' SECOND"),
            (5_400_000_000, "INTERVAL '90' MINUTE"),
            (360_000_000_000, "INTERVAL '4 04:00:00.000' DAY TO SECOND(3)"),
            (7 * 86_400_000_000, "INTERVAL '7' DAY"),
            (1_500_000, "INTERVAL '0 00:00:01.500' DAY TO SECOND(3)"),
            (7_800_001_000, "INTERVAL '0 02:10:00.001' DAY TO SECOND(3)"),
            (400 * 86_400_000_000, "INTERVAL '400 00:00:00.000' DAY(3) TO SECOND(3)"),
        ] {
            assert_eq!(interval(micros).as_deref(), Some(written), "{micros}");
        }
        assert_eq!(interval(1), None);
    }

    #[test]
    fn names_and_texts_cannot_end_early() {
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(text("it's"), "'it''s'");
    }
}
