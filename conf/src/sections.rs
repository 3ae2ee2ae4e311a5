//! The sections that stand alone: `[router]`, `[fib]`, `[api]`, `[decision]`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bgp::types::{Asn, RouterId};
use figment::value::Value;
use ipnet::IpNet;

use crate::config::{
    Advertise, Api, Confederation, Decision, FibConf, Lookup, MultipathWeights, Router, XdpMode,
};
use crate::reader::{Read, Report, Table, boolean, choice, number, number_or, parsed, text};
use crate::restart;
use crate::source::Path;

/// Longest path of a Unix socket: `sun_path` less its final zero.
const MAX_SOCKET_PATH: usize = 107;
/// Longest interface name: `IFNAMSIZ` less its final zero.
const MAX_INTERFACE_NAME: usize = 15;

const ADDRESS_AND_PORT: &str = "\"ADDRESS:PORT\" or \"[IPV6-ADDRESS]:PORT\"";
pub(crate) const ASN: &str = "an AS number from 1 to 4294967294";

pub(crate) fn router(root: &mut Table<'_, '_>) -> Option<Router> {
    let report = root.report();
    if !root.has("router") {
        let expected = "the section [router] is missing; expected asn and router-id in it";
        report.error(&root.key("router"), expected);
        // Looked for, and so known.
        return root.table("router").and(None);
    }
    let mut table = root.table("router")?;
    let own = table.required("asn", ASN, asn);
    let router_id = table.required("router-id", ROUTER_ID, router_id);
    let hostname = table.optional("hostname", hostname);
    let listen = table.list("listen", socket_address);
    if let Some(listen) = &listen {
        unique(report, listen, |address| *address);
    }
    let rib_threads =
        table.optional("rib-threads", |value| number(value, 1..=Router::MOST_RIB_THREADS.into(), ""));
    let confederation = confederation(&mut table, own);
    let cluster_id = table.optional("cluster-id", cluster_id);
    let between_clients = table.optional("client-to-client-reflection", boolean);
    let (restart_time, deferral_time) = restart::times(&mut table);
    table.finish(&[]);
    let listen = match listen {
        Some(listen) => listen.into_iter().map(|(_, address)| address).collect(),
        None => Router::default_listen(),
    };
    Some(Router {
        asn: own?,
        confederation,
        router_id: router_id?,
        hostname,
        listen,
        cluster_id,
        client_to_client_reflection: between_clients.unwrap_or(true),
        rib_threads: rib_threads.map(|n| n as u16),
        restart_time: restart_time.unwrap_or(Router::DEFAULT_RESTART_TIME),
        deferral_time: deferral_time.unwrap_or(Router::DEFAULT_DEFERRAL_TIME),
    })
}

/// `confederation = { identifier, members }`.
fn confederation(router: &mut Table<'_, '_>, own: Option<Asn>) -> Option<Confederation> {
    let mut table = router.table("confederation")?;
    let path = table.key("identifier");
    let identifier = table.required("identifier", "the AS number that others see", asn);
    let members = table.required_list("members", "the other member ASes", asn);
    let report = table.report();
    table.finish(&[]);
    let (identifier, members) = (identifier?, members?);
    if own == Some(identifier) {
        let reason = format!("{identifier} is router.asn; expected the number of all member ASes together");
        report.error(&path, reason);
    }
    unique(report, &members, |member| *member);
    for (path, _) in members.iter().filter(|(_, member)| *member == identifier) {
        report.error(path, format!("{identifier} is the confederation itself; expected one of its members"));
    }
    let members = members.into_iter().map(|(_, member)| member).filter(|member| own != Some(*member));
    Some(Confederation { identifier, members: members.collect() })
}

pub(crate) fn fib(root: &mut Table<'_, '_>) -> FibConf {
    let default = FibConf::default();
    let Some(mut table) = root.table("fib") else { return default };
    let interfaces = table.list("interfaces", interface_name).unwrap_or_default();
    unique(table.report(), &interfaces, Clone::clone);
    let entries = |value: &Value| number(value, 1..=FibConf::LARGEST_MAX_ENTRIES, "");
    let fib = FibConf {
        interfaces: interfaces.into_iter().map(|(_, name)| name).collect(),
        lookup: table.optional("lookup", |v| choice(v, Lookup::WORDS)).unwrap_or(default.lookup),
        xdp_mode: table.optional("xdp-mode", |v| choice(v, XdpMode::WORDS)).unwrap_or(default.xdp_mode),
        advertise: table.optional("advertise", |v| choice(v, Advertise::WORDS)).unwrap_or(default.advertise),
        backups: table.optional("backups", boolean).unwrap_or(default.backups),
        keep_forwarding: table.optional("keep-forwarding", boolean).unwrap_or(default.keep_forwarding),
        audit_interval: match table.optional("audit-interval", |v| number(v, 0..=86_400, " seconds")) {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds.into())),
            None => default.audit_interval,
        },
        max_ipv4_entries: table.optional("max-ipv4-entries", entries).unwrap_or(default.max_ipv4_entries),
        max_ipv6_entries: table.optional("max-ipv6-entries", entries).unwrap_or(default.max_ipv6_entries),
    };
    table.finish(&[]);
    fib
}

pub(crate) fn api(root: &mut Table<'_, '_>) -> Api {
    let default = Api::default();
    let Some(mut table) = root.table("api") else { return default };
    let socket = table.optional("socket", socket_path).unwrap_or(default.socket);
    let listen = table.optional("listen", socket_address);
    table.finish(&[]);
    Api { socket, listen }
}

pub(crate) fn decision(root: &mut Table<'_, '_>) -> Decision {
    let default = Decision::default();
    let Some(mut table) = root.table("decision") else { return default };
    let always_compare_med = table.optional("always-compare-med", boolean);
    let paths = |value: &Value| number(value, 1..=64, " (paths)").map(|paths| paths as u8);
    let multipath = table.optional("multipath", paths);
    let external = table.optional("multipath-ebgp", paths);
    let internal = table.optional("multipath-ibgp", paths);
    let relax = table.optional("multipath-relax", boolean);
    let weights = table.optional("multipath-weights", |value| choice(value, MultipathWeights::WORDS));
    let via_default = table.optional("next-hop-via-default", boolean);
    table.finish(&[]);
    Decision {
        always_compare_med: always_compare_med.unwrap_or(default.always_compare_med),
        multipath: multipath.unwrap_or(default.multipath),
        multipath_ebgp: external,
        multipath_ibgp: internal,
        multipath_relax: relax.unwrap_or(default.multipath_relax),
        multipath_weights: weights.unwrap_or(default.multipath_weights),
        next_hop_via_default: via_default.unwrap_or(default.next_hop_via_default),
    }
}

/// Reports every value that was there before.
pub(crate) fn unique<T, K: Hash + Eq + std::fmt::Display>(
    report: &Report<'_>,
    values: &[(Path, T)],
    key: impl Fn(&T) -> K,
) {
    let mut seen: HashMap<K, &Path> = HashMap::new();
    for (path, value) in values {
        let key = key(value);
        match seen.get(&key) {
            Some(first) => {
                let first = report.elsewhere(first);
                report.error(path, format!("duplicate {key}, first on {first}; expected each only once"));
            }
            None => {
                seen.insert(key, path);
            }
        }
    }
}

const ROUTER_ID: &str = "an IPv4 address other than 0.0.0.0, such as \"10.0.0.1\"";
pub(crate) const PREFIX: &str = "a prefix, such as \"203.0.113.0/24\" or \"2001:db8::/32\"";

/// An AS number that a speaker can have.
pub(crate) fn asn(value: &Value) -> Read<Asn> {
    let asn = number_or(value, 0..=u32::MAX, ASN)?;
    let reserved = match asn {
        0 => "reserved and never a peer (RFC 7607)",
        23_456 => "AS_TRANS, the stand-in for larger AS numbers (RFC 6793)",
        65_535 | u32::MAX => "reserved (RFC 7300)",
        _ => return Ok(Asn(asn)),
    };
    Err(format!("{asn} is {reserved}; expected the AS number of the speaker itself"))
}

fn router_id(value: &Value) -> Read<RouterId> {
    let id: Ipv4Addr = parsed(value, ROUTER_ID)?;
    if id.is_unspecified() {
        return Err(format!("0.0.0.0 is not allowed (RFC 6286); expected {ROUTER_ID}"));
    }
    Ok(RouterId(id))
}

fn hostname(value: &Value) -> Read<String> {
    let expected = "a name such as \"r1.example.net\", each part of 1 to 63 letters, digits and hyphens";
    let name = text(value, expected)?;
    let usable = |part: &str| {
        (1..=63).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let domain = name.split_once('.').map_or(0, |(_, domain)| domain.len());
    // Both have at most 64 octets on the wire.
    if domain <= 64 && name.split('.').all(usable) {
        return Ok(name);
    }
    Err(format!("\"{name}\" is no name of a host; expected {expected}"))
}

/// The id of a route reflector's cluster.
pub(crate) fn cluster_id(value: &Value) -> Read<Ipv4Addr> {
    let id: Ipv4Addr = parsed(value, ROUTER_ID)?;
    if id.is_unspecified() {
        return Err(format!("0.0.0.0 is no cluster; expected {ROUTER_ID}"));
    }
    Ok(id)
}

fn socket_address(value: &Value) -> Read<SocketAddr> {
    let address: SocketAddr = parsed(value, ADDRESS_AND_PORT)?;
    if address.port() == 0 {
        return Err(format!("{address} has port 0; expected a port from 1 to 65535"));
    }
    Ok(address)
}

fn socket_path(value: &Value) -> Read<PathBuf> {
    let expected = "an absolute path";
    let path = text(value, expected)?;
    if !path.starts_with('/') {
        return Err(format!("\"{path}\" is not absolute; expected {expected}"));
    }
    if path.len() > MAX_SOCKET_PATH {
        let len = path.len();
        return Err(format!(
            "the path has {len} bytes; expected at most {MAX_SOCKET_PATH}, as the kernel demands"
        ));
    }
    Ok(path.into())
}

pub(crate) fn interface_name(value: &Value) -> Read<String> {
    let name = text(value, "the name of an interface")?;
    check_interface_name(&name)?;
    Ok(name)
}

pub(crate) fn check_interface_name(name: &str) -> Read<()> {
    let usable = !name.is_empty()
        && name.len() <= MAX_INTERFACE_NAME
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'));
    if usable {
        return Ok(());
    }
    Err(format!(
        "\"{name}\" cannot be an interface; expected a name of 1 to {MAX_INTERFACE_NAME} bytes without \"/\", \":\" and spaces"
    ))
}

pub(crate) fn network_prefix(value: &Value) -> Read<IpNet> {
    let prefix: IpNet = parsed(value, PREFIX)?;
    if prefix != prefix.trunc() {
        return Err(format!("{prefix} has host bits set; expected the network {}", prefix.trunc()));
    }
    // Also a shorter prefix that reaches into them is no multicast prefix: 0.0.0.0/0 is fine.
    if prefix.network().is_multicast() {
        return Err(format!("{prefix} is multicast; expected a unicast prefix"));
    }
    Ok(prefix)
}
