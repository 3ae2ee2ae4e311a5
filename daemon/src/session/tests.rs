//! Whole sessions over the loopback, from socket to shards and back, with one shard and with several.

mod restart;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::rib::view::Wanted;
use bgp::types::{Asn, Family, FamilySet, HoldTime, PeerId, RouterId};
use bgp::wire::Notification;
use bgp::wire::notification::codes;
use bgp::wire::{
    AsPath, AttributeContext, Attributes, Capability, DecodeContext, EncodeContext, MAX_MESSAGE, Message,
    Open, decode, encode_announce, encode_keepalive, encode_withdraw, frame_len,
};
use bytes::{Buf, BytesMut};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::{Peers, Rooms};
use crate::monitor::Monitor;
use crate::restart::Restart;
use crate::routing::{self, Outlets, RibHandle};

const ENCODE: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
const DECODE: DecodeContext = DecodeContext {
    as4: true,
    families: FamilySet::ALL,
    extended: false,
    add_path: FamilySet::EMPTY,
    extended_next_hop: false,
    ebgp: true,
};
/// Enough for a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon without its command line and API.
struct Daemon {
    rib: RibHandle,
    peers: Arc<Peers>,
    address: SocketAddr,
}

impl Daemon {
    /// Its neighbours are 127.0.0.2 and following, external ones, which give and get everything.
    fn start(rib_threads: u16, neighbors: u8) -> Self {
        Self::start_with(rib_threads, neighbors, "")
    }

    /// The same, with more keys for each neighbour.
    fn start_with(rib_threads: u16, neighbors: u8, keys: &str) -> Self {
        Self::follow(&Restart::none(), rib_threads, neighbors, keys)
    }

    /// The same, behind an earlier run.
    fn follow(restart: &Restart, rib_threads: u16, neighbors: u8, keys: &str) -> Self {
        let mut text = format!(
            "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\nlisten = []\nrib-threads = {rib_threads}\n\
             [[network]]\nprefix = \"203.0.113.0/24\"\n"
        );
        if restart.outlives() {
            text.push_str("[fib]\ninterfaces = [\"none\"]\n");
        }
        for index in 2..2 + neighbors {
            text.push_str(&format!(
                "[[neighbor]]\naddress = \"127.0.0.{index}\"\nasn = 6500{index}\n\
                 passive = true\nimport = [\"all\"]\nexport = [\"all\"]\nnext-hop = \"192.0.2.254\"\n{keys}"
            ));
        }
        let config = Arc::new(conf::parse("test.toml", &text, []).unwrap());
        let monitor = Monitor::new();
        let (_, news) = routing::news(routing::shards(&config));
        let outlets = Outlets {
            forwarding: None,
            monitor: monitor.clone(),
            news,
            origins: mpsc::unbounded_channel().0,
            restart: restart.clone(),
        };
        let rib = routing::start(&config, outlets).unwrap();
        assert_eq!(rib.shards(), usize::from(rib_threads));
        let bfd = crate::bfd::Bfd::start().unwrap();
        let rooms = Rooms { rib: rib.clone(), monitor, bfd, restart: restart.clone() };
        let peers = Peers::start(&config, rooms);
        let listeners = super::Listeners::open(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]).unwrap();
        listeners.protect(&config).unwrap();
        listeners.accept(&peers);
        let address = listeners.address();
        Self { rib, peers, address }
    }

    async fn received(&self, id: u16) -> usize {
        let numbers = self.rib.peers(vec![PeerId(id)]).await.unwrap();
        numbers[0].counts.iter().map(|counts| counts.received).sum()
    }

    /// Waits until so many routes of a neighbour have arrived.
    async fn wait_for(&self, id: u16, routes: usize) {
        let since = Instant::now();
        while self.received(id).await != routes {
            assert!(since.elapsed() < PATIENCE, "{} of {routes} routes", self.received(id).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What a neighbour hears, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Announced(IpNet, String),
    Withdrawn(IpNet),
    EndOfRib(Family),
}

struct Neighbor {
    id: u16,
    stream: TcpStream,
    received: BytesMut,
}

impl Neighbor {
    /// The first neighbour is 127.0.0.2 of AS 65002, and so on.
    async fn connect(daemon: &Daemon, id: u16) -> Self {
        Self::connect_with(daemon, id, None).await
    }

    /// The same, with a buffer of so many octets for what it receives.
    async fn connect_with(daemon: &Daemon, id: u16, buffer: Option<u32>) -> Self {
        Self::connect_offering(daemon, id, buffer, None).await
    }

    /// The same, with one more capability.
    async fn connect_offering(
        daemon: &Daemon,
        id: u16,
        buffer: Option<u32>,
        offer: Option<Capability>,
    ) -> Self {
        let host = id as u8 + 1;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        if let Some(octets) = buffer {
            socket.set_recv_buffer_size(octets).unwrap();
        }
        let stream = socket.connect(daemon.address).await.unwrap();
        // As routers do: what is said last leaves at once.
        stream.set_nodelay(true).unwrap();
        let mut neighbor = Self { id, stream, received: BytesMut::new() };
        let mut out = BytesMut::new();
        let mut capabilities: Vec<_> =
            Family::ALL.iter().map(|&family| Capability::MultiProtocol(family)).collect();
        capabilities.extend([Capability::FourOctetAsn(neighbor.asn()), Capability::RouteRefresh]);
        capabilities.extend(offer);
        let router_id = RouterId(Ipv4Addr::new(10, 0, 1, host));
        Open::new(neighbor.asn(), HoldTime::new(90).unwrap(), router_id, capabilities).encode(&mut out);
        encode_keepalive(&mut out);
        neighbor.stream.write_all(&out).await.unwrap();
        neighbor
    }

    fn asn(&self) -> Asn {
        Asn(65_001 + u32::from(self.id))
    }

    fn announcement(&self, prefixes: &[IpNet], hops: u32) -> BytesMut {
        let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, self.id as u8 + 1).into();
        let mut path = vec![self.asn()];
        path.extend((0..hops).map(|hop| Asn(100 + hop)));
        let attributes = Attributes { as_path: AsPath::sequence(path), ..Attributes::originated(next_hop) };
        let mut out = BytesMut::new();
        let nlri = prefixes.iter().copied();
        encode_announce(&mut out, Family::Ipv4Unicast, &attributes, nlri, &ENCODE).unwrap();
        out
    }

    /// One prefix by a path that begins with this AS number behind its own, and has so many more.
    fn announcement_of(&self, prefix: IpNet, first: u32, more: u32) -> BytesMut {
        let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, self.id as u8 + 1).into();
        let path = [self.asn(), Asn(first)].into_iter().chain((0..more).map(|hop| Asn(100 + hop)));
        let attributes = Attributes { as_path: AsPath::sequence(path), ..Attributes::originated(next_hop) };
        let mut out = BytesMut::new();
        encode_announce(&mut out, Family::Ipv4Unicast, &attributes, [prefix], &ENCODE).unwrap();
        out
    }

    async fn keep_alive(&mut self) {
        let mut keepalive = BytesMut::new();
        encode_keepalive(&mut keepalive);
        self.send(&keepalive).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.unwrap().unwrap();
    }

    /// Reads on until what was heard is enough.
    async fn hear(&mut self, enough: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !enough(&heard) {
            let reading = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await;
            let count = reading.unwrap_or_else(|_| panic!("only {} messages came", heard.len())).unwrap();
            assert_ne!(count, 0, "the session ended");
            while let Some(length) = frame_len(&self.received, MAX_MESSAGE).unwrap() {
                let Some(frame) = self.received.get(..length) else { break };
                if let Message::Update(update) = decode(frame, &DECODE).unwrap() {
                    heard.extend(update.end_of_rib().map(Heard::EndOfRib));
                    for (_, nlri) in update.withdrawals() {
                        heard.extend(nlri.iter().map(Heard::Withdrawn));
                    }
                    for announcement in update.announcements() {
                        let mut key = Vec::new();
                        update.attribute_key(
                            announcement.mp,
                            AttributeContext { as4: true, ebgp: true, ..AttributeContext::default() },
                            &mut key,
                        );
                        let (attributes, _) = bgp::wire::parse_attributes(&key).unwrap();
                        let path = attributes.as_path.to_string();
                        heard.extend(
                            announcement.nlri.iter().map(|prefix| Heard::Announced(prefix, path.clone())),
                        );
                    }
                }
                self.received.advance(length);
            }
        }
        heard
    }
}

/// Prefixes of so many different blocks of 16 bits.
fn prefixes(count: u32) -> Vec<IpNet> {
    let prefix = |index: u32| IpNet::new_assert(Ipv4Addr::from_bits(0x0a00_0000 + (index << 16)).into(), 24);
    (0..count).map(prefix).collect()
}

fn ends(heard: &[Heard]) -> usize {
    heard.iter().filter(|heard| matches!(heard, Heard::EndOfRib(_))).count()
}

/// What was announced and not withdrawn again.
fn held(heard: &[Heard]) -> BTreeMap<IpNet, String> {
    let mut held = BTreeMap::new();
    for heard in heard {
        match heard {
            Heard::Announced(prefix, path) => drop(held.insert(*prefix, path.clone())),
            Heard::Withdrawn(prefix) => drop(held.remove(prefix)),
            Heard::EndOfRib(_) => {}
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbor_gets_everything_then_the_end_once_then_what_changes() {
    for threads in [1, 3] {
        let daemon = Daemon::start(threads, 2);
        let all = prefixes(400);
        let mut feeder = Neighbor::connect(&daemon, 1).await;
        for (hops, some) in (0..).zip(all.chunks(40)) {
            let update = feeder.announcement(some, hops);
            feeder.send(&update).await;
        }
        daemon.wait_for(1, all.len()).await;

        let mut receiver = Neighbor::connect(&daemon, 2).await;
        let heard = receiver.hear(|heard| ends(heard) == 2).await;
        let end = heard.iter().position(|heard| *heard == Heard::EndOfRib(Family::Ipv4Unicast)).unwrap();
        let mut expected: BTreeSet<IpNet> = all.iter().copied().collect();
        expected.insert("203.0.113.0/24".parse().unwrap());
        assert_eq!(held(&heard[..end]).into_keys().collect::<BTreeSet<_>>(), expected, "before the end");
        assert!(heard.contains(&Heard::EndOfRib(Family::Ipv6Unicast)));

        let mut changes = BytesMut::new();
        encode_withdraw(&mut changes, Family::Ipv4Unicast, all[..200].iter().copied(), &ENCODE);
        let again = feeder.announcement(&all[200..], 20);
        feeder.send(&changes).await;
        feeder.send(&again).await;
        let heard = receiver.hear(|heard| heard.len() >= 400).await;
        assert_eq!(ends(&heard), 0, "the end is told once");
        assert_eq!(held(&heard).into_keys().collect::<Vec<_>>(), all[200..]);
        assert!(held(&heard).values().all(|path| path.ends_with("119")), "each as it was last");

        // Everything once more, without another end.
        daemon.peers.refresh_out("127.0.0.3".parse().unwrap()).await.unwrap();
        let heard = receiver.hear(|heard| heard.len() >= 201).await;
        assert_eq!((ends(&heard), held(&heard).len()), (0, 201));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_for_any_number_of_threads() {
    let mut answers = Vec::new();
    for threads in [1, 3] {
        let daemon = Daemon::start(threads, 2);
        let (mut one, mut two) = (Neighbor::connect(&daemon, 1).await, Neighbor::connect(&daemon, 2).await);
        let covering: IpNet = "10.0.0.0/8".parse().unwrap();
        for (neighbor, hops) in [(&mut one, 1), (&mut two, 0)] {
            for some in prefixes(300).chunks(60) {
                let update = neighbor.announcement(some, hops);
                neighbor.send(&update).await;
            }
            let update = neighbor.announcement(&[covering], 3);
            neighbor.send(&update).await;
            // ORIGIN, the first attribute, has no such value.
            let mut malformed = neighbor.announcement(&prefixes(30), 1);
            malformed[26] = 9;
            neighbor.send(&malformed).await;
        }
        daemon.wait_for(1, 271).await;
        daemon.wait_for(2, 271).await;
        for neighbor in [&mut one, &mut two] {
            neighbor.hear(|heard| ends(heard) == 2).await;
        }

        let rib = &daemon.rib;
        let numbers = rib.peers(vec![PeerId(1), PeerId(2), PeerId(0)]).await.unwrap();
        let statistics: Vec<_> = numbers.iter().map(|numbers| numbers.statistics.clone()).collect();
        let counts: Vec<_> = numbers.iter().map(|numbers| numbers.counts).collect();
        let totals = rib.totals().await.unwrap();
        assert_eq!((statistics[0].updates, statistics[0].treated_as_withdraw), (7, 1));
        assert_eq!((totals.prefixes, totals.paths), ([272, 0], [543, 0]));

        let mut routes = Vec::new();
        let mut advertised = Vec::new();
        let mut after = None;
        loop {
            let page = rib.routes(Family::Ipv4Unicast, Wanted::All, None, after, 7).await.unwrap();
            assert!(page.items.len() <= 7 * usize::from(threads), "a page stays small");
            routes.extend(page.items.into_iter().map(|route| (route.prefix, paths(&route))));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = rib.advertised(PeerId(1), Family::Ipv4Unicast, None, after, 7).await.unwrap();
            advertised.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(routes.is_sorted_by_key(|(prefix, _)| *prefix) && routes.len() == 272);
        assert!(advertised.is_sorted_by_key(|route| route.prefix) && !advertised.is_empty());

        let mut single = Vec::new();
        for address in ["10.40.0.1", "10.40.1.1", "10.1.0.1", "203.0.113.9", "192.0.2.1"] {
            let found = rib.covering(address.parse().unwrap(), Wanted::All).await.unwrap().pop();
            single.push(found.map(|route| (route.prefix, paths(&route))));
        }
        assert_eq!(single[0].as_ref().map(|(prefix, _)| prefix.prefix_len()), Some(24));
        assert_eq!(single[1].as_ref().map(|(prefix, _)| *prefix), Some(covering));
        for prefix in ["10.40.0.0/24", "10.1.0.0/24", "203.0.113.0/24"] {
            let prefix = prefix.parse().unwrap();
            single.push(rib.lookup(prefix).await.unwrap().map(|route| (prefix, paths(&route))));
        }
        let exported = rib.exported(PeerId(1), "10.40.0.0/24".parse().unwrap()).await.unwrap();
        assert_eq!(exported.len(), 1);
        answers.push((statistics, counts, routes, advertised, single, exported));
    }
    assert_eq!(answers[0], answers[1]);
}

/// What is shown of the paths of a route; ids of attributes are a shard's own.
fn paths(route: &bgp::rib::view::RouteView) -> Vec<(PeerId, String, bool)> {
    let shown = |path: &bgp::rib::view::PathView| (path.peer, path.attributes.as_path.to_string(), path.best);
    route.paths.iter().map(shown).collect()
}

/// Routes that share nothing, more than the kernel buffers for a connection, for a neighbor that reads none of them.
async fn overwhelm(feeder: &mut Neighbor, deaf: &mut Neighbor) {
    let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    let most: usize = limits.split_whitespace().last().unwrap().parse().unwrap();
    let mut sent = 0;
    for (index, prefix) in prefixes((2 * most / 1000) as u32).into_iter().enumerate() {
        let update = feeder.announcement_of(prefix, 4_000_000 + index as u32, 250);
        sent += update.len();
        feeder.send(&update).await;
        if index % 100 == 0 {
            feeder.keep_alive().await;
            deaf.keep_alive().await;
        }
    }
    assert!(sent > 2 * most, "{sent} octets are no more than {most}");
}

/// Waits until the session with the second neighbor is down; why it is.
async fn last_error(daemon: &Daemon, feeder: &mut Neighbor, mut meanwhile: impl AsyncFnMut()) -> String {
    let address: IpAddr = "127.0.0.3".parse().unwrap();
    let since = Instant::now();
    loop {
        let reports = daemon.peers.reports().await;
        let report = reports.into_iter().find(|(_, report)| report.brief.address.0 == address).unwrap().1;
        if report.brief.state != "Established" {
            return report.brief.last_error.unwrap();
        }
        assert!(since.elapsed() < PATIENCE, "still Established");
        feeder.keep_alive().await;
        meanwhile().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbor_that_stops_reading_is_let_go_although_it_keeps_talking() {
    let daemon = Daemon::start_with(1, 2, "hold-time = 3\nsend-hold-time = 4\n");
    let mut feeder = Neighbor::connect(&daemon, 1).await;
    let mut deaf = Neighbor::connect_with(&daemon, 2, Some(4096)).await;
    deaf.hear(|heard| ends(heard) == 2).await;
    overwhelm(&mut feeder, &mut deaf).await;
    let error = last_error(&daemon, &mut feeder, async || deaf.keep_alive().await).await;
    assert_eq!(error, "sent Send Hold Timer Expired: the peer took nothing for 4 s");
}

const WORKERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_neighbor_says_at_the_end_is_heard_although_it_takes_nothing_any_more() {
    let daemon = Daemon::start_with(1, 2, "");
    let mut feeder = Neighbor::connect(&daemon, 1).await;
    let mut deaf = Neighbor::connect_with(&daemon, 2, Some(4096)).await;
    deaf.hear(|heard| ends(heard) == 2).await;
    overwhelm(&mut feeder, &mut deaf).await;
    let mut last = BytesMut::new();
    Notification::cease(codes::cease::MAX_PREFIXES).encode(&mut last);
    // The daemon is busy, and finds both at once: the message, and that what it still has to write fails, since a
    // connection that is closed with something unread is reset.
    for _ in 0..WORKERS {
        tokio::spawn(async { std::thread::sleep(Duration::from_millis(500)) });
    }
    std::thread::sleep(Duration::from_millis(100));
    deaf.send(&last).await;
    drop(deaf);
    let error = last_error(&daemon, &mut feeder, async || ()).await;
    assert_eq!(error, "received Cease/Maximum Number of Prefixes Reached");
}
