//! Switching off offloads of an interface, by ethtool's netlink interface (Linux 5.6).
//!
//! XDP sends a frame on as it is. A kernel that counts on hardware to fill in a checksum or to cut up a
//! segment hands over an unfinished frame, and nobody would finish it.

use std::io;

use rtnetlink::packet_core::{NLA_HEADER_SIZE, NLA_TYPE_MASK, NlasIterator};
use rtnetlink::sys::{Socket, SocketAddr};

/// What a sender must not leave to others, by the names of `ethtool -k`.
pub const TRANSMIT: [&str; 14] = [
    "tx-checksum-ipv4",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv6",
    "tx-checksum-sctp",
    "tx-scatter-gather",
    "tx-scatter-gather-fraglist",
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-accecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-generic-segmentation",
    "tx-udp-segmentation",
    "tx-sctp-segmentation",
];

/// Gluing received segments together.
pub const RECEIVE_MERGING: [&str; 3] = ["rx-gro", "rx-gro-hw", "rx-lro"];

/// VLAN tags that the hardware strips are invisible to XDP.
pub const VLAN_STRIP: [&str; 1] = ["rx-vlan-hw-parse"];

/// Offloads could not be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot switch off offloads of interface {ifindex} (ethtool netlink): {source}")]
pub struct OffloadError {
    /// Interface index.
    ifindex: u32,
    /// The cause.
    #[source]
    source: io::Error,
}

const NETLINK_GENERIC: isize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_HEADER_DEV_INDEX: u16 = 1;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 1 << 1;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

/// Sizes of `struct nlmsghdr` and `struct genlmsghdr`.
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

/// Switches these features off. Those that the kernel or the device does not have are off already.
pub fn switch_off(ifindex: u32, features: &[&str]) -> Result<(), OffloadError> {
    try_switch_off(ifindex, features).map_err(|source| OffloadError { ifindex, source })
}

fn try_switch_off(ifindex: u32, features: &[&str]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0");
    let answer = transact(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    let family = find_u16(&answer, CTRL_ATTR_FAMILY_ID)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no id for the ethtool family"))?;

    let header = [
        attribute(ETHTOOL_A_HEADER_DEV_INDEX, &ifindex.to_ne_bytes()),
        attribute(ETHTOOL_A_HEADER_FLAGS, &ETHTOOL_FLAG_OMIT_REPLY.to_ne_bytes()),
    ]
    .concat();
    // One request for each: one with a name that the kernel does not know fails as a whole.
    for feature in features {
        let name = attribute(ETHTOOL_A_BITSET_BIT_NAME, &[feature.as_bytes(), b"\0"].concat());
        // A bit that is named without a value is to be cleared.
        let bits = nested(ETHTOOL_A_BITSET_BITS, &nested(ETHTOOL_A_BITSET_BITS_BIT, &name));
        let wanted = nested(ETHTOOL_A_FEATURES_WANTED, &bits);
        let body = [nested(ETHTOOL_A_FEATURES_HEADER, &header), wanted].concat();
        match transact(&socket, family, ETHTOOL_MSG_FEATURES_SET, &body) {
            Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Sends a request and waits for its acknowledgement; answers the body of a reply that came before it.
fn transact(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = NETLINK_HEADER + GENERIC_HEADER + attributes.len();
    let length = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence number, port
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    socket.send(&message, 0)?;

    let mut reply = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while let Some((kind, body, next)) = split_message(rest) {
            if kind == NLMSG_ERROR {
                let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                return if code == 0 { Ok(reply) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            reply = body.get(GENERIC_HEADER..).unwrap_or_default().to_vec();
            rest = next;
        }
    }
}

/// Type and body of the first message, and what follows it.
fn split_message(buffer: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*buffer.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*buffer.get(4..)?.first_chunk()?);
    let body = buffer.get(NETLINK_HEADER..length)?;
    Some((kind, body, buffer.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn find_u16(attributes: &[u8], wanted: u16) -> Option<u16> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|nla| nla.kind() & NLA_TYPE_MASK == wanted)
        .and_then(|nla| nla.value().first_chunk().map(|bytes| u16::from_ne_bytes(*bytes)))
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, value)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    // The longest value is the name of a feature.
    let length = (NLA_HEADER_SIZE + value.len()) as u16;
    let mut out = Vec::with_capacity(usize::from(length).next_multiple_of(4));
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
