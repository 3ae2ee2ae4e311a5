//! The configuration as the daemon uses it: checked, defaults filled in, names resolved.
//!
//! A [`Config`] only comes out of [`crate::load`] and [`crate::parse`], so whoever holds one need not
//! check anything again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bgp::link::{LinkTag, Zoned, link_of, unnumbered};
use bgp::policy::{AsnSet, Policy, PolicyChain, PrefixList};
use bgp::session::{GracefulHelper, PeerAsn, PeerKind, SendHoldTime};
use bgp::types::{Asn, FamilySet, HoldTime, RouterId};
use ipnet::IpNet;

use crate::attributes::AttributeOptions;
use crate::bfd::Bfd;
use crate::error::Warning;
use crate::limits::PrefixLimits;
use crate::local_asn::LocalAsn;
use crate::origin::{Aggregate, Network, Redistribute};
use crate::transport::Password;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[router]`
    pub router: Router,
    /// `[fib]`
    pub fib: FibConf,
    /// `[api]`
    pub api: Api,
    /// `[decision]`
    pub decision: Decision,
    /// `[[neighbor]]`, in the order of the file.
    pub neighbors: Vec<Neighbor>,
    /// `[[neighbor-range]]`, in the order of the file.
    pub ranges: Vec<NeighborRange>,
    /// `[[network]]`, in the order of the file.
    pub networks: Vec<Network>,
    /// `[[aggregate]]`, in the order of the file.
    pub aggregates: Vec<Aggregate>,
    /// `[[redistribute]]`, in the order of the file.
    pub redistribute: Vec<Redistribute>,
    /// The prefix lists of which policies ask whether there is a route (`route-present`), by the index of
    /// [`Match::RoutePresent`](bgp::policy::Match::RoutePresent).
    pub conditions: Vec<Arc<PrefixList>>,
    /// `[[policy]]` by name, without the built-in ones.
    pub policies: BTreeMap<String, Arc<Policy>>,
    /// `[[prefix-list]]` by name.
    pub prefix_lists: BTreeMap<String, Arc<PrefixList>>,
    pub(crate) warnings: Vec<Warning>,
}

impl Config {
    /// What is allowed but probably not meant, by line.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Takes policies and lists that are equal in another configuration from there: those of one that is in
    /// use already are then not held twice.
    pub fn share(&mut self, other: &Self) {
        share(&mut self.prefix_lists, &other.prefix_lists);
        share(&mut self.policies, &other.policies);
        let templates = self.ranges.iter_mut().map(|range| &mut range.template);
        for neighbor in self.neighbors.iter_mut().chain(templates) {
            for chain in [&mut neighbor.import, &mut neighbor.export] {
                let of = |policy: &Arc<Policy>| self.policies.get(&policy.name).unwrap_or(policy).clone();
                *chain = PolicyChain::new(chain.policies().iter().map(of));
            }
        }
    }

    /// The range that an address is in: of several the one with the longest prefix.
    pub fn range(&self, address: IpAddr) -> Option<&NeighborRange> {
        let containing = self.ranges.iter().filter(|range| range.prefix.contains(&address));
        containing.max_by_key(|range| range.prefix.prefix_len())
    }

    /// The neighbour at this address.
    pub fn neighbor(&self, address: IpAddr) -> Option<&Neighbor> {
        self.neighbors.iter().find(|neighbor| neighbor.address == address)
    }
}

fn share<T: PartialEq>(named: &mut BTreeMap<String, Arc<T>>, others: &BTreeMap<String, Arc<T>>) {
    for (name, value) in named {
        if let Some(other) = others.get(name).filter(|other| *other == value) {
            value.clone_from(other);
        }
    }
}

/// The speaker itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Our AS number.
    pub asn: Asn,
    /// The confederation that our AS is a member of (RFC 5065).
    pub confederation: Option<Confederation>,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// Our name, host and domain; `None`: the machine's.
    pub hostname: Option<String>,
    /// Where sessions are accepted; empty: nowhere.
    pub listen: Vec<SocketAddr>,
    /// Our cluster as a route reflector (RFC 4456); `None`: our BGP identifier.
    pub cluster_id: Option<Ipv4Addr>,
    /// Pass routes on between route-reflector clients of one cluster.
    pub client_to_client_reflection: bool,
    /// Threads that share the routing table, each with a part of the prefixes; `None`: one for each core.
    pub rib_threads: Option<u16>,
    /// How long neighbours are asked to keep our routes while we restart, in seconds (RFC 4724 section 3).
    pub restart_time: u16,
    /// How long we wait at most for what neighbours have to say when we have restarted, before we go on with the
    /// routes that we have then (`Selection_Deferral_Timer`, RFC 4724 section 4.1).
    pub deferral_time: Duration,
}

impl Router {
    /// What a neighbour of this AS is to us.
    pub fn kind_of(&self, asn: Asn) -> PeerKind {
        if asn == self.asn {
            PeerKind::Ibgp
        } else if self.confederation.as_ref().is_some_and(|all| all.members.contains(&asn)) {
            PeerKind::Confed
        } else {
            PeerKind::Ebgp
        }
    }

    /// Our AS number towards a neighbour of this AS: outside of our confederation its number is seen.
    pub fn asn_towards(&self, asn: Asn) -> Asn {
        match &self.confederation {
            Some(confederation) if self.kind_of(asn) == PeerKind::Ebgp => confederation.identifier,
            _ => self.asn,
        }
    }

    /// Our cluster as a route reflector.
    pub fn cluster_id(&self) -> Ipv4Addr {
        self.cluster_id.unwrap_or(self.router_id.0)
    }

    /// Two minutes, as in BIRD and FRR.
    pub const DEFAULT_RESTART_TIME: u16 = 120;
    /// As long as neighbours keep our routes by default.
    pub const DEFAULT_DEFERRAL_TIME: Duration = Duration::from_mins(2);
    /// The port of BGP (RFC 4271).
    pub const PORT: u16 = 179;
    /// Most threads that the routing table can be shared by.
    pub const MOST_RIB_THREADS: u16 = 64;

    /// Every address of both families, port 179.
    pub fn default_listen() -> Vec<SocketAddr> {
        vec![(Ipv4Addr::UNSPECIFIED, Self::PORT).into(), (Ipv6Addr::UNSPECIFIED, Self::PORT).into()]
    }
}

/// A confederation of ASes that others see as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confederation {
    /// The AS number that others see.
    pub identifier: Asn,
    /// The other member ASes.
    pub members: Vec<Asn>,
}

/// The forwarding plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FibConf {
    /// The interfaces that XDP is attached to; empty: a pure control plane.
    pub interfaces: Vec<String>,
    /// Which table engine.
    pub lookup: Lookup,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// When neighbors are told of a new best path.
    pub advertise: Advertise,
    /// Whether sets of next hops name a backup, the next hop of the best path that leads elsewhere.
    pub backups: bool,
    /// Whether packets go on being forwarded when the daemon ends, by the tables as they are then, until another one
    /// has learned the routes again.
    pub keep_forwarding: bool,
    /// In what time all tables are read back and compared with what is meant; `None`: never.
    pub audit_interval: Option<Duration>,
    /// Most entries of the IPv4 trie, after compression. A direct table takes every route.
    pub max_ipv4_entries: u32,
    /// Most entries of the IPv6 trie, after compression. A direct table has nodes for six of today's full
    /// tables.
    pub max_ipv6_entries: u32,
}

impl FibConf {
    /// A trie takes memory per entry it holds, not per entry it may hold, so the limit is there to
    /// stop a runaway, not to save memory: nearly twice today's full table before compression.
    pub const DEFAULT_MAX_IPV4_ENTRIES: u32 = 2_000_000;
    /// Nearly four times today's full table: IPv6 grows faster.
    pub const DEFAULT_MAX_IPV6_ENTRIES: u32 = 1_000_000;
    /// Wrong for a minute at most.
    pub const DEFAULT_AUDIT_INTERVAL: Duration = Duration::from_mins(1);
    /// Nobody needs more; the kernel would take gigabytes for it.
    pub const LARGEST_MAX_ENTRIES: u32 = 16_000_000;

    /// Whether anything is forwarded here while the daemon is restarted.
    pub fn outlives_daemon(&self) -> bool {
        self.keep_forwarding && !self.interfaces.is_empty()
    }
}

impl Default for FibConf {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            lookup: Lookup::default(),
            xdp_mode: XdpMode::default(),
            advertise: Advertise::default(),
            backups: true,
            keep_forwarding: true,
            audit_interval: Some(Self::DEFAULT_AUDIT_INTERVAL),
            max_ipv4_entries: Self::DEFAULT_MAX_IPV4_ENTRIES,
            max_ipv6_entries: Self::DEFAULT_MAX_IPV6_ENTRIES,
        }
    }
}

/// The engine of the forwarding tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lookup {
    /// The one that fits the size of the table: a family's trie is left for a direct table when it has
    /// grown beyond ten thousand routes.
    #[default]
    Auto,
    /// Longest-prefix-match tries over compressed prefixes.
    LpmTrie,
    /// Tables indexed by the address: the fastest, 97 MiB for both families from the start, more for tables
    /// larger than the Internet's.
    Direct,
}

/// How XDP is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// Native where the driver can, else generic.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the stack: slower, works everywhere.
    Generic,
}

/// When neighbors are told of a new best path; without a forwarding plane always at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Advertise {
    /// When it is in the forwarding tables: who follows it finds it there.
    #[default]
    Installed,
    /// At once.
    AtOnce,
}

/// The HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The TCP address, reading only, with the metrics; `None`: the Unix socket only.
    pub listen: Option<SocketAddr>,
}

impl Api {
    /// Where clients look unless told otherwise.
    pub const DEFAULT_SOCKET: &'static str = "/run/peregrine/peregrine.sock";
}

impl Default for Api {
    fn default() -> Self {
        Self { socket: Self::DEFAULT_SOCKET.into(), listen: None }
    }
}

/// How the best path is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Compare MEDs of different neighbouring ASes.
    pub always_compare_med: bool,
    /// Most paths of one prefix that share its traffic: 1 to 64.
    pub multipath: u8,
    /// The same of external paths only, and of internal ones; `None`: as `multipath`.
    pub multipath_ebgp: Option<u8>,
    /// See [`Decision::multipath_ebgp`].
    pub multipath_ibgp: Option<u8>,
    /// Let paths of different AS paths of the same length share the traffic.
    pub multipath_relax: bool,
    /// How much each gets.
    pub multipath_weights: MultipathWeights,
    /// Let default routes resolve next hops.
    pub next_hop_via_default: bool,
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            always_compare_med: false,
            multipath: 1,
            multipath_ebgp: None,
            multipath_ibgp: None,
            multipath_relax: false,
            multipath_weights: MultipathWeights::default(),
            next_hop_via_default: false,
        }
    }
}

/// How paths share the traffic of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultipathWeights {
    /// By their link bandwidth communities where all have one, else evenly.
    #[default]
    LinkBandwidth,
    /// Evenly.
    Equal,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct Neighbor {
    /// Where it is; of one that is named by its interface alone what stands for that
    /// ([`LinkTag::neighbor`](bgp::link::LinkTag::neighbor)).
    pub address: IpAddr,
    /// Its AS number; equal to ours: an internal peer.
    pub asn: PeerAsn,
    /// The range that it has connected from, when it is a dynamic neighbour.
    pub range: Option<IpNet>,
    /// The group whose keys it has.
    pub group: Option<String>,
    /// The AS number that we are of towards it, if that is not the router's.
    pub local_asn: Option<LocalAsn>,
    /// For people.
    pub description: Option<String>,
    /// The families offered to it; never empty.
    pub families: FamilySet,
    /// Wait for it to connect.
    pub passive: bool,
    /// Keep the session down.
    pub shutdown: bool,
    /// What its routes go through. Empty on an external peer: nothing is accepted (RFC 8212).
    pub import: PolicyChain,
    /// What routes to it go through. Empty on an external peer: nothing is sent (RFC 8212).
    pub export: PolicyChain,
    /// Our end of the session, for connections of both ends; `None`: as the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// How many hops away the neighbour may be; `None`: 1 if it is external, else as many as there are.
    pub multihop: Option<u8>,
    /// Only packets that came from at most this many hops away count (RFC 5082), and ours leave so that
    /// the neighbour can do the same.
    pub ttl_security: Option<u8>,
    /// Segments are signed with it, and unsigned ones are dropped (RFC 2385).
    pub password: Option<Password>,
    /// The TCP port connected to.
    pub port: u16,
    /// The hold time proposed.
    pub hold_time: HoldTime,
    /// Interval of keepalives; `None`: a third of the negotiated hold time.
    pub keepalive: Option<Duration>,
    /// The shortest hold time accepted from it, save zero.
    pub min_hold_time: HoldTime,
    /// How long it may take nothing of what we send (RFC 9687).
    pub send_hold_time: SendHoldTime,
    /// Exchange IPv4 routes with IPv6 next hops, if it does too (RFC 8950).
    pub extended_next_hop: bool,
    /// Tell it our name, by a capability.
    pub advertise_hostname: bool,
    /// Tell it which software we are, by a capability.
    pub advertise_version: bool,
    /// The first pause between attempts to connect; later ones grow.
    pub connect_retry: Duration,
    /// How long it may take to send its routes again before those it has not sent are void (RFC 7313 section 4).
    pub refresh_stale_time: Duration,
    /// How attributes of its routes are judged and rewritten.
    pub attributes: AttributeOptions,
    /// How its restart is helped; `None`: no graceful restart.
    pub graceful_restart: Option<GracefulHelper>,
    /// Have it keep our routes while we restart; `None`: if forwarding is kept meanwhile. Never without
    /// `graceful_restart`.
    pub own_restart: Option<bool>,
    /// Notice within milliseconds when it cannot be reached any more (RFC 5882); `None`: do not.
    pub bfd: Option<Bfd>,
    /// How many prefixes it may announce and be told.
    pub limits: PrefixLimits,
    /// `GRACEFUL_SHUTDOWN` on its routes lowers their local preference to 0 (RFC 8326); `None`: if external.
    pub honor_graceful_shutdown: Option<bool>,
    /// `BLACKHOLE` on its accepted routes has traffic dropped (RFC 7999).
    pub accept_blackhole: bool,
    /// Announce a default route to it, if this chain accepts it; an empty one does.
    pub default_originate: Option<PolicyChain>,
    /// An internal peer that we reflect the routes of internal peers to, and its to them (RFC 4456).
    pub route_reflector_client: bool,
    /// The cluster that it is in as such a client; `None`: the router's.
    pub cluster_id: Option<Ipv4Addr>,
    /// An external peer that we are a route server for (RFC 7947).
    pub route_server_client: bool,
    /// Several paths of a prefix, told apart by path identifiers (RFC 7911), in all families.
    pub add_path: AddPath,
}

/// Several paths of a prefix over one session. What is wanted here and offered by the neighbour is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddPath {
    /// Take them.
    pub receive: bool,
    /// Send them; `None`: the best path alone, without identifier.
    pub send: Option<SendPaths>,
}

/// How many paths of a prefix are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendPaths {
    /// All that may be used.
    All,
    /// The best ones, so many at most.
    Best(u8),
}

impl fmt::Display for SendPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("\"all\""),
            Self::Best(most) => most.fmt(f),
        }
    }
}

impl fmt::Display for AddPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{ receive = {}", self.receive)?;
        self.send.map_or(Ok(()), |send| write!(f, ", send = {send}"))?;
        f.write_str(" }")
    }
}

impl Neighbor {
    /// Its address as people write it, with the link of one that is link-local.
    pub fn name(&self) -> Zoned {
        Zoned(self.address)
    }

    /// Our AS number towards it.
    pub fn session_asn(&self, router: &Router) -> Asn {
        match (self.local_asn, self.asn) {
            (Some(local), _) => local.asn,
            (None, PeerAsn::Is(asn)) => router.asn_towards(asn),
            (None, PeerAsn::External) => {
                router.confederation.as_ref().map_or(router.asn, |all| all.identifier)
            }
        }
    }

    /// Whether it is asked to keep our routes while we restart (RFC 4724), as far as the configuration goes.
    pub fn offers_restart(&self, fib: &FibConf) -> bool {
        self.graceful_restart.is_some() && self.own_restart.unwrap_or(fib.outlives_daemon())
    }

    /// Its interface, if it is named by that alone and has whatever address there.
    pub fn unnumbered(&self) -> Option<LinkTag> {
        unnumbered(self.address)
    }

    /// On which side of which border it is.
    pub fn kind(&self, router: &Router) -> PeerKind {
        let PeerAsn::Is(asn) = self.asn else { return PeerKind::Ebgp };
        match self.local_asn {
            Some(local) if local.asn == asn => PeerKind::Ibgp,
            Some(_) => PeerKind::Ebgp,
            None => router.kind_of(asn),
        }
    }

    /// Whether BFD goes over several hops (RFC 5883): unless said otherwise, when the session may.
    pub fn bfd_is_multihop(&self, router: &Router) -> bool {
        let session_may = match self.multihop {
            Some(hops) => hops > 1,
            None => self.kind(router) == PeerKind::Ibgp && link_of(self.address).is_none(),
        };
        self.bfd.and_then(|bfd| bfd.multihop).unwrap_or(session_may)
    }

    /// The default of [`Neighbor::connect_retry`].
    pub const DEFAULT_CONNECT_RETRY: Duration = Duration::from_secs(5);
    /// The default of [`Neighbor::refresh_stale_time`].
    pub const DEFAULT_REFRESH_STALE_TIME: Duration = Duration::from_mins(10);
}

/// Where neighbours may connect from that are not configured one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborRange {
    /// Their addresses.
    pub prefix: IpNet,
    /// Their AS numbers.
    pub asns: AsnSet,
    /// How many there may be at a time.
    pub limit: u32,
    /// One of them, but for its address and AS number.
    pub template: Neighbor,
}

impl NeighborRange {
    /// The default of [`NeighborRange::limit`].
    pub const DEFAULT_LIMIT: u32 = 100;
    /// Each has a session, with its memory and its place in the RIB.
    pub const LARGEST_LIMIT: u32 = 10_000;

    /// The neighbour that has connected from this address.
    pub fn neighbor(&self, address: IpAddr, asn: Asn) -> Neighbor {
        Neighbor { address, asn: asn.into(), ..self.template.clone() }
    }

    /// Whether nobody is let in.
    pub fn is_shut_down(&self) -> bool {
        self.template.shutdown
    }
}

macro_rules! display_as_written {
    ($($type:ty { $($variant:ident = $word:literal),+ })+) => { $(
        impl $type {
            pub(crate) const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    )+ };
}

display_as_written! {
    Lookup { Auto = "auto", LpmTrie = "lpm-trie", Direct = "direct" }
    MultipathWeights { LinkBandwidth = "link-bandwidth", Equal = "equal" }
    XdpMode { Auto = "auto", Native = "native", Generic = "generic" }
    Advertise { Installed = "installed", AtOnce = "at-once" }
}
