//! Avro's binary encoding: values one after the other, as the schema types them. Every step is checked against the end
//! of the bytes, and the work is linear in their number whatever counts they claim.

use super::schema::{At, Meaning, Schema, Shape, Type};
use crate::decode::typed::{self, Datum, JsonText};

/// Where the bytes stop being what the schema says, and what is wrong there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) why: &'static str,
}

const SHORT: &str = "the value ends in the middle of the record";
/// How deep types may lie in one another.
const MAX_DEPTH: u32 = 64;

/// A place in the bytes.
#[derive(Debug)]
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    /// Items of arrays and maps that may still come: there is no more room for items that take no bytes than for others.
    items: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, items: bytes.len() }
    }

    #[cold]
    pub(super) fn broken<T>(&self, why: &'static str) -> Result<T, Broken> {
        Err(Broken { at: self.at, why })
    }

    /// Checks that nothing follows.
    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.at == self.bytes.len() { Ok(()) } else { self.broken("bytes follow the record") }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        match self.bytes[self.at..].get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => self.broken(SHORT),
        }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut chunk = [0; N];
        chunk.copy_from_slice(self.take(N)?);
        Ok(chunk)
    }

    /// A zigzag number of up to ten bytes.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, Broken> {
        let mut value = 0u64;
        for index in 0..10 {
            let Some(&byte) = self.bytes.get(self.at + index) else { return self.broken(SHORT) };
            if index == 9 && byte > 1 {
                return self.broken("a number is beyond 64 bits");
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        self.broken("a number is beyond 64 bits")
    }

    fn int(&mut self) -> Result<i32, Broken> {
        let at = self.at;
        i32::try_from(self.long()?).map_err(|_| Broken { at, why: "a number is beyond 32 bits" })
    }

    #[inline]
    fn length(&mut self) -> Result<usize, Broken> {
        let at = self.at;
        usize::try_from(self.long()?).map_err(|_| Broken { at, why: "a length is negative" })
    }

    #[inline]
    fn block(&mut self) -> Result<&'a [u8], Broken> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, Broken> {
        let at = self.at;
        str::from_utf8(self.block()?).map_err(|_| Broken { at, why: "text is not UTF-8" })
    }

    fn boolean(&mut self) -> Result<bool, Broken> {
        match self.chunk()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => {
                self.at -= 1;
                self.broken("a boolean is 0 or 1")
            }
        }
    }

    /// One of so many.
    fn index(&mut self, count: usize) -> Result<usize, Broken> {
        let at = self.at;
        let index = usize::try_from(self.long()?).ok().filter(|index| *index < count);
        index.ok_or(Broken { at, why: "there is no such branch or symbol" })
    }

    /// The type of the branch that a union says follows; any other type as it is.
    #[inline]
    pub(super) fn branch(&mut self, schema: &Schema, at: At) -> Result<At, Broken> {
        let mut at = at;
        while let Shape::Union(branches) = &schema.get(at).shape {
            at = branches[self.index(branches.len())?];
        }
        Ok(at)
    }

    /// The value of a type that is no union; `None` for a null. What is nested is passed over.
    #[inline]
    pub(super) fn datum<'s>(&mut self, schema: &'s Schema, at: At) -> Result<Option<Datum<'s>>, Broken>
    where
        'a: 's,
    {
        let Type { shape, meaning } = schema.get(at);
        Ok(Some(match (shape, *meaning) {
            (Shape::Null, _) => return Ok(None),
            (Shape::Boolean, _) => Datum::Bool(self.boolean()?),
            (Shape::Int, Meaning::Date) => Datum::Date(self.int()?),
            (Shape::Int, _) => Datum::Int(self.int()?.into()),
            (Shape::Long, Meaning::Timestamp(unit)) => Datum::Time(micros(self.long()?, unit)),
            (Shape::Long, Meaning::LocalTimestamp) => Datum::LocalTime(self.long()?),
            (Shape::Long, _) => Datum::Int(self.long()?),
            (Shape::Float, _) => Datum::Float(f32::from_le_bytes(self.chunk()?).into()),
            (Shape::Double, _) => Datum::Float(f64::from_le_bytes(self.chunk()?)),
            (Shape::Bytes, Meaning::Decimal { scale, .. }) => decimal(self.block()?, scale),
            (Shape::Bytes, _) => Datum::Bytes(self.block()?),
            (Shape::String, _) => Datum::Text(self.text()?),
            (Shape::Fixed(size), Meaning::Decimal { scale, .. }) => decimal(self.take(*size)?, scale),
            (Shape::Fixed(16), Meaning::Uuid) => Datum::Uuid(u128::from_be_bytes(self.chunk()?)),
            (Shape::Fixed(size), _) => Datum::Bytes(self.take(*size)?),
            (Shape::Enum(symbols), _) => Datum::Text(&symbols[self.index(symbols.len())?]),
            (Shape::Array(_) | Shape::Map(_) | Shape::Record(_) | Shape::Union(_), _) => {
                self.skip(schema, at, 0)?;
                Datum::Nested(match shape {
                    Shape::Array(_) => "an array",
                    Shape::Map(_) => "a map",
                    _ => "a record",
                })
            }
        }))
    }

    /// Goes past a value.
    pub(super) fn skip(&mut self, schema: &Schema, at: At, depth: u32) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return self.broken("types lie deeper in one another than 64");
        }
        match &schema.get(at).shape {
            Shape::Null => {}
            Shape::Boolean => drop(self.boolean()?),
            Shape::Int | Shape::Long => drop(self.long()?),
            Shape::Float => drop(self.take(4)?),
            Shape::Double => drop(self.take(8)?),
            Shape::Bytes | Shape::String => drop(self.block()?),
            Shape::Fixed(size) => drop(self.take(*size)?),
            Shape::Enum(symbols) => drop(self.index(symbols.len())?),
            Shape::Union(_) => {
                let branch = self.branch(schema, at)?;
                self.skip(schema, branch, depth + 1)?;
            }
            Shape::Record(fields) => {
                for (_, field) in fields {
                    self.skip(schema, *field, depth + 1)?;
                }
            }
            Shape::Array(item) => self.skip_items(schema, *item, false, depth)?,
            Shape::Map(value) => self.skip_items(schema, *value, true, depth)?,
        }
        Ok(())
    }

    fn skip_items(&mut self, schema: &Schema, item: At, keyed: bool, depth: u32) -> Result<(), Broken> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // A block that says its length in bytes.
                self.block()?;
                continue;
            }
            for _ in 0..count {
                self.count_item()?;
                if keyed {
                    self.block()?;
                }
                self.skip(schema, item, depth + 1)?;
            }
        }
    }

    fn count_item(&mut self) -> Result<(), Broken> {
        match self.items.checked_sub(1) {
            Some(left) => {
                self.items = left;
                Ok(())
            }
            None => self.broken("it claims more items than it has bytes"),
        }
    }

    /// Writes a value as JSON: records and maps as objects, in their order.
    pub(super) fn json(&mut self, schema: &Schema, at: At, out: &mut JsonText, depth: u32) -> Result<(), Broken> {
        if depth > MAX_DEPTH {
            return self.broken("types lie deeper in one another than 64");
        }
        match &schema.get(at).shape {
            Shape::Union(_) => {
                let branch = self.branch(schema, at)?;
                self.json(schema, branch, out, depth + 1)?;
            }
            Shape::Record(fields) => {
                out.raw("{");
                for (index, (name, field)) in fields.iter().enumerate() {
                    out.name(index == 0, name);
                    self.json(schema, *field, out, depth + 1)?;
                }
                out.raw("}");
            }
            Shape::Array(item) => self.json_items(schema, *item, false, out, depth)?,
            Shape::Map(value) => self.json_items(schema, *value, true, out, depth)?,
            _ => match self.datum(schema, at)? {
                Some(datum) => out.datum(datum),
                None => out.raw("null"),
            },
        }
        Ok(())
    }

    fn json_items(
        &mut self,
        schema: &Schema,
        item: At,
        keyed: bool,
        out: &mut JsonText,
        depth: u32,
    ) -> Result<(), Broken> {
        out.raw(if keyed { "{" } else { "[" });
        let mut first = true;
        loop {
            let mut count = self.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                self.length()?;
                let at = self.at;
                count = count.checked_neg().ok_or(Broken { at, why: "a count is beyond 64 bits" })?;
            }
            for _ in 0..count {
                self.count_item()?;
                if keyed {
                    let key = self.text()?;
                    out.name(first, key);
                } else if !first {
                    out.raw(",");
                }
                first = false;
                self.json(schema, item, out, depth + 1)?;
            }
        }
        out.raw(if keyed { "}" } else { "]" });
        Ok(())
    }
}

/// Microseconds of a count of which `unit` are a second; digits beyond are cut off towards the past.
fn micros(count: i64, unit: i64) -> i64 {
    const SECOND: i64 = 1_000_000;
    if unit > SECOND { count.div_euclid(unit / SECOND) } else { count.saturating_mul(SECOND / unit) }
}

fn decimal(bytes: &[u8], scale: u32) -> Datum<'_> {
    typed::big_endian(bytes).map_or(Datum::Beyond, |unscaled| Datum::Decimal { unscaled, scale })
}
