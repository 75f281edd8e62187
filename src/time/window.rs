//! Which window a time falls into: fixed sizes, and calendar sizes in a time zone.
//!
//! A calendar window begins at the first instant whose clock in its zone shows the boundary or more. So where the clock
//! jumps over midnight the day begins after the jump, and where midnight comes twice it begins with the first.
//!
//! Hopping windows are so many panes each, and a pane is what tumbling windows of the hop's length would be.

mod hopping;

use chrono::{DateTime, Datelike, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};

use super::text::Size;
use crate::record::Timestamp;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The longest window.
pub const LONGEST: i64 = 400 * DAY;
/// The longest calendar window in months.
const LONGEST_MONTHS: i64 = 13;
/// Windows lie within the years 1 to 9999 of every zone, which is what file names and dates can say.
const FIRST: i64 = -62_135_510_400 * SECOND;
const LAST: i64 = 253_402_214_400 * SECOND;
/// The first Monday of the epoch, as a day number.
const MONDAY: i64 = 4;

/// A span of event time, `[start, end)`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first microsecond in it.
    pub start: Timestamp,
    /// The first microsecond after it.
    pub end: Timestamp,
}

impl Window {
    /// Whether `time` lies in it.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

/// The windows of a pipeline: tumbling, so that every time belongs to exactly one, or hopping.
///
/// Two values are equal if they are the same windows with the same dates, however they were written.
///
/// ```
/// use windrow::{record::Timestamp, time::{text, window::Windows}};
/// let hours = Windows::new(text::window_size("1 hour").unwrap(), None, None).unwrap();
/// let window = hours.assign(Timestamp(-1)).unwrap();
/// assert_eq!((window.start, window.end), (Timestamp(-3_600_000_000), Timestamp(0)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Definition", into = "Definition")]
pub struct Windows {
    /// Where panes begin.
    grid: Grid,
    zone: Option<Tz>,
    /// How many panes a window has: one if they tumble.
    panes: u32,
}

/// Where windows begin. The phase is the origin's place in its own window, so equal grids compare equal.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Grid {
    /// Every `size` microseconds, one of them at `phase`.
    Fixed { size: i64, phase: i64 },
    /// Every `count` days of the calendar, one of them on day `phase` since the epoch, at `clock` microseconds.
    Days { count: i64, phase: i64, clock: i64 },
    /// Every `count` months, one of them `phase` months after January 1970, on the `day`, at `clock` microseconds.
    Months { count: i64, phase: i64, day: u32, clock: i64 },
}

/// As it is written down.
#[derive(Clone, Serialize, Deserialize)]
struct Definition {
    grid: Grid,
    timezone: Option<String>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    panes: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(panes: &u32) -> bool {
    *panes == 1
}

/// Why there are no such windows.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// They would never move on.
    #[error("a window needs a size; write \"1 hour\"")]
    Empty,
    /// Each would be a file.
    #[error("shorter than a second; write \"1 second\" or more")]
    TooShort,
    /// The state would be kept for too long.
    #[error("longer than 400 days; write \"1 year\" or less")]
    TooLong,
    /// Not every month has that day.
    #[error("not every month has that day; write an origin on day 1 to 28")]
    OriginDay,
    /// File names could not say it.
    #[error("outside of the years 1 to 9999; write a time near the data's")]
    OriginRange,
    /// Panes would not fit.
    #[error("the size is not a multiple of it; write one like \"10 minutes\" for \"1 hour\"")]
    NotMultiple,
    /// Each record would be in very many files.
    #[error("more than 1440 windows would hold each record; write a longer one")]
    TooMany,
    /// A definition that was not written by this program.
    #[error("not a window definition")]
    Malformed,
}

impl Windows {
    /// Windows of `size` from `origin`: the epoch, for weeks a Monday, if there is none.
    ///
    /// Days and longer follow the calendar of `zone`; without one they are UTC's.
    ///
    /// # Errors
    /// If the size or the origin cannot be used.
    pub fn new(size: Size, origin: Option<Timestamp>, zone: Option<Tz>) -> Result<Self, WindowError> {
        if origin.is_some_and(|origin| !(FIRST..=LAST).contains(&origin.0)) {
            return Err(WindowError::OriginRange);
        }
        let calendar = zone.unwrap_or(Tz::UTC);
        let local = origin.map(|origin| local(calendar, origin.0).ok_or(WindowError::OriginRange)).transpose()?;
        let grid = match size {
            Size::Physical(size) => Grid::Fixed { size, phase: origin.map_or(0, |origin| origin.0) },
            Size::Days(count) => days(count, local.unwrap_or(0)),
            Size::Weeks(count) => days(count.saturating_mul(7), local.unwrap_or(MONDAY * DAY)),
            Size::Months(count) => {
                let origin = civil(local.unwrap_or(0)).ok_or(WindowError::OriginRange)?;
                let clock = local.unwrap_or(0).rem_euclid(DAY);
                Grid::Months { count, phase: month(origin.date()), day: origin.day(), clock }
            }
        };
        // Without a zone a day is as long as any other.
        let grid = match (grid, zone) {
            (Grid::Days { count, phase, clock }, None) => {
                Grid::Fixed { size: count.saturating_mul(DAY), phase: phase.saturating_mul(DAY).saturating_add(clock) }
            }
            (grid, _) => grid,
        };
        Ok(Self { grid: grid.checked()?, zone, panes: 1 })
    }

    /// The window that holds `time`; of hopping windows the pane, which each of them holds whole or not at all. `None`
    /// if it would not fit the years that files and dates can name.
    #[must_use]
    pub fn assign(&self, time: Timestamp) -> Option<Window> {
        if self.is_hopping() && !self.room().contains(&time.0) {
            return None;
        }
        self.pane(time)
    }

    fn pane(&self, time: Timestamp) -> Option<Window> {
        if !(FIRST..=LAST).contains(&time.0) {
            return None;
        }
        let (start, end) = match self.grid {
            Grid::Fixed { size, phase } => {
                let start = time.0 - (time.0 - phase).rem_euclid(size);
                (start, start + size)
            }
            _ => self.assign_calendar(time.0)?,
        };
        (start >= FIRST && end <= LAST).then_some(Window { start: Timestamp(start), end: Timestamp(end) })
    }

    /// The date of the window's start in the windows' time zone, UTC if they have none.
    #[must_use]
    pub fn date(&self, window: Window) -> NaiveDate {
        let zone = self.zone.unwrap_or(Tz::UTC);
        local(zone, window.start.0).and_then(civil).map_or(NaiveDate::MIN, |start| start.date())
    }

    /// The local date gives the window but for the hours around a clock change: from there it is a step or two.
    fn assign_calendar(&self, time: i64) -> Option<(i64, i64)> {
        let mut index = self.grid.index(local(self.zone.unwrap_or(Tz::UTC), time)?)?;
        let mut start = self.boundary(index)?;
        let mut end = self.boundary(index + 1)?;
        while time < start {
            index -= 1;
            (start, end) = (self.boundary(index)?, start);
        }
        while time >= end {
            index += 1;
            (start, end) = (end, self.boundary(index + 1)?);
        }
        Some((start, end))
    }

    /// When the window number `index` begins; never falls with a rising index.
    fn boundary(&self, index: i64) -> Option<i64> {
        instant(self.zone.unwrap_or(Tz::UTC), civil(self.grid.local_boundary(index)?)?)
    }
}

fn days(count: i64, origin: i64) -> Grid {
    Grid::Days { count, phase: origin.div_euclid(DAY), clock: origin.rem_euclid(DAY) }
}

impl Grid {
    /// The grid with its phase brought into the first window after the epoch.
    fn checked(self) -> Result<Self, WindowError> {
        let within = |value: i64, most: i64| match value {
            ..=0 => Err(WindowError::Empty),
            value if value > most => Err(WindowError::TooLong),
            value => Ok(value),
        };
        match self {
            Self::Fixed { size, phase } => {
                let size = within(size, LONGEST)?;
                if size < SECOND {
                    return Err(WindowError::TooShort);
                }
                Ok(Self::Fixed { size, phase: phase.rem_euclid(size) })
            }
            Self::Days { count, phase, clock } => {
                let count = within(count, LONGEST / DAY)?;
                Ok(Self::Days { count, phase: phase.rem_euclid(count), clock: clock.rem_euclid(DAY) })
            }
            Self::Months { day, .. } if !(1..=28).contains(&day) => Err(WindowError::OriginDay),
            Self::Months { count, phase, day, clock } => {
                let count = within(count, LONGEST_MONTHS)?;
                Ok(Self::Months { count, phase: phase.rem_euclid(count), day, clock: clock.rem_euclid(DAY) })
            }
        }
    }

    /// The number of the window that a local date belongs to, or the one after it.
    fn index(self, local: i64) -> Option<i64> {
        Some(match self {
            Self::Fixed { size, phase } => (local - phase).div_euclid(size),
            Self::Days { count, phase, clock } => ((local - clock).div_euclid(DAY) - phase).div_euclid(count),
            Self::Months { count, phase, .. } => (month(civil(local)?.date()) - phase).div_euclid(count),
        })
    }

    /// What the clock shows at a boundary, in microseconds as if it were UTC.
    fn local_boundary(self, index: i64) -> Option<i64> {
        match self {
            Self::Fixed { size, phase } => Some(phase + index * size),
            Self::Days { count, phase, clock } => Some((phase + index * count) * DAY + clock),
            Self::Months { count, phase, day, clock } => {
                let months = phase + index * count;
                let year = i32::try_from(1970 + months.div_euclid(12)).ok()?;
                let month = u32::try_from(months.rem_euclid(12) + 1).ok()?;
                let date = NaiveDate::from_ymd_opt(year, month, day)?;
                Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros() + clock)
            }
        }
    }
}

/// Months since January 1970.
fn month(date: NaiveDate) -> i64 {
    (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0())
}

fn civil(local: i64) -> Option<NaiveDateTime> {
    Some(DateTime::from_timestamp_micros(local)?.naive_utc())
}

/// What the clock in `zone` shows at `time`.
fn local(zone: Tz, time: i64) -> Option<i64> {
    let offset = zone.offset_from_utc_datetime(&civil(time)?).fix().local_minus_utc();
    Some(time + i64::from(offset) * SECOND)
}

/// The first instant at which the clock in `zone` shows `wanted` or more.
fn instant(zone: Tz, wanted: NaiveDateTime) -> Option<i64> {
    match zone.offset_from_local_datetime(&wanted) {
        MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => {
            Some(wanted.and_utc().timestamp_micros() - i64::from(offset.fix().local_minus_utc()) * SECOND)
        }
        // The clock jumped over it.
        MappedLocalTime::None => Some(GapInfo::new(&wanted, &zone)?.end?.timestamp_micros()),
    }
}

impl From<Windows> for Definition {
    fn from(windows: Windows) -> Self {
        Self { grid: windows.grid, timezone: windows.zone.map(|zone| zone.name().to_owned()), panes: windows.panes }
    }
}

impl TryFrom<Definition> for Windows {
    type Error = WindowError;

    fn try_from(written: Definition) -> Result<Self, WindowError> {
        let zone = written.timezone.map(|name| name.parse().map_err(|_| WindowError::Malformed)).transpose()?;
        if !(1..=hopping::MOST_PANES).contains(&written.panes) {
            return Err(WindowError::Malformed);
        }
        Ok(Self { grid: written.grid.checked()?, zone, panes: written.panes })
    }
}

#[cfg(test)]
mod tests;
