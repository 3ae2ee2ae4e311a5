//! Sets of AS numbers: the ranges in order answer as the ranges that were given, and texts mean what they say.

use bgp::policy::{AsnSet, NumberPattern};
use bgp::types::Asn;
use proptest::prelude::*;

#[test]
fn numbers_and_ranges_are_read() {
    let range = |first, last| NumberPattern { first, last };
    for (text, expected) in [
        ("64511", range(64511, 64511)),
        ("AS64511", range(64511, 64511)),
        ("64512-65534", range(64512, 65534)),
        ("AS64512 - AS65534", range(64512, 65534)),
        ("0-4294967295", range(0, u32::MAX)),
        ("7-7", range(7, 7)),
    ] {
        assert_eq!(AsnSet::parse_range(text), Ok(expected), "{text}");
    }
    let syntax = "; expected a number such as 64511 or a range \"64512-65534\"";
    for text in ["", "AS", "-", "1-", "-1", "1-2-3", "x", "4294967296", "+1", "64512..65534"] {
        let error = AsnSet::parse_range(text).unwrap_err().to_string();
        assert_eq!(error, format!("\"{text}\" is not an AS number{syntax}"));
    }
    let error = AsnSet::parse_range("9-1").unwrap_err().to_string();
    assert_eq!(error, "the range \"9-1\" is empty; expected the smaller number first");
}

/// Few numbers, and both ends.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..12_u32, u32::MAX - 3..=u32::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_set_holds_what_its_ranges_hold(
        ranges in prop::collection::vec((number(), number()).prop_map(|(a, b)| (a.min(b), a.max(b))), 0..6),
        asns in prop::collection::vec(number(), 1..24),
    ) {
        let set = AsnSet::new(ranges.iter().map(|&(first, last)| NumberPattern { first, last }));
        prop_assert_eq!(set.is_empty(), ranges.is_empty());
        for asn in asns {
            let naive = ranges.iter().any(|&(first, last)| first <= asn && asn <= last);
            prop_assert_eq!(set.contains(Asn(asn)), naive, "{} in {:?}", asn, set);
        }
        // Disjoint and apart, so that equal sets are equal however they were written.
        for pair in set.ranges().windows(2) {
            prop_assert!(u64::from(pair[0].last) + 1 < u64::from(pair[1].first), "{:?}", set);
        }
    }
}
