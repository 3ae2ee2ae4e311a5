//! What the feeders say, encoded before any clock starts.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use ipnet::IpNet;

use crate::load::neighbors::Neighbors;
use crate::random::Random;
use crate::table::Table;

/// Which feeder announces what of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Each the whole of it, by paths of its own.
    Whole,
    /// Each the same sample of this many prefixes, by paths of its own.
    Same(usize),
    /// Each this many prefixes that no other has.
    Disjoint(usize),
}

/// The bytes and counts of one feeder.
#[derive(Debug)]
pub struct Feed {
    /// UPDATEs that announce everything.
    pub announce: Vec<u8>,
    /// UPDATEs that withdraw everything.
    pub withdraw: Arc<Vec<u8>>,
    /// Prefixes, IPv4 and IPv6.
    pub prefixes: [u64; 2],
    /// Different sets of path attributes, IPv4 and IPv6.
    pub attribute_sets: [usize; 2],
}

/// All of them.
#[derive(Debug)]
pub struct Feeds {
    /// In the order of [`Neighbors::feeders`].
    pub feeds: Vec<Feed>,
    /// Every prefix that anybody announces, once.
    pub union: Vec<IpNet>,
    /// Their number, IPv4 and IPv6.
    pub prefixes: [u64; 2],
}

impl Feeds {
    /// Encodes what everybody announces. The seed chooses the sample.
    pub fn encode(table: &Table, share: Share, neighbors: &Neighbors, seed: u64) -> Result<Self> {
        let parts = divide(table, share, neighbors.feeders.len(), seed)?;
        let withdrawals: Vec<_> = parts.iter().map(|part| Arc::new(part.encode_withdrawals())).collect();
        let feeds = neighbors.feeders.iter().enumerate().map(|(index, neighbor)| {
            // One part for all, or one for each.
            let at = index % parts.len();
            let encoded = parts[at].encode(&neighbor.announcer(index as u64 + 1));
            let (v4, v6) = parts[at].counts();
            Feed {
                announce: encoded.messages,
                withdraw: Arc::clone(&withdrawals[at]),
                prefixes: [v4 as u64, v6 as u64],
                attribute_sets: encoded.attribute_sets,
            }
        });
        let feeds = feeds.collect();
        let union: Vec<IpNet> =
            parts.iter().flat_map(|part| part.routes.iter().map(|route| route.prefix)).collect();
        let distinct: HashSet<IpNet> = union.iter().copied().collect();
        ensure!(distinct.len() == union.len(), "the table has prefixes twice");
        let v6 = union.iter().filter(|prefix| prefix.addr().is_ipv6()).count() as u64;
        let prefixes = [union.len() as u64 - v6, v6];
        Ok(Self { feeds, union, prefixes })
    }

    /// Routes that all feeders announce together.
    pub fn paths(&self) -> u64 {
        self.feeds.iter().flat_map(|feed| feed.prefixes).sum()
    }
}

/// The parts of the table that are announced: one for all feeders, or one for each.
fn divide(table: &Table, share: Share, feeders: usize, seed: u64) -> Result<Vec<Table>> {
    let (each, parts) = match share {
        Share::Whole => return Ok(vec![table.clone()]),
        Share::Same(each) => (each, 1),
        Share::Disjoint(each) => (each, feeders),
    };
    let (needed, there) = (each * parts, table.routes.len());
    ensure!(each > 0 && needed <= there, "{parts} x {each} prefixes of a table of {there}");
    let mut routes = table.routes.clone();
    let mut random = Random::new(seed);
    for at in 0..needed {
        let from = at + random.index(there - at);
        routes.swap(at, from);
    }
    Ok(routes[..needed].chunks(each).map(|part| Table { routes: part.to_vec() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feeder_has_its_share() {
        let table = Table::generate(3000, 690, 1);
        let neighbors = Neighbors::new(3, &table).expect("neighbors");
        let encode = |share| Feeds::encode(&table, share, &neighbors, 1);
        for (share, union, paths) in [
            (Share::Whole, 3690, 3 * 3690),
            (Share::Same(1000), 1000, 3000),
            (Share::Disjoint(1200), 3600, 3600),
        ] {
            let feeds = encode(share).expect("feeds");
            assert_eq!((feeds.union.len(), feeds.paths()), (union, paths), "{share:?}");
            assert_eq!(feeds.prefixes.iter().sum::<u64>(), union as u64);
            assert_ne!(feeds.feeds[0].announce, feeds.feeds[1].announce);
        }
        assert!(encode(Share::Disjoint(1231)).is_err());
    }
}
