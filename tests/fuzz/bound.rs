//! What one input may take: time and memory. Whoever takes more is stopped, and its input written down.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::Duration;

/// Memory that one input may take: far more than any of this size needs.
pub const MEMORY: i64 = 512 << 20;
/// Seconds that one input may take, on a machine with much else to do.
const SECONDS: u64 = 60;
const TICK: Duration = Duration::from_millis(50);

static HELD: AtomicI64 = AtomicI64::new(0);
/// What may be held; more than that is not given.
static LIMIT: AtomicI64 = AtomicI64::new(i64::MAX);
static MOST: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
pub struct Counted;

impl Counted {
    fn take(bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let held = HELD.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        MOST.fetch_max(held, Ordering::Relaxed);
        if held > LIMIT.load(Ordering::Relaxed) {
            // Whoever asks waits here until the watch, which knows the input, has ended the process.
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

#[expect(unsafe_code, reason = "an allocator is unsafe; this one hands everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(i64::try_from(layout.size()).unwrap_or(0), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::take(size);
        HELD.fetch_sub(i64::try_from(layout.size()).unwrap_or(0), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// The input at work, for the watch.
struct AtWork {
    target: &'static str,
    input: Vec<u8>,
}

static AT_WORK: Mutex<Option<AtWork>> = Mutex::new(None);
/// Ticks since the input at work began.
static TICKS: AtomicU64 = AtomicU64::new(0);
static WATCH: OnceLock<()> = OnceLock::new();

/// Where the input at work is, for an end that nobody can act on any more, such as an overflow of the stack.
static HAND: OnceLock<File> = OnceLock::new();

fn hand() -> File {
    let folder = folder();
    std::fs::create_dir_all(&folder).unwrap();
    File::create(folder.join("at-work")).unwrap()
}

/// Says what is fed now. The most memory that was held since the last call is given back by [`done`].
pub fn begin(target: &'static str, input: &[u8]) {
    WATCH.get_or_init(|| drop(thread::Builder::new().name("watch".to_owned()).spawn(watch).unwrap()));
    let file = HAND.get_or_init(hand);
    file.set_len(0).and_then(|()| file.write_all_at(input, 0)).unwrap();
    let at_work = AtWork { target, input: input.to_vec() };
    *AT_WORK.lock().unwrap() = Some(at_work);
    TICKS.store(0, Ordering::Relaxed);
    let held = HELD.load(Ordering::Relaxed);
    MOST.store(held, Ordering::Relaxed);
    LIMIT.store(held + MEMORY, Ordering::Relaxed);
}

/// The input is done with; how many bytes more than before were held at most.
pub fn done() -> i64 {
    let most = MOST.load(Ordering::Relaxed) - (LIMIT.load(Ordering::Relaxed) - MEMORY);
    LIMIT.store(i64::MAX, Ordering::Relaxed);
    *AT_WORK.lock().unwrap() = None;
    most
}

/// One target at a time: memory is counted for the whole process.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn watch() {
    loop {
        thread::sleep(TICK);
        let ticks = TICKS.fetch_add(1, Ordering::Relaxed);
        let slow = ticks > SECONDS * 1000 / u64::try_from(TICK.as_millis()).unwrap();
        let large = HELD.load(Ordering::Relaxed) > LIMIT.load(Ordering::Relaxed);
        if !(slow || large) {
            continue;
        }
        let Some(at_work) = AT_WORK.lock().unwrap().take() else { continue };
        LIMIT.store(i64::MAX, Ordering::Relaxed);
        let what = if large { "takes memory without bound" } else { "hangs" };
        let file = keep(at_work.target, &at_work.input);
        eprintln!("{}: an input of {} bytes {what}: {}", at_work.target, at_work.input.len(), file.display());
        std::process::abort();
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz")
}

/// Writes an input down that broke something.
pub fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = folder().join(target.replace(' ', "-"));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(&windrow::sink::state::digest(input)[..12]);
    std::fs::write(&file, input).unwrap();
    file
}
