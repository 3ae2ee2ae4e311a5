//! The capabilities of graceful restart (RFC 4724 section 3, RFC 8538 section 2) and of long-lived graceful
//! restart (RFC 9494 section 3.1).
//!
//! Families that this speaker does not know are left out when a capability is read. One whose length is
//! wrong is none of these: no speaker refuses a session for it.

use std::time::Duration;

use crate::types::{Family, FamilySet};

/// The R bit of the flags before the restart time.
const RESTARTING: u16 = 1 << 15;
/// The N bit beside it (RFC 8538).
const NOTIFICATION: u16 = 1 << 14;
/// The restart time below them.
const TIME: u16 = (1 << 12) - 1;
/// The F bit of a family's flags, in both capabilities.
const FORWARDING: u8 = 1 << 7;

/// Graceful restart, as a speaker offers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// The R bit: the sender has just restarted and waits for End-of-RIB.
    pub restarting: bool,
    /// The N bit: NOTIFICATIONs end a session gracefully too, unless they are a Hard Reset (RFC 8538).
    pub notification: bool,
    /// How long the sender's sessions may be away, in seconds, up to 4095.
    pub restart_time: u16,
    /// The families whose routes are to be kept meanwhile.
    pub families: FamilySet,
    /// Of these, those for which the sender has kept forwarding in its last restart (the F bit).
    pub forwarding: FamilySet,
}

impl GracefulRestart {
    /// Greatest restart time in seconds.
    pub const LONGEST: u16 = TIME;

    /// The restart time.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.restart_time.into())
    }

    /// Reads a value; `None` if it has no such length.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (&head, tuples) = value.split_first_chunk::<2>()?;
        let (tuples, []) = tuples.as_chunks::<4>() else { return None };
        let head = u16::from_be_bytes(head);
        let mut read = Self {
            restarting: head & RESTARTING != 0,
            notification: head & NOTIFICATION != 0,
            restart_time: head & TIME,
            ..Self::default()
        };
        for &[high, low, safi, flags] in tuples {
            let Some(family) = Family::from_afi_safi(u16::from_be_bytes([high, low]), safi) else { continue };
            read.families.insert(family);
            if flags & FORWARDING != 0 {
                read.forwarding.insert(family);
            }
        }
        Some(read)
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let flag = |set, bit| if set { bit } else { 0 };
        let head = flag(self.restarting, RESTARTING)
            | flag(self.notification, NOTIFICATION)
            | self.restart_time.min(TIME);
        out.extend(head.to_be_bytes());
        for family in self.families.iter() {
            put_tuple(out, family, self.forwarding.contains(family));
        }
    }
}

/// Long-lived graceful restart, as a speaker offers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LongLivedRestart {
    /// How long routes are to be kept after the restart time, in seconds, up to 2^24-1; by
    /// [`Family::index`], 0 where the family is not listed.
    pub stale_times: [u32; Family::ALL.len()],
    /// The families for which the sender has kept forwarding in its last restart (the F bit).
    pub forwarding: FamilySet,
}

impl LongLivedRestart {
    /// Greatest stale time in seconds.
    pub const LONGEST: u32 = (1 << 24) - 1;

    /// Reads a value; `None` if it has no such length.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (tuples, []) = value.as_chunks::<7>() else { return None };
        let mut read = Self::default();
        for &[high, low, safi, flags, a, b, c] in tuples {
            let Some(family) = Family::from_afi_safi(u16::from_be_bytes([high, low]), safi) else { continue };
            // The last tuple of a family counts, and one without time is as good as none.
            read.stale_times[family.index()] = u32::from_be_bytes([0, a, b, c]);
            if flags & FORWARDING != 0 && read.stale_times[family.index()] > 0 {
                read.forwarding.insert(family);
            } else {
                read.forwarding.remove(family);
            }
        }
        Some(read)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for family in Family::ALL {
            let time = self.stale_times[family.index()].min(Self::LONGEST);
            if time > 0 {
                put_tuple(out, family, self.forwarding.contains(family));
                out.extend(&time.to_be_bytes()[1..]);
            }
        }
    }
}

fn put_tuple(out: &mut Vec<u8>, family: Family, forwarding: bool) {
    out.extend(family.afi().to_be_bytes());
    out.extend([family.safi(), if forwarding { FORWARDING } else { 0 }]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graceful_restart_is_read_as_it_was_written() {
        // R and N, 120 seconds; IPv4 unicast with F, VPNv4, which we do not know, IPv6 unicast.
        let value = [0xc0, 120, 0, 1, 1, 0x80, 0, 1, 128, 0x80, 0, 2, 1, 0];
        let read = GracefulRestart::decode(&value).unwrap();
        assert!(read.restarting && read.notification);
        assert_eq!((read.restart_time, read.families), (120, FamilySet::ALL));
        assert_eq!(read.forwarding, Family::Ipv4Unicast.into());
        let mut out = Vec::new();
        read.encode(&mut out);
        assert_eq!(out, [&value[..6], &value[10..]].concat());
        assert_eq!(GracefulRestart::decode(&value[..5]), None);
        assert_eq!(GracefulRestart::decode(&[]), None);
    }

    #[test]
    fn a_long_lived_restart_is_read_as_it_was_written() {
        let value = [0, 2, 1, 0x80, 1, 0, 2];
        let read = LongLivedRestart::decode(&value).unwrap();
        assert_eq!(read.stale_times, [0, 65_538]);
        assert_eq!(read.forwarding, Family::Ipv6Unicast.into());
        let mut out = Vec::new();
        read.encode(&mut out);
        assert_eq!(out, value);
        assert_eq!(LongLivedRestart::decode(&[]), Some(LongLivedRestart::default()));
        assert_eq!(LongLivedRestart::decode(&value[..6]), None);
        let gone = [&value[..], &[0, 2, 1, 0x80, 0, 0, 0]].concat();
        assert_eq!(LongLivedRestart::decode(&gone), Some(LongLivedRestart::default()));
    }
}
