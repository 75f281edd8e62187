//! The place that keeps files: a local folder or a bucket, with the few operations that exactness needs.
//!
//! Everything is durable when a call returns. A store that is away is waited for: calls try again with growing
//! pauses until they succeed, and say so once and then each minute. What trying again cannot mend is an error.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::client::ClientOptions;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
};

use super::SinkError;
use super::traffic::Traffic;
use crate::clock::Clock;
use crate::record::Timestamp;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const SAY_AGAIN: Duration = Duration::from_secs(60);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// What became of a create-only put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The key holds our bytes: written now, or by an earlier attempt whose answer was lost.
    Ours,
    /// The key holds somebody else's bytes.
    Theirs(Bytes),
}

/// An object that a listing names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub written: Timestamp,
}

/// A sink's place.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    folder: Option<PathBuf>,
    shown: String,
    traffic: Arc<Traffic>,
    clock: Clock,
    /// How long a store that is away is waited for; without it, for ever.
    patience: Option<Duration>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.shown).finish()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Store {
    /// Opens a local folder (made if missing when `create` is set) or `s3://bucket/prefix`.
    ///
    /// `properties` are object_store's own settings for S3, such as `endpoint`; the rest comes from the `AWS_…`
    /// variables of the environment.
    ///
    /// # Errors
    /// If the place cannot be used as given.
    pub fn open(url: &str, properties: &BTreeMap<String, String>, create: bool) -> Result<Self, SinkError> {
        if url.starts_with("s3://") {
            return Self::open_s3(url, properties);
        }
        if let Some((scheme, _)) = url.split_once("://")
            && scheme != "file"
        {
            return Err(SinkError::Invalid(format!("sink {url}: write a local folder or s3://bucket/prefix")));
        }
        Self::open_folder(FilePath::new(url.strip_prefix("file://").unwrap_or(url)), create)
    }

    fn open_folder(folder: &FilePath, create: bool) -> Result<Self, SinkError> {
        let invalid = |error: &io::Error| SinkError::Invalid(format!("sink {}: {error}", folder.display()));
        if create {
            std::fs::create_dir_all(folder).map_err(|error| invalid(&error))?;
        }
        let folder = folder.canonicalize().map_err(|error| invalid(&error))?;
        let local = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| SinkError::Invalid(format!("sink {}: {error}", folder.display())))?
            .with_fsync(true);
        let shown = folder.display().to_string();
        Ok(Self {
            inner: Arc::new(local),
            prefix: Path::default(),
            folder: Some(folder),
            shown,
            traffic: Arc::default(),
            clock: Clock::system(),
            patience: None,
        })
    }

    fn open_s3(url: &str, properties: &BTreeMap<String, String>) -> Result<Self, SinkError> {
        // Both sides of a race may install the same provider; only the first call counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (bucket, prefix) = url.trim_start_matches("s3://").split_once('/').unwrap_or((&url[5..], ""));
        let prefix = Path::parse(prefix.trim_end_matches('/'))
            .map_err(|error| SinkError::Invalid(format!("sink {url}: {error}")))?;
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        for (key, value) in properties {
            let key = key.parse().map_err(|_| SinkError::Invalid(format!("sink {url}: unknown property \"{key}\"")))?;
            builder = builder.with_config(key, value);
        }
        let endpoint = builder.get_config_value(&object_store::aws::AmazonS3ConfigKey::Endpoint);
        let loopback = endpoint.as_deref().is_some_and(is_loopback_http);
        let mut options = ClientOptions::new().with_timeout(REQUEST_TIMEOUT);
        let allow = object_store::aws::AmazonS3ConfigKey::Client(object_store::ClientConfigKey::AllowHttp);
        let asked = builder.get_config_value(&allow).is_some_and(|value| value == "true");
        if loopback || asked {
            options = options.with_allow_http(true);
        }
        let retry = RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() };
        let s3 = builder
            .with_client_options(options)
            .with_retry(retry)
            .build()
            .map_err(|error| SinkError::Invalid(format!("sink {url}: {}", told(&error))))?;
        Ok(Self {
            inner: Arc::new(s3),
            prefix,
            folder: None,
            shown: url.to_owned(),
            traffic: Arc::default(),
            clock: Clock::system(),
            patience: None,
        })
    }

    /// A store over any implementation, whose pauses are counted by `clock`: for tests.
    #[must_use]
    pub fn over(inner: Arc<dyn ObjectStore>, clock: Clock) -> Self {
        Self {
            inner,
            prefix: Path::default(),
            folder: None,
            shown: "memory".to_owned(),
            traffic: Arc::default(),
            clock,
            patience: None,
        }
    }

    /// The same store, with every request passing through what `layer` makes of it: for tests of what happens there.
    #[must_use]
    pub fn through(self, layer: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { inner: layer(self.inner), ..self }
    }

    /// The same store for somebody who waits for an answer: when it has been away for `patience`, that is an error.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// The local folder, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
    }

    /// The full address of `key`, as other programs read it.
    #[must_use]
    pub fn address(&self, key: &str) -> String {
        format!("{}/{key}", self.shown.trim_end_matches('/'))
    }

    fn path(&self, key: &str) -> Path {
        Path::from_iter(self.prefix.parts().chain(Path::from(key).parts()))
    }

    /// Writes a key that nobody else can have: its name is unique.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), SinkError> {
        let path = self.path(key);
        self.patiently("write", key, || async { self.inner.put(&path, bytes.clone().into()).await.map(|_| ()) }).await
    }

    /// Writes a key that must not exist yet. Whatever the store answers, the outcome is what the key then holds: a
    /// put whose answer was lost counts, and so does one that another writer did with the same bytes.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, SinkError> {
        let path = self.path(key);
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = || async {
                match self.inner.put_opts(&path, bytes.clone().into(), options.clone()).await {
                    Ok(_) => Ok(true),
                    Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            if self.patiently("create", key, put).await? {
                return Ok(Created::Ours);
            }
            // "Exists" may be our own earlier attempt, or a collision of two attempts of which neither landed.
            if let Some(found) = self.get(key).await? {
                return Ok(if found == bytes { Created::Ours } else { Created::Theirs(found) });
            }
        }
    }

    /// The bytes of a key; `None` if there is none.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, SinkError> {
        let path = self.path(key);
        self.patiently("read", key, || async {
            match self.inner.get(&path).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// A span of a key's bytes, or what of it there is; `None` if there is no such key.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn get_span(&self, key: &str, offset: u64, length: u64) -> Result<Option<Bytes>, SinkError> {
        if length == 0 {
            return Ok(self.size(key).await?.map(|_| Bytes::new()));
        }
        let path = self.path(key);
        let range = GetRange::Bounded(offset..offset.saturating_add(length));
        let options = GetOptions { range: Some(range), ..GetOptions::default() };
        self.patiently("read", key, || async {
            match self.inner.get_opts(&path, options.clone()).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(Error::NotFound { .. }) => Ok(None),
                // Where an object ends before the span begins, each store says so in words of its own, as it does
                // when it is out of order. Asked again for ever, a piece that was cut off would hold up the run.
                Err(error) => match self.inner.head(&path).await {
                    Ok(meta) if meta.size <= offset => Ok(Some(Bytes::new())),
                    _ => Err(error),
                },
            }
        })
        .await
    }

    /// The size of a key; `None` if there is none.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, SinkError> {
        let path = self.path(key);
        self.patiently("look at", key, || async {
            match self.inner.head(&path).await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Keys and sizes below `folder`, in name order.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>, SinkError> {
        Ok(self.look_into(folder).await?.into_iter().map(|found| (found.key, found.bytes)).collect())
    }

    /// What lies below `folder`, in name order.
    ///
    /// # Errors
    /// If the store refuses for good.
    pub async fn look_into(&self, folder: &str) -> Result<Vec<Found>, SinkError> {
        let path = self.path(folder);
        let mut found: Vec<ObjectMeta> =
            self.patiently("list", folder, || async { self.inner.list(Some(&path)).try_collect().await }).await?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        let skip = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        let key = |meta: &ObjectMeta| meta.location.as_ref()[skip..].to_owned();
        let written = |meta: &ObjectMeta| Timestamp(meta.last_modified.timestamp_micros());
        Ok(found.iter().map(|meta| Found { key: key(meta), bytes: meta.size, written: written(meta) }).collect())
    }

    /// Deletes keys that nothing refers to any more. What fails is left for a later sweep, and named with its reason.
    pub async fn delete(&self, keys: Vec<String>) -> Vec<String> {
        let paths: Vec<Path> = keys.iter().map(|key| self.path(key)).collect();
        keys.iter().for_each(|_| self.traffic.asked("delete"));
        let gone = self.inner.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
        let failed = gone.filter_map(|result| async {
            let error = result.err().filter(|error| !matches!(error, Error::NotFound { .. }))?;
            self.traffic.failed("delete");
            tracing::debug!(error = %told(&error), "left a temporary object behind");
            Some(told(&error))
        });
        failed.collect().await
    }

    /// Files that a killed writer had not finished (`name#1`) on a local disk, by their paths. Buckets have none.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn unfinished(&self) -> Result<Vec<(PathBuf, Found)>, SinkError> {
        fn gather(root: &FilePath, folder: &FilePath, found: &mut Vec<(PathBuf, Found)>) -> io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    gather(root, &path, found)?;
                } else if is_unfinished(&entry.file_name().to_string_lossy()) {
                    let meta = entry.metadata()?;
                    let written = meta.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                    let written = Timestamp(i64::try_from(written.as_micros()).unwrap_or(i64::MAX));
                    let key = path.strip_prefix(root).unwrap_or(&path).display().to_string();
                    found.push((path, Found { key, bytes: meta.len(), written }));
                }
            }
            Ok(())
        }
        let mut found = Vec::new();
        if let Some(folder) = &self.folder {
            let cannot =
                |error| SinkError::Unavailable(format!("sink {self}: cannot look for unfinished files: {error}"));
            gather(folder, folder, &mut found).map_err(cannot)?;
            found.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Ok(found)
    }

    /// Makes durable, on a local disk, what others have just written into `folder` and may not have synced yet. What a
    /// bucket shows is durable.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self, folder: &str) -> Result<(), SinkError> {
        let Some(root) = &self.folder else { return Ok(()) };
        let synced = std::fs::File::open(root.join(folder)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| {
            SinkError::Unavailable(format!("sink {self}: cannot sync {folder}: {error}; check the disk"))
        })
    }

    /// Removes what killed writers left of files they had not finished (`name#1`) on a local disk, and syncs the
    /// folders that crashed writers may have made. Buckets have neither.
    pub fn sweep_unfinished(&self) {
        fn sweep(folder: &FilePath) -> io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    sweep(&entry.path())?;
                } else if is_unfinished(&entry.file_name().to_string_lossy()) {
                    std::fs::remove_file(entry.path())?;
                }
            }
            std::fs::File::open(folder)?.sync_all()
        }
        if let Some(folder) = &self.folder
            && let Err(error) = sweep(folder)
        {
            tracing::debug!(%error, "could not sweep unfinished files");
        }
    }

    /// Tries `operation` until it succeeds or cannot.
    async fn patiently<T, F, Fut>(&self, verb: &str, key: &str, operation: F) -> Result<T, SinkError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let mut pause = FIRST_PAUSE;
        let mut waited = Duration::ZERO;
        let mut said: Option<Duration> = None;
        loop {
            self.traffic.asked(verb);
            let error = match operation().await {
                Ok(done) => {
                    if said.is_some() {
                        tracing::info!(sink = %self, "the sink answers again");
                    }
                    return Ok(done);
                }
                Err(error) => error,
            };
            self.traffic.failed(verb);
            if let Some(final_error) = self.refusal(verb, key, &error) {
                return Err(final_error);
            }
            if let Some(patience) = self.patience.filter(|patience| waited >= *patience) {
                let text = format!(
                    "sink {self}: cannot {verb} {key}: {}; gave up after {} s",
                    told(&error),
                    patience.as_secs()
                );
                return Err(SinkError::Unavailable(text));
            }
            if said.is_none_or(|at| waited.saturating_sub(at) >= SAY_AGAIN) {
                tracing::warn!(sink = %self, "cannot {verb} {key}, trying again: {}", told(&error));
                said = Some(waited);
            }
            self.clock.sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The error to stop with, if trying again cannot help.
    fn refusal(&self, verb: &str, key: &str, error: &Error) -> Option<SinkError> {
        let what = || format!("sink {self}: cannot {verb} {key}: {}", told(error));
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                Some(SinkError::Invalid(format!("{}; give the right credentials and permissions", what())))
            }
            Error::NotFound { .. } => Some(SinkError::Invalid(format!("{}; does the bucket exist?", what()))),
            Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
                Some(SinkError::Invalid(what()))
            }
            _ => match io_kind(error) {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    Some(SinkError::Unavailable(format!("{}; nothing is lost: make room and start again", what())))
                }
                Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                    Some(SinkError::Invalid(format!("{}; give this user the right to write there", what())))
                }
                // Another instance that has just begun takes a file of ours that is not whole yet for one left by a crash.
                Some(io::ErrorKind::NotFound) if self.folder.as_ref().is_some_and(|folder| folder.exists()) => None,
                // A disk that fails once is not waited for.
                Some(_) if self.folder.is_some() => Some(SinkError::Unavailable(format!("{}; check the disk", what()))),
                _ => None,
            },
        }
    }
}

/// Whether a file's name is one that object_store gives to a file of ours before it is whole.
fn is_unfinished(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(name, number)| {
        number.parse::<u32>().is_ok() && [".parquet", ".json", ".arrow"].iter().any(|end| name.ends_with(end))
    })
}

/// Whether an endpoint is plain HTTP to this machine.
fn is_loopback_http(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").unwrap_or("");
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

/// The error's whole story in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    briefly(&text.replace('\n', " "))
}

/// What an S3 server answers at length, as its code and message; anything else cut to what a person reads.
fn briefly(text: &str) -> String {
    const LONGEST: usize = 400;
    let between = |open: &str, close: &str| {
        let (_, rest) = text.split_once(open)?;
        rest.split_once(close).map(|(found, _)| found)
    };
    if let (Some(code), Some(message)) = (between("<Code>", "</Code>"), between("<Message>", "</Message>")) {
        return format!("{code}: {message}");
    }
    if text.contains("169.254.169.254") {
        let asked = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or access_key_id and \
                     secret_access_key in the sink's properties; without them this machine's role is asked for, and";
        return format!("{asked} nobody answers for that");
    }
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// The operating system's error below, if there is one.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::briefly;

    #[test]
    fn a_servers_long_answer_is_told_by_its_code_and_message() {
        let answer = "Client error with status 403 Forbidden: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch\
                      </Code><Message>check your key</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(briefly(answer), "SignatureDoesNotMatch: check your key");
        assert_eq!(briefly("connection refused"), "connection refused");
        assert_eq!(briefly(&"x".repeat(1000)).chars().count(), 401);
    }
}
