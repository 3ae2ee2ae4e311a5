//! Our own graceful restart: what OPENs say of it, and how a session is left for it (RFC 4724 sections 3 and 4.1).

use std::time::Instant;

use bgp::session::{ConnId, GracefulHelper, Output, OwnRestart, Session, SessionConfig, StopReason};
use bgp::types::{Family, FamilySet, HoldTime};
use bgp::wire::{Capability, GracefulRestart, Message, Notification, Open};

use crate::messages::{PEER_ASN, brief, config, drain, id, secs, sent};

const V4: Family = Family::Ipv4Unicast;

/// Two minutes, with nothing kept of an earlier run.
const FIRST: OwnRestart = OwnRestart { restart_time: 120, forwarding: FamilySet::EMPTY, restarting: false };
/// A peer that helps, without routes of its own to be kept.
const AWARE: GracefulRestart = GracefulRestart {
    restarting: false,
    notification: false,
    restart_time: 0,
    families: FamilySet::EMPTY,
    forwarding: FamilySet::EMPTY,
};

fn own(own: OwnRestart) -> SessionConfig {
    SessionConfig {
        graceful_restart: Some(GracefulHelper::default()),
        own_restart: Some(own),
        passive: true,
        ..config()
    }
}

fn start(config: SessionConfig) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(config, now);
    session.start(now);
    (session, now)
}

/// The peer connects; what our OPEN says of graceful restart.
fn offered(session: &mut Session, now: Instant) -> (ConnId, GracefulRestart) {
    let conn = session.accept(now);
    let outputs = drain(session);
    let offer = outputs.iter().find_map(|output| match output {
        Output::Send(_, bytes) => match sent(bytes) {
            Message::Open(open) => open.capabilities.iter().find_map(|capability| match capability {
                Capability::GracefulRestart(offer) => Some(*offer),
                _ => None,
            }),
            _ => None,
        },
        _ => None,
    });
    (conn, offer.expect("an OPEN that offers graceful restart"))
}

/// The peer says its OPEN, with or without graceful restart, of both families.
fn establish(session: &mut Session, now: Instant, conn: ConnId, offer: Option<GracefulRestart>) {
    let mut capabilities: Vec<_> = Family::ALL.map(Capability::MultiProtocol).into();
    capabilities.push(Capability::FourOctetAsn(PEER_ASN));
    capabilities.extend(offer.map(Capability::GracefulRestart));
    let open = Open::new(PEER_ASN, HoldTime::new(90).expect("a valid hold time"), id(2), capabilities);
    session.handle_message(now, conn, &Message::Open(open));
    session.handle_message(now, conn, &Message::Keepalive);
    assert!(session.is_established_on(conn));
    drain(session);
}

/// What a session does that is left for a restart.
fn left(config: SessionConfig, offer: Option<GracefulRestart>) -> String {
    let (mut session, now) = start(config);
    let (conn, _) = offered(&mut session, now);
    establish(&mut session, now, conn, offer);
    session.stop(now, &StopReason::Restart);
    assert!(session.is_stopped() && session.poll_timeout().is_none());
    brief(&drain(&mut session))
}

#[test]
fn a_first_start_offers_its_families_and_has_kept_nothing() {
    let (mut session, now) = start(own(FIRST));
    let (_, offer) = offered(&mut session, now);
    let expected =
        GracefulRestart { notification: true, restart_time: 120, families: FamilySet::ALL, ..AWARE };
    assert_eq!(offer, expected);
    // A helper alone has nothing to be kept.
    let (mut session, now) = start(SessionConfig { own_restart: None, ..own(FIRST) });
    assert_eq!(offered(&mut session, now).1, GracefulRestart { notification: true, ..AWARE });
}

#[test]
fn a_restart_says_so_until_it_is_over_and_that_it_has_forwarded_also_afterwards() {
    let kept = OwnRestart { forwarding: V4.into(), restarting: true, ..FIRST };
    let (mut session, now) = start(own(kept));
    let (conn, offer) = offered(&mut session, now);
    assert!(offer.restarting);
    assert_eq!((offer.families, offer.forwarding), (FamilySet::ALL, V4.into()));
    session.tcp_closed(now, conn, "closed");
    session.restart_over();
    let (_, offer) = offered(&mut session, now);
    assert!(!offer.restarting);
    assert_eq!(offer.forwarding, V4.into());
    // Only families that we exchange are named.
    let config = SessionConfig { families: Family::Ipv6Unicast.into(), ..own(kept) };
    let (mut session, now) = start(config);
    let (_, offer) = offered(&mut session, now);
    assert_eq!((offer.families, offer.forwarding), (Family::Ipv6Unicast.into(), FamilySet::EMPTY));
}

#[test]
fn whoever_loses_a_session_and_not_its_forwarding_says_so() {
    let (mut session, now) = start(own(FIRST));
    let (conn, _) = offered(&mut session, now);
    establish(&mut session, now, conn, Some(AWARE));
    session.tcp_closed(now, conn, "closed");
    drain(&mut session);
    let later = now + secs(1);
    // Also under a configuration that was made anew.
    session.reconfigure(later, own(FIRST));
    let (_, offer) = offered(&mut session, later);
    assert!(!offer.restarting);
    assert_eq!(offer.forwarding, FamilySet::ALL);
}

#[test]
fn a_peer_that_keeps_our_routes_is_left_without_a_word() {
    assert_eq!(left(own(FIRST), Some(AWARE)), "close, down");
    // RFC 8538 would let a NOTIFICATION pass, and a closed connection as well.
    assert_eq!(left(own(FIRST), Some(GracefulRestart { notification: true, ..AWARE })), "close, down");
}

#[test]
fn a_peer_that_does_not_keep_them_hears_that_we_go() {
    assert_eq!(left(own(FIRST), None), "notify 6/2, close, down");
    let helper = SessionConfig { own_restart: None, ..own(FIRST) };
    assert_eq!(left(helper, Some(AWARE)), "notify 6/2, close, down");
    let (mut session, now) = start(own(FIRST));
    let (conn, _) = offered(&mut session, now);
    establish(&mut session, now, conn, Some(AWARE));
    session.stop(now, &StopReason::Shutdown(String::new()));
    let outputs = drain(&mut session);
    assert_eq!(brief(&outputs), "notify 6/2, close, down", "who goes for good says so");
    let Some(Output::Send(_, bytes)) = outputs.first() else { panic!("{outputs:?}") };
    assert_eq!(sent(bytes), Message::Notification(Notification::administrative_shutdown("")));
}

#[test]
fn whoever_connects_while_we_leave_hears_nothing() {
    let (mut session, now) = start(own(FIRST));
    // It may keep routes of a session before, which a NOTIFICATION would be the end of.
    let (conn, _) = offered(&mut session, now);
    session.stop(now, &StopReason::Restart);
    assert_eq!(brief(&drain(&mut session)), "close");
    session.tcp_closed(now, conn, "closed");
    session.accept(now);
    assert_eq!(brief(&drain(&mut session)), "close");
    session.start(now);
    session.stop(now, &StopReason::Shutdown(String::new()));
    session.accept(now);
    assert_eq!(brief(&drain(&mut session)), "notify 6/2, close");
}

#[test]
fn the_peers_routes_stay_when_we_leave() {
    let offer = GracefulRestart { restart_time: 60, families: FamilySet::ALL, ..AWARE };
    let (mut session, now) = start(own(FIRST));
    let (conn, _) = offered(&mut session, now);
    establish(&mut session, now, conn, Some(offer));
    session.tcp_closed(now, conn, "closed");
    drain(&mut session);
    session.stop(now, &StopReason::Restart);
    assert_eq!(brief(&drain(&mut session)), "");
    assert!(session.stale(V4).is_some());
}

#[test]
fn a_peer_that_restarts_itself_is_known_by_its_open() {
    for restarting in [false, true] {
        let (mut session, now) = start(own(FIRST));
        let (conn, _) = offered(&mut session, now);
        establish(&mut session, now, conn, Some(GracefulRestart { restarting, ..AWARE }));
        let (_, negotiated) = session.established().expect("a session");
        assert_eq!(negotiated.restart.restarting, restarting);
    }
}

#[test]
fn a_peer_that_connects_first_after_a_restart_is_not_called() {
    let now = Instant::now();
    let start = || {
        let mut session = Session::new(SessionConfig { passive: false, ..own(FIRST) }, now);
        session.start_after(now, secs(1));
        assert_eq!(brief(&drain(&mut session)), "");
        session
    };
    let mut session = start();
    let at = session.poll_timeout().expect("it is going to connect");
    assert!((now + secs(1) * 3 / 4..=now + secs(1)).contains(&at));
    session.handle_timeout(at);
    assert_eq!(brief(&drain(&mut session)), "connect");
    let mut session = start();
    let (conn, _) = offered(&mut session, now);
    establish(&mut session, now, conn, Some(AWARE));
    session.handle_timeout(at);
    assert_eq!(brief(&drain(&mut session)), "");
}
