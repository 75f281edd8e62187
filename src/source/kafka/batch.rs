//! Many messages by one call: the client library's batch call, which its Rust wrapper does not offer.
//!
//! A [`Batch`] owns its messages and gives them back when it is dropped, and
//! what is borrowed from it cannot outlive it; nothing else here leaves the library's memory.
//!
//! The batch call answers an event that it meets, such as an error of a broker, in ways of its own. So it is never made
//! on the consumer's own queue: each partition is led to a queue that holds nothing but messages and what befell their
//! partition, before it is assigned, and the events are left for [`Inbox::serve`].

#![expect(unsafe_code, reason = "the batch call has no safe wrapper; each use says why it is sound")]

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_timestamp_type_t as Kind;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::{RDKafkaMessage, RDKafkaQueue, RDKafkaRespErr};

use crate::record::{Header, Offset, Partition, Timestamp};

/// A consumer, and the queue of what its partitions bring. Partitions are led here one by one.
pub struct Inbox<C: ConsumerContext> {
    // Fields are dropped in this order: no queue may outlive the consumer.
    messages: Queue,
    events: Queue,
    consumer: BaseConsumer<C>,
}

/// A message, borrowed from its [`Batch`].
#[derive(Copy, Clone, Debug)]
pub struct Message<'a> {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// Kafka's time of it; `None` if it has none.
    pub timestamp: Option<Timestamp>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
    native: NonNull<RDKafkaMessage>,
}

/// What befell a partition, in its place among the messages.
#[derive(Clone, Debug)]
pub struct Incident {
    /// The partition.
    pub partition: Partition,
    /// Where the client stood: for the end of a partition, the end.
    pub offset: Offset,
    /// What it is.
    pub code: RDKafkaErrorCode,
    /// The same in the library's words.
    pub text: String,
}

/// What came to the consumer and not to the inbox.
#[derive(Debug, thiserror::Error)]
pub enum Outside {
    /// An error of the client as a whole.
    #[error(transparent)]
    Error(KafkaError),
    /// A message, which cannot be: its partition was assigned and never led here.
    #[error("partition {0}: offset {1} was not led to the inbox")]
    Message(Partition, Offset),
}

/// Messages in the order in which they came; each partition's in the order of their offsets.
#[derive(Debug)]
pub struct Batch<'a> {
    messages: Vec<NonNull<RDKafkaMessage>>,
    /// The client must outlive its messages.
    inbox: PhantomData<&'a ()>,
}

impl<C: ConsumerContext> Inbox<C> {
    /// Takes the consumer, which must have no partitions yet, and a group, as every reading consumer has.
    #[must_use]
    pub fn new(consumer: BaseConsumer<C>) -> Option<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the pointer is that of a live client, held until after both queues are destroyed.
        let (messages, events) =
            unsafe { (native::rd_kafka_queue_new(client), native::rd_kafka_queue_get_consumer(client)) };
        let (messages, events) = (NonNull::new(messages).map(Queue), NonNull::new(events).map(Queue));
        Some(Self { messages: messages?, events: events?, consumer })
    }

    /// The consumer, for everything but reading messages.
    #[must_use]
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Leads a partition's messages here. To be called before the partition is assigned: what was fetched earlier
    /// stays elsewhere. It lasts until the inbox is dropped, whatever is assigned.
    ///
    /// Whether there can be such a partition: a name that no topic can have is not one.
    #[must_use]
    pub fn lead(&self, topic: &str, partition: Partition) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        let client = self.consumer.client().native_ptr();
        // SAFETY: client and text live through the call; a queue that comes back is a reference of our own.
        let found = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition.0) };
        let Some(found) = NonNull::new(found).map(Queue) else { return false };
        // SAFETY: both queues are live and of the same client; the partition keeps a reference to where it leads.
        unsafe { native::rd_kafka_queue_forward(found.0.as_ptr(), self.messages.0.as_ptr()) };
        true
    }

    /// Waits until there are `most` messages, or for `patience` however many there are.
    pub fn receive(&self, most: usize, patience: Duration) -> Batch<'_> {
        let mut messages: Vec<NonNull<RDKafkaMessage>> = Vec::with_capacity(most);
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is live, and there is room for `most` pointers, which are as `NonNull`s are in memory.
        let count = unsafe {
            let room: *mut *mut RDKafkaMessage = messages.as_mut_ptr().cast();
            native::rd_kafka_consume_batch_queue(self.messages.0.as_ptr(), patience, room, most)
        };
        // SAFETY: the call has written that many pointers, none of them null; -1 stands for none.
        unsafe { messages.set_len(usize::try_from(count).unwrap_or(0).min(most)) };
        Batch { messages, inbox: PhantomData }
    }

    /// Lets the consumer's context hear the events that wait.
    ///
    /// # Errors
    /// The first that is an error or should not be; those after it wait for the next call.
    pub fn serve(&self) -> Result<(), Outside> {
        // SAFETY: the queue is live.
        let waiting = unsafe { native::rd_kafka_queue_length(self.events.0.as_ptr()) };
        // Once more than that: the client learns from it that somebody is there.
        for _ in 0..=waiting {
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => return Err(Outside::Error(error)),
                Some(Ok(message)) => {
                    return Err(Outside::Message(Partition(message.partition()), Offset(message.offset())));
                }
                None => {}
            }
        }
        Ok(())
    }
}

impl<'a> Message<'a> {
    /// The headers in their order; they are looked for only now.
    ///
    /// # Errors
    /// If the client cannot take them apart.
    pub fn headers(&self) -> Result<Vec<Header<'a>>, RDKafkaErrorCode> {
        let mut all = ptr::null_mut();
        // SAFETY: the message is live during 'a, and so is what is written to; what is found belongs to the message.
        match unsafe { native::rd_kafka_message_headers(self.native.as_ptr(), &raw mut all) } {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__NOENT => return Ok(Vec::new()),
            error => return Err(error.into()),
        }
        let mut headers = Vec::new();
        loop {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is live during 'a, and so is what is written to.
            let found = unsafe {
                native::rd_kafka_header_get_all(all, headers.len(), &raw mut name, &raw mut value, &raw mut len)
            };
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Ok(headers);
            }
            // SAFETY: a name ends with a zero, a value is null or of that length; both are the message's during 'a.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value.cast_mut(), len)) };
            headers.push(Header { name: name.to_bytes(), value });
        }
    }
}

impl Batch<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The messages, and what befell their partitions.
    pub fn iter(&self) -> impl Iterator<Item = Result<Message<'_>, Incident>> {
        self.messages.iter().map(|message| {
            // SAFETY: the library gave us this message, and it is ours until we drop it; nobody writes to it.
            let native = unsafe { message.as_ref() };
            let (partition, offset) = (Partition(native.partition), Offset(native.offset));
            // SAFETY: pointer and length are of one piece of the message, or the pointer is null.
            let (key, value) = unsafe { (bytes(native.key, native.key_len), bytes(native.payload, native.len)) };
            if native.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Ok(Message { partition, offset, timestamp: timestamp(*message), key, value, native: *message });
            }
            // The value of an error is its text.
            let text = String::from_utf8_lossy(value.unwrap_or_default()).trim_end_matches('\0').to_owned();
            Err(Incident { partition, offset, code: native.err.into(), text })
        })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: the message is ours, and this is the only time that it is given back.
            unsafe { native::rd_kafka_message_destroy(message.as_ptr()) };
        }
    }
}

/// A reference to a queue of the library, given back when dropped.
struct Queue(NonNull<RDKafkaQueue>);

// SAFETY: the library's queues are locked inside; any thread may use them.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and its client is still there.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// A part of a message.
///
/// # Safety
/// `start` is null, or the start of `len` bytes that nobody writes to during `'a`.
unsafe fn bytes<'a>(start: *mut std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    let start = NonNull::new(start.cast::<u8>())?;
    // SAFETY: as the caller promises.
    Some(unsafe { slice::from_raw_parts(start.as_ptr(), len) })
}

/// Kafka's time of a message; producers write -1 for "none".
fn timestamp(message: NonNull<RDKafkaMessage>) -> Option<Timestamp> {
    let mut kind = Kind::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is live, and so is what is written to.
    let millis = unsafe { native::rd_kafka_message_timestamp(message.as_ptr(), &raw mut kind) };
    (millis >= 0 && kind != Kind::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(())?;
    millis.checked_mul(1000).map(Timestamp)
}
