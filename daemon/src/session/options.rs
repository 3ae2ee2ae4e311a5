//! Options of sockets that socket2 and nix have no call for: TCP MD5 signatures (RFC 2385), and the least
//! TTL or hop limit that is let in (RFC 5082).
//!
//! Of nix, only the frame around setsockopt(2) is used: the values are the kernel's structures.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use conf::Password;
use ipnet::IpNet;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;

/// `AF_INET` and `AF_INET6` as a socket address has them.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `TCP_MD5SIG_FLAG_PREFIX`: the key is for all addresses of a prefix.
const FLAG_PREFIX: u8 = 1;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    /// `struct sockaddr_storage`.
    address: [u8; 128],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    ifindex: libc::c_int,
    key: [u8; Password::MOST_OCTETS],
}

#[derive(Clone)]
struct TcpMd5SigExt;
nix::setsockopt_impl!(
    TcpMd5SigExt,
    libc::IPPROTO_TCP,
    libc::TCP_MD5SIG_EXT,
    Md5Signature,
    SetStruct<'_, Md5Signature>
);

#[derive(Clone)]
struct IpMinTtl;
nix::setsockopt_impl!(IpMinTtl, libc::IPPROTO_IP, libc::IP_MINTTL, libc::c_int, SetStruct<'_, libc::c_int>);

#[derive(Clone)]
struct Ipv6MinHopCount;
nix::setsockopt_impl!(
    Ipv6MinHopCount,
    libc::IPPROTO_IPV6,
    libc::IPV6_MINHOPCOUNT,
    libc::c_int,
    SetStruct<'_, libc::c_int>
);

/// Signs what goes to addresses of a prefix, and drops what comes from them unsigned; `None`: no more. The
/// prefix must be of the socket's own family. On a listening socket it is for connections to come, and the
/// longest prefix counts; on any other the key is replaced in the middle of the stream.
pub(super) fn set_password(socket: &impl AsFd, of: IpNet, password: Option<&Password>) -> io::Result<()> {
    let mut signature = Md5Signature {
        address: socket_address(of.network()),
        flags: FLAG_PREFIX,
        prefix_length: of.prefix_len(),
        key_length: 0,
        ifindex: 0,
        key: [0; Password::MOST_OCTETS],
    };
    if let Some(password) = password {
        let bytes = password.as_bytes();
        // Not longer: `Password` sees to that.
        signature.key[..bytes.len()].copy_from_slice(bytes);
        signature.key_length = bytes.len() as u16;
    }
    Ok(setsockopt(socket, TcpMd5SigExt, &signature)?)
}

/// Drops what arrives with a smaller TTL, or hop limit; 0: nothing. `remote` is of the socket's family.
pub(super) fn set_minimum_ttl(socket: &impl AsFd, remote: IpAddr, least: u8) -> io::Result<()> {
    let least = libc::c_int::from(least);
    match remote {
        IpAddr::V4(_) => setsockopt(socket, IpMinTtl, &least)?,
        IpAddr::V6(_) => setsockopt(socket, Ipv6MinHopCount, &least)?,
    }
    Ok(())
}

/// `struct sockaddr_in` or `sockaddr_in6` with port 0.
fn socket_address(ip: IpAddr) -> [u8; 128] {
    let mut bytes = [0; 128];
    let (family, at, octets): (u16, _, _) = match ip {
        IpAddr::V4(v4) => (AF_INET, 4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, 8, v6.octets().to_vec()),
    };
    bytes[..2].copy_from_slice(&family.to_ne_bytes());
    bytes[at..at + octets.len()].copy_from_slice(&octets);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};
    use std::time::Duration;

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn password(text: &str) -> Password {
        let config = format!(
            "[router]\nasn = 1\nrouter-id = \"10.0.0.1\"\n[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 1\n\
             password = \"{text}\"\n"
        );
        conf::parse("p.toml", &config, []).unwrap().neighbors[0].password.clone().unwrap()
    }

    #[test]
    fn segments_are_signed_by_the_longest_prefix_and_the_key_may_change_in_the_stream() {
        let localhost = IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let around: IpNet = "127.0.0.0/8".parse().unwrap();
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        set_password(&listener, around, Some(&password("range"))).unwrap();
        set_password(&listener, localhost, Some(&password("one"))).unwrap();
        let address = listener.local_addr().unwrap().into();
        let connect = |key: &str| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            set_password(&socket, localhost, Some(&password(key))).unwrap();
            socket.connect_timeout(&address, Duration::from_millis(500)).map(|()| socket)
        };
        assert!(connect("range").is_err(), "the key of the range is not that of the host");
        let mut ours = connect("one").unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for key in ["two", "three"] {
            let key = password(key);
            set_password(&ours, localhost, Some(&key)).unwrap();
            set_password(&theirs, localhost, Some(&key)).unwrap();
            ours.write_all(b"x").unwrap();
            theirs.read_exact(&mut [0]).unwrap();
        }
        // Unsigned now, and so dropped.
        set_password(&ours, localhost, None).unwrap();
        ours.write_all(b"x").unwrap();
        theirs.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(theirs.read_exact(&mut [0]).is_err());
    }

    #[test]
    fn what_came_too_far_is_dropped() {
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        set_minimum_ttl(&listener, localhost, 255).unwrap();
        let address = listener.local_addr().unwrap().into();
        let connect = |ttl: u32| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_ttl_v4(ttl).unwrap();
            socket.connect_timeout(&address, Duration::from_millis(500))
        };
        assert!(connect(254).is_err());
        assert!(connect(255).is_ok());
    }
}
