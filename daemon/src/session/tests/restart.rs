//! Behind an earlier run of the daemon, and before the next one: what neighbours hear, and when.

use bgp::session::StopReason;
use bgp::wire::{GracefulRestart, encode_end_of_rib};

use super::*;

const DEFERRAL: Duration = Duration::from_mins(2);

fn kept() -> Restart {
    Restart::kept(FamilySet::ALL, DEFERRAL, false).outliving(true)
}

/// A neighbour that helps; `restarting`: which has just restarted.
async fn helper(daemon: &Daemon, id: u16, restarting: bool) -> Neighbor {
    let offer = GracefulRestart { restarting, ..GracefulRestart::default() };
    Neighbor::connect_offering(daemon, id, None, Some(Capability::GracefulRestart(offer))).await
}

async fn say_end(neighbor: &mut Neighbor, family: Family) {
    let mut end = BytesMut::new();
    encode_end_of_rib(&mut end, family);
    neighbor.send(&end).await;
}

/// Waits until what a restart waits for is in these words, of the neighbours in order.
async fn wait_for(restart: &Restart, expected: &[&str]) {
    let since = Instant::now();
    loop {
        let waiting = restart.status().map(|status| status.neighbors).unwrap_or_default();
        let words: Vec<String> = waiting.iter().map(|(_, progress)| progress.to_string()).collect();
        if words == expected {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{words:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the daemon's OPEN on a connection says of graceful restart; `None`: the connection is refused.
async fn offered(neighbor: &mut Neighbor) -> Option<GracefulRestart> {
    loop {
        if let Some(frame) =
            neighbor.received.get(..frame_len(&neighbor.received, MAX_MESSAGE).unwrap().unwrap_or(usize::MAX))
        {
            let Message::Open(open) = decode(frame, &DECODE).unwrap() else { return None };
            let offer = open.capabilities.iter().find_map(|capability| match capability {
                Capability::GracefulRestart(offer) => Some(*offer),
                _ => None,
            });
            return Some(offer.expect("graceful restart is offered"));
        }
        let reading = tokio::time::timeout(PATIENCE, neighbor.stream.read_buf(&mut neighbor.received));
        if !reading.await.expect("an OPEN").is_ok_and(|count| count > 0) {
            return None;
        }
    }
}

/// What comes on a connection until it is closed: updates as [`Heard`], and NOTIFICATIONs.
async fn until_closed(neighbor: &mut Neighbor) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        while let Some(length) = frame_len(&neighbor.received, MAX_MESSAGE).unwrap() {
            let Some(frame) = neighbor.received.get(..length) else { break };
            match decode(frame, &DECODE).unwrap() {
                Message::Notification(notification) => heard.push(notification.to_string()),
                Message::Update(update)
                    if update.withdrawals().next().is_some() && update.end_of_rib().is_none() =>
                {
                    heard.push("withdrawal".to_owned());
                }
                _ => {}
            }
            neighbor.received.advance(length);
        }
        let reading = tokio::time::timeout(PATIENCE, neighbor.stream.read_buf(&mut neighbor.received));
        match reading.await.expect("the end of the connection") {
            Ok(0) | Err(_) => return heard,
            Ok(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbors_hear_nothing_before_the_new_tables_forward() {
    for threads in [1, 3] {
        let restart = kept();
        let daemon = Daemon::follow(&restart, threads, 2, "");
        let all = prefixes(100);
        let mut feeder = Neighbor::connect(&daemon, 1).await;
        let mut receiver = Neighbor::connect(&daemon, 2).await;
        let update = feeder.announcement(&all, 1);
        feeder.send(&update).await;
        daemon.wait_for(1, all.len()).await;
        let gone = &all[..20];
        let mut withdrawal = BytesMut::new();
        encode_withdraw(&mut withdrawal, Family::Ipv4Unicast, gone.iter().copied(), &ENCODE);
        feeder.send(&withdrawal).await;
        daemon.wait_for(1, all.len() - gone.len()).await;

        restart.learned();
        let early =
            tokio::time::timeout(Duration::from_millis(300), receiver.hear(|heard| !heard.is_empty()));
        assert!(early.await.is_err(), "over is not live");
        restart.live();
        let heard = receiver.hear(|heard| ends(heard) == 2).await;
        let end = heard.iter().position(|heard| *heard == Heard::EndOfRib(Family::Ipv4Unicast)).unwrap();
        let mut expected: BTreeSet<IpNet> = all[gone.len()..].iter().copied().collect();
        expected.insert("203.0.113.0/24".parse().unwrap());
        assert_eq!(held(&heard[..end]).into_keys().collect::<BTreeSet<_>>(), expected, "before the end");
        assert!(!heard.iter().any(|heard| matches!(heard, Heard::Withdrawn(_))), "it had nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbors_are_waited_for_until_what_they_sent_is_taken() {
    let restart = kept();
    let daemon = Daemon::follow(&restart, 2, 4, "");
    wait_for(&restart, &["its session"; 4]).await;
    let mut one = helper(&daemon, 1, false).await;
    daemon.peers.shut_down_one("127.0.0.4".parse().unwrap(), String::new()).await.unwrap();
    daemon.peers.shut_down_one("127.0.0.5".parse().unwrap(), String::new()).await.unwrap();
    wait_for(&restart, &["its End-of-RIB of ipv4-unicast, ipv6-unicast", "its session"]).await;
    let update = one.announcement(&prefixes(10), 1);
    one.send(&update).await;
    say_end(&mut one, Family::Ipv6Unicast).await;
    wait_for(&restart, &["its End-of-RIB of ipv4-unicast", "its session"]).await;
    let report = daemon.peers.report("127.0.0.2".parse().unwrap()).await.unwrap().1;
    assert_eq!(report.restart_waits_for.as_deref(), Some("its End-of-RIB of ipv4-unicast"));
    say_end(&mut one, Family::Ipv4Unicast).await;
    wait_for(&restart, &["its session"]).await;
    // What was said before the end has been told to the RIB by then.
    daemon.rib.settle().await.unwrap();
    assert_eq!(daemon.received(1).await, 10);
    // A session that ends is waited for again.
    drop(one);
    wait_for(&restart, &["its session"; 2]).await;
    // One that has restarted too may wait for us, and one that knows nothing of it says no end: a while is enough.
    let _one = helper(&daemon, 1, true).await;
    let _silent = Neighbor::connect(&daemon, 2).await;
    wait_for(&restart, &["its End-of-RIB, or silence"; 2]).await;
    wait_for(&restart, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opens_say_that_the_restart_is_under_way_until_it_is_over() {
    let restart = kept();
    let daemon = Daemon::follow(&restart, 1, 1, "");
    let mut neighbor = helper(&daemon, 1, false).await;
    let offer = offered(&mut neighbor).await.unwrap();
    let expected = GracefulRestart {
        restarting: true,
        notification: true,
        restart_time: 120,
        families: FamilySet::ALL,
        forwarding: FamilySet::ALL,
    };
    assert_eq!(offer, expected);
    restart.learned();
    drop(neighbor);
    let since = Instant::now();
    loop {
        let mut neighbor = helper(&daemon, 1, false).await;
        // Refused as long as the session before is thought to be up.
        if let Some(offer) = offered(&mut neighbor).await.filter(|offer| !offer.restarting) {
            assert_eq!(offer, GracefulRestart { restarting: false, ..expected });
            break;
        }
        assert!(since.elapsed() < PATIENCE);
    }
    // Nothing of this where nothing of ours is kept.
    let daemon = Daemon::start(1, 1);
    let mut neighbor = helper(&daemon, 1, false).await;
    assert_eq!(
        offered(&mut neighbor).await.unwrap(),
        GracefulRestart { notification: true, ..GracefulRestart::default() }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_keeps_our_routes_is_left_without_a_word_and_the_routes_stay() {
    let restart = Restart::none().outliving(true);
    let daemon = Daemon::follow(&restart, 2, 3, "");
    let mut feeder = helper(&daemon, 1, false).await;
    let mut keeps = helper(&daemon, 2, false).await;
    let mut forgets = Neighbor::connect(&daemon, 3).await;
    let update = feeder.announcement(&prefixes(50), 1);
    feeder.send(&update).await;
    for neighbor in [&mut keeps, &mut forgets] {
        neighbor.hear(|heard| held(heard).len() == 51).await;
    }
    daemon.peers.shut_down(StopReason::Restart).await;
    assert_eq!(until_closed(&mut keeps).await, [""; 0], "not even a withdrawal");
    assert_eq!(until_closed(&mut feeder).await, [""; 0]);
    let told = until_closed(&mut forgets).await;
    assert_eq!(told, ["Cease/Administrative Shutdown"]);
    // The forwarding plane is told nothing: packets go by these routes.
    daemon.rib.settle().await.unwrap();
    assert_eq!(daemon.received(1).await, 50);
    // Whoever is back before we are gone is not told anything either.
    let mut back = helper(&daemon, 2, false).await;
    assert_eq!(until_closed(&mut back).await, [""; 0]);
}
