//! A file of lines, or standard input: one partition, whose offsets are the line numbers from 1.
//!
//! An empty line is not a record but has its number, so that a number always finds its line again. A carriage return
//! before the newline does not belong to the line. The last line needs no newline.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::thread;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Bounds, Event, Source, SourceError, Start, Topic};
use crate::clock::Clock;
use crate::record::{Offset, Partition, Records};

/// The only partition.
const PARTITION: Partition = Partition(0);
/// The first line's number.
const FIRST: Offset = Offset(1);
/// Bytes of the longest line that is read.
const LINE_LIMIT: usize = 64 << 20;
/// Bytes read at a time.
const BUFFER: usize = 1 << 18;
/// Records and bytes of one batch.
const BATCH_RECORDS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
/// Events that wait for the reader.
const EVENTS: usize = 8;

/// Lines of a file, or of standard input.
#[derive(Debug)]
pub struct FileSource {
    path: Option<PathBuf>,
    events: Option<Receiver<Result<Event, SourceError>>>,
    finished: bool,
}

impl FileSource {
    /// A source for the file at `path`, or for standard input if there is none. Nothing is opened yet.
    #[must_use]
    pub fn new(path: Option<PathBuf>, _clock: Clock) -> Self {
        Self { path, events: None, finished: false }
    }

    /// What messages call it.
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| format!("file {}", path.display()))
    }

    fn open(&self) -> Result<Box<dyn Read + Send>, SourceError> {
        let Some(path) = &self.path else { return Ok(Box::new(io::stdin())) };
        let cannot = |why: &dyn std::fmt::Display| SourceError::Invalid(format!("cannot read {}: {why}", self.name()));
        let file = File::open(path).map_err(|error| cannot(&error))?;
        if file.metadata().map_err(|error| cannot(&error))?.is_dir() {
            return Err(cannot(&"it is a folder"));
        }
        Ok(Box::new(file))
    }
}

#[async_trait::async_trait]
impl Source for FileSource {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        if self.path.is_some() {
            self.open()?;
        }
        let name = if self.path.is_some() { "file" } else { "stdin" };
        let bounds = Bounds { start: FIRST, end: None };
        Ok(Topic { name: name.to_owned(), cluster: None, id: None, partitions: BTreeMap::from([(PARTITION, bounds)]) })
    }

    async fn resolve(&mut self, start: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        match start {
            Start::Earliest => Ok(BTreeMap::from([(PARTITION, FIRST)])),
            Start::Latest | Start::Time(_) => {
                Err(SourceError::Invalid(format!("{} can only be read from its beginning", self.name())))
            }
        }
    }

    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        let Some(&from) = from.get(&PARTITION) else { return Ok(()) };
        if self.events.is_some() {
            return Err(SourceError::Invalid(format!("{} is being read already", self.name())));
        }
        let input = self.open()?;
        let (sender, events) = channel(EVENTS);
        let lines = Lines { name: self.name(), from, next: FIRST, events: sender };
        // Reading blocks, for standard input without end, so it has a thread that nobody waits for.
        let thread = thread::Builder::new().name("windrow-file".to_owned()).spawn(move || lines.run(input));
        thread.map_err(|error| SourceError::Unavailable(format!("cannot start a thread: {error}")))?;
        self.events = Some(events);
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        if self.finished {
            return Ok(Event::Finished);
        }
        let Some(events) = &mut self.events else { return std::future::pending().await };
        let event = events.recv().await;
        let event = event
            .unwrap_or_else(|| Err(SourceError::Unavailable("reading ended before the end of the file".to_owned())))?;
        self.finished = matches!(event, Event::Finished);
        Ok(event)
    }

    fn commit(&mut self, _published: &crate::log::Published) {}
}

/// The thread that reads.
struct Lines {
    name: String,
    /// The first line that is wanted.
    from: Offset,
    /// The number of the line that is read next.
    next: Offset,
    events: Sender<Result<Event, SourceError>>,
}

impl Lines {
    fn run(mut self, input: Box<dyn Read + Send>) {
        let ended = self.read(BufReader::with_capacity(BUFFER, input));
        let last_words = match ended {
            Ok(()) => {
                let reached = Event::Reached { partition: PARTITION, position: self.next };
                if self.events.blocking_send(Ok(reached)).is_err() {
                    return;
                }
                Ok(Event::Finished)
            }
            Err(error) => Err(error),
        };
        let _ = self.events.blocking_send(last_words);
    }

    fn read(&mut self, mut input: BufReader<Box<dyn Read + Send>>) -> Result<(), SourceError> {
        let mut line = Vec::new();
        let mut batch = Records::new(PARTITION);
        loop {
            // The next read may have to wait: what is there already must not.
            if !batch.is_empty() && !input.buffer().contains(&b'\n') && !self.send(&mut batch) {
                return Ok(());
            }
            line.clear();
            let limit = LINE_LIMIT as u64 + 2;
            let read = input.by_ref().take(limit).read_until(b'\n', &mut line);
            let read = read.map_err(|error| {
                SourceError::Unavailable(format!("{} line {}: cannot read: {error}", self.name, self.next))
            })?;
            if read == 0 {
                break;
            }
            let text = without_end(&line);
            if text.len() > LINE_LIMIT {
                return Err(SourceError::Data(format!(
                    "{} line {}: it is longer than {} MiB",
                    self.name,
                    self.next,
                    LINE_LIMIT >> 20
                )));
            }
            if self.next >= self.from && !text.is_empty() {
                batch.push(self.next, None, None, Some(text));
            }
            self.next = self.next.next();
            let full = batch.len() >= BATCH_RECORDS || batch.bytes() >= BATCH_BYTES;
            if full && !self.send(&mut batch) {
                return Ok(());
            }
        }
        if self.next < self.from {
            return Err(SourceError::Data(format!(
                "{}: line {} comes next, but it ends after line {}; it was cut or is another one, so the lines counted \
                 are no longer those of the file",
                self.name,
                self.from,
                self.next.0 - 1
            )));
        }
        self.send(&mut batch);
        Ok(())
    }

    /// Hands the batch over; whether anybody still wants more.
    fn send(&self, batch: &mut Records) -> bool {
        let full = std::mem::replace(batch, Records::new(PARTITION));
        full.is_empty() || self.events.blocking_send(Ok(Event::Records(full))).is_ok()
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn read(path: PathBuf, from: i64) -> Result<(Vec<(i64, String)>, Offset), SourceError> {
        let mut source = FileSource::new(Some(path), Clock::system());
        source.assign(&BTreeMap::from([(PARTITION, Offset(from))])).await?;
        let (mut lines, mut end) = (Vec::new(), None);
        loop {
            match source.next().await? {
                Event::Records(records) => lines.extend(records.iter().map(|record| {
                    (record.offset.0, String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
                })),
                Event::Reached { position, .. } => end = Some(position),
                Event::Finished => return Ok((lines, end.expect("the end is told before the source finishes"))),
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[tokio::test]
    async fn lines_are_numbered_from_one_and_empty_ones_are_gaps() {
        let file = file(b"{\"a\":1}\r\n\n\r\n{\"b\":2}\nlast");
        let (lines, end) = read(file.path().to_owned(), 1).await.unwrap();
        let expected = [(1, "{\"a\":1}"), (4, "{\"b\":2}"), (5, "last")].map(|(n, text)| (n, text.to_owned()));
        assert_eq!(lines, expected);
        assert_eq!(end, Offset(6));
    }

    #[tokio::test]
    async fn reading_goes_on_at_the_line_asked_for() {
        let file = file(b"one\ntwo\nthree\n");
        let (lines, end) = read(file.path().to_owned(), 3).await.unwrap();
        assert_eq!(lines, [(3, "three".to_owned())]);
        assert_eq!(end, Offset(4));
        assert!(read(file.path().to_owned(), 4).await.unwrap().0.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_was_cut_is_an_error() {
        let file = file(b"one\ntwo\n");
        let error = read(file.path().to_owned(), 5).await.unwrap_err();
        assert!(matches!(&error, SourceError::Data(text) if text.contains("line 5 comes next")), "{error}");
    }

    #[tokio::test]
    async fn an_empty_file_finishes_at_once() {
        let (lines, end) = read(file(b"").path().to_owned(), 1).await.unwrap();
        assert_eq!((lines.len(), end), (0, FIRST));
    }

    #[tokio::test]
    async fn many_lines_come_in_bounded_batches_without_a_gap() {
        let content: String = (1..=10_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let (lines, end) = read(file(content.as_bytes()).path().to_owned(), 1).await.unwrap();
        assert_eq!(end, Offset(10_001));
        assert!(lines.iter().zip(1..).all(|((offset, text), n)| *offset == n && *text == format!("{{\"n\":{n}}}")));
        assert_eq!(lines.len(), 10_000);
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let mut source = FileSource::new(Some("/no/such/rides.jsonl".into()), Clock::system());
        let error = source.describe().await.unwrap_err();
        assert!(matches!(&error, SourceError::Invalid(text) if text.contains("/no/such/rides.jsonl")), "{error}");
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_refused_by_its_number() {
        let mut content = b"short\n".to_vec();
        content.resize(content.len() + LINE_LIMIT + 1, b'x');
        let error = read(file(&content).path().to_owned(), 1).await.unwrap_err();
        assert!(matches!(&error, SourceError::Data(text) if text.contains("line 2")), "{error}");
    }
}
