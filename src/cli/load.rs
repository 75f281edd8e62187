//! `windrow load`: a sink's published windows in a PostgreSQL table, exactly once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use tokio::signal::unix::{SignalKind, signal};

use super::SinkArgs;
use super::terminal::{Terminal, grouped};
use crate::clock::Clock;
use crate::error::Error;
use crate::load::target::Target;
use crate::load::{Loaded, Loader, Options};
use crate::log::entry::Sequence;
use crate::log::store::read;
use crate::record::Timestamp;
use crate::sink::store::Store;
use crate::time::text;

/// Microseconds between two progress lines where there is no terminal.
const LINE_EVERY: i64 = 10_000_000;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Load {
    #[command(flatten)]
    sink: SinkArgs,
    /// The database, as postgres://USER@HOST:5432/DATABASE; the password is best given in PGPASSWORD
    #[arg(long, value_name = "ADDRESS")]
    into: Address,
    /// The table, NAME or SCHEMA.NAME [default: the pipeline's name]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    table: Option<String>,
    /// Make the table if it is missing
    #[arg(long)]
    create: bool,
    /// Go on with what is published later, until stopped
    #[arg(long)]
    follow: bool,
    /// With --follow, the pause between two looks for more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = pause)]
    poll: Duration,
}

/// An address that may hold a password, so that it is never shown.
#[derive(Clone)]
struct Address(String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address")
    }
}

impl FromStr for Address {
    type Err = std::convert::Infallible;

    /// Takes anything: an error here would be shown together with the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    let micros = text::duration(text).map_err(|error| error.to_string())?;
    let pause = Duration::from_micros(micros.unsigned_abs());
    if pause < Duration::from_millis(100) { Err("write at least 100ms".to_owned()) } else { Ok(pause) }
}

impl Load {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        if self.sink.sink.starts_with("postgres") {
            return Err(Error::Usage("first the sink, then --into with the database's address".to_owned()));
        }
        let target = Target::parse(&self.into.0, std::env::var("PGPASSWORD").ok());
        let target =
            target.map_err(|error| Error::Usage(format!("--into: {error}, with the password in PGPASSWORD")))?;
        // Without --follow, a sink that is not there is an error at once.
        let there = if self.follow { None } else { Some(self.sink.open()?) };
        let clock = Clock::system();
        let options = Options { table: self.table, create: self.create, patient: self.follow };
        let mut progress = Progress::new(terminal, clock);
        let work = async {
            let store = match there {
                Some(store) => store,
                None => first_commit(&self.sink, self.poll, clock).await?,
            };
            let mut loader = Loader::open(store, target, options, clock).await?;
            loop {
                match loader.next().await? {
                    Some(loaded) => progress.loaded(&loader, &loaded),
                    None if self.follow => {
                        progress.caught_up(&loader);
                        clock.sleep(self.poll).await;
                    }
                    None => return Ok::<_, Error>(loader),
                }
            }
        };
        if !self.follow {
            let loader = work.await;
            terminal.clear();
            println!("{}", progress.total(&loader?));
            return Ok(());
        }
        let cannot = |error| Error::Usage(format!("cannot listen for signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        // What is under way when the signal comes is rolled back with its connection.
        let outcome = tokio::select! {
            biased;
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            ended = work => ended.map(|_| ()),
        };
        terminal.clear();
        if outcome.is_ok() {
            tracing::info!(
                entries = progress.entries,
                windows = progress.windows,
                rows = progress.rows,
                "stopped in good order"
            );
        }
        outcome
    }
}

/// The sink, once it has a log: whoever starts the loader and the pipeline together need not mind the order.
async fn first_commit(sink: &SinkArgs, poll: Duration, clock: Clock) -> Result<Store, Error> {
    let mut told = false;
    loop {
        if !sink.lacks_folder() {
            let store = sink.open()?;
            if read(&store, Sequence::FIRST).await?.is_some() {
                return Ok(store);
            }
        }
        if !told {
            told = true;
            tracing::warn!("sink {}: there is no log yet; waiting for the pipeline's first commit", sink.sink);
        }
        clock.sleep(poll).await;
    }
}

/// What has been loaded so far, shown.
struct Progress<'a> {
    terminal: &'a Terminal,
    clock: Clock,
    began: Timestamp,
    said: Timestamp,
    /// Whether everything was in the table once: then each entry is news.
    caught_up: bool,
    entries: u64,
    windows: u64,
    corrected: u64,
    rows: u64,
}

impl<'a> Progress<'a> {
    fn new(terminal: &'a Terminal, clock: Clock) -> Self {
        let now = clock.now();
        let (entries, windows, corrected, rows) = (0, 0, 0, 0);
        Self { terminal, clock, began: now, said: now, caught_up: false, entries, windows, corrected, rows }
    }

    fn loaded(&mut self, loader: &Loader, loaded: &Loaded) {
        self.entries += 1;
        self.windows += loaded.windows;
        self.corrected += loaded.corrected;
        self.rows += loaded.rows;
        let Loaded { sequence, windows, rows, corrected } = *loaded;
        if self.caught_up {
            tracing::info!(sequence, windows, corrected, rows, "loaded");
            return;
        }
        let (done, newest) = loader.position();
        self.terminal
            .bar(newest, &format!("{} rows, {}/s, entry", grouped(self.rows), grouped(self.rate())))
            .set_position(done);
        if self.clock.now().0 - self.said.0 >= LINE_EVERY {
            self.said = self.clock.now();
            tracing::info!(
                entry = done,
                of = newest,
                windows = self.windows,
                rows = self.rows,
                per_second = self.rate(),
                "loading"
            );
        }
    }

    fn rate(&self) -> u64 {
        let micros = self.clock.now().0.saturating_sub(self.began.0).max(1).unsigned_abs();
        u64::try_from(u128::from(self.rows) * 1_000_000 / u128::from(micros)).unwrap_or(u64::MAX)
    }

    fn caught_up(&mut self, loader: &Loader) {
        if !self.caught_up {
            self.caught_up = true;
            self.terminal.clear();
            tracing::info!("{}; following", self.total(loader));
        }
    }

    fn total(&self, loader: &Loader) -> String {
        let (done, _) = loader.position();
        let table = loader.table();
        if self.entries == 0 {
            return format!("nothing new: {table} holds everything up to entry {done}");
        }
        let corrected = if self.corrected > 0 {
            format!(", {} of them corrections", grouped(self.corrected))
        } else {
            String::new()
        };
        format!(
            "{} feed entries, {} windows{corrected}, {} rows ({}/s): {table} holds everything up to entry {done}",
            grouped(self.entries),
            grouped(self.windows),
            grouped(self.rows),
            grouped(self.rate())
        )
    }
}
