use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use super::*;
use crate::log::Published;
use crate::source::Bounds;
use crate::source::embedded::Broker;
use crate::source::produce::{Message, Producer};

/// Long enough for a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(broker: &Broker) -> KafkaConfig {
    KafkaConfig {
        brokers: broker.brokers().to_owned(),
        topic: "rides".to_owned(),
        group: "rides-hourly".to_owned(),
        start: Start::Earliest,
        properties: BTreeMap::new(),
        headers: false,
        shared: false,
    }
}

fn source(broker: &Broker) -> KafkaSource {
    KafkaSource::connect(&config(broker), Clock::system()).unwrap()
}

/// Writes records "0", "1", … to one partition.
fn write(broker: &Broker, partition: i32, numbers: std::ops::Range<i64>) {
    let producer = Producer::connect(broker.brokers(), &BTreeMap::new()).unwrap();
    for number in numbers {
        let value = number.to_string();
        let message = Message {
            partition: Some(partition),
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            timestamp_ms: Some(1_700_000_000_000 + number),
        };
        producer.send("rides", message).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn places<const N: usize>(places: [(i32, i64); N]) -> BTreeMap<Partition, Offset> {
    places.into_iter().map(|(partition, offset)| (Partition(partition), Offset(offset))).collect()
}

async fn next(source: &mut KafkaSource) -> Result<Event, SourceError> {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("an event in time")
}

/// Reads until each of these partitions has ended at least where it is said to; offsets and numbers of what came.
async fn read_to(source: &mut KafkaSource, ends: &BTreeMap<Partition, Offset>) -> BTreeMap<Partition, Vec<(i64, i64)>> {
    let mut read: BTreeMap<Partition, Vec<(i64, i64)>> = BTreeMap::new();
    let mut waiting = ends.clone();
    while !waiting.is_empty() {
        match next(source).await.unwrap() {
            Event::Records(records) => {
                let numbers = records.iter().map(|record| {
                    assert_eq!(record.key, Some(&b"key"[..]));
                    let number: i64 = std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
                    assert_eq!(record.timestamp.unwrap().0, (1_700_000_000_000 + number) * 1000);
                    (record.offset.0, number)
                });
                read.entry(records.partition).or_default().extend(numbers);
            }
            Event::Reached { partition, position } => {
                let last = read.get(&partition).and_then(|read| read.last());
                assert!(last.is_none_or(|last| last.0 < position.0), "records below {position} come before the end");
                waiting.retain(|&known, end| known != partition || position < *end);
            }
            _ => {}
        }
    }
    read
}

fn whole(numbers: std::ops::Range<i64>) -> Vec<(i64, i64)> {
    numbers.map(|number| (number, number)).collect()
}

#[tokio::test]
async fn every_partition_is_read_from_its_offset_to_its_end() {
    let broker = Broker::start("rides", 3).unwrap();
    (0..3).for_each(|partition| write(&broker, partition, 0..5000));
    let mut source = source(&broker);

    let topic = source.describe().await.unwrap();
    assert_eq!(topic.name, "rides");
    assert!(topic.cluster.is_some());
    let bounds = Bounds { start: Offset(0), end: Some(Offset(5000)) };
    assert_eq!(topic.partitions.values().copied().collect::<Vec<_>>(), vec![bounds; 3]);

    source.assign(&places([(0, 0), (1, 4990), (2, 5000)])).await.unwrap();
    let read = read_to(&mut source, &places([(0, 5000), (1, 5000), (2, 5000)])).await;
    assert_eq!(read.get(&Partition(0)), Some(&whole(0..5000)));
    assert_eq!(read.get(&Partition(1)), Some(&whole(4990..5000)));
    assert_eq!(read.get(&Partition(2)), None);

    write(&broker, 2, 5000..5003);
    let read = read_to(&mut source, &places([(2, 5003)])).await;
    assert_eq!(read.get(&Partition(2)), Some(&whole(5000..5003)));
}

#[tokio::test]
async fn the_brokers_word_on_the_ends_comes_again_and_again() {
    let broker = Broker::start("rides", 2).unwrap();
    write(&broker, 1, 0..10);
    let mut source = source(&broker);
    let began = source.clock.now();
    source.assign(&places([(0, 0), (1, 0)])).await.unwrap();
    let mut asked_before = began;
    for _ in 0..3 {
        let (asked, ends) = loop {
            if let Event::Ends { asked, ends } = next(&mut source).await.unwrap() {
                break (asked, ends);
            }
        };
        assert!(asked > asked_before);
        asked_before = asked;
        assert_eq!(ends, [(Partition(0), Offset(0)), (Partition(1), Offset(10))]);
    }
}

#[tokio::test]
async fn a_partition_assigned_later_does_not_disturb_the_others() {
    let broker = Broker::start("rides", 2).unwrap();
    write(&broker, 0, 0..20_000);
    write(&broker, 1, 0..20_000);
    let mut source = source(&broker);
    source.assign(&places([(0, 0)])).await.unwrap();
    let mut read: BTreeMap<Partition, Vec<i64>> = BTreeMap::new();
    let mut ended = 0;
    while ended < 2 {
        match next(&mut source).await.unwrap() {
            Event::Records(records) => {
                if read.is_empty() {
                    source.assign(&places([(1, 7)])).await.unwrap();
                }
                read.entry(records.partition).or_default().extend(records.iter().map(|record| record.offset.0));
            }
            Event::Reached { .. } => ended += 1,
            _ => {}
        }
    }
    assert_eq!(read.get(&Partition(0)), Some(&(0..20_000).collect()));
    assert_eq!(read.get(&Partition(1)), Some(&(7..20_000).collect()));
}

#[tokio::test]
async fn an_outage_is_told_once_and_so_is_its_end() {
    let broker = Broker::start("rides", 1).unwrap();
    write(&broker, 0, 0..10);
    let mut source = source(&broker);
    source.assign(&places([(0, 0)])).await.unwrap();
    read_to(&mut source, &places([(0, 10)])).await;

    broker.set_reachable(false).unwrap();
    let why = loop {
        match next(&mut source).await.unwrap() {
            Event::Waiting(why) => break why,
            Event::Ends { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(why.contains(broker.brokers()), "{why}");
    let quiet = tokio::time::timeout(Duration::from_secs(8), source.next()).await;
    assert!(quiet.is_err(), "an outage is told once: {quiet:?}");

    broker.set_reachable(true).unwrap();
    loop {
        match next(&mut source).await.unwrap() {
            Event::Resumed => break,
            Event::Ends { .. } | Event::Reached { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    write(&broker, 0, 10..12);
    let read = read_to(&mut source, &places([(0, 12)])).await;
    assert_eq!(read.get(&Partition(0)), Some(&whole(10..12)));
}

#[tokio::test]
async fn offsets_that_are_gone_are_an_error_that_names_them() {
    let broker = Broker::start("rides", 2).unwrap();
    let producer = Producer::connect(broker.brokers(), &BTreeMap::new()).unwrap();
    let mut random = 1_u64;
    for _ in 0..16 {
        // The mock keeps 5 MB of a partition, as they were sent, so they must not compress.
        let value: Vec<u8> = (0..600_000)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                random.to_be_bytes()[0]
            })
            .collect();
        let message = Message { partition: Some(1), value: Some(&value), ..Message::default() };
        producer.send("rides", message).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    let mut source = source(&broker);
    let start = source.describe().await.unwrap().partitions[&Partition(1)].start;
    assert!(start > Offset(0), "the broker has dropped something");
    source.assign(&places([(0, 0), (1, 0)])).await.unwrap();
    let error = loop {
        match next(&mut source).await {
            Ok(Event::Records(_)) => panic!("what comes after a loss must not be delivered"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let expected = format!(
        "topic rides partition 1: offsets 0-{} were deleted before they were read ({start} offsets); to go on without \
         them set on_data_loss = \"continue\" in [source]",
        start.0 - 1
    );
    assert!(matches!(&error, SourceError::Data(text) if *text == expected), "{error}");
}

#[tokio::test]
async fn what_is_published_is_committed_for_others_to_see() {
    let broker = Broker::start("rides", 2).unwrap();
    write(&broker, 0, 0..10);
    let mut source = source(&broker);
    source.commit(&Published::for_test(places([(0, 7), (1, 0)])));
    let reader: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", broker.brokers())
        .set("group.id", "rides-hourly")
        .create()
        .unwrap();
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition("rides", 0);
    let committed = || {
        let found = reader.committed_offsets(wanted.clone(), Duration::from_secs(5)).ok()?;
        found.find_partition("rides", 0).map(|found| found.offset())
    };
    let seen = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(50));
        committed() == Some(At::Offset(7))
    });
    assert!(seen, "{:?}", committed());
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_named() {
    let broker = Broker::start("others", 1).unwrap();
    let mut config = config(&broker);
    config.topic = "ridez".to_owned();
    let mut source = KafkaSource::connect(&config, Clock::system()).unwrap();
    // The mock creates a topic for whoever asks, unless asked not to.
    let error = tokio::time::timeout(PATIENCE, source.describe()).await.unwrap().unwrap_err();
    assert!(matches!(&error, SourceError::Invalid(text) if text.contains("topic ridez does not exist")), "{error}");
}

#[tokio::test]
async fn a_description_waits_for_a_broker_that_is_down() {
    let broker = Broker::start("rides", 1).unwrap();
    broker.set_reachable(false).unwrap();
    let mut source = source(&broker);
    let early = tokio::time::timeout(Duration::from_secs(6), source.describe()).await;
    assert!(early.is_err(), "{early:?}");
    broker.set_reachable(true).unwrap();
    let topic = tokio::time::timeout(PATIENCE, source.describe()).await.unwrap().unwrap();
    assert_eq!(topic.partitions.len(), 1);
}

#[tokio::test]
async fn starts_are_resolved_to_offsets() {
    let broker = Broker::start("rides", 2).unwrap();
    write(&broker, 0, 0..10);
    let mut source = source(&broker);
    assert_eq!(source.resolve(Start::Earliest).await.unwrap(), places([(0, 0), (1, 0)]));
    assert_eq!(source.resolve(Start::Latest).await.unwrap(), places([(0, 10), (1, 0)]));
    // The embedded broker knows no times: after its last record is all it can say.
    let time = crate::record::Timestamp(1_700_000_000_000_000);
    assert_eq!(source.resolve(Start::Time(time)).await.unwrap(), places([(0, 10), (1, 0)]));
}

#[tokio::test]
async fn a_refused_property_is_named_and_its_value_is_not() {
    let broker = Broker::start("rides", 1).unwrap();
    for (key, value) in
        [("sasl.pasword", "hunter2"), ("security.protocol", "hunter2"), ("session.timeout.ms", "hunter2")]
    {
        let mut config = config(&broker);
        config.properties.insert(key.to_owned(), value.to_owned());
        let error = KafkaSource::connect(&config, Clock::system()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SourceError::Invalid(_)));
        assert!(text.contains(key) && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn dropping_the_source_does_not_hang_while_the_broker_is_away() {
    let broker = Broker::start("rides", 1).unwrap();
    write(&broker, 0, 0..20_000);
    let mut source = source(&broker);
    source.assign(&places([(0, 0)])).await.unwrap();
    assert!(matches!(next(&mut source).await.unwrap(), Event::Records(_)));
    broker.set_reachable(false).unwrap();
    let clock = source.clock;
    let before = clock.now();
    drop(source);
    let took = clock.now().0 - before.0;
    assert!(took < 2_000_000, "{took} µs");
}

#[tokio::test]
async fn a_reader_that_is_slow_loses_nothing() {
    let broker = Broker::start("rides", 2).unwrap();
    write(&broker, 0, 0..60_000);
    write(&broker, 1, 0..60_000);
    let mut source = source(&broker);
    source.assign(&places([(0, 0), (1, 0)])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(source.events.len() <= EVENTS);
    let read = read_to(&mut source, &places([(0, 60_000), (1, 60_000)])).await;
    assert_eq!(read.get(&Partition(0)), Some(&whole(0..60_000)));
    assert_eq!(read.get(&Partition(1)), Some(&whole(0..60_000)));
}

#[tokio::test]
async fn memory_that_is_given_back_brings_the_next_records_and_no_old_ones() {
    let broker = Broker::start("rides", 1).unwrap();
    let producer = Producer::connect(broker.brokers(), &BTreeMap::new()).unwrap();
    let value = |number: i64| format!("{number:>width$}", width = 100 + usize::try_from(number % 150).unwrap());
    for number in 0..24_000 {
        let value = value(number);
        let key = (number % 3 == 0).then_some(&b"key"[..]);
        let message = Message { partition: Some(0), key, value: Some(value.as_bytes()), timestamp_ms: None };
        producer.send("rides", message).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let mut source = source(&broker);
    source.assign(&places([(0, 0)])).await.unwrap();
    let (mut expected, mut batches) = (0, 0);
    while expected < 24_000 {
        let Event::Records(records) = next(&mut source).await.unwrap() else { continue };
        for record in records.iter() {
            assert_eq!(record.offset.0, expected);
            assert_eq!(record.key, (expected % 3 == 0).then_some(&b"key"[..]));
            assert_eq!(record.value, Some(value(expected).as_bytes()));
            expected += 1;
        }
        batches += 1;
        source.take_back(records);
    }
    assert!(batches > 2, "{batches}");
}

#[test]
fn records_for_a_broker_that_is_away_are_given_up_in_time_and_counted() {
    let broker = Broker::start("rides", 1).unwrap();
    broker.set_reachable(false).unwrap();
    let producer = Producer::connect(broker.brokers(), &BTreeMap::new()).unwrap();
    let message = Message { value: Some(b"1"), ..Message::default() };
    producer.send("rides", message).unwrap();
    producer.send("rides", message).unwrap();
    let error = producer.flush(Duration::from_secs(2)).unwrap_err().to_string();
    assert!(error.contains("2 records were not delivered"), "{error}");
    assert_eq!(producer.delivered(), 0);
}

/// What is fetched and not yet handed over is dropped by a pause, and must come again: nothing may be left out.
#[tokio::test]
async fn a_partition_that_is_paused_again_and_again_loses_nothing() {
    let broker = Broker::start("rides", 3).unwrap();
    (0..3).for_each(|partition| write(&broker, partition, 0..30_000));
    let mut source = source(&broker);
    source.assign(&places([(0, 0), (1, 0), (2, 0)])).await.unwrap();
    let mut next_of: BTreeMap<Partition, i64> = BTreeMap::new();
    let mut turn = 0;
    while next_of.len() < 3 || next_of.values().any(|&next| next < 30_000) {
        if let Event::Records(records) = next(&mut source).await.unwrap() {
            for record in records.iter() {
                let next = next_of.entry(records.partition).or_default();
                assert!(record.offset.0 <= *next, "partition {}: {next} was left out", records.partition);
                *next = (*next).max(record.offset.0 + 1);
            }
        }
        // Two of three at most wait at a time, so that something always comes.
        turn += 1;
        let waiting = (0..3).filter(|partition| (turn + partition) % 3 < turn % 4 % 3).map(Partition);
        let done = |partition: &Partition| next_of.get(partition).is_some_and(|&next| next >= 30_000);
        let all_done =
            (0..3).map(Partition).all(|partition| (turn + partition.0) % 3 < turn % 4 % 3 || done(&partition));
        source.pause(&if all_done { BTreeSet::new() } else { waiting.collect() }).unwrap();
    }
}

/// A client that is paused at a partition's end must not go on behind the record that comes there meanwhile.
#[tokio::test]
async fn a_record_that_comes_while_a_partition_waits_at_its_end_is_read() {
    let broker = Broker::start("rides", 2).unwrap();
    (0..2).for_each(|partition| write(&broker, partition, 0..10));
    let mut source = source(&broker);
    source.assign(&places([(0, 0), (1, 0)])).await.unwrap();
    let read = read_to(&mut source, &places([(0, 10), (1, 10)])).await;
    assert!(read.values().all(|records| records.len() == 10));
    for more in [10, 20, 30] {
        source.pause(&BTreeSet::from([Partition(1)])).unwrap();
        (0..2).for_each(|partition| write(&broker, partition, more..more + 10));
        read_to(&mut source, &places([(0, more + 10)])).await;
        source.pause(&BTreeSet::new()).unwrap();
        let read = read_to(&mut source, &places([(1, more + 10)])).await;
        assert_eq!(read[&Partition(1)], whole(more..more + 10));
    }
}
