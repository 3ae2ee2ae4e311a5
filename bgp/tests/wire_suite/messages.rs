//! Messages other than UPDATE: RFC 4271 sections 4 and 6, and captured octets.

use bgp::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use bgp::wire::notification::codes;
use bgp::wire::{
    AddPath, Capability, DecodeContext, Fqdn, HEADER_LEN, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, Message,
    Notification, Open, ProtocolError, RouteRefresh, decode, encode_keepalive, frame_len,
};
use bytes::BytesMut;

use crate::support::*;

fn error(frame: &[u8]) -> (u8, u8, Vec<u8>) {
    let error = decode(frame, &EBGP).expect_err("an error");
    let ProtocolError { code, subcode, data, .. } = error.clone();
    assert_eq!(error.notification(), Notification { code, subcode, data: data.clone() });
    (code, subcode, data)
}

fn open_body(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![version];
    body.extend(asn.to_be_bytes());
    body.extend(hold.to_be_bytes());
    body.extend(id);
    body.extend_from_slice(parameters);
    message(1, &body)
}

fn open_with(parameters: &[u8]) -> Vec<u8> {
    open_body(4, 65001, 90, [192, 0, 2, 1], parameters)
}

fn decode_open(frame: &[u8]) -> Open {
    match decode(frame, &EBGP) {
        Ok(Message::Open(open)) => open,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_is_measured_before_it_is_whole() {
    let keepalive = message(4, &[]);
    for length in 0..HEADER_LEN {
        assert_eq!(frame_len(&keepalive[..length], MAX_MESSAGE), Ok(None));
    }
    assert_eq!(frame_len(&keepalive, MAX_MESSAGE), Ok(Some(19)));
    let update = update(&[], &[], &[]);
    assert_eq!(frame_len(&update[..19], MAX_MESSAGE), Ok(Some(23)));
}

#[test]
fn header_errors_are_those_of_rfc_4271_section_6_1() {
    let mut marker = message(4, &[]);
    marker[7] = 0xfe;
    assert_eq!(error(&marker), (1, 1, vec![]));
    assert_eq!(error(&message(9, &[])), (1, 3, vec![9]));
    assert_eq!(error(&message(0, &[])), (1, 3, vec![0]));
    for (kind, body) in [(1, 9), (2, 3), (3, 1), (4, 1), (5, 3)] {
        let length = 19 + body as u8;
        assert_eq!(error(&message(kind, &vec![0; body])), (1, 2, vec![0, length]), "type {kind}");
    }
    let mut short = message(4, &[]);
    short[17] = 18;
    assert_eq!(error(&short), (1, 2, vec![0, 18]));
    assert_eq!(error(&message(2, &vec![0; 4078])), (1, 2, vec![0x10, 0x01]));
    assert_eq!(error(&message(4, &[])[..18]).1, 2, "cut off");
}

#[test]
fn extended_messages_may_be_long_but_not_opens_and_keepalives() {
    let extended = DecodeContext { extended: true, ..EBGP };
    let long = update(&[], &attr_of(60_000), &[]);
    assert_eq!(frame_len(&long, MAX_EXTENDED_MESSAGE), Ok(Some(long.len())));
    assert!(decode(&long, &extended).is_ok());
    assert_eq!(error(&long).1, codes::header::BAD_LENGTH);
    let open = message(1, &vec![0; 5000]);
    assert_eq!(decode(&open, &extended).unwrap_err().subcode, codes::header::BAD_LENGTH);
}

fn attr_of(length: u16) -> Vec<u8> {
    let mut out = vec![0xd0, 99];
    out.extend(length.to_be_bytes());
    out.extend(vec![7; usize::from(length)]);
    out
}

#[test]
fn open_errors_are_those_of_rfc_4271_section_6_2() {
    let id = [192, 0, 2, 1];
    assert_eq!(error(&open_body(3, 1, 90, id, &[0])), (2, 1, vec![0, 4]));
    assert_eq!(error(&open_body(5, 1, 90, id, &[0])), (2, 1, vec![0, 4]));
    assert_eq!(error(&open_body(4, 0, 90, id, &[0])), (2, 2, vec![]));
    assert_eq!(error(&open_body(4, 1, 90, [0; 4], &[0])), (2, 3, vec![]));
    for hold in [1, 2] {
        assert_eq!(error(&open_body(4, 1, hold, id, &[0])), (2, 6, vec![]));
    }
    assert!(decode(&open_body(4, 1, 0, id, &[0]), &EBGP).is_ok());
    // Authentication, as RFC 1771 had it, and an unknown parameter.
    assert_eq!(error(&open_with(&[3, 1, 1, 0])), (2, 4, vec![]));
    assert_eq!(error(&open_with(&[2, 77, 0])), (2, 4, vec![]));
    // AS 0 in the capability (RFC 7607).
    assert_eq!(error(&open_with(&[8, 2, 6, 65, 4, 0, 0, 0, 0])), (2, 2, vec![]));
}

#[test]
fn optional_parameters_that_do_not_add_up_are_malformed() {
    for parameters in [
        &[1][..],
        &[0, 2, 0],
        &[4, 2, 6, 1, 4],
        &[4, 2, 2, 1, 4],
        &[3, 2, 1, 1],
        &[7, 2, 5, 1, 3, 0, 1, 1],
        &[5, 2, 3, 2, 1, 0],
        &[9, 2, 7, 1, 5, 0, 1, 0, 1, 0],
        &[9, 2, 7, 65, 5, 0, 0, 0, 1, 0],
        &[255, 255, 0, 9, 2, 0, 6, 65],
        &[255, 255, 0],
    ] {
        assert_eq!(error(&open_with(parameters)), (2, 0, vec![]), "{parameters:?}");
    }
}

/// An OPEN of a `GoBGP` speaker, as captured; from `NetGauze`'s collection.
#[test]
fn a_captured_open_is_read() {
    let frame = hex("ffffffffffffffffffffffffffffffff00350104fc0000b4c0a8ff0e1802060104000200010202 \
                     800002020200020641040000fc00");
    let open = decode_open(&frame);
    assert_eq!(open.asn, Asn(64512));
    assert_eq!(open.hold_time, HoldTime::new(180).unwrap());
    assert_eq!(open.router_id.to_string(), "192.168.255.14");
    assert_eq!(open.families(), Family::Ipv6Unicast.into());
    let names: Vec<String> = open.capabilities.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ipv6-unicast", "route-refresh-cisco", "route-refresh", "four-octet-as"]);
}

#[test]
fn what_a_speaker_says_of_itself_is_read_and_shown_escaped() {
    let said = [
        Capability::Fqdn(Fqdn::new("r1.example.net")),
        Capability::Fqdn(Fqdn::new("r2")),
        Capability::SoftwareVersion("Peregrine/0.1.0".to_owned()),
        Capability::SoftwareVersion("\u{e9}".repeat(40)),
    ];
    let router_id = RouterId([192, 0, 2, 1].into());
    let mut frame = BytesMut::new();
    Open::new(Asn(65001), HoldTime::DEFAULT, router_id, said.to_vec()).encode(&mut frame);
    let names: Vec<String> = decode_open(&frame).capabilities.iter().map(ToString::to_string).collect();
    let cut = format!("software-version \"{}\"", "\u{e9}".repeat(32));
    assert_eq!(names, ["fqdn r1.example.net", "fqdn r2", "software-version \"Peregrine/0.1.0\"", &cut]);

    // A text that overruns, one that is not UTF-8, octets left over, one to be escaped; an unknown one.
    let capabilities = [
        &[73, 2, 5, b'a'][..],
        &[75, 2, 1, 0xff],
        &[75, 3, 1, b'a', 0],
        &[73, 4, 1, 0x1b, 1, b'd'],
        &[200, 2, 0xca, 0xfe],
    ]
    .concat();
    let length = capabilities.len() as u8;
    let open = decode_open(&open_with(&[&[length + 2, 2, length][..], &capabilities].concat()));
    let names: Vec<String> = open.capabilities.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "fqdn 0x0561",
            "software-version 0x01ff",
            "software-version 0x016100",
            "fqdn \\u{1b}.d",
            "capability-200 0xcafe"
        ]
    );
}

#[test]
fn without_a_multiprotocol_capability_the_family_is_ipv4() {
    assert_eq!(decode_open(&open_with(&[0])).families(), Family::Ipv4Unicast.into());
    let vpn_only = decode_open(&open_with(&[8, 2, 6, 1, 4, 0, 1, 0, 128]));
    assert_eq!(vpn_only.families(), FamilySet::EMPTY);
    assert_eq!(vpn_only.capabilities, [Capability::MultiProtocolOther { afi: 1, safi: 128 }]);
}

#[test]
fn rfc_9072_extended_optional_parameters_are_read() {
    for non_extended_len in [1, 255] {
        let parameters = [non_extended_len, 255, 0, 9, 2, 0, 6, 65, 4, 0, 1, 0x11, 0x70];
        let open = decode_open(&open_with(&parameters));
        assert_eq!(open.four_octet_asn(), Asn(70_000));
    }
}

#[test]
fn an_open_comes_back_as_it_was_written_however_many_capabilities() {
    // One octet of length holds 253 octets of capabilities: here 28, and 2 and `size` for each other.
    for (count, size) in [(0, 0), (1, 222), (1, 223), (1, 224), (1, 225), (1, 226), (3, 255), (1000, 1)] {
        let mut capabilities = vec![
            Capability::MultiProtocol(Family::Ipv4Unicast),
            Capability::MultiProtocol(Family::Ipv6Unicast),
            Capability::RouteRefresh,
            Capability::ExtendedMessage,
            Capability::GracefulRestart(bgp::wire::GracefulRestart {
                notification: true,
                restart_time: 120,
                ..Default::default()
            }),
            Capability::FourOctetAsn(Asn(70_000)),
            Capability::AddPath(vec![
                AddPath::new(Family::Ipv4Unicast, true, true),
                AddPath { afi: 25, safi: 70, receive: false, send: true },
            ]),
            Capability::EnhancedRouteRefresh,
        ];
        let other = Capability::Unknown { code: 73, data: vec![1; size] };
        capabilities.resize(capabilities.len() + count, other);
        let id = "192.0.2.1".parse().unwrap();
        let open = Open::new(Asn(70_000), HoldTime::DEFAULT, bgp::types::RouterId(id), capabilities);
        assert_eq!((open.asn, open.four_octet_asn()), (Asn::TRANS, Asn(70_000)));
        let mut out = BytesMut::new();
        open.encode(&mut out);
        assert_eq!(decode_open(&out), open);
    }
}

/// Section 4: with a wrong length or an unknown mode the capability is not understood, and ignored.
#[test]
fn rfc_7911_an_add_path_capability_that_makes_no_sense_is_no_error() {
    let capability = |value: &[u8]| {
        let length = value.len() as u8;
        let mut parameters = vec![length + 4, 2, length + 2, 69, length];
        parameters.extend(value);
        let open = decode_open(&open_with(&parameters));
        open.capabilities[0].clone()
    };
    let understood = Capability::AddPath(vec![
        AddPath::new(Family::Ipv4Unicast, true, false),
        AddPath::new(Family::Ipv6Unicast, false, true),
    ]);
    assert_eq!(capability(&[0, 1, 1, 1, 0, 2, 1, 2]), understood);
    for value in [&[0, 1, 1][..], &[0, 1, 1, 3, 0], &[0, 1, 1, 0], &[0, 1, 1, 3, 0, 2, 1, 4]] {
        assert_eq!(capability(value), Capability::Unknown { code: 69, data: value.to_vec() });
    }
}

#[test]
fn an_open_is_written_octet_by_octet_as_expected() {
    let id = bgp::types::RouterId("10.0.0.3".parse().unwrap());
    let capabilities = vec![
        Capability::MultiProtocol(Family::Ipv4Unicast),
        Capability::RouteRefresh,
        Capability::FourOctetAsn(Asn(65_001)),
    ];
    let mut out = BytesMut::new();
    Open::new(Asn(65_001), HoldTime::DEFAULT, id, capabilities).encode(&mut out);
    assert_eq!(
        out[..],
        hex("ffffffffffffffffffffffffffffffff 002d 01 04 fde9 005a 0a000003 10 020e \
             010400010001 0200 41040000fde9")
    );
}

#[test]
fn keepalive_notification_and_refresh_are_written_and_read() {
    let mut out = BytesMut::new();
    encode_keepalive(&mut out);
    assert_eq!(out[..], hex("ffffffffffffffffffffffffffffffff001304"));
    assert_eq!(decode(&out, &EBGP), Ok(Message::Keepalive));

    let refresh = RouteRefresh::new(Family::Ipv6Unicast, RouteRefresh::BEGIN);
    let mut out = BytesMut::new();
    refresh.encode(&mut out);
    assert_eq!(out[..], hex("ffffffffffffffffffffffffffffffff00170500020101"));
    assert_eq!(decode(&out, &EBGP), Ok(Message::RouteRefresh(refresh)));

    let notification = Notification::administrative_shutdown("bye");
    let mut out = BytesMut::new();
    notification.encode(&mut out);
    assert_eq!(out[..], hex("ffffffffffffffffffffffffffffffff0019 03 06 02 03 627965"));
    assert_eq!(decode(&out, &EBGP), Ok(Message::Notification(notification)));

    let mut out = BytesMut::new();
    Notification { code: 3, subcode: 9, data: vec![0; 60_000] }.encode(&mut out);
    assert_eq!(out.len(), MAX_MESSAGE);
}

#[test]
fn rfc_7313_a_marked_refresh_of_another_length_is_an_error_of_its_own() {
    let frame = message(5, &[0, 1, 1, 1, 0]);
    assert_eq!(error(&frame), (7, 1, frame.clone()));
    // A request may have filters behind it, and unknown subtypes are for the session to ignore.
    for subtype in [0, 3, 255] {
        assert!(decode(&message(5, &[0, 1, subtype, 1, 0]), &EBGP).is_ok());
    }
}
