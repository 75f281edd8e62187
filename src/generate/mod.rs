//! Generated records: the same seed gives the same records, byte for byte, on every machine and version.
//!
//! Pure: no clock, no I/O. Records come in the order they would arrive in a topic, each with the partition it goes to,
//! and with what a correct pipeline makes of it. [`truth`] adds that up, for others to be compared with.

mod arrival;
mod chance;
mod quotes;
mod rides;
mod symbols;
mod text;
mod zones;
pub mod truth;
#[cfg(test)]
mod tests;

use crate::record::{Partition, Timestamp};
use arrival::Arrivals;
use chance::Chance;
use quotes::Quotes;
use rides::Rides;

/// Parts in a million: how often something happens.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Share(pub u32);

/// What is generated.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Taxi rides between the zones of a large city, keyed by ride.
    Rides,
    /// Quotes of a stock exchange as random walks, keyed by ticker.
    Quotes,
}

impl Kind {
    /// The member that says when a record happened.
    #[must_use]
    pub fn event_time(self) -> &'static str {
        match self {
            Self::Rides => rides::EVENT_TIME,
            Self::Quotes => quotes::EVENT_TIME,
        }
    }

    /// The member that records are grouped by.
    #[must_use]
    pub fn group(self) -> &'static str {
        match self {
            Self::Rides => rides::GROUP,
            Self::Quotes => quotes::GROUP,
        }
    }

    /// The member with the amount of a record, a decimal with two digits.
    #[must_use]
    pub fn amount(self) -> &'static str {
        match self {
            Self::Rides => rides::AMOUNT,
            Self::Quotes => quotes::AMOUNT,
        }
    }

    /// The name of the group with this index; see [`Fact::group`].
    #[must_use]
    pub fn group_name(self, index: u16) -> &'static str {
        let index = usize::from(index);
        match self {
            Self::Rides => zones::NAMES.get(index).copied().unwrap_or_default(),
            Self::Quotes => symbols::SYMBOLS.get(index).map_or("", |symbol| symbol.ticker),
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn groups(self) -> usize {
        match self {
            Self::Rides => zones::NAMES.len(),
            Self::Quotes => symbols::SYMBOLS.len(),
        }
    }
}

/// What to generate, and how well behaved.
#[derive(Copy, Clone, Debug)]
pub struct Plan {
    /// What the records are.
    pub kind: Kind,
    /// Where chance begins.
    pub seed: u64,
    /// How many partitions the records go to, at least one.
    pub partitions: u32,
    /// When the first record arrives; none tells of a time before.
    pub start: Timestamp,
    /// The time between two arrivals at an ordinary hour, in nanoseconds.
    pub interval: u64,
    /// Records whose event time lies minutes to hours behind their arrival.
    pub late: Share,
    /// Records that cannot be read.
    pub broken: Share,
    /// Whether some of those have no value. Where that cannot be written they are truncated instead, and all other
    /// records are the same.
    pub tombstones: bool,
}

impl Plan {
    /// Rides from 2026-03-01, orderly, 10,000 an hour into one partition.
    pub const RIDES: Self = Self {
        kind: Kind::Rides,
        seed: 1,
        partitions: 1,
        start: Timestamp(1_772_323_200_000_000),
        interval: 360_000_000,
        late: Share(0),
        broken: Share(0),
        tombstones: true,
    };

    /// The same plan at a pace at which `records` take `span` microseconds of arrival time, ups and downs of the day
    /// included.
    #[must_use]
    pub fn spread(self, records: u64, span: i64) -> Self {
        Self { interval: arrival::interval(self.kind, self.start, span, records), ..self }
    }

    /// The same plan at a pace of `records` an hour, over a whole day.
    #[must_use]
    pub fn per_hour(self, records: u64) -> Self {
        self.spread(records.saturating_mul(24), 24 * arrival::HOUR)
    }
}

/// What a correct pipeline finds in a readable record.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When it happened.
    pub event_time: Timestamp,
    /// The index of its group; [`Kind::group_name`] names it.
    pub group: u16,
    /// Its amount in hundredths.
    pub amount: i64,
}

/// How a record is broken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// There is no value.
    Tombstone,
    /// The JSON ends before its end.
    Truncated,
    /// Event time or amount is missing.
    Missing,
    /// Event time or amount is text that means neither.
    Mistyped,
}

impl Broken {
    const ALL: [Self; 4] = [Self::Tombstone, Self::Truncated, Self::Missing, Self::Mistyped];

    /// A word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Truncated => "truncated",
            Self::Missing => "missing member",
            Self::Mistyped => "wrong type",
        }
    }
}

/// One generated record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Where it goes.
    pub partition: Partition,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value, a JSON object; none for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its Kafka timestamp, the time of its arrival, in milliseconds.
    pub timestamp: i64,
    /// What is to be found in it.
    pub truth: Result<Fact, Broken>,
}

/// Records without end, in the order of their arrival.
///
/// ```
/// use windrow::generate::{Generator, Plan};
/// let some: Vec<_> = Generator::new(Plan::RIDES).take(3).collect();
/// assert_eq!(some, Generator::new(Plan::RIDES).take(3).collect::<Vec<_>>());
/// ```
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    chance: Chance,
    arrivals: Arrivals,
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Rides(Rides),
    Quotes(Quotes),
}

/// What every kind of record is made with.
#[derive(Copy, Clone, Debug)]
struct Draft {
    /// Seconds since the epoch.
    event_time: i64,
    /// What is wrong with it, and whether with the amount rather than the event time.
    broken: Option<(Broken, bool)>,
}

/// A record's own part.
struct Body {
    partition: u32,
    key: Vec<u8>,
    value: Vec<u8>,
    group: u16,
    amount: i64,
}

impl Generator {
    /// The records of `plan`, from the first.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let plan = Plan { partitions: plan.partitions.max(1), ..plan };
        let stream = match plan.kind {
            Kind::Rides => Stream::Rides(Rides::new(plan.seed)),
            Kind::Quotes => Stream::Quotes(Quotes::new()),
        };
        Self { plan, chance: Chance::seeded(plan.seed), arrivals: Arrivals::new(&plan), stream }
    }

    /// The next record, as if it arrived at `now`.
    pub fn next_at(&mut self, now: Timestamp) -> Generated {
        let chance = &mut self.chance;
        let behind = arrival::behind(chance, self.plan.late);
        // Nothing happened before the first arrival: no window of a few late records comes before the first one.
        let event_time = now.minus(behind).max(self.plan.start).0.div_euclid(1_000_000);
        let broken = chance.happens(self.plan.broken).then(|| {
            let how = match Broken::ALL[chance.below(4) as usize] {
                Broken::Tombstone if !self.plan.tombstones => Broken::Truncated,
                how => how,
            };
            (how, chance.below(2) == 0)
        });
        let draft = Draft { event_time, broken };
        let body = match &mut self.stream {
            Stream::Rides(rides) => rides.draw(chance, draft, self.plan.partitions),
            Stream::Quotes(quotes) => quotes.draw(chance, draft, self.plan.partitions),
        };
        let mut value = Some(body.value);
        if let (Some((how @ (Broken::Tombstone | Broken::Truncated), _)), Some(bytes)) = (broken, &mut value) {
            let rest = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_sub(1).max(1);
            bytes.truncate(1 + chance.below(rest) as usize);
            if how == Broken::Tombstone {
                value = None;
            }
        }
        let fact = Fact { event_time: Timestamp(event_time * 1_000_000), group: body.group, amount: body.amount };
        Generated {
            partition: Partition(i32::try_from(body.partition).unwrap_or(i32::MAX)),
            key: body.key,
            value,
            timestamp: now.0.div_euclid(1000),
            truth: broken.map_or(Ok(fact), |(how, _)| Err(how)),
        }
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        let now = self.arrivals.step();
        Some(self.next_at(now))
    }
}
