//! Answers as they were recorded, and as they should not be.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::poll::PollFile;

/// As the example's API answers.
const ANSWER: &str = r#"{"results":[{"currency":"BRL","shortName":"PETROBRAS   PN  N2","longName":"Petróleo Brasileiro S.A. - Petrobras",
"regularMarketChange":0.26,"regularMarketTime":"2026-03-02T20:07:45.000Z","regularMarketPrice":38.50,"regularMarketVolume":36457000,
"symbol":"PETR4","logourl":"https://icons.example.com/PETR4.svg"}],"requestedAt":"2026-03-02T20:20:00.000Z","took":"0ms"}"#;

fn fields() -> Vec<Field> {
    let text = include_str!("../../../examples/quotes-poll.toml");
    PollFile::parse(text, "quotes-poll.toml", &|_| Some("a-token".to_owned())).unwrap().fields
}

fn read(answer: &Value) -> Result<String, String> {
    Quote::read(&fields(), answer.to_string().as_bytes()).map(|quote| quote.json())
}

/// The recorded answer with one member of its result changed.
fn with(name: &str, value: Value) -> Value {
    let mut answer: Value = serde_json::from_str(ANSWER).unwrap();
    answer["results"][0][name] = value;
    answer
}

#[test]
fn an_answer_becomes_the_record_with_its_members_in_order() {
    let quote = Quote::read(&fields(), ANSWER.as_bytes()).unwrap();
    let expected = r#"{"ticker":"PETR4","name":"Petróleo Brasileiro S.A. - Petrobras","short_name":"PETROBRAS   PN  N2","price":38.5,"volume":36457000,"updated_at":1772482065}"#;
    assert_eq!(quote.json(), expected);
    assert_eq!(quote.key("ticker").as_deref(), Some("PETR4"));
    assert_eq!(quote.key("updated_at").as_deref(), Some("1772482065"));
    assert_eq!(quote.key("price"), None);
}

#[test]
fn a_time_is_published_as_epoch_seconds_however_it_comes() {
    for time in [
        json!(1_772_482_065),
        json!(1_772_482_065.9),
        json!("1772482065"),
        json!("2026-03-02T20:07:45Z"),
        json!("2026-03-02T20:07:45.999Z"),
        json!("2026-03-02T17:07:45-03:00"),
    ] {
        let record = read(&with("regularMarketTime", time.clone())).unwrap();
        assert!(record.ends_with("\"updated_at\":1772482065}"), "{time}: {record}");
    }
    for time in
        [json!("yesterday"), json!("2026-03-02"), json!("2026-03-02T20:07:45"), json!(true), json!({}), json!(null)]
    {
        let why = read(&with("regularMarketTime", time.clone())).unwrap_err();
        assert!(why.starts_with("updated_at: "), "{time}: {why}");
    }
    let why = read(&with("regularMarketTime", json!(1_772_482_065_000_i64))).unwrap_err();
    assert!(why.contains("timestamp(ms)"), "{why}");
    assert_eq!(seconds(&json!(1_772_482_065_999_i64), Epoch::Millis), Ok(1_772_482_065));
    assert_eq!(seconds(&json!(-1), Epoch::Millis), Ok(-1));
    assert_eq!(seconds(&json!(1_772_482_065_999_999_i64), Epoch::Micros), Ok(1_772_482_065));
    assert_eq!(seconds(&json!("1969-12-31T23:59:59.5Z"), Epoch::Seconds), Ok(-1));
}

#[test]
fn what_is_missing_or_mistyped_is_named() {
    for (answer, expected) in [
        (with("regularMarketPrice", json!(null)), "price: the answer has none at results[0].regularMarketPrice"),
        (
            with("regularMarketPrice", json!("free")),
            "price: a number expected at results[0].regularMarketPrice, found \"free\"",
        ),
        (
            with("regularMarketPrice", json!([1])),
            "price: a number expected at results[0].regularMarketPrice, found a list",
        ),
        (
            with("regularMarketVolume", json!(1.5)),
            "volume: a whole number expected at results[0].regularMarketVolume, found 1.5",
        ),
        (with("symbol", json!(7)), "ticker: text expected at results[0].symbol, found 7"),
        (json!({"results": []}), "ticker: the answer has none at results[0].symbol"),
        (
            json!({"error": true, "message": "Não encontramos a ação XXXX9"}),
            "ticker: the answer has none at results[0].symbol; the server says \"Não encontramos a ação XXXX9\"",
        ),
        (json!([]), "ticker: the answer has none at results[0].symbol"),
        (json!(null), "ticker: the answer has none at results[0].symbol"),
    ] {
        assert_eq!(read(&answer).unwrap_err(), expected);
    }
}

#[test]
fn what_is_optional_may_be_missing_and_numbers_may_be_text() {
    let mut answer: Value = serde_json::from_str(ANSWER).unwrap();
    let result = answer["results"][0].as_object_mut().unwrap();
    result.remove("longName");
    result.insert("shortName".to_owned(), json!(null));
    result.insert("regularMarketVolume".to_owned(), json!("100.0"));
    result.insert("regularMarketPrice".to_owned(), json!("38.10"));
    let expected =
        r#"{"ticker":"PETR4","name":null,"short_name":null,"price":38.1,"volume":100,"updated_at":1772482065}"#;
    assert_eq!(read(&answer).unwrap(), expected);
}

#[test]
fn garbage_is_shown_by_its_beginning_on_one_line() {
    let why = Quote::read(&fields(), b"<html>\n<body>502 Bad Gateway").unwrap_err();
    assert!(
        why.starts_with("the answer is not JSON: ") && why.ends_with(r#"begins with "<html>\n<body>502 Bad Gateway""#)
    );
    let why = Quote::read(&fields(), &ANSWER.as_bytes()[..300]).unwrap_err();
    assert!(why.starts_with("the answer is not JSON: EOF") && !why.contains('\n'), "{why}");
    assert!(why.chars().count() < 300, "{why}");
    assert!(Quote::read(&fields(), b"").is_err());
    assert!(Quote::read(&fields(), &[0xff, 0xfe, 0]).is_err());
    // Nested deeper than anybody means.
    assert!(Quote::read(&fields(), "[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn whole_numbers_are_exact_or_refused() {
    let whole = |text: &str| whole(&serde_json::from_str(text).unwrap());
    assert_eq!(whole("9223372036854775807"), Some(i64::MAX));
    assert_eq!(whole("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(whole("9223372036854775808"), None);
    assert_eq!(whole("1e3"), Some(1000));
    assert_eq!((whole("1e17"), whole("0.5"), whole("-0.0")), (None, None, Some(0)));
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let names = prop_oneof![Just("results".to_owned()), Just("symbol".to_owned()), "[a-z]{1,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(names, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Any JSON in any place gives a whole record or an error, and a record reads back as it was.
    #[test]
    fn any_answer_is_a_record_or_an_error(values in prop::collection::vec(json(), 6)) {
        let names = ["symbol", "longName", "shortName", "regularMarketPrice", "regularMarketVolume", "regularMarketTime"];
        let result: serde_json::Map<_, _> = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
        let answer = json!({"results": [result]}).to_string();
        if let Ok(quote) = Quote::read(&fields(), answer.as_bytes()) {
            let back: Value = serde_json::from_str(&quote.json()).unwrap();
            prop_assert!(back["ticker"].is_string() && back["price"].is_number() && back["updated_at"].is_i64());
            prop_assert_eq!(back.as_object().unwrap().len(), 6);
        }
    }

    /// A time is the same second as text and as a number.
    #[test]
    fn text_and_number_of_a_time_agree(second in SECONDS) {
        let text = crate::record::Timestamp(second * 1_000_000).to_string();
        prop_assert_eq!(seconds(&json!(text), Epoch::Seconds), Ok(second));
        prop_assert_eq!(seconds(&json!(second), Epoch::Seconds), Ok(second));
        prop_assert_eq!(seconds(&json!(second.to_string()), Epoch::Seconds), Ok(second));
        prop_assert_eq!(seconds(&json!(second * 1000 + 999), Epoch::Millis), Ok(second));
    }
}
