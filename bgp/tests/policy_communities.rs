//! Communities as operators write them: texts, patterns, and what is said about wrong ones.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bgp::policy::{CommunityPattern, ExtendedCommunityPattern, LargeCommunityPattern};
use bgp::wire::{Community, ExtendedCommunity, LargeCommunity};
use proptest::prelude::*;

fn parse<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn refusal<T: FromStr<Err: Display> + Debug>(text: &str) -> String {
    match text.parse::<T>() {
        Ok(value) => panic!("\"{text}\" was read as {value:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn communities_are_read_by_number_and_by_name() {
    assert_eq!(parse::<Community>("65000:100"), Community(65000 * 65536 + 100));
    assert_eq!(parse::<Community>("0:0"), Community(0));
    assert_eq!(parse::<Community>("no-export"), Community(0xffff_ff01));
    assert_eq!(parse::<Community>("no-advertise"), Community(0xffff_ff02));
    assert_eq!(parse::<Community>("no-export-subconfed"), Community(0xffff_ff03));
    assert_eq!(parse::<Community>("no-peer"), Community(0xffff_ff04));
    assert_eq!(parse::<Community>("blackhole"), Community(0xffff_029a));
    assert_eq!(parse::<Community>("graceful-shutdown"), Community(0xffff_0000));
    assert_eq!(parse::<Community>("llgr-stale"), Community(0xffff_0006));
    for (community, name) in Community::WELL_KNOWN {
        assert_eq!(community.to_string(), name);
        assert_eq!(parse::<Community>(name), community);
    }
}

#[test]
fn extended_communities_take_the_smallest_form() {
    let table = [
        ("rt:65000:100", [0x00, 2, 0xfd, 0xe8, 0, 0, 0, 100]),
        ("ro:65000:100", [0x00, 3, 0xfd, 0xe8, 0, 0, 0, 100]),
        ("soo:65000:4294967295", [0x00, 3, 0xfd, 0xe8, 0xff, 0xff, 0xff, 0xff]),
        ("rt:70000:100", [0x02, 2, 0, 1, 0x11, 0x70, 0, 100]),
        ("rt:65000L:100", [0x02, 2, 0, 0, 0xfd, 0xe8, 0, 100]),
        ("rt:10.0.0.1:65535", [0x01, 2, 10, 0, 0, 1, 0xff, 0xff]),
        ("0x4300000000000001", [0x43, 0, 0, 0, 0, 0, 0, 1]),
    ];
    for (text, octets) in table {
        assert_eq!(parse::<ExtendedCommunity>(text), ExtendedCommunity(octets), "{text}");
    }
}

#[test]
fn a_star_or_a_range_matches_more_than_one() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("65000:100", &["65000:100"], &["65000:101", "65001:100"]),
        ("65000:*", &["65000:0", "65000:65535"], &["65001:0", "64999:65535"]),
        ("*:666", &["0:666", "65535:666"], &["65535:667"]),
        ("65000:100-199", &["65000:100", "65000:199"], &["65000:99", "65000:200"]),
        ("64512-65534:*", &["64512:1", "65534:2"], &["64511:1", "65535:1"]),
        ("*:*", &["0:0", "no-export"], &[]),
        ("*", &["0:0", "no-export"], &[]),
        ("no-export", &["65535:65281"], &["65535:65282"]),
    ];
    for (text, matching, others) in table {
        let pattern: CommunityPattern = parse(text);
        assert!(matching.iter().all(|other| pattern.matches(parse(other))), "{text}");
        assert!(!others.iter().any(|other| pattern.matches(parse(other))), "{text}");
    }

    let table: &[(&str, &[&str], &[&str])] = &[
        ("65000:1:2", &["65000:1:2"], &["65000:1:3", "65000:2:2", "65001:1:2"]),
        ("65000:*:2", &["65000:0:2", "65000:4294967295:2"], &["65000:0:3"]),
        ("4200000000:1-2:*", &["4200000000:2:9"], &["4200000000:3:9"]),
        ("*", &["0:0:0"], &[]),
    ];
    for (text, matching, others) in table {
        let pattern: LargeCommunityPattern = parse(text);
        assert!(matching.iter().all(|other| pattern.matches(parse(other))), "{text}");
        assert!(!others.iter().any(|other| pattern.matches(parse(other))), "{text}");
    }

    let table: &[(&str, &[&str], &[&str])] = &[
        (
            "rt:65000:*",
            &["rt:65000:1", "rt:65000L:1", "0x4002fde800000001"],
            &["ro:65000:1", "rt:65001:1", "rt:0.0.253.232:1"],
        ),
        ("rt:65000:100", &["rt:65000:100", "rt:65000L:100"], &["rt:65000:101"]),
        ("rt:*:100", &["rt:1:100", "rt:70000:100", "rt:10.0.0.1:100"], &["rt:1:101", "0x0302000100000064"]),
        ("ro:10.0.0.1:*", &["ro:10.0.0.1:5"], &["ro:10.0.0.2:5", "ro:167772161:5"]),
        ("0x4300000000000001", &["0x4300000000000001"], &["0x4300000000000002"]),
        ("*", &["0x4300000000000001", "rt:1:1"], &[]),
    ];
    for (text, matching, others) in table {
        let pattern: ExtendedCommunityPattern = parse(text);
        for other in *matching {
            assert!(pattern.matches(parse(other)), "{text} should match {other}");
        }
        for other in *others {
            assert!(!pattern.matches(parse(other)), "{text} should not match {other}");
        }
    }
}

#[test]
fn a_wrong_community_says_what_was_expected() {
    let names = "graceful-shutdown, accept-own, llgr-stale, no-llgr, accept-own-nexthop, blackhole, no-export, \
         no-advertise, no-export-subconfed, no-peer";
    // The list in the message is the list that is read.
    assert_eq!(names, Community::WELL_KNOWN.map(|(_, name)| name).join(", "));

    for text in ["", "65000", "65000:", ":1", "65000:+1", "65000:1:2", "65000:*", "no_export", "-1:1", " 1:1"]
    {
        let expected = format!("\"{text}\" is not a community; expected \"ASN:VALUE\" or one of {names}");
        assert_eq!(refusal::<Community>(text), expected);
    }
    assert_eq!(
        refusal::<Community>("70000:1"),
        "70000 in \"70000:1\" is too large; expected at most 65535, or a large community"
    );
    assert_eq!(
        refusal::<CommunityPattern>("65000:x"),
        format!(
            "\"65000:x\" is not a community pattern; expected \"ASN:VALUE\", each a number, a range \"1-9\" or \"*\", \
             or one of {names}"
        )
    );
    assert_eq!(
        refusal::<CommunityPattern>("65000:9-1"),
        "the range 9-1 in \"65000:9-1\" is empty; expected the smaller number first"
    );
    assert_eq!(
        refusal::<LargeCommunity>("65000:1"),
        "\"65000:1\" is not a large community; expected \"ASN:NUMBER:NUMBER\""
    );
    assert_eq!(
        refusal::<LargeCommunity>("4294967296:1:1"),
        "4294967296 in \"4294967296:1:1\" is too large; expected at most 4294967295"
    );
    assert_eq!(
        refusal::<LargeCommunity>("99999999999999999999999999:1:1"),
        "\"99999999999999999999999999:1:1\" is not a large community; expected \"ASN:NUMBER:NUMBER\""
    );
    assert_eq!(
        refusal::<LargeCommunityPattern>("65000:1:**"),
        "\"65000:1:**\" is not a large community pattern; expected \"ASN:NUMBER:NUMBER\", each a number, a range \
         \"1-9\" or \"*\""
    );
    for text in ["65000:1", "target:65000:1", "rt:65000", "0x12", "0x00000000000000zz"] {
        assert_eq!(
            refusal::<ExtendedCommunity>(text),
            format!(
                "\"{text}\" is not an extended community; expected \"rt:ASN:NUMBER\" (route target), \
                 \"ro:ASN:NUMBER\" (route origin), either with an IPv4 address for ASN, or \"0x\" and 16 hexadecimal \
                 digits"
            )
        );
    }
    // What is left for the number depends on the administrator.
    assert_eq!(
        refusal::<ExtendedCommunity>("rt:70000:65536"),
        "65536 in \"rt:70000:65536\" is too large; expected at most 65535"
    );
    assert_eq!(
        refusal::<ExtendedCommunity>("rt:10.0.0.1:65536"),
        "65536 in \"rt:10.0.0.1:65536\" is too large; expected at most 65535"
    );
}

proptest! {
    #[test]
    fn every_community_survives_its_text(word in any::<u32>(), wide in any::<[u8; 8]>(), kind in 0..4_u8, sub in 1..5_u8) {
        let community = Community(word);
        prop_assert_eq!(community.to_string().parse::<Community>(), Ok(community));
        let large = LargeCommunity { global: word, local1: word ^ 1, local2: word.swap_bytes() };
        prop_assert_eq!(large.to_string().parse::<LargeCommunity>(), Ok(large));
        for octets in [wide, [kind, sub, wide[2], wide[3], wide[4], wide[5], wide[6], wide[7]]] {
            let extended = ExtendedCommunity(octets);
            prop_assert_eq!(extended.to_string().parse::<ExtendedCommunity>(), Ok(extended), "{}", extended);
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[0-9*:x.rtosL-]{0,24}") {
        let _ = text.parse::<Community>();
        let _ = text.parse::<CommunityPattern>();
        let _ = text.parse::<LargeCommunityPattern>();
        let _ = text.parse::<ExtendedCommunity>();
        let _ = text.parse::<ExtendedCommunityPattern>();
    }
}
