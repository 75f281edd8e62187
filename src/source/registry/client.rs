//! What is asked of a Confluent-compatible schema registry: a schema by its number, and the newest of a subject.

use std::error::Error as _;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::tls::{Certificate, Identity};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::super::SourceError;
use crate::config::format::{Auth, RegistryConfig};
use crate::decode::schemas::{Language, SchemaId, SchemaText};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of the longest answer that is read.
const LARGEST: usize = 16 << 20;
/// How deep schemas may refer to each other.
const DEEPEST: usize = 32;
/// Schemas that one may refer to, all together.
const MOST: usize = 1000;

/// A registry, and who asks it.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    shown: String,
}

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The registry cannot be reached or does not work now; it may later.
    Away(String),
    /// It answers, and knows nothing of what was asked.
    Unknown(String),
    /// It answers, with what cannot be used; asking again does not help.
    Unusable(String),
    /// It does not let us ask, or is no registry.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    language: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Complaint {
    error_code: i64,
    #[serde(default)]
    message: String,
}

impl Client {
    /// Connects to nobody yet.
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, SourceError> {
        let shown = config.url.clone();
        let invalid = |why: String| SourceError::Invalid(format!("schema registry {shown}: {why}"));
        // Both sides of a race may install the same provider; only the first call counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.schemaregistry.v1+json, application/json"));
        if let Some(mut secret) = authorization(&config.auth)? {
            secret.set_sensitive(true);
            headers.insert(AUTHORIZATION, secret);
        }
        let mut builder = reqwest::Client::builder().default_headers(headers).connect_timeout(CONNECT).timeout(ANSWER);
        let read = |file: &std::path::Path| {
            std::fs::read(file).map_err(|error| invalid(format!("cannot read {}: {error}", file.display())))
        };
        if let Some(file) = &config.ca {
            let found = Certificate::from_pem_bundle(&read(file)?).unwrap_or_default();
            if found.is_empty() {
                return Err(invalid(format!("ca: there is no PEM certificate in {}", file.display())));
            }
            builder = builder.tls_certs_only(found);
        }
        if let Some((certificate, key)) = &config.identity {
            let both = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
            let wrong = |_| invalid("certificate and key are not a PEM certificate and its key".to_owned());
            builder = builder.identity(Identity::from_pem(&both).map_err(wrong)?);
        }
        let http = builder.build().map_err(|error| invalid(format!("cannot set up the client: {}", told(error))))?;
        let url = Url::parse(&format!("{shown}/")).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { http, url, shown: config.url.clone() })
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        &self.shown
    }

    /// The schema of a number, with everything it refers to.
    pub(super) async fn schema(&self, id: SchemaId) -> Result<SchemaText, Failure> {
        let answer = self.ask(&["schemas", "ids", &id.to_string()]).await?;
        self.complete(answer).await
    }

    /// The newest schema of a subject, with everything it refers to.
    pub(super) async fn newest(&self, subject: &str) -> Result<SchemaText, Failure> {
        let answer = self.ask(&["subjects", subject, "versions", "latest"]).await?;
        self.complete(answer).await
    }

    async fn complete(&self, answer: Answer) -> Result<SchemaText, Failure> {
        let mut references = Vec::new();
        self.follow(answer.references.unwrap_or_default(), &mut references, 0).await?;
        let language = match answer.language.as_deref().unwrap_or("AVRO") {
            "AVRO" => Language::Avro,
            "PROTOBUF" => Language::Protobuf,
            _ => Language::Json,
        };
        Ok(SchemaText { language, text: answer.schema, references })
    }

    /// Adds what is referred to: what one of them refers to comes before it.
    fn follow<'a>(
        &'a self,
        wanted: Vec<Reference>,
        found: &'a mut Vec<(String, String)>,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            for reference in wanted {
                if found.iter().any(|(name, _)| *name == reference.name) {
                    continue;
                }
                if depth >= DEEPEST || found.len() >= MOST {
                    return Err(Failure::Unusable("it refers to too many other schemas".to_owned()));
                }
                let version = reference.version.to_string();
                let answer = self.ask(&["subjects", &reference.subject, "versions", &version]).await?;
                self.follow(answer.references.unwrap_or_default(), found, depth + 1).await?;
                found.push((reference.name, answer.schema));
            }
            Ok(())
        })
    }

    async fn ask(&self, path: &[&str]) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut response = self.http.get(url).send().await.map_err(failure)?;
        let status = response.status();
        let mut body = Vec::new();
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // A refusal is one, whatever else it would have said.
                Err(_) if is_refusal(status) => break,
                Err(error) => return Err(failure(error)),
            };
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(Failure::Unusable("its answer is larger than 16 MiB".to_owned()));
            }
        }
        judge(status, &body)
    }
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// What an answer means.
fn judge(status: StatusCode, body: &[u8]) -> Result<Answer, Failure> {
    let complaint = serde_json::from_slice::<Complaint>(body).ok();
    let said = complaint.as_ref().map_or_else(String::new, |complaint| {
        let text: String = complaint.message.chars().filter(|c| !c.is_control()).take(200).collect();
        format!(": {text}")
    });
    match status {
        StatusCode::OK => serde_json::from_slice(body)
            .map_err(|_| Failure::Refused("its answer is no schema; is this a schema registry's address?".to_owned())),
        StatusCode::NOT_FOUND => match complaint {
            // A server that has never heard of schemas also says 404, in its own words.
            Some(complaint) if complaint.error_code != 404 => {
                Err(Failure::Unknown(format!("the registry does not know it{said}")))
            }
            _ => Err(Failure::Refused("it has no such path; is this a schema registry's address?".to_owned())),
        },
        status if is_refusal(status) => {
            Err(Failure::Refused(format!("it answers {status}{said}; give the right username and password, or token")))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failure::Away(format!("it answers {status}{said}")))
        }
        status if status.is_server_error() => Err(Failure::Away(format!("it answers {status}{said}"))),
        status => Err(Failure::Unusable(format!("the registry answers {status}{said}"))),
    }
}

fn failure(error: reqwest::Error) -> Failure {
    Failure::Away(told(error))
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
    text
}

fn authorization(auth: &Auth) -> Result<Option<HeaderValue>, SourceError> {
    use base64::Engine;
    let text = match auth {
        Auth::None => return Ok(None),
        Auth::Basic(user, password) => {
            let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {both}")
        }
        Auth::Bearer(token) => format!("Bearer {token}"),
    };
    let wrong = |_| SourceError::Invalid("source.registry.token: it has characters that no token has".to_owned());
    HeaderValue::from_str(&text).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_what_to_do_about_it() {
        let of =
            |status: u16, body: &str| judge(StatusCode::from_u16(status).unwrap(), body.as_bytes()).map(|a| a.schema);
        assert_eq!(of(200, r#"{"schema": "\"int\"", "id": 3}"#), Ok("\"int\"".to_owned()));
        assert!(matches!(of(200, "<html>"), Err(Failure::Refused(_))));
        assert!(matches!(of(404, r#"{"error_code": 40403, "message": "no"}"#), Err(Failure::Unknown(_))));
        assert!(matches!(of(404, r#"{"error_code": 404, "message": "no"}"#), Err(Failure::Refused(_))));
        assert!(matches!(of(404, "nginx"), Err(Failure::Refused(_))));
        assert!(matches!(of(401, ""), Err(Failure::Refused(_))));
        assert!(matches!(of(503, ""), Err(Failure::Away(_))));
        assert!(matches!(of(429, ""), Err(Failure::Away(_))));
        assert!(matches!(of(422, ""), Err(Failure::Unusable(_))));
    }
}
