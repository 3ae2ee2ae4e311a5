//! Two connections at once: RFC 4271 section 6.8.

use std::time::{Duration, Instant};

use bgp::session::{ConnId, Session, SessionConfig, State};
use bgp::types::Asn;
use bgp::wire::Message;
use proptest::prelude::*;

use crate::messages::{brief, config, dialed, drain, id, notification, peer_open, secs};
use crate::net::{Delays, Net};

/// Both ends of a session: these router ids, different seeds.
pub(crate) fn pair(ids: [u8; 2]) -> [SessionConfig; 2] {
    let asn = [Asn(65_001), Asn(65_002)];
    [0, 1].map(|side| SessionConfig::new(asn[side], asn[1 - side], id(ids[side]), side as u64 + 1))
}

/// Exactly one connection survived, both agree on it, and neither side ever lost it.
fn assert_one_survivor(net: &Net, opener: Option<usize>) {
    let pipe = net.established(0);
    assert!(pipe.is_some(), "{:?} and {:?}", net.state(0), net.state(1));
    assert_eq!(pipe, net.established(1));
    for side in &net.sides {
        assert_eq!((side.ups, side.downs.as_slice()), (1, [].as_slice()), "{:?}", side.states);
        assert_eq!(side.session.snapshot(net.now).connections.len(), 1);
    }
    if let Some(opener) = opener {
        assert_eq!(pipe.map(|pipe| net.opener(pipe)), Some(opener));
    }
}

/// A stream of a pipe: pipe and end.
type Stream = (usize, usize);

/// A collision in which the streams went in this order.
fn replay(ids: [u8; 2], path: &[Stream]) -> Net {
    let mut net = Net::new(pair(ids), Delays::Fixed(Duration::ZERO));
    net.forgetful = true;
    net.start_both();
    for (pipe, side) in path {
        net.deliver(*pipe, *side);
    }
    net
}

/// Checks every order that begins with `path`; how many there are. Events at different sides commute,
/// so of orders that differ only in that one is enough: `asleep` are the streams whose turn now
/// would lead to an order that was checked before ("sleep sets", Godefroid 1996).
fn explore(ids: [u8; 2], path: &mut Vec<Stream>, mut asleep: Vec<Stream>) -> u32 {
    let net = replay(ids, path);
    let streams = net.streams();
    if streams.is_empty() {
        assert_one_survivor(&net, None);
        return 1;
    }
    let mut orders = 0;
    for stream in streams {
        if asleep.contains(&stream) {
            continue;
        }
        let commuting = asleep.iter().copied().filter(|(_, side)| *side != stream.1).collect();
        path.push(stream);
        orders += explore(ids, path, commuting);
        path.pop();
        asleep.push(stream);
    }
    orders
}

#[test]
fn in_every_order_of_events_exactly_one_connection_survives_and_both_agree() {
    for ids in [[1, 2], [2, 1], [7, 7]] {
        let orders = explore(ids, &mut Vec::new(), Vec::new());
        assert!(orders > 50, "{orders} orders");
    }
}

#[test]
fn when_both_are_open_at_once_the_higher_router_id_keeps_its_own() {
    for (ids, winner) in [([1, 2], 1), ([2, 1], 0), ([7, 7], 1)] {
        let mut net = Net::new(pair(ids), Delays::Fixed(Duration::from_millis(10)));
        net.start_both();
        net.run_for(secs(1));
        // With equal identifiers the higher AS number decides (RFC 6286).
        assert_one_survivor(&net, Some(winner));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_the_delays_one_connection_survives(
        seed in 1_u64..,
        most in 1_u64..900,
        apart in 0_u64..1500,
        swapped: bool,
    ) {
        let ids = if swapped { [2, 1] } else { [1, 2] };
        let delays = Delays::Random(Duration::from_millis(most), seed);
        let mut net = Net::new(pair(ids), delays);
        // Started apart, the first may be refused and come back.
        net.start(0);
        net.run_for(Duration::from_millis(apart));
        net.start(1);
        net.run_for(secs(30));
        assert_one_survivor(&net, None);
    }
}

/// A session with its own connection and the peer's, both open, no OPEN received. The peer's router
/// id is 10.0.0.3 if it is to win, else 10.0.0.1 against our 10.0.0.2.
fn colliding(now: Instant) -> (Session, ConnId, ConnId) {
    let mut session = Session::new(SessionConfig { router_id: id(2), ..config() }, now);
    session.start(now);
    let ours = dialed(&drain(&mut session));
    session.tcp_connected(now, ours);
    let theirs = session.accept(now);
    drain(&mut session);
    (session, ours, theirs)
}

#[test]
fn the_peers_open_while_ours_is_in_open_confirm_closes_the_one_of_the_lower_id() {
    let now = Instant::now();
    for (peer, survivor_is_ours) in [(1, true), (3, false)] {
        let mut session = Session::new(SessionConfig { router_id: id(2), ..config() }, now);
        session.start(now);
        let ours = dialed(&drain(&mut session));
        session.tcp_connected(now, ours);
        session.handle_message(now, ours, &peer_open(id(peer), 90));
        assert_eq!(session.state(), State::OpenConfirm);
        let theirs = session.accept(now);
        drain(&mut session);
        session.handle_message(now, theirs, &peer_open(id(peer), 90));
        let expected = if survivor_is_ours { "notify 6/7, close" } else { "notify 6/7, close, keepalive" };
        assert_eq!(brief(&drain(&mut session)), expected);
        assert_eq!(session.has_connection(ours), survivor_is_ours);
        assert_eq!(session.has_connection(theirs), !survivor_is_ours);
        assert_eq!(session.state(), State::OpenConfirm);
        assert_eq!(session.snapshot(now).last_error, None);
    }
}

#[test]
fn an_open_on_the_winner_closes_the_other_at_once() {
    let now = Instant::now();
    let (mut session, ours, theirs) = colliding(now);
    session.handle_message(now, theirs, &peer_open(id(3), 90));
    assert_eq!(brief(&drain(&mut session)), "notify 6/7, close, keepalive");
    assert!(!session.has_connection(ours) && session.has_connection(theirs));
}

#[test]
fn an_open_on_the_loser_waits_for_the_winners() {
    let now = Instant::now();
    let (mut session, ours, theirs) = colliding(now);
    session.handle_message(now, theirs, &peer_open(id(1), 90));
    assert_eq!((brief(&drain(&mut session)).as_str(), session.state()), ("", State::OpenSent));
    session.handle_message(now, ours, &peer_open(id(1), 90));
    assert_eq!(brief(&drain(&mut session)), "notify 6/7, close, keepalive");
    assert!(session.has_connection(ours) && !session.has_connection(theirs));
}

#[test]
fn the_loser_goes_on_when_the_winner_fails() {
    let now = Instant::now();
    let (mut session, ours, theirs) = colliding(now);
    session.handle_message(now, theirs, &peer_open(id(1), 90));
    // The peer confirms what we have not: it is remembered.
    session.handle_message(now, theirs, &Message::Keepalive);
    assert_eq!(session.state(), State::OpenSent);
    session.tcp_closed(now, ours, "connection reset by peer");
    assert!(session.is_established_on(theirs));
    assert_eq!(brief(&drain(&mut session)), "keepalive, up");
}

#[test]
fn the_loser_goes_on_when_the_winner_stays_silent() {
    let now = Instant::now();
    let (mut session, ours, theirs) = colliding(now);
    session.handle_message(now, theirs, &peer_open(id(1), 90));
    session.handle_timeout(now + Duration::from_millis(4999));
    assert_eq!(session.state(), State::OpenSent);
    session.handle_timeout(now + secs(5));
    assert_eq!((brief(&drain(&mut session)).as_str(), session.state()), ("keepalive", State::OpenConfirm));
    session.handle_message(now + secs(5), theirs, &Message::Keepalive);
    assert_eq!(brief(&drain(&mut session)), "notify 6/7, close, up");
    assert!(!session.has_connection(ours));
}

#[test]
fn the_wait_never_makes_the_peers_hold_timer_expire() {
    let now = Instant::now();
    let (mut session, _, theirs) = colliding(now);
    session.handle_message(now, theirs, &peer_open(id(1), 3));
    assert_eq!(session.poll_timeout(), Some(now + secs(1)));
}

#[test]
fn an_open_gives_up_an_attempt_that_is_not_open_yet() {
    let now = Instant::now();
    for peer in [1, 3] {
        let mut session = Session::new(SessionConfig { router_id: id(2), ..config() }, now);
        session.start(now);
        let ours = dialed(&drain(&mut session));
        let theirs = session.accept(now);
        drain(&mut session);
        session.handle_message(now, theirs, &peer_open(id(peer), 90));
        assert_eq!(brief(&drain(&mut session)), "close, keepalive");
        session.tcp_connected(now, ours);
        assert_eq!(brief(&drain(&mut session)), "");
        assert_eq!(session.state(), State::OpenConfirm);
    }
}

#[test]
fn a_new_connection_of_the_peer_replaces_its_old_one_until_established() {
    let now = Instant::now();
    let mut session = Session::new(SessionConfig { passive: true, ..config() }, now);
    session.start(now);
    let first = session.accept(now);
    session.handle_message(now, first, &peer_open(id(3), 90));
    drain(&mut session);
    let second = session.accept(now);
    assert_eq!(brief(&drain(&mut session)), "notify 6/7, close, open");
    session.handle_message(now, second, &peer_open(id(3), 90));
    session.handle_message(now, second, &Message::Keepalive);
    drain(&mut session);
    let third = session.accept(now);
    assert_eq!(brief(&drain(&mut session)), "notify 6/7, close");
    assert!(session.is_established_on(second) && !session.has_connection(third));
}

#[test]
fn losing_a_collision_is_no_error() {
    let now = Instant::now();
    let (mut session, ours, theirs) = colliding(now);
    session.handle_message(now, ours, &notification(6, 7));
    assert_eq!(session.state(), State::OpenSent);
    session.handle_message(now, theirs, &notification(6, 7));
    assert_eq!(session.state(), State::Active);
    let snapshot = session.snapshot(now);
    assert_eq!((snapshot.last_error, snapshot.failed_attempts), (None, 0));
    assert!(snapshot.connect_retry.unwrap() <= secs(1));
}

#[test]
fn a_bad_open_on_one_connection_leaves_the_other() {
    let now = Instant::now();
    let (mut session, ours, theirs) = colliding(now);
    session.handle_message(now, theirs, &Message::Keepalive);
    assert_eq!(brief(&drain(&mut session)), "notify 5/1, close");
    session.handle_message(now, ours, &peer_open(id(3), 90));
    assert_eq!(session.state(), State::OpenConfirm);
}
