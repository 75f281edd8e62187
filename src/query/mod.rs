//! SQL over one window, split in two: what is done record by record and kept as mergeable partial results, and what
//! runs once over the closed window.

use crate::error::Kind;

/// Why a query cannot be planned or run.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query's text is at fault.
    #[error("query: {0}")]
    Invalid(String),
    /// The data does not fit the query: an overflow in a window's result.
    #[error("query: {0}")]
    Data(String),
    /// The engine below failed in a way it should not.
    #[error("query: {0}")]
    Internal(String),
}

impl QueryError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Data(_) => Kind::Data,
            Self::Internal(_) => Kind::Internal,
        }
    }
}
