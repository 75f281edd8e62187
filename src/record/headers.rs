//! The headers of Kafka records: names with values, in an order of their own, some names perhaps twice.
//!
//! As a column they are text, a JSON list that leaves nothing out: `[{"name": "trace", "value": "7f"}]`. A value that
//! is null is null there, and one that is not UTF-8 stands as `"hex"` in the place of `"value"`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Length;

/// One header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name's bytes; Kafka says that they are UTF-8.
    pub name: &'a [u8],
    /// Its value; `None` for null.
    pub value: Option<&'a [u8]>,
}

/// The headers of one record, borrowed from its batch.
#[derive(Copy, Clone, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    items: &'a [Item],
}

/// Where a header's bytes are: the name, then the value.
#[derive(Copy, Clone, Debug)]
struct Item {
    start: usize,
    name: usize,
    value: Length,
}

impl<'a> Headers<'a> {
    /// Whether the record has none, or nobody asked for them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The headers in their order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let Self { bytes, items } = *self;
        items.iter().map(move |item| {
            let middle = item.start + item.name;
            let value = (!item.value.is_null()).then(|| &bytes[middle..middle + item.value.get()]);
            Header { name: &bytes[item.start..middle], value }
        })
    }

    /// The JSON list; `None` if there are no headers.
    #[must_use]
    pub fn json(&self) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let written: Vec<Written<'_>> = self.iter().map(Written::of).collect();
        Some(serde_json::to_string(&written).expect("text is always JSON"))
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers<'_> {}

/// A header as the JSON list has it.
#[derive(Serialize)]
struct Written<'a> {
    name: Cow<'a, str>,
    /// None where it is no text and stands as hex; else the text, or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl<'a> Written<'a> {
    fn of(header: Header<'a>) -> Self {
        let name = String::from_utf8_lossy(header.name);
        match header.value.map(|value| std::str::from_utf8(value).map_err(|_| value)) {
            None => Self { name, value: Some(None), hex: None },
            Some(Ok(text)) => Self { name, value: Some(Some(text)), hex: None },
            Some(Err(bytes)) => Self { name, value: None, hex: Some(hex(bytes)) },
        }
    }
}

/// What [`last`] needs of a header in the list.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    value: Option<String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of the last header called `name` in such a JSON list, as Kafka's own clients look one up: `None` if there
/// is none, if it is null, or if it is not text.
#[must_use]
pub fn last(json: &str, name: &str) -> Option<String> {
    let listed: Vec<Listed<'_>> = serde_json::from_str(json).ok()?;
    listed.into_iter().rfind(|header| header.name == name)?.value
}

/// The headers of a batch's records. Holds nothing while nobody pushes any.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// For each record the span of its items; records after the last that was pushed with headers have none.
    spans: Vec<(usize, usize)>,
}

impl Store {
    /// Adds the headers of the record at `index`, which comes after all that have theirs.
    pub(super) fn push<'h>(&mut self, index: usize, headers: impl IntoIterator<Item = Header<'h>>) {
        self.spans.resize(index, (0, 0));
        let first = self.items.len();
        for header in headers {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(header.name);
            self.bytes.extend_from_slice(header.value.unwrap_or_default());
            self.items.push(Item { start, name: header.name.len(), value: Length::of(header.value) });
        }
        self.spans.push((first, self.items.len()));
    }

    /// Costs a look at a length where nobody pushes any.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Headers<'_> {
        match self.spans.get(index) {
            Some(&(first, end)) => Headers { bytes: &self.bytes, items: &self.items[first..end] },
            None => Headers::default(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn drop_first(&mut self, records: usize) {
        self.spans.drain(..records.min(self.spans.len()));
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        self.spans.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Offset, Partition, Records};
    use super::*;

    fn header<'a>(name: &'a str, value: Option<&'a [u8]>) -> Header<'a> {
        Header { name: name.as_bytes(), value }
    }

    #[test]
    fn headers_stay_with_their_record_whatever_is_dropped_before_it() {
        let mut records = Records::new(Partition(0));
        records.push(Offset(1), None, None, Some(b"a"));
        records.push_with(Offset(2), None, None, Some(b"b"), [header("x", Some(b"1")), header("x", None)]);
        records.push_with(Offset(3), None, None, None, []);
        records.push(Offset(4), None, None, Some(b"d"));
        records.push_with(Offset(5), None, None, Some(b"e"), [header("y", Some(b""))]);
        let of =
            |records: &Records| -> Vec<Option<String>> { records.iter().map(|record| record.headers.json()).collect() };
        let x = Some(r#"[{"name":"x","value":"1"},{"name":"x","value":null}]"#.to_owned());
        let y = Some(r#"[{"name":"y","value":""}]"#.to_owned());
        assert_eq!(of(&records), [None, x.clone(), None, None, y.clone()]);
        records.drop_before(Offset(2));
        assert_eq!(of(&records), [x, None, None, y.clone()]);
        records.drop_before(Offset(4));
        assert_eq!(of(&records), [None, y]);
        records.restart(Partition(1));
        records.push(Offset(0), None, None, None);
        assert_eq!(of(&records), [None]);
    }

    #[test]
    fn the_last_of_a_name_counts_and_bytes_that_are_no_text_stand_as_hex() {
        let mut records = Records::new(Partition(0));
        let quoted = "a \"quoted\" \\ name";
        let headers = [
            header("trace", Some(b"first")),
            header("trace", Some("zwölf\n".as_bytes())),
            header("signature", Some(&[0, 0xff])),
            header("empty", None),
            header(quoted, Some(b"q")),
        ];
        records.push_with(Offset(0), None, None, None, headers);
        let json = records.get(0).headers.json().unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed[2], serde_json::json!({"name": "signature", "hex": "00ff"}));
        assert_eq!(parsed[3], serde_json::json!({"name": "empty", "value": null}));
        for (name, value) in
            [("trace", Some("zwölf\n")), ("signature", None), ("empty", None), ("absent", None), (quoted, Some("q"))]
        {
            assert_eq!(last(&json, name).as_deref(), value, "{name}");
        }
        assert_eq!(last("no list", "trace"), None);
    }
}
