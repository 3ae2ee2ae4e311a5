//! Tables that are filled while packets go by those of an earlier run.

use std::collections::HashMap;

use super::super::Farewell;
use super::super::thread::{Inputs, run};
use super::*;

fn staged(mode: AttachedMode) -> Lab {
    Lab::staged(&["eth0", "eth1"], HashMap::from([(ETH0, Some(mode)), (ETH1, Some(mode))]))
}

#[test]
fn tables_are_filled_and_confirmed_and_nothing_is_attached_until_they_go_live() {
    let mut lab = staged(AttachedMode::Native);
    lab.net(neighbour(ETH0, "10.0.0.9", Some(PEER_MAC)));
    lab.forwarder.batch(BatchId { shard: 0, generation: bgp::rib::Generation::default() });
    lab.route("192.0.2.0/24", &["10.0.0.9"]);
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Forward));
    assert_eq!(lab.adjacency("192.0.2.1").dst_mac, PEER_MAC.0);
    assert_eq!(lab.heard.batches.lock().unwrap().len(), 1, "the RIB would wait for it");
    assert!(lab.paper.maps().attached.is_empty() && lab.paper.maps().settled.is_none());
    let shown = |lab: &Lab| {
        let rows = lab.ask(|reply| Query::Routes(RouteFilter::Exact(net("192.0.2.0/24")), reply));
        (rows[0].status.clone(), rows[0].installed)
    };
    assert_eq!(shown(&lab), ("staged".to_owned(), false));
    let stats = lab.forwarder.published();
    assert!(stats.staged && stats.took_over.is_none());
    let modes = |stats: &ForwardingStats| stats.ports.iter().map(|port| port.mode).collect::<Vec<_>>();
    assert_eq!(modes(&stats), [Some(AttachedMode::Native), Some(AttachedMode::Native), None]);

    lab.forwarder.go_live();
    assert_eq!(lab.paper.maps().attached, BTreeSet::from([ETH0, ETH1]));
    assert_eq!(lab.paper.maps().settled, Some(true));
    assert_eq!(shown(&lab), ("installed".to_owned(), true));
    let stats = lab.forwarder.published();
    assert!(!stats.staged && stats.took_over.is_some());
    assert_eq!(modes(&stats)[..2], [Some(AttachedMode::Native), Some(AttachedMode::Native)]);
    assert_eq!(lab.kind("192.0.2.1"), Some(NextHopKind::Forward));
    // Once is enough: it was said to be attached twice else.
    lab.forwarder.go_live();
}

#[test]
fn a_mode_that_is_left_to_us_stays_what_it_was() {
    let mut lab = staged(AttachedMode::Generic);
    lab.forwarder.go_live();
    assert_eq!(lab.paper.maps().generic, BTreeSet::from([ETH0, ETH1]));
}

#[test]
fn a_port_that_cannot_be_had_when_the_tables_go_live_is_tried_again() {
    let mut lab = staged(AttachedMode::Native);
    lab.paper.maps().refuse_attach.insert(ETH1);
    lab.forwarder.go_live();
    assert_eq!(lab.paper.maps().attached, BTreeSet::from([ETH0]));
    assert!(lab.forwarder.published().ports[1].error.is_some());
    assert!(lab.forwarder.wake_at().is_some());
    lab.paper.maps().refuse_attach.clear();
    lab.net(address("10.1.0.2/24", ETH1));
    assert_eq!(lab.paper.maps().attached, BTreeSet::from([ETH0, ETH1]));
}

/// How the thread ends, by what it is told.
#[tokio::test]
async fn what_is_attached_stays_unless_the_thread_is_told_otherwise() {
    for (farewell, stays) in [(Some(Farewell::Keep), true), (None, true), (Some(Farewell::Remove), false)] {
        let lab = Lab::new();
        let (events, net) = tokio::sync::mpsc::channel(4);
        let (_rib, rib) = tokio::sync::mpsc::channel(1);
        let (_queries, queries) = tokio::sync::mpsc::channel(1);
        let (_doubts, doubts) = tokio::sync::mpsc::unbounded_channel();
        let (_live, live) = tokio::sync::mpsc::channel(1);
        let (stop, stopped) = watch::channel(None);
        let inputs = Inputs { net, doubts, queries, rib, live, stop: stopped };
        let task = tokio::spawn(run(lab.forwarder, inputs));
        match farewell {
            Some(farewell) => drop(stop.send_replace(Some(farewell))),
            // Netlink is lost.
            None => drop(events),
        }
        task.await.unwrap();
        assert_eq!(lab.paper.maps().attached.is_empty(), !stays, "{farewell:?}");
    }
}
