//! A raw ICMP socket for IPv6 on one interface, for the messages of [`super::packet`].

use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::sys::socket::sockopt::SetStruct;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::packet::{self, ADVERTISEMENT, Message, SOLICITATION};

/// All nodes, and all routers, of a link (RFC 4291 section 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const HOP_LIMIT: u32 = 255;
/// More than these messages have; of a longer one only the beginning is looked at, which is then malformed.
const MOST_OCTETS: usize = 1500;

/// `ICMPV6_FILTER` of linux/icmpv6.h, and its value: a bit for each type that is not let in.
const ICMPV6_FILTER: libc::c_int = 1;
type Filter = [u32; 8];

#[derive(Clone)]
struct Icmpv6Filter;
nix::setsockopt_impl!(Icmpv6Filter, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, Filter, SetStruct<'_, Filter>);

pub(super) struct LinkSocket {
    /// Tokio's name for a socket of datagrams; it asks no further.
    socket: UdpSocket,
    ifindex: u32,
}

impl LinkSocket {
    pub(super) fn open(interface: &str, ifindex: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        let mut filter: Filter = [u32::MAX; 8];
        for kind in [SOLICITATION, ADVERTISEMENT] {
            filter[usize::from(kind / 32)] &= !(1 << (kind % 32));
        }
        setsockopt(&socket, Icmpv6Filter, &filter)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.join_multicast_v6(&ALL_ROUTERS, ifindex)?;
        socket.set_multicast_if_v6(ifindex)?;
        socket.set_multicast_hops_v6(HOP_LIMIT)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, ifindex })
    }

    /// Sends a message to all nodes or routers of the link.
    pub(super) async fn send(&self, message: &[u8], to: Ipv6Addr) -> io::Result<()> {
        let to = SocketAddrV6::new(to, 0, 0, self.ifindex);
        self.socket.send_to(message, SocketAddr::from(to)).await.map(drop)
    }

    /// The next valid message, and who sent it.
    pub(super) async fn receive(&self) -> io::Result<(Message, Ipv6Addr)> {
        loop {
            if let Some(message) = self.socket.async_io(Interest::READABLE, || read(&self.socket)).await? {
                return Ok(message);
            }
        }
    }
}

fn read(socket: &UdpSocket) -> io::Result<Option<(Message, Ipv6Addr)>> {
    let mut octets = [0; MOST_OCTETS];
    let mut buffers = [IoSliceMut::new(&mut octets)];
    let mut control = cmsg_space!(libc::c_int);
    let received =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let hop_limit = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => Some(limit),
        _ => None,
    });
    let (source, length) = (received.address, received.bytes);
    let Some(source) = source.map(|source| source.ip()) else { return Ok(None) };
    Ok(packet::read(&octets[..length], hop_limit, source).map(|message| (message, source)))
}
