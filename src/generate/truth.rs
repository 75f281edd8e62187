//! What a correct pipeline makes of generated records, added up record by record, from nothing but their facts.
//!
//! It is the truth for tumbling windows of one size that start at multiples of it since the epoch, on the event time,
//! grouped by [`Kind::group`]. Without a [`Cut`] every readable record counts, however late: what a pipeline gives whose
//! allowed lateness is long enough. With one, records that come too late are left out and counted, as the rule of a
//! partition's watermark has it: by the partition's own readable records before it, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Broken, Fact, Generated, Kind};
use crate::record::{Partition, Timestamp};

/// When a record is too late; both in microseconds.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How much disorder is ordinary.
    pub watermark_delay: i64,
    /// How much longer than its end a window takes records in.
    pub allowed_lateness: i64,
}

/// One group of one window.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records.
    pub count: u64,
    /// The sum of their amounts, in hundredths.
    pub amount: i128,
    /// The least amount.
    pub least: i64,
    /// The greatest.
    pub greatest: i64,
}

/// How many records there were of each sort.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub records: u64,
    /// Late, but taken in; none without a cut.
    pub late: u64,
    /// Too late; none without a cut.
    pub too_late: u64,
    /// Those that cannot be read, by what is wrong.
    pub broken: BTreeMap<Broken, u64>,
}

impl Tally {
    /// Records that cannot be read.
    #[must_use]
    pub fn all_broken(&self) -> u64 {
        self.broken.values().sum()
    }

    /// Records that are in a window.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.records - self.all_broken() - self.too_late
    }
}

/// The expected aggregates of every window.
#[derive(Clone, Debug)]
pub struct Truth {
    kind: Kind,
    window: i64,
    cut: Option<Cut>,
    /// By window start and group index.
    windows: BTreeMap<Timestamp, Vec<Sums>>,
    watermarks: BTreeMap<Partition, Timestamp>,
    tally: Tally,
}

impl Truth {
    /// Nothing yet; windows of `window` microseconds.
    #[must_use]
    pub fn new(kind: Kind, window: i64, cut: Option<Cut>) -> Self {
        let (windows, watermarks) = (BTreeMap::new(), BTreeMap::new());
        Self { kind, window: window.max(1), cut, windows, watermarks, tally: Tally::default() }
    }

    /// Adds a record. Those of a partition must come in the order they are written in.
    pub fn add(&mut self, record: &Generated) {
        self.tally.records += 1;
        match record.truth {
            Ok(fact) => self.add_fact(record.partition, fact),
            Err(broken) => *self.tally.broken.entry(broken).or_default() += 1,
        }
    }

    fn add_fact(&mut self, partition: Partition, fact: Fact) {
        let start = Timestamp(fact.event_time.0.div_euclid(self.window) * self.window);
        if let Some(cut) = self.cut {
            let end = start.plus(self.window);
            let reached = fact.event_time.minus(cut.watermark_delay);
            let watermark = self.watermarks.entry(partition).or_insert(Timestamp(i64::MIN));
            let before = *watermark;
            *watermark = before.max(reached);
            if end.plus(cut.allowed_lateness) <= before {
                self.tally.too_late += 1;
                return;
            }
            self.tally.late += u64::from(end <= before);
        }
        let groups = self.windows.entry(start).or_insert_with(|| vec![Sums::default(); self.kind.groups()]);
        let Some(sums) = groups.get_mut(usize::from(fact.group)) else { return };
        sums.least = if sums.count == 0 { fact.amount } else { sums.least.min(fact.amount) };
        sums.greatest = sums.greatest.max(fact.amount);
        sums.amount += i128::from(fact.amount);
        sums.count += 1;
    }

    /// How many records there were of each sort.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Every group that has records, by window start and name.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<(Timestamp, &'static str), Sums> {
        let windows = self.windows.iter();
        let rows =
            windows.flat_map(|(&start, groups)| (0u16..).zip(groups).map(move |(group, sums)| (start, group, sums)));
        let rows = rows.filter(|(_, _, sums)| sums.count > 0);
        rows.map(|(start, group, &sums)| ((start, self.kind.group_name(group)), sums)).collect()
    }

    /// Writes the rows as CSV, in the order of windows and names, below a few lines that begin with `#` and say what
    /// they are the truth for. Sums are exact decimals.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let (group, time, tally) = (self.kind.group(), self.kind.event_time(), &self.tally);
        writeln!(out, "# by {group} and windows of {} s of {time}, counted from the epoch", self.window / 1_000_000)?;
        match self.cut {
            None => writeln!(out, "# every readable record counts, however late it came")?,
            Some(cut) => writeln!(
                out,
                "# watermark delay {} s, allowed lateness {} s: late {}, too late and left out {}",
                cut.watermark_delay / 1_000_000,
                cut.allowed_lateness / 1_000_000,
                tally.late,
                tally.too_late
            )?,
        }
        writeln!(out, "# records {}, counted below {}, broken {}", tally.records, tally.counted(), tally.all_broken())?;
        for (broken, count) in &tally.broken {
            writeln!(out, "# broken, {}: {count}", broken.name())?;
        }
        let head = match self.kind {
            Kind::Rides => "revenue,rides",
            Kind::Quotes => "low,high,quotes",
        };
        writeln!(out, "window_start,{group},{head}")?;
        for ((start, name), sums) in self.rows() {
            let count = sums.count;
            match self.kind {
                Kind::Rides => writeln!(out, "{start},{name},{},{count}", decimal(sums.amount))?,
                Kind::Quotes => {
                    let (low, high) = (decimal(sums.least.into()), decimal(sums.greatest.into()));
                    writeln!(out, "{start},{name},{low},{high},{count}")?;
                }
            }
        }
        out.flush()
    }
}

/// Hundredths as a decimal number.
///
/// ```
/// assert_eq!(windrow::generate::truth::decimal(-1205), "-12.05");
/// ```
#[must_use]
pub fn decimal(hundredths: i128) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let amount = hundredths.unsigned_abs();
    format!("{sign}{}.{:02}", amount / 100, amount % 100)
}
