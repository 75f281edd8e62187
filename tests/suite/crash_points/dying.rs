//! An instance that counts its steps and dies at one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;
use windrow::clock::Clock;
use windrow::config::{Pipeline, SourceConfig};
use windrow::decode::json::JsonDecoder;
use windrow::decode::{Decode, Decoded};
use windrow::log::Published;
use windrow::pipeline::writer::Instance;
use windrow::pipeline::{self, Options, Parts, Unobserved};
use windrow::query::Query;
use windrow::record::{Offset, Partition, Records};
use windrow::sink::store::Store;
use windrow::source::kafka::KafkaSource;
use windrow::source::{Event, Source, SourceError, Start, Topic};

use super::Step;

/// What a request to the store is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Put,
    Create,
    Delete,
}

/// Runs the pipeline until it dies.
pub(super) fn run(file: &FilePath, step: Step, count: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        let pipeline = Pipeline::load(file).unwrap();
        let query = Query::plan(&pipeline.sql, &pipeline.columns, &pipeline.tables).await.unwrap();
        let end = End { step, left: Arc::new(AtomicU64::new(count)) };
        let clock = Clock::system();
        let store = Store::open(&pipeline.sink.url, &pipeline.sink.properties, true).unwrap();
        let layered = end.clone();
        let store = store.through(move |inner| Arc::new(DyingStore { inner, end: layered }));
        let SourceConfig::Kafka(kafka) = &pipeline.source else { panic!("a topic is read") };
        let source = DyingSource { inner: KafkaSource::connect(kafka, clock).unwrap(), end: end.clone() };
        let decoder = DyingDecoder { inner: JsonDecoder::new(&pipeline.columns, &kafka.topic), end };
        let once = matches!(step, Step::LastEntry { .. });
        let parts = Parts {
            pipeline,
            query: Arc::new(query),
            source: Box::new(source),
            decoder: Box::new(decoder),
            store,
            instance: Instance::this(),
            clock,
            observer: Box::new(Unobserved),
            member: None,
        };
        let (_stop, stopped) = watch::channel(false);
        pipeline::run(parts, Options { once, close_all: false }, stopped).await
    });
    panic!("it lived: {ended:?}");
}

/// How often the step may still be reached.
#[derive(Clone, Debug)]
struct End {
    step: Step,
    left: Arc<AtomicU64>,
}

impl End {
    /// As a power cut: nothing is cleaned up, no destructor runs.
    #[allow(clippy::print_stderr, reason = "the test looks for it")]
    fn reached(&self, step: Step) {
        if self.step == step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            eprintln!("dies here: {step:?}");
            std::process::abort();
        }
    }

    fn request(&self, verb: Verb, path: &Path, done: bool) {
        // In a bucket the sink is one folder down.
        let below = path.as_ref().split_once('/').map_or("", |(_, below)| below);
        if let Step::Store { verb: wanted, key, done: when } = self.step
            && (wanted, when) == (verb, done)
            && [path.as_ref(), below].iter().any(|path| path.starts_with(key))
        {
            self.reached(self.step);
        }
    }
}

struct DyingDecoder {
    inner: JsonDecoder,
    end: End,
}

impl Decode for DyingDecoder {
    fn decode(&mut self, records: Records) -> Decoded {
        let decoded = self.inner.decode(records);
        self.end.reached(Step::Decoded);
        decoded
    }
}

struct DyingSource {
    inner: KafkaSource,
    end: End,
}

#[async_trait]
impl Source for DyingSource {
    async fn describe(&mut self) -> std::result::Result<Topic, SourceError> {
        self.inner.describe().await
    }

    async fn resolve(&mut self, start: Start) -> std::result::Result<BTreeMap<Partition, Offset>, SourceError> {
        self.inner.resolve(start).await
    }

    async fn assign(&mut self, from: &BTreeMap<Partition, Offset>) -> std::result::Result<(), SourceError> {
        self.inner.assign(from).await
    }

    async fn next(&mut self) -> std::result::Result<Event, SourceError> {
        let event = self.inner.next().await?;
        if matches!(event, Event::Records(_)) {
            self.end.reached(Step::Fetched);
        }
        Ok(event)
    }

    fn take_back(&mut self, records: Records) {
        self.inner.take_back(records);
    }

    fn commit(&mut self, published: &Published) {
        self.end.reached(Step::Told { done: false });
        self.inner.commit(published);
        self.end.reached(Step::Told { done: true });
    }
}

#[derive(Debug)]
struct DyingStore {
    inner: Arc<dyn ObjectStore>,
    end: End,
}

impl fmt::Display for DyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for DyingStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let verb = if options.mode == PutMode::Create { Verb::Create } else { Verb::Put };
        let text = bytes::Bytes::from(payload.clone());
        let ends = verb == Verb::Create && String::from_utf8_lossy(&text).contains("\"released\":true");
        self.end.request(verb, location, false);
        if ends {
            self.end.reached(Step::LastEntry { done: false });
        }
        let done = self.inner.put_opts(location, payload, options).await?;
        self.end.request(verb, location, true);
        if ends {
            self.end.reached(Step::LastEntry { done: true });
        }
        Ok(done)
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (before, after) = (self.end.clone(), self.end.clone());
        let locations = locations.inspect(move |location| {
            if let Ok(location) = location {
                before.request(Verb::Delete, location, false);
            }
        });
        let deleted = self.inner.delete_stream(locations.boxed()).inspect(move |location| {
            if let Ok(location) = location {
                after.request(Verb::Delete, location, true);
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
