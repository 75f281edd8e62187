//! An exact decimal in PostgreSQL's binary form, up to the 38 digits that a Parquet DECIMAL has.
//!
//! The form is that of `numeric_send` in PostgreSQL's `numeric.c`: how many digits to base 10000 follow, the power of
//! 10000 of the first of them, the sign, how many decimal places to show, and the digits. Libraries for it stop at 28
//! digits.

use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;

/// Writes `unscaled / 10^scale`. `scale` is 0 to 38, as Parquet has it.
pub(super) fn write(unscaled: i128, scale: u8, out: &mut BytesMut) {
    // From the lowest digit up: 39 decimal digits, and one group cut by the decimal point.
    let mut groups = [0u16; 11];
    let mut count = 0;
    let mut rest = unscaled.unsigned_abs();
    let mut take = |divisor: u16, shift: u16| {
        groups[count] = u16::try_from(rest % u128::from(divisor)).unwrap_or(0) * shift;
        rest /= u128::from(divisor);
        count += 1;
        rest > 0
    };
    // The group that is cut by the end of the decimal places is filled up with zeros.
    let mut more = match scale % 4 {
        1 => take(10, 1000),
        2 => take(100, 100),
        3 => take(1000, 10),
        _ => unscaled != 0,
    };
    while more {
        more = take(10_000, 1);
    }
    let digits = &groups[..count];
    let last = digits.iter().position(|&digit| digit != 0).unwrap_or(count);
    let length = digits.iter().rposition(|&digit| digit != 0).map_or(0, |first| first + 1 - last);
    // The lowest group stands at the power that its decimal places give.
    let power = |index: usize| index as i16 - i16::from(scale.div_ceil(4));
    let weight = if length == 0 { 0 } else { power(last + length - 1) };
    out.put_i16(length as i16);
    out.put_i16(weight);
    out.put_u16(if unscaled < 0 { NEGATIVE } else { 0 });
    out.put_u16(u16::from(scale));
    for &digit in digits[last..last + length].iter().rev() {
        out.put_u16(digit);
    }
}
