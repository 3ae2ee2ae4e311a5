//! What a router must hold after the UPDATEs, worked out as simply as can be: a map.
//!
//! Routes are kept as text fields, so that the daemon's JSON, bgpdump's lines and the bytes of the
//! messages can be compared. Communities are sorted: they are a set (RFC 1997).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use serde_json::Value;

use crate::netns::output;
use crate::replay::mrt::{Peer, Recording};
use crate::speaker::{
    self, AS_PATH, COMMUNITIES, HEADER, MED, MP_REACH, MP_UNREACH, NEXT_HOP, ORIGIN, prefixes, take,
    take_attribute, take_u8, take_u16,
};

const ORIGINS: [&str; 3] = ["igp", "egp", "incomplete"];
/// Names that readers have for some communities (IANA's BGP Well-known Communities).
const NAMED: [(&str, u32); 11] = [
    ("accept-own", 0xffff_0001),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("accept-own-nexthop", 0xffff_0008),
    ("no-peer", 0xffff_ff04),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("local-AS", 0xffff_ff03),
    ("no-export-subconfed", 0xffff_ff03),
    ("blackhole", 0xffff_029a),
    ("graceful-shutdown", 0xffff_0000),
];

/// A route as every reader understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `64500 64501 {64502,64503}`.
    pub as_path: String,
    /// `igp`, `egp`, `incomplete`.
    pub origin: String,
    /// The global next hop.
    pub next_hop: String,
    /// 0 where there is none: bgpdump does not tell.
    pub med: u32,
    /// Sorted.
    pub communities: Vec<u32>,
}

/// Routes by peer and prefix.
pub type Table = BTreeMap<(usize, IpNet), Route>;

/// Applies the UPDATEs of a recording, one after the other.
pub fn of_recording(recording: &Recording) -> Result<Table> {
    let mut table = Table::new();
    for (peer, message) in &recording.messages {
        apply(&mut table, *peer, message)
            .with_context(|| format!("a message of {:?}", recording.peers[*peer]))?;
    }
    Ok(table)
}

fn apply(table: &mut Table, peer: usize, message: &[u8]) -> Result<()> {
    let mut body = message.get(HEADER..).context("a short message")?;
    let length = usize::from(take_u16(&mut body)?);
    let mut withdrawn = prefixes(take(&mut body, length)?, false)?;
    let length = usize::from(take_u16(&mut body)?);
    let mut attributes = take(&mut body, length)?;
    let mut route = Route {
        as_path: String::new(),
        origin: String::new(),
        next_hop: String::new(),
        med: 0,
        communities: Vec::new(),
    };
    let mut reached = Vec::new();
    let mut mp_next_hop = None;
    while !attributes.is_empty() {
        let (code, mut value) = take_attribute(&mut attributes)?;
        match code {
            ORIGIN => {
                let origin = ORIGINS.get(usize::from(take_u8(&mut value)?)).context("an unknown ORIGIN")?;
                (*origin).clone_into(&mut route.origin);
            }
            AS_PATH => route.as_path = as_path(value)?,
            NEXT_HOP => route.next_hop = IpAddr::from(<[u8; 4]>::try_from(value)?).to_string(),
            MED => route.med = speaker::word(value)?,
            COMMUNITIES => route.communities = sorted(speaker::words(value)?),
            MP_REACH => {
                let Some(ipv6) = family(&mut value)? else { continue };
                let length = usize::from(take_u8(&mut value)?);
                mp_next_hop = Some(speaker::global_next_hop(take(&mut value, length)?)?.to_string());
                take_u8(&mut value)?;
                reached = prefixes(value, ipv6)?;
            }
            MP_UNREACH => {
                if let Some(ipv6) = family(&mut value)? {
                    withdrawn.extend(prefixes(value, ipv6)?);
                }
            }
            _ => (),
        }
    }
    for prefix in withdrawn {
        table.remove(&(peer, prefix.trunc()));
    }
    for prefix in prefixes(body, false)? {
        table.insert((peer, prefix.trunc()), route.clone());
    }
    if let Some(next_hop) = mp_next_hop {
        let route = Route { next_hop, ..route };
        table.extend(reached.into_iter().map(|prefix| ((peer, prefix.trunc()), route.clone())));
    }
    Ok(())
}

/// AFI and SAFI: true for IPv6 unicast, none for what we do not exchange.
fn family(value: &mut &[u8]) -> Result<Option<bool>> {
    Ok(match (take_u16(value)?, take_u8(value)?) {
        (1, 1) => Some(false),
        (2, 1) => Some(true),
        _ => None,
    })
}

fn as_path(mut value: &[u8]) -> Result<String> {
    let mut parts = Vec::new();
    while !value.is_empty() {
        let (kind, count) = (take_u8(&mut value)?, usize::from(take_u8(&mut value)?));
        let asns = speaker::words(take(&mut value, 4 * count)?)?;
        let asns: Vec<String> = asns.iter().map(u32::to_string).collect();
        match kind {
            1 => parts.push(format!("{{{}}}", asns.join(","))),
            2 => parts.push(asns.join(" ")),
            other => bail!("AS path segment of type {other}"),
        }
    }
    Ok(parts.join(" "))
}

fn sorted(mut communities: Vec<u32>) -> Vec<u32> {
    communities.sort_unstable();
    communities.dedup();
    communities
}

fn community(text: &str) -> Result<u32> {
    if let Some((_, value)) = NAMED.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(*value);
    }
    let (high, low) = text.split_once(':').with_context(|| format!("community {text}"))?;
    Ok(high.parse::<u32>()? << 16 | low.parse::<u32>()?)
}

fn communities<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<u32>> {
    Ok(sorted(texts.map(community).collect::<Result<_>>()?))
}

/// Applies what bgpdump prints of the same file.
pub fn of_bgpdump(path: &Path, peers: &[Peer]) -> Result<Table> {
    let text = output(Command::new("bgpdump").args(["-m", &path.display().to_string()]))?;
    let mut table = Table::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let [_, _, what, address, asn, rest @ ..] = &fields[..] else { continue };
        if !matches!(*what, "A" | "W") {
            continue;
        }
        let peer = Peer { address: address.parse()?, asn: asn.parse()? };
        let Some(index) = peers.iter().position(|known| *known == peer) else { continue };
        let prefix = rest.first().and_then(|prefix| prefix.parse::<IpNet>().ok());
        let key = (index, prefix.with_context(|| format!("bgpdump: {line}"))?.trunc());
        if *what == "W" {
            table.remove(&key);
            continue;
        }
        let [_, as_path, origin, next_hop, _, med, labels, ..] = rest else { bail!("bgpdump: {line}") };
        // Large communities stand behind the others, in three parts.
        let plain = labels.split_whitespace().filter(|label| label.matches(':').count() < 2);
        let route = Route {
            as_path: (*as_path).to_owned(),
            origin: origin.to_ascii_lowercase(),
            next_hop: (*next_hop).to_owned(),
            med: med.parse().unwrap_or(0),
            communities: communities(plain)?,
        };
        table.insert(key, route);
    }
    Ok(table)
}

/// One line of the daemon's `show routes --received PEER --json`.
pub fn of_json(line: &str) -> Result<(IpNet, Route)> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("route: {line}"))?;
    let paths = value["paths"].as_array().context("a route without paths")?;
    ensure!(paths.len() == 1, "{} paths of one neighbour: {line}", paths.len());
    let path = &paths[0];
    let text = |key: &str| path[key].as_str().unwrap_or_default().to_owned();
    let labels = path["communities"].as_array().context("no communities")?;
    // The link-local next hop, if any, follows in parentheses.
    let next_hop = text("next_hop").split(' ').next().unwrap_or_default().to_owned();
    let route = Route {
        as_path: text("as_path"),
        origin: text("origin"),
        next_hop,
        med: path["med"].as_u64().unwrap_or(0) as u32,
        communities: communities(labels.iter().filter_map(Value::as_str))?,
    };
    Ok((value["prefix"].as_str().context("no prefix")?.parse()?, route))
}

/// Where two tables differ, in words; at most a few.
pub fn differences(name: &str, expected: &Table, found: &Table) -> Vec<String> {
    const MOST: usize = 10;
    let changed = expected.iter().filter(|(key, route)| found.get(key) != Some(route));
    let mut out: Vec<String> = changed
        .take(MOST)
        .map(|((peer, prefix), route)| {
            let found = found.get(&(*peer, *prefix));
            format!("peer {peer}, {prefix}: {name} has {route:?}, the daemon {found:?}")
        })
        .collect();
    let extra = found.keys().filter(|key| !expected.contains_key(key));
    out.extend(extra.take(MOST).map(|(peer, prefix)| format!("peer {peer}, {prefix}: {name} has none")));
    out
}
