//! Places to write to: a local folder, or a prefix of a bucket. What lies in them is read without Windrow's own code,
//! but for the store's client.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use windrow::sink::store::Store;

use super::truth::{Group, Rows};
use super::{skip, unique};

/// A sink's place.
pub(crate) struct Place {
    target: Target,
    /// The path below the target.
    path: String,
    /// The bucket's client, and what it runs on.
    client: OnceCell<(Runtime, Store)>,
}

#[derive(Clone)]
enum Target {
    /// A temporary folder.
    Disk(Arc<TempDir>),
    /// A folder that somebody else takes away.
    Given(PathBuf),
    S3(S3),
}

/// An S3 server as the environment names it.
#[derive(Clone)]
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl S3 {
    /// The server that the environment names; `None`, told as left out, if it names none.
    pub(crate) fn from_env(test: &str) -> Option<Self> {
        let named =
            |name: &str| std::env::var(format!("WINDROW_TEST_S3_{name}")).ok().filter(|value| !value.is_empty());
        let Some(endpoint) = named("ENDPOINT") else {
            skip(test, "WINDROW_TEST_S3_ENDPOINT names no server");
            return None;
        };
        let needed = |name: &str| named(name).unwrap_or_else(|| panic!("WINDROW_TEST_S3_{name} is not set"));
        Some(Self {
            endpoint,
            bucket: needed("BUCKET"),
            region: named("REGION").unwrap_or_else(|| "us-east-1".to_owned()),
            key: needed("ACCESS_KEY_ID"),
            secret: needed("SECRET_ACCESS_KEY"),
        })
    }

    /// The variables that programs look for.
    pub(crate) fn env(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_REGION", &self.region),
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
        ]
    }
}

/// One result file, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResultFile {
    pub(crate) start: i64,
    pub(crate) revision: i32,
    pub(crate) rows: Rows,
}

impl Place {
    fn new(target: Target, path: String) -> Self {
        Self { target, path, client: OnceCell::new() }
    }

    /// A new folder.
    pub(crate) fn disk() -> Self {
        Self::new(Target::Disk(Arc::new(TempDir::new().unwrap())), "sink".to_owned())
    }

    /// This folder.
    pub(crate) fn at(folder: &Path) -> Self {
        Self::new(Target::Given(folder.to_owned()), "sink".to_owned())
    }

    /// A new prefix on the S3 server that the environment names, if it does.
    pub(crate) fn s3(test: &str) -> Option<Self> {
        Some(Self::new(Target::S3(S3::from_env(test)?), unique("suite")))
    }

    /// A new prefix on this S3 server.
    #[allow(dead_code, reason = "for the torture run, which has a server of its own")]
    pub(crate) fn on(server: S3) -> Self {
        Self::new(Target::S3(server), unique("suite"))
    }

    /// A place below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        Self::new(self.target.clone(), format!("{}/{name}", self.path))
    }

    /// The S3 server, if it is one.
    pub(crate) fn server(&self) -> Option<&S3> {
        if let Target::S3(server) = &self.target { Some(server) } else { None }
    }

    /// As the pipeline file and the command line name it.
    pub(crate) fn url(&self) -> String {
        match &self.target {
            Target::Disk(_) | Target::Given(_) => self.folder().unwrap().display().to_string(),
            Target::S3(server) => format!("s3://{}/{}", server.bucket, self.path),
        }
    }

    /// A command that can reach this place.
    pub(crate) fn windrow(&self) -> Command {
        let mut command = super::process::windrow();
        if let Target::S3(server) = &self.target {
            command.envs(server.env());
        }
        command
    }

    /// The local folder, if it is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.target {
            Target::Disk(dir) => Some(dir.path().join(&self.path)),
            Target::Given(folder) => Some(folder.join(&self.path)),
            Target::S3(_) => None,
        }
    }

    fn with_store<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> T {
        let (runtime, store) = self.client.get_or_init(|| {
            let Target::S3(server) = &self.target else { panic!("{} is a folder", self.url()) };
            let setting = |(key, value): (&str, &str)| (key.to_lowercase(), value.to_owned());
            let store = Store::open(&self.url(), &server.env().map(setting).into_iter().collect(), true).unwrap();
            (tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(), store)
        });
        runtime.block_on(work(store))
    }

    /// Every key under `folder` that ends in `end`, as a glob finds them.
    pub(crate) fn keys(&self, folder: &str, end: &str) -> Vec<String> {
        fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut found = Vec::new();
        match self.folder() {
            Some(root) => walk(&root, &root.join(folder), &mut found),
            None => {
                let listed = self.with_store(async |store| store.list(folder).await.unwrap());
                found.extend(listed.into_iter().map(|(key, _)| key));
            }
        }
        found.retain(|key| key.ends_with(end));
        found.sort();
        found
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        match self.folder() {
            Some(root) => root.join(key).exists(),
            None => self.with_store(async |store| store.size(key).await.unwrap().is_some()),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Bytes {
        match self.folder() {
            Some(root) => fs::read(root.join(key)).unwrap_or_else(|error| panic!("{key}: {error}")).into(),
            None => {
                self.with_store(async |store| store.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is gone")))
            }
        }
    }

    /// Puts bytes where they do not belong.
    pub(crate) fn plant(&self, key: &str, bytes: &[u8]) {
        match self.folder() {
            Some(root) => {
                fs::create_dir_all(root.join(key).parent().unwrap()).unwrap();
                fs::write(root.join(key), bytes).unwrap();
            }
            None => self.with_store(async |store| store.put(key, bytes.to_vec().into()).await.unwrap()),
        }
    }

    pub(crate) fn remove(&self, key: &str) {
        match self.folder() {
            Some(root) => fs::remove_file(root.join(key)).unwrap(),
            None => drop(self.with_store(async |store| store.delete(vec![key.to_owned()]).await)),
        }
    }

    /// The rows of a Parquet file, column by column.
    pub(crate) fn batches(&self, key: &str) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.get(key));
        let reader = reader.unwrap_or_else(|error| panic!("{key} is not whole: {error}")).build().unwrap();
        reader.map(|batch| batch.unwrap_or_else(|error| panic!("{key} is not whole: {error}"))).collect()
    }

    /// One result file of the rides query, checked for what must hold of every such file.
    pub(crate) fn result(&self, key: &str) -> ResultFile {
        let (mut rows, mut starts, mut revisions) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for batch in self.batches(key) {
            let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            let expected =
                ["window_start", "window_end", "pickup_location", "revenue", "rides", "lowest", "highest", "_revision"];
            assert_eq!(names, expected, "{key}");
            let zones = batch.column(2).as_string::<i32>();
            let cents = |column: usize, row: usize| {
                let column = batch.column(column).as_primitive::<Decimal128Type>();
                assert_eq!(column.scale(), 2, "{key}");
                i64::try_from(column.value(row)).unwrap()
            };
            for row in 0..batch.num_rows() {
                starts.insert(batch.column(0).as_primitive::<TimestampMicrosecondType>().value(row));
                revisions.insert(batch.column(7).as_primitive::<Int32Type>().value(row));
                let rides = batch.column(4).as_primitive::<Int64Type>().value(row);
                let group = Group { cents: cents(3, row), rides, lowest: cents(5, row), highest: cents(6, row) };
                rows.push((zones.value(row).to_owned(), group));
            }
        }
        assert_eq!((starts.len(), revisions.len()), (1, 1), "{key} is of one window and one revision");
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "{key} is sorted by its group");
        let (start, revision) = (*starts.first().unwrap(), *revisions.first().unwrap());
        let time = chrono::DateTime::from_timestamp_micros(start).unwrap();
        let name = if revision == 0 { String::new() } else { format!("-r{revision}") };
        let end = format!("dt={}/rides-{}{name}.parquet", time.format("%Y-%m-%d"), time.format("%Y%m%dT%H%M%SZ"));
        assert!(key.ends_with(&end), "{key} is the name of the window that starts at {time}");
        ResultFile { start, revision, rows: rows.into_iter().collect() }
    }

    /// Every result under `folder` by window; a panic if one window is there twice.
    pub(crate) fn results(&self, folder: &str) -> BTreeMap<i64, Rows> {
        let mut results = BTreeMap::new();
        for key in self.keys(folder, ".parquet") {
            let file = self.result(&key);
            assert!(results.insert(file.start, file.rows).is_none(), "{key}: its window is there twice");
        }
        results
    }

    /// Partition and offset of every record kept under `late` or `invalid`; a panic if one is there twice.
    pub(crate) fn kept(&self, folder: &str) -> BTreeSet<(i32, i64)> {
        let mut kept = BTreeSet::new();
        for key in self.keys(folder, ".parquet") {
            for batch in self.batches(&key) {
                let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
                let offsets = batch.column_by_name("offset").unwrap().as_primitive::<Int64Type>();
                for row in 0..batch.num_rows() {
                    assert!(kept.insert((partitions.value(row), offsets.value(row))), "{key} keeps a record twice");
                }
            }
        }
        kept
    }

    /// Adds the log's entries that are not in `log` yet, in order.
    pub(crate) fn read_log(&self, log: &mut Vec<Value>) {
        let keys = self.keys("_windrow/log", ".json");
        log.extend(keys[log.len()..].iter().map(|key| serde_json::from_slice::<Value>(&self.get(key)).unwrap()));
    }

    /// The log's newest entry.
    pub(crate) fn newest(&self) -> Option<Value> {
        let newest = self.keys("_windrow/log", ".json").pop()?;
        Some(serde_json::from_slice(&self.get(&newest)).unwrap())
    }
}
