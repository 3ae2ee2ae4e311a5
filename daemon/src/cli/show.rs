//! `peregrine show` and `peregrine explain`: the API's answers as tables, or as they are (`--json`).
//!
//! Routes and FIB entries arrive a line each and are printed a line each, so a full table needs no
//! memory here; their columns therefore have fixed widths, chosen to fit 100 characters.

use bgp::link::Zoned;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::path::{attributes, optional, preference};
use super::table::{Align, Table, duration, print_line, print_text};
use super::{RouteFilter, Show};
use super::{bfd, neighbor};
use crate::api::types::{
    FibDiff, FibRoute, NeighborBrief, NeighborDetail, NextHopInfo, Path, PortInfo, RestartInfo, Route,
    Summary, VerdictCount,
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
            neighbor::show(&get(client, &format!("/v1/neighbors/{address}")).await?)
        }
        Show::History { address, json } => neighbor::history(client, address, json).await,
        Show::Routes(filter) => routes(client, &filter).await,
        Show::Fib { prefix: Some(what), json: true } if what == "diff" => {
            print_json(client, "/v1/fib/diff").await
        }
        Show::Fib { prefix: Some(what), .. } if what == "diff" => {
            fib_diff(&get(client, "/v1/fib/diff").await?)
        }
        Show::Fib { prefix, json } => fib(client, prefix.as_deref(), json).await,
        Show::Nexthops { json: true } => print_json(client, "/v1/nexthops").await,
        Show::Nexthops { .. } => next_hops(&get::<Vec<NextHopInfo>>(client, "/v1/nexthops").await?),
        Show::Bfd { json } => bfd::show(client, json).await,
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
    let mut text = explained(&route);
    if !route.not_usable.is_empty() {
        text.push_str("\nwhat else covers the address has no path that can be used:\n");
        text.extend(route.not_usable.iter().map(explained));
    }
    print_text(&text)
}

fn explained(route: &Route) -> String {
    let mut text = format!("{}\n", route.prefix);
    for path in &route.paths {
        let mark = if path.best {
            "best"
        } else if path.multipath {
            "also forwards"
        } else {
            "not used"
        };
        text.push_str(&format!(
            "  from {}: {mark}: {}\n{}",
            source(path, "this router"),
            path.reason,
            attributes(path)
        ));
    }
    text
}

pub(super) async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<T, ClientError> {
    client.fetch(Method::GET, path).await
}

pub(super) async fn print_json(client: &Client, path: &str) -> Result<(), ClientError> {
    let answer: Value = get(client, path).await?;
    print_line(serde_json::to_string_pretty(&answer)?.as_bytes())
}

/// A restart that is under way.
fn restart(RestartInfo { waits_for, ranges, left_seconds }: &RestartInfo) -> String {
    let mut what: Vec<String> =
        waits_for.iter().map(|wait| format!("  {}: {}\n", wait.neighbor, wait.what)).collect();
    if *ranges {
        what.push("  ranges: whoever comes back\n".to_owned());
    }
    let left = duration(*left_seconds);
    let head = "Restarting: packets go by the routes of the run before, and neighbors are told nothing yet";
    if what.is_empty() {
        return format!("{head}; all routes have been learned again.\n\n");
    }
    let way_out = "`peregrine shutdown ADDR` has it wait no longer for one that will not come";
    format!("{head}.\nFor {left} more at most it waits for\n{}{way_out}\n\n", what.concat())
}

fn summary(summary: &Summary) -> Result<(), ClientError> {
    let router = &summary.router;
    let mut text = format!(
        "Router {} AS {}{}, peregrine {}, up {}, {} MiB\n\n",
        router.router_id,
        router.asn,
        router.confederation.map_or_else(String::new, |all| format!(" (confederation {all})")),
        router.version,
        duration(router.uptime_seconds),
        router.resident_bytes >> 20
    );
    text.extend(summary.restart.as_ref().map(restart));
    text.push_str(&neighbor_table(&summary.neighbors).render());
    for range in &summary.ranges {
        text.push_str(&format!(
            "Range {} AS {}: {} of {} neighbors, {} refused{}\n",
            range.prefix,
            range.asns.join(", "),
            range.neighbors,
            range.limit,
            range.refused,
            if range.too_far > 0 { format!(", {} from too far away", range.too_far) } else { String::new() }
        ));
    }
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
            let now = if fib.staged {
                "Forwarding by the tables of an earlier run until these hold what is learned again:"
            } else {
                "Forwarding by"
            };
            text.push_str(&format!(
                "\n{now} {}, {} next hops in {} sets, ports: {}\n",
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
            neighbor::asn(neighbor),
            neighbor.state.clone(),
            neighbor.since_seconds.map_or_else(|| "-".to_owned(), duration),
        ];
        let dynamic = neighbor.range.as_ref().map(|_| "(dynamic)".to_owned());
        let error = match &neighbor.shutdown {
            _ if neighbor.state == "Established" => None,
            Some(shutdown) => Some(format!("(shut down by {})", neighbor::by(shutdown))),
            None => {
                let errors: Vec<_> =
                    neighbor.last_error.iter().chain(&neighbor.last_attempt).map(String::as_str).collect();
                (!errors.is_empty()).then(|| format!("({})", errors.join("; ")))
            }
        };
        let leaving = neighbor.graceful_shutdown.then(|| "(graceful shutdown)".to_owned());
        let on_link = neighbor.on_link.as_ref().map(|on_link| format!("({})", neighbor::on_link(on_link)));
        let note = neighbor.description.clone().into_iter();
        let note = note.chain(on_link).chain(dynamic).chain(leaving).chain(error);
        let note: Vec<_> = note.collect();
        let note = note.join(" ");
        if neighbor.families.is_empty() {
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

async fn routes(client: &Client, filter: &RouteFilter) -> Result<(), ClientError> {
    let mut query: Vec<String> = Vec::new();
    if let Some(prefix) = &filter.prefix {
        query.push(format!("prefix={prefix}"));
    }
    if filter.longer {
        query.push("longer=true".to_owned());
    }
    let views: [(&str, Option<Zoned>); 3] =
        [("received", filter.received), ("rejected", filter.rejected), ("advertised", filter.advertised)];
    for (name, address) in views {
        if let Some(address) = address {
            query.push(format!("{name}={}", address.in_url()));
        }
    }
    let path = format!("/v1/routes?{}", query.join("&"));
    if filter.json {
        return json_array(client, &path).await;
    }
    if filter.count {
        let mut count = 0_u64;
        let counted = |_: &[u8]| {
            count += 1;
            Ok(true)
        };
        client.lines(&path, counted).await?;
        return print_line(count.to_string().as_bytes());
    }
    let asked = filter.prefix.as_deref().filter(|_| !filter.longer);
    let head = route_line("", "Prefix", "Next hop", ["Pref", "MED"], "From", "AS path, or why not usable");
    listing(client, &path, asked, &head, |route: Route| {
        let shown = |(index, path)| {
            let from = source(path, if filter.advertised.is_some() { "-" } else { "this router" });
            let line = path_line(if index == 0 { &route.prefix } else { "" }, &from, path);
            // Who asks for one route wants to know all about it.
            if asked.is_some() { format!("{line}\n{}", attributes(path).trim_end()) } else { line }
        };
        route.paths.iter().enumerate().map(shown).collect::<Vec<_>>().join("\n")
    })
    .await
}

fn path_line(prefix: &str, from: &str, path: &Path) -> String {
    let mark = match path {
        Path { stale: true, best: true, .. } => "S>",
        Path { stale: true, multipath: true, .. } => "S=",
        Path { stale: true, usable: true, .. } => "S",
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
    let numbers = [preference(path), optional(path.med)];
    let numbers = numbers.each_ref().map(String::as_str);
    route_line(mark, prefix, &path.next_hop, numbers, from, last.trim_start())
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
        let backup = route.backup.map(|backup| format!("; backup {backup}")).unwrap_or_default();
        let (set, hops) = (route.set.to_string(), route.next_hops.join(", ") + &backup);
        line(&route.prefix, &route.source, &set, &route.state, &hops)
    })
    .await
}

fn fib_diff(diff: &FibDiff) -> Result<(), ClientError> {
    let mut text = match diff.interval_seconds {
        Some(interval) => format!(
            "All tables are compared every {}; done {} times, {} elements and words the last time.\n",
            duration(interval),
            diff.passes,
            diff.compared
        ),
        None => "The tables are not compared with what is meant: [fib] audit-interval is 0.\n".to_owned(),
    };
    let (drift, repairs) = (diff.drift.values().sum::<u64>(), diff.repairs.values().sum::<u64>());
    text.push_str(&format!("{drift} differences since the start, {repairs} repaired.\n"));
    if !diff.recent.is_empty() {
        let mut table =
            Table::new(&[("Map", Left), ("Place", Left), ("Meant", Left), ("Found", Left), ("State", Left)]);
        for drift in &diff.recent {
            let state = if drift.repaired { "repaired" } else { "not repaired" };
            let cells = [&drift.map, &drift.place, &drift.meant, &drift.found];
            table.row(cells.into_iter().cloned().chain([state.to_owned()]).collect());
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    print_text(&text)
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
        ("Resolved by", Left),
        ("Cost", Right),
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
            hop.resolved_by.clone().unwrap_or_else(|| "-".into()),
            optional(hop.cost),
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

/// Where a path came from: a neighbour, or else what is `other`.
fn source(path: &Path, other: &str) -> String {
    let from = path.neighbor.map_or_else(|| other.to_owned(), |address| address.to_string());
    path.path_id.map_or(from.clone(), |id| format!("{from} #{id}"))
}

fn origin_letter(origin: &str) -> &'static str {
    match origin {
        "igp" => "i",
        "egp" => "e",
        _ => "?",
    }
}
