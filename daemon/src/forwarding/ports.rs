//! The ports of the forwarding plane: named in the configuration, bound to interfaces as these exist.
//!
//! A port keeps its id for the life of the daemon; the interface behind it may vanish and come back with
//! another index. A VLAN interface has no hook of its own: the program is attached to the device
//! below, and the port is that device together with the tags.
//!
//! All hooks are of one mode. A native program can redirect only to devices that have the native hook
//! too, and the kernel drops without a word what goes to another one. So where the mode is left
//! to us, one interface that knows only generic XDP makes all of them generic, for good.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use fib_abi::{Port, PortKey, port_flags};
use tracing::warn;

use super::plane::Plane;
use super::topology::Egress;
use crate::netlink::{Link, Mac};
use crate::xdp::{AttachedMode, XdpError, XdpMode};

/// A port as the configuration names it.
#[derive(Clone, Debug)]
pub(super) struct PortSpec {
    pub(super) name: String,
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

impl Slot {
    fn fail(&mut self, error: XdpError, failures: &mut Vec<(String, XdpError)>) {
        let text = error.to_string();
        // The same failure again is no news.
        if self.error.as_ref() != Some(&text) {
            failures.push((self.spec.name.clone(), error));
        }
        self.error = Some(text);
        self.bound = None;
    }
}

/// The hook to try.
fn hook(mode: XdpMode) -> XdpMode {
    match mode {
        XdpMode::Auto | XdpMode::Native => XdpMode::Native,
        XdpMode::Generic => XdpMode::Generic,
    }
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
    /// `Auto` until an interface turns out to have no native hook; then `Generic`.
    mode: XdpMode,
    attached: HashMap<u32, AttachedMode>,
    /// While devices are left to the program of an earlier run: those that it is on, and how.
    staged: Option<HashMap<u32, Option<AttachedMode>>>,
}

impl Ports {
    pub(super) fn new(specs: Vec<PortSpec>, mode: XdpMode) -> Self {
        let slots = specs.into_iter().map(|spec| Slot { spec, bound: None, error: None }).collect();
        Self { slots, mode, attached: HashMap::new(), staged: None }
    }

    /// Leaves the hooks to the program of an earlier run, which is on these devices in these modes, until
    /// [`Self::go_live`]. Where the mode is left to us, it stays what it was.
    pub(super) fn stage(&mut self, earlier: HashMap<u32, Option<AttachedMode>>) {
        if self.mode == XdpMode::Auto && earlier.values().any(|mode| *mode == Some(AttachedMode::Generic)) {
            self.mode = XdpMode::Generic;
        }
        self.staged = Some(earlier);
    }

    /// Attaches what [`Self::bind`] has only prepared. Answers ports and causes of what failed, as `bind` does.
    pub(super) fn go_live(
        &mut self,
        plane: &mut impl Plane,
        links: &BTreeMap<u32, Link>,
    ) -> Vec<(String, XdpError)> {
        self.staged = None;
        for slot in &mut self.slots {
            slot.bound = None;
        }
        self.bind(plane, links)
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
            let mut done = self.bind_one(plane, id, wanted);
            if let Err(error) = &done
                && self.mode == XdpMode::Auto
                && error.generic_may_help()
            {
                warn!(
                    port = self.slots[id].spec.name, %error,
                    "this port has no native XDP: all ports use generic XDP, which is slower"
                );
                self.become_generic(plane, &mut failures);
                done = self.bind_one(plane, id, wanted);
            }
            match done {
                Ok(()) => {
                    self.slots[id].bound = Some(wanted);
                    self.slots[id].error = None;
                }
                Err(error) => self.slots[id].fail(error, &mut failures),
            }
        }
        failures
    }

    /// Maps first, then the hook: the program finds all it needs with the first packet.
    fn bind_one(&mut self, plane: &mut impl Plane, id: usize, bound: Bound) -> Result<(), XdpError> {
        let spec = &self.slots[id].spec;
        let flags = if spec.host { port_flags::HOST } else { 0 };
        plane.set_port(bound.key, Port { id: id as u32, flags, mac: bound.mac.0 })?;
        let device = bound.key.ifindex;
        let staged = self.staged.is_some();
        let hooked = plane.set_egress(device).and_then(|()| {
            if staged {
                return Ok(());
            }
            if let Entry::Vacant(free) = self.attached.entry(device) {
                free.insert(plane.attach(device, &spec.name, hook(self.mode))?);
            }
            Ok(())
        });
        if hooked.is_err() {
            // Without its hook the port is not one; that this fails too changes nothing.
            let _ = plane.remove_port(bound.key);
        }
        hooked
    }

    /// Attaches anew, in generic mode, what is attached natively.
    fn become_generic(&mut self, plane: &mut impl Plane, failures: &mut Vec<(String, XdpError)>) {
        self.mode = XdpMode::Generic;
        for (device, _) in std::mem::take(&mut self.attached) {
            // The kernel refuses one hook while the other is in use.
            plane.detach(device);
            for id in 0..self.slots.len() {
                let on_it = |bound: &Bound| bound.key.ifindex == device;
                let Some(bound) = self.slots[id].bound.filter(on_it) else { continue };
                if let Err(error) = self.bind_one(plane, id, bound) {
                    self.slots[id].fail(error, failures);
                }
            }
        }
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
                mode: slot.bound.and_then(|bound| self.mode_on(bound.key.ifindex)),
                error: slot.error.clone(),
                host: slot.spec.host,
            })
            .collect()
    }

    /// How a program of ours is on a device.
    fn mode_on(&self, device: u32) -> Option<AttachedMode> {
        let earlier = || *self.staged.as_ref()?.get(&device)?;
        self.attached.get(&device).copied().or_else(earlier)
    }

    /// Takes the program off every device.
    pub(super) fn detach_all(&mut self, plane: &mut impl Plane) {
        self.attached.clear();
        plane.detach_all();
        for slot in &mut self.slots {
            slot.bound = None;
        }
    }
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
