//! What must hold of an entry, and between an entry and the one before it. Each law is a function with a name, so
//! that the program, its tests and `windrow audit` check the same thing.

use super::entry::{Counts, Entry, FORMAT, Sequence};

/// A law that does not hold: which, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// A law between an entry and the one before it, `None` for the first.
pub type Law = fn(Option<&Entry>, &Entry) -> Result<(), Broken>;

/// Every law, with its name.
pub const LAWS: [(&str, Law); 7] = [
    ("the form is known", form_is_known),
    ("sequences have no gap", sequences_have_no_gap),
    ("claims are contiguous", claims_are_contiguous),
    ("watermarks never go back", watermarks_never_go_back),
    ("counts balance", counts_balance),
    ("totals add up", totals_add_up),
    ("open windows keep their pipeline", open_windows_keep_their_pipeline),
];

/// Checks every law.
///
/// # Errors
/// The first law that does not hold.
pub fn check(before: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    LAWS.iter().try_for_each(|(name, law)| {
        law(before, entry).map_err(|Broken(how)| Broken(format!("entry {}: {name}: {how}", entry.sequence.0)))
    })
}

fn broken<T>(how: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(how.into()))
}

fn form_is_known(_: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    if entry.format == FORMAT { Ok(()) } else { broken(format!("it has form {}, known is {FORMAT}", entry.format)) }
}

fn sequences_have_no_gap(before: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    let expected = before.map_or(Sequence::FIRST, |before| before.sequence.next());
    if entry.sequence == expected { Ok(()) } else { broken(format!("expected number {}", expected.0)) }
}

/// Every offset is claimed once: a claim begins where the partition's last one ended, and no partition is forgotten.
fn claims_are_contiguous(before: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    for (partition, claim) in &entry.partitions {
        if claim.to < claim.from {
            return broken(format!("partition {partition} claims [{}, {})", claim.from, claim.to));
        }
        let known = before.and_then(|before| before.partitions.get(partition));
        if let Some(known) = known
            && known.to != claim.from
        {
            return broken(format!("partition {partition} claims from {} but {} was next", claim.from, known.to));
        }
    }
    let forgotten = before
        .into_iter()
        .flat_map(|before| before.partitions.keys())
        .find(|partition| !entry.partitions.contains_key(partition));
    forgotten.map_or(Ok(()), |partition| broken(format!("partition {partition} is missing")))
}

fn watermarks_never_go_back(before: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    let Some(before) = before else { return Ok(()) };
    if entry.watermark < before.watermark {
        return broken("the stream's watermark went back");
    }
    let back = before
        .partitions
        .iter()
        .find(|(partition, claim)| entry.partitions.get(partition).is_some_and(|now| now.watermark < claim.watermark));
    back.map_or(Ok(()), |(partition, _)| broken(format!("the watermark of partition {partition} went back")))
}

fn counts_balance(_: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    if !entry.counts.balance() {
        return broken("read is not aggregated + filtered + too_late + invalid");
    }
    let claimed: i128 = entry.partitions.values().map(|claim| i128::from(claim.to.0) - i128::from(claim.from.0)).sum();
    let delivered = i128::from(entry.counts.read) + i128::from(entry.counts.gaps);
    if claimed == delivered { Ok(()) } else { broken(format!("{claimed} offsets claimed, {delivered} accounted for")) }
}

fn totals_add_up(before: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    let mut totals = before.map_or_else(Counts::default, |before| before.totals.clone());
    totals.add(&entry.counts);
    if totals == entry.totals { Ok(()) } else { broken("totals are not those before plus this entry's counts") }
}

/// A changed query or column may follow only when no window is open under the old one, and windows may never change
/// so that a record could fall into one that is published: its name is taken for good.
fn open_windows_keep_their_pipeline(before: Option<&Entry>, entry: &Entry) -> Result<(), Broken> {
    let Some(before) = before else { return Ok(()) };
    if before.pipeline != entry.pipeline {
        return broken(format!("pipeline {} follows {}", entry.pipeline, before.pipeline));
    }
    if before.fingerprint != entry.fingerprint && !before.windows.is_empty() {
        return broken("the pipeline changed while windows were open");
    }
    if before.tumbling != entry.tumbling || before.allowed_lateness < entry.allowed_lateness {
        return broken("windows changed so that published ones would be opened again");
    }
    Ok(())
}
