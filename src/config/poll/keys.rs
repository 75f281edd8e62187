//! Every key of a poll file, with how it is written.

use crate::config::keys::{Key, key};

/// Every key. The members of `headers`, `fields` and `properties` have names of their own.
pub(super) const KEYS: &[Key] = &[
    key("", "name", r#"name = "b3_quotes""#),
    key("", "symbols", r#"symbols = ["PETR4", "VALE3"]"#),
    key("", "request", "[request]"),
    key("", "schedule", "[schedule]"),
    key("", "fields", "[fields]"),
    key("", "kafka", "[kafka]"),
    key("", "history", "[history]"),
    key("request", "url", r#"url = "https://example.com/quote/{symbol}?token=${API_TOKEN}""#),
    key("request", "headers", r#"headers = { Authorization = "Bearer ${API_TOKEN}" }"#),
    key("request", "timeout", r#"timeout = "10 seconds""#),
    key("request", "pause", r#"pause = "500 ms""#),
    key("request", "attempts", "attempts = 3"),
    key("schedule", "interval", r#"interval = "30 minutes""#),
    key("schedule", "budget", r#"budget = "10 minutes""#),
    key("field", "path", r#"path = "results[0].regularMarketPrice""#),
    key("field", "type", r#"type = "number""#),
    key("field", "optional", "optional = true"),
    key("kafka", "brokers", r#"brokers = "localhost:9092""#),
    key("kafka", "topic", r#"topic = "quotes""#),
    key("kafka", "key", r#"key = "ticker""#),
    key("kafka", "delivery_timeout", r#"delivery_timeout = "30 seconds""#),
    key("kafka", "properties", r#"properties = { "security.protocol" = "SSL" }"#),
    key("history", "url", r#"url = "mongodb://quotes@localhost:27017/market""#),
    key("history", "password", r#"password = "${QUOTES_DB_PASSWORD}""#),
    key("history", "collection", r#"collection = "price_history""#),
    key("history", "table", r#"table = "price_history""#),
    key("history", "properties", r#"properties = { region = "eu-west-1" }"#),
];
