//! The neighbours: `[[neighbor]]`.
//!
//! [`keys`] reads what a group of neighbours may say as well: a new key of a neighbour belongs there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp::link::{LinkTag, Zoned, bare, link_of, unnumbered};
use bgp::policy::Policy;
use bgp::session::{PeerAsn, PeerKind};
use bgp::types::{Asn, Family, FamilySet};
use figment::value::Value;

use crate::attributes::attributes;
use crate::bfd::bfd;
use crate::config::{AddPath, FibConf, Neighbor, Router, SendPaths};
use crate::group::Groups;
use crate::limits;
use crate::local_asn::local_asn;
use crate::named::Named;
use crate::nearest::nearest;
use crate::origin::default_originate;
use crate::policy::chain;
use crate::reader::{Read, Report, Table, boolean, number, number_or, text};
use crate::restart;
use crate::sections::{ASN, asn, check_interface_name, cluster_id, unique};
use crate::source::Path;
use crate::timers::{Timers, timers};
use crate::transport::{Transport, transport};

const ADDRESS: &str = "an IPv4 or IPv6 address";

pub(crate) fn neighbors(
    root: &mut Table<'_, '_>,
    router: Option<&Router>,
    fib: &FibConf,
    policies: &Named<Policy>,
    groups: &Groups,
) -> Vec<Neighbor> {
    let report = root.report();
    let mut seen: HashMap<IpAddr, Path> = HashMap::new();
    let mut links: HashMap<LinkTag, (bool, Path)> = HashMap::new();
    let mut neighbors = Vec::new();
    for table in root.tables("neighbor") {
        let address_key = if table.has("address") { "address" } else { "interface" };
        let address_path = table.key(if table.has(address_key) { address_key } else { "address" });
        let password_path = table.key("password");
        let (name, neighbor) = neighbor(table, router, fib, policies, groups);
        if let Some(name) = name {
            if let Some(first) = seen.get(&name) {
                let (first, name) = (report.elsewhere(first), Zoned(name));
                let reason =
                    format!("duplicate neighbor {name}, first on {first}; expected one [[neighbor]] for it");
                report.error(&address_path, reason);
            } else {
                check_link(report, &address_path, name, &mut links);
                seen.insert(name, address_path);
            }
        }
        if let Some(neighbor) = &neighbor {
            check_password(report, &password_path, neighbor, &neighbors);
        }
        neighbors.extend(neighbor);
    }
    neighbors
}

/// Who is the only neighbour on a link has no other beside it.
fn check_link(report: &Report<'_>, path: &Path, name: IpAddr, links: &mut HashMap<LinkTag, (bool, Path)>) {
    let Some(link) = link_of(name) else { return };
    let alone = unnumbered(name).is_some();
    match links.get(&link) {
        Some((other_alone, first)) if alone || *other_alone => {
            let (link, first) = (Zoned(link.neighbor()), report.elsewhere(first));
            let reason = format!(
                "another neighbor on {link}, see {first}; expected one without an address there, or several with theirs"
            );
            report.error(path, reason);
        }
        Some(_) => {}
        None => drop(links.insert(link, (alone, path.clone()))),
    }
}

/// The kernel knows passwords by address alone, and those of neighbours without one by all that they may have.
fn check_password(report: &Report<'_>, path: &Path, neighbor: &Neighbor, others: &[Neighbor]) {
    let same = |other: &Neighbor| bare(other.address) == bare(neighbor.address);
    let alike = |other: &&Neighbor| {
        link_of(neighbor.address).is_some()
            && link_of(other.address).is_some()
            && (same(other) || other.unnumbered().or(neighbor.unnumbered()).is_some())
            && other.password != neighbor.password
    };
    if let Some(other) = others.iter().find(alike) {
        let may = if other.unnumbered().or(neighbor.unnumbered()).is_some() { "may have" } else { "has" };
        let reason =
            format!("{} {may} the same address on another link; expected the same password", other.name());
        report.error(path, reason);
    }
}

/// Reads one. Its name comes back even if something else in it is wrong.
fn neighbor(
    mut table: Table<'_, '_>,
    router: Option<&Router>,
    fib: &FibConf,
    policies: &Named<Policy>,
    groups: &Groups,
) -> (Option<IpAddr>, Option<Neighbor>) {
    let group = groups.inherit(&mut table);
    let name = place(&mut table);
    let asn = table.required("asn", "the AS number of the neighbor", peer_asn);
    let number = match asn {
        Some(WrittenAsn::Is(asn)) => Some(asn),
        _ => None,
    };
    let member = router.zip(number).is_some_and(|(router, asn)| router.kind_of(asn) == PeerKind::Confed);
    let says_extended = table.has("extended-next-hop");
    let mut keys = keys(&mut table, policies, router, |ours| match asn? {
        WrittenAsn::Is(asn) => Some(asn != ours && !member),
        WrittenAsn::External => Some(true),
        WrittenAsn::Internal => Some(false),
    });
    if name.and_then(unnumbered).is_some() && !says_extended {
        // Nobody gives such a link IPv4 addresses.
        keys.extended_next_hop = true;
    }
    let ours = keys.local_asn.map(|local| local.asn).or(router.map(|router| router.asn));
    let asn = asn.and_then(|asn| match asn {
        WrittenAsn::Is(asn) => Some(PeerAsn::Is(asn)),
        WrittenAsn::External => Some(PeerAsn::External),
        WrittenAsn::Internal => ours.map(PeerAsn::Is),
    });
    let neighbor = name.zip(asn).map(|(address, asn)| Neighbor { address, asn, group, ..keys });
    if let Some(neighbor) = &neighbor {
        check_local_address(&table, neighbor);
        check_bfd(&table, neighbor, router);
        restart::check(&table, neighbor, fib);
        if let Some(router) = router {
            check_against_router(&table, neighbor, router);
        }
    }
    table.finish(&[]);
    (name, neighbor)
}

/// Reads what neighbours and groups of them may say. Address, AS number and group are the caller's to fill in;
/// `external` says whether they are in another AS than one that we are of, as far as that is known.
pub(crate) fn keys(
    table: &mut Table<'_, '_>,
    policies: &Named<Policy>,
    router: Option<&Router>,
    external: impl Fn(Asn) -> Option<bool>,
) -> Neighbor {
    let local_asn = local_asn(table, router);
    let description = table.optional("description", |value| text(value, "a string"));
    let families = families(table);
    let passive = table.optional("passive", boolean).unwrap_or(false);
    let shutdown = table.optional("shutdown", boolean).unwrap_or(false);
    let import = chain(table, "import", policies);
    let export = chain(table, "export", policies);
    let Transport { local_address, multihop, ttl_security, password } = transport(table, local_address);
    let port = table.optional("port", port).unwrap_or(Router::PORT);
    let Timers { hold_time, keepalive, min_hold_time, send_hold_time, connect_retry, refresh_stale_time } =
        timers(table);
    let extended_next_hop = table.optional("extended-next-hop", boolean).unwrap_or(false);
    let advertise_hostname = table.optional("advertise-hostname", boolean).unwrap_or(false);
    let advertise_version = table.optional("advertise-version", boolean).unwrap_or(false);
    let ours = local_asn.map(|local| local.asn).or(router.map(|router| router.asn));
    let external = ours.and_then(external);
    let attributes = attributes(table, external, &export);
    let (graceful_restart, own_restart) = restart::restart(table);
    let bfd = bfd(table);
    let limits = limits::limits(table);
    let honor_graceful_shutdown = table.optional("honor-graceful-shutdown", boolean);
    let accept_blackhole = table.optional("accept-blackhole", boolean).unwrap_or(false);
    let default_originate = default_originate(table, policies);
    let add_path = add_path(table);
    let route_reflector_client = table.optional("route-reflector-client", boolean).unwrap_or(false);
    let cluster_id = table.optional("cluster-id", cluster_id);
    let route_server_client = table.optional("route-server-client", boolean).unwrap_or(false);

    Neighbor {
        address: Ipv6Addr::UNSPECIFIED.into(),
        asn: PeerAsn::External,
        range: None,
        group: None,
        local_asn,
        description,
        families,
        passive,
        shutdown,
        import,
        export,
        local_address,
        multihop,
        ttl_security,
        password,
        port,
        hold_time,
        keepalive,
        min_hold_time,
        send_hold_time,
        connect_retry,
        refresh_stale_time,
        attributes,
        graceful_restart,
        own_restart,
        bfd,
        limits,
        honor_graceful_shutdown,
        accept_blackhole,
        default_originate,
        add_path,
        extended_next_hop,
        advertise_hostname,
        advertise_version,
        route_reflector_client,
        cluster_id,
        route_server_client,
    }
}

fn check_local_address(table: &Table<'_, '_>, neighbor: &Neighbor) {
    let Some(local) = neighbor.local_address else { return };
    let reason = if link_of(neighbor.address).is_some() {
        "a neighbor of a link is reached from our address on that link; expected no such key".to_owned()
    } else if local.is_ipv4() != neighbor.address.is_ipv4() {
        let family = if neighbor.address.is_ipv4() { "IPv4" } else { "IPv6" };
        format!("{local} cannot reach {}; expected an {family} address, as the neighbor's", neighbor.address)
    } else if local == neighbor.address {
        format!("{local} is the neighbor's own address; expected one of this router")
    } else {
        return;
    };
    table.report().error(&table.key("local-address"), reason);
}

fn check_bfd(table: &Table<'_, '_>, neighbor: &Neighbor, router: Option<&Router>) {
    let Some(bfd) = neighbor.bfd else { return };
    let path = table.key("bfd");
    if bfd.multihop == Some(true) && link_of(neighbor.address).is_some() {
        let reason = "a neighbor of a link is one hop away; expected no such key";
        table.report().error(&path.key("multihop"), reason);
    } else if bfd.minimum_ttl.is_some()
        && bfd.multihop.is_none()
        && router.is_some_and(|router| !neighbor.bfd_is_multihop(router))
    {
        let reason = "the neighbor is one hop away, and packets on a link must always arrive with 255; expected no such key";
        table.report().error(&path.key("minimum-ttl"), reason);
    }
}

fn check_against_router(table: &Table<'_, '_>, neighbor: &Neighbor, router: &Router) {
    let report = table.report();
    if router.listen.iter().any(|listen| listen.ip() == neighbor.address && listen.port() == neighbor.port) {
        let name = neighbor.address;
        let reason =
            format!("{name} is this router itself, see router.listen; expected the neighbor's address");
        report.error(&table.key("address"), reason);
    }
    if neighbor.passive && router.listen.is_empty() && !neighbor.shutdown {
        let reason = "the session cannot come up: the neighbor is passive and router.listen is empty";
        report.warn(&table.key("passive"), reason);
    }
    if neighbor.cluster_id.is_some() && !neighbor.route_reflector_client {
        let reason = "no effect: the neighbor is not a route-reflector-client";
        report.warn(&table.key("cluster-id"), reason);
    }
    let kind = neighbor.kind(router);
    if neighbor.route_server_client && kind != PeerKind::Ebgp {
        let reason = "a route server is in no AS of its clients; expected this only of external neighbors";
        report.error(&table.key("route-server-client"), reason);
    }
    if kind == PeerKind::Ibgp {
        return;
    }
    if neighbor.route_reflector_client {
        let (asn, ours) = (neighbor.asn, router.asn);
        let reason = format!("AS {asn} is not ours; expected this only of internal neighbors (asn = {ours})");
        report.error(&table.key("route-reflector-client"), reason);
    }
    if let Some(confederation) = &router.confederation {
        let asn = confederation.identifier;
        if neighbor.asn == asn.into() {
            let reason = format!("{asn} is our own confederation; expected the neighbor's member AS");
            report.error(&table.key("asn"), reason);
        }
        if neighbor.asn == PeerAsn::External {
            let reason = "in a confederation it matters which AS that is; expected its number";
            report.error(&table.key("asn"), reason);
        }
    }
    if kind == PeerKind::Ebgp {
        warn_without_policy(table, neighbor, &format!("the external neighbor {}", neighbor.name()));
    }
}

/// Warns where an external neighbour gives or gets nothing for want of a policy.
pub(crate) fn warn_without_policy(table: &Table<'_, '_>, neighbor: &Neighbor, who: &str) {
    // Names that are wrong leave an empty chain behind, but then there are errors, not warnings.
    let (key, what, says) = match (neighbor.import.is_empty(), neighbor.export.is_empty()) {
        (false, false) => return,
        (true, false) => ("import", "accepted from", "import = [\"none\"] says"),
        (false, true) => ("export", "sent to", "export = [\"none\"] says"),
        (true, true) => {
            ("import", "accepted from or sent to", "import = [\"none\"] and export = [\"none\"] say")
        }
    };
    let reason = format!("no policy, so no route is {what} {who} (RFC 8212); {says} that this is meant");
    table.report().warn(&table.key(key), reason);
}

fn add_path(table: &mut Table<'_, '_>) -> AddPath {
    let Some(mut table) = table.table("add-path") else { return AddPath::default() };
    let receive = table.optional("receive", boolean).unwrap_or(false);
    let send = table.optional("send", send_paths);
    table.finish(&[]);
    AddPath { receive, send }
}

fn send_paths(value: &Value) -> Read<SendPaths> {
    let expected = "\"all\", or the greatest number of paths of a prefix, 1 to 255";
    if let Value::String(..) = value {
        return text(value, expected).and_then(|text| match text.as_str() {
            "all" => Ok(SendPaths::All),
            _ => Err(format!("\"{text}\" is unknown; expected {expected}")),
        });
    }
    number_or(value, 1..=u8::MAX.into(), expected).map(|most| SendPaths::Best(most as u8))
}

fn families(table: &mut Table<'_, '_>) -> FamilySet {
    let path = table.key("families");
    let had_errors = table.report().error_count();
    let Some(families) = table.list("families", family) else { return FamilySet::ALL };
    if families.is_empty() && table.report().error_count() == had_errors {
        let reason = format!("no family; expected {FAMILIES}, or no such key for both");
        table.report().error(&path, reason);
    }
    unique(table.report(), &families, |family| *family);
    families.into_iter().map(|(_, family)| family).collect()
}

const FAMILIES: &str = "\"ipv4-unicast\" or \"ipv6-unicast\"";

fn family(value: &Value) -> Read<Family> {
    let name = text(value, FAMILIES)?;
    name.parse().map_err(|_| match nearest(&name, Family::ALL.iter().map(|family| family.as_str())) {
        Some(near) => format!("unknown family \"{name}\"; did you mean \"{near}\"?"),
        None => format!("unknown family \"{name}\"; expected {FAMILIES}"),
    })
}

/// Where the neighbour is: its address, or its interface alone.
fn place(table: &mut Table<'_, '_>) -> Option<IpAddr> {
    let (has_address, has_interface) = (table.has("address"), table.has("interface"));
    let link = table.optional("interface", interface);
    if has_address && has_interface {
        let reason = "beside address; expected one of them: a neighbor's address on a link has the interface in it, \
                      address = \"fe80::2%eth1\"";
        table.report().error(&table.key("interface"), reason);
    }
    if has_interface && !has_address {
        return link.map(LinkTag::neighbor);
    }
    table.required("address", ADDRESS, address)
}

fn interface(value: &Value) -> Read<LinkTag> {
    let name = text(value, "the name of an interface")?;
    check_interface_name(&name)?;
    Ok(LinkTag::of(&name))
}

/// An AS as a neighbour's `asn` says it.
#[derive(Clone, Copy)]
pub(crate) enum WrittenAsn {
    Is(Asn),
    /// Any but ours.
    External,
    /// Ours.
    Internal,
}

pub(crate) fn peer_asn(value: &Value) -> Read<WrittenAsn> {
    match value {
        Value::String(_, word) => match word.as_str() {
            "external" => Ok(WrittenAsn::External),
            "internal" => Ok(WrittenAsn::Internal),
            _ => Err(format!("\"{word}\" is a string; expected {ASN}, \"external\" or \"internal\"")),
        },
        other => asn(other).map(WrittenAsn::Is),
    }
}

fn address(value: &Value) -> Read<IpAddr> {
    let written = text(value, ADDRESS)?;
    let wrong = || format!("\"{written}\" is not an address; expected {ADDRESS}");
    if let Some((_, interface)) = written.split_once('%').filter(|(_, interface)| !interface.is_empty()) {
        check_interface_name(interface)?;
    }
    let Zoned(address) = written.parse().map_err(|_| wrong())?;
    if unnumbered(address).is_some() {
        return Err(wrong());
    }
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) && link_of(address).is_none() {
        return Err(format!("on which link is {written}? expected an interface behind it, {written}%eth0"));
    }
    unicast(address)
}

fn local_address(value: &Value) -> Read<IpAddr> {
    let expected = "an address of this router";
    let written = text(value, expected)?;
    let address: IpAddr =
        written.parse().map_err(|_| format!("\"{written}\" is not an address; expected {expected}"))?;
    unicast(address)
}

fn unicast(address: IpAddr) -> Read<IpAddr> {
    let what = if address.is_unspecified() {
        "the unspecified address"
    } else if address.is_multicast() {
        "a multicast address"
    } else if address != address.to_canonical() {
        "an IPv4 address written as IPv6"
    } else if address == Ipv4Addr::BROADCAST {
        "the broadcast address"
    } else {
        return Ok(address);
    };
    Err(format!("{address} is {what}; expected one unicast address"))
}

fn port(value: &Value) -> Read<u16> {
    number(value, 1..=u16::MAX.into(), "").map(|port| port as u16)
}
