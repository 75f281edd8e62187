//! A pipeline in the words of another engine, for those who outgrow this one: [`flink`].
//!
//! What is common to such exports is here: the pipeline file as it is written, so that `${NAME}` stays what it is and no
//! secret is written out, and what the other engine has no equal for, each with its line.

mod document;
pub mod flink;

use std::path::Path;

use crate::config::{self, ConfigError, Pipeline};
use crate::error::Error;
use document::Document;

/// What of a pipeline another engine cannot do: each on a line of its own, after `FILE:LINE:`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExportError(pub String);

/// A pipeline, and its file as it is written.
#[derive(Debug)]
pub struct Written {
    pipeline: Pipeline,
    text: String,
    file: String,
}

impl Written {
    /// Reads a pipeline file. What the environment does not have may be missing where only secrets and settings stand.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (text, file) = config::text_of(path)?;
        Self::parse(text, file, &|name| std::env::var(name).ok())
    }

    /// The same of a file's text. `env` tells what `${NAME}` stands for.
    ///
    /// # Errors
    /// As [`Written::load`].
    pub fn parse(text: String, file: String, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let needed = Document::new(&text).map(|document| document.needed()).unwrap_or_default();
        let env = |name: &str| env(name).or_else(|| (!needed.contains(name)).then(|| UNSET.to_owned()));
        let pipeline = Pipeline::parse(&text, &file, &env)?;
        Ok(Self { pipeline, text, file })
    }

    /// The pipeline, so that columns a schema tells can be filled in.
    pub fn pipeline_mut(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }
}

/// What a secret is taken for that is not set: it is never written.
const UNSET: &str = "unset";

/// What has no equal, in the order it is found.
#[derive(Debug)]
struct Refusals<'a> {
    file: &'a str,
    found: Vec<(usize, String)>,
}

impl<'a> Refusals<'a> {
    fn new(file: &'a str) -> Self {
        Self { file, found: Vec::new() }
    }

    /// Notes what has no equal, and why or what to do.
    fn refuse(&mut self, line: usize, what: impl AsRef<str>, why: impl AsRef<str>) {
        let refusal = (line, format!("{}: {}", what.as_ref(), why.as_ref()));
        if !self.found.contains(&refusal) {
            self.found.push(refusal);
        }
    }

    /// Everything found, in the file's order.
    fn result(mut self) -> Result<(), Error> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(line, _)| *line);
        let lines: Vec<_> = self.found.iter().map(|(line, text)| format!("{}:{line}: {text}", self.file)).collect();
        Err(ExportError(lines.join("\n")).into())
    }
}
