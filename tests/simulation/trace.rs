//! What happened, as a number to compare and, if asked for, as lines to read.

use std::fmt::Write;

#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
    line: String,
}

impl Trace {
    pub fn new(verbose: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: verbose.then(Vec::new), line: String::new() }
    }

    pub fn say(&mut self, at: i64, text: impl FnOnce() -> String) {
        self.line.clear();
        let _ = write!(self.line, "{:>12.6} {}", at as f64 / 1e6, text());
        let line = std::mem::take(&mut self.line);
        self.bytes(line.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(line.clone());
        }
        self.line = line;
    }

    /// FNV-1a, eight bytes at a time.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let word = u64::from_le_bytes(chunk.try_into().unwrap());
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        for &byte in chunks.remainder() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
