//! What has been applied to a table: a row for each feed entry, written in the transaction that applies it.
//!
//! The row with sequence 0 says which log fills the table, and is locked by whoever applies an entry.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::table::{TableName, Work, quoted};
use super::trouble::Trouble;
use super::{LoadError, Loaded, Origin};
use crate::clock::Clock;

/// The ledger's name; it lies in the schema of the tables it speaks of.
const NAME: &str = "_windrow_loads";
/// The advisory lock under which ledgers are made: "windrow" as a number.
const MAKING: i64 = 0x0077_696e_6472_6f77;
/// How long to wait for the lock before saying so.
const SAY_AFTER: Duration = Duration::from_secs(5);

/// What a table's ledger says.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The last entry applied.
    pub(super) last: u64,
    /// Rows that all entries brought.
    pub(super) rows: u64,
}

/// What a try for the table's lock gave.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// The table is this log's, and stands here.
    Ours(Standing),
    /// The first row is gone, or another log's.
    Lost,
}

/// The ledger's name for use in a statement.
pub(super) fn sql(table: &TableName) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(NAME))
}

impl Work<'_> {
    /// Makes the ledger if it is missing.
    pub(super) async fn make_ledger(&self, table: &TableName) -> Result<(), Trouble> {
        let ledger = sql(table);
        let trouble = self.trouble(&format!("make {}.{NAME}", table.schema));
        let exists = "SELECT to_regclass($1) IS NOT NULL";
        let exists = self.transaction.query_typed_one(exists, &[(&ledger, Type::TEXT)]).await.map_err(&trouble)?;
        if exists.get(0) {
            return Ok(());
        }
        // Two that make it at the same moment would fail in the catalog.
        let statements = format!(
            "SELECT pg_advisory_xact_lock({MAKING}); \
             CREATE TABLE IF NOT EXISTS {ledger} (target text NOT NULL, sequence bigint NOT NULL, pipeline text NOT NULL, \
             sink text NOT NULL, log text NOT NULL, windows bigint NOT NULL, corrected bigint NOT NULL, rows bigint NOT \
             NULL, loaded_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (target, sequence))"
        );
        self.transaction.batch_execute(&statements).await.map_err(&trouble)
    }

    /// Takes the table for this log, or sees that it is already.
    ///
    /// # Errors
    /// [`LoadError::Invalid`] if another log fills it.
    pub(super) async fn claim(&self, table: &TableName, origin: &Origin, clock: &Clock) -> Result<Standing, Trouble> {
        let (ledger, name) = (sql(table), table.to_string());
        let insert = format!(
            "INSERT INTO {ledger} (target, sequence, pipeline, sink, log, windows, corrected, rows) \
             SELECT $1, 0, $2, $3, $4, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM {ledger} WHERE target = $1 AND sequence = 0) \
             ON CONFLICT DO NOTHING"
        );
        let text = Type::TEXT;
        let values = [
            (&name as &(dyn tokio_postgres::types::ToSql + Sync), text.clone()),
            (&origin.pipeline, text.clone()),
            (&origin.sink, text.clone()),
            (&origin.log, text.clone()),
        ];
        let trouble = self.trouble(&format!("claim table {table} in the ledger"));
        self.transaction.execute_typed(&insert, &values).await.map_err(&trouble)?;
        if let Locked::Ours(standing) = self.lock(table, origin, clock).await? {
            return Ok(standing);
        }
        let whose = format!("SELECT pipeline, sink FROM {ledger} WHERE target = $1 AND sequence = 0");
        let whose = self.transaction.query_typed_opt(&whose, &[(&name, text)]).await.map_err(&trouble)?;
        let Some(row) = whose else {
            return Err(Trouble::Away(format!("{}: the ledger's rows of {table} were deleted just now", self.target)));
        };
        let (pipeline, sink): (String, String) = (row.get(0), row.get(1));
        Err(LoadError::Invalid(format!(
            "{}: table {table} holds what pipeline \"{pipeline}\" published to {sink}, which is another log than that of {}; \
             load each into a table of its own. To begin anew with this one: {}",
            self.target,
            origin.sink,
            forget(table, true)
        ))
        .into())
    }

    /// Locks the table for the rest of the transaction, waiting for another loader if there is one.
    pub(super) async fn lock(&self, table: &TableName, origin: &Origin, clock: &Clock) -> Result<Locked, Trouble> {
        let (ledger, name) = (sql(table), table.to_string());
        let trouble = self.trouble(&format!("read the ledger of {table}"));
        let head = format!("SELECT log FROM {ledger} WHERE target = $1 AND sequence = 0 FOR UPDATE");
        let values = [(&name as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT)];
        let waiting = self.transaction.query_typed_opt(&head, &values);
        tokio::pin!(waiting);
        let head = tokio::select! {
            biased;
            head = &mut waiting => head,
            () = clock.sleep(SAY_AFTER) => {
                tracing::info!("waiting for another loader that is at work on {table}");
                waiting.await
            }
        };
        let head = head.map_err(&trouble)?;
        if head.is_none_or(|row| row.get::<_, String>(0) != origin.log) {
            return Ok(Locked::Lost);
        }
        // A statement of its own, so that it sees what the one waited for has committed.
        let standing = format!("SELECT max(sequence), sum(rows)::bigint FROM {ledger} WHERE target = $1");
        let row = self.transaction.query_typed_one(&standing, &values).await.map_err(&trouble)?;
        let number = |index: usize| row.get::<_, Option<i64>>(index).unwrap_or(0).unsigned_abs();
        Ok(Locked::Ours(Standing { last: number(0), rows: number(1) }))
    }

    /// Writes down that an entry is applied.
    pub(super) async fn record(&self, table: &TableName, origin: &Origin, loaded: &Loaded) -> Result<(), Trouble> {
        let insert = format!(
            "INSERT INTO {} (target, sequence, pipeline, sink, log, windows, corrected, rows) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            sql(table)
        );
        let name = table.to_string();
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let numbers = [loaded.sequence, loaded.windows, loaded.corrected, loaded.rows].map(number);
        let values = [
            (&name as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
            (&numbers[0], Type::INT8),
            (&origin.pipeline, Type::TEXT),
            (&origin.sink, Type::TEXT),
            (&origin.log, Type::TEXT),
            (&numbers[1], Type::INT8),
            (&numbers[2], Type::INT8),
            (&numbers[3], Type::INT8),
        ];
        let recorded = self.transaction.execute_typed(&insert, &values).await;
        recorded.map(|_| ()).map_err(self.trouble(&format!("write the ledger of {table}")))
    }

    /// Forgets what was applied to a table that is no longer there.
    pub(super) async fn forget(&self, table: &TableName) -> Result<(), Trouble> {
        let gone = self.transaction.batch_execute(&forget(table, false)).await;
        gone.map_err(self.trouble(&format!("clear the ledger of {table}")))
    }
}

/// The statement that has a table loaded from the beginning; with `head`, by any log.
pub(super) fn forget(table: &TableName, head: bool) -> String {
    let name = table.to_string().replace('\'', "''");
    let rest = if head { "" } else { " AND sequence > 0" };
    format!("DELETE FROM {} WHERE target = '{name}'{rest};", sql(table))
}
