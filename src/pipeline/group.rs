//! Several instances, one pipeline: each reads some of the partitions, and the log is all that they share.
//!
//! Before each commit an instance takes in what the others have written since its last look; if one of them gets the number
//! that it wanted, it takes that in, too, and tries the next. What is in memory goes on as long as its claims stand. If
//! they do not, it is dropped, and read again from where the log stands: there is no other way back than that of a start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::open::{begin, bounds_of, known_records, load_groups, same_topic, take_bounds};
use super::turn::belongs;
use super::{BREATH, GROUPS, Parts, Run, pace};
use crate::engine::cut::Cut;
use crate::engine::{Engine, Folded};
use crate::error::{Error, Kind};
use crate::log::entry::Held;
use crate::log::publish::{publish, sweep, sweep_leftovers};
use crate::log::store::{Stored, read};
use crate::log::{self, Attempt, LogError};
use crate::record::{Partition, Timestamp};
use crate::sink::layout;
use crate::sink::stage::{Desk, Ending, Identity, stage};
use crate::source::member::{Change, Member};
use crate::source::{SourceError, Topic};

/// Between two looks at what the others have written, in microseconds.
const FOLLOW: i64 = 5_000_000;
/// How long an instance leaves a partition alone that another one has taken from it, though the group gives it to this
/// one, in microseconds: one of the two is about to learn better.
const REGAIN: i64 = 3_000_000;
/// How many windows are settled by a commit, about, at most.
const MOST: usize = 256;
/// How long the last commit before partitions are let go may take.
const FAREWELL: Duration = Duration::from_secs(15);

/// What a run of a group knows besides.
pub(super) struct Shared {
    pub(super) member: Box<dyn Member>,
    /// What the group has given this instance to read.
    given: BTreeSet<Partition>,
    /// What it gives up with its next commit.
    leaving: BTreeSet<Partition>,
    /// When another instance was last found to have taken a partition.
    lost_at: Option<Timestamp>,
    followed_at: Timestamp,
    /// Whether what crashed writers left has been swept.
    swept: bool,
}

impl Shared {
    pub(super) fn new(member: Box<dyn Member>, now: Timestamp) -> Self {
        let (given, leaving) = (BTreeSet::new(), BTreeSet::new());
        Self { member, given, leaving, lost_at: None, followed_at: now, swept: false }
    }
}

/// The next change in the group; never one where there is none.
pub(super) async fn next_change(shared: &mut Option<Shared>) -> Result<Change, SourceError> {
    match shared {
        Some(shared) => shared.member.next().await,
        None => std::future::pending().await,
    }
}

impl Run {
    /// Joins the instances that write to a sink, or is the first of them. It reads nothing before the group says what.
    pub(super) async fn join(
        mut parts: Parts,
        member: Box<dyn Member>,
        identity: Identity,
        newest: Option<Stored>,
        topic: &Topic,
    ) -> Result<Self, Error> {
        let newest = match newest {
            Some(stored) => stored,
            None => found(&mut parts, &identity, topic).await?,
        };
        belongs(&parts.store, &parts.pipeline, &newest)?;
        same_topic(&newest.entry, topic)?;
        let shared = Shared::new(member, parts.clock.now());
        let engine = Engine::new(parts.pipeline.window.clone(), parts.query.clone());
        let mut run = Self { shared: Some(shared), ..Self::at(parts, identity, engine, newest) };
        run.go_on().await?;
        run.rebuild(BTreeSet::new()).await?;
        run.parts.observer.opened(&run.newest.entry);
        Ok(run)
    }

    /// Goes to the newest entry, and finishes what its writer may have left undone.
    async fn go_on(&mut self) -> Result<(), Error> {
        loop {
            while let Some(next) = read(&self.parts.store, self.newest.entry.sequence.next()).await? {
                self.check(&next)?;
                self.newest = next;
            }
            self.parts.store.sync(layout::LOG)?;
            match publish(&self.parts.store, &log::recover(self.newest.clone())).await {
                Ok(_) => return Ok(()),
                Err(error) => self.overtaken(error).await?,
            }
        }
    }

    fn own(&self) -> BTreeSet<Partition> {
        self.engine.positions().map(|(partition, _)| partition).collect()
    }

    /// Takes up or lets go what the group says.
    pub(super) async fn change(&mut self, change: Change) -> Result<(), Error> {
        let Some(shared) = &mut self.shared else { return Ok(()) };
        match change {
            Change::Gained(partitions) => {
                tracing::info!(partitions = shown(&partitions), "the group gives partitions to this instance");
                shared.given.extend(partitions);
                self.settle().await
            }
            Change::Leaving(partitions) => {
                tracing::info!(partitions = shown(&partitions), "the group takes partitions from this instance");
                shared.given.retain(|partition| !partitions.contains(partition));
                self.leave(&partitions).await
            }
        }
    }

    /// Reads what the group gives, from where the log stands.
    async fn settle(&mut self) -> Result<(), Error> {
        if self.engine.is_dirty() {
            self.commit_shared(Ending::GOES_ON).await?;
        } else {
            self.keep_up().await?;
        }
        let Some(shared) = &self.shared else { return Ok(()) };
        let given = shared.given.clone();
        if given != self.own() {
            self.rebuild(given).await?;
            self.commit_shared(Ending::GOES_ON).await?;
        }
        Ok(())
    }

    /// Commits what was read of these partitions, if that can be done in time, and reads them no more.
    async fn leave(&mut self, partitions: &BTreeSet<Partition>) -> Result<(), Error> {
        let own = self.own();
        let gone: BTreeSet<Partition> = own.intersection(partitions).copied().collect();
        let mut committed = Ok(());
        if !gone.is_empty() {
            if let Some(shared) = &mut self.shared {
                shared.leaving.clone_from(&gone);
            }
            let clock = self.parts.clock;
            committed = tokio::select! {
                biased;
                committed = self.commit_shared(Ending::GOES_ON) => committed,
                () = clock.sleep(FAREWELL) => {
                    tracing::warn!("partitions are let go without a last commit: the sink is slow or away");
                    Ok(())
                }
            };
        }
        let Some(shared) = &mut self.shared else { return Ok(()) };
        shared.leaving.clear();
        let rest: BTreeSet<Partition> = own.difference(&gone).copied().collect();
        let nothing = gone.is_empty();
        shared.member.let_go();
        committed?;
        if nothing {
            return Ok(());
        }
        // A commit that was broken off may be in the log all the same: the log is where this goes on.
        self.go_on().await?;
        let rest = rest.into_iter().filter(|partition| self.holds(*partition)).collect();
        self.rebuild(rest).await
    }

    fn holds(&self, partition: Partition) -> bool {
        let claim = self.newest.entry.partitions.get(&partition);
        claim.and_then(|claim| claim.held.as_ref()).is_some_and(|held| held.writer == self.identity.writer.id)
    }

    /// What there is to do for the others, from time to time; and this instance's own commits.
    pub(super) async fn share(&mut self, now: Timestamp) -> Result<(), Error> {
        let Some(shared) = &mut self.shared else { return Ok(()) };
        shared.member.alive();
        let since = |then: Timestamp| now.0.saturating_sub(then.0);
        if since(shared.followed_at) >= FOLLOW {
            self.keep_up().await?;
            self.engine.advance(now);
        }
        let Some(shared) = &self.shared else { return Ok(()) };
        if shared.given.iter().any(|&partition| !self.engine.owns(partition))
            && shared.lost_at.is_none_or(|lost| since(lost) >= REGAIN)
        {
            self.settle().await?;
        }
        let idle = self.engine.positions().next().is_none() && !self.engine.is_due();
        let pause = BREATH.max(self.cost.saturating_mul(4));
        let interval = self.parts.pipeline.sink.commit_interval;
        let word = (self.engine.is_waited_for() && since(self.committed_at) >= pause)
            || (self.engine.has_word() && since(self.committed_at) >= interval);
        if !idle && (word || self.wants_commit(now)) {
            self.commit_shared(Ending::GOES_ON).await?;
        }
        Ok(())
    }

    fn check(&self, theirs: &Stored) -> Result<(), Error> {
        let entry = &theirs.entry;
        if !entry.shared {
            return Err(log::taken_over(theirs).into());
        }
        if entry.fingerprint != self.identity.fingerprint || entry.pipeline != self.identity.pipeline {
            let text = format!(
                "entry {} of this sink was written by process {} on {} for another query, columns or windows; start all \
                 instances with the same pipeline file",
                entry.sequence.0, entry.writer.pid, entry.writer.host
            );
            return Err(LogError::Fenced(text).into());
        }
        Ok(())
    }

    /// Takes in what others have written.
    async fn keep_up(&mut self) -> Result<(), Error> {
        let Some(shared) = &mut self.shared else { return Ok(()) };
        shared.followed_at = self.parts.clock.now();
        let before = self.newest.entry.sequence;
        let mut stands = true;
        let mut own = self.own();
        while let Some(next) = read(&self.parts.store, self.newest.entry.sequence.next()).await? {
            self.check(&next)?;
            if stands && let Folded::Lost(lost) = self.engine.fold(&next.entry) {
                stands = false;
                self.forgo(&mut own, &lost);
            }
            self.newest = next;
        }
        if self.newest.entry.sequence != before {
            self.stored = pace::stored(&self.newest.entry);
            // Of a local disk, what was read may not be there after a power cut; what follows it must not be either.
            self.parts.store.sync(layout::LOG)?;
            // What its writer may have left undone comes first: nothing follows an entry that is not published.
            if let Err(error) = publish(&self.parts.store, &log::recover(self.newest.clone())).await {
                self.overtaken(error).await?;
            }
        }
        if !stands {
            tracing::info!("what was read since the last commit is read again: another instance's entry says so");
            self.rebuild(own).await?;
        }
        Ok(())
    }

    fn forgo(&mut self, own: &mut BTreeSet<Partition>, lost: &BTreeSet<Partition>) {
        let now = self.parts.clock.now();
        if let Some(shared) = self.shared.as_mut().filter(|_| !lost.is_empty()) {
            tracing::info!(partitions = shown(lost), "another instance reads these now");
            shared.lost_at = Some(now);
            own.retain(|partition| !lost.contains(partition));
        }
    }

    /// Whether the log has moved on, so that what failed may have failed for want of something that is needed no more.
    ///
    /// # Errors
    /// The failure itself, if it has not.
    async fn overtaken(&self, failed: Error) -> Result<(), Error> {
        if failed.kind() == Kind::Data && read(&self.parts.store, self.newest.entry.sequence.next()).await?.is_some() {
            return Ok(());
        }
        Err(failed)
    }

    /// Drops what is in memory, and goes on with these partitions from where the log stands.
    async fn rebuild(&mut self, own: BTreeSet<Partition>) -> Result<(), Error> {
        let topic = self.parts.source.describe().await?;
        let engine = loop {
            match self.restored(&own).await {
                Ok(engine) => break engine,
                Err(error) => self.overtaken(error).await?,
            }
            self.go_on().await?;
        };
        self.engine = engine;
        let bounds = topic.partitions.iter().filter(|(partition, _)| own.contains(partition));
        take_bounds(&mut self.engine, &self.parts, &self.newest.entry, &topic, bounds)?;
        self.known = known_records(&self.newest.entry, &topic);
        self.known.retain(|partition, _| own.contains(partition));
        self.ends = bounds_of(&topic);
        self.ends.retain(|partition, _| own.contains(partition));
        self.newest_ends = self.ends.clone();
        self.began = self.engine.positions().collect();
        self.paused = BTreeSet::new();
        let from: BTreeMap<_, _> = self
            .engine
            .positions()
            .map(|(partition, next)| (partition, self.known.get(&partition).map_or(next, |tail| tail.offset)))
            .collect();
        self.parts.source.reassign(&from).await?;
        Ok(())
    }

    async fn restored(&self, own: &BTreeSet<Partition>) -> Result<Engine, Error> {
        let Self { parts, newest, identity, .. } = self;
        let mut pieces = load_groups(parts, &newest.entry, |partition| own.contains(&partition)).await?;
        let load = |chunk: &log::entry::Chunk| pieces.remove(&(chunk.object.clone(), chunk.offset)).unwrap_or_default();
        let (window, query) = (parts.pipeline.window.clone(), parts.query.clone());
        let engine = Engine::restore_shared(window, query, &newest.entry, own, &identity.writer.id, load)?;
        Ok(engine.bounded(usize::try_from(parts.pipeline.memory / GROUPS).unwrap_or(usize::MAX)))
    }

    /// Says in the claims who reads what.
    fn sign(&self, cut: &mut Cut, now: Timestamp) {
        let Some(shared) = &self.shared else { return };
        for (&partition, claim) in cut.claims.iter_mut().filter(|(partition, _)| self.engine.owns(**partition)) {
            let stays = !shared.leaving.contains(&partition);
            claim.idle &= stays;
            claim.held = stays.then(|| Held {
                writer: self.identity.writer.id.clone(),
                name: shared.member.name().to_owned(),
                at: now,
                proved: self.engine.proof_of(partition),
            });
        }
    }

    /// Commits on top of whatever the others have written meanwhile.
    pub(super) async fn commit_shared(&mut self, ending: Ending) -> Result<(), Error> {
        self.parts.source.confirm().await?;
        let started = self.parts.clock.now();
        let mut attempts = 0;
        let committed = loop {
            attempts += 1;
            self.keep_up().await?;
            let now = self.parts.clock.now();
            self.engine.advance(now);
            if ending.released
                && let Some(shared) = &mut self.shared
            {
                shared.leaving = self.engine.positions().map(|(partition, _)| partition).collect();
            }
            // What is overtaken takes less upon itself the next time.
            let mut cut = self.engine.cut_some(MOST >> (2 * attempts.min(4)))?;
            self.sign(&mut cut, now);
            let released = ending.released && cut.claims.values().all(|claim| claim.held.is_none());
            let ending = Ending { released, ..ending };
            let desk = Desk {
                store: &self.parts.store,
                pipeline: &self.parts.pipeline,
                identity: &self.identity,
                query: &self.parts.query,
            };
            let staged = match stage(desk, Some(&self.newest), cut, ending, now).await {
                Ok(staged) => staged,
                Err(error) => {
                    self.overtaken(error).await?;
                    continue;
                }
            };
            match log::try_commit(&self.parts.store, Some(&self.newest), staged).await? {
                Attempt::Done(committed) => break committed,
                Attempt::Taken { theirs, unneeded } => {
                    tracing::debug!(sequence = theirs.entry.sequence.0, "another instance has this number");
                    drop(self.parts.store.delete(unneeded).await);
                }
            }
        };
        let before = std::mem::replace(&mut self.newest, committed.stored().clone());
        let logged = self.parts.clock.now();
        self.engine.committed(&self.newest.entry);
        let published = publish(&self.parts.store, &committed).await?;
        sweep(&self.parts.store, Some(&before.entry), &self.newest.entry).await;
        let own = self.own();
        let Some(shared) = &mut self.shared else { return Ok(()) };
        shared.member.commit(&published, &own);
        if !std::mem::replace(&mut shared.swept, true) {
            sweep_leftovers(&self.parts.store, &self.newest.entry).await?;
        }
        self.has_committed(started, logged, attempts);
        Ok(())
    }
}

/// The first entry of a sink's log: where each partition begins. Nobody reads any yet.
async fn found(parts: &mut Parts, identity: &Identity, topic: &Topic) -> Result<Stored, Error> {
    let mut engine = begin(parts, topic).await?;
    let cut = Cut { shared: true, ..engine.cut()? };
    let Parts { pipeline, query, store, clock, .. } = &*parts;
    let desk = Desk { store, pipeline, identity, query };
    let staged = stage(desk, None, cut, Ending::GOES_ON, clock.now()).await?;
    Ok(match log::try_commit(store, None, staged).await? {
        Attempt::Done(committed) => committed.stored().clone(),
        Attempt::Taken { theirs, .. } => *theirs,
    })
}

/// Partitions as people read them.
fn shown(partitions: &BTreeSet<Partition>) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
