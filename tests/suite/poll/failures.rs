//! What fails is told and counted, and the rest go on.

use std::time::Duration;

use serde_json::json;

use super::{Poll, for_every_broker, record};
use crate::support::api::Reply;
use crate::support::broker::Broker;

for_every_broker! {
    fn a_symbol_that_fails_is_told_and_counted_and_the_rest_go_on(broker: Broker) {
        let symbols = ["PETR4", "GARB3", "HALF3", "NOPR3", "NULL3", "TEXT3", "GONE3", "EMPT3", "MOVE3", "TIME3", "VALE3"];
        let poll = Poll::new(broker, &symbols);
        poll.api.reply("GARB3", [Reply::Raw(200, "<html>\nmaintenance")]);
        poll.api.reply("HALF3", [Reply::Raw(200, r#"{"results":[{"symbol":"HALF3","#)]);
        poll.api.reply("NOPR3", [Reply::Changed(json!({ "regularMarketPrice": null }))]);
        poll.api.reply("NULL3", [Reply::Raw(200, r#"{"results":[{"symbol":"NULL3","regularMarketPrice":null}]}"#)]);
        poll.api.reply("TEXT3", [Reply::Changed(json!({ "regularMarketPrice": "n/a" }))]);
        poll.api.reply("GONE3", [Reply::Raw(404, r#"{"error":true,"message":"Não encontramos a ação GONE3"}"#)]);
        poll.api.reply("EMPT3", [Reply::Raw(200, r#"{"results":[]}"#)]);
        poll.api.reply("MOVE3", [Reply::Elsewhere]);
        poll.api.reply("TIME3", [Reply::Changed(json!({ "regularMarketTime": "yesterday" }))]);
        let ended = poll.once().expect(1);
        assert_eq!(ended.stdout, "2 succeeded, 9 failed\n");
        for (symbol, why) in [
            ("GARB3", "the answer is not JSON: expected value at line 1 column 1; it begins with \"<html>\\nmaintenance\""),
            ("HALF3", "the answer is not JSON: EOF"),
            ("NOPR3", "price: the answer has none at results[0].regularMarketPrice"),
            ("NULL3", "price: the answer has none at results[0].regularMarketPrice"),
            ("TEXT3", "price: a number expected at results[0].regularMarketPrice, found \"n/a\""),
            ("GONE3", "the server answers 404 Not Found, \"Não encontramos a ação GONE3\""),
            ("EMPT3", "ticker: the answer has none at results[0].symbol"),
            ("MOVE3", "it redirects to \"http://127.0.0.1:1/elsewhere\"; write that address as url"),
            ("TIME3", "updated_at: a time expected at results[0].regularMarketTime, found \"yesterday\""),
        ] {
            let told = |line: &str| line.contains("WARN") && line.contains(why) && line.contains(symbol);
            assert!(ended.stderr.lines().any(told), "{symbol}: {}", ended.stderr);
        }
        assert!(ended.stderr.contains("2 succeeded, 9 failed"), "{}", ended.stderr);
        assert_eq!(poll.records(), ["PETR4", "VALE3"].map(|symbol| (symbol.to_owned(), record(symbol))));
        assert_eq!(poll.api.seen().len(), symbols.len(), "none of these is called for twice");
    }

    fn a_server_that_fails_is_called_again_after_the_others(broker: Broker) {
        let poll = Poll::new(broker, &["PETR4", "VALE3", "ITUB4"]);
        poll.api.reply("PETR4", [Reply::Raw(500, "oops"), Reply::Raw(503, "")]);
        poll.api.reply("VALE3", vec![Reply::Raw(502, "<html>Bad Gateway</html>"); 9]);
        let ended = poll.once().expect(1);
        assert_eq!(ended.stdout, "2 succeeded, 1 failed\n");
        assert!(ended.stderr.contains("the server answers 500 Internal Server Error, \"oops\"; calling again in"));
        assert!(ended.stderr.contains("the server answers 502 Bad Gateway"));
        let seen: Vec<_> = poll.api.seen().into_iter().map(|seen| seen.symbol).collect();
        assert_eq!(&seen[..3], ["PETR4", "VALE3", "ITUB4"]);
        let times = |symbol: &str| seen.iter().filter(|seen| *seen == symbol).count();
        assert_eq!((times("PETR4"), times("VALE3"), times("ITUB4")), (3, 3, 1));
        assert_eq!(poll.records(), ["ITUB4", "PETR4"].map(|symbol| (symbol.to_owned(), record(symbol))));
    }

    fn a_broker_that_is_down_fails_the_round_and_not_the_service(broker: Broker) {
        if !broker.is_mock() {
            return;
        }
        let mut poll = Poll::new(broker, &["PETR4", "VALE3"]);
        poll.schedule = "interval = \"2 seconds\"\n".to_owned();
        poll.kafka = "delivery_timeout = \"1 second\"\n".to_owned();
        poll.broker.set_reachable(false);
        let mut running = poll.start();
        running.wait_for("0 succeeded, 2 failed");
        assert!(running.stderr().contains("not published to"), "{}", running.stderr());
        poll.broker.set_reachable(true);
        running.wait_for("2 succeeded, 0 failed");
        running.stop().expect(0);
        let records = poll.records();
        for symbol in ["PETR4", "VALE3"] {
            assert!(records.contains(&(symbol.to_owned(), record(symbol))), "{records:?}");
        }
    }
}

#[test]
fn a_server_that_does_not_answer_is_called_again() {
    let mut poll = Poll::new(Broker::mock(), &["PETR4", "VALE3"]);
    // Ten attempts, for a machine that is too slow for one of them.
    poll.request += "timeout = \"2 seconds\"\nattempts = 10\n";
    poll.api.reply("PETR4", [Reply::Held]);
    let ended = poll.once().expect(0);
    assert_eq!(ended.stdout, "2 succeeded, 0 failed\n");
    assert!(ended.stderr.contains("no answer within 2 seconds; calling again in"), "{}", ended.stderr);
}

#[test]
fn a_server_that_is_not_there_fails_its_symbols() {
    let mut poll = Poll::new(Broker::mock(), &["PETR4"]);
    poll.request += "attempts = 2\n";
    let text = poll.text().replace(&poll.api.base(), "http://127.0.0.1:1");
    let path = poll.folder().join("away.toml");
    std::fs::write(&path, text).unwrap();
    let mut command = crate::support::process::windrow();
    command.arg("poll").arg(&path).arg("--once").env("API_TOKEN", super::TOKEN).env("NO_PROXY", "*");
    let ended = crate::support::process::run(&mut command).expect(1);
    assert_eq!(ended.stdout, "0 succeeded, 1 failed\n");
    assert!(ended.stderr.contains("Connection refused"), "{}", ended.stderr);
    assert!(!ended.said().contains("canary"), "{}", ended.said());
}

#[test]
fn retry_after_holds_every_call_back() {
    let mut poll = Poll::new(Broker::mock(), &["PETR4", "VALE3", "ITUB4"]);
    // Being put off is no failure of the symbol.
    poll.request += "attempts = 1\n";
    poll.api.reply("VALE3", [Reply::Later(429, "2"), Reply::Later(429, "1")]);
    let ended = poll.once().expect(0);
    assert_eq!(ended.stdout, "3 succeeded, 0 failed\n");
    assert!(ended.stderr.contains("429 Too Many Requests; it asks to wait 2 seconds"), "{}", ended.stderr);
    let seen = poll.api.seen();
    let order: Vec<_> = seen.iter().map(|seen| seen.symbol.as_str()).collect();
    assert_eq!(order, ["PETR4", "VALE3", "ITUB4", "VALE3", "VALE3"]);
    let gap = |index: usize| Duration::from_micros((seen[index + 1].began - seen[index].ended).unsigned_abs());
    assert!(gap(1) >= Duration::from_secs(2), "{:?}", gap(1));
    assert!(gap(3) >= Duration::from_secs(1), "{:?}", gap(3));
}

#[test]
fn a_wish_beyond_the_round_leaves_its_symbols() {
    let mut poll = Poll::new(Broker::mock(), &["PETR4", "VALE3", "ITUB4"]);
    poll.schedule = "budget = \"1 minute\"\n".to_owned();
    poll.api.reply("VALE3", [Reply::Later(503, "3600")]);
    let ended = poll.once().expect(1);
    assert_eq!(ended.stdout, "1 succeeded, 2 failed\n");
    assert_eq!(ended.stderr.matches("not called for: the round's time would be over").count(), 2, "{}", ended.stderr);
    assert_eq!(poll.api.seen().len(), 2);
}
