//! A run whose records cannot be read, or come too late, goes on: whoever looks at its log is told so.

use crate::decode::Decoded;
use crate::log::entry::{Counts, Entry};
use crate::record::Timestamp;

/// Fewer records than this are no sign of anything.
const TELLING: u64 = 10;
/// Microseconds until it is said again.
const SAY_AGAIN: i64 = 600_000_000;

/// What there is to doubt of a run.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// What was counted when it was looked at last: the doubt is of what came since.
    before: Counts,
    /// Where the first record since then is that could not be read, and why.
    example: Option<String>,
    said: Option<Timestamp>,
}

impl Doubt {
    pub(super) fn opened(&mut self, entry: &Entry) {
        self.before = entry.totals.clone();
    }

    pub(super) fn decoded(&mut self, decoded: &Decoded) {
        if self.example.is_none()
            && let Some((index, reason)) = decoded.rejected.first()
        {
            let offset = decoded.records.get(*index as usize).offset;
            self.example = Some(format!("partition {}, offset {offset}: {}", decoded.records.partition, reason.text));
        }
    }

    /// What to warn of, now that this entry is in the log.
    pub(super) fn committed(&mut self, entry: &Entry) -> Option<String> {
        if self.said.is_some_and(|said| entry.time.0.saturating_sub(said.0) < SAY_AGAIN) {
            return None;
        }
        let (now, before) = (&entry.totals, &self.before);
        let read = now.read.saturating_sub(before.read);
        let invalid = now.invalid().saturating_sub(before.invalid());
        let too_late = now.too_late.saturating_sub(before.too_late);
        let is_much = |part: u64| part >= TELLING && part > read / 100;
        let share = |part: u64| part as f64 * 100.0 / read.max(1) as f64;
        let example = self.example.take().map(|example| format!(", such as {example}")).unwrap_or_default();
        let invalid = is_much(invalid).then(|| {
            format!(
                "{:.1}% of the records read are invalid{example}; they are kept under invalid/, and windrow check FILE \
                 shows what the first records are",
                share(invalid)
            )
        });
        let too_late = is_much(too_late).then(|| {
            format!(
                "{:.1}% of the records read are too late and kept under late/; windrow lateness FILE says which \
                 watermark_delay would keep them",
                share(too_late)
            )
        });
        let ancient = entry.watermark.filter(|watermark| watermark.is_ancient()).map(|watermark| {
            format!(
                "event times are around {}: a clock that was never set, or another unit than the column's",
                watermark.to_second()
            )
        });
        let words: Vec<String> = [invalid, too_late, ancient].into_iter().flatten().collect();
        if words.is_empty() {
            return None;
        }
        self.said = Some(entry.time);
        self.before = entry.totals.clone();
        Some(words.join("; "))
    }
}
