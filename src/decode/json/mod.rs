//! JSON records: one object a record, of which only the declared members are read.
//!
//! One pass finds the wanted members and skips the rest; no tree is built. What is exact: integers and decimals come
//! from the digits of the text, never through a float, and what would have to be rounded or wrapped is refused.
//!
//! A record is refused, with class and reason, unless it is one JSON object and nothing else, not nested deeper than
//! 64, has every required member once and not null (`null` counts as a value only of an optional column, as its null;
//! the event time is always required), and each value is of its column's type.
//!
//! What is not looked at, in members that no column reads: whether strings are UTF-8 and their surrogates paired, and
//! whether names come twice. In all else a skipped value must be JSON too.

mod bits;
pub(super) mod envelope;
mod scan;
mod shape;
mod value;
mod wanted;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use self::scan::{Broken, Kind, Raw, Scanner, TOO_DEEP};
use self::shape::Shape;
use self::wanted::{ROOT, Wanted};
use super::cells::{Cells, Values};
use super::column::{Column, Columns};
use super::frame::{Frame, Row, rejection};
use super::reason::{self, Misfit};
use super::{Decode, Decoded, Reason};
use crate::record::Records;

/// The reader of JSON records.
///
/// ```
/// use windrow::decode::column::{Column, ColumnType, Columns};
/// use windrow::decode::{Decode, json::JsonDecoder};
/// use windrow::record::{Offset, Partition, Records, Timestamp};
///
/// let fare = Column { name: "fare".into(), path: vec!["fare".into()], kind: ColumnType::Int, optional: false };
/// let columns = Columns { declared: vec![fare], event_time: "_timestamp".into(), whole: Default::default() };
/// let mut records = Records::new(Partition(0));
/// records.push(Offset(0), Some(Timestamp(0)), None, Some(br#"{"fare": 12, "tip": 3}"#));
/// records.push(Offset(1), Some(Timestamp(0)), None, Some(br#"{"fare": "free"}"#));
///
/// let decoded = JsonDecoder::new(&columns, "rides").decode(records);
/// assert_eq!(decoded.rows, [0]);
/// assert_eq!(decoded.rejected[0].1.text, "fare: a whole number expected, found \"free\"");
/// ```
#[derive(Debug)]
pub struct JsonDecoder {
    frame: Frame,
    members: Members,
}

/// What is known of the members of records: which are wanted, and how the last ones were written.
#[derive(Debug)]
struct Members {
    wanted: Wanted,
    scratch: Vec<u8>,
    /// Counts records, so that a wanted member knows whether it was seen in this one.
    record: u64,
    shape: Option<Shape>,
    /// The record of which a shape was last learnt.
    learnt: Option<u64>,
}

/// Records between two attempts to learn a shape: where each record has another, little is lost.
const LEARN_EVERY: u64 = 256;

impl JsonDecoder {
    /// A reader of these columns. `topic` is what `_topic` says.
    #[must_use]
    pub fn new(columns: &Columns, topic: &str) -> Self {
        let wanted = Wanted::new(&columns.declared);
        let members = Members { wanted, scratch: Vec::new(), record: 0, shape: None, learnt: None };
        Self { frame: Frame::new(columns, topic), members }
    }
}

impl Members {
    /// Fills the row from the record's value.
    #[inline]
    fn read(&mut self, row: &mut Row<'_>, value: &[u8]) -> Result<(), Box<Reason>> {
        self.record += 1;
        let mut reader = Reader {
            scanner: Scanner::new(value),
            columns: row.columns,
            required: row.required,
            wanted: &mut self.wanted,
            scratch: &mut self.scratch,
            cells: row.cells,
            filled: 0,
            record: self.record,
        };
        let fits = match &mut self.shape {
            Some(shape) => reader.shaped(shape, row.index),
            None => Ok(false),
        };
        let read = match fits {
            Ok(false) => reader.whole(row.index).map(|()| true),
            fits => fits.map(|_| false),
        };
        let by_scanner = read.map_err(|fault| match fault {
            Fault::Reason(reason) => reason,
            Fault::Broken(broken) => not_json(value, broken),
        })?;
        if by_scanner && self.learnt.is_none_or(|learnt| self.record - learnt >= LEARN_EVERY) {
            self.learnt = Some(self.record);
            self.shape = Shape::of(value, &self.wanted);
        }
        Ok(())
    }
}

impl Decode for JsonDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        let Self { frame, members } = self;
        frame.decode(records, |row, value| members.read(row, value))
    }
}

/// Whether `text` is one JSON value and nothing else.
pub(super) fn is_json(text: &[u8]) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.space();
    let value = scanner.value();
    scanner.space();
    value.is_ok() && scanner.peek().is_none()
}

/// Adds the value that `bytes` spell as JSON, and as nothing else, to `values`; adds nothing and says false if that is a
/// null.
pub(super) fn push_value(values: &mut Values, bytes: &[u8], scratch: &mut Vec<u8>) -> Result<bool, Misfit> {
    let mut scanner = Scanner::new(bytes);
    let mut whole = || {
        scanner.space();
        let raw = scanner.value()?;
        scanner.space();
        if scanner.peek().is_some() { scanner.broken("the end of it") } else { Ok(raw) }
    };
    let raw = whole().map_err(|_| Misfit::not_json("it is not JSON"))?;
    if raw.kind == Kind::Null {
        return Ok(false);
    }
    value::push(values, raw, bytes, scratch).map(|()| true)
}

/// Why reading a record ended early. Small, since every step of the way may return it.
#[derive(Debug)]
enum Fault {
    Broken(Broken),
    Reason(Box<Reason>),
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// One record being read.
struct Reader<'a> {
    scanner: Scanner<'a>,
    columns: &'a [Column],
    required: &'a [bool],
    wanted: &'a mut Wanted,
    scratch: &'a mut Vec<u8>,
    cells: &'a mut [Cells],
    /// How many columns have their value of this record.
    filled: usize,
    record: u64,
}

impl Reader<'_> {
    /// Takes the values of a record that has the shape; whether it has.
    #[inline]
    fn shaped(&mut self, shape: &mut Shape, row: usize) -> Result<bool, Fault> {
        let bytes = self.scanner.bytes;
        let Some(fit) = shape.fits(bytes) else { return Ok(false) };
        let mut wanted = 0;
        while let Some((node, raw)) = shape.value(wanted, bytes, &fit) {
            for index in 0..self.wanted.nodes[node].columns.len() {
                self.put(self.wanted.nodes[node].columns[index], raw)?;
            }
            wanted += 1;
        }
        if self.filled < self.columns.len() {
            self.fill(row)?;
        }
        Ok(true)
    }

    #[inline]
    fn whole(&mut self, row: usize) -> Result<(), Fault> {
        self.scanner.space();
        if self.scanner.peek() != Some(b'{') {
            return self.no_object();
        }
        self.object(ROOT)?;
        self.scanner.space();
        if self.scanner.peek().is_some() {
            return Ok(self.scanner.broken("the end of the record")?);
        }
        if self.filled < self.columns.len() {
            return self.fill(row);
        }
        Ok(())
    }

    /// Goes past the object that begins here, and takes the members wanted under `node`.
    fn object(&mut self, node: usize) -> Result<(), Fault> {
        let mut more = self.scanner.open(b'}')?;
        let mut position = 0;
        while more {
            match self.wanted.member(node, position, &mut self.scanner)? {
                Some(member) => self.member(member)?,
                None => {
                    self.scanner.value()?;
                }
            }
            position += 1;
            more = self.scanner.goes_on(b'}')?;
        }
        Ok(())
    }

    /// Goes past the value of a wanted member, and gives it to the columns that read it.
    #[inline]
    fn member(&mut self, node: usize) -> Result<(), Fault> {
        let wanted = &mut self.wanted.nodes[node];
        if wanted.seen == self.record {
            let text = format!("{}: the member is there twice", wanted.path);
            return Err(Fault::Reason(rejection(reason::DUPLICATE, text)));
        }
        wanted.seen = self.record;
        let raw = if wanted.members.is_empty() { self.scanner.value()? } else { self.branch(node)? };
        for index in 0..self.wanted.nodes[node].columns.len() {
            self.put(self.wanted.nodes[node].columns[index], raw)?;
        }
        Ok(())
    }

    /// Goes past a value of which columns read members. Calls itself only as deep as declared paths go.
    fn branch(&mut self, node: usize) -> Result<Raw, Fault> {
        let start = self.scanner.at;
        if self.scanner.peek() == Some(b'{') {
            self.object(node)?;
            return Ok(Raw { kind: Kind::Object, start, end: self.scanner.at, escaped: false, ascii: false });
        }
        let raw = self.scanner.value()?;
        if raw.kind == Kind::Null {
            return Ok(raw);
        }
        let (path, found) = (&self.wanted.nodes[node].path, reason::excerpt(&self.scanner.bytes[raw.start..raw.end]));
        let text = format!("{path}: an object expected, found {found}");
        Err(Fault::Reason(rejection(reason::WRONG_TYPE, text)))
    }

    #[inline]
    fn put(&mut self, column: usize, raw: Raw) -> Result<(), Fault> {
        self.filled += 1;
        let cells = &mut self.cells[column];
        if raw.kind == Kind::Null {
            if self.required[column] {
                return Err(Fault::Reason(Box::new(reason::missing(&self.columns[column], "the member is null"))));
            }
            cells.push_null();
            return Ok(());
        }
        match value::push(&mut cells.values, raw, self.scanner.bytes, self.scratch) {
            Ok(()) => cells.filled(),
            Err(misfit) => return Err(self.misfit(column, raw, misfit)),
        }
        Ok(())
    }

    #[cold]
    fn misfit(&self, column: usize, raw: Raw, misfit: Misfit) -> Fault {
        let found = &self.scanner.bytes[raw.start..raw.end];
        Fault::Reason(Box::new(reason::misfit(&self.columns[column], found, misfit)))
    }

    /// Gives a null to every column whose member did not come.
    fn fill(&mut self, row: usize) -> Result<(), Fault> {
        for (index, cells) in self.cells.iter_mut().enumerate().filter(|(_, cells)| cells.len() == row) {
            if self.required[index] {
                let reason = reason::missing(&self.columns[index], "the member is missing");
                return Err(Fault::Reason(Box::new(reason)));
            }
            cells.push_null();
        }
        Ok(())
    }

    /// The reason for a record that does not begin as an object.
    #[cold]
    fn no_object(&mut self) -> Result<(), Fault> {
        let bytes = self.scanner.bytes;
        let text = match bytes {
            [] => "the value is empty".into(),
            _ if self.scanner.peek().is_none() => "the value is white space alone".into(),
            [0, _, _, _, _, ..] => "the value begins as a schema registry's formats do (Avro, Protobuf)".into(),
            [0xef, 0xbb, 0xbf, ..] => "the value begins with a byte order mark".into(),
            _ => format!("the value is {}, not an object", value::described(self.scanner.value()?.kind)),
        };
        Err(Fault::Reason(rejection(reason::NOT_JSON, text)))
    }
}

#[cold]
fn not_json(bytes: &[u8], broken: Broken) -> Box<Reason> {
    /// Enough to find the place by eye.
    const SHOWN: usize = 16;
    let Broken { at, expected } = broken;
    let text = match &bytes[at.min(bytes.len())..] {
        _ if expected == TOO_DEEP => format!("byte {at}: {TOO_DEEP}"),
        [] => format!("it ends at byte {at}, where {expected} should be"),
        rest => format!("byte {at}: {expected} expected, found {}", reason::excerpt(&rest[..rest.len().min(SHOWN)])),
    };
    rejection(reason::NOT_JSON, text)
}
