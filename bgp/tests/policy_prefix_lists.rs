//! Prefix lists: the table gives the answers of a walk over all entries, and the text of an entry means
//! what FRR and Cisco mean by it.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp::policy::{PrefixList, PrefixListEntry, PrefixListEntryError};
use ipnet::IpNet;
use proptest::prelude::*;

fn entry(text: &str) -> PrefixListEntry {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn bounds_mean_what_they_mean_elsewhere() {
    // Entry, then routes it matches, then routes it does not.
    let table: &[(&str, &[&str], &[&str])] = &[
        ("10.0.0.0/8", &["10.0.0.0/8"], &["10.0.0.0/9", "10.0.0.0/7", "11.0.0.0/8", "a00::/8"]),
        ("10.0.0.0/8 ge 16", &["10.1.0.0/16", "10.1.2.3/32"], &["10.0.0.0/8", "10.0.0.0/15", "11.0.0.0/16"]),
        ("10.0.0.0/8 le 16", &["10.0.0.0/8", "10.1.0.0/16"], &["10.1.0.0/17", "0.0.0.0/0"]),
        ("10.0.0.0/8 ge 16 le 24", &["10.1.0.0/16", "10.1.2.0/24"], &["10.0.0.0/15", "10.1.2.0/25"]),
        ("10.0.0.0/8 le 24 ge 16", &["10.1.0.0/16", "10.1.2.0/24"], &["10.0.0.0/15", "10.1.2.0/25"]),
        ("0.0.0.0/0", &["0.0.0.0/0"], &["0.0.0.0/1", "::/0"]),
        ("0.0.0.0/0 le 32", &["0.0.0.0/0", "255.255.255.255/32", "10.0.0.0/8"], &["::/0", "::/32"]),
        ("::/0 le 128", &["::/0", "2001:db8::/32", "2001:db8::1/128"], &["0.0.0.0/0"]),
        ("2001:db8::/32 le 48", &["2001:db8::/32", "2001:db8:1::/48"], &["2001:db8:1::/49", "2001:db9::/48"]),
        ("192.0.2.1/32", &["192.0.2.1/32"], &["192.0.2.0/32", "192.0.2.0/31"]),
        ("2001:db8::1/128", &["2001:db8::1/128"], &["2001:db8::/128", "2001:db8::/127"]),
    ];
    for (text, matching, others) in table {
        let list = PrefixList::new("list", vec![entry(text)]);
        for route in *matching {
            assert!(list.contains(net(route)), "{text} should match {route}");
        }
        for route in *others {
            assert!(!list.contains(net(route)), "{text} should not match {route}");
        }
    }
}

#[test]
fn an_empty_list_matches_nothing() {
    let list = PrefixList::new("empty", Vec::new());
    assert!(!list.contains(net("0.0.0.0/0")));
    assert!(!list.contains(net("2001:db8::/32")));
}

#[test]
fn an_entry_writes_itself_as_it_can_be_read() {
    for text in ["10.0.0.0/8", "10.0.0.0/8 ge 9", "10.0.0.0/8 le 24", "10.0.0.0/8 ge 16 le 24", "::/0 ge 0"] {
        assert_eq!(entry(text).to_string(), text);
    }
}

#[test]
fn a_wrong_entry_says_why() {
    let table = [
        (
            "10.0.0.0/33",
            "\"10.0.0.0/33\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
        ),
        ("", "\"\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\""),
        (
            "10.0.0.0/8 ge",
            "\"10.0.0.0/8 ge\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
        ),
        (
            "10.0.0.0/8 gt 9",
            "\"10.0.0.0/8 gt 9\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
        ),
        (
            "10.0.0.0/8 le 9 le 10",
            "\"10.0.0.0/8 le 9 le 10\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
        ),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set; expected the network 10.0.0.0/8"),
        ("10.0.0.0/8 ge 7", "ge 7 le 32 does not fit 10.0.0.0/8; expected 8 <= ge <= le <= 32"),
        ("10.0.0.0/8 ge 24 le 16", "ge 24 le 16 does not fit 10.0.0.0/8; expected 8 <= ge <= le <= 32"),
        ("::/0 le 129", "ge 0 le 129 does not fit ::/0; expected 0 <= ge <= le <= 128"),
    ];
    for (text, message) in table {
        let error: PrefixListEntryError = text.parse::<PrefixListEntry>().unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

/// Prefixes that nest and collide: addresses of few distinct bits, also at the far end.
fn prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u8>(), any::<u8>(), 0..=32_u8).prop_map(|(high, low, len)| {
        let address = u32::from(high & 0b1100_0001) << 24 | u32::from(low & 0b1000_0011);
        IpNet::new(IpAddr::V4(Ipv4Addr::from(address)), len).unwrap().trunc()
    });
    let v6 = (any::<u8>(), any::<u8>(), 0..=128_u8).prop_map(|(high, low, len)| {
        let address = u128::from(high & 0b1100_0001) << 120 | u128::from(low & 0b1000_0011);
        IpNet::new(IpAddr::V6(Ipv6Addr::from(address)), len).unwrap().trunc()
    });
    prop_oneof![v4, v6]
}

fn any_entry() -> impl Strategy<Value = PrefixListEntry> {
    (prefix(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(prefix, shape, a, b)| {
        let room = prefix.max_prefix_len() - prefix.prefix_len() + 1;
        let (a, b) = (prefix.prefix_len() + a % room, prefix.prefix_len() + b % room);
        let (ge, le) = (Some(a.min(b)), Some(a.max(b)));
        let (ge, le) = (ge.filter(|_| shape & 1 != 0), le.filter(|_| shape & 2 != 0));
        PrefixListEntry::new(prefix, ge, le).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_answers_as_a_walk_over_all_entries(
        entries in prop::collection::vec(any_entry(), 0..24),
        routes in prop::collection::vec(prefix(), 0..48),
    ) {
        let list = PrefixList::new("list", entries.clone());
        // The entries' own prefixes and what lies just above and below are where mistakes would be.
        let near = entries.iter().flat_map(|entry| {
            let prefix = entry.prefix();
            let below = prefix.subnets((prefix.prefix_len() + 1).min(prefix.max_prefix_len())).unwrap();
            below.chain(prefix.supernet()).chain([prefix])
        });
        for route in routes.iter().copied().chain(near) {
            let naive = entries.iter().any(|entry| {
                entry.prefix().contains(&route) && (entry.ge()..=entry.le()).contains(&route.prefix_len())
            });
            prop_assert_eq!(list.contains(route), naive, "{}", route);
            // The lengths of an entry do not matter to an address.
            let address = route.addr();
            let covered = entries.iter().any(|entry| entry.prefix().contains(&address));
            prop_assert_eq!(list.covers_address(address), covered, "{}", address);
        }
    }

    #[test]
    fn an_entry_survives_its_text(entry in any_entry()) {
        prop_assert_eq!(entry.to_string().parse::<PrefixListEntry>(), Ok(entry));
    }
}
