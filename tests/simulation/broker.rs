//! The topic, and the source that reads it as the real one does: batches of any size, partitions in any order, records
//! that come again, gaps, ends told apart, partitions found later, outages, records gone, records changed.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use windrow::clock::Clock;
use windrow::log::Published;
use windrow::record::{Offset, Partition, Records, Timestamp};
use windrow::source::{Bounds, Event, Source, SourceError, Start, Topic};

use crate::planted::Plant;
use crate::time::{self, MILLI, SECOND};
use crate::world::Shared;

/// One record, as the oracle reads it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Tells it from every other record of the world.
    pub serial: u64,
    pub body: Body,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Good {
        time: i64,
        key: u8,
        value: i64,
    },
    /// Far ahead of every clock.
    Future,
    /// Unreadable, in one of several ways.
    Broken(u8),
}

impl Rec {
    pub fn wire(&self) -> Option<Vec<u8>> {
        let text = match self.body {
            Body::Good { time, key, value } => {
                format!(r#"{{"at":{time},"k":"{}","v":{value}}}"#, char::from(b'a' + key))
            }
            Body::Future => r#"{"at":7258118400000000,"k":"a","v":1}"#.to_owned(),
            Body::Broken(0) => return None,
            Body::Broken(1) => r#"{"at":"#.to_owned(),
            Body::Broken(2) => r#"{"at":1,"k":"a"}"#.to_owned(),
            Body::Broken(_) => r#"{"at":"noon","k":"a","v":1}"#.to_owned(),
        };
        Some(text.into_bytes())
    }
}

/// One partition.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// Before this, records are gone.
    pub start: i64,
    /// By offset; `None` is a marker, or was compacted away.
    pub records: Vec<Option<Rec>>,
    /// How often the end was cut off and written anew, and where last.
    pub cuts: u32,
    pub cut_at: i64,
}

impl Lane {
    pub fn end(&self) -> i64 {
        i64::try_from(self.records.len()).unwrap()
    }
}

#[derive(Debug, Default)]
pub struct Broker {
    pub lanes: Vec<Lane>,
    pub down: bool,
    /// Group offsets.
    pub told: BTreeMap<i32, i64>,
    /// Whoever waits for something to happen.
    pub wakers: Vec<Waker>,
}

impl Broker {
    pub fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// How the source behaves in a world.
#[derive(Clone, Debug)]
pub struct Manner {
    pub batch: u64,
    pub again_per_mille: u64,
    pub latency: i64,
    /// Whether it ever says where partitions end: without, nothing is idle.
    pub tells_ends: bool,
    /// Whether a first run begins somewhere in the topic.
    pub from_middle: bool,
}

struct Reading {
    next: i64,
    cuts: u32,
    reached: Option<i64>,
}

pub struct SimSource {
    world: Shared,
    who: usize,
    clock: Clock,
    manner: Manner,
    lanes: BTreeMap<i32, Reading>,
    known: BTreeSet<i32>,
    paused: BTreeSet<Partition>,
    told_outage: bool,
    ready_at: i64,
    ask_at: i64,
    asked: Option<(Timestamp, i64)>,
}

impl SimSource {
    pub fn new(world: Shared, who: usize, clock: Clock, manner: Manner) -> Self {
        Self {
            world,
            who,
            clock,
            manner,
            lanes: BTreeMap::new(),
            known: BTreeSet::new(),
            paused: BTreeSet::new(),
            told_outage: false,
            ready_at: 0,
            ask_at: 0,
            asked: None,
        }
    }

    /// What comes next, or until when nothing does.
    fn step(&mut self) -> Result<Result<Event, i64>, SourceError> {
        let shared = self.world.clone();
        let mut world = shared.lock().unwrap();
        let now = time::now();
        if world.broker.down {
            if !self.told_outage && now >= self.ready_at {
                self.told_outage = true;
                return Ok(Ok(Event::Waiting("no broker answers".to_owned())));
            }
            return Ok(Err(if self.told_outage { i64::MAX } else { self.ready_at }));
        }
        if self.told_outage {
            self.told_outage = false;
            return Ok(Ok(Event::Resumed));
        }
        for (&number, reading) in &mut self.lanes {
            let lane = &world.broker.lanes[usize::try_from(number).unwrap()];
            if reading.next < lane.start {
                let text = format!("partition {number}: {} records are gone", lane.start - reading.next);
                return Err(SourceError::Data(text));
            }
            let hidden = world.plant == Some(Plant::CutsAreHidden);
            if reading.cuts != lane.cuts && reading.next > lane.cut_at && !hidden {
                return Err(SourceError::Data(format!("partition {number}: it was cut or made anew")));
            }
            reading.cuts = lane.cuts;
        }
        if let Some((asked, answer_at)) = self.asked
            && now >= answer_at
        {
            self.asked = None;
            let ends = self
                .lanes
                .keys()
                .map(|&number| (Partition(number), Offset(world.broker.lanes[usize::try_from(number).unwrap()].end())));
            return Ok(Ok(Event::Ends { asked, ends: ends.collect() }));
        }
        if now >= self.ask_at {
            self.ask_at = now + world.chance.between(500, 4000) * MILLI;
            let all = 0..i32::try_from(world.broker.lanes.len()).unwrap();
            let new: Vec<i32> = all.filter(|number| !self.known.contains(number)).collect();
            if !new.is_empty() {
                self.known.extend(&new);
                let starts =
                    new.iter().map(|&number| (number, world.broker.lanes[usize::try_from(number).unwrap()].start));
                let starts = starts.map(|(number, start)| (Partition(number), Offset(start)));
                return Ok(Ok(Event::Added(starts.collect())));
            }
            let standing = self.lanes.values().any(|reading| reading.reached == Some(reading.next));
            if self.manner.tells_ends && standing && self.asked.is_none() {
                self.asked = Some((self.clock.now(), now + world.chance.between(0, 200) * MILLI));
            }
        }
        let mut wake_at = self.ask_at.min(self.asked.map_or(i64::MAX, |asked| asked.1));
        let ends: BTreeMap<i32, i64> = self
            .lanes
            .keys()
            .map(|&number| (number, world.broker.lanes[usize::try_from(number).unwrap()].end()))
            .collect();
        let behind = |number: &i32, reading: &Reading| {
            reading.next < ends[number] || reading.reached.is_none_or(|reached| reached < reading.next)
        };
        let wanted = |number: &i32| !self.paused.contains(&Partition(*number));
        let able = self.lanes.iter().filter(|(number, reading)| wanted(number) && behind(number, reading));
        let able: Vec<i32> = able.map(|(&number, _)| number).collect();
        if able.is_empty() || world.plant == Some(Plant::SourceStalls) {
            return Ok(Err(wake_at));
        }
        if now < self.ready_at {
            wake_at = wake_at.min(self.ready_at);
            return Ok(Err(wake_at));
        }
        self.ready_at = now + world.chance.between(0, self.manner.latency);
        let number = world.chance.pick(&able);
        let size = world.chance.between(1, i64::try_from(self.manner.batch).unwrap());
        let reading = self.lanes.get_mut(&number).unwrap();
        let index = usize::try_from(number).unwrap();
        let (start, end) = (world.broker.lanes[index].start, ends[&number]);
        let again = reading.next < end && world.chance.happens(self.manner.again_per_mille);
        let back = if again { world.chance.between(1, 6) } else { 0 };
        let mut records = Records::new(Partition(number));
        let mut at = (reading.next - back).max(start);
        while at < end && i64::try_from(records.len()).unwrap() < size + back {
            if let Some(rec) = world.broker.lanes[index].records[usize::try_from(at).unwrap()] {
                let skip = world.plant == Some(Plant::SourceSkips) && rec.serial % 7 == 3;
                world.deliver(self.who, number, at, rec);
                if !skip {
                    let key = rec.serial.to_le_bytes();
                    let mut value = rec.wire();
                    if world.plant == Some(Plant::SourceAlters) && rec.serial % 7 == 3 {
                        value = value
                            .map(|value| String::from_utf8(value).unwrap().replace("\"v\":", "\"v\":1").into_bytes());
                    }
                    records.push(
                        Offset(at),
                        Some(Timestamp(i64::try_from(rec.serial).unwrap())),
                        Some(&key),
                        value.as_deref(),
                    );
                }
            }
            at += 1;
        }
        reading.next = reading.next.max(at);
        if world.plant == Some(Plant::CommitsEarly) {
            let next = reading.next;
            world.tell(self.who, &BTreeMap::from([(number, next)]));
        }
        if records.is_empty() {
            // The end is told once, when the reader comes to it.
            let position = reading.next;
            if position == end && reading.reached != Some(position) {
                reading.reached = Some(position);
                return Ok(Ok(Event::Reached { partition: Partition(number), position: Offset(position) }));
            }
            return Ok(Err(now));
        }
        Ok(Ok(Event::Records(records)))
    }

    async fn up(&self) {
        std::future::poll_fn(|context| {
            let mut world = self.world.lock().unwrap();
            if !world.broker.down {
                return Poll::Ready(());
            }
            world.broker.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
        let latency = self.world.lock().unwrap().chance.between(0, 20) * MILLI;
        time::sleep(latency).await;
    }

    /// Until something happens at the broker, at the latest `at`.
    async fn wait(&self, at: i64) {
        let mut sleep = std::pin::pin!(time::until(at.min(time::now() + 3600 * SECOND)));
        let mut registered = false;
        std::future::poll_fn(|context| {
            if registered {
                return Poll::Ready(());
            }
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            registered = true;
            self.world.lock().unwrap().broker.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[async_trait]
impl Source for SimSource {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        self.up().await;
        let world = self.world.lock().unwrap();
        let lanes = world.broker.lanes.iter().enumerate();
        let partitions: BTreeMap<Partition, Bounds> = lanes
            .map(|(number, lane)| {
                let bounds = Bounds { start: Offset(lane.start), end: Some(Offset(lane.end())) };
                (Partition(i32::try_from(number).unwrap()), bounds)
            })
            .collect();
        self.known.extend(partitions.keys().map(|partition| partition.0));
        Ok(Topic { name: "t".to_owned(), cluster: Some("c".to_owned()), id: None, files: Vec::new(), partitions })
    }

    async fn resolve(&mut self, _: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        let topic = self.describe().await?;
        let mut world = self.world.lock().unwrap();
        let mut from = |bounds: Bounds| match bounds.end {
            Some(end) if self.manner.from_middle => Offset(world.chance.between(bounds.start.0, end.0)),
            _ => bounds.start,
        };
        Ok(topic.partitions.into_iter().map(|(partition, bounds)| (partition, from(bounds))).collect())
    }

    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        let world = self.world.lock().unwrap();
        for (&partition, &offset) in from {
            let cuts = world.broker.lanes[usize::try_from(partition.0).unwrap()].cuts;
            self.lanes.insert(partition.0, Reading { next: offset.0, cuts, reached: None });
            self.known.insert(partition.0);
        }
        Ok(())
    }

    async fn reassign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        self.lanes.clear();
        self.paused.clear();
        self.asked = None;
        self.assign(from).await
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) -> Result<(), SourceError> {
        self.paused.clone_from(partitions);
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        loop {
            match self.step()? {
                Ok(event) => return Ok(event),
                Err(at) => self.wait(at).await,
            }
        }
    }

    fn commit(&mut self, published: &Published) {
        let offsets = published.next().iter().map(|(partition, offset)| (partition.0, offset.0)).collect();
        self.world.lock().unwrap().tell(self.who, &offsets);
    }
}
