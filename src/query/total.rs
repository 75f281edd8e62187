//! The exact sum of doubles: rounded once, when it is asked for. So it does not depend on the order in which numbers
//! come, nor on how parts of it were saved and merged.
//!
//! Two doubles hold nearly every sum (the sum and what rounding it left over: Knuth, TAOCP 4.2.2, theorem B). One that
//! they cannot hold goes on as a number of fixed point, wide enough for all doubles.

/// An exact sum.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    /// The sum, rounded.
    high: f64,
    /// What it lacks.
    low: f64,
    /// Takes the place of both where they do not suffice.
    wide: Option<Box<Wide>>,
}

/// Fixed point: digits of 32 bits, the first one counting the least double, and room for 2^64 of the greatest.
#[derive(Clone, Debug)]
struct Wide {
    digits: [i64; DIGITS],
    /// Numbers added since the digits were last within 32 bits.
    unsettled: u32,
    /// The sum of infinities and what is no number.
    special: f64,
}

const DIGITS: usize = 70;
/// The least double is two to the power of this.
const LEAST: i32 = -1074;
const SIGNIFICAND: u32 = 52;

impl Total {
    /// Adds a number.
    #[inline]
    pub(super) fn add(&mut self, number: f64) {
        if self.wide.is_none() {
            let (sum, error) = two_sum(self.high, number);
            let (low, rest) = two_sum(self.low, error);
            let (high, low) = two_sum(sum, low);
            // Where something is too large, an error is no number, and so is not zero.
            if rest == 0.0 && high.is_finite() {
                (self.high, self.low) = (high, low);
                return;
            }
        }
        self.add_wide(number);
    }

    #[cold]
    fn add_wide(&mut self, number: f64) {
        let (high, low) = (self.high, self.low);
        let wide = self.wide.get_or_insert_with(|| {
            let mut wide = Box::new(Wide { digits: [0; DIGITS], unsettled: 0, special: 0.0 });
            wide.add(high);
            wide.add(low);
            wide
        });
        wide.add(number);
    }

    /// The sum, rounded to the nearest double.
    pub(super) fn value(&self) -> f64 {
        self.wide.as_ref().map_or(self.high, |wide| wide.value())
    }

    /// Numbers whose exact sum this is.
    pub(super) fn parts(&self, mut take: impl FnMut(f64)) {
        match &self.wide {
            Some(wide) => wide.parts(take),
            None => {
                take(self.high);
                if self.low != 0.0 {
                    take(self.low);
                }
            }
        }
    }

    /// Bytes beyond its own.
    pub(super) fn size(&self) -> usize {
        self.wide.as_ref().map_or(0, |_| size_of::<Wide>())
    }
}

/// The rounded sum and its error: together the exact sum.
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    let a_part = sum - b_part;
    (sum, (a - a_part) + (b - b_part))
}

impl Wide {
    fn add(&mut self, number: f64) {
        if !number.is_finite() {
            self.special += number;
            return;
        }
        let bits = number.to_bits();
        let (exponent, fraction) = ((bits >> SIGNIFICAND) & 0x7ff, bits & ((1 << SIGNIFICAND) - 1));
        let significand = if exponent == 0 { fraction } else { fraction | 1 << SIGNIFICAND };
        let shift = exponent.saturating_sub(1) as usize;
        let mut shifted = u128::from(significand) << (shift % 32);
        for digit in &mut self.digits[shift / 32..][..3] {
            let part = (shifted & 0xffff_ffff) as i64;
            *digit += if number.is_sign_negative() { -part } else { part };
            shifted >>= 32;
        }
        self.unsettled += 1;
        if self.unsettled == 1 << 30 {
            self.settle();
        }
    }

    /// Brings all digits but the last, which has the sign, into 32 bits.
    fn settle(&mut self) {
        let mut carry = 0;
        let last = DIGITS - 1;
        for digit in &mut self.digits[..last] {
            let whole = *digit + carry;
            (*digit, carry) = (whole & 0xffff_ffff, whole >> 32);
        }
        self.digits[last] += carry;
        self.unsettled = 0;
    }

    /// Its sign, and the digits of its amount.
    fn amount(&self) -> (f64, [i64; DIGITS]) {
        let mut amount = self.clone();
        amount.settle();
        if amount.digits[DIGITS - 1] >= 0 {
            return (1.0, amount.digits);
        }
        amount.digits.iter_mut().for_each(|digit| *digit = -*digit);
        amount.settle();
        (-1.0, amount.digits)
    }

    fn value(&self) -> f64 {
        if self.special.is_nan() {
            return f64::NAN;
        }
        if self.special != 0.0 {
            return self.special;
        }
        let (sign, digits) = self.amount();
        let bit = |at: usize| (digits[at / 32] >> (at % 32)) & 1 == 1;
        let Some(top) = (0..DIGITS * 32).rev().find(|&at| bit(at)) else { return 0.0 };
        let shift = top.saturating_sub(SIGNIFICAND as usize);
        let mut significand = (shift..=top).rev().fold(0u64, |number, at| number << 1 | u64::from(bit(at)));
        if shift == 0 {
            // The least doubles count their own units.
            return sign * f64::from_bits(significand);
        }
        // To the nearest, and of two to the even one. Rounding up may carry into the exponent, as it should.
        let beyond_half = (0..shift - 1).any(bit);
        significand += u64::from(bit(shift - 1) && (beyond_half || significand & 1 == 1));
        let bits = ((shift as u64) << SIGNIFICAND) + significand;
        sign * if bits >> SIGNIFICAND >= 0x7ff { f64::INFINITY } else { f64::from_bits(bits) }
    }

    fn parts(&self, mut take: impl FnMut(f64)) {
        if self.special != 0.0 {
            take(self.special);
        }
        let (sign, digits) = self.amount();
        for (index, &digit) in digits.iter().enumerate().filter(|(_, digit)| **digit != 0) {
            let power = LEAST + 32 * i32::try_from(index).unwrap_or(i32::MAX);
            if power <= 1023 - 32 {
                take(sign * digit as f64 * power_of_two(power));
                continue;
            }
            for bit in (0..32).filter(|bit| (digit >> bit) & 1 == 1) {
                // What no double holds is the sum of so many that one does.
                let excess = (power + bit - 1023).max(0);
                (0..1u64 << excess).for_each(|_| take(sign * power_of_two(power + bit - excess)));
            }
        }
    }
}

fn power_of_two(power: i32) -> f64 {
    let bits = if power < -1022 { 1 << (power - LEAST) } else { ((power + 1023) as u64) << SIGNIFICAND };
    f64::from_bits(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Total;

    fn total(numbers: &[f64]) -> Total {
        let mut total = Total::default();
        numbers.iter().for_each(|&number| total.add(number));
        total
    }

    fn again(total: &Total) -> Total {
        let mut parts = Vec::new();
        total.parts(|part| parts.push(part));
        self::total(&parts)
    }

    /// The sum by long addition in decimal: every double is a finite decimal fraction, and Rust prints and reads them
    /// exactly.
    fn by_hand(numbers: &[f64]) -> f64 {
        const PLACES: usize = 1080;
        let mut digits = vec![0i64; PLACES + 330];
        for number in numbers {
            let text = format!("{:.PLACES$}", number.abs());
            let sign = if *number < 0.0 { -1 } else { 1 };
            for (place, digit) in text.bytes().rev().filter(u8::is_ascii_digit).enumerate() {
                digits[place] += sign * i64::from(digit - b'0');
            }
        }
        let settle = |digits: &mut Vec<i64>| {
            for place in 0..digits.len() - 1 {
                let carry = digits[place].div_euclid(10);
                digits[place] -= carry * 10;
                digits[place + 1] += carry;
            }
        };
        settle(&mut digits);
        let negative = *digits.last().unwrap() < 0;
        if negative {
            digits.iter_mut().for_each(|digit| *digit = -*digit);
            settle(&mut digits);
        }
        let mut text: String = digits.iter().rev().map(|digit| digit.to_string()).collect();
        text.insert(text.len() - PLACES, '.');
        text.parse::<f64>().unwrap() * if negative { -1.0 } else { 1.0 }
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |number| number.is_finite()),
            (-1e6..1e6f64),
            (-400..400i32, -1.0..1.0f64).prop_map(|(power, number)| number * 2f64.powi(power)),
            prop::sample::select(vec![
                0.0,
                -0.0,
                0.1,
                f64::MAX,
                f64::MIN,
                f64::MIN_POSITIVE,
                5e-324,
                -5e-324,
                1e16,
                1.0
            ]),
        ]
    }

    proptest! {
        #[test]
        fn a_sum_is_rounded_once(mut numbers in prop::collection::vec(number(), 0..30)) {
            // Each with its opposite here and there, so that much cancels.
            let opposites: Vec<f64> = numbers.iter().step_by(3).map(|number| -number).collect();
            numbers.extend(opposites);
            let sum = total(&numbers);
            prop_assert_eq!(sum.value(), by_hand(&numbers));
            prop_assert_eq!(again(&sum).value().to_bits(), sum.value().to_bits());
        }

        #[test]
        fn a_sum_in_parts_is_the_sum(numbers in prop::collection::vec(number(), 1..30), cut in any::<prop::sample::Index>()) {
            let cut = cut.index(numbers.len());
            let mut joined = again(&total(&numbers[..cut]));
            total(&numbers[cut..]).parts(|part| joined.add(part));
            prop_assert_eq!(joined.value().to_bits(), total(&numbers).value().to_bits());
            let back: Vec<f64> = numbers.iter().rev().copied().collect();
            prop_assert_eq!(total(&back).value().to_bits(), total(&numbers).value().to_bits());
        }
    }

    #[test]
    fn a_sum_may_be_too_large_on_its_way() {
        assert_eq!(total(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX);
        assert_eq!(total(&[f64::MAX, f64::MAX]).value(), f64::INFINITY);
        let mut half = again(&total(&[f64::MAX, f64::MAX]));
        half.add(-f64::MAX);
        assert_eq!(half.value(), f64::MAX);
    }

    #[test]
    fn what_is_no_number_stays_so() {
        assert!(total(&[1.0, f64::NAN, 1.0]).value().is_nan());
        assert!(again(&total(&[f64::INFINITY, 1.0, f64::NEG_INFINITY])).value().is_nan());
        assert_eq!(again(&total(&[f64::INFINITY, 1.0])).value(), f64::INFINITY);
    }
}
