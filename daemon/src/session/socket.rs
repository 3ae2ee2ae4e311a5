//! The TCP sockets of BGP: connecting, and the options that a session wants on its connections.
//!
//! A neighbour is directly connected unless told otherwise, so external sessions leave with a TTL of 1
//! (as BIRD and FRR do), internal ones with 64, and with `multihop` as many as it says. With `ttl-security`
//! they leave with 255, and what has come further than it says is dropped by the kernel (RFC 5082), save
//! the SYN, which [`super::syn`] looks at. Packets
//! carry DSCP CS6, network control. Nagle's algorithm is off: keepalives are small and must not wait.
//!
//! There is no `TCP_USER_TIMEOUT`: hold timers in both directions (RFC 4271, RFC 9687) end what is dead. Without
//! a hold time there are none, and TCP's own keepalives find out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use conf::Password;
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use super::options::{set_minimum_ttl, set_password};

/// IP precedence "internetwork control": CS6 in the upper six bits.
pub(crate) const TOS_NETWORK_CONTROL: u32 = 0xc0;
/// A connection attempt that takes longer has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// External neighbours are directly connected: nobody further away may answer.
const EBGP_TTL: u8 = 1;
/// Within the AS the neighbour may be anywhere.
const IBGP_TTL: u8 = 64;
/// TCP's keepalives, where BGP has none: first after this time without traffic, then at the interval.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_PROBES: u32 = 6;

/// What the connections of a session are given, ours and the neighbour's.
#[derive(Clone, Debug)]
pub(crate) struct SocketOptions {
    /// Time to live of packets to the neighbour.
    pub(crate) ttl: u8,
    /// Least time to live of the neighbour's packets; 0: any.
    pub(crate) minimum_ttl: u8,
    /// Our address.
    local: Option<IpAddr>,
    password: Option<Password>,
}

impl SocketOptions {
    pub(crate) fn new(neighbor: &conf::Neighbor, external: bool) -> Self {
        let distance = neighbor.multihop.unwrap_or(if external { EBGP_TTL } else { IBGP_TTL });
        Self {
            ttl: neighbor.ttl_security.map_or(distance, |_| u8::MAX),
            minimum_ttl: minimum_ttl(neighbor),
            local: neighbor.local_address,
            password: neighbor.password.clone(),
        }
    }

    /// Whether a connection to this address of ours is one of the session's.
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        self.local.is_none_or(|local| local == address.to_canonical())
    }

    /// Sets the options on a connection, ours or the neighbour's.
    pub(crate) fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let remote = stream.peer_addr()?.ip();
        // An accepted connection has its key from the listening socket: this one is for a key that has
        // changed since.
        self.apply_to(&SockRef::from(stream), remote)
    }

    fn apply_to(&self, socket: &SockRef<'_>, remote: IpAddr) -> io::Result<()> {
        match remote {
            IpAddr::V4(_) => {
                socket.set_ttl_v4(self.ttl.into())?;
                socket.set_tos_v4(TOS_NETWORK_CONTROL)?;
            }
            IpAddr::V6(_) => {
                socket.set_unicast_hops_v6(self.ttl.into())?;
                socket.set_tclass_v6(TOS_NETWORK_CONTROL)?;
            }
        }
        // Both cost the kernel something from their first use on.
        if self.minimum_ttl > 0 {
            set_minimum_ttl(&**socket, remote, self.minimum_ttl)?;
        }
        if self.password.is_some() {
            set_password(&**socket, IpNet::from(remote), self.password.as_ref())?;
        }
        Ok(())
    }
}

/// Least time to live of the neighbour's packets: 255 when it is one hop away (RFC 5082 section 3).
pub(super) fn minimum_ttl(neighbor: &conf::Neighbor) -> u8 {
    neighbor.ttl_security.map_or(0, |hops| u8::MAX - hops.saturating_sub(1))
}

/// Changes the key of a connection in the middle of the stream.
pub(super) fn change_password(stream: &TcpStream, password: Option<&Password>) -> io::Result<()> {
    set_password(stream, IpNet::from(stream.peer_addr()?.ip()), password)
}

/// Ends a connection without a word.
pub(super) fn reset(stream: TcpStream) {
    // Without it the end is only less abrupt.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

/// Makes TCP ask whether the neighbour is still there, for sessions without a hold time.
pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Connects to a neighbour, from our configured address if there is one.
pub(crate) async fn connect(remote: SocketAddr, options: SocketOptions) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    options.apply_to(&SockRef::from(&socket), remote.ip())?;
    socket.set_nodelay(true)?;
    if let Some(local) = options.local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(remote))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to the connection attempt"))?
}
