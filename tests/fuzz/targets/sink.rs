//! What lies in a sink, which others may be able to write to as well: log entries and state objects.
//!
//! Digests are made anew, so that nothing is refused for its checksum alone: whoever can change an object can change the
//! entry that names it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use tokio::runtime::Runtime;
use windrow::clock::Clock;
use windrow::config::Pipeline;
use windrow::decode::Decode;
use windrow::decode::json::JsonDecoder;
use windrow::engine::Engine;
use windrow::engine::cut::Cut;
use windrow::log::entry::{Chunk, Sequence};
use windrow::log::publish::{Feed, state_objects};
use windrow::log::store::newest;
use windrow::log::{gc, laws};
use windrow::query::{Keeps, Query};
use windrow::record::{Offset, Partition, Records, Timestamp};
use windrow::sink::layout;
use windrow::sink::state::{self, digest};
use windrow::sink::store::Store;

use super::{pipeline, repository, runtime};
use crate::hunt::{FEW, MANY, Target, hunt};

const GROUPS: &str = "SELECT k, COUNT(*) AS n, SUM(v) AS s, AVG(f) AS a, MIN(v) AS lo, first_value(v ORDER BY at) AS first, \
                      COUNT(DISTINCT v) AS d, approx_percentile_cont(f, 0.5) AS p FROM t GROUP BY k";
/// The query of the fixture of groups.
const SAVED_GROUPS: &str = "SELECT k, COUNT(*) AS n, SUM(v) AS s, SUM(f) AS t, AVG(f) AS m, AVG(v) AS a, LAST_VALUE(v) AS z \
                            FROM r GROUP BY k";
const ROWS: &str = "SELECT k, v, f, _offset AS o FROM t";

/// A pipeline that runs over garbage, and its query.
struct Run {
    pipeline: Pipeline,
    query: Arc<Query>,
    runtime: Runtime,
}

impl Run {
    fn new(sql: &str) -> Self {
        let columns = "at = \"timestamp(s)\"\nk = \"text\"\nv = \"int\"\nf = \"float\"";
        let (pipeline, runtime) = (pipeline("json", columns, sql), runtime());
        let query = runtime.block_on(Query::plan(sql, &pipeline.columns, &BTreeMap::new())).unwrap();
        Self { pipeline, query: Arc::new(query), runtime }
    }

    fn push(&self, engine: &mut Engine, times: std::ops::Range<i64>) -> Result<(), String> {
        for (partition, position) in engine.positions().collect::<Vec<_>>() {
            let mut records = Records::new(partition);
            for (place, time) in (0..).zip(times.clone()) {
                let value =
                    format!("{{\"at\":{},\"k\":\"k{}\",\"v\":{time},\"f\":0.5}}", 1_772_352_000 + time * 60, time % 3);
                let Some(offset) = position.0.checked_add(place) else { break };
                records.push(Offset(offset), None, None, Some(value.as_bytes()));
            }
            let decoded = JsonDecoder::new(&self.pipeline.columns, "t").decode(records);
            engine.push(&decoded, Timestamp(1_772_452_000_000_000)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn store() -> Store {
    Store::over(Arc::new(InMemory::new()), Clock::system())
}

/// Every object of a fixture's sink, by key.
fn fixture(name: &str) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, objects: &mut BTreeMap<String, Vec<u8>>) {
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if file.is_dir() {
                walk(root, &file, objects);
            } else {
                let key = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                objects.insert(key, std::fs::read(&file).unwrap());
            }
        }
    }
    let root = repository("tests/suite/fixtures/log-form-1").join(name);
    let mut objects = BTreeMap::new();
    walk(&root, &root, &mut objects);
    objects
}

/// What a run does with a log whose newest entry is this one, up to what it would write next.
async fn gone_on(run: &Run, store: &Store) -> Result<String, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let Some(stored) = newest(store).await.map_err(|error| told(&error))? else { return Ok("no log".to_owned()) };
    let entry = &stored.entry;
    let before = match entry.sequence {
        Sequence::FIRST => None,
        _ => windrow::log::store::read(store, Sequence::FIRST).await.map_err(|error| told(&error))?,
    };
    let lawful = laws::check(before.as_ref().map(|before| &before.entry), entry).map_err(|broken| broken.to_string());
    let _ = (Feed::of(entry), state_objects(entry), entry.counts.invalid());
    gc::judge(store, &stored, Timestamp(i64::MAX), 0).await.map_err(|error| told(&error))?;
    let mut pieces = BTreeMap::new();
    for chunk in entry.windows.iter().flat_map(|open| &open.parts).flat_map(|part| &part.chunks) {
        if run.query.keeps() == Keeps::Groups && chunk.run.is_none() {
            let batches = state::read(store, chunk).await.map_err(|error| told(&error))?;
            pieces.insert((chunk.object.clone(), chunk.offset), batches);
        }
    }
    let load = |chunk: &Chunk| pieces.remove(&(chunk.object.clone(), chunk.offset)).unwrap_or_default();
    let restored = Engine::restore(run.pipeline.window.clone(), run.query.clone(), entry, load);
    let mut engine = restored.map_err(|error| told(&error))?;
    run.push(&mut engine, 0..40)?;
    engine.advance(Timestamp(1_772_452_000_000_000));
    engine.cut().map_err(|error| told(&error))?;
    let _ = (engine.view_partitions().count(), engine.view_windows().count());
    engine.close_all();
    let cut = engine.cut().map_err(|error| told(&error));
    cut.map_err(|error| told(&error))?;
    lawful.map(|()| "lawful".to_owned())
}

fn entries(name: &str, sql: &str, target: &'static str) {
    let run = Run::new(sql);
    let objects = fixture(name);
    let newest = objects.keys().rfind(|key| key.starts_with("_windrow/log/")).unwrap().clone();
    let feed = |input: &[u8]| {
        let store = store();
        run.runtime.block_on(async {
            for (key, bytes) in &objects {
                let bytes = if *key == newest { input.to_vec() } else { bytes.clone() };
                store.put(key, bytes.into()).await.unwrap();
            }
            gone_on(&run, &store).await.unwrap_or_else(|error| error)
        })
    };
    let seeds =
        objects.iter().filter(|(key, _)| key.starts_with("_windrow/log/")).map(|(_, bytes)| bytes.clone()).collect();
    let words = [
        "\"from\":",
        "\"to\":",
        "\"watermark\":",
        "null",
        "true",
        "-1",
        "\"raised\":[{\"offset\":1,\"watermark\":9223372036854775807}],",
        "\"holes\":[{\"after\":null,\"before\":null}],",
        "\"lost\":[0,9],",
        "\"run\":0,",
        "../../../etc/passwd",
        "%2e%2e/",
        "/",
        "\"partitions\":{",
        "\"-2147483648\":",
        "\"2147483647\":",
        "\"chunks\":[",
        "\"windows\":[",
        "\"files\":[",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\\u0000",
    ];
    hunt(&Target { name: target, seeds, words: words.to_vec(), inputs: FEW, feed: &feed });
}

#[test]
fn log_entries_of_groups() {
    entries("groups", SAVED_GROUPS, "log entries of groups");
}

#[test]
fn log_entries_of_rows() {
    entries("rows", "SELECT *, _offset AS o FROM r", "log entries of rows");
}

/// Whatever lies there: read as a piece of a window's share, restored, saved, sealed, and closed.
fn state_objects_of(sql: &str, rows: u64, target: &'static str) {
    let run = Run::new(sql);
    let mut engine = Engine::new(run.pipeline.window.clone(), run.query.clone());
    engine.add_partition(Partition(0), Offset(0), true);
    run.push(&mut engine, 0..20).unwrap();
    let cut = engine.cut().unwrap();
    let store = store();
    let seeds = run.runtime.block_on(pieces(&store, &cut));
    assert!(!seeds.is_empty());
    let feed = |input: &[u8]| {
        run.runtime.block_on(async {
            let store = self::store();
            let key = layout::state(Sequence(2), "a", 0);
            store.put(&key, input.to_vec().into()).await.unwrap();
            let chunk =
                Chunk { object: key, offset: 0, bytes: input.len() as u64, rows, sha256: digest(input), run: None };
            let batches = match state::read(&store, &chunk).await {
                Ok(batches) => batches,
                Err(error) => return error.to_string(),
            };
            let restored = run.query.restore(&batches).and_then(|mut partial| {
                partial.snapshot()?;
                partial.seal()
            });
            let snapshot = match restored {
                Ok(snapshot) => snapshot,
                Err(error) => return error.to_string(),
            };
            match run.query.close(vec![snapshot.batches, batches]).await {
                Ok(rows) => format!("closed {}", rows.len()),
                Err(error) => error.to_string(),
            }
        })
    };
    let words = vec!["\u{0}\u{0}\u{0}\u{0}", "ARROW1", "\u{10}\u{0}"];
    hunt(&Target { name: target, seeds, words, inputs: MANY, feed: &feed });
}

/// The pieces of a cut as they are saved.
async fn pieces(store: &Store, cut: &Cut) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for batch in cut.open.iter().flat_map(|open| &open.pieces).flat_map(|piece| &piece.state.fresh) {
        let mut writer = state::StateWriter::new(store, Sequence(1), "a", 512 << 20);
        writer.push(batch, None).await.unwrap();
        seeds.extend(writer.finish().map(|(_, bytes)| bytes.to_vec()));
    }
    seeds
}

#[test]
fn state_objects_of_groups() {
    state_objects_of(GROUPS, 3, "state objects of groups");
}

#[test]
fn state_objects_of_rows() {
    state_objects_of(ROWS, 20, "state objects of rows");
}
