//! Our OPEN, the checks of the peer's (RFC 4271 section 6.2), and what the two agree on.
//!
//! A capability counts when both sides announced it. A peer without any multiprotocol capability
//! exchanges IPv4 unicast (RFC 4760 section 8). A peer with which no family is left is refused with
//! Unsupported Capability (RFC 5492 section 3). Some speakers answer capabilities with Unsupported
//! Optional Parameter; for them our OPEN is `plain`, without any.

use std::time::Duration;

use super::config::{GracefulHelper, PeerAsn, PeerKind, SessionConfig};
use crate::role::Role;
use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use crate::wire::notification::codes;
use crate::wire::{
    AddPath, Capability, DecodeContext, EncodeContext, GracefulRestart, LongLivedRestart, Open, ProtocolError,
};

/// The version of the protocol.
const VERSION: u8 = 4;

/// IPv4 unicast with IPv6 next hops, as a capability has it (RFC 8950 section 4).
const IPV4_OVER_IPV6: (u16, u16, u16) = (1, 1, 2);

/// What the two OPENs agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Our OPEN as sent.
    pub our_open: Open,
    /// The peer's OPEN as received.
    pub peer_open: Open,
    /// The peer's AS number.
    pub peer_asn: Asn,
    /// The peer's BGP identifier.
    pub peer_router_id: RouterId,
    /// Whether the peer is in our AS.
    pub kind: PeerKind,
    /// The shorter of the two hold times.
    pub hold_time: HoldTime,
    /// Interval of keepalives before jitter; none with a hold time of zero.
    pub keepalive: Option<Duration>,
    /// How long the peer may take nothing of what we send (RFC 9687); `None`: forever.
    pub send_hold: Option<Duration>,
    /// Families that both exchange.
    pub families: FamilySet,
    /// AS numbers have four octets in UPDATEs (RFC 6793).
    pub as4: bool,
    /// Messages may have up to 65535 octets (RFC 8654).
    pub extended: bool,
    /// ROUTE-REFRESH may be sent (RFC 2918).
    pub route_refresh: bool,
    /// What the peer offers for its restart.
    pub restart: PeerRestart,
    /// How the peer's messages are read.
    pub decode: DecodeContext,
    /// How ours are written.
    pub encode: EncodeContext,
}

impl Negotiated {
    /// Whether refreshes are marked where they begin and end (RFC 7313).
    pub fn enhanced_refresh(&self) -> bool {
        self.both(|capability| *capability == Capability::EnhancedRouteRefresh)
    }

    /// Whether both sides offer graceful restart, so that the peer says End-of-RIB (RFC 4724 section 3).
    pub(super) fn says_end_of_rib(&self) -> bool {
        self.both(|capability| matches!(capability, Capability::GracefulRestart(_)))
    }

    /// Whether the peer keeps routes of ours while we restart: both offer graceful restart, and we with families.
    pub(super) fn is_kept_by_peer(&self) -> bool {
        let offered = self.our_open.capabilities.iter().any(|capability| {
            matches!(capability, Capability::GracefulRestart(offer)
                if !offer.families.intersect(self.families).is_empty())
        });
        offered && self.restart.offered
    }

    fn both(&self, offers: impl Fn(&Capability) -> bool) -> bool {
        [&self.our_open, &self.peer_open].iter().all(|open| open.capabilities.iter().any(&offers))
    }
}

/// What a peer offers for its restart, as far as we take part: graceful restart (RFC 4724), NOTIFICATIONs
/// that are no end (RFC 8538), long-lived stale routes (RFC 9494). Of families that both exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a bit of its own on the wire")]
pub struct PeerRestart {
    /// Whether it offers graceful restart at all.
    pub offered: bool,
    /// It has just restarted itself, and says End-of-RIB only when it has heard that of others (the R bit).
    pub restarting: bool,
    /// Both sides take a NOTIFICATION for no more than a lost connection, unless it is a Hard Reset.
    pub notification: bool,
    /// How long it may be away.
    pub restart_time: Duration,
    /// The families whose routes it wants kept.
    pub families: FamilySet,
    /// The families for which it has kept forwarding.
    pub forwarding: FamilySet,
    /// Whether it takes long-lived stale routes from us.
    pub long_lived_aware: bool,
    /// How long its routes are to be kept beyond the restart time, by [`Family::index`].
    pub long_lived: [Duration; Family::ALL.len()],
    /// The families for which it has kept forwarding, as it says of long-lived ones.
    pub long_lived_forwarding: FamilySet,
}

impl PeerRestart {
    fn negotiate(helper: GracefulHelper, peer: &Open, families: FamilySet) -> Self {
        let offers = peer.capabilities.iter();
        let graceful = offers.clone().find_map(|offer| match offer {
            Capability::GracefulRestart(offer) => Some(*offer),
            _ => None,
        });
        // Long-lived alone counts for nothing (RFC 9494 section 4.5).
        let Some(graceful) = graceful else { return Self::default() };
        let long_lived = offers.filter(|_| helper.long_lived_aware).find_map(|offer| match offer {
            Capability::LongLivedGracefulRestart(offer) => Some(*offer),
            _ => None,
        });
        let mut restart = Self {
            offered: true,
            restarting: graceful.restarting,
            notification: graceful.notification,
            restart_time: graceful.time(),
            families: graceful.families.intersect(families),
            forwarding: graceful.forwarding.intersect(families),
            ..Self::default()
        };
        if let Some(offer) = long_lived {
            restart.long_lived_aware = true;
            restart.long_lived_forwarding = offer.forwarding.intersect(families);
            for family in families.iter() {
                let seconds = offer.stale_times[family.index()];
                restart.long_lived[family.index()] = Duration::from_secs(seconds.into());
            }
        }
        restart
    }
}

/// What we offer for our own restart. Where nothing of ours is to be kept, because we do not keep forwarding, that
/// we say it at all tells the peer that we keep its routes, and how NOTIFICATIONs are meant.
fn our_restart(config: &SessionConfig) -> GracefulRestart {
    let nothing = || GracefulRestart { notification: true, ..GracefulRestart::default() };
    config.own_restart.map_or_else(nothing, |own| own.offer(config.families))
}

/// The OPEN that we send; a plain one has no capabilities.
pub(super) fn our_open(config: &SessionConfig, plain: bool) -> Open {
    let mut capabilities = Vec::new();
    if !plain {
        capabilities.extend(config.families.iter().map(Capability::MultiProtocol));
        capabilities.push(Capability::RouteRefresh);
        capabilities.push(Capability::EnhancedRouteRefresh);
        capabilities.extend(config.role.map(|role| Capability::Role(role as u8)));
        if config.extended_messages {
            capabilities.push(Capability::ExtendedMessage);
        }
        capabilities.push(Capability::FourOctetAsn(config.local_asn));
        if config.extended_next_hop && config.families.contains(Family::Ipv4Unicast) {
            capabilities.push(Capability::ExtendedNextHop(vec![IPV4_OVER_IPV6]));
        }
        capabilities.extend(add_path(config));
        if let Some(helper) = &config.graceful_restart {
            capabilities.push(Capability::GracefulRestart(our_restart(config)));
            if helper.long_lived_aware {
                capabilities.push(Capability::LongLivedGracefulRestart(LongLivedRestart::default()));
            }
        }
        capabilities.extend(config.about.iter().cloned());
    }
    Open::new(config.local_asn, config.hold_time, config.router_id, capabilities)
}

/// Our capability for path identifiers, unless no family is to have them.
fn add_path(config: &SessionConfig) -> Option<Capability> {
    let of = |family| {
        let (receive, send) = (&config.add_path_receive, &config.add_path_send);
        AddPath::new(family, receive.contains(family), send.contains(family))
    };
    let families: Vec<_> =
        config.families.iter().map(of).filter(|family| family.receive || family.send).collect();
    (!families.is_empty()).then_some(Capability::AddPath(families))
}

/// Checks the peer's OPEN and negotiates. What does not depend on the configuration (hold times of
/// 1 and 2, AS 0, identifier 0) was refused when it was decoded.
pub(super) fn negotiate(
    config: &SessionConfig,
    plain: bool,
    peer: Open,
) -> Result<Negotiated, ProtocolError> {
    let refuse =
        |subcode, data: &[u8], reason: String| Err(ProtocolError::new(codes::OPEN, subcode, data, reason));
    if peer.version != VERSION {
        let reason = format!("BGP version {} is not supported", peer.version);
        let data = u16::from(VERSION).to_be_bytes();
        return refuse(codes::open::UNSUPPORTED_VERSION, &data, reason);
    }
    let peer_asn = peer.four_octet_asn();
    let is_expected = match config.peer_asn {
        PeerAsn::Is(asn) => peer_asn == asn,
        PeerAsn::External => peer_asn != config.local_asn,
    };
    if !is_expected {
        let reason = format!("the peer's AS is {peer_asn}, configured is {}", config.peer_asn);
        return refuse(codes::open::BAD_PEER_AS, &[], reason);
    }
    if !peer.hold_time.is_zero() && peer.hold_time < config.min_hold_time {
        let reason = format!("hold time of {}, at least {} is wanted", peer.hold_time, config.min_hold_time);
        return refuse(codes::open::UNACCEPTABLE_HOLD_TIME, &[], reason);
    }
    let kind = config.kind();
    // Within an AS identifiers are unique (RFC 6286 section 2.1); between ASes they may be equal.
    if kind == PeerKind::Ibgp && peer.router_id == config.router_id {
        let reason = format!("the peer has our router id {}", config.router_id);
        return refuse(codes::open::BAD_IDENTIFIER, &[], reason);
    }
    if kind == PeerKind::Ebgp
        && let Some(role) = config.role
        && let Err(reason) = agree_on_roles(role, config.role_strict, &peer)
    {
        return refuse(codes::open::ROLE_MISMATCH, &[], reason);
    }
    let ours = if plain { Family::Ipv4Unicast.into() } else { FamilySet::ALL };
    let families = config.families.intersect(ours).intersect(peer.families());
    if families.is_empty() {
        let reason = format!(
            "no address family in common: configured {:?}, the peer has {:?}",
            config.families,
            peer.families()
        );
        return refuse(codes::open::UNSUPPORTED_CAPABILITY, &wanted(config.families), reason);
    }
    let both = |capability: &Capability| !plain && peer.has(capability);
    let four_octets = peer.capabilities.iter().any(|c| matches!(c, Capability::FourOctetAsn(_)));
    let as4 = !plain && four_octets;
    let extended = config.extended_messages && both(&Capability::ExtendedMessage);
    let route_refresh = both(&Capability::RouteRefresh);
    let restart = match config.graceful_restart {
        Some(helper) if !plain => PeerRestart::negotiate(helper, &peer, families),
        _ => PeerRestart::default(),
    };
    let takes_v6 = |capability: &Capability| matches!(capability, Capability::ExtendedNextHop(all) if all.contains(&IPV4_OVER_IPV6));
    let extended_next_hop = config.extended_next_hop
        && !plain
        && families.contains(Family::Ipv4Unicast)
        && peer.capabilities.iter().any(takes_v6);
    let hold_time = config.hold_time.min(peer.hold_time);
    let offered = if plain { &[][..] } else { &peer.capabilities };
    let (peer_receives, peer_sends) = Capability::add_path_families(offered);
    let receives = config.add_path_receive.intersect(peer_sends).intersect(families);
    let sends = config.add_path_send.intersect(peer_receives).intersect(families);
    Ok(Negotiated {
        peer_asn,
        peer_router_id: peer.router_id,
        kind,
        hold_time,
        keepalive: hold_time.keepalive().map(|third| config.keepalive.map_or(third, |own| own.min(third))),
        send_hold: config.send_hold_time.with(hold_time),
        families,
        as4,
        extended,
        route_refresh,
        restart,
        decode: DecodeContext {
            as4,
            families,
            extended,
            add_path: receives,
            extended_next_hop,
            ebgp: kind == PeerKind::Ebgp,
        },
        encode: EncodeContext { as4, extended, add_path: sends, extended_next_hop },
        our_open: our_open(config, plain),
        peer_open: peer,
    })
}

/// Whether the peer's role is the counterpart of ours (RFC 9234 section 4.2). One that says none is accepted,
/// unless we insist on it.
fn agree_on_roles(ours: Role, strict: bool, peer: &Open) -> Result<(), String> {
    let mut theirs: Vec<u8> = peer
        .capabilities
        .iter()
        .filter_map(|capability| if let Capability::Role(role) = capability { Some(*role) } else { None })
        .collect();
    theirs.dedup();
    let wanted = ours.counterpart();
    match theirs[..] {
        [] if strict => Err(format!("the peer says no role, which role-strict demands: it must be {wanted}")),
        [] => Ok(()),
        [role] if role == wanted as u8 => Ok(()),
        [role] => {
            let role = Role::from_u8(role).map_or_else(|| role.to_string(), |role| role.to_string());
            Err(format!("role mismatch: we are {ours}, so the peer must be {wanted}, and it says {role}"))
        }
        _ => Err("the peer says more than one role".to_owned()),
    }
}

/// The capabilities that we insist on, as the NOTIFICATION lists them: code, length, value.
fn wanted(families: FamilySet) -> Vec<u8> {
    families
        .iter()
        .flat_map(|family| {
            let [high, low] = family.afi().to_be_bytes();
            [1, 4, high, low, 0, family.safi()]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::config::SendHoldTime;
    use super::*;

    fn config(local: u32, peer: u32) -> SessionConfig {
        SessionConfig::new(Asn(local), Asn(peer), id(1), 1)
    }

    fn id(last: u8) -> RouterId {
        RouterId(Ipv4Addr::new(10, 0, 0, last))
    }

    fn open(asn: u32, hold: u16, router_id: RouterId, capabilities: Vec<Capability>) -> Open {
        Open::new(Asn(asn), HoldTime::new(hold).unwrap(), router_id, capabilities)
    }

    #[test]
    fn a_peer_without_capabilities_speaks_two_octet_ipv4_unicast() {
        let negotiated = negotiate(&config(1, 2), false, open(2, 30, id(2), vec![])).unwrap();
        assert_eq!(negotiated.families, Family::Ipv4Unicast.into());
        assert_eq!(negotiated.hold_time.as_secs(), 30);
        assert_eq!(negotiated.keepalive, Some(Duration::from_secs(10)));
        assert!(!negotiated.as4 && !negotiated.extended && !negotiated.route_refresh);
        assert_eq!(negotiated.kind, PeerKind::Ebgp);
        assert!(negotiated.decode.ebgp && !negotiated.decode.as4);
    }

    #[test]
    fn only_what_both_announce_is_used() {
        let theirs = our_open(&config(2, 1), false);
        let full = negotiate(&config(1, 2), false, theirs.clone());
        // The same router id is fine between ASes.
        let full = full.unwrap();
        assert_eq!(full.families, FamilySet::ALL);
        assert!(full.as4 && full.extended && full.route_refresh);

        let plain = negotiate(&config(1, 2), true, theirs.clone()).unwrap();
        assert_eq!(plain.families, Family::Ipv4Unicast.into());
        assert!(!plain.as4 && !plain.extended && !plain.route_refresh);

        let short = SessionConfig { extended_messages: false, ..config(1, 2) };
        assert!(!negotiate(&short, false, theirs).unwrap().extended);
    }

    #[test]
    fn a_peer_of_any_other_as_says_which() {
        let any = |local| SessionConfig { peer_asn: PeerAsn::External, ..config(local, 2) };
        let theirs = |asn| open(asn, 90, id(2), vec![Capability::FourOctetAsn(Asn(asn))]);
        for asn in [2, 65_000, 400_000] {
            let negotiated = negotiate(&any(1), false, theirs(asn)).unwrap();
            assert_eq!((negotiated.peer_asn, negotiated.kind), (Asn(asn), PeerKind::Ebgp));
        }
        let error = negotiate(&any(2), false, theirs(2)).unwrap_err();
        assert_eq!((error.code, error.subcode), (2, 2));
        assert_eq!(error.reason, "the peer's AS is 2, configured is external");
    }

    #[test]
    fn the_four_octet_as_is_the_one_that_counts() {
        let config = config(1, 400_000);
        let capability = vec![Capability::FourOctetAsn(Asn(400_000))];
        let theirs = open(400_000, 90, id(2), capability);
        assert_eq!(theirs.asn, Asn::TRANS);
        assert_eq!(negotiate(&config, false, theirs).unwrap().peer_asn, Asn(400_000));
        let error = negotiate(&config, false, open(400_000, 90, id(2), vec![])).unwrap_err();
        assert_eq!((error.code, error.subcode), (2, 2));
        assert_eq!(error.reason, "the peer's AS is 23456, configured is 400000");
    }

    #[test]
    fn each_fault_of_an_open_has_its_subcode() {
        let subcode = |config: &SessionConfig, open: Open| {
            let error = negotiate(config, false, open).unwrap_err();
            assert_eq!(error.code, 2);
            (error.subcode, error.data)
        };
        let version = Open { version: 3, ..open(2, 90, id(2), vec![]) };
        assert_eq!(subcode(&config(1, 2), version), (1, vec![0, 4]));
        assert_eq!(subcode(&config(1, 2), open(3, 90, id(2), vec![])), (2, vec![]));
        assert_eq!(subcode(&config(1, 1), open(1, 90, id(1), vec![])), (3, vec![]));
        let only_v6 = SessionConfig { families: Family::Ipv6Unicast.into(), ..config(1, 2) };
        let wanted = vec![1, 4, 0, 2, 0, 1];
        assert_eq!(subcode(&only_v6, open(2, 90, id(2), vec![])), (7, wanted.clone()));
        let patient = SessionConfig { min_hold_time: HoldTime::new(30).unwrap(), ..config(1, 2) };
        assert_eq!(subcode(&patient, open(2, 29, id(2), vec![])), (6, vec![]));
        for accepted in [0, 30] {
            assert!(negotiate(&patient, false, open(2, accepted, id(2), vec![])).is_ok());
        }
        let other = vec![Capability::MultiProtocolOther { afi: 25, safi: 70 }];
        assert_eq!(subcode(&only_v6, open(2, 90, id(2), other)), (7, wanted));
    }

    #[test]
    fn path_identifiers_are_used_where_one_side_sends_and_the_other_receives() {
        let config = SessionConfig {
            add_path_receive: FamilySet::ALL,
            add_path_send: Family::Ipv4Unicast.into(),
            ..config(1, 2)
        };
        let ours = our_open(&config, false);
        let expected = vec![
            AddPath::new(Family::Ipv4Unicast, true, true),
            AddPath::new(Family::Ipv6Unicast, true, false),
        ];
        assert!(ours.has(&Capability::AddPath(expected)));
        let multi_protocol = Family::ALL.map(Capability::MultiProtocol);
        let contexts = |tuples: Vec<AddPath>| {
            let capabilities = [&multi_protocol[..], &[Capability::AddPath(tuples)]].concat();
            let negotiated = negotiate(&config, false, open(2, 90, id(2), capabilities)).unwrap();
            (negotiated.decode.add_path, negotiated.encode.add_path)
        };
        let (v4, v6) = (Family::Ipv4Unicast, Family::Ipv6Unicast);
        assert_eq!(contexts(vec![]), (FamilySet::EMPTY, FamilySet::EMPTY));
        assert_eq!(contexts(vec![AddPath::new(v4, true, false)]), (FamilySet::EMPTY, v4.into()));
        assert_eq!(contexts(vec![AddPath::new(v6, true, true)]), (v6.into(), FamilySet::EMPTY));
        let twice = vec![AddPath::new(v4, false, true), AddPath::new(v4, true, false)];
        assert_eq!(contexts(twice), (FamilySet::EMPTY, v4.into()));
        assert_eq!(
            contexts(vec![AddPath { afi: 1, safi: 128, receive: true, send: true }]),
            (FamilySet::EMPTY, FamilySet::EMPTY)
        );
    }

    #[test]
    fn roles_must_fit_each_other() {
        use Role::{Customer, Peer, Provider};
        let outcome = |ours: Option<Role>, strict, theirs: &[u8]| {
            let config = SessionConfig { role: ours, role_strict: strict, ..config(1, 2) };
            let capabilities = theirs.iter().map(|role| Capability::Role(*role)).collect();
            negotiate(&config, false, open(2, 90, id(2), capabilities))
                .map_err(|error| (error.code, error.subcode))
        };
        for (ours, strict, theirs, fits) in [
            (Some(Provider), true, &[Customer as u8][..], true),
            (Some(Provider), false, &[Customer as u8, Customer as u8], true),
            (Some(Provider), false, &[Provider as u8], false),
            (Some(Peer), false, &[Customer as u8], false),
            (Some(Peer), false, &[9], false),
            (Some(Peer), false, &[Peer as u8, Customer as u8], false),
            (Some(Peer), false, &[], true),
            (Some(Peer), true, &[], false),
            (None, false, &[Provider as u8], true),
        ] {
            let outcome = outcome(ours, strict, theirs);
            assert_eq!(outcome.is_ok(), fits, "{ours:?} {theirs:?}");
            assert!(fits || outcome == Err((2, 11)));
        }
        let ours = our_open(&SessionConfig { role: Some(Customer), ..config(1, 2) }, false);
        assert!(ours.has(&Capability::Role(3)));
    }

    #[test]
    fn keepalives_may_come_faster_than_thrice_in_a_hold_time_but_not_slower() {
        for (own, expected) in [(5, 5), (30, 30), (31, 30)] {
            let config = SessionConfig { keepalive: Some(Duration::from_secs(own)), ..config(1, 2) };
            let negotiated = negotiate(&config, false, open(2, 90, id(2), vec![])).unwrap();
            assert_eq!(negotiated.keepalive, Some(Duration::from_secs(expected)));
        }
    }

    #[test]
    fn ipv4_over_ipv6_takes_both_sides_and_the_family() {
        let of = |own, families: FamilySet, theirs: Vec<(u16, u16, u16)>| {
            let config = SessionConfig { extended_next_hop: own, families, ..config(1, 2) };
            let mut capabilities: Vec<_> = Family::ALL.map(Capability::MultiProtocol).into();
            capabilities.push(Capability::ExtendedNextHop(theirs));
            let negotiated = negotiate(&config, false, open(2, 90, id(2), capabilities)).unwrap();
            assert_eq!(negotiated.decode.extended_next_hop, negotiated.encode.extended_next_hop);
            negotiated.decode.extended_next_hop
        };
        let v6 = Family::Ipv6Unicast.into();
        assert!(of(true, FamilySet::ALL, vec![(1, 128, 2), (1, 1, 2)]));
        assert!(!of(false, FamilySet::ALL, vec![(1, 1, 2)]));
        assert!(!of(true, FamilySet::ALL, vec![(1, 128, 2)]));
        assert!(!of(true, v6, vec![(1, 1, 2)]));
    }

    #[test]
    fn the_send_hold_time_is_eight_minutes_or_twice_the_hold_time() {
        let of = |send_hold_time, own: u16| {
            let hold_time = HoldTime::new(own).unwrap();
            let config = SessionConfig { hold_time, send_hold_time, ..config(1, 2) };
            let negotiated = negotiate(&config, false, open(2, own, id(2), vec![])).unwrap();
            negotiated.send_hold.map(|time| time.as_secs())
        };
        assert_eq!([3, 240, 241].map(|own| of(SendHoldTime::Usual, own)), [Some(480), Some(480), Some(482)]);
        assert_eq!(of(SendHoldTime::After(Duration::from_secs(7)), 3), Some(7));
        assert_eq!((of(SendHoldTime::Off, 3), of(SendHoldTime::Usual, 0)), (None, None));
    }

    #[test]
    fn a_hold_time_of_zero_wins_and_turns_keepalives_off() {
        let negotiated = negotiate(&config(1, 2), false, open(2, 0, id(2), vec![])).unwrap();
        assert!(negotiated.hold_time.is_zero());
        assert_eq!(negotiated.keepalive, None);
    }
}
