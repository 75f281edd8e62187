//! The table that is loaded into: found, made, or refused with what does not fit.

use std::fmt;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::LoadError;
use super::schema::{Column, Kind};
use super::target::Target;
use super::trouble::Trouble;

/// A table's name with its schema, as they are: case and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) schema: String,
    pub(super) name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl TableName {
    /// For use in a statement.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// An identifier for use in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A column that a table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    pub(super) name: String,
    /// As `format_type` writes it.
    pub(super) sql: String,
    /// Whether a row without it is refused.
    pub(super) needed: bool,
    /// Whether it is computed and cannot be written.
    pub(super) generated: bool,
}

/// A transaction, and what to say when the server refuses something in it.
pub(super) struct Work<'a> {
    pub(super) target: &'a Target,
    pub(super) transaction: Transaction<'a>,
}

impl Work<'_> {
    pub(super) async fn commit(self) -> Result<(), Trouble> {
        let Self { target, transaction } = self;
        transaction.commit().await.map_err(|error| target.trouble("commit", &error))
    }

    pub(super) fn trouble(&self, doing: &str) -> impl Fn(tokio_postgres::Error) -> Trouble + use<> {
        let (target, doing) = (self.target.clone(), doing.to_owned());
        move |error| target.trouble(&doing, &error)
    }

    /// The table that `name` means: one on the search path, or the one that would be made.
    pub(super) async fn resolve(&self, schema: Option<&str>, name: &str) -> Result<TableName, Trouble> {
        let trouble = self.trouble("look up the table");
        let named = schema.map_or_else(|| quoted(name), |schema| format!("{}.{}", quoted(schema), quoted(name)));
        let found = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = \
                     to_regclass($1)";
        let found = self.transaction.query_typed(found, &[(&named, Type::TEXT)]).await.map_err(&trouble)?;
        if let Some(row) = found.first() {
            return Ok(TableName { schema: row.get(0), name: name.to_owned() });
        }
        let place = match schema {
            Some(schema) => {
                let found = "SELECT nspname::text FROM pg_namespace WHERE nspname = $1";
                self.transaction.query_typed(found, &[(&schema, Type::TEXT)]).await.map_err(&trouble)?
            }
            None => self.transaction.query_typed("SELECT current_schema()::text", &[]).await.map_err(&trouble)?,
        };
        match place.first().and_then(|row| row.get::<_, Option<String>>(0)) {
            Some(schema) => Ok(TableName { schema, name: name.to_owned() }),
            None => {
                let schema = schema.map_or_else(|| "on the search path".to_owned(), quoted);
                let text = format!("{}: there is no schema {schema} for table {name}; CREATE SCHEMA it", self.target);
                Err(LoadError::Invalid(text).into())
            }
        }
    }

    /// Whether the table is there.
    ///
    /// # Errors
    /// If the name is something else's.
    pub(super) async fn exists(&self, table: &TableName) -> Result<bool, Trouble> {
        let sql = "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)";
        let found = self.transaction.query_typed(sql, &[(&table.sql(), Type::TEXT)]).await;
        let found = found.map_err(self.trouble("look up the table"))?;
        match found.first().map(|row| row.get::<_, String>(0)).as_deref() {
            None => Ok(false),
            // Plain and partitioned.
            Some("r" | "p") => Ok(true),
            Some(_) => Err(LoadError::Invalid(format!("{}: {table} is not a table", self.target)).into()),
        }
    }

    /// The table's columns, in their order.
    pub(super) async fn describe(&self, table: &TableName) -> Result<Vec<Theirs>, Trouble> {
        let sql = "SELECT attname::text, format_type(atttypid, atttypmod), \
                   attnotnull AND NOT atthasdef AND attidentity = '', attgenerated <> '' FROM pg_attribute \
                   WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let rows = self.transaction.query_typed(sql, &[(&table.sql(), Type::TEXT)]).await;
        let rows = rows.map_err(self.trouble("look at the table"))?;
        let theirs = rows.iter().map(|row| Theirs {
            name: row.get(0),
            sql: row.get(1),
            needed: row.get(2),
            generated: row.get(3),
        });
        Ok(theirs.collect())
    }

    /// Makes the table, with an index for corrections and for whoever asks for a window.
    pub(super) async fn create(&self, table: &TableName, columns: &[Column]) -> Result<(), Trouble> {
        let statements = create(table, columns);
        let made = self.transaction.batch_execute(&statements).await;
        made.map_err(self.trouble(&format!("make table {table}")))
    }
}

/// The statements that make a table for these columns.
pub(super) fn create(table: &TableName, columns: &[Column]) -> String {
    let lines = columns.iter().map(|column| {
        let required = if column.required { " NOT NULL" } else { "" };
        format!("{} {}{required}", quoted(&column.name), column.kind.sql())
    });
    let lines = lines.collect::<Vec<_>>().join(", ");
    let sql = table.sql();
    format!("CREATE TABLE {sql} ({lines}); CREATE INDEX ON {sql} (\"window_start\")")
}

/// The types to send the columns as.
///
/// # Errors
/// [`LoadError::Invalid`] with every difference, and what would mend it.
pub(super) fn fit(table: &TableName, columns: &[Column], theirs: &[Theirs]) -> Result<Vec<Type>, LoadError> {
    let mut types = Vec::new();
    let mut differences = Vec::new();
    for column in columns {
        let (name, sql) = (&column.name, column.kind.sql());
        match theirs.iter().find(|theirs| theirs.name == *name) {
            None => differences.push(format!(
                "column \"{name}\" is missing: ALTER TABLE {} ADD COLUMN {} {sql};",
                table.sql(),
                quoted(name)
            )),
            Some(theirs) if theirs.generated => {
                differences.push(format!("column \"{name}\" is generated, and the files bring it, too"));
            }
            Some(theirs) => match column.kind.fits(&theirs.sql) {
                Some(kind) => types.push(kind),
                None => differences.push(format!(
                    "column \"{name}\" is {}, the files bring {sql}: ALTER TABLE {} ALTER COLUMN {} TYPE {sql};",
                    theirs.sql,
                    table.sql(),
                    quoted(name)
                )),
            },
        }
    }
    for theirs in theirs.iter().filter(|theirs| theirs.needed && !theirs.generated) {
        if !columns.iter().any(|column| column.name == theirs.name) {
            differences.push(format!(
                "column \"{0}\", {1}, is not in the files, is NOT NULL and has no default: ALTER TABLE {2} ALTER COLUMN {3} \
                 DROP NOT NULL;",
                theirs.name,
                theirs.sql,
                table.sql(),
                quoted(&theirs.name)
            ));
        }
    }
    if !columns.iter().any(|column| column.name == "window_start" && column.kind == Kind::Timestamp) {
        differences.push("the files have no column \"window_start\"".to_owned());
    }
    if differences.is_empty() {
        return Ok(types);
    }
    let text = format!(
        "table {table} does not fit what the sink publishes; change it, or load into another:\n  {}",
        differences.join("\n  ")
    );
    Err(LoadError::Invalid(text))
}
