//! Exact numbers from decimal text: what cannot be held exactly is refused, never rounded; only floats are rounded,
//! correctly. Every function is linear in the text's length, whatever its digits and exponents.

use super::reason::Misfit;

/// The end of the number, by JSON's grammar, that starts at `start`.
///
/// # Errors
/// The place where a digit should stand and does not.
#[inline]
pub(super) fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
    at = match bytes.get(at) {
        Some(b'0') => at + 1,
        _ => digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = digits(bytes, at)?;
    }
    Ok(at)
}

/// The end of one or more digits.
#[inline]
fn digits(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let mut at = start;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    if at == start { Err(start) } else { Ok(at) }
}

/// Whether `text` is a number by JSON's grammar, and nothing else.
pub(super) fn is_number(text: &[u8]) -> bool {
    end_of_number(text, 0) == Ok(text.len())
}

/// The powers of ten that a float and 64 bits hold exactly.
const POWERS: [u64; 19] = {
    let mut powers = [1; 19];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// The powers of ten that 128 bits hold.
const LIMITS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// A number of few digits and no exponent: its digits as a whole number, and how many of them follow the point.
#[inline]
fn short(digits: &[u8]) -> Option<(u64, usize)> {
    if digits.len() > 18 {
        return None;
    }
    let mut value = 0u64;
    let mut fraction = 0;
    for (index, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        } else if byte == b'.' {
            fraction = digits.len() - 1 - index;
        } else {
            return None;
        }
    }
    Some((value, fraction))
}

#[inline]
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, text),
    }
}

/// `text` · 10^`scale` as a whole number. `text` is a number by JSON's grammar.
///
/// # Errors
/// `inexact` if that is not a whole number, `out_of_range` if it is beyond 128 bits.
#[inline]
pub(super) fn scaled(text: &[u8], scale: i32) -> Result<i128, Misfit> {
    let (negative, digits) = sign(text);
    if let Some((value, fraction)) = short(digits)
        && let Some(&power) =
            usize::try_from(scale).ok().and_then(|s| s.checked_sub(fraction)).and_then(|s| POWERS.get(s))
    {
        // Below 10^18 each, so the product has room even with a sign.
        let value = (u128::from(value) * u128::from(power)).cast_signed();
        return Ok(if negative { -value } else { value });
    }
    let value = i128::try_from(scaled_slow(digits, scale)?).map_err(|_| TOO_LARGE)?;
    Ok(if negative { -value } else { value })
}

const TOO_LARGE: Misfit = Misfit::out_of_range("too large");
const TOO_FINE: Misfit = Misfit::inexact("it has more fraction digits than can be kept");

#[cold]
fn scaled_slow(text: &[u8], scale: i32) -> Result<u128, Misfit> {
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = (&text[..end], text.get(end + 1..).map_or(0, exponent));
    let fraction = mantissa.iter().position(|&byte| byte == b'.').map_or(0, |point| mantissa.len() - 1 - point);
    // The digits up to the last that is not zero, and the zeros after it; None once they are beyond 128 bits.
    let mut value = Some(0u128);
    let mut zeros = 0u32;
    for digit in mantissa.iter().filter(|&&byte| byte != b'.').map(|byte| byte - b'0') {
        if digit == 0 {
            zeros = zeros.saturating_add(u32::from(value != Some(0)));
        } else {
            let power = 10u128.checked_pow(zeros.saturating_add(1));
            value = value.zip(power).and_then(|(value, power)| value.checked_mul(power)?.checked_add(digit.into()));
            zeros = 0;
        }
    }
    if value == Some(0) {
        return Ok(0);
    }
    let exponent = exponent + i64::from(zeros) - i64::try_from(fraction).unwrap_or(i64::MAX / 4) + i64::from(scale);
    if exponent < 0 {
        return Err(TOO_FINE);
    }
    let power = u32::try_from(exponent).ok().and_then(|exponent| 10u128.checked_pow(exponent));
    value.zip(power).and_then(|(value, power)| value.checked_mul(power)).ok_or(TOO_LARGE)
}

/// The exponent after its `e`, held at a size that no number of digits outweighs.
fn exponent(text: &[u8]) -> i64 {
    const LIMIT: i64 = i64::MAX / 4;
    let (negative, digits) = sign(text.strip_prefix(b"+").unwrap_or(text));
    let value =
        digits.iter().fold(0i64, |value, byte| (value.saturating_mul(10) + i64::from(byte - b'0')).min(LIMIT / 16));
    if negative { -value } else { value }
}

/// A 64-bit integer. `1.0` and `1e3` are whole numbers and taken as such.
///
/// # Errors
/// `inexact` if it has a fraction, `out_of_range` beyond 64 bits.
#[inline]
pub(super) fn int(text: &[u8]) -> Result<i64, Misfit> {
    let (negative, digits) = sign(text);
    if let Some((value, 0)) = short(digits)
        && let Ok(value) = i64::try_from(value)
    {
        return Ok(if negative { -value } else { value });
    }
    let value = scaled(text, 0).map_err(|misfit| match misfit {
        TOO_FINE => Misfit::inexact("it is not a whole number"),
        _ => BEYOND_INT,
    })?;
    i64::try_from(value).map_err(|_| BEYOND_INT)
}

const BEYOND_INT: Misfit = Misfit::out_of_range("it is beyond 64 bits");

/// A decimal of at most `precision` digits, `scale` of them after the point, as Arrow keeps it.
///
/// # Errors
/// `inexact` if digits other than zeros would be lost after the point, `out_of_range` with too many before it.
#[inline]
pub(super) fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, Misfit> {
    let beyond = Misfit::out_of_range("it has too many digits");
    let value = scaled(text, scale.into()).map_err(|misfit| if misfit == TOO_LARGE { beyond } else { misfit })?;
    let limit = LIMITS.get(usize::from(precision)).copied().unwrap_or(u128::MAX);
    if value.unsigned_abs() < limit { Ok(value) } else { Err(beyond) }
}

/// The float nearest to the number; `-0` is `0`, so that the two make one group.
///
/// # Errors
/// `out_of_range` if that would be infinite.
#[inline]
pub(super) fn float(text: &[u8]) -> Result<f64, Misfit> {
    let (negative, digits) = sign(text);
    // Two numbers that a float holds exactly: their quotient is rounded once, hence correctly (Clinger 1990).
    if let Some((value, fraction)) = short(digits)
        && value < 1 << 53
    {
        let value = value as f64 / POWERS[fraction] as f64;
        return Ok(if negative && value != 0.0 { -value } else { value });
    }
    let value: f64 = str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Misfit::WRONG_TYPE)?;
    if value.is_finite() { Ok(value + 0.0) } else { Err(Misfit::out_of_range("it is beyond a 64-bit float")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class<T>(result: Result<T, Misfit>) -> &'static str {
        result.err().unwrap().class
    }

    #[test]
    fn whole_numbers_are_exact_to_the_last_of_64_bits() {
        assert_eq!(int(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(int(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(class(int(b"9223372036854775808")), "out_of_range");
        assert_eq!(class(int(b"18446744073709551616")), "out_of_range");
        assert_eq!(int(b"9007199254740993"), Ok((1 << 53) + 1));
        assert_eq!(int(b"9.007199254740993e15"), Ok((1 << 53) + 1));
        for text in ["1.0", "1e0", "10e-1", "0.1e1", "1.000000000000000000000000000000000000000000"] {
            assert_eq!(int(text.as_bytes()), Ok(1), "{text}");
        }
        for zero in ["0", "-0", "-0.0", "0e999999999999999999999", "0e-99"] {
            assert_eq!(int(zero.as_bytes()), Ok(0), "{zero}");
        }
        assert_eq!(class(int(b"1.5")), "inexact");
        assert_eq!(class(int(b"1e-999999999999")), "inexact");
        assert_eq!(class(int(b"1e999999999999")), "out_of_range");
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        assert_eq!(decimal(b"12.5", 12, 2), Ok(1250));
        assert_eq!(decimal(b"12.5000", 12, 2), Ok(1250));
        assert_eq!(decimal(b"-0.00", 12, 2), Ok(0));
        assert_eq!(decimal(b"1.25e1", 12, 2), Ok(1250));
        assert_eq!(decimal(b"125e-1", 12, 2), Ok(1250));
        assert_eq!(class(decimal(b"0.001", 12, 2)), "inexact");
        assert_eq!(decimal(b"9999999999.99", 12, 2), Ok(999_999_999_999));
        assert_eq!(class(decimal(b"10000000000", 12, 2)), "out_of_range");
        let nines = "9".repeat(38);
        assert_eq!(decimal(nines.as_bytes(), 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(decimal(format!("-0.{nines}").as_bytes(), 38, 38), Ok(1 - 10i128.pow(38)));
        assert_eq!(class(decimal(format!("{nines}0").as_bytes(), 38, 0)), "out_of_range");
        assert_eq!(class(decimal(format!("0.{nines}1").as_bytes(), 38, 38)), "inexact");
        assert_eq!(decimal(b"1200", 2, -2), Ok(12));
    }

    #[test]
    fn floats_are_the_nearest_and_never_infinite() {
        for text in
            ["0.1", "123.456", "9007199254740993", "1e22", "1e23", "-2.5", "5e-324", "1e-400", "0.1234567890123456"]
        {
            assert_eq!(float(text.as_bytes()), Ok(text.parse().unwrap()), "{text}");
        }
        assert!(float(b"-0").unwrap().is_sign_positive());
        assert!(float(b"-0e5").unwrap().is_sign_positive());
        assert_eq!(class(float(b"1e309")), "out_of_range");
        assert_eq!(class(float(b"1e999999999999999999")), "out_of_range");
    }

    #[test]
    fn only_the_json_grammar_is_a_number() {
        for text in ["0", "-0", "10", "1.5", "1e5", "1E+5", "1.0e-5", "-12.25"] {
            assert!(is_number(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x1", "NaN", "Infinity", "1 ", "1_0"] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_number_of_ten_million_digits_is_refused_and_not_a_burden() {
        let long = "1".repeat(10_000_000);
        assert_eq!(class(int(long.as_bytes())), "out_of_range");
        assert_eq!(class(decimal(format!("0.{long}").as_bytes(), 38, 38)), "inexact");
        assert_eq!(class(float(long.as_bytes())), "out_of_range");
        let zeros = format!("1.{}", "0".repeat(10_000_000));
        assert_eq!(int(zeros.as_bytes()), Ok(1));
        assert_eq!(int(format!("1{}e-10000000", "0".repeat(10_000_000)).as_bytes()), Ok(1));
    }
}
