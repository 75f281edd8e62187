//! Questions to the brokers: which partitions there are, where they begin and end, what came at a time.
//!
//! They have a client of their own, so that no answer waits behind records. Every question blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::Offset as At;

use super::errors::{Class, class};
use super::heard::Heard;
use super::topic_id::topic_id;
use super::{SourceError, errors, settings};
use crate::config::KafkaConfig;
use crate::record::{Offset, Partition, Timestamp};
use crate::source::{Bounds, Start, Topic};

/// How long one question may take.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(4);
/// Events of the client taken in after a question: its log lines and complaints.
const EVENTS: usize = 256;

/// Why a question has no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
}

/// Asks.
pub(super) struct Inquiry {
    client: BaseConsumer<Heard>,
    heard: Heard,
    topic: String,
    group: String,
    brokers: String,
    /// The topic's id when it was first described.
    id: OnceLock<Option<String>>,
}

impl Inquiry {
    pub(super) fn connect(kafka: &KafkaConfig, heard: Heard) -> Result<Self, SourceError> {
        let client = settings::asking(kafka).create_with_context(heard.clone());
        Ok(Self {
            client: client.map_err(|error| settings::refused(&error))?,
            heard,
            topic: kafka.topic.clone(),
            group: kafka.group.clone(),
            brokers: kafka.brokers.clone(),
            id: OnceLock::new(),
        })
    }

    /// Everything about the topic.
    pub(super) fn describe(&self) -> Result<Topic, Unanswered> {
        // The id comes first: if the topic is made anew meanwhile, the rest is held against the topic that it was.
        let id = self.topic_id()?;
        let partitions = self.partitions()?;
        let partitions = self.bounds(&partitions)?;
        let id = self.id.get_or_init(|| id).clone();
        let cluster = self.client.client().fetch_cluster_id(ANSWER_TIME).filter(|cluster| !cluster.is_empty());
        Ok(Topic { name: self.topic.clone(), cluster, id, files: Vec::new(), partitions })
    }

    fn topic_id(&self) -> Result<Option<String>, Unanswered> {
        let broker = self.metadata(answering)?;
        let id = topic_id(self.client.client(), &self.topic, broker, ANSWER_TIME);
        self.take_events();
        id.map_err(|code| self.unanswered(&KafkaError::MetadataFetch(code)))
    }

    /// The error that another topic has the name by now; `None` if it is the one first described, as far as brokers tell.
    pub(super) fn remade(&self) -> Result<Option<SourceError>, Unanswered> {
        let Some(Some(before)) = self.id.get() else { return Ok(None) };
        let now = self.topic_id()?.filter(|now| now != before);
        Ok(now.map(|now| SourceError::Remade { topic: self.topic.clone(), before: before.clone(), now }))
    }

    /// The partitions there are.
    pub(super) fn partitions(&self) -> Result<BTreeSet<Partition>, Unanswered> {
        let found = self.metadata(|_, topic| topic.partitions().iter().map(|each| Partition(each.id())).collect())?;
        if BTreeSet::is_empty(&found) {
            return Err(self.unanswered(&KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)));
        }
        Ok(found)
    }

    /// What `read` takes from the topic's metadata.
    fn metadata<T>(&self, read: impl FnOnce(&Metadata, &MetadataTopic) -> T) -> Result<T, Unanswered> {
        let found = self.client.fetch_metadata(Some(&self.topic), ANSWER_TIME);
        self.take_events();
        let metadata = found.map_err(|error| self.unanswered(&error))?;
        let unknown = || self.unanswered(&KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition));
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic).ok_or_else(unknown)?;
        if let Some(error) = topic.error() {
            return Err(self.unanswered(&KafkaError::MetadataFetch(error.into())));
        }
        Ok(read(&metadata, topic))
    }

    /// Where these partitions begin and end.
    pub(super) fn bounds(&self, partitions: &BTreeSet<Partition>) -> Result<BTreeMap<Partition, Bounds>, Unanswered> {
        let starts = self.offsets(partitions, At::Beginning)?;
        let ends = self.offsets(partitions, At::End)?;
        let bounds = starts.into_iter().map(|(partition, start)| {
            let start = start.unwrap_or(Offset(0));
            (partition, Bounds { start, end: ends.get(&partition).copied().flatten().map(|end| end.max(start)) })
        });
        Ok(bounds.collect())
    }

    /// Where these partitions end, as far as a reader of committed records can come.
    pub(super) fn ends(&self, partitions: &BTreeSet<Partition>) -> Result<Vec<(Partition, Offset)>, Unanswered> {
        let ends = self.offsets(partitions, At::End)?;
        Ok(ends.into_iter().filter_map(|(partition, end)| Some((partition, end?))).collect())
    }

    /// The offset of each partition at which `start` begins.
    pub(super) fn resolve(&self, start: Start) -> Result<BTreeMap<Partition, Offset>, Unanswered> {
        let partitions = self.partitions()?;
        // The ends come first: a record that arrives between the two questions is then read, never missed.
        let bounds = self.bounds(&partitions)?;
        let found = match start {
            Start::Earliest | Start::Latest => BTreeMap::new(),
            Start::Time(time) => self.offsets(&partitions, At::Offset(first_milli(time)))?,
        };
        let places = bounds.into_iter().map(|(partition, bounds)| {
            let end = bounds.end.unwrap_or(bounds.start);
            let offset = match start {
                Start::Earliest => bounds.start,
                Start::Latest => end,
                Start::Time(_) => found.get(&partition).copied().flatten().unwrap_or(end),
            };
            (partition, offset)
        });
        Ok(places.collect())
    }

    /// One question to every leader: `at` is a time in milliseconds, or the beginning, or the end.
    fn offsets(
        &self,
        partitions: &BTreeSet<Partition>,
        at: At,
    ) -> Result<BTreeMap<Partition, Option<Offset>>, Unanswered> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(&self.topic, partition.0, at).map_err(|error| self.unanswered(&error))?;
        }
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        // The beginning and the end have the numbers -2 and -1 in place of a time, here as in Kafka's own protocol.
        let answer = self.client.offsets_for_times(list, ANSWER_TIME);
        self.take_events();
        let answer = answer.map_err(|error| self.unanswered(&error))?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.unanswered(&error))?;
            let offset = match element.offset() {
                At::Offset(offset) => Some(Offset(offset)),
                _ => None,
            };
            found.insert(Partition(element.partition()), offset);
        }
        Ok(found)
    }

    /// Lets the client speak; nobody else polls it.
    fn take_events(&self) {
        for _ in 0..EVENTS {
            let _ = self.client.poll(Duration::ZERO);
        }
    }

    fn unanswered(&self, error: &KafkaError) -> Unanswered {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let said = self.heard.outage().filter(|_| class(code) == Class::Transient);
        let why = said.map_or_else(|| format!("no answer: {code}"), |complaint| complaint.text);
        Unanswered { code, text: format!("broker {}: {why}", self.brokers) }
    }

    /// The error of a question that will not be answered; `None` if asking again can help.
    pub(super) fn hopeless(&self, unanswered: &Unanswered) -> Option<SourceError> {
        use RDKafkaErrorCode as Code;
        let Self { topic, brokers, .. } = self;
        match unanswered.code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic => {
                Some(SourceError::Invalid(format!("topic {topic} does not exist on {brokers}; create it first")))
            }
            code if class(code) == Class::Fatal => Some(errors::ending(topic, &self.group, code, &unanswered.text)),
            _ => self.heard.outage().filter(|complaint| complaint.class() == Class::Limited).map(|complaint| {
                SourceError::Invalid(format!("broker {brokers} refuses the connection: {}", complaint.text))
            }),
        }
    }

    /// Says which partition's next offset is gone, when the client said only that one is.
    pub(super) fn explain_gone(&self, next: &BTreeMap<Partition, Offset>, said: &str) -> SourceError {
        let bounds = self.bounds(&next.keys().copied().collect()).unwrap_or_default();
        let found =
            next.iter().find_map(|(&partition, &next)| gone(&self.topic, partition, next, bounds.get(&partition)?));
        found.unwrap_or_else(|| {
            SourceError::Data(format!("topic {}: an offset that comes next cannot be read: {said}", self.topic))
        })
    }
}

/// A broker that answers: the one that has just done so, or, where that is known by its address alone, one that leads.
fn answering(metadata: &Metadata, topic: &MetadataTopic) -> Option<i32> {
    let leaders = topic.partitions().iter().map(MetadataPartition::leader);
    std::iter::once(metadata.orig_broker_id()).chain(leaders).find(|&id| id >= 0)
}

/// The first millisecond that is not before `time`. Times before the epoch have other meanings in the protocol.
fn first_milli(time: Timestamp) -> i64 {
    let millis = time.0.div_euclid(1000) + i64::from(time.0.rem_euclid(1000) > 0);
    millis.max(0)
}

/// The error that says why `next` cannot be read from a partition with these bounds; `None` if it can.
pub(super) fn gone(topic: &str, partition: Partition, next: Offset, bounds: &Bounds) -> Option<SourceError> {
    if next < bounds.start {
        let (last, count) = (bounds.start.0 - 1, bounds.start.0 - next.0);
        return Some(SourceError::Data(format!(
            "topic {topic} partition {partition}: offsets {next}-{last} were deleted before they were read ({count} \
             offsets); to go on without them set on_data_loss = \"continue\" in [source]"
        )));
    }
    let end = bounds.end.filter(|&end| end < next)?;
    Some(SourceError::Data(format!(
        "topic {topic} partition {partition}: offset {next} comes next, but the topic ends at {end}; it was cut or made \
         anew, so the records counted are no longer those of the topic"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_between_two_milliseconds_begins_with_the_later_one() {
        assert_eq!(first_milli(Timestamp(1_000)), 1);
        assert_eq!(first_milli(Timestamp(1_001)), 2);
        assert_eq!(first_milli(Timestamp(-5)), 0);
    }

    #[test]
    fn lost_offsets_are_told_with_their_count() {
        let bounds = Bounds { start: Offset(350), end: Some(Offset(400)) };
        let text = gone("t", Partition(3), Offset(200), &bounds).map(|error| error.to_string()).unwrap_or_default();
        assert!(text.starts_with("topic t partition 3: offsets 200-349 were deleted"), "{text}");
        assert!(text.contains("(150 offsets)"), "{text}");
        assert!(gone("t", Partition(3), Offset(350), &bounds).is_none());
        assert!(gone("t", Partition(3), Offset(400), &bounds).is_none());
        assert!(gone("t", Partition(3), Offset(401), &bounds).is_some());
    }
}
