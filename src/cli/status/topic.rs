//! Where the topic's partitions end now, by the brokers' word.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{KafkaConfig, Pipeline, SourceConfig};
use crate::error::Error;
use crate::log::entry::Entry;
use crate::record::{Offset, Partition};
use crate::source::kafka::KafkaSource;
use crate::source::{Source, SourceError, Start};

/// How long the brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Each partition's end.
pub(super) type Ends = BTreeMap<Partition, Offset>;

/// Asks; `None` if nobody is named to be asked.
pub(super) async fn ends(entry: &Entry, file: Option<&Path>, brokers: Option<&str>) -> Result<Option<Ends>, Error> {
    let Some(config) = config(entry, file, brokers)? else { return Ok(None) };
    let mut source = KafkaSource::connect(&config, Clock::system())?;
    let silent = || {
        let text = format!(
            "broker {}: no answer in {} s; are brokers and security.protocol right, and does the network let them through?",
            config.brokers,
            PATIENCE.as_secs()
        );
        SourceError::Unavailable(text)
    };
    let topic = tokio::time::timeout(PATIENCE, source.describe()).await.map_err(|_| silent())??;
    if let (Some(before), Some(now)) = (&entry.topic.cluster, &topic.cluster)
        && before != now
    {
        let text = format!("these brokers are cluster {now}, the log counts offsets of cluster {before}");
        return Err(Error::Usage(text));
    }
    let ends = topic.partitions.into_iter().filter_map(|(partition, bounds)| Some((partition, bounds.end?)));
    Ok(Some(ends.collect()))
}

fn config(entry: &Entry, file: Option<&Path>, brokers: Option<&str>) -> Result<Option<KafkaConfig>, Error> {
    let mut config = match (file, brokers) {
        (None, None) => return Ok(None),
        (None, Some(brokers)) => KafkaConfig {
            brokers: brokers.to_owned(),
            topic: entry.topic.name.clone(),
            // Nothing is committed under it: the ends are asked for, no record is read.
            group: "windrow-status".to_owned(),
            start: Start::Latest,
            properties: BTreeMap::new(),
            headers: false,
            shared: false,
        },
        (Some(file), _) => match Pipeline::load(file)?.source {
            SourceConfig::Kafka(config) => config,
            _ => return Err(Error::Usage(format!("{} reads no topic; a file has no lag", file.display()))),
        },
    };
    if config.topic != entry.topic.name {
        let text = format!("this sink was filled from {}, not {}", entry.topic.name, config.topic);
        return Err(Error::Usage(text));
    }
    if let Some(brokers) = brokers {
        brokers.clone_into(&mut config.brokers);
    }
    Ok(Some(config))
}
