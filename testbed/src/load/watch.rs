//! Whether the router is done, seen from the router's side: its sockets, its own account, the
//! kernel's tables.
//!
//! None of this runs while feeders still write: looking costs the router time.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::daemon::{Daemon, FAMILIES};

/// What a phase must lead to, IPv4 and IPv6 each.
#[derive(Clone, Debug)]
pub struct Goal {
    /// Routes from each feeder, by its address.
    pub received: Vec<(String, [u64; 2])>,
    /// Prefixes that have a route.
    pub prefixes: [u64; 2],
    /// Whether there is a forwarding table to reach.
    pub forwards: bool,
    /// Routes in the forwarding table that are none of ours: connected, neighbours.
    pub idle: [u64; 2],
    /// At most so many more of them may have come since: neighbours that have been resolved.
    pub slack: u64,
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub enum Watch<'a> {
    /// The daemon's summary: routes received, best, and installed if it forwards.
    Summary(&'a Daemon),
    /// The kernel's tables, in the namespace of this process.
    Kernel(i32),
}

/// One look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Whether the goal is reached.
    complete: bool,
    /// Routes in the forwarding table.
    routes: [u64; 2],
}

impl Watch<'_> {
    /// Pause after a look that took so long. Counting the kernel's IPv4 routes walks all of them:
    /// it must not take more than a fifth of a processor.
    fn pause(self, look: Duration) -> Duration {
        match self {
            Self::Summary(_) => Duration::from_millis(50),
            Self::Kernel(_) => (4 * look).clamp(Duration::from_millis(250), Duration::from_secs(1)),
        }
    }

    /// Routes in the forwarding table now.
    pub fn routes(self) -> Result<[u64; 2]> {
        match self {
            Self::Summary(daemon) => fib_routes(&summary(daemon)?),
            Self::Kernel(pid) => kernel_routes(pid),
        }
    }

    /// Whether the goal is reached now.
    pub fn reached(self, goal: &Goal) -> Result<bool> {
        Ok(self.look(goal)?.complete)
    }

    fn look(self, goal: &Goal) -> Result<Look> {
        match self {
            Self::Summary(daemon) => {
                let summary = summary(daemon)?;
                Ok(Look { complete: reached(&summary, goal)?, routes: fib_routes(&summary)? })
            }
            Self::Kernel(pid) => {
                let routes = kernel_routes(pid)?;
                Ok(Look { complete: within(routes, goal), routes })
            }
        }
    }
}

fn within(routes: [u64; 2], goal: &Goal) -> bool {
    (0..2).all(|family| {
        let wanted = goal.prefixes[family] + goal.idle[family];
        (wanted..=wanted + goal.slack).contains(&routes[family])
    })
}

fn summary(daemon: &Daemon) -> Result<Value> {
    serde_json::from_str(&daemon.get("/v1/summary")?).context("the summary is no JSON")
}

/// Zero for a daemon that does not forward.
fn fib_routes(summary: &Value) -> Result<[u64; 2]> {
    let Some(families) = summary["fib"]["families"].as_object() else { return Ok([0; 2]) };
    let mut routes = [0; 2];
    for (count, family) in routes.iter_mut().zip(FAMILIES) {
        *count = families[family]["routes"].as_u64().context("no routes of a family")?;
    }
    Ok(routes)
}

fn reached(summary: &Value, goal: &Goal) -> Result<bool> {
    let neighbors = summary["neighbors"].as_array().context("no neighbors in the summary")?;
    let figure = |neighbor: &Value, family: &str, which: &str| {
        neighbor["families"][family][which].as_u64().unwrap_or(0)
    };
    for (address, counts) in &goal.received {
        let neighbor = neighbors.iter().find(|neighbor| neighbor["address"] == address.as_str());
        let neighbor = neighbor.with_context(|| format!("no neighbor {address} in the summary"))?;
        for (family, count) in FAMILIES.iter().zip(counts) {
            if ["received", "accepted"].iter().any(|which| figure(neighbor, family, which) != *count) {
                return Ok(false);
            }
        }
    }
    for (family, prefixes) in FAMILIES.iter().zip(goal.prefixes) {
        let best: u64 = neighbors.iter().map(|neighbor| figure(neighbor, family, "best")).sum();
        let missing = summary["fib"]["families"][family]["not_installed"].as_u64().unwrap_or(0);
        if best != prefixes || missing != 0 {
            return Ok(false);
        }
    }
    Ok(!goal.forwards || within(fib_routes(summary)?, goal))
}

/// Routes in the kernel's tables.
fn kernel_routes(pid: i32) -> Result<[u64; 2]> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/net/{file}");
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let v4 = trie_prefixes(&read("fib_triestat")?)?;
    let stats = read("rt6_stats")?;
    // fib_nodes fib_route_nodes fib_rt_alloc fib_rt_entries ..., hexadecimal.
    let entries = stats.split_whitespace().nth(3).context("too few figures in rt6_stats")?;
    Ok([v4, u64::from_str_radix(entries, 16).context("rt6_stats")?])
}

/// Routes of the main table. The local one, while there are no routing rules, is the same trie and
/// shows the same figures.
fn trie_prefixes(text: &str) -> Result<u64> {
    let mut main = text.lines().skip_while(|line| line.trim() != "Main:");
    match main.find_map(|line| line.trim().strip_prefix("Prefixes:")) {
        Some(count) => count.trim().parse().context("fib_triestat"),
        // A table without routes does not exist.
        None => Ok(0),
    }
}

/// Whether the router has read everything that has arrived on its BGP sockets.
pub fn drained(pid: i32) -> Result<bool> {
    let path = format!("/proc/{pid}/net/tcp");
    read_queues(&fs::read_to_string(&path).with_context(|| format!("read {path}"))?).map(|bytes| bytes == 0)
}

/// A state in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Bytes that wait in the receive queues of connections to port 179.
fn read_queues(text: &str) -> Result<u64> {
    let mut sum = 0;
    for line in text.lines().skip(1) {
        // sl local_address rem_address st tx_queue:rx_queue ...
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, queues, ..] = words[..] else { bail!("/proc/net/tcp: {line}") };
        if local.ends_with(":00B3") && state == ESTABLISHED {
            let (_, waiting) = queues.split_once(':').context("queues of /proc/net/tcp")?;
            sum += u64::from_str_radix(waiting, 16).context("queues of /proc/net/tcp")?;
        }
    }
    Ok(sum)
}

/// What a [`Watcher`] has found so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Since when the goal has been reached without interruption.
    pub complete: Option<Instant>,
    /// When the number of routes was last seen to have changed.
    pub changed: Option<Instant>,
    /// The number of routes, IPv4 and IPv6.
    pub routes: Option<[u64; 2]>,
    /// Why the last look failed.
    pub error: Option<String>,
}

/// Looks again and again, on a thread of its own: a router that is busy answers late, and the
/// sessions must be served meanwhile.
#[derive(Debug, Default)]
pub struct Watcher {
    go: AtomicBool,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Watcher {
    /// Looks from [`Watcher::go`] until [`Watcher::stop`].
    pub fn run(&self, watch: Watch<'_>, goal: &Goal) {
        while !self.stop.load(Ordering::Relaxed) {
            if self.go.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let look = watch.look(goal);
                let now = Instant::now();
                self.note(look, now);
                std::thread::sleep(watch.pause(now - begun));
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn note(&self, look: Result<Look>, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match look {
            Ok(look) => {
                seen.error = None;
                if seen.routes.replace(look.routes).is_some_and(|before| before != look.routes) {
                    seen.changed = Some(now);
                }
                seen.complete = look.complete.then(|| seen.complete.unwrap_or(now));
            }
            Err(error) => seen.error = Some(format!("{error:#}")),
        }
    }

    /// From now on looking disturbs nothing.
    pub fn go(&self) {
        self.go.store(true, Ordering::Relaxed);
    }

    /// No more looks.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What has been found so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_proc_are_read() {
        let trie = "Basic info: size of leaf: 48 bytes, size of tnode: 40 bytes.\nMain:\n\tPrefixes:       7\n\
                    Local:\n\tAver depth:     2.00\n\tPrefixes:       5\n";
        assert_eq!(trie_prefixes(trie).unwrap(), 7);
        assert_eq!(trie_prefixes("").unwrap(), 0);
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n   \
                   0: 0100630A:00B3 00000000:0000 0A 00000000:00000003 00:00000000 00000000\n   \
                   1: 0100630A:00B3 0101630A:9C40 01 00000010:00000020 00:00000000 00000000\n   \
                   2: 0100630A:1F90 0101630A:9C41 01 00000000:00000040 00:00000000 00000000\n";
        assert_eq!(read_queues(tcp).unwrap(), 0x20);
    }

    #[test]
    fn a_goal_missed_again_counts_anew() {
        let watcher = Watcher::default();
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let look = |complete, routes| Ok(Look { complete, routes: [routes, 0] });
        watcher.note(look(true, 1), at(1));
        watcher.note(look(false, 2), at(2));
        assert_eq!(watcher.seen().complete, None);
        watcher.note(look(true, 3), at(3));
        watcher.note(look(true, 3), at(4));
        watcher.note(Err(anyhow::anyhow!("busy")), at(5));
        let seen = watcher.seen();
        assert_eq!((seen.complete, seen.changed), (Some(at(3)), Some(at(3))));
        assert_eq!(seen.error.as_deref(), Some("busy"));
    }
}
