//! Whether bytes are an Arrow stream that can be read without harm.
//!
//! A piece of state has its digest in the log, so damage shows. But whoever can write to the sink can give a piece any
//! content and the entry its digest, and Arrow's reader believes what it is told: it makes room for any length, and over
//! what its own writer never writes it panics. So lengths, types and spans are looked at before.

use arrow::ipc::{Field, Message, Precision, RecordBatch, TimeUnit, Type, root_as_message};

/// Columns within columns, at most.
const DEEPEST: usize = 16;

/// Checks the stream; `rows` is how many it should have.
///
/// # Errors
/// What is wrong, as it follows "the state is".
pub(super) fn check(stream: &[u8], rows: u64) -> Result<(), &'static str> {
    let (mut rest, mut found, mut schema) = (stream, 0_u64, None);
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [mark, length] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if mark != u32::MAX {
            return Err("no stream of Arrow messages");
        }
        if length == 0 {
            break;
        }
        let message = after.get(..length as usize).ok_or("cut off in a message")?;
        let message = root_as_message(message).map_err(|_| "not made of Arrow messages")?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| "shorter than nothing")?;
        let end = usize::try_from(body).ok().and_then(|body| body.checked_add(length as usize));
        rest = end.and_then(|end| after.get(end..)).ok_or("cut off in a batch")?;
        match &schema {
            None => schema = Some(check_schema(&message)?),
            Some(fields) => {
                let batch = message.header_as_record_batch().ok_or("of a kind that is not written")?;
                found = found.checked_add(check_batch(&batch, fields, body)?).ok_or("longer than anything")?;
            }
        }
    }
    if schema.is_none() {
        return Err("empty");
    }
    if found == rows { Ok(()) } else { Err("of another length than the log says") }
}

/// The columns that the first message tells.
fn check_schema<'a>(message: &Message<'a>) -> Result<Vec<Field<'a>>, &'static str> {
    let fields = message.header_as_schema().and_then(|schema| schema.fields()).ok_or("without columns")?;
    let fields: Vec<_> = fields.iter().collect();
    fields.iter().try_for_each(|field| check_field(field, DEEPEST))?;
    Ok(fields)
}

/// Every type that a query's state can have, as Arrow's writer writes it.
fn check_field(field: &Field<'_>, deep: usize) -> Result<(), &'static str> {
    let children: Vec<_> = field.children().into_iter().flatten().collect();
    let known = match field.type_type() {
        Type::Null | Type::Bool | Type::Binary | Type::LargeBinary | Type::BinaryView => true,
        Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => true,
        Type::Int => field.type_as_int().is_some_and(|int| matches!(int.bitWidth(), 8 | 16 | 32 | 64)),
        Type::FloatingPoint => field
            .type_as_floating_point()
            .is_some_and(|float| [Precision::HALF, Precision::SINGLE, Precision::DOUBLE].contains(&float.precision())),
        Type::Decimal => field.type_as_decimal().is_some_and(|decimal| {
            let digits = match decimal.bitWidth() {
                32 => 9,
                64 => 18,
                128 => 38,
                256 => 76,
                _ => 0,
            };
            (1..=digits).contains(&decimal.precision()) && decimal.scale().abs() <= decimal.precision()
        }),
        Type::Date => field.type_as_date().is_some_and(|date| date.unit().variant_name().is_some()),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|time| time.unit().variant_name().is_some()),
        Type::Duration => field.type_as_duration().is_some_and(|time| time.unit().variant_name().is_some()),
        Type::Interval => field.type_as_interval().is_some_and(|span| span.unit().variant_name().is_some()),
        Type::Time => field.type_as_time().is_some_and(|time| match time.bitWidth() {
            32 => [TimeUnit::SECOND, TimeUnit::MILLISECOND].contains(&time.unit()),
            64 => [TimeUnit::MICROSECOND, TimeUnit::NANOSECOND].contains(&time.unit()),
            _ => false,
        }),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some_and(|bytes| bytes.byteWidth() > 0),
        Type::List | Type::LargeList => children.len() == 1,
        Type::Struct_ => true,
        _ => false,
    };
    let nests = matches!(field.type_type(), Type::List | Type::LargeList | Type::Struct_);
    if !known || field.dictionary().is_some() || (!nests && !children.is_empty()) || (nests && deep == 0) {
        return Err("of a type that no query saves");
    }
    children.iter().try_for_each(|child| check_field(child, deep.saturating_sub(1)))
}

/// Spans lie within the body, and what says which values are there is as long as they are many.
fn check_batch(batch: &RecordBatch<'_>, fields: &[Field<'_>], body: u64) -> Result<u64, &'static str> {
    if batch.compression().is_some() {
        return Err("compressed, which is not written");
    }
    let mut lengths = Vec::new();
    for buffer in batch.buffers().into_iter().flatten() {
        let span = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()));
        let (Ok(from), Ok(length)) = span else { return Err("cut off in a column") };
        if from.checked_add(length).is_none_or(|end| end > body) {
            return Err("cut off in a column");
        }
        lengths.push(length);
    }
    let rows = u64::try_from(batch.length()).map_err(|_| "shorter than nothing")?;
    let mut columns = Columns {
        nodes: batch.nodes().into_iter().flatten().map(|node| (node.length(), node.null_count())).collect(),
        lengths,
        views: batch.variadicBufferCounts().into_iter().flatten().collect(),
    };
    columns.nodes.reverse();
    columns.lengths.reverse();
    columns.views.reverse();
    fields.iter().try_for_each(|field| columns.take(field))?;
    Ok(rows)
}

/// What is left of a batch's columns, the next one last.
struct Columns {
    /// Each column's length and how many of its values are null.
    nodes: Vec<(i64, i64)>,
    /// Bytes of each buffer.
    lengths: Vec<u64>,
    /// How many buffers of text each column of views has.
    views: Vec<i64>,
}

impl Columns {
    /// Takes one column with those within it.
    fn take(&mut self, field: &Field<'_>) -> Result<(), &'static str> {
        const LACKING: &str = "without some of its columns";
        let (length, nulls) = self.nodes.pop().ok_or(LACKING)?;
        let length = u64::try_from(length).map_err(|_| "shorter than nothing")?;
        let nulls = u64::try_from(nulls).ok().filter(|nulls| *nulls <= length).ok_or("of more nulls than values")?;
        let kind = field.type_type();
        if kind == Type::Null {
            return Ok(());
        }
        let there = self.lengths.pop().ok_or(LACKING)?;
        if nulls > 0 && there < length.div_ceil(8) {
            return Err("cut off in what says which values are there");
        }
        let more = match kind {
            Type::Struct_ => 0,
            Type::Binary | Type::LargeBinary | Type::Utf8 | Type::LargeUtf8 => 2,
            Type::BinaryView | Type::Utf8View => {
                usize::try_from(self.views.pop().ok_or(LACKING)?).map_err(|_| LACKING)?.saturating_add(1)
            }
            _ => 1,
        };
        let left = self.lengths.len().checked_sub(more).ok_or(LACKING)?;
        self.lengths.truncate(left);
        field.children().into_iter().flatten().try_for_each(|child| self.take(&child))
    }
}
