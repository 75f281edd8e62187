//! The first records of each partition, for a look at them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Error;
use crate::record::{Partition, Records};
use crate::source::{Event, Source, SourceError, Topic};

/// How long the first records may take to come.
const SAMPLE_TIME: Duration = Duration::from_secs(5);
/// How long the broker may take to answer.
const BROKER_TIME: Duration = Duration::from_secs(15);

/// The topic, by a source that answers in time. `name` is what messages call it.
pub(in crate::cli) async fn describe(source: &mut dyn Source, name: &str) -> Result<Topic, Error> {
    let silent = || {
        SourceError::Unavailable(format!(
            "topic {name}: no answer in {} s; are brokers and security.protocol right, and does the network let them through?",
            BROKER_TIME.as_secs()
        ))
    };
    Ok(tokio::time::timeout(BROKER_TIME, source.describe()).await.map_err(|_| silent())??)
}

/// About `count` records, evenly from the beginnings of the partitions, in their order: fewer if there are no more, or
/// if they take too long to come.
pub(in crate::cli) async fn sample(
    source: &mut dyn Source,
    topic: &Topic,
    count: usize,
) -> Result<Vec<Records>, Error> {
    let each = count.div_ceil(topic.partitions.len().max(1));
    let from = topic.partitions.iter().map(|(&partition, bounds)| (partition, bounds.start)).collect();
    source.assign(&from).await?;
    let mut found: BTreeMap<Partition, Records> = BTreeMap::new();
    let mut waiting: Vec<Partition> = topic.partitions.keys().copied().collect();
    let read = async {
        while !waiting.is_empty() && each > 0 {
            match source.next().await? {
                Event::Records(records) => {
                    let partition = records.partition;
                    let kept = found.entry(partition).or_insert_with(|| Records::new(partition));
                    for record in records.iter().take(each - kept.len()) {
                        kept.push_with(
                            record.offset,
                            record.timestamp,
                            record.key,
                            record.value,
                            record.headers.iter(),
                        );
                    }
                    if kept.len() >= each {
                        waiting.retain(|one| *one != partition);
                    }
                }
                Event::Reached { partition, .. } => waiting.retain(|one| *one != partition),
                Event::Finished => break,
                Event::Waiting(why) => eprintln!("waiting: {why}"),
                Event::Ends { .. } | Event::Added(_) | Event::Resumed => {}
            }
        }
        Ok::<_, Error>(())
    };
    // What has come when the time is over is enough.
    tokio::time::timeout(SAMPLE_TIME, read).await.unwrap_or(Ok(()))?;
    Ok(found.into_values().collect())
}
