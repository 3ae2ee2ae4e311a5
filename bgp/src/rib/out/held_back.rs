//! Why a peer is not told of a prefix, for people.
//!
//! The answer comes from the same functions that decide what goes out, asked once more: what is said here is
//! what was decided, as long as the routes are what they were.

use ipnet::IpNet;
use thiserror::Error;

use crate::policy::DecidedBy;
use crate::types::{Family, PeerId};
use crate::wire::Community;

use super::super::Rib;
use super::super::core::{Core, Plane};
use super::super::key::Bits;
use super::super::table::pending;
use super::GroupConfig;

/// Why a route does not go out to an update group.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HeldBack<'a> {
    #[error("there is no export policy, without which an external neighbor is told nothing (RFC 8212)")]
    NoPolicy,
    #[error("it came from an internal neighbor, and is not reflected to this one (RFC 4456)")]
    Internal,
    #[error("its community {0}")]
    Community(Community),
    #[error("it goes to customers only (RFC 9234)")]
    RouteLeak,
    #[error("rejected by export policy: {0}")]
    Policy(DecidedBy<'a>),
    #[error("there is no address of ours for its next hop")]
    NoNextHop,
}

impl Rib {
    /// Why a peer is not told of a prefix, in words; `None` if it is, or is going to be once it has caught up.
    pub fn why_not_exported(&self, peer: PeerId, prefix: IpNet) -> Option<String> {
        let prefix = prefix.trunc();
        let Some((group, config)) = self.export_config(peer) else {
            return Some("its session is not Established".to_owned());
        };
        let family = Family::of(&prefix);
        if !config.families.contains(family) {
            return Some(format!("its session does not carry {family}"));
        }
        match family {
            Family::Ipv4Unicast => self.v4.why_not_exported(&self.core, config, group, peer, prefix),
            Family::Ipv6Unicast => self.v6.why_not_exported(&self.core, config, group, peer, prefix),
        }
    }
}

impl<K: Bits> Plane<K> {
    fn why_not_exported(
        &self,
        core: &Core,
        config: &GroupConfig,
        group: usize,
        peer: PeerId,
        prefix: IpNet,
    ) -> Option<String> {
        let found = K::of_net(&prefix).and_then(|(bits, length)| self.table.find(bits, length));
        let Some(id) = found else { return Some("there is no route".to_owned()) };
        if !self.told(core, config, group, peer, id).is_empty() {
            return None;
        }
        let (bits, length) = self.table.prefix(id);
        let why = if self.table.is_pending(id, pending::NOT_INSTALLED) {
            "it found no room in the forwarding table"
        } else if self.is_held_back(core, id) {
            "it is not in the forwarding table yet"
        } else if core.is_suppressed(bits, length) {
            "it is within an aggregate that is summary-only"
        } else if self.table.best(id).is_none() {
            "no path of it can be used"
        } else if !self.exported(core, config, Some(peer), id).is_empty() {
            "it is beyond max-prefixes-out"
        } else {
            // Of a client of a route server, and where several paths are sent, each path is asked.
            let all = config.route_server || config.encode.add_path.contains(K::FAMILY);
            let paths = self.table.paths(id).iter().copied().filter(|path| path.eligible());
            let best = self.table.best(id).filter(|_| !all);
            let others = paths.filter(|path| best.is_none_or(|best| *path == best));
            let refused = others.filter(|path| path.peer != peer.0).find_map(|path| {
                let attributes = core.attrs.attributes(path.attr)?;
                config.export(core.source(path), &attributes, prefix).err().map(|why| why.to_string())
            });
            return Some(refused.unwrap_or_else(|| {
                if all { "all paths of it are its own" } else { "its best path is this neighbor's own" }
                    .to_owned()
            }));
        };
        Some(why.to_owned())
    }
}
