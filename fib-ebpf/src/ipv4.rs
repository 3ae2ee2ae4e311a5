//! IPv4: the checks of RFC 1812 sections 5.2.2 and 5.3, and the lookup.
//!
//! What the host's stack must see (multicast, broadcast, link-local, options) is passed up before
//! the route is looked up; the host validates its own packets. Whether a martian source matters is
//! known only after the lookup, as a packet for the host is the host's to judge.

use aya_ebpf::programs::XdpContext;
use fib_abi::{Verdict, flow_hash};

use crate::{Packet, frame, route};

/// Bytes of a header without options.
const HEADER: usize = 20;

/// The header without options.
#[repr(C, align(2))]
struct Header {
    version_ihl: u8,
    _service: u8,
    total_length: [u8; 2],
    _id: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    _checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
}

/// The same as mere bytes, to be summed up.
#[repr(C, align(2))]
struct Bytes([u8; HEADER]);

/// "More fragments" and the fragment offset: not both zero in any fragment.
const FRAGMENT_MASK: u16 = 0x3fff;

/// Reads the header at `offset` of a frame of `bytes`, and resolves its destination.
#[inline(always)]
pub fn read(ctx: &XdpContext, offset: usize, host: bool, bytes: u64) -> Result<Packet, Verdict> {
    let header = frame::read::<Header>(ctx, offset)?;
    if header.version_ihl >> 4 != 4 {
        return Err(Verdict::BadVersion);
    }
    let header_length = usize::from(header.version_ihl & 0xf) * 4;
    if header_length < HEADER {
        return Err(Verdict::BadHeaderLength);
    }
    let room = bytes - offset as u64;
    if header_length as u64 > room {
        return Err(Verdict::Truncated);
    }
    let length = u16::from_be_bytes(header.total_length);
    if usize::from(length) < header_length || u64::from(length) > room {
        return Err(Verdict::BadTotalLength);
    }
    // A header with options goes to the host, which checks it.
    if header_length == HEADER && !checksum_is_right(frame::read(ctx, offset)?) {
        return Err(Verdict::BadChecksum);
    }
    check_destination(header.destination)?;
    if is_link_local(header.source) {
        return Err(Verdict::LinkLocal);
    }
    // The host has dealt with the options of what it sends.
    if header_length != HEADER && !host {
        return Err(Verdict::Options);
    }

    let hop = route::next_hop(route::set_v4(header.destination)?, || {
        let fragment = u16::from_be_bytes(header.fragment) & FRAGMENT_MASK != 0;
        let fits = usize::from(length) >= header_length + route::PORTS;
        let ports =
            if fragment || !fits { 0 } else { route::ports(ctx, offset + header_length, header.protocol) };
        let source = u32::from_be_bytes(header.source);
        let destination = u32::from_be_bytes(header.destination);
        flow_hash(route::seed(), source, destination, header.protocol, ports)
    })?;
    Ok(Packet {
        hop,
        length: u32::from(length),
        ttl: header.ttl,
        martian_source: is_martian(header.source),
        is_v4: true,
    })
}

/// The ones' complement sum over a right header is all ones (RFC 1071), in any byte order.
#[inline(always)]
fn checksum_is_right(header: &Bytes) -> bool {
    let (words, _) = header.0.as_chunks::<2>();
    let sum = words.iter().fold(0, |sum, word| sum + u32::from(u16::from_ne_bytes(*word)));
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

/// RFC 1812 section 5.3.7 and the special-purpose registry (RFC 6890): "this network" and loopback
/// may neither send nor receive across a router; nor may anything from 224.0.0.0 up, which is
/// multicast and reserved.
#[inline(always)]
fn is_martian(address: [u8; 4]) -> bool {
    address[0] == 0 || address[0] == 127 || address[0] >= 224
}

/// 169.254.0.0/16, never forwarded (RFC 3927 section 7).
#[inline(always)]
fn is_link_local(address: [u8; 4]) -> bool {
    address[0] == 169 && address[1] == 254
}

#[inline(always)]
fn check_destination(address: [u8; 4]) -> Result<(), Verdict> {
    if address[0] & 0xf0 == 224 {
        return Err(Verdict::Multicast);
    }
    if address == [255; 4] {
        return Err(Verdict::Broadcast);
    }
    if is_link_local(address) {
        return Err(Verdict::LinkLocal);
    }
    if is_martian(address) {
        return Err(Verdict::MartianDestination);
    }
    Ok(())
}
