//! What the reading thread, the watching thread and the source's owner know in common.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::record::{Offset, Partition};

/// How far one partition is read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The next offset to be delivered.
    pub(super) next: Offset,
    /// Whether the partition ended there when last read.
    pub(super) at_end: bool,
}

/// How far the partitions are read, and whether somebody should look after the brokers.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    places: BTreeMap<Partition, Place>,
    trouble: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A partition is about to be read.
    pub(super) fn begin(&self, partition: Partition, next: Offset) {
        self.lock().places.insert(partition, Place { next, at_end: false });
    }

    /// A partition has been read up to `next`.
    pub(super) fn set(&self, partition: Partition, next: Offset, at_end: bool) {
        self.lock().places.insert(partition, Place { next, at_end });
    }

    pub(super) fn next(&self, partition: Partition) -> Option<Offset> {
        self.lock().places.get(&partition).map(|place| place.next)
    }

    pub(super) fn places(&self) -> BTreeMap<Partition, Place> {
        self.lock().places.clone()
    }

    /// Ends a [`Progress::wait`]: the reading client complains of the brokers, or the source is no longer wanted.
    pub(super) fn trouble(&self) {
        self.lock().trouble = true;
        self.wake.notify_all();
    }

    /// Waits, `time` at most; whether there was trouble meanwhile.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let waited = self.wake.wait_timeout_while(self.lock(), time, |state| !state.trouble);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.trouble)
    }
}
