//! The TCP sockets of BGP: listening, connecting, and the options that a session wants.
//!
//! A neighbour is directly connected unless told otherwise, so external sessions leave with a TTL of 1
//! (as BIRD and FRR do), internal ones with 64. Packets carry DSCP CS6, network control. Nagle's
//! algorithm is off: keepalives are small and must not wait.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// IP precedence "internetwork control": CS6 in the upper six bits.
const TOS_NETWORK_CONTROL: u32 = 0xc0;
/// A connection attempt that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const BACKLOG: i32 = 256;

/// Why we cannot listen.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for BGP: {source}; {}", advice(source))]
pub(crate) struct ListenError {
    /// The address of `[router] listen`.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "stop the other BGP daemon, or give `listen` in [router] another address or port"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "`listen` in [router] must name an address of this machine",
        _ => "check `listen` in [router]",
    }
}

/// Opens a listening socket. An IPv6 wildcard listens for IPv6 only; IPv4 has its own.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| ListenError { address, source })
}

/// What both ends of a session's connections are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    /// Time to live of packets to the neighbour.
    pub(crate) ttl: u32,
}

impl SocketOptions {
    /// Sets the options on a connection, ours or the neighbour's.
    pub(crate) fn apply(self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        self.apply_to(&SockRef::from(stream), stream.peer_addr()?.ip())
    }

    fn apply_to(self, socket: &SockRef<'_>, remote: IpAddr) -> io::Result<()> {
        match remote {
            IpAddr::V4(_) => {
                socket.set_ttl_v4(self.ttl)?;
                socket.set_tos_v4(TOS_NETWORK_CONTROL)
            }
            IpAddr::V6(_) => {
                socket.set_unicast_hops_v6(self.ttl)?;
                socket.set_tclass_v6(TOS_NETWORK_CONTROL)
            }
        }
    }
}

/// Connects to a neighbour, from `local` if one is configured.
pub(crate) async fn connect(
    remote: SocketAddr,
    local: Option<IpAddr>,
    options: SocketOptions,
) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    options.apply_to(&SockRef::from(&socket), remote.ip())?;
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(remote))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"))??;
    options.apply(&stream)?;
    Ok(stream)
}
