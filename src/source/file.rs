//! JSON lines from a file or standard input.
