//! Membership in a group of instances that share a topic's partitions: who reads which is somebody else's decision.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::SourceError;
use crate::log::Published;
use crate::record::Partition;

/// A change of what an instance is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These, besides those that it has.
    Gained(BTreeSet<Partition>),
    /// No longer these. Others wait for them until [`Member::let_go`], though not for ever.
    Leaving(BTreeSet<Partition>),
}

/// A member of the group.
///
/// What it says is a hint about who should read what, never about who may: that is the log's to say. It may be late, or
/// wrong for a while.
#[async_trait]
pub trait Member: Send {
    /// What this instance is called.
    fn name(&self) -> &str;

    /// The next change. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// If this instance can no longer be a member.
    async fn next(&mut self) -> Result<Change, SourceError>;

    /// What the last [`Change::Leaving`] named is no longer read here.
    fn let_go(&mut self);

    /// The instance goes on with its work. A member that does not hear this for long gives its partitions up.
    fn alive(&mut self);

    /// Tells the group how far these partitions are published, for the eyes of others only.
    fn commit(&mut self, published: &Published, of: &BTreeSet<Partition>);
}
