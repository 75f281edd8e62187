//! Windows that begin more often than they end: each is so many panes, and neighbours share all but one of them.

use std::ops::RangeInclusive;

use chrono_tz::Tz;

use super::{FIRST, Grid, LAST, LONGEST, Window, WindowError, Windows};
use crate::record::Timestamp;
use crate::time::text::Size;

/// The most panes of a window: a day of minutes.
pub(super) const MOST_PANES: u32 = 1440;

impl Windows {
    /// Windows of `size`, one of which begins every `every` from `origin`. If both are one length, they tumble.
    ///
    /// ```
    /// use windrow::{record::Timestamp, time::{text, window::Windows}};
    /// let [size, every] = ["1 hour", "20 minutes"].map(|text| text::window_size(text).unwrap());
    /// let windows = Windows::hopping(size, every, None, None).unwrap();
    /// let starts: Vec<_> = windows.holding(Timestamp(0)).map(|window| window.start.0 / 60_000_000).collect();
    /// assert_eq!(starts, [-40, -20, 0]);
    /// ```
    ///
    /// # Errors
    /// If either or the origin cannot be used, or one is not so many times the other, on the clock or by the calendar.
    pub fn hopping(size: Size, every: Size, origin: Option<Timestamp>, zone: Option<Tz>) -> Result<Self, WindowError> {
        Self::new(size, origin, zone)?;
        let tumbling = Self::new(every, origin, zone)?;
        // Without a zone a day is as long as any other.
        let length = |size: Size| match (size, zone) {
            (Size::Physical(length), _) => (0, length),
            (Size::Days(days), Some(_)) => (1, days),
            (Size::Weeks(weeks), Some(_)) => (1, weeks * 7),
            (Size::Days(days), None) => (0, days * super::DAY),
            (Size::Weeks(weeks), None) => (0, weeks * 7 * super::DAY),
            (Size::Months(months), _) => (2, months),
        };
        let ((kind, size), (hops, every)) = (length(size), length(every));
        if kind != hops || size % every != 0 {
            return Err(WindowError::NotMultiple);
        }
        let panes = u32::try_from(size / every).ok().filter(|panes| *panes <= MOST_PANES);
        Ok(Self { panes: panes.ok_or(WindowError::TooMany)?, ..tumbling })
    }

    /// Whether windows overlap.
    #[must_use]
    pub fn is_hopping(&self) -> bool {
        self.panes > 1
    }

    /// How many windows hold a time.
    #[must_use]
    pub fn overlap(&self) -> u64 {
        u64::from(self.panes)
    }

    /// The windows that hold `time`, the first to end first. They are as many for each time, and none for a time that
    /// [`Windows::assign`] has no pane for.
    pub fn holding(&self, time: Timestamp) -> impl Iterator<Item = Window> + '_ {
        self.assign(time).into_iter().flat_map(|pane| self.of_pane(pane))
    }

    /// The windows that hold `pane`, the first to end first.
    pub fn of_pane(&self, pane: Window) -> impl Iterator<Item = Window> + '_ {
        let first = self.shifted(pane, |windows, pane| windows.before(pane), -1);
        let starts = std::iter::successors(Some(first), |pane| Some(self.after(*pane)));
        let ends = std::iter::successors(Some(pane), |pane| Some(self.after(*pane)));
        let window = |(first, last): (Window, Window)| Window { start: first.start, end: last.end };
        starts.zip(ends).map(window).take(self.panes as usize)
    }

    /// The window that begins with `pane`: the last of those that hold it.
    #[must_use]
    pub fn from_pane(&self, pane: Window) -> Window {
        let last = self.shifted(pane, |windows, pane| windows.after(pane), 1);
        Window { start: pane.start, end: last.end }
    }

    /// The pane at the other end of a window. Panes by the calendar may be longer than others, or not be there at all,
    /// so they are counted one by one.
    fn shifted(&self, pane: Window, step: impl Fn(&Self, Window) -> Window, sign: i64) -> Window {
        let steps = self.panes - 1;
        match self.grid {
            Grid::Fixed { size, .. } => {
                let by = sign * size * i64::from(steps);
                Window { start: pane.start.plus(by), end: pane.end.plus(by) }
            }
            _ => (0..steps).fold(pane, |pane, _| step(self, pane)),
        }
    }

    /// The windows that hold any of `panes`, which rise, each once, by start.
    #[must_use]
    pub fn over(&self, panes: impl IntoIterator<Item = Window>) -> Vec<Window> {
        let mut over: Vec<Window> = Vec::new();
        for pane in panes {
            // From the last one back to what is known, which is one step where pane follows pane.
            let known = over.last().map(|window| window.start);
            let back = |from: Window| std::iter::successors(Some(from), |pane| Some(self.before(*pane)));
            let last = self.shifted(pane, |windows, pane| windows.after(pane), 1);
            let windows = back(pane).zip(back(last)).take(self.panes as usize);
            let windows = windows.map(|(first, last)| Window { start: first.start, end: last.end });
            let new: Vec<Window> = windows.take_while(|window| Some(window.start) > known).collect();
            over.extend(new.into_iter().rev());
        }
        over
    }

    fn before(&self, pane: Window) -> Window {
        self.pane(Timestamp(pane.start.0 - 1)).unwrap_or(Window { start: pane.start, end: pane.start })
    }

    fn after(&self, pane: Window) -> Window {
        self.pane(pane.end).unwrap_or(Window { start: pane.end, end: pane.end })
    }

    /// Times that have a pane: all windows that hold it have to fit the years that files and dates can name.
    pub(super) fn room(&self) -> RangeInclusive<i64> {
        FIRST + 2 * LONGEST..=LAST - 2 * LONGEST
    }
}
