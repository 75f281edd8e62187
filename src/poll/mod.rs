//! `windrow poll`: an HTTP API called on a schedule, each answer kept and published.
//!
//! [`schedule`] and [`answer`] are pure: when to call, and what becomes of an answer. `http` is one call, `history` the
//! store, [`crate::source::publish`] the topic, and here is the loop that joins them. Whatever is away fails symbols, or
//! a round of them, never the service.

pub mod answer;
mod history;
mod http;
pub mod schedule;

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::poll::PollFile;
use crate::error::Kind;
use crate::record::Timestamp;
use crate::source::SourceError;
use crate::source::publish::{Delivery, Publisher};
use answer::Quote;
use history::{Keeper, Place};
use http::{Call, Caller};
use schedule::{Called, Pace, Round, Rounds, Step};

/// The longest piece of a wait, so that the machine's sleep is noticed soon after it.
const NAP: i64 = 60_000_000;

/// Polls a watchlist.
#[derive(Debug)]
pub struct Poller {
    file: PollFile,
    caller: Caller,
    history: Option<Place>,
    clock: Clock,
    pace: Pace,
    rounds: u64,
}

/// How a round ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Symbols whose record is published and kept.
    pub succeeded: usize,
    /// Symbols whose record is not.
    pub failed: usize,
    /// Symbols that were not called for because the service was asked to stop.
    pub left: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} succeeded, {} failed", self.succeeded, self.failed)?;
        if self.left > 0 { write!(f, ", {} left when asked to stop", self.left) } else { Ok(()) }
    }
}

/// A symbol whose answer was good: what is still to be known of it.
struct Pending {
    symbol: usize,
    delivery: Result<Delivery, String>,
    kept: Result<(), String>,
}

impl Poller {
    /// A poller that has called for nothing yet.
    ///
    /// # Errors
    /// What of the file can be seen to be unusable without a call.
    pub fn new(file: PollFile, clock: Clock) -> Result<Self, PollError> {
        let caller = Caller::new(&file.request, &file.secrets)?;
        let history = Place::new(&file, clock)?;
        let pace = Pace::new(file.request.pause);
        let poller = Self { file, caller, history, clock, pace, rounds: 0 };
        drop(poller.publisher()?);
        Ok(poller)
    }

    /// What it does, in a line.
    #[must_use]
    pub fn describe(&self) -> String {
        let PollFile { symbols, kafka, .. } = &self.file;
        let kept = self.history.as_ref().map_or_else(String::new, |place| format!(", kept in {}", place.shown()));
        let text = format!("{} symbols into topic {} at {}{kept}", symbols.len(), kafka.topic, kafka.brokers);
        self.file.secrets.hide(&text)
    }

    /// Round after round, at once and then every interval, until `stop` says so. The round in hand ends after the
    /// symbol in hand.
    pub async fn run(&mut self, stop: &mut watch::Receiver<bool>) {
        let rounds = Rounds::new(self.clock.now(), self.file.schedule.interval);
        loop {
            self.round(stop).await;
            let next = rounds.after(self.clock.now());
            tracing::debug!("the next round begins at {next}");
            if !self.wait_until(next, stop).await {
                return;
            }
        }
    }

    /// One round over the watchlist.
    pub async fn round(&mut self, stop: &mut watch::Receiver<bool>) -> Report {
        self.rounds += 1;
        let begun = self.clock.now();
        let symbols = self.file.symbols.len();
        let deadline = begun.plus(self.file.schedule.budget);
        let mut round = Round::new(symbols, self.file.request.attempts, deadline, self.pace);
        // A new one each round: what went wrong with the last one's connections or sequence is over.
        let publisher = self.publisher();
        let mut keeper = self.history.as_ref().map(|place| place.open(Clock::system().now()));
        let mut pending = Vec::new();
        let mut failed = 0;
        let mut stopped = *stop.borrow();
        while !stopped {
            match round.next(self.clock.now()) {
                Step::Done => break,
                Step::Wait(until) => stopped = !self.wait_until(until, stop).await,
                Step::GiveUp(left) => {
                    failed += left.len();
                    self.give_up(&left);
                }
                Step::Call(turn) => {
                    let name = self.name(turn.symbol);
                    tracing::debug!(symbol = name, attempt = turn.attempt, "GET {}", self.caller.shown(name));
                    let call = self.caller.call(name).await;
                    let (called, outcome) = self.judge(call);
                    let again = round.answered(turn, called, self.clock.now());
                    match (outcome, again) {
                        (Ok(quote), _) => {
                            let (delivery, kept) = self.put(&publisher, keeper.as_mut(), &quote).await;
                            pending.push(Pending { symbol: turn.symbol, delivery, kept });
                        }
                        (Err(why), Some(at)) => {
                            let wait = at.0.saturating_sub(self.clock.now().0).max(0) / 100_000;
                            tracing::info!(symbol = name, "{why}; calling again in {}.{} s", wait / 10, wait % 10);
                        }
                        (Err(why), None) => {
                            failed += 1;
                            tracing::warn!(symbol = name, "{why}");
                        }
                    }
                    stopped |= *stop.borrow();
                }
            }
        }
        self.pace = round.pace();
        let finished = match keeper {
            Some(keeper) => keeper.finish().await,
            None => Ok(()),
        };
        let mut succeeded = 0;
        for one in pending {
            match self.settle(one, &finished).await {
                true => succeeded += 1,
                false => failed += 1,
            }
        }
        let report = Report { succeeded, failed, left: symbols - succeeded - failed };
        let seconds = (self.clock.now().0 - begun.0) / 1_000_000;
        if failed > 0 {
            tracing::warn!(round = self.rounds, seconds, "{report}");
        } else {
            tracing::info!(round = self.rounds, seconds, "{report}");
        }
        report
    }

    /// Calls once for the first symbol, and tells what its record would be. Nothing is published or kept.
    ///
    /// # Errors
    /// Why there is no record.
    pub async fn sample(&self) -> Result<String, PollError> {
        let name = self.name(0);
        let (_, outcome) = self.judge(self.caller.call(name).await);
        match outcome {
            Ok(quote) => Ok(quote.json()),
            Err(why) => Err(PollError::Failed(format!("{name}: {why}"))),
        }
    }

    /// How many partitions the topic has. Blocks for `patience` at most.
    ///
    /// # Errors
    /// If no broker tells, or there is no such topic.
    pub fn partitions(&self, patience: Duration) -> Result<usize, PollError> {
        Ok(self.publisher()?.partitions(&self.file.kafka.topic, patience)?)
    }

    fn publisher(&self) -> Result<Publisher, SourceError> {
        let kafka = &self.file.kafka;
        let timeout = Duration::from_micros(kafka.delivery_timeout.unsigned_abs());
        Publisher::connect(&kafka.brokers, &kafka.properties, timeout)
    }

    fn name(&self, symbol: usize) -> &str {
        self.file.symbols.get(symbol).map_or("", String::as_str)
    }

    /// What a call means for the round, and what for the symbol. No error text holds a secret.
    fn judge(&self, call: Call) -> (Called, Result<Quote, String>) {
        match call {
            Call::Failed { why, wish } => (Called::Failed { wish }, Err(why)),
            Call::Limited { why, wish } => (Called::Limited { wish }, Err(why)),
            Call::Refused(why) => (Called::Answered, Err(why)),
            Call::Answer(bytes) => {
                let read = Quote::read(&self.file.fields, &bytes).map_err(|_| self.unreadable(&bytes));
                (Called::Answered, read)
            }
        }
    }

    /// Why an answer is no record. Secrets that it repeats are taken out first: an excerpt could hold the half of one.
    fn unreadable(&self, bytes: &[u8]) -> String {
        let text = self.file.secrets.hide(&String::from_utf8_lossy(bytes));
        let why = Quote::read(&self.file.fields, text.as_bytes()).err();
        why.unwrap_or_else(|| "the answer is not UTF-8".to_owned())
    }

    /// Keeps a record and hands it to the topic; neither waits for the other's success.
    async fn put(
        &self,
        publisher: &Result<Publisher, SourceError>,
        keeper: Option<&mut Keeper>,
        quote: &Quote,
    ) -> (Result<Delivery, String>, Result<(), String>) {
        let kafka = &self.file.kafka;
        let delivery = match (publisher, quote.key(&kafka.key)) {
            (Ok(publisher), Some(key)) => publisher.publish(&kafka.topic, &key, quote.json().as_bytes()),
            (Err(error), _) => Err(error.to_string()),
            (_, None) => Err(format!("{} cannot be a key", kafka.key)),
        };
        let kept = match keeper {
            // The schedule must not jump with the system's clock; this is what others compare with theirs.
            Some(keeper) => keeper.keep(quote, Clock::system().now()).await,
            None => Ok(()),
        };
        (delivery, kept)
    }

    /// Waits for what is still to be known of a symbol, and tells whether all of it is good.
    async fn settle(&self, pending: Pending, finished: &Result<(), String>) -> bool {
        let name = self.name(pending.symbol);
        let delivered = match pending.delivery {
            Ok(delivery) => delivery.confirmed().await,
            Err(why) => Err(why),
        };
        if let Err(why) = &delivered {
            let why = self.file.secrets.hide(why);
            tracing::warn!(symbol = name, "not published to {}: {why}", self.file.kafka.topic);
        }
        let kept = pending.kept.and_then(|()| finished.clone());
        if let Err(why) = &kept {
            tracing::warn!(symbol = name, "not kept in the history: {}", self.file.secrets.hide(why));
        }
        delivered.is_ok() && kept.is_ok()
    }

    fn give_up(&self, left: &[usize]) {
        for &symbol in left {
            tracing::warn!(symbol = self.name(symbol), "not called for: the round's time would be over");
        }
    }

    /// Waits; false if it was asked to stop meanwhile.
    async fn wait_until(&self, until: Timestamp, stop: &mut watch::Receiver<bool>) -> bool {
        loop {
            let left = until.0.saturating_sub(self.clock.now().0);
            if *stop.borrow() {
                return false;
            }
            if left <= 0 {
                return true;
            }
            let nap = Duration::from_micros(left.min(NAP).unsigned_abs());
            tokio::select! {
                () = self.clock.sleep(nap) => {}
                // Where nobody can ask any more, it only sleeps.
                asked = stop.changed() => if asked.is_err() { self.clock.sleep(nap).await },
            }
        }
    }
}

/// Why a poll cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The poll file has to be changed.
    #[error("{0}")]
    Invalid(String),
    /// The topic.
    #[error(transparent)]
    Topic(#[from] SourceError),
    /// A symbol's record was not to be had, or not to be kept.
    #[error("{0}")]
    Failed(String),
}

impl PollError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Topic(error) => error.kind(),
            Self::Failed(_) => Kind::Data,
        }
    }
}
