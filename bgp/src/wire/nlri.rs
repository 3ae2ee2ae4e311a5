//! Lists of prefixes (NLRI, RFC 4271 section 4.3): `length in bits, octets that hold them`; with ADD-PATH,
//! four octets of path identifier before each (RFC 7911 section 3).
//!
//! [`Nlri::decode`] checks a whole list once; the iterators then cannot fail. Bits beyond the length
//! are irrelevant on the wire and zero in what comes out.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::types::Family;

/// Octets of a path identifier.
const PATH_ID_LEN: usize = 4;

/// A checked list of prefixes of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nlri<'a> {
    family: Family,
    path_ids: bool,
    bytes: &'a [u8],
}

/// One of several routes of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathNlri {
    /// The prefix.
    pub prefix: IpNet,
    /// The path identifier; 0, and not on the wire, where the session has none.
    pub path_id: u32,
}

impl From<IpNet> for PathNlri {
    fn from(prefix: IpNet) -> Self {
        Self { prefix, path_id: 0 }
    }
}

impl<'a> Nlri<'a> {
    /// Checks a list, whose prefixes have path identifiers or not; `None` if a length is beyond the family's
    /// or the last prefix is cut off (RFC 7606 section 5.3).
    pub fn decode(family: Family, path_ids: bool, bytes: &'a [u8]) -> Option<Self> {
        let bits = family.address_bits();
        let mut rest = bytes;
        while !rest.is_empty() {
            if path_ids {
                rest = rest.get(PATH_ID_LEN..)?;
            }
            let (length, tail) = rest.split_first()?;
            if *length > bits {
                return None;
            }
            rest = tail.get(octets(*length)..)?;
        }
        Some(Self { family, path_ids, bytes })
    }

    /// A list that [`Nlri::decode`] has accepted before.
    pub(super) fn checked(family: Family, path_ids: bool, bytes: &'a [u8]) -> Self {
        Self { family, path_ids, bytes }
    }

    /// Whether the prefixes have path identifiers (RFC 7911).
    pub fn has_path_ids(self) -> bool {
        self.path_ids
    }

    /// The family of every prefix.
    pub fn family(self) -> Family {
        self.family
    }

    /// Whether the list has no prefix.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The prefixes.
    pub fn iter(self) -> NlriIter<'a> {
        match self.family {
            Family::Ipv4Unicast => NlriIter::V4(self.iter_v4()),
            Family::Ipv6Unicast => NlriIter::V6(self.iter_v6()),
        }
    }

    /// The prefixes with their path identifiers.
    pub fn paths(self) -> impl Iterator<Item = PathNlri> + use<'a> {
        let mut iter = self.iter();
        std::iter::from_fn(move || {
            let path_id = match &iter {
                NlriIter::V4(iter) => path_id(iter.bytes, iter.path_ids),
                NlriIter::V6(iter) => path_id(iter.bytes, iter.path_ids),
            };
            iter.next().map(|prefix| PathNlri { prefix, path_id })
        })
    }

    /// The prefixes of an IPv4 list as address bits and length; of another list none.
    pub fn iter_v4(self) -> Nlri4Iter<'a> {
        let bytes = if self.family == Family::Ipv4Unicast { self.bytes } else { &[] };
        Nlri4Iter { bytes, path_ids: self.path_ids }
    }

    /// The prefixes of an IPv6 list as address bits and length; of another list none.
    pub fn iter_v6(self) -> Nlri6Iter<'a> {
        let bytes = if self.family == Family::Ipv6Unicast { self.bytes } else { &[] };
        Nlri6Iter { bytes, path_ids: self.path_ids }
    }

    /// The path identifiers, in the order of the prefixes; zeros where there are none.
    pub fn path_ids(self) -> impl Iterator<Item = u32> + use<'a> {
        let Self { path_ids, mut bytes, .. } = self;
        std::iter::from_fn(move || {
            let id = path_id(bytes, path_ids);
            // The address does not matter here, only where the next prefix begins.
            take::<16>(&mut bytes, path_ids).map(|_| id)
        })
    }
}

impl<'a> IntoIterator for Nlri<'a> {
    type Item = IpNet;
    type IntoIter = NlriIter<'a>;

    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

/// Octets that hold this many bits.
#[inline]
fn octets(bits: u8) -> usize {
    usize::from(bits).div_ceil(8)
}

/// The path identifier at the front.
#[inline]
fn path_id(bytes: &[u8], path_ids: bool) -> u32 {
    bytes.first_chunk().filter(|_| path_ids).map_or(0, |id| u32::from_be_bytes(*id))
}

/// Takes one prefix off the front: its octets at the start of an array, and its length. What follows them in
/// the array is to be masked: mostly it is the next prefix, since octets are copied by the whole array.
#[inline]
fn take<'a, const N: usize>(bytes: &mut &'a [u8], path_ids: bool) -> Option<([u8; N], u8)> {
    if path_ids {
        *bytes = bytes.get(PATH_ID_LEN..)?;
    }
    let (length, rest): (_, &'a [u8]) = bytes.split_first()?;
    let count = octets(*length);
    let (prefix, tail) = rest.split_at_checked(count)?;
    let address = match rest.first_chunk() {
        Some(chunk) if count <= N => *chunk,
        _ => {
            let mut address = [0; N];
            address.get_mut(..count)?.copy_from_slice(prefix);
            address
        }
    };
    *bytes = tail;
    Some((address, *length))
}

/// Iterator of an IPv4 list: address bits in host order, length.
#[derive(Clone, Debug)]
pub struct Nlri4Iter<'a> {
    bytes: &'a [u8],
    path_ids: bool,
}

impl Iterator for Nlri4Iter<'_> {
    type Item = (u32, u8);

    #[inline]
    fn next(&mut self) -> Option<(u32, u8)> {
        let (octets, length) = take::<4>(&mut self.bytes, self.path_ids)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Some((u32::from_be_bytes(octets) & mask, length))
    }
}

/// Iterator of an IPv6 list: address bits in host order, length.
#[derive(Clone, Debug)]
pub struct Nlri6Iter<'a> {
    bytes: &'a [u8],
    path_ids: bool,
}

impl Iterator for Nlri6Iter<'_> {
    type Item = (u128, u8);

    #[inline]
    fn next(&mut self) -> Option<(u128, u8)> {
        let (octets, length) = take::<16>(&mut self.bytes, self.path_ids)?;
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Some((u128::from_be_bytes(octets) & mask, length))
    }
}

/// Iterator of a list of either family.
#[derive(Clone, Debug)]
pub enum NlriIter<'a> {
    /// Over an IPv4 list.
    V4(Nlri4Iter<'a>),
    /// Over an IPv6 list.
    V6(Nlri6Iter<'a>),
}

impl Iterator for NlriIter<'_> {
    type Item = IpNet;

    #[inline]
    fn next(&mut self) -> Option<IpNet> {
        match self {
            Self::V4(iter) => {
                let (bits, length) = iter.next()?;
                Ipv4Net::new(Ipv4Addr::from_bits(bits), length).ok().map(IpNet::V4)
            }
            Self::V6(iter) => {
                let (bits, length) = iter.next()?;
                Ipv6Net::new(Ipv6Addr::from_bits(bits), length).ok().map(IpNet::V6)
            }
        }
    }
}

/// Octets of the longest prefix of a family in a list.
pub(super) fn longest(family: Family, path_ids: bool) -> usize {
    1 + usize::from(family.address_bits() / 8) + if path_ids { PATH_ID_LEN } else { 0 }
}

/// Octets that a prefix takes in a list.
pub(super) fn encoded_len(route: &PathNlri, path_ids: bool) -> usize {
    1 + octets(route.prefix.prefix_len()) + if path_ids { PATH_ID_LEN } else { 0 }
}

/// Appends a prefix to a list.
pub(super) fn encode(route: &PathNlri, path_ids: bool, out: &mut BytesMut) {
    let count = octets(route.prefix.prefix_len());
    if path_ids {
        out.put_u32(route.path_id);
    }
    out.put_u8(route.prefix.prefix_len());
    match &route.prefix {
        IpNet::V4(net) => out.put_slice(&net.network().octets()[..count]),
        IpNet::V6(net) => out.put_slice(&net.network().octets()[..count]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(family: Family, bytes: &[u8]) -> Option<Vec<String>> {
        Some(Nlri::decode(family, false, bytes)?.iter().map(|net| net.to_string()).collect())
    }

    #[test]
    fn prefixes_come_out_without_the_bits_beyond_their_length() {
        let bytes = [0, 8, 10, 20, 192, 0, 255, 32, 192, 0, 2, 1];
        assert_eq!(
            list(Family::Ipv4Unicast, &bytes).unwrap(),
            ["0.0.0.0/0", "10.0.0.0/8", "192.0.240.0/20", "192.0.2.1/32"]
        );
        let bytes = [0, 33, 0x20, 0x01, 0x0d, 0xb8, 0xff];
        assert_eq!(list(Family::Ipv6Unicast, &bytes).unwrap(), ["::/0", "2001:db8:8000::/33"]);
    }

    #[test]
    fn a_length_beyond_the_family_or_a_cut_prefix_is_refused() {
        assert_eq!(list(Family::Ipv4Unicast, &[33, 1, 2, 3, 4, 5]), None);
        assert_eq!(list(Family::Ipv6Unicast, &[129; 18]), None);
        assert_eq!(list(Family::Ipv4Unicast, &[24, 192, 0]), None);
        assert_eq!(list(Family::Ipv4Unicast, &[8, 10, 9]), None);
    }

    #[test]
    fn a_list_of_one_family_has_no_prefixes_of_the_other() {
        let list = Nlri::decode(Family::Ipv4Unicast, false, &[8, 10]).unwrap();
        assert_eq!(list.iter_v4().collect::<Vec<_>>(), [(0x0a00_0000, 8)]);
        assert_eq!(list.iter_v6().count(), 0);
    }

    #[test]
    fn path_identifiers_stand_before_their_prefixes() {
        let bytes = [0, 0, 0, 7, 8, 10, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 16, 192, 168];
        let list = Nlri::decode(Family::Ipv4Unicast, true, &bytes).unwrap();
        let paths: Vec<_> = list.paths().map(|path| (path.path_id, path.prefix.to_string())).collect();
        let expected = [(7, "10.0.0.0/8"), (0xff00_0001, "0.0.0.0/0"), (0, "192.168.0.0/16")];
        assert_eq!(paths, expected.map(|(id, prefix)| (id, prefix.to_owned())));
        assert_eq!(list.path_ids().collect::<Vec<_>>(), expected.map(|(id, _)| id));
        assert_eq!(list.iter().count(), 3);
        for cut in [1, 4, 5, 7, 17] {
            assert_eq!(Nlri::decode(Family::Ipv4Unicast, true, &bytes[..cut]), None, "{cut}");
        }
    }
}
