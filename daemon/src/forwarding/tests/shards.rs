//! Next hops that several shards of the RIB use.

use super::*;

#[test]
fn a_next_hop_is_kept_until_the_last_shard_lets_go_of_it() {
    let mut lab = Lab::new();
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    for used in [true, true, true, false, false] {
        lab.forwarder.track(ip("10.0.0.9"), used);
        lab.forwarder.flush(true);
        assert!(lab.kept.borrow().contains(&(ETH0, ip("10.0.0.9"))));
    }
    // Still told to the one that is left.
    lab.net(NetEvent::LinkGone { ifindex: ETH0 });
    assert_eq!(lab.heard.next_hops().last(), Some(&(ip("10.0.0.9"), false)));
    lab.forwarder.track(ip("10.0.0.9"), false);
    lab.forwarder.flush(true);
    assert!(lab.forwarder.next_hops.is_empty());
}

#[test]
fn each_shard_that_comes_to_use_a_next_hop_is_told_of_it() {
    let mut lab = Lab::new();
    for shards in 1..4 {
        lab.forwarder.track(ip("10.0.0.9"), true);
        assert_eq!(lab.heard.next_hops(), [(ip("10.0.0.9"), true)], "shard {shards}");
    }
}
