//! Taxi rides as JSON objects.

use super::chance::Chance;
use super::text::{Times, push_hex, push_hundredths, push_member, push_number};
use super::{Body, Draft, zones};

/// When the ride ended.
pub(super) const EVENT_TIME: &str = "dropoff_at";
/// Where it began.
pub(super) const GROUP: &str = "pickup_location";
/// What it cost.
pub(super) const AMOUNT: &str = "total_amount";

const VENDORS: [&str; 3] = ["Creative Mobile", "Curb Mobility", "Myle Technologies"];
/// Places in the table of zones: enough for the rarest one to have a few.
const TABLE: u32 = 8192;
/// Congestion and airport charges, in hundredths.
const SURCHARGE: i64 = 350;

#[derive(Debug)]
pub(super) struct Rides {
    /// Every zone as often as its share of the rides.
    table: Vec<u16>,
    pickups: Times,
    dropoffs: Times,
    /// Where ride ids begin.
    salt: u64,
    number: u64,
}

impl Rides {
    pub(super) fn new(seed: u64) -> Self {
        // Zipf's law: the busiest zone has about forty times the rides of the quietest.
        let weights: Vec<u64> = (0..zones::NAMES.len() as u64).map(|rank| 1_000_000 / (rank + 6)).collect();
        let total: u64 = weights.iter().sum();
        let mut table = Vec::new();
        let mut sum = 0;
        for (zone, weight) in (0u16..).zip(weights) {
            sum += weight;
            table.resize(usize::try_from(sum * u64::from(TABLE) / total).unwrap_or(0), zone);
        }
        Self { table, pickups: Times::new(), dropoffs: Times::new(), salt: seed, number: 0 }
    }

    fn zone(&self, chance: &mut Chance) -> u16 {
        self.table.get(chance.below(TABLE) as usize).copied().unwrap_or(0)
    }

    pub(super) fn draw(&mut self, chance: &mut Chance, draft: Draft, partitions: u32) -> Body {
        let id = scramble(self.salt, self.number);
        self.number += 1;
        let (pickup, dropoff) = (self.zone(chance), self.zone(chance));
        // Hundredths of a mile; the least of two makes short rides common, the third a long one now and then.
        let distance = 40 + chance.below(1200).min(chance.below(1200)) + chance.below(64) / 60 * chance.below(1600);
        let minutes = 3 + distance / 40 + chance.below(4 + distance / 60);
        let seconds = i64::from(minutes) * 60 + i64::from(chance.below(60));
        let fare = i64::from(300 + distance * 7 / 2 + minutes * 50) / 10 * 10;
        let card = chance.below(100) < 78;
        let tip = if card { fare * i64::from(10 + chance.below(18)) / 100 } else { 0 };
        let total = fare + tip + SURCHARGE;

        let mut key = Vec::with_capacity(16);
        push_hex(&mut key, id);
        let mut out = Vec::with_capacity(384);
        out.extend_from_slice(b"{\"ride_id\":\"");
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\",\"vendor\":\"");
        out.extend_from_slice(VENDORS[chance.below(3) as usize].as_bytes());
        out.extend_from_slice(b"\",\"pickup_at\":\"");
        self.pickups.push(&mut out, draft.event_time - seconds);
        out.push(b'"');
        push_member(&mut out, draft, false, b",\"dropoff_at\":", |out| {
            out.push(b'"');
            self.dropoffs.push(out, draft.event_time);
            out.push(b'"');
        });
        out.extend_from_slice(b",\"pickup_location\":\"");
        out.extend_from_slice(name(pickup));
        out.extend_from_slice(b"\",\"dropoff_location\":\"");
        out.extend_from_slice(name(dropoff));
        out.extend_from_slice(b"\",\"passengers\":");
        push_number(&mut out, u64::from(1 + chance.below(6).min(chance.below(6))));
        out.extend_from_slice(b",\"distance\":");
        push_hundredths(&mut out, i64::from(distance));
        out.extend_from_slice(b",\"fare_amount\":");
        push_hundredths(&mut out, fare);
        out.extend_from_slice(b",\"tip_amount\":");
        push_hundredths(&mut out, tip);
        push_member(&mut out, draft, true, b",\"total_amount\":", |out| push_hundredths(out, total));
        out.extend_from_slice(if card { b",\"payment_type\":\"card\"}" } else { b",\"payment_type\":\"cash\"}" });
        Body { partition: chance.below(partitions), key, value: out, group: pickup, amount: total }
    }
}

fn name(zone: u16) -> &'static [u8] {
    zones::NAMES.get(usize::from(zone)).copied().unwrap_or_default().as_bytes()
}

/// A ride's id: every number of a seed has another one, in no visible order.
fn scramble(salt: u64, number: u64) -> u64 {
    // Odd factors and shifted sums can be undone, so no two numbers meet.
    let mut id = number.wrapping_add(salt.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    id ^= id >> 32;
    id = id.wrapping_mul(0xd6e8_feb8_6659_fd93);
    id ^ (id >> 32)
}
