//! What the FIB thread asks of the data plane, so that it can be tested without one.

use fib::{Family, TableEdit};
use fib_abi::{Counter, Port, PortCounters, PortKey, Verdict};
use ipnet::IpNet;

use crate::host::offload;
use crate::xdp::{AttachedMode, DataPlane, EntriesPage, XdpError, XdpMode};

/// A data plane: maps to write, interfaces to attach to, counters to read.
pub(super) trait Plane: Send + 'static {
    fn attach(&mut self, ifindex: u32, name: &str, mode: XdpMode) -> Result<AttachedMode, XdpError>;
    fn detach(&mut self, ifindex: u32);
    /// Takes the program off everywhere, also that of an earlier run, and forgets what was to stay.
    fn detach_all(&mut self);
    /// What is attached is all that is to be: what an earlier run has left elsewhere goes. With `keep` it outlives
    /// this process.
    fn settle(&mut self, keep: bool);
    fn set_port(&mut self, key: PortKey, port: Port) -> Result<(), XdpError>;
    fn remove_port(&mut self, key: PortKey) -> Result<(), XdpError>;
    fn set_egress(&mut self, ifindex: u32) -> Result<(), XdpError>;
    fn remove_egress(&mut self, ifindex: u32) -> Result<(), XdpError>;
    /// Makes an empty direct table for a family, unless there is one.
    fn open_direct(&mut self, family: Family) -> Result<(), XdpError>;
    /// Makes the empty direct table of a family's next size, unless there is one.
    fn open_larger(&mut self, family: Family) -> Result<(), XdpError>;
    /// Applies edits in order and goes on after one that fails; indices and causes of those that did.
    fn apply(&mut self, edits: &[TableEdit]) -> Vec<(usize, XdpError)>;
    /// The element that an edit would write, as the edit that would leave it as it is.
    fn read_back(&self, edit: &TableEdit) -> Result<Option<TableEdit>, XdpError>;
    /// Words of a direct table, from `first` on.
    fn words(&self, family: Family, first: u32, words: &mut [u32]) -> Result<(), XdpError>;
    /// Some entries of a trie after one of them, and where to go on.
    fn entries_page(
        &self,
        family: Family,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<EntriesPage, XdpError>;
    /// Returns when no program uses any more what was replaced before.
    fn grace_period(&mut self) -> Result<(), XdpError>;
    fn verdict_counters(&self) -> Vec<(Verdict, Counter)>;
    fn port_counters(&self, id: u32) -> PortCounters;
    fn next_hop_counters(&self, id: u32) -> Counter;
    fn reset_next_hop_counters(&mut self, id: u32) -> Result<(), XdpError>;
}

impl Plane for DataPlane {
    fn attach(&mut self, ifindex: u32, name: &str, mode: XdpMode) -> Result<AttachedMode, XdpError> {
        let attached = Self::attach(self, ifindex, name, mode)?;
        // The generic hook comes after GRO, which glues segments to packets that fit no port.
        if attached == AttachedMode::Generic
            && let Err(error) = offload::switch_off(ifindex, &offload::RECEIVE_MERGING)
        {
            tracing::warn!(interface = name, %error, "merged segments may be forwarded slowly");
        }
        Ok(attached)
    }

    fn detach(&mut self, ifindex: u32) {
        Self::detach(self, ifindex);
    }

    fn detach_all(&mut self) {
        Self::detach_all(self);
    }

    fn settle(&mut self, keep: bool) {
        Self::settle(self, keep);
    }

    fn set_port(&mut self, key: PortKey, port: Port) -> Result<(), XdpError> {
        Self::set_port(self, key, port)
    }

    fn remove_port(&mut self, key: PortKey) -> Result<(), XdpError> {
        Self::remove_port(self, key)
    }

    fn set_egress(&mut self, ifindex: u32) -> Result<(), XdpError> {
        Self::set_egress(self, ifindex)
    }

    fn remove_egress(&mut self, ifindex: u32) -> Result<(), XdpError> {
        Self::remove_egress(self, ifindex)
    }

    fn open_direct(&mut self, family: Family) -> Result<(), XdpError> {
        Self::open_direct(self, family)
    }

    fn open_larger(&mut self, family: Family) -> Result<(), XdpError> {
        Self::open_larger(self, family)
    }

    fn apply(&mut self, edits: &[TableEdit]) -> Vec<(usize, XdpError)> {
        Self::apply(self, edits)
    }

    fn read_back(&self, edit: &TableEdit) -> Result<Option<TableEdit>, XdpError> {
        Self::read_back(self, edit)
    }

    fn words(&self, family: Family, first: u32, words: &mut [u32]) -> Result<(), XdpError> {
        Self::words(self, family, first, words)
    }

    fn entries_page(
        &self,
        family: Family,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<EntriesPage, XdpError> {
        Self::entries_page(self, family, after, limit)
    }

    fn grace_period(&mut self) -> Result<(), XdpError> {
        Self::grace_period(self)
    }

    fn verdict_counters(&self) -> Vec<(Verdict, Counter)> {
        Self::verdict_counters(self)
    }

    fn port_counters(&self, id: u32) -> PortCounters {
        Self::port_counters(self, id)
    }

    fn next_hop_counters(&self, id: u32) -> Counter {
        Self::next_hop_counters(self, id)
    }

    fn reset_next_hop_counters(&mut self, id: u32) -> Result<(), XdpError> {
        Self::reset_next_hop_counters(self, id)
    }
}
