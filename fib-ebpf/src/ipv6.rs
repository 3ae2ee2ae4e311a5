//! IPv6: the checks of RFC 8200 and RFC 4291, and the lookup.
//!
//! As in IPv4, what the host's stack must see is passed up before the lookup. Extension headers
//! other than hop-by-hop are no business of a router (RFC 8200 section 4); a flow whose packets
//! have one is told apart by its addresses alone.

use aya_ebpf::programs::XdpContext;
use fib_abi::{Verdict, flow_hash, fold_v6};

use crate::{Packet, frame, route};

/// Bytes of the header.
const HEADER: usize = 40;
/// "Next header" of a hop-by-hop options header.
const HOP_BY_HOP: u8 = 0;

#[repr(C, align(2))]
struct Header {
    version_class: u8,
    _class_flow: [u8; 3],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

/// Reads the header at `offset` of a frame of `bytes`, and resolves its destination.
#[inline(always)]
pub fn read(ctx: &XdpContext, offset: usize, host: bool, bytes: u64) -> Result<Packet, Verdict> {
    let header = frame::read::<Header>(ctx, offset)?;
    if header.version_class >> 4 != 6 {
        return Err(Verdict::BadVersion);
    }
    let payload = u16::from_be_bytes(header.payload_length);
    let length = HEADER as u32 + u32::from(payload);
    if u64::from(length) > bytes - offset as u64 {
        return Err(Verdict::BadTotalLength);
    }
    if header.destination[0] == 0xff {
        return Err(Verdict::Multicast);
    }
    if is_link_local(&header.destination) || is_link_local(&header.source) {
        return Err(Verdict::LinkLocal);
    }
    if is_unroutable(&header.destination) {
        return Err(Verdict::MartianDestination);
    }
    // The host has dealt with the options of what it sends.
    if header.next_header == HOP_BY_HOP && !host {
        return Err(Verdict::Options);
    }

    let hop = route::next_hop(route::set_v6(&header.destination)?, || {
        let fits = usize::from(payload) >= route::PORTS;
        let ports = if fits { route::ports(ctx, offset + HEADER, header.next_header) } else { 0 };
        let source = fold_v6(&header.source);
        let destination = fold_v6(&header.destination);
        flow_hash(route::seed(), source, destination, header.next_header, ports)
    })?;
    Ok(Packet {
        hop,
        length,
        ttl: header.hop_limit,
        martian_source: header.source[0] == 0xff || is_unroutable(&header.source),
        is_v4: false,
    })
}

/// fe80::/10, never forwarded (RFC 4291 section 2.5.6).
#[inline(always)]
fn is_link_local(address: &[u8; 16]) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

/// `::` (RFC 4291 section 2.5.2), `::1` (2.5.3), the IPv4-compatible `::/96` (2.5.5.1, deprecated)
/// and the IPv4-mapped `::ffff:0:0/96` (2.5.5.2): none is forwarded.
#[inline(always)]
fn is_unroutable(address: &[u8; 16]) -> bool {
    let (words, _) = address.as_chunks::<4>();
    let word = |i: usize| u32::from_be_bytes(words[i]);
    word(0) | word(1) == 0 && matches!(word(2), 0 | 0xffff)
}
