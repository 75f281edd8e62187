//! Garbage for everything that reads what others wrote: records of every format, schemas, pipeline files, queries, log
//! entries, state objects, Parquet files, an API's answers. None of it may panic, hang or take memory without bound.
//!
//! Inputs are real ones, mutated from a seed. What gives a new outcome, such as an error's text not seen before, is mutated
//! further. `cargo test --release --test fuzz` feeds a fixed number, a few seconds a target; `WINDROW_FUZZ_SECONDS=600`
//! goes on as long, `WINDROW_FUZZ_SEED` takes other inputs. An input that breaks something is made smaller and written down; it
//! then goes into `corpus/`, of which every file is always fed first. One that ends the process, as an overflow of the stack does,
//! is what `at-work` in the target folder holds.
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
