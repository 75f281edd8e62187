//! Files: their names, their bytes, and the store that keeps them.

pub mod format;
pub mod layout;
pub mod parquet;
mod csv;
mod jsonl;
pub mod probe;
mod sound;
pub mod stage;
pub mod state;
pub mod traffic;
pub mod store;

use crate::error::Kind;

/// Why the sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The place cannot be used as it is set up.
    #[error("{0}")]
    Invalid(String),
    /// What is there is not what it must be.
    #[error("{0}")]
    Data(String),
    /// The store is away or full.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl SinkError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Data(_) => Kind::Data,
            Self::Unavailable(_) => Kind::Unavailable,
            Self::Internal(_) => Kind::Internal,
        }
    }
}
