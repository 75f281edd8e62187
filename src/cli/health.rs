//! `windrow health`: whether a running instance answers, for health checks in images that have no other client.

use std::time::Duration;

use super::listen::Address;
use crate::error::Error;

/// An instance that takes longer than this to answer is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// The command.
#[derive(Debug, clap::Args)]
pub struct Health {
    /// Where the instance listens, as `run --listen` was given it
    #[arg(value_name = "ADDRESS", default_value = "9184")]
    address: Address,
    /// Ask whether it reads and commits, which a standby does not; without it, whether the process answers
    #[arg(long)]
    ready: bool,
}

impl Health {
    pub(super) async fn run(self) -> Result<(), Error> {
        // Whoever comes second finds the same provider; only the first call counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("http://{}/{}", self.address.reached(), if self.ready { "readyz" } else { "healthz" });
        let ill = |why: String| Error::Health(format!("{url}: {}", why.trim_end()));
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build();
        let client = client.map_err(|error| ill(error.to_string()))?;
        let answer = client.get(&url).send().await.map_err(|_| ill("nobody answers".to_owned()))?;
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        if !status.is_success() {
            return Err(ill(body));
        }
        print!("{body}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::error::Kind;

    /// A server that is well and not ready, once for each connection.
    async fn standby(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            let answer: &[u8] = if head[..read].starts_with(b"GET /healthz ") {
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n"
            } else {
                b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 17\r\nconnection: close\r\n\r\nwaits for a turn\n"
            };
            stream.write_all(answer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_standby_is_well_and_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(standby(listener));
        let health = |ready| Health { address: format!("0.0.0.0:{port}").parse().unwrap(), ready };
        health(false).run().await.unwrap();
        let error = health(true).run().await.unwrap_err();
        assert_eq!(error.to_string(), format!("http://127.0.0.1:{port}/readyz: waits for a turn"));
        assert_eq!(error.kind(), Kind::Unavailable);
        server.abort();
        let _ = server.await;
        let error = health(false).run().await.unwrap_err();
        assert!(error.to_string().ends_with("nobody answers"), "{error}");
    }
}
