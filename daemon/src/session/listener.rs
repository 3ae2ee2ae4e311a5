//! Listening: the sockets, what the kernel checks on them, and whose task each connection goes to.
//!
//! The kernel checks signatures (RFC 2385) from the first segment on, by keys that the listening sockets hold
//! for each neighbour and each range of them, the longest prefix counts. The least TTL (RFC 5082) is one for all
//! that a socket listens to: the one that even the laxest neighbour of its family meets. The neighbour's own is
//! asked of the SYN once its connection is accepted ([`super::syn`]), before a word is said, and of all segments
//! from then on.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bgp::link::bare;
use bgp::wire::Notification;
use bgp::wire::notification::codes;
use conf::Password;
use ipnet::{IpNet, Ipv6Net};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;

use super::Peers;
use super::dynamic::{self, NotAdmitted};
use super::local::{marked, named};
use super::options::{set_minimum_ttl, set_password};
use super::seldom::Seldom;
use super::socket::{TOS_NETWORK_CONTROL, minimum_ttl, reset};
use super::syn::{Incoming, keep_syns};

/// Pause after an error of `accept` itself, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(200);
/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 256;
/// Of answers to those who connect: a neighbour with `ttl-security` takes no less.
const TTL: u8 = u8::MAX;

/// Addresses of a link (RFC 4291 section 2.4).
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10));

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

/// Why the kernel does not check what it should.
#[derive(Debug, Error)]
#[error("cannot protect connections from {from} to {address}: {source}{}", hint(source))]
pub(crate) struct ProtectError {
    /// Whose connections.
    pub from: IpNet,
    /// Where they arrive.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::OutOfMemory {
        "; the sysctl net.core.optmem_max limits the passwords of one socket"
    } else {
        ""
    }
}

/// The listening sockets.
pub(crate) struct Listeners {
    sockets: Vec<(SocketAddr, Arc<TcpListener>)>,
    /// The keys that the sockets hold.
    keys: Mutex<BTreeMap<IpNet, Password>>,
}

impl Listeners {
    /// Listens on all addresses, or on none of them.
    pub(crate) fn open(addresses: &[SocketAddr]) -> Result<Self, ListenError> {
        let open = |&address: &SocketAddr| {
            let socket = listen(address).map_err(|source| ListenError { address, source })?;
            Ok((address, Arc::new(socket)))
        };
        Ok(Self { sockets: addresses.iter().map(open).collect::<Result<_, _>>()?, keys: Mutex::default() })
    }

    /// Has the kernel check what these neighbours want checked, and nothing else. On failure the rest is in
    /// force all the same.
    pub(crate) fn protect(&self, config: &conf::Config) -> Result<(), ProtectError> {
        let wanted: BTreeMap<IpNet, Password> = expected(config)
            .filter_map(|(from, neighbor)| Some((from, neighbor.password.clone()?)))
            .collect();
        let mut held = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Ok(());
        let gone: Vec<IpNet> = held.keys().filter(|of| !wanted.contains_key(of)).copied().collect();
        for of in gone {
            held.remove(&of);
            outcome = outcome.and(self.set_password(of, None));
        }
        for (of, password) in wanted {
            if held.get(&of) != Some(&password) {
                match self.set_password(of, Some(&password)) {
                    Ok(()) => drop(held.insert(of, password)),
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        drop(held);
        outcome.and(self.set_minimum_ttl(config))
    }

    fn set_password(&self, of: IpNet, password: Option<&Password>) -> Result<(), ProtectError> {
        for (address, socket) in self.of_family(of.addr()) {
            set_password(&**socket, of, password).map_err(|source| ProtectError {
                from: of,
                address: *address,
                source,
            })?;
        }
        Ok(())
    }

    fn set_minimum_ttl(&self, config: &conf::Config) -> Result<(), ProtectError> {
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let of_family = expected(config).filter(|(from, _)| from.addr().is_ipv4() == any.is_ipv4());
            let least = of_family.map(|(_, neighbor)| minimum_ttl(neighbor)).min().unwrap_or(0);
            for (address, socket) in self.of_family(any) {
                set_minimum_ttl(&**socket, any, least).map_err(|source| ProtectError {
                    from: IpNet::new_assert(any, 0),
                    address: *address,
                    source,
                })?;
            }
        }
        Ok(())
    }

    fn of_family(&self, ip: IpAddr) -> impl Iterator<Item = &(SocketAddr, Arc<TcpListener>)> {
        self.sockets.iter().filter(move |(address, _)| address.is_ipv4() == ip.is_ipv4())
    }

    /// Accepts connections until the process ends, in the background.
    pub(crate) fn accept(&self, peers: &Arc<Peers>) {
        for (_, socket) in &self.sockets {
            tokio::spawn(accept(Arc::clone(socket), Arc::clone(peers)));
        }
    }

    /// Where the first socket listens.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.sockets[0].1.local_addr().unwrap()
    }
}

/// Who may connect, from where.
fn expected(config: &conf::Config) -> impl Iterator<Item = (IpNet, &conf::Neighbor)> {
    let neighbors = config.neighbors.iter().map(|neighbor| match neighbor.unnumbered() {
        // It may have any address of its link.
        Some(_) => (LINK_LOCAL, neighbor),
        None => (IpNet::from(bare(neighbor.address)), neighbor),
    });
    neighbors.chain(config.ranges.iter().map(|range| (range.prefix, &range.template)))
}

/// Opens a listening socket. An IPv6 wildcard listens for IPv6 only; IPv4 has its own.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_unicast_hops_v6(TTL.into())?;
        socket.set_tclass_v6(TOS_NETWORK_CONTROL)?;
    } else {
        socket.set_ttl_v4(TTL.into())?;
        socket.set_tos_v4(TOS_NETWORK_CONTROL)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    keep_syns(&socket)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until the process ends.
async fn accept(listener: Arc<TcpListener>, peers: Arc<Peers>) {
    let (mut strangers, mut failures) = (Seldom::default(), Seldom::default());
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                hand_over(Incoming::new(stream), remote, &peers, &mut strangers).await;
            }
            Err(error) => {
                if let Some(unsaid) = failures.say() {
                    tracing::warn!(%error, unsaid = (unsaid > 0).then_some(unsaid), "cannot accept a BGP connection");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn hand_over(incoming: Incoming, remote: SocketAddr, peers: &Arc<Peers>, strangers: &mut Seldom) {
    let address = peers.on_link(marked(remote));
    if peers.id(address).is_none() {
        match peers.place(address, &incoming) {
            Ok(place) => drop(tokio::spawn(dynamic::admit(incoming, place))),
            Err(reason) => {
                if let Some(unsaid) = strangers.say() {
                    tracing::info!(remote = %named(remote), %reason, unsaid = (unsaid > 0).then_some(unsaid), "connection refused");
                }
                let mut stream = incoming.stream;
                if matches!(reason, NotAdmitted::TooFar(..)) {
                    return reset(stream);
                }
                // RFC 4486: Connection Rejected.
                let refusal = Notification::cease(codes::cease::CONNECTION_REJECTED);
                tokio::spawn(async move { dynamic::refuse(&mut stream, &refusal).await });
            }
        }
    } else if let Err(error) = peers.incoming(address, incoming).await {
        tracing::debug!(remote = %named(remote), %error, "connection while the daemon stops");
    }
}
