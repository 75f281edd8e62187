//! Where files lie: a folder, a bucket, or one file of either; and how their bytes are read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::SourceError;
use crate::config::FileConfig;
use crate::error::Kind;
use crate::sink::SinkError;
use crate::sink::store::Store;

/// Bytes of an object that are fetched at a time.
const SPAN: u64 = 4 << 20;

/// Where files lie.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Stdin,
    /// A file or a folder.
    Local(PathBuf),
    /// A bucket and a prefix, or a single key.
    Bucket {
        store: Store,
        key: Option<String>,
    },
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name below the place.
    pub(super) name: String,
    /// Its size; none where it is not known.
    pub(super) bytes: Option<u64>,
}

impl Place {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// If the bucket cannot be addressed.
    pub(super) fn new(config: &FileConfig) -> Result<Self, SourceError> {
        let Some(place) = &config.place else { return Ok(Self::Stdin) };
        if !place.starts_with("s3://") {
            return Ok(Self::Local(PathBuf::from(place)));
        }
        let last = place.rsplit('/').next().unwrap_or_default();
        if is_file_name(last)
            && let Some(folder) = place.strip_suffix(last)
        {
            let store = Store::open(folder.trim_end_matches('/'), &config.properties, false).map_err(of_store)?;
            return Ok(Self::Bucket { store, key: Some(last.to_owned()) });
        }
        Ok(Self::Bucket { store: Store::open(place, &config.properties, false).map_err(of_store)?, key: None })
    }

    /// Whether it is a folder or prefix, in which there may be several files.
    pub(super) fn holds_many(&self) -> bool {
        match self {
            Self::Stdin => false,
            Self::Local(path) => path.is_dir(),
            Self::Bucket { key, .. } => key.is_none(),
        }
    }

    /// What messages call a file of this place.
    pub(super) fn shown(&self, name: &str) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::Local(path) if path.is_dir() => format!("file {}", path.join(name).display()),
            Self::Local(path) => format!("file {}", path.display()),
            Self::Bucket { store, .. } => format!("file {}", store.address(name)),
        }
    }

    /// The files here, in name order. Names that begin with a dot or an underscore are others' business.
    ///
    /// # Errors
    /// If they cannot be listed, or there is none.
    pub(super) async fn list(&self) -> Result<Vec<Found>, SourceError> {
        let found = match self {
            Self::Stdin => return Ok(vec![Found { name: "-".to_owned(), bytes: None }]),
            Self::Local(path) => {
                let cannot = |error| SourceError::Invalid(format!("cannot read {}: {error}", self.shown("")));
                let meta = path.metadata().map_err(cannot)?;
                if !meta.is_dir() {
                    // A pipe has no size that says anything.
                    let bytes = meta.is_file().then_some(meta.len());
                    return Ok(vec![Found { name: path.display().to_string(), bytes }]);
                }
                let mut found = Vec::new();
                walk(path, "", &mut found).map_err(cannot)?;
                found
            }
            Self::Bucket { store, key: Some(key) } => match store.size(key).await.map_err(of_store)? {
                Some(bytes) => vec![Found { name: key.clone(), bytes: Some(bytes) }],
                None => Vec::new(),
            },
            Self::Bucket { store, key: None } => {
                let listed = store.list("").await.map_err(of_store)?;
                listed.into_iter().map(|(name, bytes)| Found { name, bytes: Some(bytes) }).collect()
            }
        };
        let mut found: Vec<Found> = found.into_iter().filter(|found| found.name.split('/').all(is_ours)).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        if found.is_empty() {
            let place = match self {
                Self::Bucket { store, key } => store.address(key.as_deref().unwrap_or_default()),
                Self::Local(path) => path.display().to_string(),
                Self::Stdin => String::new(),
            };
            return Err(SourceError::Invalid(format!("{place}: there is no file to read")));
        }
        Ok(found)
    }

    /// The bytes of a file. Blocks while they are read, so not for the runtime's own threads; `read` counts them.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn open(&self, found: &Found, read: &Arc<AtomicU64>, runtime: &Handle) -> io::Result<Input> {
        let bytes: Box<dyn Read + Send> = match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::Local(_) => Box::new(File::open(self.path(found))?),
            Self::Bucket { store, .. } => Box::new(Object::new(store, found, runtime).reader(0)),
        };
        Ok(Input { bytes, read: read.clone() })
    }

    /// A file that can be read anywhere. As [`Place::open`].
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(super) fn open_anywhere(&self, found: &Found, runtime: &Handle) -> io::Result<Chunks> {
        match self {
            Self::Stdin => Err(io::Error::other("standard input is read from its beginning")),
            Self::Local(_) => Ok(Chunks::File(File::open(self.path(found))?)),
            Self::Bucket { store, .. } => Ok(Chunks::Object(Object::new(store, found, runtime))),
        }
    }

    fn path(&self, found: &Found) -> PathBuf {
        match self {
            Self::Local(path) if path.is_dir() => path.join(&found.name),
            Self::Local(path) => path.clone(),
            _ => PathBuf::new(),
        }
    }
}

/// Whether the last part of an address names a file rather than a prefix.
fn is_file_name(name: &str) -> bool {
    [".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet", ".gz", ".zst"]
        .iter()
        .any(|end| name.ends_with(end))
}

fn is_ours(part: &str) -> bool {
    !part.starts_with(['.', '_'])
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<Found>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let part = entry.file_name().to_string_lossy().into_owned();
        if !is_ours(&part) {
            continue;
        }
        let meta = entry.path().metadata()?;
        let name = format!("{prefix}{part}");
        if meta.is_dir() {
            walk(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.push(Found { name, bytes: Some(meta.len()) });
        }
    }
    Ok(())
}

fn of_store(error: SinkError) -> SourceError {
    let text = error.to_string().replace("sink s3://", "s3://");
    match error.kind() {
        Kind::Invalid => SourceError::Invalid(text),
        Kind::Data => SourceError::Data(text),
        _ => SourceError::Unavailable(text),
    }
}

/// A file's bytes, counted as they are read.
pub(super) struct Input {
    bytes: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A file that can be read anywhere.
pub(super) enum Chunks {
    File(File),
    Object(Object),
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Object(object) => object.size,
        }
    }
}

impl ChunkReader for Chunks {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        match self {
            Self::File(file) => Ok(Box::new(ChunkReader::get_read(file, start)?)),
            Self::Object(object) => Ok(Box::new(BufReader::new(object.reader(start)))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Object(object) => {
                let end = start.saturating_add(length as u64);
                object.span(start, end).map_err(|error| ParquetError::External(Box::new(error)))
            }
        }
    }
}

/// An object of a bucket.
#[derive(Clone)]
pub(super) struct Object {
    store: Store,
    key: String,
    size: u64,
    runtime: Handle,
}

impl Object {
    fn new(store: &Store, found: &Found, runtime: &Handle) -> Self {
        let size = found.bytes.unwrap_or_default();
        Self { store: store.clone(), key: found.name.clone(), size, runtime: runtime.clone() }
    }

    /// Waits for a store that is away.
    fn span(&self, start: u64, end: u64) -> io::Result<Bytes> {
        if start >= end {
            return Ok(Bytes::new());
        }
        let found = self.runtime.block_on(self.store.get_span(&self.key, start, end - start));
        let found = found.map_err(|error| io::Error::other(of_store(error)))?;
        let bytes = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is gone"))?;
        if bytes.len() as u64 == end - start { Ok(bytes) } else { Err(io::Error::other("it has become shorter")) }
    }

    fn reader(&self, start: u64) -> ObjectReader {
        ObjectReader { object: self.clone(), next: start, at_hand: Bytes::new() }
    }
}

/// An object's bytes in their order.
struct ObjectReader {
    object: Object,
    next: u64,
    at_hand: Bytes,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at_hand.is_empty() {
            let end = self.next.saturating_add(SPAN).min(self.object.size);
            self.at_hand = self.object.span(self.next, end)?;
            self.next = end.max(self.next);
        }
        let length = buffer.len().min(self.at_hand.len());
        self.at_hand.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
