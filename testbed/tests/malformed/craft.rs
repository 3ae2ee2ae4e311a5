//! Bytes that a well-behaved speaker would never send, put together by hand.

use testbed::speaker;

pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const NOTIFICATION: u8 = 3;
pub(crate) const KEEPALIVE: u8 = 4;
pub(crate) const REFRESH: u8 = 5;

/// Attribute flags as the attributes' definitions have them.
pub(crate) const WELL_KNOWN: u8 = 0x40;
pub(crate) const OPTIONAL: u8 = 0x80;
pub(crate) const TRANSITIVE: u8 = 0xc0;

pub(crate) const ROUTER_ASN: u32 = 64500;
pub(crate) const EXTERNAL_ASN: u32 = 64501;

/// The prefix that a case is about, announced before it: 198.51.100.0/24.
pub(crate) const TARGET: [u8; 4] = [24, 198, 51, 100];
/// The same in IPv6: `2001:db8:1::/48`.
pub(crate) const TARGET6: [u8; 7] = [48, 0x20, 0x01, 0x0d, 0xb8, 0, 1];
/// Announced before, never touched by a case: 203.0.113.0/24.
pub(crate) const KEEP: [u8; 4] = [24, 203, 0, 113];
/// Announced behind each case: 192.0.2.0/24.
pub(crate) const MARK: [u8; 4] = [24, 192, 0, 2];
/// The path identifier of all that.
pub(crate) const PATH_ID: [u8; 4] = [0, 0, 0, 7];
/// A host on the link.
pub(crate) const NEXT_HOP: [u8; 4] = [10, 99, 1, 9];
/// `fd99:1::9`.
pub(crate) const NEXT_HOP6: [u8; 16] = [0xfd, 0x99, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// The last AS of the path that the target was announced with first, and with the case.
pub(crate) const BEFORE: u32 = 64998;
pub(crate) const AFTER: u32 = 64999;

/// Who the session under attack is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Another AS: both families, route refresh, four-octet AS numbers.
    External,
    /// The same AS.
    Internal,
    /// Another AS, with AS numbers of two octets.
    Old,
    /// Another AS, with messages of up to 65535 octets.
    Extended,
    /// Another AS that has IPv4 unicast only.
    OnlyIpv4,
    /// Another AS, with several paths of a prefix both ways (RFC 7911).
    AddPath,
    /// Another AS, with refreshes that are marked (RFC 7313).
    Refreshing,
    /// Another AS that is our customer, and has to say so (RFC 9234).
    Customer,
}

impl Session {
    pub(crate) fn asn(self) -> u32 {
        if self == Self::Internal { ROUTER_ASN } else { EXTERNAL_ASN }
    }

    /// Type and value of each capability.
    pub(crate) fn capabilities(self) -> Vec<u8> {
        let mut list = capability(1, &[0, 1, 0, 1]);
        if self != Self::OnlyIpv4 {
            list.extend(capability(1, &[0, 2, 0, 1]));
        }
        list.extend(capability(2, &[]));
        list.extend(match self {
            Self::Extended => capability(6, &[]),
            Self::AddPath => capability(69, &[0, 1, 1, 3, 0, 2, 1, 3]),
            Self::Refreshing => capability(70, &[]),
            Self::Customer => capability(9, &[3]),
            _ => Vec::new(),
        });
        if self != Self::Old {
            list.extend(capability(65, &self.asn().to_be_bytes()));
        }
        list
    }

    /// The OPEN of a session whose end has this last octet.
    pub(crate) fn open(self, host: u8) -> Vec<u8> {
        let open = Open { asn: self.asn() as u16, ..Open::default() };
        Open { router_id: [192, 0, 2, host], parameters: parameter(2, &self.capabilities()), ..open }.bytes()
    }

    /// A path through the neighbour, if it is in another AS, to `last`.
    pub(crate) fn as_path(self, last: u32) -> Vec<u8> {
        let path: &[u32] = &[EXTERNAL_ASN, last];
        let path = if self == Self::Internal { &path[1..] } else { path };
        sequence(path, self == Self::Old)
    }

    /// ORIGIN, `AS_PATH`, `NEXT_HOP` and, within the AS, `LOCAL_PREF`.
    pub(crate) fn mandatory(self, last: u32) -> Vec<u8> {
        let mut block = [origin(), attr(WELL_KNOWN, 2, &self.as_path(last)), next_hop()].concat();
        if self == Self::Internal {
            block.extend(local_pref());
        }
        block
    }

    /// What is announced before a case: the targets of both families, and what must stay.
    pub(crate) fn prelude(self) -> Vec<u8> {
        let nlri = [self.nlri(&TARGET), self.nlri(&KEEP)].concat();
        let mut out = update(&[], &self.mandatory(BEFORE), &nlri);
        if self != Self::OnlyIpv4 {
            let reach = attr(OPTIONAL, 14, &mp_reach(&NEXT_HOP6, &self.nlri(&TARGET6)));
            out.extend(update(&[], &[reach, self.mandatory(BEFORE)].concat(), &[]));
        }
        out
    }

    /// What is announced behind it.
    pub(crate) fn mark(self) -> Vec<u8> {
        update(&[], &self.mandatory(AFTER), &self.nlri(&MARK))
    }

    /// A prefix as the session has it: with a path identifier or without.
    pub(crate) fn nlri(self, prefix: &[u8]) -> Vec<u8> {
        let id = if self == Self::AddPath { &PATH_ID[..] } else { &[] };
        [id, prefix].concat()
    }
}

/// A message whose length is right.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    speaker::message(&mut out, kind, |out| out.extend(body));
    out
}

/// A message that says it has this length.
pub(crate) fn lying(kind: u8, length: u16, body: &[u8]) -> Vec<u8> {
    let mut out = message(kind, body);
    out[16..18].copy_from_slice(&length.to_be_bytes());
    out
}

pub(crate) fn attr(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    speaker::attribute(&mut out, flags, code, value);
    out
}

pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| (part.len() as u16).to_be_bytes();
    let parts = [&length(withdrawn), withdrawn, &length(attributes), attributes, nlri];
    message(UPDATE, &parts.concat())
}

pub(crate) fn origin() -> Vec<u8> {
    attr(WELL_KNOWN, 1, &[0])
}

pub(crate) fn next_hop() -> Vec<u8> {
    attr(WELL_KNOWN, 3, &NEXT_HOP)
}

pub(crate) fn local_pref() -> Vec<u8> {
    attr(WELL_KNOWN, 5, &100_u32.to_be_bytes())
}

/// One `AS_SEQUENCE`.
pub(crate) fn sequence(path: &[u32], two_octets: bool) -> Vec<u8> {
    let mut out = vec![2, path.len() as u8];
    for asn in path {
        let octets = asn.to_be_bytes();
        out.extend(&octets[if two_octets { 2 } else { 0 }..]);
    }
    out
}

/// The value of `MP_REACH_NLRI` for IPv6 unicast.
pub(crate) fn mp_reach(next_hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    [&[0, 2, 1, next_hop.len() as u8], next_hop, &[0], nlri].concat()
}

pub(crate) fn capability(code: u8, value: &[u8]) -> Vec<u8> {
    [&[code, value.len() as u8], value].concat()
}

/// An optional parameter of an OPEN.
pub(crate) fn parameter(kind: u8, value: &[u8]) -> Vec<u8> {
    capability(kind, value)
}

/// An OPEN, field by field.
pub(crate) struct Open {
    pub(crate) version: u8,
    pub(crate) asn: u16,
    pub(crate) hold_time: u16,
    pub(crate) router_id: [u8; 4],
    /// The length of the parameters, where it is not to be the right one.
    pub(crate) length: Option<u8>,
    pub(crate) parameters: Vec<u8>,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            version: 4,
            asn: EXTERNAL_ASN as u16,
            // No KEEPALIVEs: the sessions live until the end of the test.
            hold_time: 0,
            router_id: [192, 0, 2, 77],
            length: None,
            parameters: parameter(2, &Session::External.capabilities()),
        }
    }
}

impl Open {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = vec![self.version];
        body.extend(self.asn.to_be_bytes());
        body.extend(self.hold_time.to_be_bytes());
        body.extend(self.router_id);
        body.push(self.length.unwrap_or(self.parameters.len() as u8));
        body.extend(&self.parameters);
        message(OPEN, &body)
    }
}
