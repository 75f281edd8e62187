//! The thread that polls: it copies each record out of the client at once and hands them over in batches.
//!
//! The client's own batch call would be faster, but it is not safe Rust, and has skipped offsets in the past. Here
//! every offset is compared with the one expected.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Timestamp as Stamp};
use tokio::sync::mpsc::Sender;

use super::errors::{self, Class, class_of};
use super::heard::Heard;
use super::inquiry::Inquiry;
use super::progress::Progress;
use super::{Event, SourceError};
use crate::record::{Offset, Partition, Records, Timestamp};

/// Records and bytes of one batch.
const BATCH_RECORDS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
/// Records and bytes that wait in unfinished batches of all partitions.
const OPEN_RECORDS: usize = 1 << 15;
const OPEN_BYTES: usize = 4 << 20;
/// How long to wait for records before looking around.
const PAUSE: Duration = Duration::from_millis(50);

/// The source is no longer wanted, or the error that ends it has been sent.
struct Over;

/// Reads until the source is dropped or a partition will not go on.
pub(super) struct Reader {
    pub(super) consumer: Arc<BaseConsumer<Heard>>,
    pub(super) inquiry: Arc<Inquiry>,
    pub(super) heard: Heard,
    pub(super) progress: Arc<Progress>,
    pub(super) events: Sender<Result<Event, SourceError>>,
    pub(super) topic: String,
    pub(super) group: String,
}

/// What waits to be handed over: a batch a partition, by the partition's number.
#[derive(Default)]
struct Open {
    lanes: Vec<Option<Lane>>,
    records: usize,
    bytes: usize,
}

struct Lane {
    next: Offset,
    records: Records,
}

impl Reader {
    pub(super) fn run(self) {
        let mut open = Open::default();
        // Over is the only way out: there is nothing to say about it.
        let Err(Over) = self.read(&mut open) else { return };
        tracing::debug!(topic = self.topic, "reading ends");
    }

    fn read(&self, open: &mut Open) -> Result<(), Over> {
        loop {
            if let Some(polled) = self.consumer.poll(Duration::ZERO) {
                self.take(polled, open)?;
                continue;
            }
            // Nothing waits at this moment, so nothing is gained by holding records back.
            self.flush_all(open)?;
            if self.events.is_closed() {
                return Err(Over);
            }
            if let Some(polled) = self.consumer.poll(PAUSE) {
                self.take(polled, open)?;
            }
        }
    }

    fn take(&self, polled: Result<BorrowedMessage<'_>, KafkaError>, open: &mut Open) -> Result<(), Over> {
        match polled {
            Ok(message) => self.take_message(&message, open),
            Err(KafkaError::PartitionEOF(partition)) => self.take_end(Partition(partition), open),
            Err(error) => self.take_error(&error, open),
        }
    }

    fn take_message(&self, message: &BorrowedMessage<'_>, open: &mut Open) -> Result<(), Over> {
        let (partition, offset) = (Partition(message.partition()), Offset(message.offset()));
        let Some(lane) = open.lane(partition, &self.progress) else {
            tracing::debug!(%partition, %offset, "dropped a record of a partition that is not read");
            return Ok(());
        };
        if offset < lane.next {
            tracing::debug!(%partition, %offset, expected = %lane.next, "dropped a record that came before");
            return Ok(());
        }
        let (key, value) = (message.key(), message.payload());
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        lane.records.push(offset, time_of(message), key, value);
        lane.next = offset.next();
        let full = lane.records.len() >= BATCH_RECORDS || lane.records.bytes() >= BATCH_BYTES;
        open.records += 1;
        open.bytes += bytes;
        if full {
            return self.flush(partition, open);
        }
        if open.records >= OPEN_RECORDS || open.bytes >= OPEN_BYTES {
            return self.flush_all(open);
        }
        Ok(())
    }

    /// Every record before the partition's end has been delivered by now: the client queues the end behind them.
    fn take_end(&self, partition: Partition, open: &mut Open) -> Result<(), Over> {
        let end = self.heard.take_end().or_else(|| self.position(partition));
        let Some(lane) = open.lane(partition, &self.progress) else { return Ok(()) };
        lane.next = lane.next.max(end.unwrap_or(lane.next));
        let position = lane.next;
        self.flush(partition, open)?;
        self.progress.set(partition, position, true);
        self.send(Ok(Event::Reached { partition, position }))
    }

    fn position(&self, partition: Partition) -> Option<Offset> {
        let positions = self.consumer.position().ok()?;
        match positions.find_partition(&self.topic, partition.0)?.offset() {
            rdkafka::Offset::Offset(offset) => Some(Offset(offset)),
            _ => None,
        }
    }

    fn take_error(&self, error: &KafkaError, open: &mut Open) -> Result<(), Over> {
        if class_of(error) != Class::Fatal {
            // Whether it is an outage is found out by asking: the client reconnects by itself.
            self.progress.trouble();
            return Ok(());
        }
        self.flush_all(open)?;
        let code = error.rdkafka_error_code();
        let said = code.map_or_else(|| error.to_string(), |code| self.heard.text_of(code));
        self.send(Err(match code {
            Some(code) if errors::is_offset_gone(code) => {
                let next = self.progress.places().into_iter().map(|(partition, place)| (partition, place.next));
                self.inquiry.explain_gone(&next.collect(), &said)
            }
            Some(code) => errors::ending(&self.topic, &self.group, code, &said),
            None => SourceError::Data(format!("topic {}: the client cannot go on: {said}", self.topic)),
        }))?;
        Err(Over)
    }

    fn flush_all(&self, open: &mut Open) -> Result<(), Over> {
        if open.records == 0 {
            return Ok(());
        }
        for number in 0..open.lanes.len() {
            self.flush(Partition(i32::try_from(number).unwrap_or(i32::MAX)), open)?;
        }
        (open.records, open.bytes) = (0, 0);
        Ok(())
    }

    fn flush(&self, partition: Partition, open: &mut Open) -> Result<(), Over> {
        let Some(Some(lane)) = open.lanes.get_mut(index(partition)) else { return Ok(()) };
        if lane.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::replace(&mut lane.records, Records::new(partition));
        let next = lane.next;
        open.records -= open.records.min(records.len());
        open.bytes -= open.bytes.min(records.bytes());
        self.progress.set(partition, next, false);
        self.send(Ok(Event::Records(records)))
    }

    /// Waits while the reader of events is behind: meanwhile nothing is polled, and the client stops fetching.
    fn send(&self, event: Result<Event, SourceError>) -> Result<(), Over> {
        self.events.blocking_send(event).map_err(|_| Over)
    }
}

impl Open {
    fn lane(&mut self, partition: Partition, progress: &Progress) -> Option<&mut Lane> {
        let index = index(partition);
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, || None);
        }
        let lane = &mut self.lanes[index];
        if lane.is_none() {
            *lane = progress.next(partition).map(|next| Lane { next, records: Records::new(partition) });
        }
        lane.as_mut()
    }
}

fn index(partition: Partition) -> usize {
    usize::try_from(partition.0).unwrap_or_default()
}

/// Kafka's time of a record; producers write -1 for "none".
fn time_of(message: &BorrowedMessage<'_>) -> Option<Timestamp> {
    let (Stamp::CreateTime(millis) | Stamp::LogAppendTime(millis)) = message.timestamp() else { return None };
    (millis >= 0).then_some(())?;
    millis.checked_mul(1000).map(Timestamp)
}
