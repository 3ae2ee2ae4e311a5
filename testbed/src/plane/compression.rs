//! How many entries the tries need for a table, at once and after many changes.
//!
//! Only what is meant is asked: no kernel is needed.

#![expect(clippy::cast_precision_loss, reason = "figures for people to read")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use fib::{EngineChoice, Fib, FibConfig, NextHopId, NextHopKey};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::neighbor_of;
use crate::random::Random;
use crate::table::Table;

/// Changes in a commit.
const BATCH: usize = 100;

/// Of a number of next hops; IPv4 and IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Next hops that the routes lead to, by the AS that originates them.
    pub next_hops: u8,
    /// Routes.
    pub routes: [usize; 2],
    /// Entries for them.
    pub entries: [usize; 2],
    /// Routes after the changes.
    pub changed_routes: [usize; 2],
    /// Entries after the changes.
    pub changed: [usize; 2],
    /// Entries that a fresh table has for what the changes have left.
    pub fresh: [usize; 2],
}

impl Row {
    /// By how much the entries after the changes exceed those of a fresh table, in percent.
    pub fn excess(&self) -> f64 {
        let sum = |counts: [usize; 2]| counts.iter().sum::<usize>() as f64;
        (sum(self.changed) / sum(self.fresh) - 1.0) * 100.0
    }

    /// As a line.
    pub fn text(&self) -> String {
        let part = |family: usize| {
            let (routes, entries) = (self.routes[family], self.entries[family]);
            format!("{routes} -> {entries} ({:.1} %)", entries as f64 * 100.0 / routes.max(1) as f64)
        };
        format!(
            "{:>3} next hops: IPv4 {}, IPv6 {}; after the changes {} + {} entries, fresh {} + {}: {:+.2} %",
            self.next_hops,
            part(0),
            part(1),
            self.changed[0],
            self.changed[1],
            self.fresh[0],
            self.fresh[1],
            self.excess()
        )
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "next_hops": self.next_hops, "routes": self.routes, "entries": self.entries,
            "changed_routes": self.changed_routes, "changed": self.changed, "fresh": self.fresh,
        })
    }
}

/// A table of what is meant.
struct Meant {
    fib: Fib,
    next_hops: Vec<NextHopId>,
}

impl Meant {
    fn new(next_hops: u8) -> Result<Self> {
        let mut fib = Fib::new(FibConfig { engine: EngineChoice::LpmTrie, ..FibConfig::default() });
        let addresses = (0..next_hops).map(|number| IpAddr::V4(Ipv4Addr::new(10, 255, 0, number)));
        let next_hops = addresses.map(|addr| fib.next_hop(NextHopKey::Via { addr, ifindex: 1 }));
        let next_hops = next_hops.collect::<Result<_, _>>()?;
        Ok(Self { fib, next_hops })
    }

    /// With these routes.
    fn of(routes: &BTreeMap<IpNet, u8>, next_hops: u8) -> Result<Self> {
        let mut meant = Self::new(next_hops)?;
        for (prefix, to) in routes {
            meant.insert(*prefix, *to)?;
        }
        meant.commit();
        Ok(meant)
    }

    fn insert(&mut self, prefix: IpNet, to: u8) -> Result<()> {
        let set = self.fib.set(&[self.next_hops[usize::from(to)]])?;
        self.fib.insert(prefix, set).with_context(|| prefix.to_string())
    }

    fn commit(&mut self) {
        self.fib.commit(&mut Vec::new(), |_| false);
        self.fib.grace_elapsed();
    }

    fn counts(&self) -> ([usize; 2], [usize; 2]) {
        let stats = self.fib.stats();
        ([stats.ipv4.routes, stats.ipv6.routes], [stats.ipv4.entries, stats.ipv6.entries])
    }
}

/// Builds a table, changes so many of its routes at random - a third is withdrawn or comes back, the others
/// lead elsewhere and back - and builds it anew.
pub fn measure(table: &Table, next_hops: u8, changes: usize, seed: u64) -> Result<Row> {
    let mut routes: BTreeMap<IpNet, u8> =
        table.routes.iter().map(|route| (route.prefix, neighbor_of(route, next_hops))).collect();
    let mut tries = Meant::of(&routes, next_hops)?;
    let (before, entries) = tries.counts();
    let mut random = Random::new(seed);
    for number in 1..=changes {
        let route = &table.routes[random.index(table.routes.len())];
        if random.chance(333) && routes.remove(&route.prefix).is_some() {
            tries.fib.remove(route.prefix);
        } else {
            let home = neighbor_of(route, next_hops);
            let to = if random.chance(500) { home } else { random.below(next_hops.into()) as u8 };
            routes.insert(route.prefix, to);
            tries.insert(route.prefix, to)?;
        }
        if number % BATCH == 0 || number == changes {
            tries.commit();
        }
    }
    let (routes_left, entries_left) = tries.counts();
    let (_, fresh) = Meant::of(&routes, next_hops)?.counts();
    Ok(Row { next_hops, routes: before, entries, changed_routes: routes_left, changed: entries_left, fresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_leave_no_more_entries_than_a_fresh_table_has() {
        let table = Table::generate(5000, 1000, 1);
        for next_hops in [2, 8] {
            let row = measure(&table, next_hops, 3000, 1).expect("room");
            assert_eq!(row.changed, row.fresh, "{}", row.text());
            assert!(row.entries[0] < row.routes[0] && row.changed_routes != row.routes, "{}", row.text());
        }
    }
}
