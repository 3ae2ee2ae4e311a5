//! What changes from one configuration to another, and what that means for a running daemon.
//!
//! [`diff`] compares by content: a neighbour is itself as long as its address stays, wherever it
//! stands in the file; a policy whose text changed is one change, and tells which neighbours it
//! touches. Each change displays as one line: `+` something new, `-` something gone, `~` something
//! that differs, with what it takes: a new session, routes evaluated again, a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bgp::link::Zoned;
use bgp::policy::{Match, Policy, PolicyChain, PrefixList};
use bgp::session::{PeerAsn, SendHoldTime};
use bgp::types::FamilySet;
use ipnet::IpNet;

use crate::config::{AddPath, Config, Neighbor, NeighborRange};
use crate::limits;
use crate::origin::{Aggregate, Network, anchor_word};
use crate::restart;

/// What it takes for a change to come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing is disturbed.
    Nothing,
    /// Routes are evaluated again: best paths, or those from or to a neighbour.
    Reevaluate,
    /// The session goes down and comes up again.
    ResetSession,
    /// The daemon must be restarted; until then the old value holds.
    Restart,
}

/// One key that differs, with both values as the configuration writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key, within its section.
    pub key: &'static str,
    /// Before.
    pub old: String,
    /// After.
    pub new: String,
    /// What it takes.
    pub effect: Effect,
}

/// One difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A key of `[router]`, `[fib]`, `[api]` or `[decision]` differs.
    Setting {
        /// The section.
        section: &'static str,
        /// The key and its values.
        change: KeyChange,
    },
    /// A neighbour is new.
    NeighborAdded {
        /// Its name.
        name: Zoned,
        /// Its AS.
        asn: PeerAsn,
    },
    /// A neighbour is gone; its session ends.
    NeighborRemoved {
        /// Its name.
        name: Zoned,
        /// Its AS.
        asn: PeerAsn,
    },
    /// Keys of a neighbour differ.
    NeighborChanged {
        /// Its name.
        name: Zoned,
        /// What differs; not empty.
        keys: Vec<KeyChange>,
    },
    /// Dynamic neighbours may connect from another prefix.
    RangeAdded(IpNet),
    /// None may from this one any more; sessions of those that have end.
    RangeRemoved(IpNet),
    /// Keys of a range differ.
    RangeChanged {
        /// Its prefix.
        prefix: IpNet,
        /// What differs; not empty.
        keys: Vec<KeyChange>,
    },
    /// A policy is new.
    PolicyAdded(String),
    /// A policy is gone.
    PolicyRemoved(String),
    /// A policy, or a prefix list that it uses, differs.
    PolicyChanged {
        /// The policy.
        name: String,
        /// The prefix lists it uses that differ.
        prefix_lists: Vec<String>,
        /// The neighbours of the new configuration that name it, or a policy that calls or asks it.
        neighbors: Vec<Zoned>,
        /// The ranges of neighbours that do.
        ranges: Vec<IpNet>,
    },
    /// A prefix is originated from now on.
    NetworkAdded(IpNet),
    /// A prefix is no longer originated.
    NetworkRemoved(IpNet),
    /// A prefix is originated otherwise.
    NetworkChanged(IpNet),
    /// An aggregate or a redistribution, in words: new, gone, or another.
    Origin {
        /// `aggregate PREFIX` or `redistribute SOURCE`.
        what: String,
        /// `+`, `-` or `~`.
        sign: char,
    },
}

impl Change {
    /// The key that only a restart changes, with its section.
    pub fn restarts(&self) -> Option<String> {
        match self {
            Self::Setting { section, change } if change.effect == Effect::Restart => {
                Some(format!("{section}.{}", change.key))
            }
            _ => None,
        }
    }

    /// The most that the change takes.
    pub fn effect(&self) -> Effect {
        match self {
            Self::Setting { change, .. } => change.effect,
            Self::NeighborChanged { keys, .. } | Self::RangeChanged { keys, .. } => {
                keys.iter().map(|key| key.effect).max().unwrap_or(Effect::Nothing)
            }
            Self::NeighborRemoved { .. } | Self::RangeRemoved(_) => Effect::ResetSession,
            Self::PolicyChanged { neighbors, ranges, .. } if neighbors.is_empty() && ranges.is_empty() => {
                Effect::Nothing
            }
            Self::PolicyChanged { .. }
            | Self::NetworkAdded(_)
            | Self::NetworkRemoved(_)
            | Self::NetworkChanged(_)
            | Self::Origin { .. } => Effect::Reevaluate,
            Self::NeighborAdded { .. }
            | Self::RangeAdded(_)
            | Self::PolicyAdded(_)
            | Self::PolicyRemoved(_) => Effect::Nothing,
        }
    }
}

/// The changes from `old` to `new`: settings, neighbours, policies, networks, each in a fixed order.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    settings(old, new, &mut changes);
    neighbors(old, new, &mut changes);
    ranges(old, new, &mut changes);
    policies(old, new, &mut changes);
    networks(old, new, &mut changes);
    changes
}

/// Notes keys that differ.
#[derive(Default)]
struct Keys(Vec<KeyChange>);

impl Keys {
    fn compare<T: PartialEq>(
        &mut self,
        key: &'static str,
        (old, new): (&T, &T),
        effect: Effect,
        show: impl Fn(&T) -> String,
    ) {
        if old != new {
            self.0.push(KeyChange { key, old: show(old), new: show(new), effect });
        }
    }
}

fn settings(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let mut section = |section: &'static str, keys: Keys| {
        changes.extend(keys.0.into_iter().map(|change| Change::Setting { section, change }));
    };
    let mut keys = Keys::default();
    let (from, to) = (&old.router, &new.router);
    keys.compare("asn", (&from.asn, &to.asn), Effect::Restart, ToString::to_string);
    let confederation = (&from.confederation, &to.confederation);
    keys.compare("confederation", confederation, Effect::Restart, |all| match all {
        Some(all) => format!("{} of {}", all.identifier, list(&all.members)),
        None => "none".to_owned(),
    });
    keys.compare("router-id", (&from.router_id, &to.router_id), Effect::Restart, ToString::to_string);
    keys.compare("hostname", (&from.hostname, &to.hostname), Effect::Restart, |name| or_none(name.as_ref()));
    keys.compare("listen", (&from.listen, &to.listen), Effect::Restart, |all| list(all));
    keys.compare("rib-threads", (&from.rib_threads, &to.rib_threads), Effect::Restart, |threads| {
        threads.map_or("one for each core".to_owned(), |threads| threads.to_string())
    });
    keys.compare("cluster-id", (&from.cluster_id, &to.cluster_id), Effect::Restart, |cluster| {
        cluster.map_or_else(|| "as router-id".to_owned(), |cluster| cluster.to_string())
    });
    let restart = (&from.restart_time, &to.restart_time);
    keys.compare("restart-time", restart, Effect::Nothing, ToString::to_string);
    let deferral = (&from.deferral_time, &to.deferral_time);
    keys.compare("deferral-time", deferral, Effect::Nothing, |time| time.as_secs().to_string());
    let between = (&from.client_to_client_reflection, &to.client_to_client_reflection);
    keys.compare("client-to-client-reflection", between, Effect::Restart, ToString::to_string);
    section("router", keys);

    let mut keys = Keys::default();
    let (from, to) = (&old.fib, &new.fib);
    keys.compare("interfaces", (&from.interfaces, &to.interfaces), Effect::Restart, |all| list(all));
    keys.compare("lookup", (&from.lookup, &to.lookup), Effect::Restart, ToString::to_string);
    keys.compare("xdp-mode", (&from.xdp_mode, &to.xdp_mode), Effect::Restart, ToString::to_string);
    keys.compare("advertise", (&from.advertise, &to.advertise), Effect::Restart, ToString::to_string);
    keys.compare("backups", (&from.backups, &to.backups), Effect::Restart, ToString::to_string);
    let keep = (&from.keep_forwarding, &to.keep_forwarding);
    keys.compare("keep-forwarding", keep, Effect::Restart, ToString::to_string);
    let intervals = (&from.audit_interval, &to.audit_interval);
    keys.compare("audit-interval", intervals, Effect::Restart, |interval| {
        interval.map_or_else(|| "never".to_owned(), |interval| interval.as_secs().to_string())
    });
    let entries = (&from.max_ipv4_entries, &to.max_ipv4_entries);
    keys.compare("max-ipv4-entries", entries, Effect::Restart, ToString::to_string);
    let entries = (&from.max_ipv6_entries, &to.max_ipv6_entries);
    keys.compare("max-ipv6-entries", entries, Effect::Restart, ToString::to_string);
    section("fib", keys);

    let mut keys = Keys::default();
    let (from, to) = (&old.api, &new.api);
    keys.compare("socket", (&from.socket, &to.socket), Effect::Restart, |path| path.display().to_string());
    keys.compare("listen", (&from.listen, &to.listen), Effect::Restart, |value| or_none(value.as_ref()));
    section("api", keys);

    let mut keys = Keys::default();
    let (from, to) = (&old.decision, &new.decision);
    let med = (&from.always_compare_med, &to.always_compare_med);
    keys.compare("always-compare-med", med, Effect::Reevaluate, ToString::to_string);
    keys.compare("multipath", (&from.multipath, &to.multipath), Effect::Reevaluate, ToString::to_string);
    for (key, old, new) in [
        ("multipath-ebgp", from.multipath_ebgp, to.multipath_ebgp),
        ("multipath-ibgp", from.multipath_ibgp, to.multipath_ibgp),
    ] {
        keys.compare(key, (&old, &new), Effect::Reevaluate, |paths| {
            paths.map_or_else(|| "as multipath".to_owned(), |paths| paths.to_string())
        });
    }
    let relax = (&from.multipath_relax, &to.multipath_relax);
    keys.compare("multipath-relax", relax, Effect::Reevaluate, ToString::to_string);
    let weights = (&from.multipath_weights, &to.multipath_weights);
    keys.compare("multipath-weights", weights, Effect::Reevaluate, ToString::to_string);
    let via_default = (&from.next_hop_via_default, &to.next_hop_via_default);
    keys.compare("next-hop-via-default", via_default, Effect::Restart, ToString::to_string);
    section("decision", keys);
}

fn neighbors(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let (before, after) = (by_name(old), by_name(new));
    for (name, from) in &before {
        match after.get(name) {
            None => changes.push(Change::NeighborRemoved { name: *name, asn: from.asn }),
            Some(to) => {
                let keys = neighbor_keys(from, to);
                if !keys.is_empty() {
                    changes.push(Change::NeighborChanged { name: *name, keys });
                }
            }
        }
    }
    let added = after.iter().filter(|(name, _)| !before.contains_key(name));
    changes.extend(added.map(|(name, to)| Change::NeighborAdded { name: *name, asn: to.asn }));
}

fn by_name(config: &Config) -> BTreeMap<Zoned, &Neighbor> {
    config.neighbors.iter().map(|neighbor| (neighbor.name(), neighbor)).collect()
}

/// Whether a neighbour with the first configuration needs a new session to have the second.
pub fn needs_new_session(old: &Neighbor, new: &Neighbor) -> bool {
    neighbor_keys(old, new).iter().any(|key| key.effect == Effect::ResetSession)
}

fn ranges(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let by_prefix = |config: &Config| -> BTreeMap<IpNet, NeighborRange> {
        config.ranges.iter().map(|range| (range.prefix, range.clone())).collect()
    };
    let (before, after) = (by_prefix(old), by_prefix(new));
    for (prefix, from) in &before {
        let Some(to) = after.get(prefix) else {
            changes.push(Change::RangeRemoved(*prefix));
            continue;
        };
        let mut keys = Keys::default();
        keys.compare("asn", (&from.asns, &to.asns), Effect::ResetSession, |asns| list(asns.ranges()));
        keys.compare("limit", (&from.limit, &to.limit), Effect::Nothing, ToString::to_string);
        keys.0.extend(neighbor_keys(&from.template, &to.template));
        if !keys.0.is_empty() {
            changes.push(Change::RangeChanged { prefix: *prefix, keys: keys.0 });
        }
    }
    let added = after.keys().filter(|prefix| !before.contains_key(*prefix));
    changes.extend(added.map(|prefix| Change::RangeAdded(*prefix)));
}

/// The keys of one neighbour that differ. Chains count by the names in them: what is in a policy
/// is a change of the policy.
fn neighbor_keys(old: &Neighbor, new: &Neighbor) -> Vec<KeyChange> {
    use Effect::{Nothing, Reevaluate, ResetSession};
    let mut keys = Keys::default();
    keys.compare("asn", (&old.asn, &new.asn), ResetSession, ToString::to_string);
    keys.compare("group", (&old.group, &new.group), Nothing, |value| or_none(value.as_ref()));
    keys.compare("local-asn", (&old.local_asn, &new.local_asn), ResetSession, |asn| or_none(asn.as_ref()));
    keys.compare("description", (&old.description, &new.description), Nothing, |value| {
        or_none(value.as_ref())
    });
    keys.compare("families", (&old.families, &new.families), ResetSession, |set| families(*set));
    keys.compare("passive", (&old.passive, &new.passive), Nothing, ToString::to_string);
    keys.compare("shutdown", (&old.shutdown, &new.shutdown), ResetSession, ToString::to_string);
    let import = (&old.import.to_string(), &new.import.to_string());
    keys.compare("import", import, Reevaluate, |names| format!("[{names}]"));
    let export = (&old.export.to_string(), &new.export.to_string());
    keys.compare("export", export, Reevaluate, |names| format!("[{names}]"));
    keys.compare("local-address", (&old.local_address, &new.local_address), ResetSession, |value| {
        or_none(value.as_ref())
    });
    keys.compare("multihop", (&old.multihop, &new.multihop), ResetSession, |hops| or_none(hops.as_ref()));
    keys.compare("ttl-security", (&old.ttl_security, &new.ttl_security), ResetSession, |hops| {
        or_none(hops.as_ref())
    });
    keys.compare("password", (&old.password, &new.password), Nothing, |password| or_none(password.as_ref()));
    keys.compare("port", (&old.port, &new.port), ResetSession, ToString::to_string);
    let hold_time = (&old.hold_time, &new.hold_time);
    keys.compare("hold-time", hold_time, ResetSession, |time| time.as_secs().to_string());
    keys.compare("keepalive", (&old.keepalive, &new.keepalive), ResetSession, |interval| {
        interval.map_or("a third of the hold time".to_owned(), |interval| interval.as_secs().to_string())
    });
    let least = (&old.min_hold_time, &new.min_hold_time);
    keys.compare("min-hold-time", least, ResetSession, |time| time.as_secs().to_string());
    let send_hold = (&old.send_hold_time, &new.send_hold_time);
    keys.compare("send-hold-time", send_hold, ResetSession, |time| match time {
        SendHoldTime::Usual => "as RFC 9687 says".to_owned(),
        SendHoldTime::After(time) => time.as_secs().to_string(),
        SendHoldTime::Off => "0".to_owned(),
    });
    let extended = (&old.extended_next_hop, &new.extended_next_hop);
    keys.compare("extended-next-hop", extended, ResetSession, ToString::to_string);
    let hostname = (&old.advertise_hostname, &new.advertise_hostname);
    keys.compare("advertise-hostname", hostname, ResetSession, ToString::to_string);
    let version = (&old.advertise_version, &new.advertise_version);
    keys.compare("advertise-version", version, ResetSession, ToString::to_string);
    let retry = (&old.connect_retry, &new.connect_retry);
    keys.compare("connect-retry", retry, Nothing, |retry| retry.as_secs().to_string());
    let refresh = (&old.refresh_stale_time, &new.refresh_stale_time);
    keys.compare("refresh-stale-time", refresh, Nothing, |time| time.as_secs().to_string());
    // How many paths are sent is between us and the routes.
    let sends = |add_path: &AddPath| (add_path.receive, add_path.send.is_some());
    let effect = if sends(&old.add_path) == sends(&new.add_path) { Reevaluate } else { ResetSession };
    keys.compare("add-path", (&old.add_path, &new.add_path), effect, ToString::to_string);
    for (from, to) in old.attributes.described().into_iter().zip(new.attributes.described()) {
        let effect = if from.2 { ResetSession } else { Reevaluate };
        keys.compare(from.0, (&from.1, &to.1), effect, Clone::clone);
    }
    let of = |neighbor: &Neighbor| (neighbor.graceful_restart, neighbor.own_restart);
    keys.compare("graceful-restart", (&of(old), &of(new)), ResetSession, |(helper, own)| {
        restart::written(helper.as_ref(), *own)
    });
    keys.compare("bfd", (&old.bfd, &new.bfd), Nothing, |bfd| or_none(bfd.as_ref()));
    let (from, to) = (&old.limits, &new.limits);
    for (key, old, new, effect) in [
        ("max-prefixes", from.received, to.received, Nothing),
        ("max-accepted-prefixes", from.accepted, to.accepted, Reevaluate),
        ("max-prefixes-out", from.advertised, to.advertised, ResetSession),
    ] {
        let effect = if limits::may_have_excess(&old, &new) { ResetSession } else { effect };
        keys.compare(key, (&old, &new), effect, limits::written);
    }
    let honor = (&old.honor_graceful_shutdown, &new.honor_graceful_shutdown);
    keys.compare("honor-graceful-shutdown", honor, Reevaluate, |value| or_none(value.as_ref()));
    let blackhole = (&old.accept_blackhole, &new.accept_blackhole);
    keys.compare("accept-blackhole", blackhole, Reevaluate, ToString::to_string);
    let default = |value: &Option<PolicyChain>| match value {
        None => "no".to_owned(),
        Some(chain) if chain.is_empty() => "yes".to_owned(),
        Some(chain) => format!("[{chain}]"),
    };
    let (from, to) = (default(&old.default_originate), default(&new.default_originate));
    keys.compare("default-originate", (&from, &to), Reevaluate, Clone::clone);
    let client = (&old.route_reflector_client, &new.route_reflector_client);
    keys.compare("route-reflector-client", client, ResetSession, ToString::to_string);
    let client = (&old.route_server_client, &new.route_server_client);
    keys.compare("route-server-client", client, ResetSession, ToString::to_string);
    keys.compare("cluster-id", (&old.cluster_id, &new.cluster_id), ResetSession, |cluster| {
        cluster.map_or_else(|| "the router's".to_owned(), |cluster| cluster.to_string())
    });
    keys.0
}

fn policies(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    for (name, from) in &old.policies {
        match new.policies.get(name) {
            None => changes.push(Change::PolicyRemoved(name.clone())),
            Some(to) if from != to => changes.push(Change::PolicyChanged {
                name: name.clone(),
                prefix_lists: changed_lists(from, to),
                neighbors: new.neighbors.iter().filter(|of| uses(of, name)).map(Neighbor::name).collect(),
                ranges: new.ranges.iter().filter(|of| uses(&of.template, name)).map(|of| of.prefix).collect(),
            }),
            Some(_) => {}
        }
    }
    let added = new.policies.keys().filter(|name| !old.policies.contains_key(*name));
    changes.extend(added.cloned().map(Change::PolicyAdded));
}

/// The prefix lists that both policies use and that differ.
fn changed_lists(old: &Policy, new: &Policy) -> Vec<String> {
    let lists = |policy: &Policy| {
        let mut lists: BTreeMap<String, Arc<PrefixList>> = BTreeMap::new();
        for condition in policy.statements.iter().flat_map(|statement| &statement.matches) {
            condition.visit(&mut |condition| {
                if let Match::Prefix(named) | Match::NextHop(named) = condition {
                    // Those written in the condition itself have no name.
                    let named = named.iter().filter(|list| !list.name().is_empty());
                    lists.extend(named.map(|list| (list.name().to_owned(), list.clone())));
                }
            });
        }
        lists
    };
    let (old, new) = (lists(old), lists(new));
    let differs =
        |(name, list): (String, Arc<_>)| old.get(&name).is_some_and(|old| *old != list).then_some(name);
    new.into_iter().filter_map(differs).collect()
}

/// Whether a neighbour's routes go through a policy.
fn uses(neighbor: &Neighbor, policy: &str) -> bool {
    let names = |chain: &PolicyChain| chain.policies().iter().any(|named| named.involves(policy));
    names(&neighbor.import) || names(&neighbor.export)
}

fn networks(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    let by_prefix = |config: &Config| -> BTreeMap<IpNet, String> {
        let words = |network: &Network| {
            format!("{} {} {}", network.policy, network.only_if_present, anchor_word(network.anchor))
        };
        config.networks.iter().map(|network| (network.prefix, words(network))).collect()
    };
    let (before, after) = (by_prefix(old), by_prefix(new));
    let gone = before.keys().filter(|prefix| !after.contains_key(prefix));
    changes.extend(gone.copied().map(Change::NetworkRemoved));
    let added = after.keys().filter(|prefix| !before.contains_key(prefix));
    changes.extend(added.copied().map(Change::NetworkAdded));
    let other = after.iter().filter(|(prefix, words)| before.get(prefix).is_some_and(|old| old != *words));
    changes.extend(other.map(|(prefix, _)| Change::NetworkChanged(*prefix)));
    origins(&described(old), &described(new), changes);
}

/// Aggregates and redistributions by their names, each with all that is said of it. Chains count by the names
/// in them.
fn described(config: &Config) -> BTreeMap<String, String> {
    let aggregates = config.aggregates.iter().map(|aggregate| {
        let Aggregate { prefix, summary_only, as_set, contributors, policy, anchor } = aggregate;
        let kind = anchor_word(*anchor);
        (format!("aggregate {prefix}"), format!("{summary_only} {as_set} {kind} {contributors} / {policy}"))
    });
    let redistributed = config.redistribute.iter().map(|redistribute| {
        (format!("redistribute {}", redistribute.source), redistribute.policy.to_string())
    });
    aggregates.chain(redistributed).collect()
}

fn origins(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, changes: &mut Vec<Change>) {
    let mut note = |what: &String, sign| changes.push(Change::Origin { what: what.clone(), sign });
    old.keys().filter(|what| !new.contains_key(*what)).for_each(|what| note(what, '-'));
    new.keys().filter(|what| !old.contains_key(*what)).for_each(|what| note(what, '+'));
    let differs = |(what, words): &(&String, &String)| old.get(*what).is_some_and(|old| old != *words);
    new.iter().filter(differs).for_each(|(what, _)| note(what, '~'));
}

fn as_of(asn: PeerAsn) -> String {
    match asn {
        PeerAsn::Is(asn) => format!("AS {asn}"),
        PeerAsn::External => "another AS".to_owned(),
    }
}

fn list<T: ToString>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn families(families: FamilySet) -> String {
    list(&families.iter().collect::<Vec<_>>())
}

fn or_none<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.old, self.new)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "disturbs nothing",
            Self::Reevaluate => "evaluates routes again",
            Self::ResetSession => "resets the session",
            Self::Restart => "needs a restart",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { section, change } => write!(f, "~ {section}.{change} ({})", change.effect),
            Self::NeighborAdded { name, asn } => write!(f, "+ neighbor {name} ({})", as_of(*asn)),
            Self::NeighborRemoved { name, asn } => write!(f, "- neighbor {name} ({})", as_of(*asn)),
            Self::NeighborChanged { name, keys } => {
                let keys = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "~ neighbor {name}: {keys} ({})", self.effect())
            }
            Self::RangeAdded(prefix) => write!(f, "+ neighbor-range {prefix}"),
            Self::RangeRemoved(prefix) => write!(f, "- neighbor-range {prefix}"),
            Self::RangeChanged { prefix, keys } => {
                let keys = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "~ neighbor-range {prefix}: {keys} ({})", self.effect())
            }
            Self::PolicyAdded(name) => write!(f, "+ policy {name}"),
            Self::PolicyRemoved(name) => write!(f, "- policy {name}"),
            Self::PolicyChanged { name, prefix_lists, neighbors, ranges } => {
                write!(f, "~ policy {name}")?;
                if !prefix_lists.is_empty() {
                    write!(f, " by prefix list {}", prefix_lists.join(", "))?;
                }
                let names = neighbors.iter().map(ToString::to_string);
                let names: Vec<String> = names.chain(ranges.iter().map(ToString::to_string)).collect();
                if names.is_empty() {
                    return write!(f, ", which no neighbor names");
                }
                write!(f, ": evaluates the routes of {} again", names.join(", "))
            }
            Self::NetworkAdded(prefix) => write!(f, "+ network {prefix}"),
            Self::NetworkRemoved(prefix) => write!(f, "- network {prefix}"),
            Self::NetworkChanged(prefix) => write!(f, "~ network {prefix}: originates it anew"),
            Self::Origin { what, sign } => write!(f, "{sign} {what}"),
        }
    }
}
