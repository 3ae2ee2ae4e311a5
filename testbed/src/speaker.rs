//! The bytes of BGP, as much as a feeder needs: RFC 4271, 4760 and 6793, UPDATEs of one family
//! each, four-octet AS numbers always.
//!
//! Written apart from the `bgp` crate so that it can test it: what this encodes, the daemon must
//! read, and what the daemon sends, this reads back. Strict where a peer would be: anything that
//! does not fit is an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Length of the fixed header.
pub const HEADER: usize = 19;
/// Largest message (RFC 4271 section 4.1).
pub const MAX_MESSAGE: usize = 4096;

const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;
const KEEPALIVE: u8 = 4;

pub(crate) const ORIGIN: u8 = 1;
pub(crate) const AS_PATH: u8 = 2;
pub(crate) const NEXT_HOP: u8 = 3;
pub(crate) const MED: u8 = 4;
const LOCAL_PREF: u8 = 5;
pub(crate) const COMMUNITIES: u8 = 8;
pub(crate) const MP_REACH: u8 = 14;
pub(crate) const MP_UNREACH: u8 = 15;

/// The attributes that a feeder announces with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathAttributes {
    /// 0 IGP, 1 EGP, 2 incomplete.
    pub origin: u8,
    /// One `AS_SEQUENCE`.
    pub as_path: Vec<u32>,
    /// Of the family of the prefixes.
    pub next_hop: IpAddr,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// Only to peers of the own AS.
    pub local_pref: Option<u32>,
    /// Communities as 32-bit values.
    pub communities: Vec<u32>,
}

impl PathAttributes {
    /// Origin IGP, this path and next hop, nothing else.
    pub fn new(as_path: Vec<u32>, next_hop: IpAddr) -> Self {
        Self { origin: 0, as_path, next_hop, med: None, local_pref: None, communities: Vec::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        attribute(&mut out, 0x40, ORIGIN, &[self.origin]);
        let mut path = Vec::with_capacity(2 + 4 * self.as_path.len());
        for segment in self.as_path.chunks(255) {
            path.extend([2, segment.len() as u8]);
            path.extend(segment.iter().flat_map(|asn| asn.to_be_bytes()));
        }
        attribute(&mut out, 0x40, AS_PATH, &path);
        if let IpAddr::V4(next_hop) = self.next_hop {
            attribute(&mut out, 0x40, NEXT_HOP, &next_hop.octets());
        }
        if let Some(med) = self.med {
            attribute(&mut out, 0x80, MED, &med.to_be_bytes());
        }
        if let Some(local_pref) = self.local_pref {
            attribute(&mut out, 0x40, LOCAL_PREF, &local_pref.to_be_bytes());
        }
        if !self.communities.is_empty() {
            let value: Vec<u8> = self.communities.iter().flat_map(|c| c.to_be_bytes()).collect();
            attribute(&mut out, 0xc0, COMMUNITIES, &value);
        }
        out
    }
}

/// Appends one attribute, with an extended length when it needs one.
pub fn attribute(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    if let Ok(length) = u8::try_from(value.len()) {
        out.extend([flags, code, length]);
    } else {
        out.extend([flags | 0x10, code]);
        out.extend((value.len() as u16).to_be_bytes());
    }
    out.extend(value);
}

/// Appends a message of this type, whose body the closure appends.
pub fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0xff; 16]);
    out.extend([0, 0, kind]);
    body(out);
    let length = (out.len() - start) as u16;
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

/// An OPEN with both unicast families, route refresh and four-octet AS numbers.
pub fn open(asn: u32, hold_time: u16, router_id: Ipv4Addr) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, OPEN, |out| {
        out.push(4);
        // AS_TRANS stands in for what does not fit (RFC 6793 section 9).
        out.extend(u16::try_from(asn).unwrap_or(23456).to_be_bytes());
        out.extend(hold_time.to_be_bytes());
        out.extend(router_id.octets());
        let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 65, 4];
        capabilities.extend(asn.to_be_bytes());
        out.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
        out.extend(capabilities);
    });
    out
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, KEEPALIVE, |_| ());
    out
}

/// A NOTIFICATION without data.
pub fn notification(code: u8, subcode: u8) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, NOTIFICATION, |out| out.extend([code, subcode]));
    out
}

/// The End-of-RIB marker of a family (RFC 4724 section 2).
pub fn end_of_rib(ipv6: bool) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, UPDATE, |out| {
        if ipv6 {
            out.extend([0, 0, 0, 6, 0x80, MP_UNREACH, 3, 0, 2, 1]);
        } else {
            out.extend([0; 4]);
        }
    });
    out
}

fn nlri(out: &mut Vec<u8>, prefix: &IpNet) {
    out.push(prefix.prefix_len());
    let bytes = usize::from(prefix.prefix_len().div_ceil(8));
    match prefix {
        IpNet::V4(net) => out.extend(&net.network().octets()[..bytes]),
        IpNet::V6(net) => out.extend(&net.network().octets()[..bytes]),
    }
}

/// Appends UPDATEs that announce prefixes of one family, as many to a message as fit.
pub fn announce(out: &mut Vec<u8>, attributes: &PathAttributes, prefixes: &[IpNet]) {
    let encoded = attributes.encode();
    // 16 bytes cover one more prefix, 32 the heads of MP_REACH_NLRI and the UPDATE.
    let room = MAX_MESSAGE - HEADER - encoded.len() - 48;
    for_each_packet(prefixes, room, |packet| {
        message(out, UPDATE, |out| match attributes.next_hop {
            IpAddr::V4(_) => {
                out.extend([0, 0]);
                out.extend((encoded.len() as u16).to_be_bytes());
                out.extend(&encoded);
                out.extend(packet);
            }
            IpAddr::V6(next_hop) => {
                let mut reach = vec![0, 2, 1, 16];
                reach.extend(next_hop.octets());
                reach.push(0);
                reach.extend(packet);
                let mut block = Vec::with_capacity(encoded.len() + reach.len() + 4);
                attribute(&mut block, 0x80, MP_REACH, &reach);
                block.extend(&encoded);
                out.extend([0, 0]);
                out.extend((block.len() as u16).to_be_bytes());
                out.extend(block);
            }
        });
    });
}

/// Appends UPDATEs that withdraw prefixes of one family.
pub fn withdraw(out: &mut Vec<u8>, prefixes: &[IpNet]) {
    let Some(first) = prefixes.first() else { return };
    let ipv6 = matches!(first, IpNet::V6(_));
    for_each_packet(prefixes, MAX_MESSAGE - HEADER - 48, |packet| {
        message(out, UPDATE, |out| {
            if ipv6 {
                let mut unreach = vec![0, 2, 1];
                unreach.extend(packet);
                let mut block = Vec::with_capacity(unreach.len() + 4);
                attribute(&mut block, 0x80, MP_UNREACH, &unreach);
                out.extend([0, 0]);
                out.extend((block.len() as u16).to_be_bytes());
                out.extend(block);
            } else {
                out.extend((packet.len() as u16).to_be_bytes());
                out.extend(packet);
                out.extend([0, 0]);
            }
        });
    });
}

fn for_each_packet(prefixes: &[IpNet], room: usize, mut emit: impl FnMut(&[u8])) {
    let mut packet = Vec::with_capacity(MAX_MESSAGE);
    for prefix in prefixes {
        nlri(&mut packet, prefix);
        if packet.len() > room {
            emit(&packet);
            packet.clear();
        }
    }
    if !packet.is_empty() {
        emit(&packet);
    }
}

/// What a received message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// OPEN: AS number (four octets when the peer has them) and hold time in seconds.
    Open {
        /// The peer's AS.
        asn: u32,
        /// What it proposes.
        hold_time: u16,
    },
    /// UPDATE.
    Update(Box<Update>),
    /// End-of-RIB; true for IPv6.
    EndOfRib(bool),
    /// NOTIFICATION: code and subcode.
    Notification(u8, u8),
    /// KEEPALIVE.
    Keepalive,
    /// Any other type.
    Other(u8),
}

/// A received UPDATE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Prefixes that are gone.
    pub withdrawn: Vec<IpNet>,
    /// Prefixes that are announced.
    pub announced: Vec<IpNet>,
    /// `AS_PATH`, all segments in a row.
    pub as_path: Vec<u32>,
    /// Communities.
    pub communities: Vec<u32>,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// `LOCAL_PREF`.
    pub local_pref: Option<u32>,
    /// Next hop; the global one where there are two.
    pub next_hop: Option<IpAddr>,
}

/// Takes bytes off the front of a slice.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(count).context("the message ends too early")?;
    *bytes = rest;
    Ok(front)
}

pub(crate) fn take_u8(bytes: &mut &[u8]) -> Result<u8> {
    Ok(take(bytes, 1)?[0])
}

pub(crate) fn take_u16(bytes: &mut &[u8]) -> Result<u16> {
    let pair = take(bytes, 2)?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}

pub(crate) fn take_u32(bytes: &mut &[u8]) -> Result<u32> {
    word(take(bytes, 4)?)
}

/// One path attribute: its type and value.
pub(crate) fn take_attribute<'a>(bytes: &mut &'a [u8]) -> Result<(u8, &'a [u8])> {
    let flags = take_u8(bytes)?;
    let code = take_u8(bytes)?;
    let length = if flags & 0x10 == 0 { u16::from(take_u8(bytes)?) } else { take_u16(bytes)? };
    Ok((code, take(bytes, usize::from(length))?))
}

pub(crate) fn words(bytes: &[u8]) -> Result<Vec<u32>> {
    ensure!(bytes.len().is_multiple_of(4), "{} bytes are no list of 32-bit words", bytes.len());
    Ok(bytes.chunks_exact(4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]])).collect())
}

pub(crate) fn word(bytes: &[u8]) -> Result<u32> {
    words(bytes)?.first().copied().context("an empty attribute")
}

pub(crate) fn prefixes(mut bytes: &[u8], ipv6: bool) -> Result<Vec<IpNet>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let length = take_u8(&mut bytes)?;
        let given = take(&mut bytes, usize::from(length.div_ceil(8)))?;
        if ipv6 {
            let mut octets = [0; 16];
            octets.get_mut(..given.len()).context("prefix too long")?.copy_from_slice(given);
            out.push(Ipv6Net::new(octets.into(), length)?.into());
        } else {
            let mut octets = [0; 4];
            octets.get_mut(..given.len()).context("prefix too long")?.copy_from_slice(given);
            out.push(Ipv4Net::new(octets.into(), length)?.into());
        }
    }
    Ok(out)
}

/// The whole message that these bytes begin with; none while its end is missing.
pub fn frame(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    ensure!(length >= HEADER, "a message of {length} bytes");
    Ok(bytes.get(..length))
}

/// How many routes a whole message announces and withdraws, counted without keeping any; none
/// when it is no UPDATE.
pub fn count_routes(frame: &[u8]) -> Result<Option<(u64, u64)>> {
    let mut bytes = frame;
    let header = take(&mut bytes, HEADER)?;
    if header[18] != UPDATE {
        return Ok(None);
    }
    let length = usize::from(take_u16(&mut bytes)?);
    let mut withdrawn = count_prefixes(take(&mut bytes, length)?);
    let length = usize::from(take_u16(&mut bytes)?);
    let mut attributes = take(&mut bytes, length)?;
    let mut announced = count_prefixes(bytes);
    while !attributes.is_empty() {
        let (code, mut value) = take_attribute(&mut attributes)?;
        if code == MP_REACH {
            take(&mut value, 3)?;
            let next_hop = usize::from(take_u8(&mut value)?);
            take(&mut value, next_hop + 1)?;
            announced += count_prefixes(value);
        } else if code == MP_UNREACH {
            take(&mut value, 3)?;
            withdrawn += count_prefixes(value);
        }
    }
    Ok(Some((announced, withdrawn)))
}

fn count_prefixes(bytes: &[u8]) -> u64 {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = bytes.get(at) {
        at += 1 + usize::from(length.div_ceil(8));
        count += 1;
    }
    count
}

/// Reads one whole message, header included.
pub fn parse(frame: &[u8]) -> Result<Received> {
    let mut bytes = frame;
    let header = take(&mut bytes, HEADER)?;
    ensure!(header[..16].iter().all(|&byte| byte == 0xff), "the marker is not all ones");
    match header[18] {
        OPEN => parse_open(bytes),
        UPDATE => parse_update(bytes),
        NOTIFICATION => Ok(Received::Notification(take_u8(&mut bytes)?, take_u8(&mut bytes)?)),
        KEEPALIVE => Ok(Received::Keepalive),
        other => Ok(Received::Other(other)),
    }
}

fn parse_open(mut bytes: &[u8]) -> Result<Received> {
    let version = take_u8(&mut bytes)?;
    ensure!(version == 4, "BGP version {version}");
    let mut asn = u32::from(take_u16(&mut bytes)?);
    let hold_time = take_u16(&mut bytes)?;
    take(&mut bytes, 4)?;
    let length = usize::from(take_u8(&mut bytes)?);
    let mut parameters = take(&mut bytes, length)?;
    while !parameters.is_empty() {
        let kind = take_u8(&mut parameters)?;
        let length = usize::from(take_u8(&mut parameters)?);
        let mut value = take(&mut parameters, length)?;
        while kind == 2 && !value.is_empty() {
            let code = take_u8(&mut value)?;
            let length = usize::from(take_u8(&mut value)?);
            let data = take(&mut value, length)?;
            if code == 65 {
                asn = word(data)?;
            }
        }
    }
    Ok(Received::Open { asn, hold_time })
}

fn parse_update(mut bytes: &[u8]) -> Result<Received> {
    let mut update = Update::default();
    let mut ended = None;
    let length = usize::from(take_u16(&mut bytes)?);
    update.withdrawn = prefixes(take(&mut bytes, length)?, false)?;
    let length = usize::from(take_u16(&mut bytes)?);
    let mut attributes = take(&mut bytes, length)?;
    if update.withdrawn.is_empty() && attributes.is_empty() && bytes.is_empty() {
        return Ok(Received::EndOfRib(false));
    }
    update.announced = prefixes(bytes, false)?;
    while !attributes.is_empty() {
        let (code, mut value) = take_attribute(&mut attributes)?;
        match code {
            AS_PATH => {
                while !value.is_empty() {
                    take_u8(&mut value)?;
                    let count = usize::from(take_u8(&mut value)?);
                    update.as_path.extend(words(take(&mut value, 4 * count)?)?);
                }
            }
            NEXT_HOP => update.next_hop = Some(IpAddr::V4(Ipv4Addr::from(word(value)?))),
            MED => update.med = Some(word(value)?),
            LOCAL_PREF => update.local_pref = Some(word(value)?),
            COMMUNITIES => update.communities = words(value)?,
            MP_REACH => {
                let ipv6 = multiprotocol_family(&mut value)?;
                let length = usize::from(take_u8(&mut value)?);
                let next_hop = take(&mut value, length)?;
                update.next_hop = Some(global_next_hop(next_hop)?);
                take_u8(&mut value)?;
                update.announced.extend(prefixes(value, ipv6)?);
            }
            MP_UNREACH => {
                let ipv6 = multiprotocol_family(&mut value)?;
                if value.is_empty() && attributes.is_empty() && update == Update::default() {
                    ended = Some(ipv6);
                }
                update.withdrawn.extend(prefixes(value, ipv6)?);
            }
            _ => (),
        }
    }
    Ok(ended.map_or_else(|| Received::Update(Box::new(update)), Received::EndOfRib))
}

/// Reads AFI and SAFI; true for IPv6 unicast.
fn multiprotocol_family(value: &mut &[u8]) -> Result<bool> {
    match (take_u16(value)?, take_u8(value)?) {
        (1, 1) => Ok(false),
        (2, 1) => Ok(true),
        (afi, safi) => bail!("family {afi}/{safi} was not negotiated"),
    }
}

pub(crate) fn global_next_hop(bytes: &[u8]) -> Result<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    let octets: [u8; 16] = bytes.get(..16).context("next hop too short")?.try_into()?;
    Ok(Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<Received> {
        let mut out = Vec::new();
        while let Some(message) = frame(bytes).unwrap() {
            assert!(message.len() <= MAX_MESSAGE, "message of {} bytes", message.len());
            let parsed = parse(message).unwrap();
            let counts = count_routes(message).unwrap();
            match &parsed {
                Received::Update(update) => {
                    assert_eq!(counts, Some((update.announced.len() as u64, update.withdrawn.len() as u64)));
                }
                Received::EndOfRib(_) => assert_eq!(counts, Some((0, 0))),
                _ => assert_eq!(counts, None),
            }
            out.push(parsed);
            bytes = &bytes[message.len()..];
        }
        assert!(bytes.is_empty());
        out
    }

    #[test]
    fn announced_prefixes_are_read_back_whole_in_both_families() {
        for (next_hop, base) in [("192.0.2.1", "10.0.0.0/24"), ("2001:db8::1", "2001:db8::/48")] {
            let next_hop: IpAddr = next_hop.parse().unwrap();
            let base: IpNet = base.parse().unwrap();
            let nets: Vec<IpNet> = (0..3000_u32)
                .map(|i| match base {
                    IpNet::V4(net) => {
                        Ipv4Net::new((u32::from(net.addr()) + (i << 8)).into(), 24).unwrap().into()
                    }
                    IpNet::V6(net) => {
                        Ipv6Net::new((u128::from(net.addr()) + (u128::from(i) << 80)).into(), 48)
                            .unwrap()
                            .into()
                    }
                })
                .collect();
            let mut attributes = PathAttributes::new(vec![64501, 4_200_000_000], next_hop);
            attributes.med = Some(7);
            attributes.communities = (0..100).collect();
            let mut out = Vec::new();
            announce(&mut out, &attributes, &nets);
            let mut seen = Vec::new();
            for message in frames(&out) {
                let Received::Update(update) = message else { panic!("{message:?}") };
                assert_eq!(update.as_path, attributes.as_path);
                assert_eq!(update.communities, attributes.communities);
                assert_eq!((update.med, update.next_hop), (Some(7), Some(next_hop)));
                seen.extend(update.announced);
            }
            assert_eq!(seen, nets);

            let mut out = Vec::new();
            withdraw(&mut out, &nets);
            let withdrawn: Vec<IpNet> = frames(&out)
                .into_iter()
                .flat_map(|message| match message {
                    Received::Update(update) => update.withdrawn,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(withdrawn, nets);
        }
    }

    #[test]
    fn the_other_messages_are_read_back() {
        let open = open(4_200_000_000, 90, Ipv4Addr::LOCALHOST);
        assert_eq!(frames(&open), [Received::Open { asn: 4_200_000_000, hold_time: 90 }]);
        assert_eq!(frames(&keepalive()), [Received::Keepalive]);
        assert_eq!(frames(&notification(6, 2)), [Received::Notification(6, 2)]);
        assert_eq!(frames(&end_of_rib(false)), [Received::EndOfRib(false)]);
        assert_eq!(frames(&end_of_rib(true)), [Received::EndOfRib(true)]);
    }

    #[test]
    fn a_cut_message_is_an_error() {
        let mut out = Vec::new();
        let attributes = PathAttributes::new(vec![1], "192.0.2.1".parse().unwrap());
        announce(&mut out, &attributes, &["10.0.0.0/8".parse().unwrap()]);
        assert!(parse(&out[..out.len() - 1]).is_err());
    }
}
