//! What follows an entry: final names, the feed, and the sweeping of what nothing refers to any more.
//!
//! Every step may be done again, by anybody, with the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::entry::{ClosedWindow, Entry, File, FileKind, Sequence};
use super::{Committed, LogError};
use crate::error::Error;
use crate::record::{Offset, Partition};
use crate::sink::format::FileFormat;
use crate::sink::layout;
use crate::sink::state::digest;
use crate::sink::store::{Created, Store};

/// Files in flight at once.
const CONCURRENT: u64 = 8;
/// Bytes of files in flight at once, if each is as large as the largest.
const IN_FLIGHT: u64 = 64 << 20;

/// Proof that an entry and everything it names is published. Only [`publish`] makes one.
#[derive(Debug)]
pub struct Published {
    next: BTreeMap<Partition, Offset>,
}

impl Published {
    /// The next offset of each partition that the log has not claimed.
    #[must_use]
    pub fn next(&self) -> &BTreeMap<Partition, Offset> {
        &self.next
    }

    /// A proof for tests of what follows it.
    #[cfg(test)]
    #[must_use]
    pub fn for_test(next: BTreeMap<Partition, Offset>) -> Self {
        Self { next }
    }
}

/// What one commit published, for loaders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// The form's version.
    pub format: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The entry's number.
    pub sequence: u64,
    /// When the entry was made, RFC 3339.
    pub time: String,
    /// The stream's watermark then, RFC 3339.
    pub watermark: Option<String>,
    /// The files, results by window first.
    pub files: Vec<FeedFile>,
}

/// One published file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedFile {
    /// What it holds.
    pub kind: FileKind,
    /// Its key in the sink.
    pub path: String,
    /// How it is written; left out where that is Parquet.
    #[serde(default, skip_serializing_if = "FileFormat::is_parquet")]
    pub format: FileFormat,
    /// The window's start, RFC 3339; none for late and invalid records.
    pub window_start: Option<String>,
    /// The window's end.
    pub window_end: Option<String>,
    /// The result's revision.
    pub revision: i32,
    /// Whether nothing can change the result any more.
    #[serde(rename = "final")]
    pub last: bool,
    /// Whether every record of the window was seen.
    pub complete: bool,
    /// Which part of the result, from 1.
    pub part: u32,
    /// How many parts the result has.
    pub parts: u32,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

impl Feed {
    /// What `entry` published; `None` if that is nothing.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let files: Vec<_> = entry.files.iter().map(|file| FeedFile::of(entry, file)).collect();
        (!files.is_empty()).then(|| Self {
            format: 1,
            pipeline: entry.pipeline.clone(),
            sequence: entry.sequence.0,
            time: entry.time.to_string(),
            watermark: entry.watermark.map(|watermark| watermark.to_string()),
            files,
        })
    }
}

impl FeedFile {
    fn of(entry: &Entry, file: &File) -> Self {
        let settles = |closed: &&ClosedWindow| Some(closed.window) == file.window && closed.revision == file.revision;
        let closed = entry.closed.iter().find(settles);
        Self {
            kind: file.kind,
            path: file.path.clone(),
            format: FileFormat::of(&file.path),
            window_start: file.window.map(|window| window.start.to_string()),
            window_end: file.window.map(|window| window.end.to_string()),
            revision: file.revision,
            last: closed.is_none_or(|closed| closed.last),
            complete: closed.is_none_or(|closed| closed.complete),
            part: file.part,
            parts: file.parts,
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
        }
    }
}

/// Gives every file of the entry its final name, then writes the feed entry.
///
/// # Errors
/// [`LogError::Data`] if a staged file is gone or damaged, or a final name is taken by other bytes.
pub async fn publish(store: &Store, committed: &Committed) -> Result<Published, Error> {
    let entry = &committed.stored.entry;
    let next = entry.partitions.iter().map(|(&partition, claim)| (partition, claim.to)).collect();
    let Some(feed) = Feed::of(entry) else { return Ok(Published { next }) };
    let feed = serde_json::to_vec(&feed).map_err(|error| LogError::Internal(format!("cannot encode feed: {error}")))?;
    let key = layout::feed(entry.sequence);
    // A found feed entry means that all of this was done before: the feed comes last.
    if committed.payload.is_empty() && store.size(&key).await?.is_some() {
        return Ok(Published { next });
    }
    let files = entry.files.iter().map(|file| publish_file(store, file, committed.payload.get(&file.path)));
    let largest = entry.files.iter().map(|file| file.bytes).max().unwrap_or_default().max(1);
    let at_once = usize::try_from((IN_FLIGHT / largest).clamp(1, CONCURRENT)).unwrap_or(1);
    futures::stream::iter(files).buffer_unordered(at_once).try_collect::<()>().await?;
    match store.create(&key, feed.into()).await? {
        Created::Ours => Ok(Published { next }),
        Created::Theirs(_) => Err(taken(store, &key)),
    }
}

async fn publish_file(store: &Store, file: &File, payload: Option<&Bytes>) -> Result<(), Error> {
    let bytes = match payload {
        Some(bytes) => bytes.clone(),
        None => match store.get(&file.stage).await? {
            Some(bytes) if digest(&bytes) == file.sha256 => bytes,
            Some(_) => {
                return Err(LogError::Data(format!("sink {store}: {} is not what was staged", file.stage)).into());
            }
            // The stage goes only after the file is there.
            None => match store.get(&file.path).await? {
                Some(bytes) if digest(&bytes) == file.sha256 => return Ok(()),
                _ => {
                    return Err(LogError::Data(format!("sink {store}: {} and its stage are missing", file.path)).into());
                }
            },
        },
    };
    match store.create(&file.path, bytes).await? {
        Created::Ours => Ok(()),
        Created::Theirs(_) => Err(taken(store, &file.path)),
    }
}

fn taken(store: &Store, key: &str) -> Error {
    let text =
        format!("sink {store}: {key} holds bytes that this log did not write; move that file away and start again");
    LogError::Data(text).into()
}

/// Deletes what the entry before needed and `entry`, now published, does not: its own stage, and state that is merged
/// into newer state.
pub async fn sweep(store: &Store, before: Option<&Entry>, entry: &Entry) {
    let needed = state_objects(entry);
    let mut unneeded: Vec<String> = entry.files.iter().map(|file| file.stage.clone()).collect();
    unneeded.extend(before.map(state_objects).unwrap_or_default().difference(&needed).cloned());
    if !unneeded.is_empty() {
        drop(store.delete(unneeded).await);
    }
}

/// Deletes stage and state objects that crashed or fenced writers left, and the stage of `entry`, which is published.
/// Only the writer whose own entry that is may do so: from then on nobody else's staged objects can be named.
///
/// # Errors
/// If the store refuses to list.
pub async fn sweep_leftovers(store: &Store, entry: &Entry) -> Result<(), Error> {
    let needed = state_objects(entry);
    let mut unneeded = Vec::new();
    for folder in [layout::STAGE, layout::STATE] {
        let found = store.list(folder).await?;
        unneeded.extend(
            found
                .into_iter()
                .map(|(key, _)| key)
                .filter(|key| !needed.contains(key) && made_for(key).is_some_and(|number| number <= entry.sequence)),
        );
    }
    if !unneeded.is_empty() {
        tracing::debug!(objects = unneeded.len(), "sweeping what an earlier run left");
        drop(store.delete(unneeded).await);
    }
    Ok(())
}

/// The entry that a stage or state object was made for: its name begins with that number.
#[must_use]
pub fn made_for(key: &str) -> Option<Sequence> {
    let name = key.rsplit('/').next()?;
    name.get(..20)?.parse().ok().map(Sequence)
}

/// The state objects an entry names.
#[must_use]
pub fn state_objects(entry: &Entry) -> BTreeSet<String> {
    let open = entry.windows.iter().flat_map(|open| &open.parts).flat_map(|part| &part.chunks);
    open.chain(&entry.late.chunks).chain(&entry.invalid.chunks).map(|chunk| chunk.object.clone()).collect()
}
