//! Every quote is in the history, too, with the time it was fetched.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use serde_json::json;
use windrow::clock::Clock;

use super::{Poll, record};
use crate::support::api::{Reply, price};
use crate::support::broker::Broker;
#[cfg(feature = "mongodb")]
use crate::support::mongo::Mongo;
use crate::support::place::Place;
use crate::support::postgres::Postgres;

fn poll_with_a_gap(history: &str) -> Poll {
    let mut poll = Poll::new(Broker::mock(), &["PETR4", "BOVA11", "FAIL3"]);
    poll.history = format!("[history]\n{history}");
    poll.api.reply("BOVA11", [Reply::Changed(json!({ "longName": null, "regularMarketVolume": null }))]);
    poll.api.reply("FAIL3", vec![Reply::Raw(404, ""); 9]);
    poll
}

for_every_sink! {
    fn parquet_files_keep_a_round_each(place: Place) {
        let history = place.below("history");
        let mut lines = format!("url = \"{}\"\n", history.url());
        if place.server().is_some() {
            lines += "properties = { allow_http = \"true\" }\n";
        }
        let poll = poll_with_a_gap(&lines);
        let before = Clock::system().now().0;
        for _ in 0..2 {
            let mut command = poll.command(&["--once"]);
            if let Some(server) = place.server() {
                command.envs(server.env());
            }
            assert_eq!(crate::support::process::run(&mut command).expect(1).stdout, "2 succeeded, 1 failed\n");
        }
        let keys = history.keys("", ".parquet");
        assert_eq!(keys.len(), 2, "{keys:?}");
        assert!(keys.iter().all(|key| key.starts_with("dt=") && key.contains("/quotes-")), "{keys:?}");
        let batch = &history.batches(&keys[0])[0];
        let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["ticker", "name", "short_name", "price", "volume", "updated_at", "created_at"]);
        let tickers: Vec<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(tickers, ["PETR4", "BOVA11"]);
        assert!(batch.column(1).is_null(1) && batch.column(4).is_null(1));
        assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(0), price("PETR4"));
        assert_eq!(batch.column(4).as_primitive::<Int64Type>().value(0), 36_457_000);
        assert_eq!(batch.column(5).as_primitive::<Int64Type>().value(0), 1_772_482_065);
        let created = batch.column(6).as_primitive::<TimestampMicrosecondType>();
        let after = Clock::system().now().0;
        assert!(created.iter().all(|at| (before..=after).contains(&at.unwrap())));
    }
}

#[test]
fn a_postgres_table_is_made_and_keeps_each_quote() {
    let Some(postgres) = Postgres::from_env("a_postgres_table_is_made_and_keeps_each_quote") else { return };
    let table = postgres.table("price_history");
    let poll = poll_with_a_gap(&format!("url = \"{}\"\ntable = \"{table}\"\n", postgres.url()));
    for _ in 0..2 {
        assert_eq!(poll.once().expect(1).stdout, "2 succeeded, 1 failed\n");
    }
    let rows = postgres.query(&format!(
        "SELECT ticker, name, short_name, price, volume, updated_at, created_at BETWEEN now() - interval '5 minutes' AND \
         now() FROM {table} ORDER BY created_at LIMIT 2"
    ));
    let text = |text: &str| Some(text.to_owned());
    let price = |symbol: &str| text(&price(symbol).to_string());
    let time = || text("1772482065");
    assert_eq!(
        rows,
        [
            [
                text("PETR4"),
                text("PETR4 Ações S.A."),
                text("PETR4 PN"),
                price("PETR4"),
                text("36457000"),
                time(),
                text("t")
            ],
            [text("BOVA11"), None, text("BOVA11 PN"), price("BOVA11"), None, time(), text("t")],
        ]
    );
    assert_eq!(postgres.number(&format!("SELECT count(*) FROM {table}")), 4);
    // A table that has no place for a member refuses the record; the topic has it all the same.
    postgres.execute(&format!("ALTER TABLE {table} DROP COLUMN price"));
    let ended = poll.once().expect(1);
    assert!(ended.stdout.starts_with("0 succeeded, 3 failed"), "{}", ended.stdout);
    assert!(ended.stderr.contains("not kept in the history") && ended.stderr.contains("\"price\""), "{}", ended.stderr);
    assert_eq!(poll.records().len(), 6);
}

#[cfg(feature = "mongodb")]
#[test]
fn a_mongodb_collection_keeps_each_quote() {
    use mongodb::bson::doc;

    let Some(mongo) = Mongo::from_env("a_mongodb_collection_keeps_each_quote") else { return };
    let poll = poll_with_a_gap(&format!("url = \"{}\"\n", mongo.url()));
    let before = Clock::system().now().0 / 1000;
    for _ in 0..2 {
        assert_eq!(poll.once().expect(1).stdout, "2 succeeded, 1 failed\n");
    }
    let after = Clock::system().now().0 / 1000;
    let mut kept = mongo.documents("price_history");
    assert_eq!(kept.len(), 4);
    kept.sort_by_key(|document| document.get_datetime("created_at").unwrap().timestamp_millis());
    for document in &mut kept {
        assert!(document.remove("_id").is_some());
        let created_at = document.get_datetime("created_at").unwrap().timestamp_millis();
        assert!((before..=after).contains(&created_at), "{before} {created_at} {after}");
        document.remove("created_at");
    }
    let whole = |symbol: &str| {
        doc! {
            "ticker": symbol, "name": format!("{symbol} Ações S.A."), "short_name": format!("{symbol} PN"),
            "price": price(symbol), "volume": 36_457_000_i64, "updated_at": 1_772_482_065_i64,
        }
    };
    let gaps = doc! {
        "ticker": "BOVA11", "name": null, "short_name": "BOVA11 PN", "price": price("BOVA11"), "volume": null,
        "updated_at": 1_772_482_065_i64,
    };
    assert_eq!(kept, [whole("PETR4"), gaps, whole("PETR4"), whole("BOVA11")]);
    // A collection that refuses a record fails its symbol; the topic has it all the same.
    mongo.unique_index("once", "ticker");
    let mut poll = Poll::new(Broker::mock(), &["PETR4", "VALE3"]);
    poll.history = format!("[history]\nurl = \"{}\"\ncollection = \"once\"\n", mongo.url());
    assert_eq!(poll.once().expect(0).stdout, "2 succeeded, 0 failed\n");
    let ended = poll.once().expect(1);
    assert_eq!(ended.stdout, "0 succeeded, 2 failed\n");
    assert_eq!(ended.stderr.matches("not kept in the history: mongodb ").count(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("duplicate key") && !ended.stderr.contains("labels"), "{}", ended.stderr);
    assert_eq!((poll.records().len(), mongo.documents("once").len()), (4, 2));
}

#[test]
fn a_store_that_is_away_fails_the_symbols_but_the_topic_has_them() {
    let mongodb = cfg!(feature = "mongodb").then_some("mongodb://ann@127.0.0.1:1/market");
    let others = ["postgres://ann@127.0.0.1:1/market", "/proc/no/such/folder"];
    for url in mongodb.into_iter().chain(others) {
        let mut poll = Poll::new(Broker::mock(), &["PETR4", "VALE3"]);
        poll.history = format!("[history]\nurl = \"{url}\"\n");
        let ended = poll.once().expect(1);
        assert_eq!(ended.stdout, "0 succeeded, 2 failed\n", "{url}: {}", ended.stderr);
        assert_eq!(ended.stderr.matches("not kept in the history").count(), 2, "{url}: {}", ended.stderr);
        assert_eq!(poll.records(), ["PETR4", "VALE3"].map(|symbol| (symbol.to_owned(), record(symbol))));
    }
}
