//! The example's candles over what the poller published.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use serde_json::{Value, json};

use super::{Poll, for_every_broker};
use crate::support::api::Reply;
use crate::support::broker::Broker;
use crate::support::place::Place;
use crate::support::process::run;

/// 2026-03-02T14:00:00Z, in seconds.
const BEGIN: i64 = 1_772_460_000;

/// Open, high, low, close, volume and count.
type Candle = (f64, f64, f64, f64, Option<i64>, i64);

fn quote(price: f64, time: Value, volume: Value) -> Reply {
    Reply::Changed(json!({ "regularMarketPrice": price, "regularMarketTime": time, "regularMarketVolume": volume }))
}

for_every_broker! {
    fn candles_of_the_example_are_right_from_the_api_to_the_file(broker: Broker) {
        let poll = Poll::new(broker, &["PETR4", "VALE3"]);
        let at = |second: i64| json!(BEGIN + second);
        poll.api.reply("PETR4", [
            quote(10.5, at(10), json!(100)),
            quote(9.25, at(290), json!(300)),
            // An API behind a cache may answer with an older trade.
            quote(12.0, at(100), json!(200)),
            quote(11.0, at(299), json!(400)),
            quote(20.0, at(300), json!(500)),
        ]);
        poll.api.reply("VALE3", [
            quote(60.0, json!("2026-03-02T14:00:00Z"), json!(7)),
            quote(61.0, json!("2026-03-02T11:04:59.999-03:00"), Value::Null),
            Reply::Raw(200, "garbage"),
            quote(62.5, json!("2026-03-02T14:05:00.000Z"), json!(9)),
            quote(62.0, json!("2026-03-02T14:09:59Z"), json!(10)),
        ]);
        for round in 1..=5 {
            poll.once().expect(i32::from(round == 3));
        }
        let place = Place::at(poll.folder());
        let pipeline = include_str!("../../../examples/quotes-candles.toml")
            .replace("localhost:9092", poll.broker.servers())
            .replace("trading-assets-market-data-v1", &poll.topic)
            .replace("\"quotes-candles\"", &format!("\"{}\"", poll.topic))
            .replace("out/quotes_candles", &place.url());
        let file = poll.folder().join("candles.toml");
        std::fs::write(&file, pipeline).unwrap();
        run(place.windrow().arg("run").arg(&file).args(["--once", "--close-all"])).expect(0);
        let mut candles: BTreeMap<(i64, String), Candle> = BTreeMap::new();
        for key in place.keys("data", ".parquet") {
            for batch in place.batches(&key) {
                let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
                let expected = ["open", "high", "low", "close", "volume", "count", "_revision"];
                assert_eq!(names[..3], ["window_start", "window_end", "ticker"]);
                assert_eq!(names[3..], expected);
                let start = batch.column(0).as_primitive::<TimestampMicrosecondType>();
                let tickers = batch.column(2).as_string::<i32>();
                let price = |column: usize, row: usize| batch.column(column).as_primitive::<Float64Type>().value(row);
                let volumes = batch.column(7).as_primitive::<Int64Type>();
                let counts = batch.column(8).as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    let volume = volumes.iter().nth(row).unwrap();
                    let prices = (price(3, row), price(4, row), price(5, row), price(6, row));
                    let candle = (prices.0, prices.1, prices.2, prices.3, volume, counts.value(row));
                    let key = (start.value(row) / 1_000_000 - BEGIN, tickers.value(row).to_owned());
                    assert!(candles.insert(key, candle).is_none());
                }
            }
        }
        let expected: BTreeMap<(i64, String), Candle> = [
            ((0, "PETR4".to_owned()), (10.5, 12.0, 9.25, 11.0, Some(400), 4)),
            ((300, "PETR4".to_owned()), (20.0, 20.0, 20.0, 20.0, Some(500), 1)),
            ((0, "VALE3".to_owned()), (60.0, 61.0, 60.0, 61.0, Some(7), 2)),
            ((300, "VALE3".to_owned()), (62.5, 62.5, 62.0, 62.0, Some(10), 2)),
        ]
        .into();
        assert_eq!(candles, expected);
    }
}
