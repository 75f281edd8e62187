//! Change events as Debezium writes them in JSON: the row after the change is the record.
//!
//! `{"before": …, "after": …, "op": "u", …}`, as it is or under `payload` beside a `schema`. Rows that were read,
//! created or updated are records, each event one: an updated row counts again. A deleted row, a truncated table and
//! the tombstone that follows a delete are left out, or invalid, by `on_delete`.

use super::column::Columns;
use super::frame::rejection;
use super::json::JsonDecoder;
use super::json::envelope::{self, Change};
use super::{Decode, Decoded, Reason, reason};
use crate::record::Records;

/// What becomes of a delete.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// It is left out: its offset is one without a record.
    Ignore,
    /// It is kept as an invalid record.
    Invalid,
}

/// The reader of change events.
#[derive(Debug)]
pub struct DebeziumDecoder {
    rows: JsonDecoder,
    on_delete: OnDelete,
}

impl DebeziumDecoder {
    /// A reader of these columns of the row after the change. `topic` is what `_topic` says.
    #[must_use]
    pub fn new(columns: &Columns, topic: &str, on_delete: OnDelete) -> Self {
        Self { rows: JsonDecoder::new(columns, topic), on_delete }
    }
}

impl Decode for DebeziumDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        // What is a record, whole and as its row alone; and which of the whole ones has which row.
        let mut kept = Records::new(records.partition);
        kept.reserve(records.len(), records.bytes());
        let mut rows = Records::new(records.partition);
        rows.reserve(records.len(), records.bytes());
        let mut index_of = Vec::with_capacity(records.len());
        let mut rejected: Vec<(u32, Reason)> = Vec::new();
        for record in records.iter() {
            let index = u32::try_from(kept.len()).expect("a batch is cut long before it has so many records");
            let change = match record.value {
                None => Ok(Change::Delete("the value is null, as after a delete")),
                Some(value) => envelope::read(value),
            };
            match change {
                Ok(Change::Row(row)) => {
                    rows.push_with(record.offset, record.timestamp, record.key, Some(row), record.headers.iter());
                    index_of.push(index);
                }
                Ok(Change::Delete(_)) if self.on_delete == OnDelete::Ignore => continue,
                Ok(Change::Delete(how)) => rejected.push((index, *rejection(reason::DELETE, how))),
                Err(reason) => rejected.push((index, *reason)),
            }
            kept.push_with(record.offset, record.timestamp, record.key, record.value, record.headers.iter());
        }
        let mut decoded = self.rows.decode(rows);
        for row in &mut decoded.rows {
            *row = index_of[*row as usize];
        }
        let refused = decoded.rejected.drain(..).map(|(row, reason)| (index_of[row as usize], reason));
        rejected.extend(refused);
        rejected.sort_by_key(|(index, _)| *index);
        Decoded { records: kept, rejected, ..decoded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::column::{Column, ColumnType};
    use crate::record::{Offset, Partition, Timestamp};

    const EVENTS: [Option<&str>; 12] = [
        Some(r#"{"before":null,"after":{"id":1},"op":"c","ts_ms":1}"#),
        Some(r#"{"schema":{"type":"struct"},"payload":{"op":"u","before":{"id":1},"after":{"id":2}}}"#),
        Some(r#"{"op":"r","after":{"id":3}}"#),
        Some(r#"{"before":{"id":3},"after":null,"op":"d"}"#),
        None,
        Some(r#"{"schema":{},"payload":{"before":{"id":2},"after":null,"op":"d"}}"#),
        Some(r#"{"op":"t"}"#),
        Some(r#"{"op":"m","message":{}}"#),
        Some(r#"{"op":"c","after":null}"#),
        Some(r#"{"op":"c","after":{"id":"x"}}"#),
        Some(r#"{"id":1}"#),
        Some(r#"{"op":"c","after":{"id":4}"#),
    ];

    fn decode(on_delete: OnDelete) -> Decoded {
        let id = Column { name: "id".into(), path: vec!["id".into()], kind: ColumnType::Int, optional: false };
        let columns = Columns { declared: vec![id], event_time: "_timestamp".into(), whole: Default::default() };
        let mut records = Records::new(Partition(0));
        for (offset, event) in (10..).zip(EVENTS) {
            records.push(Offset(offset), Some(Timestamp(0)), None, event.map(str::as_bytes));
        }
        DebeziumDecoder::new(&columns, "t", on_delete).decode(records)
    }

    fn offsets(decoded: &Decoded) -> (Vec<i64>, Vec<(i64, &'static str)>) {
        let offset = |index: u32| decoded.records.get(index as usize).offset.0;
        let rows = decoded.rows.iter().map(|index| offset(*index)).collect();
        (rows, decoded.rejected.iter().map(|(index, reason)| (offset(*index), reason.class)).collect())
    }

    #[test]
    fn rows_created_updated_and_read_are_records_with_or_without_the_wrapper() {
        let decoded = decode(OnDelete::Ignore);
        let broken =
            [(17, "not_debezium"), (18, "not_debezium"), (19, "wrong_type"), (20, "not_debezium"), (21, "not_json")];
        assert_eq!(offsets(&decoded), (vec![10, 11, 12], broken.to_vec()));
        assert_eq!(decoded.records.len(), 8, "deletes are no records");
        assert_eq!(decoded.records.get(0).value, EVENTS[0].map(str::as_bytes), "records are kept as they came");
        let ids = decoded.batch.column(0);
        assert_eq!(arrow::util::display::array_value_to_string(ids, 1).unwrap(), "2");
    }

    #[test]
    fn deletes_may_be_invalid_instead() {
        let decoded = decode(OnDelete::Invalid);
        let (rows, rejected) = offsets(&decoded);
        assert_eq!((rows.len() + rejected.len(), decoded.records.len()), (12, 12));
        let deletes: Vec<i64> =
            rejected.iter().filter(|(_, class)| *class == "delete").map(|(offset, _)| *offset).collect();
        assert_eq!(deletes, [13, 14, 15, 16]);
    }
}
