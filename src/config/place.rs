//! `[sink]`'s address: a local folder or a bucket, and nothing secret in it.

use object_store::aws::AmazonS3ConfigKey;
use object_store::path::Path;

use super::near;
use super::reader::{Reader, Text};
use crate::time::text::TextError;

const USUAL: &[&str] = &[
    "region",
    "endpoint",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "allow_http",
    "virtual_hosted_style_request",
    "skip_signature",
    "unsigned_payload",
    "server_side_encryption",
    "timeout",
    "connect_timeout",
    "proxy_url",
    "request_payer",
];

/// The sink's address, `None` if it is not one. An address that may hold a secret is never shown.
pub(super) fn url(reader: &mut Reader<'_>, text: &Text) -> Option<String> {
    let url = text.value.trim();
    if let Some((_, rest)) = url.split_once("://")
        && (rest.contains(['?', '#']) || rest.split('/').next().is_some_and(|host| host.contains('@')))
    {
        let instead = "write s3://bucket/prefix, and the rest in properties or the AWS_… variables";
        reader.problem(&text.at, format!("{}: an address has no credentials and no query", text.key), instead);
        return None;
    }
    match checked(url) {
        Ok(()) => Some(url.to_owned()),
        Err(error) => {
            reader.wrong(text, &error);
            None
        }
    }
}

fn checked(url: &str) -> Result<(), TextError> {
    let like = "write a local folder or \"s3://bucket/prefix\"";
    if url.is_empty() || url == "file://" {
        return Err(TextError::new("empty", like));
    }
    match url.split_once("://") {
        None => Ok(()),
        Some(("file", path)) if path.starts_with('/') => Ok(()),
        Some(("file", _)) => {
            Err(TextError::new("a file address has an absolute path", "write a local folder as it is"))
        }
        Some(("s3", rest)) => bucket(rest),
        Some(("s3a" | "s3n" | "S3", rest)) => {
            Err(TextError::new("unknown kind of address", format!("did you mean \"s3://{rest}\"?")))
        }
        Some(("http" | "https", _)) => {
            let instead = "write \"s3://bucket/prefix\", and the server as properties = { endpoint = \"…\" }";
            Err(TextError::new("a server is no sink", instead))
        }
        Some(_) => Err(TextError::new("unknown kind of address", like)),
    }
}

fn bucket(rest: &str) -> Result<(), TextError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(legal) {
        let instead = "write 3 to 63 small letters, digits, dots and hyphens after s3://";
        return Err(TextError::new("no bucket's name", instead));
    }
    let doubled = prefix.starts_with('/') || prefix.contains("//");
    if doubled || Path::parse(prefix.trim_end_matches('/')).is_err() {
        return Err(TextError::new("not a key's prefix", "write names with a single / between them"));
    }
    Ok(())
}

/// Refuses what is not the user's to set, and what the store does not know. Values are never shown.
pub(super) fn check_property(reader: &mut Reader<'_>, name: &str, text: &Text) {
    match name.to_lowercase().parse::<AmazonS3ConfigKey>() {
        Ok(AmazonS3ConfigKey::Bucket) => {
            reader.problem(&text.at, format!("{name} stands in the sink's url"), "leave it out");
        }
        Ok(AmazonS3ConfigKey::ConditionalPut | AmazonS3ConfigKey::CopyIfNotExists) => {
            let wrong = format!("{name} is set by Windrow: exactly-once needs a put that creates or fails");
            reader.problem(&text.at, wrong, "leave it out");
        }
        Ok(_) => {}
        Err(_) => reader.problem(&text.at, format!("{name} is not a property of S3"), near::hint(name, USUAL)),
    }
}
