//! A PostgreSQL table, made if it is missing: one row a record.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::{CREATED_AT, Keep, Lost};
use crate::config::poll::{Field, FieldType};
use crate::load::target::Target;
use crate::poll::PollError;
use crate::poll::answer::{Cell, Quote};
use crate::record::Timestamp;

/// How long the server may take for one statement.
const PATIENCE: Duration = Duration::from_secs(10);

/// The table and the statements for it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    target: Target,
    name: String,
    create: String,
    insert: String,
    /// What the record's members are, in its order.
    kinds: Vec<FieldType>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, table {}", self.target, self.name)
    }
}

impl Table {
    pub(super) fn new(url: &str, password: Option<String>, name: &str, fields: &[Field]) -> Result<Self, PollError> {
        let target = Target::parse(url, password);
        let target = target.map_err(|error| PollError::Invalid(format!("history.url: {error}")))?;
        let sql = match name.split_once('.') {
            Some((schema, name)) => format!("{}.{}", quoted(schema), quoted(name)),
            None => quoted(name),
        };
        let columns = fields.iter().map(|field| format!("{} {}", quoted(&field.name), column(field.kind).0));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let create = format!("CREATE TABLE IF NOT EXISTS {sql} ({columns}, {CREATED_AT} timestamptz NOT NULL)");
        let names = fields.iter().map(|field| quoted(&field.name)).collect::<Vec<_>>().join(", ");
        let values = fields.iter().enumerate().map(|(index, field)| match field.kind {
            FieldType::Json => format!("${}::text::jsonb", index + 1),
            _ => format!("${}", index + 1),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let last = fields.len() + 1;
        let insert = format!("INSERT INTO {sql} ({names}, {CREATED_AT}) VALUES ({values}, ${last})");
        Ok(Self {
            target,
            name: name.to_owned(),
            create,
            insert,
            kinds: fields.iter().map(|field| field.kind).collect(),
        })
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The column's type, and the one that values are sent as.
fn column(kind: FieldType) -> (&'static str, Type) {
    match kind {
        FieldType::Text => ("text", Type::TEXT),
        FieldType::Number => ("double precision", Type::FLOAT8),
        FieldType::Int | FieldType::Timestamp(_) => ("bigint", Type::INT8),
        FieldType::Bool => ("boolean", Type::BOOL),
        FieldType::Json => ("jsonb", Type::TEXT),
    }
}

/// A value in the form that is sent, which is the column's also where there is none.
fn value(kind: FieldType, cell: &Cell) -> Box<dyn ToSql + Sync + Send> {
    match kind {
        FieldType::Number => Box::new(if let Cell::Number(number) = cell { number.as_f64() } else { None }),
        FieldType::Int | FieldType::Timestamp(_) => {
            Box::new(if let Cell::Int(number) = cell { Some(*number) } else { None })
        }
        FieldType::Bool => Box::new(if let Cell::Bool(flag) = cell { Some(*flag) } else { None }),
        FieldType::Text | FieldType::Json => Box::new(match cell {
            Cell::Text(text) => Some(text.clone()),
            Cell::Json(json) => Some(json.to_string()),
            _ => None,
        }),
    }
}

/// The table during one round.
pub(super) struct Session {
    table: Table,
    client: Option<Client>,
}

impl Session {
    pub(super) fn new(table: Table) -> Self {
        Self { table, client: None }
    }

    /// The connection, made with the first record; the table is made then, too.
    async fn client(&mut self) -> Result<&Client, Lost> {
        let client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => {
                let target = &self.table.target;
                let client = target.client().await.map_err(Lost::Away)?;
                let made = client.batch_execute(&self.table.create).await;
                made.map_err(|error| Lost::Away(target.told("make the table", &error)))?;
                client
            }
        };
        Ok(self.client.insert(client))
    }

    async fn insert(&mut self, quote: &Quote, created_at: Timestamp) -> Result<(), Lost> {
        let (target, insert) = (self.table.target.clone(), self.table.insert.clone());
        let created_at = UNIX_EPOCH + Duration::from_micros(created_at.0.max(0).unsigned_abs());
        let kinds = self.table.kinds.clone();
        let cells = kinds.iter().zip(quote.cells());
        let values: Vec<_> = cells.map(|(kind, (_, cell))| (value(*kind, cell), column(*kind).1)).collect();
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|(value, kind)| (value.as_ref() as &(dyn ToSql + Sync), kind.clone())).collect();
        parameters.push((&created_at, Type::TIMESTAMPTZ));
        let client = self.client().await?;
        let inserted = client.execute_typed(&insert, &parameters).await;
        let refused = |error: tokio_postgres::Error| {
            let why = target.told("insert", &error);
            if error.as_db_error().is_some() { Lost::Refused(why) } else { Lost::Away(why) }
        };
        inserted.map(|_| ()).map_err(refused)
    }
}

#[async_trait]
impl Keep for Session {
    async fn keep(&mut self, quote: &Quote, created_at: Timestamp) -> Result<(), Lost> {
        match tokio::time::timeout(PATIENCE, self.insert(quote, created_at)).await {
            Ok(done) => done,
            Err(_) => {
                // What becomes of the statement is not known, nor what state the connection is in.
                self.client = None;
                let text = format!("{}: no answer in {} s", self.table.target, PATIENCE.as_secs());
                Err(Lost::Away(text))
            }
        }
    }
}
