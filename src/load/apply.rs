//! One feed entry in one transaction: all of it, or nothing.

use bytes::Bytes;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::copy::{Broken, Cell, Plan, Whole, send};
use super::feed::{Due, Walk};
use super::ledger::{Locked, Standing};
use super::session::Session;
use super::table::{TableName, Work};
use super::trouble::Trouble;
use super::{LoadError, Loaded, Origin};
use crate::log::publish::FeedFile;
use crate::sink::store::Store;

/// What became of an entry.
pub(super) enum Applied {
    /// It is in the table, by this transaction.
    Now(Loaded),
    /// Somebody else has applied it, and the session stands after that; or the session has lost the table.
    Elsewhere { lost: bool },
}

impl Session {
    /// Applies an entry that follows those the ledger has.
    pub(super) async fn apply(
        &mut self,
        store: &Store,
        origin: &Origin,
        create: bool,
        due: &Due,
    ) -> Result<Applied, Trouble> {
        let (table, clock, expected) = (self.table.clone(), self.clock, self.standing);
        let mut plan = self.plan.take();
        let work = self.begin().await?;
        let standing = match work.lock(&table, origin, &clock).await? {
            Locked::Ours(standing) => standing,
            Locked::Lost => return Ok(Applied::Elsewhere { lost: true }),
        };
        if standing.last != expected.last {
            drop(work);
            self.move_to(standing, origin);
            return Ok(Applied::Elsewhere { lost: false });
        }
        let rows = due.files.iter().map(|file| file.rows).sum();
        let corrected = due.corrected.len() as u64;
        let loaded = Loaded { sequence: due.sequence, windows: due.windows, rows, corrected };
        let exists = work.exists(&table).await?;
        if !exists && standing.rows > 0 {
            return Ok(Applied::Elsewhere { lost: true });
        }
        if exists {
            work.delete_corrected(&table, due).await?;
        }
        work.copy(store, &table, create && !exists, due, &mut plan).await?;
        work.record(&table, origin, &loaded).await?;
        work.commit().await?;
        self.plan = plan;
        self.standing = Standing { last: loaded.sequence, rows: standing.rows + loaded.rows };
        Ok(Applied::Now(loaded))
    }

    /// Goes on where somebody else has brought the table.
    fn move_to(&mut self, standing: Standing, origin: &Origin) {
        self.standing = standing;
        self.walk = Walk::after(standing.last, origin.newest);
        self.plan = None;
    }
}

impl Work<'_> {
    /// A correction is the whole window again.
    async fn delete_corrected(&self, table: &TableName, due: &Due) -> Result<(), Trouble> {
        let delete = format!("DELETE FROM {} WHERE \"window_start\" = $1", table.sql());
        for start in &due.corrected {
            let deleted =
                self.transaction.execute_typed(&delete, &[(&Cell::Timestamp(start.0), Type::TIMESTAMPTZ)]).await;
            deleted.map_err(self.trouble(&format!("delete window {start} from {table}, to replace it")))?;
        }
        Ok(())
    }

    async fn copy(
        &self,
        store: &Store,
        table: &TableName,
        create: bool,
        due: &Due,
        plan: &mut Option<Plan>,
    ) -> Result<(), Trouble> {
        let Some((first, rest)) = due.files.split_first() else { return Ok(()) };
        let first = fetch(store, due, first).await?;
        if plan.as_ref().is_none_or(|plan| !plan.is_for(first.schema())) {
            *plan = Some(self.plan(table, create, &first).await?);
        }
        let Some(plan) = plan.as_ref() else { return Ok(()) };
        let doing = format!("copy into {table}");
        let sink = self.transaction.copy_in(plan.statement()).await.map_err(self.trouble(&doing))?;
        let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, plan.types()));
        let mut sent = send(plan, first, writer.as_mut()).await;
        for file in rest {
            if sent.is_err() {
                break;
            }
            let file = fetch(store, due, file).await?;
            if !plan.is_for(file.schema()) {
                let text = format!("entry {}: its files have different columns", due.sequence);
                return Err(LoadError::Data(text).into());
            }
            sent = send(plan, file, writer.as_mut()).await;
        }
        sent.map_err(|broken| match broken {
            Broken::Server(error) => self.target.trouble(&doing, &error),
            Broken::File(error) => error.into(),
        })?;
        let inserted = writer.finish().await.map_err(self.trouble(&doing))?;
        let expected: u64 = due.files.iter().map(|file| file.rows).sum();
        if inserted != expected {
            let text = format!(
                "{}: {inserted} of {expected} rows of entry {} went into {table}; is there a trigger that drops some? \
                 Nothing of the entry is loaded",
                self.target, due.sequence
            );
            return Err(LoadError::Data(text).into());
        }
        Ok(())
    }

    /// How files like this one become rows, after the table was made if it had to be.
    async fn plan(&self, table: &TableName, create: bool, file: &Whole) -> Result<Plan, Trouble> {
        if create {
            self.create(table, &super::schema::columns(file.schema())?).await?;
            tracing::info!("made table {table}");
        }
        let theirs = self.describe(table).await?;
        if theirs.is_empty() {
            let text = format!("{}: table {table} is gone; start again with --create to load it anew", self.target);
            return Err(LoadError::Invalid(text).into());
        }
        Ok(Plan::new(table, file.schema().clone(), &theirs)?)
    }
}

/// The bytes of a file, checked.
async fn fetch(store: &Store, due: &Due, file: &FeedFile) -> Result<Whole, Trouble> {
    let bytes: Option<Bytes> = match due.bytes.get(&file.path) {
        Some(bytes) => Some(bytes.clone()),
        None => store.get(&file.path).await?,
    };
    let missing = || LoadError::Data(format!("sink {store}: {} is missing; look with windrow audit", file.path));
    Ok(Whole::open(file, bytes.ok_or_else(missing)?)?)
}
