//! What sessions cost that carry nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::load::engine::Engine;
use crate::load::neighbors::{Neighbor, Neighbors};
use crate::load::site::{self, SESSION, Site};
use crate::load::subject::Subject;
use crate::load::usage::{self, Usage};
use crate::table::Table;

/// Sessions are left alone for so long before anything is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Established sessions.
    pub sessions: usize,
    /// Resident memory before the first session, in bytes.
    pub resident_before: u64,
    /// Resident memory with all of them, in bytes.
    pub resident: u64,
    /// The part of it that no file stands behind, in bytes.
    pub anonymous: u64,
    /// Processor time in the window.
    pub cpu: Duration,
    /// How long that was.
    pub window: Duration,
}

/// Starts a router and brings up so many sessions.
pub fn measure(sandbox: &str, sessions: u16, subject: Subject, window: Duration) -> Result<Idle> {
    // One of them is the receiver's.
    let neighbors = Neighbors::new(sessions.saturating_sub(1).max(1), &Table::default())?;
    let all: Vec<&Neighbor> = neighbors.feeders.iter().chain([&neighbors.receiver]).collect();
    let site = Site::new(sandbox, &neighbors.router, &all)?;
    let mut running = subject.start(&site.sandbox, &site.router, &neighbors, [1_000_000, 250_000])?;
    std::thread::sleep(SETTLE);
    let resident_before = usage::of(running.pids())?.resident;
    let connect = |neighbor| site::connect(&site.outside, &neighbors.router, neighbor, SESSION);
    let receiver = connect(&neighbors.receiver)?;
    let feeders = neighbors.feeders.iter().map(connect).collect::<Result<_>>()?;
    let mut engine = Engine::new(feeders, receiver)?;
    engine.drive(Instant::now() + SETTLE, |_| Ok(false))?;
    let (cpu, start) = (usage::cpu_of(running.pids())?, Instant::now());
    engine.drive(start + window, |_| Ok(false))?;
    let window = start.elapsed();
    // Any session that was lost has ended the drive with an error.
    running.ensure_running()?;
    let Usage { cpu: cpu_after, resident, .. } = usage::of(running.pids())?;
    let anonymous = usage::anonymous(running.pids())?;
    running.kill_9()?;
    let cpu = cpu_after.saturating_sub(cpu);
    Ok(Idle { sessions: all.len(), resident_before, resident, anonymous, cpu, window })
}

#[expect(clippy::cast_precision_loss, reason = "bytes stay far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Idle {
    /// A line for people.
    pub fn text(&self) -> String {
        let added = self.resident.saturating_sub(self.resident_before) / self.sessions.max(1) as u64;
        format!(
            "{} sessions: resident {:.1} MiB ({:.1} before, {added} octets a session), anonymous {:.1} MiB, \
             {:.2} % of a core over {:.0} s",
            self.sessions,
            mebibytes(self.resident),
            mebibytes(self.resident_before),
            mebibytes(self.anonymous),
            100.0 * self.cpu.as_secs_f64() / self.window.as_secs_f64().max(1e-9),
            self.window.as_secs_f64(),
        )
    }

    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn json(&self, subject: &str) -> Value {
        json!({
            "subject": subject,
            "sessions": self.sessions,
            "resident_before": self.resident_before,
            "resident": self.resident,
            "anonymous": self.anonymous,
            "cpu": self.cpu.as_secs_f64(),
            "window": self.window.as_secs_f64(),
        })
    }
}
