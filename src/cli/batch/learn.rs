//! Columns out of a topic's first records, for those who do not want to list them.
//!
//! What is learned at the first start is written beside the log, and every later start has the same columns. It is a
//! guess all the same: so the value is kept whole beside them, and what turns out to be of another type is in invalid/.

use serde::{Deserialize, Serialize};

use super::columns::{Listed, Member};
use crate::cli::check::columns::{Proposed, Seen};
use crate::cli::check::sample::{describe, sample};
use crate::cli::run::open_source;
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::error::Error;
use crate::record::Records;
use crate::sink::SinkError;
use crate::sink::layout::LEARNED;
use crate::sink::store::{Created, Store};

/// Records that are looked at.
const SAMPLE: usize = 1000;
/// Columns that a file may have in the end.
const MOST: usize = 500;
/// The version of the written form.
const FORMAT: u32 = 1;

/// The columns as they are written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    columns: Vec<Member>,
}

/// The columns that were learned at the sink's first start; else those that the topic's first records have, written
/// down if `keep` says so.
pub(super) async fn columns(pipeline: &Pipeline, keep: bool) -> Result<Listed, Error> {
    let store = match Store::open(&pipeline.sink.url, &pipeline.sink.properties, keep) {
        Ok(store) => Some(store),
        Err(_) if !keep => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(store) = &store
        && let Some(bytes) = store.get(LEARNED).await?
    {
        return read(store, &bytes);
    }
    let members = from_topic(pipeline).await?;
    let Some(store) = store.filter(|_| keep) else { return Ok(Listed { members, learned: true }) };
    let written = serde_json::to_vec(&Written { format: FORMAT, columns: members.clone() });
    let written = written.map_err(|error| SinkError::Internal(format!("cannot write {LEARNED}: {error}")))?;
    match store.create(LEARNED, written.into()).await? {
        Created::Ours => Ok(Listed { members, learned: true }),
        // Another instance was at it at the same moment: both have its columns.
        Created::Theirs(bytes) => read(&store, &bytes),
    }
}

fn read(store: &Store, bytes: &[u8]) -> Result<Listed, Error> {
    let written = serde_json::from_slice(bytes).ok().filter(|written: &Written| written.format == FORMAT);
    let damaged = || SinkError::Data(format!("sink {store}: {LEARNED} is not a list of columns of this version"));
    Ok(Listed { members: written.ok_or_else(damaged)?.columns, learned: true })
}

async fn from_topic(pipeline: &Pipeline) -> Result<Vec<Member>, Error> {
    let clock = Clock::system();
    let (mut source, name) = open_source(pipeline, clock)?;
    let topic = describe(source.as_mut(), &name).await?;
    let batches = sample(source.as_mut(), &topic, SAMPLE).await?;
    let instead = "list them with --columns, or keep values whole with --value json";
    let read: usize = batches.iter().map(Records::len).sum();
    if read == 0 {
        let text = format!("topic {name} has no records to learn columns from; start again when it has, or {instead}");
        return Err(Error::Usage(text));
    }
    let mut seen = Seen::default();
    batches.iter().for_each(|records| seen.take(records));
    let proposed = seen.propose(clock.now());
    if proposed.is_empty() {
        let text = format!("topic {name}: none of its first {read} records is a JSON object with members; {instead}");
        return Err(Error::Usage(text));
    }
    let beyond = proposed.len().saturating_sub(MOST);
    let members: Vec<Member> = proposed.into_iter().take(MOST).map(member).collect();
    let list = members.iter().map(|member| format!("{} {}", member.name, member.kind)).collect::<Vec<_>>();
    tracing::info!(
        "columns learned from {} records: {}; whatever else comes is in _value alone",
        seen.objects,
        list.join(", ")
    );
    if beyond > 0 {
        tracing::warn!("{beyond} more members are in _value alone: {MOST} columns are enough");
    }
    Ok(members)
}

/// Any record may lack it: what is not there is no reason to keep a record apart.
fn member(proposed: Proposed) -> Member {
    Member { name: proposed.name, path: proposed.path, kind: proposed.kind, required: false }
}
