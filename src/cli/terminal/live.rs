//! A run as it is shown while it goes on: a block of lines on a terminal, elsewhere a line now and then.

use console::{measure_text_width, truncate_str};

use super::Terminal;
use super::doubt::Doubt;
use super::rate::Rate;
use super::words::{grouped, short};
use crate::decode::Decoded;
use crate::log::entry::{Entry, FileKind};
use crate::pipeline::{Detail, Holding, Observer, View};
use crate::record::Timestamp;
use crate::time::window::Window;

/// Microseconds between two progress lines where there is no terminal.
const LINE_EVERY: i64 = 10_000_000;
/// Microseconds between two looks of the block.
const DRAW_EVERY: i64 = 100_000;
/// Characters of the progress bar.
const BAR: u64 = 24;
/// A run this close to the end it began with has caught up: the bar goes.
const CAUGHT_UP: u64 = 1;

/// Who shows a run.
pub(super) struct Live {
    terminal: Terminal,
    rate: Rate,
    /// How fast the end known at the start comes nearer.
    nearing: Rate,
    /// The window last published, and when the entry was made.
    published: Option<Window>,
    /// When the last plain line was written, or the first could have been.
    said: Option<Timestamp>,
    drawn: Option<Timestamp>,
    watermark_delay: i64,
    /// The partition that the watermark waits for.
    holding: Option<Holding>,
    doubt: Doubt,
}

impl Live {
    pub(super) fn new(terminal: Terminal, watermark_delay: i64) -> Self {
        Self {
            terminal,
            rate: Rate::default(),
            nearing: Rate::default(),
            published: None,
            said: None,
            drawn: None,
            watermark_delay,
            holding: None,
            doubt: Doubt::default(),
        }
    }

    /// What is left of the way to the end known at the start, and how long it takes at the present pace.
    fn way(&self, view: &View) -> Option<Way> {
        let (done, all) = view.progress;
        let left = all.saturating_sub(done);
        let seconds = left.checked_div(self.nearing.per_second());
        (left >= CAUGHT_UP && all > 0).then_some(Way { done, all, seconds })
    }
}

/// How far a catch-up has come.
struct Way {
    done: u64,
    all: u64,
    seconds: Option<u64>,
}

impl Way {
    /// The bar, the share done and the time left.
    fn text(&self) -> String {
        let percent = u128::from(self.done) * 100 / u128::from(self.all.max(1));
        let left = match self.seconds {
            Some(seconds) => {
                format!("{} left", short(i64::try_from(seconds.max(1)).unwrap_or(i64::MAX).saturating_mul(1_000_000)))
            }
            None => "catching up".to_owned(),
        };
        format!("{} {percent}% {left}", bar(self.done, self.all))
    }
}

/// A bar of eighths.
fn bar(done: u64, all: u64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let filled = usize::try_from(u128::from(done.min(all)) * u128::from(BAR) * 8 / u128::from(all.max(1))).unwrap_or(0);
    let width = usize::try_from(BAR).unwrap_or(0);
    let mut text = "█".repeat(filled / 8);
    if filled / 8 < width {
        text.push(EIGHTHS[filled % 8]);
    }
    let pad = width.saturating_sub(text.chars().count());
    format!("{text}{}", "░".repeat(pad))
}

/// Parts of the block's lines, and how they are set off from each other.
struct Ink(bool);

impl Ink {
    fn bold(&self, text: &str) -> String {
        if self.0 { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        if self.0 { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn amber(&self, text: &str) -> String {
        if self.0 { format!("\x1b[33m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A count of what should be none.
    fn count(&self, number: u64, what: &str) -> String {
        let text = format!("{} {what}", grouped(number));
        if number > 0 { self.amber(&text) } else { text }
    }

    /// Parts beside each other, as many in a line as it is wide.
    fn lines(&self, parts: &[String], width: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for part in parts {
            let both = lines.last().map(|line| format!("{line}{}{part}", self.dim(" · ")));
            match both.filter(|both| measure_text_width(both) <= width) {
                Some(both) => *lines.last_mut().unwrap_or(&mut String::new()) = both,
                None => lines.push(part.clone()),
            }
        }
        lines
    }
}

impl Live {
    /// The block's lines, none wider than `width`.
    fn block(&self, view: &View, ink: &Ink, width: usize) -> Vec<String> {
        let totals = &view.totals;
        let mut first = vec![
            format!("{} records/s", ink.bold(&grouped(self.rate.per_second()))),
            format!("{} read", grouped(totals.read)),
        ];
        first.extend(view.lag.map(|lag| format!("lag {}", grouped(lag))));
        let mut second = match view.watermark {
            Some(watermark) => vec![format!("watermark {}", watermark.to_second()), behind(view.now, watermark)],
            None => vec!["no watermark yet".to_owned()],
        };
        if let Some(Holding { partition, by, .. }) = self.holding {
            second.push(ink.amber(&format!("held back {} by partition {partition}", short(by))));
        }
        second.push(format!("{} open", plural(view.open_windows as u64, "window")));
        if let Some(window) = self.published {
            second.push(format!("last published {}", window.start.to_second()));
        }
        let third = vec![
            ink.count(totals.late, "late"),
            ink.count(totals.too_late, "too late"),
            ink.count(totals.invalid(), "invalid"),
        ];
        let way = self.way(view).map(|way| way.text());
        let lines = [first, second, third].into_iter().flat_map(|parts| ink.lines(&parts, width));
        way.into_iter().chain(lines).map(|line| truncate_str(&line, width, "…").into_owned()).collect()
    }

    fn draw(&mut self, view: &View) {
        if self.drawn.is_some_and(|drawn| view.now.0.saturating_sub(drawn.0) < DRAW_EVERY) {
            return;
        }
        self.drawn = Some(view.now);
        let width = console::Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns));
        let lines = self.block(view, &Ink(self.terminal.color), width.saturating_sub(1));
        self.terminal.bar.set_message(lines.join("\n"));
    }

    fn say(&mut self, view: &View) {
        let said = *self.said.get_or_insert(view.now);
        if self.terminal.quiet || view.now.0.saturating_sub(said.0) < LINE_EVERY {
            return;
        }
        self.said = Some(view.now);
        let none = || "none".to_owned();
        let totals = &view.totals;
        let left = self.way(view).map(|way| way.seconds.unwrap_or(u64::MAX)).filter(|seconds| *seconds < u64::MAX);
        tracing::info!(
            records = totals.read,
            per_second = self.rate.per_second(),
            lag = view.lag,
            seconds_left = left,
            watermark = %view.watermark.map_or_else(none, |watermark| watermark.to_string()),
            seconds_behind = view.watermark.map(|watermark| (view.now.0 - watermark.0) / 1_000_000),
            held_back_by = self.holding.map(|holding| holding.partition.0),
            open_windows = view.open_windows,
            last_published = %self.published.map_or_else(none, |window| window.start.to_string()),
            late = totals.late,
            too_late = totals.too_late,
            invalid = totals.invalid(),
            "progress"
        );
    }
}

/// Where a watermark stands by the clock.
fn behind(now: Timestamp, watermark: Timestamp) -> String {
    let micros = now.0.saturating_sub(watermark.0) / 1_000_000 * 1_000_000;
    if micros < 0 {
        format!("{} ahead of the clock", short(-micros))
    } else {
        format!("{} behind the clock", short(micros))
    }
}

fn plural(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

impl Observer for Live {
    fn progress(&mut self, view: &View) {
        self.rate.look(view.now, view.totals.read);
        self.nearing.look(view.now, view.progress.0);
        if self.terminal.live {
            self.draw(view);
        } else {
            self.say(view);
        }
    }

    fn committed(&mut self, entry: &Entry) {
        for file in &entry.files {
            match (file.kind, file.window) {
                (FileKind::Data | FileKind::Correction, Some(window)) => {
                    self.published = Some(window);
                    tracing::info!(window = %window.start, rows = file.rows, file = %file.path, "published");
                }
                _ => tracing::info!(records = file.rows, file = %file.path, "kept"),
            }
        }
        if let Some(words) = self.doubt.committed(entry) {
            tracing::warn!("{words}");
        }
    }

    fn decoded(&mut self, decoded: &Decoded, _: Timestamp) {
        self.doubt.decoded(decoded);
    }

    fn detail(&mut self, detail: &Detail) {
        self.holding = detail.holding(self.watermark_delay);
    }

    fn begins(&mut self, what: &'static str) {
        if self.terminal.live {
            self.terminal.bar.set_message(format!("{what} …"));
        }
    }

    fn opened(&mut self, entry: &Entry) {
        self.doubt.opened(entry);
        tracing::info!(
            entry = entry.sequence.0,
            partitions = entry.partitions.len(),
            open_windows = entry.open_windows().len(),
            "reading"
        );
    }
}

#[cfg(test)]
mod tests;
