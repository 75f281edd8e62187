//! Where Flink's meaning is another one: comments of the script, each where the pipeline gives a reason for it.

use super::words::comment;

/// What is to be said.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<String>);

impl Notes {
    /// Says it, once.
    pub(super) fn add(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// As comments.
    pub(super) fn comments(&self) -> String {
        self.0.iter().map(|note| comment(&format!("* {note}"))).collect()
    }
}

pub(super) const ZONED: &str =
    "the session's time zone is that of the windows, and would change what this means; leave timezone out of [window]";

pub(super) const LATE: &str = "Late records are dropped: Flink has one watermark delay and no allowed lateness in a \
window of SQL. The delay here is watermark_delay and allowed_lateness together, so a window's one result comes when \
Windrow's would, and what comes later is dropped without a trace, where Windrow keeps it under late/.";

pub(super) const EARLY: &str = "There are no corrections: emit = \"early\" publishes a window at its end and once more \
if late records came. Here it is written once, at its end, and late records are dropped without a trace.";

pub(super) const ROWS: &str = "Rows are written as they come, not when their window is closed, and none of them is too late: a \
query without an aggregate has no windows in Flink that could close.";

pub(super) const WHOSE_WATERMARK: &str = "A record is late behind the stream's watermark, the least of all partitions'; in Windrow \
behind its own partition's. So Flink takes some records that Windrow puts under late/, and which ones depends on \
how far the partitions have been read.";

pub(super) const MILLISECONDS: &str = "Times are cut to milliseconds.";

pub(super) const INVALID: &str = "Records that cannot be read are dropped without a trace, where Windrow keeps them under invalid/. And \
Flink's reader takes more: a number where text is declared and the other way round, a fraction cut off or rounded \
where Windrow says it is inexact, null where an optional \
column holds something else, February 28 for February 30.";

pub(super) const FAIL: &str =
    "A record that cannot be read fails the job; one that lacks a column is left out without a trace.";

pub(super) const FUTURE: &str = "Records further ahead of the clock than max_future are dropped and move no watermark, by the clock of \
the task that reads them.";

pub(super) const QUIET: &str = "A stream that is quiet as a whole closes nothing: with all partitions idle the watermark stands, \
and the last windows wait for the next record. Windrow goes on by the clock (on_quiet = \"advance\").";

pub(super) const IDLE: &str = "A partition is idle when nothing came from it for idle_timeout, also when it is merely slow or out of \
reach; Windrow asks the broker for its end first.";

pub(super) const FILES: &str = "Files are rolled by each checkpoint: a window's rows lie in one file or more, of names that are not \
known before, and a file may hold rows of several windows of a day. They are whole and final when the checkpoint is \
complete. Rows have no order in them.";

pub(super) const EXACTLY_ONCE: &str = "Exactly once holds as long as the job goes on from its checkpoints or savepoints: kept on storage that \
outlives it (execution.checkpointing.dir), with retained ones to start from. A job started without one reads the topic \
from the start again and writes every row again.";

pub(super) const SINK: &str =
    "The folder is another one than Windrow's: two writers in one would give every window twice.";

pub(super) const DATA_LOSS: &str = "If records are gone from Kafka before they were read, Flink goes on without a word; Windrow stops \
(on_data_loss = \"stop\").";

pub(super) const DIVISION: &str =
    "A division by zero fails the job; in Windrow that record is invalid and the rest go on.";

pub(super) const DECIMAL_DIVISION: &str = "Quotients and means of decimals are rounded, where Windrow cuts them off; the last digit may differ by \
one.";

pub(super) const OVERFLOW: &str = "Numbers that grow too large wrap around (BIGINT) or become null (DECIMAL); in Windrow the record is \
invalid, or the run stops.";

pub(super) const FLOAT_SUM: &str = "Sums and means of floating-point numbers depend on the order of the records in their last digits; \
Windrow's do not.";

pub(super) const FUNCTIONS: &str = "Roots, powers and logarithms are Java's and may differ in the last bit.";

pub(super) const CAST: &str =
    "A text that is no number or date fails the job where it is cast; in Windrow that record is invalid.";

pub(super) const ORDER: &str = "ORDER BY without LIMIT is left out: files have no order.";

pub(super) const EMPTY_CSV: &str =
    "An empty field and an empty text in quotes are the same, null; in Windrow the second is a text.";

pub(super) const LOCAL: &str = "A local folder has to be one that every task manager sees.";

pub(super) const CALENDAR: &str = "The session's time zone is that of the windows, so that days follow its calendar. Where a clock change \
is at midnight, the two engines may begin the day an hour apart.";
