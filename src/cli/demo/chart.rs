//! Horizontal bars of block characters.

use std::io::{self, IsTerminal};

const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// How a chart may look.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether bars are colored.
    pub(super) color: bool,
    /// Characters in a line.
    pub(super) width: usize,
}

impl Style {
    /// What standard output can show. The shell may tell its width in `COLUMNS`; else it is taken for an ordinary one.
    pub(super) fn of_stdout() -> Self {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(80);
        Self { color, width }
    }

    /// A bar for `value`, `room` characters long for `most`.
    pub(super) fn bar(self, value: f64, most: f64, room: usize) -> String {
        let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
        let eighths = (share * room as f64 * 8.0).round() as usize;
        // Whatever is there at all is seen.
        let eighths = if value > 0.0 { eighths.max(1) } else { eighths };
        let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
        if self.color && !bar.is_empty() { format!("\u{1b}[36m{bar}\u{1b}[0m") } else { bar }
    }

    /// A text that is to stand out.
    pub(super) fn strong(self, text: &str) -> String {
        if self.color { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_to_an_eighth() {
        let style = Style { color: false, width: 80 };
        assert_eq!(style.bar(10.0, 10.0, 4), "████");
        assert_eq!(style.bar(5.0, 10.0, 3), "█▌");
        assert_eq!(style.bar(0.001, 10.0, 4), "▏");
        assert_eq!(style.bar(0.0, 10.0, 4), "");
        assert_eq!(style.bar(0.0, 0.0, 4), "");
    }

    #[test]
    fn color_comes_only_where_it_is_wanted() {
        assert_eq!(Style { color: true, width: 80 }.bar(1.0, 1.0, 1), "\u{1b}[36m█\u{1b}[0m");
        assert_eq!(Style { color: false, width: 80 }.strong("x"), "x");
    }
}
