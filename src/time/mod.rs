//! Time as text, windows of time, and how far a stream has come.

pub mod text;
pub mod watermark;
pub mod window;
