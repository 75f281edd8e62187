//! What may be deleted from a sink, and why; what may not, and why not.
//!
//! A run clears what it and crashed writers left: with each commit what that commit no longer needs, and at its start
//! everything older. What stays is what a store refused to delete, what a try-out left, and the leavings of a sink that
//! nobody runs any more. This module finds those.
//!
//! The law: only stage, state, try-outs and unfinished files may go. Of these, nothing goes that the newest entry needs,
//! nor what an entry names that is not published yet, nor what was made for an entry that is not written: its writer may
//! be slow, not dead, and name it still. Entries carry state from one to the next and never from further back, so what
//! the newest one does not name, and was made for its number or an earlier one, no later entry can name. Besides, what is
//! younger than an age bound stays: a reader may have it in hand. For try-outs and unfinished files there is nothing but that
//! bound, which is far longer than either takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::entry::Sequence;
use super::publish::{made_for, state_objects};
use super::store::{Stored, read};
use crate::error::Error;
use crate::record::Timestamp;
use crate::sink::layout;
use crate::sink::store::{Found, Store};

/// The least age bound, in microseconds: longer than the longest wait for a store's answer.
pub const LEAST_AGE: i64 = 3_600_000_000;

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The object.
    pub object: Found,
    /// Whether it may go.
    pub goes: bool,
    /// Why, or why not.
    pub reason: String,
    /// Its path on this machine's disk, where it is no object but an unfinished file.
    pub file: Option<PathBuf>,
}

/// A verdict on everything that could ever be deleted, by key.
///
/// `newest` must be the log's newest entry as read before this call. `now` is compared with the store's clock; what is
/// younger than `age` microseconds stays.
///
/// # Errors
/// If the store cannot be listed or an entry cannot be read.
pub async fn judge(store: &Store, newest: &Stored, now: Timestamp, age: i64) -> Result<Vec<Verdict>, Error> {
    let mut judge = Judge {
        store,
        newest: newest.entry.sequence,
        needed: state_objects(&newest.entry),
        bound: now.minus(age),
        names: BTreeMap::new(),
    };
    let mut verdicts = Vec::new();
    for folder in [layout::PROBE, layout::STAGE, layout::STATE] {
        for object in store.look_into(folder).await? {
            let reason = match folder {
                layout::PROBE => Ok("a try-out of the store that was broken off".to_owned()),
                layout::STAGE => judge.stage(&object.key).await?,
                _ => judge.state(&object.key),
            };
            verdicts.push(judge.verdict(object, reason, None));
        }
    }
    for (path, object) in store.unfinished()? {
        let reason = Ok("a file that its writer had not finished".to_owned());
        verdicts.push(judge.verdict(object, reason, Some(path)));
    }
    Ok(verdicts)
}

/// Deletes what may go; gives what could not be deleted, with the reason.
pub async fn delete(store: &Store, verdicts: &[Verdict]) -> Vec<String> {
    let (files, objects): (Vec<_>, Vec<_>) =
        verdicts.iter().filter(|verdict| verdict.goes).partition(|verdict| verdict.file.is_some());
    let mut failed = store.delete(objects.iter().map(|verdict| verdict.object.key.clone()).collect()).await;
    for path in files.iter().filter_map(|verdict| verdict.file.as_ref()) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                failed.push(format!("{}: {error}", path.display()));
            }
            _ => {}
        }
    }
    failed
}

/// Why an object may go, or why not.
type Reason = Result<String, String>;

struct Judge<'a> {
    store: &'a Store,
    newest: Sequence,
    /// State that the newest entry names.
    needed: BTreeSet<String>,
    /// What was written at or after this stays.
    bound: Timestamp,
    /// Of entries looked at: the staged objects they name, with final keys and sizes.
    names: BTreeMap<Sequence, BTreeMap<String, (String, u64)>>,
}

impl Judge<'_> {
    fn verdict(&self, object: Found, reason: Reason, file: Option<PathBuf>) -> Verdict {
        let reason = match reason {
            Ok(_) if object.written >= self.bound => Err("young: somebody may have it in hand".to_owned()),
            reason => reason,
        };
        let (goes, reason) = match reason {
            Ok(reason) => (true, reason),
            Err(reason) => (false, reason),
        };
        Verdict { object, goes, reason, file }
    }

    fn state(&self, key: &str) -> Reason {
        let Some(number) = made_for(key) else { return Err(strange()) };
        if self.needed.contains(key) {
            return Err(format!("entry {} needs it", self.newest.0));
        }
        self.after(number)?;
        Ok(format!("state of entry {}; the newest, {}, does not need it", number.0, self.newest.0))
    }

    async fn stage(&mut self, key: &str) -> Result<Reason, Error> {
        let Some(number) = made_for(key) else { return Ok(Err(strange())) };
        if let Err(why) = self.after(number) {
            return Ok(Err(why));
        }
        if !self.names.contains_key(&number) {
            // An entry that is gone names nothing that could be known: what was made for it stays.
            let Some(stored) = read(self.store, number).await? else {
                return Ok(Err(format!("made for entry {}, which cannot be read", number.0)));
            };
            let names = stored.entry.files.into_iter().map(|file| (file.stage, (file.path, file.bytes))).collect();
            self.names.insert(number, names);
        }
        let Some((path, bytes)) = self.names.get(&number).and_then(|names| names.get(key)) else {
            return Ok(Ok(format!("made for entry {}, which another attempt wrote", number.0)));
        };
        Ok(match self.store.size(path).await? {
            Some(found) if found == *bytes => Ok(format!("published by entry {} as {path}", number.0)),
            Some(_) => Err(format!("entry {} names it, and {path} holds something else", number.0)),
            None => Err(format!("entry {} names it, and it is not published as {path} yet", number.0)),
        })
    }

    /// What was made for an entry that is not written yet may still be named.
    fn after(&self, number: Sequence) -> Result<(), String> {
        if number > self.newest {
            return Err(format!("made for entry {}, which is not written yet", number.0));
        }
        Ok(())
    }
}

fn strange() -> String {
    "its name is none that windrow gives".to_owned()
}
