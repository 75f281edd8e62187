//! The built binary: run to its end, or started, watched, killed and stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{PATIENCE, eventually};

/// The binary, with an environment that says nothing but what a test adds.
pub(crate) fn windrow() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windrow"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") || name.to_string_lossy().starts_with("WINDROW_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// This, if the exit code is `code`; a panic that shows everything else.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked at"), "{}", self.stderr);
        self
    }

    /// Both outputs together.
    pub(crate) fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end, with nothing on standard input.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ended {
    Running::start(command.stdin(Stdio::null())).wait(PATIENCE)
}

/// Runs a command to its end, with this file on standard input.
#[track_caller]
pub(crate) fn run_with_input(command: &mut Command, input: &Path) -> Ended {
    Running::start(command.stdin(File::open(input).unwrap())).wait(PATIENCE)
}

/// A process that runs. It is killed when this goes.
pub(crate) struct Running {
    child: Child,
    /// Where its words go: files never make it wait.
    words: TempDir,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let words = TempDir::new().unwrap();
        let file = |name: &str| File::create(words.path().join(name)).unwrap();
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, words }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, if that was to be a pipe.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.words.path().join(name)
    }

    /// What it has said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("stderr")).unwrap()).into_owned()
    }

    /// Waits until it has said `text`; a panic if it ends before that.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        eventually(&format!("{text:?} on standard error"), PATIENCE, || {
            let gone = self.child.try_wait().unwrap();
            let said = self.stderr();
            if said.contains(text) {
                return Some(());
            }
            assert!(gone.is_none(), "it ended with {gone:?} before it said {text:?}:\n{said}");
            None
        });
    }

    /// A panic if it has ended by itself.
    #[track_caller]
    pub(crate) fn assert_runs(&mut self) {
        let gone = self.child.try_wait().unwrap();
        assert!(gone.is_none(), "it ended with {gone:?}:\n{}", self.stderr());
    }

    /// Its exit code, if it has ended by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.stderr()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success(), "kill -{name} {}", self.pid());
    }

    /// SIGTERM, then waits for its end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.wait(PATIENCE)
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
        let clock = windrow::clock::Clock::system();
        let until = clock.now().plus(i64::try_from(limit.as_micros()).unwrap());
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(clock.now() < until, "it did not end within {} s:\n{}", limit.as_secs(), self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        };
        let read = |name: &str| String::from_utf8_lossy(&std::fs::read(self.path(name)).unwrap()).into_owned();
        Ended { code: status.code(), stdout: read("stdout"), stderr: read("stderr") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
