//! Faults planted on purpose, in what surrounds the pipeline: each must trip an invariant. They stand for the mistakes
//! that the invariants are there to find.

use bytes::Bytes;
use serde_json::Value;

use crate::store::{Answer, Request};
use crate::world::World;

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Every create wins: the probe refuses such a store.
    StoreOverwrites,
    /// Only log entries are overwritten, so that the probe sees nothing.
    LogIsOverwritten,
    /// A result is acknowledged and not written.
    ResultIsSwallowed,
    /// So is a state object.
    StateIsSwallowed,
    /// And a staged file.
    StageIsSwallowed,
    /// A result is written short.
    ResultIsCut,
    /// Results are visible as soon as they are staged.
    ResultBeforeEntry,
    /// State that the newest entry needs is swept.
    StateIsSwept,
    /// Offsets are committed as soon as they are delivered.
    CommitsEarly,
    /// The source leaves out some records.
    SourceSkips,
    /// The source changes some records.
    SourceAlters,
    /// The source delivers nothing more, and says nothing.
    SourceStalls,
    /// An entry's claims begin one offset too late.
    ClaimIsShifted,
    /// An entry's counts lack a record.
    CountIsLost,
    /// An entry's watermark goes back.
    WatermarkGoesBack,
    /// An entry follows other bytes than there are.
    ChainIsBroken,
    /// A window is settled again by the next entry.
    ClosedAgain,
    /// An entry forgets the file of its late or invalid records.
    KeptIsForgotten,
    /// Windows are called incomplete for no reason.
    CalledIncomplete,
    /// Gone partitions are given up without permission.
    LossIsInvented,
    /// An entry forgets the file of a window's result.
    ResultIsForgotten,
    /// A published result vanishes.
    ResultVanishes,
    /// The source goes on where a topic was cut.
    CutsAreHidden,
    /// Nothing is ever deleted.
    NothingIsDeleted,
}

fn is_entry(key: &str) -> bool {
    key.starts_with("_windrow/log/")
}

fn is_result(key: &str) -> bool {
    key.starts_with("data/") || key.starts_with("corrections/")
}

impl Plant {
    /// What becomes of a request: another one, or an answer at once.
    pub fn bend(self, world: &mut World, request: &Request) -> Result<Request, Answer> {
        let key = request.key();
        let (Request::Create(_, bytes) | Request::Put(_, bytes)) = request else {
            let kept = self == Self::NothingIsDeleted && matches!(request, Request::Delete(_));
            return if kept { Err(Answer::Written) } else { Ok(request.clone()) };
        };
        match self {
            Self::ResultIsSwallowed if is_result(key) => return Err(Answer::Written),
            Self::StateIsSwallowed if key.starts_with("_windrow/state/") => return Err(Answer::Written),
            Self::StageIsSwallowed if key.starts_with("_windrow/stage/") => return Err(Answer::Written),
            Self::ResultIsCut if is_result(key) => {
                return Ok(Request::Create(key.to_owned(), bytes.slice(..bytes.len() - 9)));
            }
            Self::ResultVanishes if is_entry(key) => {
                let entry = world.log.iter().rev().nth(1);
                if let Some(file) = entry.and_then(|entry| entry.files.first()) {
                    world.objects.held.remove(&file.path);
                }
            }
            Self::ResultBeforeEntry if key.starts_with("_windrow/stage/") => {
                let name = key.rsplit('/').next().unwrap_or_default();
                world.write(0, &format!("data/dt=2026-03-01/{name}"), bytes.clone());
            }
            Self::StateIsSwept if is_entry(key) && world.log.len() > 1 => {
                if let Some(state) =
                    world.log.last().and_then(|entry| windrow::log::publish::state_objects(entry).pop_first())
                {
                    world.apply(0, &Request::Delete(state), false);
                }
            }
            _ if is_entry(key) => {
                let entry = serde_json::from_slice(bytes).unwrap();
                if let Some(changed) = self.change(world, entry) {
                    return Ok(Request::Create(key.to_owned(), Bytes::from(serde_json::to_vec(&changed).unwrap())));
                }
            }
            _ => {}
        }
        Ok(request.clone())
    }

    /// A log entry as this fault would write it; `None` if it has no hold on this one.
    fn change(self, world: &World, mut entry: Value) -> Option<Value> {
        let number = world.log.len();
        match self {
            Self::ClaimIsShifted => {
                let claim = entry["partitions"].as_object_mut()?.values_mut().next()?;
                let from = claim["from"].as_i64()?;
                (number > 0 && claim["to"].as_i64()? > from).then(|| claim["from"] = (from + 1).into())?;
            }
            Self::CountIsLost => {
                let read = entry["counts"]["read"].as_u64()?.checked_sub(1)?;
                entry["counts"]["read"] = read.into();
            }
            Self::WatermarkGoesBack => {
                let watermark = entry["watermark"].as_i64().filter(|_| number > 1)?;
                entry["watermark"] = (watermark - 3_600_000_000).into();
            }
            Self::ChainIsBroken => entry["previous"] = Value::from("0").to_owned(),
            Self::ClosedAgain => {
                let again = world.log.iter().flat_map(|entry| &entry.closed).next()?;
                entry["closed"].as_array_mut()?.push(serde_json::to_value(again).ok()?);
            }
            Self::KeptIsForgotten => {
                let files = entry["files"].as_array_mut()?;
                let kept = files.iter().position(|file| file["kind"] == "late" || file["kind"] == "invalid")?;
                files.remove(kept);
            }
            Self::CalledIncomplete => {
                entry["closed"].as_array_mut()?.first_mut()?["complete"] = false.into();
            }
            Self::LossIsInvented => {
                let claim = entry["partitions"].as_object_mut()?.values_mut().next()?;
                let to = claim["to"].as_i64().filter(|to| *to > claim["from"].as_i64().unwrap_or(*to))?;
                claim["lost"] = serde_json::json!([to - 1, to]);
            }
            Self::ResultIsForgotten => {
                let files = entry["files"].as_array_mut()?;
                let result = files.iter().position(|file| file["kind"] == "data")?;
                files.remove(result);
            }
            _ => return None,
        }
        Some(entry)
    }
}
