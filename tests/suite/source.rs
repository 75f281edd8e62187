//! The Kafka source over a real broker: what the embedded one cannot show. Transactions, compaction, deleted records,
//! partitions that are added, times, records larger than a fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset as At, TopicPartitionList};
use windrow::clock::Clock;
use windrow::config::KafkaConfig;
use windrow::record::{Offset, Partition, Timestamp};
use windrow::source::kafka::KafkaSource;
use windrow::source::produce::{Message, Producer};
use windrow::source::{Event, Source, SourceError, Start};

use crate::support::broker::Broker;
use crate::support::{PATIENCE, unique};

/// A topic of its own on the real broker.
struct Fixture {
    broker: Broker,
    topic: String,
}

impl Fixture {
    fn new(test: &str, partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        let fixture = Self { broker: Broker::kafka(test)?, topic: unique("source") };
        // The records are of 1970, which a broker soon deletes.
        let mut topic = NewTopic::new(&fixture.topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let made = block_on(fixture.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
        made.into_iter().for_each(|made| drop(made.unwrap()));
        Some(fixture)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker.servers());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn source(&self) -> KafkaSource {
        let config = KafkaConfig {
            brokers: self.broker.servers().to_owned(),
            topic: self.topic.clone(),
            group: self.topic.clone(),
            start: Start::Earliest,
            properties: BTreeMap::new(),
            headers: false,
            shared: false,
        };
        KafkaSource::connect(&config, Clock::system()).unwrap()
    }

    fn write(&self, partition: i32, values: &[(i64, &[u8])]) {
        let producer = Producer::connect(self.broker.servers(), &BTreeMap::new()).unwrap();
        for (time, value) in values {
            let (value, timestamp_ms) = (Some(*value), Some(*time));
            let message = Message { partition: Some(partition), key: Some(b"k"), value, timestamp_ms };
            producer.send(&self.topic, message).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// A producer of transactions.
    fn transactions(&self) -> BaseProducer {
        let producer: BaseProducer = self.config().set("transactional.id", unique("t")).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }

    fn send(&self, producer: &BaseProducer, count: usize) {
        for _ in 0..count {
            let record: BaseRecord<'_, str, str> = BaseRecord::to(&self.topic).partition(0).key("k").payload("v");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn next(source: &mut KafkaSource) -> Result<Event, SourceError> {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("an event in time")
}

fn zero(offset: i64) -> BTreeMap<Partition, Offset> {
    BTreeMap::from([(Partition(0), Offset(offset))])
}

/// Reads partition 0 until it has ended at `end`; the offsets that came.
async fn read_to(source: &mut KafkaSource, end: i64) -> Vec<i64> {
    let mut offsets = Vec::new();
    loop {
        match next(source).await.unwrap() {
            Event::Records(records) => offsets.extend(records.iter().map(|record| record.offset.0)),
            Event::Reached { position, .. } if position.0 >= end => {
                assert_eq!(position, Offset(end));
                return offsets;
            }
            _ => {}
        }
    }
}

async fn end_now(source: &mut KafkaSource) -> Offset {
    loop {
        if let Event::Ends { ends, .. } = next(source).await.unwrap() {
            return ends[0].1;
        }
    }
}

#[test]
fn aborted_records_and_markers_are_gaps_and_open_transactions_are_the_end() {
    let Some(kafka) = Fixture::new("transactions", 1, &[]) else { return };
    let producer = kafka.transactions();
    for (count, commit) in [(3, true), (4, false), (2, true), (1, false)] {
        producer.begin_transaction().unwrap();
        kafka.send(&producer, count);
        if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }.unwrap();
    }
    runtime().block_on(async {
        let mut source = kafka.source();
        let end = source.describe().await.unwrap().partitions[&Partition(0)].end;
        assert_eq!(end, Some(Offset(14)));
        source.assign(&zero(0)).await.unwrap();
        // 3 is a marker, 4 to 8 were aborted, 11 is a marker, 12 and 13 were aborted.
        assert_eq!(read_to(&mut source, 14).await, [0, 1, 2, 9, 10]);
        assert_eq!(end_now(&mut source).await, Offset(14));

        producer.begin_transaction().unwrap();
        kafka.send(&producer, 2);
        kafka.write(0, &[(1, b"outside of any transaction")]);
        for _ in 0..3 {
            // What is not yet decided cannot be read, nor does it count as waiting to be read.
            assert_eq!(end_now(&mut source).await, Offset(14));
        }
        assert_eq!(source.resolve(Start::Latest).await.unwrap(), zero(14));
        producer.commit_transaction(PATIENCE).unwrap();
        assert_eq!(read_to(&mut source, 18).await, [14, 15, 16]);
        assert_eq!(end_now(&mut source).await, Offset(18));

        // A reader that begins among the last markers has nothing to read and is at the end all the same.
        let mut late = kafka.source();
        late.assign(&zero(17)).await.unwrap();
        assert_eq!(read_to(&mut late, 18).await, [0; 0]);
    });
}

#[test]
fn what_compaction_removes_is_a_gap() {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1"),
    ];
    let Some(kafka) = Fixture::new("compaction", 1, &settings) else { return };
    for round in 1..=5 {
        // It is by the records' own times that the broker begins a new segment.
        let time = round * 10_000;
        kafka.write(0, &[(time, b"a"), (time + 1, b"b"), (time + 2, b"c")]);
    }
    // The cleaner comes by every quarter of a minute; it spares the newest segment.
    let found = (0..40).find_map(|_| {
        std::thread::sleep(Duration::from_secs(1));
        runtime().block_on(async {
            let mut source = kafka.source();
            source.assign(&zero(0)).await.unwrap();
            let offsets = read_to(&mut source, 15).await;
            (offsets.len() < 15).then_some(offsets)
        })
    });
    let offsets = found.expect("the broker compacts in time");
    assert!(offsets.is_sorted() && offsets.last() == Some(&14), "{offsets:?}");
    runtime().block_on(async {
        // Beginning inside of a gap is beginning behind it.
        let mut source = kafka.source();
        source.assign(&zero(1)).await.unwrap();
        assert_eq!(read_to(&mut source, 15).await, offsets);
    });
}

#[test]
fn records_deleted_before_they_are_read_are_an_error_that_names_them() {
    let Some(kafka) = Fixture::new("deleted records", 1, &[]) else { return };
    kafka.write(0, &[(1, &b"v"[..]); 10]);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&kafka.topic, 0, At::Offset(6)).unwrap();
    block_on(kafka.admin().delete_records(&before, &AdminOptions::new())).unwrap();
    runtime().block_on(async {
        let mut source = kafka.source();
        let bounds = source.describe().await.unwrap().partitions[&Partition(0)];
        assert_eq!((bounds.start, bounds.end), (Offset(6), Some(Offset(10))));
        source.assign(&zero(2)).await.unwrap();
        let error = loop {
            match next(&mut source).await {
                Ok(Event::Records(_)) => panic!("what comes after a loss must not be delivered"),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        let expected =
            format!("topic {} partition 0: offsets 2-5 were deleted before they were read (4 offs", kafka.topic);
        assert!(error.starts_with(&expected), "{error}");
    });
}

#[test]
fn partitions_added_while_running_are_reported_and_read_from_their_start() {
    let Some(kafka) = Fixture::new("added partitions", 1, &[]) else { return };
    kafka.write(0, &[(1, b"v")]);
    runtime().block_on(async {
        let mut source = kafka.source();
        source.assign(&zero(0)).await.unwrap();
        assert_eq!(read_to(&mut source, 1).await, [0]);
        let more = NewPartitions::new(&kafka.topic, 3);
        kafka.admin().create_partitions([&more], &AdminOptions::new()).await.unwrap();
        kafka.write(2, &[(1, &b"v"[..]); 5]);
        let added = loop {
            if let Event::Added(added) = next(&mut source).await.unwrap() {
                break added;
            }
        };
        assert_eq!(added, [(Partition(1), Offset(0)), (Partition(2), Offset(0))]);
        source.assign(&added.into_iter().collect()).await.unwrap();
        let (mut read, mut ended) = (Vec::new(), BTreeSet::new());
        while ended.len() < 2 {
            match next(&mut source).await.unwrap() {
                Event::Records(records) => {
                    read.extend(records.iter().map(|record| (records.partition.0, record.offset.0)));
                }
                Event::Reached { partition, .. } => drop(ended.insert(partition)),
                Event::Added(again) => panic!("told twice: {again:?}"),
                _ => {}
            }
        }
        assert_eq!(read, (0..5).map(|offset| (2, offset)).collect::<Vec<_>>());
    });
}

#[test]
fn a_start_time_is_the_first_record_that_is_not_before_it() {
    let Some(kafka) = Fixture::new("start by time", 2, &[]) else { return };
    kafka.write(0, &[(1_000, b"v"), (2_000, b"v"), (3_000, b"v")]);
    runtime().block_on(async {
        let mut source = kafka.source();
        let mut at = async |micros| {
            let found = source.resolve(Start::Time(Timestamp(micros))).await.unwrap();
            (found[&Partition(0)].0, found[&Partition(1)].0)
        };
        assert_eq!(at(-5_000_000).await, (0, 0));
        assert_eq!(at(1_000_000).await, (0, 0));
        assert_eq!(at(1_000_001).await, (1, 0));
        assert_eq!(at(3_000_000).await, (2, 0));
        assert_eq!(at(3_000_001).await, (3, 0));
    });
}

#[test]
fn asking_for_a_topic_does_not_create_it() {
    let Some(kafka) = Fixture::new("a missing topic", 1, &[]) else { return };
    let missing = Fixture { broker: kafka.broker, topic: unique("missing") };
    runtime().block_on(async {
        let error = missing.source().describe().await.unwrap_err();
        assert!(matches!(&error, SourceError::Invalid(text) if text.contains(&missing.topic)), "{error}");
    });
    let topics = missing.admin().inner().fetch_metadata(None, PATIENCE).unwrap();
    assert!(topics.topics().iter().all(|topic| topic.name() != missing.topic));
}

#[test]
fn records_larger_than_a_fetch_are_read_in_their_turn() {
    let Some(kafka) = Fixture::new("large records", 2, &[]) else { return };
    let large = vec![b'x'; 900_000];
    for partition in 0..2 {
        kafka.write(partition, &[(1, b"small"), (2, &large), (3, b"small"), (4, &large), (5, &large), (6, b"")]);
    }
    runtime().block_on(async {
        let mut source = kafka.source();
        source.assign(&BTreeMap::from([(Partition(0), Offset(0)), (Partition(1), Offset(0))])).await.unwrap();
        let (mut sizes, mut ended) = ([Vec::new(), Vec::new()], 0);
        while ended < 2 {
            match next(&mut source).await.unwrap() {
                Event::Records(records) => {
                    let values = records.iter().map(|record| record.value.expect("an empty value is a value").len());
                    sizes[usize::try_from(records.partition.0).unwrap()].extend(values);
                }
                Event::Reached { position, .. } => ended += usize::from(position == Offset(6)),
                _ => {}
            }
        }
        assert_eq!(sizes, [const { [5, 900_000, 5, 900_000, 900_000, 0] }; 2]);
    });
}

#[test]
fn a_topic_made_anew_with_less_in_it_ends_the_reading() {
    let Some(kafka) = Fixture::new("a topic made anew", 1, &[]) else { return };
    kafka.write(0, &[(1, &b"v"[..]); 10]);
    runtime().block_on(async {
        let mut source = kafka.source();
        source.assign(&zero(0)).await.unwrap();
        assert_eq!(read_to(&mut source, 10).await.len(), 10);
        let (admin, options) = (kafka.admin(), AdminOptions::new());
        admin.delete_topics(&[&kafka.topic], &options).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = NewTopic::new(&kafka.topic, 1, TopicReplication::Fixed(1));
        admin.create_topics([&again], &options).await.unwrap();
        kafka.write(0, &[(1, &b"w"[..]); 3]);
        let error = loop {
            match next(&mut source).await {
                Ok(Event::Records(records)) => panic!("records of another topic: {records:?}"),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, SourceError::Data(text) if text.contains(&kafka.topic)), "{error}");
    });
}
