//! Published windows applied to a PostgreSQL table, exactly once.
//!
//! One transaction for each feed entry: it locks the table's first ledger row, sees there whether the entry is applied
//! already, deletes the windows that it corrects, copies its rows in, and writes the entry's own ledger row. Killed
//! anywhere, the database holds all of that or nothing. What comes next is told by the commit log, whose numbers have
//! no gaps, so no entry is passed over because it was published late.
//!
//! The parts: [`target`] is the server, `schema` how a file's columns become a table's, `table` what the table is
//! like, `ledger` what it holds, `feed` what comes next, `copy` a file's rows on their way, `apply` the
//! transaction, and here is what joins them and goes on when the server has been away.

mod apply;
mod copy;
mod feed;
mod ledger;
mod numeric;
mod schema;
mod session;
mod table;
pub mod target;
mod tls;
mod trouble;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::log::LogError;
use crate::log::entry::Sequence;
use crate::log::store::{newest, read};
use crate::sink::store::Store;
use session::Session;
use target::Target;
use trouble::Trouble;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Attempts at one entry before a load that does not follow gives up.
const ATTEMPTS: u32 = 5;

/// What to load where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The table, `name` or `schema.name`; the pipeline's name if there is none.
    pub table: Option<String>,
    /// Whether to make the table if it is missing.
    pub create: bool,
    /// Whether a server that is away is waited for without end.
    pub patient: bool,
}

/// What one feed entry brought.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The entry's number.
    pub sequence: u64,
    /// Windows with a result in it.
    pub windows: u64,
    /// Rows of them.
    pub rows: u64,
    /// Of the windows, those that were there and are now replaced.
    pub corrected: u64,
}

/// Where a sink's results come from, as the ledger names it.
#[derive(Clone, Debug)]
struct Origin {
    pipeline: String,
    /// The sink as people write it.
    sink: String,
    /// Digest of the log's first entry: the same wherever the sink is moved, another for every other log.
    log: String,
    /// The newest entry when the load began.
    newest: u64,
}

/// A sink on its way into a table.
#[derive(Debug)]
pub struct Loader {
    store: Store,
    target: Target,
    options: Options,
    origin: Origin,
    clock: Clock,
    session: Option<Session>,
    /// Whether the table was seen to lack rows that the ledger counts, which is said once.
    warned: bool,
}

impl Loader {
    /// Reads who fills the sink, and opens the table.
    ///
    /// # Errors
    /// If the sink has no log, the server does not answer, or the table belongs to another sink.
    pub async fn open(store: Store, target: Target, options: Options, clock: Clock) -> Result<Self, Error> {
        let no_log = || LogError::Invalid(format!("sink {store}: there is no log; has a pipeline run here?"));
        let first = read(&store, Sequence::FIRST).await?.ok_or_else(no_log)?;
        let newest = newest(&store).await?.ok_or_else(no_log)?;
        let origin = Origin {
            pipeline: newest.entry.pipeline,
            sink: store.to_string(),
            log: first.digest,
            newest: newest.entry.sequence.0,
        };
        let mut loader = Self { store, target, options, origin, clock, session: None, warned: false };
        loader.persist(async |loader| loader.session().await.map(|_| ())).await?;
        Ok(loader)
    }

    /// Applies the next feed entry that is not in the table yet; `None` if the sink has none. Another loader may be at
    /// work on the same table: what it applied is passed over.
    ///
    /// # Errors
    /// Whatever keeps the entry from being applied as a whole; then nothing of it is.
    pub async fn next(&mut self) -> Result<Option<Loaded>, Error> {
        self.persist(Self::attempt).await
    }

    /// The table as people write it.
    #[must_use]
    pub fn table(&self) -> String {
        self.session.as_ref().map_or_else(String::new, |session| session.table.to_string())
    }

    /// The number of the last log entry that is in the table or brings it nothing, and of the newest one known.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        let done = self.session.as_ref().map_or(0, |session| session.walk.done());
        (done, self.origin.newest.max(done))
    }

    async fn attempt(&mut self) -> Result<Option<Loaded>, Trouble> {
        let store = self.store.clone();
        let origin = self.origin.clone();
        let create = self.options.create;
        loop {
            let session = self.session().await?;
            let Some(due) = session.walk.next(&store).await? else { return Ok(None) };
            match session.apply(&store, &origin, create, &due).await? {
                apply::Applied::Now(loaded) => {
                    session.walk.applied();
                    return Ok(Some(loaded));
                }
                apply::Applied::Elsewhere { lost: true } => self.session = None,
                apply::Applied::Elsewhere { lost: false } => {}
            }
        }
    }

    /// The connection, made anew if it is gone, standing where the ledger says.
    async fn session(&mut self) -> Result<&mut Session, Trouble> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let session = Session::open(&self.target, &self.options, &self.origin, &self.clock).await?;
                self.check_rows(&session).await?;
                session
            }
        };
        Ok(self.session.insert(session))
    }

    /// A table that was emptied stays empty without a word, if nobody says it.
    async fn check_rows(&mut self, session: &Session) -> Result<(), Trouble> {
        if !self.warned
            && let Some(text) = session.lacks_rows().await?
        {
            self.warned = true;
            tracing::warn!("{text}");
        }
        Ok(())
    }

    /// Tries until it is done or cannot be, with growing pauses while the server is away.
    async fn persist<T>(&mut self, work: impl AsyncFn(&mut Self) -> Result<T, Trouble>) -> Result<T, Error> {
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            let text = match work(self).await {
                Ok(done) => {
                    if attempts > 0 {
                        tracing::info!("{} answers again", self.target);
                    }
                    return Ok(done);
                }
                Err(Trouble::Stop(error)) => return Err(error),
                Err(Trouble::Away(text)) => text,
            };
            // What was under way is rolled back with its connection; the ledger tells whether a commit was done.
            self.session = None;
            attempts += 1;
            if !self.options.patient && attempts >= ATTEMPTS {
                let text = format!("{text}; nothing is half applied: start again when the server is there");
                return Err(LoadError::Unavailable(text).into());
            }
            if attempts == 1 {
                tracing::warn!("{text}; trying again");
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Why results cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The command, the table or the rights have to be changed.
    #[error("{0}")]
    Invalid(String),
    /// The data is not what it must be.
    #[error("{0}")]
    Data(String),
    /// The server is away.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of this program.
    #[error("{0}")]
    Internal(String),
}

impl LoadError {
    /// What the operator does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) => Kind::Invalid,
            Self::Data(_) => Kind::Data,
            Self::Unavailable(_) => Kind::Unavailable,
            Self::Internal(_) => Kind::Internal,
        }
    }
}
