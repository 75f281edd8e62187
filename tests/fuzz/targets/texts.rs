//! Pipeline files with their queries, files of the poller, and an API's answers.

use std::collections::BTreeMap;
use std::path::Path;

use windrow::config::Pipeline;
use windrow::config::poll::PollFile;
use windrow::poll::answer::Quote;
use windrow::query::{Query, QueryError};

use super::{pipeline, repository, runtime};
use crate::hunt::{FEW, MANY, Target, hunt};

fn examples(poll: bool) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(repository("examples")).unwrap().map(|file| file.unwrap().path());
    let wanted = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".toml") && name.contains("poll") == poll
    };
    let mut files: Vec<_> = files.filter(|path| wanted(path)).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

const WORDS: [&str; 40] = [
    "[source]",
    "[source.kafka]",
    "[source.file]",
    "[source.columns]",
    "[window]",
    "[query]",
    "[sink]",
    "[tables]",
    "format = ",
    "\"avro\"",
    "\"csv\"",
    "[source.csv]",
    "[source.registry]",
    "[source.schema]",
    "timezone = \"Europe/Berlin\"",
    "origin = ",
    "\"-1 day\"",
    "\"9223372036854775807 weeks\"",
    "\"1 month\"",
    "\"0 s\"",
    "\"1e9 EiB\"",
    "${X}",
    "${",
    "properties = {",
    "=",
    "\"\"\"",
    "'''",
    "[[",
    "]]",
    "{",
    "}",
    "#",
    "decimal(39, 40)",
    "decimal(0,-1)",
    "timestamp(ns)",
    "s3://",
    "file:///",
    "\\u0000",
    "\u{feff}",
    "emit = \"early\"",
];

/// What the environment holds. No word of the program has it in it.
const CANARY: &str = "zq7kanarie9xv";

#[test]
fn pipeline_files() {
    let feed = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let said = match Pipeline::parse(&text, "fuzz.toml", &|name| (name != "Y").then(|| CANARY.to_owned())) {
            Ok(pipeline) => format!("fine {}", pipeline.fingerprint().len()),
            Err(error) => error.to_string(),
        };
        assert!(!said.contains(CANARY), "a value from the environment is told: {said}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "it acts on a terminal: {said:?}");
        said
    };
    hunt(&Target { name: "pipeline files", seeds: examples(false), words: WORDS.to_vec(), inputs: MANY, feed: &feed });
}

#[test]
fn poll_files() {
    let feed = |input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let env = |name: &str| (name != "Y").then(|| CANARY.to_owned());
        let said = PollFile::parse(&text, "fuzz.toml", &env).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!said.contains(CANARY), "a value from the environment is told: {said}");
        said
    };
    hunt(&Target { name: "poll files", seeds: examples(true), words: WORDS.to_vec(), inputs: MANY, feed: &feed });
}

/// What the queries of the README and of users look like, and each kind of plan.
const QUERIES: [&str; 9] = [
    "SELECT k, COUNT(*) AS n, SUM(v) AS s, AVG(d) AS a, MIN(f) AS lo, MAX(at) AS hi FROM t WHERE v <> 13 GROUP BY k HAVING COUNT(*) > 1 ORDER BY s DESC NULLS LAST LIMIT 10",
    "SELECT * FROM t",
    "SELECT k, v, rank() OVER (PARTITION BY k ORDER BY v) AS r, _partition AS p FROM t WHERE k LIKE 'a%'",
    "SELECT COUNT(DISTINCT k) AS n, approx_distinct(v) AS d, approx_percentile_cont(f, 0.9) AS p, stddev(f) AS sd FROM t",
    "SELECT first_value(v ORDER BY at) AS f, last_value(v ORDER BY at) AS l, SUM(v) FILTER (WHERE k IS NOT NULL) AS s FROM t GROUP BY k",
    "WITH x AS (SELECT k, SUM(v) AS s FROM t GROUP BY k) SELECT k, s, s * 100 / SUM(s) OVER () AS share FROM x ORDER BY s",
    "SELECT date_trunc('minute', at) AS m, CASE WHEN v > 1 THEN 'a' ELSE upper(k) END AS c, CAST(d AS DOUBLE) AS x, COUNT(*) AS n FROM t GROUP BY 1, 2, 3",
    "SELECT k, extract(epoch FROM at) AS e, regexp_like(k, '^(a+)+$') AS r, substr(k, 1, 3) AS s, v % 7 AS m FROM t WHERE v IN (1, 2, 3) OR k BETWEEN 'a' AND 'b'",
    "SELECT max(v) - min(v) AS spread FROM t",
];

const SQL_WORDS: [&str; 48] = [
    "SELECT ",
    " FROM t",
    " WHERE ",
    " GROUP BY ",
    " HAVING ",
    " ORDER BY ",
    " LIMIT ",
    " OFFSET ",
    " JOIN t ON ",
    " UNION ALL ",
    " OVER (",
    "PARTITION BY k",
    " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    "COUNT(*)",
    "COUNT(DISTINCT ",
    "SUM(",
    "AVG(",
    "MIN(",
    "FILTER (WHERE ",
    "CASE WHEN ",
    " THEN ",
    " END",
    "CAST(",
    "::",
    "DECIMAL(38, 38)",
    "INTERVAL '1 day'",
    "TIMESTAMP '2026-03-01'",
    "NULL",
    "NaN",
    "repeat(k, 1000000000)",
    "lpad(k, 2147483647)",
    "now()",
    "random()",
    "EXISTS (SELECT 1)",
    " IN (SELECT v FROM t)",
    "GROUPING SETS ((k), ())",
    "CUBE(k, v)",
    "VALUES (1)",
    "generate_series(1, 1000000000000)",
    "/*",
    "--",
    ";",
    "'",
    "\"",
    "(",
    ")",
    "1e400",
    "power(10, 38)",
];

#[test]
fn queries() {
    let columns =
        "at = \"timestamp(s)\"\nk = \"text\"\nv = \"int\"\nf = \"float\"\nd = \"decimal(12, 2)\"\nj = \"json\"";
    let pipeline = pipeline("json", columns, "SELECT 1 AS x FROM t");
    let runtime = runtime();
    let feed = |input: &[u8]| {
        let sql = String::from_utf8_lossy(input);
        match runtime.block_on(Query::plan(&sql, &pipeline.columns, &BTreeMap::new())) {
            Ok(query) => query.describe().join(" "),
            Err(QueryError::Internal(text)) if text.contains("thread that plans") => panic!("{text}"),
            Err(error) => error.to_string(),
        }
    };
    let seeds = QUERIES.iter().map(|sql| sql.as_bytes().to_vec()).collect();
    hunt(&Target { name: "queries", seeds, words: SQL_WORDS.to_vec(), inputs: FEW, feed: &feed });
}

#[test]
fn answers_of_an_api() {
    let text = String::from_utf8(examples(true).remove(0)).unwrap();
    let file = PollFile::parse(&text, "poll.toml", &|_| Some("x".to_owned())).unwrap();
    let feed = |input: &[u8]| match Quote::read(&file.fields, input) {
        Ok(quote) => format!("fine {}", quote.json()),
        Err(why) => why,
    };
    let answer = br#"{"results":[{"symbol":"PETR4","shortName":"PETROBRAS","longName":"Petr\u00f3leo","regularMarketPrice":38.5,"regularMarketVolume":25000000,"regularMarketTime":"2026-03-01T20:07:00.000Z","price":1.5,"volume":3,"time":1772352000}]}"#;
    let words = [
        "\"results\":",
        "[",
        "]",
        "{",
        "}",
        "null",
        "\"error\":",
        "\"message\":",
        "1e999",
        "\"regularMarketTime\":",
        "\\ud800",
    ];
    hunt(&Target {
        name: "answers of an api",
        seeds: vec![answer.to_vec(), b"{\"error\":true,\"message\":\"no\"}".to_vec()],
        words: words.to_vec(),
        inputs: MANY,
        feed: &feed,
    });
}
