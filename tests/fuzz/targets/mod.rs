//! What is fed.

mod files;
mod records;
mod sink;
mod texts;

use std::path::PathBuf;

use tokio::runtime::Runtime;
use windrow::config::Pipeline;

/// A file of this repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A pipeline over a file with these columns, `at` among them.
fn pipeline(format: &str, columns: &str, sql: &str) -> Pipeline {
    let text = format!(
        "name = \"fuzz\"\n[source]\nformat = \"{format}\"\n[source.file]\npath = \"unused\"\n[source.columns]\n{columns}\n\
         [window]\nevent_time = \"at\"\nsize = \"30 minutes\"\nwatermark_delay = \"1 minute\"\n\
         allowed_lateness = \"10 minutes\"\n[query]\nsql = \"\"\"{sql}\"\"\"\n[sink]\nurl = \"unused\"\n"
    );
    Pipeline::parse(&text, "fuzz.toml", &|_| None).unwrap()
}
