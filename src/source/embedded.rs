//! The demo's broker, inside the process.
