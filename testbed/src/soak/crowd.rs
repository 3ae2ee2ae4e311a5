//! Many neighbours with short hold times, while the router is as busy as it gets: a full table
//! arrives, is asked for again in both directions, and is dumped, all at once.
//!
//! Each neighbour has two threads of its own ([`Feeder`]), so that none waits for another. A hold
//! timer that expires on either side ends a session, which is an error here.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::feeder::{Feeder, FeederConfig};
use crate::load::neighbors::Neighbor;
use crate::load::site::Site;
use crate::load::usage;
use crate::process::wait_until;
use crate::table::Table;

/// The shortest hold time in common use, in seconds; KEEPALIVEs go every third of it.
const HOLD_TIME: u16 = 9;
/// After the last session came up, before idleness is measured.
const SETTLE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(2);
/// AS number of the router; neighbours count up from there.
const FIRST_ASN: u32 = 4_200_000_000;

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Established sessions.
    pub sessions: usize,
    /// Until all of them were.
    pub established: Duration,
    /// Processor time of the idle window, and how long that was.
    pub idle: (Duration, Duration),
    /// Prefixes of the table.
    pub prefixes: usize,
    /// Until the table had arrived, with everything else going on.
    pub arrived: Duration,
    /// Lines of the dumps that were taken meanwhile.
    pub dumped: usize,
    /// Until every neighbour had been told the whole table.
    pub told: Duration,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
}

fn neighbor(number: usize) -> Neighbor {
    let (subnet, host) = ((number / 200) as u8, (number % 200) as u8 + 1);
    Neighbor {
        asn: FIRST_ASN + number as u32,
        v4: Ipv4Addr::new(10, 99, subnet, host),
        v6: Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, u16::from(subnet), u16::from(host)),
    }
}

/// Only `listeners` of the neighbours are told routes: the others would make this harness the
/// bottleneck.
fn config(router: &Neighbor, neighbors: &[Neighbor], listeners: usize) -> String {
    let mut text = format!(
        "[router]\nasn = {}\nrouter-id = \"{}\"\n\n[fib]\ninterfaces = [\"wan\"]\nlookup = \"auto\"\n",
        router.asn, router.v4
    );
    for (number, Neighbor { asn, v4, .. }) in neighbors.iter().enumerate() {
        let export = if (1..=listeners).contains(&number) { "all" } else { "none" };
        text += &format!(
            "\n[[neighbor]]\naddress = \"{v4}\"\nasn = {asn}\npassive = true\nimport = [\"all\"]\nexport = [\"{export}\"]\n"
        );
    }
    text
}

/// Brings up the sessions, measures their idleness, then everything at once.
pub fn measure(
    sandbox: &str,
    sessions: usize,
    listeners: usize,
    table: &Table,
    window: Duration,
) -> Result<Crowd> {
    let router = neighbor(0);
    let neighbors: Vec<Neighbor> = (1..=sessions).map(neighbor).collect();
    let site = Site::new(sandbox, &router, &neighbors.iter().collect::<Vec<_>>())?;
    let mut daemon = Daemon::start(&site.sandbox, &site.router, &config(&router, &neighbors, listeners))?;
    let pids = site.router.pids()?;
    let start = Instant::now();
    let connect = |neighbor: &Neighbor| {
        let config = FeederConfig { hold_time: HOLD_TIME, ..neighbor.session(&router) };
        site.outside.enter(|| Feeder::connect(&config, PATIENCE))
    };
    let crowd = neighbors.iter().map(connect).collect::<Result<Vec<_>>>()?;
    let established = start.elapsed();

    std::thread::sleep(SETTLE);
    let (cpu, start) = (usage::cpu_of(&pids)?, Instant::now());
    std::thread::sleep(window);
    let idle = (usage::cpu_of(&pids)?.saturating_sub(cpu), start.elapsed());
    all_up(&crowd)?;

    let first = &neighbors[0];
    let messages = table.encode(&first.announcer(1)).messages;
    let (v4, v6) = table.counts();
    let start = Instant::now();
    let mut arrived = None;
    let mut dumped = 0;
    std::thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| crowd[0].send(&messages));
        // As much as an operator's tools could do at once, until everything is there.
        while arrived.is_none() {
            dumped += daemon.get("/v1/routes")?.lines().count();
            for neighbor in neighbors.iter().take(listeners + 1) {
                let address = neighbor.v4.to_string();
                daemon.refresh(&address, "in")?;
                daemon.refresh(&address, "out")?;
            }
            let counts = daemon.neighbor(&first.v4.to_string())?["families"].clone();
            let received = |family: &str| counts[family]["received"].as_u64().unwrap_or(0) as usize;
            if (received("ipv4-unicast"), received("ipv6-unicast")) == (v4, v6) {
                arrived = Some(start.elapsed());
            }
            ensure!(start.elapsed() < PATIENCE, "the table does not arrive: {counts}");
            all_up(&crowd)?;
        }
        sending.join().map_err(|_| anyhow::anyhow!("the sending thread panicked"))?
    })?;
    // Once more with all of it there, for longer than a hold time.
    let calm = Instant::now() + Duration::from_secs(u64::from(HOLD_TIME) + 3);
    while Instant::now() < calm {
        dumped += daemon.get("/v1/routes")?.lines().count();
        daemon.refresh(&first.v4.to_string(), "in")?;
        all_up(&crowd)?;
    }
    wait_until("the listeners have the table", PATIENCE, || {
        for feeder in &crowd[1..=listeners] {
            let heard = feeder.inbox().routes.len();
            ensure!(heard == v4 + v6, "{heard} routes");
        }
        Ok(())
    })?;
    let told = start.elapsed();
    all_up(&crowd)?;
    daemon.process().ensure_running()?;
    let neighbors: Value = serde_json::from_str(&daemon.get("/v1/neighbors")?).context("neighbors")?;
    for neighbor in neighbors.as_array().context("neighbors")? {
        ensure!(neighbor["established_transitions"] == 1, "lost and came back: {neighbor}");
    }
    let resident = usage::of(&pids)?.resident;
    let arrived = arrived.unwrap_or_default();
    Ok(Crowd { sessions, established, idle, prefixes: v4 + v6, arrived, dumped, told, resident })
}

fn all_up(crowd: &[Feeder]) -> Result<()> {
    for (number, feeder) in crowd.iter().enumerate() {
        let closed = feeder.closed();
        ensure!(closed.is_none(), "neighbour {number} lost its session: {closed:?}");
    }
    Ok(())
}

impl Crowd {
    /// Percent of one core while idle.
    pub fn idle_percent(&self) -> f64 {
        100.0 * self.idle.0.as_secs_f64() / self.idle.1.as_secs_f64().max(1e-9)
    }

    /// For people.
    pub fn text(&self) -> String {
        format!(
            "{} sessions with a hold time of {HOLD_TIME} s: Established after {:.2} s, {:.2} % of a core idle over {:.0} s; \
             {} prefixes arrived in {:.2} s and were told in {:.2} s, with {} routes dumped and soft clears meanwhile; \
             no session lost; {} MiB resident",
            self.sessions,
            self.established.as_secs_f64(),
            self.idle_percent(),
            self.idle.1.as_secs_f64(),
            self.prefixes,
            self.arrived.as_secs_f64(),
            self.told.as_secs_f64(),
            self.dumped,
            self.resident >> 20,
        )
    }

    /// One line of JSON: times in seconds, sizes in bytes.
    pub fn json(&self) -> Value {
        json!({
            "sessions": self.sessions,
            "established": self.established.as_secs_f64(),
            "idle_percent": self.idle_percent(),
            "prefixes": self.prefixes,
            "arrived": self.arrived.as_secs_f64(),
            "told": self.told.as_secs_f64(),
            "dumped": self.dumped,
            "resident": self.resident,
        })
    }
}
