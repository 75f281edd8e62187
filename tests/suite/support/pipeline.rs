//! Pipeline files over rides.

use std::path::{Path, PathBuf};

use super::place::Place;
use super::rides::{MINUTE, SECOND};
use super::truth::Shape;
use super::worlds::World;

/// The query that [`Place::result`](super::place::Place::result) reads.
pub(crate) const QUERY: &str = "\
SELECT pickup_location, SUM(total_amount) AS revenue, COUNT(*) AS rides,
       MIN(total_amount) AS lowest, MAX(total_amount) AS highest
FROM   rides
WHERE  total_amount > 0
GROUP  BY pickup_location";

/// A pipeline file, part by part.
#[derive(Clone, Debug)]
pub(crate) struct PipelineFile {
    pub(crate) name: String,
    /// The lines of `[source]` itself.
    pub(crate) format: String,
    /// `[source.kafka]` or `[source.file]`, as text.
    pub(crate) source: String,
    pub(crate) shape: Shape,
    /// More lines of `[window]`.
    pub(crate) window: String,
    pub(crate) query: String,
    pub(crate) sink: String,
    /// More lines of `[sink]`.
    pub(crate) sink_lines: String,
}

impl PipelineFile {
    /// Windows of ten seconds over a file, `-` for standard input.
    pub(crate) fn over_file(path: &str, place: &Place) -> Self {
        Self::new(format!("[source.file]\npath = {path:?}"), place)
    }

    /// Windows of ten seconds over the world's topic.
    pub(crate) fn over_topic(world: &World) -> Self {
        let (brokers, topic) = (world.broker.servers(), &world.topic);
        let source = format!("[source.kafka]\nbrokers = {brokers:?}\ntopic = {topic:?}\ngroup = {topic:?}");
        Self::new(source, &world.place)
    }

    fn new(source: String, place: &Place) -> Self {
        Self {
            name: "rides".to_owned(),
            format: "format = \"json\"".to_owned(),
            source,
            shape: Shape { size: 10 * SECOND, delay: 2 * SECOND, lateness: 20 * SECOND },
            window: "idle_timeout = \"1 hour\"\n".to_owned(),
            query: QUERY.to_owned(),
            sink: place.url(),
            sink_lines: "commit_interval = \"250ms\"\n".to_owned(),
        }
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let Self { name, format, source, shape, window, query, sink, sink_lines } = self;
        let seconds = |micros: i64| format!("\"{}s\"", micros / SECOND);
        let size =
            if shape.size % MINUTE == 0 { format!("\"{} minutes\"", shape.size / MINUTE) } else { seconds(shape.size) };
        let (delay, lateness) = (seconds(shape.delay), seconds(shape.lateness));
        format!(
            r#"
name = "{name}"

[source]
{format}

{source}

[source.columns]
dropoff_at      = "timestamp"
pickup_location = "text"
total_amount    = "decimal(12, 2)"

[window]
event_time       = "dropoff_at"
size             = {size}
watermark_delay  = {delay}
allowed_lateness = {lateness}
{window}
[query]
sql = """
{query}
"""

[sink]
url = "{sink}"
{sink_lines}"#
        )
    }

    /// Writes it into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{}.toml", self.name));
        std::fs::write(&path, self.text()).unwrap();
        path
    }
}
