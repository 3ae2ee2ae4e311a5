//! Who takes part: the router under test, the feeders, and the receiver that is told the result.
//!
//! All feeders live in one namespace, on one link, each with an address of its own in both
//! families. Their AS numbers are chosen so that none is an origin in the table: a router drops
//! what carries its own AS as a loop, and real tables do carry private and reserved numbers.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::feeder::FeederConfig;
use crate::table::{Announcer, Table};

/// At most so many feeders.
pub const MOST_FEEDERS: u16 = 250;

/// Length of the link's prefix, IPv4 and IPv6.
const LINK: (u8, u8) = (16, 64);
/// Where the search for unused AS numbers starts: private ones (RFC 6996).
const FIRST_ASN: u32 = 4_200_000_000;
/// How many AS numbers are reserved for a run.
const ASN_BLOCK: u32 = 1000;
/// How many such blocks there are.
const MOST_BLOCKS: u32 = 94_000;
/// Hold time that feeders and receiver propose, in seconds.
const HOLD_TIME: u16 = 180;

/// A router on the link.
#[derive(Clone, Copy, Debug)]
pub struct Neighbor {
    /// Its AS.
    pub asn: u32,
    /// Its IPv4 address, which the session uses and which is its BGP identifier.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, the next hop of IPv6 routes.
    pub v6: Ipv6Addr,
}

impl Neighbor {
    fn new(asn: u32, subnet: u8, host: u8) -> Self {
        Self {
            asn,
            v4: Ipv4Addr::new(10, 99, subnet, host),
            v6: Ipv6Addr::new(0xfd99, 1, 0, 0, 0, 0, u16::from(subnet), u16::from(host)),
        }
    }

    /// Both addresses, with the length of the link's prefix.
    pub fn addresses(&self) -> Result<[IpNet; 2]> {
        Ok([Ipv4Net::new(self.v4, LINK.0)?.into(), Ipv6Net::new(self.v6, LINK.1)?.into()])
    }

    /// How it announces a table; `seed` chooses its paths.
    pub fn announcer(&self, seed: u64) -> Announcer {
        Announcer { asn: self.asn, next_hop_v4: self.v4, next_hop_v6: self.v6, seed }
    }

    /// How it introduces itself to the router.
    pub fn session(&self, router: &Self) -> FeederConfig {
        FeederConfig {
            local: IpAddr::V4(self.v4),
            remote: SocketAddr::from((router.v4, 179)),
            asn: self.asn,
            router_id: self.v4,
            hold_time: HOLD_TIME,
        }
    }
}

/// Everybody.
#[derive(Clone, Debug)]
pub struct Neighbors {
    /// Under test.
    pub router: Neighbor,
    /// They announce.
    pub feeders: Vec<Neighbor>,
    /// It announces nothing and is sent every best path.
    pub receiver: Neighbor,
}

impl Neighbors {
    /// So many feeders, with AS numbers that do not occur in the table.
    pub fn new(feeders: u16, table: &Table) -> Result<Self> {
        ensure!((1..=MOST_FEEDERS).contains(&feeders), "1 to {MOST_FEEDERS} feeders, not {feeders}");
        let high = table.routes.iter().map(|route| route.origin).filter(|&origin| origin >= FIRST_ASN);
        let taken: HashSet<u32> = high.map(|origin| (origin - FIRST_ASN) / ASN_BLOCK).collect();
        let block = (0..MOST_BLOCKS).find(|block| !taken.contains(block));
        let block = block.context("no block of AS numbers is free")?;
        let first = FIRST_ASN + block * ASN_BLOCK;
        let feeder = |host: u16| Neighbor::new(first + u32::from(host), 1, host as u8);
        Ok(Self {
            router: Neighbor::new(first, 0, 1),
            feeders: (1..=feeders).map(feeder).collect(),
            receiver: Neighbor::new(first + ASN_BLOCK - 1, 2, 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Route;

    #[test]
    fn as_numbers_of_the_table_are_left_alone() {
        let route = |prefix: &str, origin| Route { prefix: prefix.parse().expect("a prefix"), origin };
        let table = Table {
            routes: vec![
                route("192.0.2.0/24", FIRST_ASN + 3),
                route("198.51.100.0/24", FIRST_ASN + ASN_BLOCK + 999),
                route("203.0.113.0/24", 64500),
            ],
        };
        let neighbors = Neighbors::new(MOST_FEEDERS, &table).expect("neighbors");
        assert_eq!(neighbors.router.asn, FIRST_ASN + 2 * ASN_BLOCK);
        let all = neighbors.feeders.iter().chain([&neighbors.router, &neighbors.receiver]);
        let asns: HashSet<u32> = all.clone().map(|neighbor| neighbor.asn).collect();
        let addresses: HashSet<Ipv4Addr> = all.map(|neighbor| neighbor.v4).collect();
        assert_eq!((asns.len(), addresses.len()), (252, 252));
        assert!(table.routes.iter().all(|route| !asns.contains(&route.origin)));
        assert!(Neighbors::new(0, &table).is_err());
    }
}
