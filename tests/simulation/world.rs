//! What there is in a world, and what a request to its store does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use windrow::log::entry::{Entry, File, Writer};
use windrow::record::Partition;

use crate::broker::{Broker, Rec};
use crate::chance::Chance;
use crate::faults::{Fate, KINDS};
use crate::files::{self, Content};
use crate::group::Coordinator;
use crate::invariants::{self, Moment};
use crate::oracle::{Taken, Truth};
use crate::plan::{Action, BEGIN, Plan};
use crate::planted::Plant;
use crate::store::{Answer, Objects, Request};
use crate::time::{self, SECOND};
use crate::trace::Trace;

pub type Shared = Arc<Mutex<World>>;

/// One start of the pipeline.
#[derive(Debug)]
pub struct Incarnation {
    pub host: u64,
    pub alive: bool,
    pub doomed: bool,
    pub freeze: Option<i64>,
    pub stopping: bool,
}

pub struct World {
    pub plan: Plan,
    pub chance: Chance,
    pub broker: Broker,
    pub group: Coordinator,
    pub objects: Objects,
    pub log: Vec<Entry>,
    pub taken: Taken,
    pub truth: Truth,
    /// By key: the files that the newest entry names, read.
    pub staged: BTreeMap<String, Result<Content, String>>,
    /// Records handed to an instance, where the topic may change below it.
    pub delivered: BTreeMap<(usize, i32, i64), Rec>,
    pub seen: invariants::Seen,
    pub plant: Option<Plant>,
    pub trace: Trace,
    pub violations: Vec<(&'static str, String)>,
    pub instances: Vec<Incarnation>,
    pub calm: bool,
    pub leaving: bool,
    pub outage: bool,
    pub requests: u64,
    pub fates: [u64; 11],
    pub late: BTreeMap<(i64, u64), (usize, Request)>,
    pub unanswered: BTreeSet<String>,
    pub script: BTreeMap<(i64, u64), Action>,
    pub count: u64,
    pub fenced: u64,
    pub records: u64,
}

impl World {
    pub fn new(plan: Plan, verbose: bool) -> Self {
        let mut script = BTreeMap::new();
        for (count, (at, action)) in (0u64..).zip(plan.script.iter().cloned()) {
            script.insert((at, count), action);
        }
        let mut broker = Broker::default();
        broker.lanes.resize_with(plan.lanes, Default::default);
        Self {
            chance: Chance::new(plan.seed),
            broker,
            group: Coordinator::default(),
            objects: Objects::default(),
            log: Vec::new(),
            taken: Taken::default(),
            truth: Truth::default(),
            staged: BTreeMap::new(),
            delivered: BTreeMap::new(),
            seen: invariants::Seen::default(),
            plant: plan.plant,
            trace: Trace::new(verbose),
            violations: Vec::new(),
            instances: Vec::new(),
            calm: false,
            leaving: false,
            outage: false,
            requests: 0,
            fates: [0; 11],
            late: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            count: u64::try_from(script.len()).unwrap(),
            script,
            fenced: 0,
            records: 0,
            plan,
        }
    }

    pub fn say(&mut self, text: impl FnOnce() -> String) {
        self.trace.say(time::now(), text);
    }

    pub fn check(&mut self, moment: &Moment<'_>) {
        let found = invariants::check(self, moment);
        for (name, how) in found {
            self.trace.say(time::now(), || format!("BROKEN: {name}: {how}"));
            self.violations.push((name, how));
        }
    }

    pub fn soon(&mut self, span: i64, action: Action) {
        self.count += 1;
        self.script.insert((time::now() + span, self.count), action);
    }

    pub fn deliver(&mut self, who: usize, partition: i32, offset: i64, rec: Rec) {
        if self.plan.may_stop {
            self.delivered.insert((who, partition, offset), rec);
        }
    }

    /// The record at an offset, as the instance that claims it has read it.
    pub fn record_of(&self, who: usize, partition: i32, offset: i64) -> Option<Rec> {
        if self.plan.may_stop {
            return self.delivered.get(&(who, partition, offset)).copied();
        }
        let lane = self.broker.lanes.get(usize::try_from(partition).ok()?)?;
        *lane.records.get(usize::try_from(offset).ok()?)?
    }

    /// Kafka is told how far all is published.
    pub fn tell(&mut self, who: usize, offsets: &BTreeMap<i32, i64>) {
        self.say(|| format!("{who} tells Kafka {offsets:?}"));
        self.check(&Moment::Told { offsets });
        self.broker.told.extend(offsets);
    }

    pub fn doom(&mut self, who: usize) {
        self.instances[who].doomed = true;
    }

    pub fn freeze(&mut self, who: usize, span: i64) {
        self.instances[who].freeze = Some(time::now() + span);
    }

    /// Decides what becomes of a request, and how long it is under way and its answer.
    pub fn judge(&mut self, who: usize, request: &Request) -> (Fate, i64, i64) {
        self.requests += 1;
        let number = self.requests;
        let probing = request.key().starts_with("_windrow/probe");
        let fate = if self.calm {
            Fate::Done
        } else if self.outage {
            Fate::Before
        } else {
            self.plan.faults.judge(number, request.verb(), probing, &mut self.chance)
        };
        self.fates[fate.kind()] += 1;
        let latency = self.plan.faults.latency;
        let (outward, back) = (self.chance.between(0, latency), self.chance.between(0, latency));
        self.say(|| format!("#{number} {who} {:?} {} {}", request.verb(), request.key(), KINDS[fate.kind()]));
        (fate, outward, back)
    }

    pub fn apply_later(&mut self, who: usize, request: Request, span: i64) {
        self.count += 1;
        self.late.insert((time::now() + span, self.count), (who, request));
    }

    /// A request takes effect. The store keeps its promises, unless a planted fault breaks them.
    pub fn apply(&mut self, who: usize, request: &Request, asked: bool) -> Answer {
        let request = match self.plant {
            Some(plant) => match plant.bend(self, request) {
                Ok(request) => request,
                Err(answer) => return answer,
            },
            None => request.clone(),
        };
        let answer = match &request {
            Request::Create(key, _) if self.objects.held.contains_key(key) && !self.lies(key) => Answer::Exists,
            Request::Create(key, bytes) | Request::Put(key, bytes) => {
                self.write(who, key, bytes.clone());
                if asked && self.plan.faults.disk {
                    self.unanswered.insert(key.clone());
                }
                Answer::Written
            }
            Request::Get(key) | Request::Head(key) => {
                self.objects.held.get(key).map_or(Answer::Missing, |bytes| Answer::Found(bytes.clone()))
            }
            Request::List(prefix) => Answer::Listed(self.list(prefix)),
            Request::Delete(key) => match self.objects.held.remove(key) {
                Some(_) => {
                    self.check(&Moment::Deleted { key });
                    Answer::Written
                }
                None => Answer::Missing,
            },
        };
        self.trace.say(time::now(), || format!("{who} {:?} {} -> {}", request.verb(), request.key(), told(&answer)));
        answer
    }

    /// Whether something of a store's is still under way.
    pub fn has_late(&self) -> bool {
        self.fates[3] + self.fates[4] > 0
    }

    fn lies(&self, key: &str) -> bool {
        match self.plant {
            Some(Plant::StoreOverwrites) => true,
            Some(Plant::LogIsOverwritten) => key.starts_with("_windrow/log/"),
            _ => false,
        }
    }

    pub fn write(&mut self, who: usize, key: &str, bytes: Bytes) {
        self.trace.bytes(&bytes);
        let before = self.objects.held.insert(key.to_owned(), bytes.clone());
        self.objects.written.insert(key.to_owned(), time::now());
        self.check(&Moment::Wrote { key, bytes: &bytes, before: before.as_ref() });
        self.objects.ever.entry(key.to_owned()).or_insert_with(|| bytes.clone());
        if before.is_none() && key.starts_with("_windrow/log/") {
            match serde_json::from_slice::<Entry>(&bytes) {
                Ok(entry) => self.logged(who, entry, &bytes),
                Err(error) => self.violations.push(("entries can be read", format!("{key}: {error}"))),
            }
        }
    }

    fn logged(&mut self, who: usize, entry: Entry, bytes: &Bytes) {
        let summary = || {
            let claims: Vec<_> = entry.partitions.iter().map(|(p, c)| format!("{p}:[{},{})", c.from, c.to)).collect();
            format!(
                "ENTRY {} by {who} {} W={:?} closed={} open={} files={} raised={:?}",
                entry.sequence.0,
                claims.join(" "),
                entry.watermark.map(|w| w.0 - BEGIN),
                entry.closed.len(),
                entry.windows.len(),
                entry.files.len(),
                entry
                    .partitions
                    .iter()
                    .flat_map(|(p, c)| c.raised.iter().map(|r| (p.0, r.offset.0, r.watermark.0 - BEGIN)))
                    .collect::<Vec<_>>(),
            )
        };
        self.trace.say(time::now(), summary);
        self.take_in(who, &entry);
        let read = |file: &File| {
            let bytes = self.objects.held.get(&file.stage)?;
            Some((file.stage.clone(), files::read(bytes, file, self.plan.shape.sql)))
        };
        self.staged = entry.files.iter().filter_map(read).collect();
        self.log.push(entry);
        self.check(&Moment::Logged { who, bytes });
    }

    fn list(&mut self, prefix: &str) -> Vec<(String, u64)> {
        let now = time::now();
        let lags = self.plan.faults.listing_lags && !self.calm;
        let mut found = Vec::new();
        for (key, bytes) in self.objects.held.range(format!("{prefix}/")..) {
            if !key.starts_with(&format!("{prefix}/")) {
                break;
            }
            let young = now - self.objects.written.get(key).copied().unwrap_or(0) < 5 * SECOND;
            if !(lags && young && self.chance.happens(500)) {
                found.push((key.clone(), bytes.len() as u64));
            }
        }
        found
    }

    pub fn answered(&mut self, _: usize, request: &Request) {
        if !self.unanswered.is_empty() {
            self.unanswered.remove(request.key());
        }
    }

    /// What was not answered may not have reached the disk. Nobody who has seen it lives.
    pub fn lose_unanswered(&mut self) {
        for key in std::mem::take(&mut self.unanswered) {
            let is_entry = key.starts_with("_windrow/log/");
            // An entry that was seen is followed by others: its folder was synced since.
            let last = self.log.last().map(|entry| windrow::sink::layout::entry(entry.sequence));
            if (is_entry && last.as_deref() != Some(&key)) || self.chance.happens(500) {
                continue;
            }
            // What an entry that stays names was answered before the entry was written.
            self.say(|| format!("lost with the machine: {key}"));
            self.objects.held.remove(&key);
            self.objects.ever.remove(&key);
            if is_entry {
                self.forget_newest();
            }
        }
    }

    fn forget_newest(&mut self) {
        self.log.pop();
        self.seen.forget_newest(self.log.len());
        self.taken = Taken::default();
        self.records = 0;
        self.truth = Truth::default();
        for entry in self.log.clone() {
            self.take_in(usize::try_from(entry.writer.pid).unwrap(), &entry);
        }
    }

    /// The oracle learns what an entry of `who` claims.
    fn take_in(&mut self, who: usize, entry: &Entry) {
        for (partition, claim) in &entry.partitions {
            let lost = claim.lost.map_or(0..0, |(first, end)| first.0..end.0);
            for offset in (claim.from.0..claim.to.0).filter(|offset| !lost.contains(offset)) {
                if let Some(rec) = self.record_of(who, partition.0, offset) {
                    self.records += 1;
                    self.taken.records.entry(partition.0).or_default().push((offset, rec));
                }
            }
            let raised = self.taken.raised.entry(partition.0).or_default();
            raised.extend(claim.raised.iter().map(|raise| (raise.offset.0, raise.watermark.0)));
        }
        self.truth = crate::oracle::truth(&self.plan.shape, &self.taken);
    }

    /// Whether the log has taken in all there is.
    pub fn is_read(&self) -> bool {
        self.log.last().is_some_and(|entry| {
            (0i32..).zip(&self.broker.lanes).all(|(number, lane)| {
                let claim = entry.partitions.get(&Partition(number));
                claim.is_some_and(|claim| claim.to.0 >= lane.end())
            })
        })
    }

    pub fn is_gone(&self, mine: u64, writer: &Writer) -> bool {
        let who = usize::try_from(writer.pid).unwrap_or(usize::MAX);
        self.instances.get(who).is_some_and(|other| other.host == mine && !other.alive)
    }
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Written => "done".to_owned(),
        Answer::Found(bytes) => format!("{} bytes", bytes.len()),
        Answer::Listed(keys) => format!("{} keys", keys.len()),
        Answer::Missing => "missing".to_owned(),
        Answer::Exists => "exists".to_owned(),
    }
}
