//! What failed, and what the operator does about it.

use crate::config::ConfigError;
use crate::export::ExportError;
use crate::handover::HandoverError;
use crate::load::LoadError;
use crate::log::LogError;
use crate::poll::PollError;
use crate::query::QueryError;
use crate::sink::SinkError;
use crate::source::SourceError;

/// What kind of trouble an error is; it decides the exit code and whether trying again can help.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command or the pipeline file has to be changed.
    Invalid,
    /// The data is not what it must be; somebody has to look.
    Data,
    /// Something outside is away; it may come back.
    Unavailable,
    /// Another instance has taken over.
    Fenced,
    /// A fault of this program.
    Internal,
}

impl Kind {
    /// The process's exit code: 1 failed, 2 usage or configuration, 3 another instance has taken over.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid => 2,
            Self::Fenced => 3,
            Self::Data | Self::Unavailable | Self::Internal => 1,
        }
    }
}

/// Any failure of the library.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The query.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The source of records.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The place that files are written to.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The commit log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database that results are loaded into.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The command that published files are handed to.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The poll of an HTTP API.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// A running instance that is asked how it is.
    #[error("{0}")]
    Health(String),
    /// What another engine has no equal for.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The operator asked to stop before the run had begun; nothing is wrong.
    #[error("stopped before the run began")]
    Stopped,
    /// The command line, or a command that does not fit what it finds.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Config(_) | Self::Export(_) | Self::Usage(_) => Kind::Invalid,
            Self::Stopped | Self::Health(_) => Kind::Unavailable,
            Self::Query(error) => error.kind(),
            Self::Source(error) => error.kind(),
            Self::Sink(error) => error.kind(),
            Self::Log(error) => error.kind(),
            Self::Load(error) => error.kind(),
            Self::Handover(error) => error.kind(),
            Self::Poll(error) => error.kind(),
        }
    }
}
