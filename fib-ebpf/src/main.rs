#![no_std]
#![no_main]
//! The XDP program `peregrine`: one pass over a frame, one verdict.
//!
//! ```text
//! frame.rs     bounds-checked access to the frame; Ethernet and VLAN tags; which port it is
//! ipv4.rs      RFC 1812 section 5.2.2 and 5.3: is this an IPv4 packet that may be forwarded
//! ipv6.rs      RFC 8200 and RFC 4291 likewise
//! route.rs     prefix -> set -> member by flow hash -> next hop -> adjacency
//! rewrite.rs   TTL and checksum, VLAN tags, MACs
//! count.rs     per-CPU counters
//! ```
//!
//! Guarantees: each packet is counted under exactly one [`Verdict`]; a packet that is passed to the
//! host's stack is passed unchanged; a forwarded packet differs from the received one only in
//! its Ethernet header, VLAN tags, and TTL and header checksum (or hop limit).
//!
//! Addresses, ids and lengths in headers are big-endian byte arrays; a header is read only after
//! `frame::at` has checked that it lies inside the frame.

mod count;
mod frame;
mod ipv4;
mod ipv6;
mod maps;
mod rewrite;
mod route;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT},
    macros::xdp,
    programs::XdpContext,
};
use fib_abi::{Action, Adjacency, Port, Verdict, port_flags};

use crate::frame::Link;

/// What is known of a frame once its headers have been read: all that the rest needs.
struct Packet {
    /// The next hop that its destination and flow resolve to.
    hop: route::Hop,
    /// Length of the IP packet in bytes.
    length: u32,
    /// TTL or hop limit.
    ttl: u8,
    /// The source may not be forwarded for.
    martian_source: bool,
    /// IPv4, which has a checksum to keep right.
    is_v4: bool,
}

/// The program.
#[xdp(frags)]
pub fn peregrine(ctx: XdpContext) -> u32 {
    let bytes = frame::length(&ctx);
    let mut port = None;
    match forward(&ctx, &mut port, bytes) {
        Ok(egress) => {
            count::forwarded(port, egress, bytes);
            XDP_REDIRECT
        }
        Err(verdict) => {
            let verdict = if is_host(port) && matches!(verdict.action(), Action::Pass) {
                Verdict::HostLoop
            } else {
                verdict
            };
            let pass = matches!(verdict.action(), Action::Pass);
            count::not_forwarded(port, verdict, pass, bytes);
            if pass { XDP_PASS } else { XDP_DROP }
        }
    }
}

/// The whole way of a packet. `Err` says why it is not sent on by us; `port` is set as soon as
/// the port is known.
#[inline(always)]
fn forward(
    ctx: &XdpContext,
    port: &mut Option<&'static Port>,
    bytes: u64,
) -> Result<&'static Adjacency, Verdict> {
    let link = frame::parse(ctx)?;
    let ingress = frame::port(ctx, &link)?;
    *port = Some(ingress);
    let host = ingress.flags & port_flags::HOST != 0;

    let packet = read_ip(ctx, &link, ingress, host, bytes)?;
    if packet.martian_source {
        return Err(Verdict::MartianSource);
    }
    if packet.hop.glean {
        return Err(Verdict::Glean);
    }
    // The router's own packets may have a TTL of 1, and the kernel has lowered it on others.
    if !host && packet.ttl <= 1 {
        return Err(Verdict::TtlExpired);
    }
    let mtu = packet.hop.word.mtu;
    if mtu != 0 && packet.length > u32::from(mtu) {
        return Err(Verdict::TooBig);
    }
    let adjacency = route::adjacency(packet.hop.word)?;
    rewrite::apply(ctx, &link, &packet, adjacency, host)?;
    route::redirect(adjacency)?;
    count::next_hop(packet.hop.id, bytes);
    Ok(adjacency)
}

#[inline(always)]
fn read_ip(ctx: &XdpContext, link: &Link, port: &Port, host: bool, bytes: u64) -> Result<Packet, Verdict> {
    match link.ether_type {
        frame::IPV4 => {
            frame::check_destination(link, port, host)?;
            ipv4::read(ctx, link.length, host, bytes)
        }
        frame::IPV6 => {
            frame::check_destination(link, port, host)?;
            ipv6::read(ctx, link.length, host, bytes)
        }
        _ => Err(Verdict::NotIp),
    }
}

#[inline(always)]
fn is_host(port: Option<&'static Port>) -> bool {
    match port {
        Some(port) => port.flags & port_flags::HOST != 0,
        None => false,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
