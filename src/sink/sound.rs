//! Whether bytes are an Arrow stream that can be read without harm.
//!
//! A piece of state has its digest in the log, so damage shows. But whoever can write to the sink can give a piece any
//! content and the entry its digest, and Arrow's reader believes what it is told: it makes room for any length, and over
//! what its own writer never writes it panics. So lengths, types and spans are looked at before.

use arrow::ipc::{Field, Message, MessageHeader, Precision, RecordBatch, TimeUnit, Type, root_as_message};

/// Columns within columns, at most.
const DEEPEST: usize = 16;

/// Checks the stream; `rows` is how many it should have.
///
/// # Errors
/// What is wrong, as it follows "the state is".
pub(super) fn check(stream: &[u8], rows: u64) -> Result<(), &'static str> {
    let (mut rest, mut found, mut first) = (stream, 0_u64, true);
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
        found = found.checked_add(check_message(&message, first, body)?).ok_or("longer than anything")?;
        first = false;
    }
    if first {
        return Err("empty");
    }
    if found == rows { Ok(()) } else { Err("of another length than the log says") }
}

/// How many rows a message has. The first one is the schema, and no other is.
fn check_message(message: &Message<'_>, first: bool, body: u64) -> Result<u64, &'static str> {
    if first != (message.header_type() == MessageHeader::Schema) {
        return Err("without a schema, or with two");
    }
    if first {
        let fields = message.header_as_schema().and_then(|schema| schema.fields()).ok_or("without columns")?;
        fields.iter().try_for_each(|field| check_field(&field, DEEPEST))?;
        return Ok(0);
    }
    let batch = message.header_as_record_batch().ok_or("of a kind that is not written")?;
    check_batch(&batch, body)
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

/// Spans lie within the body, and nothing is longer than it could be.
fn check_batch(batch: &RecordBatch<'_>, body: u64) -> Result<u64, &'static str> {
    if batch.compression().is_some() {
        return Err("compressed, which is not written");
    }
    for buffer in batch.buffers().into_iter().flatten() {
        let span = (u64::try_from(buffer.offset()), u64::try_from(buffer.length()));
        let end = if let (Ok(from), Ok(length)) = span { from.checked_add(length) } else { None };
        if end.is_none_or(|end| end > body) {
            return Err("cut off in a column");
        }
    }
    let rows = u64::try_from(batch.length()).map_err(|_| "shorter than nothing")?;
    for node in batch.nodes().into_iter().flatten() {
        if node.null_count() < 0 || node.null_count() > node.length() {
            return Err("made of columns whose nulls do not add up");
        }
    }
    Ok(rows)
}
