use super::*;
use crate::cli::{LogFormat, Talk};
use crate::log::entry::Counts;
use crate::record::Partition;

const SECOND: i64 = 1_000_000;

fn view(now: i64, read: u64, progress: (u64, u64)) -> View {
    View {
        now: Timestamp(now),
        totals: Counts { read, late: 12, ..Counts::default() },
        watermark: Some(Timestamp(now - 252 * SECOND - 300)),
        open_windows: 1,
        progress,
        lag: Some(progress.1 - progress.0),
    }
}

/// A run that takes in 1000 records a second, of which 100,000 wait.
fn catching_up() -> Live {
    let terminal = Terminal::start(Talk { quiet: true, log_format: LogFormat::Text });
    let mut live = Live::new(terminal, 0);
    for step in 0..40 {
        live.progress(&view(i64::try_from(step).unwrap() * SECOND / 4, step * 250, (step * 250, 100_000)));
    }
    live
}

#[test]
fn a_catch_up_shows_a_bar_and_the_time_left() {
    let live = catching_up();
    let lines = live.block(&view(10 * SECOND, 10_000, (10_000, 100_000)), &Ink(false), 79);
    assert_eq!(lines[0], "██▍░░░░░░░░░░░░░░░░░░░░░ 10% 1m 30s left");
    assert_eq!(lines[1], "1,000 records/s · 10,000 read · lag 90,000");
    assert_eq!(lines[2], "watermark 1969-12-31T23:55:57Z · 4m 12s behind the clock · 1 window open");
    assert_eq!(lines[3], "12 late · 0 too late · 0 invalid");
}

#[test]
fn a_run_that_has_caught_up_has_no_bar() {
    let live = catching_up();
    let lines = live.block(&view(10 * SECOND, 100_000, (100_000, 100_000)), &Ink(false), 79);
    assert_eq!(lines.len(), 3);
    assert!(lines[0].ends_with("lag 0"), "{}", lines[0]);
}

#[test]
fn a_narrow_terminal_hides_nothing() {
    let live = catching_up();
    let lines = live.block(&view(10 * SECOND, 10_000, (10_000, 100_000)), &Ink(false), 39);
    assert!(lines.iter().all(|line| measure_text_width(line) <= 39), "{lines:?}");
    for part in ["1,000 records/s", "lag 90,000", "watermark 1969-12-31T23:55:57Z", "1 window open", "0 invalid"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} is not in {lines:?}");
    }
}

#[test]
fn the_partition_that_holds_the_others_back_is_named() {
    let mut live = catching_up();
    live.holding = Some(Holding { partition: Partition(2), watermark: Timestamp(0), by: 400 * SECOND });
    let lines = live.block(&view(10 * SECOND, 100_000, (100_000, 100_000)), &Ink(false), 200);
    assert!(lines[1].contains("held back 6m 40s by partition 2"), "{}", lines[1]);
}

#[test]
fn without_color_no_escape_is_written() {
    let live = catching_up();
    let view = view(10 * SECOND, 10_000, (10_000, 100_000));
    assert!(live.block(&view, &Ink(false), 79).iter().all(|line| !line.contains('\x1b')));
    assert!(live.block(&view, &Ink(true), 79).iter().any(|line| line.contains('\x1b')));
}

#[test]
fn a_bar_is_as_wide_at_every_share() {
    for done in 0..=200 {
        assert_eq!(bar(done, 200).chars().count(), 24);
    }
    assert_eq!(bar(7, 0).chars().count(), 24);
}
