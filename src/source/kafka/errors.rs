//! What an error of the client library means for the run: wait, wait for a while, or stop.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::SourceError;

/// How long trouble that seldom heals by itself is waited out.
pub const LIMIT: Duration = Duration::from_secs(180);

/// What an error means.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The library goes on trying, and will succeed when the cause is gone.
    Transient,
    /// It may heal, such as a certificate that is being replaced, but not for ever.
    Limited,
    /// The partition will not go on, or not with the records it should.
    Fatal,
}

/// The class of a code. What is not known is fatal: going on might leave records out.
#[must_use]
pub fn class(code: RDKafkaErrorCode) -> Class {
    use RDKafkaErrorCode as Code;
    match code {
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::PreferredLeaderNotAvailable
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NetworkException
        | Code::KafkaStorageError
        | Code::OffsetNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::FetchSessionIdNotFound
        | Code::InvalidFetchSessionEpoch
        | Code::WaitingForCoordinator
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::RebootstrapRequired
        | Code::ThrottlingQuotaExceeded => Class::Transient,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL => Class::Limited,
        _ => Class::Fatal,
    }
}

/// The class of an error; one without a code is fatal.
#[must_use]
pub fn class_of(error: &KafkaError) -> Class {
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Class::Fatal;
    }
    error.rdkafka_error_code().map_or(Class::Fatal, class)
}

/// Whether the code says that an offset is not there.
pub(super) fn is_offset_gone(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation)
}

/// The error that ends the run for `code`; `said` is the library's own text.
pub(super) fn ending(topic: &str, group: &str, code: RDKafkaErrorCode, said: &str) -> SourceError {
    use RDKafkaErrorCode as Code;
    let (what, advice) = match code {
        Code::BadMessage | Code::InvalidMessage | Code::BadCompression => {
            return SourceError::Data(format!("topic {topic}: a batch of records is damaged: {said}"));
        }
        Code::NotImplemented => {
            return SourceError::Data(format!("topic {topic}: records of a form that cannot be read: {said}"));
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => (
            "a record is larger than the client may fetch",
            "raise \"fetch.message.max.bytes\" and \"receive.message.max.bytes\" in properties",
        ),
        Code::TopicAuthorizationFailed => ("not allowed to read it", "grant READ and DESCRIBE on the topic"),
        Code::GroupAuthorizationFailed => {
            let text = format!("topic {topic}: not allowed to use group {group}: grant READ on the group ({said})");
            return SourceError::Invalid(text);
        }
        _ if class(code) == Class::Limited => {
            return SourceError::Unavailable(format!("topic {topic}: {said}"));
        }
        _ if is_offset_gone(code) => {
            return SourceError::Data(format!("topic {topic}: an offset that comes next is gone: {said}"));
        }
        _ => return SourceError::Data(format!("topic {topic}: the client cannot go on: {said} ({code:?})")),
    };
    SourceError::Invalid(format!("topic {topic}: {what}; {advice} ({said})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_waited_out_and_what_loses_records_is_fatal() {
        use RDKafkaErrorCode as Code;
        for code in [Code::AllBrokersDown, Code::BrokerTransportFailure, Code::Resolve, Code::NotLeaderForPartition] {
            assert_eq!(class(code), Class::Transient, "{code:?}");
        }
        for code in [Code::UnknownTopicOrPartition, Code::Authentication, Code::SaslAuthenticationFailed, Code::SSL] {
            assert_eq!(class(code), Class::Limited, "{code:?}");
        }
        for code in [
            Code::AutoOffsetReset,
            Code::OffsetOutOfRange,
            Code::LogTruncation,
            Code::BadMessage,
            Code::BadCompression,
            Code::NotImplemented,
            Code::MessageSizeTooLarge,
            Code::InvalidMessage,
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::Fatal,
            Code::FencedInstanceId,
        ] {
            assert_eq!(class(code), Class::Fatal, "{code:?}");
        }
    }

    #[test]
    fn a_code_that_is_not_known_is_fatal() {
        assert_eq!(class(RDKafkaErrorCode::Unknown), Class::Fatal);
        assert_eq!(class(RDKafkaErrorCode::TelemetryTooLarge), Class::Fatal);
        assert_eq!(class_of(&KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Resolve)), Class::Fatal);
        assert_eq!(class_of(&KafkaError::NoMessageReceived), Class::Fatal);
    }
}
