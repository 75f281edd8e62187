//! The sections, one after the other, and what must hold between them.

use toml::de::{DeTable, DeValue};

use super::keys::KEYS;
use super::{PollFile, Schedule, Secrets, fields, history, kafka, request};
use crate::config::ConfigError;
use crate::config::read::{checked_name, needed};
use crate::config::reader::{Env, Reader, Section, document};
use crate::time::text::describe;
use crate::time::window::LONGEST;

const SECOND: i64 = 1_000_000;
/// The longest watchlist.
const SYMBOLS: usize = 10_000;
/// The longest symbol in bytes.
const SYMBOL: usize = 100;

/// A poll file out of its text.
pub(super) fn poll_file(text: &str, file: &str, env: Env<'_>) -> Result<PollFile, ConfigError> {
    let mut reader = Reader::new(file, text, env, KEYS);
    let (document, errors) = document(text, file)?;
    let whole = reader.parse(&document, &errors);
    let found = if whole { read(&mut reader, &document) } else { None };
    match (reader.error(), found) {
        (None, Some(found)) => Ok(found),
        (Some(error), _) => Err(error),
        (None, None) => Err(ConfigError(format!("{file}: cannot be used, and the reason is not known"))),
    }
}

fn read(reader: &mut Reader<'_>, document: &serde_spanned::Spanned<DeTable<'_>>) -> Option<PollFile> {
    let mut secrets = Secrets::default();
    let root = reader.root(document);
    let name = reader.required(&root, "name").and_then(|text| checked_name(reader, text));
    let symbols = read_symbols(reader, &root);
    let section = needed(reader, &root, "request", "request");
    let request = request::read(reader, &section, &mut secrets);
    let section = reader.section(&root, "schedule", "schedule");
    let schedule = read_schedule(reader, &section);
    let section = needed(reader, &root, "fields", "fields");
    let fields = fields::read(reader, &section);
    let section = needed(reader, &root, "kafka", "kafka");
    let kafka = kafka::read(reader, &section, &fields, &mut secrets);
    let section = reader.section(&root, "history", "history");
    let history = if section.is_there() { Some(history::read(reader, &section, &mut secrets)) } else { None };
    if let (Some(symbols), Some(request), Some(schedule)) = (&symbols, &request, &schedule) {
        let pauses = request.pause.saturating_mul(i64::try_from(symbols.len()).unwrap_or(i64::MAX) - 1);
        if pauses >= schedule.budget {
            let wrong = format!(
                "the pauses between {} symbols take {}, and a round may take {}",
                symbols.len(),
                describe(pauses),
                describe(schedule.budget)
            );
            let at = root.place_of("symbols").unwrap_or_else(|| root.at());
            reader.problem(&at, wrong, "take a longer interval, a shorter pause or fewer symbols");
        }
    }
    Some(PollFile {
        name: name?,
        symbols: symbols?,
        request: request?,
        schedule: schedule?,
        fields: fields?,
        kafka: kafka?,
        history: match history {
            Some(history) => Some(history?),
            None => None,
        },
        secrets,
    })
}

fn read_symbols(reader: &mut Reader<'_>, root: &Section<'_>) -> Option<Vec<String>> {
    const LIKE: &str = "write symbols = [\"PETR4\", \"VALE3\"]";
    let Some((_, at, value)) = root.members().into_iter().find(|(name, ..)| *name == "symbols") else {
        reader.problem(&root.at(), "symbols is missing", LIKE);
        return None;
    };
    let DeValue::Array(members) = value else {
        reader.problem(&at, "symbols must be a list", LIKE);
        return None;
    };
    let mut symbols: Vec<String> = Vec::new();
    let mut sound = true;
    for member in members {
        let at = member.span();
        let Some(raw) = member.get_ref().as_str() else {
            reader.problem(&at, "a symbol must be text", LIKE);
            sound = false;
            continue;
        };
        let Some(text) = reader.expand("symbols", &at, raw) else {
            sound = false;
            continue;
        };
        let symbol = text.value;
        if symbol.is_empty() || symbol.len() > SYMBOL || symbol.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let wrong = format!("\"{}\" is no symbol", raw.escape_debug());
            reader.problem(&at, wrong, format!("write 1 to {SYMBOL} letters without spaces"));
            sound = false;
        } else if symbols.contains(&symbol) {
            reader.problem(&at, format!("symbol \"{}\" is given twice", raw.escape_debug()), "keep one of them");
            sound = false;
        } else {
            symbols.push(symbol);
        }
    }
    if sound && (symbols.is_empty() || symbols.len() > SYMBOLS) {
        reader.problem(&at, format!("there are {} symbols", symbols.len()), format!("write 1 to {SYMBOLS}"));
        return None;
    }
    sound.then_some(symbols)
}

fn read_schedule(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Schedule> {
    let interval = reader.duration(section, "interval", 1800 * SECOND, SECOND..=LONGEST);
    let longest = interval.unwrap_or(LONGEST);
    let budget = reader.duration(section, "budget", longest, SECOND..=longest);
    Some(Schedule { interval: interval?, budget: budget? })
}
