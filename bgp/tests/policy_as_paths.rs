//! AS-path expressions: the semantics of FRR's documentation, and shortcuts that equal the regular
//! expressions they stand in for.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use bgp::policy::AsPathPattern;
use bgp::types::Asn;
use bgp::wire::{AsPath, SegmentKind};
use proptest::prelude::*;

fn path(text: &str) -> AsPath {
    text.parse().unwrap()
}

#[test]
fn expressions_mean_what_frr_and_cisco_mean() {
    // Expression, then paths it matches, then paths it does not.
    let table: &[(&str, &[&str], &[&str])] = &[
        ("^$", &[""], &["65001"]),
        (".*", &["", "65001 174"], &[]),
        (
            "_174_",
            &["174", "65001 174", "174 65001", "1 174 2", "1 {174,3}", "{3,174} 5"],
            &["1174", "1740 2", ""],
        ),
        ("174", &["174", "1174", "65001 11741"], &["17 4", ""]),
        ("^65001_", &["65001", "65001 174", "65001 {1,2}"], &["650010", "174 65001", "{65001,1}", ""]),
        ("^65001", &["65001", "650010 1"], &["1 65001"]),
        ("_174$", &["174", "65001 174", "{1,2} 174"], &["1174", "174 1", "1 {2,174}"]),
        ("^65001$", &["65001"], &["65001 65001", "650011", ""]),
        ("^65001 174$", &["65001 174"], &["65001 1 174"]),
        ("^65001_174$", &["65001 174"], &["65001 1 174", "65001174"]),
        ("^(65001_)+$", &["65001", "65001 65001 65001"], &["65001 174", ""]),
        ("^[0-9]+$", &["1", "65001"], &["1 2", ""]),
        ("^[0-9]+_[0-9]+$", &["1 2"], &["1", "1 2 3"]),
        ("_(701|702)_", &["1 701", "702 3", "702"], &["7012", "1701 2"]),
        ("_6451[2-9]_", &["1 64512", "64519 2"], &["64511", "645120"]),
        ("^65001(_65001)*_174$", &["65001 174", "65001 65001 174"], &["65001 2 174"]),
        ("_[0-9]{6,}_", &["1 131072"], &["99999 1"]),
        (r"\{([0-9]+,)*174[,}]", &["1 {174,2}", "1 {2,174}"], &["174 {1,2}", "174"]),
        // `_` takes the delimiter, so that none is left for a second one.
        ("_1__2_", &[], &["1 2", "1 3 2"]),
        ("^.? ?65001", &["65001"], &["12 65001"]),
    ];
    for (text, matching, others) in table {
        let pattern = AsPathPattern::new(text).unwrap();
        for other in *matching {
            assert!(pattern.matches(&path(other)), "{text} should match \"{other}\"");
        }
        for other in *others {
            assert!(!pattern.matches(&path(other)), "{text} should not match \"{other}\"");
        }
    }
}

#[test]
fn confederation_segments_are_delimited_too() {
    let mut path = AsPath::new();
    path.push(SegmentKind::ConfedSequence, [Asn(64512), Asn(64513)]);
    path.push(SegmentKind::Sequence, [Asn(174)]);
    assert_eq!(path.to_string(), "(64512 64513) 174");
    for (text, expected) in [
        ("_64512_", true),
        ("_64513_", true),
        ("^64512_", false),
        ("^174_", false),
        ("_174$", true),
        (r"^\(", true),
    ] {
        assert_eq!(AsPathPattern::new(text).unwrap().matches(&path), expected, "{text}");
    }
}

#[test]
fn a_wrong_expression_names_itself_and_the_reason() {
    let table = [
        ("", "it is empty; \".*\" matches every path, \"^$\" the empty one"),
        ("AS174", "\"A\" never occurs in an AS path"),
        ("_174_;", "\";\" never occurs in an AS path"),
        ("(174", "unclosed group"),
        ("174)", "unopened group"),
        ("[0-9", "unclosed character class"),
        ("*174", "repetition operator missing expression"),
        ("[_ ]174", "\"_\" has no meaning inside brackets; expected \"(_|...)\""),
        ("{174", "repetition operator missing expression"),
        ("174 {2", "unclosed counted repetition; a brace itself is written \"\\{\""),
        ("174\\", "it ends in a lone backslash"),
        (r"(1)\1", "backreferences are not supported"),
        ("((((((.{1000}){1000}){1000}", "unclosed group"),
        ("(.{1000}){1000}", "it is too large once compiled"),
    ];
    for (text, reason) in table {
        let error = AsPathPattern::new(text).unwrap_err();
        assert_eq!(error.to_string(), format!("AS-path expression \"{text}\" is invalid: {reason}"));
    }
}

#[test]
fn equal_texts_are_equal_expressions() {
    let [a, b, c] = ["^1_", "^1_", "_1_"].map(|text| AsPathPattern::new(text).unwrap());
    assert_eq!(a, b);
    assert_ne!(a, c);
}

fn any_path() -> impl Strategy<Value = AsPath> {
    let kind = prop_oneof![
        6 => Just(SegmentKind::Sequence),
        2 => Just(SegmentKind::Set),
        1 => Just(SegmentKind::ConfedSequence),
        1 => Just(SegmentKind::ConfedSet),
    ];
    // Few numbers, some of them the beginning or end of others.
    let asn = prop::sample::select(vec![1_u32, 2, 12, 21, 121]).prop_map(Asn);
    prop::collection::vec((kind, prop::collection::vec(asn, 1..4)), 0..4).prop_map(|segments| {
        let mut path = AsPath::new();
        for (kind, asns) in segments {
            path.push(kind, asns);
        }
        path
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// A pair of parentheses keeps an expression from being recognised as one with a shortcut.
    #[test]
    fn shortcuts_equal_their_regular_expressions(path in any_path(), asn in prop::sample::select(vec![1_u32, 12, 21])) {
        for text in ["^$".to_owned(), format!("_{asn}_"), format!("^{asn}_"), format!("_{asn}$")] {
            let quick = AsPathPattern::new(&text).unwrap();
            let slow = AsPathPattern::new(&format!("({text})")).unwrap();
            prop_assert_eq!(quick.matches(&path), slow.matches(&path), "{} on \"{}\"", text, path);
        }
    }
}
