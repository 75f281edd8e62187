//! Generated records: rides, with late and broken ones among them.
