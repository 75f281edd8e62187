//! Asking for schemas until there is an answer to each.

use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::super::SourceError;
use super::client::{Client, Failure};
use crate::clock::Clock;
use crate::decode::schemas::{Known, SchemaId, SchemaText, Schemas};
use crate::record::Timestamp;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is told on the way. When nothing more is told, every schema has its answer.
#[derive(Debug)]
pub(super) enum Said {
    /// The registry cannot be reached; said once an outage.
    Waiting(String),
    /// It answers again.
    Resumed,
    /// It does not know this number.
    Unknown(SchemaId),
    /// It will not answer.
    Refused(SourceError),
}

/// Numbers to ask for, each with the microseconds for which it may be unknown.
pub(super) struct Fetch {
    pub(super) client: Client,
    pub(super) schemas: Schemas,
    pub(super) clock: Clock,
    pub(super) said: Sender<Said>,
    pub(super) asked: Vec<(SchemaId, i64)>,
}

impl Fetch {
    pub(super) async fn run(self) {
        let mut away = false;
        for &(id, patience) in &self.asked {
            let Some(known) = self.answer(id, patience, &mut away).await else { return };
            if let Known::Unknown(why) = &known {
                tracing::warn!(
                    schema = id.0,
                    registry = self.client.name(),
                    "records of a schema that cannot be used: {why}"
                );
                if self.said.send(Said::Unknown(id)).await.is_err() {
                    return;
                }
            }
            self.schemas.put(id, known);
        }
    }

    /// The answer for one number; `None` if nobody waits for it any more.
    async fn answer(&self, id: SchemaId, patience: i64, away: &mut bool) -> Option<Known> {
        let mut pause = FIRST_PAUSE;
        let mut unknown_since: Option<Timestamp> = None;
        loop {
            let answer = self.client.schema(id).await;
            if *away && !matches!(answer, Err(Failure::Away(_))) {
                *away = false;
                pause = FIRST_PAUSE;
                self.said.send(Said::Resumed).await.ok()?;
            }
            match answer {
                Ok(schema) => return Some(known(schema)),
                Err(Failure::Unusable(why)) => return Some(Known::Unknown(why)),
                Err(Failure::Unknown(why)) => {
                    let now = self.clock.now();
                    let since = *unknown_since.get_or_insert(now);
                    if now.0.saturating_sub(since.0) >= patience {
                        return Some(Known::Unknown(why));
                    }
                }
                Err(Failure::Away(why)) => {
                    if !*away {
                        *away = true;
                        let text =
                            format!("schema registry {}: {why}; schema {id} is needed to go on", self.client.name());
                        self.said.send(Said::Waiting(text)).await.ok()?;
                    }
                }
                Err(Failure::Refused(why)) => {
                    let text = format!("schema registry {}: {why}", self.client.name());
                    self.said.send(Said::Refused(SourceError::Invalid(text))).await.ok()?;
                    return None;
                }
            }
            if self.said.is_closed() {
                return None;
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

fn known(schema: SchemaText) -> Known {
    Known::Schema(schema.into())
}
