//! The shape that the records of a topic mostly have, and a short way through those that have it.
//!
//! A shape is learnt from one record: its members' names in their order, with all that is written around them. A record
//! has that shape if the same bytes stand between its values, and each value is a string without escapes, a plain
//! number, or a literal. Where the values begin and end is found for all of them at once, from words of bits, one for
//! each byte (Langdale and Lemire, Parsing Gigabytes of JSON per Second, 2019); what is then looked at is enough to know
//! that the record is what the scanner would take. Any other record is left to the scanner: no answer depends on what
//! was learnt.

use super::bits::{BLOCK, Best, Bits, HALF, Task};
use super::scan::{Broken, Kind, Raw, Scanner};
use super::wanted::Wanted;

/// The longest record that is looked at.
const LONGEST: usize = 8192;
/// The most members of a shape.
const MOST: usize = 120;
/// The longest run of bytes between two values.
const LONGEST_LEAD: usize = HALF;
/// Separators written at once, needed or not: how many there are is hard to foresee, that they are few is not.
const STRIDE: usize = 4;

/// A shape, and scratch space for the record at hand.
#[derive(Debug)]
pub(super) struct Shape {
    members: Vec<Member>,
    /// The wanted ones, by their place among the members, with their nodes.
    wanted: Vec<(usize, usize)>,
    /// Quotes in all that stands between values.
    quotes: u32,
    /// The commas between members, and the brace after the last.
    separators: Vec<u32>,
    best: Best,
}

/// That a record has the shape.
#[derive(Copy, Clone, Debug)]
pub(super) struct Fit {
    /// Whether it is of ASCII alone.
    ascii: bool,
}

#[derive(Debug)]
struct Member {
    /// What is written from the separator before it to its value, and zeros.
    lead: [u8; LONGEST_LEAD],
    /// A bit for each byte of it.
    bits: u32,
    length: u32,
}

/// What a look at the whole record tells, besides the separators.
struct Look {
    separators: usize,
    quotes: u32,
    ascii: bool,
}

impl Shape {
    /// The shape of a record that the scanner has taken; `None` if it has none that this module knows.
    pub(super) fn of(bytes: &[u8], wanted: &Wanted) -> Option<Self> {
        Self::learn(bytes, wanted).ok()?
    }

    fn learn(bytes: &[u8], wanted: &Wanted) -> Result<Option<Self>, Broken> {
        let mut shape = Self {
            members: Vec::new(),
            wanted: Vec::new(),
            quotes: 0,
            separators: vec![0; MOST + 1 + BLOCK],
            best: Best::found(),
        };
        let mut scanner = Scanner::new(bytes);
        if !scanner.open(b'}')? {
            return Ok(None);
        }
        let mut from = 0;
        loop {
            let name = scanner.name()?;
            let node = wanted.find(&bytes[name.start + 1..name.end - 1]);
            scanner.colon()?;
            let lead = &bytes[from..scanner.at];
            let Some(member) = Member::new(lead) else { return Ok(None) };
            if name.escaped
                || shape.members.len() == MOST
                || node.is_some_and(|node| !wanted.nodes[node].members.is_empty())
            {
                return Ok(None);
            }
            shape.wanted.extend(node.map(|node| (shape.members.len(), node)));
            shape.quotes += lead.iter().map(|&byte| u32::from(byte == b'"')).sum::<u32>();
            shape.members.push(member);
            if matches!(scanner.value()?.kind, Kind::Object | Kind::Array) {
                return Ok(None);
            }
            from = scanner.at;
            if !scanner.goes_on(b'}')? {
                return Ok(Some(shape));
            }
        }
    }

    /// Looks whether the record has this shape. Where it has not, it may be sound all the same.
    #[inline]
    pub(super) fn fits(&mut self, bytes: &[u8]) -> Option<Fit> {
        if !(BLOCK..=LONGEST).contains(&bytes.len()) || bytes.last() != Some(&b'}') {
            return None;
        }
        self.best.run(Comparison { shape: self, bytes })
    }

    /// Of the record that was last found to fit: the wanted member number `index`, its node and its value.
    #[inline]
    pub(super) fn value(&self, index: usize, bytes: &[u8], fit: &Fit) -> Option<(usize, Raw)> {
        let &(member, node) = self.wanted.get(index)?;
        let from = if member == 0 { 0 } else { self.separators[member - 1] as usize };
        let (start, end) = (from + self.members[member].length as usize, self.separators[member] as usize);
        let kind = match bytes[start] {
            b'"' => Kind::Text,
            b't' => Kind::Bool(true),
            b'f' => Kind::Bool(false),
            b'n' => Kind::Null,
            _ => Kind::Number,
        };
        Some((node, Raw { kind, start, end, escaped: false, ascii: fit.ascii }))
    }
}

/// A record, at least a block long, is held against a shape.
struct Comparison<'a> {
    shape: &'a mut Shape,
    bytes: &'a [u8],
}

impl Task for Comparison<'_> {
    type Answer = Option<Fit>;

    #[inline(always)]
    fn run(mut self, bits: impl Bits) -> Option<Fit> {
        let look = self.look(bits)?;
        let Self { shape, bytes } = self;
        if look.separators != shape.members.len() {
            return None;
        }
        let mut quotes = shape.quotes;
        let mut from = 0;
        for (member, &to) in shape.members.iter().zip(&shape.separators) {
            let to = to as usize;
            let start = from + member.length as usize;
            if !member.leads(bits, bytes, from) {
                return None;
            }
            let value = bytes.get(start..to)?;
            match *value.first()? {
                b'"' => {
                    quotes += 2;
                    if value.len() < 2 || value[value.len() - 1] != b'"' {
                        return None;
                    }
                }
                b'0'..=b'9' => {
                    if !is_plain_number(bits, bytes, start, to) {
                        return None;
                    }
                }
                b'-' => {
                    if value.len() < 2 || !is_plain_number(bits, bytes, start + 1, to) {
                        return None;
                    }
                }
                _ => {
                    if !matches!(value, b"true" | b"false" | b"null") {
                        return None;
                    }
                }
            }
            from = to;
        }
        // No string value has a quote inside only if there are no more quotes than these.
        (quotes == look.quotes).then_some(Fit { ascii: look.ascii })
    }
}

impl Comparison<'_> {
    /// Finds the separators, in order. `None` if there is something that no fitting record has: a backslash, a control
    /// character, a string without its end, too many separators.
    #[inline(always)]
    fn look(&mut self, bits: impl Bits) -> Option<Look> {
        let bytes = self.bytes;
        let (mut odd, mut high) = (false, false);
        let (mut quotes, mut count) = (0, 0);
        // All ones while a string goes on from one block to the next.
        let mut inside = 0u64;
        let mut base = 0;
        while base < bytes.len() {
            // The last block begins before what is left, so that it is whole; what was seen already is shifted out.
            let start = base.min(bytes.len() - BLOCK);
            let seen = base - start;
            let block = bits.block(bytes[start..].first_chunk()?);
            (odd, high) = (odd | block.odd, high | block.high);
            let quoted = block.quotes >> seen;
            quotes += quoted.count_ones();
            let within = bits.prefix_xor(quoted) ^ inside;
            inside = (within.cast_signed() >> 63).cast_unsigned();
            let mut separators = (block.commas >> seen) & !within;
            let here = separators.count_ones() as usize;
            let room = self.shape.separators.get_mut(count..count + BLOCK)?;
            for place in &mut room[..STRIDE] {
                *place = base as u32 + separators.trailing_zeros();
                separators &= separators.wrapping_sub(1);
            }
            let mut next = STRIDE;
            while next < here {
                room[next] = base as u32 + separators.trailing_zeros();
                separators &= separators.wrapping_sub(1);
                next += 1;
            }
            count += here;
            base += BLOCK;
        }
        if odd || inside != 0 || count > MOST {
            return None;
        }
        self.shape.separators[count] = (bytes.len() - 1) as u32;
        Some(Look { separators: count + 1, quotes, ascii: !high })
    }
}

impl Member {
    /// `None` if the lead is too long.
    fn new(written: &[u8]) -> Option<Self> {
        let mut lead = [0; LONGEST_LEAD];
        lead.get_mut(..written.len())?.copy_from_slice(written);
        let length = u32::try_from(written.len()).ok()?;
        Some(Self { lead, bits: u32::MAX.unbounded_shr(u32::BITS - length), length })
    }

    /// Whether the lead stands in `text` at `at`.
    #[inline(always)]
    fn leads(&self, bits: impl Bits, text: &[u8], at: usize) -> bool {
        let rest = &text[at..];
        match rest.first_chunk() {
            Some(found) => bits.same(found, &self.lead) & self.bits == self.bits,
            None => rest.starts_with(&self.lead[..self.length as usize]),
        }
    }
}

/// Whether `text[start..end]` is a number without sign and exponent. The text is longer than a lead.
#[inline(always)]
fn is_plain_number(bits: impl Bits, text: &[u8], start: usize, end: usize) -> bool {
    let length = (end - start) as u32;
    // Near the text's end, its last bytes are looked at from `start` on.
    let from = start.min(text.len() - LONGEST_LEAD);
    let Some(around) = text[from..].first_chunk() else { return false };
    let others = !bits.digits(around).unbounded_shr((start - from) as u32);
    let whole = others.trailing_zeros();
    let leading_zero = text[start] == b'0' && whole > 1;
    if whole >= length {
        return whole == length && !leading_zero;
    }
    let after_point = (others & others.wrapping_sub(1)).trailing_zeros();
    text[start + whole as usize] == b'.' && after_point == length && length > whole + 1 && whole > 0 && !leading_zero
}

#[cfg(test)]
mod tests {
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::decode::Decode;
    use crate::decode::column::{ColumnType, Columns, TimestampForm};
    use crate::decode::json::JsonDecoder;
    use crate::decode::json::tests::{columns, records};
    use crate::generate::{Generator, Plan};

    fn rides() -> Columns {
        let declared = [
            ("dropoff_at?", ColumnType::Timestamp(TimestampForm::Rfc3339)),
            ("pickup_location?", ColumnType::Text),
            ("total_amount", ColumnType::Decimal { precision: 12, scale: 2 }),
            ("flag?", ColumnType::Bool),
            ("note?", ColumnType::Json),
        ];
        columns(&declared, "_timestamp")
    }

    fn shape_of(bytes: &[u8]) -> Option<Shape> {
        Shape::of(bytes, &Wanted::new(&rides().declared))
    }

    /// What becomes of a record after another one.
    fn after(before: Option<&[u8]>, record: &[u8]) -> String {
        let both: Vec<Option<&[u8]>> = before.into_iter().map(Some).chain([Some(record)]).collect();
        let mut decoder = JsonDecoder::new(&rides(), "rides");
        // Another batch, so that offsets and buffers are the same.
        for first in &both[..both.len() - 1] {
            decoder.decode(records(&[*first]));
        }
        let decoded = decoder.decode(records(&both[both.len() - 1..]));
        format!("{:?} {:?}", decoded.batch, decoded.rejected)
    }

    #[test]
    fn records_that_differ_in_their_values_alone_have_one_shape() {
        let mut rides = Generator::new(Plan::RIDES).filter_map(|ride| ride.value);
        let mut shape = shape_of(&rides.next().unwrap()).unwrap();
        assert!(rides.take(1000).all(|ride| shape.fits(&ride).is_some()));
    }

    #[test]
    fn a_value_may_be_a_string_a_number_or_a_literal_from_one_record_to_the_next() {
        let with = |flag: &str, note: &str| {
            let text = format!(
                "{{\"total_amount\": -1.25, \"flag\": {flag}, \"comment, in full\": \"none, or \u{e9}\", \"note\": {note}}}"
            );
            text.into_bytes()
        };
        let mut shape = shape_of(&with("true", "\"a, b\"")).unwrap();
        for (flag, note) in [("false", "12"), ("null", "null"), ("true", "\"\""), ("true", "-0.5"), ("0", "10.25")] {
            let record = with(flag, note);
            assert!(shape.fits(&record).is_some(), "{flag} {note}");
            assert_eq!(after(Some(&with("true", "1")), &record), after(None, &record));
        }
        let others = ["01", "1.", ".5", "1e5", "-", "- 1", "tru", "\"a\"b\"", "\"a\\n\"", "[1]", "{}", "", " 1", "1 "];
        for note in others {
            let record = with("true", note);
            assert!(shape.fits(&record).is_none(), "{note}");
            assert_eq!(after(Some(&with("true", "1")), &record), after(None, &record), "{note}");
        }
    }

    #[test]
    fn what_was_learnt_changes_no_answer_however_a_record_is_damaged() {
        let mut chance = ChaCha8Rng::seed_from_u64(7);
        let mut bases: Vec<Vec<u8>> = Generator::new(Plan::RIDES).take(20).filter_map(|ride| ride.value).collect();
        let spaced = String::from_utf8(bases[0].clone()).unwrap().replace(',', ", ").replace("\":", "\": ");
        bases.push(spaced.into_bytes());
        bases.push(
            br#"{"total_amount":12.5,"flag":true,"note":null,"pickup_location":"a,b","x":-1,"y":0,"z":"0123456789"}"#
                .into(),
        );
        const BYTES: &[u8] = b"\"\"\"\\,,,:{}[]0019.eE-+tfn \n\t\x00\x1f\x7f\xc3\xa9a";
        let mut taken = 0;
        for _ in 0..30_000 {
            let base = bases.choose(&mut chance).unwrap();
            let mut damaged = bases.choose(&mut chance).unwrap_or(base).clone();
            for _ in 0..chance.random_range(0..3) {
                let at = chance.random_range(0..damaged.len());
                let other = chance.random_range(at..damaged.len().min(at + 40));
                match chance.random_range(0..5) {
                    0 => damaged[at] = *BYTES.choose(&mut chance).unwrap(),
                    1 => damaged.insert(at, *BYTES.choose(&mut chance).unwrap()),
                    2 => drop(damaged.drain(at..other)),
                    3 => {
                        let part = damaged[at..other].to_vec();
                        damaged.splice(at..at, part);
                    }
                    _ => damaged.swap(at, other),
                }
                if damaged.is_empty() {
                    damaged.push(b'{');
                }
            }
            taken += usize::from(shape_of(base).is_some_and(|mut shape| shape.fits(&damaged).is_some()));
            let text = String::from_utf8_lossy(&damaged);
            assert_eq!(after(Some(base), &damaged), after(None, &damaged), "after {}: {text}", bases.len());
        }
        assert!(taken > 5000, "{taken}");
    }
}
