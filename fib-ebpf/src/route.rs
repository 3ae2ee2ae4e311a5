//! From the address to the set, from there to the adjacency, and out.
//!
//! Each step reads one word of at most 8 bytes, which user space replaces with one store: a packet
//! sees either the old or the new state of each, never a mixture.

use aya_ebpf::{maps::lpm_trie::Key, programs::XdpContext};
use fib_abi::{Adjacency, NextHopKind, NextHopWord, SetWord, Verdict, direct::Layout};

use crate::{
    frame,
    maps::{
        ADJACENCIES, DIRECT_V4, DIRECT_V4_LARGE, DIRECT_V6, DIRECT_V6_LARGE, DirectSlot, EGRESS, MEMBERS,
        NEXT_HOPS, ROUTES_V4, ROUTES_V6, SETS, SETTINGS,
    },
};

/// Bytes of the source and destination port at the start of a transport header.
pub const PORTS: usize = 4;

#[repr(C, align(2))]
struct PortPair([u8; PORTS]);

/// Protocols that start with ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// The set of an IPv4 destination.
#[inline(always)]
pub fn set_v4(address: [u8; 4]) -> Result<u32, Verdict> {
    let [small, large] = Layout::IPV4;
    let found = direct(&DIRECT_V4, |read| small.lookup_v4(address, read))
        .or_else(|| direct(&DIRECT_V4_LARGE, |read| large.lookup_v4(address, read)));
    match found {
        Some(set) => set,
        None => ROUTES_V4.get(&Key::new(32, address)).copied().ok_or(Verdict::NoRoute),
    }
}

/// The set of an IPv6 destination.
#[inline(always)]
pub fn set_v6(address: &[u8; 16]) -> Result<u32, Verdict> {
    let [small, large] = Layout::IPV6;
    let found = direct(&DIRECT_V6, |read| small.lookup_v6(address, read))
        .or_else(|| direct(&DIRECT_V6_LARGE, |read| large.lookup_v6(address, read)));
    match found {
        Some(set) => set,
        None => ROUTES_V6.get(&Key::new(128, *address)).copied().ok_or(Verdict::NoRoute),
    }
}

/// Looks up in a direct table; `None` if there is none.
#[inline(always)]
fn direct<const WORDS: usize>(
    slot: &DirectSlot<WORDS>,
    lookup: impl FnOnce(&dyn Fn(u32) -> u32) -> u32,
) -> Option<Result<u32, Verdict>> {
    let table = slot.get_value(0, &0)?.as_ptr();
    // SAFETY: an index below WORDS, as the layout promises and the verifier checks; user space
    // writes words whole.
    let set = lookup(&|index| unsafe { table.add(index as usize).read_volatile() });
    Some(if set == 0 { Err(Verdict::NoRoute) } else { Ok(set) })
}

/// A next hop that a packet may be handed to.
pub struct Hop {
    /// Its id, for the counters.
    pub id: u32,
    /// Its state.
    pub word: NextHopWord,
    /// On-link, but its MAC is unknown.
    pub glean: bool,
}

/// The next hop that a flow takes out of a set; the hash is asked for only when there is a choice.
/// `Err` when the packet ends here.
#[inline(always)]
pub fn next_hop(set: u32, hash: impl FnOnce() -> u32) -> Result<Hop, Verdict> {
    let Some(set) = SETS.get_ptr(set) else {
        return Err(Verdict::NextHopDown);
    };
    // SAFETY: an element of the array; one aligned 8-byte load, so both fields belong together.
    let set: SetWord = unsafe { core::mem::transmute(set.cast::<u64>().read_volatile()) };
    let slot = if set.slots == 1 { Some(set.base) } else { set.slot(hash()) };
    let Some(&id) = slot.and_then(|slot| MEMBERS.get(slot)) else {
        return Err(Verdict::NextHopDown);
    };
    let Some(word) = NEXT_HOPS.get_ptr(id) else {
        return Err(Verdict::NextHopDown);
    };
    // SAFETY: as above.
    let word: NextHopWord = unsafe { core::mem::transmute(word.cast::<u64>().read_volatile()) };
    match NextHopKind::from_u8(word.kind) {
        Some(NextHopKind::Forward) => Ok(Hop { id, word, glean: false }),
        Some(NextHopKind::Glean) => Ok(Hop { id, word, glean: true }),
        Some(NextHopKind::Local) => Err(Verdict::Local),
        Some(NextHopKind::Blackhole) => Err(Verdict::Blackhole),
        Some(NextHopKind::Reject) => Err(Verdict::Reject),
        Some(NextHopKind::Unset) | None => Err(Verdict::NextHopDown),
    }
}

/// The adjacency of a next hop of kind forward.
#[inline(always)]
pub fn adjacency(word: NextHopWord) -> Result<&'static Adjacency, Verdict> {
    ADJACENCIES.get(word.adjacency).ok_or(Verdict::NextHopDown)
}

/// Sends the frame out of the adjacency's device.
#[inline(always)]
pub fn redirect(adjacency: &Adjacency) -> Result<(), Verdict> {
    EGRESS.redirect(adjacency.ifindex, 0).map(|_| ()).map_err(|_| Verdict::NoEgress)
}

/// Source and destination port as one word, 0 for protocols without ports. The caller has seen
/// that the IP packet reaches that far.
#[inline(always)]
pub fn ports(ctx: &XdpContext, offset: usize, protocol: u8) -> u32 {
    if !has_ports(protocol) {
        return 0;
    }
    match frame::read::<PortPair>(ctx, offset) {
        Ok(ports) => u32::from_be_bytes(ports.0),
        Err(_) => 0,
    }
}

/// The seed of the flow hash.
#[inline(always)]
pub fn seed() -> u32 {
    SETTINGS.get(0).map_or(0, |settings| settings.hash_seed)
}
