//! What the loop does with a source that does as it is told.

use std::sync::Mutex;

use async_trait::async_trait;
use object_store::memory::InMemory;

use super::*;
use crate::decode::json::JsonDecoder;
use crate::log::Published;
use crate::log::entry::Writer;
use crate::source::{Bounds, Start, Topic};

const HOUR: i64 = 3_600_000_000;
const BEGIN: i64 = 1_772_323_200_000_000;
/// Records of a partition, and of a batch.
const RECORDS: i64 = 24 * 200;
const BATCH: i64 = 50;

/// Partitions in turn, a batch each. The first has the records of a day, the others those of the day after.
struct InTurn {
    next: Vec<i64>,
    last: usize,
    paused: BTreeSet<Partition>,
    /// How far the others were read when the first one ended.
    others: Arc<Mutex<Option<i64>>>,
}

#[async_trait]
impl Source for InTurn {
    async fn describe(&mut self) -> Result<Topic, SourceError> {
        let bounds = Bounds { start: Offset(0), end: Some(Offset(RECORDS)) };
        let partitions = (0..).map(Partition).zip(self.next.iter().map(|_| bounds)).collect();
        Ok(Topic { name: "t".to_owned(), cluster: None, id: None, partitions, files: Vec::new() })
    }

    async fn resolve(&mut self, _: Start) -> Result<BTreeMap<Partition, Offset>, SourceError> {
        Ok((0..).map(Partition).zip(self.next.iter().map(|_| Offset(0))).collect())
    }

    async fn assign(&mut self, _: &BTreeMap<Partition, Offset>) -> Result<(), SourceError> {
        Ok(())
    }

    fn pause(&mut self, partitions: &BTreeSet<Partition>) -> Result<(), SourceError> {
        self.paused.clone_from(partitions);
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, SourceError> {
        let count = self.next.len();
        let turns = (1..=count).map(|turn| (self.last + turn) % count);
        let able = |&turn: &usize| self.next[turn] < RECORDS && !self.paused.contains(&Partition(turn as i32));
        let Some(turn) = turns.into_iter().find(able) else { return std::future::pending().await };
        self.last = turn;
        let day = if turn == 0 { 0 } else { 24 * HOUR };
        let mut records = Records::new(Partition(turn as i32));
        for offset in self.next[turn]..self.next[turn] + BATCH {
            let value = format!(r#"{{"at":{},"v":{offset}}}"#, BEGIN + day + offset * 24 * HOUR / RECORDS);
            records.push(Offset(offset), None, None, Some(value.as_bytes()));
        }
        self.next[turn] += BATCH;
        if turn == 0 && self.next[0] == RECORDS {
            *self.others.lock().unwrap() = Some(self.next[1..].iter().sum());
        }
        Ok(Event::Records(records))
    }

    fn commit(&mut self, _: &Published) {}
}

/// How far the others are read when the first partition, a day behind, has ended; and the records of the whole run.
fn a_day_behind(sql: &str, memory: u64) -> (i64, u64) {
    let text = format!(
        "name = \"t\"\n[source.kafka]\nbrokers = \"unused:1\"\ntopic = \"t\"\ngroup = \"g\"\n\
         [source.columns]\nat = \"timestamp(us)\"\nv = \"int\"\n[window]\nevent_time = \"at\"\n\
         size = \"1 hour\"\n[query]\nsql = \"{sql}\"\n[sink]\nurl = \"unused\"\n"
    );
    let mut pipeline = Pipeline::parse(&text, "t.toml", &|_| None).unwrap();
    pipeline.memory = memory;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let others = Arc::new(Mutex::new(None));
    let writer = Writer { id: "w".to_owned(), host: "h".to_owned(), pid: 1, started: None };
    let entry = runtime.block_on(async {
        let query = Query::plan(&pipeline.sql, &pipeline.columns, &BTreeMap::new()).await.unwrap();
        let parts = Parts {
            query: Arc::new(query),
            decoder: Box::new(JsonDecoder::new(&pipeline.columns, "t")),
            source: Box::new(InTurn { next: vec![0; 3], last: 0, paused: BTreeSet::new(), others: others.clone() }),
            store: Store::over(Arc::new(InMemory::new()), Clock::system()),
            instance: Instance::of(writer, |_| false),
            clock: Clock::system(),
            observer: Box::new(Unobserved),
            member: None,
            pipeline,
        };
        let (_stop, stop) = watch::channel(false);
        run(parts, Options { once: true, close_all: true }, stop).await.unwrap()
    });
    let others = others.lock().unwrap().unwrap();
    (others, entry.totals.aggregated)
}

#[test]
fn partitions_that_are_a_day_ahead_wait_while_windows_take_much() {
    let all = 3 * RECORDS.unsigned_abs();
    for sql in ["SELECT v FROM t", "SELECT v, COUNT(*) AS n FROM t GROUP BY v"] {
        let (others, read) = a_day_behind(sql, 64 << 10);
        assert!(others < RECORDS / 3, "{sql}: {others} records of the day ahead were read");
        assert_eq!(read, all);
        // With room for all of it nobody waits.
        let (others, read) = a_day_behind(sql, 512 << 20);
        assert!(others > RECORDS * 3 / 2, "{sql}: only {others} records of the day ahead were read");
        assert_eq!(read, all);
    }
}
