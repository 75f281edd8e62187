//! Rows that are lines, or a few lines where a field in quotes has newlines.

use std::io::{BufRead, BufReader, Read};

use super::{BATCH_BYTES, BATCH_RECORDS, BUFFER, FIRST, Over, Rows, SourceError, Trouble};
use crate::decode::csv::{FirstLines, Form};
use crate::record::{Offset, Partition, Records};

/// Bytes of the longest row that is read.
pub(super) const LINE_LIMIT: usize = 64 << 20;

/// A file of lines being read.
pub(super) struct Lines<'a, F> {
    name: &'a str,
    partition: Partition,
    /// The first row that is wanted.
    from: Offset,
    /// The number of the row that is read next.
    next: Offset,
    csv: Option<&'a Form>,
    /// Where the first line's names go, while it has not come.
    names: Option<&'a FirstLines>,
    send: F,
}

impl<'a, F: FnMut(Records) -> Result<(), Over>> Lines<'a, F> {
    pub(super) fn new(name: &'a str, partition: Partition, from: Offset, rows: &'a Rows, send: F) -> Self {
        let (csv, names) = match rows {
            Rows::Csv { form, first_lines } => (Some(form), first_lines.as_ref()),
            Rows::Lines | Rows::Parquet(_) => (None, None),
        };
        Self { name, partition, from, next: FIRST, csv, names, send }
    }

    /// Reads to the end; the number of the row that would come next.
    pub(super) fn read(mut self, input: impl Read) -> Result<Offset, Trouble> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut row = Vec::new();
        let mut batch = Records::new(self.partition);
        loop {
            // The next read may have to wait: what is there already must not.
            if !batch.is_empty() && !input.buffer().contains(&b'\n') {
                self.send(&mut batch)?;
            }
            if !self.row(&mut input, &mut row)? {
                break;
            }
            let text = without_end(&row);
            if let Some(names) = self.names.take() {
                names.put(self.partition, text);
                continue;
            }
            if self.next >= self.from && !text.is_empty() {
                batch.push(self.next, None, None, Some(text));
            }
            self.next = self.next.next();
            if batch.len() >= BATCH_RECORDS || batch.bytes() >= BATCH_BYTES {
                self.send(&mut batch)?;
            }
        }
        self.send(&mut batch)?;
        Ok(self.next)
    }

    /// Reads one row into `row`; whether there was one.
    fn row(&self, input: &mut impl BufRead, row: &mut Vec<u8>) -> Result<bool, SourceError> {
        row.clear();
        let mut within = false;
        loop {
            let start = row.len();
            let limit = (LINE_LIMIT + 2 - start) as u64;
            let read = input.by_ref().take(limit).read_until(b'\n', row);
            let read = read.map_err(|error| {
                SourceError::Unavailable(format!("{} {}: cannot read: {error}", self.name, self.place()))
            })?;
            if without_end(row).len() > LINE_LIMIT {
                let limit = LINE_LIMIT >> 20;
                let text = format!("{} {}: it is longer than {limit} MiB", self.name, self.place());
                return Err(SourceError::Data(text));
            }
            within = self.csv.is_some_and(|form| form.goes_on(&row[start..], within));
            if read == 0 || !within {
                return Ok(!row.is_empty());
            }
        }
    }

    fn place(&self) -> String {
        format!("{} {}", if self.csv.is_some() { "row" } else { "line" }, self.next)
    }

    fn send(&mut self, batch: &mut Records) -> Result<(), Over> {
        let full = std::mem::replace(batch, Records::new(self.partition));
        if full.is_empty() { Ok(()) } else { (self.send)(full) }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
