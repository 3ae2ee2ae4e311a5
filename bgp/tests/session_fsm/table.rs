//! RFC 4271 section 8.2.2 as a table: state, event, next state, actions.
//!
//! Options in force: automatic start, `DampPeerOscillations`, collision detection, no `DelayOpen`. Rows
//! that leave the RFC's letter are marked; the reasons are in the heads of the code.

use std::time::Instant;

use bgp::session::State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
use bgp::session::{ConnId, Session, State, StopReason};
use bgp::types::Family;
use bgp::wire::{Message, ProtocolError};

use crate::messages::{
    brief, config, dialed, drain, id, notification, peer_open, refresh, secs, with_update,
};

#[derive(Clone, Copy, Debug)]
enum Event {
    /// 1, `ManualStart`.
    Start,
    /// 2, `ManualStop`.
    Stop,
    /// 8, `AutomaticStop`.
    Reset,
    /// 9, 10, 11 and 13: the timer that is due first.
    Timer,
    /// 10, with the keepalive timer due as well.
    HoldTimer,
    /// 16.
    Connected,
    /// 17: the peer's connection.
    Accepted,
    /// 18.
    Closed,
    /// 19.
    Open,
    /// 22.
    OpenWrongAs,
    /// 21 and 28.
    Malformed,
    /// 24.
    NotificationVersion,
    /// 25.
    Notification,
    /// 26.
    Keepalive,
    /// 27.
    Update,
    /// RFC 2918.
    Refresh,
}

use Event::{
    Accepted, Closed, Connected, HoldTimer, Keepalive, Malformed, Notification, NotificationVersion, Open,
    OpenWrongAs, Refresh, Reset, Start, Stop, Timer, Update,
};

const TABLE: &[(State, Event, State, &str)] = &[
    (Idle, Start, Connect, "connect"),
    (Idle, Stop, Idle, ""),
    (Idle, Reset, Idle, ""),
    (Idle, Accepted, Idle, "notify 6/5, close"),
    (Connect, Start, Connect, ""),
    (Connect, Stop, Idle, "close"),
    (Connect, Timer, Connect, "close, connect"),
    (Connect, Connected, OpenSent, "open"),
    (Connect, Accepted, OpenSent, "open"),
    // The RFC says Idle.
    (Connect, Closed, Active, ""),
    (Active, Start, Active, ""),
    (Active, Stop, Idle, ""),
    (Active, Timer, Connect, "connect"),
    (Active, Accepted, OpenSent, "open"),
    (OpenSent, Start, OpenSent, ""),
    (OpenSent, Stop, Idle, "notify 6/2, close"),
    (OpenSent, Reset, Idle, "notify 6/4, close"),
    (OpenSent, Timer, Idle, "notify 4/0, close"),
    (OpenSent, Closed, Active, ""),
    (OpenSent, Open, OpenConfirm, "keepalive"),
    (OpenSent, OpenWrongAs, Idle, "notify 2/2, close"),
    (OpenSent, Malformed, Idle, "notify 1/2, close"),
    (OpenSent, NotificationVersion, Idle, "close"),
    (OpenSent, Notification, Idle, "close"),
    (OpenSent, Keepalive, Idle, "notify 5/1, close"),
    (OpenSent, Update, Idle, "notify 5/1, close"),
    (OpenSent, Refresh, Idle, "notify 5/1, close"),
    (OpenConfirm, Start, OpenConfirm, ""),
    (OpenConfirm, Stop, Idle, "notify 6/2, close"),
    (OpenConfirm, Reset, Idle, "notify 6/4, close"),
    (OpenConfirm, Timer, OpenConfirm, "keepalive"),
    (OpenConfirm, HoldTimer, Idle, "notify 4/0, close"),
    (OpenConfirm, Closed, Idle, ""),
    (OpenConfirm, Open, Idle, "notify 5/2, close"),
    (OpenConfirm, Malformed, Idle, "notify 1/2, close"),
    (OpenConfirm, NotificationVersion, Idle, "close"),
    (OpenConfirm, Notification, Idle, "close"),
    (OpenConfirm, Keepalive, Established, "up"),
    (OpenConfirm, Update, Idle, "notify 5/2, close"),
    (OpenConfirm, Refresh, Idle, "notify 5/2, close"),
    (Established, Start, Established, ""),
    (Established, Stop, Idle, "notify 6/2, close, down"),
    (Established, Reset, Idle, "notify 6/4, close, down"),
    (Established, Timer, Established, "keepalive"),
    (Established, HoldTimer, Idle, "notify 4/0, close, down"),
    (Established, Accepted, Established, "notify 6/7, close"),
    (Established, Closed, Active, "down"),
    (Established, Open, Idle, "notify 5/3, close, down"),
    (Established, Malformed, Idle, "notify 1/2, close, down"),
    (Established, NotificationVersion, Idle, "close, down"),
    (Established, Notification, Idle, "close, down"),
    (Established, Keepalive, Established, ""),
    (Established, Update, Established, ""),
    (Established, Refresh, Established, "refresh ipv6-unicast"),
];

/// A session led to a state over a connection of its own.
fn session_in(state: State, now: Instant) -> (Session, Option<ConnId>) {
    let mut session = Session::new(config(), now);
    let mut conn = None;
    if state != Idle {
        session.start(now);
        let dial = dialed(&drain(&mut session));
        conn = Some(dial);
        match state {
            Idle | Connect => {}
            Active => {
                session.tcp_failed(now, dial, "connection refused");
                conn = None;
            }
            OpenSent | OpenConfirm | Established => {
                session.tcp_connected(now, dial);
                if state >= OpenConfirm {
                    session.handle_message(now, dial, &peer_open(id(2), 90));
                }
                if state == Established {
                    session.handle_message(now, dial, &Message::Keepalive);
                }
            }
        }
    }
    drain(&mut session);
    assert_eq!(session.state(), state);
    (session, conn)
}

fn apply(session: &mut Session, conn: Option<ConnId>, now: Instant, event: Event) {
    let on = || conn.expect("the state has a connection");
    let mut message = |message: &Message<'_>| session.handle_message(now, on(), message);
    match event {
        Start => session.start(now),
        Stop => session.stop(now, &StopReason::Shutdown("maintenance".to_owned())),
        Reset => session.stop(now, &StopReason::Reset(String::new())),
        Timer => session.handle_timeout(session.poll_timeout().expect("a timer")),
        HoldTimer => session.handle_timeout(now + session.snapshot(now).hold.expect("a hold timer")),
        Connected => session.tcp_connected(now, on()),
        Accepted => {
            session.accept(now);
        }
        Closed => session.tcp_closed(now, on(), "closed by the peer"),
        Open => message(&peer_open(id(2), 90)),
        OpenWrongAs => {
            let Message::Open(mut open) = peer_open(id(2), 90) else { unreachable!() };
            open.capabilities.clear();
            open.asn.0 = 64_999;
            message(&Message::Open(open));
        }
        Malformed => {
            let error = ProtocolError::new(1, 2, &[0, 5], "message of 5 octets");
            session.handle_protocol_error(now, on(), &error);
        }
        NotificationVersion => message(&notification(2, 1)),
        Notification => message(&notification(6, 4)),
        Keepalive => message(&Message::Keepalive),
        Update => with_update(|update| message(update)),
        Refresh => message(&refresh(Family::Ipv6Unicast)),
    }
}

#[test]
fn every_event_in_every_state_does_what_the_rfc_says() {
    let now = Instant::now();
    for (state, event, next, actions) in TABLE {
        let (mut session, conn) = session_in(*state, now);
        apply(&mut session, conn, now, *event);
        let outputs = drain(&mut session);
        let done = (session.state(), brief(&outputs));
        assert_eq!(done, (*next, (*actions).to_owned()), "{event:?} in {state}");
        if let Some(conn) = conn
            && *next == Idle
        {
            assert!(!session.has_connection(conn), "{event:?} in {state}");
        }
    }
}

#[test]
fn a_second_connection_is_tracked_in_open_sent_and_open_confirm() {
    let now = Instant::now();
    for state in [OpenSent, OpenConfirm] {
        let (mut session, _) = session_in(state, now);
        session.accept(now);
        assert_eq!(brief(&drain(&mut session)), "open");
        assert_eq!((session.state(), session.snapshot(now).connections.len()), (state, 2));
    }
}

#[test]
fn a_passive_session_waits_for_the_peer_and_never_connects() {
    let now = Instant::now();
    let passive = bgp::session::SessionConfig { passive: true, ..config() };
    let mut session = Session::new(passive, now);
    session.start(now);
    assert_eq!((session.state(), session.poll_timeout()), (Active, None));
    let conn = session.accept(now);
    session.tcp_closed(now, conn, "closed by the peer");
    assert_eq!((session.state(), session.poll_timeout()), (Active, None));
    let conn = session.accept(now);
    session.handle_message(now, conn, &notification(6, 4));
    assert_eq!(session.state(), Idle);
    session.handle_timeout(now + secs(1));
    assert_eq!(session.state(), Active);
    assert!(!brief(&drain(&mut session)).contains("connect"));
}

#[test]
fn who_lost_its_connection_is_welcome_back_at_once_and_called_back_less_and_less() {
    let mut now = Instant::now();
    let (mut session, mut conn) = session_in(Established, now);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        session.tcp_closed(now, conn.expect("a connection"), "closed by the peer");
        drain(&mut session);
        let retry = session.poll_timeout().expect("an attempt of our own");
        pauses.push(retry.saturating_duration_since(now));
        now += secs(1) / 10;
        let back = session.accept(now);
        session.handle_message(now, back, &peer_open(id(2), 90));
        session.handle_message(now, back, &Message::Keepalive);
        assert_eq!(session.state(), Established);
        conn = Some(back);
    }
    // Jitter takes up to a quarter off (RFC 4271 section 10).
    assert!(pauses.windows(2).all(|pair| pair[1] > pair[0]), "{pauses:?}");
}

#[test]
fn a_session_that_is_shut_down_tells_whoever_connects_and_stays_down() {
    let now = Instant::now();
    let mut session = Session::new(config(), now);
    session.stop(now, &StopReason::Shutdown("fibre cut".to_owned()));
    session.accept(now);
    let outputs = drain(&mut session);
    assert_eq!(brief(&outputs), "notify 6/2, close");
    let bgp::session::Output::Send(_, bytes) = &outputs[0] else { panic!("{outputs:?}") };
    let Message::Notification(message) = crate::messages::sent(bytes) else { panic!("{bytes:?}") };
    assert_eq!(message.shutdown_communication(), Some("fibre cut"));
    session.stop(now, &StopReason::Reset(String::new()));
    assert_eq!((session.state(), session.poll_timeout()), (Idle, None));
    assert_eq!(session.snapshot(now).shutdown.as_deref(), Some("fibre cut"));
    session.start(now);
    assert_eq!((session.state(), session.snapshot(now).shutdown), (Connect, None));
}

#[test]
fn a_peer_that_knows_no_capabilities_is_asked_again_without_them() {
    let now = Instant::now();
    let (mut session, conn) = session_in(OpenSent, now);
    session.handle_message(now, conn.unwrap(), &notification(2, 4));
    assert_eq!((session.state(), brief(&drain(&mut session)).as_str()), (Active, "close"));
    let now = session.poll_timeout().unwrap();
    session.handle_timeout(now);
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    let outputs = drain(&mut session);
    let bgp::session::Output::Send(_, bytes) = &outputs[0] else { panic!("{outputs:?}") };
    let Message::Open(open) = crate::messages::sent(bytes) else { panic!("{bytes:?}") };
    assert_eq!(open.capabilities, []);
    session.handle_message(now, conn, &peer_open(id(2), 90));
    session.handle_message(now, conn, &Message::Keepalive);
    let (_, negotiated) = session.established().expect("Established");
    assert_eq!(negotiated.families, Family::Ipv4Unicast.into());
    assert!(!negotiated.as4);
}

#[test]
fn refused_without_capabilities_too_the_session_gives_up_for_a_while() {
    let now = Instant::now();
    let (mut session, conn) = session_in(OpenSent, now);
    session.handle_message(now, conn.unwrap(), &notification(2, 4));
    let now = session.poll_timeout().unwrap();
    drain(&mut session);
    session.handle_timeout(now);
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    session.handle_message(now, conn, &notification(2, 4));
    assert_eq!(session.state(), Idle);
}

#[test]
fn a_refused_connection_leaves_the_session_listening() {
    let now = Instant::now();
    let (mut session, conn) = session_in(OpenSent, now);
    session.handle_message(now, conn.unwrap(), &notification(6, 5));
    assert_eq!(session.state(), Active);
    session.accept(now);
    assert_eq!(session.state(), OpenSent);
}

#[test]
fn a_refresh_of_a_family_that_was_not_negotiated_is_ignored() {
    let now = Instant::now();
    let only_v4 = bgp::session::SessionConfig { families: Family::Ipv4Unicast.into(), ..config() };
    let mut session = Session::new(only_v4, now);
    session.start(now);
    let conn = session.accept(now);
    session.handle_message(now, conn, &peer_open(id(2), 90));
    session.handle_message(now, conn, &Message::Keepalive);
    drain(&mut session);
    session.handle_message(now, conn, &refresh(Family::Ipv6Unicast));
    session.handle_message(now, conn, &refresh(Family::Ipv4Unicast));
    assert_eq!(brief(&drain(&mut session)), "refresh ipv4-unicast");
    assert!(session.request_refresh(Family::Ipv4Unicast));
    assert!(!session.request_refresh(Family::Ipv6Unicast));
    assert_eq!(brief(&drain(&mut session)), "route-refresh");
}

#[test]
fn the_last_error_names_its_source_and_the_counters_count() {
    let now = Instant::now();
    let (mut session, conn) = session_in(Established, now);
    with_update(|update| session.handle_message(now, conn.unwrap(), update));
    session.updates_sent(now, conn.unwrap(), 3);
    let cease = bgp::wire::Notification::administrative_shutdown("bye");
    session.handle_message(now, conn.unwrap(), &Message::Notification(cease));
    let snapshot = session.snapshot(now + secs(1));
    let error = snapshot.last_error.expect("an error");
    assert_eq!(error.source, bgp::session::ErrorSource::Received);
    assert_eq!(error.text, "received Cease/Administrative Shutdown: \"bye\"");
    assert_eq!(snapshot.in_state, secs(1));
    let counters = snapshot.counters;
    assert_eq!((counters.established, counters.dropped), (1, 1));
    assert_eq!((counters.received.open, counters.received.update), (1, 1));
    assert_eq!((counters.received.keepalive, counters.received.notification), (1, 1));
    assert_eq!((counters.sent.open, counters.sent.keepalive, counters.sent.update), (1, 1, 3));
}

#[test]
fn attempts_that_fail_do_not_hide_why_the_session_ended() {
    let mut now = Instant::now();
    let (mut session, conn) = session_in(Established, now);
    let cease = bgp::wire::Notification::administrative_shutdown("back at noon");
    session.handle_message(now, conn.unwrap(), &Message::Notification(cease));
    let text = "received Cease/Administrative Shutdown: \"back at noon\"";
    assert_eq!(session.last_error().unwrap().text, text);
    drain(&mut session);
    // It goes through Idle first.
    now = session.poll_timeout().unwrap();
    session.handle_timeout(now);
    let conn = dialed(&drain(&mut session));
    session.tcp_failed(now, conn, "connection refused");
    // A neighbor that is shut down may also take connections and close them.
    let accepted = session.accept(now);
    session.tcp_closed(now + secs(1), accepted, "closed by the neighbor");
    let snapshot = session.snapshot(now + secs(1));
    assert_eq!(snapshot.last_error.unwrap().text, text);
    assert_eq!(snapshot.last_attempt.unwrap().text, "connection lost: closed by the neighbor");
    assert_eq!(session.last_error().unwrap().at, now + secs(1), "the later one");
    // When it is up again, nothing keeps it from that any more.
    let conn = session.accept(now);
    session.handle_message(now, conn, &peer_open(id(2), 90));
    session.handle_message(now, conn, &Message::Keepalive);
    assert_eq!(session.state(), Established);
    let snapshot = session.snapshot(now);
    assert_eq!((snapshot.last_error.unwrap().text.as_str(), snapshot.last_attempt), (text, None));
    // The loss of the session is no attempt.
    session.tcp_closed(now, conn, "closed by the neighbor");
    let snapshot = session.snapshot(now);
    assert_eq!(snapshot.last_error.unwrap().text, "connection lost: closed by the neighbor");
    assert_eq!(snapshot.last_attempt, None);
}
