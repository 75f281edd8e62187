#![doc = include_str!("../README.md")]

pub mod time;
pub mod record;
pub mod error;
pub mod clock;
pub mod decode;
pub mod config;
pub mod query;
pub mod engine;
pub mod sink;
pub mod log;
pub mod source;
pub mod generate;
pub mod pipeline;
pub mod telemetry;
pub mod load;
pub mod cli;
