//! Lets a world happen: polls the instances, lets time pass, and brings about what is due.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use tokio::sync::watch;
use windrow::clock::Clock;
use windrow::decode::json::JsonDecoder;
use windrow::error::Error;
use windrow::log::entry::{Entry, Writer};
use windrow::log::gc;
use windrow::log::store::newest;
use windrow::pipeline::writer::Instance;
use windrow::pipeline::{self, Options, Parts, Unobserved};
use windrow::record::Timestamp;
use windrow::sink::layout;
use windrow::sink::store::Store;
use windrow::source::member::Member;

use crate::broker::SimSource;
use crate::group::SimMember;
use crate::invariants::Moment;
use crate::plan::{Action, BEGIN, Plan, pipeline};
use crate::store::SimStore;
use crate::time::{self, MILLI, SECOND, VIRTUAL};
use crate::world::{Incarnation, Shared, World};

/// How long the last steps of a world may take, each.
const PATIENCE: i64 = 400 * SECOND;
/// More polls than any world needs.
const TOO_MANY_POLLS: u64 = 2_000_000;

/// What was seen of a world.
#[derive(Debug)]
pub struct Report {
    pub hash: u64,
    pub violations: Vec<(&'static str, String)>,
    pub requests: u64,
    pub fates: [u64; 11],
    pub starts: u64,
    pub crashes: u64,
    pub freezes: u64,
    pub fenced: u64,
    pub entries: u64,
    pub files: u64,
    pub records: u64,
    pub simulated: i64,
    /// Objects that somebody cleared away.
    pub cleared: u64,
    pub trace: Vec<String>,
    /// The truth's results, for worlds that must agree.
    pub results: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A living instance.
struct Slot {
    who: usize,
    future: Pin<Box<dyn Future<Output = Result<Entry, Error>>>>,
    woken: Arc<Flag>,
    waker: Waker,
    stop: watch::Sender<bool>,
    frozen: Option<i64>,
}

struct Driver {
    world: Shared,
    slots: Vec<Slot>,
    polls: u64,
    crashes: u64,
    freezes: u64,
    cleared: Arc<AtomicU64>,
}

/// Lets a world happen.
pub fn run(plan: &Plan, verbose: bool) -> Report {
    time::reset();
    let world = Arc::new(Mutex::new(World::new(plan.clone(), verbose)));
    let cleared = Arc::<AtomicU64>::default();
    let mut driver =
        Driver { world: world.clone(), slots: Vec::new(), polls: 0, crashes: 0, freezes: 0, cleared: cleared.clone() };
    driver.run();
    drop(driver.slots);
    let mut world = world.lock().unwrap();
    let held: Vec<(String, Bytes)> =
        world.objects.held.iter().map(|(key, bytes)| (key.clone(), bytes.clone())).collect();
    for (key, bytes) in &held {
        world.say(|| format!("holds {key}"));
        world.trace.bytes(bytes);
    }
    Report {
        hash: world.trace.hash(),
        violations: std::mem::take(&mut world.violations),
        requests: world.requests,
        fates: world.fates,
        starts: world.instances.len() as u64,
        crashes: driver.crashes,
        freezes: driver.freezes,
        fenced: world.fenced,
        entries: world.log.len() as u64,
        files: world.log.iter().map(|entry| entry.files.len() as u64).sum(),
        records: world.records,
        simulated: time::now(),
        cleared: cleared.load(Ordering::Relaxed),
        trace: world.trace.lines(),
        results: std::mem::take(&mut world.seen.results),
    }
}

impl Driver {
    fn run(&mut self) {
        let (calm_at, wanted) = {
            let world = self.world.lock().unwrap();
            (world.plan.calm_at, world.plan.wanted)
        };
        for number in 0..wanted {
            let mut world = self.world.lock().unwrap();
            let span = if number == 0 { 0 } else { world.chance.pick(&[0, 0, 3 * SECOND]) };
            world.soon(span, Action::Start);
        }
        if !self.until(calm_at, |_| false) && self.is_broken() {
            return;
        }
        self.calm_down();
        let read = self.until(time::now() + PATIENCE, |driver| driver.world.lock().unwrap().is_read());
        if self.is_broken() {
            return;
        }
        if !read {
            // A topic that was cut, or lost records, holds a strict pipeline up for good.
            if !self.world.lock().unwrap().plan.may_stop {
                self.over(false, "what the topic holds is not all in the log");
            }
            return;
        }
        self.closes_by_the_clock();
        if self.is_broken() {
            return;
        }
        // Everybody leaves in good order, and a last run closes what is open.
        {
            let mut world = self.world.lock().unwrap();
            world.script.clear();
            world.leaving = true;
        }
        for slot in &mut self.slots {
            self.world.lock().unwrap().instances[slot.who].stopping = true;
            let _ = slot.stop.send(true);
        }
        let left = self.until(time::now() + PATIENCE, |driver| driver.slots.is_empty());
        if !left || self.is_broken() {
            self.over(false, "an instance that was asked to stop did not");
            return;
        }
        let mut closed = false;
        for _ in 0..4 {
            self.start(Options { once: true, close_all: true });
            self.until(time::now() + PATIENCE, |driver| driver.slots.is_empty());
            if self.is_broken() {
                return;
            }
            let world = self.world.lock().unwrap();
            closed =
                world.log.last().is_some_and(|entry| entry.released && entry.windows.is_empty() && world.is_read());
            drop(world);
            if closed {
                break;
            }
            // The last writer died and nobody knows it: its silence has to be waited for.
            self.start(Options::default());
            self.until(time::now() + PATIENCE / 2, |_| false);
            for slot in &mut self.slots {
                self.world.lock().unwrap().instances[slot.who].stopping = true;
                let _ = slot.stop.send(true);
            }
            self.until(time::now() + PATIENCE, |driver| driver.slots.is_empty());
        }
        if closed || !self.world.lock().unwrap().plan.may_stop {
            self.over(closed, "the last run did not close every window");
        }
    }

    /// A topic to which nothing comes any more closes its windows by itself.
    fn closes_by_the_clock(&mut self) {
        let shared = self.world.clone();
        let span = {
            let world = shared.lock().unwrap();
            let Plan { shape, manner, .. } = &world.plan;
            if !manner.tells_ends
                || shape.hold
                || shape.idle_timeout > 60 * SECOND
                || !world.plan.seed.is_multiple_of(3)
            {
                return;
            }
            // A writer that died has to be missed first; its clock may have been ahead.
            shape.idle_timeout + shape.delay + shape.size + shape.lateness + PATIENCE
        };
        let all = |driver: &Self| driver.world.lock().unwrap().log.last().is_some_and(|entry| entry.windows.is_empty());
        if !self.until(time::now() + span, all) && !self.world.lock().unwrap().plan.may_stop && !self.is_broken() {
            self.over(false, "a quiet topic did not close its windows");
        }
    }

    fn is_broken(&self) -> bool {
        !self.world.lock().unwrap().violations.is_empty()
    }

    fn over(&mut self, done: bool, why: &str) {
        let mut world = self.world.lock().unwrap();
        world.check(&Moment::Over { done, why });
    }

    fn calm_down(&mut self) {
        let mut world = self.world.lock().unwrap();
        world.say(|| "calm".to_owned());
        world.calm = true;
        world.outage = false;
        world.broker.down = false;
        world.broker.wake();
        let starts = world.script.values().any(|action| matches!(action, Action::Start));
        for slot in &mut self.slots {
            slot.frozen = None;
        }
        if self.slots.is_empty() && !starts {
            world.soon(SECOND, Action::Start);
        }
    }

    /// Lets things happen until `done`, nothing more can, or `deadline`; whether it was `done`.
    fn until(&mut self, deadline: i64, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            self.settle();
            if self.is_broken() {
                return false;
            }
            if done(self) {
                return true;
            }
            let next = {
                let world = self.world.lock().unwrap();
                let next = [
                    time::next(),
                    world.script.keys().next().map(|key| key.0),
                    world.late.keys().next().map(|key| key.0),
                    self.slots.iter().filter_map(|slot| slot.frozen).min(),
                ];
                next.into_iter().flatten().min()
            };
            let Some(next) = next.filter(|&next| next <= deadline) else {
                time::pass(deadline);
                return false;
            };
            time::pass(next);
            self.happen();
        }
    }

    /// Polls whoever can go on, in any order, until nobody can.
    fn settle(&mut self) {
        loop {
            let able: Vec<usize> = (0..self.slots.len())
                .filter(|&index| {
                    self.slots[index].frozen.is_none() && self.slots[index].woken.0.load(Ordering::Relaxed)
                })
                .collect();
            if able.is_empty() {
                return;
            }
            let index = if able.len() == 1 { able[0] } else { self.world.lock().unwrap().chance.pick(&able) };
            self.polls += 1;
            if self.polls > TOO_MANY_POLLS {
                self.over(false, "it goes round in circles");
                self.slots.clear();
                return;
            }
            self.poll(index);
        }
    }

    fn poll(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.woken.0.store(false, Ordering::Relaxed);
        let mut context = Context::from_waker(&slot.waker);
        let polled = slot.future.as_mut().poll(&mut context);
        let who = slot.who;
        let mut world = self.world.lock().unwrap();
        if let Poll::Ready(outcome) = polled {
            drop(world);
            self.slots.swap_remove(index);
            self.ended(who, outcome);
            return;
        }
        let state = &mut world.instances[who];
        if let Some(until) = state.freeze.take() {
            slot.frozen = Some(until);
            self.freezes += 1;
            world.say(|| format!("{who} freezes"));
        } else if state.doomed {
            drop(world);
            self.crash(index);
        }
    }

    fn crash(&mut self, index: usize) {
        let slot = self.slots.swap_remove(index);
        let who = slot.who;
        drop(slot);
        self.crashes += 1;
        let mut world = self.world.lock().unwrap();
        world.instances[who].alive = false;
        world.say(|| format!("{who} dies"));
        let span = world.chance.between(100 * MILLI, 10 * SECOND);
        world.soon(span, Action::Start);
    }

    fn ended(&mut self, who: usize, outcome: Result<Entry, Error>) {
        let mut world = self.world.lock().unwrap();
        world.instances[who].alive = false;
        let stopping = world.instances[who].stopping;
        let error = outcome.as_ref().err().map(|error| (error.kind(), error.to_string()));
        world.say(|| format!("{who} ended: {error:?}"));
        if let Some((kind, text)) = &error {
            world.check(&Moment::Failed { kind: *kind, text, stopping });
        }
        if !world.leaving {
            let span = world.chance.between(100 * MILLI, 15 * SECOND);
            world.soon(span, Action::Start);
        }
    }

    fn start(&mut self, options: Options) {
        let mut world = self.world.lock().unwrap();
        let who = world.instances.len();
        let hosts = world.plan.hosts;
        let host = world.chance.below(hosts);
        let skew = world.plan.skew;
        let skew = world.chance.between(-skew, skew);
        // A run of the operator's own that ends by itself.
        let stopping = options.once;
        world.instances.push(Incarnation { host, alive: true, doomed: false, freeze: None, stopping });
        world.say(|| format!("{who} starts on host {host}"));
        let (pipeline, query) = pipeline(&world.plan.shape);
        let clock = Clock::made_up(&VIRTUAL, Timestamp(BEGIN + skew));
        let source = SimSource::new(self.world.clone(), who, clock, world.plan.manner.clone());
        let store = SimStore { world: self.world.clone(), who };
        let shares = world.plan.shared && !options.once && !world.leaving;
        let member = shares.then(|| -> Box<dyn Member> { Box::new(SimMember::new(self.world.clone(), who)) });
        let id = format!("{:06x}{:06x}{:020x}", who, world.plan.seed & 0xff_ffff, world.chance.number());
        let writer = Writer { id, host: format!("host{host}"), pid: u32::try_from(who).unwrap(), started: Some(1) };
        let shared = self.world.clone();
        let parts = Parts {
            decoder: Box::new(JsonDecoder::new(&pipeline.columns, "t")),
            pipeline,
            query,
            source: Box::new(source),
            store: Store::over(Arc::new(store), clock),
            instance: Instance::of(writer, move |other| shared.lock().unwrap().is_gone(host, other)),
            clock,
            observer: Box::new(Unobserved),
            member,
        };
        drop(world);
        let (stop, stopped) = watch::channel(false);
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let future = Box::pin(pipeline::run(parts, options, stopped));
        self.slots.push(Slot { who, future, waker: woken.clone().into(), woken, stop, frozen: None });
    }

    /// Clears the sink, beside whoever writes to it.
    fn clear(&mut self) {
        let mut world = self.world.lock().unwrap();
        let who = world.instances.len();
        world.instances.push(Incarnation { host: 0, alive: true, doomed: false, freeze: None, stopping: true });
        drop(world);
        let clock = Clock::made_up(&VIRTUAL, Timestamp(BEGIN));
        let store = Store::over(Arc::new(SimStore { world: self.world.clone(), who }), clock);
        let cleared = self.cleared.clone();
        let future = Box::pin(async move {
            let Some(newest) = newest(&store).await? else { return Err(Error::Stopped) };
            let mut verdicts = gc::judge(&store, &newest, Timestamp(i64::MAX), 0).await?;
            // Only its age tells that a try-out is no longer at work, and here everything is old.
            verdicts.retain(|verdict| !verdict.object.key.starts_with(layout::PROBE));
            let goes = verdicts.iter().filter(|verdict| verdict.goes).count();
            cleared.fetch_add(goes as u64, Ordering::Relaxed);
            gc::delete(&store, &verdicts).await;
            Ok(newest.entry)
        });
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let (stop, _) = watch::channel(false);
        self.slots.push(Slot { who, future, waker: woken.clone().into(), woken, stop, frozen: None });
    }

    /// What is due happens now.
    fn happen(&mut self) {
        let now = time::now();
        for slot in &mut self.slots {
            if slot.frozen.is_some_and(|until| until <= now) {
                slot.frozen = None;
            }
        }
        loop {
            let mut world = self.world.lock().unwrap();
            if let Some(first) = world.late.first_entry().filter(|first| first.key().0 <= now) {
                let (who, request) = first.remove();
                world.say(|| format!("late request of {who}"));
                world.apply(who, &request, false);
                continue;
            }
            let Some(first) = world.script.first_entry().filter(|first| first.key().0 <= now) else { return };
            let action = first.remove();
            drop(world);
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let shared = self.world.clone();
        let mut world = shared.lock().unwrap();
        world.say(|| match &action {
            Action::Append(lane, records) => format!("append {} to {lane}", records.len()),
            Action::Truncate(lane, back, _) => format!("truncate {lane} by {back}"),
            other => format!("{other:?}"),
        });
        let lives = self.slots.len() as u64;
        match action {
            Action::Append(lane, records) => {
                if let Some(lane) = world.broker.lanes.get_mut(lane) {
                    lane.records.extend(records);
                    world.broker.wake();
                }
            }
            Action::AddLane => {
                world.broker.lanes.push(Default::default());
            }
            Action::Retain(lane, keep) => {
                if let Some(lane) = world.broker.lanes.get_mut(lane) {
                    lane.start = lane.start.max(lane.end() - keep);
                    world.broker.wake();
                }
            }
            Action::Truncate(lane, back, records) => {
                let lane = &mut world.broker.lanes[lane];
                let keep = (lane.end() - back).max(lane.start);
                if lane.cuts == 0 && keep < lane.end() {
                    lane.records.truncate(usize::try_from(keep).unwrap());
                    lane.records.extend(records);
                    (lane.cuts, lane.cut_at) = (1, keep);
                    world.broker.wake();
                }
            }
            Action::Broker(down) => {
                world.broker.down = down && !world.calm;
                world.broker.wake();
            }
            Action::Outage(outage) => world.outage = outage,
            Action::Start => {
                let wanted = world.plan.wanted;
                let most = if world.calm && !world.plan.shared { wanted.min(2) } else { wanted };
                drop(world);
                if self.slots.len() < most {
                    self.start(Options::default());
                }
            }
            Action::Once(close_all) => {
                drop(world);
                self.start(Options { once: true, close_all });
            }
            _ if lives == 0 || world.calm => {}
            Action::Gc => {
                drop(world);
                self.clear();
            }
            Action::Crash(pick) => {
                drop(world);
                self.crash(usize::try_from(pick % lives).unwrap());
            }
            Action::Freeze(pick, span) => {
                let slot = &mut self.slots[usize::try_from(pick % lives).unwrap()];
                slot.frozen = Some(time::now() + span);
                self.freezes += 1;
            }
            Action::Shuffle => world.group.shuffle(),
            Action::Stop(pick) => {
                let slot = &self.slots[usize::try_from(pick % lives).unwrap()];
                world.instances[slot.who].stopping = true;
                let _ = slot.stop.send(true);
            }
            Action::PowerCut => {
                drop(world);
                while !self.slots.is_empty() {
                    self.crash(0);
                }
                let mut world = shared.lock().unwrap();
                if world.plan.faults.disk {
                    world.lose_unanswered();
                } else {
                    world.unanswered.clear();
                }
            }
        }
    }
}
