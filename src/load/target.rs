//! The server: its address, which may hold a password and is therefore never shown as it was given, and the way in.

use std::fmt;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};

use super::LoadError;
use super::tls::Tls;
use super::trouble::{Trouble, judge};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may leave bytes unacknowledged before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
const LIKE: &str = "write it like postgres://USER@HOST:5432/DATABASE";

/// A PostgreSQL database.
#[derive(Clone)]
pub struct Target {
    config: Config,
    /// The file of certificates that the server's must descend from, instead of the system's.
    roots: Option<String>,
    /// User, host, port and database.
    shown: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.shown).finish()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Target {
    /// Reads a `postgres://` address as libpq knows it. Without a password in it, `password` is taken.
    ///
    /// A certificate that is used is always checked, as libpq does with `verify-full`. On the machine itself TLS is
    /// used only when `sslmode` says so.
    ///
    /// # Errors
    /// If it cannot be read. The error does not repeat it.
    pub fn parse(address: &str, password: Option<String>) -> Result<Self, LoadError> {
        let invalid = |what: &str| LoadError::Invalid(format!("{what}; {LIKE}"));
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err(invalid("this is no PostgreSQL address"));
        }
        // The part after a second @ would be shown as the host, and may be the rest of a password.
        if address.matches('@').count() > 1 {
            return Err(invalid("there is more than one @; inside a password it is written %40"));
        }
        let (place, query) = address.split_once('?').unwrap_or((address, ""));
        let mut roots = None;
        let mut mode = None;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslrootcert", file)) => roots = Some(file.to_owned()),
                Some(("sslmode", "verify-ca" | "verify-full")) => mode = Some("require"),
                Some(("sslmode", "allow")) => mode = Some("prefer"),
                Some(("sslmode", named @ ("disable" | "prefer" | "require"))) => mode = Some(named),
                Some(("sslmode", _)) => return Err(invalid("sslmode is disable, prefer, require or verify-full")),
                _ => rest.push(pair),
            }
        }
        let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
        // The library's own words may repeat a part of the address.
        let unread = |_| {
            invalid("the address cannot be read; characters such as # / ? % in a password are written %23 and so on")
        };
        let mut config: Config = format!("{place}{query}").parse().map_err(unread)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("the address names no host"));
        }
        if config.get_password().is_none()
            && let Some(password) = password
        {
            config.password(password);
        }
        config.ssl_mode(match mode {
            Some("require") => SslMode::Require,
            Some("disable") => SslMode::Disable,
            None if roots.is_some() => SslMode::Require,
            None if config.get_hosts().iter().all(is_here) => SslMode::Disable,
            _ => SslMode::Prefer,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 6).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("windrow load");
        }
        let shown = shown(&config);
        Ok(Self { config, roots, shown })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Client, Trouble> {
        if self.config.get_ssl_mode() == SslMode::Disable {
            return self.connect_by(NoTls).await;
        }
        self.connect_by(Tls::open(self.roots.as_deref())?).await
    }

    async fn connect_by<T>(&self, tls: T) -> Result<Client, Trouble>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let connected = self.config.connect(tls).await;
        let (client, connection) = connected.map_err(|error| self.trouble("connect", &error))?;
        // Ends with the client; what breaks it fails the client's next call.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to PostgreSQL ended");
            }
        });
        Ok(client)
    }

    /// A new connection, for those to whom every error is alike.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn client(&self) -> Result<Client, String> {
        self.connect().await.map_err(Trouble::into_text)
    }

    /// What an error that came while `doing` something means, in a line.
    pub(crate) fn told(&self, doing: &str, error: &tokio_postgres::Error) -> String {
        self.trouble(doing, error).into_text()
    }

    pub(super) fn trouble(&self, doing: &str, error: &tokio_postgres::Error) -> Trouble {
        judge(&self.shown, doing, error)
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name == "::1" || name.starts_with("127."),
        Host::Unix(_) => true,
    }
}

fn shown(config: &Config) -> String {
    let user = config.get_user().map_or_else(String::new, |user| format!("{user}@"));
    let mut hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    if hosts.is_empty() {
        hosts.extend(config.get_hostaddrs().iter().map(ToString::to_string));
    }
    let ports = config.get_ports();
    let places = hosts.iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
        format!("{host}:{port}")
    });
    let database = config.get_dbname().map_or_else(String::new, |name| format!("/{name}"));
    format!("postgres {user}{}{database}", places.collect::<Vec<_>>().join(","))
}
