//! Windows over clock changes, before the epoch, and at the ends of what can be named.

use chrono::{Duration, Weekday};
use proptest::prelude::*;

use super::super::text::{time, window_size};
use super::*;

const HOUR: i64 = 3600 * SECOND;

fn windows(size: &str, zone: &str) -> Windows {
    let zone = (!zone.is_empty()).then(|| zone.parse().unwrap());
    Windows::new(window_size(size).unwrap(), None, zone).unwrap()
}

fn from(size: &str, zone: &str, origin: &str) -> Result<Windows, WindowError> {
    let zone = (!zone.is_empty()).then(|| zone.parse().unwrap());
    Windows::new(window_size(size).unwrap(), Some(time(origin).unwrap()), zone)
}

/// The window of a time as `start end date`.
fn at(windows: &Windows, text: &str) -> String {
    let window = windows.assign(time(text).unwrap()).unwrap();
    format!("{} {} {}", window.start, window.end, windows.date(window))
}

/// The windows that hold a time, as `start end`.
fn held(windows: &Windows, text: &str) -> Vec<String> {
    windows.holding(time(text).unwrap()).map(|window| format!("{} {}", window.start, window.end)).collect()
}

fn hops(size: &str, every: &str, zone: &str) -> Result<Windows, WindowError> {
    let zone = (!zone.is_empty()).then(|| zone.parse().unwrap());
    Windows::hopping(window_size(size).unwrap(), window_size(every).unwrap(), None, zone)
}

#[test]
fn hopping_windows_by_the_calendar_are_so_many_days_whatever_their_length() {
    let weeks = hops("3 days", "1 day", "America/New_York").unwrap();
    assert_eq!(
        held(&weeks, "2026-03-08T12:00:00Z"),
        [
            "2026-03-06T05:00:00Z 2026-03-09T04:00:00Z",
            "2026-03-07T05:00:00Z 2026-03-10T04:00:00Z",
            "2026-03-08T05:00:00Z 2026-03-11T04:00:00Z"
        ]
    );
    // Samoa had no 30 December 2011.
    let days = hops("2 days", "1 day", "Pacific/Apia").unwrap();
    assert_eq!(
        held(&days, "2011-12-31T12:00:00+14:00"),
        ["2011-12-29T10:00:00Z 2011-12-31T10:00:00Z", "2011-12-30T10:00:00Z 2012-01-01T10:00:00Z"]
    );
    let quarters = hops("3 months", "1 month", "").unwrap();
    assert_eq!(held(&quarters, "2024-02-29T00:00:00Z")[0], "2023-12-01T00:00:00Z 2024-03-01T00:00:00Z");
}

#[test]
fn hops_that_do_not_fit_into_a_window_are_refused() {
    assert_eq!(hops("1 hour", "1 hour", ""), hops("60 minutes", "1 hour", ""));
    assert_eq!(hops("1 hour", "1 hour", "").unwrap(), windows("1 hour", ""));
    assert!(hops("1 day", "1 hour", "").is_ok());
    for (size, every, zone) in [
        ("1 hour", "25 minutes", ""),
        ("1 hour", "2 hours", ""),
        ("1 day", "1 hour", "Europe/Paris"),
        ("1 month", "1 day", ""),
    ] {
        assert_eq!(hops(size, every, zone), Err(WindowError::NotMultiple), "{size} {every} {zone}");
    }
    assert_eq!(hops("1 day", "30 seconds", ""), Err(WindowError::TooMany));
}

proptest! {
    #[test]
    fn a_time_is_in_the_windows_that_begin_before_it_and_end_after_it(
        time in -3_000_000_000_000_000..3_000_000_000_000_000i64,
        every in 1..200i64,
        count in 1..30i64,
        origin in 0..1_000_000_000i64,
    ) {
        let every = every * SECOND;
        let [size, hop] = [every * count, every].map(Size::Physical);
        let windows = Windows::hopping(size, hop, Some(Timestamp(origin)), None).unwrap();
        let first = (time - origin - every * count).div_euclid(every) + 1;
        let starts = (first..).map(|n| origin + n * every).take_while(|start| *start <= time);
        let should: Vec<_> = starts.map(|start| (start, start + every * count)).collect();
        let is: Vec<_> = windows.holding(Timestamp(time)).map(|window| (window.start.0, window.end.0)).collect();
        prop_assert_eq!(is.len(), usize::try_from(count).unwrap());
        prop_assert_eq!(is, should);
        let pane = windows.assign(Timestamp(time)).unwrap();
        prop_assert_eq!(Some(windows.from_pane(pane)), windows.of_pane(pane).last());
        let two = [pane, windows.assign(pane.end.plus(3 * every)).unwrap()];
        let mut over: Vec<_> = two.into_iter().flat_map(|pane| windows.of_pane(pane)).collect();
        over.sort();
        over.dedup();
        prop_assert_eq!(windows.over(two), over);
        let written = serde_json::to_string(&windows).unwrap();
        prop_assert_eq!(written.contains("panes"), count > 1);
        prop_assert_eq!(serde_json::from_str::<Windows>(&written).unwrap(), windows);
    }
}

#[test]
fn fixed_windows_count_from_the_epoch_also_before_it() {
    let hours = windows("1 hour", "");
    assert_eq!(at(&hours, "1970-01-01T00:59:59.999999Z"), "1970-01-01T00:00:00Z 1970-01-01T01:00:00Z 1970-01-01");
    assert_eq!(at(&hours, "1970-01-01T01:00:00Z"), "1970-01-01T01:00:00Z 1970-01-01T02:00:00Z 1970-01-01");
    assert_eq!(at(&hours, "1969-12-31T23:59:59.999999Z"), "1969-12-31T23:00:00Z 1970-01-01T00:00:00Z 1969-12-31");
    let odd = windows("7 minutes", "");
    assert_eq!(at(&odd, "1969-12-31T23:52:59Z"), "1969-12-31T23:46:00Z 1969-12-31T23:53:00Z 1969-12-31");
}

#[test]
fn weeks_begin_on_monday_unless_the_origin_says_otherwise() {
    let weeks = windows("1 week", "");
    assert_eq!(at(&weeks, "2026-03-01T12:00:00Z"), "2026-02-23T00:00:00Z 2026-03-02T00:00:00Z 2026-02-23");
    assert_eq!(NaiveDate::from_ymd_opt(2026, 2, 23).unwrap().weekday(), Weekday::Mon);
    assert_eq!(at(&weeks, "1969-12-28T12:00:00Z"), "1969-12-22T00:00:00Z 1969-12-29T00:00:00Z 1969-12-22");
    let sundays = from("1 week", "", "2026-03-01T00:00:00Z").unwrap();
    assert_eq!(at(&sundays, "2026-03-01T12:00:00Z"), "2026-03-01T00:00:00Z 2026-03-08T00:00:00Z 2026-03-01");
    let paris = windows("1 week", "Europe/Paris");
    assert_eq!(at(&paris, "2026-03-29T12:00:00Z"), "2026-03-22T23:00:00Z 2026-03-29T22:00:00Z 2026-03-23");
}

#[test]
fn months_and_years_have_their_own_lengths() {
    let months = windows("1 month", "");
    assert_eq!(at(&months, "2024-02-29T23:00:00Z"), "2024-02-01T00:00:00Z 2024-03-01T00:00:00Z 2024-02-01");
    assert_eq!(at(&months, "1969-12-31T23:00:00Z"), "1969-12-01T00:00:00Z 1970-01-01T00:00:00Z 1969-12-01");
    let quarters = windows("3 months", "Europe/Paris");
    assert_eq!(at(&quarters, "2026-03-31T21:59:59Z"), "2025-12-31T23:00:00Z 2026-03-31T22:00:00Z 2026-01-01");
    let fiscal = from("1 year", "", "2020-04-06T00:00:00Z").unwrap();
    assert_eq!(at(&fiscal, "2026-04-05T12:00:00Z"), "2025-04-06T00:00:00Z 2026-04-06T00:00:00Z 2025-04-06");
    assert_eq!(at(&fiscal, "2026-04-06T00:00:00Z"), "2026-04-06T00:00:00Z 2027-04-06T00:00:00Z 2026-04-06");
}

#[test]
fn days_without_a_zone_are_utc() {
    assert_eq!(windows("1 day", ""), windows("24 hours", ""));
    assert_eq!(
        at(&windows("1 day", ""), "2026-03-08T12:00:00-05:00"),
        "2026-03-08T00:00:00Z 2026-03-09T00:00:00Z 2026-03-08"
    );
}

#[test]
fn several_days_count_from_the_origin() {
    let three = from("3 days", "America/New_York", "2026-03-07T05:00:00Z").unwrap();
    assert_eq!(at(&three, "2026-03-09T12:00:00Z"), "2026-03-07T05:00:00Z 2026-03-10T04:00:00Z 2026-03-07");
    assert_eq!(at(&three, "2026-03-07T04:59:59Z"), "2026-03-04T05:00:00Z 2026-03-07T05:00:00Z 2026-03-04");
    let business = from("1 day", "Europe/Paris", "2026-01-01T06:00:00+01:00").unwrap();
    assert_eq!(at(&business, "2026-07-01T05:59:00+02:00"), "2026-06-30T04:00:00Z 2026-07-01T04:00:00Z 2026-06-30");
}

#[test]
fn a_day_in_new_york_has_23_or_25_hours_on_a_clock_change() {
    let days = windows("1 day", "America/New_York");
    assert_eq!(at(&days, "2026-03-08T12:00:00Z"), "2026-03-08T05:00:00Z 2026-03-09T04:00:00Z 2026-03-08");
    assert_eq!(at(&days, "2026-11-01T12:00:00Z"), "2026-11-01T04:00:00Z 2026-11-02T05:00:00Z 2026-11-01");
    // The hour that comes twice belongs to the same day both times.
    assert_eq!(at(&days, "2026-11-01T05:30:00Z"), at(&days, "2026-11-01T06:30:00Z"));
}

#[test]
fn a_day_in_sao_paulo_begins_after_the_jump_over_midnight() {
    let days = windows("1 day", "America/Sao_Paulo");
    // 2018-11-04 has no midnight: 23:59:59 is followed by 01:00:00.
    assert_eq!(at(&days, "2018-11-04T02:59:59.999999Z"), "2018-11-03T03:00:00Z 2018-11-04T03:00:00Z 2018-11-03");
    assert_eq!(at(&days, "2018-11-04T03:00:00Z"), "2018-11-04T03:00:00Z 2018-11-05T02:00:00Z 2018-11-04");
    // 2018-02-17 has 25 hours: its last comes twice, and then it is midnight.
    assert_eq!(at(&days, "2018-02-18T02:30:00Z"), "2018-02-17T02:00:00Z 2018-02-18T03:00:00Z 2018-02-17");
    assert_eq!(at(&days, "2018-02-18T03:00:00Z"), "2018-02-18T03:00:00Z 2018-02-19T03:00:00Z 2018-02-18");
}

#[test]
fn a_clock_change_on_lord_howe_is_half_an_hour() {
    let days = windows("1 day", "Australia/Lord_Howe");
    assert_eq!(at(&days, "2026-04-05T00:00:00Z"), "2026-04-04T13:00:00Z 2026-04-05T13:30:00Z 2026-04-05");
    assert_eq!(at(&days, "2026-10-04T00:00:00Z"), "2026-10-03T13:30:00Z 2026-10-04T13:00:00Z 2026-10-04");
}

#[test]
fn days_in_kathmandu_begin_at_a_quarter_past() {
    let days = windows("1 day", "Asia/Kathmandu");
    assert_eq!(at(&days, "2026-03-01T18:15:00Z"), "2026-03-01T18:15:00Z 2026-03-02T18:15:00Z 2026-03-02");
    assert_eq!(at(&days, "2026-03-01T18:14:59Z"), "2026-02-28T18:15:00Z 2026-03-01T18:15:00Z 2026-03-01");
}

#[test]
fn a_midnight_that_comes_twice_counts_once() {
    // Until 2011 St. John's set its clocks back at 00:01, to 23:01 of the day before.
    let days = windows("1 day", "America/St_Johns");
    let first = at(&days, "2010-11-07T02:30:00Z");
    assert_eq!(first, "2010-11-07T02:30:00Z 2010-11-08T03:30:00Z 2010-11-07");
    assert_eq!(at(&days, "2010-11-07T02:45:00Z"), first);
}

#[test]
fn a_day_that_never_was_has_no_window() {
    // Samoa crossed the date line: 2011-12-29 was followed by 2011-12-31.
    let days = windows("1 day", "Pacific/Apia");
    assert_eq!(at(&days, "2011-12-30T09:59:59Z"), "2011-12-29T10:00:00Z 2011-12-30T10:00:00Z 2011-12-29");
    assert_eq!(at(&days, "2011-12-30T10:00:00Z"), "2011-12-30T10:00:00Z 2011-12-31T10:00:00Z 2011-12-31");
}

#[test]
fn hours_are_physical_also_with_a_zone() {
    let hours = windows("6 hours", "America/New_York");
    assert_eq!(at(&hours, "2026-03-08T07:00:00Z"), "2026-03-08T06:00:00Z 2026-03-08T12:00:00Z 2026-03-08");
    // Only the date follows the zone.
    assert_eq!(at(&hours, "2026-03-08T01:00:00Z"), "2026-03-08T00:00:00Z 2026-03-08T06:00:00Z 2026-03-07");
    let half = windows("1 hour", "Asia/Kathmandu");
    assert_eq!(at(&half, "2026-03-08T18:20:00Z"), "2026-03-08T18:00:00Z 2026-03-08T19:00:00Z 2026-03-08");
}

#[test]
fn sizes_that_make_no_tumbling_refused() {
    let refused = |size| Windows::new(size, None, None).unwrap_err();
    assert_eq!(refused(Size::Physical(0)), WindowError::Empty);
    assert_eq!(refused(Size::Physical(-1)), WindowError::Empty);
    assert_eq!(refused(Size::Days(0)), WindowError::Empty);
    assert_eq!(refused(Size::Physical(SECOND - 1)), WindowError::TooShort);
    assert_eq!(refused(Size::Days(401)), WindowError::TooLong);
    assert_eq!(refused(Size::Weeks(i64::MAX)), WindowError::TooLong);
    assert_eq!(refused(Size::Months(14)), WindowError::TooLong);
    assert_eq!(from("1 month", "", "2026-01-31T00:00:00Z").unwrap_err(), WindowError::OriginDay);
}

#[test]
fn the_same_tumbling_equal_however_they_were_written() {
    assert_eq!(windows("60 minutes", ""), from("1 hour", "", "2026-03-01T05:00:00Z").unwrap());
    assert_ne!(windows("1 week", ""), windows("7 days", ""));
    assert_ne!(windows("1 hour", ""), windows("1 hour", "Europe/Paris"));
    assert_eq!(windows("1 week", "Asia/Tokyo"), from("1 week", "Asia/Tokyo", "2026-03-02T00:00:00+09:00").unwrap());
}

#[test]
fn a_written_definition_is_read_back() {
    for windows in [windows("1 hour", ""), windows("2 days", "Asia/Kathmandu"), windows("1 month", "Europe/Paris")] {
        let text = serde_json::to_string(&windows).unwrap();
        assert_eq!(serde_json::from_str::<Windows>(&text).unwrap(), windows, "{text}");
    }
    let text = serde_json::to_string(&windows("1 hour", "Europe/Paris")).unwrap();
    assert_eq!(text, r#"{"grid":{"fixed":{"size":3600000000,"phase":0}},"timezone":"Europe/Paris"}"#);
    assert!(serde_json::from_str::<Windows>(&text.replace("3600000000", "0")).is_err());
}

#[test]
fn times_beyond_the_years_of_files_have_no_window() {
    for windows in [windows("1 hour", ""), windows("1 day", "Pacific/Apia"), windows("13 months", "America/Adak")] {
        for time in [i64::MIN, i64::MIN + 1, FIRST - 1, LAST, LAST + 1, i64::MAX - 1, i64::MAX] {
            assert_eq!(windows.assign(Timestamp(time)), None, "{time}");
        }
        assert!(windows.assign(Timestamp(FIRST + 2 * LONGEST)).is_some());
        assert!(windows.assign(Timestamp(LAST - 2 * LONGEST)).is_some());
    }
}

const SIZES: [&str; 11] = [
    "1 second",
    "7 minutes",
    "1 hour",
    "23 hours",
    "1 day",
    "2 days",
    "9 days",
    "1 week",
    "1 month",
    "3 months",
    "1 year",
];

fn zone() -> impl Strategy<Value = Option<Tz>> {
    let changing = prop::sample::select(vec![
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "America/Asuncion",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Africa/Cairo",
        "Pacific/Apia",
        "Antarctica/Troll",
    ]);
    prop_oneof![
        1 => Just(None),
        4 => changing.prop_map(|name| Some(name.parse().unwrap())),
        2 => prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()).prop_map(Some),
    ]
}

/// Times of every age, most of them where clocks change.
fn moment() -> impl Strategy<Value = i64> {
    let recent = (-2_208_988_800..4_102_444_800i64).prop_map(|seconds| seconds * SECOND);
    prop_oneof![4 => recent, 1 => FIRST + 2 * LONGEST..LAST - 2 * LONGEST]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_time_lies_in_exactly_one_window_and_windows_adjoin(
        size in prop::sample::select(SIZES.to_vec()),
        zone in zone(),
        origin in prop::option::of((1..28i64, 0..24i64)),
        time in moment(),
        within in 0.0..1.0f64,
    ) {
        let origin = origin.map(|(day, hour)| Timestamp((day * 24 + hour - 24) * HOUR));
        let Ok(windows) = Windows::new(window_size(size).unwrap(), origin, zone) else { return Ok(()) };
        let window = windows.assign(Timestamp(time)).unwrap();
        prop_assert!(window.contains(Timestamp(time)));
        let inside = window.start.0 + ((window.end.0 - 1 - window.start.0) as f64 * within) as i64;
        for same in [window.start.0, inside, window.end.0 - 1] {
            prop_assert_eq!(windows.assign(Timestamp(same)), Some(window));
        }
        prop_assert_eq!(windows.assign(window.end).unwrap().start, window.end);
        prop_assert_eq!(windows.assign(window.start.minus(1)).unwrap().end, window.start);
    }

    #[test]
    fn a_calendar_day_is_the_local_date(zone in zone(), time in moment()) {
        let Some(zone) = zone else { return Ok(()) };
        let days = Windows::new(Size::Days(1), None, Some(zone)).unwrap();
        let window = days.assign(Timestamp(time)).unwrap();
        let date = civil(local(zone, time).unwrap()).unwrap().date();
        // Where midnight comes twice the clock shows the day before once more.
        prop_assert!(days.date(window) == date || days.date(window) == date + Duration::days(1));
        let start = civil(local(zone, window.start.0 - 1).unwrap()).unwrap();
        prop_assert!(start.date() < days.date(window));
    }

    #[test]
    fn fixed_windows_begin_at_the_origin_and_multiples_of_the_size(
        size in 1..LONGEST / SECOND, origin in moment(), time in moment(),
    ) {
        let windows = Windows::new(Size::Physical(size * SECOND), Some(Timestamp(origin)), None).unwrap();
        let window = windows.assign(Timestamp(time)).unwrap();
        prop_assert_eq!(window.end.0 - window.start.0, size * SECOND);
        prop_assert_eq!((window.start.0 - origin).rem_euclid(size * SECOND), 0);
    }
}
