//! `peregrine show neighbors ADDR` and `peregrine show history ADDR`.

use std::time::{Duration, UNIX_EPOCH};

use super::client::{Client, ClientError};
use super::show::{get, print_json};
use super::table::{Align, Table, duration, print_text, wrap};
use crate::api::types::{
    AddPathInfo, HistoryEvent, LimitInfo, NeighborBrief, NeighborDetail, NotificationInfo, OnLinkInfo,
    RefreshInfo, Shutdown, StaleInfo,
};
use bgp::link::Zoned;

/// Of what it is a client here.
fn client(neighbor: &NeighborDetail) -> impl Iterator<Item = (&'static str, String)> {
    let cluster = neighbor.reflector_cluster.iter();
    let reflection = cluster.map(|cluster| ("Reflection", format!("a client, in cluster {cluster}")));
    let served = ("Route server", "a client, with a best path of its own".to_owned());
    reflection.chain(neighbor.route_server_client.then_some(served))
}

/// Its AS number as far as it is known.
pub(super) fn asn(brief: &NeighborBrief) -> String {
    brief.asn.map_or_else(|| "external".to_owned(), |asn| asn.to_string())
}

/// Who is on its link.
pub(super) fn on_link(known: &OnLinkInfo) -> String {
    match (&known.address, &known.waits_for) {
        (Some(address), _) => address.to_string(),
        (None, Some(why)) => why.clone(),
        (None, None) => "nobody".to_owned(),
    }
}

/// One neighbour in detail.
pub(super) fn show(neighbor: &NeighborDetail) -> Result<(), ClientError> {
    let brief = &neighbor.brief;
    let mut lines = vec![
        ("Neighbor", format!("{} AS {} ({})", brief.address, asn(brief), neighbor.kind)),
        (
            "Configured",
            brief.range.as_ref().map_or_else(|| "by itself".into(), |range| format!("dynamic, in {range}")),
        ),
        ("Group", brief.group.clone().unwrap_or_else(|| "-".into())),
        ("Description", brief.description.clone().unwrap_or_else(|| "-".into())),
        (
            "State",
            format!("{}, for {}", brief.state, brief.since_seconds.map_or_else(|| "-".into(), duration)),
        ),
    ];
    lines.extend(brief.on_link.as_ref().map(|known| ("On the link", on_link(known))));
    lines.extend(errors(brief));
    if let Some(shutdown) = &brief.shutdown {
        lines.push(("Shut down", format!("by {}", by(shutdown))));
    }
    if brief.graceful_shutdown {
        let text = "graceful shutdown: its routes are the last choice, and ours are marked so (RFC 8326)";
        lines.push(("Leaving", text.to_owned()));
    }
    lines.extend(client(neighbor));
    lines.extend(outlook(neighbor));
    if let (Some(local), Some(remote)) = (&neighbor.local, &neighbor.remote) {
        lines.push(("Connection", format!("{local} to {remote}")));
    }
    if let Some(router_id) = &neighbor.router_id {
        lines.push(("Router id", router_id.clone()));
    }
    lines.extend(neighbor.local_asn.iter().map(|asn| ("Our AS", asn.clone())));
    lines.push(("Transport", transport(neighbor)));
    lines.extend(neighbor.bfd.as_ref().map(|bfd| ("BFD", super::bfd::line(bfd))));
    lines.extend(timers(neighbor).map(|timers| ("Timers", timers)));
    for (name, capabilities) in
        [("We offer", &neighbor.capabilities_sent), ("It offers", &neighbor.capabilities)]
    {
        if !capabilities.is_empty() {
            lines.push((name, capabilities.join(", ")));
        }
    }
    if let Some(add_path) = &neighbor.add_path {
        lines.push(("Add-path", add_path_text(add_path)));
    }
    for (name, last) in [
        ("Last sent", &neighbor.last_notification_sent),
        ("Last received", &neighbor.last_notification_received),
    ] {
        lines.extend(last.as_ref().map(|last| (name, notification(last))));
    }
    if let Some(last) = &neighbor.last_malformed {
        let ago = duration(last.seconds_ago);
        lines.push(("Malformed", format!("{}, {ago} ago, message: {}", last.reason, spaced(&last.message))));
    }
    let names =
        |list: &[String]| if list.is_empty() { "none configured".to_owned() } else { list.join(", ") };
    lines.extend(restart(neighbor));
    lines.push(("Import", names(&neighbor.import)));
    lines.push(("Export", names(&neighbor.export)));
    if !neighbor.options.is_empty() {
        let options: Vec<String> =
            neighbor.options.iter().map(|(key, value)| format!("{key} {value}")).collect();
        lines.push(("Options", options.join(", ")));
    }
    if neighbor.unsendable > 0 {
        lines.push(("Not sent", format!("{} routes that no message can carry to it", neighbor.unsendable)));
    }
    for (family, counts) in &brief.families {
        let mut text = format!(
            "{family}: {} received, {} accepted, {} best",
            counts.received, counts.accepted, counts.best
        );
        if let Some(advertised) = neighbor.advertised.get(family) {
            text.push_str(&format!(", {advertised} advertised"));
        }
        lines.push(("Routes", text));
        let rejected = neighbor.rejected.get(family).into_iter().flatten();
        let rejected: Vec<String> = rejected.map(|(reason, count)| format!("{count} {reason}")).collect();
        if !rejected.is_empty() {
            lines.push(("Not usable", format!("{family}: {}", rejected.join(", "))));
        }
    }
    lines.extend(["received", "sent"].map(|direction| ("Messages", messages(neighbor, direction))));
    lines.push(("Established", format!("{} so far", times(neighbor.established_transitions))));
    if neighbor.update_errors > 0 {
        lines.push((
            "Bad updates",
            format!(
                "{} treated as withdrawals, the last: {}",
                neighbor.update_errors,
                neighbor.last_update_error.as_deref().unwrap_or("-")
            ),
        ));
    }
    let text: String =
        lines.iter().map(|(name, value)| format!("{name:<13} {}\n", wrap(value, 84, 14))).collect();
    print_text(&text)
}

/// How many messages of each type went in a direction.
fn messages(neighbor: &NeighborDetail, direction: &str) -> String {
    let of = |(name, count): (&String, &u64)| {
        let kind = name.strip_prefix(direction)?.trim();
        (*count > 0).then(|| format!("{count} {kind}"))
    };
    let counts: Vec<String> = neighbor.messages.iter().filter_map(of).collect();
    let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
    format!("{direction} {counts}")
}

/// What is done when the session ends or too much is sent.
fn restart(neighbor: &NeighborDetail) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if neighbor.over_limit {
        let text = format!("too many prefixes; `peregrine enable {}` brings it back", neighbor.brief.address);
        lines.push(("Kept idle", text));
    }
    let orders: Vec<&str> = [
        (neighbor.honor_graceful_shutdown, "graceful-shutdown lowers the local preference to 0"),
        (neighbor.accept_blackhole, "blackhole drops traffic"),
    ]
    .into_iter()
    .filter_map(|(on, text)| on.then_some(text))
    .collect();
    if !orders.is_empty() {
        lines.push(("Communities", orders.join(", ")));
    }
    for limit in &neighbor.limits {
        let LimitInfo { family, what, limit, warning, action, count, refused } = limit;
        let mut text = format!("{family}: {count} {what} of {limit}, warning at {warning}, then {action}");
        if *refused > 0 {
            text.push_str(&format!("; {refused} refused"));
        }
        lines.push(("Limit", text));
    }
    lines.push(("Restart", neighbor.graceful_restart.clone()));
    lines.extend(neighbor.restart_waits_for.iter().map(|what| ("Our restart", format!("waits for {what}"))));
    for (family, stale) in &neighbor.stale {
        let StaleInfo { phase, left_seconds, routes } = stale;
        let left = duration(*left_seconds);
        lines.push(("Stale", format!("{family}: {routes} routes, {phase}, for {left} more at most")));
    }
    if let Some(RefreshInfo { begun, ended, expired, ignored }) = neighbor.enhanced_refresh {
        let mut text = format!("enhanced; of its routes: {begun} begun, {ended} ended");
        for (count, what) in [(expired, "took too long"), (ignored, "marks at the wrong time")] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        lines.push(("Refresh", text));
    }
    if !neighbor.ends_of_rib.is_empty() {
        lines.push(("End-of-RIB", format!("received: {}", neighbor.ends_of_rib.join(", "))));
    }
    lines
}

/// By whom, and with what for the neighbour to read.
pub(super) fn by(shutdown: &Shutdown) -> String {
    match shutdown.message.as_str() {
        "" => shutdown.by.clone(),
        message => format!("{}: \"{}\"", shutdown.by, message.escape_debug()),
    }
}

fn add_path_text(add_path: &AddPathInfo) -> String {
    let most = add_path.most.map_or_else(|| "all paths".to_owned(), |most| format!("{most} best paths"));
    let parts = [
        (!add_path.receive.is_empty()).then(|| format!("receives {}", add_path.receive.join(", "))),
        (!add_path.send.is_empty()).then(|| format!("sends {most} of {}", add_path.send.join(", "))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The timers of a session that is up.
fn timers(neighbor: &NeighborDetail) -> Option<String> {
    let (hold, keepalive) = (neighbor.hold_time_seconds?, neighbor.keepalive_seconds?);
    let left = |seconds: Option<u64>| {
        seconds.map_or_else(String::new, |seconds| format!(" ({} left)", duration(seconds)))
    };
    let (hold_left, next) = (left(neighbor.hold_seconds_left), left(neighbor.keepalive_seconds_left));
    let send_hold = neighbor.send_hold_seconds.map_or("off".to_owned(), |seconds| format!("{seconds}s"));
    let send_left = left(neighbor.send_hold_seconds_left);
    Some(format!("hold {hold}s{hold_left}, keepalive {keepalive}s{next}, send hold {send_hold}{send_left}"))
}

fn transport(neighbor: &NeighborDetail) -> String {
    let mut parts = vec![format!("TTL {} out", neighbor.ttl)];
    parts.extend(neighbor.minimum_ttl.map(|least| format!("{least} or more in")));
    if neighbor.refused_too_far > 0 {
        parts.push(format!("{} connections from further away refused", neighbor.refused_too_far));
    }
    parts.extend(neighbor.password.then(|| "TCP MD5".to_owned()));
    parts.extend(neighbor.local_address.map(|local| format!("from {local} only")));
    parts.join(", ")
}

/// What may keep the session from coming up, and when that is tried again.
fn outlook(neighbor: &NeighborDetail) -> impl Iterator<Item = (&'static str, String)> {
    let hint = neighbor.hint.as_ref().map(|hint| ("Hint", hint.clone()));
    let next = neighbor.retry_seconds.map(|seconds| ("Next try", format!("in {}", duration(seconds))));
    hint.into_iter().chain(next)
}

/// Why the session ended, and why it does not come up.
fn errors(brief: &NeighborBrief) -> impl Iterator<Item = (&'static str, String)> {
    let last = ("Last error", error(brief.last_error.as_ref(), brief.last_error_seconds));
    let attempt = brief.last_attempt.as_ref();
    let attempt = attempt.map(|text| ("Last attempt", error(Some(text), brief.last_attempt_seconds)));
    std::iter::once(last).chain(attempt)
}

fn error(text: Option<&String>, seconds: Option<u64>) -> String {
    match (text, seconds) {
        (Some(error), Some(seconds)) => format!("{error}, {} ago", duration(seconds)),
        (Some(error), None) => error.clone(),
        (None, _) => "none".to_owned(),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn notification(last: &NotificationInfo) -> String {
    let mut text = last.text.clone();
    if !last.detail.is_empty() {
        text.push_str(&format!(": {}", last.detail));
    }
    if !last.data.is_empty() {
        text.push_str(&format!(", data {}", spaced(&last.data)));
    }
    format!("{text}, {} ago", duration(last.seconds_ago))
}

/// Hex in groups of four octets.
fn spaced(hex: &str) -> String {
    let groups: Vec<&str> =
        (0..hex.len()).step_by(8).filter_map(|at| hex.get(at..hex.len().min(at + 8))).collect();
    groups.join(" ")
}

/// What happened to a session, the oldest first.
pub(super) async fn history(client: &Client, address: Zoned, json: bool) -> Result<(), ClientError> {
    let path = format!("/v1/neighbors/{}/history", address.in_url());
    if json {
        return print_json(client, &path).await;
    }
    let events: Vec<HistoryEvent> = get(client, &path).await?;
    let mut table = Table::new(&[("Ago", Align::Right), ("Event", Align::Left), ("What", Align::Left)]);
    for event in events {
        let at = UNIX_EPOCH + Duration::try_from_secs_f64(event.time).unwrap_or_default();
        let ago = at.elapsed().map_or_else(|_| "0s".to_owned(), |ago| duration(ago.as_secs()));
        let what =
            if event.count == 1 { event.text } else { format!("{} ({} times)", event.text, event.count) };
        table.row(vec![ago, event.event, what]);
    }
    table.print()
}
