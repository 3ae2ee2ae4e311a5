#![no_std]
//! The contract between the XDP program and user space: map layouts, counter indices, flow hash.
//!
//! Everything that both halves must agree on lives here once, so that no layout is kept in step by
//! hand. All structs are `repr(C)` without implicit padding; addresses and MACs are big-endian byte
//! arrays as on the wire; all other integers are in host order.
//!
//! A packet's way through the tables:
//!
//! ```text
//! ROUTES_V4 / ROUTES_V6   prefix            -> set id (u32)
//!   or, as soon as there is one, the table in
//! DIRECT_V4 / DIRECT_V6   address           -> set id (see `direct`), also of a larger size
//! SETS                    set id            -> SetWord      {base, slots}
//! MEMBERS                 base + slot       -> next-hop id (u32)
//! NEXT_HOPS               next-hop id       -> NextHopWord  {kind, mtu, adjacency}
//! ADJACENCIES             adjacency id      -> Adjacency    {port, MACs, VLANs}
//! ```
//!
//! Each step that may change under traffic (a route, a set, a member, a next hop) is one aligned
//! store of at most 8 bytes. An adjacency is larger: it is written only while no next hop names it.

#![expect(
    clippy::inline_always,
    reason = "the eBPF half must not depend on the inliner's mood: a call costs verifier states"
)]
#![expect(unsafe_code, reason = "`Plain` is a promise about layout that only an unsafe trait can carry")]

pub mod direct;

/// Names of the maps, as user space finds them in the loaded object.
pub mod maps {
    use super::direct::SIZES;

    /// `BPF_MAP_TYPE_LPM_TRIE`: `{prefix length: u32, address: [u8; 4]}` to set id.
    pub const ROUTES_V4: &str = "ROUTES_V4";
    /// `BPF_MAP_TYPE_LPM_TRIE`: `{prefix length: u32, address: [u8; 16]}` to set id.
    pub const ROUTES_V6: &str = "ROUTES_V6";
    /// `BPF_MAP_TYPE_ARRAY_OF_MAPS` with one slot for a `BPF_MAP_TYPE_ARRAY` (`BPF_F_MMAPABLE`) of one
    /// element, which is the table of layout [`IPV4`](super::direct::Layout::IPV4): one for each size. The
    /// first that is not empty is used; while all are empty, `ROUTES_V4` is.
    pub const DIRECT_V4: [&str; SIZES] = ["DIRECT_V4", "DIRECT_V4_LARGE"];
    /// Likewise of layout [`IPV6`](super::direct::Layout::IPV6), in place of `ROUTES_V6`.
    pub const DIRECT_V6: [&str; SIZES] = ["DIRECT_V6", "DIRECT_V6_LARGE"];
    /// `BPF_MAP_TYPE_ARRAY` of [`SetWord`](super::SetWord), by set id.
    pub const SETS: &str = "SETS";
    /// `BPF_MAP_TYPE_ARRAY` of `u32` next-hop ids, by member slot.
    pub const MEMBERS: &str = "MEMBERS";
    /// `BPF_MAP_TYPE_ARRAY` of [`NextHopWord`](super::NextHopWord), by next-hop id.
    pub const NEXT_HOPS: &str = "NEXT_HOPS";
    /// `BPF_MAP_TYPE_ARRAY` of [`Adjacency`](super::Adjacency), by adjacency id.
    pub const ADJACENCIES: &str = "ADJACENCIES";
    /// `BPF_MAP_TYPE_HASH` of [`PortKey`](super::PortKey) to [`Port`](super::Port).
    pub const PORTS: &str = "PORTS";
    /// `BPF_MAP_TYPE_DEVMAP_HASH`, key and value are the egress ifindex.
    pub const EGRESS: &str = "EGRESS";
    /// `BPF_MAP_TYPE_PERCPU_ARRAY` of [`PortCounters`](super::PortCounters), by port id.
    pub const PORT_COUNTERS: &str = "PORT_COUNTERS";
    /// `BPF_MAP_TYPE_PERCPU_ARRAY` of [`Counter`](super::Counter), by next-hop id.
    pub const NEXT_HOP_COUNTERS: &str = "NEXT_HOP_COUNTERS";
    /// `BPF_MAP_TYPE_PERCPU_ARRAY` of [`Counter`](super::Counter), by [`Verdict`](super::Verdict).
    pub const VERDICT_COUNTERS: &str = "VERDICT_COUNTERS";
    /// `BPF_MAP_TYPE_ARRAY` with one [`Settings`](super::Settings).
    pub const SETTINGS: &str = "SETTINGS";
}

/// Program-wide settings, written before the first attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Seed of [`flow_hash`], so that two routers in a row do not polarise.
    pub hash_seed: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

/// Set in an outer VLAN field beside the VLAN id: the tag is an 802.1ad service tag (TPID 0x88a8),
/// not an 802.1Q one (0x8100). Inner tags are always 802.1Q.
pub const SERVICE_TAG: u16 = 0x8000;

/// The bits of a VLAN field or of a tag control word that hold the VLAN id.
pub const VLAN_ID_MASK: u16 = 0x0fff;

/// A type that is nothing but its bytes, as map keys and values must be.
///
/// # Safety
///
/// No padding, no pointers, no invalid bit patterns.
pub unsafe trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($name:ty),* $(,)?) => {
        // SAFETY: integers, byte arrays, and `repr(C)` structs of them whose fields leave no gaps
        // (the assertions at the end of this file count their bytes).
        $(unsafe impl Plain for $name {})*
    };
}

plain!(u32, u64, [u8; 4], [u8; 16], RouteKey<[u8; 4]>, RouteKey<[u8; 16]>, Settings, PortKey, Port);
plain!(SetWord, NextHopWord, Adjacency, Counter, PortCounters);

/// Key of `ROUTES_V4` and `ROUTES_V6`: as `struct bpf_lpm_trie_key_u8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RouteKey<A> {
    /// Prefix length in bits; for a lookup, the full length of an address.
    pub length: u32,
    /// The address, bits past the length zero.
    pub address: A,
}

/// A logical port: an interface and the VLAN tags that a frame carries on it (0: no tag).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortKey {
    /// Kernel interface index of the device the program is attached to.
    pub ifindex: u32,
    /// VLAN id of the outer tag, with [`SERVICE_TAG`] if it is one; 0 when untagged.
    pub outer_vlan: u16,
    /// VLAN id of the inner tag, 0 when there is none.
    pub inner_vlan: u16,
}

/// What the program knows of a logical port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Port {
    /// Index into `PORT_COUNTERS`.
    pub id: u32,
    /// Bits of [`port_flags`].
    pub flags: u16,
    /// The port's own MAC: unicast frames to another one are not ours to route.
    pub mac: [u8; 6],
}

/// Bits of [`Port::flags`].
pub mod port_flags {
    /// The `pg-xdp` end of the host's veth pair: packets are the router's own or were already
    /// routed once by the kernel, so TTL is not lowered, the MAC not checked, and nothing is
    /// passed up (it would come straight back).
    pub const HOST: u16 = 1;
}

/// A next-hop set: `slots` consecutive entries of `MEMBERS` from `base`. One 8-byte store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct SetWord {
    /// First slot in `MEMBERS`.
    pub base: u32,
    /// Number of slots; a flow takes slot `(hash * slots) >> 32`. Zero: the set is empty, drop.
    pub slots: u32,
}

impl SetWord {
    /// The member slot that a flow with this hash takes; `None` for an empty set.
    #[inline(always)]
    pub fn slot(self, hash: u32) -> Option<u32> {
        if self.slots == 0 {
            return None;
        }
        Some(self.base.wrapping_add(((u64::from(hash) * u64::from(self.slots)) >> 32) as u32))
    }
}

/// What to do with a packet that resolved to a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NextHopKind {
    /// Never written, or being replaced: drop.
    Unset = 0,
    /// Rewrite and send to the adjacency.
    Forward = 1,
    /// An address of the router itself: to the host's stack.
    Local = 2,
    /// On-link but its MAC unknown: to the host's stack, which resolves it.
    Glean = 3,
    /// Drop without an answer.
    Blackhole = 4,
    /// Drop; unreachable.
    Reject = 5,
}

impl NextHopKind {
    /// The kind with this number, if there is one.
    #[inline(always)]
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Unset,
            1 => Self::Forward,
            2 => Self::Local,
            3 => Self::Glean,
            4 => Self::Blackhole,
            5 => Self::Reject,
            _ => return None,
        })
    }
}

/// The state of a next hop. One 8-byte store moves every route that uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct NextHopWord {
    /// A [`NextHopKind`].
    pub kind: u8,
    /// Reserved, zero.
    pub reserved: u8,
    /// Largest IP packet in bytes that leaves this way; 0: not checked.
    pub mtu: u16,
    /// Index into `ADJACENCIES`; meaningful for [`NextHopKind::Forward`].
    pub adjacency: u32,
}

/// How a frame leaves: device, MACs and VLAN tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Adjacency {
    /// Egress device (key in `EGRESS`).
    pub ifindex: u32,
    /// Logical port id of the egress, for its transmit counters.
    pub port: u32,
    /// Destination MAC.
    pub dst_mac: [u8; 6],
    /// Source MAC: the egress port's own.
    pub src_mac: [u8; 6],
    /// Outer VLAN id to push, with [`SERVICE_TAG`] if it is to be one; 0: none.
    pub outer_vlan: u16,
    /// Inner VLAN id to push, 0: none (and none without an outer one).
    pub inner_vlan: u16,
}

/// Packets and bytes; bytes count whole frames as received, without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
}

/// Counters of a logical port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PortCounters {
    /// Everything the program saw arrive.
    pub received: Counter,
    /// Forwarded out of this port by the program.
    pub sent: Counter,
    /// Arrived here and handed to the host's stack.
    pub passed: Counter,
    /// Arrived here and dropped.
    pub dropped: Counter,
}

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $action:ident, $label:literal;)*) => {
        /// The one reason that each packet is counted under, in `VERDICT_COUNTERS`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Verdict { $($(#[$doc])* $name = $value,)* }

        impl Verdict {
            /// All verdicts, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What becomes of the packet.
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)* }
            }

            /// The label in metrics and tables.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sent on by the program.
    Forward,
    /// Handed to the host's stack.
    Pass,
    /// Dropped.
    Drop,
}

verdicts! {
    /// Rewritten and redirected.
    Forwarded = 0, Forward, "forwarded";
    /// Not IPv4 or IPv6 (ARP, LLDP, ...): the host's.
    NotIp = 1, Pass, "not_ip";
    /// A unicast frame to another MAC: the host ignores or bridges it.
    OtherMac = 2, Pass, "other_mac";
    /// A VLAN that no routed port has: the host's.
    UnknownVlan = 3, Pass, "unknown_vlan";
    /// Destination is multicast.
    Multicast = 4, Pass, "multicast";
    /// Destination is the limited or an on-link broadcast, or the frame was broadcast.
    Broadcast = 5, Pass, "broadcast";
    /// Source or destination has link-local scope: never routed.
    LinkLocal = 6, Pass, "link_local";
    /// An address of the router.
    Local = 7, Pass, "local";
    /// On-link, neighbour unknown: the host resolves it.
    Glean = 8, Pass, "glean";
    /// TTL or hop limit would reach zero: the host answers time exceeded.
    TtlExpired = 9, Pass, "ttl_expired";
    /// IPv4 options or an IPv6 hop-by-hop header: the host looks at them.
    Options = 10, Pass, "options";
    /// Larger than the next hop's MTU: the host fragments or answers.
    TooBig = 11, Pass, "too_big";
    /// The frame ends before the header does.
    Truncated = 12, Drop, "truncated";
    /// IP version does not match the Ethernet type.
    BadVersion = 13, Drop, "bad_version";
    /// IPv4 header length below 20 bytes.
    BadHeaderLength = 14, Drop, "bad_header_length";
    /// Total or payload length exceeds the frame, or is below the header.
    BadTotalLength = 15, Drop, "bad_total_length";
    /// IPv4 header checksum is wrong (RFC 1812 section 5.2.2).
    BadChecksum = 16, Drop, "bad_checksum";
    /// Source address that may not appear on the wire (RFC 1812 section 5.3.7, RFC 4291).
    MartianSource = 17, Drop, "martian_source";
    /// Destination address that may not be forwarded to.
    MartianDestination = 18, Drop, "martian_destination";
    /// No route.
    NoRoute = 19, Drop, "no_route";
    /// The route says drop.
    Blackhole = 20, Drop, "blackhole";
    /// The route says unreachable.
    Reject = 21, Drop, "reject";
    /// The set is empty or its next hop unset.
    NextHopDown = 22, Drop, "next_hop_down";
    /// Came from the host and would have to go back to it (see `port_flags::HOST`).
    HostLoop = 23, Drop, "host_loop";
    /// The frame could not be resized for its VLAN tags.
    Resize = 24, Drop, "resize_failed";
    /// Redirect refused: the egress port is not in the device map.
    NoEgress = 25, Drop, "no_egress";
    /// An interface that is not in `PORTS` (between attach and set-up): the host's.
    UnknownPort = 26, Pass, "unknown_port";
}

/// Mixes one word into the flow hash (the 32-bit finaliser of `MurmurHash3`).
#[inline(always)]
fn mix(hash: u32, word: u32) -> u32 {
    let mut h = hash ^ word;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Hash of a flow: addresses folded to 32 bits each, protocol, and source and destination port
/// as one word (zero for fragments and protocols without ports).
#[inline(always)]
pub fn flow_hash(seed: u32, source: u32, destination: u32, protocol: u8, ports: u32) -> u32 {
    let h = mix(seed, source);
    let h = mix(h, destination);
    let h = mix(h, ports);
    mix(h, u32::from(protocol))
}

/// Folds an IPv6 address for [`flow_hash`].
#[inline(always)]
pub fn fold_v6(address: &[u8; 16]) -> u32 {
    let word = |i: usize| u32::from_be_bytes([address[i], address[i + 1], address[i + 2], address[i + 3]]);
    mix(mix(mix(word(0), word(4)), word(8)), word(12))
}

const _: () = {
    assert!(size_of::<RouteKey<[u8; 4]>>() == 8);
    assert!(size_of::<RouteKey<[u8; 16]>>() == 20);
    assert!(size_of::<Settings>() == 8);
    assert!(size_of::<PortKey>() == 8);
    assert!(size_of::<Port>() == 12);
    assert!(size_of::<SetWord>() == 8);
    assert!(size_of::<NextHopWord>() == 8);
    assert!(size_of::<Adjacency>() == 24);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<PortCounters>() == 4 * size_of::<Counter>());
};

#[cfg(test)]
mod tests;
