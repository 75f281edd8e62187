//! Brokers: librdkafka's mock cluster in this process, or a real Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use windrow::source::embedded;

use super::{PATIENCE, eventually, skip, unique};

/// A broker that a child process can reach.
pub(crate) struct Broker {
    servers: String,
    mock: Option<embedded::Broker>,
}

impl Broker {
    /// A mock cluster of its own. It keeps 5 MB a partition, so tests stay below that.
    pub(crate) fn mock() -> Self {
        let mock = embedded::Broker::start(&unique("first"), 1).unwrap();
        Self { servers: mock.brokers().to_owned(), mock: Some(mock) }
    }

    /// The real Kafka that the environment names; `None`, told as left out, if it names none.
    pub(crate) fn kafka(test: &str) -> Option<Self> {
        let servers = std::env::var("WINDROW_TEST_KAFKA").ok().filter(|servers| !servers.is_empty());
        if servers.is_none() {
            skip(test, "WINDROW_TEST_KAFKA names no broker");
        }
        servers.map(|servers| Self { servers, mock: None })
    }

    /// The real Kafka at this address.
    #[allow(dead_code, reason = "for the torture run, which has a broker of its own")]
    pub(crate) fn at(servers: &str) -> Self {
        Self { servers: servers.to_owned(), mock: None }
    }

    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// Whether it is a mock cluster, which can be told to be away.
    pub(crate) fn is_mock(&self) -> bool {
        self.mock.is_some()
    }

    /// Cuts a mock cluster's connections, or mends them.
    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.mock.as_ref().unwrap().set_reachable(reachable).unwrap();
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        if let Some(mock) = &self.mock {
            mock.create_topic(topic, partitions).unwrap();
            return;
        }
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        // Records may be of long ago, which a broker soon deletes.
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let made = futures::executor::block_on(admin.create_topics([&new], &options)).unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
        // Kafka answers before every part of it knows the topic.
        eventually("the new topic is known", PATIENCE, || {
            let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(10)).ok()?;
            let known = metadata.topics().iter().find(|known| known.name() == topic)?;
            (known.partitions().len() == usize::try_from(partitions).unwrap()
                && known.partitions().iter().all(|partition| partition.leader() >= 0))
            .then_some(())
        });
    }

    /// Has a real broker delete the records of a partition before `offset`.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        futures::executor::block_on(admin.delete_records(&before, &AdminOptions::new())).unwrap();
    }

    /// Has a real broker delete a topic.
    pub(crate) fn delete_topic(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().unwrap();
        let gone = futures::executor::block_on(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
        gone.into_iter().for_each(|gone| drop(gone.unwrap()));
    }

    /// A producer with these settings besides the usual ones.
    pub(crate) fn producer(&self, topic: &str, settings: &[(&str, &str)]) -> Producer {
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let failed = Arc::new(AtomicU64::new(0));
        let inner = config.create_with_context(Deliveries(failed.clone())).unwrap();
        Producer { topic: topic.to_owned(), inner, failed }
    }

    /// Partition, key and value of every record in a topic, in the order of the partitions.
    pub(crate) fn records(&self, topic: &str, partitions: i32) -> Vec<(i32, String, String)> {
        let consumer: BaseConsumer =
            self.config().set("group.id", "records").set("enable.auto.commit", "false").create().unwrap();
        let mut wanted = TopicPartitionList::new();
        let mut left = 0;
        for partition in 0..partitions {
            let (_, end) = eventually("a partition's end", PATIENCE, || {
                consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).ok()
            });
            left += end;
            wanted.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&wanted).unwrap();
        let mut found = Vec::new();
        while i64::try_from(found.len()).unwrap() < left {
            let record = consumer.poll(PATIENCE).expect("a record that the topic holds");
            // A mock cluster's end may be told before its records are.
            let Ok(record) = record else { continue };
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
            found.push((record.partition(), text(record.key()), text(record.payload())));
        }
        found.sort_by_key(|(partition, ..)| *partition);
        found
    }

    /// The offsets that the group has committed, by partition; what it has not committed is not there.
    pub(crate) fn committed(&self, group: &str, topic: &str, partitions: i32) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut wanted = TopicPartitionList::new();
        for partition in 0..partitions {
            wanted.add_partition(topic, partition);
        }
        // A coordinator that has just come up asks to be asked again.
        let found = eventually("the group's offsets", PATIENCE, || {
            consumer.committed_offsets(wanted.clone(), Duration::from_secs(20)).ok()
        });
        let offset = |offset: Offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        found.elements().iter().filter_map(|found| Some((found.partition(), offset(found.offset())?))).collect()
    }
}

struct Deliveries(Arc<AtomicU64>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes to one topic, in order.
pub(crate) struct Producer {
    topic: String,
    inner: ThreadedProducer<Deliveries>,
    failed: Arc<AtomicU64>,
}

impl Producer {
    /// Sends one record; `None` is a tombstone.
    pub(crate) fn send(&self, partition: usize, value: Option<&str>) {
        let partition = i32::try_from(partition).unwrap();
        loop {
            let mut record: BaseRecord<'_, str, str> = BaseRecord::to(&self.topic).partition(partition).key("k");
            if let Some(value) = value {
                record = record.payload(value);
            }
            match self.inner.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("cannot send: {error}"),
            }
        }
    }

    /// Sends one record as it is, `at` in milliseconds.
    pub(crate) fn send_whole(
        &self,
        partition: usize,
        at: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(String, Option<Vec<u8>>)],
    ) {
        let mut list = OwnedHeaders::new_with_capacity(headers.len());
        for (name, value) in headers {
            list = list.insert(Header { key: name, value: value.as_ref() });
        }
        loop {
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic).timestamp(at);
            record = record.partition(i32::try_from(partition).unwrap()).headers(list.clone());
            record.key = key;
            record.payload = value;
            match self.inner.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("cannot send: {error}"),
            }
        }
    }

    /// Waits until everything sent is in the topic.
    pub(crate) fn flush(&self) {
        self.inner.flush(PATIENCE).unwrap();
        assert_eq!(self.failed.load(Ordering::Relaxed), 0, "records that did not reach the topic");
    }
}
