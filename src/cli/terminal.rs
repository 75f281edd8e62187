//! The live line, the progress bar and the log lines, which must not write over each other.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{LogFormat, Talk};
use crate::log::entry::{Entry, FileKind};
use crate::pipeline::{Observer, View};
use crate::record::Timestamp;

/// Microseconds between two progress lines where there is no terminal.
const LINE_EVERY: i64 = 10_000_000;

/// Where the program shows what it does.
#[derive(Clone, Debug)]
pub struct Terminal {
    bar: ProgressBar,
    live: bool,
    quiet: bool,
}

impl Terminal {
    /// Sets up log lines on standard error, and a live line there if it is a terminal.
    pub(super) fn start(talk: Talk) -> Self {
        let live = io::stderr().is_terminal() && !talk.quiet && talk.log_format == LogFormat::Text;
        let target = if live { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let level = if talk.quiet { "warn" } else { "info" };
        let filter = EnvFilter::try_from_env("WINDROW_LOG").unwrap_or_else(|_| {
            EnvFilter::new(format!("warn,windrow={level},librdkafka=off,object_store=error"))
        });
        let color = live && std::env::var_os("NO_COLOR").is_none();
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Above(bar.clone())).with_ansi(color);
        // Tests start several runs in one process; the first one's subscriber stays.
        let _ = match talk.log_format {
            LogFormat::Text => lines.with_target(false).try_init(),
            LogFormat::Json => lines.json().try_init(),
        };
        Self { bar, live, quiet: talk.quiet }
    }

    /// Shows a bar with this length and a word for what goes on.
    pub fn bar(&self, length: u64, what: &str) -> ProgressBar {
        self.bar.set_length(length);
        self.bar.set_position(0);
        self.bar.set_style(style("{msg} {wide_bar} {pos}/{len} {eta}"));
        self.bar.set_message(what.to_owned());
        self.bar.clone()
    }

    /// Takes the live line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Somebody who shows a run here.
    pub fn observer(&self) -> Box<dyn Observer> {
        if self.live {
            self.bar.reset();
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        Box::new(Live { terminal: self.clone(), first: None, said: None })
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A writer whose lines come above the live line.
#[derive(Clone, Debug)]
struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A log that nobody reads any more is no reason to stop.
        self.0.suspend(|| io::stderr().write_all(bytes)).or_else(|_| Ok::<_, io::Error>(())).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Above {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[derive(Debug)]
struct Live {
    terminal: Terminal,
    /// Time and records read at the first look.
    first: Option<(Timestamp, u64)>,
    /// When the last plain line was written.
    said: Option<Timestamp>,
}

impl Observer for Live {
    fn progress(&mut self, view: &View) {
        let totals = &view.totals;
        let (begun, before) = *self.first.get_or_insert((view.now, totals.read));
        let seconds = (view.now.0 - begun.0).max(1) as f64 / 1e6;
        let rate = (totals.read - before) as f64 / seconds;
        let watermark = view.watermark.map_or_else(|| "none yet".to_owned(), |watermark| watermark.to_string());
        let lag = view.progress.1.saturating_sub(view.progress.0);
        if self.terminal.live {
            let line = format!(
                "{} records, {}/s, watermark {watermark}, {} open, {} late, {} too late, {} invalid",
                grouped(totals.read),
                grouped(rate as u64),
                view.open_windows,
                grouped(totals.late),
                grouped(totals.too_late),
                grouped(totals.invalid())
            );
            if lag > 0 {
                self.terminal.bar.set_length(view.progress.1);
                self.terminal.bar.set_position(view.progress.0);
                self.terminal.bar.set_style(style("{bar:20} {percent}% {eta} left, {msg}"));
            } else {
                self.terminal.bar.set_style(style("{spinner} {msg}"));
            }
            self.terminal.bar.set_message(line);
        } else if !self.terminal.quiet && self.said.is_none_or(|said| view.now.0 - said.0 >= LINE_EVERY) {
            self.said = Some(view.now);
            tracing::info!(
                records = totals.read,
                per_second = rate as u64,
                lag,
                %watermark,
                open_windows = view.open_windows,
                late = totals.late,
                too_late = totals.too_late,
                invalid = totals.invalid(),
                "progress"
            );
        }
    }

    fn committed(&mut self, entry: &Entry) {
        for file in &entry.files {
            match (file.kind, file.window) {
                (FileKind::Data | FileKind::Correction, Some(window)) => {
                    tracing::info!(window = %window.start, rows = file.rows, file = %file.path, "published");
                }
                _ => tracing::info!(records = file.rows, file = %file.path, "kept"),
            }
        }
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
