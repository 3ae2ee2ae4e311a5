//! A data plane that is only written down.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use fib::{Family, TableEdit};
use fib_abi::{Adjacency, Counter, NextHopKind, NextHopWord, Port, PortCounters, PortKey, SetWord, Verdict};
use ipnet::IpNet;

use super::super::plane::Plane;
use crate::xdp::{AttachedMode, EntriesPage, XdpError, XdpMode};

/// The maps, as they would be in the kernel.
#[derive(Debug, Default)]
pub(super) struct Maps {
    pub(super) attached: BTreeSet<u32>,
    /// Devices in the generic hook.
    pub(super) generic: BTreeSet<u32>,
    pub(super) egress: BTreeSet<u32>,
    /// Whether what is attached outlives the process; `None`: that was not said yet.
    pub(super) settled: Option<bool>,
    pub(super) ports: BTreeMap<(u32, u16, u16), Port>,
    pub(super) routes: BTreeMap<IpNet, u32>,
    pub(super) sets: BTreeMap<u32, SetWord>,
    pub(super) members: BTreeMap<u32, u32>,
    pub(super) next_hops: BTreeMap<u32, NextHopWord>,
    pub(super) adjacencies: BTreeMap<u32, Adjacency>,
    /// Prefixes whose writes fail.
    pub(super) refuse: BTreeSet<IpNet>,
    pub(super) refuse_attach: BTreeSet<u32>,
    /// Devices without a native hook.
    pub(super) refuse_native: BTreeSet<u32>,
    /// Families whose direct tables cannot be made, were made, and are looked up in.
    pub(super) refuse_direct: bool,
    pub(super) refuse_larger: bool,
    pub(super) larger_refused: usize,
    pub(super) larger: Vec<Family>,
    pub(super) grown: Vec<Family>,
    pub(super) refuse_serve: bool,
    pub(super) opened: Vec<Family>,
    pub(super) served: Vec<Family>,
    pub(super) filled: usize,
    pub(super) applied: Vec<usize>,
    pub(super) graces: usize,
}

impl Maps {
    /// What the program would do with a packet to this address.
    pub(super) fn look_up(&self, ip: &str) -> Option<(NextHopKind, Option<Adjacency>)> {
        let ip: IpAddr = ip.parse().ok()?;
        let mut covering: Vec<_> = self.routes.iter().filter(|(prefix, _)| prefix.contains(&ip)).collect();
        covering.sort_by_key(|(prefix, _)| prefix.prefix_len());
        let set = self.sets.get(covering.last()?.1)?;
        let next_hop = self.next_hops.get(self.members.get(&set.base)?)?;
        let kind = NextHopKind::from_u8(next_hop.kind)?;
        let adjacency = (kind == NextHopKind::Forward).then(|| self.adjacencies[&next_hop.adjacency]);
        Some((kind, adjacency))
    }

    pub(super) fn kind(&self, ip: &str) -> Option<NextHopKind> {
        self.look_up(ip).map(|(kind, _)| kind)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Paper(Arc<Mutex<Maps>>);

impl Paper {
    pub(super) fn maps(&self) -> std::sync::MutexGuard<'_, Maps> {
        self.0.lock().unwrap()
    }
}

fn refusal() -> XdpError {
    let source = io::Error::from_raw_os_error(libc::ENOSPC);
    XdpError::System { action: "write".to_owned(), call: "BPF_MAP_UPDATE_ELEM", source }
}

impl Plane for Paper {
    fn attach(&mut self, ifindex: u32, _: &str, mode: XdpMode) -> Result<AttachedMode, XdpError> {
        if mode == XdpMode::Native && self.maps().refuse_native.contains(&ifindex) {
            let source = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            return Err(XdpError::System { action: "attach".to_owned(), call: "BPF_LINK_CREATE", source });
        }
        if self.maps().refuse_attach.contains(&ifindex) {
            return Err(refusal());
        }
        assert!(self.maps().attached.insert(ifindex), "attached twice to {ifindex}");
        if mode == XdpMode::Generic {
            self.maps().generic.insert(ifindex);
            return Ok(AttachedMode::Generic);
        }
        Ok(AttachedMode::Native)
    }

    fn detach(&mut self, ifindex: u32) {
        self.maps().attached.remove(&ifindex);
        self.maps().generic.remove(&ifindex);
    }

    fn detach_all(&mut self) {
        let mut maps = self.maps();
        maps.attached.clear();
        maps.generic.clear();
        maps.settled = Some(false);
    }

    fn settle(&mut self, keep: bool) {
        self.maps().settled = Some(keep);
    }

    fn set_port(&mut self, key: PortKey, port: Port) -> Result<(), XdpError> {
        self.maps().ports.insert((key.ifindex, key.outer_vlan, key.inner_vlan), port);
        Ok(())
    }

    fn remove_port(&mut self, key: PortKey) -> Result<(), XdpError> {
        self.maps().ports.remove(&(key.ifindex, key.outer_vlan, key.inner_vlan));
        Ok(())
    }

    fn set_egress(&mut self, ifindex: u32) -> Result<(), XdpError> {
        self.maps().egress.insert(ifindex);
        Ok(())
    }

    fn remove_egress(&mut self, ifindex: u32) -> Result<(), XdpError> {
        self.maps().egress.remove(&ifindex);
        Ok(())
    }

    fn open_direct(&mut self, family: Family) -> Result<(), XdpError> {
        let mut maps = self.maps();
        if maps.refuse_direct {
            return Err(refusal());
        }
        maps.opened.push(family);
        Ok(())
    }

    fn open_larger(&mut self, family: Family) -> Result<(), XdpError> {
        let mut maps = self.maps();
        if maps.refuse_larger {
            maps.larger_refused += 1;
            return Err(refusal());
        }
        maps.larger.push(family);
        Ok(())
    }

    fn apply(&mut self, edits: &[TableEdit]) -> Vec<(usize, XdpError)> {
        let mut maps = self.maps();
        maps.applied.push(edits.len());
        let mut failures = Vec::new();
        for (index, edit) in edits.iter().enumerate() {
            match *edit {
                TableEdit::Insert { prefix, .. } if maps.refuse.contains(&prefix) => {
                    failures.push((index, refusal()));
                }
                TableEdit::Insert { prefix, set } => drop(maps.routes.insert(prefix, set)),
                TableEdit::Remove { prefix } => drop(maps.routes.remove(&prefix)),
                TableEdit::Set { index, value } => drop(maps.sets.insert(index, value)),
                TableEdit::Member { slot, next_hop } => drop(maps.members.insert(slot, next_hop)),
                TableEdit::NextHop { index, value } => drop(maps.next_hops.insert(index, value)),
                TableEdit::Adjacency { index, value } => drop(maps.adjacencies.insert(index, value)),
                TableEdit::Fill { .. } => maps.filled += 1,
                TableEdit::Grow { family } => {
                    assert!(maps.larger.contains(&family), "there is none to grow into");
                    maps.grown.push(family);
                }
                TableEdit::Serve { .. } if maps.refuse_serve => failures.push((index, refusal())),
                TableEdit::Serve { family } => maps.served.push(family),
            }
        }
        failures
    }

    fn read_back(&self, edit: &TableEdit) -> Result<Option<TableEdit>, XdpError> {
        let maps = self.maps();
        Ok(match *edit {
            TableEdit::Adjacency { index, .. } => {
                maps.adjacencies.get(&index).map(|&value| TableEdit::Adjacency { index, value })
            }
            TableEdit::NextHop { index, .. } => {
                maps.next_hops.get(&index).map(|&value| TableEdit::NextHop { index, value })
            }
            TableEdit::Member { slot, .. } => {
                maps.members.get(&slot).map(|&next_hop| TableEdit::Member { slot, next_hop })
            }
            TableEdit::Set { index, .. } => {
                maps.sets.get(&index).map(|&value| TableEdit::Set { index, value })
            }
            TableEdit::Insert { prefix, .. } => {
                maps.routes.get(&prefix).map(|&set| TableEdit::Insert { prefix, set })
            }
            _ => None,
        })
    }

    fn words(&self, _: Family, _: u32, _: &mut [u32]) -> Result<(), XdpError> {
        // Words are only counted here.
        Err(refusal())
    }

    fn entries_page(
        &self,
        family: Family,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<EntriesPage, XdpError> {
        let maps = self.maps();
        let later = |prefix: &IpNet| after.is_none_or(|after| *prefix > after);
        let of_family = |prefix: &IpNet| prefix.addr().is_ipv6() == (family == Family::Ipv6);
        let entries = maps.routes.iter().filter(|(prefix, _)| of_family(prefix) && later(prefix)).take(limit);
        let entries: Vec<(IpNet, u32)> = entries.map(|(prefix, set)| (*prefix, *set)).collect();
        let next = entries.last().map(|(prefix, _)| *prefix).filter(|_| entries.len() == limit);
        Ok((entries, next))
    }

    fn grace_period(&mut self) -> Result<(), XdpError> {
        self.maps().graces += 1;
        Ok(())
    }

    fn verdict_counters(&self) -> Vec<(Verdict, Counter)> {
        vec![(Verdict::Forwarded, Counter { packets: 7, bytes: 700 })]
    }

    fn port_counters(&self, id: u32) -> PortCounters {
        let received = Counter { packets: u64::from(id) + 1, bytes: 0 };
        PortCounters { received, ..PortCounters::default() }
    }

    fn next_hop_counters(&self, _: u32) -> Counter {
        Counter::default()
    }

    fn reset_next_hop_counters(&mut self, _: u32) -> Result<(), XdpError> {
        Ok(())
    }
}
