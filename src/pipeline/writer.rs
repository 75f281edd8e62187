//! Which instance writes to a sink: this one's name, and whether an earlier one is still there.

use std::fs;
use std::process;

use uuid::Uuid;

use crate::log::entry::Writer;

/// This process, as log entries name it.
#[must_use]
pub fn this() -> Writer {
    let pid = process::id();
    Writer { id: Uuid::new_v4().simple().to_string(), host: host(), pid, started: started(pid) }
}

/// Whether the process that wrote an entry is known to be gone: it ran on this host, and no longer does.
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
