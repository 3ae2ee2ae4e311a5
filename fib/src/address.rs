//! Addresses and prefixes as numbers: the one generic path for IPv4 (`u32`) and IPv6 (`u128`).
//!
//! Everything below the facade works on [`Prefix<A>`], whose order (address, then length) is also the
//! order of a walk through the trie: a prefix comes right before what it covers.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

use fib_abi::direct::{Layout, SIZES};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Family;

/// An address as an unsigned integer, most significant bit first on the wire.
pub(crate) trait Address: Copy + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// Bits of an address: 32 or 128.
    const WIDTH: u8;
    /// The family of such addresses.
    const FAMILY: Family;
    /// The shapes of the family's direct table, smallest first; they differ in the number of nodes alone.
    const LAYOUTS: [Layout; SIZES];

    /// The address without the alignment of a wide integer: an array of routes has no gaps.
    type Packed: Copy + Debug + Default + Send + Sync + 'static;

    /// Packs.
    fn pack(self) -> Self::Packed;

    /// Unpacks.
    fn unpack(packed: Self::Packed) -> Self;

    /// The `count` bits that end before bit `end`, as a number.
    fn bits(self, end: u8, count: u8) -> u32;

    /// The address whose first `count` bits are a number; the others are zero.
    fn from_top(number: u32, count: u8) -> Self;

    /// Bit `index` counted from the most significant, as 0 or 1. `index` is below [`Self::WIDTH`].
    fn bit(self, index: u8) -> usize;

    /// The address with bit `index` inverted.
    #[must_use]
    fn flip(self, index: u8) -> Self;

    /// The address with only its first `len` bits kept.
    #[must_use]
    fn truncate(self, len: u8) -> Self;

    /// The address with all bits after the first `len` set: the last one of the prefix.
    #[must_use]
    fn last(self, len: u8) -> Self;

    /// Number of leading bits that both addresses share.
    fn common(self, other: Self) -> u8;

    /// The prefix of this address with `len` bits.
    fn to_net(self, len: u8) -> IpNet;
}

macro_rules! address {
    ($int:ty, $packed:ty, $addr:ident, $net:ident, $variant:ident, $family:ident, $layout:ident) => {
        impl Address for $int {
            const WIDTH: u8 = <$int>::BITS as u8;
            const FAMILY: Family = Family::$family;
            const LAYOUTS: [Layout; SIZES] = Layout::$layout;

            type Packed = $packed;

            #[inline]
            fn pack(self) -> $packed {
                self.to_ne_bytes()
            }

            #[inline]
            fn unpack(packed: $packed) -> Self {
                Self::from_ne_bytes(packed)
            }

            #[inline]
            fn bits(self, end: u8, count: u8) -> u32 {
                let rest = self.checked_shr(u32::from(Self::WIDTH - end)).unwrap_or(0);
                (rest as u32) & ((1 << count) - 1)
            }

            fn from_top(number: u32, count: u8) -> Self {
                Self::from(number).checked_shl(u32::from(Self::WIDTH - count)).unwrap_or(0)
            }

            #[inline]
            fn bit(self, index: u8) -> usize {
                ((self >> (Self::WIDTH - 1 - index)) & 1) as usize
            }

            #[inline]
            fn flip(self, index: u8) -> Self {
                self ^ (1 << (Self::WIDTH - 1 - index))
            }

            #[inline]
            fn truncate(self, len: u8) -> Self {
                // A shift by the full width would overflow; the default route keeps no bit at all.
                self & <$int>::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }

            #[inline]
            fn last(self, len: u8) -> Self {
                self | <$int>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn to_net(self, len: u8) -> IpNet {
                // `len` never exceeds WIDTH, the only case that `new` refuses.
                IpNet::$variant($net::new($addr::from(self), len.min(Self::WIDTH)).unwrap_or_default())
            }
        }
    };
}

address!(u32, [u8; 4], Ipv4Addr, Ipv4Net, V4, Ipv4, IPV4);
address!(u128, [u8; 16], Ipv6Addr, Ipv6Net, V6, Ipv6, IPV6);

/// A prefix in network form: bits beyond `len` are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Prefix<A> {
    /// The network address.
    pub bits: A,
    /// Number of significant bits.
    pub len: u8,
}

impl<A: Address> Prefix<A> {
    /// The prefix of `bits` with `len` bits; host bits are cleared.
    pub(crate) fn new(bits: A, len: u8) -> Self {
        let len = len.min(A::WIDTH);
        Self { bits: bits.truncate(len), len }
    }

    /// Whether `other` lies inside this prefix or equals it.
    #[inline]
    pub(crate) fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.bits.common(other.bits) >= self.len
    }

    /// The prefix as `ipnet` writes it.
    pub(crate) fn to_net(self) -> IpNet {
        self.bits.to_net(self.len)
    }
}

impl From<Ipv4Net> for Prefix<u32> {
    fn from(net: Ipv4Net) -> Self {
        Self::new(net.addr().to_bits(), net.prefix_len())
    }
}

impl From<Ipv6Net> for Prefix<u128> {
    fn from(net: Ipv6Net) -> Self {
        Self::new(net.addr().to_bits(), net.prefix_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_any_length_has_its_first_and_last_address() {
        assert_eq!(0xc0a8_01ff_u32.truncate(0), 0);
        assert_eq!(0xc0a8_01ff_u32.truncate(24), 0xc0a8_0100);
        assert_eq!(0xc0a8_01ff_u32.truncate(32), 0xc0a8_01ff);
        assert_eq!(0_u32.last(0), u32::MAX);
        assert_eq!(0xc0a8_0100_u32.last(24), 0xc0a8_01ff);
        assert_eq!(7_u128.last(128), 7);
    }

    #[test]
    fn bits_count_from_the_most_significant() {
        assert_eq!(0x8000_0000_u32.bit(0), 1);
        assert_eq!(1_u128.bit(127), 1);
        assert_eq!(0_u32.flip(31), 1);
        assert_eq!(0x0a00_0000_u32.common(0x0a80_0000), 8);
    }
}
