//! Whether a store keeps the one promise that everything rests on: of several creates of one key, one wins.

use bytes::Bytes;
use futures::future::join_all;

use super::SinkError;
use super::layout;
use super::store::{Created, Store};

const RACERS: usize = 16;

/// Creates a key twice, and another from sixteen sides at once. `nonce` is the caller's alone.
///
/// # Errors
/// [`SinkError::Invalid`] if a second create succeeds, or if not exactly one of the sixteen wins.
pub async fn probe(store: &Store, nonce: &str) -> Result<(), SinkError> {
    let (twice, raced) = (layout::probe(nonce, 1), layout::probe(nonce, 2));
    let outcome = async {
        let first = store.create(&twice, Bytes::from_static(b"first")).await?;
        let second = store.create(&twice, Bytes::from_static(b"second")).await?;
        if first != Created::Ours || second != Created::Theirs(Bytes::from_static(b"first")) {
            return Ok(false);
        }
        let racers = (0..RACERS).map(|racer| store.create(&raced, Bytes::from(format!("racer {racer}"))));
        let results = join_all(racers).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(results.iter().filter(|result| **result == Created::Ours).count() == 1)
    }
    .await;
    drop(store.delete(vec![twice, raced]).await);
    match outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err(SinkError::Invalid(format!(
            "sink {store}: it lets two writers create the same key, so nothing can be exactly once there; \
             use a store that honours If-None-Match, or a disk with hard links"
        ))),
        Err(error) => Err(error),
    }
}
