//! Somebody who reads the sink while it is written, as a loader does.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::support::place::Place;
use crate::support::truth::{Rows, Truth};

pub(crate) struct Watch<'a> {
    place: &'a Place,
    on_time: &'a BTreeMap<i64, Rows>,
    corrections: BTreeMap<i64, Rows>,
    /// Every result file seen so far, with its bytes: none may ever change or go.
    seen: BTreeMap<String, Bytes>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(place: &'a Place, truth: &'a Truth) -> Self {
        Self { place, on_time: &truth.on_time, corrections: truth.corrections(), seen: BTreeMap::new() }
    }

    /// Compares every file that is new with the truth.
    pub(crate) fn look(&mut self) {
        for (folder, expected) in [("data", self.on_time), ("corrections", &self.corrections)] {
            let keys = self.place.keys(folder, ".parquet");
            let gone = self.seen.keys().find(|key| key.starts_with(folder) && keys.binary_search(key).is_err());
            assert_eq!(gone, None, "it was published and is gone");
            for key in keys {
                if self.seen.contains_key(&key) {
                    continue;
                }
                let file = self.place.result(&key);
                assert_eq!(Some(&file.rows), expected.get(&file.start), "{key}");
                let bytes = self.place.get(&key);
                self.seen.insert(key, bytes);
            }
        }
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.len()
    }

    /// No file has changed since it was first seen.
    pub(crate) fn nothing_has_changed(&self) {
        for (key, bytes) in &self.seen {
            assert_eq!(*bytes, self.place.get(key), "{key} has changed");
        }
    }
}
