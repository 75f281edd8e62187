//! One call: the answer's bytes, or what its failure means. No error of it holds a secret.

use std::error::Error as _;
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use super::PollError;
use super::answer::{excerpt, said};
use crate::clock::Clock;
use crate::config::poll::{Request, Secrets};
use crate::record::Timestamp;
use crate::time::text::describe;

/// The largest answer in bytes.
const LARGEST: usize = 4 << 20;
/// As much of a refusal is read.
const REFUSAL: usize = 64 << 10;

/// Calls for symbols.
#[derive(Debug)]
pub(super) struct Caller {
    client: Client,
    request: Request,
    secrets: Secrets,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum Call {
    /// With an answer that the server means.
    Answer(Vec<u8>),
    /// With one that another call would not change.
    Refused(String),
    /// The server failed or did not answer.
    Failed { why: String, wish: Option<i64> },
    /// The server has no time now.
    Limited { why: String, wish: Option<i64> },
}

impl Caller {
    /// A caller that has not connected yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub(super) fn new(request: &Request, secrets: &Secrets) -> Result<Self, PollError> {
        // Whoever comes second finds the same provider; only the first call counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let invalid = || PollError::Invalid(format!("header {name} cannot be sent"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .user_agent(concat!("windrow/", env!("CARGO_PKG_VERSION")))
            .timeout(Duration::from_micros(request.timeout.unsigned_abs()))
            // A token must not go where the file does not send it.
            .redirect(Policy::none())
            .referer(false)
            // What is tried again is decided by the round.
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| PollError::Invalid(format!("cannot set up HTTP: {}", told(error))))?;
        Ok(Self { client, request: request.clone(), secrets: secrets.clone() })
    }

    /// The call as it may be shown.
    pub(super) fn shown(&self, symbol: &str) -> String {
        self.request.url.shown(symbol)
    }

    /// Calls for a symbol.
    pub(super) async fn call(&self, symbol: &str) -> Call {
        let sent = self.client.get(self.request.url.address(symbol)).header("accept", "application/json").send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return self.broken(error),
        };
        let status = response.status();
        let largest = if status.is_success() { LARGEST } else { REFUSAL };
        let body = match body(&mut response, largest).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return self.broken(error),
            // The status says enough.
            Err(_) => Vec::new(),
        };
        if status.is_success() {
            if body.len() > LARGEST {
                return Call::Refused(format!("the answer is larger than {} MiB", LARGEST >> 20));
            }
            return Call::Answer(body);
        }
        let wish = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|wish| retry_after(wish.to_str().ok()?, Clock::system().now()));
        let mut why = self.refusal(status, &body);
        if let Some(wish) = wish {
            why = format!("{why}; it asks to wait {}", describe(wish / 1_000_000 * 1_000_000));
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS => Call::Limited { why, wish },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => Call::Failed { why, wish },
            _ if status.is_server_error() => Call::Failed { why, wish },
            _ if status.is_redirection() => {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
                // Whatever the server repeats of the query is cut off.
                let to = self.secrets.hide(to.split('?').next().unwrap_or(to));
                Call::Refused(format!("{why}: it redirects to {}; write that address as url", excerpt(&to)))
            }
            _ => Call::Refused(why),
        }
    }

    /// What the server says with a status that is no success.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> String {
        let text = self.secrets.hide(&String::from_utf8_lossy(body));
        let said = match serde_json::from_str(&text) {
            Ok(value) => said(&value),
            Err(_) => Some(text.as_str()).filter(|text| !text.trim().is_empty()).map(excerpt),
        };
        let said = said.map_or_else(String::new, |said| format!(", {said}"));
        format!("the server answers {status}{said}")
    }

    /// A call without an answer.
    fn broken(&self, error: reqwest::Error) -> Call {
        if error.is_timeout() {
            return Call::Failed { why: format!("no answer within {}", describe(self.request.timeout)), wish: None };
        }
        let hopeless = error.is_builder();
        let why = self.secrets.hide(&told(error));
        if hopeless { Call::Refused(why) } else { Call::Failed { why, wish: None } }
    }
}

/// The body; a little more than `largest` bytes of one that is larger.
async fn body(response: &mut Response, largest: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        body.extend_from_slice(&bytes);
        if body.len() > largest {
            break;
        }
    }
    Ok(body)
}

/// The error's whole story in one line, without the address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text.replace('\n', " ")
}

/// Microseconds to wait, of a `Retry-After` in seconds or as an HTTP date.
fn retry_after(text: &str, now: Timestamp) -> Option<i64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(1_000_000));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    Some(until.timestamp_micros().saturating_sub(now.0).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_seconds_or_a_date() {
        let now = Timestamp(1_445_412_480_000_000);
        for (text, wish) in [
            ("120", Some(120_000_000)),
            (" 0 ", Some(0)),
            ("99999999999999999999", Some(i64::MAX)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30_000_000)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), wish, "{text}");
        }
    }
}
