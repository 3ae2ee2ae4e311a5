//! UPDATEs: lengths, prefixes, and each attribute.

use crate::case::{Case, Reaction};
use crate::craft::{
    AFTER, KEEP, NEXT_HOP, NEXT_HOP6, OPTIONAL, ROUTER_ASN, Session, TARGET, TARGET6, TRANSITIVE, UPDATE,
    WELL_KNOWN, attr, message, mp_reach, next_hop, origin, sequence, update,
};
use Reaction::{Ignored, Reset, Taken, Withdraw};

const ERROR: &str = "RFC 4271 section 6.3";
const FLAGS: &str = "RFC 7606 section 3 (c)";
const MISSING: &str = "RFC 7606 section 3 (d)";
const NLRI: &str = "RFC 7606 section 5.3";
/// Why BIRD's subcode differs.
pub(crate) const NETWORK: &str =
    "RFC 4271 section 6.3 has Invalid Network Field for prefixes, cut off or not";
pub(crate) const OPTIONAL_ERROR: &str =
    "RFC 4760 section 7 has Optional Attribute Error for multiprotocol attributes";
const SUBCODE: &str = "BIRD says Malformed Attribute List of whatever is wrong with attributes";

fn mandatory() -> Vec<u8> {
    Session::External.mandatory(AFTER)
}

/// The mandatory attributes and these, with the target.
fn target(block: &[u8]) -> Vec<u8> {
    update(&[], block, &TARGET)
}

#[expect(clippy::too_many_lines, reason = "a table, whose rows are formatted over several lines")]
pub(crate) fn structure() -> Vec<Case> {
    const LIST: &str = "RFC 7606 section 4";
    const EMPTY: &str = "RFC 7606 section 5.2";
    let case = Case::established;
    let raw = |withdrawn: u16, body: &[u8]| message(UPDATE, &[&withdrawn.to_be_bytes()[..], body].concat());
    let with_total = |total: u16, block: &[u8]| {
        message(UPDATE, &[&[0, 0][..], &total.to_be_bytes(), block, &TARGET].concat())
    };
    let whole = mandatory();
    let cut = |by: usize| target(&whole[..whole.len() - by]);
    vec![
        case("withdrawn routes that run past the message", ERROR, raw(60, &[0; 6]), Reset(3, 1)),
        case(
            "withdrawn routes that leave no room for a length",
            ERROR,
            raw(5, &[24, 198, 51, 100, 0]),
            Reset(3, 1),
        ),
        case("attributes that run past the message", ERROR, with_total(900, &whole), Reset(3, 1)),
        case("no attributes before a prefix", MISSING, with_total(0, &[]), Withdraw),
        case("a list that ends inside an attribute", LIST, cut(1), Withdraw),
        case(
            "a list that ends inside an attribute's head",
            LIST,
            target(&[&whole[..], &[0xc0, 8]].concat()),
            Withdraw,
        ),
        case(
            "an attribute longer than the list",
            LIST,
            target(&[&whole[..], &[0xc0, 8, 200, 1]].concat()),
            Withdraw,
        ),
        case(
            "an extended length that is cut off",
            LIST,
            target(&[&whole[..], &[0xd0, 8, 0]].concat()),
            Withdraw,
        ),
        case(
            "an extended length for a short attribute",
            "RFC 4271 section 4.3",
            target(&extended(&whole)),
            Taken,
        ),
        case(
            "a withdrawn prefix of 33 bits",
            NLRI,
            update(&[33, 198, 51, 100, 0, 0], &[], &[]),
            Reset(3, 10),
        ),
        case("a withdrawn prefix that is cut off", NLRI, update(&[24, 198, 51], &[], &[]), Reset(3, 10))
            .bird_differs(Reset(3, 1), NETWORK),
        case("a prefix of 33 bits", NLRI, update(&[], &whole, &[33, 198, 51, 100, 0, 0]), Reset(3, 10)),
        case("a prefix of 255 bits", NLRI, update(&[], &whole, &[255, 198, 51, 100]), Reset(3, 10))
            .bird_differs(Reset(3, 1), NETWORK),
        case(
            "a prefix that is cut off",
            NLRI,
            update(&[], &whole, &[&TARGET[..], &[24, 10]].concat()),
            Reset(3, 10),
        )
        .bird_differs(Reset(3, 1), NETWORK),
        case(
            "a prefix with bits beyond its length",
            "RFC 4271 section 4.3",
            update(&[], &whole, &[23, 198, 51, 101, 24, 198, 51, 100]),
            Taken,
        ),
        case(
            "withdrawn and announced at once",
            "RFC 4271 section 4.3",
            update(&TARGET, &whole, &TARGET),
            Taken,
        ),
        case(
            "announced twice at once",
            "RFC 4271 section 4.3",
            update(&[], &whole, &[TARGET, TARGET].concat()),
            Taken,
        ),
        case(
            "an attribute error beside withdrawn routes only",
            EMPTY,
            update(&TARGET, &attr(OPTIONAL, 4, &[1]), &[]),
            Reset(3, 5),
        )
        .bird_differs(Reset(3, 1), SUBCODE),
        case(
            "an attribute error and no routes at all",
            EMPTY,
            update(&[], &attr(WELL_KNOWN, 1, &[9]), &[]),
            Reset(3, 6),
        )
        .bird_differs(Reset(3, 1), SUBCODE),
        case("a cut attribute and no routes at all", EMPTY, update(&[], &[0xc0, 8], &[]), Reset(3, 1)),
        case("sound attributes and no routes at all", EMPTY, update(&[], &whole, &[]), Ignored),
        case(
            "a withdrawal of what was never announced",
            "RFC 4271 section 9.1.4",
            update(&[24, 203, 0, 200], &[], &[]),
            Ignored,
        ),
        Case::beside(
            "an unknown attribute that all must know",
            ERROR,
            &attr(WELL_KNOWN, 99, &[1]),
            Reset(3, 2),
        )
        .bird_differs(Withdraw, "RFC 7606 leaves this error of RFC 4271 as it is"),
        Case::beside(
            "an unknown transitive attribute",
            "RFC 4271 section 5",
            &attr(TRANSITIVE, 99, &[1]),
            Taken,
        ),
        Case::beside(
            "an unknown attribute of one hop",
            "RFC 4271 section 5",
            &attr(OPTIONAL, 99, &[1]),
            Taken,
        )
        .without("unknown"),
        Case::beside(
            "unused attribute flags",
            "RFC 4271 section 4.3",
            &attr(TRANSITIVE | 0x0f, 99, &[1]),
            Taken,
        ),
    ]
}

/// The same attributes, each with a length of two octets.
fn extended(mut block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [flags, code, length, rest @ ..] = block {
        let (value, rest) = rest.split_at(usize::from(*length));
        out.extend([flags | 0x10, *code, 0, *length]);
        out.extend(value);
        block = rest;
    }
    out
}

pub(crate) fn mandatory_attributes() -> Vec<Case> {
    const PATH: &str = "RFC 7606 section 7.2";
    const HOP: &str = "RFC 7606 section 7.3";
    const ORIGIN: &str = "RFC 7606 section 7.1";
    let instead = Case::instead;
    let origin_of = |value: &[u8]| attr(WELL_KNOWN, 1, value);
    let path = |value: &[u8]| attr(WELL_KNOWN, 2, value);
    let hop = |value: &[u8]| attr(WELL_KNOWN, 3, value);
    let good = Session::External.as_path(AFTER);
    let after = AFTER.to_be_bytes();
    vec![
        instead("ORIGIN missing", MISSING, 1, &[], Withdraw),
        instead("ORIGIN empty", ORIGIN, 1, &origin_of(&[]), Withdraw),
        instead("ORIGIN of 2 octets", ORIGIN, 1, &origin_of(&[0, 0]), Withdraw),
        instead("ORIGIN 3", ORIGIN, 1, &origin_of(&[3]), Withdraw),
        instead("ORIGIN 255", ORIGIN, 1, &origin_of(&[255]), Withdraw),
        instead("ORIGIN optional", FLAGS, 1, &attr(TRANSITIVE, 1, &[0]), Withdraw),
        instead("ORIGIN not transitive", FLAGS, 1, &attr(0, 1, &[0]), Withdraw),
        instead("ORIGIN partial", FLAGS, 1, &attr(0x60, 1, &[0]), Taken),
        instead("ORIGIN twice", "RFC 7606 section 3 (g)", 1, &[origin(), origin_of(&[9])].concat(), Taken),
        instead("AS_PATH missing", MISSING, 2, &[], Withdraw),
        instead("AS_PATH optional", FLAGS, 2, &attr(TRANSITIVE, 2, &good), Withdraw),
        instead("AS_PATH with segment type 0", PATH, 2, &path(&[0, 1, 0, 0, 251, 245]), Withdraw),
        instead("AS_PATH with segment type 9", PATH, 2, &path(&[9, 1, 0, 0, 251, 245]), Withdraw),
        instead("AS_PATH with a segment that overruns", PATH, 2, &path(&[2, 3, 0, 0, 251, 245]), Withdraw),
        instead(
            "AS_PATH with an octet behind the last segment",
            PATH,
            2,
            &path(&[&good[..], &[2]].concat()),
            Withdraw,
        ),
        instead("AS_PATH with an empty segment", PATH, 2, &path(&[&good[..], &[2, 0]].concat()), Withdraw),
        instead("AS_PATH with AS 0", "RFC 7607", 2, &path(&sequence(&[64501, 0, AFTER], false)), Withdraw)
            .bird_differs(Taken, "BIRD 2.0 does not have RFC 7607"),
        instead(
            "AS_PATH with a confederation segment",
            "RFC 5065 section 5",
            2,
            &path(&[&[3, 1], &after[..], &good].concat()),
            Withdraw,
        ),
        instead(
            "AS_PATH with AS numbers of two octets",
            PATH,
            2,
            &path(&sequence(&[64501, 64999], true)),
            Withdraw,
        ),
        instead(
            "AS_PATH with our own AS",
            "RFC 4271 section 9.1.2",
            2,
            &path(&sequence(&[64501, ROUTER_ASN, AFTER], false)),
            Taken,
        )
        .bird_differs(Withdraw, "BIRD does not keep a looped route; ours is kept, marked and never used"),
        instead(
            "AS_PATH that begins with another AS",
            "RFC 4271 section 6.3",
            2,
            &path(&sequence(&[64599, AFTER], false)),
            Taken,
        ),
        instead("NEXT_HOP missing", MISSING, 3, &[], Withdraw),
        instead("NEXT_HOP optional", FLAGS, 3, &attr(TRANSITIVE, 3, &NEXT_HOP), Withdraw),
        instead("NEXT_HOP of 3 octets", HOP, 3, &hop(&NEXT_HOP[..3]), Withdraw),
        instead("NEXT_HOP of 16 octets", HOP, 3, &hop(&NEXT_HOP6), Withdraw),
        instead("NEXT_HOP 0.0.0.0", ERROR, 3, &hop(&[0; 4]), Withdraw),
        instead("NEXT_HOP of a group", ERROR, 3, &hop(&[224, 0, 0, 5]), Withdraw),
        instead("NEXT_HOP 255.255.255.255", ERROR, 3, &hop(&[255; 4]), Withdraw),
        instead("NEXT_HOP 127.0.0.1", ERROR, 3, &hop(&[127, 0, 0, 1]), Withdraw),
        instead("NEXT_HOP twice", "RFC 7606 section 3 (g)", 3, &[next_hop(), hop(&[0; 4])].concat(), Taken),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table, whose rows are formatted over several lines")]
pub(crate) fn other_attributes() -> Vec<Case> {
    const PREF: &str = "RFC 7606 section 7.5";
    const AGGREGATOR: &str = "RFC 7606 section 7.7";
    const COMMUNITIES: &str = "RFC 7606 section 7.8";
    const AS4: &str = "RFC 6793 section 6";
    let beside = Case::beside;
    let beside_on = Case::beside_on;
    let (internal, old) = (Session::Internal, Session::Old);
    let aggregator = [0, 0, 251, 245, 192, 0, 2, 9];
    vec![
        beside("MED of 3 octets", "RFC 7606 section 7.4", &attr(OPTIONAL, 4, &[0, 0, 1]), Withdraw),
        beside("MED of 5 octets", "RFC 7606 section 7.4", &attr(OPTIONAL, 4, &[0; 5]), Withdraw),
        beside("MED transitive", FLAGS, &attr(TRANSITIVE, 4, &[0; 4]), Withdraw),
        beside("LOCAL_PREF from another AS", PREF, &attr(WELL_KNOWN, 5, &[0, 0, 3, 232]), Taken)
            .without("local_pref"),
        beside("LOCAL_PREF of 1 octet from another AS", PREF, &attr(WELL_KNOWN, 5, &[1]), Taken)
            .without("local_pref"),
        internal_local_pref("LOCAL_PREF of 1 octet", PREF, &attr(WELL_KNOWN, 5, &[1]), Withdraw),
        internal_local_pref("LOCAL_PREF optional", FLAGS, &attr(TRANSITIVE, 5, &[0; 4]), Withdraw),
        beside("ATOMIC_AGGREGATE of 1 octet", "RFC 7606 section 7.6", &attr(WELL_KNOWN, 6, &[1]), Taken)
            .without("atomic_aggregate"),
        beside("ATOMIC_AGGREGATE optional", FLAGS, &attr(TRANSITIVE, 6, &[]), Withdraw),
        beside("AGGREGATOR of 6 octets", AGGREGATOR, &attr(TRANSITIVE, 7, &aggregator[2..]), Taken)
            .without("aggregator"),
        beside("AGGREGATOR of AS 0", "RFC 7607", &attr(TRANSITIVE, 7, &[0, 0, 0, 0, 192, 0, 2, 9]), Taken)
            .without("aggregator"),
        beside("AGGREGATOR not transitive", FLAGS, &attr(OPTIONAL, 7, &aggregator), Withdraw),
        beside_on(
            old,
            "AGGREGATOR of 8 octets from an old speaker",
            AGGREGATOR,
            &attr(TRANSITIVE, 7, &aggregator),
            Taken,
        )
        .without("aggregator"),
        beside("COMMUNITIES of 3 octets", COMMUNITIES, &attr(TRANSITIVE, 8, &[1; 3]), Withdraw),
        beside("COMMUNITIES empty", COMMUNITIES, &attr(TRANSITIVE, 8, &[]), Withdraw),
        beside("COMMUNITIES not transitive", FLAGS, &attr(OPTIONAL, 8, &[1; 4]), Withdraw),
        beside("COMMUNITIES well-known", FLAGS, &attr(WELL_KNOWN, 8, &[1; 4]), Withdraw),
        beside(
            "ORIGINATOR_ID from another AS",
            "RFC 7606 section 7.9",
            &attr(OPTIONAL, 9, &[192, 0, 2, 3]),
            Taken,
        ),
        beside_on(
            internal,
            "ORIGINATOR_ID of 3 octets",
            "RFC 7606 section 7.9",
            &attr(OPTIONAL, 9, &[192, 0, 2]),
            Withdraw,
        ),
        beside(
            "CLUSTER_LIST from another AS",
            "RFC 7606 section 7.10",
            &attr(OPTIONAL, 10, &[192, 0, 2, 3]),
            Taken,
        ),
        beside_on(
            internal,
            "CLUSTER_LIST of 5 octets",
            "RFC 7606 section 7.10",
            &attr(OPTIONAL, 10, &[1; 5]),
            Withdraw,
        ),
        beside_on(
            internal,
            "CLUSTER_LIST empty",
            "RFC 7606 section 7.10",
            &attr(OPTIONAL, 10, &[]),
            Withdraw,
        ),
        beside(
            "extended communities of 7 octets",
            "RFC 7606 section 7.14",
            &attr(TRANSITIVE, 16, &[1; 7]),
            Withdraw,
        ),
        beside("extended communities empty", "RFC 7606 section 7.14", &attr(TRANSITIVE, 16, &[]), Withdraw),
        beside(
            "large communities of 11 octets",
            "RFC 8092 section 6",
            &attr(TRANSITIVE, 32, &[1; 11]),
            Withdraw,
        ),
        beside("large communities empty", "RFC 8092 section 6", &attr(TRANSITIVE, 32, &[]), Withdraw),
        beside("large communities not transitive", FLAGS, &attr(OPTIONAL, 32, &[1; 12]), Withdraw),
        beside("AIGP that is cut off", "RFC 7311 section 3", &attr(OPTIONAL, 26, &[1, 0]), Taken),
        beside("OTC of 3 octets", "RFC 9234 section 5", &attr(TRANSITIVE, 35, &[0, 0, 7]), Withdraw),
        beside("OTC of one hop", FLAGS, &attr(OPTIONAL, 35, &[0, 0, 251, 245]), Withdraw),
        beside("AS4_PATH from a new speaker", AS4, &attr(TRANSITIVE, 17, &[2, 1, 0, 1, 0, 0]), Taken)
            .without("unknown"),
        beside("AS4_AGGREGATOR from a new speaker", AS4, &attr(TRANSITIVE, 18, &[1; 8]), Taken)
            .without("unknown"),
        beside_on(old, "AS4_PATH that is cut off", AS4, &attr(TRANSITIVE, 17, &[2, 3, 0, 1]), Taken),
        beside_on(
            old,
            "AS4_PATH longer than AS_PATH",
            "RFC 6793 section 4.2.3",
            &attr(TRANSITIVE, 17, &sequence(&[7, 8, 9], false)),
            Taken,
        ),
        beside_on(old, "AS4_AGGREGATOR of 7 octets", AS4, &attr(TRANSITIVE, 18, &[1; 7]), Taken)
            .without("aggregator"),
    ]
}

/// Within the AS, with this in the place of `LOCAL_PREF`.
fn internal_local_pref(name: &str, source: &'static str, attribute: &[u8], expected: Reaction) -> Case {
    let block =
        [origin(), attr(WELL_KNOWN, 2, &Session::Internal.as_path(AFTER)), next_hop(), attribute.to_vec()];
    Case::established(name, source, target(&block.concat()), expected).on(Session::Internal)
}

#[expect(clippy::too_many_lines, reason = "a table, whose rows are formatted over several lines")]
pub(crate) fn multiprotocol() -> Vec<Case> {
    const REACH: &str = "RFC 7606 section 7.11";
    const UNREACH: &str = "RFC 7606 section 7.12";
    let case = |name: &str, source, attributes: &[Vec<u8>], expected| {
        let mut block = attributes.concat();
        block.extend([origin(), attr(WELL_KNOWN, 2, &Session::External.as_path(AFTER))].concat());
        Case::established(name, source, update(&[], &block, &[]), expected).judged_by_ipv6()
    };
    let reach = |value: &[u8]| attr(OPTIONAL, 14, value);
    let sound = || reach(&mp_reach(&NEXT_HOP6, &TARGET6));
    let global = [&NEXT_HOP6[..], &NEXT_HOP6].concat();
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let mut reserved = mp_reach(&NEXT_HOP6, &TARGET6);
    reserved[20] = 7;
    let lone = |name: &str, source, value: &[u8], expected| {
        Case::established(name, source, update(&[], &attr(OPTIONAL, 15, value), &[]), expected)
            .judged_by_ipv6()
    };
    vec![
        case("MP_REACH_NLRI empty", REACH, &[reach(&[])], Reset(3, 9)),
        case(
            "MP_REACH_NLRI that ends in its next hop",
            REACH,
            &[reach(&[0, 2, 1, 16, 1, 2, 3])],
            Reset(3, 9),
        ),
        case(
            "MP_REACH_NLRI without the reserved octet",
            REACH,
            &[reach(&mp_reach(&NEXT_HOP6, &[])[..20])],
            Reset(3, 9),
        ),
        case(
            "MP_REACH_NLRI with a next hop of 5 octets",
            REACH,
            &[reach(&mp_reach(&[1; 5], &TARGET6))],
            Reset(3, 9),
        ),
        case("MP_REACH_NLRI without a next hop", REACH, &[reach(&mp_reach(&[], &TARGET6))], Reset(3, 9)),
        case(
            "MP_REACH_NLRI with an IPv4 next hop for IPv6",
            REACH,
            &[reach(&mp_reach(&NEXT_HOP, &TARGET6))],
            Reset(3, 9),
        )
        .bird_differs(Withdraw, "the prefixes behind a next hop of a wrong length cannot be located"),
        case("MP_REACH_NLRI with next hop ::", ERROR, &[reach(&mp_reach(&[0; 16], &TARGET6))], Withdraw),
        case("MP_REACH_NLRI with next hop ::1", ERROR, &[reach(&mp_reach(&loopback, &TARGET6))], Withdraw),
        case(
            "MP_REACH_NLRI with a second next hop that is global",
            "RFC 2545 section 3",
            &[reach(&mp_reach(&global, &TARGET6))],
            Taken,
        ),
        case("MP_REACH_NLRI with a reserved octet of 7", "RFC 4760 section 3", &[reach(&reserved)], Taken),
        case(
            "MP_REACH_NLRI with a prefix of 129 bits",
            NLRI,
            &[reach(&mp_reach(&NEXT_HOP6, &[129; 18]))],
            Reset(3, 9),
        )
        .bird_differs(Reset(3, 10), OPTIONAL_ERROR),
        case(
            "MP_REACH_NLRI with a prefix that is cut off",
            NLRI,
            &[reach(&mp_reach(&NEXT_HOP6, &[48, 0x20, 1]))],
            Reset(3, 9),
        )
        .bird_differs(Reset(3, 1), OPTIONAL_ERROR),
        case(
            "MP_REACH_NLRI transitive",
            FLAGS,
            &[attr(TRANSITIVE, 14, &mp_reach(&NEXT_HOP6, &TARGET6))],
            Withdraw,
        )
        .bird_differs(Reset(3, 1), "the flags do not keep the prefixes from being located"),
        case("MP_REACH_NLRI twice", "RFC 7606 section 3 (g)", &[sound(), sound()], Reset(3, 1)),
        case(
            "MP_REACH_NLRI of an unknown family",
            "RFC 4760 section 6",
            &[reach(&[0x40, 4, 71, 4, 1, 2, 3, 4, 0, 9])],
            Ignored,
        ),
        case(
            "MP_REACH_NLRI beside a bad NEXT_HOP",
            "RFC 4760 section 3",
            &[sound(), attr(WELL_KNOWN, 3, &[0; 4])],
            Taken,
        ),
        case(
            "MP_REACH_NLRI and a bad attribute",
            "RFC 7606 section 2",
            &[sound(), attr(OPTIONAL, 4, &[1])],
            Withdraw,
        ),
        case(
            "MP_REACH_NLRI in the last place",
            "RFC 7606 section 5.1",
            &[attr(OPTIONAL, 4, &[0; 4]), sound()],
            Taken,
        ),
        case(
            "MP_REACH_NLRI of IPv4",
            "RFC 4760 section 3",
            &[reach(&[&[0, 1, 1, 4][..], &NEXT_HOP, &[0], &TARGET].concat())],
            Taken,
        )
        .judged_by_ipv4(),
        lone("MP_UNREACH_NLRI empty", UNREACH, &[], Reset(3, 9)),
        lone("MP_UNREACH_NLRI of 2 octets", UNREACH, &[0, 2], Reset(3, 9)),
        lone(
            "MP_UNREACH_NLRI with a prefix of 129 bits",
            NLRI,
            &[&[0, 2, 1][..], &[129; 18]].concat(),
            Reset(3, 9),
        )
        .bird_differs(Reset(3, 10), OPTIONAL_ERROR),
        lone("MP_UNREACH_NLRI with a prefix that is cut off", NLRI, &[0, 2, 1, 48, 0x20], Reset(3, 9))
            .bird_differs(Reset(3, 1), OPTIONAL_ERROR),
        lone("MP_UNREACH_NLRI of an unknown family", "RFC 4760 section 6", &[0x40, 4, 71, 9, 9], Ignored),
        lone(
            "MP_UNREACH_NLRI of the target",
            "RFC 4760 section 4",
            &[&[0, 2, 1][..], &TARGET6].concat(),
            Withdraw,
        ),
        Case::established(
            "MP_UNREACH_NLRI twice",
            "RFC 7606 section 3 (g)",
            update(&[], &attr(OPTIONAL, 15, &[&[0, 2, 1][..], &TARGET6].concat()).repeat(2), &[]),
            Reset(3, 1),
        ),
        Case::established(
            "an error in one family's attributes, with both announced",
            "RFC 7606 section 2",
            update(&[], &[sound(), mandatory(), attr(TRANSITIVE, 8, &[1])].concat(), &TARGET),
            Withdraw,
        )
        .judged_by_ipv6(),
        Case::established(
            "IPv6 routes that were not negotiated",
            "RFC 4760 section 6",
            update(&[], &[sound(), mandatory()].concat(), &KEEP),
            Ignored,
        )
        .on(Session::OnlyIpv4),
    ]
}
