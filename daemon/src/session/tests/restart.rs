//! Behind an earlier run of the daemon: what neighbours hear, and when.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbors_hear_nothing_before_the_new_tables_forward() {
    for threads in [1, 3] {
        let restart = Restart::kept(FamilySet::ALL);
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
