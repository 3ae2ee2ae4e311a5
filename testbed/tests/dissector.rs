//! Every kind of message that the encoders write, read by another program: tshark.
//!
//! Each [`Script`] is what one side of a session sends, from an OPEN with the capabilities that the
//! messages behind it take. tshark must see the same messages, prefixes and path identifiers, and
//! find no fault with any of them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use bgp::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use bgp::wire::{
    AddPath, Aigp, AsPath, Attributes, Capability, Community, EncodeContext, ExtendedCommunity, Fqdn,
    GracefulRestart, LargeCommunity, LongLivedRestart, NextHop, Notification, Open, Origin, PathNlri,
    RouteRefresh, SegmentKind, UnknownAttribute, encode_announce, encode_end_of_rib, encode_keepalive,
    encode_withdraw, notification::codes, parse_attributes,
};
use bytes::BytesMut;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use testbed::capture::AsNumbers;
use testbed::{capture, skip};

/// Message types.
const OPEN: u8 = 1;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;
const ROUTE_REFRESH: u8 = 5;

/// What one side sends, and what there is to be seen in it.
#[derive(Default)]
struct Script {
    stream: BytesMut,
    messages: Vec<u8>,
    prefixes: usize,
    path_ids: usize,
}

impl Script {
    fn open(&mut self, asn: Asn, capabilities: Vec<Capability>) {
        let id = RouterId(Ipv4Addr::new(192, 0, 2, 1));
        Open::new(asn, HoldTime::DEFAULT, id, capabilities).encode(&mut self.stream);
        self.messages.push(OPEN);
    }

    fn keepalive(&mut self) {
        encode_keepalive(&mut self.stream);
        self.messages.push(KEEPALIVE);
    }

    fn refresh(&mut self, family: Family, subtype: u8) {
        RouteRefresh::new(family, subtype).encode(&mut self.stream);
        self.messages.push(ROUTE_REFRESH);
    }

    fn notification(&mut self, notification: &Notification) {
        notification.encode(&mut self.stream);
        self.messages.push(NOTIFICATION);
    }

    fn end_of_rib(&mut self, family: Family) {
        encode_end_of_rib(&mut self.stream, family);
        self.messages.push(UPDATE);
    }

    fn announce(&mut self, attributes: &Attributes, routes: &[PathNlri], ctx: EncodeContext) -> Result<()> {
        let family = Family::of(&routes[0].prefix);
        let routes = routes.iter().copied();
        let count = encode_announce(&mut self.stream, family, attributes, routes.clone(), &ctx)?;
        self.updates(count, family, routes.len(), ctx);
        Ok(())
    }

    fn withdraw(&mut self, routes: &[PathNlri], ctx: EncodeContext) {
        let family = Family::of(&routes[0].prefix);
        let count = encode_withdraw(&mut self.stream, family, routes.iter().copied(), &ctx);
        self.updates(count, family, routes.len(), ctx);
    }

    fn updates(&mut self, count: usize, family: Family, prefixes: usize, ctx: EncodeContext) {
        self.messages.extend(vec![UPDATE; count]);
        self.prefixes += prefixes;
        if ctx.add_path.contains(family) {
            self.path_ids += prefixes;
        }
    }
}

/// Capabilities of every kind, with those that a context stands for as it says.
fn capabilities(asn: Asn, ctx: EncodeContext) -> Vec<Capability> {
    let mut all: Vec<Capability> = Family::ALL.map(Capability::MultiProtocol).to_vec();
    all.extend([
        Capability::RouteRefresh,
        Capability::EnhancedRouteRefresh,
        Capability::Role(4),
        Capability::GracefulRestart(GracefulRestart {
            restarting: true,
            notification: true,
            restart_time: GracefulRestart::LONGEST,
            families: FamilySet::ALL,
            forwarding: Family::Ipv4Unicast.into(),
        }),
        Capability::LongLivedGracefulRestart(LongLivedRestart {
            stale_times: [LongLivedRestart::LONGEST, 60],
            forwarding: FamilySet::ALL,
        }),
        Capability::Fqdn(Fqdn::new("router.example.net")),
        Capability::SoftwareVersion("Peregrine 0.1.0".to_owned()),
    ]);
    if ctx.as4 {
        all.push(Capability::FourOctetAsn(asn));
    }
    if ctx.extended {
        all.push(Capability::ExtendedMessage);
    }
    if ctx.extended_next_hop {
        all.push(Capability::ExtendedNextHop(vec![(1, 1, 2)]));
    }
    let add_path: Vec<AddPath> = ctx.add_path.iter().map(|family| AddPath::new(family, true, true)).collect();
    if !add_path.is_empty() {
        all.push(Capability::AddPath(add_path));
    }
    all
}

/// OPENs with one capability each, with all of them and with none. More than 255 octets of them make an
/// OPEN of RFC 9072, which tshark 4.0 does not know.
fn opens() -> Script {
    let ctx = EncodeContext { as4: true, extended: true, add_path: FamilySet::ALL, extended_next_hop: true };
    let all = capabilities(Asn(70_000), ctx);
    let mut script = Script::default();
    let helper = Capability::GracefulRestart(GracefulRestart {
        notification: true,
        restart_time: 120,
        ..GracefulRestart::default()
    });
    for capability in all.iter().chain([&helper, &Capability::Fqdn(Fqdn::new("router"))]) {
        script.open(Asn(64_500), vec![capability.clone()]);
    }
    for role in 0..=4 {
        script.open(Asn(64_500), vec![Capability::Role(role)]);
    }
    script.open(Asn(70_000), all);
    script.open(Asn(64_500), Vec::new());
    script
}

/// NOTIFICATIONs of every code and subcode that has a name, with the data that goes with some.
fn notifications() -> Script {
    let mut script = Script::default();
    let subcodes = (1..=8_u8).flat_map(|code| (0..=20_u8).map(move |subcode| (code, subcode)));
    for (code, subcode) in subcodes {
        let notification = Notification::new(code, subcode);
        if subcode == 0 || !notification.to_string().ends_with(&format!("/{subcode}")) {
            script.notification(&notification);
        }
    }
    let with = |code, subcode, data: &[u8]| Notification { code, subcode, data: data.to_vec() };
    let shutdown = Notification::administrative_shutdown("maintenance until 06:00, \u{e9}");
    for notification in [
        with(codes::HEADER, codes::header::BAD_LENGTH, &[0, 18]),
        with(codes::HEADER, codes::header::BAD_TYPE, &[9]),
        with(codes::OPEN, codes::open::UNSUPPORTED_VERSION, &[0, 4]),
        with(codes::OPEN, codes::open::UNSUPPORTED_CAPABILITY, &[1, 4, 0, 1, 0, 1]),
        with(codes::UPDATE, codes::update::ATTRIBUTE_FLAGS, &[0, 1, 1, 0]),
        with(codes::UPDATE, codes::update::ATTRIBUTE_LENGTH, &[0x40, 1, 2, 0, 0]),
        with(codes::CEASE, codes::cease::MAX_PREFIXES, &[0, 1, 1, 0, 0, 3, 232]),
        with(codes::UPDATE, codes::update::MALFORMED_LIST, &[0x40; 4075]),
        Notification::administrative_shutdown(&"y".repeat(300)),
        Notification::administrative_reset("new software"),
        Notification::cease(codes::cease::MAX_PREFIXES).into_hard_reset(),
        shutdown.clone().into_hard_reset(),
        shutdown,
    ] {
        script.notification(&notification);
    }
    script
}

fn path(text: &str) -> Result<AsPath> {
    text.parse().with_context(|| text.to_owned())
}

/// Attributes of every kind: one at a time beside the mandatory ones, and all together.
fn attribute_sets(next_hop: NextHop, extended: bool) -> Result<Vec<Attributes>> {
    let base = Attributes { as_path: path("64501 70000")?, ..Attributes::originated(next_hop) };
    let with = |change: &dyn Fn(&mut Attributes)| {
        let mut attributes = base.clone();
        change(&mut attributes);
        attributes
    };
    let mut confederation = AsPath::new();
    confederation.push(SegmentKind::ConfedSequence, [Asn(65_001), Asn(65_002)]);
    confederation.push(SegmentKind::ConfedSet, [Asn(65_003), Asn(65_004)]);
    confederation.push(SegmentKind::Sequence, [Asn(64_501), Asn(4_200_000_000)]);
    let mut long_path = AsPath::new();
    long_path.push(SegmentKind::Sequence, (1..=600).map(|n| Asn(64_500 + n * 1000)));
    let address = Ipv4Addr::new(192, 0, 2, 9);
    let large = |global| LargeCommunity { global, local1: 1, local2: u32::MAX };
    // Types of AIGP, route targets, origins, link bandwidth, opaque, and one that nobody knows.
    let extended_communities = [
        [0x00, 2, 0xfb, 0xf4, 0, 0, 0, 7],
        [0x01, 2, 192, 0, 2, 1, 0, 7],
        [0x02, 2, 0, 1, 0x11, 0x70, 0, 7],
        [0x00, 3, 0xfb, 0xf4, 0, 0, 0, 8],
        [0x40, 4, 0xfb, 0xf4, 0x49, 0x98, 0x96, 0x80],
        [0x03, 0x0b, 0, 0, 0, 0, 0, 1],
    ]
    .map(ExtendedCommunity);
    let unknown = |code, length| UnknownAttribute { flags: 0xe0, code, value: vec![0x5a; length] };

    let mut sets = vec![
        base.clone(),
        with(&|set| set.origin = Origin::Egp),
        with(&|set| set.origin = Origin::Incomplete),
        with(&|set| set.as_path = AsPath::new()),
        with(&|set| set.as_path = confederation.clone()),
        with(&|set| set.as_path = long_path.clone()),
        with(&|set| set.med = Some(u32::MAX)),
        with(&|set| set.local_pref = Some(100)),
        with(&|set| set.atomic_aggregate = true),
        with(&|set| set.aggregator = Some((Asn(64_501), address))),
        with(&|set| set.aggregator = Some((Asn(70_000), address))),
        with(&|set| set.communities = Community::WELL_KNOWN.map(|(community, _)| community).to_vec()),
        with(&|set| set.communities = (1..=500).map(|n| Community::new(64_500, n)).collect()),
        with(&|set| set.originator_id = Some(RouterId(address))),
        // One with a length of two octets is read from the wrong octet on by tshark 4.0.
        with(&|set| set.cluster_list = vec![address; 60]),
        with(&|set| set.extended_communities = extended_communities.to_vec()),
        with(&|set| set.large_communities = (1..=40).map(large).collect()),
        with(&|set| set.aigp = Some(Aigp { metric: 1000, others: Vec::new() })),
        with(&|set| set.otc = Some(Asn(70_000))),
        with(&|set| set.unknown = vec![unknown(250, 0), unknown(200, 255), unknown(201, 256)]),
    ];
    sets.push(with(&|set| set.as_path = path("64501 70000 {1,70001}").unwrap_or_default()));
    sets.push(Attributes {
        med: Some(5),
        local_pref: Some(200),
        atomic_aggregate: true,
        aggregator: Some((Asn(70_000), address)),
        communities: vec![Community::NO_EXPORT],
        originator_id: Some(RouterId(address)),
        cluster_list: vec![address],
        extended_communities: extended_communities.to_vec(),
        large_communities: vec![large(70_000)],
        aigp: Some(Aigp { metric: 1, others: Vec::new() }),
        otc: Some(Asn(64_501)),
        unknown: vec![unknown(250, 3)],
        ..base.clone()
    });
    // Somebody on the way did not know COMMUNITIES and LARGE_COMMUNITY: the Partial flag stays.
    let mut key = base.to_key();
    key.extend([0xe0, 8, 4, 0xfb, 0xf4, 0, 1]);
    key.extend([0xe0, 32, 12, 0, 0, 0xfb, 0xf4, 0, 0, 0, 1, 0, 0, 0, 2]);
    let (partial, _) = parse_attributes(&key).context("attributes with the Partial flag")?;
    ensure!(partial.partial.codes().eq([8, 32]), "{partial:?}");
    sets.push(partial);
    if extended {
        sets.push(with(&|set| set.communities = (0..=15_000).map(Community).collect()));
    }
    Ok(sets)
}

/// This many prefixes of a family, of every length from an eighth of the longest on, with path identifiers.
/// Whether there are any tshark guesses by the octets: shorter prefixes look like identifiers.
fn routes(family: Family, count: u32) -> Result<Vec<PathNlri>> {
    let bits = u32::from(family.address_bits());
    let route = |n: u32| {
        let length = (bits / 8 + n % (bits - bits / 8 + 1)) as u8;
        let prefix = match family {
            Family::Ipv4Unicast => IpNet::V4(Ipv4Net::new((0x0a00_0000 | n << 8).into(), length)?.trunc()),
            Family::Ipv6Unicast => {
                IpNet::V6(Ipv6Net::new((0x2001_0db8 << 96 | u128::from(n) << 64).into(), length)?.trunc())
            }
        };
        Ok(PathNlri { prefix, path_id: n + 1 })
    };
    (0..count).map(route).collect()
}

/// A session in one context: everything that may be sent in it.
fn session(ctx: EncodeContext) -> Result<Script> {
    let mut script = Script::default();
    let asn = Asn(if ctx.as4 { 70_000 } else { 64_500 });
    script.open(asn, capabilities(asn, ctx));
    script.keepalive();
    let v4: NextHop = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)).into();
    let global: IpAddr = "2001:db8::1".parse()?;
    let link_local = Some("fe80::1".parse()?);
    let v6 = [
        NextHop::from(global),
        NextHop { addr: global, link_local },
        NextHop::from("fe80::2".parse::<IpAddr>()?),
    ];
    // More than two messages hold.
    let many = if ctx.extended { 20_000 } else { 3_000 };
    for family in Family::ALL {
        let of_family: &[NextHop] = match family {
            Family::Ipv4Unicast if ctx.extended_next_hop => &v6,
            Family::Ipv4Unicast => &[v4],
            Family::Ipv6Unicast => &v6,
        };
        for next_hop in of_family {
            for attributes in attribute_sets(*next_hop, ctx.extended)? {
                script.announce(&attributes, &routes(family, 3)?, ctx)?;
            }
        }
        let attributes = Attributes { as_path: path("64501")?, ..Attributes::originated(of_family[0]) };
        script.announce(&attributes, &routes(family, many)?, ctx)?;
        script.withdraw(&routes(family, many)?, ctx);
        script.withdraw(&routes(family, 1)?, ctx);
        script.end_of_rib(family);
        for subtype in [RouteRefresh::REQUEST, RouteRefresh::BEGIN, RouteRefresh::END] {
            script.refresh(family, subtype);
        }
    }
    script.notification(&Notification::administrative_shutdown("done"));
    Ok(script)
}

fn contexts() -> Vec<EncodeContext> {
    let mut all = Vec::new();
    for as4 in [true, false] {
        for extended in [false, true] {
            for extended_next_hop in [false, true] {
                for add_path in [FamilySet::EMPTY, FamilySet::ALL] {
                    all.push(EncodeContext { as4, extended, add_path, extended_next_hop });
                }
            }
        }
    }
    all
}

fn judge(script: &Script, numbers: AsNumbers) -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("dissector-{}-{}.pcap", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    capture::write_stream(&file, &script.stream)?;
    let seen = capture::judge(&file, numbers);
    std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    let seen = seen?;
    seen.sound()?;
    if seen.unread > 0 {
        let count = seen.messages.len() + seen.unread;
        ensure!(count == script.messages.len(), "{count} messages, {} written", script.messages.len());
        return Ok(());
    }
    ensure!(seen.messages == script.messages, "other messages: {:?}", seen.messages);
    let counts = (seen.prefixes, seen.path_ids);
    ensure!(counts == (script.prefixes, script.path_ids), "prefixes and path identifiers: {counts:?}");
    Ok(())
}

#[test]
fn tshark_finds_no_fault_with_any_kind_of_message() -> Result<()> {
    if !skip::installed(&capture::PROGRAMS) {
        skip::note("dissector::tshark_finds_no_fault_with_any_kind_of_message", "tshark is not installed");
        return Ok(());
    }
    let mut scripts = vec![
        ("OPENs".to_owned(), opens(), AsNumbers::Four),
        ("NOTIFICATIONs".to_owned(), notifications(), AsNumbers::Four),
    ];
    for ctx in contexts() {
        let numbers = if ctx.as4 { AsNumbers::Four } else { AsNumbers::Two };
        scripts.push((format!("{ctx:?}"), session(ctx)?, numbers));
    }
    let mut wrong = Vec::new();
    for (name, script, numbers) in &scripts {
        if let Err(error) = judge(script, *numbers) {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

/// The judge is one: what is wrong in a message, and only there, is a fault.
#[test]
fn tshark_finds_the_fault_of_a_broken_message() -> Result<()> {
    if !skip::installed(&capture::PROGRAMS) {
        skip::note("dissector::tshark_finds_the_fault_of_a_broken_message", "tshark is not installed");
        return Ok(());
    }
    let ctx = EncodeContext { as4: true, ..EncodeContext::default() };
    let sound = session(ctx)?;
    let attributes = Attributes::originated(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)));
    let mut update = Script::default();
    update.announce(&attributes, &routes(Family::Ipv4Unicast, 1)?, ctx)?;
    // The length of all attributes, the type of the first, the lengths of the AS path and of the prefix.
    for (at, octet) in [(22, 200), (24, 14), (29, 7), (37, 99)] {
        let mut broken = update.stream.clone();
        broken[at] = octet;
        let script =
            Script { stream: [&sound.stream[..], &broken].concat().as_slice().into(), ..Script::default() };
        let said = judge(&script, AsNumbers::Four).err().map(|error| format!("{error:#}"));
        let found = said.as_ref().is_some_and(|said| said.contains("fault with 1 packets"));
        ensure!(found, "octet {at} made {octet}: {said:?}");
    }
    Ok(())
}
