//! The group: a coordinator that gives out partitions, late and sometimes wrongly, and an instance's membership in it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use windrow::log::Published;
use windrow::record::Partition;
use windrow::source::SourceError;
use windrow::source::member::{Change, Member};

use crate::time::{self, MILLI, SECOND};
use crate::world::{Shared, World};

/// A member that is not heard of for this long is out.
const SESSION: i64 = 30 * SECOND;
/// And so is one that does not let go for this long.
const PATIENCE: i64 = 20 * SECOND;

/// Who is in the group, and who is to read what.
#[derive(Debug, Default)]
pub struct Coordinator {
    members: BTreeMap<usize, Membership>,
    target: BTreeMap<i32, usize>,
    /// Members and partitions that the target was made for.
    made_for: (Vec<usize>, usize),
}

#[derive(Debug)]
struct Membership {
    heard: i64,
    /// What it was told to read and has not let go.
    has: BTreeSet<i32>,
    /// Since when it is asked to let go.
    asked: Option<i64>,
}

impl Coordinator {
    /// The next look gives the partitions out anew.
    pub fn shuffle(&mut self) {
        self.made_for = (Vec::new(), 0);
    }

    fn leave(&mut self, who: usize) {
        self.members.remove(&who);
    }
}

/// Lets the group's time pass.
fn tick(world: &mut World) {
    let now = time::now();
    let lanes = world.broker.lanes.len();
    let group = &mut world.group;
    group
        .members
        .retain(|_, member| now - member.heard < SESSION && member.asked.is_none_or(|asked| now - asked < PATIENCE));
    let made_for = (group.members.keys().copied().collect::<Vec<_>>(), lanes);
    if made_for == group.made_for || made_for.0.is_empty() {
        return;
    }
    let mut target = BTreeMap::new();
    for lane in 0..i32::try_from(lanes).unwrap() {
        let stays = group.target.get(&lane).copied().filter(|who| made_for.0.contains(who));
        let sticky = stays.is_some() && world.chance.happens(500);
        target.insert(lane, stays.filter(|_| sticky).unwrap_or_else(|| world.chance.pick(&made_for.0)));
    }
    world.say(|| format!("the group gives {target:?}"));
    (world.group.target, world.group.made_for) = (target, made_for);
}

/// One instance's membership.
pub struct SimMember {
    world: Shared,
    who: usize,
    name: String,
    has: BTreeSet<i32>,
    leaving: BTreeSet<i32>,
    looked: i64,
}

impl SimMember {
    pub fn new(world: Shared, who: usize) -> Self {
        let name = format!("sim-{who}");
        Self { world, who, name, has: BTreeSet::new(), leaving: BTreeSet::new(), looked: i64::MIN }
    }

    fn step(&mut self) -> Option<Change> {
        let shared = self.world.clone();
        let mut world = shared.lock().unwrap();
        let now = time::now();
        if world.broker.down || now < self.looked {
            return None;
        }
        self.looked = now + world.chance.between(100, 1500) * MILLI;
        let partitions = |lanes: &BTreeSet<i32>| lanes.iter().copied().map(Partition).collect::<BTreeSet<_>>();
        tick(&mut world);
        let mut is_new = false;
        world.group.members.entry(self.who).or_insert_with(|| {
            is_new = true;
            Membership { heard: now, has: BTreeSet::new(), asked: None }
        });
        if is_new {
            let lost = std::mem::take(&mut self.has);
            if !lost.is_empty() {
                return Some(Change::Leaving(partitions(&lost)));
            }
            tick(&mut world);
        }
        let others: BTreeSet<i32> = world
            .group
            .members
            .iter()
            .filter(|(who, _)| **who != self.who)
            .flat_map(|(_, member)| member.has.iter().copied())
            .collect();
        let mine: BTreeSet<i32> =
            world.group.target.iter().filter(|(_, who)| **who == self.who).map(|(&lane, _)| lane).collect();
        let hasty = !world.calm && world.chance.happens(100);
        let member = world.group.members.get_mut(&self.who).unwrap();
        member.heard = now;
        let leaving: BTreeSet<i32> = self.has.difference(&mine).copied().collect();
        if !leaving.is_empty() {
            member.asked.get_or_insert(now);
            self.leaving.clone_from(&leaving);
            self.has.retain(|lane| !leaving.contains(lane));
            return Some(Change::Leaving(partitions(&leaving)));
        }
        // Now and then somebody is told to read what another has not let go.
        let free = |lane: &i32| hasty || !others.contains(lane);
        let gained: BTreeSet<i32> = mine.difference(&self.has).copied().filter(free).collect();
        if gained.is_empty() {
            return None;
        }
        self.has.extend(&gained);
        member.has.extend(&gained);
        Some(Change::Gained(partitions(&gained)))
    }
}

impl Drop for SimMember {
    fn drop(&mut self) {
        // What dies is missed only by its silence.
        if let Ok(mut world) = self.world.try_lock()
            && world.instances[self.who].stopping
        {
            world.group.leave(self.who);
        }
    }
}

#[async_trait]
impl Member for SimMember {
    fn name(&self) -> &str {
        &self.name
    }

    async fn next(&mut self) -> Result<Change, SourceError> {
        loop {
            if let Some(change) = self.step() {
                return Ok(change);
            }
            time::until(self.looked.max(time::now() + 200 * MILLI)).await;
        }
    }

    fn let_go(&mut self) {
        let mut world = self.world.lock().unwrap();
        let leaving = std::mem::take(&mut self.leaving);
        if let Some(member) = world.group.members.get_mut(&self.who) {
            member.has.retain(|lane| !leaving.contains(lane));
            member.asked = None;
        }
    }

    fn alive(&mut self) {
        let mut world = self.world.lock().unwrap();
        let now = time::now();
        if let Some(member) = world.group.members.get_mut(&self.who) {
            member.heard = now;
        }
    }

    fn commit(&mut self, published: &Published, of: &BTreeSet<Partition>) {
        let next = published.next().iter().filter(|(partition, _)| of.contains(partition));
        let offsets = next.map(|(partition, offset)| (partition.0, offset.0)).collect();
        self.world.lock().unwrap().tell(self.who, &offsets);
    }
}
