//! The sending socket of a session: its own source port (RFC 5881 section 4), TTL 255 (RFC 5881 section 5), and on a
//! link bound to its interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

use bgp::link::link_of;
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use super::Spec;
use crate::session::{TOS_NETWORK_CONTROL, destination, subnets_of_machine};

/// Where source ports are from (RFC 5881 section 4).
const SOURCE_PORTS: RangeInclusive<u16> = 49152..=65535;
/// Ports that are tried.
const ATTEMPTS: usize = 64;
/// `TC_PRIO_CONTROL` of `linux/pkt_sched.h`.
const PRIORITY_CONTROL: u32 = 7;

/// How a session sends.
#[derive(Debug)]
pub(super) struct Sender {
    socket: Socket,
    to: SocketAddr,
    /// Our address.
    pub(super) local: IpAddr,
    /// Our port.
    pub(super) port: u16,
    /// The interface of a session on a link: name and index.
    pub(super) interface: Option<(String, u32)>,
}

impl Sender {
    /// Opens the socket. No other session has one of the ports that are `taken`.
    pub(super) fn open(
        spec: &Spec,
        taken: impl Fn(u16) -> bool,
        random: impl Fn() -> u64,
    ) -> io::Result<Self> {
        let to = destination(spec.neighbor, spec.port())?;
        let interface = if spec.multihop { None } else { interface(spec.neighbor) };
        let local = match spec.local {
            Some(local) => local,
            None => chosen_by_kernel(to)?,
        };
        let domain = Domain::for_address(to);
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        if to.is_ipv4() {
            socket.set_ttl_v4(u8::MAX.into())?;
            socket.set_tos_v4(TOS_NETWORK_CONTROL)?;
        } else {
            socket.set_only_v6(true)?;
            socket.set_unicast_hops_v6(u8::MAX.into())?;
            socket.set_tclass_v6(TOS_NETWORK_CONTROL)?;
        }
        socket.set_priority(PRIORITY_CONTROL)?;
        // What arrives at the source port is nothing of ours.
        socket.set_recv_buffer_size(0)?;
        if let Some((name, _)) = &interface {
            socket.bind_device(Some(name.as_bytes()))?;
        }
        let port = bind(&socket, local, to, taken, random)?;
        Ok(Self { socket, to, local, port, interface })
    }

    /// Sends one packet.
    pub(super) fn send(&self, octets: &[u8]) -> io::Result<()> {
        self.socket.send_to(octets, &self.to.into()).map(drop)
    }
}

/// Binds to a port that is free; the one it is.
fn bind(
    socket: &Socket,
    local: IpAddr,
    to: SocketAddr,
    taken: impl Fn(u16) -> bool,
    random: impl Fn() -> u64,
) -> io::Result<u16> {
    let ports = u64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let port = SOURCE_PORTS.start() + (random() % ports) as u16;
        if taken(port) {
            continue;
        }
        let address = match (local, to) {
            (IpAddr::V6(local), SocketAddr::V6(to)) if local.is_unicast_link_local() => {
                SocketAddrV6::new(local, port, 0, to.scope_id()).into()
            }
            (local, _) => SocketAddr::new(local, port),
        };
        match socket.bind(&address.into()) {
            Ok(()) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The source address of packets to a destination.
fn chosen_by_kernel(to: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}

/// The interface that a neighbour is on: that of its link, else the one with the longest subnet that it is in.
pub(super) fn interface(neighbor: IpAddr) -> Option<(String, u32)> {
    let name = if let Some(link) = link_of(neighbor) {
        link.name()?
    } else {
        let has = |(_, subnet): &(String, IpNet)| {
            subnet.prefix_len() < subnet.max_prefix_len() && subnet.contains(&neighbor)
        };
        let subnets = subnets_of_machine().into_iter().filter(has);
        subnets.max_by_key(|(_, subnet)| subnet.prefix_len())?.0
    };
    let index = if_nametoindex(name.as_str()).ok()?;
    Some((name, index))
}
