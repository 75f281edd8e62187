//! What the sampled records alone would give: the first rows of the first windows.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::cli::status::counted;
use crate::cli::table::table;
use crate::cli::terminal::grouped;
use crate::engine::Engine;
use crate::engine::cut::Closing;
use crate::error::Error;
use crate::query::{Query, QueryError};

/// How many windows are shown, and how many rows of each.
const WINDOWS: usize = 3;
const ROWS: usize = 5;
/// Characters of a cell.
const WIDEST: usize = 40;

/// Closes every window of the engine, and shows what it gives.
pub(super) async fn show(mut engine: Engine, query: &Query) -> Result<(), Error> {
    engine.close_all();
    let cut = engine.cut()?;
    // The newest revision of each window holds all of its records.
    let closings: Vec<&Closing> = cut
        .closings
        .iter()
        .filter(|closing| !cut.closings.iter().any(|o| o.window == closing.window && o.revision > closing.revision))
        .collect();
    if closings.is_empty() {
        println!("\nno record of the sample is in a window: there is no result to show");
        return Ok(());
    }
    println!(
        "\npreview: what these records alone give, in {} of {}",
        closings.len().min(WINDOWS),
        counted(closings.len() as u64, "window")
    );
    let (mut rows, mut more) = (Vec::new(), 0);
    for closing in closings.into_iter().take(WINDOWS) {
        let states = closing.states.iter().map(|state| state.fresh.clone()).collect();
        let result = match query.close(states).await {
            Err(error @ QueryError::Data(_)) => {
                println!("  window {} has no result: {error}", closing.window.start);
                continue;
            }
            result => result?,
        };
        let mut shown = 0;
        for batch in &result {
            for row in 0..batch.num_rows() {
                shown += 1;
                if shown > ROWS {
                    more += 1;
                    continue;
                }
                let mut cells = vec![format!("  {}", closing.window.start)];
                cells.extend(cells_of(batch, row)?);
                rows.push(cells);
            }
        }
    }
    let names: Vec<String> = query.output_schema().fields().iter().map(|field| field.name().clone()).collect();
    let head: Vec<&str> = std::iter::once("  window_start").chain(names.iter().map(String::as_str)).collect();
    print!("{}", table(&head, &rows));
    if more > 0 {
        println!("  and {} more rows", grouped(more));
    }
    Ok(())
}

/// A row's values as text, without what a terminal would obey.
fn cells_of(batch: &RecordBatch, row: usize) -> Result<Vec<String>, QueryError> {
    let options = FormatOptions::new().with_null("null");
    let cell = |column| {
        let text = ArrayFormatter::try_new(column, &options).map(|formatter| formatter.value(row).to_string());
        let text = text.map_err(|error| QueryError::Internal(format!("cannot show a value: {error}")))?;
        let text: String = text.chars().map(|c| if c.is_control() { '·' } else { c }).collect();
        let cut = text.char_indices().nth(WIDEST).map(|(at, _)| format!("{}…", &text[..at]));
        Ok(cut.unwrap_or(text))
    };
    batch.columns().iter().map(|column| cell(column.as_ref())).collect()
}
