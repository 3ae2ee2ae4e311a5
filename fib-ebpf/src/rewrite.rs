//! Making the frame the next hop's: TTL, checksum, VLAN tags, MACs.
//!
//! The IP packet stays where it is; the link-layer header in front of it is replaced, the frame
//! growing or shrinking at its head by the difference in tags.

use aya_ebpf::{EbpfContext, helpers::bpf_xdp_adjust_head, programs::XdpContext};
use fib_abi::{Adjacency, SERVICE_TAG, VLAN_ID_MASK, Verdict};

use crate::{
    Packet,
    frame::{self, Link},
};

/// From TTL to checksum of an IPv4 header.
#[repr(C, align(2))]
struct Ipv4Hop {
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
}

/// Where that starts in an IPv4 header.
const IPV4_HOP: usize = 8;
/// Where the hop limit lies in an IPv6 header.
const IPV6_HOP_LIMIT: usize = 7;

/// A tag as it lies in the frame: its own type, then its VLAN id.
#[repr(C, align(2))]
struct Tag {
    tag_type: [u8; 2],
    vlan: [u8; 2],
}

/// The link-layer header that is written, with `N` tags.
#[repr(C, align(2))]
struct Header<const N: usize> {
    destination: [u8; 6],
    source: [u8; 6],
    tags: [Tag; N],
    ether_type: [u8; 2],
}

/// Rewrites the frame for `adjacency`; packets of the host keep their TTL.
#[inline(always)]
pub fn apply(
    ctx: &XdpContext,
    link: &Link,
    packet: &Packet,
    adjacency: &Adjacency,
    host: bool,
) -> Result<(), Verdict> {
    if !host {
        lower_ttl(ctx, link.length, packet.is_v4)?;
    }
    let (outer, inner) = (adjacency.outer_vlan, adjacency.inner_vlan);
    let outer_type = if outer & SERVICE_TAG == 0 { frame::VLAN } else { frame::SERVICE_VLAN };
    if outer == 0 {
        write(ctx, link, adjacency, [])
    } else if inner == 0 {
        write(ctx, link, adjacency, [tag(outer_type, outer)])
    } else {
        write(ctx, link, adjacency, [tag(outer_type, outer), tag(frame::VLAN, inner)])
    }
}

#[inline(always)]
fn tag(tag_type: u16, vlan: u16) -> Tag {
    Tag { tag_type: tag_type.to_be_bytes(), vlan: (vlan & VLAN_ID_MASK).to_be_bytes() }
}

/// Replaces the link-layer header by one with these tags.
#[inline(always)]
fn write<const N: usize>(
    ctx: &XdpContext,
    link: &Link,
    adjacency: &Adjacency,
    tags: [Tag; N],
) -> Result<(), Verdict> {
    resize(ctx, link.length, size_of::<Header<N>>())?;
    let header = frame::at::<Header<N>>(ctx, 0).map_err(|_| Verdict::Resize)?;
    let (destination, source) = (adjacency.dst_mac, adjacency.src_mac);
    let ether_type = link.ether_type.to_be_bytes();
    // SAFETY: `at` has checked that it lies inside the frame; any byte may be written there.
    unsafe { header.write(Header { destination, source, tags, ether_type }) };
    Ok(())
}

/// Lowers the TTL and updates the checksum by the difference (RFC 1624 equation 3:
/// `HC' = ~(~HC + ~m + m')`), or lowers the hop limit.
#[inline(always)]
fn lower_ttl(ctx: &XdpContext, offset: usize, is_v4: bool) -> Result<(), Verdict> {
    if !is_v4 {
        let hop_limit = frame::at::<u8>(ctx, offset + IPV6_HOP_LIMIT)?;
        // SAFETY: `at` has checked that it lies inside the frame.
        unsafe { *hop_limit = (*hop_limit).wrapping_sub(1) };
        return Ok(());
    }
    let hop = frame::at::<Ipv4Hop>(ctx, offset + IPV4_HOP)?;
    // SAFETY: as above.
    let hop = unsafe { &mut *hop };
    let before = u16::from_be_bytes([hop.ttl, hop.protocol]);
    hop.ttl = hop.ttl.wrapping_sub(1);
    let after = u16::from_be_bytes([hop.ttl, hop.protocol]);
    let sum = u32::from(!u16::from_be_bytes(hop.checksum)) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    hop.checksum = (!(sum as u16)).to_be_bytes();
    Ok(())
}

/// Moves the start of the frame so that a link-layer header of `to` bytes fits where one of
/// `from` bytes was. Every pointer into the frame is void afterwards.
#[inline(always)]
fn resize(ctx: &XdpContext, from: usize, to: usize) -> Result<(), Verdict> {
    if from == to {
        return Ok(());
    }
    // SAFETY: called with the context that the kernel gave us.
    let result = unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), from as i32 - to as i32) };
    if result == 0 { Ok(()) } else { Err(Verdict::Resize) }
}
