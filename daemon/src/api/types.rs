//! The JSON that the API speaks, shared by server and command line.
//!
//! Field names are stable: tools rely on them. Durations are in seconds, sizes in bytes, families are
//! named `ipv4-unicast` and `ipv6-unicast`. Counts of the RIB are sums over its threads, each exact at the
//! moment of its answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bgp::link::Zoned;

use serde::{Deserialize, Serialize};

/// `GET /v1/summary`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The router itself.
    pub router: RouterInfo,
    /// Each configured neighbour, in the order of the configuration, then the dynamic ones by address.
    pub neighbors: Vec<NeighborBrief>,
    /// Ranges of dynamic neighbours, in the order of the configuration.
    #[serde(default)]
    pub ranges: Vec<RangeInfo>,
    /// The Loc-RIB by family.
    pub rib: BTreeMap<String, RibCounts>,
    /// The forwarding plane; absent in a pure control plane.
    pub fib: Option<FibSummary>,
    /// The restart that is under way; absent unless packets go by the tables of an earlier run.
    #[serde(default)]
    pub restart: Option<RestartInfo>,
}

/// A restart of the daemon while forwarding goes on (RFC 4724 section 4.1): neighbours are told nothing yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartInfo {
    /// Neighbours whose routes are waited for.
    pub waits_for: Vec<RestartWait>,
    /// Whether dynamic neighbours may still come back.
    pub ranges: bool,
    /// How long that may take still, in seconds.
    pub left_seconds: u64,
}

/// A neighbour whose routes are waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartWait {
    /// Its address, or the interface that it is named by.
    pub neighbor: Zoned,
    /// What is waited for, in words.
    pub what: String,
}

/// A range of dynamic neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeInfo {
    /// Their addresses.
    pub prefix: String,
    /// Their AS numbers, or ranges of them.
    pub asns: Vec<String>,
    /// How many there may be at a time.
    pub limit: u64,
    /// How many there are.
    pub neighbors: u64,
    /// Connections that were refused, for whatever reason but the next one.
    pub refused: u64,
    /// Connections that were refused since they came from further away than `ttl-security` lets them.
    #[serde(default)]
    pub too_far: u64,
}

/// Who answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouterInfo {
    /// Version of the daemon.
    pub version: String,
    /// Own AS number.
    pub asn: u32,
    /// The confederation that it is a member of.
    pub confederation: Option<u32>,
    /// BGP identifier.
    pub router_id: String,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
    /// Resident memory of the daemon in bytes, maps excluded.
    pub resident_bytes: u64,
}

/// One neighbour, a line's worth.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NeighborBrief {
    /// Its address, or the interface that it is named by.
    pub address: Zoned,
    /// Its AS number; absent while that is not known of one that may be in any other AS.
    pub asn: Option<u32>,
    /// Whether it may be in any other AS.
    #[serde(default)]
    pub any_asn: bool,
    /// Who is on the link of one that is named by its interface.
    #[serde(default)]
    pub on_link: Option<OnLinkInfo>,
    /// The range that it has connected from, when it is a dynamic neighbour.
    pub range: Option<String>,
    /// The group of the configuration whose keys it has.
    pub group: Option<String>,
    /// Free text of the configuration.
    pub description: Option<String>,
    /// State by RFC 4271 section 8.2.2, in its words.
    pub state: String,
    /// Who keeps the session down, if somebody does.
    pub shutdown: Option<Shutdown>,
    /// Whether routes of the session are marked as about to go (RFC 8326), by an operator.
    #[serde(default)]
    pub graceful_shutdown: bool,
    /// Seconds since the state was last entered (Established) or left (others), if it ever was.
    pub since_seconds: Option<u64>,
    /// Why the session last went down: the last NOTIFICATION, or how an Established session was lost.
    pub last_error: Option<String>,
    /// Seconds since then.
    pub last_error_seconds: Option<u64>,
    /// Why it does not come up: how the last attempt ended, if nobody said why.
    #[serde(default)]
    pub last_attempt: Option<String>,
    /// Seconds since then.
    #[serde(default)]
    pub last_attempt_seconds: Option<u64>,
    /// Routes by negotiated family; while the session is down, by family with stale routes.
    pub families: BTreeMap<String, NeighborCounts>,
}

/// Who is on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnLinkInfo {
    /// The neighbour's address there, once it has been heard or has connected.
    pub address: Option<Zoned>,
    /// What is missing before that.
    pub waits_for: Option<String>,
}

/// Why a session is kept down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// `operator`, until it is enabled, or `configuration`.
    pub by: String,
    /// What the neighbour is told (RFC 9003); may be empty.
    pub message: String,
}

/// Routes of one neighbour in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborCounts {
    /// In the Adj-RIB-In.
    pub received: u64,
    /// Of those, accepted by the import policy and usable.
    pub accepted: u64,
    /// Of those, best.
    pub best: u64,
}

/// Size of the Loc-RIB in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RibCounts {
    /// Prefixes with at least one path.
    pub prefixes: u64,
    /// Paths, usable or not.
    pub paths: u64,
}

/// The forwarding plane at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FibSummary {
    /// Table engines in use: one, or one for each family.
    pub engine: String,
    /// Tables by family.
    pub families: BTreeMap<String, FibCounts>,
    /// Next hops in use.
    pub next_hops: u64,
    /// Next-hop sets in use.
    pub sets: u64,
    /// Ports that the program is attached to.
    pub ports: Vec<PortInfo>,
    /// Packets go by the tables of an earlier run while these are filled.
    pub staged: bool,
    /// How long that took in this run, in seconds, once packets go by these tables; absent if nothing was found.
    pub took_over_seconds: Option<f64>,
    /// Forwarding goes on when the daemon ends, unless that is by SIGINT.
    pub kept: bool,
}

/// One forwarding table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibCounts {
    /// What packets are looked up in.
    pub engine: fib::EngineKind,
    /// Routes meant to be installed: best paths, connected, local and host routes.
    pub routes: u64,
    /// What is in use of that which can run out: entries of the LPM trie, after compression, or nodes of
    /// the direct table, which long prefixes need.
    pub entries: u64,
    /// How many of those there can be.
    pub capacity: u64,
    /// Memory of the table in the daemon, in bytes.
    pub memory_bytes: u64,
    /// Memory of the direct table's map, in bytes; 0 for an LPM trie.
    pub map_bytes: u64,
    /// Routes that are not in the map, because it is full or a write failed.
    pub not_installed: u64,
}

/// A port of the forwarding plane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PortInfo {
    /// Interface name.
    pub name: String,
    /// Kernel interface index.
    pub ifindex: Option<u32>,
    /// `native` or `generic`; absent while there is nothing to attach to.
    pub mode: Option<String>,
    /// Why the program could not be attached.
    pub error: Option<String>,
}

/// `GET /v1/neighbors/ADDR`, and the elements of `GET /v1/neighbors`.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NeighborDetail {
    /// The line of `show summary`.
    #[serde(flatten)]
    pub brief: NeighborBrief,
    /// `ebgp`, `ibgp`, or `confederation`: in another member AS of ours.
    pub kind: String,
    /// Its cluster, when it is a client of ours as a route reflector.
    pub reflector_cluster: Option<String>,
    /// Whether it is a client of ours as a route server.
    pub route_server_client: bool,
    /// Whether we only wait for the neighbour to connect.
    pub passive: bool,
    /// The AS number that we are of towards it, with its options; absent: the router's.
    pub local_asn: Option<String>,
    /// Time to live, or hop limit, of packets to the neighbour.
    pub ttl: u8,
    /// The neighbour's packets are dropped if they arrive with less (RFC 5082).
    pub minimum_ttl: Option<u8>,
    /// Connections from its address that were refused since they came from further away than that.
    #[serde(default)]
    pub refused_too_far: u64,
    /// Our configured address: connections come and go there only.
    pub local_address: Option<IpAddr>,
    /// Whether segments are signed with a password (RFC 2385).
    pub password: bool,
    /// The neighbour's BGP identifier, once Established.
    pub router_id: Option<String>,
    /// Our end of the connection.
    pub local: Option<String>,
    /// The neighbour's end of the connection.
    pub remote: Option<String>,
    /// Negotiated hold time in seconds (0: none).
    pub hold_time_seconds: Option<u16>,
    /// Negotiated keepalive interval in seconds (0: none).
    pub keepalive_seconds: Option<u16>,
    /// How long the neighbour may take nothing of what we send, in seconds (RFC 9687); absent: forever.
    pub send_hold_seconds: Option<u64>,
    /// Seconds until the neighbour counts as silent.
    pub hold_seconds_left: Option<u64>,
    /// Seconds until it counts as deaf.
    pub send_hold_seconds_left: Option<u64>,
    /// Seconds until our next keepalive.
    pub keepalive_seconds_left: Option<u64>,
    /// Capabilities in the neighbour's OPEN.
    pub capabilities: Vec<String>,
    /// Capabilities in ours.
    pub capabilities_sent: Vec<String>,
    /// The last NOTIFICATION of ours.
    pub last_notification_sent: Option<NotificationInfo>,
    /// The last NOTIFICATION of the neighbour.
    pub last_notification_received: Option<NotificationInfo>,
    /// The last message of the neighbour that could not be read and ended a session.
    pub last_malformed: Option<MalformedMessage>,
    /// Routes of the neighbour that are not usable, by family and reason; only where one neighbour is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, BTreeMap<String, u64>>,
    /// Routes announced to it by family; only where one neighbour is asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub advertised: BTreeMap<String, u64>,
    /// Graceful restart (RFC 4724, 8538, 9494): what is configured, and what the neighbour offers.
    pub graceful_restart: String,
    /// What our own restart still waits for of the neighbour, in words.
    #[serde(default)]
    pub restart_waits_for: Option<String>,
    /// Families in which the neighbour has sent End-of-RIB since the session came up.
    pub ends_of_rib: Vec<String>,
    /// Routes kept of a session that was lost, by family.
    pub stale: BTreeMap<String, StaleInfo>,
    /// Refreshes of its routes that it marks where they begin and end (RFC 7313), once negotiated.
    pub enhanced_refresh: Option<RefreshInfo>,
    /// Whether `BLACKHOLE` has traffic dropped (RFC 7999).
    pub accept_blackhole: bool,
    /// Whether `GRACEFUL_SHUTDOWN` lowers the local preference to 0 (RFC 8326).
    pub honor_graceful_shutdown: bool,
    /// Whether too many prefixes keep the session Idle until it is reset.
    pub over_limit: bool,
    /// Limits on prefixes, while the session is up.
    pub limits: Vec<LimitInfo>,
    /// Several paths of a prefix (RFC 7911), once negotiated.
    pub add_path: Option<AddPathInfo>,
    /// Names of the import policies, in order.
    pub import: Vec<String>,
    /// Names of the export policies, in order.
    pub export: Vec<String>,
    /// Keys of its configuration about attributes that are not as by default.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Routes that it was not sent since no message can carry them to it: attributes too large, or a next hop
    /// of the wrong family.
    #[serde(default)]
    pub unsendable: u64,
    /// Messages by direction and type.
    pub messages: BTreeMap<String, u64>,
    /// How often the session came up.
    pub established_transitions: u64,
    /// UPDATEs whose routes were treated as withdrawn (RFC 7606), and the last reason.
    pub update_errors: u64,
    /// Reason of the last malformed UPDATE.
    pub last_update_error: Option<String>,
    /// Bidirectional forwarding detection with it (RFC 5882), if it is configured and the session not shut down.
    #[serde(default)]
    pub bfd: Option<NeighborBfd>,
    /// Seconds until a connection is tried again, when waiting for that.
    pub retry_seconds: Option<u64>,
    /// What may be the reason that the session does not come up.
    #[serde(default)]
    pub hint: Option<String>,
}

/// BFD with a neighbour at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborBfd {
    /// State by RFC 5880 section 4.1, in its words.
    pub state: String,
    /// Seconds since it was entered, unless it is the first.
    pub since_seconds: Option<u64>,
    /// How often the path was there and failed.
    pub failures: u64,
    /// Why it last did.
    pub last_failure: Option<String>,
    /// Seconds since then.
    pub last_failure_seconds: Option<u64>,
}

/// Refreshes of a neighbour's routes since the daemon knows it (RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshInfo {
    /// How often it said that it begins.
    pub begun: u64,
    /// How often it said that it is done.
    pub ended: u64,
    /// How often it was not in time, and what it had not sent was dropped.
    pub expired: u64,
    /// What it said at the wrong time: a beginning before End-of-RIB, an end without a beginning.
    pub ignored: u64,
}

/// A NOTIFICATION that ended a session or an attempt at one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationInfo {
    /// Seconds since then.
    pub seconds_ago: u64,
    /// Error code (RFC 4271 section 4.5).
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Both in words, with the text of an administrative shutdown.
    pub text: String,
    /// What we know beyond it.
    pub detail: String,
    /// Its data in hex: the octets that it complains of.
    pub data: String,
}

/// A message that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedMessage {
    /// Seconds since then.
    pub seconds_ago: u64,
    /// What was wrong.
    pub reason: String,
    /// Its octets in hex, the first 4096 of them.
    pub message: String,
}

/// One event in `GET /v1/neighbors/ADDR/history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// When it was last, in seconds since the Unix epoch.
    pub time: f64,
    /// `established`, `down`, `error`, `bfd`, `configuration`, `shutdown`, `enable`, `stop`, `refresh`, `refused` or
    /// `graceful-shutdown`.
    pub event: String,
    /// What happened, in words.
    pub text: String,
    /// How often in a row.
    pub count: u64,
}

/// A limit on the prefixes of a session in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitInfo {
    /// The family.
    pub family: String,
    /// What is counted: prefixes `received`, `accepted` by import policy, `advertised`.
    pub what: String,
    /// The limit.
    pub limit: u32,
    /// The count at which the log warns.
    pub warning: u32,
    /// What happens beyond it.
    pub action: String,
    /// The count.
    pub count: u32,
    /// How often a prefix was refused since the session came up.
    pub refused: u64,
}

/// Routes of one family kept of a session that was lost (RFC 4724 section 4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleInfo {
    /// `restarting`: the neighbour is away; `syncing`: it is back, without End-of-RIB yet; `long-lived`: it is
    /// or was away for longer than its restart time (RFC 9494).
    pub phase: String,
    /// Seconds until that ends.
    pub left_seconds: u64,
    /// How many routes.
    pub routes: u64,
}

/// Families in which paths have identifiers (RFC 7911), by direction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddPathInfo {
    /// The neighbour sends several paths of a prefix.
    pub receive: Vec<String>,
    /// We do.
    pub send: Vec<String>,
    /// How many we send at most; absent: all.
    pub most: Option<u8>,
}

/// One prefix in `GET /v1/routes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// Its paths, best first.
    pub paths: Vec<Path>,
    /// Other prefixes that cover the address that was to be explained, and have no path that can be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_usable: Vec<Route>,
}

/// One path of a prefix.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the JSON")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Path {
    /// The neighbour it came from; absent for routes originated here.
    pub neighbor: Option<Zoned>,
    /// The identifier that tells it from other paths of the neighbour, or of those sent to it (RFC 7911).
    pub path_id: Option<u32>,
    /// Whether it is the best one.
    pub best: bool,
    /// Whether it forwards, alone or as one of several.
    pub multipath: bool,
    /// Whether it may be used at all.
    pub usable: bool,
    /// Whether traffic is dropped, as its community asks (RFC 7999).
    pub blackhole: bool,
    /// Whether it is kept of a session that was lost, or not refreshed yet.
    pub stale: bool,
    /// Seconds for which it may still be kept so.
    pub stale_seconds: Option<u64>,
    /// Why it is not best, or what decided for it.
    pub reason: String,
    /// Next hop.
    pub next_hop: String,
    /// The link-local next hop beside a global one (RFC 2545).
    pub link_local_next_hop: Option<String>,
    /// Interior cost of the next hop, as far as it is known.
    pub interior_cost: Option<u32>,
    /// AS path as text.
    pub as_path: String,
    /// `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// `LOCAL_PREF`.
    pub local_pref: Option<u32>,
    /// What the path is compared by: its `LOCAL_PREF`, or what counts where it has none; absent from what a
    /// neighbour is sent.
    #[serde(default)]
    pub local_pref_used: Option<u32>,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// Communities of RFC 1997.
    pub communities: Vec<String>,
    /// Extended communities.
    pub extended_communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
    /// AGGREGATOR, as `ASN ADDRESS`.
    pub aggregator: Option<String>,
    /// `ATOMIC_AGGREGATE`.
    pub atomic_aggregate: bool,
    /// `ORIGINATOR_ID`.
    pub originator_id: Option<String>,
    /// `CLUSTER_LIST`, nearest first.
    pub cluster_list: Vec<String>,
    /// The metric of AIGP.
    pub aigp: Option<u64>,
    /// The AS of "Only to Customer", also where it follows from the neighbor's role alone.
    pub otc: Option<u32>,
    /// Type codes of attributes that a speaker on the way did not know, but this one does.
    pub partial: Vec<u8>,
    /// Attributes that we carry without knowing them: `code:flags:hex`.
    pub unknown: Vec<String>,
}

/// One route in `GET /v1/fib`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FibRoute {
    /// The prefix.
    pub prefix: String,
    /// Where it comes from: `local`, `host`, `connected` or `bgp`.
    pub source: String,
    /// `installed`, or `staged` while packets go by the tables of an earlier run, or why it is neither.
    pub state: String,
    /// Whether packets are forwarded by it.
    pub installed: bool,
    /// Id of its next-hop set.
    pub set: u32,
    /// Its next hops in words.
    pub next_hops: Vec<String>,
    /// The next hop that takes over when none of them is left.
    #[serde(default)]
    pub backup: Option<String>,
}

/// `GET /v1/fib/diff`: what the forwarding tables held that was not meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FibDiff {
    /// Seconds in which all tables are read back; absent when they are not.
    pub interval_seconds: Option<u64>,
    /// How often all of them have been.
    pub passes: u64,
    /// When that was done last, in seconds since 1970.
    pub last_pass: Option<f64>,
    /// Elements and words compared in that pass.
    pub compared: u64,
    /// Differences found since the start, by map.
    pub drift: BTreeMap<String, u64>,
    /// Those that were repaired.
    pub repairs: BTreeMap<String, u64>,
    /// The last ones, the newest at the end.
    pub recent: Vec<FibDrift>,
}

/// Something in a map that was not as meant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FibDrift {
    /// When it was found, in seconds since 1970.
    pub time: f64,
    /// The map.
    pub map: String,
    /// A prefix, or an index.
    pub place: String,
    /// What should have been there.
    pub meant: String,
    /// What was there.
    pub found: String,
    /// Whether it has been written anew.
    pub repaired: bool,
}

/// One next hop in `GET /v1/nexthops`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NextHopInfo {
    /// Its id in the maps; absent while no route leads there.
    pub id: Option<u32>,
    /// The next hop in words: an address, `local`, `glean`, ...
    pub name: String,
    /// `forward`, `resolving`, `glean`, `local`, `drop`, `unused`, or `down` with the reason; with `, in doubt` where the
    /// neighbour is probably lost, so that only routes without another next hop or a backup use it.
    pub state: String,
    /// Port that it leaves by.
    pub port: Option<String>,
    /// MAC of the neighbour.
    pub mac: Option<String>,
    /// What a next hop of BGP routes is resolved by: `connected`, `kernel` or `bgp` with a prefix.
    pub resolved_by: Option<String>,
    /// Its interior cost; absent while it cannot be reached.
    pub cost: Option<u32>,
    /// Sets that name it.
    pub sets: u64,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes sent to it.
    pub bytes: u64,
}

/// A refusal, with the HTTP status beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// What is wrong and what to do.
    pub error: String,
    /// What there is to say beyond it, a line each: the errors of a configuration, or its changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadReport {
    /// How the file differs from what was in force.
    pub changes: Vec<ChangeInfo>,
    /// Neighbours whose session is reset by it.
    pub resets: Vec<Zoned>,
    /// What the file says but probably does not mean.
    pub warnings: Vec<String>,
    /// Whether the file is in force now; not with `?check=true`.
    pub applied: bool,
}

/// One difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeInfo {
    /// In words, `+` something new, `-` something gone, `~` something that differs.
    pub text: String,
    /// What it takes: `none`, `reevaluate` (routes), `reset-session` or `restart`.
    pub effect: String,
}

/// One row of `GET /v1/counters`: packets of all ports by what became of them and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerdictCount {
    /// `forward`, `pass` or `drop`.
    pub action: String,
    /// The verdict's label.
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
}
