//! The receiving sockets: UDP ports 3784 and 4784 of each family, with the TTL and the interface of each packet.
//!
//! A socket is opened when the first session needs it, so that without BFD another program may have the ports.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::{MULTIHOP_PORT, SINGLE_HOP_PORT};

/// Octets of a datagram that are read: a packet with the longest authentication, and then some.
const MOST_OCTETS: usize = 128;
/// Octets that wait in the kernel while the thread is kept from running.
const BUFFER: usize = 1 << 20;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) ipv6: bool,
    pub(super) multihop: bool,
}

impl Port {
    const ALL: [Self; 4] = [
        Self { ipv6: false, multihop: false },
        Self { ipv6: true, multihop: false },
        Self { ipv6: false, multihop: true },
        Self { ipv6: true, multihop: true },
    ];

    fn index(self) -> usize {
        usize::from(self.multihop) * 2 + usize::from(self.ipv6)
    }

    fn number(self) -> u16 {
        if self.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }
    }

    fn open(self) -> io::Result<Socket> {
        let domain = if self.ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        let any: IpAddr = if self.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        if self.ipv6 {
            socket.set_only_v6(true)?;
            setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, Ipv4RecvTtl, &true)?;
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
        }
        socket.set_recv_buffer_size(BUFFER)?;
        socket.bind(&SocketAddr::new(any, self.number()).into())?;
        Ok(socket)
    }
}

/// A port that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on UDP port {port} ({family}) for BFD: {source}; is there another BFD daemon?")]
pub(crate) struct ListenError {
    port: u16,
    family: &'static str,
    source: io::Error,
}

/// What came in, and how.
#[derive(Debug)]
pub(super) struct Datagram {
    octets: [u8; MOST_OCTETS],
    length: usize,
    /// Whether it came to the port of multihop sessions.
    pub(super) multihop: bool,
    /// Its source, without the link.
    pub(super) source: IpAddr,
    /// Absent if the kernel did not say.
    pub(super) ttl: Option<u8>,
    /// Index of the interface that it came in on; 0 if the kernel did not say.
    pub(super) ifindex: u32,
}

impl Datagram {
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// The sockets that are open.
#[derive(Default)]
pub(super) struct Receivers([Option<Socket>; 4]);

impl Receivers {
    /// Opens one, unless it is.
    pub(super) fn ensure(&mut self, port: Port) -> Result<(), ListenError> {
        let slot = &mut self.0[port.index()];
        if slot.is_none() {
            let family = if port.ipv6 { "IPv6" } else { "IPv4" };
            let failed = |source| ListenError { port: port.number(), family, source };
            *slot = Some(port.open().map_err(failed)?);
        }
        Ok(())
    }

    /// Those that are open.
    pub(super) fn open(&self) -> impl Iterator<Item = (Port, BorrowedFd<'_>)> {
        Port::ALL.into_iter().filter_map(|port| Some((port, self.0[port.index()].as_ref()?.as_fd())))
    }

    /// The next datagram that waits.
    pub(super) fn receive(&self, port: Port) -> io::Result<Option<Datagram>> {
        let Some(socket) = &self.0[port.index()] else { return Ok(None) };
        let mut octets = [0; MOST_OCTETS];
        let mut space = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int);
        let mut slices = [IoSliceMut::new(&mut octets)];
        let message = match recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::empty(),
        ) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (mut ttl, mut ifindex) = (None, 0);
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                    ttl = u8::try_from(value).ok();
                }
                ControlMessageOwned::Ipv4PacketInfo(info) => ifindex = info.ipi_ifindex.cast_unsigned(),
                ControlMessageOwned::Ipv6PacketInfo(info) => ifindex = info.ipi6_ifindex,
                _ => {}
            }
        }
        let source = message.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
        });
        let length = message.bytes.min(MOST_OCTETS);
        // A datagram of UDP has a source: what has none is none of ours.
        Ok(source.map(|source| Datagram { octets, length, multihop: port.multihop, source, ttl, ifindex }))
    }
}
