use super::*;
use crate::cli::{LogFormat, Talk};

const MINUTE: i64 = 60_000_000;

async fn study(lines: &[&str], sample: Option<u32>) -> Study {
    try_study(lines, sample, None).await.unwrap()
}

async fn try_study(lines: &[&str], sample: Option<u32>, since: Option<Moment>) -> Result<Study, Error> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t.jsonl"), lines.join("\n")).unwrap();
    let text = format!(
        r#"
        name = "t"
        [source.file]
        path = "{}/t.jsonl"
        [source.columns]
        at = "timestamp"
        [window]
        event_time = "at"
        size = "10 minutes"
        watermark_delay = "1 minute"
        allowed_lateness = "10 minutes"
        [query]
        sql = "SELECT COUNT(*) AS n FROM t"
        [sink]
        url = "unused"
        "#,
        dir.path().display()
    );
    let pipeline = Pipeline::parse(&text, "t.toml", &|_| None).unwrap();
    let file = FileArg { file: "t.toml".into() };
    let lateness = Lateness { file, sample, since, until: None, json: false, svg: None };
    lateness.study(&pipeline, &Terminal::start(Talk { quiet: true, log_format: LogFormat::Text })).await
}

fn at(time: &str) -> String {
    format!(r#"{{"at": "2026-03-01T{time}Z"}}"#)
}

/// Six in order, one a minute behind, one late, two too late, of which one is 1970; one of the future, one unreadable.
async fn mixed() -> Study {
    let lines = [
        at("08:00:00"),
        at("08:05:00"),
        at("08:04:00"),
        at("08:12:00"),
        at("08:09:00"),
        at("08:30:00"),
        at("08:55:00"),
        at("08:01:00"),
        at("08:58:00"),
        r#"{"at": "1970-01-20T08:00:00Z"}"#.to_owned(),
        r#"{"at": "9000-01-01T00:00:00Z"}"#.to_owned(),
        "{".to_owned(),
    ];
    study(&lines.iter().map(String::as_str).collect::<Vec<_>>(), None).await
}

#[tokio::test]
async fn the_present_setting_is_counted_as_the_engine_would() {
    let study = mixed().await;
    let all = study.all();
    assert_eq!((all.read, all.behind.count, all.late, all.too_late), (12, 10, 1, 2));
    assert_eq!(study.invalid["future"].first[0].1, Offset(11));
    assert_eq!(study.invalid["not_json"].first[0].1, Offset(12));
    assert_eq!((study.ancient.count, study.ancient.first[0].1), (1, Offset(10)));
    // What lies in the future moved nothing.
    assert_eq!(all.newest.unwrap().to_string(), "2026-03-01T08:58:00Z");
}

#[tokio::test]
async fn the_delay_that_is_told_keeps_the_share_that_is_told() {
    let lines: Vec<String> = (0..100)
        .flat_map(|minute| {
            let hour = 8 + minute / 60;
            [at(&format!("{hour:02}:{:02}:00", minute % 60)), at(&format!("{hour:02}:{:02}:30", minute % 60))]
        })
        .chain([at("09:05:00")])
        .collect();
    let study = study(&lines.iter().map(String::as_str).collect::<Vec<_>>(), None).await;
    // Only the last record is late: its window ended at 09:10, and the newest is of 09:39:30.
    assert_eq!(study.needed.keeping(990_000), 0);
    assert_eq!(study.needed.keeping(1_000_000), 29 * MINUTE + MINUTE / 2 + 1);
    assert_eq!(study.all().behind.most, 34 * MINUTE + MINUTE / 2);
    let text = show::text(&study);
    assert!(text.contains("\"30 minutes\""), "{text}");
}

#[tokio::test]
async fn a_sample_of_a_file_is_its_first_lines() {
    let lines = [at("08:00:00"), at("08:01:00"), at("08:00:30"), at("07:00:00")];
    let study = study(&lines.iter().map(String::as_str).collect::<Vec<_>>(), Some(3)).await;
    assert_eq!(study.all().read, 3);
    assert_eq!(study.all().behind.most, MINUTE / 2);
}

#[tokio::test]
async fn a_file_knows_no_times_to_sample_by() {
    let error = try_study(&[&at("08:00:00")], None, Some(Moment::Ago(MINUTE))).await.err().unwrap();
    assert!(error.to_string().contains("can only be read from its beginning"), "{error}");
}

#[test]
fn a_moment_is_a_time_or_a_span_back_from_now() {
    let now = Timestamp(10 * MINUTE);
    assert_eq!("2 minutes".parse::<Moment>().unwrap().at(now), Timestamp(8 * MINUTE));
    assert_eq!("1970-01-01T00:01:00Z".parse::<Moment>().unwrap().at(now), Timestamp(MINUTE));
    for wrong in ["", "yesterday", "2026-03-01"] {
        assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn the_report_names_what_is_impossible_by_its_offset() {
    let text = show::text(&mixed().await);
    for word in [
        "12 records of 1 partitions",
        "future: 1",
        "file/0/11",
        "file/0/12",
        "before 1980",
        "file/0/10",
        "◂ watermark_delay",
        "1 (10.0%) late",
        "2 (20.0%) too late",
    ] {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[tokio::test]
async fn json_holds_the_same_numbers() {
    let json = show::json(&mixed().await);
    assert_eq!(json["read"], 12);
    assert_eq!(json["present"]["late"], 1);
    assert_eq!(json["present"]["too_late"], 2);
    assert_eq!(json["invalid"]["future"]["first"][0]["offset"], 11);
    let bins: u64 = json["behind"]["bins"].as_array().unwrap().iter().map(|bin| bin["records"].as_u64().unwrap()).sum();
    assert_eq!(bins, 10);
}

#[tokio::test]
async fn a_topic_without_records_is_no_error() {
    let study = study(&[], None).await;
    assert!(show::text(&study).contains("no record with an event time"));
    assert_eq!(show::json(&study)["read"], 0);
    assert!(chart::svg(&study).ends_with("</svg>\n"));
}

#[tokio::test]
async fn the_picture_stands_alone_and_is_well_formed() {
    let svg = chart::svg(&mixed().await);
    assert!(svg.contains("watermark_delay 1m"), "{svg}");
    assert!(!svg.replace("http://www.w3.org/2000/svg", "").contains("http"), "{svg}");
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    assert_eq!(svg.matches("<rect").count(), svg.matches("</rect>").count());
}

#[test]
fn a_delay_is_never_rounded_to_less() {
    for micros in [0, 1, 999_999, 1_000_001, 10 * MINUTE, 10 * MINUTE + 1, 3 * 60 * MINUTE, i64::MAX] {
        assert!(show::rounded(micros) >= micros);
    }
    assert_eq!(show::rounded(10 * MINUTE + 1), 11 * MINUTE);
}
