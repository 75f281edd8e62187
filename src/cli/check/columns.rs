//! Columns proposed from JSON records: names, types, and which of them is the event time.
//!
//! A proposal takes every record of the sample. What it rests on is said beside it, so that a person can judge it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::column::{HEADERS, META, VALUE};
use crate::record::{Partition, Records, Timestamp};

/// Members of members of members are looked into so far; what lies deeper is kept as JSON.
const DEEPEST: usize = 5;
/// Distinct values that are counted.
const DISTINCT: usize = 1000;
/// More digits after the point than money has: a measurement, not an amount.
const AMOUNT_SCALE: usize = 4;
/// Digits that a decimal has room for, seen or not.
const AMOUNT_PRECISION: usize = 18;
/// Names that results have for columns of their own.
const TAKEN: [&str; 4] = ["dt", "window_start", "window_end", "_revision"];
/// Names that an event time likes to have, the best first.
const EVENT_TIMES: [&str; 12] = [
    "event_time",
    "event_timestamp",
    "event_ts",
    "occurred_at",
    "timestamp",
    "ts",
    "time",
    "datetime",
    "created_at",
    "updated_at",
    "date_time",
    "at",
];
/// 2000-01-01 and 2100-01-01 in seconds since the epoch.
const ERA: (i64, i64) = (946_684_800, 4_102_444_800);
/// Five years and one, in seconds: a number that is a time by its size alone lies around now.
const AROUND: (i64, i64) = (5 * 31_557_600, 31_557_600);

/// A proposed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Proposed {
    /// Its name in SQL.
    pub(in crate::cli) name: String,
    /// Its place in the record.
    pub(in crate::cli) path: Vec<String>,
    /// Its type, as the pipeline file has it.
    pub(in crate::cli) kind: String,
    /// Whether some records lack it.
    pub(in crate::cli) optional: bool,
    /// What the type rests on.
    pub(in crate::cli) note: String,
    /// How many different values were seen; texts only.
    pub(super) distinct: usize,
    /// Of times: how far 99 % of the records come behind the newest of their partition at most, in microseconds.
    pub(super) behind: i64,
}

impl Proposed {
    /// Whether it could be the event time.
    pub(super) fn is_time(&self) -> bool {
        self.kind.starts_with("timestamp") && !self.optional
    }
}

/// What was seen in a sample.
#[derive(Default)]
pub(in crate::cli) struct Seen {
    /// Records that are JSON objects.
    pub(in crate::cli) objects: u64,
    /// Others, tombstones among them.
    pub(in crate::cli) others: u64,
    places: Vec<Place>,
    known: HashMap<Vec<String>, usize>,
}

/// What was seen at one place of the records.
#[derive(Default)]
struct Place {
    path: Vec<String>,
    present: u64,
    nulls: u64,
    objects: u64,
    lists: u64,
    bools: u64,
    numbers: Numbers,
    texts: Texts,
    order: Order,
}

/// How far values come behind the greatest of their partition before them, each in its own unit.
#[derive(Default)]
struct Order {
    newest: BTreeMap<Partition, i64>,
    behind: Vec<i64>,
}

impl Order {
    fn take(&mut self, partition: Partition, value: i64) {
        let newest = self.newest.entry(partition).or_insert(value);
        *newest = (*newest).max(value);
        self.behind.push(newest.saturating_sub(value));
    }

    /// What 99 % of the values do not exceed.
    fn most(&self) -> i64 {
        let mut behind = self.behind.clone();
        behind.sort_unstable();
        behind.get((behind.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Numbers {
    count: u64,
    fractions: u64,
    /// With an exponent, or of more digits than a decimal has.
    wild: u64,
    /// Whole ones beyond 64 bits.
    huge: u64,
    whole_digits: usize,
    after_point: usize,
    least: Option<i64>,
    greatest: Option<i64>,
}

#[derive(Default)]
struct Texts {
    count: u64,
    times: u64,
    naive_times: u64,
    dates: u64,
    amounts: Numbers,
    example: String,
    values: BTreeSet<String>,
}

/// The members of an object in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Seen {
    /// Looks at a batch.
    pub(in crate::cli) fn take(&mut self, records: &Records) {
        for record in records.iter() {
            match record.value.map(serde_json::from_slice::<Members>) {
                Some(Ok(members)) => {
                    self.objects += 1;
                    self.object(records.partition, &[], members);
                }
                _ => self.others += 1,
            }
        }
    }

    fn object(&mut self, partition: Partition, path: &[String], members: Members) {
        for (name, value) in members.0 {
            let path: Vec<String> = path.iter().cloned().chain([name]).collect();
            let index = *self.known.entry(path.clone()).or_insert_with(|| {
                self.places.push(Place { path: path.clone(), ..Place::default() });
                self.places.len() - 1
            });
            let text = value.get();
            self.places[index].take(partition, text);
            if text.starts_with('{')
                && path.len() < DEEPEST
                && let Ok(members) = serde_json::from_str(text)
            {
                self.object(partition, &path, members);
            }
        }
    }

    /// The columns, in the order in which they were first seen.
    pub(in crate::cli) fn propose(&self, now: Timestamp) -> Vec<Proposed> {
        let mut proposed: Vec<Proposed> = Vec::new();
        // Places that are given as a whole hide what lies within.
        let mut whole: Vec<&[String]> = Vec::new();
        for place in &self.places {
            if whole.iter().any(|outer| place.path.starts_with(outer)) {
                continue;
            }
            if place.is_folder() && place.path.len() < DEEPEST {
                continue;
            }
            if place.objects > 0 {
                whole.push(&place.path);
            }
            let (kind, note) = place.kind(now);
            let name = free_name(&place.path, &proposed);
            let optional = place.present < self.objects || place.nulls > 0;
            let distinct = place.texts.values.len();
            let in_second = match kind.as_str() {
                "timestamp(s)" => 1,
                "timestamp(ms)" => 1000,
                _ => 1_000_000,
            };
            let behind = place.order.most().saturating_mul(1_000_000 / in_second);
            proposed.push(Proposed { name, path: place.path.clone(), kind, optional, note, distinct, behind });
        }
        proposed
    }
}

/// The column that is most likely the event time: by its name, else the one whose records come most in order.
pub(super) fn event_time(columns: &[Proposed]) -> Option<&Proposed> {
    let liked = |column: &&Proposed| {
        let last = column.path.last().map(|name| snake(name)).unwrap_or_default();
        EVENT_TIMES.iter().position(|name| *name == last).unwrap_or(EVENT_TIMES.len())
    };
    columns.iter().filter(|column| column.is_time()).min_by_key(|column| (liked(column), column.behind))
}

/// A name in SQL that nobody has, for the member at this path.
fn free_name(path: &[String], taken: &[Proposed]) -> String {
    let mut name: String =
        path.join("_").chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    name.truncate(100);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name = format!("c_{name}");
    }
    if TAKEN.iter().chain(&META).chain(&[VALUE, HEADERS]).any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        name = format!("record_{}", name.trim_start_matches('_'));
    }
    let is_taken = |name: &str| taken.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name)).unwrap_or(name)
}

impl Place {
    fn take(&mut self, partition: Partition, text: &str) {
        self.present += 1;
        match text.as_bytes().first() {
            Some(b'n') => self.nulls += 1,
            Some(b't' | b'f') => self.bools += 1,
            Some(b'{') => self.objects += 1,
            Some(b'[') => self.lists += 1,
            Some(b'"') => {
                if let Ok(text) = serde_json::from_str::<String>(text) {
                    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(&text) {
                        self.order.take(partition, time.timestamp_micros());
                    }
                    self.texts.take(text);
                }
            }
            _ => {
                if let Ok(value) = text.parse() {
                    self.order.take(partition, value);
                }
                self.numbers.take(text);
            }
        }
    }

    /// Whether it is an object wherever it is something.
    fn is_folder(&self) -> bool {
        self.objects > 0 && self.objects + self.nulls == self.present
    }

    /// The type, and what it rests on.
    fn kind(&self, now: Timestamp) -> (String, String) {
        let something = self.present - self.nulls;
        if something == 0 {
            ("json".to_owned(), "null in every record of the sample".to_owned())
        } else if self.bools == something {
            ("bool".to_owned(), String::new())
        } else if self.numbers.count == something {
            self.numbers.kind(self.path.last().map_or("", String::as_str), now)
        } else if self.texts.count == something {
            self.texts.kind()
        } else if self.lists == something {
            ("json".to_owned(), "lists".to_owned())
        } else if self.objects == something {
            ("json".to_owned(), "objects within objects".to_owned())
        } else {
            ("json".to_owned(), "values of several kinds".to_owned())
        }
    }
}

impl Numbers {
    fn take(&mut self, text: &str) {
        self.count += 1;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, after) = digits.split_once('.').unwrap_or((digits, ""));
        if digits.contains(['e', 'E']) || whole.len() + after.len() > 38 {
            self.wild += 1;
            return;
        }
        self.whole_digits = self.whole_digits.max(whole.len());
        self.after_point = self.after_point.max(after.len());
        if digits.contains('.') {
            self.fractions += 1;
            return;
        }
        match text.parse::<i64>() {
            Ok(value) => {
                self.least = self.least.map_or(Some(value), |least| Some(least.min(value)));
                self.greatest = self.greatest.max(Some(value));
            }
            Err(_) => self.huge += 1,
        }
    }

    fn kind(&self, name: &str, now: Timestamp) -> (String, String) {
        if self.wild > 0 {
            return ("float".to_owned(), "with exponents, or of more than 38 digits".to_owned());
        }
        if self.fractions > 0 && self.after_point > AMOUNT_SCALE {
            return ("float".to_owned(), format!("up to {} digits after the point", self.after_point));
        }
        if self.fractions > 0 {
            return self.decimal();
        }
        if self.huge > 0 {
            return (format!("decimal({}, 0)", 38), "whole numbers beyond 64 bits".to_owned());
        }
        let (Some(least), Some(greatest)) = (self.least, self.greatest) else {
            return ("int".to_owned(), String::new());
        };
        for (unit, word, in_second) in
            [("s", "seconds", 1), ("ms", "milliseconds", 1000), ("us", "microseconds", 1_000_000)]
        {
            let (first, last) = (least / in_second, greatest / in_second);
            let now = now.0 / 1_000_000;
            let by_name = first >= ERA.0 && last < ERA.1 && sounds_like_time(name);
            let by_size = in_second > 1 && first >= now - AROUND.0 && last < now + AROUND.1;
            if by_name || by_size {
                let time = |value: i64| Timestamp(value.saturating_mul(1_000_000 / in_second));
                let doubt = if by_name { String::new() } else { "; \"int\" if they are no times".to_owned() };
                let note = format!("{word} since the epoch: {} to {}{doubt}", time(least), time(greatest));
                return (format!("timestamp({unit})"), note);
            }
        }
        if least / 1_000_000_000 >= ERA.0 && greatest / 1_000_000_000 < ERA.1 {
            let note = "nanoseconds since the epoch? they are not read as times: divide them by 1000 in the producer";
            return ("int".to_owned(), note.to_owned());
        }
        ("int".to_owned(), format!("{least} to {greatest}"))
    }

    /// The digits seen, and room for more before the point; none after it, where a digit more is another unit.
    fn decimal(&self) -> (String, String) {
        let precision = AMOUNT_PRECISION.max(self.whole_digits + self.after_point).min(38);
        let digits = if self.after_point == 1 { "digit" } else { "digits" };
        let note = format!(
            "at most {} {digits} after the point; a record with more is invalid, \"float\" takes any",
            self.after_point
        );
        (format!("decimal({precision}, {})", self.after_point), note)
    }
}

impl Texts {
    fn take(&mut self, text: String) {
        self.count += 1;
        let with_offset = chrono::DateTime::parse_from_rfc3339(&text).is_ok();
        let naive = text.replacen(' ', "T", 1).parse::<chrono::NaiveDateTime>().is_ok();
        self.times += u64::from(with_offset);
        self.naive_times += u64::from(naive && !with_offset);
        self.dates += u64::from(text.len() == 10 && text.parse::<chrono::NaiveDate>().is_ok());
        if is_amount(&text) {
            self.amounts.take(&text);
        }
        if self.example.is_empty() {
            self.example = shown(&text);
        }
        if self.values.len() < DISTINCT {
            self.values.insert(text);
        }
    }

    fn kind(&self) -> (String, String) {
        let like = format!("such as {}", self.example);
        if self.times == self.count {
            ("timestamp".to_owned(), like)
        } else if self.dates == self.count {
            ("date".to_owned(), like)
        } else if self.naive_times == self.count {
            ("text".to_owned(), format!("{like}: a time without its offset from UTC is no point in time"))
        } else if self.amounts.count == self.count && self.amounts.after_point <= AMOUNT_SCALE {
            self.amounts.decimal()
        } else {
            ("text".to_owned(), like)
        }
    }
}

/// Whether a text is a number with a point, as amounts are sent. Digits alone may be a name.
fn is_amount(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let all = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits.split_once('.').is_some_and(|(whole, after)| all(whole) && all(after) && digits.len() < 39)
}

/// Whether a member's name says that it holds a time.
fn sounds_like_time(name: &str) -> bool {
    let words = snake(name);
    words.split('_').any(|word| {
        matches!(
            word,
            "at" | "ts" | "time" | "timestamp" | "date" | "datetime" | "epoch" | "when" | "created" | "updated"
        ) || word.ends_with("time")
            || word.ends_with("timestamp")
    })
}

/// A name in small letters, its words apart.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut before = false;
    for c in name.chars() {
        if c.is_uppercase() && before {
            out.push('_');
        }
        before = c.is_lowercase() || c.is_ascii_digit();
        out.extend(if c.is_alphanumeric() { c.to_lowercase().next() } else { Some('_') });
    }
    out
}

/// A value as a comment can show it: short, on one line.
fn shown(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '·' } else { c }).take(41).collect();
    if text.chars().count() > 40 {
        format!("\"{}…\"", text.chars().take(40).collect::<String>())
    } else {
        format!("\"{text}\"")
    }
}
