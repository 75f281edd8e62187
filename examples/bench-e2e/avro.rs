//! A ride in Avro's binary encoding.

/// The schema of rides.
pub(crate) const SCHEMA: &str = r#"{"type": "record", "name": "Ride", "fields": [
    {"name": "ride_id", "type": "string"}, {"name": "vendor", "type": "int"},
    {"name": "pickup_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "dropoff_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "passengers", "type": "int"}, {"name": "distance", "type": "double"},
    {"name": "pickup_location", "type": ["null", "string"]}, {"name": "dropoff_location", "type": ["null", "string"]},
    {"name": "payment", "type": "string"}, {"name": "tip", "type": "double"},
    {"name": "total_amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
    {"name": "shared", "type": "boolean"}]}"#;

/// What differs from ride to ride; times in microseconds.
pub(crate) struct Ride<'a> {
    pub(crate) id: &'a str,
    pub(crate) pickup_at: i64,
    pub(crate) dropoff_at: i64,
    pub(crate) distance: f64,
    pub(crate) pickup: &'a str,
    pub(crate) dropoff: &'a str,
    pub(crate) tip: f64,
    pub(crate) cents: i32,
}

impl Ride<'_> {
    /// The datum, with nothing before it.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        text(self.id, &mut out);
        long(2, &mut out);
        long(self.pickup_at, &mut out);
        long(self.dropoff_at, &mut out);
        long(1, &mut out);
        out.extend(self.distance.to_le_bytes());
        for zone in [self.pickup, self.dropoff] {
            long(1, &mut out);
            text(zone, &mut out);
        }
        text("card", &mut out);
        out.extend(self.tip.to_le_bytes());
        long(4, &mut out);
        out.extend(self.cents.to_be_bytes());
        out.push(0);
        out
    }
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest > 0x7f {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(text: &str, out: &mut Vec<u8>) {
    long(text.len() as i64, out);
    out.extend(text.as_bytes());
}
