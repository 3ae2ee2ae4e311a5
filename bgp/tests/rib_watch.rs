//! Routes that depend on others: what shards say of aggregates and conditions, and what comes of the answers.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::{Disposition, Match, Policy, PolicyChain, PrefixList, Statement};
use bgp::rib::out::{ExportRules, GroupConfig};
use bgp::rib::watch::{Contributors, WatchList, WatchNews, Watcher};
use bgp::rib::{CommunityOrders, ImportRules, PeerSession, Rib, RibConfig};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    Attributes, DecodeContext, EncodeContext, Message, Origin, decode, encode_announce, encode_withdraw,
};
use bytes::BytesMut;
use ipnet::IpNet;

const OURS: Asn = Asn(65_000);
const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn session(peer: PeerId) -> PeerSession {
    PeerSession {
        id: peer,
        address: Ipv4Addr::new(192, 0, 2, peer.0 as u8).into(),
        asn: Asn(65_000 + u32::from(peer.0)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, peer.0 as u8)),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        as4: true,
        import: PolicyChain::all(),
        families: FamilySet::ALL,
        prepend_local_asn: false,
        enforce_first_as: true,
        reflection: bgp::rib::Reflection::default(),
        rules: ImportRules::default(),
        orders: CommunityOrders::default(),
        limits: Default::default(),
    }
}

fn rib() -> Rib {
    let mut config = RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99)));
    config.assume_reachable = true;
    let mut rib = Rib::new(config);
    rib.peer_up(session(A));
    rib
}

fn encode() -> EncodeContext {
    EncodeContext { as4: true, ..EncodeContext::default() }
}

fn send(rib: &mut Rib, out: &[u8]) {
    let context = DecodeContext { as4: true, families: FamilySet::ALL, ..DecodeContext::default() };
    let Message::Update(update) = decode(out, &context).unwrap() else { panic!("an UPDATE") };
    rib.updates(A, std::iter::once(update));
}

fn announce(rib: &mut Rib, prefix: &str, as_path: &str) {
    let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
    let attributes = Attributes {
        as_path: as_path.parse().unwrap(),
        origin: if as_path.contains('9') { Origin::Incomplete } else { Origin::Igp },
        ..Attributes::originated(next_hop)
    };
    let mut out = BytesMut::new();
    encode_announce(&mut out, Family::Ipv4Unicast, &attributes, [net(prefix)], &encode()).unwrap();
    send(rib, &out);
}

fn withdraw(rib: &mut Rib, prefix: &str) {
    let mut out = BytesMut::new();
    encode_withdraw(&mut out, Family::Ipv4Unicast, [net(prefix)], &encode());
    send(rib, &out);
}

fn observe(rib: &mut Rib, watcher: &mut Watcher) -> Vec<WatchNews> {
    let mut changes = Vec::new();
    rib.drain_changes(usize::MAX, &mut changes);
    for change in &changes {
        watcher.observe(change, rib);
    }
    watcher.drain()
}

fn list(text: &str) -> Arc<PrefixList> {
    Arc::new(PrefixList::new("l", vec![text.parse().unwrap()]))
}

fn group(rules: ExportRules, export: PolicyChain) -> GroupConfig {
    GroupConfig {
        export,
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        neighbor: None,
        next_hops: [Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 254)).into()), None],
        behind_local_asn: None,
        next_hop_self: false,
        reflection: bgp::rib::Reflection::default(),
        route_server: false,
        families: Family::Ipv4Unicast.into(),
        long_lived: false,
        limits: Default::default(),
        encode: encode(),
        most_paths: usize::MAX,
        rules,
    }
}

/// What is announced to a peer and withdrawn from it now.
fn read(rib: &mut Rib, peer: PeerId) -> (Vec<String>, Vec<String>) {
    let context = DecodeContext { as4: true, families: FamilySet::ALL, ..DecodeContext::default() };
    let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
    while let Some(batch) = rib.next_batch(peer, 1 << 20) {
        for piece in batch.messages {
            let mut rest: &[u8] = &piece;
            while let Some(length) = bgp::wire::frame_len(rest, 4096).unwrap() {
                let Message::Update(update) = decode(&rest[..length], &context).unwrap() else { panic!() };
                announced
                    .extend(update.announcements().flat_map(|some| some.nlri.iter()).map(|n| n.to_string()));
                withdrawn
                    .extend(update.withdrawals().flat_map(|(_, nlri)| nlri.iter()).map(|n| n.to_string()));
                rest = &rest[length..];
            }
        }
    }
    announced.sort();
    withdrawn.sort();
    (announced, withdrawn)
}

#[test]
fn an_aggregate_is_told_of_while_there_are_routes_within_it() {
    let mut rib = rib();
    let contributors =
        Contributors { prefix: net("10.0.0.0/8"), policy: PolicyChain::default(), as_set: true };
    let watch = WatchList { aggregates: vec![contributors], conditions: Vec::new() };
    let mut watcher = Watcher::new(watch.into(), OURS);
    announce(&mut rib, "10.0.0.0/8", "65001 1");
    announce(&mut rib, "11.0.0.0/16", "65001 1");
    assert_eq!(observe(&mut rib, &mut watcher), [], "neither itself nor what is elsewhere");
    announce(&mut rib, "10.1.0.0/16", "65001 1 2");
    announce(&mut rib, "10.2.0.0/16", "65001 9");
    let [WatchNews::Aggregate { index: 0, summary: Some(summary) }] = &observe(&mut rib, &mut watcher)[..]
    else {
        panic!("one summary")
    };
    assert_eq!((summary.origin, summary.as_path().to_string()), (Origin::Incomplete, "{1,2,9,65001}".into()));
    withdraw(&mut rib, "10.2.0.0/16");
    assert_eq!(observe(&mut rib, &mut watcher).len(), 1);
    withdraw(&mut rib, "10.1.0.0/16");
    assert_eq!(observe(&mut rib, &mut watcher), [WatchNews::Aggregate { index: 0, summary: None }]);
}

#[test]
fn a_condition_is_told_of_at_its_first_and_its_last_route() {
    let mut rib = rib();
    let watch = WatchList { aggregates: Vec::new(), conditions: vec![list("10.0.0.0/8 le 24")] };
    let mut watcher = Watcher::new(watch.clone().into(), OURS);
    let news = |present| vec![WatchNews::Condition { index: 0, present }];
    announce(&mut rib, "10.1.0.0/16", "65001");
    announce(&mut rib, "12.1.0.0/16", "65001");
    assert_eq!(observe(&mut rib, &mut watcher), news(true));
    announce(&mut rib, "10.2.0.0/16", "65001");
    withdraw(&mut rib, "10.1.0.0/16");
    assert_eq!(observe(&mut rib, &mut watcher), []);
    // Who begins to watch later sees what is there.
    let mut late = Watcher::new(watch.into(), OURS);
    rib.replay(|change| late.observe(change, &rib));
    assert_eq!(late.drain(), news(true));
    withdraw(&mut rib, "10.2.0.0/16");
    assert_eq!(observe(&mut rib, &mut watcher), news(false));
}

#[test]
fn what_an_aggregate_stands_for_is_withdrawn_and_comes_back() {
    let mut rib = rib();
    rib.peer_up(session(B));
    rib.export_up(B, group(ExportRules::default(), PolicyChain::all()));
    for prefix in ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/16"] {
        announce(&mut rib, prefix, "65001");
    }
    assert_eq!(read(&mut rib, B).0, ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/16"]);
    rib.suppress(net("10.0.0.0/8"), true);
    assert_eq!(read(&mut rib, B), (vec![], vec!["10.1.0.0/16".to_owned()]));
    assert_eq!(rib.exported(B, net("10.1.0.0/16")), []);
    announce(&mut rib, "10.2.0.0/16", "65001");
    assert_eq!(read(&mut rib, B).0, [""; 0]);
    rib.suppress(net("10.0.0.0/8"), false);
    assert_eq!(read(&mut rib, B).0, ["10.1.0.0/16", "10.2.0.0/16"]);
}

#[test]
fn a_default_route_goes_to_whom_it_is_for_and_by_its_condition() {
    let mut rib = rib();
    rib.peer_up(session(B));
    let statement = Statement {
        matches: vec![Match::RoutePresent { list: list("10.0.0.0/8"), index: 3 }],
        disposition: Some(Disposition::Accept),
        ..Statement::default()
    };
    let policy = Policy { statements: vec![statement], ..Policy::none() };
    let default_originate = Some(PolicyChain::new([Arc::new(policy)]));
    let rules = ExportRules { default_originate, ..ExportRules::default() };
    rib.export_up(B, group(rules, PolicyChain::none()));
    rib.export_up(A, group(ExportRules::default(), PolicyChain::all()));
    assert_eq!(read(&mut rib, B).0, [""; 0]);
    rib.set_condition(3, true);
    while rib.work(100) {}
    assert_eq!(read(&mut rib, B).0, ["0.0.0.0/0"]);
    assert_eq!(rib.exported(B, net("0.0.0.0/0"))[0].attributes.as_path.to_string(), "65000");
    rib.set_condition(3, false);
    while rib.work(100) {}
    assert_eq!(read(&mut rib, B).1, ["0.0.0.0/0"]);
    assert_eq!(read(&mut rib, A).0, [""; 0]);
    assert_eq!(rib.totals().prefixes, [0, 0]);
}

#[test]
fn import_is_judged_again_when_its_condition_changes() {
    let mut rib = rib();
    let statement = Statement {
        matches: vec![Match::RoutePresent { list: list("10.0.0.0/8"), index: 0 }],
        disposition: Some(Disposition::Reject),
        ..Statement::default()
    };
    let policy = Policy { statements: vec![statement], ..Policy::all() };
    rib.peer_up(PeerSession { import: PolicyChain::new([Arc::new(policy)]), ..session(A) });
    announce(&mut rib, "10.1.0.0/16", "65001");
    assert!(rib.best(net("10.1.0.0/16")).is_some());
    rib.set_condition(0, true);
    while rib.work(100) {}
    assert!(rib.best(net("10.1.0.0/16")).is_none());
}
