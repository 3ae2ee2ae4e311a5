//! Tables shaped like the Internet's, generated or read from a file.
//!
//! What makes a real table hard is its shape: how long the prefixes are, how deep they nest, how
//! few attribute sets they share. The generator keeps those: lengths as of the table of October
//! 2026, about every second prefix inside another one and beside one of its length, one origin AS for some
//! fourteen prefixes with a heavy tail, and for each origin one to a few attribute sets of which the largest holds
//! four fifths of its prefixes. The same seed gives the same table everywhere.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::random::Random;
use crate::speaker::{self, PathAttributes};

/// Prefixes of each length in the real IPv4 table, /8 to /24.
const LENGTHS_V4: [(u8, u32); 17] = [
    (8, 16),
    (9, 14),
    (10, 42),
    (11, 102),
    (12, 299),
    (13, 586),
    (14, 1195),
    (15, 2116),
    (16, 14029),
    (17, 8585),
    (18, 14486),
    (19, 27062),
    (20, 48618),
    (21, 56850),
    (22, 117_230),
    (23, 114_684),
    (24, 743_115),
];

/// Prefixes of each length in the real IPv6 table, /19 to /48.
const LENGTHS_V6: [(u8, u32); 30] = [
    (19, 1),
    (20, 15),
    (21, 3),
    (22, 6),
    (23, 6),
    (24, 51),
    (25, 13),
    (26, 21),
    (27, 19),
    (28, 168),
    (29, 5826),
    (30, 730),
    (31, 386),
    (32, 27273),
    (33, 5774),
    (34, 5572),
    (35, 1903),
    (36, 10025),
    (37, 1383),
    (38, 2834),
    (39, 1878),
    (40, 24608),
    (41, 1851),
    (42, 2949),
    (43, 1466),
    (44, 27150),
    (45, 4676),
    (46, 5978),
    (47, 8981),
    (48, 123_094),
];

/// Of 1000 prefixes that are not near another one, how many are laid inside a shorter one.
const NESTED: u64 = 700;
/// Of 1000 prefixes, how many are given out near another one of their length.
const NEAR: u64 = 930;
/// How near, in prefixes of the length.
const REACH: u64 = 6;
/// Prefixes an origin AS has on average.
const PREFIXES_PER_ORIGIN: usize = 14;

/// A prefix and the AS that originates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: IpNet,
    /// Last AS of the path.
    pub origin: u32,
}

/// A table to announce; no prefix twice.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its routes.
    pub routes: Vec<Route>,
}

/// Who announces a table: different feeders have their own paths to the same prefixes.
#[derive(Clone, Copy, Debug)]
pub struct Announcer {
    /// First AS of every path.
    pub asn: u32,
    /// Next hop of IPv4 routes.
    pub next_hop_v4: Ipv4Addr,
    /// Next hop of IPv6 routes.
    pub next_hop_v6: Ipv6Addr,
    /// Chooses the paths.
    pub seed: u64,
}

impl Table {
    /// A table of this many prefixes (fewer when the address space of the lengths is exhausted).
    pub fn generate(v4: usize, v6: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let origins = origin_asns((v4 / PREFIXES_PER_ORIGIN).max(1), &mut random);
        let mut routes = Vec::with_capacity(v4 + v6);
        family(&V4, v4, &origins, &mut random, &mut routes);
        family(&V6, v6, &origins, &mut random, &mut routes);
        Self { routes }
    }

    /// Reads files of lines `prefix origin-asn`; empty lines and `#` comments are skipped.
    pub fn load(paths: &[&Path]) -> Result<Self> {
        let mut routes = Vec::new();
        for path in paths {
            let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
            for (number, line) in BufReader::new(file).lines().enumerate() {
                let at = || format!("{}:{}", path.display(), number + 1);
                let line = line.with_context(at)?;
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (prefix, origin) = line.split_once(' ').with_context(at)?;
                let prefix: IpNet = prefix.parse().with_context(at)?;
                let origin = origin.trim().parse().with_context(at)?;
                routes.push(Route { prefix: prefix.trunc(), origin });
            }
        }
        Ok(Self { routes })
    }

    /// Number of IPv4 and IPv6 prefixes.
    pub fn counts(&self) -> (usize, usize) {
        let v4 = self.routes.iter().filter(|route| matches!(route.prefix, IpNet::V4(_))).count();
        (v4, self.routes.len() - v4)
    }

    /// Which of its origin's attribute sets each route carries, for an announcer of this seed.
    pub fn variants(&self, seed: u64) -> Vec<u32> {
        let mut of_origin: HashMap<u32, u32> = HashMap::new();
        for route in &self.routes {
            *of_origin.entry(route.origin).or_default() += 1;
        }
        self.routes.iter().map(|route| variant(route, of_origin[&route.origin], seed)).collect()
    }

    /// The whole table as UPDATEs ready to send, End-of-RIB markers included.
    pub fn encode(&self, announcer: &Announcer) -> Encoded {
        let mut groups: BTreeMap<(u32, u32, bool), Vec<IpNet>> = BTreeMap::new();
        for (route, variant) in self.routes.iter().zip(self.variants(announcer.seed)) {
            let ipv6 = matches!(route.prefix, IpNet::V6(_));
            groups.entry((route.origin, variant, ipv6)).or_default().push(route.prefix);
        }
        let mut messages = Vec::with_capacity(16 * self.routes.len());
        let mut distinct = [HashSet::new(), HashSet::new()];
        for ((origin, variant, ipv6), prefixes) in &groups {
            let attributes = announcer.attributes(*origin, *variant, *ipv6);
            speaker::announce(&mut messages, &attributes, prefixes);
            distinct[usize::from(*ipv6)].insert(attributes);
        }
        messages.extend(speaker::end_of_rib(false));
        messages.extend(speaker::end_of_rib(true));
        Encoded { messages, attribute_sets: distinct.map(|sets| sets.len()) }
    }

    /// UPDATEs that withdraw the whole table.
    pub fn encode_withdrawals(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 * self.routes.len());
        for ipv6 in [false, true] {
            let of_family = self.routes.iter().map(|route| route.prefix);
            let of_family: Vec<IpNet> = of_family.filter(|prefix| prefix.addr().is_ipv6() == ipv6).collect();
            speaker::withdraw(&mut out, &of_family);
        }
        out
    }
}

/// A table as bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Whole UPDATEs.
    pub messages: Vec<u8>,
    /// How many different sets of path attributes are in them, IPv4 and IPv6.
    pub attribute_sets: [usize; 2],
}

/// What the generator must know of an address family.
struct Space {
    lengths: &'static [(u8, u32)],
    bits: u8,
    random_address: fn(&mut Random) -> u128,
    prefix: fn(u128, u8) -> Option<IpNet>,
}

/// Unicast IPv4 without what is never routed.
const V4: Space = Space {
    lengths: &LENGTHS_V4,
    bits: 32,
    random_address: |random| loop {
        let address = random.next_u64() as u32;
        if routable(address) {
            return u128::from(address);
        }
    },
    prefix: |address, length| {
        let net = Ipv4Net::new((address as u32).into(), length).ok()?.trunc();
        routable(net.network().to_bits()).then_some(net.into())
    },
};

/// Whether an address lies outside the /8s in which, at least in part, nothing is ever routed.
fn routable(address: u32) -> bool {
    !matches!(address >> 24, 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..)
}

/// Global unicast IPv6 as it is allocated: the five registries' /12s.
const V6: Space = Space {
    lengths: &LENGTHS_V6,
    bits: 128,
    random_address: |random| {
        const REGISTRIES: [u128; 5] = [0x240, 0x260, 0x280, 0x2a0, 0x2c0];
        let top = REGISTRIES[random.index(REGISTRIES.len())] << 116;
        let low = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        top | (low >> 12)
    },
    prefix: |address, length| Some(Ipv6Net::new(address.into(), length).ok()?.trunc().into()),
};

fn address_bits(prefix: &IpNet) -> u128 {
    match prefix.network() {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Appends `count` prefixes of one family, shorter ones first.
fn family(space: &Space, count: usize, origins: &[u32], random: &mut Random, routes: &mut Vec<Route>) {
    let total: u64 = space.lengths.iter().map(|&(_, share)| u64::from(share)).sum();
    let first = routes.len();
    let mut taken: HashMap<IpNet, u32> = HashMap::with_capacity(count);
    let (mut owed, mut share_so_far) = (0, 0_u64);
    for &(length, share) in space.lengths {
        share_so_far += u64::from(share);
        // Rounding carries over, so that small tables have their exact size too.
        let until = (u128::from(share_so_far) * count as u128 / u128::from(total)) as usize;
        let parents = routes.len();
        let mut attempts = 0;
        while owed < until && attempts < 20 * count + 1000 {
            attempts += 1;
            let nested = parents > first && random.chance(NESTED);
            // Whoever has many gets more: so some networks are cut into thousands of pieces, most into few.
            let near = routes.len() > parents && random.chance(NEAR);
            let (address, origin) = if near {
                let other = routes[parents + random.index(routes.len() - parents)];
                let step = u128::from(1 + random.below(REACH)) << (space.bits - length);
                let own = if random.chance(750) { other.origin } else { pick(origins, random) };
                (address_bits(&other.prefix).wrapping_add(step), own)
            } else if nested {
                let parent = routes[first + random.index(parents - first)];
                let host = space.bits - parent.prefix.prefix_len();
                let below = (space.random_address)(random) & (u128::MAX >> (128 - u32::from(host)));
                let own = if random.chance(700) { parent.origin } else { pick(origins, random) };
                (address_bits(&parent.prefix) | below, own)
            } else {
                ((space.random_address)(random), pick(origins, random))
            };
            let Some(prefix) = (space.prefix)(address, length) else { continue };
            // Half of what is not meant to nest would by chance; try elsewhere a few times.
            let anywhere = !nested && !near;
            if taken.contains_key(&prefix) || (anywhere && attempts % 4 != 0 && covered(&prefix, &taken)) {
                continue;
            }
            taken.insert(prefix, origin);
            routes.push(Route { prefix, origin });
            owed += 1;
        }
        owed = until;
    }
}

fn covered(prefix: &IpNet, taken: &HashMap<IpNet, u32>) -> bool {
    let mut cover = prefix.supernet();
    while let Some(wider) = cover {
        if taken.contains_key(&wider) {
            return true;
        }
        cover = wider.supernet().filter(|wider| wider.prefix_len() >= 8);
    }
    false
}

/// An origin by a heavy tail: the first ones have thousands of prefixes, most have one.
fn pick(origins: &[u32], random: &mut Random) -> u32 {
    let (a, b) = (random.index(origins.len()), random.index(origins.len()));
    // The product of two uniform numbers leans towards the front; once more leans harder.
    origins[a * b / origins.len().max(1)]
}

/// Distinct AS numbers of the public ranges.
fn origin_asns(count: usize, random: &mut Random) -> Vec<u32> {
    let mut seen = HashSet::with_capacity(count);
    let mut origins = Vec::with_capacity(count);
    while origins.len() < count {
        let asn = 1 + random.below(400_000) as u32;
        let public = !matches!(asn, 23456 | 64496..=131_071);
        if public && seen.insert(asn) {
            origins.push(asn);
        }
    }
    origins
}

/// Which of its origin's attribute sets a route carries.
fn variant(route: &Route, prefixes_of_origin: u32, seed: u64) -> u32 {
    // Mean number of attribute sets in hundredths, by the origin's number of prefixes.
    let mean: u64 = match prefixes_of_origin {
        0 | 1 => 100,
        2 => 130,
        3..=5 => 155,
        6..=10 => 190,
        11..=50 => 250,
        51.. => 420,
    };
    let mut of_origin = Random::new(seed ^ (u64::from(route.origin) << 20));
    let variants = mean / 100 + u64::from(of_origin.below(100) < mean % 100);
    let bits = address_bits(&route.prefix);
    let mut own =
        Random::new(seed ^ (bits as u64) ^ ((bits >> 64) as u64) ^ u64::from(route.prefix.prefix_len()));
    if variants == 1 || own.chance(800) { 0 } else { 1 + own.below(variants - 1) as u32 }
}

impl Announcer {
    /// The attribute set of an origin's variant, as this announcer sees it. Variants that no route of the
    /// table carries are as good as the others.
    pub fn attributes(&self, origin: u32, variant: u32, ipv6: bool) -> PathAttributes {
        let mut random = Random::new(self.seed ^ (u64::from(origin) << 24) ^ (u64::from(variant) << 56));
        let mut as_path = vec![self.asn];
        let transits: u32 = [0, 1, 1, 2, 2, 2, 3, 3, 4, 5][random.index(10)];
        for _ in 0..transits {
            // Few ASes carry most paths.
            as_path.push(1000 + random.below(40 + 60 * u64::from(transits)) as u32);
        }
        as_path.push(origin);
        if random.chance(150) {
            for _ in 0..=random.below(3) {
                as_path.push(origin);
            }
        }
        let next_hop = if ipv6 { IpAddr::V6(self.next_hop_v6) } else { IpAddr::V4(self.next_hop_v4) };
        let mut attributes = PathAttributes::new(as_path, next_hop);
        attributes.origin = if random.chance(100) { 2 } else { 0 };
        if random.chance(760) {
            for _ in 0..=random.below(9) {
                attributes
                    .communities
                    .push((1000 + random.below(200) as u32) << 16 | random.below(300) as u32);
            }
            attributes.communities.sort_unstable();
            attributes.communities.dedup();
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_table_has_the_size_and_shape_asked_for() {
        let table = Table::generate(50_000, 10_000, 1);
        assert_eq!(table.counts(), (50_000, 10_000));
        let distinct: HashSet<IpNet> = table.routes.iter().map(|route| route.prefix).collect();
        assert_eq!(distinct.len(), table.routes.len());
        let never = |prefix: &IpNet| matches!(prefix, IpNet::V4(net) if !routable(net.network().to_bits()));
        assert!(!distinct.iter().any(never), "nothing that a router must refuse");
        let of_24 = table.routes.iter().filter(|r| r.prefix.addr().is_ipv4() && r.prefix.prefix_len() == 24);
        // 647 and 545 of 1000 in the real one.
        assert!((600..700).contains(&(of_24.count() * 1000 / 50_000)));
        let taken: HashMap<IpNet, u32> = table.routes.iter().map(|r| (r.prefix, r.origin)).collect();
        let nested = table.routes.iter().filter(|r| covered(&r.prefix, &taken)).count() * 1000 / 60_000;
        assert!((450..700).contains(&nested), "{nested} of 1000 nested");
    }

    #[test]
    fn generated_prefixes_lie_together_as_those_of_the_real_table() {
        let table = Table::generate(200_000, 100_000, 1);
        for (ipv6, least, most) in [(false, 550, 750), (true, 450, 700)] {
            let family: HashSet<IpNet> =
                table.routes.iter().map(|r| r.prefix).filter(|p| p.addr().is_ipv6() == ipv6).collect();
            let bits: u8 = if ipv6 { 128 } else { 32 };
            let places: HashSet<(u128, u8)> =
                family.iter().map(|p| (address_bits(p) >> (bits - p.prefix_len()), p.prefix_len())).collect();
            // 648 of 1000 IPv4 and 561 of 1000 IPv6 prefixes have another one right before them.
            let behind = places.iter().filter(|(at, length)| places.contains(&(at.wrapping_sub(1), *length)));
            let behind = behind.count() * 1000 / places.len();
            assert!((least..most).contains(&behind), "{behind} of 1000 behind another one, IPv6 {ipv6}");
            // In steps of four bits from the 16th on, the real IPv6 table has 558 nodes for 1000 prefixes.
            let nodes: HashSet<(u128, u8)> = places
                .iter()
                .flat_map(|&(at, length)| (16..length).step_by(4).map(move |to| (at >> (length - to), to)))
                .collect();
            let nodes = nodes.len() * 1000 / places.len();
            assert!(!ipv6 || (450..700).contains(&nodes), "{nodes} nodes for 1000 prefixes");
        }
    }

    #[test]
    fn a_seed_names_one_table() {
        assert_eq!(Table::generate(1000, 300, 5).routes, Table::generate(1000, 300, 5).routes);
        assert_ne!(Table::generate(1000, 300, 5).routes, Table::generate(1000, 300, 6).routes);
    }

    #[test]
    fn the_encoded_table_announces_each_prefix_once() {
        let table = Table::generate(5000, 1000, 3);
        let announcer = Announcer {
            asn: 64501,
            next_hop_v4: Ipv4Addr::LOCALHOST,
            next_hop_v6: Ipv6Addr::LOCALHOST,
            seed: 1,
        };
        let encoded = table.encode(&announcer);
        let (mut rest, mut seen, mut sets) = (&encoded.messages[..], HashSet::new(), HashSet::new());
        while let Some(message) = speaker::frame(rest).unwrap() {
            if let speaker::Received::Update(update) = speaker::parse(message).unwrap() {
                assert_eq!(update.as_path[0], 64501);
                sets.insert((update.as_path.clone(), update.communities.clone()));
                assert!(update.announced.into_iter().all(|prefix| seen.insert(prefix)));
            }
            rest = &rest[message.len()..];
        }
        assert_eq!(seen.len(), 6000);
        // Attributes are shared as a real feed shares them: 5 to 10 prefixes to a set.
        assert!((600..1500).contains(&sets.len()), "{} attribute sets", sets.len());
    }
}
