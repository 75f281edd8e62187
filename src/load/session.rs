//! A connection with a table that is this log's, and the place in the feed where it stands.

use tokio_postgres::{Client, IsolationLevel};

use super::copy::Plan;
use super::feed::Walk;
use super::ledger::{self, Standing};
use super::table::{TableName, Work};
use super::target::Target;
use super::trouble::Trouble;
use super::{LoadError, Options, Origin};
use crate::clock::Clock;

/// One connection's work on one table.
pub(super) struct Session {
    client: Client,
    pub(super) target: Target,
    pub(super) table: TableName,
    pub(super) standing: Standing,
    pub(super) walk: Walk,
    /// How files become rows of the table, once a file was seen.
    pub(super) plan: Option<Plan>,
    pub(super) clock: Clock,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("table", &self.table).field("standing", &self.standing).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, and sees what the table holds already.
    pub(super) async fn open(
        target: &Target,
        options: &Options,
        origin: &Origin,
        clock: &Clock,
    ) -> Result<Self, Trouble> {
        let (schema, name) = match &options.table {
            None => (None, origin.pipeline.as_str()),
            Some(table) => table.split_once('.').map_or((None, table.as_str()), |(schema, name)| (Some(schema), name)),
        };
        let mut client = target.connect().await?;
        let work = begin(&mut client, target).await?;
        let table = work.resolve(schema, name).await?;
        work.make_ledger(&table).await?;
        // The lock comes before the look at the table: whoever makes one holds it.
        let mut standing = work.claim(&table, origin, clock).await?;
        if !work.exists(&table).await? {
            if !options.create {
                let text = format!("{target}: there is no table {table}; with --create it is made");
                return Err(LoadError::Invalid(text).into());
            }
            if standing.rows > 0 {
                tracing::warn!("table {table} was dropped after it had been loaded; loading it from the beginning");
                work.forget(&table).await?;
                standing = Standing::default();
            }
        }
        if standing.last > origin.newest {
            let text = format!(
                "{target}: table {table} holds entry {}, but the log of {} ends at {}; was the sink set back to an older copy?",
                standing.last, origin.sink, origin.newest
            );
            return Err(LoadError::Data(text).into());
        }
        work.commit().await?;
        let walk = Walk::after(standing.last, origin.newest);
        Ok(Self { client, target: target.clone(), table, standing, walk, plan: None, clock: *clock })
    }

    /// A new transaction. What an error leaves of it is rolled back.
    pub(super) async fn begin(&mut self) -> Result<Work<'_>, Trouble> {
        begin(&mut self.client, &self.target).await
    }

    /// What to say if the ledger counts rows and the table has none.
    pub(super) async fn lacks_rows(&self) -> Result<Option<String>, Trouble> {
        if self.standing.rows == 0 {
            return Ok(None);
        }
        let any = format!("SELECT EXISTS (SELECT 1 FROM {})", self.table.sql());
        let any = self.client.query_typed(&any, &[]).await;
        let any = any.map_err(|error| self.target.trouble(&format!("read table {}", self.table), &error))?;
        let empty = any.first().is_some_and(|row| !row.get::<_, bool>(0));
        Ok(empty.then(|| {
            format!(
                "table {} is empty, though {} rows were loaded into it; going on after entry {}; to load all of it again \
                 run {}",
                self.table,
                self.standing.rows,
                self.standing.last,
                ledger::forget(&self.table, false)
            )
        }))
    }
}

async fn begin<'a>(client: &'a mut Client, target: &'a Target) -> Result<Work<'a>, Trouble> {
    let builder = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).read_only(false);
    let transaction = builder.start().await.map_err(|error| target.trouble("begin", &error))?;
    Ok(Work { target, transaction })
}
