//! `windrow export`: a pipeline in the words of another engine, on standard output.

use clap::Subcommand;

use super::FileArg;
use crate::clock::Clock;
use crate::error::Error;
use crate::export::{Written, flink};
use crate::source::registry::prepare::prepare;

/// The command.
#[derive(Debug, clap::Args)]
pub struct Export {
    #[command(subcommand)]
    engine: Engine,
}

/// The other engine.
#[derive(Debug, Subcommand)]
enum Engine {
    /// Write a pipeline as a script of Flink SQL; what has no equal there is refused with its line
    Flink(Flink),
}

#[derive(Debug, clap::Args)]
struct Flink {
    #[command(flatten)]
    file: FileArg,
    /// Read up to the topic's present end and close every window, as run --once --close-all
    #[arg(long)]
    once: bool,
    /// Where the files go; beside the pipeline's own folder, with -flink after its name, if not given
    #[arg(long, value_name = "URL")]
    sink: Option<String>,
}

impl Export {
    pub(super) async fn run(self) -> Result<(), Error> {
        let Engine::Flink(Flink { file, once, sink }) = self.engine;
        let mut written = Written::load(&file.file)?;
        prepare(written.pipeline_mut(), Clock::system(), Some(super::PATIENCE)).await?;
        print!("{}", flink::script(&written, &flink::Options { once, sink }).await?);
        Ok(())
    }
}
