use clap::Parser;

use super::*;
use crate::cli::{LogFormat, Talk};
use crate::config::KafkaConfig;
use crate::source::embedded::Broker;
use crate::source::kafka::KafkaSource;
use crate::source::{Source, Start};

#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    generate: Generate,
}

fn parse(line: &str) -> Result<Generate, clap::Error> {
    Alone::try_parse_from(["generate"].into_iter().chain(line.split_whitespace())).map(|alone| alone.generate)
}

fn run(line: &str) -> Result<(), Error> {
    parse(line).unwrap().run(&Terminal::start(Talk { quiet: true, log_format: LogFormat::Text }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_as_many_lines_as_records_were_asked_for_and_a_truth_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (out, truth) = (folder.path().join("rides.jsonl"), folder.path().join("truth.csv"));
    run(&format!("rides --records 3_000 --broken 10% --out {} --truth {}", out.display(), truth.display())).unwrap();
    let lines = std::fs::read_to_string(&out).unwrap();
    assert_eq!(lines.lines().count(), 3000);
    assert!(lines.lines().all(|line| line.starts_with('{')));
    let truth = std::fs::read_to_string(&truth).unwrap();
    let rides = truth.lines().filter(|line| line.starts_with("2026-03-01T"));
    let rides: usize = rides.map(|line| line.rsplit(',').next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(truth.contains(&format!("# records 3000, counted below {rides}, broken {}\n", 3000 - rides)), "{truth}");
    assert!(!truth.contains("tombstone"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_gets_every_record_in_its_partition() {
    let broker = Broker::start("rides", 3).unwrap();
    let brokers = broker.brokers();
    run(&format!("rides --records 5000 --broken 1% --partitions 3 --brokers {brokers} --topic rides")).unwrap();
    let config = KafkaConfig {
        brokers: brokers.to_owned(),
        topic: "rides".to_owned(),
        group: "test".to_owned(),
        start: Start::Earliest,
        properties: std::collections::BTreeMap::new(),
        headers: false,
        shared: false,
    };
    let topic = KafkaSource::connect(&config, Clock::system()).unwrap().describe().await.unwrap();
    let expected = |partition| {
        let plan = Plan { partitions: 3, broken: Share(10_000), ..Plan::RIDES }.spread(5000, 24 * HOUR);
        Generator::new(plan).take(5000).filter(|record| record.partition == partition).count() as i64
    };
    assert_eq!(topic.partitions.len(), 3);
    for (partition, bounds) in topic.partitions {
        assert_eq!(bounds.end.unwrap().0, expected(partition));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let began = clock.now();
    run(&format!("quotes --now --records 30 --rate 100/s --out {}", folder.path().join("out").display())).unwrap();
    assert!(clock.now().0 - began.0 >= 290_000);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for line in [
        "rides --hours 2",
        "rides --records 10 --hours 2 --per-hour 5",
        "rides --now --start 2026-03-01T00:00:00Z",
        "rides --brokers localhost:9092",
        "rides --topic rides",
        "rides --brokers localhost:9092 --topic rides --out rides.jsonl",
        "rides --window 1h",
        "rides --truth truth.csv --watermark-delay 10m",
        "lorries",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(parse("rides --truth truth.csv --watermark-delay 10m --allowed-lateness 2h --window 30m").is_ok());
}
