//! Where records come from. A source delivers bytes with their offsets and decides nothing about time.

pub mod embedded;
pub mod file;
pub mod kafka;
pub mod member;
pub mod produce;
pub mod publish;
pub mod registry;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::error::Kind;
use crate::record::{Offset, Partition, Records, Timestamp};

/// What a source offers at the moment it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The topic's name; `file` for a file, `stdin` for standard input.
    pub name: String,
    /// Kafka's id of the cluster, where it tells one.
    pub cluster: Option<String>,
    /// Kafka's id of the topic, where the brokers give one: a topic that was deleted and made anew has another.
    pub id: Option<String>,
    /// The files that are its partitions, in their order, where there are several.
    pub files: Vec<String>,
    /// Each partition's present bounds.
    pub partitions: BTreeMap<Partition, Bounds>,
}

/// The offsets a partition holds now: `[start, end)`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that can still be read.
    pub start: Offset,
    /// The offset after the last readable record; `None` where the end is not known before it is reached.
    pub end: Option<Offset>,
}

/// Where a first run begins.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record of each partition.
    Earliest,
    /// With the next record to be written.
    Latest,
    /// With the first record whose Kafka time is not before this.
    Time(Timestamp),
}

/// What a source has to say.
#[derive(Debug)]
pub enum Event {
    /// The next records of one partition, offsets rising; gaps are no loss.
    Records(Records),
    /// Everything of this partition below `position` has been delivered; the partition ended there when last read.
    /// `position` may lie beyond the last record's next offset (transaction markers, compaction).
    Reached {
        /// The partition.
        partition: Partition,
        /// The next offset to be read.
        position: Offset,
    },
    /// Proof from the broker: where each partition ended at a moment not before `asked`.
    Ends {
        /// When the question was sent, by the [`crate::clock::Clock`].
        asked: Timestamp,
        /// Each partition's end.
        ends: Vec<(Partition, Offset)>,
    },
    /// Partitions that were not there before, and their first offset; they are read once [`Source::assign`] names them.
    Added(Vec<(Partition, Offset)>),
    /// The source is out of reach; it goes on trying by itself. Said once for each outage.
    Waiting(String),
    /// The source can be reached again.
    Resumed,
    /// Nothing more will ever come: a file's end.
    Finished,
}

/// A stream of records in partitions.
///
/// The contract: after [`Source::assign`], [`Source::next`] delivers every record of the assigned partitions from the
/// given offsets on, each partition in offset order, until the source is dropped. A record may come twice; the reader
/// drops what it has. Whatever would leave a record out is an error, never silence.
#[async_trait]
pub trait Source: Send {
    /// The topic as it is now. Waits, without end, for a broker that is down.
    ///
    /// # Errors
    /// If the topic does not exist or cannot be described.
    async fn describe(&mut self) -> Result<Topic, SourceError>;

    /// The offset of each partition at which `start` begins.
    ///
    /// # Errors
    /// If the source cannot tell.
    async fn resolve(&mut self, start: Start) -> Result<BTreeMap<Partition, Offset>, SourceError>;

    /// Begins to read these partitions at these offsets, besides the ones assigned before; none may be named twice.
    /// Never waits for room among the events, so it may be called between two of them. An offset that is gone from the
    /// partition shows as an error of [`Source::next`].
    ///
    /// # Errors
    /// If the source refuses.
    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError>;

    /// Begins anew with these partitions and no others: nothing comes any more of what was assigned before.
    ///
    /// # Errors
    /// If the source refuses, or cannot do it.
    async fn reassign(&mut self, _from: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        Err(SourceError::Invalid("this source cannot be shared among instances".to_owned()))
    }

    /// Says which of the assigned partitions are not wanted for now, in place of those named before. What is under way of
    /// them still comes; they are read on, with nothing left out, when they are no longer named. A source may go on
    /// all the same.
    ///
    /// # Errors
    /// If the source refuses.
    fn pause(&mut self, _partitions: &BTreeSet<Partition>) -> Result<(), SourceError> {
        Ok(())
    }

    /// The next event. Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// Whatever means that a partition will not go on.
    async fn next(&mut self) -> Result<Event, SourceError>;

    /// Asks whether the records delivered so far are those of the topic that was described; called before they are
    /// counted for good. A source that cannot tell, or is out of reach, has nothing against it.
    ///
    /// # Errors
    /// [`SourceError::Remade`] if another topic has the name by now.
    async fn confirm(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// How much of all there is to read has been read, and how much there is: bytes, where ends are not known as offsets.
    fn way(&self) -> Option<(u64, u64)> {
        None
    }

    /// Gives back the records of an event when nothing needs them any more: a source may use their memory again.
    fn take_back(&mut self, _records: Records) {}

    /// Tells the source how far everything is published, for the eyes of others only.
    /// The answer may come later or never; a failure is logged and harmless.
    fn commit(&mut self, published: &crate::log::Published);
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The settings are refused by the source.
    #[error("{0}")]
    Invalid(String),
    /// Records are missing or not what they were: the text says which.
    #[error("{0}")]
    Data(String),
    /// Another topic has the name now.
    #[error(
        "topic {topic} was deleted and made anew: its id was {before} and is {now} now; offsets of the two have nothing \
         in common, so the new one needs a new sink"
    )]
    Remade {
        /// The topic's name.
        topic: String,
        /// The id of the topic that was read.
        before: String,
        /// The id of the topic that has the name now.
        now: String,
    },
    /// Another instance is in this one's place.
    #[error("{0}")]
    Fenced(String),
    /// The source cannot be used now and did not come back in time.
    #[error("{0}")]
    Unavailable(String),
}

impl SourceError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Data(_) | Self::Remade { .. } => Kind::Data,
            Self::Fenced(_) => Kind::Fenced,
            Self::Unavailable(_) => Kind::Unavailable,
        }
    }
}
