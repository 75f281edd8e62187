//! The id that Kafka gave a topic when it was made: a topic that was deleted and made again under its name has another.
//!
//! The client library tells it by an administrator's call that its Rust wrapper does not offer. Nothing here leaves the
//! library's memory but a copy of the id's text.

#![expect(unsafe_code, reason = "describing a topic has no safe wrapper; each use says why it is sound")]

use std::ffi::{CStr, CString};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::{RDKafka, RDKafkaRespErr};

/// Asks `broker`, else the cluster's controller, for the topic's id and waits for the answer, `patience` at most. `None`
/// where the brokers are too old to give topics an id.
///
/// # Errors
/// The code of what the client or a broker says against it.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    broker: Option<i32>,
    patience: Duration,
) -> Result<Option<String>, Code> {
    let name = CString::new(topic).map_err(|_| Code::InvalidTopic)?;
    let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let Some(question) = Question::new(client.native_ptr(), &name, broker, millis) else { return Err(Code::Fail) };
    match question.ask(client.native_ptr(), millis) {
        Err(Code::UnsupportedFeature | Code::UnsupportedVersion) => Ok(None),
        answer => answer,
    }
}

/// What a question needs; each part is given back when it is dropped.
struct Question {
    topics: NonNull<native::rd_kafka_TopicCollection_t>,
    options: NonNull<native::rd_kafka_AdminOptions_t>,
    answers: NonNull<native::rd_kafka_queue_t>,
}

impl Question {
    fn new(client: *mut RDKafka, topic: &CStr, broker: Option<i32>, millis: i32) -> Option<Self> {
        let mut names = [topic.as_ptr()];
        let describe = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: the client is live, and the name lives through the call, which copies it.
        let (topics, options, answers) = unsafe {
            (
                native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
                native::rd_kafka_AdminOptions_new(client, describe),
                native::rd_kafka_queue_new(client),
            )
        };
        let (topics, options, answers) = (NonNull::new(topics)?, NonNull::new(options)?, NonNull::new(answers)?);
        let question = Self { topics, options, answers };
        let (options, no_text) = (question.options.as_ptr(), ptr::null_mut());
        // SAFETY: the options are live; without room for a text none is written.
        unsafe {
            native::rd_kafka_AdminOptions_set_request_timeout(options, millis, no_text, 0);
            if let Some(broker) = broker {
                native::rd_kafka_AdminOptions_set_broker(options, broker, no_text, 0);
            }
        }
        Some(question)
    }

    fn ask(&self, client: *mut RDKafka, millis: i32) -> Result<Option<String>, Code> {
        let answers = self.answers.as_ptr();
        // SAFETY: everything named is live; the client keeps no reference to topics and options after the call.
        unsafe { native::rd_kafka_DescribeTopics(client, self.topics.as_ptr(), self.options.as_ptr(), answers) };
        // SAFETY: the queue is live. The client answers within the time-out that it was given, at the latest with an error.
        let event = unsafe { native::rd_kafka_queue_poll(answers, millis.saturating_add(1000)) };
        let event = NonNull::new(event).map(Event).ok_or(Code::OperationTimedOut)?;
        event.topic_id()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: each is ours, and this is the only time that it is given back.
        unsafe {
            native::rd_kafka_queue_destroy(self.answers.as_ptr());
            native::rd_kafka_AdminOptions_destroy(self.options.as_ptr());
            native::rd_kafka_TopicCollection_destroy(self.topics.as_ptr());
        }
    }
}

/// An answer, which owns all that is read from it.
struct Event(NonNull<native::rd_kafka_event_t>);

impl Event {
    fn topic_id(&self) -> Result<Option<String>, Code> {
        let event = self.0.as_ptr();
        // SAFETY: the event is live.
        sound(unsafe { native::rd_kafka_event_error(event) })?;
        // SAFETY: the event is live; for one of another kind the result is null.
        let result = unsafe { native::rd_kafka_event_DescribeTopics_result(event) };
        if result.is_null() {
            return Err(Code::Fail);
        }
        let mut count = 0;
        // SAFETY: the result lives as long as its event.
        let topics = unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        if topics.is_null() || count == 0 {
            return Err(Code::Fail);
        }
        // SAFETY: there is at least one description, and it lives as long as the event. Error and id are parts of it; the
        // id's text is a part of the id.
        unsafe {
            let topic = *topics;
            sound(native::rd_kafka_error_code(native::rd_kafka_TopicDescription_error(topic)))?;
            let id = native::rd_kafka_TopicDescription_topic_id(topic);
            if id.is_null() || is_zero(id) {
                return Ok(None);
            }
            let text = native::rd_kafka_Uuid_base64str(id);
            Ok((!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned()))
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours, and this is the only time that it is given back.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// Whether this stands for "no id".
///
/// # Safety
/// `id` is live.
unsafe fn is_zero(id: *const native::rd_kafka_Uuid_t) -> bool {
    // SAFETY: as the caller promises.
    let halves =
        unsafe { [native::rd_kafka_Uuid_most_significant_bits(id), native::rd_kafka_Uuid_least_significant_bits(id)] };
    halves == [0, 0]
}

fn sound(error: RDKafkaRespErr) -> Result<(), Code> {
    if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(error.into()) }
}
