//! The world's time: it passes only when nothing is left to do, and jumps to the next thing that happens.
//!
//! A world lives on one thread, so its time is that thread's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use windrow::clock::Time;

pub const MILLI: i64 = 1_000;
pub const SECOND: i64 = 1_000_000;

#[derive(Debug)]
pub struct Virtual;

/// The time of the world on this thread.
pub static VIRTUAL: Virtual = Virtual;

#[derive(Default)]
struct Timeline {
    now: i64,
    count: u64,
    timers: BTreeMap<(i64, u64), Waker>,
}

thread_local! {
    static TIMELINE: RefCell<Timeline> = RefCell::default();
}

impl Time for Virtual {
    fn passed(&self) -> i64 {
        now()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(until(now() + i64::try_from(span.as_micros()).unwrap()))
    }
}

/// A new world begins.
pub fn reset() {
    TIMELINE.with_borrow_mut(|line| *line = Timeline::default());
}

pub fn now() -> i64 {
    TIMELINE.with_borrow(|line| line.now)
}

/// When the next sleeper wakes.
pub fn next() -> Option<i64> {
    TIMELINE.with_borrow(|line| line.timers.keys().next().map(|key| key.0))
}

/// Lets time pass up to `to`, and wakes who slept until then.
pub fn pass(to: i64) {
    let due = TIMELINE.with_borrow_mut(|line| {
        line.now = line.now.max(to);
        let later = line.timers.split_off(&(line.now, u64::MAX));
        std::mem::replace(&mut line.timers, later)
    });
    due.into_values().for_each(Waker::wake);
}

/// Ready at `deadline`.
pub fn until(deadline: i64) -> Sleep {
    Sleep { deadline, key: None }
}

pub fn sleep(span: i64) -> Sleep {
    until(now() + span)
}

pub struct Sleep {
    deadline: i64,
    key: Option<(i64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        TIMELINE.with_borrow_mut(|line| {
            if line.now >= self.deadline {
                return Poll::Ready(());
            }
            let key = self.key.unwrap_or_else(|| {
                line.count += 1;
                (self.deadline, line.count)
            });
            self.key = Some(key);
            line.timers.insert(key, context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            TIMELINE.with_borrow_mut(|line| line.timers.remove(&key));
        }
    }
}
