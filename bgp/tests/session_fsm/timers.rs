//! Timers: exact expiry, bounds of jitter, growth and reset of pauses.

use std::time::{Duration, Instant};

use bgp::session::{
    Output, RefreshCounts, SendHoldTime, Session, SessionConfig, StalePhase, State, StopReason,
};
use bgp::types::{Family, HoldTime};
use bgp::wire::{Message, RouteRefresh};

use crate::messages::{brief, config, dialed, drain, id, notification, peer_open, secs, with_update};

/// A session Established at `now` with this hold time.
fn established(hold: u16, seed: u64, now: Instant) -> (Session, bgp::session::ConnId) {
    let config = SessionConfig { jitter_seed: seed, ..config() };
    let mut session = Session::new(config, now);
    session.start(now);
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    session.handle_message(now, conn, &peer_open(id(2), hold));
    session.handle_message(now, conn, &Message::Keepalive);
    assert!(session.is_established_on(conn));
    drain(&mut session);
    (session, conn)
}

#[test]
fn the_hold_timer_expires_at_the_hold_time_and_not_a_nanosecond_before() {
    let start = Instant::now();
    let (mut session, conn) = established(9, 1, start);
    let heard = start + secs(5);
    session.handle_message(heard, conn, &Message::Keepalive);
    session.handle_timeout(heard + Duration::from_nanos(8_999_999_999));
    assert_eq!(session.state(), State::Established);
    drain(&mut session);
    session.handle_timeout(heard + secs(9));
    assert_eq!(brief(&drain(&mut session)), "notify 4/0, close, down");
    let error = session.snapshot(heard).last_error.unwrap();
    assert_eq!(error.text, "sent Hold Timer Expired: nothing heard for 9 s");
}

#[test]
fn updates_and_keepalives_restart_the_hold_timer() {
    let start = Instant::now();
    let (mut session, conn) = established(9, 1, start);
    for second in [4, 8, 12, 16] {
        let now = start + secs(second);
        with_update(|update| session.handle_message(now, conn, update));
        assert_eq!(session.snapshot(now).hold, Some(secs(9)));
        session.handle_timeout(now);
    }
    session.handle_timeout(start + secs(24));
    assert_eq!(session.state(), State::Established);
    session.handle_timeout(start + secs(25));
    assert_eq!(session.state(), State::Idle);
}

#[test]
fn octets_that_wait_unread_restart_the_hold_timer_too() {
    let start = Instant::now();
    let (mut session, conn) = established(9, 1, start);
    session.heard(start + secs(8), conn);
    session.handle_timeout(start + secs(16));
    assert_eq!(session.state(), State::Established);
    session.handle_timeout(start + secs(17));
    assert_eq!(session.state(), State::Idle);
}

#[test]
fn keepalives_come_after_three_quarters_to_the_whole_of_a_third_of_the_hold_time() {
    let mut least = Duration::MAX;
    let mut most = Duration::ZERO;
    for seed in 0..50 {
        let mut now = Instant::now();
        let (mut session, conn) = established(90, seed, now);
        for _ in 0..50 {
            let next = session.poll_timeout().unwrap();
            let pause = next - now;
            assert!(pause >= Duration::from_millis(22_500) && pause <= secs(30), "{pause:?}");
            (least, most) = (least.min(pause), most.max(pause));
            now = next;
            session.handle_message(now, conn, &Message::Keepalive);
            session.handle_timeout(now);
            assert_eq!(brief(&drain(&mut session)), "keepalive");
            session.wrote(now, conn);
        }
    }
    assert!(least < Duration::from_millis(22_600) && most > Duration::from_millis(29_900));
}

#[test]
fn keepalives_never_come_faster_than_one_a_second() {
    let now = Instant::now();
    for seed in 0..20 {
        let (session, _) = established(3, seed, now);
        assert_eq!(session.poll_timeout(), Some(now + secs(1)));
    }
}

#[test]
fn an_update_sent_puts_the_next_keepalive_off() {
    let start = Instant::now();
    let (mut session, conn) = established(90, 1, start);
    let now = start + secs(20);
    session.updates_sent(now, conn, 1);
    let next = session.poll_timeout().unwrap() - now;
    assert!(next >= Duration::from_millis(22_500) && next <= secs(30));
}

#[test]
fn a_peer_that_takes_nothing_for_the_send_hold_time_is_let_go() {
    let now = Instant::now();
    let send_hold_time = SendHoldTime::After(secs(20));
    let mut session = Session::new(SessionConfig { send_hold_time, ..config() }, now);
    session.start(now);
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    session.handle_message(now, conn, &peer_open(id(2), 90));
    // It counts from Established on.
    let up = now + secs(10);
    session.handle_message(up, conn, &Message::Keepalive);
    assert_eq!(session.snapshot(up).send_hold, Some(secs(20)));
    let wrote = up + secs(15);
    session.wrote(wrote, conn);
    // What the peer says is no sign that it listens.
    session.handle_message(wrote + secs(19), conn, &Message::Keepalive);
    session.handle_timeout(wrote + Duration::from_nanos(19_999_999_999));
    assert_eq!(session.state(), State::Established);
    drain(&mut session);
    session.handle_timeout(wrote + secs(20));
    assert_eq!(brief(&drain(&mut session)), "notify 8/0, close, down");
    let error = session.snapshot(wrote).last_error.unwrap();
    assert_eq!(error.text, "sent Send Hold Timer Expired: the peer took nothing for 20 s");
}

#[test]
fn with_a_hold_time_of_zero_no_timer_runs() {
    let now = Instant::now();
    let (mut session, _) = established(0, 1, now);
    assert_eq!(session.poll_timeout(), None);
    session.handle_timeout(now + secs(1_000_000));
    assert_eq!((session.state(), brief(&drain(&mut session)).as_str()), (State::Established, ""));
}

#[test]
fn the_shorter_hold_time_counts() {
    let now = Instant::now();
    let (session, _) = established(240, 1, now);
    assert_eq!(session.snapshot(now).hold, Some(secs(90)));
    let (session, _) = established(30, 1, now);
    assert_eq!(session.snapshot(now).hold, Some(secs(30)));
    assert_eq!(HoldTime::DEFAULT.as_secs(), 90);
}

#[test]
fn without_an_open_a_connection_ends_after_four_minutes() {
    let now = Instant::now();
    let mut session = Session::new(config(), now);
    session.start(now);
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    assert_eq!(session.poll_timeout(), Some(now + secs(240)));
}

#[test]
fn attempts_to_connect_come_ever_more_slowly_up_to_the_cap() {
    let mut now = Instant::now();
    let mut session = Session::new(config(), now);
    session.start(now);
    for bound in [5, 10, 20, 40, 60, 60, 60] {
        let conn = dialed(&drain(&mut session));
        session.tcp_failed(now, conn, "connection refused");
        let pause = session.poll_timeout().unwrap() - now;
        assert!(pause <= secs(bound) && pause >= secs(bound) * 3 / 4, "{pause:?} for {bound} s");
        now += pause;
        session.handle_timeout(now);
        assert_eq!(session.state(), State::Connect);
    }
    let snapshot = session.snapshot(now);
    assert_eq!(snapshot.failed_attempts, 7);
    assert_eq!(snapshot.last_error, None);
    assert_eq!(snapshot.last_attempt.unwrap().text, "cannot connect: connection refused");
    // A connection that works ends the series.
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    session.handle_message(now, conn, &peer_open(id(2), 90));
    session.handle_message(now, conn, &Message::Keepalive);
    assert_eq!(session.snapshot(now).failed_attempts, 0);
}

#[test]
fn an_attempt_without_an_answer_is_given_up_for_a_new_one() {
    let mut now = Instant::now();
    let mut session = Session::new(config(), now);
    session.start(now);
    let mut before = dialed(&drain(&mut session));
    for bound in [15, 15, 20, 40, 60, 60] {
        let pause = session.poll_timeout().unwrap() - now;
        assert!(pause <= secs(bound) && pause >= secs(bound) * 3 / 4, "{pause:?} for {bound} s");
        now += pause;
        session.handle_timeout(now);
        let outputs = drain(&mut session);
        assert!(matches!(outputs[0], Output::Close(conn) if conn == before));
        let next = dialed(&outputs);
        assert_ne!(next, before);
        // The answer to the old one comes too late.
        session.tcp_connected(now, before);
        assert!(drain(&mut session).is_empty());
        before = next;
    }
}

/// Establishes the session from Connect, lets it live for `life`, kills it by a NOTIFICATION; the
/// stay in Idle that follows.
fn live_and_die(session: &mut Session, now: &mut Instant, life: Duration) -> Duration {
    let conn = dialed(&drain(session));
    session.tcp_connected(*now, conn);
    session.handle_message(*now, conn, &peer_open(id(2), 0));
    session.handle_message(*now, conn, &Message::Keepalive);
    assert!(session.is_established_on(conn));
    *now += life;
    session.handle_message(*now, conn, &notification(3, 1));
    assert_eq!(session.state(), State::Idle);
    let stay = session.snapshot(*now).idle_hold.expect("a stay in Idle");
    *now += stay;
    session.handle_timeout(*now);
    assert_eq!(session.state(), State::Connect);
    stay
}

#[test]
fn errors_hold_the_session_in_idle_ever_longer_until_it_was_stable() {
    let mut now = Instant::now();
    let mut session = Session::new(config(), now);
    session.start(now);
    for bound in [1, 2, 4, 8, 16, 32, 60, 60] {
        let stay = live_and_die(&mut session, &mut now, secs(30));
        assert!(stay <= secs(bound) && stay >= secs(bound) * 3 / 4, "{stay:?} for {bound} s");
    }
    let stay = live_and_die(&mut session, &mut now, secs(120));
    assert!(stay <= secs(1), "{stay:?}");
}

#[test]
fn an_operators_start_ends_the_stay_in_idle() {
    let mut now = Instant::now();
    let mut session = Session::new(config(), now);
    session.start(now);
    for _ in 0..5 {
        live_and_die(&mut session, &mut now, secs(1));
    }
    let conn = dialed(&drain(&mut session));
    session.tcp_connected(now, conn);
    session.handle_message(now, conn, &notification(3, 1));
    assert_eq!(session.state(), State::Idle);
    session.start(now);
    assert_eq!(session.state(), State::Connect);
}

#[test]
fn a_reset_comes_back_soon_and_too_many_prefixes_when_told() {
    let now = Instant::now();
    let (mut session, _) = established(90, 1, now);
    session.stop(now, &StopReason::Reset("try again".to_owned()));
    assert!(session.snapshot(now).idle_hold.unwrap() <= secs(1));

    let family = bgp::types::Family::Ipv4Unicast;
    let (mut session, _) = established(90, 1, now);
    let restart_after = Some(secs(77));
    session.stop(now, &StopReason::MaxPrefixes { family, limit: 1000, restart_after });
    let Output::Send(_, bytes) = session.poll_output().unwrap() else { panic!("no NOTIFICATION") };
    let Message::Notification(cease) = crate::messages::sent(&bytes) else { panic!("{bytes:?}") };
    assert_eq!((cease.code, cease.subcode), (6, 1));
    assert_eq!(cease.data, [0, 1, 1, 0, 0, 3, 232]);
    let snapshot = session.snapshot(now);
    assert_eq!(snapshot.idle_hold, Some(secs(77)));
    let text = "sent Cease/Maximum Number of Prefixes Reached: more than 1000 ipv4-unicast prefixes";
    assert_eq!(snapshot.last_error.unwrap().text, text);

    // Without such a time it stays down, and says why, until it is reset.
    let (mut session, _) = established(90, 1, now);
    session.stop(now, &StopReason::MaxPrefixes { family, limit: 1000, restart_after: None });
    assert_eq!(session.poll_timeout(), None);
    assert!(session.snapshot(now).over_limit);
    session.stop(now, &StopReason::ConfigurationChange);
    assert_eq!(session.state(), State::Idle);
    session.stop(now, &StopReason::Reset(String::new()));
    assert_eq!(session.state(), State::Connect);
}

#[test]
fn another_configuration_disturbs_nothing_until_the_session_ends() {
    let start = Instant::now();
    let (mut session, conn) = established(9, 1, start);
    session.reconfigure(start, SessionConfig { passive: true, ..config() });
    assert!(drain(&mut session).is_empty() && session.is_established_on(conn));
    session.stop(start, &StopReason::ConfigurationChange);
    assert_eq!(brief(&drain(&mut session)), "notify 6/6, close, down");
    let sent = session.snapshot(start).last_sent.unwrap();
    assert_eq!((sent.notification.code, sent.notification.subcode), (6, 6));
    // Passive from now on, until it is told otherwise.
    session.handle_timeout(start + secs(2));
    assert_eq!((session.state(), session.poll_timeout()), (State::Active, None));
    session.reconfigure(start + secs(3), config());
    assert_eq!(session.state(), State::Connect);
}

#[test]
fn a_refresh_ends_with_its_mark_or_its_time() {
    let start = Instant::now();
    let (mut session, conn) = established(0, 1, start);
    let mark = |session: &mut Session, seconds, subtype| {
        let message = Message::RouteRefresh(RouteRefresh::new(Family::Ipv4Unicast, subtype));
        session.handle_message(start + secs(seconds), conn, &message);
        brief(&drain(session))
    };
    let (begins, ends) = ("Mark(Ipv4Unicast)", "Drop(Ipv4Unicast)");
    assert_eq!(mark(&mut session, 0, RouteRefresh::END), "", "an end without a beginning");
    assert_eq!(mark(&mut session, 1, RouteRefresh::BEGIN), begins);
    assert_eq!(mark(&mut session, 2, RouteRefresh::END), ends);
    assert_eq!(mark(&mut session, 3, RouteRefresh::BEGIN), begins);
    assert_eq!(mark(&mut session, 4, 200), "", "a subtype that there is not");
    assert_eq!(mark(&mut session, 5, RouteRefresh::BEGIN), begins, "which prolongs nothing");
    assert_eq!(session.stale(Family::Ipv4Unicast).map(|(phase, _)| phase), Some(StalePhase::Refreshing));
    let limit = session.config().timing.refresh_limit;
    let over = start + secs(3) + limit;
    assert_eq!(session.poll_timeout(), Some(over));
    session.handle_timeout(start + secs(2) + limit);
    assert_eq!(brief(&drain(&mut session)), "");
    session.handle_timeout(over);
    assert_eq!(brief(&drain(&mut session)), ends);
    assert_eq!(session.poll_timeout(), None);
    let counts = RefreshCounts { begun: 3, ended: 1, expired: 1, ignored: 1 };
    assert_eq!(session.counters().refreshes, counts);
}
