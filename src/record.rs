//! Records as they come from a source, and the positions that name them.
//!
//! This module knows nothing of formats or windows: a record here is bytes with a place in a partition. Offsets
//! and their ranges follow Kafka's meaning: an offset is unique in its partition, rises, and may have gaps.

mod headers;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use headers::{Header, Headers, last as last_header};

/// A point in time: microseconds since the epoch, UTC. Negative before 1970.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time as RFC 3339 text in UTC, whole seconds where that is exact.
    ///
    /// ```
    /// use windrow::record::Timestamp;
    /// assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
    /// assert_eq!(Timestamp(1_500_000).to_string(), "1970-01-01T00:00:01.500Z");
    /// ```
    fn rfc3339(self) -> Option<String> {
        let time = chrono::DateTime::from_timestamp_micros(self.0)?;
        Some(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }

    /// Whether it is before 1980: that of a clock that was never set, or of a unit misread.
    ///
    /// ```
    /// use windrow::record::Timestamp;
    /// let read_as_millis = Timestamp(1_772_352_000_000);
    /// assert!(read_as_millis.is_ancient() && !read_as_millis.plus(i64::MAX / 2).is_ancient());
    /// ```
    #[must_use]
    pub fn is_ancient(self) -> bool {
        self.0 < 315_532_800_000_000
    }

    /// This time without what is less than a second.
    #[must_use]
    pub fn to_second(self) -> Self {
        Self(self.0.div_euclid(1_000_000).saturating_mul(1_000_000))
    }

    /// This time moved by `micros`, held at the ends of the range.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This time moved back by `micros`, held at the ends of the range.
    #[must_use]
    pub fn minus(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rfc3339() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} µs", self.0),
        }
    }
}

/// A partition of the topic; a file or standard input is partition 0.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record's place in its partition; for files the line number, from 1.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One record, borrowed from its [`Records`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Kafka's own time of the record, if it has one.
    pub timestamp: Option<Timestamp>,
    /// The key's bytes; `None` for a null key.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, where they were asked for.
    pub headers: Headers<'a>,
}

/// Small, since there is one for every record.
#[derive(Clone, Debug)]
struct Place {
    offset: Offset,
    timestamp: Option<Timestamp>,
    /// Where the key begins; the value follows it.
    start: usize,
    key: Length,
    value: Length,
}

/// The length of a part that may be null.
#[derive(Copy, Clone, Debug)]
struct Length(u32);

impl Length {
    const NULL: Self = Self(u32::MAX);

    fn of(part: Option<&[u8]>) -> Self {
        part.map_or(Self::NULL, |part| match u32::try_from(part.len()) {
            Ok(len) if len < u32::MAX => Self(len),
            _ => unreachable!("a record's part has less than 4 GiB: no client takes in more than 1 GB"),
        })
    }

    fn is_null(self) -> bool {
        self.0 == u32::MAX
    }

    fn get(self) -> usize {
        if self.is_null() { 0 } else { self.0 as usize }
    }
}

/// Records of one partition in offset order, their bytes side by side in one buffer.
///
/// ```
/// use windrow::record::{Offset, Partition, Records};
/// let mut records = Records::new(Partition(0));
/// records.push(Offset(7), None, None, Some(b"{}"));
/// assert_eq!(records.get(0).value, Some(&b"{}"[..]));
/// ```
#[derive(Clone, Debug)]
pub struct Records {
    /// The partition all of them come from.
    pub partition: Partition,
    bytes: Vec<u8>,
    places: Vec<Place>,
    headers: headers::Store,
}

impl Records {
    /// No records yet, of this partition.
    #[must_use]
    pub fn new(partition: Partition) -> Self {
        Self { partition, bytes: Vec::new(), places: Vec::new(), headers: headers::Store::default() }
    }

    /// Makes room for as many more records, with so many bytes together.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.places.reserve(records);
        self.bytes.reserve(bytes);
    }

    /// No records any more, now of this partition, in the same memory.
    pub fn restart(&mut self, partition: Partition) {
        self.partition = partition;
        self.places.clear();
        self.bytes.clear();
        self.headers.clear();
    }

    /// Copies one record to the end. Offsets must rise from call to call; the reader checks that.
    ///
    /// # Panics
    /// If key or value has 4 GiB or more, which no source lets through.
    #[inline]
    pub fn push(&mut self, offset: Offset, timestamp: Option<Timestamp>, key: Option<&[u8]>, value: Option<&[u8]>) {
        let place =
            Place { offset, timestamp, start: self.bytes.len(), key: Length::of(key), value: Length::of(value) };
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.places.push(place);
    }

    /// Copies one record with its headers to the end, as [`Records::push`] does.
    ///
    /// # Panics
    /// As [`Records::push`] does.
    pub fn push_with<'h>(
        &mut self,
        offset: Offset,
        timestamp: Option<Timestamp>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'h>>,
    ) {
        self.headers.push(self.places.len(), headers);
        self.push(offset, timestamp, key, value);
    }

    /// The record at `index`, counted from 0 in the order of [`Records::push`].
    ///
    /// # Panics
    /// If `index` is not less than [`Records::len`].
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Record<'_> {
        let place = &self.places[index];
        let middle = place.start + place.key.get();
        Record {
            offset: place.offset,
            timestamp: place.timestamp,
            key: (!place.key.is_null()).then(|| &self.bytes[place.start..middle]),
            value: (!place.value.is_null()).then(|| &self.bytes[middle..middle + place.value.get()]),
            headers: self.headers.get(index),
        }
    }

    /// Its offset.
    #[must_use]
    pub fn offset(&self, index: usize) -> Offset {
        self.places[index].offset
    }

    /// All records in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        (0..self.len()).map(|index| self.get(index))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes held by keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.headers.bytes()
    }

    /// Drops every record before `offset`; how many were dropped.
    pub fn drop_before(&mut self, offset: Offset) -> usize {
        let cut = self.places.partition_point(|place| place.offset < offset);
        self.headers.drop_first(cut);
        self.places.drain(..cut).count()
    }
}
