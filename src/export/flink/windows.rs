//! Which windows: the table function that cuts the stream, and the time zone that goes with it.

use chrono::{NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::Tz;
use serde::Deserialize;

use super::words::{interval, name};
use crate::time::window;

const DAY: i64 = 86_400_000_000;

/// Windows as Flink is told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// The session's time zone, which windows and dates follow.
    pub(super) zone: String,
    /// The time zone that a window's date is told in.
    pub(super) date_zone: String,
    size: String,
    /// Of hopping windows, how often one begins.
    every: Option<String>,
    offset: Option<String>,
}

/// A definition of windows as it is written down.
#[derive(Deserialize)]
struct Definition {
    grid: Grid,
    timezone: Option<String>,
    /// How many panes a window has, the grid being that of panes.
    #[serde(default = "one")]
    panes: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Grid {
    Fixed { size: i64, phase: i64 },
    Days { count: i64, phase: i64, clock: i64 },
    Months {},
}

const NO_SUMMER_TIME: &str = "Flink loses records in days of a time zone without summer time, as it looks for what is due at \
midnight of UTC; leave it out, and write a midnight of that zone as origin, such as \"1970-01-01T18:15:00Z\"";

/// Whether windows follow days of this zone soundly: `TimeWindowUtil.getNextTriggerWatermark` of Flink goes by UTC where the
/// zone has no summer time.
fn has_summer_time(zone: &str) -> bool {
    let offset = |month| {
        let day: NaiveDateTime = NaiveDate::from_ymd_opt(2026, month, 1)?.into();
        Some(zone.parse::<Tz>().ok()?.offset_from_utc_datetime(&day).fix().local_minus_utc())
    };
    offset(1) != offset(7) || offset(1) == Some(0)
}

impl Windows {
    /// The windows, or which key has no equal in Flink, and why.
    pub(super) fn new(windows: &window::Windows) -> Result<Self, (&'static str, &'static str)> {
        let written = serde_json::to_value(windows).and_then(serde_json::from_value::<Definition>);
        let Ok(Definition { grid, timezone, panes }) = written else {
            return Err(("size", "these windows are not known here"));
        };
        let utc = || "UTC".to_owned();
        let date_zone = timezone.unwrap_or_else(utc);
        let (zone, pane, offset) = match grid {
            Grid::Fixed { size, phase } => (utc(), size, phase),
            Grid::Days { .. } if !has_summer_time(&date_zone) => return Err(("timezone", NO_SUMMER_TIME)),
            Grid::Days { count, phase, clock } => (date_zone.clone(), count * DAY, phase * DAY + clock),
            Grid::Months {} => return Err(("size", "Flink's windows know no months, whose lengths differ")),
        };
        let finer = ("size", "Flink's windows are told in milliseconds");
        let size = interval(pane.saturating_mul(i64::from(panes))).ok_or(finer)?;
        let every = if panes == 1 { None } else { Some(interval(pane).ok_or(finer)?) };
        let offset = if offset == 0 { None } else { Some(interval(offset).ok_or(finer)?) };
        Ok(Self { zone, date_zone, size, every, offset })
    }

    /// Whether the session follows another calendar than UTC's.
    pub(super) fn zoned(&self) -> bool {
        self.zone != "UTC"
    }

    /// The table function over a stream.
    pub(super) fn over(&self, stream: &str, time: &str) -> String {
        let offset = self.offset.as_ref().map(|offset| format!(", {offset}")).unwrap_or_default();
        let (function, every) = match &self.every {
            Some(every) => ("HOP", format!("{every}, ")),
            None => ("TUMBLE", String::new()),
        };
        format!("TABLE({function}(TABLE {}, DESCRIPTOR({}), {every}{}{offset}))", name(stream), name(time), self.size)
    }

    /// The date of a window's start.
    pub(super) fn date(&self) -> String {
        if self.zone == self.date_zone {
            return "DATE_FORMAT(window_start, 'yyyy-MM-dd')".to_owned();
        }
        let start = "DATE_FORMAT(window_start, 'yyyy-MM-dd HH:mm:ss')";
        format!("SUBSTRING(CONVERT_TZ({start}, '{}', '{}') FROM 1 FOR 10)", self.zone, self.date_zone)
    }
}
