//! Long-running programs inside namespaces, with a log each, and waiting for what they do.
//!
//! A program dies with the testbed (`setpriv --pdeathsig`) unless the sandbox is kept, so that a
//! testbed that is killed leaves no router running. Every wait has a deadline, and the error says
//! what was awaited, what was seen last and the end of the log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::{Namespace, Sandbox, tail};

/// How many lines of a log an error quotes.
const TAIL: usize = 15;
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A running program. Dropped, it is ended: SIGTERM unless it wants another signal, and SIGKILL when that does not
/// help.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    keep: bool,
    farewell: Signal,
}

impl Process {
    /// Starts a program in a namespace; what it prints goes to `NAME.log` in the sandbox.
    pub fn spawn(sandbox: &Sandbox, namespace: &Namespace, name: &str, words: &[&str]) -> Result<Self> {
        let log = sandbox.directory().join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let errors = file.try_clone().context("duplicate the log's descriptor")?;
        let mut command = if sandbox.is_kept() {
            namespace.command("setsid")
        } else {
            let mut command = namespace.command("setpriv");
            command.args(["--pdeathsig", "KILL"]);
            command
        };
        command.args(words).stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().with_context(|| format!("start {name}: {}", words.join(" ")))?;
        Ok(Self { name: name.to_owned(), log, child, keep: sandbox.is_kept(), farewell: Signal::SIGTERM })
    }

    /// Has it end by this signal when it is dropped.
    pub fn say_farewell_by(&mut self, signal: Signal) {
        self.farewell = signal;
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it logs to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The whole log so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// An error if it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.exited()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}); its log:\n{}", self.name, tail(&self.log, TAIL)),
        }
    }

    /// Waits until a line of the log contains `needle`; an error if the program ends before.
    pub fn wait_for_line(&mut self, needle: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let text = self.log_text();
            if let Some(line) = text.lines().find(|line| line.contains(needle)) {
                return Ok(line.to_owned());
            }
            self.ensure_running()?;
            if Instant::now() > deadline {
                bail!(
                    "{} has not logged \"{needle}\" within {timeout:?}; its log:\n{}",
                    self.name,
                    tail(&self.log, TAIL)
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)
            .with_context(|| format!("send {signal} to {}", self.name))
    }

    /// SIGKILL, as a crash would be.
    pub fn kill_9(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().with_context(|| format!("wait for {}", self.name)).map(drop)
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.signal(signal)?;
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} still runs {timeout:?} after {signal}; its log:\n{}",
                    self.name,
                    tail(&self.log, TAIL)
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is not a number")?;
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.keep && self.end(self.farewell, Duration::from_secs(3)).is_err() {
            // Nothing to be done about a failure here: the sandbox looks again.
            let _ = self.kill_9();
        }
    }
}

/// Looks at a condition until it holds. `look` returns `Ok` with the result or `Err` with what it
/// saw instead; the last of these is in the error when the time is over.
pub fn wait_until<T>(what: &str, timeout: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() > deadline => {
                return Err(anyhow!("not within {timeout:?}: {what}; seen last: {seen:#}"));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
