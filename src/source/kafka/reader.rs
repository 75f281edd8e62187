//! The thread that fetches: it takes many messages from the client at once, copies them out, and hands them over in
//! batches of a partition.
//!
//! Copied, because a message keeps the whole fetch that it came in: what waits here is bounded by what is counted here.
//! What comes again after a pause is dropped by its offset; tests pause at many moments and look at every offset.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::mpsc::Sender;

use super::batch::{Batch, Inbox, Incident, Message, Outside};
use super::errors::{self, Class, class, class_of};
use super::heard::Heard;
use super::inquiry::Inquiry;
use super::progress::Progress;
use super::{Event, SourceError};
use crate::record::{Offset, Partition, Records};

/// Messages taken from the client at once.
const TAKE: usize = 4096;
/// How long they may take to come together: what is there then goes on. Far below what anybody waits for, and long
/// enough that batches are large when there is much to read.
const GATHER: Duration = Duration::from_millis(5);
/// Records and bytes of one batch.
const BATCH_RECORDS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a batch whose memory is worth being used again: with less, many partitions would each hold on to a lot.
pub(super) const WORTH_KEEPING: usize = BATCH_BYTES / 2;
/// Records and bytes that wait in unfinished batches of all partitions.
const OPEN_RECORDS: usize = 1 << 15;
const OPEN_BYTES: usize = 4 << 20;
/// How long the client may take to get to know the topic before anything is read.
const ACQUAINTANCE: Duration = Duration::from_secs(2);
/// How long to wait for records before looking around.
const PAUSE: Duration = Duration::from_millis(50);

/// The source is no longer wanted, or the error that ends it has been sent.
struct Over;

/// Reads until the source is dropped or a partition will not go on.
pub(super) struct Reader {
    pub(super) inbox: Arc<Inbox<Heard>>,
    pub(super) inquiry: Arc<Inquiry>,
    pub(super) heard: Heard,
    pub(super) progress: Arc<Progress>,
    pub(super) events: Sender<Result<Event, SourceError>>,
    /// Batches that are done with.
    pub(super) used: Receiver<Records>,
    pub(super) topic: String,
    pub(super) group: String,
    /// Whether anybody asks for headers: they are not looked at otherwise.
    pub(super) headers: bool,
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
    /// Records and bytes of the batch before, as a guess at the next one's.
    guess: (usize, usize),
}

impl Reader {
    pub(super) fn run(self) {
        // A client that is told to read a topic before it knows the topic's brokers may notice half a second later.
        // Whether there was an answer does not matter: it asks again by itself.
        let _ = self.inbox.consumer().fetch_metadata(Some(&self.topic), ACQUAINTANCE);
        let mut open = Open::default();
        // Over is the only way out: there is nothing to say about it.
        let Err(Over) = self.read(&mut open) else { return };
        tracing::debug!(topic = self.topic, "reading ends");
    }

    fn read(&self, open: &mut Open) -> Result<(), Over> {
        loop {
            let batch = self.inbox.receive(TAKE, GATHER);
            self.take(&batch, open)?;
            let came = batch.len();
            drop(batch);
            self.serve(open)?;
            if came == TAKE {
                continue;
            }
            // No more waits at this moment, so nothing is gained by holding records back.
            self.flush_all(open)?;
            if self.events.is_closed() {
                return Err(Over);
            }
            if came == 0 {
                self.take(&self.inbox.receive(1, PAUSE), open)?;
            }
        }
    }

    fn take(&self, batch: &Batch<'_>, open: &mut Open) -> Result<(), Over> {
        batch.iter().try_for_each(|received| match received {
            Ok(message) => self.take_message(message, open),
            Err(incident) => self.take_incident(&incident, open),
        })
    }

    #[inline]
    fn take_message(&self, message: Message<'_>, open: &mut Open) -> Result<(), Over> {
        let Message { partition, offset, timestamp, key, value, .. } = message;
        let Some(lane) = open.lane(partition, &self.progress) else {
            tracing::debug!(%partition, %offset, "dropped a record of a partition that is not read");
            return Ok(());
        };
        if offset < lane.next {
            tracing::debug!(%partition, %offset, expected = %lane.next, "dropped a record that came before");
            return Ok(());
        }
        if lane.records.is_empty() {
            self.furnish(lane);
        }
        let before = lane.records.bytes();
        if self.headers {
            match message.headers() {
                Ok(headers) => lane.records.push_with(offset, timestamp, key, value, headers),
                Err(code) => return self.no_headers(partition, offset, code, open),
            }
        } else {
            lane.records.push(offset, timestamp, key, value);
        }
        lane.next = offset.next();
        let full = lane.records.len() >= BATCH_RECORDS || lane.records.bytes() >= BATCH_BYTES;
        let bytes = lane.records.bytes() - before;
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

    /// Gives a lane room for about as much as it had the last time. Fresh memory costs more than what is put there, so
    /// that of an earlier batch is taken, if there is one.
    fn furnish(&self, lane: &mut Lane) {
        let (records, bytes) = lane.guess;
        if bytes >= WORTH_KEEPING
            && let Ok(mut used) = self.used.try_recv()
        {
            used.restart(lane.records.partition);
            lane.records = used;
        }
        // A little more, since a batch ends when it has become too large.
        lane.records.reserve(records + records / 8, bytes + bytes / 8);
    }

    #[cold]
    fn no_headers(
        &self,
        partition: Partition,
        offset: Offset,
        code: RDKafkaErrorCode,
        open: &mut Open,
    ) -> Result<(), Over> {
        self.flush_all(open)?;
        let text = format!(
            "topic {} partition {partition}: the headers at offset {offset} cannot be read: {code}; a pipeline that \
             does not ask for _headers can go on",
            self.topic
        );
        self.send(Err(SourceError::Data(text)))?;
        Err(Over)
    }

    #[cold]
    fn take_incident(&self, incident: &Incident, open: &mut Open) -> Result<(), Over> {
        if incident.code == RDKafkaErrorCode::PartitionEOF {
            return self.take_end(incident.partition, incident.offset, open);
        }
        self.heard.complained(incident.code, &incident.text);
        if class(incident.code) == Class::Fatal {
            return self.end(incident.code, &incident.text, open);
        }
        self.look_around();
        Ok(())
    }

    /// Every record before the partition's end has been delivered by now: the client queues the end behind them. The end
    /// may lie beyond the last record, where what follows is no record or was compacted away.
    fn take_end(&self, partition: Partition, end: Offset, open: &mut Open) -> Result<(), Over> {
        let Some(lane) = open.lane(partition, &self.progress) else { return Ok(()) };
        lane.next = lane.next.max(end);
        let position = lane.next;
        self.flush(partition, open)?;
        self.progress.set(partition, position, true);
        self.send(Ok(Event::Reached { partition, position }))
    }

    /// What concerns the client as a whole.
    fn serve(&self, open: &mut Open) -> Result<(), Over> {
        match self.inbox.serve() {
            Ok(()) => Ok(()),
            Err(Outside::Message(partition, offset)) => {
                self.flush_all(open)?;
                let text = format!("topic {} partition {partition}: offset {offset} came out of order", self.topic);
                self.send(Err(SourceError::Data(text)))?;
                Err(Over)
            }
            Err(Outside::Error(error)) => self.take_error(&error, open),
        }
    }

    fn take_error(&self, error: &KafkaError, open: &mut Open) -> Result<(), Over> {
        if class_of(error) != Class::Fatal {
            self.look_around();
            return Ok(());
        }
        let Some(code) = error.rdkafka_error_code() else {
            self.flush_all(open)?;
            let text = format!("topic {}: the client cannot go on: {error}", self.topic);
            self.send(Err(SourceError::Data(text)))?;
            return Err(Over);
        };
        self.end(code, &self.heard.text_of(code), open)
    }

    /// Whether there is an outage is found out by asking: the client reconnects by itself.
    fn look_around(&self) {
        self.progress.trouble();
    }

    fn end(&self, code: RDKafkaErrorCode, said: &str, open: &mut Open) -> Result<(), Over> {
        self.flush_all(open)?;
        self.send(Err(if errors::is_offset_gone(code) {
            let next = self.progress.places().into_iter().map(|(partition, place)| (partition, place.next));
            self.inquiry.explain_gone(&next.collect(), said)
        } else {
            errors::ending(&self.topic, &self.group, code, said)
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
        lane.guess = (lane.records.len(), lane.records.bytes());
        let records = std::mem::replace(&mut lane.records, Records::new(partition));
        let next = lane.next;
        open.records -= open.records.min(records.len());
        open.bytes -= open.bytes.min(records.bytes());
        self.progress.set(partition, next, false);
        self.send(Ok(Event::Records(records)))
    }

    /// Waits while the reader of events is behind: meanwhile nothing is fetched here, and the client stops, too.
    fn send(&self, event: Result<Event, SourceError>) -> Result<(), Over> {
        self.events.blocking_send(event).map_err(|_| Over)
    }
}

impl Open {
    #[inline]
    fn lane(&mut self, partition: Partition, progress: &Progress) -> Option<&mut Lane> {
        let index = index(partition);
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, || None);
        }
        let lane = &mut self.lanes[index];
        if lane.is_none() {
            let empty = |next| Lane { next, records: Records::new(partition), guess: (0, 0) };
            *lane = progress.next(partition).map(empty);
        }
        lane.as_mut()
    }
}

fn index(partition: Partition) -> usize {
    usize::try_from(partition.0).unwrap_or_default()
}
