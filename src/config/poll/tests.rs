//! The poll file as a user meets it: what it means, and what is said when it is wrong.

use super::keys::KEYS;
use super::*;

const TOKEN: &str = "hunter2/in+the=environment";

fn env(name: &str) -> Option<String> {
    match name {
        "TOKEN" | "BRAPI_TOKEN" | "DB_PASSWORD" | "QUOTES_DB_PASSWORD" => Some(TOKEN.to_owned()),
        "BASE" => Some("http://127.0.0.1:8080/v1".to_owned()),
        "DB_URL" => Some(format!("postgres://ann:{TOKEN}@db/market")),
        "EMPTY" => Some(" ".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<PollFile, ConfigError> {
    PollFile::parse(text, "etc/quotes.toml", &env)
}

const SMALL: &str = r#"name = "quotes"
symbols = ["PETR4", "^BVSP"]
[request]
url = "https://example.com/q/{symbol}?token=${TOKEN}"
headers = { Accept-Language = "pt-BR" }
[schedule]
interval = "1 minute"
[fields]
ticker = "symbol"
price = { path = "$.price", type = "number" }
volume = { path = "volume", type = "int", optional = true }
[kafka]
brokers = "localhost:9092"
topic = "quotes"
key = "ticker"
[history]
url = "postgres://ann@localhost:5432/market"
password = "${DB_PASSWORD}"
"#;

/// What is wrong with a small poll file after `old` was replaced by `new`, without the file's name.
fn wrong(old: &str, new: &str) -> String {
    assert!(SMALL.contains(old), "{old}");
    let error = parse(&SMALL.replacen(old, new, 1)).expect_err(new).to_string();
    assert!(!error.contains(TOKEN) && !error.contains("canary"), "{error}");
    error.lines().map(|line| line.strip_prefix("etc/quotes.toml:").expect(line)).collect::<Vec<_>>().join("\n")
}

fn right(old: &str, new: &str) -> PollFile {
    assert!(SMALL.contains(old), "{old}");
    parse(&SMALL.replacen(old, new, 1)).unwrap()
}

#[test]
fn the_example_is_the_quote_service() {
    let file = parse(include_str!("../../../examples/quotes-poll.toml")).unwrap();
    assert_eq!(file.symbols.len(), 50);
    assert_eq!(file.schedule, Schedule { interval: 1_800_000_000, budget: 1_800_000_000 });
    assert_eq!((file.request.pause, file.request.timeout, file.request.attempts), (500_000, 10_000_000, 3));
    assert_eq!(file.request.url.address("PETR4"), "https://brapi.dev/api/quote/PETR4");
    let names: Vec<_> = file.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["ticker", "name", "short_name", "price", "volume", "updated_at"]);
    assert_eq!((file.kafka.topic.as_str(), file.kafka.key.as_str()), ("trading-assets-market-data-v1", "ticker"));
    assert!(matches!(&file.history, Some(History::Mongodb { collection, .. }) if collection == "price_history"));
    assert!(!format!("{file:?}").contains(TOKEN));
}

#[test]
fn what_is_left_out_has_the_defaults_of_the_quote_service() {
    let file = right("[schedule]\ninterval = \"1 minute\"\n", "");
    assert_eq!(file.schedule, Schedule { interval: 1_800_000_000, budget: 1_800_000_000 });
    assert_eq!((file.request.pause, file.request.timeout, file.request.attempts), (500_000, 10_000_000, 3));
    assert_eq!(file.kafka.delivery_timeout, 30_000_000);
    assert!(file.fields[2].optional && !file.fields[0].optional);
    assert!(
        right("[history]\nurl = \"postgres://ann@localhost:5432/market\"\npassword = \"${DB_PASSWORD}\"\n", "")
            .history
            .is_none()
    );
}

#[test]
fn every_key_can_be_written_as_the_errors_say() {
    for key in KEYS {
        assert!(toml::de::DeTable::parse(key.like).is_ok(), "{}", key.like);
    }
}

#[test]
fn secrets_are_known_and_shown_nowhere() {
    let file = parse(SMALL).unwrap();
    assert_eq!(
        file.request.url.address("^BVSP"),
        "https://example.com/q/%5EBVSP?token=hunter2%2Fin%2Bthe%3Denvironment"
    );
    assert_eq!(file.request.url.shown("PETR4"), "https://example.com/q/PETR4?token=${TOKEN}");
    let text = format!("{TOKEN} {}", file.request.url.address("X"));
    assert_eq!(file.secrets.hide(&text), "*** https://example.com/q/X?token=***");
    assert!(!format!("{file:?}").contains("hunter2"));
    let whole =
        right("url = \"postgres://ann@localhost:5432/market\"\npassword = \"${DB_PASSWORD}\"", "url = \"${DB_URL}\"");
    assert!(!format!("{whole:?}").contains("hunter2"));
    assert_eq!(whole.secrets.hide(&format!("at postgres://ann:{TOKEN}@db/market!")), "at ***!");
}

#[test]
fn a_token_comes_from_the_environment_alone() {
    let url = "https://example.com/q/{symbol}?token=${TOKEN}";
    for (new, problem) in [
        (
            "https://example.com/q/{symbol}?token=canary",
            "4: request.url: the file holds the token itself; write ${NAME}, and set NAME in the environment",
        ),
        (
            "https://example.com/q/{symbol}?api_key=canary&x=1",
            "4: request.url: the file holds the api_key itself; write ${NAME}, and set NAME in the environment",
        ),
        (
            "https://ann:canary@example.com/q/{symbol}",
            "4: request.url: an address has no credentials; write headers = { Authorization = \"Basic ${NAME}\" } in [request]",
        ),
        (
            "https://example.com/q/{symbol}?token=${NOT_SET}",
            "4: request.url: the environment has no NOT_SET; set NOT_SET before the start",
        ),
        (
            "https://example.com/q/{symbol}?token=${EMPTY}",
            "4: request.url: EMPTY is empty in the environment; set EMPTY before the start",
        ),
    ] {
        assert_eq!(wrong(url, new), problem);
    }
    let header = "Accept-Language = \"pt-BR\"";
    for name in ["Authorization", "X-Api-Key", "x-auth-token", "Cookie"] {
        let problem = format!(
            "5: request.headers.{name}: the file holds the token itself; write ${{NAME}}, and set NAME in the environment"
        );
        assert_eq!(wrong(header, &format!("{name} = \"Bearer canary\"")), problem);
        right(header, &format!("{name} = \"Bearer ${{TOKEN}}\""));
    }
    let password =
        "5: history.password: the file holds the password itself; write ${NAME}, and set NAME in the environment";
    assert_eq!(wrong("${DB_PASSWORD}", "canary"), password.replacen('5', "18", 1));
    assert_eq!(
        wrong("postgres://ann@localhost", "postgres://ann:canary@localhost"),
        "17: history.url: the file holds the password itself; write password = \"${NAME}\", and set NAME in the environment"
    );
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_to_write() {
    for (old, new, problem) in [
        ("[schedule]", "[shedule]", "6: shedule is not a key; did you mean \"schedule\"?"),
        ("interval =", "intervall =", "7: schedule.intervall is not a key; did you mean \"interval\"?"),
        (
            "key = \"ticker\"",
            "key = \"tiker\"",
            "15: kafka.key = \"tiker\": not one of [fields]; did you mean \"ticker\"?",
        ),
        (
            "key = \"ticker\"",
            "key = \"volume\"",
            "15: kafka.key = \"volume\": every record needs its key; leave optional out of volume",
        ),
        ("key = \"ticker\"", "key = \"price\"", "15: kafka.key = \"price\": a key is text or int; name another field"),
        (
            "type = \"number\"",
            "type = \"float\"",
            "10: fields.price.type = \"float\": unknown type; did you mean \"number\"?",
        ),
        ("type = \"number\"", "typ = \"number\"", "10: fields.price.typ is not a key; did you mean \"type\"?"),
        (
            "\"$.price\"",
            "\"$.price[\"",
            "10: fields.price.path = \"$.price[\": not a path; write it like \"results[0].price\" or \"$['last price']\"",
        ),
        (
            "ticker = \"symbol\"",
            "ticker = 7",
            "9: fields.ticker must be a path; write ticker = { path = \"price\", type = \"number\" }",
        ),
        (
            "volume = {",
            "created_at = {",
            "11: fields.created_at: the history store has a column of that name; give it another",
        ),
        ("[\"PETR4\", \"^BVSP\"]", "[]", "2: there are 0 symbols; write 1 to 10000"),
        ("[\"PETR4\", \"^BVSP\"]", "[\"PETR4\", \"PETR4\"]", "2: symbol \"PETR4\" is given twice; keep one of them"),
        (
            "[\"PETR4\", \"^BVSP\"]",
            "[\"PETR 4\", 7]",
            "2: \"PETR 4\" is no symbol; write 1 to 100 letters without spaces\n2: a symbol must be text; write symbols = [\"PETR4\", \"VALE3\"]",
        ),
        ("[\"PETR4\", \"^BVSP\"]", "\"PETR4\"", "2: symbols must be a list; write symbols = [\"PETR4\", \"VALE3\"]"),
        (
            "{symbol}?",
            "{ticker}?",
            "4: request.url = \"https://example.com/q/{ticker}?token=${TOKEN}\": the environment's value does not fit; it must read like url = \"https://example.com/quote/{symbol}?token=${API_TOKEN}\"",
        ),
        (
            "https://example.com/q/{symbol}?token=${TOKEN}",
            "https://example.com/q/{ticker}",
            "4: request.url = \"https://example.com/q/{ticker}\": {ticker} is put in for nothing; write {symbol} or ${NAME}",
        ),
        (
            "https://example.com/q/{symbol}?token=${TOKEN}",
            "https://example.com/q",
            "4: request.url = \"https://example.com/q\": it is the same for every symbol; write {symbol} where the symbol belongs",
        ),
        (
            "https://example.com/q/{symbol}?token=${TOKEN}",
            "ftp://example.com/{symbol}",
            "4: request.url = \"ftp://example.com/{symbol}\": not an HTTP address; write https://HOST/PATH",
        ),
        (
            "\"1 minute\"",
            "\"1 minute\"\nbudget = \"2 minutes\"",
            "8: schedule.budget = \"2 minutes\": too much; write \"1 minute\" or less",
        ),
        (
            "headers =",
            "pause = \"1 hour\"\nheaders =",
            "2: the pauses between 2 symbols take 1 hour, and a round may take 1 minute; take a longer interval, a shorter pause or fewer symbols",
        ),
        ("headers =", "attempts = 0\nheaders =", "5: request.attempts = 0: out of range; write 1 to 20"),
        (
            "headers =",
            "attempts = \"3\"\nheaders =",
            "5: request.attempts must be a whole number, not text; write attempts = 3",
        ),
        ("Accept-Language", "Host", "5: request.headers.Host is set by the HTTP client; leave it out"),
        (
            "topic = \"quotes\"",
            "topic = \"quotes\"\nproperties = { acks = \"1\" }",
            "15: acks is not a property here; it is always \"all\"; leave it out",
        ),
        (
            "topic = \"quotes\"",
            "topic = \"quotes\"\nproperties = { \"compresion.type\" = \"lz4\" }",
            "15: compresion.type is not a property of librdkafka; librdkafka's CONFIGURATION.md has the names",
        ),
        (
            "postgres://ann@localhost:5432/market",
            "mysql://db/x",
            "17: history.url: unknown kind of store; write mongodb://USER@HOST/DATABASE, postgres://USER@HOST/DATABASE, \
             s3://BUCKET/PREFIX or a folder",
        ),
        (
            "password = \"${DB_PASSWORD}\"",
            "collection = \"prices\"",
            "18: history.collection does not belong to this store; a collection is MongoDB's; leave it out",
        ),
        (
            "postgres://ann@localhost:5432/market\"",
            "mongodb://ann@localhost/market\"\ntable = \"prices\"",
            "18: history.table does not belong to this store; a table is PostgreSQL's; leave it out",
        ),
        (
            "postgres://ann@localhost:5432/market",
            "mongodb://ann:hunter2@localhost/market",
            "17: history.url: the file holds the password itself; write password = \"${NAME}\", and set NAME in the \
             environment",
        ),
        (
            "postgres://ann@localhost:5432/market",
            "out/history",
            "18: history.password does not belong to this store; a bucket or a folder takes no password; leave it out",
        ),
    ] {
        assert_eq!(wrong(old, new), problem, "{new}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let problem = parse("name = \"quotes\"\n[request]\n[kafka]\n").unwrap_err().to_string();
    for missing in [
        "symbols is missing",
        "request.url is missing",
        "[fields] is missing",
        "kafka.brokers is missing",
        "kafka.topic is missing",
        "kafka.key is missing",
    ] {
        assert!(problem.contains(missing), "{missing}: {problem}");
    }
}

#[test]
fn a_path_may_begin_at_the_top_without_saying_so() {
    let path = |text: &str| right("\"$.price\"", &format!("{text:?}")).fields[1].path.clone();
    assert_eq!(path("results[0].price"), path("$.results[0].price"));
    assert_eq!(path("[0].price"), path("$[0].price"));
    assert_eq!(path("results[?@.kind == 'last'].price"), path("$.results[?@.kind == 'last'].price"));
}

#[test]
fn the_kind_of_store_is_told_by_its_address() {
    let history = |url: &str, more: &str| {
        let text = format!("url = \"{url}\"\n{more}");
        right("url = \"postgres://ann@localhost:5432/market\"\npassword = \"${DB_PASSWORD}\"", &text).history.unwrap()
    };
    assert!(
        matches!(history("postgres://ann@db/market", "table = \"a.b\""), History::Postgres { table, .. } if table == "a.b")
    );
    assert!(
        matches!(history("postgresql://db/market", ""), History::Postgres { table, .. } if table == "price_history")
    );
    assert!(
        matches!(history("mongodb://ann@db1,db2/market", ""), History::Mongodb { collection, .. } if collection == "price_history")
    );
    assert!(
        matches!(history("mongodb+srv://db/market", "collection = \"a.b\""), History::Mongodb { collection, .. } if collection == "a.b")
    );
    assert!(matches!(history("out/history", ""), History::Parquet { url, .. } if url == "out/history"));
    let bucket = history("s3://lake/history", "properties = { region = \"eu-west-1\" }");
    assert!(matches!(bucket, History::Parquet { properties, .. } if properties["region"] == "eu-west-1"));
}

#[test]
fn a_poll_file_is_told_from_a_pipeline_file() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    assert!(PollFile::is_one(&examples.join("quotes-poll.toml")));
    for other in ["quotes-candles.toml", "rides-hourly.toml", "no-such-file.toml"] {
        assert!(!PollFile::is_one(&examples.join(other)), "{other}");
    }
}
