//! What a session looks like from outside: to the RIB when it comes up, to an operator who asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bgp::policy::{PolicyChain, PolicyNeighbor};
use bgp::rib::out::{ExportRules, GroupConfig, SharedLan};
use bgp::rib::{CommunityOrders, ImportRules, PeerSession, Reflection};
use bgp::session::{
    LastError, LastNotification, MessageCounts, Negotiated, PeerAsn, PeerKind, PeerRestart, RefreshCounts,
    Session, SessionConfig, State,
};
use bgp::types::{Asn, Family, FamilySet, PeerId};
use bgp::wire::{NextHop, Open};
use conf::SendPaths;

use super::limits::Limits;
use super::local;
use super::socket::SocketOptions;
use super::task::Malformed;
use crate::api::types::{
    AddPathInfo, MalformedMessage, NeighborBrief, NeighborCounts, NeighborDetail, NotificationInfo,
    RefreshInfo, Shutdown, StaleInfo,
};

/// What the RIB is to know of a session that is up between these addresses: the neighbour, and what it is sent;
/// `leaving` with the word that the session is about to end.
pub(super) fn routing(
    id: PeerId,
    config: &conf::Config,
    neighbor: &conf::Neighbor,
    negotiated: &Negotiated,
    [local, address]: [IpAddr; 2],
    limits: &Limits,
    leaving: bool,
) -> (PeerSession, GroupConfig) {
    let local_asn = neighbor.session_asn(&config.router);
    let reflection = reflection(&config.router, neighbor);
    let session = PeerSession {
        id,
        address,
        asn: negotiated.peer_asn,
        router_id: negotiated.peer_router_id,
        kind: negotiated.kind,
        local_asn,
        prepend_local_asn: neighbor.local_asn.is_some_and(|local| !local.no_prepend)
            && negotiated.kind == PeerKind::Ebgp,
        as4: negotiated.as4,
        import: neighbor.import.clone(),
        families: negotiated.families,
        enforce_first_as: negotiated.kind != PeerKind::Ibgp && neighbor.attributes.enforce_first_as,
        rules: ImportRules {
            last_choice: leaving,
            ..neighbor.attributes.import_rules(negotiated.kind == PeerKind::Ebgp)
        },
        limits: limits.receive(),
        orders: CommunityOrders {
            graceful_shutdown: neighbor.honor_graceful_shutdown.unwrap_or(negotiated.kind == PeerKind::Ebgp),
            blackhole: neighbor.accept_blackhole,
        },
        reflection,
    };
    let own = |family: Family| {
        let configured = neighbor.attributes.next_hops[family.index()];
        // Over IPv6, IPv4 routes need no IPv4 address on the link (RFC 8950).
        let family =
            if local.is_ipv6() && negotiated.encode.extended_next_hop { Family::Ipv6Unicast } else { family };
        configured.map(NextHop::from).or_else(|| local::next_hop(local, family))
    };
    let next_hops = Family::ALL.map(own);
    for family in negotiated.families.iter() {
        if next_hops[family.index()].is_none() && !neighbor.export.is_reject_all() {
            tracing::warn!(
                neighbor = %neighbor.name(),
                %family,
                "nothing is announced in this family: the interface of {local} has no address of it for a next hop"
            );
        }
    }
    let export = GroupConfig {
        export: neighbor.export.clone(),
        kind: negotiated.kind,
        local_asn,
        behind_local_asn: neighbor
            .local_asn
            .is_some_and(|local| !local.replace_as)
            .then_some(config.router.asn),
        neighbor: (neighbor.export.depends_on_neighbor() || neighbor.route_server_client)
            .then_some(PolicyNeighbor { address, asn: negotiated.peer_asn }),
        next_hops,
        next_hop_self: neighbor.attributes.next_hop_self
            || neighbor.attributes.next_hops.iter().any(Option::is_some),
        reflection,
        route_server: neighbor.route_server_client,
        families: negotiated.families,
        limits: limits.advertise(),
        long_lived: negotiated.restart.long_lived_aware,
        encode: negotiated.encode,
        rules: ExportRules {
            graceful_shutdown: leaving,
            ..export_rules(config, neighbor, negotiated, local)
        },
        most_paths: match neighbor.add_path.send {
            Some(SendPaths::Best(most)) => usize::from(most),
            Some(SendPaths::All) | None => usize::MAX,
        },
    };
    (session, export)
}

/// What is done to attributes on their way to a neighbour.
fn export_rules(
    config: &conf::Config,
    neighbor: &conf::Neighbor,
    negotiated: &Negotiated,
    local: IpAddr,
) -> ExportRules {
    let options = &neighbor.attributes;
    let external = negotiated.kind == PeerKind::Ebgp;
    let rewrites = options.remove_private_asns.is_some() || options.as_override;
    ExportRules {
        remove_private_asns: options.remove_private_asns,
        as_override: options.as_override,
        peer_asn: rewrites.then_some(negotiated.peer_asn),
        next_hop_unchanged: options.next_hop_unchanged,
        next_hop_self_force: options.next_hop_self_force,
        lan: if external { shared_lan(config, neighbor.address, local) } else { SharedLan::default() },
        aigp: options.aigp.unwrap_or(!external),
        role: options.role,
        graceful_shutdown: false,
        default_originate: neighbor.default_originate.clone(),
        present: 0,
    }
}

/// The network that we and an external neighbour are both on.
fn shared_lan(config: &conf::Config, address: IpAddr, local: IpAddr) -> SharedLan {
    let subnets = local::subnets(local);
    let is_on_it = |address: &IpAddr| subnets.iter().any(|subnet| subnet.contains(address));
    if !is_on_it(&address) {
        return SharedLan::default();
    }
    let neighbors = config.neighbors.iter().map(|neighbor| neighbor.address).filter(is_on_it).collect();
    SharedLan { subnets, neighbors }
}

/// The cluster of a neighbour that is a client of ours as a route reflector.
pub(super) fn reflector_cluster(router: &conf::Router, neighbor: &conf::Neighbor) -> Option<String> {
    neighbor.route_reflector_client.then(|| reflection(router, neighbor).cluster_id.to_string())
}

/// What a neighbour is to us as a route reflector.
fn reflection(router: &conf::Router, neighbor: &conf::Neighbor) -> Reflection {
    Reflection {
        client: neighbor.route_reflector_client,
        cluster_id: neighbor.cluster_id.unwrap_or(router.cluster_id()),
        between_clients: router.client_to_client_reflection,
    }
}

/// Messages in a run of whole ones.
pub(super) fn messages_in(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    // The length field is at offset 16 (RFC 4271 section 4.1).
    while let Some(&[high, low]) = bytes.get(16..18) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(rest) = bytes.get(length..) else { break };
        bytes = rest;
        count += 1;
    }
    count
}

/// A session as `show neighbors` tells it; `shut_down` is the text with which an operator did that, `ends` are our and the neighbour's address and port. Counts of
/// routes are the RIB's and left zero.
pub(super) fn neighbor(
    neighbor: &conf::Neighbor,
    session: &Session,
    shut_down: Option<&str>,
    malformed: Option<&Malformed>,
    now: Instant,
    ends: Option<(SocketAddr, SocketAddr)>,
    limits: Option<&Limits>,
) -> NeighborDetail {
    let snapshot = session.snapshot(now);
    let up = snapshot.negotiated.as_ref().filter(|_| snapshot.state == State::Established);
    let negotiated = up.map_or(FamilySet::EMPTY, |negotiated| negotiated.families);
    let families = negotiated.iter().chain(snapshot.stale.iter().map(|stale| stale.family));
    let families = families.map(|family| (family.as_str().to_owned(), NeighborCounts::default())).collect();
    let left = |timer: Option<Duration>| timer.filter(|_| up.is_some()).map(|time| time.as_secs());
    let options = SocketOptions::new(neighbor, session.config().kind() == PeerKind::Ebgp);
    let retry = snapshot.idle_hold.or(snapshot.connect_retry);
    let ago = |error: &LastError| now.saturating_duration_since(error.at).as_secs();
    NeighborDetail {
        brief: NeighborBrief {
            address: neighbor.name(),
            asn: asn(neighbor, session).map(|asn| asn.0),
            any_asn: neighbor.asn == PeerAsn::External,
            on_link: None,
            group: neighbor.group.clone(),
            range: neighbor.range.map(|range| range.to_string()),
            description: neighbor.description.clone(),
            state: snapshot.state.as_str().to_owned(),
            shutdown: shutdown(neighbor, shut_down),
            graceful_shutdown: false,
            since_seconds: Some(snapshot.in_state.as_secs()),
            last_error: snapshot.last_error.as_ref().map(|error| error.text.clone()),
            last_error_seconds: snapshot.last_error.as_ref().map(ago),
            last_attempt: snapshot.last_attempt.as_ref().map(|error| error.text.clone()),
            last_attempt_seconds: snapshot.last_attempt.as_ref().map(ago),
            families,
        },
        kind: kind(session.config().kind()).to_owned(),
        reflector_cluster: None,
        route_server_client: neighbor.route_server_client,
        passive: neighbor.passive,
        local_asn: neighbor.local_asn.map(|local| local.to_string()),
        ttl: options.ttl,
        minimum_ttl: (options.minimum_ttl > 0).then_some(options.minimum_ttl),
        refused_too_far: 0,
        local_address: neighbor.local_address,
        password: neighbor.password.is_some(),
        router_id: up.map(|negotiated| negotiated.peer_router_id.to_string()),
        local: ends.map(|(local, _)| local::named(local)),
        remote: ends.map(|(_, remote)| local::named(remote)),
        hold_time_seconds: up.map(|negotiated| negotiated.hold_time.as_secs()),
        keepalive_seconds: up
            .map(|negotiated| negotiated.keepalive.unwrap_or(Duration::ZERO).as_secs() as u16),
        send_hold_seconds: up.and_then(|negotiated| negotiated.send_hold).map(|time| time.as_secs()),
        hold_seconds_left: left(snapshot.hold),
        send_hold_seconds_left: left(snapshot.send_hold),
        keepalive_seconds_left: left(snapshot.keepalive),
        capabilities: up.map(|negotiated| capabilities(&negotiated.peer_open)).unwrap_or_default(),
        capabilities_sent: up.map(|negotiated| capabilities(&negotiated.our_open)).unwrap_or_default(),
        last_notification_sent: snapshot.last_sent.as_ref().map(|last| notification(last, now)),
        last_notification_received: snapshot.last_received.as_ref().map(|last| notification(last, now)),
        last_malformed: malformed.map(|last| MalformedMessage {
            seconds_ago: now.saturating_duration_since(last.at).as_secs(),
            reason: last.reason.clone(),
            message: hex(&last.message),
        }),
        rejected: BTreeMap::new(),
        advertised: BTreeMap::new(),
        graceful_restart: graceful_restart(session.config(), up.map(|negotiated| &negotiated.restart)),
        restart_waits_for: None,
        ends_of_rib: snapshot
            .ends_of_rib
            .iter()
            .filter(|_| up.is_some())
            .map(|family| family.as_str().to_owned())
            .collect(),
        stale: snapshot
            .stale
            .iter()
            .map(|stale| {
                let left_seconds = stale.left.as_secs();
                (
                    stale.family.as_str().to_owned(),
                    StaleInfo { phase: stale.phase.as_str().to_owned(), left_seconds, routes: 0 },
                )
            })
            .collect(),
        enhanced_refresh: up.and_then(|negotiated| refreshes(negotiated, snapshot.counters.refreshes)),
        accept_blackhole: neighbor.accept_blackhole,
        honor_graceful_shutdown: neighbor
            .honor_graceful_shutdown
            .unwrap_or(session.config().kind() == PeerKind::Ebgp),
        over_limit: snapshot.over_limit,
        limits: limits.map(Limits::report).unwrap_or_default(),
        add_path: up.and_then(|negotiated| add_path(neighbor, negotiated)),
        import: names(&neighbor.import),
        export: names(&neighbor.export),
        options: neighbor.attributes.changed().map(|(key, value)| (key.to_owned(), value)).collect(),
        unsendable: 0,
        messages: messages(&snapshot.counters.received, &snapshot.counters.sent),
        established_transitions: snapshot.counters.established,
        update_errors: 0,
        last_update_error: None,
        bfd: None,
        hint: hint(neighbor, options.minimum_ttl, snapshot.state, snapshot.in_state),
        retry_seconds: retry.filter(|_| up.is_none()).map(|pause| pause.as_secs()),
    }
}

/// Who keeps the session down, if somebody does.
fn shutdown(neighbor: &conf::Neighbor, by_operator: Option<&str>) -> Option<Shutdown> {
    let by = |by: &str, message: &str| Some(Shutdown { by: by.to_owned(), message: message.to_owned() });
    match by_operator {
        Some(text) => by("operator", text),
        None if neighbor.shutdown => by("configuration", ""),
        None => None,
    }
}

/// Its AS number; of one that may be in any other AS while the session is up.
pub(super) fn asn(neighbor: &conf::Neighbor, session: &Session) -> Option<Asn> {
    match neighbor.asn {
        PeerAsn::Is(asn) => Some(asn),
        PeerAsn::External => session.established().map(|(_, negotiated)| negotiated.peer_asn),
    }
}

/// How long a state that others answer at once may last before something is wrong.
const USUAL_WAIT: Duration = Duration::from_secs(3);

/// What may keep a session in a state: what the kernel drops without a word says nothing for itself.
fn hint(neighbor: &conf::Neighbor, minimum_ttl: u8, state: State, lasts: Duration) -> Option<String> {
    let waits = lasts >= USUAL_WAIT;
    match state {
        State::Connect if waits && neighbor.password.is_some() => {
            Some("no answer: a password that only one side has, or another one, looks like this".to_owned())
        }
        State::OpenSent if waits && minimum_ttl > 0 => Some(format!(
            "no OPEN: ttl-security drops what arrives with a TTL below {minimum_ttl}; does the neighbor send 255?"
        )),
        _ => None,
    }
}

fn kind(kind: PeerKind) -> &'static str {
    match kind {
        PeerKind::Ebgp => "ebgp",
        PeerKind::Confed => "confederation",
        PeerKind::Ibgp => "ibgp",
    }
}

fn capabilities(open: &Open) -> Vec<String> {
    open.capabilities.iter().map(ToString::to_string).collect()
}

fn notification(last: &LastNotification, now: Instant) -> NotificationInfo {
    let LastNotification { at, notification, detail } = last;
    NotificationInfo {
        seconds_ago: now.saturating_duration_since(*at).as_secs(),
        code: notification.code,
        subcode: notification.subcode,
        text: notification.to_string(),
        detail: detail.clone(),
        data: hex(&notification.data),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Graceful restart with a neighbour in words; `offer` is what it offers while the session is up.
fn graceful_restart(config: &SessionConfig, offer: Option<&PeerRestart>) -> String {
    let families = |set: FamilySet| set.iter().map(Family::as_str).collect::<Vec<_>>().join(", ");
    if config.graceful_restart.is_none() {
        return "off".to_owned();
    }
    let mut text = if config.own_restart.is_some() { "on" } else { "helper" }.to_owned();
    let Some(offer) = offer else { return text };
    if !offer.offered {
        return format!("{text}; not offered by the neighbor");
    }
    if let Some(own) = &config.own_restart {
        text.push_str(&format!("; the neighbor keeps our routes for {}s while we restart", own.restart_time));
    }
    if offer.families.is_empty() {
        text.push_str("; the neighbor keeps nothing in its restart");
    } else {
        let seconds = offer.restart_time.as_secs();
        text.push_str(&format!(
            "; the neighbor restarts within {seconds}s with {}",
            families(offer.families)
        ));
    }
    if offer.restarting {
        text.push_str(", and had just done so");
    }
    if offer.notification {
        text.push_str("; notifications are graceful (RFC 8538)");
    }
    let long_lived = Family::ALL.into_iter().zip(offer.long_lived).filter(|(_, time)| !time.is_zero());
    for (family, time) in long_lived {
        text.push_str(&format!("; long-lived {family} {}s", time.as_secs()));
    }
    text
}

/// What was negotiated of several paths of a prefix, if anything.
fn add_path(neighbor: &conf::Neighbor, negotiated: &Negotiated) -> Option<AddPathInfo> {
    let names = |set: FamilySet| set.iter().map(|family| family.as_str().to_owned()).collect::<Vec<_>>();
    let (receive, send) = (names(negotiated.decode.add_path), names(negotiated.encode.add_path));
    let most = match neighbor.add_path.send {
        Some(SendPaths::Best(most)) if !send.is_empty() => Some(most),
        _ => None,
    };
    (!receive.is_empty() || !send.is_empty()).then_some(AddPathInfo { receive, send, most })
}

fn refreshes(negotiated: &Negotiated, counts: RefreshCounts) -> Option<RefreshInfo> {
    let RefreshCounts { begun, ended, expired, ignored } = counts;
    negotiated.enhanced_refresh().then_some(RefreshInfo { begun, ended, expired, ignored })
}

fn names(chain: &PolicyChain) -> Vec<String> {
    chain.policies().iter().map(|policy| policy.name.clone()).collect()
}

fn messages(received: &MessageCounts, sent: &MessageCounts) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (direction, counts) in [("received", received), ("sent", sent)] {
        let kinds = [
            ("open", counts.open),
            ("update", counts.update),
            ("notification", counts.notification),
            ("keepalive", counts.keepalive),
            ("route_refresh", counts.route_refresh),
        ];
        all.extend(kinds.map(|(kind, count)| (format!("{direction} {kind}"), count)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_drops_in_silence_is_hinted_at() {
        let neighbor = |keys: &str| {
            let text = format!(
                "[router]\nasn = 64500\nrouter-id = \"192.0.2.1\"\n[[neighbor]]\naddress = \"192.0.2.2\"\nasn = 64501\n{keys}\n"
            );
            conf::parse("p.toml", &text, []).unwrap().neighbors.remove(0)
        };
        let (plain, signed) = (neighbor(""), neighbor("password = \"secret\""));
        let after = Duration::from_secs;
        assert_eq!(hint(&plain, 0, State::Connect, after(60)), None);
        assert_eq!(hint(&signed, 0, State::Connect, after(1)), None);
        assert!(hint(&signed, 0, State::Connect, after(5)).unwrap().contains("password"));
        assert_eq!(hint(&signed, 0, State::Established, after(5)), None);
        assert!(hint(&plain, 255, State::OpenSent, after(5)).unwrap().contains("below 255"));
        assert_eq!(hint(&plain, 0, State::OpenSent, after(5)), None);
    }

    #[test]
    fn messages_are_counted_by_their_length_fields() {
        let mut bytes = Vec::new();
        for length in [19_u16, 23, 19] {
            let mut message = vec![0xff; usize::from(length)];
            message[16..18].copy_from_slice(&length.to_be_bytes());
            bytes.extend(message);
        }
        assert_eq!(messages_in(&bytes), 3);
        assert_eq!(messages_in(&bytes[..40]), 1, "an incomplete message does not count");
    }
}
