//! Every metric: its name, its meaning, and where its value comes from.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Shared;
use super::behind::BOUNDS;
use super::seen::Seen;
use crate::pipeline::Detail;
use crate::record::Timestamp;

/// One metric.
pub struct Metric {
    /// Its name; a counter's has `_total` after it.
    pub name: &'static str,
    /// What tells its values apart, besides `pipeline`.
    pub label: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
    value: Value,
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Metric {
    /// Counter, gauge, histogram or info.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Counter(_) => "counter",
            Value::Gauge(_) => "gauge",
            Value::Histogram(_) | Value::Behind => "histogram",
            Value::Info(_) => "info",
        }
    }

    /// Its name as it is asked for in queries.
    #[must_use]
    pub fn full_name(&self) -> String {
        match self.value {
            Value::Counter(_) => format!("{}_total", self.name),
            Value::Info(_) => format!("{}_info", self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// Values with what tells them apart; empty where there is one value only.
type Samples<T> = Vec<(String, T)>;

enum Value {
    Counter(fn(&Seen) -> Samples<u64>),
    Gauge(fn(&Seen) -> Samples<f64>),
    Histogram(fn(&Seen) -> &Histogram),
    Behind,
    Info(fn(&Seen) -> String),
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) | Self::Behind => MetricType::Histogram,
            Self::Info(_) => MetricType::Info,
        }
    }
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Seen) -> Samples<u64>) -> Metric {
    Metric { name, label: None, help, value: Value::Counter(value) }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Seen) -> Samples<f64>) -> Metric {
    Metric { name, label: None, help, value: Value::Gauge(value) }
}

const fn histogram(name: &'static str, help: &'static str, value: fn(&Seen) -> &Histogram) -> Metric {
    Metric { name, label: None, help, value: Value::Histogram(value) }
}

impl Metric {
    const fn by(self, label: &'static str) -> Self {
        Self { label: Some(label), ..self }
    }
}

/// Every metric. Counters begin at zero with the process.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "windrow_build",
        label: Some("version"),
        help: "The program's version",
        value: Value::Info(|_| env!("CARGO_PKG_VERSION").to_owned()),
    },
    gauge("windrow_start_timestamp_seconds", "When the process began", |seen| one(seconds(seen.started))),
    gauge(
        "windrow_ready",
        "1 while records are read and committed, 0 while something keeps the run from it; /readyz says what",
        |seen| one(flag(seen.unready().is_none())),
    ),
    counter("windrow_records_read", "Records read; aggregated, filtered, too late and invalid ones together", |seen| {
        one(seen.counts().read)
    }),
    counter("windrow_records_aggregated", "Records that are in a window's result", |seen| {
        one(seen.counts().aggregated)
    }),
    counter("windrow_records_filtered", "Records that the query's WHERE left out", |seen| one(seen.counts().filtered)),
    counter(
        "windrow_records_late",
        "Of aggregated and filtered records, those that came when their window had ended",
        |seen| one(seen.counts().late),
    ),
    counter(
        "windrow_windows_missed",
        "Hopping windows that were final for records which a later window took, once for each such record and window",
        |seen| one(seen.counts().missed),
    ),
    counter("windrow_records_too_late", "Records whose window was final; they are kept under late/", |seen| {
        one(seen.counts().too_late)
    }),
    counter("windrow_records_invalid", "Records that cannot be read; they are kept under invalid/", |seen| {
        seen.counts().invalid.into_iter().collect()
    })
    .by("reason"),
    counter(
        "windrow_offsets_without_record",
        "Offsets that held no record: transaction marks, compaction, empty lines",
        |seen| one(seen.counts().gaps),
    ),
    Metric {
        name: "windrow_record_behind_seconds",
        label: None,
        help: "How far a record's event time is behind the newest of its own partition",
        value: Value::Behind,
    },
    gauge("windrow_partition_position", "The next offset to be read", |seen| {
        partitions(seen, |_, view| Some(view.position.0 as f64))
    })
    .by("partition"),
    gauge("windrow_partition_end", "The partition's end, by the source's newest word", |seen| {
        seen.detail
            .iter()
            .flat_map(|detail| &detail.ends)
            .map(|(partition, end)| (partition.to_string(), end.0 as f64))
            .collect()
    })
    .by("partition"),
    gauge("windrow_partition_lag", "Offsets from the position to the end", |seen| {
        seen.lags().map(|(partition, lag)| (partition.to_string(), lag as f64)).collect()
    })
    .by("partition"),
    gauge("windrow_partition_watermark_timestamp_seconds", "The partition's watermark", |seen| {
        partitions(seen, |_, view| view.watermark.map(seconds))
    })
    .by("partition"),
    gauge("windrow_partition_idle", "1 while the partition is idle and holds no window open", |seen| {
        partitions(seen, |_, view| Some(flag(view.idle)))
    })
    .by("partition"),
    gauge(
        "windrow_watermark_timestamp_seconds",
        "The stream's watermark: windows that end at or before it are closed",
        |seen| some(seen, |detail| detail.view.watermark.map(seconds)),
    ),
    gauge("windrow_source_reachable", "0 while the source does not answer", |seen| {
        some(seen, |detail| Some(flag(detail.waiting.is_none())))
    }),
    gauge("windrow_open_windows", "Windows that take records", |seen| {
        some(seen, |detail| Some(detail.view.open_windows as f64))
    }),
    gauge("windrow_oldest_open_window_end_timestamp_seconds", "When the oldest open window ends", |seen| {
        some(seen, |detail| detail.windows.iter().map(|open| seconds(open.window.end)).min_by(f64::total_cmp))
    }),
    gauge("windrow_open_groups", "Groups of open windows, those of each partition by themselves", |seen| {
        some(seen, |detail| Some(detail.groups as f64))
    }),
    gauge("windrow_state_bytes", "Partial results in memory, about", |seen| {
        some(seen, |detail| Some(detail.state_bytes as f64))
    }),
    counter("windrow_commits", "Entries appended to the log", |seen| one(seen.commits)),
    gauge("windrow_log_sequence", "The newest entry's number", |seen| one(seen.sequence as f64)),
    gauge("windrow_last_commit_timestamp_seconds", "When the newest entry and all it names was durable", |seen| {
        seen.last_commit.map(seconds).map(one).unwrap_or_default()
    }),
    histogram(
        "windrow_commit_duration_seconds",
        "Until an entry was in the log: results computed and staged, state saved, entry appended",
        |seen| &seen.commit_seconds,
    ),
    histogram(
        "windrow_publish_duration_seconds",
        "From there until everything it names was under its final name",
        |seen| &seen.publish_seconds,
    ),
    histogram("windrow_window_delay_seconds", "From a window's end, by the clock, to its durable result", |seen| {
        &seen.delay_seconds
    }),
    counter("windrow_published_files", "Files published: data, correction, late or invalid", |seen| {
        seen.files.iter().map(|(kind, files)| ((*kind).to_owned(), files.files)).collect()
    })
    .by("kind"),
    counter("windrow_published_rows", "Rows in these files", |seen| {
        seen.files.iter().map(|(kind, files)| ((*kind).to_owned(), files.rows)).collect()
    })
    .by("kind"),
    counter("windrow_published_bytes", "Bytes of these files", |seen| {
        seen.files.iter().map(|(kind, files)| ((*kind).to_owned(), files.bytes)).collect()
    })
    .by("kind"),
    counter("windrow_store_requests", "What was asked of the sink's store", |seen| traffic(seen, |asked, _| asked))
        .by("operation"),
    counter("windrow_store_errors", "Of these, what failed and was tried again or given up", |seen| {
        traffic(seen, |_, failed| failed)
    })
    .by("operation"),
];

fn one<T>(value: T) -> Samples<T> {
    vec![(String::new(), value)]
}

fn some(seen: &Seen, value: impl Fn(&Detail) -> Option<f64>) -> Samples<f64> {
    seen.detail.as_ref().and_then(value).map(one).unwrap_or_default()
}

fn partitions(
    seen: &Seen,
    value: impl Fn(&Detail, &crate::engine::view::PartitionView) -> Option<f64>,
) -> Samples<f64> {
    let all = seen.detail.iter().flat_map(|detail| detail.partitions.iter().map(move |each| (detail, each)));
    all.filter_map(|(detail, (partition, view))| Some((partition.to_string(), value(detail, view)?))).collect()
}

fn traffic(seen: &Seen, value: impl Fn(u64, u64) -> u64) -> Samples<u64> {
    let counts = seen.traffic.iter().flat_map(|traffic| traffic.counts());
    counts.map(|(operation, asked, failed)| (operation.replace(' ', "_"), value(asked, failed))).collect()
}

fn seconds(time: Timestamp) -> f64 {
    time.0 as f64 / 1e6
}

fn flag(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// All of [`METRICS`], taken when they are asked for.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Shared);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.0.look();
        for metric in METRICS {
            let label = metric.label.unwrap_or_default();
            let kind = metric.value.kind();
            match &metric.value {
                Value::Counter(value) => {
                    let samples = value(&seen).into_iter().map(|(text, value)| (text, ConstCounter::new(value)));
                    family(&mut encoder, metric, kind, samples)?;
                }
                Value::Gauge(value) => {
                    let samples = value(&seen).into_iter().map(|(text, value)| (text, ConstGauge::new(value)));
                    family(&mut encoder, metric, kind, samples)?;
                }
                Value::Histogram(value) => {
                    value(&seen).encode(encoder.encode_descriptor(metric.name, metric.help, None, kind)?)?;
                }
                Value::Behind => {
                    let behind = &seen.behind;
                    let bound = |bound: &i64| if *bound == i64::MAX { f64::INFINITY } else { *bound as f64 / 1e6 };
                    let steps: Vec<(f64, u64)> = BOUNDS.iter().map(bound).zip(behind.steps).collect();
                    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
                    let count = behind.steps.iter().sum();
                    encoder.encode_histogram::<[(&str, &str); 0]>(behind.seconds, count, &steps, None)?;
                }
                Value::Info(value) => {
                    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
                    encoder.encode_info(&[(label, value(&seen))])?;
                }
            }
        }
        Ok(())
    }
}

fn family<T: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    kind: MetricType,
    samples: impl Iterator<Item = (String, T)>,
) -> fmt::Result {
    let mut encoder: MetricEncoder<'_> = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for (text, value) in samples {
        let labels: Vec<(&str, String)> = metric.label.map(|label| (label, text)).into_iter().collect();
        value.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
