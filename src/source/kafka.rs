//! A Kafka topic.
