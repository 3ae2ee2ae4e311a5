//! From how far a connection came: the TTL, or hop limit, of the segment that opened it (RFC 5082).
//!
//! The kernel keeps the headers of that segment for the listening sockets that ask for it, and gives them away
//! once. They are there before anything was said on the connection, so that who is too far away is told nothing.
#![expect(
    unsafe_code,
    reason = "getsockopt(2) writes as many octets as there are; nix has no safe call for that"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;
use thiserror::Error;
use tokio::net::TcpStream;

/// More than the headers of a segment that opens a connection ever are, but for IPv6 with many extensions.
const MOST_OCTETS: usize = 1024;

#[derive(Clone)]
struct TcpSaveSyn;
nix::setsockopt_impl!(
    TcpSaveSyn,
    libc::IPPROTO_TCP,
    libc::TCP_SAVE_SYN,
    libc::c_int,
    SetStruct<'_, libc::c_int>
);

/// Why a connection is not taken.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum TooFar {
    /// It comes from further away than it may.
    #[error("its SYN arrived with a TTL of {ttl}, and ttl-security wants {least} or more")]
    Ttl { ttl: u8, least: u8 },
    /// The kernel has not kept how it began, as with SYN cookies.
    #[error("ttl-security wants a TTL of {least} or more, and the kernel does not know that of its SYN")]
    Unknown { least: u8 },
}

/// Has the kernel keep how connections begin. For listening sockets.
pub(super) fn keep_syns(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, TcpSaveSyn, &1)?)
}

/// A connection that was accepted.
pub(crate) struct Incoming<S = TcpStream> {
    pub(super) stream: S,
    /// The TTL with which the segment arrived that opened it, as far as it is known.
    ttl: Option<u8>,
}

impl<S: AsFd> Incoming<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { ttl: saved_syn(&stream).ok().as_deref().and_then(ttl), stream }
    }

    /// Whether it comes from no further away than this least TTL lets it; 0: any.
    pub(super) fn check_distance(&self, least: u8) -> Result<(), TooFar> {
        match self.ttl {
            _ if least == 0 => Ok(()),
            Some(ttl) if ttl >= least => Ok(()),
            Some(ttl) => Err(TooFar::Ttl { ttl, least }),
            None => Err(TooFar::Unknown { least }),
        }
    }
}

/// The IP and TCP headers that opened an accepted connection; empty if they were not kept.
fn saved_syn(socket: &impl AsFd) -> io::Result<Vec<u8>> {
    let mut octets = vec![0_u8; MOST_OCTETS];
    let mut length = MOST_OCTETS as libc::socklen_t;
    // SAFETY: `octets` has room for the `length` octets that the kernel writes at most, and both live until the
    // call returns.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            octets.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    octets.truncate(length as usize);
    Ok(octets)
}

/// The TTL (RFC 791) or hop limit (RFC 8200) in an IP header.
fn ttl(header: &[u8]) -> Option<u8> {
    match header.first()? >> 4 {
        4 => header.get(8).copied(),
        6 => header.get(7).copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn the_distance_shows_before_anything_was_said() {
        for (local, domain) in [
            (IpAddr::from(Ipv4Addr::LOCALHOST), Domain::IPV4),
            (IpAddr::from(Ipv6Addr::LOCALHOST), Domain::IPV6),
        ] {
            let listener = TcpListener::bind(SocketAddr::new(local, 0)).unwrap();
            let accept = |ttl: u32| {
                let socket = Socket::new(domain, Type::STREAM, None).unwrap();
                if local.is_ipv4() {
                    socket.set_ttl_v4(ttl).unwrap();
                } else {
                    socket.set_unicast_hops_v6(ttl).unwrap();
                }
                socket.connect(&listener.local_addr().unwrap().into()).unwrap();
                Incoming::new(listener.accept().unwrap().0)
            };
            assert_eq!(accept(255).check_distance(0), Ok(()));
            assert_eq!(accept(255).check_distance(255), Err(TooFar::Unknown { least: 255 }), "not kept");
            keep_syns(&listener).unwrap();
            assert_eq!(accept(255).check_distance(255), Ok(()));
            assert_eq!(accept(253).check_distance(253), Ok(()));
            assert_eq!(accept(252).check_distance(253), Err(TooFar::Ttl { ttl: 252, least: 253 }));
            assert_eq!(accept(1).check_distance(0), Ok(()));
        }
    }

    #[test]
    fn what_is_no_ip_header_has_no_ttl() {
        assert_eq!(ttl(&[]), None);
        assert_eq!(ttl(&[0x45; 8]), None);
        assert_eq!(ttl(&[0x60; 7]), None);
        assert_eq!(ttl(&[0x20; 40]), None);
    }
}
