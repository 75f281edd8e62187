//! Windrow from outside: the built binary over files, brokers and stores as a user has them.
//!
//! Nothing needs to be installed: brokers are librdkafka's mock cluster, sinks local folders. With
//! `WINDROW_TEST_KAFKA` (bootstrap servers) and `WINDROW_TEST_S3_ENDPOINT`, `_BUCKET`, `_REGION`, `_ACCESS_KEY_ID` and
//! `_SECRET_ACCESS_KEY` set, the same tests run over those servers, too; with `WINDROW_TEST_POSTGRES` (a `postgres://`
//! address), those that need a database; with `WINDROW_TEST_REGISTRY` (its address), those that need a schema registry; with
//! `WINDROW_TEST_MONGO` (a `mongodb://` address without a database), those that need a server that speaks MongoDB's protocol.
//! What is left out says so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a helper that cannot go on fails its test, and says what it saw"
)]

#[macro_use]
mod support;

mod backlog;
mod bad_input;
mod bad_places;
mod batch;
mod cli;
mod crash_points;
mod data_loss;
mod file_source;
mod files;
mod gc;
mod group;
mod instances;
mod kill;
mod load;
mod looking;
mod memory;
mod old_logs;
mod refused_sinks;
mod registry;
mod runbook;
mod replay;
mod poll;
mod secrets;
mod secure;
mod source;
mod unsound_sinks;
