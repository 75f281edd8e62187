//! The live block, the progress bar and the log lines, which must not write over each other.

mod doubt;
mod live;
mod rate;
mod words;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use self::live::Live;
pub(super) use self::words::{grouped, short};
use super::{LogFormat, Talk};
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::pipeline::Observer;

/// Where the program shows what it does.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    bar: ProgressBar,
    live: bool,
    color: bool,
    quiet: bool,
}

impl Terminal {
    /// Sets up log lines on standard error, and a live block there if it is a terminal.
    pub(super) fn start(talk: Talk) -> Self {
        let live = io::stderr().is_terminal() && !talk.quiet && talk.log_format == LogFormat::Text;
        let target = if live { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        // A terminal that cannot move its cursor gets plain lines.
        let live = live && !bar.is_hidden();
        let level = if talk.quiet { "warn" } else { "info" };
        let filter = EnvFilter::try_from_env("WINDROW_LOG")
            .unwrap_or_else(|_| EnvFilter::new(format!("warn,windrow={level},librdkafka=off,object_store=error")));
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = live && !no_color;
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Above(bar.clone())).with_ansi(color);
        // Tests start several runs in one process; the first one's subscriber stays.
        let _ = match talk.log_format {
            // A person at a terminal knows the day.
            LogFormat::Text if live => lines.with_target(false).with_timer(ToTheSecond).try_init(),
            LogFormat::Text => lines.with_target(false).try_init(),
            LogFormat::Json => lines.json().try_init(),
        };
        Self { bar, live, color, quiet: talk.quiet }
    }

    /// Shows a bar with this length and a word for what goes on.
    pub(super) fn bar(&self, length: u64, what: &str) -> ProgressBar {
        self.bar.set_length(length);
        self.bar.set_position(0);
        self.bar.set_style(style("{msg} {wide_bar} {pos}/{len} {eta}"));
        self.bar.set_message(what.to_owned());
        self.bar.clone()
    }

    /// Shows a count that grows, with no end known, and a word for what goes on.
    pub(super) fn spinner(&self, what: &str) -> ProgressBar {
        self.bar.unset_length();
        self.bar.set_position(0);
        self.bar.set_style(style("{spinner} {msg} {human_pos}"));
        self.bar.set_message(what.to_owned());
        self.bar.enable_steady_tick(Duration::from_millis(100));
        self.bar.clone()
    }

    /// Takes the live block away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Somebody who shows a run here.
    pub(super) fn observer(&self, pipeline: &Pipeline) -> Box<dyn Observer> {
        if self.live {
            self.bar.reset();
            // The terminal shows Ctrl-C at the end of the last line, which is at the edge, and so goes one line down;
            // the first line then stays when the block is drawn again. An empty one leaves nothing to see.
            self.bar.set_style(style("\n{msg}"));
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        Box::new(Live::new(self.clone(), pipeline.window.watermark_delay))
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The time of day of a log line, UTC.
#[derive(Clone, Debug)]
struct ToTheSecond;

impl FormatTime for ToTheSecond {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        let now = Clock::system().now().to_second().to_string();
        to.write_str(now.split_once('T').map_or(&now, |(_, time)| time))
    }
}

/// A writer whose lines come above the live block.
#[derive(Clone, Debug)]
struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A log that nobody reads any more is no reason to stop.
        let _ = self.0.suspend(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
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
