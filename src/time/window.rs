//! Which window a time falls into: fixed sizes, and calendar sizes in a time zone.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::record::Timestamp;

/// A span of event time, `[start, end)`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first microsecond in it.
    pub start: Timestamp,
    /// The first microsecond after it.
    pub end: Timestamp,
}

/// Tumbling windows: every time belongs to exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tumbling {}

impl Tumbling {
    /// The window that holds `time`; `None` if it would not fit the years that files and dates can name.
    #[must_use]
    pub fn assign(&self, _time: Timestamp) -> Option<Window> {
        None
    }

    /// The date of the window's start in the windows' time zone, UTC if they have none.
    #[must_use]
    pub fn date(&self, _window: Window) -> NaiveDate {
        NaiveDate::MIN
    }
}
