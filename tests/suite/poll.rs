//! `windrow poll` against a real HTTP server: what is published and kept, and what is counted when something fails.

mod candles;
mod failures;
mod secrets;
mod stores;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::{Api, Reply, price};
use crate::support::broker::Broker;
use crate::support::process::{Ended, Running, run, windrow};
use crate::support::unique;

/// What must not be seen anywhere; characters in it are written otherwise in an address.
const TOKEN: &str = "canary-9d1c7e/+=";
const PARTITIONS: i32 = 3;

/// A poll of an [`Api`] into a topic that nobody else has.
struct Poll {
    api: Api,
    broker: Broker,
    topic: String,
    symbols: Vec<&'static str>,
    /// Lines of the sections.
    request: String,
    schedule: String,
    kafka: String,
    /// `[history]` and its lines.
    history: String,
    dir: TempDir,
}

impl Poll {
    fn new(broker: Broker, symbols: &[&'static str]) -> Self {
        let topic = unique("quotes");
        broker.create_topic(&topic, PARTITIONS);
        Self {
            api: Api::start(),
            broker,
            topic,
            symbols: symbols.to_vec(),
            request: "pause = \"1 ms\"\n".to_owned(),
            schedule: String::new(),
            kafka: String::new(),
            history: String::new(),
            dir: TempDir::new().unwrap(),
        }
    }

    /// The example with this test's addresses and symbols.
    fn text(&self) -> String {
        let Self { api, broker, topic, symbols, request, schedule, kafka, history, .. } = self;
        let example = include_str!("../../examples/quotes-poll.toml");
        let (_, fields) = example.split_once("[fields]").unwrap();
        let (fields, _) = fields.split_once("[kafka]").unwrap();
        format!(
            "name = \"quotes\"\nsymbols = {symbols:?}\n\n[request]\nurl = \"{}/quote/{{symbol}}?token=${{API_TOKEN}}\"\n\
             headers = {{ Authorization = \"Bearer ${{API_TOKEN}}\" }}\n{request}\n[schedule]\n{schedule}\n\
             [fields]{fields}\n[kafka]\nbrokers = \"{}\"\ntopic = \"{topic}\"\nkey = \"ticker\"\n{kafka}\n{history}",
            api.base(),
            broker.servers(),
        )
    }

    fn write(&self) -> PathBuf {
        let path = self.dir.path().join("quotes.toml");
        std::fs::write(&path, self.text()).unwrap();
        path
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = windrow();
        command.arg("poll").arg(self.write()).args(options).env("API_TOKEN", TOKEN).env("NO_PROXY", "*");
        command
    }

    #[track_caller]
    fn once(&self) -> Ended {
        run(&mut self.command(&["--once"]))
    }

    fn start(&self) -> Running {
        Running::start(&mut self.command(&[]))
    }

    /// Values of the topic's records by key; each key is in one partition.
    fn records(&self) -> Vec<(String, Value)> {
        let records = self.broker.records(&self.topic, PARTITIONS);
        for (partition, key, _) in &records {
            assert!(
                records.iter().all(|(other, same, _)| same != key || other == partition),
                "{key} has one partition"
            );
        }
        let mut records: Vec<_> =
            records.into_iter().map(|(_, key, value)| (key, serde_json::from_str(&value).unwrap())).collect();
        records.sort_by(|a: &(String, Value), b| a.0.cmp(&b.0));
        records
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }
}

/// The record of a quote that nothing was said about.
fn record(symbol: &str) -> Value {
    json!({
        "ticker": symbol,
        "name": format!("{symbol} Ações S.A."),
        "short_name": format!("{symbol} PN"),
        "price": price(symbol),
        "volume": 36_457_000,
        "updated_at": 1_772_482_065,
    })
}

/// Turns `fn name(broker)` into a test for the mock cluster and one for a real Kafka.
macro_rules! for_every_broker {
    ($(fn $name:ident($broker:ident: Broker) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn test($broker: Broker) $body

            #[test]
            fn over_mock_broker() {
                test(Broker::mock());
            }

            #[test]
            fn over_kafka() {
                if let Some(broker) = Broker::kafka(stringify!($name)) {
                    test(broker);
                }
            }
        }
    )*};
}
pub(crate) use for_every_broker;

for_every_broker! {
    fn a_round_publishes_each_quote_once_by_its_ticker(broker: Broker) {
        let poll = Poll::new(broker, &["PETR4", "VALE3", "BOVA11", "HGLG11"]);
        // The same second, as text and as a number.
        poll.api.reply("VALE3", [Reply::Quote(price("VALE3"), json!(1_772_482_065))]);
        let ended = poll.once().expect(0);
        assert_eq!(ended.stdout, "4 succeeded, 0 failed\n");
        let expected: Vec<_> = ["BOVA11", "HGLG11", "PETR4", "VALE3"].map(|symbol| (symbol.to_owned(), record(symbol))).into();
        assert_eq!(poll.records(), expected);
        let symbols: Vec<_> = poll.api.seen().into_iter().map(|seen| seen.symbol).collect();
        assert_eq!(symbols, ["PETR4", "VALE3", "BOVA11", "HGLG11"], "one after the other, in the file's order");
        assert_eq!(poll.api.most_at_once(), 1);
    }

    fn rounds_follow_each_other_and_never_overlap(broker: Broker) {
        let mut poll = Poll::new(broker, &["PETR4", "VALE3"]);
        poll.schedule = "interval = \"1 second\"\n".to_owned();
        let mut running = poll.start();
        for round in 1..=3 {
            running.wait_for(&format!("2 succeeded, 0 failed round={round}"));
        }
        running.stop().expect(0);
        let seen = poll.api.seen();
        assert_eq!(poll.api.most_at_once(), 1);
        assert!(seen.iter().zip(["PETR4", "VALE3"].iter().cycle()).all(|(seen, symbol)| seen.symbol == **symbol));
        let begins: Vec<_> = seen.iter().step_by(2).map(|seen| seen.began).collect();
        // From the beginning of one to the beginning of the next, unless a slow machine began late.
        assert!(begins[2] - begins[0] >= 1_000_000, "{begins:?}");
        assert!(poll.records().len() >= 6);
    }

    fn a_stop_ends_after_the_symbol_in_hand(broker: Broker) {
        let poll = Poll::new(broker, &["PETR4", "VALE3", "ITUB4"]);
        poll.api.reply("PETR4", [Reply::Held]);
        let mut running = poll.start();
        crate::support::eventually("the first call", crate::support::PATIENCE, || (poll.api.under_way() == 1).then_some(()));
        running.signal("TERM");
        running.wait_for("stopping after the symbol in hand");
        poll.api.release();
        let ended = running.wait(crate::support::PATIENCE).expect(0);
        assert!(ended.stderr.contains("1 succeeded, 0 failed, 2 left when asked to stop"), "{}", ended.stderr);
        assert_eq!(poll.records(), [("PETR4".to_owned(), record("PETR4"))]);
        assert_eq!(poll.api.seen().len(), 1);
    }

    fn killed_in_the_middle_of_a_round_it_begins_anew(broker: Broker) {
        let poll = Poll::new(broker, &["PETR4", "VALE3", "ITUB4"]);
        poll.api.reply("ITUB4", [Reply::Held]);
        let running = poll.start();
        crate::support::eventually("the third call", crate::support::PATIENCE, || {
            (poll.api.seen().len() == 2 && poll.api.under_way() == 1).then_some(())
        });
        running.kill();
        poll.api.release();
        poll.once().expect(0);
        let records = poll.records();
        for symbol in ["PETR4", "VALE3", "ITUB4"] {
            assert!(records.contains(&(symbol.to_owned(), record(symbol))), "{symbol}: {records:?}");
        }
    }
}

#[test]
fn without_the_token_nothing_begins() {
    let poll = Poll::new(Broker::mock(), &["PETR4"]);
    for (token, problem) in [(None, "the environment has no API_TOKEN"), (Some(""), "API_TOKEN is empty")] {
        let mut command = poll.command(&[]);
        match token {
            Some(token) => command.env("API_TOKEN", token),
            None => command.env_remove("API_TOKEN"),
        };
        let ended = run(&mut command).expect(2);
        assert!(ended.stderr.contains(problem), "{}", ended.stderr);
    }
    assert!(poll.api.seen().is_empty());
}

#[test]
fn a_check_calls_once_and_publishes_nothing() {
    let mut poll = Poll::new(Broker::mock(), &["PETR4", "VALE3"]);
    poll.history = format!("[history]\nurl = \"{}\"\n", poll.folder().join("history").display());
    let check = |options: &[&str]| {
        let mut command = windrow();
        command.arg("check").arg(poll.write()).args(options).env("API_TOKEN", TOKEN).env("NO_PROXY", "*");
        run(&mut command)
    };
    let ended = check(&["--offline"]).expect(0);
    assert!(ended.stdout.contains("poll quotes: the file is sound"), "{}", ended.stdout);
    assert!(poll.api.seen().is_empty());
    let ended = check(&[]).expect(0);
    assert!(ended.stdout.contains("\"ticker\":\"PETR4\"") && ended.stdout.contains("3 partitions"), "{}", ended.stdout);
    assert!(ended.stdout.contains("/quote/PETR4?token=${API_TOKEN}"), "{}", ended.stdout);
    assert!(!ended.said().contains("canary"), "{}", ended.said());
    assert_eq!((poll.api.seen().len(), poll.records().len()), (1, 0));
    assert!(!poll.folder().join("history").exists());
    poll.api.reply("PETR4", [Reply::Raw(404, r#"{"message":"no such symbol"}"#)]);
    let ended = check(&[]).expect(1);
    assert!(ended.stderr.contains("PETR4: the server answers 404 Not Found, \"no such symbol\""), "{}", ended.stderr);
}
