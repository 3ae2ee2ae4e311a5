//! Messages to changes, changes to events; and, as root, the real kernel in a namespace of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::mirror::Trust;
use super::parse::{Change, Route, change};
use super::{Link, Mac, Mirror, Neighbour, NeighbourKeeper, NetEvent, Netlink, RouteHop, VlanLink};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(ifindex: u32) -> Link {
    Link {
        ifindex,
        name: format!("eth{ifindex}"),
        mac: MAC,
        mtu: 1500,
        enabled: true,
        up: true,
        loopback: false,
        vlan: None,
    }
}

fn route(prefix: &str, metric: u32, hop: (u32, Option<&str>)) -> Route {
    let hops = vec![RouteHop { ifindex: hop.0, gateway: hop.1.map(ip) }];
    Route { prefix: net(prefix), metric, hops, merged: false }
}

fn neighbour(text: &str, mac: Option<Mac>) -> Neighbour {
    Neighbour { ifindex: 2, ip: ip(text), mac, usable: mac.is_some(), permanent: false, managed: false }
}

/// Fills a mirror.
fn fill(mirror: &mut Mirror, changes: impl IntoIterator<Item = Change>) {
    let _: (Vec<NetEvent>, Trust) = apply(mirror, changes);
}

/// The events of some changes, and whether the mirror still trusts itself.
fn apply(mirror: &mut Mirror, changes: impl IntoIterator<Item = Change>) -> (Vec<NetEvent>, Trust) {
    let mut events = Vec::new();
    let mut trust = Trust::Kept;
    for change in changes {
        if mirror.apply(change, &mut events) == Trust::Lost {
            trust = Trust::Lost;
        }
    }
    (events, trust)
}

#[test]
fn what_is_known_already_is_no_news() {
    let changes = [
        Change::Link(link(2)),
        Change::Address { ifindex: 2, net: net("10.0.0.1/24"), added: true },
        Change::Route(route("10.0.0.0/24", 0, (2, None))),
        Change::Neighbour(neighbour("10.0.0.9", Some(MAC))),
    ];
    let mut mirror = Mirror::default();
    let (events, _) = apply(&mut mirror, changes.clone());
    assert_eq!(events.len(), 4);
    let (events, trust) = apply(&mut mirror, changes);
    assert_eq!((events, trust), (Vec::new(), Trust::Kept));
}

#[test]
fn a_neighbour_whose_state_alone_changes_is_no_news() {
    let mut mirror = Mirror::default();
    fill(&mut mirror, [Change::Neighbour(neighbour("10.0.0.9", Some(MAC)))]);
    let kept = Neighbour { managed: true, ..neighbour("10.0.0.9", Some(MAC)) };
    assert_eq!(apply(&mut mirror, [Change::Neighbour(kept)]).0, []);
    assert!(mirror.neighbour(2, ip("10.0.0.9")).unwrap().managed);
    let failed = neighbour("10.0.0.9", None);
    assert_eq!(apply(&mut mirror, [Change::Neighbour(failed)]).0, [NetEvent::Neighbour(failed)]);
}

#[test]
fn of_several_routes_to_a_prefix_the_one_with_the_lowest_metric_counts() {
    let mut mirror = Mirror::default();
    let (low, high) = (route("192.0.2.0/24", 10, (2, None)), route("192.0.2.0/24", 20, (3, None)));
    let event =
        |hops: &Route| NetEvent::Route { prefix: hops.prefix, metric: hops.metric, hops: hops.hops.clone() };
    assert_eq!(apply(&mut mirror, [Change::Route(high.clone())]).0, [event(&high)]);
    assert_eq!(apply(&mut mirror, [Change::Route(low.clone())]).0, [event(&low)]);
    assert_eq!(apply(&mut mirror, [Change::RouteGone(low)]).0, [event(&high)]);
    let none = NetEvent::Route { prefix: high.prefix, metric: 0, hops: Vec::new() };
    assert_eq!(apply(&mut mirror, [Change::RouteGone(high)]).0, [none]);
}

#[test]
fn a_link_that_vanishes_takes_along_what_is_on_it_and_is_reported_last() {
    let mut mirror = Mirror::default();
    let mut both = route("198.51.100.0/24", 0, (2, Some("10.0.0.9")));
    both.hops.push(RouteHop { ifindex: 3, gateway: None });
    fill(
        &mut mirror,
        [
            Change::Link(link(2)),
            Change::Link(link(3)),
            Change::Address { ifindex: 2, net: net("10.0.0.1/24"), added: true },
            Change::Route(route("10.0.0.0/24", 0, (2, None))),
            Change::Route(both),
            Change::Neighbour(neighbour("10.0.0.9", Some(MAC))),
        ],
    );
    let (events, trust) = apply(&mut mirror, [Change::LinkGone(2)]);
    assert_eq!(trust, Trust::Lost);
    assert_eq!(events.last(), Some(&NetEvent::LinkGone { ifindex: 2 }));
    let hops = vec![RouteHop { ifindex: 3, gateway: None }];
    for expected in [
        NetEvent::Neighbour(neighbour("10.0.0.9", None)),
        NetEvent::Address { ifindex: 2, net: net("10.0.0.1/24"), added: false },
        NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() },
        NetEvent::Route { prefix: net("198.51.100.0/24"), metric: 0, hops },
    ] {
        assert!(events.contains(&expected), "{expected:?} in {events:?}");
    }
    assert_eq!(
        mirror.events(),
        apply(
            &mut Mirror::default(),
            [Change::Link(link(3)), Change::Route(route("198.51.100.0/24", 0, (3, None))),]
        )
        .0
    );
}

#[test]
fn changes_that_the_kernel_may_not_tell_in_full_cost_the_trust() {
    let mut merged = route("10.2.0.0/24", 0, (2, None));
    merged.merged = true;
    let cases = [
        Change::Link(Link { enabled: false, up: false, ..link(2) }),
        Change::Address { ifindex: 2, net: net("10.0.0.1/24"), added: false },
        Change::RouteGone(route("10.0.0.0/24", 0, (2, None))),
        Change::Route(merged),
    ];
    for case in cases {
        let mut mirror = Mirror::default();
        fill(&mut mirror, [Change::Link(link(2)), Change::Route(route("10.0.0.0/24", 0, (2, None)))]);
        assert_eq!(apply(&mut mirror, [case.clone()]).1, Trust::Lost, "{case:?}");
    }
    // Without a carrier the routes stay.
    let mut mirror = Mirror::default();
    fill(&mut mirror, [Change::Link(link(2))]);
    assert_eq!(apply(&mut mirror, [Change::Link(Link { up: false, ..link(2) })]).1, Trust::Kept);
}

#[test]
fn catching_up_reports_the_difference_and_nothing_else() {
    let (mut old, mut fresh) = (Mirror::default(), Mirror::default());
    let same = [Change::Link(link(2)), Change::Neighbour(neighbour("10.0.0.9", Some(MAC)))];
    fill(&mut old, same.clone());
    fill(&mut fresh, same);
    fill(
        &mut old,
        [
            Change::Link(link(3)),
            Change::Route(route("10.0.0.0/24", 0, (2, None))),
            Change::Neighbour(neighbour("10.0.0.8", Some(MAC))),
            Change::Address { ifindex: 2, net: net("10.0.0.1/24"), added: true },
        ],
    );
    fill(
        &mut fresh,
        [
            Change::Route(route("10.1.0.0/24", 0, (2, None))),
            Change::Address { ifindex: 2, net: net("10.1.0.1/24"), added: true },
        ],
    );
    let events = old.catch_up(fresh.clone());
    let hops = vec![RouteHop { ifindex: 2, gateway: None }];
    assert_eq!(
        events,
        [
            NetEvent::LinkGone { ifindex: 3 },
            NetEvent::Address { ifindex: 2, net: net("10.0.0.1/24"), added: false },
            NetEvent::Address { ifindex: 2, net: net("10.1.0.1/24"), added: true },
            NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops: Vec::new() },
            NetEvent::Route { prefix: net("10.1.0.0/24"), metric: 0, hops },
            NetEvent::Neighbour(neighbour("10.0.0.8", None)),
        ]
    );
    assert_eq!(old.catch_up(fresh), []);
}

fn route_message(to: &str, table: u8, attributes: Vec<RouteAttribute>) -> RouteNetlinkMessage {
    let to = net(to);
    let mut message = RouteMessage::default();
    message.header.address_family =
        if to.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = to.prefix_len();
    message.header.table = table;
    message.header.kind = RouteType::Unicast;
    message.header.protocol = RouteProtocol::Static;
    message.attributes = attributes;
    if to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.addr())));
    }
    RouteNetlinkMessage::NewRoute(message)
}

#[test]
fn only_unicast_routes_of_the_main_table_are_read() {
    let out = || vec![RouteAttribute::Oif(2)];
    assert_eq!(
        change(&route_message("192.0.2.0/24", 254, out()), 0),
        Some(Change::Route(route("192.0.2.0/24", 0, (2, None))))
    );
    for default in ["0.0.0.0/0", "::/0"] {
        let read = change(&route_message(default, 254, out()), 0);
        assert_eq!(read, Some(Change::Route(route(default, 0, (2, None)))));
    }
    for ignored in [
        route_message("192.0.2.0/24", 255, out()),
        route_message("192.0.2.0/24", 0, vec![RouteAttribute::Table(5179), RouteAttribute::Oif(2)]),
        route_message("fe80::/64", 254, out()),
        route_message("192.0.2.0/24", 254, Vec::new()),
    ] {
        assert_eq!(change(&ignored, 0), None, "{ignored:?}");
    }
    for flags in [NLM_F_APPEND, NLM_F_REPLACE] {
        let Some(Change::Route(route)) = change(&route_message("192.0.2.0/24", 254, out()), flags) else {
            panic!("a route");
        };
        assert!(route.merged);
    }
}

#[test]
fn an_ipv4_route_may_have_an_ipv6_gateway() {
    use rtnetlink::packet_route::route::RouteVia;
    let IpAddr::V6(gateway) = ip("fe80::1") else { unreachable!() };
    let message = route_message(
        "192.0.2.0/24",
        254,
        vec![RouteAttribute::Oif(2), RouteAttribute::Via(RouteVia::Inet6(gateway))],
    );
    assert_eq!(change(&message, 0), Some(Change::Route(route("192.0.2.0/24", 0, (2, Some("fe80::1"))))));
}

#[test]
fn a_neighbour_is_usable_while_its_mac_may_be_right() {
    let parse = |state: NeighbourState, lladdr: bool, managed: bool| {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 2;
        message.header.state = state;
        let to = NeighbourAddress::Inet(Ipv4Addr::new(10, 0, 0, 9));
        message.attributes.push(NeighbourAttribute::Destination(to));
        if lladdr {
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(MAC.0.to_vec()));
        }
        if managed {
            message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        match change(&RouteNetlinkMessage::NewNeighbour(message), 0) {
            Some(Change::Neighbour(neighbour)) => neighbour,
            other => panic!("{other:?}"),
        }
    };
    for state in [
        NeighbourState::Reachable,
        NeighbourState::Stale,
        NeighbourState::Delay,
        NeighbourState::Probe,
        NeighbourState::Permanent,
    ] {
        assert_eq!(parse(state, true, false).mac, Some(MAC), "{state:?}");
    }
    for state in [NeighbourState::Incomplete, NeighbourState::Failed, NeighbourState::Noarp] {
        let parsed = parse(state, true, true);
        assert!(!parsed.usable && parsed.mac.is_none() && parsed.managed, "{state:?}");
    }
    assert!(!parse(NeighbourState::Reachable, false, false).usable);
}

#[test]
fn a_vlan_interface_is_seen_with_what_it_sits_on() {
    let mut message = LinkMessage::default();
    message.header.index = 7;
    message.header.flags = LinkFlags::Up | LinkFlags::Running;
    message.attributes = vec![
        LinkAttribute::IfName("eth0.100".to_owned()),
        LinkAttribute::Mtu(1500),
        LinkAttribute::Address(MAC.0.to_vec()),
        LinkAttribute::Link(2),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(100)])),
        ]),
    ];
    let Some(Change::Link(link)) = change(&RouteNetlinkMessage::NewLink(message.clone()), 0) else {
        panic!("a link");
    };
    assert_eq!(link.vlan, Some(VlanLink { parent: 2, vid: 100 }));
    assert!(link.up && link.enabled && !link.loopback);
    message.header.interface_family = AddressFamily::Bridge;
    assert_eq!(change(&RouteNetlinkMessage::DelLink(message), 0), None, "it merely left its bridge");
}

/// Runs `body` in a fresh network namespace, on a thread of its own; says so when it can not.
pub(crate) fn in_fresh_namespace<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F + Send) {
    if !nix::unistd::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
        println!("SKIPPED {name}: needs root and the command ip");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            sh("ip link set lo up");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), body()).await.unwrap() });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a command in the namespace of the calling thread and answers what it printed.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until an event satisfies `wanted`; everything seen until then.
async fn until(netlink: &mut Netlink, wanted: impl Fn(&NetEvent) -> bool) -> Vec<NetEvent> {
    let mut seen = Vec::new();
    loop {
        let events = tokio::time::timeout(Duration::from_secs(10), netlink.next()).await;
        let events = events.unwrap_or_else(|_| panic!("not seen, but: {seen:#?}"));
        let found = events.iter().any(&wanted);
        seen.extend(events);
        if found {
            return seen;
        }
    }
}

#[test]
fn the_life_of_a_veth_is_followed() {
    in_fresh_namespace("the_life_of_a_veth_is_followed", || async {
        // A dump shows link-local addresses before they are announced.
        sh("echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode");
        let mut netlink = Netlink::connect().await.unwrap();
        sh("ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up");
        until(&mut netlink, |event| matches!(event, NetEvent::Link(link) if link.name == "p1" && link.up))
            .await;
        let a = netlink.mirror().link_named("p1").unwrap().ifindex;

        sh("ip addr add 10.0.0.1/24 dev p1");
        let hops = vec![RouteHop { ifindex: a, gateway: None }];
        let connected = NetEvent::Route { prefix: net("10.0.0.0/24"), metric: 0, hops };
        let seen = until(&mut netlink, |event| *event == connected).await;
        assert!(seen.contains(&NetEvent::Address { ifindex: a, net: net("10.0.0.1/24"), added: true }));

        sh("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev p1 nud reachable");
        let seen = until(&mut netlink, |event| matches!(event, NetEvent::Neighbour(_))).await;
        let expected = Neighbour { ifindex: a, ..neighbour("10.0.0.9", Some(MAC)) };
        assert_eq!(seen, [NetEvent::Neighbour(expected)]);

        let fresh = Netlink::connect().await.unwrap();
        assert_eq!(fresh.mirror().events(), netlink.mirror().events(), "a dump shows the same");

        sh("ip link del p1");
        until(&mut netlink, |event| *event == NetEvent::LinkGone { ifindex: a }).await;
        assert!(netlink.mirror().addresses().all(|(on, _)| on != a));
        assert!(netlink.mirror().neighbour(a, ip("10.0.0.9")).is_none());
    });
}

#[test]
fn routes_that_the_kernel_drops_silently_are_missed() {
    in_fresh_namespace("routes_that_the_kernel_drops_silently_are_missed", || async {
        sh("ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up");
        sh("ip addr add 10.0.0.1/24 dev p1 && ip route add 192.0.2.0/24 via 10.0.0.9 dev p1");
        let mut netlink = Netlink::connect().await.unwrap();
        let gone = NetEvent::Route { prefix: net("192.0.2.0/24"), metric: 0, hops: Vec::new() };
        assert!(
            netlink.mirror().events().iter().any(
                |event| matches!(event, NetEvent::Route { prefix, .. } if *prefix == net("192.0.2.0/24"))
            )
        );
        // The kernel tells of the link and says nothing of IPv4 routes.
        sh("ip link set p1 down");
        until(&mut netlink, |event| *event == gone).await;
    });
}

#[test]
fn a_kernel_is_called_old_only_when_a_request_has_had_a_period_to_show() {
    in_fresh_namespace("a_kernel_is_called_old_only_when_a_request_has_had_a_period_to_show", || async {
        sh("ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up");
        sh("ip addr add 10.0.0.1/24 dev p1");
        sh("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev p1 nud reachable");
        // What this one knows never changes: the answers to requests are not heard.
        let netlink = Netlink::connect().await.unwrap();
        let a = netlink.mirror().link_named("p1").unwrap().ifindex;
        let mut keeper = NeighbourKeeper::default();
        keeper.keep_resolved(&netlink.handle(), netlink.mirror(), &[(a, ip("10.0.0.9"))].into()).await;
        keeper.refresh(&netlink.handle(), netlink.mirror()).await;
        assert!(!keeper.fell_back(), "the request may be but just made");
        keeper.refresh(&netlink.handle(), netlink.mirror()).await;
        assert!(keeper.fell_back());
    });
}

#[test]
fn a_neighbour_is_kept_resolved_by_the_kernel_until_it_is_released() {
    in_fresh_namespace("a_neighbour_is_kept_resolved_by_the_kernel_until_it_is_released", || async {
        sh("ip link add p1 type veth peer name x1 && ip link set p1 up && ip link set x1 up");
        sh("ip addr add 10.0.0.1/24 dev p1");
        sh("ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev p1 nud permanent");
        let netlink = Netlink::connect().await.unwrap();
        let a = netlink.mirror().link_named("p1").unwrap().ifindex;
        let mut keeper = NeighbourKeeper::default();
        let wanted = [(a, ip("10.0.0.9")), (a, ip("10.0.0.7"))].into();
        keeper.keep_resolved(&netlink.handle(), netlink.mirror(), &wanted).await;
        let shown = sh("ip neigh show dev p1");
        assert!(shown.lines().any(|line| line.contains("10.0.0.9") && line.contains("managed")), "{shown}");
        assert!(shown.lines().any(|line| line.contains("10.0.0.7") && line.contains("PERMANENT")), "{shown}");

        let netlink = Netlink::connect().await.unwrap();
        keeper.refresh(&netlink.handle(), netlink.mirror()).await;
        assert!(!keeper.fell_back());
        keeper.keep_resolved(&netlink.handle(), netlink.mirror(), &[].into()).await;
        let shown = sh("ip neigh show dev p1");
        assert!(!shown.contains("managed") && shown.contains("PERMANENT"), "{shown}");
    });
}
