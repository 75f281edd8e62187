//! The hunt for an input that breaks something.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::bound;
use crate::mutate::mutate;

/// Mutated inputs, if no time is given, for what reads thousands a second.
pub const MANY: u64 = 20_000;
/// And for what reads hundreds.
pub const FEW: u64 = 1000;

/// Something that reads what others wrote.
pub struct Target<'a> {
    pub name: &'static str,
    /// Real inputs.
    pub seeds: Vec<Vec<u8>>,
    /// Words that matter in them.
    pub words: Vec<&'a str>,
    /// How many mutated inputs are fed if no time is given: a few seconds' worth.
    pub inputs: u64,
    /// Feeds it an input. What came of it, in words; the same words for the same way through the code, if possible.
    ///
    /// # Panics
    /// If something is broken.
    pub feed: &'a dyn Fn(&[u8]) -> String,
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn elapsed_since(began: &mut Option<Instant>) -> Duration {
    #[expect(clippy::disallowed_methods, reason = "how long to go on, not what happens")]
    began.get_or_insert_with(Instant::now).elapsed()
}

/// What the last panic said, in whatever thread.
static SAID: Mutex<Option<String>> = Mutex::new(None);

/// Feeds real inputs, then mutated ones, as many as asked for or until the time is up.
pub fn hunt(target: &Target<'_>) {
    let _alone = bound::alone();
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|info| *SAID.lock().unwrap() = Some(info.to_string())));
    let broken = go(target);
    panic::set_hook(loud);
    if let Some(text) = broken {
        panic!("{text}");
    }
}

fn go(target: &Target<'_>) -> Option<String> {
    // Without a time, a run feeds the same inputs everywhere: what it finds does not hang on how fast a machine is.
    let span = asked("WINDROW_FUZZ_SECONDS").map(Duration::from_secs);
    let mut chance = ChaCha8Rng::seed_from_u64(asked("WINDROW_FUZZ_SEED").unwrap_or(1));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name.replace(' ', "-"));
    let mut files: Vec<_> = std::fs::read_dir(kept).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    let first = files.iter().map(|file| std::fs::read(file).unwrap()).chain(target.seeds.iter().cloned());
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    let mut outcomes = BTreeSet::new();
    let (mut fed, mut most, mut began) = (0_u64, 0, None);
    for input in first {
        match feed(target, &input) {
            Ok((outcome, bytes)) => {
                outcomes.insert(outcome);
                most = most.max(bytes);
            }
            Err(how) => return Some(tell(target, input, &how)),
        }
        inputs.push(input);
        fed += 1;
    }
    assert!(!inputs.is_empty(), "{}: nothing to begin with", target.name);
    let fixed = fed + target.inputs;
    elapsed_since(&mut began);
    while span.map_or(fed < fixed, |span| elapsed_since(&mut began) < span) {
        let (of, other) = (inputs.choose(&mut chance)?, inputs.choose(&mut chance)?);
        let input = mutate(of, other, &target.words, &mut chance);
        match feed(target, &input) {
            Ok((outcome, bytes)) => {
                most = most.max(bytes);
                // Without an end to the words that come of it, there is one to how many inputs are gone on from.
                if outcomes.insert(outcome) && inputs.len() < 5000 {
                    inputs.push(input);
                }
            }
            Err(how) => return Some(tell(target, input, &how)),
        }
        fed += 1;
    }
    println!(
        "{}: {fed} inputs, {:.0} a second; {} led further; {:.1} MiB at most",
        target.name,
        fed as f64 / elapsed_since(&mut began).as_secs_f64(),
        inputs.len(),
        most as f64 / f64::from(1 << 20)
    );
    None
}

/// What came of it and the memory it took, or how it broke.
fn feed(target: &Target<'_>, input: &[u8]) -> Result<(String, i64), String> {
    SAID.lock().unwrap().take();
    bound::begin(target.name, input);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.feed)(input)));
    let most = bound::done();
    let said = SAID.lock().unwrap().take();
    match (outcome, said) {
        (Ok(outcome), None) => Ok((plain(&outcome), most)),
        // Also in a thread that nobody waits for, and one that is caught: the program ends with any panic.
        (_, said) => Err(said.unwrap_or_default()),
    }
}

/// Numbers and what is quoted make no new outcome.
fn plain(outcome: &str) -> String {
    let mut plain: String = outcome.chars().filter(|c| c.is_ascii_alphabetic() || *c == ' ').collect();
    plain.truncate(120);
    plain
}

fn tell(target: &Target<'_>, input: Vec<u8>, how: &str) -> String {
    let small = shrink(target, input);
    let file = bound::keep(target.name, &small);
    let text = String::from_utf8_lossy(&small[..small.len().min(300)]).escape_debug().to_string();
    format!("{}: {} bytes break it: {how}\n  {text}\n  kept as {}", target.name, small.len(), file.display())
}

/// As little of the input as still breaks it.
fn shrink(target: &Target<'_>, mut input: Vec<u8>) -> Vec<u8> {
    let mut began = None;
    let mut size = input.len().div_ceil(2);
    while size > 0 && elapsed_since(&mut began) < Duration::from_secs(20) {
        let mut from = 0;
        while from < input.len() {
            let mut shorter = input.clone();
            shorter.drain(from..(from + size).min(input.len()));
            if feed(target, &shorter).is_err() { input = shorter } else { from += size }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    input
}
