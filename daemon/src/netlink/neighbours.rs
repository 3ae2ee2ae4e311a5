//! Keeps the neighbours that packets are forwarded to resolved.
//!
//! The kernel forwards none of our packets, so it would let an entry go stale and never notice that
//! the neighbour moved or died. Since Linux 5.16 an entry can be handed to the kernel's care
//! (`NTF_EXT_MANAGED`): it is probed for as long as it exists. Older kernels ignore that flag; there, and
//! whenever an entry was lost, the periodic [`NeighbourKeeper::refresh`] asks for it again with
//! `NTF_USE`, which is what a packet of the kernel's own would do.
//!
//! Entries that the operator made permanent are left alone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourState,
};
use tracing::{debug, info};

use super::Mirror;
use super::connection::Reason;

/// The neighbours in our care.
#[derive(Debug, Default)]
pub struct NeighbourKeeper {
    kept: BTreeSet<(u32, IpAddr)>,
    /// Those that the last refresh found in nobody's care, and asked for.
    asked: BTreeSet<(u32, IpAddr)>,
    fallback_said: bool,
}

impl NeighbourKeeper {
    /// How often [`Self::refresh`] wants to be called.
    pub const REFRESH: Duration = Duration::from_secs(5);

    /// Makes `wanted` (interface, address) the neighbours that are kept.
    pub async fn keep_resolved(
        &mut self,
        handle: &Handle,
        mirror: &Mirror,
        wanted: &BTreeSet<(u32, IpAddr)>,
    ) {
        let released: Vec<_> = self.kept.difference(wanted).copied().collect();
        let added: Vec<_> = wanted.difference(&self.kept).copied().collect();
        self.kept.clone_from(wanted);
        for key in released {
            // Only what the kernel still has: the request would create it anew.
            if mirror.neighbour(key.0, key.1).is_some_and(|neighbour| !neighbour.permanent) {
                request(handle, key, false).await;
            }
        }
        for key in added {
            if mirror.neighbour(key.0, key.1).is_none_or(|neighbour| !neighbour.permanent) {
                request(handle, key, true).await;
            }
        }
    }

    /// Asks again for what the kernel does not care for.
    pub async fn refresh(&mut self, handle: &Handle, mirror: &Mirror) {
        let mut asked = BTreeSet::new();
        let mut unmanaged = false;
        for &key in &self.kept {
            match mirror.neighbour(key.0, key.1) {
                Some(neighbour) if neighbour.managed || neighbour.permanent => continue,
                // The kernel's word on a request comes with the events, and a request may be but just
                // made: only what was asked for a whole period ago tells what the kernel can do.
                Some(_) => {
                    unmanaged |= self.asked.contains(&key);
                    asked.insert(key);
                }
                None => {}
            }
            if mirror.link(key.0).is_some_and(|link| link.up) {
                request(handle, key, true).await;
            }
        }
        self.asked = asked;
        if unmanaged && !self.fallback_said {
            self.fallback_said = true;
            info!(
                "the kernel does not keep neighbours resolved by itself (Linux 5.16 does), refreshing them"
            );
        }
    }

    #[cfg(test)]
    pub(super) fn fell_back(&self) -> bool {
        self.fallback_said
    }

    /// Hands everything back.
    pub async fn release_all(&mut self, handle: &Handle, mirror: &Mirror) {
        self.keep_resolved(handle, mirror, &BTreeSet::new()).await;
    }
}

/// `RTM_NEWNEIGH` with `NTF_USE`: resolve now, and do or do not go on caring for it.
async fn request(handle: &Handle, (ifindex, ip): (u32, IpAddr), managed: bool) {
    let mut request =
        handle.neighbours().add(ifindex, ip).state(NeighbourState::None).flags(NeighbourFlags::Use).replace();
    let flags = if managed { NeighbourExtFlags::Managed } else { NeighbourExtFlags::empty() };
    request.message_mut().attributes.push(NeighbourAttribute::ExtFlags(flags));
    if let Err(error) = request.execute().await {
        debug!(%ip, ifindex, error = %Reason(&error), "the kernel does not resolve a neighbour");
    }
}
