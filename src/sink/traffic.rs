//! What a store is asked and how often it fails, for whoever shows it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is asked of a store, as messages call it.
pub const OPERATIONS: [&str; 6] = ["write", "create", "read", "look at", "list", "delete"];

/// Counts since the store was opened, by operation.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: [AtomicU64; OPERATIONS.len()],
    errors: [AtomicU64; OPERATIONS.len()],
}

impl Traffic {
    pub(super) fn asked(&self, operation: &str) {
        count(&self.requests, operation);
    }

    pub(super) fn failed(&self, operation: &str) {
        count(&self.errors, operation);
    }

    /// For each operation its name, how often it was asked, and how many of these failed and were tried again or given
    /// up.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64, u64)> + '_ {
        let load = |counts: &[AtomicU64], index: usize| counts[index].load(Ordering::Relaxed);
        let each = OPERATIONS.iter().enumerate();
        each.map(move |(index, name)| (*name, load(&self.requests, index), load(&self.errors, index)))
    }
}

fn count(counts: &[AtomicU64], operation: &str) {
    if let Some(index) = OPERATIONS.iter().position(|known| *known == operation) {
        counts[index].fetch_add(1, Ordering::Relaxed);
    }
}
