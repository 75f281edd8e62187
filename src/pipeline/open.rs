//! Beginning a run: from nothing, or from where the log stands. There is no other recovery than this.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;

use super::ahead::Ahead;
use super::turn::{Turn, wait_for_turn};
use super::{GROUPS, Options, Parts, Run, pace};
use crate::config::{OnDataLoss, SourceConfig};
use crate::engine::Engine;
use crate::error::Error;
use crate::log::entry::{Chunk, Entry, Tail, TopicId};
use crate::log::publish::{publish, sweep_leftovers};
use crate::log::store::Stored;
use crate::log::{self, LogError};
use crate::query::Keeps;
use crate::record::{Offset, Partition};
use crate::sink::probe::probe;
use crate::sink::stage::{Desk, Ending, Identity, stage};
use crate::sink::state;
use crate::source::{Bounds, SourceError, Start, Topic};

impl Run {
    pub(super) async fn open(mut parts: Parts, options: Options) -> Result<Self, Error> {
        parts.observer.begins("trying the sink");
        probe(&parts.store, &parts.instance.writer().id).await?;
        parts.observer.begins("waiting for its turn: another instance may be writing to the sink");
        let turn = Turn { waits: !options.once, joins: parts.member.is_some() };
        let newest = wait_for_turn(&parts.store, &parts.pipeline, &parts.instance, &parts.clock, turn).await?;
        parts.observer.begins("asking the source for the topic");
        let topic = parts.source.describe().await?;
        parts.observer.begins("restoring open windows from the log");
        let identity = Identity {
            pipeline: parts.pipeline.name.clone(),
            fingerprint: parts.pipeline.fingerprint(),
            writer: parts.instance.writer().clone(),
            topic: TopicId {
                name: topic.name.clone(),
                cluster: topic.cluster.clone(),
                id: topic.id.clone(),
                files: topic.files.clone(),
            },
        };
        if let Some(member) = parts.member.take() {
            return Self::join(parts, member, identity, newest, &topic).await;
        }
        let engine = match &newest {
            Some(stored) => match resume(&mut parts, stored, &topic).await {
                Ok(engine) => engine,
                Err(error) => return Err(log::overtaken(&parts.store, Some(stored), error).await?),
            },
            None => begin(&mut parts, &topic).await?,
        };
        let engine = engine.bounded(usize::try_from(parts.pipeline.memory / GROUPS).unwrap_or(usize::MAX));
        let known = newest.as_ref().map(|stored| known_records(&stored.entry, &topic)).unwrap_or_default();
        let began: BTreeMap<Partition, Offset> = engine.positions().collect();

        // The first entry of a run says where it begins; with it, whoever wrote before can write no more.
        let mut engine = engine;
        let now = parts.clock.now();
        let cut = engine.cut()?;
        let Parts { pipeline, query, store, .. } = &parts;
        let desk = Desk { store, pipeline, identity: &identity, query };
        let staged = match stage(desk, newest.as_ref(), cut, Ending::GOES_ON, now).await {
            Ok(staged) => staged,
            Err(error) => return Err(log::overtaken(store, newest.as_ref(), error).await?),
        };
        let committed = log::commit(store, newest.as_ref(), staged).await?;
        publish(store, &committed).await?;
        engine.committed(&committed.stored().entry);
        let newest = committed.stored().clone();
        sweep_leftovers(store, &newest.entry).await?;
        store.sweep_unfinished();

        let from = began.iter().map(|(&partition, &next)| {
            let seen_again = known.get(&partition).map(|tail: &Tail| tail.offset);
            (partition, seen_again.unwrap_or(next))
        });
        parts.source.assign(&from.collect()).await?;
        parts.observer.opened(&newest.entry);
        let ends = bounds_of(&topic);
        Ok(Self { known, newest_ends: ends.clone(), ends, began, ..Self::at(parts, identity, engine, newest) })
    }

    /// A run that stands on this entry and has read nothing.
    pub(super) fn at(parts: Parts, identity: Identity, engine: Engine, newest: Stored) -> Self {
        Self {
            committed_at: parts.clock.now(),
            stored: pace::stored(&newest.entry),
            parts,
            identity,
            engine,
            newest,
            shared: None,
            known: BTreeMap::new(),
            newest_ends: BTreeMap::new(),
            ends: BTreeMap::new(),
            began: BTreeMap::new(),
            waiting: None,
            shown_at: None,
            paused: BTreeSet::new(),
            paced_at: None,
            ahead: Ahead::default(),
            unlooked: 0,
            cost: 0,
        }
    }
}

/// A run over a sink that has no log yet.
pub(super) async fn begin(parts: &mut Parts, topic: &Topic) -> Result<Engine, Error> {
    let start = match &parts.pipeline.source {
        SourceConfig::Kafka(kafka) => kafka.start,
        SourceConfig::File(_) => Start::Earliest,
    };
    let starts = parts.source.resolve(start).await?;
    let mut engine = Engine::new(parts.pipeline.window.clone(), parts.query.clone());
    for (partition, from) in starts {
        let whole = topic.partitions.get(&partition).is_some_and(|bounds| is_whole(parts, *bounds, from));
        engine.add_partition(partition, from, whole);
    }
    Ok(engine)
}

/// Whether no record of the partition ever came before `from`.
fn is_whole(parts: &Parts, bounds: Bounds, from: Offset) -> bool {
    let first = match parts.pipeline.source {
        SourceConfig::Kafka(_) => Offset(0),
        SourceConfig::File(_) => bounds.start,
    };
    from == first
}

/// A run that goes on where the log stands.
async fn resume(parts: &mut Parts, stored: &Stored, topic: &Topic) -> Result<Engine, Error> {
    let entry = &stored.entry;
    same_topic(entry, topic)?;
    let published = publish(&parts.store, &log::recover(stored.clone())).await?;
    let mut pieces = load_groups(parts, entry, |_| true).await?;
    let load = |chunk: &Chunk| pieces.remove(&(chunk.object.clone(), chunk.offset)).unwrap_or_default();
    let mut engine = Engine::restore(parts.pipeline.window.clone(), parts.query.clone(), entry, load)?;
    take_bounds(&mut engine, parts, entry, topic, topic.partitions.iter())?;
    parts.source.commit(&published);
    Ok(engine)
}

/// By object and place: the groups of partitions that `is_wanted`, as far as they are held in memory.
pub(super) async fn load_groups(
    parts: &Parts,
    entry: &Entry,
    is_wanted: impl Fn(Partition) -> bool,
) -> Result<BTreeMap<(String, u64), Vec<RecordBatch>>, Error> {
    let mut pieces = BTreeMap::new();
    if parts.query.keeps() == Keeps::Rows {
        return Ok(pieces);
    }
    let wanted = entry.windows.iter().flat_map(|open| &open.parts).filter(|part| is_wanted(part.partition));
    for chunk in wanted.flat_map(|part| &part.chunks).filter(|chunk| chunk.run.is_none()) {
        pieces.insert((chunk.object.clone(), chunk.offset), state::read(&parts.store, chunk).await?);
    }
    Ok(pieces)
}

/// Goes on with these partitions of the topic, in so far as it still holds what comes next; begins those that are new.
pub(super) fn take_bounds<'a>(
    engine: &mut Engine,
    parts: &Parts,
    entry: &Entry,
    topic: &Topic,
    partitions: impl Iterator<Item = (&'a Partition, &'a Bounds)>,
) -> Result<(), Error> {
    for (&partition, bounds) in partitions {
        match entry.partitions.get(&partition) {
            Some(claim) => {
                if let Some(start) = check_bounds(topic, partition, claim.to, *bounds, parts.pipeline.on_data_loss)? {
                    engine.accept_loss(partition, start);
                }
            }
            None => engine.add_partition(partition, bounds.start, is_whole(parts, *bounds, bounds.start)),
        }
    }
    Ok(())
}

/// Where partitions end.
pub(super) fn bounds_of(topic: &Topic) -> BTreeMap<Partition, Offset> {
    topic.partitions.iter().filter_map(|(&partition, bounds)| Some((partition, bounds.end?))).collect()
}

pub(super) fn same_topic(entry: &Entry, topic: &Topic) -> Result<(), Error> {
    if entry.topic.name != topic.name {
        let text = format!("this sink was filled from {}, not {}; give each its own", entry.topic.name, topic.name);
        return Err(LogError::Invalid(text).into());
    }
    if let (Some(before), Some(now)) = (&entry.topic.cluster, &topic.cluster)
        && before != now
    {
        let text = format!(
            "topic {}: this is cluster {now}, but the log counts offsets of cluster {before}; offsets of two clusters \
             have nothing in common, so the new one needs a new sink",
            topic.name
        );
        return Err(SourceError::Data(text).into());
    }
    if let (Some(before), Some(now)) = (&entry.topic.id, &topic.id)
        && before != now
    {
        return Err(SourceError::Remade { topic: topic.name.clone(), before: before.clone(), now: now.clone() }.into());
    }
    same_files(&entry.topic.files, &topic.files)?;
    if let Some(partition) = entry.partitions.keys().find(|partition| !topic.partitions.contains_key(partition)) {
        let text = format!(
            "topic {} no longer has partition {partition}; it was deleted and made anew, which needs a new sink",
            topic.name
        );
        return Err(SourceError::Data(text).into());
    }
    Ok(())
}

/// Checks that files which came since come after the others by name: a partition is a file's place among them.
fn same_files(before: &[String], now: &[String]) -> Result<(), Error> {
    // The log of a single file does not name it.
    let Some(place) = before.iter().zip(now).position(|(before, now)| before != now) else {
        return match before.get(now.len().max(1)) {
            Some(gone) if now.len() < before.len() => {
                Err(SourceError::Data(format!("file {gone} was read and is gone; start anew with a new sink")).into())
            }
            _ => Ok(()),
        };
    };
    let (before, now) = (&before[place], &now[place]);
    let text = if now < before {
        format!(
            "file {now} comes before {before}, which was read already; a new file is taken up if its name comes after \
             those of all others; for this one start anew with a new sink"
        )
    } else {
        format!("file {before} was read and is gone; start anew with a new sink")
    };
    Err(SourceError::Data(text).into())
}

/// Checks that the topic still holds what comes next; gives the offset to go on at if a loss is accepted.
fn check_bounds(
    topic: &Topic,
    partition: Partition,
    next: Offset,
    bounds: Bounds,
    on_data_loss: OnDataLoss,
) -> Result<Option<Offset>, Error> {
    let name = &topic.name;
    if let Some(end) = bounds.end.filter(|&end| end < next) {
        let text = format!(
            "topic {name} partition {partition}: offset {next} comes next, but the topic ends at {end}; it was cut or \
             made anew, so the counted records are no longer those of the topic; start anew with a new sink"
        );
        return Err(SourceError::Data(text).into());
    }
    if bounds.start <= next {
        return Ok(None);
    }
    let missing = bounds.start.0 - next.0;
    if on_data_loss == OnDataLoss::Continue {
        tracing::warn!(partition = partition.0, missing, "records are gone from the topic; going on without them");
        return Ok(Some(bounds.start));
    }
    let text = format!(
        "topic {name} partition {partition}: {missing} records are gone: offset {next} comes next, the topic begins at \
         {}; to go on without them set on_data_loss = \"continue\" in [source]",
        bounds.start
    );
    Err(SourceError::Data(text).into())
}

/// The last record counted of each partition, where the topic may still have it.
pub(super) fn known_records(entry: &Entry, topic: &Topic) -> BTreeMap<Partition, Tail> {
    let tails = entry.partitions.iter().filter_map(|(&partition, claim)| Some((partition, claim.tail.clone()?)));
    tails
        .filter(|(partition, tail)| topic.partitions.get(partition).is_some_and(|bounds| bounds.start <= tail.offset))
        .collect()
}
