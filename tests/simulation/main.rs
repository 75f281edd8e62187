//! The whole pipeline - the real engine, query, sink, log and loop - in simulated worlds, each from one seed.
//!
//! `cargo test --release --test simulation` runs some seconds of it. `WINDROW_SIM_SECONDS=600` runs as long,
//! `WINDROW_SIM_SEED=42` repeats one world, with `WINDROW_SIM_TRACE=1` line by line. A world that breaks an invariant
//! prints the line that repeats it; its seed goes into `regressions.txt`, which is always run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a simulation that cannot go on fails its test, and says what it saw"
)]

mod broker;
mod chance;
mod driver;
mod faults;
mod files;
mod group;
mod invariants;
mod oracle;
mod plan;
mod planted;
mod scenarios;
mod short;
mod store;
mod table;
mod time;
mod trace;
mod world;

mod tests;
