//! Packets built byte by byte, right by default and wrong on request.
//!
//! A [`Frame`] is Ethernet with any tags around an [`Ipv4`] or [`Ipv6`] packet around a
//! [`Transport`]. Lengths and checksums are computed unless a field overrides them, so that a test can
//! say `Ipv4 { checksum: Some(0), ..packet }` and mean it. For generators and benchmarks as well as
//! for fixtures; the byte-exact expectations of the fixtures come from another builder (scapy).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Ethernet types.
pub mod ether_type {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// The IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// `ICMPv6`.
    pub const ICMPV6: u8 = 58;
}

/// An Ethernet frame, without FCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination MAC.
    pub destination: [u8; 6],
    /// Source MAC.
    pub source: [u8; 6],
    /// VLAN tags, outermost first: type and tag control information.
    pub tags: Vec<(u16, u16)>,
    /// What the frame carries.
    pub payload: Payload,
    /// Bytes after the payload.
    pub padding: Vec<u8>,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// An IPv4 packet.
    Ipv4(Ipv4),
    /// An IPv6 packet.
    Ipv6(Ipv6),
    /// Anything else: its Ethernet type and its bytes.
    Other(u16, Vec<u8>),
}

/// An IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub service: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset, as on the wire.
    pub fragment: u16,
    /// Options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// Total length, if not the right one.
    pub total_length: Option<u16>,
    /// Header checksum, if not the right one.
    pub checksum: Option<u16>,
    /// What it carries.
    pub transport: Transport,
}

/// An IPv6 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class and flow label, the lower 28 bits.
    pub class_flow: u32,
    /// Extension headers: each its type, and its bytes without the "next header" that it starts with.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Payload length, if not the right one.
    pub payload_length: Option<u16>,
    /// What it carries.
    pub transport: Transport,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP: source port, destination port, data.
    Udp(u16, u16, Vec<u8>),
    /// TCP, a segment with ACK set: source port, destination port, sequence number, data.
    Tcp(u16, u16, u32, Vec<u8>),
    /// An ICMP or `ICMPv6` echo request: identifier, sequence number, data.
    Echo(u16, u16, Vec<u8>),
    /// Any protocol and its bytes.
    Raw(u8, Vec<u8>),
}

impl Ipv4 {
    /// A packet with TTL 64 and no options.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, transport: Transport) -> Self {
        Self {
            source,
            destination,
            ttl: 64,
            service: 0,
            id: 0,
            fragment: 0,
            options: Vec::new(),
            total_length: None,
            checksum: None,
            transport,
        }
    }

    /// The packet's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut pseudo = Vec::with_capacity(8);
        pseudo.extend(self.source.octets());
        pseudo.extend(self.destination.octets());
        let body = self.transport.bytes(&pseudo, false);
        let header_length = 20 + self.options.len();
        let length = self.total_length.unwrap_or((header_length + body.len()) as u16);

        let mut out = vec![0x40 | (header_length / 4) as u8, self.service];
        out.extend(length.to_be_bytes());
        out.extend(self.id.to_be_bytes());
        out.extend(self.fragment.to_be_bytes());
        out.extend([self.ttl, self.transport.protocol(false), 0, 0]);
        out.extend(pseudo);
        out.extend(&self.options);
        let checksum = self.checksum.unwrap_or_else(|| checksum(&out));
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        out.extend(body);
        out
    }
}

impl Ipv6 {
    /// A packet with hop limit 64 and no extension headers.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr, transport: Transport) -> Self {
        Self {
            source,
            destination,
            hop_limit: 64,
            class_flow: 0,
            extensions: Vec::new(),
            payload_length: None,
            transport,
        }
    }

    /// The packet's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut pseudo = Vec::with_capacity(32);
        pseudo.extend(self.source.octets());
        pseudo.extend(self.destination.octets());
        let mut next = self.transport.protocol(true);
        let mut body = self.transport.bytes(&pseudo, true);
        for (kind, bytes) in self.extensions.iter().rev() {
            body = [&[next][..], bytes, &body].concat();
            next = *kind;
        }
        let length = self.payload_length.unwrap_or(body.len() as u16);

        let mut out = Vec::with_capacity(40 + body.len());
        out.extend((6 << 28 | self.class_flow).to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend([next, self.hop_limit]);
        out.extend(pseudo);
        out.extend(body);
        out
    }
}

impl Transport {
    fn protocol(&self, v6: bool) -> u8 {
        match self {
            Self::Udp(..) => protocol::UDP,
            Self::Tcp(..) => protocol::TCP,
            Self::Echo(..) if v6 => protocol::ICMPV6,
            Self::Echo(..) => protocol::ICMP,
            Self::Raw(protocol, _) => *protocol,
        }
    }

    /// The bytes, with the checksum over them and `addresses`, the start of the pseudo-header.
    fn bytes(&self, addresses: &[u8], v6: bool) -> Vec<u8> {
        let (mut out, at) = match self {
            Self::Udp(source, destination, data) => {
                let length = (8 + data.len()) as u16;
                let head = [*source, *destination, length, 0].map(u16::to_be_bytes).concat();
                ([head, data.clone()].concat(), 6)
            }
            Self::Tcp(source, destination, sequence, data) => {
                let mut head = [*source, *destination].map(u16::to_be_bytes).concat();
                head.extend(sequence.to_be_bytes());
                // Acknowledgement 0; 5 words of header, ACK; window; checksum; urgent pointer.
                head.extend([0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
                ([head, data.clone()].concat(), 16)
            }
            Self::Echo(id, sequence, data) => {
                let head = [u16::from_be_bytes([if v6 { 128 } else { 8 }, 0]), 0, *id, *sequence];
                ([head.map(u16::to_be_bytes).concat(), data.clone()].concat(), 2)
            }
            Self::Raw(_, bytes) => return bytes.clone(),
        };
        let covered = if matches!(self, Self::Echo(..)) && !v6 {
            out.clone()
        } else {
            let length = (out.len() as u32).to_be_bytes();
            [addresses, &length, &[0, 0, 0, self.protocol(v6)], &out].concat()
        };
        let sum = match (self, checksum(&covered)) {
            // Zero means "no checksum" in UDP; its other form is sent instead (RFC 768).
            (Self::Udp(..), 0) => 0xffff,
            (_, sum) => sum,
        };
        out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        out
    }
}

impl Frame {
    /// A frame without tags and padding.
    pub fn new(destination: [u8; 6], source: [u8; 6], payload: impl Into<Payload>) -> Self {
        Self { destination, source, tags: Vec::new(), payload: payload.into(), padding: Vec::new() }
    }

    /// Adds an 802.1Q tag inside those that are there.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.tags.push((ether_type::VLAN, id));
        self
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, payload) = match &self.payload {
            Payload::Ipv4(packet) => (ether_type::IPV4, packet.bytes()),
            Payload::Ipv6(packet) => (ether_type::IPV6, packet.bytes()),
            Payload::Other(kind, bytes) => (*kind, bytes.clone()),
        };
        let mut out = Vec::with_capacity(22 + payload.len() + self.padding.len());
        out.extend(self.destination);
        out.extend(self.source);
        for (kind, control) in &self.tags {
            out.extend(kind.to_be_bytes());
            out.extend(control.to_be_bytes());
        }
        out.extend(kind.to_be_bytes());
        out.extend(payload);
        out.extend(&self.padding);
        out
    }
}

impl From<Ipv4> for Payload {
    fn from(packet: Ipv4) -> Self {
        Self::Ipv4(packet)
    }
}

impl From<Ipv6> for Payload {
    fn from(packet: Ipv6) -> Self {
        Self::Ipv6(packet)
    }
}

/// The Internet checksum (RFC 1071); over data with a right checksum in it, zero.
pub fn checksum(data: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for word in data.chunks(2) {
        sum += u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        // The example of RFC 1071 section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let packet = Ipv4::new(
            Ipv4Addr::new(192, 0, 2, 1),
            Ipv4Addr::new(10, 1, 0, 7),
            Transport::Udp(1, 2, b"odd".to_vec()),
        );
        assert_eq!(checksum(&packet.bytes()[..20]), 0);
    }

    #[test]
    fn a_frame_is_the_one_that_scapy_builds() {
        // Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:0a") / Dot1Q(vlan=10)
        //   / IP(src="192.0.2.1", dst="10.1.0.7", id=1) / UDP(sport=1000, dport=2000) / b"peregrine"
        let mut packet = Ipv4::new(
            Ipv4Addr::new(192, 0, 2, 1),
            Ipv4Addr::new(10, 1, 0, 7),
            Transport::Udp(1000, 2000, b"peregrine".to_vec()),
        );
        packet.id = 1;
        let frame = Frame::new([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0xa], packet).vlan(10);
        let expected = "02000000000102000000000a8100000a0800\
                        45000025000100004011aebec00002010a01000703e807d000110f5f706572656772696e65";
        let expected: Vec<u8> = (0..expected.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&expected[at..at + 2], 16).expect("hex"))
            .collect();
        assert_eq!(frame.bytes(), expected);
    }
}
