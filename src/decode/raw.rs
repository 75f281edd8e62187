//! Whole records: key, value and headers as they are. Nothing is looked for in the value, and a null one is as good as
//! any other.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::column::{Columns, TIMESTAMP, Whole};
use super::frame::NO_RECORD_TIME;
use super::meta::{Meta, TopicColumn};
use super::reason::MISSING_COLUMN;
use super::{Decode, Decoded, Reason};
use crate::record::Records;

/// The reader of whole records.
///
/// ```
/// use windrow::decode::column::{Columns, PartType, Whole};
/// use windrow::decode::{Decode, raw::RawDecoder};
/// use windrow::record::{Offset, Partition, Records, Timestamp};
///
/// let whole = Whole { value: Some(PartType::Bytes), ..Whole::default() };
/// let columns = Columns { declared: vec![], event_time: "_timestamp".into(), whole };
/// let mut records = Records::new(Partition(0));
/// records.push(Offset(0), Some(Timestamp(0)), Some(b"k"), Some(&[0xff]));
/// records.push(Offset(1), Some(Timestamp(0)), None, None);
///
/// let decoded = RawDecoder::new(&columns, "rides").decode(records);
/// assert_eq!(decoded.rows, [0, 1]);
/// ```
#[derive(Debug)]
pub struct RawDecoder {
    schema: SchemaRef,
    whole: Whole,
    topic: TopicColumn,
}

impl RawDecoder {
    /// A reader of records as these columns have them; their event time is the record's own. `topic` is what `_topic`
    /// says.
    #[must_use]
    pub fn new(columns: &Columns, topic: &str) -> Self {
        let schema = Columns { declared: Vec::new(), ..columns.clone() }.schema();
        Self { schema, whole: columns.whole, topic: TopicColumn::new(topic) }
    }
}

impl Decode for RawDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        let mut meta = Meta::new(&self.topic, self.whole, records.len());
        let mut rows = Vec::with_capacity(records.len());
        let mut rejected = Vec::new();
        for (index, record) in (0u32..).zip(records.iter()) {
            if record.timestamp.is_none() {
                rejected.push((index, Reason { class: MISSING_COLUMN, text: NO_RECORD_TIME.to_owned() }));
                continue;
            }
            match meta.push(&record) {
                Ok(()) => rows.push(index),
                Err(reason) => rejected.push((index, *reason)),
            }
        }
        let arrays = meta.finish(&mut self.topic, records.partition).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).expect("each column has its type and one length");
        let event_times = batch.column_by_name(TIMESTAMP).expect("every stream has its records' times");
        let event_times = event_times.as_primitive::<TimestampMicrosecondType>().clone();
        Decoded { records, rows, batch, event_times, rejected }
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::{ColumnType, HEADERS, KEY, PartType, VALUE};
    use super::*;
    use crate::record::{Header, Offset, Partition, Timestamp};

    fn columns(key: Option<PartType>, value: PartType) -> Columns {
        let whole = Whole { key, value: Some(value), headers: true };
        Columns { declared: Vec::new(), event_time: TIMESTAMP.to_owned(), whole }
    }

    #[test]
    fn a_record_is_a_row_whole_or_a_reject_whole() {
        let text = PartType::Spelled(ColumnType::Text);
        let mut records = Records::new(Partition(3));
        let header = Header { name: b"trace", value: Some(b"7f") };
        let at = Some(Timestamp(5));
        records.push_with(Offset(0), at, Some(b"k"), Some(b"v"), [header]);
        // Its key is taken before its value is seen to be no text: it must not stay.
        records.push_with(Offset(1), at, Some(b"stray"), Some(&[0xff]), [header]);
        records.push_with(Offset(2), at, Some(&[0xff]), Some(b"v"), []);
        records.push_with(Offset(3), None, Some(b"k"), Some(b"v"), []);
        records.push_with(Offset(4), at, None, None, []);

        let decoded = RawDecoder::new(&columns(Some(text), text), "t").decode(records);
        assert_eq!(decoded.rows, [0, 4]);
        let classes: Vec<_> = decoded.rejected.iter().map(|(index, reason)| (*index, reason.class)).collect();
        assert_eq!(classes, [(1, "wrong_type"), (2, "wrong_type"), (3, MISSING_COLUMN)]);
        let column = |name: &str| {
            let array = decoded.batch.column_by_name(name).unwrap().as_string::<i32>();
            array.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(column(KEY), [Some("k".to_owned()), None]);
        assert_eq!(column(VALUE), [Some("v".to_owned()), None]);
        assert_eq!(column(HEADERS), [Some(r#"[{"name":"trace","value":"7f"}]"#.to_owned()), None]);
        assert_eq!(decoded.event_times.values().to_vec(), [5, 5]);
        assert_eq!(decoded.batch.schema(), columns(Some(text), text).schema());
    }

    #[test]
    fn an_empty_batch_has_the_schema() {
        let columns = columns(Some(PartType::Bytes), PartType::Bytes);
        let decoded = RawDecoder::new(&columns, "t").decode(Records::new(Partition(0)));
        assert_eq!((decoded.batch.num_rows(), decoded.batch.schema()), (0, columns.schema()));
    }
}
