use super::columns::{Proposed, Seen, event_time};
use crate::record::{Offset, Partition, Records, Timestamp};

/// 2026-03-01T08:00:00Z.
const NOW: Timestamp = Timestamp(1_772_352_000_000_000);

fn propose(lines: &[&str]) -> Vec<Proposed> {
    let mut records = Records::new(Partition(0));
    for (line, offset) in lines.iter().zip(0..) {
        records.push(Offset(offset), None, None, Some(line.as_bytes()));
    }
    let mut seen = Seen::default();
    seen.take(&records);
    seen.propose(NOW)
}

/// The type proposed for these values of one member.
fn kind_of(name: &str, values: &[&str]) -> String {
    let lines: Vec<String> = values.iter().map(|value| format!("{{\"{name}\": {value}}}")).collect();
    let proposed = propose(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(proposed.len(), 1, "{proposed:?}");
    proposed[0].kind.clone()
}

#[test]
fn types_are_those_that_take_every_value() {
    for (values, kind) in [
        (&["1", "-5"][..], "int"),
        (&["1", "2.5"], "decimal(18, 1)"),
        (&["1.25", "2.5"], "decimal(18, 2)"),
        (&["40.748817", "1.5"], "float"),
        (&["1e5", "2"], "float"),
        (&["9223372036854775808"], "decimal(38, 0)"),
        (&["12345678901234567890.25"], "decimal(22, 2)"),
        (&["true", "false"], "bool"),
        (&["true", "1"], "json"),
        (&["\"a\"", "1"], "json"),
        (&["[1]"], "json"),
        (&["null"], "json"),
        (&["\"a\"", "\"2026-03-01\""], "text"),
        (&["\"2026-03-01\""], "date"),
        (&["\"2026-03-01T08:00:00Z\"", "\"2026-03-01T08:00:00.5+02:00\""], "timestamp"),
        (&["\"2026-03-01T08:00:00\""], "text"),
        (&["\"12.50\"", "\"-3.5\""], "decimal(18, 2)"),
        (&["\"1250\""], "text"),
    ] {
        assert_eq!(kind_of("v", values), kind, "{values:?}");
    }
}

#[test]
fn seconds_milliseconds_and_microseconds_are_told_apart() {
    for (value, kind) in [
        ("1772352000", "timestamp(s)"),
        ("1772352000123", "timestamp(ms)"),
        ("1772352000123456", "timestamp(us)"),
        ("1772352000123456789", "int"),
        ("17723520", "int"),
    ] {
        assert_eq!(kind_of("created_at", &[value]), kind, "{value}");
        assert_eq!(kind_of("eventTime", &[value]), kind, "{value}");
    }
    // Without a name that says so, ten digits may be anything; thirteen around now are hardly something else.
    assert_eq!(kind_of("total", &["1772352000"]), "int");
    assert_eq!(kind_of("total", &["1772352000123"]), "timestamp(ms)");
    assert_eq!(kind_of("total", &["1172352000123"]), "int");
    assert_eq!(kind_of("created_at", &["1772352000123", "5"]), "int");
}

#[test]
fn the_event_time_is_the_one_that_sounds_most_like_it() {
    let chosen = |line: &str| event_time(&propose(&[line])).map(|column| column.name.clone());
    let time = "\"2026-03-01T08:00:00Z\"";
    let line = format!("{{\"loaded\": {time}, \"eventTime\": {time}, \"created_at\": {time}}}");
    assert_eq!(chosen(&line).as_deref(), Some("eventTime"));
    assert_eq!(chosen(&format!("{{\"a\": 1, \"b\": {time}}}")).as_deref(), Some("b"));
    assert_eq!(chosen("{\"a\": 1}"), None);
    // Names that say nothing: the one that comes in order.
    let at = |a: u32, b: u32| format!("{{\"a\": \"2026-03-01T08:{a:02}:00Z\", \"b\": \"2026-03-01T08:{b:02}:00Z\"}}");
    let lines = [at(9, 1), at(5, 2), at(7, 3)];
    let columns = propose(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(event_time(&columns).map(|column| (column.name.as_str(), column.behind)), Some(("b", 0)));
    assert_eq!(columns[0].behind, 240_000_000);
    // One that some records lack cannot be it.
    let columns = propose(&[&format!("{{\"a\": {time}}}"), "{}"]);
    assert_eq!((columns[0].optional, event_time(&columns)), (true, None));
}

#[test]
fn members_within_members_get_names_of_their_own() {
    let columns = propose(&[
        r#"{"a": {"b": 1, "c.d": 2}, "a_b": 3, "_topic": "x", "window_start": "y", "9": 1, "ü": 1, "e": {"f": {}}}"#,
        r#"{"a": null, "e": 1}"#,
    ]);
    let told: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.path.join("/"))).collect();
    let expected = [
        ("a_b", "a/b"),
        ("a_c_d", "a/c.d"),
        ("a_b_2", "a_b"),
        ("record_topic", "_topic"),
        ("record_window_start", "window_start"),
        ("c_9", "9"),
        ("_", "ü"),
        ("e", "e"),
    ];
    assert_eq!(told, expected.map(|(name, path)| (name, path.to_owned())));
    assert!(columns.iter().all(|column| column.optional != (column.name == "e")));
    assert_eq!(columns.last().map(|column| column.kind.as_str()), Some("json"));
}
