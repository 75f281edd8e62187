//! What a run tells about itself over HTTP: metrics, health, readiness, and a page for people.
//!
//! An [`Observer`] takes in what there is to see; everything served is made from that. Nothing here reaches back into
//! the run. [`METRICS`] is the one table of every metric's name and meaning.

pub mod behind;
mod http;
mod metrics;
mod page;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::Pipeline;
use crate::decode::Decoded;
use crate::log::entry::Entry;
use crate::pipeline::{Detail, Observer, Took, View};
use crate::record::Timestamp;
use crate::sink::store::Store;
pub use metrics::{METRICS, Metric};
use seen::Seen;

/// What a run tells about itself.
#[derive(Clone, Debug)]
pub struct Telemetry {
    shared: Shared,
    registry: Arc<Registry>,
}

/// What was seen, shared by who sees and who tells.
#[derive(Clone)]
struct Shared {
    seen: Arc<Mutex<Seen>>,
    clock: Clock,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// What was seen so far, with the time of this look.
    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.write();
        seen.now = self.clock.now();
        seen
    }

    /// Counts are whole whatever a thread did that held them: there is nothing half done to be afraid of.
    fn write(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Telemetry {
    /// Has seen nothing yet of this pipeline.
    #[must_use]
    pub fn new(pipeline: &Pipeline, clock: Clock) -> Self {
        let seen = Seen::new(pipeline.clone(), clock.now());
        let shared = Shared { seen: Arc::new(Mutex::new(seen)), clock };
        let label = ("pipeline".into(), pipeline.name.clone().into());
        let mut registry = Registry::with_labels([label].into_iter());
        registry.register_collector(Box::new(metrics::Collected(shared.clone())));
        Self { shared, registry: Arc::new(registry) }
    }

    /// Who looks on for it.
    #[must_use]
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(Watcher(self.shared.clone()))
    }

    /// Tells of this store's requests, too.
    pub fn watch_store(&self, store: &Store) {
        self.shared.write().traffic = Some(store.traffic());
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// All metrics in the older form of the Prometheus text, for those who do not ask for OpenMetrics: a counter is
    /// announced with its `_total`, an info is a gauge, and there is no end mark.
    #[must_use]
    pub fn classic_metrics(&self) -> String {
        let known: BTreeMap<&str, &Metric> = METRICS.iter().map(|metric| (metric.name, metric)).collect();
        let text = self.metrics();
        let lines = text.lines().filter(|line| *line != "# EOF").map(|line| {
            let mut words = line.splitn(4, ' ');
            let (Some("#"), Some(what), Some(name), Some(rest)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return format!("{line}\n");
            };
            let name = known.get(name).map_or_else(|| name.to_owned(), |metric| metric.full_name());
            let rest = if what == "TYPE" && rest == "info" { "gauge" } else { rest };
            format!("# {what} {name} {rest}\n")
        });
        lines.collect()
    }

    /// Why the run does not do its work now; `None` if it does.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        self.shared.look().unready()
    }

    /// Answers whoever asks, without end.
    pub async fn serve(self, listener: TcpListener) {
        http::serve(listener, self).await;
    }

    /// Everything that the page shows, as JSON.
    fn status(&self) -> String {
        page::status(&self.shared.look()).to_string()
    }
}

/// The observer.
struct Watcher(Shared);

impl Observer for Watcher {
    fn progress(&mut self, _: &View) {}

    fn committed(&mut self, entry: &Entry) {
        self.0.write().committed(entry);
    }

    fn begins(&mut self, what: &'static str) {
        self.0.write().begins = Some(what);
    }

    fn opened(&mut self, entry: &Entry) {
        self.0.write().opened(entry);
    }

    fn decoded(&mut self, decoded: &Decoded, now: Timestamp) {
        let mut seen = self.0.write();
        let horizon = now.plus(seen.pipeline.window.max_future);
        seen.behind.take(decoded, horizon);
    }

    fn detail(&mut self, detail: &Detail) {
        self.0.write().detail = Some(detail.clone());
    }

    fn took(&mut self, took: Took) {
        self.0.write().took(took);
    }
}
