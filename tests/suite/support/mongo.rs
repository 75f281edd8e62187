//! A real server that speaks MongoDB's protocol: a database of its own for each test.

use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Client, Database, IndexModel};
use tokio::runtime::Runtime;

use super::{skip, unique};

/// A database on the server that the environment names. It goes with this.
pub(crate) struct Mongo {
    url: String,
    runtime: Runtime,
    database: Database,
}

impl Mongo {
    /// On the server that the environment names; `None`, told as left out, if it names none.
    pub(crate) fn from_env(test: &str) -> Option<Self> {
        let Some(url) = std::env::var("WINDROW_TEST_MONGO").ok().filter(|url| !url.is_empty()) else {
            skip(test, "WINDROW_TEST_MONGO names no server");
            return None;
        };
        let name = unique("poll").replace('-', "_");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(Client::with_uri_str(&url)).unwrap();
        let database = client.database(&name);
        Some(Self { url: format!("{}/{name}", url.trim_end_matches('/')), runtime, database })
    }

    /// The server's address with the database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a collection holds.
    pub(crate) fn documents(&self, collection: &str) -> Vec<Document> {
        self.runtime.block_on(async {
            let mut cursor = self.database.collection::<Document>(collection).find(doc! {}).await.unwrap();
            let mut found = Vec::new();
            while cursor.advance().await.unwrap() {
                found.push(cursor.deserialize_current().unwrap());
            }
            found
        })
    }

    /// From now on the collection has each value of `field` once.
    pub(crate) fn unique_index(&self, collection: &str, field: &str) {
        let options = IndexOptions::builder().unique(true).build();
        let index = IndexModel::builder().keys(doc! { field: 1 }).options(options).build();
        let collection = self.database.collection::<Document>(collection);
        self.runtime.block_on(async { collection.create_index(index).await }).unwrap();
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(async { self.database.drop().await });
    }
}
