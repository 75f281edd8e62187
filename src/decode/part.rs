//! A record's key, or its value as a whole, as one column.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullBufferBuilder};

use super::Reason;
use super::cells::{Cells, Texts, Values};
use super::column::{Column, ColumnType, PartType};
use super::json;
use super::reason::{self, Misfit};

/// The part of each record of a batch.
#[derive(Debug)]
pub(super) enum Part {
    /// Text, null where it is not UTF-8.
    Lenient(Texts, NullBufferBuilder),
    /// The bytes.
    Bytes(Texts, NullBufferBuilder),
    /// What the bytes spell.
    Spelled { column: Box<Column>, cells: Cells, scratch: Vec<u8> },
}

impl Part {
    /// The column called `name`, with room for so many rows; without a kind it is [`Part::Lenient`].
    pub(super) fn new(name: &str, kind: Option<PartType>, rows: usize) -> Self {
        let room = 16 * rows;
        match kind {
            None => Self::Lenient(Texts::new(rows, room), NullBufferBuilder::new(rows)),
            Some(PartType::Bytes) => Self::Bytes(Texts::new(rows, room), NullBufferBuilder::new(rows)),
            Some(PartType::Spelled(kind)) => {
                let column = Column { name: name.to_owned(), path: vec![name.to_owned()], kind, optional: true };
                Self::Spelled { column: Box::new(column), cells: Cells::new(kind, rows, room), scratch: Vec::new() }
            }
        }
    }

    /// Adds a record's part; on an error nothing is added.
    ///
    /// # Errors
    /// If the part is not what the column holds.
    #[inline]
    pub(super) fn push(&mut self, part: Option<&[u8]>) -> Result<(), Box<Reason>> {
        match self {
            Self::Lenient(texts, nulls) => {
                add(texts, nulls, part.filter(|part| part.is_ascii() || str::from_utf8(part).is_ok()))
            }
            Self::Bytes(texts, nulls) => add(texts, nulls, part),
            Self::Spelled { column, cells, scratch } => {
                let Some(part) = part else {
                    cells.push_null();
                    return Ok(());
                };
                match spell(&mut cells.values, column.kind, part, scratch) {
                    Ok(true) => cells.filled(),
                    Ok(false) => cells.push_null(),
                    Err(misfit) => return Err(Box::new(reason::misfit(column, part, misfit))),
                }
                Ok(())
            }
        }
    }

    /// Forgets what was added after the first `rows`.
    pub(super) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Lenient(texts, nulls) | Self::Bytes(texts, nulls) => {
                texts.truncate(rows);
                nulls.truncate(rows);
            }
            Self::Spelled { cells, .. } => cells.truncate(rows),
        }
    }

    /// The Arrow array, of the type that [`PartType::arrow`] says.
    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Lenient(texts, mut nulls) => Arc::new(texts.finish(nulls.finish())),
            Self::Bytes(texts, mut nulls) => Arc::new(texts.finish_bytes(nulls.finish())),
            Self::Spelled { cells, .. } => cells.finish(),
        }
    }
}

#[inline]
fn add(texts: &mut Texts, nulls: &mut NullBufferBuilder, part: Option<&[u8]>) -> Result<(), Box<Reason>> {
    match part {
        Some(part) => {
            let added = texts.push(part);
            added.map_err(|misfit| Box::new(Reason { class: misfit.class, text: misfit.why.to_owned() }))?;
            nulls.append_non_null();
        }
        None => {
            texts.push_empty();
            nulls.append_null();
        }
    }
    Ok(())
}

/// Adds the value that `part` spells; false if that is a JSON null.
fn spell(values: &mut Values, kind: ColumnType, part: &[u8], scratch: &mut Vec<u8>) -> Result<bool, Misfit> {
    match (values, kind) {
        (Values::Text(texts), _) if str::from_utf8(part).is_ok() => texts.push(part).map(|()| true),
        (Values::Text(_), _) => Err(Misfit::wrong_type("it is not UTF-8")),
        // As it stands in JSON, or as it stands alone: people write keys without quotes.
        (values, ColumnType::Timestamp(_) | ColumnType::Date | ColumnType::Decimal { .. })
            if !part.trim_ascii_start().starts_with(b"\"") && part != b"null" =>
        {
            let quoted = [b"\"", part.trim_ascii(), b"\""].concat();
            json::push_value(values, &quoted, scratch)
        }
        (values, _) => json::push_value(values, part, scratch),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};

    use super::super::column::TimestampForm;
    use super::*;

    fn column(kind: PartType, parts: &[Option<&[u8]>]) -> (ArrayRef, Vec<String>) {
        let mut part = Part::new("_key", Some(kind), parts.len());
        let refused = parts.iter().filter_map(|bytes| part.push(*bytes).err()).map(|reason| reason.text).collect();
        (part.finish(), refused)
    }

    #[test]
    fn bytes_are_kept_whatever_they_are() {
        let parts: [Option<&[u8]>; 4] = [Some(&[0, 0xff]), None, Some(b""), Some(b"text")];
        let (array, refused) = column(PartType::Bytes, &parts);
        assert_eq!(array.as_binary::<i32>().iter().collect::<Vec<_>>(), parts);
        assert_eq!(refused, Vec::<String>::new());
    }

    #[test]
    fn text_that_is_none_is_refused_and_leaves_no_trace() {
        let parts: [Option<&[u8]>; 4] = [Some("zwölf".as_bytes()), Some(&[0xff, b'x']), None, Some(b"")];
        let (array, refused) = column(PartType::Spelled(ColumnType::Text), &parts);
        assert_eq!(array.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("zwölf"), None, Some("")]);
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("_key: text expected, found"), "{refused:?}");
        assert!(refused[0].ends_with("it is not UTF-8"), "{refused:?}");
    }

    #[test]
    fn numbers_and_times_are_read_with_and_without_quotes() {
        let parts: [Option<&[u8]>; 5] = [Some(b"42"), Some(b" -7 "), Some(b"null"), Some(b"4x"), Some(b"\"42\"")];
        let (array, refused) = column(PartType::Spelled(ColumnType::Int), &parts);
        assert_eq!(array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(42), Some(-7), None]);
        assert_eq!(refused.len(), 2, "{refused:?}");

        let time = PartType::Spelled(ColumnType::Timestamp(TimestampForm::Rfc3339));
        let parts: [Option<&[u8]>; 3] =
            [Some(b"1970-01-01T00:00:01Z"), Some(b"\"1970-01-01T00:00:02Z\""), Some(b"soon")];
        let (array, refused) = column(time, &parts);
        let times: Vec<_> = array.as_primitive::<TimestampMicrosecondType>().iter().collect();
        assert_eq!(times, [Some(1_000_000), Some(2_000_000)]);
        assert_eq!(refused.len(), 1);

        let money = PartType::Spelled(ColumnType::Decimal { precision: 4, scale: 2 });
        let (array, refused) = column(money, &[Some(b"12.5"), Some(b"\"0.01\""), Some(b"0.001")]);
        let cents: Vec<_> = array.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(cents, [Some(1250), Some(1)]);
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn json_has_to_be_one_value_and_nothing_else() {
        let parts: [Option<&[u8]>; 5] =
            [Some(br#"{"id": [1, 2]}"#), Some(b"true"), Some(b"{} {}"), Some(b""), Some(b"{\"id\":}")];
        let (array, refused) = column(PartType::Spelled(ColumnType::Json), &parts);
        assert_eq!(array.as_string::<i32>().iter().collect::<Vec<_>>(), [Some(r#"{"id": [1, 2]}"#), Some("true")]);
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(array.nulls().is_none());
    }
}
