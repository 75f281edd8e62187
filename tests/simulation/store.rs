//! The object store: what it holds, and one instance's way to it, with every fault a request can meet.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::faults::{Fate, Verb};
use crate::time;
use crate::world::Shared;

/// One request.
#[derive(Clone, Debug)]
pub enum Request {
    Create(String, Bytes),
    Put(String, Bytes),
    Get(String),
    Head(String),
    List(String),
    Delete(String),
}

/// What a request gives.
#[derive(Clone, Debug)]
pub enum Answer {
    Written,
    Found(Bytes),
    Listed(Vec<(String, u64)>),
    Missing,
    Exists,
}

impl Request {
    pub fn verb(&self) -> Verb {
        match self {
            Self::Create(..) => Verb::Create,
            Self::Put(..) => Verb::Put,
            Self::Get(_) => Verb::Get,
            Self::Head(_) => Verb::Head,
            Self::List(_) => Verb::List,
            Self::Delete(_) => Verb::Delete,
        }
    }

    pub fn key(&self) -> &str {
        match self {
            Self::Create(key, _) | Self::Put(key, _) => key,
            Self::Get(key) | Self::Head(key) | Self::List(key) | Self::Delete(key) => key,
        }
    }
}

/// What the store holds.
#[derive(Debug, Default)]
pub struct Objects {
    pub held: BTreeMap<String, Bytes>,
    /// When each key was written, for listings that lag.
    pub written: BTreeMap<String, i64>,
    /// The first bytes of every key that ever was.
    pub ever: BTreeMap<String, Bytes>,
}

/// One instance's way to the store.
#[derive(Clone)]
pub struct SimStore {
    pub world: Shared,
    pub who: usize,
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store of {}", self.who)
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store of {}", self.who)
    }
}

fn unavailable(what: &str) -> Error {
    Error::Generic { store: "simulated", source: what.to_owned().into() }
}

impl SimStore {
    async fn perform(&self, request: Request) -> Result<Answer> {
        let (fate, outward, back) = self.world.lock().unwrap().judge(self.who, &request);
        if outward > 0 {
            time::sleep(outward).await;
        }
        match fate {
            Fate::CrashBefore => self.die().await,
            Fate::FreezeBefore(span) => self.freeze(span).await,
            Fate::Slow(span) => time::sleep(span).await,
            Fate::Before => return Err(unavailable("503 slow down")),
            Fate::Conflict => {
                let path = request.key().to_owned();
                return Err(Error::AlreadyExists { path, source: "409 conflict".into() });
            }
            Fate::Late(span) => {
                self.world.lock().unwrap().apply_later(self.who, request, span);
                return Err(unavailable("no answer"));
            }
            Fate::Done | Fate::Lost | Fate::Twice(_) | Fate::CrashAfter | Fate::FreezeAfter(_) => {}
        }
        let answer = self.world.lock().unwrap().apply(self.who, &request, true);
        match fate {
            Fate::Lost => return Err(unavailable("answer lost")),
            Fate::CrashAfter => self.die().await,
            Fate::FreezeAfter(span) => self.freeze(span).await,
            Fate::Twice(span) => self.world.lock().unwrap().apply_later(self.who, request.clone(), span),
            _ => {}
        }
        if back > 0 {
            time::sleep(back).await;
        }
        self.world.lock().unwrap().answered(self.who, &request);
        let path = request.key().to_owned();
        match answer {
            Answer::Missing => Err(Error::NotFound { path, source: "404".into() }),
            Answer::Exists => Err(Error::AlreadyExists { path, source: "412".into() }),
            answer => Ok(answer),
        }
    }

    /// The driver sees the mark and drops everything.
    async fn die(&self) {
        self.world.lock().unwrap().doom(self.who);
        std::future::pending().await
    }

    /// The driver sees the mark and polls no more until then.
    async fn freeze(&self, span: i64) {
        self.world.lock().unwrap().freeze(self.who, span);
        let mut yielded = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

fn meta(key: &str, size: u64) -> ObjectMeta {
    let last_modified = DateTime::from_timestamp(0, 0).unwrap();
    ObjectMeta { location: Path::from(key), last_modified, size, e_tag: None, version: None }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (key, bytes) = (location.to_string(), Bytes::from(payload));
        let request = match options.mode {
            PutMode::Create => Request::Create(key, bytes),
            _ => Request::Put(key, bytes),
        };
        self.perform(request).await?;
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(unavailable("not simulated"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.to_string();
        let request = if options.head { Request::Head(key.clone()) } else { Request::Get(key.clone()) };
        let Answer::Found(bytes) = self.perform(request).await? else { return Err(unavailable("no bytes")) };
        let size = bytes.len() as u64;
        let range: Range<u64> = match &options.range {
            Some(range) => range.as_range(size).map_err(|error| unavailable(&error.to_string()))?,
            None => 0..size,
        };
        let part = bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap());
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::once(async { Ok(part) }).boxed()),
            meta: meta(&key, size),
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.perform(Request::Delete(location.to_string())).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let prefix = prefix.map(ToString::to_string).unwrap_or_default();
        let listed = async move {
            let Answer::Listed(found) = store.perform(Request::List(prefix)).await? else {
                return Err(unavailable("no listing"));
            };
            Ok(stream::iter(found.into_iter().map(|(key, size)| Ok(meta(&key, size)))))
        };
        stream::once(listed)
            .flat_map(|listed| match listed {
                Ok(found) => found.boxed(),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unavailable("not simulated"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unavailable("not simulated"))
    }
}
