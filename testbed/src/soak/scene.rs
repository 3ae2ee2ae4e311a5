//! The daemon with feeders and receivers around it, and the wait for it to come to rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::daemon::Daemon;
use crate::load::neighbors::{Neighbor, Neighbors};
use crate::load::site::{self, SESSION, Site};
use crate::load::subject::{peregrine_config, peregrine_neighbor};
use crate::load::usage;
use crate::load::watch::{Goal, Watch, drained};
use crate::soak::histogram::{Histogram, UPDATE_TO_FIB};
use crate::soak::hub::{Hub, PeerIndex};
use crate::soak::mirror::{Mirror, Places, places};
use crate::soak::mix::{Mix, TAGS};
use crate::table::Table;

/// Share of one processor below which the daemon rests.
const REST: f64 = 0.3;
/// How long that share is measured.
const WINDOW: Duration = Duration::from_millis(300);
/// How long one wait for sockets lasts at most, in milliseconds.
const WAIT: u8 = 5;

/// Octets of a connection's buffer at most, where they are to be small.
pub const SMALL_BUFFER: u32 = 256 << 10;

/// How a run is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Name of the sandbox.
    pub sandbox: &'a str,
    /// What every feeder announces.
    pub table: &'a Table,
    /// How many feeders there are.
    pub feeders: u16,
    /// With forwarding tables.
    pub fib: bool,
    /// Chooses what changes.
    pub seed: u64,
    /// Connections buffer no more than [`SMALL_BUFFER`] at either end.
    pub small_buffers: bool,
    /// A receiver that has heard nothing for so long is quiet.
    pub quiet: Duration,
    /// A wait that takes longer is given up.
    pub timeout: Duration,
}

/// A daemon and its neighbours.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Their sessions. Before the daemon, so that it is not asked to say good-bye to each.
    pub hub: Hub,
    /// The daemon.
    pub daemon: Daemon,
    /// Its process.
    pub pid: i32,
    /// Who takes part.
    pub neighbors: Neighbors,
    /// The feeders' sessions.
    pub feeders: Vec<PeerIndex>,
    /// Where each prefix has its place.
    pub places: Places,
    setting: Setting<'a>,
    idle_routes: [u64; 2],
    site: Site,
    config: String,
}

/// What has been used up to a moment.
#[derive(Clone, Debug)]
pub struct Costs {
    /// When.
    pub time: Instant,
    /// The daemon's processor time.
    pub daemon: Duration,
    /// The same by name of the thread.
    pub threads: BTreeMap<String, Duration>,
    /// The harness's.
    pub harness: Duration,
}

impl Costs {
    /// What has been used since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Spent {
        let before = |name: &String| earlier.threads.get(name).copied().unwrap_or_default();
        Spent {
            time: self.time - earlier.time,
            daemon: self.daemon.saturating_sub(earlier.daemon),
            threads: self
                .threads
                .iter()
                .map(|(name, at)| (name.clone(), at.saturating_sub(before(name))))
                .collect(),
            harness: self.harness.saturating_sub(earlier.harness),
        }
    }
}

/// What has been used in a time.
#[derive(Clone, Debug)]
pub struct Spent {
    /// How long it was.
    pub time: Duration,
    /// The daemon's processor time.
    pub daemon: Duration,
    /// The same by name of the thread.
    pub threads: BTreeMap<String, Duration>,
    /// The harness's.
    pub harness: Duration,
}

impl Spent {
    /// The daemon's share of one processor.
    pub fn daemon_share(&self) -> f64 {
        self.share(self.daemon)
    }

    /// The share of one processor that some processor time comes to.
    pub fn share(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() / self.time.as_secs_f64().max(1e-9)
    }
}

impl<'a> Scene<'a> {
    /// Starts everything and connects the feeders. `receivers` besides the first one are configured
    /// and not connected.
    pub fn start(setting: Setting<'a>, others: &[Neighbor]) -> Result<Self> {
        let neighbors = Neighbors::new(setting.feeders, setting.table)?;
        let all: Vec<&Neighbor> =
            neighbors.feeders.iter().chain([&neighbors.receiver]).chain(others).collect();
        let site = Site::new(setting.sandbox, &neighbors.router, &all)?;
        if setting.small_buffers {
            for namespace in [&site.router, &site.outside] {
                for name in ["tcp_rmem", "tcp_wmem"] {
                    let sysctl = format!("net.ipv4.{name}=4096 16384 {SMALL_BUFFER}");
                    namespace.run(&["sysctl", "-qw", &sysctl])?;
                }
            }
        }
        let (v4, v6) = setting.table.counts();
        let room = setting.fib.then_some([v4 as u64, v6 as u64]);
        let sections: String = others.iter().map(|other| peregrine_neighbor(other, false)).collect();
        let config = peregrine_config(&neighbors, room) + &sections;
        let mut daemon = Daemon::start(&site.sandbox, &site.router, &config)?;
        let pid = site.router.pids()?.first().copied().context("the daemon has no process")?;
        let mut hub = Hub::new()?;
        let mut feeders = Vec::new();
        for (feeder, number) in neighbors.feeders.iter().zip(1..) {
            let established = site::connect(&site.outside, &neighbors.router, feeder, SESSION)?;
            feeders.push(hub.add(&format!("feeder {number}"), established, None)?);
        }
        daemon.process().ensure_running()?;
        let places = places(setting.table.routes.iter().map(|route| route.prefix));
        let idle_routes = [0; 2];
        let mut scene =
            Self { hub, daemon, pid, neighbors, feeders, places, setting, idle_routes, site, config };
        // Neighbours are being resolved.
        scene.serve(Instant::now() + setting.quiet)?;
        scene.idle_routes = Watch::Summary(&scene.daemon).routes()?;
        Ok(scene)
    }

    /// Connects a receiver.
    pub fn receiver(&mut self, name: &str, neighbor: &Neighbor) -> Result<PeerIndex> {
        let established = site::connect(&self.site.outside, &self.neighbors.router, neighbor, SESSION)?;
        self.hub.add(name, established, Some(Mirror::new(&self.places)))
    }

    /// Brings a feeder's session that was closed up again.
    pub fn reconnect(&mut self, feeder: usize) -> Result<()> {
        let neighbor = self.neighbors.feeders[feeder];
        let established = site::connect(&self.site.outside, &self.neighbors.router, &neighbor, SESSION)?;
        self.hub.reopen(self.feeders[feeder], established)
    }

    /// Has the daemon reload a configuration whose policies add some of [`TAGS`], on import and on export.
    pub fn reload(&mut self, tags: [bool; 2]) -> Result<()> {
        let mut config = self.config.clone();
        let keys = [("in", "import = [\"all\"]"), ("out", "export = [\"all\"]")];
        for ((name, key), (tag, _)) in
            keys.into_iter().zip(TAGS.into_iter().zip(tags)).filter(|(_, (_, added))| *added)
        {
            let policy = format!(
                "\n[[policy]]\nname = \"tag-{name}\"\ndefault = \"accept\"\n[[policy.rule]]\n\
                 set = {{ community-add = \"{}:{}\" }}\n",
                tag >> 16,
                tag & 0xffff
            );
            config = config.replace(key, &key.replace("all", &format!("tag-{name}"))) + &policy;
        }
        self.daemon.rewrite(&config)?;
        self.daemon.run(&["reload"]).map(drop)
    }

    /// Serves the sessions until then.
    pub fn serve(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.hub.turn(WAIT)?;
        }
        Ok(())
    }

    /// Serves the sessions until a condition holds.
    pub fn serve_until(&mut self, what: &str, mut done: impl FnMut(&mut Hub) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + self.setting.timeout;
        while !done(&mut self.hub)? {
            if Instant::now() > deadline {
                bail!("not within {:?}: {what}", self.setting.timeout);
            }
            self.hub.turn(WAIT)?;
        }
        Ok(())
    }

    /// Waits until everything has been said and read, these receivers are quiet, the daemon rests, and has
    /// by its own account what the feeders announce. One of the receivers must have been quiet since.
    pub fn settle(&mut self, mix: &Mix<'_>, receivers: &[PeerIndex]) -> Result<()> {
        let deadline = Instant::now() + self.setting.timeout;
        let goal = self.goal(mix);
        let (mut quiet_since, mut window) = (Instant::now(), None::<(Instant, Duration)>);
        loop {
            self.hub.turn(WAIT)?;
            let now = Instant::now();
            if now > deadline {
                self.daemon.process().ensure_running()?;
                bail!("the daemon is not done after {:?}; wanted: {goal:?}", self.setting.timeout);
            }
            for receiver in receivers {
                let last = self.hub.mirror(*receiver)?.heard().last;
                quiet_since = quiet_since.max(last.unwrap_or(quiet_since));
            }
            if self.hub.pending() > 0 {
                quiet_since = now;
            }
            if now < quiet_since + self.setting.quiet {
                window = None;
                continue;
            }
            let Some((from, cpu)) = window else {
                window = Some((now, usage::cpu_of(&[self.pid])?));
                continue;
            };
            if now < from + WINDOW {
                continue;
            }
            let cpu = usage::cpu_of(&[self.pid])?.saturating_sub(cpu);
            window = None;
            let rests = cpu.as_secs_f64() < REST * (now - from).as_secs_f64();
            if rests && drained(self.pid)? && Watch::Summary(&self.daemon).reached(&goal)? {
                return Ok(());
            }
        }
    }

    fn goal(&self, mix: &Mix<'_>) -> Goal {
        let feeders = self.neighbors.feeders.iter().enumerate();
        Goal {
            received: feeders.map(|(index, feeder)| (feeder.v4.to_string(), mix.routes(index))).collect(),
            prefixes: mix.prefixes(),
            forwards: self.setting.fib,
            idle: self.idle_routes,
            // A host route of each neighbour in either family, and a few of the kernel's.
            slack: 2 * self.feeders.len() as u64 + 20,
        }
    }

    /// Processor times now.
    pub fn costs(&self) -> Result<Costs> {
        Ok(Costs {
            time: Instant::now(),
            daemon: usage::cpu_of(&[self.pid])?,
            threads: usage::cpu_by_thread(self.pid)?,
            harness: usage::own_cpu()?,
        })
    }

    /// The daemon's resident memory, in bytes.
    pub fn resident(&self) -> Result<u64> {
        Ok(usage::of(&[self.pid])?.resident)
    }

    /// The daemon's times from UPDATE to forwarding table since it started.
    pub fn update_to_fib(&self) -> Result<Histogram> {
        Histogram::read(&self.daemon.metrics()?, UPDATE_TO_FIB)
    }

    /// Ends the daemon at once; what it holds is the kernel's to free.
    pub fn end(mut self) -> Result<()> {
        self.daemon.process().kill_9()
    }
}
