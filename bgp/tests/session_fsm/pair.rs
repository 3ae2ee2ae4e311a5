//! Two sessions over a network that delays, refuses, breaks and swallows.

use std::time::Duration;

use bgp::session::{SessionConfig, State, StopReason};
use bgp::types::{Asn, Family};
use proptest::prelude::*;

use crate::collision::pair;
use crate::messages::secs;
use crate::net::{Delays, Net};

const MS: Duration = Duration::from_millis(1);

fn both_up(net: &Net) -> bool {
    net.established(0).is_some() && net.established(0) == net.established(1)
}

#[test]
fn a_session_comes_up_and_stays_up_for_a_day() {
    let mut net = Net::new(pair([1, 2]), Delays::Random(900 * MS, 3));
    net.start_both();
    net.run_for(secs(24 * 3600));
    assert!(both_up(&net));
    for side in &net.sides {
        assert_eq!((side.ups, side.downs.len()), (1, 0));
        let sent = side.session.counters().sent.keepalive;
        // Every 22.5 to 30 seconds.
        assert!((2880..=3842).contains(&sent), "{sent}");
    }
}

#[test]
fn a_passive_side_and_an_active_side_meet() {
    for passive in [0, 1] {
        let mut configs = pair([1, 2]);
        configs[passive].passive = true;
        let mut net = Net::new(configs, Delays::Fixed(MS));
        net.start_both();
        net.run_for(secs(1));
        assert!(both_up(&net));
        assert_eq!(net.established(0).map(|pipe| net.opener(pipe)), Some(1 - passive));
    }
}

#[test]
fn two_passive_sides_never_meet() {
    let configs = pair([1, 2]).map(|config| SessionConfig { passive: true, ..config });
    let mut net = Net::new(configs, Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(600));
    assert_eq!((net.state(0), net.state(1)), (State::Active, State::Active));
}

#[test]
fn a_killed_peer_is_found_again_when_it_is_back() {
    let mut net = Net::new(pair([1, 2]), Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(300));
    net.kill(1);
    net.run_for(secs(120));
    assert_eq!(net.sides[0].downs, ["connection lost: connection reset by peer"]);
    assert!(matches!(net.state(0), State::Active | State::Connect));
    net.sides[1].listening = true;
    net.run_for(secs(60));
    // It listens but is not started: refused, and tried again.
    assert_ne!(net.state(0), State::Established);
    net.start(1);
    net.run_for(secs(3));
    assert!(both_up(&net), "{:?}", net.sides[0].states);
}

#[test]
fn a_silent_network_ends_the_session_at_the_hold_time_on_both_sides() {
    let mut net = Net::new(pair([1, 2]), Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(300));
    net.blackhole = true;
    net.run_for(secs(67));
    assert!(net.established(0).is_some() && net.established(1).is_some());
    net.run_for(secs(24));
    for side in &net.sides {
        assert_eq!(side.downs, ["sent Hold Timer Expired: nothing heard for 90 s"]);
    }
    net.blackhole = false;
    net.run_for(secs(120));
    assert!(both_up(&net));
}

#[test]
fn a_shutdown_keeps_both_sides_apart_until_it_is_taken_back() {
    let mut net = Net::new(pair([1, 2]), Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(300));
    let reason = StopReason::Shutdown("moving house".to_owned());
    net.stop(0, &reason);
    net.run_for(secs(600));
    let told = ["received Cease/Administrative Shutdown: \"moving house\""];
    assert_eq!(net.sides[1].downs, told);
    assert_eq!(net.state(0), State::Idle);
    let error = net.sides[1].session.snapshot(net.now).last_error.unwrap();
    assert_eq!(error.text, told[0]);
    net.start(0);
    net.run_for(secs(2));
    // The peer may be in Idle; it comes out by itself within a minute.
    net.run_for(secs(60));
    assert!(both_up(&net), "{:?}", net.sides[1].states);
}

#[test]
fn a_wrong_as_is_never_established_and_retried_ever_more_slowly() {
    let mut configs = pair([1, 2]);
    configs[0].peer_asn = Asn(64_999).into();
    let mut net = Net::new(configs, Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(3600));
    assert_eq!((net.sides[0].ups, net.sides[1].ups), (0, 0));
    let opens = net.sides[0].session.counters().sent.open;
    assert!((30..300).contains(&opens), "{opens} OPENs in an hour");
    let error = net.sides[0].session.snapshot(net.now).last_error.unwrap();
    assert!(error.text.contains("Bad Peer AS"), "{}", error.text);
}

#[test]
fn sides_with_one_family_in_common_use_that_one() {
    let mut configs = pair([1, 2]);
    configs[0].families = Family::Ipv6Unicast.into();
    let mut net = Net::new(configs, Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(1));
    for side in &net.sides {
        let (_, negotiated) = side.session.established().unwrap();
        assert_eq!(negotiated.families, Family::Ipv6Unicast.into());
    }
}

#[test]
fn the_context_of_reading_follows_the_handshake() {
    let mut configs = pair([1, 2]);
    configs[1].extended_messages = false;
    let mut net = Net::new(configs, Delays::Fixed(MS));
    net.start_both();
    net.run_for(secs(1));
    let session = &net.sides[0].session;
    let (conn, negotiated) = session.established().unwrap();
    assert!(negotiated.as4 && !negotiated.extended);
    assert_eq!(session.decode_context(conn), negotiated.decode);
    assert_eq!(session.decode_context(conn).max_message(), 4096);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn after_any_trouble_the_session_comes_back_on_one_connection(
        seed in 1_u64..,
        troubles in prop::collection::vec((0_u8..7, 0_usize..2, 0_u64..40_000), 0..12),
    ) {
        let mut net = Net::new(pair([1, 2]), Delays::Random(700 * MS, seed));
        net.start_both();
        for (trouble, side, millis) in troubles {
            match trouble {
                0 => net.cut_all(),
                1 => net.sides[side].listening = false,
                2 => net.sides[side].listening = true,
                3 => net.blackhole = true,
                4 => net.blackhole = false,
                5 => net.stop(side, &StopReason::Reset("again".to_owned())),
                _ => net.stop(side, &StopReason::Shutdown(String::new())),
            }
            net.run_for(Duration::from_millis(millis));
        }
        net.blackhole = false;
        for side in &mut net.sides {
            side.listening = true;
        }
        net.start_both();
        // A silent connection of before may take its large hold time to be noticed.
        net.run_for(secs(400));
        prop_assert!(both_up(&net), "{:?} {:?}", net.sides[0].states, net.sides[1].states);
        for side in &net.sides {
            prop_assert_eq!(side.ups, side.downs.len() + 1);
            prop_assert_eq!(side.session.snapshot(net.now).connections.len(), 1);
        }
    }
}
