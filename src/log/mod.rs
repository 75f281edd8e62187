//! The commit log: the one source of truth.

use std::collections::BTreeMap;

use crate::error::Kind;
use crate::record::{Offset, Partition};

/// Proof that an entry and everything it names is published.
#[derive(Debug)]
pub struct Published {
    next: BTreeMap<Partition, Offset>,
}

impl Published {
    /// The next offset of each partition that the log has not claimed.
    #[must_use]
    pub fn next(&self) -> &BTreeMap<Partition, Offset> {
        &self.next
    }
}

/// Why the log cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What is there is not a log of this pipeline.
    #[error("{0}")]
    Invalid(String),
    /// The log is damaged.
    #[error("{0}")]
    Data(String),
    /// Another instance has taken over.
    #[error("{0}")]
    Fenced(String),
}

impl LogError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Data(_) => Kind::Data,
            Self::Fenced(_) => Kind::Fenced,
        }
    }
}
