//! What must hold, whatever happens: each a function with a name, looked at after every request to the store, every
//! entry, every word to Kafka, every end of an instance, and when a world is over.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use windrow::error::Kind;
use windrow::log::entry::{Chunk, Entry, FileKind};
use windrow::log::publish::{Feed, state_objects};
use windrow::sink::layout;
use windrow::sink::state::digest;

use crate::broker::Rec;
use crate::files::Content;
use crate::world::World;

/// Something that can break an invariant has just happened.
pub enum Moment<'a> {
    Wrote {
        key: &'a str,
        bytes: &'a Bytes,
        before: Option<&'a Bytes>,
    },
    Deleted {
        key: &'a str,
    },
    /// The newest entry of the log is new.
    Logged {
        who: usize,
        bytes: &'a Bytes,
    },
    Told {
        offsets: &'a BTreeMap<i32, i64>,
    },
    Failed {
        kind: Kind,
        text: &'a str,
        stopping: bool,
    },
    Over {
        done: bool,
        why: &'a str,
    },
}

type Check = fn(&World, &Moment<'_>) -> Result<(), String>;

pub const INVARIANTS: [(&str, Check); 18] = [
    ("the log is a chain", log_is_a_chain),
    ("claims are contiguous and disjoint", claims_are_contiguous),
    ("watermarks never go back", watermarks_never_go_back),
    ("read = aggregated + filtered + too late + invalid", counts_are_the_oracles),
    ("every published row is the oracle's", rows_are_the_oracles),
    ("a window and revision is published once", published_once),
    ("what an entry names is there", what_is_named_is_there),
    ("nothing is deleted that is needed", nothing_needed_is_deleted),
    ("a glob is right at every moment", glob_is_right),
    ("keys are written once", keys_are_written_once),
    ("late and invalid records are kept, each once", kept_records_are_the_oracles),
    ("a window that lost nothing is complete", whole_windows_are_complete),
    ("Kafka's offsets are never ahead of what is published", kafka_is_never_ahead),
    ("a topic that was cut is not counted on", cut_topics_are_not_counted_on),
    ("an instance fails only for a reason", failures_have_a_reason),
    ("all of it comes out once faults stop", all_comes_out),
    ("nothing is missing in the end", nothing_is_missing),
    ("nothing is left behind in the end", nothing_is_left_behind),
];

/// What the checks remember.
#[derive(Debug, Default)]
pub struct Seen {
    /// By window start and revision: the entry that settled it.
    closed: BTreeMap<(i64, i32), u64>,
    /// By final key: the entry that names it, its digest.
    named: BTreeMap<String, (u64, String)>,
    /// By final key: rows of results.
    pub results: BTreeMap<String, Vec<String>>,
    /// Kept records in files, and the entry that published them.
    kept: BTreeMap<(bool, i32, i64), u64>,
    /// How many entries from the first on are published.
    published: usize,
    digest: Option<String>,
}

impl Seen {
    /// The machine died, and the entry with it: only so many are left.
    pub fn forget_newest(&mut self, left: usize) {
        let left = left as u64;
        self.closed.retain(|_, entry| *entry <= left);
        let gone: Vec<String> =
            self.named.iter().filter(|(_, named)| named.0 > left).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.named.remove(&key);
            self.results.remove(&key);
        }
        self.kept.retain(|_, entry| *entry <= left);
        self.digest = None;
    }
}

pub fn check(world: &mut World, moment: &Moment<'_>) -> Vec<(&'static str, String)> {
    let broken = INVARIANTS.iter().filter_map(|(name, check)| check(world, moment).err().map(|how| (*name, how)));
    let broken: Vec<_> = broken.collect();
    remember(world, moment);
    broken
}

fn remember(world: &mut World, moment: &Moment<'_>) {
    match moment {
        Moment::Logged { bytes, .. } => {
            let Some(entry) = world.log.last() else { return };
            let sequence = entry.sequence.0;
            for closed in &entry.closed {
                world.seen.closed.insert((closed.window.start.0, closed.revision), sequence);
            }
            for file in &entry.files {
                world.seen.named.insert(file.path.clone(), (sequence, file.sha256.clone()));
                let Some(Ok(content)) = world.staged.get(&file.stage) else { continue };
                for row in &content.kept {
                    world.seen.kept.insert((file.kind == FileKind::Late, row.partition, row.offset), sequence);
                }
                if file.window.is_some() {
                    world.seen.results.insert(file.path.clone(), content.rows.clone());
                }
            }
            world.seen.digest = Some(digest(bytes));
        }
        Moment::Told { .. } => world.seen.published = published(world),
        Moment::Failed { kind: Kind::Fenced, .. } => world.fenced += 1,
        _ => {}
    }
}

fn ensure(holds: bool, how: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(how()) }
}

/// The newest entry and the one before it, if the newest is new.
fn logged<'a>(world: &'a World, moment: &Moment<'_>) -> Option<(&'a Entry, Option<&'a Entry>)> {
    let Moment::Logged { .. } = moment else { return None };
    let newest = world.log.last()?;
    Some((newest, world.log.len().checked_sub(2).map(|before| &world.log[before])))
}

fn log_is_a_chain(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, before)) = logged(world, moment) else { return Ok(()) };
    ensure(entry.sequence.0 == world.log.len() as u64, || {
        format!("entry {} is the {}th", entry.sequence.0, world.log.len())
    })?;
    ensure(before.is_none() == entry.previous.is_none(), || "only the first entry follows none".to_owned())?;
    if let (Some(previous), Some(digest)) = (&entry.previous, &world.seen.digest) {
        ensure(previous == digest, || format!("entry {} follows other bytes than are there", entry.sequence.0))?;
    }
    if let Some(before) = before {
        let missing = before.files.iter().find(|file| !world.objects.held.contains_key(&file.path));
        ensure(missing.is_none(), || {
            format!("entry {} came before {} was published", entry.sequence.0, missing.unwrap().path)
        })?;
    }
    Ok(())
}

fn claims_are_contiguous(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, before)) = logged(world, moment) else { return Ok(()) };
    for (partition, claim) in &entry.partitions {
        let expected = before.and_then(|before| before.partitions.get(partition)).map(|before| before.to);
        let (from, to) = (claim.from, claim.to);
        ensure(from <= to, || format!("partition {partition} claims [{from}, {to})"))?;
        if let Some(expected) = expected {
            ensure(from == expected, || format!("partition {partition} claims from {from}, {expected} is next"))?;
        }
        let end =
            usize::try_from(partition.0).ok().and_then(|lane| world.broker.lanes.get(lane)).map(|lane| lane.end());
        let was_cut = world.plan.may_stop;
        ensure(was_cut || end.is_some_and(|end| to.0 <= end), || {
            format!("partition {partition} claims up to {to} of {end:?}")
        })?;
    }
    let gone = before.into_iter().flat_map(|before| before.partitions.keys());
    let gone = gone.into_iter().find(|partition| !entry.partitions.contains_key(partition));
    ensure(gone.is_none(), || format!("partition {gone:?} is forgotten"))
}

fn watermarks_never_go_back(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, Some(before))) = logged(world, moment) else { return Ok(()) };
    ensure(entry.watermark >= before.watermark, || format!("{:?} after {:?}", entry.watermark, before.watermark))?;
    for (partition, was) in &before.partitions {
        let is = entry.partitions.get(partition).and_then(|claim| claim.watermark);
        ensure(is >= was.watermark, || format!("partition {partition}: {is:?} after {:?}", was.watermark))?;
    }
    Ok(())
}

fn counts_are_the_oracles(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, before)) = logged(world, moment) else { return Ok(()) };
    let (counts, totals, truth) = (&entry.counts, &entry.totals, &world.truth);
    let kept = |counts: &windrow::log::entry::Counts| counts.too_late + counts.invalid.values().sum::<u64>();
    ensure(counts.read == counts.aggregated + counts.filtered + kept(counts), || format!("{counts:?}"))?;
    let mut sum = before.map(|before| before.totals.clone()).unwrap_or_default();
    sum.add(counts);
    ensure(sum == *totals, || format!("{totals:?} is not the sum"))?;
    let claimed: i64 = entry.partitions.values().map(|claim| claim.to.0 - claim.from.0).sum();
    ensure(claimed.unsigned_abs() == counts.read + counts.gaps, || format!("{claimed} offsets claimed: {counts:?}"))?;
    let is = [
        totals.read,
        totals.aggregated,
        totals.filtered,
        totals.late,
        totals.missed,
        totals.too_late,
        totals.invalid(),
    ];
    let (late, invalid) = (truth.too_late.len() as u64, truth.invalid.len() as u64);
    let should = [truth.read, truth.aggregated, truth.filtered, truth.late, truth.missed, late, invalid];
    ensure(is == should, || {
        format!(
            "entry {}: read, aggregated, filtered, late, missed, too late, invalid: {is:?}, should be {should:?}",
            entry.sequence.0
        )
    })
}

/// What a staged file of the newest entry holds; `None` if it is not there.
fn content<'a>(world: &'a World, stage: &str) -> Result<Option<&'a Content>, String> {
    world.staged.get(stage).map(Result::as_ref).transpose().map_err(Clone::clone)
}

fn rows_are_the_oracles(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, _)) = logged(world, moment) else { return Ok(()) };
    for closed in &entry.closed {
        let key = (closed.window.start.0, closed.revision);
        let mut rows = Vec::new();
        let mut named = false;
        for file in
            entry.files.iter().filter(|file| file.window == Some(closed.window) && file.revision == closed.revision)
        {
            let Some(content) = content(world, &file.stage)? else { continue };
            rows.extend_from_slice(&content.rows);
            named = true;
        }
        let expected = world.truth.results.get(&key);
        let holds = expected.map_or(!named, |expected| named && *expected == rows);
        ensure(holds, || {
            format!("entry {}: window {key:?}: {rows:?} (file: {named}), should be {expected:?}", entry.sequence.0)
        })?;
    }
    Ok(())
}

fn published_once(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, _)) = logged(world, moment) else { return Ok(()) };
    let mut here = BTreeSet::new();
    for closed in &entry.closed {
        let key = (closed.window.start.0, closed.revision);
        ensure(here.insert(key), || format!("window {key:?} twice in entry {}", entry.sequence.0))?;
        let before = world.seen.closed.get(&key);
        ensure(before.is_none(), || format!("window {key:?} in entry {} and {before:?}", entry.sequence.0))?;
        let again = closed.revision > 0
            && !here.contains(&(key.0, closed.revision - 1))
            && !world.seen.closed.contains_key(&(key.0, closed.revision - 1));
        ensure(!again, || format!("window {key:?} has no revision before"))?;
    }
    let mut paths = BTreeSet::new();
    for file in &entry.files {
        let new = paths.insert(&file.path) && !world.seen.named.contains_key(&file.path);
        ensure(new, || format!("{} is named again by entry {}", file.path, entry.sequence.0))?;
    }
    Ok(())
}

fn is_there(world: &World, chunk: &Chunk) -> bool {
    let (from, to) = (usize::try_from(chunk.offset).unwrap(), usize::try_from(chunk.offset + chunk.bytes).unwrap());
    world
        .objects
        .held
        .get(&chunk.object)
        .and_then(|bytes| bytes.get(from..to))
        .is_some_and(|span| digest(span) == chunk.sha256)
}

fn what_is_named_is_there(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, _)) = logged(world, moment) else { return Ok(()) };
    for file in &entry.files {
        let whole = world.objects.held.get(&file.stage).is_some_and(|bytes| digest(bytes) == file.sha256);
        ensure(whole, || format!("entry {}: {} is missing or not whole", entry.sequence.0, file.stage))?;
    }
    let open = entry.windows.iter().flat_map(|open| &open.parts).flat_map(|part| &part.chunks);
    let missing = open.chain(&entry.late.chunks).chain(&entry.invalid.chunks).find(|chunk| !is_there(world, chunk));
    ensure(missing.is_none(), || {
        format!("entry {}: {:?} is missing or not whole", entry.sequence.0, missing.unwrap().object)
    })
}

fn nothing_needed_is_deleted(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Deleted { key } = *moment else { return Ok(()) };
    let free = ["_windrow/stage/", "_windrow/state/", "_windrow/probe/"];
    ensure(free.iter().any(|folder| key.starts_with(folder)), || format!("{key} was deleted"))?;
    let Some(newest) = world.log.last() else { return Ok(()) };
    ensure(!state_objects(newest).contains(key), || format!("{key} is needed by entry {}", newest.sequence.0))?;
    let staged = world.log.iter().rev().take(2).flat_map(|entry| &entry.files).find(|file| file.stage == key);
    let bare = staged.filter(|file| !world.objects.held.contains_key(&file.path));
    ensure(bare.is_none(), || format!("{key} was deleted before {} was there", bare.unwrap().path))
}

const SEEN_BY_OTHERS: [&str; 4] = [layout::DATA, layout::CORRECTIONS, layout::LATE, layout::INVALID];

fn is_in(key: &str, folder: &str) -> bool {
    key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn glob_is_right(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Wrote { key, bytes, .. } = *moment else { return Ok(()) };
    if SEEN_BY_OTHERS.iter().any(|folder| is_in(key, folder)) {
        let named = world.seen.named.get(key);
        let whole = named.is_some_and(|(_, sha)| digest(bytes) == *sha);
        return ensure(whole, || format!("{key} is there, named by {named:?}"));
    }
    if is_in(key, layout::FEED) {
        let entry = world.log.iter().find(|entry| layout::feed(entry.sequence) == key);
        let Some(entry) = entry else { return Err(format!("{key} is there without its entry")) };
        let missing = entry.files.iter().find(|file| !world.objects.held.contains_key(&file.path));
        ensure(missing.is_none(), || format!("{key} is there before {}", missing.unwrap().path))?;
        let feed: Feed = serde_json::from_slice(bytes).map_err(|error| format!("{key}: {error}"))?;
        let says: Vec<_> = feed.files.iter().map(|file| (&file.path, file.rows, file.bytes, &file.sha256)).collect();
        let should: Vec<_> = entry.files.iter().map(|file| (&file.path, file.rows, file.bytes, &file.sha256)).collect();
        return ensure(says == should, || format!("{key} tells other files than its entry"));
    }
    ensure(key.starts_with("_windrow/"), || format!("{key} is in nobody's folder"))
}

fn keys_are_written_once(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Wrote { key, bytes, before } = *moment else { return Ok(()) };
    if key.starts_with("_windrow/probe/") {
        return Ok(());
    }
    let other =
        before.is_some_and(|before| before != bytes) || world.objects.ever.get(key).is_some_and(|first| first != bytes);
    ensure(!other, || format!("{key} was written anew with other bytes"))
}

fn kept_records_are_the_oracles(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, _)) = logged(world, moment) else { return Ok(()) };
    let mut new = BTreeSet::new();
    for file in &entry.files {
        let late = match file.kind {
            FileKind::Late => true,
            FileKind::Invalid => false,
            _ => continue,
        };
        let Some(content) = content(world, &file.stage)? else { continue };
        for row in &content.kept {
            let place = (row.partition, row.offset);
            let should = if late { &world.truth.too_late } else { &world.truth.invalid };
            ensure(should.contains(&place), || format!("{place:?} should not be in {}", file.path))?;
            let key = (late, row.partition, row.offset);
            let once = new.insert(key) && !world.seen.kept.contains_key(&key);
            ensure(once, || format!("{place:?} is kept twice, again in {}", file.path))?;
            let who = usize::try_from(entry.writer.pid).unwrap();
            let taken = world
                .taken
                .records
                .get(&row.partition)
                .and_then(|records| records.iter().find(|(offset, _)| *offset == row.offset).map(|(_, rec)| *rec));
            let rec = taken.or_else(|| world.record_of(who, row.partition, row.offset));
            let same = rec.is_some_and(|rec| {
                row.value == rec.wire() && row.key.as_deref() == Some(&rec.serial.to_le_bytes()[..])
            });
            ensure(same, || format!("{place:?} is not kept as it came"))?;
        }
    }
    for (late, waiting, should) in
        [(true, &entry.late, &world.truth.too_late), (false, &entry.invalid, &world.truth.invalid)]
    {
        let waits: u64 = waiting.chunks.iter().map(|chunk| chunk.rows).sum();
        let filed = world.seen.kept.keys().chain(&new).filter(|key| key.0 == late).count() as u64;
        let should = should.len() as u64;
        ensure(waits + filed == should, || {
            format!("entry {}: {filed} in files, {waits} waiting, should be {should} (late: {late})", entry.sequence.0)
        })?;
    }
    Ok(())
}

fn whole_windows_are_complete(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Some((entry, _)) = logged(world, moment) else { return Ok(()) };
    for (partition, claim) in &entry.partitions {
        let Some((first, end)) = claim.lost else { continue };
        let start = world.broker.lanes[usize::try_from(partition.0).unwrap()].start;
        let real = world.plan.shape.accept_loss && first >= claim.from && end.0 <= start;
        ensure(real, || {
            format!("partition {partition} gives [{first}, {end}) up for lost, the topic begins at {start}")
        })?;
    }
    let lost = world.log.iter().flat_map(|entry| entry.partitions.values()).any(|claim| claim.lost.is_some());
    let late = world.log.first().into_iter().flat_map(|first| first.partitions.values()).any(|claim| claim.from.0 > 0);
    let added = entry.partitions.values().any(|claim| claim.holes.iter().any(|hole| hole.after.is_none()));
    let incomplete = entry.closed.iter().find(|closed| !closed.complete);
    ensure(lost || late || added || incomplete.is_none(), || {
        format!("entry {}: window {} lost nothing", entry.sequence.0, incomplete.unwrap().window.start)
    })
}

/// How many entries from the first on have everything they name under its final name.
fn published(world: &World) -> usize {
    let held = &world.objects.held;
    let is_published = |entry: &&Entry| {
        entry.files.iter().all(|file| held.contains_key(&file.path))
            && (entry.files.is_empty() || held.contains_key(&layout::feed(entry.sequence)))
    };
    let known = world.seen.published.min(world.log.len());
    known + world.log[known..].iter().take_while(is_published).count()
}

fn kafka_is_never_ahead(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Told { offsets } = *moment else { return Ok(()) };
    let entry = published(world).checked_sub(1).map(|newest| &world.log[newest]);
    for (&partition, &offset) in offsets {
        let claim = entry.and_then(|entry| entry.partitions.get(&windrow::record::Partition(partition)));
        let to = claim.map_or(0, |claim| claim.to.0);
        ensure(offset <= to, || format!("partition {partition}: Kafka is told {offset}, published is {to}"))?;
    }
    Ok(())
}

fn cut_topics_are_not_counted_on(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let (Some((entry, _)), Moment::Logged { who, .. }) = (logged(world, moment), moment) else { return Ok(()) };
    for (partition, claim) in &entry.partitions {
        let lane = &world.broker.lanes[usize::try_from(partition.0).unwrap()];
        if lane.cuts == 0 {
            continue;
        }
        // What was counted above the cut is either all as it was before, or all as it is now.
        let is_now = |offset: i64, rec: &Rec| lane.records.get(usize::try_from(offset).unwrap()) == Some(&Some(*rec));
        let counted = world.taken.records.get(&partition.0).map_or(&[][..], Vec::as_slice).iter();
        let old = counted.rev().find(|(offset, rec)| *offset >= lane.cut_at && !is_now(*offset, rec));
        // A topic is known by the last record counted. Where now no record has its offset, it cannot be.
        let is_gap = |offset: i64| lane.records.get(usize::try_from(offset).unwrap()) == Some(&None);
        if old.is_some_and(|(offset, _)| is_gap(*offset)) {
            continue;
        }
        let new = (claim.from.0.max(lane.cut_at)..claim.to.0)
            .find(|&offset| world.record_of(*who, partition.0, offset).is_some_and(|rec| is_now(offset, &rec)));
        ensure(old.is_none() || new.is_none(), || {
            format!("partition {partition} was cut at {}: {old:?} is counted, and now {new:?}, too", lane.cut_at)
        })?;
    }
    Ok(())
}

fn failures_have_a_reason(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Failed { kind, text, stopping } = *moment else { return Ok(()) };
    let lost = world.plan.may_stop || world.broker.lanes.iter().any(|lane| lane.start > 0);
    let explained = match kind {
        Kind::Fenced => true,
        Kind::Data => {
            lost && ["records are gone", "it was cut or made anew", "is not the one that was counted"]
                .iter()
                .any(|reason| text.contains(reason))
        }
        Kind::Unavailable | Kind::Invalid | Kind::Internal => stopping && text.starts_with("stopped before"),
    };
    ensure(explained, || format!("{kind:?}: {text}"))
}

fn all_comes_out(_: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Over { done, why } = *moment else { return Ok(()) };
    ensure(done, || why.to_owned())
}

fn nothing_is_missing(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Over { done: true, .. } = *moment else { return Ok(()) };
    for (key, rows) in &world.truth.results {
        ensure(world.seen.closed.contains_key(key), || format!("window {key:?} was never published: {rows:?}"))?;
    }
    let held = |folder: &str| world.objects.held.keys().filter(|key| is_in(key, folder)).count();
    let results = held(layout::DATA) + held(layout::CORRECTIONS);
    ensure(results == world.truth.results.len(), || {
        format!("{results} results, should be {}", world.truth.results.len())
    })?;
    let missing = world.seen.named.keys().find(|key| !world.objects.held.contains_key(*key));
    ensure(missing.is_none(), || format!("{} is not there", missing.unwrap()))?;
    for (late, should) in [(true, &world.truth.too_late), (false, &world.truth.invalid)] {
        let filed: BTreeSet<_> = world
            .seen
            .kept
            .keys()
            .filter(|key| key.0 == late)
            .map(|&(_, partition, offset)| (partition, offset))
            .collect();
        ensure(filed == *should, || format!("kept {filed:?}, should be {should:?} (late: {late})"))?;
    }
    Ok(())
}

fn nothing_is_left_behind(world: &World, moment: &Moment<'_>) -> Result<(), String> {
    let Moment::Over { done: true, .. } = *moment else { return Ok(()) };
    let Some(newest) = world.log.last().filter(|_| !world.has_late()) else { return Ok(()) };
    let needed = state_objects(newest);
    let is_left = |key: &&String| is_in(key, layout::STAGE) || (is_in(key, layout::STATE) && !needed.contains(*key));
    let left = world.objects.held.keys().find(is_left);
    ensure(left.is_none(), || format!("{} is still there", left.unwrap()))
}
