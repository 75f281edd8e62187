//! `windrow demo`: the main job on generated rides, with a broker inside this process.
//!
//! The pipeline is read, assembled and run as `windrow run` does it. The only things of the demo's own are the broker,
//! the rides, and the look at the result, which is read back from the published files and compared with what the
//! generator knows to be true.

mod chart;
mod feed;
mod folder;
mod report;
mod result;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::generate::count;
use super::run::{assemble, stop_on_signals};
use super::terminal::Terminal;
use crate::clock::Clock;
use crate::config::{Pipeline, SourceConfig};
use crate::error::Error;
use crate::generate::truth::{Cut, Truth};
use crate::generate::{Kind, Plan, Share};
use crate::log::entry::Entry;
use crate::pipeline::writer::Instance;
use crate::pipeline::{self, Options};
use crate::sink::store::Store;
use crate::source::embedded::Broker;
use chart::Style;
use feed::{Feed, Shared, Watch};
use folder::Folder;
use result::Published;

const PIPELINE: &str = include_str!("demo/rides.toml");
const TOPIC: &str = "rides";
const PARTITIONS: u32 = 4;
const HOUR: i64 = 3_600_000_000;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// How many rides, spread over a day
    #[arg(long, value_name = "N", value_parser = count, default_value = "200000")]
    records: u64,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A new or empty folder for the result; by default windrow-demo, or windrow-demo-2 if that is there, and so on
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What a demo leaves behind.
struct Outcome {
    entry: Entry,
    truth: Truth,
    published: Published,
}

impl Demo {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Error> {
        let folder = Folder::create(self.out.clone())?;
        let outcome = self.show(&folder, terminal, stop_on_signals()?).await;
        terminal.clear();
        let Some(outcome) = outcome? else {
            tracing::info!("stopped before the end; what is published lies in {}", folder.sink());
            return Ok(());
        };
        let text = report::report(&outcome, &folder, &report::program(), Style::of_stdout())?;
        report::print(&text);
        Ok(())
    }

    /// The whole show but its last page; `None` if the user has seen enough.
    async fn show(
        &self,
        folder: &Folder,
        terminal: &Terminal,
        asked: watch::Receiver<bool>,
    ) -> Result<Option<Outcome>, Error> {
        let partitions = i32::try_from(PARTITIONS).unwrap_or(1);
        let broker = Broker::start(TOPIC, partitions)?;
        let text = PIPELINE.replace("BROKERS", &quoted(broker.brokers())).replace("SINK", &quoted(&folder.sink()));
        let file = folder.write("rides.toml", &text)?;
        let mut pipeline = Pipeline::parse(&text, &file, &|_| None)?;
        if let SourceConfig::Kafka(kafka) = &mut pipeline.source {
            // A broker answers a waiting reader when there is something to read; this one only when the wait is over.
            kafka.properties.insert("fetch.wait.max.ms".to_owned(), "10".to_owned());
        }
        tracing::info!("an embedded broker at {}, {PARTITIONS} partitions; the pipeline is {file}", broker.brokers());

        let cut = Cut {
            watermark_delay: pipeline.window.watermark_delay,
            allowed_lateness: pipeline.window.allowed_lateness,
        };
        let plan = Plan {
            kind: Kind::Rides,
            seed: self.seed,
            partitions: PARTITIONS,
            late: Share(20_000),
            broken: Share(1000),
            ..Plan::RIDES
        };
        let plan = plan.spread(self.records, 24 * HOUR);
        let truth = Truth::new(Kind::Rides, HOUR, Some(cut));

        // Live first: the rides are written while the pipeline reads them.
        let (shared, stop) = Shared::new();
        let feed = Feed::start(broker.brokers(), plan, self.records, truth, shared.clone())?;
        let watch = Box::new(Watch::new(terminal.observer(&pipeline), self.records, shared.clone()));
        let live = assemble(pipeline.clone(), Instance::this(), Clock::system(), watch);
        let ran = match live.await {
            Ok(parts) => {
                let leaving = tokio::spawn(leave_when_asked(asked.clone(), shared));
                let ran = pipeline::run(parts, Options::default(), stop).await;
                leaving.abort();
                ran.map(drop)
            }
            Err(error) => Err(error),
        };
        let fed = feed.end().await;
        ran?;
        let Some(truth) = fed? else { return Ok(None) };

        // Then as from cron: a second run goes on where the log stands, and closes what a live run leaves open.
        let observer = terminal.observer(&pipeline);
        let parts = assemble(pipeline, Instance::this(), Clock::system(), observer).await?;
        let entry = pipeline::run(parts, Options { once: true, close_all: true }, asked.clone()).await?;
        if *asked.borrow() {
            return Ok(None);
        }
        let published = Published::read(&Store::open(&folder.sink(), &BTreeMap::new(), false)?).await?;
        Ok(Some(Outcome { entry, truth, published }))
    }
}

async fn leave_when_asked(mut asked: watch::Receiver<bool>, shared: Arc<Shared>) {
    if asked.wait_for(|asked| *asked).await.is_ok() {
        shared.leave();
    }
}

/// A text as TOML writes it; JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
