//! One run: a router started afresh, loaded, shaken, emptied.
//!
//! A phase ends when the feeders have written everything, the receiver has heard nothing for a
//! while, the router has read its sockets empty, rests, and says itself (where it can) that it is
//! done. Only then is the recording read. The times reported are those of the last event, not of
//! the end of the waiting.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use ipnet::IpNet;
use serde_json::Value;

use crate::daemon::{Daemon, FAMILIES};
use crate::load::engine::{Engine, Rejoin, Standing};
use crate::load::feeds::Feeds;
use crate::load::ledger::{Ledger, Timeline, Want};
use crate::load::neighbors::{Neighbor, Neighbors};
use crate::load::site::{self, SESSION, Site};
use crate::load::subject::{Running, Subject};
use crate::load::usage::{self, Usage};
use crate::load::watch::{Goal, Watch, Watcher, drained};
use crate::netns::Namespace;

/// A receiver that has heard nothing for so long is quiet, in a measurement.
pub const QUIET: Duration = Duration::from_millis(1500);
/// A router that has not come to its goal is given up when everything has been quiet for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Share of one processor below which a router rests.
const REST: f64 = 0.3;
/// How long that share is measured.
const REST_WINDOW: Duration = Duration::from_millis(400);
/// How long the machine is waited for between two runs: others may work on it.
const SETTLE: Duration = Duration::from_secs(10);
/// Index of the feeder whose session breaks.
const FLAPPING: usize = 0;
/// How many prefixes are looked up in the forwarding table at the end of the load.
const PROBES: usize = 20;

/// The phases of a run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Phase {
    /// Every feeder announces everything.
    Load,
    /// The first feeder's session breaks; it comes back and announces everything again.
    Flap,
    /// Every feeder withdraws everything.
    Withdraw,
}

impl Phase {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Flap => "flap",
            Self::Withdraw => "withdraw",
        }
    }

    /// What the receiver must have in the end.
    fn want(self) -> Want {
        if self == Self::Withdraw { Want::Nothing } else { Want::All }
    }
}

/// What every run shares.
#[derive(Debug)]
pub struct Setting<'a> {
    /// Name of the sandbox.
    pub sandbox: &'a str,
    /// Who takes part.
    pub neighbors: &'a Neighbors,
    /// What is announced.
    pub feeds: &'a Feeds,
    /// Which phases, besides the load.
    pub phases: &'a [Phase],
    /// A phase that takes longer is given up.
    pub timeout: Duration,
    /// A receiver that has heard nothing for so long is quiet: [`QUIET`], less for small tables.
    pub quiet: Duration,
}

/// One phase of one run. Times in since the start of the phase.
#[derive(Clone, Debug)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// It was given up.
    pub timed_out: bool,
    /// What the receiver saw.
    pub line: Timeline,
    /// When the feeders had handed everything to the kernel.
    pub written: Option<Duration>,
    /// When the session that broke was established again.
    pub rejoined: Option<Duration>,
    /// When the last route was in the forwarding table (or out of it).
    pub forwarding: Option<Duration>,
    /// What the router costs at the end; CPU time of this phase alone.
    pub usage: Usage,
    /// CPU time of the harness in this phase.
    pub harness_cpu: Duration,
    /// CPU time of everything else on the machine in this phase, the kernel's own included.
    pub other_cpu: Duration,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    /// The phases that were run.
    pub phases: Vec<PhaseReport>,
    /// Resident memory of the router before the load.
    pub idle: u64,
    /// Memory of its BPF maps after the load.
    pub map_bytes: Option<u64>,
    /// Entries of its forwarding tables then, after compression, IPv4 and IPv6.
    pub map_entries: Option<[u64; 2]>,
    /// Why it is worth nothing.
    pub error: Option<String>,
}

/// Runs all phases on one router. What goes wrong is part of the report.
pub fn run(setting: &Setting<'_>, subject: Subject) -> RunReport {
    let mut report = RunReport::default();
    if let Err(error) = try_run(setting, subject, &mut report) {
        report.error = Some(format!("{error:#}"));
    }
    report
}

/// Waits until the machine rests: the kernel frees tables of millions of entries after the run
/// that filled them.
pub fn settle() -> Result<()> {
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        let before = usage::machine_cpu()?;
        std::thread::sleep(REST_WINDOW);
        if usage::machine_cpu()?.saturating_sub(before).as_secs_f64() < REST * REST_WINDOW.as_secs_f64() {
            break;
        }
    }
    Ok(())
}

fn try_run(setting: &Setting<'_>, subject: Subject, report: &mut RunReport) -> Result<()> {
    let Setting { neighbors, feeds, .. } = setting;
    let all: Vec<&Neighbor> = neighbors.feeders.iter().chain([&neighbors.receiver]).collect();
    let Site { sandbox, router, outside } = Site::new(setting.sandbox, &neighbors.router, &all)?;
    let mut running = subject.start(&sandbox, &router, neighbors, feeds.prefixes)?;
    let connect = |neighbor| site::connect(&outside, &neighbors.router, neighbor, SESSION);
    let receiver = connect(&neighbors.receiver)?;
    let feeders = neighbors.feeders.iter().map(connect).collect::<Result<_>>()?;
    let mut engine = Engine::new(feeders, receiver)?;
    let mut ledger = Ledger::new(&feeds.union);
    // End-of-RIB markers, neighbours being resolved.
    engine.drive(Instant::now() + setting.quiet, |_| Ok(false))?;
    report.idle = usage::of(running.pids())?.resident;
    let idle_routes = running.watch()?.map_or(Ok([0; 2]), Watch::routes)?;

    for &phase in setting.phases {
        let scene = Scene { setting, running: &running, outside: &outside, idle_routes, phase };
        let done = scene.play(&mut engine, &mut ledger);
        // The reason may be that it has crashed, which says more.
        running.ensure_running()?;
        let done = done?;
        let (timed_out, exact) = (done.timed_out, done.line.exact());
        report.phases.push(done);
        if timed_out {
            break;
        }
        ensure!(exact, "{}: {}", phase.name(), ledger.difference(phase.want()));
        if phase == Phase::Load
            && let Some(daemon) = running.daemon()
        {
            daemon.wait_metrics_agree()?;
            if running.forwards() {
                probe(daemon, &feeds.union)?;
                report.map_bytes = Some(usage::map_bytes(running.pid()?)?);
                report.map_entries = Some(map_entries(daemon)?);
            }
        }
    }
    running.kill_9()
}

/// Entries of the forwarding tables by the daemon's account.
fn map_entries(daemon: &Daemon) -> Result<[u64; 2]> {
    let summary = daemon.show_json(&["summary"])?;
    let entries = |family: &str| {
        let entries = summary["fib"]["families"][family]["entries"].as_u64();
        entries.with_context(|| format!("no entries of {family} in the summary"))
    };
    Ok([entries(FAMILIES[0])?, entries(FAMILIES[1])?])
}

/// Prefixes here and there of the table are in the forwarding table, each by itself.
fn probe(daemon: &Daemon, union: &[IpNet]) -> Result<()> {
    for prefix in union.iter().step_by((union.len() / PROBES).max(1)) {
        let found = daemon.show_json(&["fib", &prefix.to_string()])?;
        let found = found.as_array().context("show fib is no list")?;
        let installed =
            |route: &Value| route["prefix"] == prefix.to_string() && route["state"] == "installed";
        ensure!(found.iter().any(installed), "{prefix} is not in the forwarding table: {found:?}");
    }
    Ok(())
}

/// One phase with what it needs.
struct Scene<'a, 'b> {
    setting: &'a Setting<'b>,
    running: &'a Running,
    outside: &'a Namespace,
    idle_routes: [u64; 2],
    phase: Phase,
}

/// Counters at the start of a phase.
struct Costs {
    router: Duration,
    harness: Duration,
    machine: Duration,
}

impl<'b> Scene<'_, 'b> {
    fn play(&self, engine: &mut Engine<'b>, ledger: &mut Ledger) -> Result<PhaseReport> {
        engine.forget()?;
        let (goal, watcher) = (self.goal(), Watcher::default());
        let watch = self.running.watch()?;
        let before = self.costs()?;
        let start = Instant::now();
        let until = start + self.setting.timeout;
        for (index, feed) in self.setting.feeds.feeds.iter().enumerate() {
            match self.phase {
                Phase::Load => engine.send(index, &feed.announce)?,
                Phase::Withdraw => engine.send(index, &feed.withdraw)?,
                Phase::Flap => (),
            }
        }
        if self.phase == Phase::Flap {
            engine.close(FLAPPING)?;
        }
        let outcome = std::thread::scope(|scope| {
            let (watcher, goal) = (&watcher, &goal);
            if let Some(watch) = watch {
                scope.spawn(move || watcher.run(watch, goal));
            }
            if self.phase == Phase::Flap {
                let rejoins = engine.rejoins();
                scope.spawn(move || self.rejoin(&rejoins));
            }
            let mut judge = Judge::new(self, watch.map(|_| watcher));
            let outcome = engine.drive(until, |standing| judge.enough(standing));
            watcher.stop();
            outcome
        })?;
        let after = self.costs()?;
        let seen = watcher.seen();
        let forwarding = seen.complete.filter(|_| goal.forwards);
        if watch.is_some() && seen.complete.is_none() && outcome.finished {
            bail!("{}: the router is not done by its own account: {seen:?}, {goal:?}", self.phase.name());
        }
        let since_start = |time: Instant| time.saturating_duration_since(start);
        let router_cpu = after.router.saturating_sub(before.router);
        let harness_cpu = after.harness.saturating_sub(before.harness);
        Ok(PhaseReport {
            phase: self.phase,
            timed_out: !outcome.finished,
            line: ledger.replay(engine.recording(), start, self.phase.want())?,
            written: outcome.standing.written.map(since_start),
            rejoined: outcome.standing.rejoined.map(since_start),
            forwarding: forwarding.map(since_start),
            usage: Usage { cpu: router_cpu, ..usage::of(self.running.pids())? },
            harness_cpu,
            other_cpu: after.machine.saturating_sub(before.machine).saturating_sub(router_cpu + harness_cpu),
        })
    }

    fn costs(&self) -> Result<Costs> {
        Ok(Costs {
            router: usage::cpu_of(self.running.pids())?,
            harness: usage::own_cpu()?,
            machine: usage::machine_cpu()?,
        })
    }

    fn goal(&self) -> Goal {
        let Setting { neighbors, feeds, .. } = self.setting;
        let all = self.phase.want() == Want::All;
        let counts = |counts: [u64; 2]| if all { counts } else { [0; 2] };
        let received = neighbors.feeders.iter().zip(&feeds.feeds);
        let received = received.map(|(feeder, feed)| (feeder.v4.to_string(), counts(feed.prefixes)));
        Goal {
            received: received.collect(),
            prefixes: counts(feeds.prefixes),
            forwards: self.running.forwards(),
            idle: self.idle_routes,
            // A host route of each neighbour in either family, and a few of the kernel's.
            slack: 2 * neighbors.feeders.len() as u64 + 20,
        }
    }

    /// How many routes the receiver must have been sent, announced and withdrawn. A flap may well
    /// go by unheard.
    fn routes_to_hear(&self) -> (u64, u64) {
        let all = self.setting.feeds.prefixes.iter().sum();
        match self.phase {
            Phase::Load => (all, 0),
            Phase::Flap => (0, 0),
            Phase::Withdraw => (0, all),
        }
    }

    /// Brings the session that broke up again, at once if the router lets it.
    fn rejoin(&self, rejoins: &Sender<Rejoin<'b>>) {
        let Setting { neighbors, feeds, timeout, .. } = self.setting;
        let feeder = &neighbors.feeders[FLAPPING];
        let established = site::connect(self.outside, &neighbors.router, feeder, SESSION.min(*timeout));
        // Nobody listens any more when the phase has failed for another reason.
        let _ =
            rejoins.send(Rejoin { feeder: FLAPPING, established, messages: &feeds.feeds[FLAPPING].announce });
    }
}

/// Decides when a phase is over.
struct Judge<'a> {
    running: &'a Running,
    watcher: Option<&'a Watcher>,
    /// What the receiver must have heard.
    routes: (u64, u64),
    quiet: Duration,
    /// When the router was last seen working.
    active: Instant,
    /// Processor time at the start of a window.
    window: Option<(Instant, Duration)>,
}

impl<'a> Judge<'a> {
    fn new(scene: &Scene<'a, '_>, watcher: Option<&'a Watcher>) -> Self {
        let (routes, quiet) = (scene.routes_to_hear(), scene.setting.quiet);
        Self { running: scene.running, watcher, routes, quiet, active: Instant::now(), window: None }
    }

    fn enough(&mut self, standing: &Standing) -> Result<bool> {
        let Some(written) = standing.written else { return Ok(false) };
        if let Some(watcher) = self.watcher {
            watcher.go();
        }
        let (now, tally) = (Instant::now(), standing.tally);
        let heard = tally.last_update.map_or(written, |time| time.max(written));
        if now < heard + self.quiet {
            self.active = now;
            return Ok(false);
        }
        let (from, cpu) = match self.window {
            Some(window) if now < window.0 + REST_WINDOW => return Ok(false),
            Some(window) => window,
            None => {
                self.window = Some((now, usage::cpu_of(self.running.pids())?));
                return Ok(false);
            }
        };
        let cpu_now = usage::cpu_of(self.running.pids())?;
        self.window = Some((now, cpu_now));
        let rests = cpu_now.saturating_sub(cpu).as_secs_f64() < REST * (now - from).as_secs_f64();
        if !rests || !drained(self.running.pid()?)? {
            self.active = now;
            return Ok(false);
        }
        let seen = self.watcher.map(Watcher::seen);
        let done = seen.as_ref().is_none_or(|seen| seen.complete.is_some());
        if done && tally.announced >= self.routes.0 && tally.withdrawn >= self.routes.1 {
            return Ok(true);
        }
        let active = seen.and_then(|seen| seen.changed).map_or(self.active, |time| time.max(self.active));
        Ok(now > active + PATIENCE)
    }
}
