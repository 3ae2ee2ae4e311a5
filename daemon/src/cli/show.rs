//! `peregrine show` and `peregrine explain`: the API's answers as tables, or as they are (`--json`).
//!
//! Routes and FIB entries arrive a line each and are printed a line each, so a full table needs no
//! memory here; their columns therefore have fixed widths, chosen to fit 100 characters.

use std::net::IpAddr;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::path::{attributes, optional};
use super::table::{Align, Table, duration, print_line, print_text, wrap};
use super::{RouteFilter, Show};
use crate::api::types::{
    FibRoute, NeighborBrief, NeighborDetail, NextHopInfo, Path, PortInfo, Route, Summary, VerdictCount,
};

use Align::{Left, Right};

/// Answers one `peregrine show`.
pub(super) async fn show(client: &Client, what: Show) -> Result<(), ClientError> {
    match what {
        Show::Summary { json: true } => print_json(client, "/v1/summary").await,
        Show::Summary { .. } => summary(&get::<Summary>(client, "/v1/summary").await?),
        Show::Neighbors { address: None, json: true } => print_json(client, "/v1/neighbors").await,
        Show::Neighbors { address: None, .. } => {
            let all: Vec<NeighborDetail> = get(client, "/v1/neighbors").await?;
            neighbor_table(all.iter().map(|neighbor| &neighbor.brief)).print()
        }
        Show::Neighbors { address: Some(address), json: true } => {
            print_json(client, &format!("/v1/neighbors/{address}")).await
        }
        Show::Neighbors { address: Some(address), .. } => {
            neighbor(&get(client, &format!("/v1/neighbors/{address}")).await?)
        }
        Show::Routes(filter) => routes(client, &filter).await,
        Show::Fib { prefix, json } => fib(client, prefix.as_deref(), json).await,
        Show::Nexthops { json: true } => print_json(client, "/v1/nexthops").await,
        Show::Nexthops { .. } => next_hops(&get::<Vec<NextHopInfo>>(client, "/v1/nexthops").await?),
        Show::Counters { json: true } => print_json(client, "/v1/counters").await,
        Show::Counters { .. } => counters(&get::<Vec<VerdictCount>>(client, "/v1/counters").await?),
    }
}

/// Answers `peregrine explain`.
pub(super) async fn explain(client: &Client, prefix: &str, json: bool) -> Result<(), ClientError> {
    let path = format!("/v1/explain?prefix={prefix}");
    if json {
        return print_json(client, &path).await;
    }
    let route: Route = get(client, &path).await?;
    let mut text = format!("{}\n", route.prefix);
    for path in &route.paths {
        let mark = if path.best {
            "best"
        } else if path.multipath {
            "also forwards"
        } else {
            "not used"
        };
        text.push_str(&format!("  from {}: {mark}: {}\n{}", source(path), path.reason, attributes(path)));
    }
    print_text(&text)
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, ClientError> {
    client.fetch(Method::GET, path).await
}

async fn print_json(client: &Client, path: &str) -> Result<(), ClientError> {
    let answer: Value = get(client, path).await?;
    print_line(serde_json::to_string_pretty(&answer)?.as_bytes())
}

fn summary(summary: &Summary) -> Result<(), ClientError> {
    let router = &summary.router;
    let mut text = format!(
        "Router {} AS {}, peregrine {}, up {}, {} MiB\n\n",
        router.router_id,
        router.asn,
        router.version,
        duration(router.uptime_seconds),
        router.resident_bytes >> 20
    );
    text.push_str(&neighbor_table(&summary.neighbors).render());
    let mut tables = Table::new(&[
        ("Table", Left),
        ("Prefixes", Right),
        ("Paths", Right),
        ("FIB routes", Right),
        ("Engine", Left),
        ("Entries", Right),
        ("Capacity", Right),
        ("Not installed", Right),
    ]);
    for (family, rib) in &summary.rib {
        let fib = summary.fib.as_ref().and_then(|fib| fib.families.get(family));
        let count = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |count| count.to_string());
        tables.row(vec![
            family.clone(),
            rib.prefixes.to_string(),
            rib.paths.to_string(),
            count(fib.map(|fib| fib.routes)),
            fib.map_or_else(|| "-".to_owned(), |fib| fib.engine.to_string()),
            count(fib.map(|fib| fib.entries)),
            count(fib.map(|fib| fib.capacity)),
            count(fib.map(|fib| fib.not_installed)),
        ]);
    }
    text.push('\n');
    text.push_str(&tables.render());
    match &summary.fib {
        None => text.push_str("\nNo forwarding plane: [fib] names no interfaces.\n"),
        Some(fib) => {
            let ports: Vec<String> =
                fib.ports.iter().map(|port| format!("{} ({})", port.name, port_state(port))).collect();
            text.push_str(&format!(
                "\nForwarding by {}, {} next hops in {} sets, ports: {}\n",
                fib.engine,
                fib.next_hops,
                fib.sets,
                ports.join(", ")
            ));
        }
    }
    print_text(&text)
}

fn port_state(port: &PortInfo) -> &str {
    port.mode.as_deref().or(port.error.as_deref()).unwrap_or("missing")
}

fn neighbor_table<'a>(neighbors: impl IntoIterator<Item = &'a NeighborBrief>) -> Table {
    let mut table = Table::new(&[
        ("Neighbor", Left),
        ("AS", Right),
        ("State", Left),
        ("Since", Right),
        ("Family", Left),
        ("Received", Right),
        ("Accepted", Right),
        ("Best", Right),
        ("Description", Left),
    ]);
    for neighbor in neighbors {
        let mut lead = vec![
            neighbor.address.to_string(),
            neighbor.asn.to_string(),
            neighbor.state.clone(),
            neighbor.since_seconds.map_or_else(|| "-".to_owned(), duration),
        ];
        let note = neighbor.description.clone().unwrap_or_default();
        if neighbor.families.is_empty() {
            let error = neighbor.last_error.iter().map(|error| format!("({error})"));
            let note = [note].into_iter().filter(|note| !note.is_empty()).chain(error);
            let note = note.collect::<Vec<_>>().join(" ");
            lead.extend(["-", "-", "-", "-"].map(str::to_owned));
            lead.push(note);
            table.row(lead);
            continue;
        }
        for (family, counts) in &neighbor.families {
            lead.extend([
                family.trim_end_matches("-unicast").to_owned(),
                counts.received.to_string(),
                counts.accepted.to_string(),
                counts.best.to_string(),
                note.clone(),
            ]);
            table.row(std::mem::replace(&mut lead, vec![String::new(); 4]));
        }
    }
    table
}

fn neighbor(neighbor: &NeighborDetail) -> Result<(), ClientError> {
    let brief = &neighbor.brief;
    let mut lines = vec![
        ("Neighbor", format!("{} AS {} ({})", brief.address, brief.asn, neighbor.kind)),
        ("Description", brief.description.clone().unwrap_or_else(|| "-".into())),
        (
            "State",
            format!("{}, for {}", brief.state, brief.since_seconds.map_or_else(|| "-".into(), duration)),
        ),
        ("Last error", last_error(brief)),
    ];
    if let Some(seconds) = neighbor.retry_seconds {
        lines.push(("Next try", format!("in {}", duration(seconds))));
    }
    if let (Some(local), Some(remote)) = (&neighbor.local, &neighbor.remote) {
        lines.push(("Connection", format!("{local} to {remote}")));
    }
    if let Some(router_id) = &neighbor.router_id {
        lines.push(("Router id", router_id.clone()));
    }
    if let (Some(hold), Some(keepalive)) = (neighbor.hold_time_seconds, neighbor.keepalive_seconds) {
        lines.push(("Timers", format!("hold {hold}s, keepalive {keepalive}s")));
    }
    if !neighbor.capabilities.is_empty() {
        lines.push(("It offers", neighbor.capabilities.join(", ")));
    }
    let names =
        |list: &[String]| if list.is_empty() { "none configured".to_owned() } else { list.join(", ") };
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
        lines.push((
            "Routes",
            format!(
                "{family}: {} received, {} accepted, {} best",
                counts.received, counts.accepted, counts.best
            ),
        ));
    }
    for direction in ["received", "sent"] {
        let of = |(name, count): (&String, &u64)| {
            let kind = name.strip_prefix(direction)?.trim();
            (*count > 0).then(|| format!("{count} {kind}"))
        };
        let counts: Vec<String> = neighbor.messages.iter().filter_map(of).collect();
        let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        lines.push(("Messages", format!("{direction} {counts}")));
    }
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

fn last_error(brief: &NeighborBrief) -> String {
    match (&brief.last_error, brief.last_error_seconds) {
        (Some(error), Some(seconds)) => format!("{error}, {} ago", duration(seconds)),
        (Some(error), None) => error.clone(),
        (None, _) => "none".to_owned(),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

async fn routes(client: &Client, filter: &RouteFilter) -> Result<(), ClientError> {
    let mut query: Vec<String> = Vec::new();
    if let Some(prefix) = &filter.prefix {
        query.push(format!("prefix={prefix}"));
    }
    let views: [(&str, Option<IpAddr>); 3] =
        [("received", filter.received), ("rejected", filter.rejected), ("advertised", filter.advertised)];
    for (name, address) in views {
        if let Some(address) = address {
            query.push(format!("{name}={address}"));
        }
    }
    let path = format!("/v1/routes?{}", query.join("&"));
    if filter.json {
        return json_array(client, &path).await;
    }
    let head = route_line("", "Prefix", "Next hop", ["Pref", "MED"], "From", "AS path, or why not usable");
    listing(client, &path, filter.prefix.as_deref(), &head, |route: Route| {
        let shown = |(index, path)| {
            let line = path_line(if index == 0 { &route.prefix } else { "" }, path);
            // Who asks for one route wants to know all about it.
            if filter.prefix.is_some() { format!("{line}\n{}", attributes(path).trim_end()) } else { line }
        };
        route.paths.iter().enumerate().map(shown).collect::<Vec<_>>().join("\n")
    })
    .await
}

fn path_line(prefix: &str, path: &Path) -> String {
    let mark = match path {
        Path { best: true, .. } => "*>",
        Path { multipath: true, .. } => "*=",
        Path { usable: true, .. } => "*",
        _ => "x",
    };
    let last = if path.usable {
        format!("{} {}", shortened(&path.as_path), origin_letter(&path.origin))
    } else {
        path.reason.clone()
    };
    let numbers = [optional(path.local_pref), optional(path.med)];
    let numbers = numbers.each_ref().map(String::as_str);
    route_line(mark, prefix, &path.next_hop, numbers, &source(path), last.trim_start())
}

/// An AS path of ordinary length as it is; of a longer one the beginning and how long it is.
fn shortened(as_path: &str) -> String {
    const SHOWN: usize = 60;
    if as_path.len() <= SHOWN {
        return as_path.to_owned();
    }
    let end = as_path[..SHOWN].rfind(' ').unwrap_or(SHOWN);
    format!("{} ... ({} AS numbers)", &as_path[..end], as_path.split_whitespace().count())
}

fn route_line(mark: &str, prefix: &str, hop: &str, [pref, med]: [&str; 2], from: &str, last: &str) -> String {
    format!("{mark:2} {prefix:<20} {hop:<16} {pref:>5} {med:>5}  {from:<16} {last}")
}

async fn fib(client: &Client, prefix: Option<&str>, json: bool) -> Result<(), ClientError> {
    let path = prefix.map_or_else(|| "/v1/fib".to_owned(), |prefix| format!("/v1/fib?prefix={prefix}"));
    if json {
        return json_array(client, &path).await;
    }
    let line = |prefix: &str, source: &str, set: &str, state: &str, hops: &str| {
        format!("{prefix:<26} {source:<10} {set:>5}  {state:<12} {hops}")
    };
    let head = line("Prefix", "Source", "Set", "State", "Next hops");
    listing(client, &path, prefix, &head, |route: FibRoute| {
        let (set, hops) = (route.set.to_string(), route.next_hops.join(", "));
        line(&route.prefix, &route.source, &set, &route.state, &hops)
    })
    .await
}

/// A list that arrives a line each, under a head. What was asked for by name and is not there is an
/// error; a list that is empty is not.
async fn listing<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    asked: Option<&str>,
    head: &str,
    text: impl Fn(T) -> String,
) -> Result<(), ClientError> {
    let mut rows = 0_usize;
    let row = |line: &[u8]| {
        let line = text(serde_json::from_slice(line)?);
        if rows == 0 {
            print_line(head.as_bytes())?;
        }
        rows += 1;
        print_line(line.as_bytes()).map(|()| true)
    };
    client.lines(path, row).await?;
    match asked {
        Some(asked) if rows == 0 => Err(ClientError::Refused(format!("no such route: {asked}"))),
        None if rows == 0 => print_line(head.as_bytes()),
        _ => Ok(()),
    }
}

/// A line-by-line answer as one JSON array.
async fn json_array(client: &Client, path: &str) -> Result<(), ClientError> {
    let mut first = true;
    client
        .lines(path, |line| {
            print_text(if std::mem::take(&mut first) { "[\n" } else { ",\n" })?;
            print_text(&String::from_utf8_lossy(line))?;
            Ok(true)
        })
        .await?;
    print_text(if first { "[]\n" } else { "\n]\n" })
}

fn next_hops(hops: &[NextHopInfo]) -> Result<(), ClientError> {
    let mut table = Table::new(&[
        ("Id", Right),
        ("Next hop", Left),
        ("Port", Left),
        ("MAC", Left),
        ("Sets", Right),
        ("Packets", Right),
        ("Bytes", Right),
        ("State", Left),
    ]);
    for hop in hops {
        table.row(vec![
            optional(hop.id),
            hop.name.clone(),
            hop.port.clone().unwrap_or_else(|| "-".into()),
            hop.mac.clone().unwrap_or_else(|| "-".into()),
            hop.sets.to_string(),
            hop.packets.to_string(),
            hop.bytes.to_string(),
            hop.state.clone(),
        ]);
    }
    table.print()
}

fn counters(counts: &[VerdictCount]) -> Result<(), ClientError> {
    let mut table = Table::new(&[("Action", Left), ("Reason", Left), ("Packets", Right), ("Bytes", Right)]);
    for count in counts.iter().filter(|count| count.packets > 0) {
        table.row(vec![
            count.action.clone(),
            count.reason.clone(),
            count.packets.to_string(),
            count.bytes.to_string(),
        ]);
    }
    table.print()
}

fn source(path: &Path) -> String {
    path.neighbor.map_or_else(|| "this router".to_owned(), |address| address.to_string())
}

fn origin_letter(origin: &str) -> &'static str {
    match origin {
        "igp" => "i",
        "egp" => "e",
        _ => "?",
    }
}
