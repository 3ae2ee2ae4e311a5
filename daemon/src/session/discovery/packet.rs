//! The two messages of Neighbor Discovery by which routers on a link find each other (RFC 4861 sections 4.1 and 4.2).

use std::net::Ipv6Addr;

/// Types of ICMP messages.
pub(super) const SOLICITATION: u8 = 133;
pub(super) const ADVERTISEMENT: u8 = 134;

/// What nobody off the link can have sent (RFC 4861 section 6.1).
const HOP_LIMIT: i32 = 255;
/// Octets in front of the options.
const SOLICITATION_HEAD: usize = 8;
const ADVERTISEMENT_HEAD: usize = 16;
/// `Source Link-layer Address` (RFC 4861 section 4.6.1).
const SOURCE_LINK_LAYER: u8 = 1;

/// Who are the routers here?
pub(super) const SOLICIT: [u8; SOLICITATION_HEAD] = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];

/// Here is one, which is nobody's default router: with a router lifetime of 0 (RFC 4861 section 4.2), no hop limit,
/// times or options, hosts learn nothing from it but the address that it came from. The kernel fills in the checksum.
pub(super) const ADVERTISE: [u8; ADVERTISEMENT_HEAD] =
    [ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A message that is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Somebody asks for routers.
    Solicitation,
    /// A router.
    Advertisement,
}

/// What an ICMP message from `source` is, if it is one of them and valid (RFC 4861 sections 6.1.1 and 6.1.2). The
/// kernel has looked at the checksum.
pub(super) fn read(octets: &[u8], hop_limit: Option<i32>, source: Ipv6Addr) -> Option<Message> {
    let [kind, code, ..] = *octets else { return None };
    let (message, head) = match kind {
        SOLICITATION => (Message::Solicitation, SOLICITATION_HEAD),
        ADVERTISEMENT => (Message::Advertisement, ADVERTISEMENT_HEAD),
        _ => return None,
    };
    if code != 0 || hop_limit != Some(HOP_LIMIT) {
        return None;
    }
    let mut options = octets.get(head..)?;
    let mut has_source = false;
    while let [option, eights, ..] = *options {
        // An option has eight octets or more, and what is there of it.
        options = options.get(usize::from(eights) * 8..).filter(|_| eights != 0)?;
        has_source |= option == SOURCE_LINK_LAYER;
    }
    let valid = options.is_empty()
        && match message {
            Message::Solicitation => !(source.is_unspecified() && has_source),
            Message::Advertisement => source.is_unicast_link_local(),
        };
    valid.then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    const LINK_LAYER: [u8; 8] = [SOURCE_LINK_LAYER, 1, 2, 0, 0, 0, 0, 1];

    fn with(message: &[u8], options: &[u8]) -> Vec<u8> {
        [message, options].concat()
    }

    #[test]
    fn our_own_messages_are_valid() {
        assert_eq!(read(&SOLICIT, Some(255), ROUTER), Some(Message::Solicitation));
        assert_eq!(read(&ADVERTISE, Some(255), ROUTER), Some(Message::Advertisement));
        assert_eq!(read(&SOLICIT, Some(255), Ipv6Addr::UNSPECIFIED), Some(Message::Solicitation));
        assert_eq!(read(&with(&ADVERTISE, &LINK_LAYER), Some(255), ROUTER), Some(Message::Advertisement));
    }

    #[test]
    fn what_may_have_come_from_elsewhere_is_not() {
        let global = "2001:db8::9".parse().unwrap();
        for (octets, hop_limit, source) in [
            (ADVERTISE.to_vec(), Some(254), ROUTER),
            (ADVERTISE.to_vec(), None, ROUTER),
            (ADVERTISE.to_vec(), Some(255), global),
            (ADVERTISE.to_vec(), Some(255), Ipv6Addr::UNSPECIFIED),
            (SOLICIT.to_vec(), Some(64), ROUTER),
        ] {
            assert_eq!(read(&octets, hop_limit, source), None, "{octets:?} {hop_limit:?} {source}");
        }
    }

    #[test]
    fn what_is_malformed_is_not() {
        let mut code = ADVERTISE;
        code[1] = 1;
        let empty = [SOURCE_LINK_LAYER, 0, 2, 0, 0, 0, 0, 1];
        for octets in [
            code.to_vec(),
            ADVERTISE[..15].to_vec(),
            SOLICIT[..7].to_vec(),
            with(&ADVERTISE, &empty),
            with(&ADVERTISE, &LINK_LAYER[..7]),
            with(&ADVERTISE, &[SOURCE_LINK_LAYER]),
            with(&SOLICIT, &empty),
            vec![135, 0, 0, 0, 0, 0, 0, 0],
            vec![ADVERTISEMENT],
            Vec::new(),
        ] {
            assert_eq!(read(&octets, Some(255), ROUTER), None, "{octets:?}");
        }
        // Who has no address yet has none on the link layer either.
        assert_eq!(read(&with(&SOLICIT, &LINK_LAYER), Some(255), Ipv6Addr::UNSPECIFIED), None);
    }
}
