//! The ports of the forwarding plane: named in the configuration, bound to interfaces as these exist.
//!
//! A port keeps its id for the life of the daemon; the interface behind it may vanish and come back with
//! another index. A VLAN interface has no hook of its own: the program is attached to the device
//! below, and the port is that device together with the tags.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use fib_abi::{Port, PortKey, port_flags};

use super::plane::Plane;
use super::topology::Egress;
use crate::netlink::{Link, Mac};
use crate::xdp::{AttachedMode, XdpError, XdpMode};

/// A port as the configuration names it.
#[derive(Clone, Debug)]
pub(super) struct PortSpec {
    pub(super) name: String,
    pub(super) mode: XdpMode,
    /// The router's own end of the veth pair, not a port that packets are routed to.
    pub(super) host: bool,
}

/// What a port is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    ifindex: u32,
    key: PortKey,
    mac: Mac,
}

#[derive(Debug)]
struct Slot {
    spec: PortSpec,
    bound: Option<Bound>,
    error: Option<String>,
}

/// A port as `show` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// Interface name.
    pub name: String,
    /// Index of its counters.
    pub id: u32,
    /// Kernel interface index, while the interface exists and the program is attached.
    pub ifindex: Option<u32>,
    /// Where the program runs.
    pub mode: Option<AttachedMode>,
    /// Why it could not be attached.
    pub error: Option<String>,
    /// The router's own end of the veth pair.
    pub host: bool,
}

/// All ports. A port's id is its place.
#[derive(Debug)]
pub(super) struct Ports {
    slots: Vec<Slot>,
    attached: HashMap<u32, AttachedMode>,
}

impl Ports {
    pub(super) fn new(specs: Vec<PortSpec>) -> Self {
        let slots = specs.into_iter().map(|spec| Slot { spec, bound: None, error: None }).collect();
        Self { slots, attached: HashMap::new() }
    }

    /// Binds the ports to the interfaces that exist. Answers ports and causes of what failed; such a
    /// port stays unbound, and the next call tries again.
    pub(super) fn bind(
        &mut self,
        plane: &mut impl Plane,
        links: &BTreeMap<u32, Link>,
    ) -> Vec<(String, XdpError)> {
        let mut failures = Vec::new();
        let wanted: Vec<Option<Bound>> =
            self.slots.iter().map(|slot| locate(links, &slot.spec.name)).collect();
        for (slot, wanted) in self.slots.iter_mut().zip(&wanted) {
            let stays =
                |bound: &Bound| wanted.is_some_and(|w| (w.ifindex, w.key) == (bound.ifindex, bound.key));
            if let Some(bound) = slot.bound.take_if(|bound| !stays(bound))
                && let Err(error) = plane.remove_port(bound.key)
            {
                failures.push((slot.spec.name.clone(), error));
            }
        }
        let used: Vec<u32> = wanted.iter().flatten().map(|bound| bound.key.ifindex).collect();
        self.attached.retain(|&device, _| {
            let keep = used.contains(&device);
            if !keep {
                plane.detach(device);
                // A device that is gone took its place in the map along.
                let _ = plane.remove_egress(device);
            }
            keep
        });
        for (id, wanted) in wanted.into_iter().enumerate() {
            let Some(wanted) = wanted.filter(|wanted| self.slots[id].bound != Some(*wanted)) else {
                continue;
            };
            let slot = &mut self.slots[id];
            match bind_one(plane, &mut self.attached, &slot.spec, id as u32, wanted) {
                Ok(()) => {
                    slot.bound = Some(wanted);
                    slot.error = None;
                }
                Err(error) => {
                    let text = error.to_string();
                    // The same failure again is no news.
                    if slot.error.as_ref() != Some(&text) {
                        failures.push((slot.spec.name.clone(), error));
                    }
                    slot.error = Some(text);
                    slot.bound = None;
                }
            }
        }
        failures
    }

    /// An interface vanished. One that comes back under its old index is another one.
    pub(super) fn forget(&mut self, plane: &mut impl Plane, ifindex: u32) {
        for slot in &mut self.slots {
            let gone = |bound: &mut Bound| bound.ifindex == ifindex || bound.key.ifindex == ifindex;
            if let Some(bound) = slot.bound.take_if(gone) {
                // Its maps' entries may be gone already.
                let _ = plane.remove_port(bound.key);
            }
        }
        if self.attached.remove(&ifindex).is_some() {
            plane.detach(ifindex);
            let _ = plane.remove_egress(ifindex);
        }
    }

    /// Whether an interface exists that a port could not be bound to.
    pub(super) fn wants_retry(&self) -> bool {
        self.slots.iter().any(|slot| slot.error.is_some())
    }

    /// The routed ports by the interface index that addresses and routes are on.
    pub(super) fn egress(&self) -> HashMap<u32, Egress> {
        let routed = self.slots.iter().enumerate().filter(|(_, slot)| !slot.spec.host);
        routed
            .filter_map(|(id, slot)| {
                let bound = slot.bound?;
                let egress = Egress {
                    port: id as u32,
                    device: bound.key.ifindex,
                    outer_vlan: bound.key.outer_vlan,
                    inner_vlan: bound.key.inner_vlan,
                    mac: bound.mac,
                };
                Some((bound.ifindex, egress))
            })
            .collect()
    }

    pub(super) fn name(&self, id: u32) -> Option<&str> {
        self.slots.get(id as usize).map(|slot| slot.spec.name.as_str())
    }

    pub(super) fn status(&self) -> Vec<PortStatus> {
        let slots = self.slots.iter().enumerate();
        slots
            .map(|(id, slot)| PortStatus {
                name: slot.spec.name.clone(),
                id: id as u32,
                ifindex: slot.bound.map(|bound| bound.ifindex),
                mode: slot.bound.and_then(|bound| self.attached.get(&bound.key.ifindex).copied()),
                error: slot.error.clone(),
                host: slot.spec.host,
            })
            .collect()
    }

    /// Takes the program off every device.
    pub(super) fn detach_all(&mut self, plane: &mut impl Plane) {
        for (device, _) in self.attached.drain() {
            plane.detach(device);
        }
        for slot in &mut self.slots {
            slot.bound = None;
        }
    }
}

/// Maps first, then the hook: the program finds all it needs with the first packet.
fn bind_one(
    plane: &mut impl Plane,
    attached: &mut HashMap<u32, AttachedMode>,
    spec: &PortSpec,
    id: u32,
    bound: Bound,
) -> Result<(), XdpError> {
    let flags = if spec.host { port_flags::HOST } else { 0 };
    plane.set_port(bound.key, Port { id, flags, mac: bound.mac.0 })?;
    let device = bound.key.ifindex;
    let hooked = plane.set_egress(device).and_then(|()| {
        if let Entry::Vacant(free) = attached.entry(device) {
            free.insert(plane.attach(device, &spec.name, spec.mode)?);
        }
        Ok(())
    });
    if hooked.is_err() {
        // Without its hook the port is not one; that this fails too changes nothing.
        let _ = plane.remove_port(bound.key);
    }
    hooked
}

/// The interface with this name, traced down through at most two VLAN tags.
fn locate(links: &BTreeMap<u32, Link>, name: &str) -> Option<Bound> {
    let link = links.values().find(|link| link.name == name)?;
    let mut key = PortKey { ifindex: link.ifindex, outer_vlan: 0, inner_vlan: 0 };
    let mut current = link;
    while let Some(vlan) = current.vlan {
        if key.inner_vlan != 0 {
            return None;
        }
        // Going down, the tag found last is the outermost.
        key = PortKey { ifindex: vlan.parent, outer_vlan: vlan.vid, inner_vlan: key.outer_vlan };
        current = links.get(&vlan.parent)?;
    }
    Some(Bound { ifindex: link.ifindex, key, mac: link.mac })
}
