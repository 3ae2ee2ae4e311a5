//! The frame: bounds-checked access, Ethernet and up to two VLAN tags, and the port it came in on.
//!
//! A frame may consist of several buffers (jumbo frames); its headers lie in the first one, which
//! is all that can be accessed directly. [`length`] is that of the whole frame.
//!
//! Headers are structs of byte arrays with an alignment of 2: a frame starts at an even address and
//! every header has an even length, so that is what holds. It lets the compiler read 16 bits at a time;
//! promising more would be false, and making it read words at any address makes it do the same
//! on the stack, which the verifier refuses.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};
use fib_abi::{Port, PortKey, SERVICE_TAG, VLAN_ID_MASK, Verdict};

use crate::maps::PORTS;

/// Ethernet types, in host order.
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// IEEE 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// Bytes of an Ethernet header and of a VLAN tag.
pub const ETHERNET: usize = 14;
pub const TAG: usize = 4;

/// Destination MAC, source MAC, type.
#[repr(C, align(2))]
struct EthernetHeader {
    destination: [u8; 6],
    _source: [u8; 6],
    ether_type: [u8; 2],
}

/// Tag control information (priority, drop eligible, VLAN id) and the type of what follows.
#[repr(C, align(2))]
struct Tag {
    control: [u8; 2],
    ether_type: [u8; 2],
}

/// The link-layer headers.
pub struct Link {
    /// Their length in bytes, tags included: where the IP header starts.
    pub length: usize,
    /// Ethernet type of the payload, in host order.
    pub ether_type: u16,
    destination: [u8; 6],
    outer_vlan: u16,
    inner_vlan: u16,
}

/// The one bounds check: a `T` at `offset` bytes into the frame, or [`Verdict::Truncated`]. `T` is made
/// of bytes and is at an even offset if its alignment is 2.
#[inline(always)]
pub fn at<T>(ctx: &XdpContext, offset: usize) -> Result<*mut T, Verdict> {
    const { assert!(align_of::<T>() <= 2) };
    let start = ctx.data() + offset;
    if start + size_of::<T>() > ctx.data_end() {
        return Err(Verdict::Truncated);
    }
    Ok(start as *mut T)
}

/// Reads a `T` at `offset`.
#[inline(always)]
pub fn read<'a, T>(ctx: &'a XdpContext, offset: usize) -> Result<&'a T, Verdict> {
    let pointer = at::<T>(ctx, offset)?;
    // SAFETY: `at` has checked that it lies inside the frame, which lives as long as the context;
    // `T` is made of bytes; nothing is written to the frame while it is being read.
    Ok(unsafe { &*pointer })
}

/// Length in bytes of the whole frame.
#[inline(always)]
pub fn length(ctx: &XdpContext) -> u64 {
    // SAFETY: called with the context that the kernel gave us.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) }
}

/// Reads the Ethernet header and the tags.
#[inline(always)]
pub fn parse(ctx: &XdpContext) -> Result<Link, Verdict> {
    let ethernet = read::<EthernetHeader>(ctx, 0)?;
    let mut link = Link {
        length: ETHERNET,
        ether_type: u16::from_be_bytes(ethernet.ether_type),
        destination: ethernet.destination,
        outer_vlan: 0,
        inner_vlan: 0,
    };
    if is_tag(link.ether_type) {
        let service = if link.ether_type == SERVICE_VLAN { SERVICE_TAG } else { 0 };
        let tag = read::<Tag>(ctx, ETHERNET)?;
        // VLAN 0 is a priority tag: the frame belongs to no VLAN.
        let id = u16::from_be_bytes(tag.control) & VLAN_ID_MASK;
        link.outer_vlan = if id == 0 { 0 } else { id | service };
        link.ether_type = u16::from_be_bytes(tag.ether_type);
        link.length = ETHERNET + TAG;
        if is_tag(link.ether_type) {
            let tag = read::<Tag>(ctx, ETHERNET + TAG)?;
            link.inner_vlan = u16::from_be_bytes(tag.control) & VLAN_ID_MASK;
            link.ether_type = u16::from_be_bytes(tag.ether_type);
            link.length = ETHERNET + 2 * TAG;
        }
    }
    Ok(link)
}

#[inline(always)]
fn is_tag(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == SERVICE_VLAN
}

/// The logical port of the frame.
#[inline(always)]
pub fn port(ctx: &XdpContext, link: &Link) -> Result<&'static Port, Verdict> {
    let key = PortKey {
        ifindex: ctx.ingress_ifindex() as u32,
        outer_vlan: link.outer_vlan,
        inner_vlan: link.inner_vlan,
    };
    // SAFETY: an element stays readable until the program ends; one that user space replaces
    // meanwhile may show the old or the new port, both of which were meant.
    match unsafe { PORTS.get(&key) } {
        Some(port) => Ok(port),
        None if link.length > ETHERNET => Err(Verdict::UnknownVlan),
        None => Err(Verdict::UnknownPort),
    }
}

/// Only frames to the port's own MAC are routed (RFC 1812 section 5.3.4: a packet that came as a
/// link-layer broadcast is not forwarded).
#[inline(always)]
pub fn check_destination(link: &Link, port: &Port, host: bool) -> Result<(), Verdict> {
    if host || link.destination == port.mac {
        return Ok(());
    }
    if link.destination == [0xff; 6] {
        return Err(Verdict::Broadcast);
    }
    if link.destination[0] & 1 != 0 {
        return Err(Verdict::Multicast);
    }
    Err(Verdict::OtherMac)
}
