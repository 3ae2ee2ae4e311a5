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

    /// The prefix as the public interface shows it.
    fn net(self, length: u8) -> IpNet;

    /// The bits of an address, when it is of this family.
    fn of_address(address: IpAddr) -> Option<Self>;

    /// The prefixes of a list of this family.
    fn prefixes(list: Nlri<'_>) -> impl Iterator<Item = (Self, u8)>;

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

impl Bits for u32 {
    const FAMILY: Family = Family::Ipv4Unicast;
    const WIDTH: u8 = 32;

    #[inline]
    fn mask(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
    }

    #[inline]
    fn fold(self) -> u64 {
        u64::from(self)
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
    fn mask(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
    }

    #[inline]
    fn fold(self) -> u64 {
        // Both halves matter: the upper one tells networks apart, the lower one hosts.
        ((self >> 64) as u64) ^ (self as u64).rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
