//! Quotes as JSON objects: one random walk a symbol.

use super::chance::Chance;
use super::symbols::SYMBOLS;
use super::text::{push_hundredths, push_member, push_number};
use super::{Body, Draft};

/// When the price was made, in seconds since the epoch.
pub(super) const EVENT_TIME: &str = "updated_at";
/// The symbol.
pub(super) const GROUP: &str = "ticker";
/// The price.
pub(super) const AMOUNT: &str = "price";

#[derive(Debug)]
pub(super) struct Quotes {
    /// Each symbol's last price in hundredths, and the volume of its newest day.
    walks: Vec<Walk>,
}

#[derive(Copy, Clone, Debug)]
struct Walk {
    price: i64,
    day: i64,
    volume: u64,
}

impl Quotes {
    pub(super) fn new() -> Self {
        let walk = |price| Walk { price, day: i64::MIN, volume: 0 };
        Self { walks: SYMBOLS.iter().map(|symbol| walk(symbol.price)).collect() }
    }

    pub(super) fn draw(&mut self, chance: &mut Chance, draft: Draft, partitions: u32) -> Body {
        let index = chance.below(u32::try_from(self.walks.len()).unwrap_or(1));
        let (symbol, walk) = (&SYMBOLS[index as usize], &mut self.walks[index as usize]);
        // Steps of up to 0.3 %, pulled back towards the first price, so that no walk leaves the plausible.
        let pull = (symbol.price - walk.price) / 200;
        let reach = u32::try_from(walk.price / 333).unwrap_or(0).max(1);
        let step = i64::from(chance.below(2 * reach + 1)) - i64::from(reach);
        walk.price = (walk.price + step + pull).max(1);
        let day = draft.event_time.div_euclid(86_400);
        if day > walk.day {
            (walk.day, walk.volume) = (day, 0);
        }
        walk.volume += u64::from(100 * (1 + chance.below(400)));

        let mut out = Vec::with_capacity(192);
        out.extend_from_slice(b"{\"ticker\":\"");
        out.extend_from_slice(symbol.ticker.as_bytes());
        out.extend_from_slice(b"\",\"name\":\"");
        out.extend_from_slice(symbol.name.as_bytes());
        out.extend_from_slice(b"\",\"short_name\":\"");
        out.extend_from_slice(symbol.short_name.as_bytes());
        out.push(b'"');
        push_member(&mut out, draft, true, b",\"price\":", |out| push_hundredths(out, walk.price));
        out.extend_from_slice(b",\"volume\":");
        push_number(&mut out, walk.volume);
        push_member(&mut out, draft, false, b",\"updated_at\":", |out| {
            if draft.event_time < 0 {
                out.push(b'-');
            }
            push_number(out, draft.event_time.unsigned_abs());
        });
        out.push(b'}');
        Body {
            // A symbol stays in its partition, as with any keyed producer.
            partition: index % partitions,
            key: symbol.ticker.as_bytes().to_vec(),
            value: out,
            group: u16::try_from(index).unwrap_or(0),
            amount: walk.price,
        }
    }
}
