//! Whose turn it is: one instance writes to a sink, others stand by while its log moves.

use std::time::Duration;

use super::writer::Instance;
use crate::clock::Clock;
use crate::config::Pipeline;
use crate::error::Error;
use crate::log::LogError;
use crate::log::store::{Stored, newer_than, newest};
use crate::sink::layout;
use crate::sink::store::Store;

/// An idle writer appends an entry this often, in microseconds.
pub const HEARTBEAT: i64 = 30_000_000;
/// A log that stands still for this long has lost its writer, in microseconds.
const SILENCE: i64 = 3 * HEARTBEAT;
const LOOK: Duration = Duration::from_secs(1);

/// How an instance comes to write.
#[derive(Copy, Clone, Debug)]
pub struct Turn {
    /// It waits for whoever writes already.
    pub waits: bool,
    /// It writes beside those that share the pipeline.
    pub joins: bool,
}

/// Waits until this instance may write, and gives the newest entry then; `None` for a new sink.
///
/// # Errors
/// If the sink belongs to something else, or, if it does not wait, another instance writes to it.
pub async fn wait_for_turn(
    store: &Store,
    pipeline: &Pipeline,
    instance: &Instance,
    clock: &Clock,
    turn: Turn,
) -> Result<Option<Stored>, Error> {
    let mut found = newest(store).await?;
    if found.is_none()
        && let Some((data, _)) = store.list(layout::DATA).await?.first()
    {
        // Another instance may have begun between the two looks.
        found = newest(store).await?;
        if found.is_none() {
            let text =
                format!("sink {store}: it holds {data} but no log of windrow's; give this pipeline a place of its own");
            return Err(LogError::Invalid(text).into());
        }
    }
    let Some(mut stored) = found else { return Ok(None) };
    belongs(store, pipeline, &stored)?;
    let mut moved = clock.now();
    let mut said = false;
    loop {
        let writer = &stored.entry.writer;
        let silent = clock.now().0.saturating_sub(moved.0) >= SILENCE;
        // Of several writers one may be gone, and the others still there.
        let gone = !stored.entry.shared && instance.knows_gone(writer);
        // Nor is it known who of them is. An entry of long ago tells it at once to those who do not wait; claims decide.
        let old = stored.entry.shared && clock.now().0.saturating_sub(stored.entry.time.0) >= SILENCE + HEARTBEAT;
        if stored.entry.released || gone || silent || old || (turn.joins && stored.entry.shared) {
            if said {
                tracing::info!("taking over from process {} on {}", writer.pid, writer.host);
            }
            return Ok(Some(stored));
        }
        let other = format!("process {} on {}", writer.pid, writer.host);
        if !turn.waits {
            let text = format!("sink {store}: another instance, {other}, writes to it; stop that one first");
            return Err(LogError::Fenced(text).into());
        }
        if !said {
            tracing::info!(
                "standing by: {other} writes to {store}; taking over when it leaves, or its log stands still for {} s",
                SILENCE / 1_000_000
            );
            said = true;
        }
        clock.sleep(LOOK).await;
        let Some(found) = newer_than(store, stored.entry.sequence).await? else { continue };
        if found.entry.sequence != stored.entry.sequence {
            (stored, moved) = (found, clock.now());
        }
    }
}

/// Refuses a sink that another pipeline has written, or this one in another shape while windows are open.
///
/// # Errors
/// [`LogError::Invalid`], with the choices there are.
pub fn belongs(store: &Store, pipeline: &Pipeline, stored: &Stored) -> Result<(), LogError> {
    let entry = &stored.entry;
    if entry.pipeline != pipeline.name {
        return Err(LogError::Invalid(format!(
            "sink {store}: it belongs to pipeline \"{}\", this one is \"{}\"; give each its own place",
            entry.pipeline, pipeline.name
        )));
    }
    if entry.tumbling != pipeline.window.windows || entry.allowed_lateness < pipeline.window.allowed_lateness {
        let what =
            if entry.tumbling == pipeline.window.windows { "a longer allowed_lateness" } else { "other windows" };
        return Err(LogError::Invalid(format!(
            "sink {store}: this file has {what} than the one that filled the sink, so windows that are published could \
             be opened again; give it a new sink"
        )));
    }
    if entry.fingerprint != pipeline.fingerprint() && !entry.windows.is_empty() {
        return Err(LogError::Invalid(format!(
            "sink {store}: the query, columns or windows have changed while {} windows are open under the old ones; \
             run the old file once with --once --close-all, or give the new one a new sink",
            entry.open_windows().len()
        )));
    }
    Ok(())
}
