//! From the rooms' own types to the API's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::SystemTime;

use bgp::link::Zoned;
use bgp::rib::out::Advertised;
use bgp::rib::view::{ForwardingState, PathView, RouteView, Standing};
use bgp::rib::{DEFAULT_LOCAL_PREF, DecisionStep, Ineligible};
use bgp::types::Family;
use bgp::wire::{Attributes, UnknownAttribute};
use fib::{NextHopKey, TableStats};
use fib_abi::Action;
use ipnet::IpNet;

use super::metrics::sample_port;
use super::types::{
    FibCounts, FibDiff, FibDrift, FibRoute, FibSummary, NextHopInfo, Path, PortInfo, RestartInfo,
    RestartWait, Route, VerdictCount,
};
use crate::forwarding::{AuditedMap, FibRow, ForwardingHandle, ForwardingStopped, NextHopState, Reason};
use crate::restart::{Progress, Status};
use crate::session::Peers;

/// Why next hops cannot be reached.
pub(super) type Unreachable = HashMap<IpAddr, Reason>;

/// Why the next hops of these routes cannot be reached, as far as the forwarding plane knows.
pub(super) async fn unreachable(forwarding: Option<&ForwardingHandle>, views: &[RouteView]) -> Unreachable {
    let unusable = |path: &PathView| path.ineligible == Some(Ineligible::NextHopUnreachable);
    let Some(forwarding) = forwarding.filter(|_| views.iter().flat_map(|view| &view.paths).any(unusable))
    else {
        return Unreachable::new();
    };
    // Without it, the reason is less exact.
    let rows = forwarding.next_hops().await.unwrap_or_default();
    let down = rows.into_iter().filter_map(|row| match (row.key, row.state) {
        (NextHopKey::Via { addr, .. }, NextHopState::Down(reason)) => Some((addr, reason)),
        _ => None,
    });
    down.collect()
}

/// A prefix and its paths.
///
/// `received`: as neighbours sent them, before policy.
pub(super) fn route(peers: &Peers, unreachable: &Unreachable, received: bool, view: &RouteView) -> Route {
    let decided = view.decided_by.map_or("only path", |step| step.as_str());
    let paths = view.paths.iter().map(|shown| {
        let sent = shown.received.as_ref().filter(|_| received);
        let mut path = attributes(sent.unwrap_or(&shown.attributes));
        path.neighbor = shown.neighbor.map(|address| Zoned(peers.on_link(address)));
        path.local_pref_used = Some(shown.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
        path.reason = reason(shown, view.best_interior_cost, decided, view.forwarding);
        if shown.ineligible == Some(Ineligible::NextHopUnreachable)
            && let Some(why) = unreachable.get(&shown.attributes.next_hop.addr)
        {
            path.reason.push_str(&format!(": {why}"));
        }
        path.path_id = shown.path_id;
        path.best = shown.best;
        path.multipath = shown.multipath;
        path.usable = shown.ineligible.is_none();
        path.interior_cost = shown.interior_cost;
        path.stale = shown.standing == Standing::Stale;
        path.blackhole = shown.blackhole;
        if shown.blackhole {
            path.reason.push_str("; blackhole, its traffic is dropped");
        }
        if let Some(Zoned(address)) = path.neighbor.filter(|_| path.stale) {
            let kept = peers.stale(address, Family::of(&view.prefix));
            path.stale_seconds = kept.map(|(_, left)| left.as_secs());
            path.reason.push_str(&match kept {
                Some((phase, left)) => {
                    format!("; stale ({}), kept for {}s more at most", phase.as_str(), left.as_secs())
                }
                None => "; stale until announced again".to_owned(),
            });
        }
        path
    });
    Route { prefix: view.prefix.to_string(), paths: paths.collect(), not_usable: Vec::new() }
}

/// Why a path is what it is, in words.
fn reason(path: &PathView, best_cost: Option<u32>, decided: &str, forwarding: ForwardingState) -> String {
    if let Some(why) = path.ineligible {
        return match &path.rejected_by {
            Some(policy) => format!("{why}: {policy}"),
            None => why.to_string(),
        };
    }
    if path.best {
        return match forwarding {
            ForwardingState::NotInstalled => format!("best by {decided}, but not in the forwarding table"),
            ForwardingState::Pending => format!("best by {decided}, not yet in the forwarding table"),
            ForwardingState::Settled if decided == "only path" => decided.to_owned(),
            ForwardingState::Settled => format!("best by {decided}"),
        };
    }
    match path.lost_at {
        Some(step @ DecisionStep::InteriorCost) => {
            let (cost, best) = (path.interior_cost.unwrap_or(0), best_cost.unwrap_or(0));
            format!("lost by {step} ({cost}, the best has {best})")
        }
        Some(step) => format!("lost by {step}"),
        None => "not chosen yet".to_owned(),
    }
}

/// A prefix as a neighbour is sent it, with one path or several.
pub(super) fn advertised(prefix: IpNet, sent: &[Advertised]) -> Route {
    let paths = sent.iter().enumerate().map(|(index, sent)| Path {
        path_id: sent.path_id,
        best: index == 0,
        usable: true,
        reason: "announced".to_owned(),
        ..attributes(&sent.attributes)
    });
    Route { prefix: prefix.to_string(), paths: paths.collect(), not_usable: Vec::new() }
}

fn attributes(of: &Attributes) -> Path {
    fn texts<T: ToString>(all: &[T]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }
    Path {
        neighbor: None,
        path_id: None,
        best: false,
        multipath: false,
        usable: false,
        blackhole: false,
        stale: false,
        stale_seconds: None,
        reason: String::new(),
        next_hop: Zoned(of.next_hop.addr).to_string(),
        link_local_next_hop: of.next_hop.link_local.map(|address| address.to_string()),
        interior_cost: None,
        as_path: of.as_path.to_string(),
        origin: of.origin.as_str().to_owned(),
        local_pref: of.local_pref,
        local_pref_used: None,
        med: of.med,
        communities: texts(&of.communities),
        extended_communities: texts(&of.extended_communities),
        large_communities: texts(&of.large_communities),
        aggregator: of.aggregator.map(|(asn, address)| format!("{asn} {address}")),
        atomic_aggregate: of.atomic_aggregate,
        originator_id: of.originator_id.map(|id| id.to_string()),
        cluster_list: texts(&of.cluster_list),
        aigp: of.aigp.as_ref().map(|aigp| aigp.metric),
        otc: of.otc.map(|asn| asn.0),
        partial: of.partial.codes().collect(),
        unknown: of.unknown.iter().map(unknown).collect(),
    }
}

fn unknown(attribute: &UnknownAttribute) -> String {
    let value: String = attribute.value.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{}:{:02x}:{value}", attribute.code, attribute.flags)
}

/// Resident memory of this process in bytes; 0 if the kernel does not say.
pub(super) fn resident_bytes() -> u64 {
    let resident = || -> Option<u64> {
        // Second field: resident pages (proc(5)).
        let pages: u64 =
            std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
        Some(pages * u64::try_from(page).ok()?)
    };
    resident().unwrap_or(0)
}

/// The forwarding plane at a glance.
/// A restart that is under way.
pub(super) fn restart(Status { neighbors, ranges, left }: Status) -> RestartInfo {
    let wait = |(address, progress): (IpAddr, Progress)| RestartWait {
        neighbor: Zoned(address),
        what: progress.to_string(),
    };
    RestartInfo { waits_for: neighbors.into_iter().map(wait).collect(), ranges, left_seconds: left.as_secs() }
}

pub(super) fn fib_summary(forwarding: &ForwardingHandle) -> FibSummary {
    let stats = forwarding.stats();
    let counts = |table: &TableStats, refused: usize| FibCounts {
        engine: table.engine,
        routes: (table.routes + refused) as u64,
        entries: table.entries as u64,
        capacity: table.capacity as u64,
        memory_bytes: table.memory_bytes as u64,
        map_bytes: table.map_bytes as u64,
        not_installed: (table.not_installed() + refused) as u64,
    };
    let families = [
        (Family::Ipv4Unicast, counts(&stats.fib.ipv4, stats.refused[0])),
        (Family::Ipv6Unicast, counts(&stats.fib.ipv6, stats.refused[1])),
    ];
    FibSummary {
        engine: match [stats.fib.ipv4.engine, stats.fib.ipv6.engine] {
            [v4, v6] if v4 == v6 => v4.to_string(),
            [v4, v6] => format!("{v4} (IPv4), {v6} (IPv6)"),
        },
        families: families.into_iter().map(|(family, counts)| (family.as_str().to_owned(), counts)).collect(),
        next_hops: stats.fib.next_hops as u64,
        sets: stats.fib.sets as u64,
        ports: stats
            .ports
            .into_iter()
            .filter(|port| !port.host)
            .map(|port| PortInfo {
                name: port.name,
                ifindex: port.ifindex,
                mode: port.mode.map(|mode| mode.to_string()),
                error: port.error,
            })
            .collect(),
        staged: stats.staged,
        took_over_seconds: stats.took_over.map(|took| took.as_secs_f64()),
        kept: forwarding.keeps(),
    }
}

/// What the audit of the forwarding tables has found.
pub(super) fn fib_diff(forwarding: &ForwardingHandle) -> FibDiff {
    let stats = forwarding.stats().audit;
    let by_map = |counts: &[u64]| {
        let named = AuditedMap::ALL.iter().zip(counts);
        named.map(|(map, count)| (map.as_str().to_owned(), *count)).collect()
    };
    FibDiff {
        interval_seconds: stats.interval.map(|interval| interval.as_secs()),
        passes: stats.passes,
        last_pass: stats.last_pass.map(seconds),
        compared: stats.compared,
        drift: by_map(&stats.drift),
        repairs: by_map(&stats.repairs),
        recent: stats
            .recent
            .iter()
            .map(|drift| FibDrift {
                time: seconds(drift.at),
                map: drift.map.as_str().to_owned(),
                place: drift.place.clone(),
                meant: drift.meant.clone(),
                found: drift.found.clone(),
                repaired: drift.repaired,
            })
            .collect(),
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A route of the forwarding table.
pub(super) fn fib_route(row: &FibRow) -> FibRoute {
    FibRoute {
        prefix: row.prefix.to_string(),
        source: row.source.to_string(),
        state: row.status.clone(),
        installed: row.installed,
        set: row.set,
        next_hops: row.next_hops.iter().map(ToString::to_string).collect(),
        backup: row.backup.as_ref().map(ToString::to_string),
    }
}

/// All next hops of the forwarding table.
pub(super) async fn next_hops(forwarding: &ForwardingHandle) -> Result<Vec<NextHopInfo>, ForwardingStopped> {
    let rows = forwarding.next_hops().await?;
    Ok(rows
        .into_iter()
        .map(|row| NextHopInfo {
            id: row.id,
            name: row.to_string(),
            state: if row.suspect { format!("{}, in doubt", row.state) } else { row.state.to_string() },
            port: row.port,
            mac: row.mac.map(|mac| mac.to_string()),
            resolved_by: row.resolved.and_then(|found| found.by).map(|by| by.to_string()),
            cost: row.resolved.and_then(|found| found.reachable()),
            sets: u64::from(row.sets),
            packets: row.counter.packets,
            bytes: row.counter.bytes,
        })
        .collect())
}

/// Packets by what became of them.
pub(super) async fn verdicts(forwarding: &ForwardingHandle) -> Result<Vec<VerdictCount>, ForwardingStopped> {
    let counters = forwarding.counters().await?;
    Ok(counters
        .verdicts
        .into_iter()
        .map(|(verdict, count)| VerdictCount {
            action: match verdict.action() {
                Action::Forward => "forward".to_owned(),
                Action::Pass => "pass".to_owned(),
                Action::Drop => "drop".to_owned(),
            },
            reason: verdict.label().to_owned(),
            packets: count.packets,
            bytes: count.bytes,
        })
        .collect())
}

/// Copies the ports' counters into their metrics.
pub(super) async fn sample_ports(forwarding: &ForwardingHandle) -> Result<(), ForwardingStopped> {
    for (name, counters) in forwarding.counters().await?.ports {
        sample_port(&name, &counters);
    }
    Ok(())
}
