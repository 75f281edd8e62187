//! From decoded batches to closed windows: watermarks, lateness and partial results, pure and deterministic.
