//! Configurations and messages that the tests share.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::session::{ConnId, Output, Session, SessionConfig};
use bgp::types::{Asn, Family, HoldTime, RouterId};
use bgp::wire::{
    Capability, DecodeContext, Message, Notification, Open, RouteRefresh, decode, encode_end_of_rib,
};
use bytes::BytesMut;

pub(crate) const OUR_ASN: Asn = Asn(65_001);
pub(crate) const PEER_ASN: Asn = Asn(65_002);

pub(crate) fn id(last: u8) -> RouterId {
    RouterId(Ipv4Addr::new(10, 0, 0, last))
}

/// Our side of an eBGP session, router id 10.0.0.1.
pub(crate) fn config() -> SessionConfig {
    SessionConfig::new(OUR_ASN, PEER_ASN, id(1), 1)
}

/// The OPEN of the peer that [`config`] expects, with everything announced.
pub(crate) fn peer_open(router_id: RouterId, hold: u16) -> Message<'static> {
    let capabilities = vec![
        Capability::MultiProtocol(Family::Ipv4Unicast),
        Capability::MultiProtocol(Family::Ipv6Unicast),
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::ExtendedMessage,
        Capability::FourOctetAsn(PEER_ASN),
    ];
    Message::Open(Open::new(
        PEER_ASN,
        HoldTime::new(hold).expect("a valid hold time"),
        router_id,
        capabilities,
    ))
}

pub(crate) fn notification(code: u8, subcode: u8) -> Message<'static> {
    Message::Notification(Notification::new(code, subcode))
}

pub(crate) fn refresh(family: Family) -> Message<'static> {
    Message::RouteRefresh(RouteRefresh::new(family, RouteRefresh::REQUEST))
}

/// Calls `f` with an UPDATE, which borrows its bytes.
pub(crate) fn with_update<R>(f: impl FnOnce(&Message<'_>) -> R) -> R {
    let mut bytes = BytesMut::new();
    encode_end_of_rib(&mut bytes, Family::Ipv4Unicast);
    f(&decode(&bytes, &DecodeContext::default()).expect("an End-of-RIB"))
}

pub(crate) fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

/// What a `Send` holds.
pub(crate) fn sent(bytes: &[u8]) -> Message<'_> {
    decode(bytes, &DecodeContext::default()).expect("a session sends whole messages")
}

/// The outputs in short: `connect`, `open`, `keepalive`, `notify 6/2`, `close`, `up`, `down`, ...
pub(crate) fn brief(outputs: &[Output]) -> String {
    let words = outputs.iter().filter_map(|output| {
        Some(match output {
            Output::Connect(_) => "connect".to_owned(),
            Output::Close(_) => "close".to_owned(),
            Output::Up(..) => "up".to_owned(),
            Output::Down(..) => "down".to_owned(),
            Output::RouteRefresh(family) => format!("refresh {family}"),
            Output::Stale(routes) => format!("{routes:?}"),
            Output::StateChanged { .. } => return None,
            Output::Send(_, bytes) => match sent(bytes) {
                Message::Notification(message) => {
                    format!("notify {}/{}", message.code, message.subcode)
                }
                message => message.name().to_lowercase(),
            },
        })
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The connection that the outputs ask for.
pub(crate) fn dialed(outputs: &[Output]) -> ConnId {
    outputs
        .iter()
        .find_map(|output| match output {
            Output::Connect(conn) => Some(*conn),
            _ => None,
        })
        .expect("an attempt to connect")
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
