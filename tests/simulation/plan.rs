//! A world before it begins: the pipeline it runs, how its topic and store behave, and what happens when.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use windrow::config::{Emit, OnDataLoss, OnQuiet, Pipeline};
use windrow::query::Query;
use windrow::sink::format::FileFormat;
use windrow::time::text::Size;
use windrow::time::window::Windows;

use crate::broker::{Manner, Rec};
use crate::faults::Faults;
use crate::planted::Plant;
use crate::time::SECOND;

/// The wall clock where a world begins: 2026-03-01 08:00.
pub const BEGIN: i64 = 1_772_352_000 * SECOND;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Sql {
    Groups,
    Having,
    Rows,
}

/// What the pipeline is told.
#[derive(Clone, Debug)]
pub struct Shape {
    pub sql: Sql,
    pub early: bool,
    pub size: i64,
    /// How many windows hold a record.
    pub overlap: i64,
    pub delay: i64,
    pub lateness: i64,
    pub idle_timeout: i64,
    pub hold: bool,
    pub commit_interval: i64,
    pub late_interval: i64,
    pub late_size: u64,
    pub accept_loss: bool,
    /// Bytes for open windows.
    pub memory: u64,
    /// Whether results are JSON lines: Parquet takes most of a small world's time.
    pub lines: bool,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// Records, or gaps, at the end of a partition.
    Append(usize, Vec<Option<Rec>>),
    AddLane,
    /// Everything but this many records is gone.
    Retain(usize, i64),
    /// The last so many records are gone, and others in their place.
    Truncate(usize, i64, Vec<Option<Rec>>),
    Broker(bool),
    /// The store answers nothing but 503 from now on, or does again.
    Outage(bool),
    Start,
    /// A run up to the present end, perhaps to close all windows: what cron does.
    Once(bool),
    /// Of the living instances, by number modulo how many there are.
    Crash(u64),
    Freeze(u64, i64),
    Stop(u64),
    /// The group gives its partitions out anew.
    Shuffle,
    /// The machine: every instance, and, of a disk, what was not yet answered.
    PowerCut,
    /// Somebody clears the sink of what nothing needs, as `windrow gc --delete` does, but whatever its age.
    Gc,
}

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shape: Shape,
    pub manner: Manner,
    pub faults: Faults,
    pub script: Vec<(i64, Action)>,
    /// From then on nothing goes wrong any more.
    pub calm_at: i64,
    /// Instances that somebody keeps running.
    pub wanted: usize,
    /// How many hosts there are: only on its own does an instance see that another has died.
    pub hosts: u64,
    /// How far an instance's wall clock may be off.
    pub skew: i64,
    pub lanes: usize,
    /// Whether the instances share the topic.
    pub shared: bool,
    /// The topic may be cut, or lose records that a strict pipeline stops for.
    pub may_stop: bool,
    pub plant: Option<Plant>,
}

/// Planned once: planning takes longer than a world.
static PLANNED: LazyLock<[(Pipeline, Arc<Query>); 3]> = LazyLock::new(|| {
    let groups = "SELECT k, COUNT(*) AS n, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi FROM t WHERE v <> 13 GROUP BY k";
    let having = format!("{groups} HAVING COUNT(*) < 3");
    let rows = "SELECT k, v, _partition AS p, _offset AS o FROM t WHERE v <> 13";
    [groups, &having, rows].map(|sql| {
        let text = format!(
            r#"
            name = "sim"
            [source]
            format = "json"
            [source.kafka]
            brokers = "unused:1"
            topic = "t"
            group = "g"
            start = "earliest"
            [source.columns]
            at = "timestamp(us)"
            k = "text"
            v = "int"
            [window]
            event_time = "at"
            size = "10 seconds"
            [query]
            sql = "{sql}"
            [sink]
            url = "unused"
            "#
        );
        let pipeline = Pipeline::parse(&text, "sim.toml", &|_| None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let query = runtime.block_on(Query::plan(sql, &pipeline.columns, &BTreeMap::new())).unwrap();
        (pipeline, Arc::new(query))
    })
});

/// The pipeline of this shape, and its query.
pub fn pipeline(shape: &Shape) -> (Pipeline, Arc<Query>) {
    let (pipeline, query) = &PLANNED[match shape.sql {
        Sql::Groups => 0,
        Sql::Having => 1,
        Sql::Rows => 2,
    }];
    let mut pipeline = pipeline.clone();
    let window = &mut pipeline.window;
    let [size, every] = [shape.size, shape.size / shape.overlap].map(Size::Physical);
    window.windows = Windows::hopping(size, every, None, None).unwrap();
    window.watermark_delay = shape.delay;
    window.allowed_lateness = shape.lateness;
    window.emit = if shape.early { Emit::Early } else { Emit::Final };
    window.idle_timeout = shape.idle_timeout;
    window.on_quiet = if shape.hold { OnQuiet::Hold } else { OnQuiet::Advance };
    window.max_future = 10 * 365 * 86_400 * SECOND;
    pipeline.on_data_loss = if shape.accept_loss { OnDataLoss::Continue } else { OnDataLoss::Stop };
    pipeline.sink.commit_interval = shape.commit_interval;
    pipeline.sink.late_interval = shape.late_interval;
    pipeline.sink.late_size = shape.late_size;
    pipeline.memory = shape.memory;
    pipeline.sink.format = if shape.lines { FileFormat::Jsonl } else { FileFormat::Parquet };
    (pipeline, query.clone())
}
