//! How many packets are lost while the daemon ends in some way, is started again, and takes over.
//!
//! Host A sends numbered packets through the router to BIRD's addresses in host B's networks, at a steady rate; BIRD
//! announces those networks and a table beside them. A stream of the same length without a restart says what the machine loses by
//! itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::netns::Sandbox;
use crate::peers::bird::Bird;
use crate::process::wait_until;
use crate::stream::{Counted, Pace, Stream};
use crate::table::Table;
use crate::tools;
use crate::topology::{FAMILIES, Topology, bird_config};

/// Where packets go: the addresses of BIRD on host B's link.
const BIRD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 99, 20, 1)), IpAddr::V6(Ipv6Addr::new(0xfd99, 0x20, 0, 0, 0, 0, 0, 1))];
/// How long packets go before the end and after the change of tables, and the daemon is away.
const PAUSE: Duration = Duration::from_secs(1);
/// A session, and a table on its way into the forwarding tables.
const PATIENCE: Duration = Duration::from_mins(4);

/// How the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum End {
    /// Not at all.
    None,
    /// By SIGKILL.
    Kill,
    /// By SIGTERM.
    Stop,
}

/// One restart.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the daemon ended.
    pub end: End,
    /// Prefixes that BIRD announced beside those of host B.
    pub prefixes: usize,
    /// From its start until packets went by its own tables.
    pub staged: Option<Duration>,
    /// When the daemon ended, was started, and was live, in seconds since the stream began.
    pub times: [f64; 3],
    /// What became of the packets.
    pub counted: Counted,
}

impl Outcome {
    /// As a line of JSON.
    pub fn json(&self) -> Value {
        json!({
            "end": format!("{:?}", self.end).to_lowercase(),
            "prefixes": self.prefixes,
            "staged_seconds": self.staged.map(|time| time.as_secs_f64()),
            "sent": self.counted.sent,
            "lost": self.counted.sent - self.counted.received,
            "lost_between": self.counted.lost.map(|(first, last)| [first.as_secs_f64(), last.as_secs_f64()]),
            "seconds": { "end": self.times[0], "start": self.times[1], "live": self.times[2] },
            "packets_a_second": self.counted.rate,
        })
    }

    /// As a line of text.
    pub fn text(&self) -> String {
        let end = format!("{:?}", self.end).to_lowercase();
        let staged =
            self.staged.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        let Counted { sent, received, rate, .. } = self.counted;
        format!(
            "{end:<5} {:>9}   {staged:>8}   {rate:>9}   {sent:>10}   {:>9}",
            self.prefixes,
            sent - received
        )
    }
}

/// The head over lines of [`Outcome::text`].
pub fn head() -> String {
    format!(
        "{:<5} {:>9}   {:>8}   {:>9}   {:>10}   {:>9}",
        "end", "prefixes", "staged", "packets/s", "sent", "lost"
    )
}

/// The network, with the table in the router's forwarding tables.
pub struct Scene {
    daemon: Daemon,
    _bird: Bird,
    prefixes: usize,
    topology: Topology,
}

impl Scene {
    /// Builds it, and waits until all forwards.
    pub fn build(table: &Table) -> Result<Self> {
        let topology = Topology::build(Sandbox::new("restart")?)?;
        let prefixes: Vec<String> = table.routes.iter().map(|route| route.prefix.to_string()).collect();
        let (v6, v4): (Vec<&str>, Vec<&str>) =
            prefixes.iter().map(String::as_str).partition(|prefix| prefix.contains(':'));
        let bird = Bird::start(&topology.sandbox, &topology.bird, "bird", &bird_config("", &v4, &v6))?;
        let daemon = topology.start_daemon("")?;
        let scene = Self { daemon, _bird: bird, prefixes: table.routes.len(), topology };
        scene.settle()?;
        Ok(scene)
    }

    /// Waits until the whole table is in the forwarding tables.
    fn settle(&self) -> Result<()> {
        wait_until("the whole table forwards", PATIENCE, || {
            let summary = self.daemon.show_json(&["summary"])?;
            let families = summary["fib"]["families"].as_object().context("no forwarding tables")?;
            let routes: u64 = families.values().filter_map(|family| family["routes"].as_u64()).sum();
            ensure!(routes as usize >= self.prefixes + FAMILIES.len(), "{routes} routes");
            for family in &FAMILIES {
                tools::ping_all(&self.topology.host_a, None, family.host_b, 1)?;
            }
            Ok(())
        })
    }

    /// Has the daemon end and start again while packets flow.
    pub fn restart(&mut self, end: End, pace: Pace) -> Result<Outcome> {
        let targets = BIRD;
        let stream = Stream::start(&self.topology.host_a, &self.topology.bird, &targets, pace)?;
        let start = Instant::now();
        std::thread::sleep(PAUSE);
        match end {
            End::None => std::thread::sleep(10 * PAUSE),
            End::Kill => self.daemon.process().kill_9()?,
            End::Stop => drop(self.daemon.process().end(Signal::SIGTERM, PATIENCE)?),
        }
        let mut times = [start.elapsed().as_secs_f64(); 3];
        std::thread::sleep(PAUSE);
        times[1] = start.elapsed().as_secs_f64();
        let mut staged = None;
        if end != End::None {
            self.daemon.restart(&self.topology.sandbox)?;
            self.daemon.wait_live(PATIENCE)?;
            times[2] = start.elapsed().as_secs_f64();
            let summary = self.daemon.show_json(&["summary"])?;
            let took = summary["fib"]["took_over_seconds"].as_f64();
            staged = Some(Duration::from_secs_f64(took.context("nothing was taken over")?));
        }
        std::thread::sleep(PAUSE);
        let counted = stream.stop()?;
        self.settle()?;
        Ok(Outcome { end, prefixes: self.prefixes, staged, times, counted })
    }
}
