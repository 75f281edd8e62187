//! The topic read once more, as far as it is asked for.
//!
//! A log entry takes in a span of each partition, and a source delivers partitions as it likes. What comes before it is
//! wanted waits here; when too much does, the source is opened anew for the partitions that lack.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::cli::run::open_source;
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::error::Error;
use crate::record::{Offset, Partition, Records};
use crate::source::{Event, Source, SourceError, Topic};

/// How long the source may bring nothing that is wanted, in microseconds.
const PATIENCE: i64 = 60_000_000;
/// How long the source may take to describe the topic.
const ANSWER: Duration = Duration::from_secs(15);
/// How often the time is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes that may wait.
const WAITING: usize = 128 << 20;

/// A topic that is read once more.
pub(super) struct Again<'a> {
    pipeline: &'a Pipeline,
    clock: Clock,
    source: Box<dyn Source>,
    name: String,
    /// What the present source reads.
    assigned: BTreeSet<Partition>,
    lanes: BTreeMap<Partition, Lane>,
    waiting: usize,
    limit: usize,
}

/// One partition.
#[derive(Default)]
struct Lane {
    /// Everything below has been delivered.
    next: i64,
    waiting: VecDeque<Records>,
}

impl<'a> Again<'a> {
    /// Opens the pipeline's source and asks for the topic as it is now.
    pub(super) async fn open(pipeline: &'a Pipeline) -> Result<(Self, Topic), Error> {
        let clock = Clock::system();
        let (mut source, name) = open_source(pipeline, clock)?;
        if name == "stdin" {
            return Err(Error::Usage("standard input cannot be read again".to_owned()));
        }
        let late = || {
            SourceError::Unavailable(format!(
                "{name}: no answer in {} s; are brokers and security.protocol right, and does the network let them through?",
                ANSWER.as_secs()
            ))
        };
        let topic = tokio::time::timeout(ANSWER, source.describe()).await.map_err(|_| late())??;
        let (assigned, lanes) = (BTreeSet::new(), BTreeMap::new());
        Ok((Self { pipeline, clock, source, name, assigned, lanes, waiting: 0, limit: WAITING }, topic))
    }

    /// Leaves out what is below `offset`.
    pub(super) fn skip_to(&mut self, partition: Partition, offset: Offset) {
        let lane = self.lanes.entry(partition).or_default();
        lane.next = lane.next.max(offset.0);
        for mut records in std::mem::take(&mut lane.waiting) {
            let before = records.bytes();
            records.drop_before(offset);
            if records.is_empty() {
                self.waiting -= before;
            } else {
                lane.waiting.push_back(records);
            }
        }
    }

    /// The next records of any partition that lie below what is `wanted` of it; `None` when all of them have come.
    ///
    /// # Errors
    /// If the source fails, ends before that, or brings nothing that is wanted for too long.
    pub(super) async fn next(&mut self, wanted: &BTreeMap<Partition, Offset>) -> Result<Option<Records>, Error> {
        let mut moved = self.clock.now();
        loop {
            for (&partition, &to) in wanted {
                if let Some(records) = self.take_below(partition, to) {
                    return Ok(Some(records));
                }
            }
            let lacks =
                |partition: &Partition, to: &Offset| self.lanes.get(partition).is_none_or(|lane| lane.next < to.0);
            let lacking: BTreeSet<Partition> =
                wanted.iter().filter(|(partition, to)| lacks(partition, to)).map(|(partition, _)| *partition).collect();
            if lacking.is_empty() {
                return Ok(None);
            }
            self.read(&lacking).await?;
            let event = match tokio::time::timeout(LOOK, self.source.next()).await {
                Ok(event) => Some(event?),
                Err(_) => None,
            };
            let before = self.reached(&lacking);
            match event {
                Some(Event::Records(records)) => self.take(records),
                Some(Event::Reached { partition, position }) => {
                    let lane = self.lanes.entry(partition).or_default();
                    lane.next = lane.next.max(position.0);
                }
                Some(Event::Finished) => {
                    if wanted
                        .iter()
                        .any(|(partition, to)| self.lanes.get(partition).is_none_or(|lane| lane.next < to.0))
                    {
                        let text = format!("{}: it ends before what the log has taken in; it was cut", self.name);
                        return Err(SourceError::Data(text).into());
                    }
                }
                Some(Event::Waiting(why)) => tracing::warn!("waiting: {why}"),
                Some(Event::Ends { .. } | Event::Added(_) | Event::Resumed) | None => {}
            }
            if self.reached(&lacking) > before {
                moved = self.clock.now();
            } else if self.clock.now().0.saturating_sub(moved.0) > PATIENCE {
                let text = format!("{}: nothing came for {} s", self.name, PATIENCE / 1_000_000);
                return Err(SourceError::Unavailable(text).into());
            }
        }
    }

    fn reached(&self, partitions: &BTreeSet<Partition>) -> i64 {
        partitions.iter().filter_map(|partition| self.lanes.get(partition)).map(|lane| lane.next).sum()
    }

    /// Has the source read these partitions; and no others, if too much waits already.
    async fn read(&mut self, lacking: &BTreeSet<Partition>) -> Result<(), Error> {
        if self.waiting > self.limit && !self.assigned.is_subset(lacking) {
            self.source = open_source(self.pipeline, self.clock)?.0;
            self.assigned.clear();
        }
        let mut from = BTreeMap::new();
        for &partition in lacking.difference(&self.assigned) {
            from.insert(partition, Offset(self.lanes.entry(partition).or_default().next));
        }
        if !from.is_empty() {
            self.source.assign(&from).await?;
            self.assigned.extend(from.keys());
        }
        Ok(())
    }

    fn take(&mut self, mut records: Records) {
        let lane = self.lanes.entry(records.partition).or_default();
        records.drop_before(Offset(lane.next));
        let next = records.iter().next_back().map(|last| last.offset.next());
        if let Some(next) = next {
            lane.next = next.0;
            self.waiting += records.bytes();
            lane.waiting.push_back(records);
        }
    }

    fn take_below(&mut self, partition: Partition, to: Offset) -> Option<Records> {
        let lane = self.lanes.get_mut(&partition)?;
        let first = lane.waiting.front()?;
        if first.get(0).offset >= to {
            return None;
        }
        let mut first = lane.waiting.pop_front()?;
        self.waiting -= first.bytes();
        let mut below = Records::new(partition);
        if first.iter().next_back().is_none_or(|last| last.offset < to) {
            return Some(first);
        }
        for record in first.iter().take_while(|record| record.offset < to) {
            below.push_with(record.offset, record.timestamp, record.key, record.value, record.headers.iter());
        }
        first.drop_before(to);
        self.waiting += first.bytes();
        lane.waiting.push_front(first);
        Some(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::embedded::Broker;
    use crate::source::produce::{Message, Producer};

    const TEXT: &str = r#"
        name = "t"
        [source.kafka]
        brokers = "BROKERS"
        topic = "t"
        group = "g"
        [source.columns]
        at = "timestamp"
        [window]
        event_time = "at"
        size = "1 hour"
        [query]
        sql = "SELECT COUNT(*) AS n FROM t"
        [sink]
        url = "unused"
    "#;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_record_comes_once_and_in_order_however_little_may_wait() {
        let broker = Broker::start("t", 3).unwrap();
        let producer = Producer::connect(broker.brokers(), &BTreeMap::new()).unwrap();
        let counts = [6_000, 40, 900];
        for (partition, count) in (0..).zip(counts) {
            for number in 0..count {
                let value = format!("{partition} {number} {}", "x".repeat(100));
                let message =
                    Message { partition: Some(partition), value: Some(value.as_bytes()), ..Message::default() };
                producer.send("t", message).unwrap();
            }
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        let text = TEXT.replace("BROKERS", broker.brokers());
        let pipeline = Pipeline::parse(&text, "t.toml", &|_| None).unwrap();
        for limit in [1, WAITING] {
            let (mut again, topic) = Again::open(&pipeline).await.unwrap();
            again.limit = limit;
            assert_eq!(topic.partitions.len(), 3);
            let mut seen = [0, 10, 0];
            again.skip_to(Partition(1), Offset(10));
            // Spans as entries have them: first most of the smaller ones, then the rest.
            for to in [[5, 40, 700], [5, 40, 700], [5_000, 40, 701], [6_000, 40, 900]] {
                let wanted = (0..).zip(to).map(|(partition, to)| (Partition(partition), Offset(to))).collect();
                while let Some(records) = again.next(&wanted).await.unwrap() {
                    for record in records.iter() {
                        let next = &mut seen[usize::try_from(records.partition.0).unwrap()];
                        assert_eq!(record.offset.0, *next);
                        assert!(record.offset < wanted[&records.partition]);
                        *next += 1;
                    }
                }
                assert_eq!(seen, to);
            }
        }
    }
}
