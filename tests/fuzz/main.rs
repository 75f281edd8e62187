//! Garbage for everything that reads what others wrote: records of every format, schemas, pipeline files, queries, log
//! entries, state objects, Parquet files, an API's answers. None of it may panic, hang or take memory without bound.
//!
//! Inputs are real ones, mutated from a seed. What gives a new outcome, such as an error's text not seen before, is mutated
//! further. `cargo test --release --test fuzz` takes two seconds a target, `WINDROW_FUZZ_SECONDS=600` as long,
//! `WINDROW_FUZZ_SEED` other inputs. An input that breaks something is made smaller and written down; it then goes into
//! `corpus/`, of which every file is always fed first.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on fails, and says what it saw"
)]

mod bound;
mod hunt;
mod mutate;
mod targets;

#[global_allocator]
static ALLOCATOR: bound::Counted = bound::Counted;
