//! What only sessions with certain capabilities know: path identifiers, marked refreshes, roles, long messages.

use crate::case::{Case, Reaction};
use crate::craft::{
    AFTER, EXTERNAL_ASN, NEXT_HOP6, OPEN, OPTIONAL, Open, PATH_ID, REFRESH, Session, TARGET, TARGET6,
    TRANSITIVE, WELL_KNOWN, attr, capability, lying, message, mp_reach, parameter, update,
};
use crate::headers::padded;
use crate::updates::{NETWORK, OPTIONAL_ERROR};
use Reaction::{Ignored, Reset, Taken, Withdraw};

/// An OPEN with these capabilities beside those of an external session.
fn open(more: &[u8]) -> Vec<u8> {
    let list = [Session::External.capabilities(), more.to_vec()].concat();
    Open { parameters: parameter(2, &list), ..Open::default() }.bytes()
}

pub(crate) fn add_path() -> Vec<Case> {
    const NLRI: &str = "RFC 7911 section 3, RFC 7606 section 5.3";
    const CAPABILITY: &str = "RFC 7911 section 4";
    let session = Session::AddPath;
    let case = |name: &str, withdrawn: &[u8], nlri: &[u8], expected| {
        let block = if nlri.is_empty() { Vec::new() } else { session.mandatory(AFTER) };
        Case::established(name, NLRI, update(withdrawn, &block, nlri), expected).on(session)
    };
    let reach = |name: &str, nlri: &[u8], expected| {
        let block = [attr(OPTIONAL, 14, &mp_reach(&NEXT_HOP6, nlri)), session.mandatory(AFTER)].concat();
        Case::established(name, NLRI, update(&[], &block, &[]), expected).on(session).judged_by_ipv6()
    };
    let of = |id: &[u8], prefix: &[u8]| [id, prefix].concat();
    let whole = of(&PATH_ID, &TARGET);
    let whole6 = of(&PATH_ID, &TARGET6);
    vec![
        case("a prefix with its path identifier", &[], &whole, Taken),
        reach("an IPv6 prefix with its path identifier", &whole6, Taken),
        case("half a path identifier", &[], &of(&whole, &[0, 0]), Reset(3, 10))
            .bird_differs(Reset(3, 1), NETWORK),
        case("a path identifier and nothing", &[], &of(&whole, &PATH_ID), Reset(3, 10))
            .bird_differs(Reset(3, 1), NETWORK),
        case(
            "a prefix that is cut off behind its identifier",
            &[],
            &of(&PATH_ID, &TARGET[..3]),
            Reset(3, 10),
        )
        .bird_differs(Reset(3, 1), NETWORK),
        case(
            "a prefix of 33 bits behind an identifier",
            &[],
            &of(&PATH_ID, &[33, 1, 2, 3, 4, 5]),
            Reset(3, 10),
        ),
        case("a prefix without the identifier", &[], &TARGET, Reset(3, 10))
            .bird_differs(Reset(3, 1), NETWORK),
        case("half a path identifier withdrawn", &of(&whole, &[0, 0, 0]), &[], Reset(3, 10))
            .bird_differs(Reset(3, 1), NETWORK),
        case("an identifier withdrawn that there is not", &of(&[0, 0, 0, 9], &TARGET), &[], Ignored),
        case("a path withdrawn by its identifier", &whole, &[], Withdraw),
        reach("half a path identifier in MP_REACH_NLRI", &of(&whole6, &[0, 0]), Reset(3, 9))
            .bird_differs(Reset(3, 1), OPTIONAL_ERROR),
        reach("an IPv6 prefix of 129 bits behind an identifier", &of(&PATH_ID, &[129; 18]), Reset(3, 9))
            .bird_differs(Reset(3, 10), OPTIONAL_ERROR),
        Case::opening(
            "an add-path capability of 3 octets",
            CAPABILITY,
            open(&capability(69, &[0, 1, 1])),
            Ignored,
        )
        .bird_differs(Reset(2, 0), "RFC 7911 has what is not understood ignored"),
        Case::opening(
            "an add-path capability with direction 7",
            CAPABILITY,
            open(&capability(69, &[0, 1, 1, 7])),
            Ignored,
        ),
        Case::opening(
            "an add-path capability of an unknown family",
            CAPABILITY,
            open(&capability(69, &[0x40, 4, 71, 3])),
            Ignored,
        ),
    ]
}

pub(crate) fn refreshes() -> Vec<Case> {
    const LENGTH: &str = "RFC 7313 section 5";
    const MARKS: &str = "RFC 7313 section 4";
    let case = |name: &str, source: &'static str, body: &[u8], expected| {
        Case::established(name, source, message(REFRESH, body), expected).on(Session::Refreshing)
    };
    vec![
        case("the beginning of a refresh with 5 octets", LENGTH, &[0, 1, 1, 1, 0], Reset(7, 1)),
        case("the end of a refresh with 5 octets", LENGTH, &[0, 1, 2, 1, 0], Reset(7, 1)),
        case("a request of a subtype that nobody knows", LENGTH, &[0, 1, 3, 1], Ignored),
        case("a request of subtype 255", LENGTH, &[0, 1, 255, 1], Ignored),
        case("the beginning of a refresh", MARKS, &[0, 1, 1, 1], Ignored),
        case("the beginning of a refresh of an unknown family", MARKS, &[0x40, 4, 1, 71], Ignored),
        case("the end of a refresh without a beginning", MARKS, &[0, 1, 2, 1], Ignored),
        Case::opening(
            "an enhanced refresh capability of 1 octet",
            "RFC 5492 section 4",
            open(&capability(70, &[0])),
            Reset(2, 0),
        ),
    ]
}

pub(crate) fn roles() -> Vec<Case> {
    const ROLES: &str = "RFC 9234 section 4.2";
    const ONLY: &str = "RFC 9234 section 5";
    let opening = |name: &str, more: &[u8], expected| {
        Case::opening(name, ROLES, open(more), expected).on(Session::Customer)
    };
    let role = |role: u8| capability(9, &[role]);
    let otc = |value: &[u8]| attr(TRANSITIVE, 35, value);
    let own = EXTERNAL_ASN.to_be_bytes();
    let beside =
        |name: &str, more: &[u8], expected| Case::beside_on(Session::Customer, name, ONLY, more, expected);
    vec![
        opening("two providers", &role(0), Reset(2, 11)),
        opening("a provider and a route server", &role(1), Reset(2, 11)),
        opening("a provider and a peer", &role(4), Reset(2, 11)),
        opening("a role that nobody knows", &role(9), Reset(2, 11)),
        opening("no role, where there must be one", &[], Reset(2, 11)),
        opening("two roles", &[role(3), role(4)].concat(), Reset(2, 11)),
        opening("the same role twice", &[role(3), role(3)].concat(), Ignored),
        opening("a role of 2 octets", &capability(9, &[3, 3]), Reset(2, 0)),
        opening("a role of no octets", &capability(9, &[]), Reset(2, 0)),
        beside("OTC of no octets", &otc(&[]), Withdraw),
        beside("OTC of 8 octets", &otc(&[own, own].concat()), Withdraw),
        beside("OTC that is well-known by its flags", &attr(WELL_KNOWN, 35, &own), Withdraw),
        beside("OTC that is not transitive", &attr(OPTIONAL, 35, &own), Withdraw),
        beside("OTC from a customer: a leak, which is held and not used", &otc(&own), Taken)
            .bird_differs(Withdraw, "BIRD holds no route that it refuses, unless told to"),
    ]
}

pub(crate) fn long_messages() -> Vec<Case> {
    const LONG: &str = "RFC 8654 section 4";
    let case = |name: &str, bytes: Vec<u8>, expected| {
        Case::established(name, LONG, bytes, expected).on(Session::Extended)
    };
    vec![
        case("an UPDATE of 4097 octets with the capability", padded(4097), Taken),
        case("a second OPEN of 4097 octets", message(OPEN, &[4; 4078]), Reset(1, 2))
            .bird_differs(Reset(5, 3), "BIRD looks at the state first"),
        case("a length of 18 with the capability", lying(2, 18, &[]), Reset(1, 2)),
        case("a ROUTE-REFRESH of 22 octets with the capability", message(REFRESH, &[0, 1, 0]), Reset(1, 2)),
    ]
}
