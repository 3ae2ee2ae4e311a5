//! Forwarding that outlives the daemon, with the real kernel, as root, in namespaces of its own.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::tests_live::{Heard, config, index_of, lay_out, programs_on};
use super::{
    Farewell, FibRow, ForwardingConfig, ForwardingHandle, NextHopState, RibBatch, RouteChange, RouteFilter,
    RouteTarget, let_go, start,
};
use crate::host;
use crate::netlink::tests::{in_fresh_namespace, sh};
use crate::xdp::{AttachedMode, DataPlane, Pins, XdpMode};

fn kept(interfaces: &[&str]) -> ForwardingConfig {
    ForwardingConfig { keep: true, ..config(interfaces) }
}

async fn started(config: ForwardingConfig) -> ForwardingHandle {
    let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
    start(config, Box::new(Heard(sender))).await.unwrap()
}

fn pins() -> Pins {
    Pins::find().unwrap().unwrap()
}

/// Waits for the FIB thread to have begun.
async fn pinned(names: usize) {
    let began = Instant::now();
    while pins().names().len() != names {
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", pins().names());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn route(handle: &ForwardingHandle, prefix: &str, next_hop: &str) {
    let next_hop: IpAddr = next_hop.parse().unwrap();
    let prefix = prefix.parse().unwrap();
    let target = RouteTarget::Via { next_hops: vec![next_hop], backup: None };
    let routes = vec![RouteChange { prefix, target }];
    let batch =
        RibBatch { id: None, next_hops: Vec::new(), routes, arrivals: Vec::new(), settled: Vec::new() };
    handle.room().await.unwrap().send(batch);
    loop {
        let rows = handle.fib_routes(RouteFilter::Exact(prefix)).await.unwrap();
        let is_there = |row: &FibRow| row.installed || row.status == "staged";
        if rows.iter().any(|row| is_there(row) && row.next_hops[0].state == NextHopState::Forward) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the kernel has let go of a program, and so of its maps.
async fn is_unloaded(id: u32) {
    let began = Instant::now();
    while aya::programs::loaded_programs().any(|program| program.is_ok_and(|program| program.id() == id)) {
        assert!(began.elapsed() < Duration::from_secs(10), "program {id} is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn nothing_is_left() {
    assert!(!sh("ip rule; ip link").contains("5179") && !sh("ip link").contains("pg-"), "{}", sh("ip link"));
    assert!(!sh("ip link").contains("xdp"), "{}", sh("ip link"));
    assert!(pins().names().is_empty(), "{:?}", pins().names());
    assert!(!pins().namespaces().iter().any(|cookie| cookie == pins().cookie()));
}

#[test]
fn forwarding_goes_on_until_the_next_run_has_its_own_tables_and_goes_over_to_them() {
    let name = "forwarding_goes_on_until_the_next_run_has_its_own_tables_and_goes_over_to_them";
    in_fresh_namespace(name, || async {
        lay_out();
        sh("ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:09 dev p1 nud permanent");
        let both = ["p1", "pg-xdp"];
        let first = started(kept(&["p1"])).await;
        assert!(first.keeps() && !first.found_earlier() && !first.stats().staged);
        route(&first, "192.0.2.0/24", "10.1.0.9").await;
        pinned(2).await;
        let before = programs_on(&both);
        assert_eq!(before.len(), 2);
        let pair = index_of("pg-xdp");
        first.stop(Farewell::Keep).await;
        drop(first);
        assert_eq!(programs_on(&both), before, "it stays when the daemon ends");
        assert!(sh("ip rule").contains("5179"));

        // A start that fails leaves it alone; and so does one that is killed before the end of its staging.
        let (sender, _heard) = tokio::sync::mpsc::unbounded_channel();
        start(kept(&["p1", "p7"]), Box::new(Heard(sender))).await.unwrap_err();
        assert_eq!(programs_on(&both), before);
        let second = started(kept(&["p1"])).await;
        assert!(second.found_earlier() && second.stats().staged);
        second.stop(Farewell::Keep).await;
        assert_eq!(programs_on(&both), before);
        assert_eq!(pins().names().len(), 2);

        let third = started(kept(&["p1"])).await;
        route(&third, "198.51.100.0/24", "10.1.0.9").await;
        assert_eq!(programs_on(&both), before, "while its tables are filled");
        third.go_live().await.unwrap();
        let stats = third.stats();
        assert!(!stats.staged && stats.took_over.is_some());
        assert!(stats.ports.iter().all(|port| port.mode == Some(AttachedMode::Native)), "{:?}", stats.ports);
        let after = programs_on(&both);
        assert!(after.len() == 2 && after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
        assert_eq!(pins().names().len(), 2);
        assert_eq!(index_of("pg-xdp"), pair, "the pair is the same");
        is_unloaded(before[0]).await;
        third.stop(Farewell::Keep).await;
        assert_eq!(programs_on(&both), after);

        // Told to remove all while it is staged, it removes what the run before has left as well.
        let fourth = started(kept(&["p1"])).await;
        assert!(fourth.stats().staged);
        fourth.stop(Farewell::Remove).await;
        nothing_is_left();
    });
}

#[test]
fn ports_that_are_no_more_are_let_go_and_new_ones_attached_when_the_tables_go_live() {
    let name = "ports_that_are_no_more_are_let_go_and_new_ones_attached_when_the_tables_go_live";
    in_fresh_namespace(name, || async {
        lay_out();
        sh(
            "for i in 2 3 4; do ip link add p$i type veth peer name x$i; ip link set p$i up; ip link set x$i up; done",
        );
        let first = started(kept(&["p1", "p2", "p4"])).await;
        pinned(4).await;
        first.stop(Farewell::Keep).await;
        // One goes, and comes back as another one.
        sh(
            "ip link del p4 && ip link add p4 type veth peer name x4 && ip link set p4 up && ip link set x4 up",
        );
        let second = started(kept(&["p1", "p3", "p4"])).await;
        assert_eq!(programs_on(&["p1", "p2"]).len(), 2);
        assert_eq!(programs_on(&["p3", "p4"]).len(), 0);
        second.go_live().await.unwrap();
        assert_eq!(programs_on(&["p1", "p3", "p4", "pg-xdp"]).len(), 4);
        assert_eq!(programs_on(&["p2"]).len(), 0);
        let mut expected = ["p1", "p3", "p4", "pg-xdp"].map(|name| format!("{}-native", index_of(name)));
        expected.sort();
        let mut names = pins().names();
        names.sort();
        assert_eq!(names, expected);
        second.stop(Farewell::Keep).await;

        // A configuration without any ports forwards nothing any more.
        let removed = let_go().await.unwrap();
        assert_eq!(removed.programs, 4);
        nothing_is_left();
    });
}

#[test]
fn ports_that_are_all_other_ones_than_before_are_attached_at_once() {
    let name = "ports_that_are_all_other_ones_than_before_are_attached_at_once";
    in_fresh_namespace(name, || async {
        lay_out();
        let first = started(kept(&["p1"])).await;
        pinned(2).await;
        first.stop(Farewell::Keep).await;
        sh(
            "ip link del p1 && ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up",
        );
        let second = started(kept(&["p1"])).await;
        assert!(!second.stats().staged && !second.found_earlier());
        assert_eq!(programs_on(&["p1", "pg-xdp"]).len(), 2);
        pinned(2).await;
        second.stop(Farewell::Remove).await;
        nothing_is_left();
    });
}

#[test]
fn a_port_that_went_to_another_namespace_is_none_of_ours() {
    let name = "a_port_that_went_to_another_namespace_is_none_of_ours";
    in_fresh_namespace(name, || async {
        lay_out();
        // Its name comes before that of the pair's end, whose index has one digit.
        sh("ip link add p2 index 1000 type veth peer name x2 && ip link set p2 up && ip link set x2 up");
        let first = started(kept(&["p1", "p2"])).await;
        pinned(3).await;
        first.stop(Farewell::Keep).await;
        let (moved, pair) = (index_of("p2"), index_of("pg-xdp"));
        assert_ne!(pair, 10);
        // There it gets the index that our end of the pair has here.
        sh(&format!(
            "unshare -n sleep 5 >/dev/null 2>&1 & there=$!; sleep 0.3; in=\"nsenter -t $there -n\"; \
             $in ip link add index {moved} name d type veth peer name e; ip link set p2 name q2; \
             ip link set q2 netns $there index {pair}; \
             [ \"$($in cat /proc/net/dev | grep -c q2)\" = 1 ]"
        ));
        let second = started(kept(&["p1"])).await;
        second.go_live().await.unwrap();
        let programs = programs_on(&["p1", "pg-xdp"]);
        assert_eq!(programs.len(), 2);
        assert_eq!(programs[0], programs[1], "both are of this run");
        let mut expected = ["p1", "pg-xdp"].map(|name| format!("{}-native", index_of(name)));
        expected.sort();
        let mut names = pins().names();
        names.sort();
        assert_eq!(names, expected);
        second.stop(Farewell::Remove).await;
        nothing_is_left();
    });
}

#[test]
fn another_mode_is_attached_anew_and_a_mode_that_is_left_to_us_stays() {
    in_fresh_namespace("another_mode_is_attached_anew_and_a_mode_that_is_left_to_us_stays", || async {
        lay_out();
        let run = async |mode, expected: AttachedMode| {
            let handle = started(ForwardingConfig { mode, ..kept(&["p1"]) }).await;
            handle.go_live().await.unwrap();
            let ports = handle.stats().ports;
            assert!(ports.iter().all(|port| port.mode == Some(expected)), "{ports:?}");
            pinned(2).await;
            assert!(pins().names().iter().all(|name| name.ends_with(&format!("-{expected}"))));
            handle.stop(Farewell::Keep).await;
        };
        run(XdpMode::Auto, AttachedMode::Native).await;
        run(XdpMode::Generic, AttachedMode::Generic).await;
        let generic = programs_on(&["p1"]);
        run(XdpMode::Auto, AttachedMode::Generic).await;
        assert_ne!(programs_on(&["p1"]), generic);
        run(XdpMode::Native, AttachedMode::Native).await;
        assert_eq!(host::detach("/nowhere".as_ref()).await.unwrap().programs, 2);
        nothing_is_left();
    });
}

/// What another version of the daemon has pinned, and ports that run two programs because a daemon died between two
/// of them.
#[test]
fn whatever_pinned_it_is_taken_over() {
    in_fresh_namespace("whatever_pinned_it_is_taken_over", || async {
        lay_out();
        let first = started(kept(&["p1"])).await;
        pinned(2).await;
        let before = programs_on(&["p1", "pg-xdp"]);
        first.stop(Farewell::Keep).await;
        pins().rename_version("v7");
        let mut died = DataPlane::load(&kept(&["p1"]).plane()).unwrap();
        died.adopt(pins());
        died.attach(index_of("p1"), "p1", XdpMode::Native).unwrap();
        drop(died);
        let [port, pair] = programs_on(&["p1", "pg-xdp"])[..] else { panic!("a port has lost its program") };
        assert!(port != before[0] && pair == before[1]);

        let second = started(kept(&["p1"])).await;
        assert!(second.stats().staged);
        assert_eq!(programs_on(&["p1", "pg-xdp"]), [port, pair]);
        second.go_live().await.unwrap();
        let after = programs_on(&["p1", "pg-xdp"]);
        assert!(after.len() == 2 && !after.contains(&port) && !after.contains(&pair));
        assert_eq!(pins().names().len(), 2, "the other version's names are gone: {:?}", pins().names());
        second.stop(Farewell::Keep).await;
        assert_eq!(programs_on(&["p1", "pg-xdp"]), after);
        assert_eq!(host::detach("/nowhere".as_ref()).await.unwrap().programs, 2);
        nothing_is_left();
    });
}

#[test]
fn without_keeping_an_earlier_run_is_taken_over_for_as_long_as_the_daemon_lives() {
    let name = "without_keeping_an_earlier_run_is_taken_over_for_as_long_as_the_daemon_lives";
    in_fresh_namespace(name, || async {
        lay_out();
        let first = started(kept(&["p1"])).await;
        pinned(2).await;
        first.stop(Farewell::Keep).await;
        let second = started(config(&["p1"])).await;
        assert!(second.stats().staged && !second.keeps());
        second.go_live().await.unwrap();
        assert_eq!(programs_on(&["p1", "pg-xdp"]).len(), 2);
        assert!(pins().names().is_empty());
        second.stop(Farewell::Keep).await;
        nothing_is_left();
    });
}

#[test]
fn what_is_pinned_for_a_namespace_that_has_gone_is_swept() {
    let mut cookie = String::new();
    in_fresh_namespace("what_is_pinned_for_a_namespace_that_has_gone_is_swept", || async {
        lay_out();
        let handle = started(kept(&["p1"])).await;
        pinned(2).await;
        handle.stop(Farewell::Keep).await;
        cookie = pins().cookie().to_owned();
    });
    if cookie.is_empty() {
        return;
    }
    in_fresh_namespace("what_is_pinned_for_a_namespace_that_has_gone_is_swept", || async {
        lay_out();
        assert!(pins().namespaces().contains(&cookie));
        let began = Instant::now();
        // The kernel takes its time to let a namespace go.
        while pins().namespaces().contains(&cookie) {
            assert!(began.elapsed() < Duration::from_secs(20));
            let handle = started(kept(&["p1"])).await;
            pinned(2).await;
            handle.stop(Farewell::Remove).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        nothing_is_left();
    });
}
