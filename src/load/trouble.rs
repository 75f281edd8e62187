//! What the server's errors mean for a load: wait, or stop and say what to do.

use std::error::Error as StdError;
use std::io;

use tokio_postgres::error::DbError;

use super::LoadError;
use crate::error::Error;
use crate::sink::SinkError;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server is away, restarting or full; it may do better later.
    Away(String),
    /// Trying again cannot help.
    Stop(Error),
}

impl Trouble {
    /// What there is to say.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Away(text) => text,
            Self::Stop(error) => error.to_string(),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl From<LoadError> for Trouble {
    fn from(error: LoadError) -> Self {
        Self::Stop(error.into())
    }
}

impl From<SinkError> for Trouble {
    fn from(error: SinkError) -> Self {
        Self::Stop(error.into())
    }
}

/// Judges an error that came while `doing` something at `place`.
pub(super) fn judge(place: &str, doing: &str, error: &tokio_postgres::Error) -> Trouble {
    let Some(db) = error.as_db_error() else { return unanswered(place, doing, error) };
    let text = format!("{place}: cannot {doing}: {}", told(db));
    let code = db.code().code();
    // Gone, starting or going down, out of resources, a deadlock, a standby that may be promoted.
    if ["08", "53", "57P", "40"].iter().any(|class| code.starts_with(class)) || code == "25006" || code == "55P03" {
        return Trouble::Away(text);
    }
    Trouble::Stop(match code {
        "28P01" | "28000" => LoadError::Invalid(format!("{text}; check user, password and pg_hba.conf")).into(),
        "42501" => LoadError::Invalid(format!(
            "{text}; the user needs SELECT, INSERT, UPDATE and DELETE on the table and on _windrow_loads beside it, and \
             CREATE on the schema where one of them is still to be made"
        ))
        .into(),
        _ if code.starts_with("22") || code.starts_with("23") => LoadError::Data(text).into(),
        _ => LoadError::Invalid(text).into(),
    })
}

/// An error that is not the server's answer.
fn unanswered(place: &str, doing: &str, error: &tokio_postgres::Error) -> Trouble {
    let mut text = error.to_string();
    let (mut io, mut tls) = (false, false);
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            io = true;
            tls |= inner.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        }
        cause = inner.source();
    }
    let text = format!("{place}: cannot {doing}: {text}");
    if tls {
        let help = "add ?sslrootcert=FILE with the authority's certificate to the address, or ?sslmode=disable on a \
                    network that you trust";
        return LoadError::Invalid(format!("{text}; {help}")).into();
    }
    if text.ends_with("password missing") {
        return LoadError::Invalid(format!("{text}; set PGPASSWORD")).into();
    }
    if io || error.is_closed() || error.to_string().starts_with("timeout") {
        return Trouble::Away(text);
    }
    LoadError::Invalid(text).into()
}

/// The server's words in one line.
fn told(error: &DbError) -> String {
    let mut text = error.message().to_owned();
    for (name, more) in [("", error.detail()), ("hint: ", error.hint()), ("at ", error.where_())] {
        if let Some(more) = more {
            text = format!("{text}; {name}{more}");
        }
    }
    text.replace('\n', " ")
}
