//! Prefixes as integers: the one thing that differs between IPv4 and IPv6 in the RIB.
//!
//! A [`Bits`] is the address of a prefix in host byte order, the network's bits at the top. All
//! tables, walks and encoders are generic over it, so that there is one code path for both
//! families. The order of `(bits, length)` pairs is the order of `show`: a covering prefix comes
//! right before what it covers.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::types::Family;
use crate::wire::Nlri;

/// The address bits of a prefix of one family.
pub(crate) trait Bits: Copy + Eq + Ord + Debug + Default + 'static {
    /// The family of such prefixes.
    const FAMILY: Family;
    /// Bits of an address.
    const WIDTH: u8;

    /// The address with everything behind the first `length` bits cleared.
    #[must_use]
    fn mask(self, length: u8) -> Self;

    /// Folds the bits into a word, to be hashed.
    fn fold(self) -> u64;

    /// The bits that choose the shard: the first 16 of IPv4, the first 32 of IPv6.
    fn top(self) -> u32;

    /// The prefix as the public interface shows it.
    fn net(self, length: u8) -> IpNet;

    /// The bits of an address, when it is of this family.
    fn of_address(address: IpAddr) -> Option<Self>;

    /// The prefixes of a list of this family.
    fn prefixes(list: Nlri<'_>) -> impl Iterator<Item = (Self, u8)>;

    /// Whether a prefix lies in address space that is never routed (RFC 6890): multicast and what is
    /// beyond it, loopback, link-local, "this network", IPv4 written as IPv6. A prefix that merely covers
    /// such space, a default route say, is none.
    fn is_martian(self, length: u8) -> bool;

    /// Bits and length of a prefix, when it is of this family.
    fn of_net(prefix: &IpNet) -> Option<(Self, u8)> {
        let length = prefix.prefix_len();
        Some((Self::of_address(prefix.network())?, length))
    }

    /// Whether the prefix `(self, length)` covers, or is, the prefix `(other, other_length)`.
    fn covers(self, length: u8, other: Self, other_length: u8) -> bool {
        length <= other_length && other.mask(length) == self
    }
}

/// 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, and 224.0.0.0/3.
const MARTIANS_V4: [(u32, u8); 4] = [(0, 8), (127 << 24, 8), (0xa9fe << 16, 16), (0xe000_0000, 3)];
/// `::/96` with the unspecified address and loopback, `::ffff:0:0/96`, `fe80::/10`, and `ff00::/8`.
const MARTIANS_V6: [(u128, u8); 4] = [(0, 96), (0xffff << 32, 96), (0xfe80 << 112, 10), (0xff00 << 112, 8)];

#[inline]
fn within<K: Bits>(bits: K, length: u8, ranges: &[(K, u8)]) -> bool {
    ranges.iter().any(|&(range, range_length)| range.covers(range_length, bits, length))
}

impl Bits for u32 {
    const FAMILY: Family = Family::Ipv4Unicast;
    const WIDTH: u8 = 32;

    #[inline]
    fn is_martian(self, length: u8) -> bool {
        // Nearly every prefix is ruled out by its first octet.
        matches!(self >> 24, 0 | 127 | 169 | 224..) && within(self, length, &MARTIANS_V4)
    }

    #[inline]
    fn mask(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
    }

    #[inline]
    fn fold(self) -> u64 {
        u64::from(self)
    }

    #[inline]
    fn top(self) -> u32 {
        self >> 16
    }

    fn net(self, length: u8) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(self), length.min(Self::WIDTH)))
    }

    #[inline]
    fn prefixes(list: Nlri<'_>) -> impl Iterator<Item = (Self, u8)> {
        list.iter_v4()
    }

    fn of_address(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address.to_bits()),
            IpAddr::V6(_) => None,
        }
    }
}

impl Bits for u128 {
    const FAMILY: Family = Family::Ipv6Unicast;
    const WIDTH: u8 = 128;

    #[inline]
    fn is_martian(self, length: u8) -> bool {
        matches!((self >> 112) as u16, 0 | 0xfe80..) && within(self, length, &MARTIANS_V6)
    }

    #[inline]
    fn mask(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
    }

    #[inline]
    fn fold(self) -> u64 {
        // Both halves matter: the upper one tells networks apart, the lower one hosts.
        ((self >> 64) as u64) ^ (self as u64).rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[inline]
    fn top(self) -> u32 {
        (self >> 96) as u32
    }

    fn net(self, length: u8) -> IpNet {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(self), length.min(Self::WIDTH)))
    }

    #[inline]
    fn prefixes(list: Nlri<'_>) -> impl Iterator<Item = (Self, u8)> {
        list.iter_v6()
    }

    fn of_address(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V6(address) => Some(address.to_bits()),
            IpAddr::V4(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_the_network_and_nothing_else() {
        assert_eq!(0xffff_ffff_u32.mask(0), 0);
        assert_eq!(0xffff_ffff_u32.mask(9), 0xff80_0000);
        assert_eq!(0xffff_ffff_u32.mask(32), 0xffff_ffff);
        assert_eq!(u128::MAX.mask(0), 0);
        assert_eq!(u128::MAX.mask(1), 1 << 127);
        assert_eq!(u128::MAX.mask(128), u128::MAX);
    }

    #[test]
    fn a_prefix_covers_itself_and_what_is_longer() {
        assert!(0x0a00_0000_u32.covers(8, 0x0a01_0000, 16));
        assert!(0x0a00_0000_u32.covers(8, 0x0a00_0000, 8));
        assert!(!0x0a01_0000_u32.covers(16, 0x0a00_0000, 8));
        assert!(!0x0a00_0000_u32.covers(8, 0x0b00_0000, 16));
        assert!(0_u32.covers(0, 0xffff_ffff, 32));
    }

    #[test]
    fn martians_lie_within_space_that_is_never_routed() {
        fn martian(text: &str) -> bool {
            match text.parse().unwrap() {
                IpNet::V4(net) => net.network().to_bits().is_martian(net.prefix_len()),
                IpNet::V6(net) => net.network().to_bits().is_martian(net.prefix_len()),
            }
        }
        let martians = [
            "0.0.0.0/8",
            "127.0.0.1/32",
            "169.254.0.0/16",
            "224.0.0.0/4",
            "255.255.255.255/32",
            "::/96",
            "::1/128",
            "::ffff:192.0.2.0/120",
            "fe80::/10",
            "ff02::/16",
        ];
        for text in martians {
            assert!(martian(text), "{text}");
        }
        let routable = [
            "0.0.0.0/0",
            "0.0.0.0/7",
            "10.0.0.0/8",
            "192.0.2.0/24",
            "::/0",
            "::/8",
            "2001:db8::/32",
            "64:ff9b::/96",
        ];
        for text in routable {
            assert!(!martian(text), "{text}");
        }
    }

    #[test]
    fn nets_survive_the_round_trip() {
        for text in ["0.0.0.0/0", "203.0.113.0/24", "192.0.2.1/32"] {
            let net: IpNet = text.parse().unwrap();
            let (bits, length) = u32::of_net(&net).unwrap();
            assert_eq!(bits.net(length), net);
            assert_eq!(u128::of_net(&net), None);
        }
        let net: IpNet = "2001:db8::/32".parse().unwrap();
        let (bits, length) = u128::of_net(&net).unwrap();
        assert_eq!(bits.net(length), net);
    }
}
