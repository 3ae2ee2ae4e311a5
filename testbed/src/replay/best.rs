//! The best path of each prefix by RFC 4271 section 9.1.2.2, for neighbours that are all in other
//! ASes and equally far away: shortest path, lowest origin, lowest MED within a neighbouring AS, lowest
//! router id.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::replay::model::{Route, Table};

/// Number of ASes, a set counting as one (RFC 4271 section 9.1.2.2 (a)).
fn length(as_path: &str) -> usize {
    as_path.split_whitespace().count()
}

fn origin(route: &Route) -> usize {
    ["igp", "egp", "incomplete"].iter().position(|name| *name == route.origin).unwrap_or(3)
}

/// The peer with the best path of each prefix; peers are in the order of their router ids.
pub fn choose(table: &Table) -> BTreeMap<IpNet, (usize, &Route)> {
    let mut candidates: BTreeMap<IpNet, Vec<(usize, &Route)>> = BTreeMap::new();
    for ((peer, prefix), route) in table {
        candidates.entry(*prefix).or_default().push((*peer, route));
    }
    candidates.into_iter().filter_map(|(prefix, paths)| Some((prefix, best(paths)?))).collect()
}

/// Those that go to a neighbour in another AS: not where the best path is one that must stay (RFC 1997).
pub fn announced(mut chosen: BTreeMap<IpNet, (usize, &Route)>) -> BTreeMap<IpNet, (usize, &Route)> {
    // NO_EXPORT, NO_ADVERTISE, NO_EXPORT_SUBCONFED.
    chosen.retain(|_, (_, route)| {
        !route.communities.iter().any(|known| (0xffff_ff01..=0xffff_ff03).contains(known))
    });
    chosen
}

fn best(mut paths: Vec<(usize, &Route)>) -> Option<(usize, &Route)> {
    let shortest = paths.iter().map(|(_, route)| length(&route.as_path)).min()?;
    paths.retain(|(_, route)| length(&route.as_path) == shortest);
    let lowest = paths.iter().map(|(_, route)| origin(route)).min()?;
    paths.retain(|(_, route)| origin(route) == lowest);
    let first = |route: &Route| route.as_path.split(' ').next().map(str::to_owned);
    let all = paths.clone();
    paths.retain(|(_, route)| {
        !all.iter().any(|(_, other)| first(other) == first(route) && other.med < route.med)
    });
    paths.into_iter().min_by_key(|(peer, _)| *peer)
}
