//! Files, or standard input: each file is a partition, in name order, whose offsets are its rows counted from 1.
//!
//! Of lines an empty one is not a record but has its number, so that a number always finds its line again. A carriage
//! return before the newline does not belong to the line. The last line needs no newline. Records of separated values
//! are counted, not their lines, as a field may have several; a first line with names is none. Files that end with .gz
//! or .zst are unpacked while they are read.
//!
//! Files are read one after the other. So when one is begun, all before it have been read to their ends: a run that
//! goes on need not look at those again. New files may come after the last one by name; the log knows the others.

mod lines;
mod parquet;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::lines::Lines;
use self::place::{Found, Place};
use super::{Bounds, Event, Source, SourceError, Start, Topic};
use crate::clock::Clock;
use crate::config::{FileConfig, Pipeline};
use crate::decode::PARQUET;
use crate::decode::csv::{FirstLines, Form};
use crate::decode::rows::RowText;
use crate::record::{Offset, Partition, Records};

/// The first row's number.
const FIRST: Offset = Offset(1);
/// Bytes read at a time.
const BUFFER: usize = 1 << 18;
/// Records and bytes of one batch.
const BATCH_RECORDS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
/// Events that wait for the reader.
const EVENTS: usize = 8;

/// Rows of files, or lines of standard input.
pub struct FileSource {
    place: Place,
    rows: Rows,
    /// The files as they were described, in name order.
    found: Vec<Found>,
    /// Bytes read of all of them.
    read: Arc<AtomicU64>,
    events: Option<Receiver<Result<Event, SourceError>>>,
    finished: bool,
}

/// What a file is made of.
#[derive(Clone, Debug)]
enum Rows {
    Lines,
    Csv { form: Form, first_lines: Option<FirstLines> },
    Parquet(RowText),
}

impl FileSource {
    /// A source for the lines of the file at `path`, or of standard input if there is none. Nothing is opened yet.
    #[must_use]
    pub fn new(path: Option<PathBuf>, _clock: Clock) -> Self {
        Self::of(path.map_or(Place::Stdin, Place::Local), Rows::Lines)
    }

    /// A source for the files that a pipeline names. Nothing is opened yet.
    ///
    /// # Errors
    /// If the place cannot be addressed.
    pub fn open(files: &FileConfig, pipeline: &Pipeline) -> Result<Self, SourceError> {
        let settings = &pipeline.reading.settings;
        let rows = match pipeline.format.name {
            "csv" => {
                let named = settings.csv.names == crate::decode::csv::Names::FirstLine;
                let first_lines = named.then(|| settings.first_lines.clone());
                Rows::Csv { form: settings.csv.clone(), first_lines }
            }
            PARQUET => Rows::Parquet(RowText::new(&pipeline.columns.declared)),
            _ => Rows::Lines,
        };
        Ok(Self::of(Place::new(files)?, rows))
    }

    fn of(place: Place, rows: Rows) -> Self {
        Self { place, rows, found: Vec::new(), read: Arc::default(), events: None, finished: false }
    }

    async fn list(&mut self) -> Result<&[Found], SourceError> {
        // What was described is what is read: a file that came since waits for the next run.
        if self.found.is_empty() {
            self.found = self.place.list().await?;
        }
        Ok(&self.found)
    }
}

fn partition(index: usize) -> Partition {
    Partition(i32::try_from(index).unwrap_or(i32::MAX))
}

#[async_trait::async_trait]
impl Source for FileSource {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        let name = if matches!(self.place, Place::Stdin) { "stdin" } else { "file" };
        if let Place::Local(path) = &self.place
            && !path.is_dir()
        {
            let cannot = |error| SourceError::Invalid(format!("cannot read {}: {error}", self.place.shown("")));
            std::fs::File::open(path).map_err(cannot)?;
        }
        let many = self.place.holds_many();
        let found = self.list().await?;
        let bounds = Bounds { start: FIRST, end: None };
        // A single file may be called anything; of a folder's the log must know which is which.
        let files = found.iter().filter(|_| many).map(|found| found.name.clone()).collect();
        let partitions = (0..found.len()).map(|index| (partition(index), bounds)).collect();
        Ok(Topic { name: name.to_owned(), cluster: None, id: None, files, partitions })
    }

    async fn resolve(&mut self, start: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        match start {
            Start::Earliest => Ok((0..self.list().await?.len()).map(|index| (partition(index), FIRST)).collect()),
            Start::Latest | Start::Time(_) => {
                Err(SourceError::Invalid(format!("{} can only be read from its beginning", self.place.shown(""))))
            }
        }
    }

    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        if from.is_empty() {
            return Ok(());
        }
        if self.events.is_some() {
            return Err(SourceError::Invalid(format!("{} is being read already", self.place.shown(""))));
        }
        let files: Vec<(Partition, Found)> =
            self.list().await?.iter().cloned().enumerate().map(|(index, found)| (partition(index), found)).collect();
        let (sender, events) = channel(EVENTS);
        let reader = Reader {
            place: self.place.clone(),
            rows: self.rows.clone(),
            read: self.read.clone(),
            runtime: Handle::current(),
            events: sender,
        };
        let from = from.clone();
        // Reading blocks, for standard input without end, so it has a thread that nobody waits for.
        let thread = thread::Builder::new().name("windrow-file".to_owned()).spawn(move || reader.run(&files, &from));
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

    fn way(&self) -> Option<(u64, u64)> {
        let all = self.found.iter().map(|found| found.bytes).sum::<Option<u64>>()?;
        Some((self.read.load(Ordering::Relaxed).min(all), all))
    }

    fn commit(&mut self, _published: &crate::log::Published) {}
}

/// The thread that reads.
struct Reader {
    place: Place,
    rows: Rows,
    read: Arc<AtomicU64>,
    runtime: Handle,
    events: Sender<Result<Event, SourceError>>,
}

/// Nobody wants more, or the error that ends the source has been told.
struct Over;

impl Reader {
    fn run(self, files: &[(Partition, Found)], from: &BTreeMap<Partition, Offset>) {
        // The log has rows of it, so all files before it were read to their ends.
        let begun = from.iter().filter(|(_, offset)| **offset > FIRST).map(|(partition, _)| *partition).max();
        for (partition, found) in files {
            let Some(&offset) = from.get(partition) else { continue };
            if begun.is_some_and(|begun| *partition < begun) {
                self.read.fetch_add(found.bytes.unwrap_or_default(), Ordering::Relaxed);
                continue;
            }
            let before = self.read.load(Ordering::Relaxed);
            if self.file(*partition, found, offset).is_err() {
                return;
            }
            // However little of it was fetched, it has been read.
            if let Some(bytes) = found.bytes {
                self.read.store(before.saturating_add(bytes), Ordering::Relaxed);
            }
        }
        let _ = self.send(Ok(Event::Finished));
    }

    fn file(&self, partition: Partition, found: &Found, from: Offset) -> Result<(), Over> {
        let name = self.place.shown(&found.name);
        let read = match &self.rows {
            Rows::Parquet(text) => self.parquet(&name, partition, found, from, text),
            rows => self.lines(&name, partition, found, from, rows),
        };
        let end = match read {
            Ok(end) => end,
            Err(Trouble::Over) => return Err(Over),
            Err(Trouble::Error(error)) => {
                let _ = self.send(Err(error));
                return Err(Over);
            }
        };
        if end < from {
            let text = format!(
                "{name}: {} {from} comes next, but it ends after {}; it was cut or is another one, so the rows counted \
                 are no longer those of the file",
                if matches!(self.rows, Rows::Lines) { "line" } else { "row" },
                end.0 - 1
            );
            let _ = self.send(Err(SourceError::Data(text)));
            return Err(Over);
        }
        self.send(Ok(Event::Reached { partition, position: end }))
    }

    fn lines(
        &self,
        name: &str,
        partition: Partition,
        found: &Found,
        from: Offset,
        rows: &Rows,
    ) -> Result<Offset, Trouble> {
        let cannot = |error| SourceError::Invalid(format!("cannot read {name}: {error}"));
        let input = self.place.open(found, &self.read, &self.runtime).map_err(cannot)?;
        let input: Box<dyn Read> = if found.name.ends_with(".gz") {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, input)))
        } else if found.name.ends_with(".zst") {
            Box::new(zstd::stream::read::Decoder::new(input).map_err(cannot)?)
        } else {
            Box::new(input)
        };
        Lines::new(name, partition, from, rows, |records| self.records(records)).read(input)
    }

    /// Hands the batch over.
    fn records(&self, records: Records) -> Result<(), Over> {
        if records.is_empty() { Ok(()) } else { self.send(Ok(Event::Records(records))) }
    }

    fn send(&self, event: Result<Event, SourceError>) -> Result<(), Over> {
        self.events.blocking_send(event).map_err(|_| Over)
    }
}

/// Why reading a file ended early.
enum Trouble {
    Over,
    Error(SourceError),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Error(error)
    }
}

impl From<Over> for Trouble {
    fn from(_: Over) -> Self {
        Self::Over
    }
}

impl std::fmt::Debug for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSource").field("place", &self.place).finish_non_exhaustive()
    }
}
