//! Plain tables: columns as wide as their widest cell.

use std::fmt::Write as _;

/// A table as text. A column whose name ends in `>` is set to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([name.chars().count()]).max().unwrap_or(0)
    };
    let columns: Vec<(&str, bool, usize)> = head
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let (name, right) = name.strip_suffix('>').map_or((*name, false), |name| (name, true));
            (name, right, width(column, name))
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        let mut line = String::new();
        for ((_, right, width), cell) in columns.iter().zip(cells) {
            let _ = if *right { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(columns.iter().map(|(name, ..)| *name).collect());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    text
}
