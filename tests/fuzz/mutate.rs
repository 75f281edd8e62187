//! New inputs from old ones: bytes, spans, numbers and words changed, moved, repeated, cut and put together.

use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;

/// No input becomes longer.
pub const LONGEST: usize = 64 << 10;

/// Numbers at the ends of types, in the ways that people write them.
const NUMBERS: [&str; 26] = [
    "0",
    "-0",
    "1",
    "-1",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "1e999",
    "-1e-999",
    "0.000000000000000000000000000000000000001",
    "NaN",
];

/// An input made of `of`, with pieces of `other` and of `words` perhaps.
pub fn mutate(of: &[u8], other: &[u8], words: &[&str], chance: &mut ChaCha8Rng) -> Vec<u8> {
    let mut input = of.to_vec();
    let times = 1 << chance.random_range(0..4);
    for _ in 0..times {
        once(&mut input, other, words, chance);
        input.truncate(LONGEST);
    }
    input
}

fn span(length: usize, chance: &mut ChaCha8Rng) -> std::ops::Range<usize> {
    let from = chance.random_range(0..=length);
    // Mostly short, sometimes all that is left.
    let most = if chance.random_ratio(1, 8) { length - from } else { (length - from).min(16) };
    from..from + chance.random_range(0..=most)
}

fn once(input: &mut Vec<u8>, other: &[u8], words: &[&str], chance: &mut ChaCha8Rng) {
    let place = chance.random_range(0..=input.len());
    match chance.random_range(0..15) {
        0 if place < input.len() => input[place] ^= 1 << chance.random_range(0..8),
        1 if place < input.len() => input[place] = *[0, 1, 0x7f, 0x80, 0xfe, 0xff].choose(chance).unwrap(),
        2 if place < input.len() => input[place] = chance.next_u32().to_le_bytes()[0],
        3 if place + 4 <= input.len() => {
            // A length or an offset of four or eight bytes.
            let number: i64 =
                *[0, 1, -1, i64::MAX, i64::MIN, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff].choose(chance).unwrap();
            let number = number.wrapping_add(chance.random_range(-2..=2));
            let width = if place + 8 <= input.len() && chance.random() { 8 } else { 4 };
            let mut bytes = number.to_le_bytes();
            if chance.random() {
                bytes[..width].reverse();
            }
            input[place..place + width].copy_from_slice(&bytes[..width]);
        }
        4 => drop(input.drain(span(input.len(), chance))),
        5 => input.truncate(place),
        6 => {
            let piece = input[span(input.len(), chance)].to_vec();
            input.splice(place..place, piece);
        }
        7 => {
            // Deep, or long.
            let piece = input[span(input.len(), chance)].to_vec();
            let times = 1 << chance.random_range(1..13);
            let room = (LONGEST - input.len().min(LONGEST)) / piece.len().max(1);
            input.splice(place..place, piece.repeat(times.min(room)));
        }
        8 | 9 => number(input, chance),
        10 => {
            let piece = other[span(other.len(), chance)].to_vec();
            input.splice(place..place, piece);
        }
        11 => {
            let to = chance.random_range(0..=other.len());
            input.truncate(place);
            input.extend_from_slice(&other[to..]);
        }
        12 | 13 => {
            if let Some(word) = words.choose(chance) {
                let end = if chance.random() { place } else { (place + word.len()).min(input.len()) };
                input.splice(place..end, word.bytes());
            }
        }
        _ => {
            let (one, two) = (span(input.len(), chance), span(input.len(), chance));
            if one.end <= two.start {
                let (first, second) = (input[one.clone()].to_vec(), input[two.clone()].to_vec());
                input.splice(two, first);
                input.splice(one, second);
            }
        }
    }
}

/// A number in the text becomes another one.
fn number(input: &mut Vec<u8>, chance: &mut ChaCha8Rng) {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let starts: Vec<usize> = (0..input.len())
        .filter(|&at| is_digit(&input[at]) && !at.checked_sub(1).is_some_and(|before| is_digit(&input[before])))
        .collect();
    let Some(&from) = starts.choose(chance) else { return };
    let end = input[from..].iter().position(|byte| !is_digit(byte)).map_or(input.len(), |length| from + length);
    let text = match chance.random_range(0..3) {
        0 => {
            let digits = std::str::from_utf8(&input[from..end]).unwrap().parse::<u64>().unwrap_or(0);
            digits.wrapping_add_signed(chance.random_range(-2..=2)).to_string()
        }
        1 => chance.next_u64().to_string(),
        _ => (*NUMBERS.choose(chance).unwrap()).to_owned(),
    };
    input.splice(from..end, text.into_bytes());
}
