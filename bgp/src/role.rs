//! BGP roles (RFC 9234): who is whose customer, and what that forbids.
//!
//! A [`Role`] is what this speaker is towards a neighbour in another AS. From it follows which routes may go
//! where: what came from a provider, a peer or a route server goes to customers and to route server clients
//! only. The attribute "Only to Customer" ([`Attributes::otc`](crate::wire::Attributes::otc)) carries that rule along the
//! path, so that a leak is found by others too.
//!
//! The attribute that a route should have got when it came in (section 5, ingress rule 3) is not stored: it
//! follows from the session that the path came over, see [`Role::marks_received`].

use std::fmt;
use std::str::FromStr;

use crate::types::Asn;

/// What this speaker is towards a neighbour (RFC 9234 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// We sell transit to the neighbour.
    Provider = 0,
    /// We are a route server, the neighbour is its client.
    RouteServer = 1,
    /// The neighbour is a route server, we are its client.
    RouteServerClient = 2,
    /// We buy transit from the neighbour.
    Customer = 3,
    /// Neither: we exchange our own and our customers' routes.
    Peer = 4,
}

impl Role {
    /// Every role with its name in configuration and output.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("provider", Self::Provider),
        ("rs", Self::RouteServer),
        ("rs-client", Self::RouteServerClient),
        ("customer", Self::Customer),
        ("peer", Self::Peer),
    ];

    /// The role with this code in the capability.
    pub fn from_u8(code: u8) -> Option<Self> {
        Self::WORDS.into_iter().map(|(_, role)| role).find(|role| *role as u8 == code)
    }

    /// The name used in configuration and output.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, role)| *role == self).map_or("", |(word, _)| word)
    }

    /// The role that the neighbour must have (RFC 9234 section 4.2).
    #[must_use]
    pub fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// Whether a route that came with this "Only to Customer" is a leak (section 5, ingress rules 1 and 2).
    pub fn is_leak(self, otc: Asn, neighbor: Asn) -> bool {
        match self {
            Self::Provider | Self::RouteServer => true,
            Self::Peer => otc != neighbor,
            Self::Customer | Self::RouteServerClient => false,
        }
    }

    /// Whether what comes from the neighbour goes to customers only (section 5, ingress rule 3).
    pub fn marks_received(self) -> bool {
        matches!(self, Self::Customer | Self::Peer | Self::RouteServerClient)
    }

    /// Whether what goes to the neighbour goes to customers only from then on (section 5, egress rule 1);
    /// else a route that already does may not go there (egress rule 2).
    pub fn marks_sent(self) -> bool {
        matches!(self, Self::Provider | Self::Peer | Self::RouteServer)
    }

    /// Whether a route that goes to customers only may go to the neighbour (section 5, egress rule 2).
    pub fn takes_marked(self) -> bool {
        matches!(self, Self::Provider | Self::RouteServer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role (provider, rs, rs-client, customer or peer)")]
pub struct ParseRoleError(String);

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        found.map(|(_, role)| role).ok_or_else(|| ParseRoleError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_fits_its_counterpart_and_its_code() {
        for (word, role) in Role::WORDS {
            assert_eq!(role.counterpart().counterpart(), role);
            assert_eq!(Role::from_u8(role as u8), Some(role));
            assert_eq!(word.parse(), Ok(role));
            assert_eq!(role.to_string(), word);
        }
        assert_eq!(Role::from_u8(5), None);
        assert!("sibling".parse::<Role>().is_err());
    }

    #[test]
    fn only_customers_and_clients_get_what_is_marked() {
        for (_, role) in Role::WORDS {
            // What one side marks on the way in, the other may not have sent if it was marked before.
            assert_eq!(role.marks_received(), role.counterpart().marks_sent());
            assert!(!role.takes_marked() || role.marks_sent());
        }
        assert!(Role::Provider.is_leak(Asn(1), Asn(1)));
        assert!(Role::Peer.is_leak(Asn(2), Asn(1)) && !Role::Peer.is_leak(Asn(1), Asn(1)));
        assert!(!Role::Customer.is_leak(Asn(2), Asn(1)));
    }
}
