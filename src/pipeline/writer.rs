//! Which instance writes to a sink: this one's name, and whether an earlier one is still there.

use std::fmt;
use std::fs;
use std::process;

use uuid::Uuid;

use crate::log::entry::Writer;

/// One start of a pipeline: its name, and how it finds out that another has died.
pub struct Instance {
    writer: Writer,
    gone: Box<dyn Fn(&Writer) -> bool + Send + Sync>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.writer).finish()
    }
}

impl Instance {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        Self::of(this(), is_gone)
    }

    /// An instance of this name, whose id must be its own alone: the names of what it stages begin with it. `gone` says
    /// whether another is known to have died.
    #[must_use]
    pub fn of(writer: Writer, gone: impl Fn(&Writer) -> bool + Send + Sync + 'static) -> Self {
        Self { writer, gone: Box::new(gone) }
    }

    /// Its name, as log entries have it.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether the writer of an entry is known to have died.
    #[must_use]
    pub fn knows_gone(&self, writer: &Writer) -> bool {
        (self.gone)(writer)
    }
}

/// This process, as log entries name it.
#[must_use]
pub fn this() -> Writer {
    let pid = process::id();
    Writer { id: Uuid::new_v4().simple().to_string(), host: host(), pid, started: started(pid) }
}

/// Whether the process that wrote an entry is known to be gone: it ran on this host, and no longer does. Containers
/// that share a host's name on purpose mistake each other for dead: claims keep the log right then, too.
#[must_use]
pub fn is_gone(writer: &Writer) -> bool {
    writer.host == host() && writer.started.is_some() && started(writer.pid) != writer.started
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| fs::read_to_string("/etc/hostname"));
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// When a process started, in the kernel's ticks since boot; `None` if it does not run or the kernel does not tell.
/// A zombie no longer runs.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields after it are plain.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(19)?.parse().ok()
}
