//! How long a match against a prefix list takes, by the number of its entries.
//!
//! `cargo run --release -p peregrine-bgp --example prefix_list_match`: nanoseconds per match of routes that
//! are and are not in the list, in random order, for lists of exact prefixes and of ranges; with the time to
//! compile each.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use bgp::policy::{PrefixList, PrefixListEntry};
use ipnet::IpNet;

const ROUTES: u32 = 1 << 20;

fn main() {
    println!("entries  list          compile ms   ns a match: in the list   not in it");
    for count in [10, 10_000, 500_000] {
        for (kind, ipv6, ranges) in [
            ("IPv4, exact", false, false),
            ("IPv4, ranges", false, true),
            ("IPv6, exact", true, false),
            ("IPv6, ranges", true, true),
        ] {
            let mut random = Random(count as u64);
            let entries: Vec<PrefixListEntry> =
                (0..count).map(|_| entry(random.prefix(ipv6), ranges)).collect();
            let known: Vec<IpNet> =
                (0..ROUTES).map(|_| entries[random.next() as usize % count].prefix()).collect();
            let unknown: Vec<IpNet> = (0..ROUTES).map(|_| random.prefix(ipv6)).collect();
            let start = Instant::now();
            let list = PrefixList::new("list", entries);
            let compile = start.elapsed();
            println!(
                "{count:>7}  {kind:<12} {:>11.1} {:>25.1} {:>11.1}",
                compile.as_secs_f64() * 1e3,
                nanoseconds(&list, &known),
                nanoseconds(&list, &unknown)
            );
        }
    }
}

fn nanoseconds(list: &PrefixList, routes: &[IpNet]) -> f64 {
    let start = Instant::now();
    let found = routes.iter().filter(|route| list.contains(**route)).count();
    black_box(found);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUTES)
}

fn entry(prefix: IpNet, range: bool) -> PrefixListEntry {
    let longest = range.then(|| prefix.prefix_len() + 4);
    PrefixListEntry::new(prefix, None, longest).unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers without a pattern that matters (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Lengths as in today's tables: most of them /24 and /48.
    fn prefix(&mut self, ipv6: bool) -> IpNet {
        let (bits, shorter) = (self.next(), (self.next() % 16) as u8);
        let shorter = shorter.saturating_sub(8);
        let net = if ipv6 {
            let address = u128::from(0x2000_0000_0000_0000 | bits >> 4) << 64;
            IpNet::new(Ipv6Addr::from(address).into(), 48 - 2 * shorter)
        } else {
            IpNet::new(Ipv4Addr::from((bits >> 32) as u32).into(), 24 - shorter)
        };
        net.unwrap_or_default().trunc()
    }
}
