//! Headers, OPENs, and messages that come at the wrong time.

use crate::case::{Case, Reaction};
use crate::craft::{
    AFTER, KEEPALIVE, NOTIFICATION, OPEN, Open, REFRESH, Session, TARGET, UPDATE, capability, lying, message,
    parameter, update,
};
use Reaction::{Closed, Ignored, Reset, Taken, Withdraw};

const HEADER: &str = "RFC 4271 section 6.1";
const KEEPALIVE_LENGTH: &str = "BIRD does not look at the length of a KEEPALIVE";
const STATE: &str = "RFC 6608";

/// A well-formed UPDATE with as many octets as asked for, header included.
pub(crate) fn padded(length: usize) -> Vec<u8> {
    let block = Session::External.mandatory(AFTER);
    // Header, two lengths, the target, and the head of an attribute with an extended length.
    let filler = length - 23 - block.len() - TARGET.len() - 4;
    let attribute = [&[0xd0, 200][..], &(filler as u16).to_be_bytes(), &vec![1; filler]].concat();
    let out = update(&[], &[block, attribute].concat(), &TARGET);
    assert_eq!(out.len(), length);
    out
}

pub(crate) fn headers() -> Vec<Case> {
    let keepalive = message(KEEPALIVE, &[]);
    let marker = [&[0xff; 15][..], &[0xfe], &keepalive[16..]].concat();
    let case = Case::established;
    vec![
        case("a marker that is not all ones", HEADER, marker, Reset(1, 1)),
        case("a length of 0", HEADER, lying(KEEPALIVE, 0, &[]), Reset(1, 2)),
        case("a length of 18", HEADER, lying(KEEPALIVE, 18, &[]), Reset(1, 2)),
        case("a length of 4097 without the capability", HEADER, lying(UPDATE, 4097, &[0; 4]), Reset(1, 2)),
        case("a length of 65535 without the capability", HEADER, lying(UPDATE, 65535, &[0; 4]), Reset(1, 2)),
        case("a KEEPALIVE with a body", HEADER, message(KEEPALIVE, &[0]), Reset(1, 2))
            .bird_differs(Ignored, KEEPALIVE_LENGTH),
        case("an UPDATE of 22 octets", HEADER, message(UPDATE, &[0; 3]), Reset(1, 2)),
        case("a NOTIFICATION of 20 octets", HEADER, message(NOTIFICATION, &[6]), Reset(1, 2)),
        case("a ROUTE-REFRESH of 22 octets", HEADER, message(REFRESH, &[0, 1, 0]), Reset(1, 2)),
        case("message type 0", HEADER, message(0, &[]), Reset(1, 3)),
        case("message type 6", HEADER, message(6, &[1, 2, 3]), Reset(1, 3)),
        case("message type 255", HEADER, message(255, &[]), Reset(1, 3)),
        Case::opening("an OPEN of 28 octets", HEADER, message(OPEN, &[4; 9]), Reset(1, 2)),
        Case::opening(
            "an OPEN of 4097 octets",
            "RFC 8654 section 4",
            lying(OPEN, 4097, &[4; 9]),
            Reset(1, 2),
        ),
        case("the longest UPDATE of all", "RFC 8654 section 3", padded(65535), Taken).on(Session::Extended),
        case("the longest UPDATE without the capability", HEADER, padded(4096), Taken),
        case("a long KEEPALIVE", "RFC 8654 section 4", message(KEEPALIVE, &[0; 4981]), Reset(1, 2))
            .bird_differs(Ignored, KEEPALIVE_LENGTH)
            .on(Session::Extended),
        case("half a header, and the end", HEADER, vec![0xff; 9], Closed).then_hangs_up(),
        case("half an UPDATE, and the end", HEADER, lying(UPDATE, 200, &[0; 50]), Closed).then_hangs_up(),
    ]
}

pub(crate) fn opens() -> Vec<Case> {
    const ERROR: &str = "RFC 4271 section 6.2";
    const CAPABILITIES: &str = "RFC 5492 section 3";
    let case = |name: &str, source: &'static str, open: Open, expected| {
        Case::opening(name, source, open.bytes(), expected)
    };
    let of = || Open::default();
    let listed = |more: Vec<u8>| {
        let list = [Session::External.capabilities(), more].concat();
        Open { parameters: parameter(2, &list), ..Open::default() }
    };
    let only = |list: Vec<u8>| Open { parameters: parameter(2, &list), ..Open::default() };
    let known = || Session::External.capabilities();
    let as4 = |asn: u32| only([&known()[..14], &capability(65, &asn.to_be_bytes())].concat());
    vec![
        case("version 3", ERROR, Open { version: 3, ..of() }, Reset(2, 1)),
        case("version 0", ERROR, Open { version: 0, ..of() }, Reset(2, 1)),
        case("another AS than the configured one", ERROR, as4(64599), Reset(2, 2)),
        case("AS 0", "RFC 7607", Open { asn: 0, ..of() }, Reset(2, 2))
            .bird_differs(Ignored, "BIRD goes by the capability alone"),
        case("AS 0 in the capability", "RFC 7607", as4(0), Reset(2, 2)),
        case("BGP identifier 0", "RFC 6286 section 2.2", Open { router_id: [0; 4], ..of() }, Reset(2, 3)),
        case("a hold time of 1", ERROR, Open { hold_time: 1, ..of() }, Reset(2, 6)),
        case("a hold time of 2", ERROR, Open { hold_time: 2, ..of() }, Reset(2, 6)),
        case(
            "an optional parameter that nobody knows",
            ERROR,
            Open { parameters: parameter(9, &[1]), ..of() },
            Reset(2, 4),
        ),
        case(
            "authentication, which was removed",
            ERROR,
            Open { parameters: parameter(1, &[0]), ..of() },
            Reset(2, 4),
        ),
        case("parameters longer than the message", ERROR, Open { length: Some(200), ..of() }, Reset(2, 0)),
        case("parameters shorter than the message", ERROR, Open { length: Some(3), ..of() }, Reset(2, 0)),
        case(
            "a parameter that runs past the list",
            ERROR,
            Open { parameters: vec![2, 9, 2, 0], ..of() },
            Reset(2, 0),
        ),
        case("a capability that runs past its parameter", ERROR, only(vec![65, 9, 0]), Reset(2, 0)),
        case("half a capability", ERROR, only(vec![65]), Reset(2, 0)),
        case("a multiprotocol capability of 3 octets", ERROR, only(capability(1, &[0, 1, 0])), Reset(2, 0)),
        case("an AS number capability of 2 octets", ERROR, only(capability(65, &[251, 245])), Reset(2, 0)),
        case("an empty AS number capability", ERROR, only(capability(65, &[])), Reset(2, 0)),
        case(
            "no family in common",
            CAPABILITIES,
            only([capability(1, &[0, 1, 0, 128]), known()[12..].to_vec()].concat()),
            Reset(2, 7),
        ),
        case("an unknown capability", CAPABILITIES, listed(capability(200, &[1, 2, 3])), Ignored),
        case("a capability twice", CAPABILITIES, listed(capability(2, &[])), Ignored),
        case(
            "an unknown family beside the known ones",
            CAPABILITIES,
            listed(capability(1, &[0x40, 4, 0, 71])),
            Ignored,
        ),
        case(
            "capabilities in a parameter each",
            CAPABILITIES,
            Open { parameters: each_its_own(&known()), ..of() },
            Ignored,
        ),
        case("parameters with lengths of two octets", "RFC 9072 section 2", extended(&known(), 0), Ignored),
        case(
            "such parameters that are longer than the message",
            "RFC 9072 section 2",
            extended(&known(), 40),
            Reset(2, 0),
        ),
        case(
            "our own BGP identifier within the AS",
            "RFC 6286 section 2.1",
            Open {
                asn: 64500,
                router_id: [10, 99, 1, 1],
                parameters: parameter(2, &Session::Internal.capabilities()),
                ..of()
            },
            Reset(2, 3),
        )
        .on(Session::Internal),
    ]
}

fn each_its_own(mut list: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [_, length, ..] = list {
        let (one, rest) = list.split_at(2 + usize::from(*length));
        out.extend(parameter(2, one));
        list = rest;
    }
    out
}

/// An OPEN with extended parameter lengths, that claims so many octets more than it has.
fn extended(capabilities: &[u8], more: u16) -> Open {
    let length = capabilities.len() as u16;
    let list = [&[2][..], &length.to_be_bytes(), capabilities].concat();
    let parameters = [&[255][..], &(list.len() as u16 + more).to_be_bytes(), &list].concat();
    Open { length: Some(255), parameters, ..Open::default() }
}

pub(crate) fn states() -> Vec<Case> {
    const TEXT: &str = "RFC 9003 section 2";
    let keepalive = message(KEEPALIVE, &[]);
    let refresh = message(REFRESH, &[0, 1, 0, 1]);
    let cease = |data: &[u8]| message(NOTIFICATION, &[&[6, 2], data].concat());
    let end_of_rib = update(&[], &[], &[]);
    vec![
        Case::opening("a KEEPALIVE before the OPEN", STATE, keepalive, Reset(5, 1)),
        Case::opening("an UPDATE before the OPEN", STATE, end_of_rib.clone(), Reset(5, 1)),
        Case::opening("a NOTIFICATION before the OPEN", "RFC 4271 section 8.2.2", cease(&[]), Closed),
        Case::opening("a ROUTE-REFRESH before the OPEN", STATE, refresh.clone(), Reset(5, 1)),
        Case::confirming("an UPDATE before the KEEPALIVE", STATE, end_of_rib, Reset(5, 2))
            .bird_differs(Withdraw, "BIRD takes it for the KEEPALIVE that is missing"),
        Case::confirming("a ROUTE-REFRESH before the KEEPALIVE", STATE, refresh, Reset(5, 2)),
        Case::confirming("a second OPEN before the KEEPALIVE", STATE, Open::default().bytes(), Reset(5, 2)),
        Case::confirming(
            "a NOTIFICATION instead of the KEEPALIVE",
            "RFC 4271 section 8.2.2",
            cease(&[]),
            Closed,
        ),
        Case::established("a second OPEN", STATE, Open::default().bytes(), Reset(5, 3)),
        Case::established(
            "a NOTIFICATION that nobody knows",
            "RFC 4271 section 6.4",
            message(NOTIFICATION, &[99, 99, 1]),
            Closed,
        ),
        Case::established("a shutdown text that is cut off", TEXT, cease(&[200, b'x']), Closed),
        Case::established("a shutdown text that is not UTF-8", TEXT, cease(&[2, 0xff, 0xfe]), Closed),
        Case::established(
            "a refresh of an unknown family",
            "RFC 2918 section 4",
            message(REFRESH, &[0x40, 4, 0, 71]),
            Ignored,
        ),
        Case::established(
            "a refresh of a family that was not negotiated",
            "RFC 2918 section 4",
            message(REFRESH, &[0, 2, 0, 1]),
            Ignored,
        )
        .on(Session::OnlyIpv4),
        Case::established(
            "a refresh of an unknown subtype",
            "RFC 7313 section 5",
            message(REFRESH, &[0, 1, 77, 1]),
            Ignored,
        ),
        Case::established(
            "the end of a refresh that has not begun",
            "RFC 7313 section 4.2",
            message(REFRESH, &[0, 1, 2, 1]),
            Ignored,
        ),
    ]
}
