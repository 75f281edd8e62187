//! Records that are in no window, kept as they came: too late, or unreadable.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::decode::Reason;
use crate::decode::column::timestamp_type;
use crate::record::{Offset, Partition, Record, Timestamp};
use crate::time::window::Window;

/// One record, with why it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// Kafka's own time of it.
    pub timestamp: Option<Timestamp>,
    /// Its event time, where that could be read.
    pub event_time: Option<Timestamp>,
    /// The window it would belong to.
    pub window: Option<Window>,
    /// Why it is kept.
    pub reason: Reason,
    /// Its key as it came.
    pub key: Option<Vec<u8>>,
    /// Its value as it came.
    pub value: Option<Vec<u8>>,
    /// Its headers as a JSON list, where the pipeline asks for them.
    pub headers: Option<String>,
}

impl Kept {
    /// A record that is in no window, for this reason.
    #[must_use]
    pub fn new(partition: Partition, record: Record<'_>, reason: Reason) -> Self {
        Self {
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            event_time: None,
            window: None,
            reason,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.json(),
        }
    }

    /// Bytes it holds, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.reason.text.len()
            + self.key.as_ref().map_or(0, Vec::len)
            + self.value.as_ref().map_or(0, Vec::len)
            + self.headers.as_ref().map_or(0, String::len)
    }
}

/// The schema of files under late/ and invalid/; those of a pipeline that asks for headers have them, too.
#[must_use]
pub fn schema(headers: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp_type(), true),
        Field::new("event_time", timestamp_type(), true),
        Field::new("window_start", timestamp_type(), true),
        Field::new("window_end", timestamp_type(), true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("detail", DataType::Utf8, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
    ];
    if headers {
        fields.push(Field::new("headers", DataType::Utf8, true));
    }
    Arc::new(Schema::new(fields))
}

/// Batches of [`schema`], some of which may have been made before the pipeline asked for headers, or no longer did.
///
/// # Errors
/// If a batch has other columns.
pub fn alike(batches: Vec<RecordBatch>, headers: bool) -> Result<Vec<RecordBatch>, ArrowError> {
    let schema = schema(headers);
    let alike = |batch: RecordBatch| {
        let mut columns = batch.columns().to_vec();
        if columns.len() < schema.fields().len() {
            columns.push(new_null_array(&DataType::Utf8, batch.num_rows()));
        }
        columns.truncate(schema.fields().len());
        RecordBatch::try_new(schema.clone(), columns)
    };
    batches.into_iter().map(alike).collect()
}

/// The records as rows of [`schema`].
///
/// # Errors
/// If the columns exceed what one Arrow batch can hold.
pub fn batch(topic: &str, records: &[Kept], headers: bool) -> Result<RecordBatch, ArrowError> {
    let time = || TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let (mut topics, mut partitions, mut offsets) = (StringBuilder::new(), Int32Builder::new(), Int64Builder::new());
    let (mut timestamps, mut event_times, mut starts, mut ends) = (time(), time(), time(), time());
    let (mut reasons, mut details) = (StringBuilder::new(), StringBuilder::new());
    let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
    for record in records {
        topics.append_value(topic);
        partitions.append_value(record.partition.0);
        offsets.append_value(record.offset.0);
        timestamps.append_option(record.timestamp.map(|time| time.0));
        event_times.append_option(record.event_time.map(|time| time.0));
        starts.append_option(record.window.map(|window| window.start.0));
        ends.append_option(record.window.map(|window| window.end.0));
        reasons.append_value(record.reason.class);
        details.append_value(&record.reason.text);
        keys.append_option(record.key.as_deref());
        values.append_option(record.value.as_deref());
    }
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(topics.finish()),
        Arc::new(partitions.finish()),
        Arc::new(offsets.finish()),
        Arc::new(timestamps.finish()),
        Arc::new(event_times.finish()),
        Arc::new(starts.finish()),
        Arc::new(ends.finish()),
        Arc::new(reasons.finish()),
        Arc::new(details.finish()),
        Arc::new(keys.finish()),
        Arc::new(values.finish()),
    ];
    if headers {
        columns.push(Arc::new(records.iter().map(|record| record.headers.as_deref()).collect::<StringArray>()));
    }
    RecordBatch::try_new(schema(headers), columns)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::record::{Header, Records};

    fn batch_of(headers: bool) -> RecordBatch {
        let mut records = Records::new(Partition(3));
        let header = Header { name: b"trace", value: Some(b"7f") };
        records.push_with(Offset(9), None, None, Some(b"v"), [header]);
        let reason = Reason { class: "not_json", text: "it is not JSON".to_owned() };
        batch("t", &[Kept::new(Partition(3), records.get(0), reason)], headers).unwrap()
    }

    #[test]
    fn records_kept_before_and_after_headers_were_asked_for_go_into_one_file() {
        let mixed = || vec![batch_of(false), batch_of(true)];
        let with = alike(mixed(), true).unwrap();
        assert!(with.iter().all(|batch| batch.schema() == schema(true)));
        let list = with[1].column_by_name("headers").unwrap().as_string::<i32>().value(0);
        assert_eq!(list, r#"[{"name":"trace","value":"7f"}]"#);
        assert!(with[0].column_by_name("headers").unwrap().is_null(0));
        let without = alike(mixed(), false).unwrap();
        assert!(without.iter().all(|batch| batch.schema() == schema(false) && batch.num_rows() == 1));
    }
}
