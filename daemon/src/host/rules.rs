//! The routing rules that lead into our table.
//!
//! All carry our protocol number, so that those of an earlier run are recognised. Two priorities for
//! each kind of rule: first the main table without its default route, then our table.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::route::{RouteHeader, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, IpVersion};

use super::{HostError, PROTOCOL, TABLE, failed};

const PORT_PRIORITY: u32 = 5179;
const ADDRESS_PRIORITY: u32 = 5181;
/// Behind the kernel's own rules for the main (32766) and default (32767) tables.
const LAST_PRIORITY: u32 = 32800;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn version(self) -> IpVersion {
        match self {
            Self::V4 => IpVersion::V4,
            Self::V6 => IpVersion::V6,
        }
    }

    fn address_family(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }
}

/// Which packets a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Selector {
    All,
    Port(String),
    Address(IpAddr),
}

/// Where it sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lookup {
    MainButDefault,
    Ours,
}

/// One of our rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rule {
    family: Family,
    priority: u32,
    selector: Selector,
    lookup: Lookup,
}

impl Rule {
    /// For packets that came in on a routed port and were handed up.
    pub(super) fn for_port(family: Family, name: &str) -> [Self; 2] {
        Self::two(family, PORT_PRIORITY, &Selector::Port(name.to_owned()))
    }

    /// For packets from an address of the router.
    pub(super) fn for_address(ip: IpAddr) -> [Self; 2] {
        Self::two(Family::of(ip), ADDRESS_PRIORITY, &Selector::Address(ip))
    }

    /// For whatever found no route elsewhere.
    pub(super) fn last(family: Family) -> Self {
        Self { family, priority: LAST_PRIORITY, selector: Selector::All, lookup: Lookup::Ours }
    }

    fn two(family: Family, priority: u32, selector: &Selector) -> [Self; 2] {
        [Lookup::MainButDefault, Lookup::Ours].map(|lookup| {
            let priority = priority + u32::from(lookup == Lookup::Ours);
            Self { family, priority, selector: selector.clone(), lookup }
        })
    }

    pub(super) fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.family.address_family();
        message.header.action = RuleAction::ToTable;
        message.attributes.push(RuleAttribute::Priority(self.priority));
        message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
        match self.lookup {
            Lookup::MainButDefault => {
                message.header.table = RouteHeader::RT_TABLE_MAIN;
                message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
            }
            Lookup::Ours => message.attributes.push(RuleAttribute::Table(TABLE)),
        }
        match &self.selector {
            Selector::All => {}
            Selector::Port(name) => message.attributes.push(RuleAttribute::Iifname(name.clone())),
            Selector::Address(ip) => {
                message.header.src_len = if ip.is_ipv4() { 32 } else { 128 };
                message.attributes.push(RuleAttribute::Source(*ip));
            }
        }
        message
    }

    /// The rule that a message describes, if one of our code could have made it.
    pub(super) fn from_message(family: Family, message: &RuleMessage) -> Option<Self> {
        let mut rule = Self { family, priority: 0, selector: Selector::All, lookup: Lookup::Ours };
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::Iifname(name) => rule.selector = Selector::Port(name.clone()),
                RuleAttribute::Source(ip) => rule.selector = Selector::Address(*ip),
                RuleAttribute::SuppressPrefixLen(0) => rule.lookup = Lookup::MainButDefault,
                _ => {}
            }
        }
        Some(rule).filter(|_| is_ours(message))
    }
}

fn is_ours(message: &RuleMessage) -> bool {
    message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)))
}

async fn dump(handle: &Handle, family: Family) -> Result<Vec<RuleMessage>, HostError> {
    if family == Family::V6 && !super::ipv6_available() {
        return Ok(Vec::new());
    }
    let rules = handle.rule().get(family.version()).execute();
    let ours = rules.try_filter(|message| std::future::ready(is_ours(message)));
    ours.try_collect().await.map_err(failed("list the routing rules"))
}

/// Our rules that are in the kernel.
pub(super) async fn installed(handle: &Handle) -> Result<BTreeSet<Rule>, HostError> {
    let mut rules = BTreeSet::new();
    for family in Family::ALL {
        let messages = dump(handle, family).await?;
        rules.extend(messages.iter().filter_map(|message| Rule::from_message(family, message)));
    }
    Ok(rules)
}

pub(super) async fn add(handle: &Handle, rule: &Rule) -> Result<(), HostError> {
    let message = RouteNetlinkMessage::NewRule(rule.message());
    match send(handle, message, NLM_F_CREATE | NLM_F_EXCL).await {
        Err(rtnetlink::Error::NetlinkError(e)) if e.to_io().raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map_err(failed(format!("add routing rule {}", rule.priority))),
    }
}

pub(super) async fn remove(handle: &Handle, rule: &Rule) -> Result<(), HostError> {
    match send(handle, RouteNetlinkMessage::DelRule(rule.message()), 0).await {
        Err(rtnetlink::Error::NetlinkError(e)) if e.to_io().raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map_err(failed(format!("remove routing rule {}", rule.priority))),
    }
}

/// Removes every rule with our protocol number; how many there were.
pub(super) async fn remove_all(handle: &Handle) -> Result<usize, HostError> {
    let mut removed = 0;
    for family in Family::ALL {
        for message in dump(handle, family).await? {
            let request = RouteNetlinkMessage::DelRule(message);
            send(handle, request, 0).await.map_err(failed("remove a routing rule"))?;
            removed += 1;
        }
    }
    Ok(removed)
}

async fn send(handle: &Handle, message: RouteNetlinkMessage, flags: u16) -> Result<(), rtnetlink::Error> {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}
