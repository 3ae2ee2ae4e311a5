//! Prometheus metrics: what they are called, and how the daemon's state is sampled into them.
//!
//! Everything is a number that the rooms keep anyway and that is copied at each scrape, so that a metric
//! and the `show` command beside it are the same number. Counters are copied with `absolute`: they never run backwards, and a restart of the
//! daemon starts them at zero.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

use fib_abi::PortCounters;

use crate::forwarding::Latency;

use super::types::{FibDiff, NeighborDetail, Summary, VerdictCount};

const UPDATE_TO_FIB: &str = "peregrine_update_to_fib_seconds";

/// Everything is sampled at each scrape: what was not for so long does not exist any more.
const IDLE: Duration = Duration::from_secs(10);

/// Installs the recorder of the process and describes each metric.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        // Neighbours that were removed, or have left, are gone from here too.
        .idle_timeout(MetricKindMask::ALL, Some(IDLE))
        .install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    let gauges = [
        ("peregrine_build_info", "Constant 1, labelled with the version of the daemon."),
        ("peregrine_resident_memory_bytes", "Resident memory of the daemon."),
        ("peregrine_uptime_seconds", "Time since the daemon started."),
        (
            "peregrine_restart_deferred",
            "1 while packets go by the tables of an earlier run and neighbors are told nothing (RFC 4724 section 4.1).",
        ),
        ("peregrine_restart_waiting_neighbors", "Neighbors whose routes such a restart waits for."),
        ("peregrine_session_up", "1 while the session with the neighbor is Established, else 0."),
        ("peregrine_session_uptime_seconds", "Time for which the session has been Established, else 0."),
        (
            "peregrine_session_graceful_shutdown",
            "1 while routes of the session are marked as about to go (RFC 8326), else 0.",
        ),
        ("peregrine_session_routes_received", "Routes in the Adj-RIB-In of the neighbor."),
        (
            "peregrine_session_routes_accepted",
            "Routes of the neighbor that policy accepted and that are usable.",
        ),
        ("peregrine_session_routes_best", "Routes of the neighbor that are best."),
        ("peregrine_session_routes_stale", "Routes kept of a session with the neighbor that was lost."),
        (
            "peregrine_session_prefix_limit",
            "Limit on the prefixes of the session, by what is counted: received, accepted, advertised.",
        ),
        ("peregrine_session_prefix_limit_count", "Prefixes that count for the limit."),
        ("peregrine_range_neighbors", "Dynamic neighbors of the range."),
        ("peregrine_range_limit_neighbors", "Dynamic neighbors that the range may have at a time."),
        ("peregrine_rib_prefixes", "Prefixes with at least one path."),
        ("peregrine_rib_paths", "Paths, usable or not."),
        ("peregrine_fib_routes", "Routes meant to be in the forwarding table, before compression."),
        (
            "peregrine_fib_entries",
            "Entries of the LPM trie after compression, or nodes of the direct table in use.",
        ),
        ("peregrine_fib_capacity_entries", "Entries or nodes that there can be at most."),
        ("peregrine_fib_engine", "1 for the table engine that packets are looked up in."),
        ("peregrine_fib_memory_bytes", "Memory of the forwarding table in the daemon."),
        ("peregrine_fib_map_bytes", "Memory of the direct table's map, 0 for an LPM trie."),
        (
            "peregrine_fib_not_installed_routes",
            "Routes missing in the map because it is full or a write failed.",
        ),
        ("peregrine_fib_next_hops", "Next hops in use."),
        ("peregrine_fib_next_hop_sets", "Next-hop sets in use."),
        (
            "peregrine_fib_staged",
            "1 while packets go by the tables of an earlier run and those of this one are filled.",
        ),
        (
            "peregrine_fib_takeover_seconds",
            "How long that took, once packets go by the tables of this run; absent if there were no earlier ones.",
        ),
        ("peregrine_fib_kept", "1 if forwarding goes on when the daemon ends."),
    ];
    for (name, text) in gauges {
        describe_gauge!(name, text);
    }
    let counters = [
        ("peregrine_session_established_total", "How often the session with the neighbor came up."),
        ("peregrine_range_refused_total", "Connections refused because the range was full."),
        (
            "peregrine_range_too_far_total",
            "Connections refused since they came from further away than ttl-security of the range lets them.",
        ),
        (
            "peregrine_session_too_far_total",
            "Connections refused since they came from further away than ttl-security of the neighbor lets them.",
        ),
        ("peregrine_session_messages_total", "BGP messages by direction and type."),
        (
            "peregrine_session_unsendable_routes_total",
            "Routes not sent to the neighbor since no message can carry them.",
        ),
        (
            "peregrine_session_update_errors_total",
            "Malformed UPDATEs whose routes were treated as withdrawn (RFC 7606).",
        ),
        (
            "peregrine_forwarding_packets_total",
            "Packets seen by the XDP program, by what became of them and why.",
        ),
        (
            "peregrine_forwarding_bytes_total",
            "Bytes of frames seen by the XDP program, by what became of them and why.",
        ),
        ("peregrine_fib_audits_total", "How often all forwarding tables were compared with what is meant."),
        ("peregrine_fib_drift_total", "Elements of the maps that were not as meant, by map."),
        (
            "peregrine_fib_repairs_total",
            "Differences in the maps of the forwarding tables that were repaired.",
        ),
        ("peregrine_port_packets_total", "Packets of each port by what became of them."),
        ("peregrine_port_bytes_total", "Bytes of frames of each port by what became of them."),
    ];
    for (name, text) in counters {
        describe_counter!(name, text);
    }
    super::bfd::describe();
}

#[expect(clippy::cast_precision_loss, reason = "a count beyond 2^52 is beyond any table")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

/// Copies what `show summary` says.
pub(crate) fn sample_summary(summary: &Summary) {
    let router = &summary.router;
    gauge!("peregrine_build_info", "version" => router.version.clone()).set(1.0);
    gauge!("peregrine_resident_memory_bytes").set(float(router.resident_bytes));
    gauge!("peregrine_uptime_seconds").set(float(router.uptime_seconds));
    let waiting = summary.restart.as_ref().map_or(0, |restart| restart.waits_for.len() as u64);
    gauge!("peregrine_restart_deferred").set(if summary.restart.is_some() { 1.0 } else { 0.0 });
    gauge!("peregrine_restart_waiting_neighbors").set(float(waiting));
    for range in &summary.ranges {
        gauge!("peregrine_range_neighbors", "range" => range.prefix.clone()).set(float(range.neighbors));
        gauge!("peregrine_range_limit_neighbors", "range" => range.prefix.clone()).set(float(range.limit));
        counter!("peregrine_range_refused_total", "range" => range.prefix.clone()).absolute(range.refused);
        counter!("peregrine_range_too_far_total", "range" => range.prefix.clone()).absolute(range.too_far);
    }
    for (family, rib) in &summary.rib {
        gauge!("peregrine_rib_prefixes", "family" => family.clone()).set(float(rib.prefixes));
        gauge!("peregrine_rib_paths", "family" => family.clone()).set(float(rib.paths));
    }
    let Some(fib) = &summary.fib else { return };
    for (family, table) in &fib.families {
        gauge!("peregrine_fib_routes", "family" => family.clone()).set(float(table.routes));
        gauge!("peregrine_fib_entries", "family" => family.clone()).set(float(table.entries));
        gauge!("peregrine_fib_capacity_entries", "family" => family.clone()).set(float(table.capacity));
        gauge!("peregrine_fib_memory_bytes", "family" => family.clone()).set(float(table.memory_bytes));
        gauge!("peregrine_fib_map_bytes", "family" => family.clone()).set(float(table.map_bytes));
        for engine in fib::EngineKind::ALL {
            gauge!("peregrine_fib_engine", "family" => family.clone(), "engine" => engine.to_string())
                .set(if table.engine == engine { 1.0 } else { 0.0 });
        }
        gauge!("peregrine_fib_not_installed_routes", "family" => family.clone())
            .set(float(table.not_installed));
    }
    gauge!("peregrine_fib_next_hops").set(float(fib.next_hops));
    gauge!("peregrine_fib_next_hop_sets").set(float(fib.sets));
    gauge!("peregrine_fib_staged").set(if fib.staged { 1.0 } else { 0.0 });
    if let Some(seconds) = fib.took_over_seconds {
        gauge!("peregrine_fib_takeover_seconds").set(seconds);
    }
    gauge!("peregrine_fib_kept").set(if fib.kept { 1.0 } else { 0.0 });
}

/// Copies what `show neighbors` says of one neighbour. Families that the session does not carry (any
/// more) count zero routes, so that a lost session is seen as lost routes.
pub(crate) fn sample_neighbor(neighbor: &NeighborDetail) {
    let brief = &neighbor.brief;
    // One series, whether the session is up or not.
    let number = brief.asn.filter(|_| !brief.any_asn);
    let asn = number.map_or_else(|| "external".to_owned(), |asn| asn.to_string());
    let labels = [("neighbor", brief.address.to_string()), ("asn", asn.clone())];
    gauge!("peregrine_session_up", &labels).set(if brief.state == "Established" { 1.0 } else { 0.0 });
    let uptime = brief.since_seconds.filter(|_| brief.state == "Established").unwrap_or(0);
    gauge!("peregrine_session_uptime_seconds", &labels).set(float(uptime));
    gauge!("peregrine_session_graceful_shutdown", &labels).set(if brief.graceful_shutdown {
        1.0
    } else {
        0.0
    });
    counter!("peregrine_session_established_total", &labels).absolute(neighbor.established_transitions);
    counter!("peregrine_session_too_far_total", &labels).absolute(neighbor.refused_too_far);
    counter!("peregrine_session_update_errors_total", &labels).absolute(neighbor.update_errors);
    counter!("peregrine_session_unsendable_routes_total", &labels).absolute(neighbor.unsendable);
    for family in bgp::types::Family::ALL {
        let counts = brief.families.get(family.as_str()).copied().unwrap_or_default();
        let labels = [
            ("neighbor", brief.address.to_string()),
            ("asn", asn.clone()),
            ("family", family.as_str().to_owned()),
        ];
        gauge!("peregrine_session_routes_received", &labels).set(float(counts.received));
        gauge!("peregrine_session_routes_accepted", &labels).set(float(counts.accepted));
        gauge!("peregrine_session_routes_best", &labels).set(float(counts.best));
        let stale = neighbor.stale.get(family.as_str()).map_or(0, |stale| stale.routes);
        gauge!("peregrine_session_routes_stale", &labels).set(float(stale));
    }
    for limit in &neighbor.limits {
        let labels = [
            ("neighbor", brief.address.to_string()),
            ("family", limit.family.clone()),
            ("counted", limit.what.clone()),
        ];
        gauge!("peregrine_session_prefix_limit", &labels).set(limit.limit);
        gauge!("peregrine_session_prefix_limit_count", &labels).set(limit.count);
    }
    for (name, count) in &neighbor.messages {
        let (direction, kind) = name.split_once(' ').unwrap_or(("", name));
        counter!("peregrine_session_messages_total", "neighbor" => brief.address.to_string(),
            "direction" => direction.to_owned(), "type" => kind.to_owned())
        .absolute(*count);
    }
}

/// Copies what `show fib diff` says.
pub(crate) fn sample_audit(diff: &FibDiff) {
    counter!("peregrine_fib_audits_total").absolute(diff.passes);
    for (map, count) in &diff.drift {
        counter!("peregrine_fib_drift_total", "map" => map.clone()).absolute(*count);
    }
    for (map, count) in &diff.repairs {
        counter!("peregrine_fib_repairs_total", "map" => map.clone()).absolute(*count);
    }
}

/// Copies the forwarding plane's counters.
pub(crate) fn sample_verdicts(verdicts: &[VerdictCount]) {
    for verdict in verdicts {
        let labels = [("action", verdict.action.clone()), ("reason", verdict.reason.clone())];
        counter!("peregrine_forwarding_packets_total", &labels).absolute(verdict.packets);
        counter!("peregrine_forwarding_bytes_total", &labels).absolute(verdict.bytes);
    }
}

/// The histogram of latencies in the text format of Prometheus.
pub(crate) fn latency(latency: &Latency) -> String {
    let mut text = format!(
        "# HELP {UPDATE_TO_FIB} Time from reading an UPDATE off its socket until its routes are in the \
         forwarding tables, one count for each UPDATE.\n# TYPE {UPDATE_TO_FIB} histogram\n"
    );
    let mut all = 0;
    for (bound, count) in latency.cumulative() {
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
        text += &format!("{UPDATE_TO_FIB}_bucket{{le=\"{bound}\"}} {count}\n");
        all = count;
    }
    text + &format!("{UPDATE_TO_FIB}_sum {}\n{UPDATE_TO_FIB}_count {all}\n", latency.sum)
}

/// Copies the counters of one port.
pub(crate) fn sample_port(name: &str, counters: &PortCounters) {
    let kinds = [
        ("received", counters.received),
        ("sent", counters.sent),
        ("passed", counters.passed),
        ("dropped", counters.dropped),
    ];
    for (kind, count) in kinds {
        let labels = [("port", name.to_owned()), ("kind", kind.to_owned())];
        counter!("peregrine_port_packets_total", &labels).absolute(count.packets);
        counter!("peregrine_port_bytes_total", &labels).absolute(count.bytes);
    }
}
