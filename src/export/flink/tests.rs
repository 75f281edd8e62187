use super::*;

const RIDES: &str = r#"
name = "rides_hourly"
[source.kafka]
brokers = "${BROKERS}"
topic = "rides"
group = "rides-hourly"
[source.columns]
dropoff_at = "timestamp"
zone = "text"
fare = "decimal(12, 2)"
seats = { type = "int", path = "ride.seats", optional = true }
km = "float"
[window]
event_time = "dropoff_at"
size = "1 hour"
[query]
sql = '''
SELECT zone, SUM(fare) AS revenue
FROM rides
GROUP BY zone
'''
[sink]
url = "s3://lake/rides_hourly"
"#;

fn env(name: &str) -> Option<String> {
    (name == "BROKERS").then(|| "localhost:9092".to_owned())
}

async fn exported(text: String) -> Result<String, Error> {
    let written = Written::parse(text, "rides.toml".to_owned(), &env)?;
    script(&written, &Options::default()).await
}

/// The script of the pipeline with something else in it.
async fn with(old: &str, new: &str) -> String {
    assert!(RIDES.contains(old), "{old}");
    exported(RIDES.replace(old, new)).await.unwrap_or_else(|error| panic!("{new}: {error}"))
}

async fn with_query(sql: &str) -> Result<String, Error> {
    let begin = RIDES.find("SELECT").unwrap();
    let end = RIDES.find("\n'''\n[sink]").unwrap();
    exported([&RIDES[..begin], sql, &RIDES[end..]].concat()).await
}

#[tokio::test]
async fn expressions_are_written_so_that_they_mean_the_same() {
    for (sql, written) in [
        ("AVG(seats)", "AVG(CAST(`seats` AS DOUBLE))"),
        ("SUM(CASE WHEN seats > 1 THEN 1 ELSE 0 END)", "SUM(CAST(CASE WHEN `seats` > 1 THEN 1 ELSE 0 END AS BIGINT))"),
        ("BOOL_OR(seats > 2)", "(MAX(CASE WHEN CAST(`seats` > 2 AS BOOLEAN) THEN 1"),
        ("COUNT(*) FILTER (WHERE zone LIKE 'a\\_%')", "COUNT(*) FILTER (WHERE `zone` LIKE 'a\\_%' ESCAPE '\\')"),
        ("COUNT(DISTINCT zone)", "COUNT(DISTINCT `zone`)"),
        ("SUM(seats) / COUNT(*)", "CAST(SUM(`seats`) / COUNT(*) AS BIGINT)"),
        ("MAX(CONCAT(zone, 'it''s'))", "CONCAT(COALESCE(`zone`, ''), COALESCE('it''s', ''))"),
        ("MIN(-seats)", "MIN(CAST(-(`seats`) AS BIGINT))"),
        ("STDDEV(km)", "STDDEV_SAMP(CAST(`km` AS DOUBLE))"),
        ("MAX(dropoff_at) > '2026-03-01T09:00:00+01:00'", "MAX(`dropoff_at`) > TO_TIMESTAMP_LTZ(1772352000000, 3)"),
    ] {
        let script = with_query(&format!("SELECT {sql} AS x FROM rides")).await.unwrap();
        assert!(script.contains(written), "{sql}: {script}");
        assert!(script.contains("GROUP BY window_start, window_end;"), "{sql}: {script}");
    }
}

#[tokio::test]
async fn names_of_the_select_list_are_what_they_stand_for() {
    let script =
        with_query("SELECT UPPER(zone) AS place, SUM(fare) AS r FROM rides t WHERE t.fare > 1 GROUP BY 1 HAVING r > 5");
    let script = script.await.unwrap();
    assert!(
        script.contains("WHERE `fare` > 1\nGROUP BY window_start, window_end, UPPER(`zone`)\nHAVING SUM(`fare`) > 5"),
        "{script}"
    );
    let top = with_query("SELECT zone, COUNT(*) AS n FROM rides GROUP BY zone ORDER BY n DESC LIMIT 3 OFFSET 1")
        .await
        .unwrap();
    assert!(top.contains("ORDER BY `n` DESC NULLS FIRST, `zone` ASC NULLS LAST"), "{top}");
    assert!(top.contains("WHERE `_place` > 1 AND `_place` <= 4;"), "{top}");
}

#[tokio::test]
async fn lateness_becomes_one_delay() {
    let late = "[query]";
    let delays = "watermark_delay = \"10 minutes\"\nallowed_lateness = \"2 hours\"\n";
    let whole = with(late, &format!("{delays}[query]")).await;
    assert!(whole.contains("AS `rowtime` - INTERVAL '0 02:10:00.001' DAY TO SECOND(3)"), "{whole}");
    let early = with(late, &format!("{delays}emit = \"early\"\n[query]")).await;
    assert!(early.contains("AS `rowtime` - INTERVAL '0 00:10:00.001' DAY TO SECOND(3)"), "{early}");
    assert!(early.contains("There are no corrections"), "{early}");
}

#[tokio::test]
async fn windows_follow_the_calendar_where_flink_s_do() {
    for (size, written, zone) in [
        (
            "size = \"1 hour\"\nevery = \"10 minutes\"",
            "TABLE(HOP(TABLE `rides`, DESCRIPTOR(`rowtime`), INTERVAL '10' MINUTE, INTERVAL '1' HOUR))",
            "UTC",
        ),
        ("size = \"1 week\"", "INTERVAL '7' DAY, INTERVAL '4' DAY", "UTC"),
        ("size = \"1 day\"\ntimezone = \"Europe/Paris\"", "INTERVAL '1' DAY)", "Europe/Paris"),
        ("size = \"6 hours\"\norigin = \"1970-01-01T01:30:00Z\"", "INTERVAL '6' HOUR, INTERVAL '90' MINUTE", "UTC"),
    ] {
        let script = with("size = \"1 hour\"", size).await;
        assert!(script.contains(written), "{size}: {script}");
        assert!(script.contains(&format!("SET 'table.local-time-zone' = '{zone}';")), "{size}: {script}");
    }
}

#[tokio::test]
async fn secrets_stay_in_the_environment() {
    let properties = r#"group = "rides-hourly"
[source.kafka.properties]
"security.protocol" = "sasl_ssl"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "rides"
"sasl.password" = "${RIDES_PASSWORD}"
"ssl.ca.location" = "/etc/ca.pem"
"socket.timeout.ms" = 1000
"#;
    let script = with("group = \"rides-hourly\"", properties).await;
    for line in [
        "'properties.bootstrap.servers' = '${BROKERS}'",
        "'properties.security.protocol' = 'SASL_SSL'",
        "ScramLoginModule required username=\"rides\" password=\"${RIDES_PASSWORD}\";'",
        "'properties.ssl.truststore.type' = 'PEM'",
        "sql-client.sh -f <(envsubst '${BROKERS} ${RIDES_PASSWORD}' < SCRIPT)",
        "Left out, as they are librdkafka's own: socket.timeout.ms.",
    ] {
        assert!(script.contains(line), "{line}: {script}");
    }
    assert!(!script.contains("unset") && !script.contains("localhost"), "{script}");
}

#[tokio::test]
async fn what_has_no_equal_is_refused_with_its_line() {
    for (sql, refused) in [
        (
            "SELECT FIRST_VALUE(fare) AS x\nFROM rides",
            "rides.toml:18: query.sql: FIRST_VALUE(fare): Flink takes what arrives first",
        ),
        ("SELECT zone,\n MEDIAN(fare) AS x FROM rides GROUP BY zone", "rides.toml:19: query.sql: MEDIAN(fare)"),
        ("SELECT zone FROM rides LIMIT 3", "query.sql: LIMIT: without ORDER BY"),
        ("SELECT zone, ROW_NUMBER() OVER (ORDER BY fare) AS n FROM rides", "a window function over a closed window"),
        ("SELECT zone FROM (SELECT zone FROM rides)", "rides.toml:18: query.sql: FROM: only the stream itself"),
        ("SELECT a.zone FROM rides a JOIN rides b ON a.zone = b.zone", "query.sql: FROM: a join has no equal"),
        ("SELECT zone FROM rides UNION ALL SELECT zone FROM rides", "only one SELECT can be written"),
        ("SELECT zone, COUNT(*) AS n FROM rides GROUP BY ROLLUP(zone)", "only plain keys can be written"),
        ("SELECT zone FROM rides WHERE _headers['a'] = 'b'", "has no equal in Flink SQL"),
        ("SELECT _value FROM rides", "query.sql: _value: Flink gives a record's value as a whole, or the columns"),
        (
            "SELECT reverse(zone) AS x FROM rides",
            "reverse(zone): has no equal in Flink SQL that is sure to mean the same",
        ),
        ("SELECT zone FROM rides WHERE zone > 5", "compares two kinds of things"),
    ] {
        let error = with_query(sql).await.unwrap_err();
        assert!(error.to_string().contains(refused), "{sql}: {error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
    for (old, new, refused) in [
        ("size = \"1 hour\"", "size = \"1 month\"", "rides.toml:15: window.size: Flink's windows know no months"),
        (
            "size = \"1 hour\"",
            "size = \"1 day\"\ntimezone = \"Asia/Kathmandu\"",
            "rides.toml:16: window.timezone: Flink loses records",
        ),
        (
            "[source.kafka]",
            "[source]\nkey = \"avro\"\n[source.schema]\nkey_file = \"key.avsc\"\n[source.kafka]",
            "rides.toml:4: source.key: Flink reads keys by a schema of its own",
        ),
        ("km = \"float\"", "km = \"json\"", "rides.toml:12: source.columns.km = \"json\""),
        (
            "km = \"float\"",
            "km = { type = \"text\", path = \"ride\" }",
            "rides.toml:12: source.columns.km: another column reads",
        ),
        (
            "[source.kafka]",
            "[source]\nformat = \"debezium\"\n[source.kafka]",
            "rides.toml:4: source.format = \"debezium\"",
        ),
        (
            "topic = \"rides\"",
            "topic = \"rides\"\nproperties = { \"ssl.key.location\" = \"k\" }",
            "rides.toml:6: source.kafka.properties: ssl.key.location",
        ),
    ] {
        let error = exported(RIDES.replace(old, new)).await.unwrap_err();
        assert!(error.to_string().contains(refused), "{new}: {error}");
    }
    // All of them at once.
    let error = with_query("SELECT MEDIAN(fare) AS a,\nBIT_AND(seats) AS b FROM rides").await.unwrap_err();
    assert_eq!(error.to_string().lines().count(), 2, "{error}");
}
