//! What a case is: where the bytes go, what must come of them, and what BIRD does with the same.

use crate::craft::{AFTER, Session, TARGET, WELL_KNOWN, attr, next_hop, origin, update};

/// Where in a session the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// In place of the OPEN.
    Opening,
    /// In place of the KEEPALIVE that confirms the OPEN.
    Confirming,
    /// Behind the first announcements.
    Established,
}

/// What a router did, or must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// NOTIFICATION with this code and subcode, and the end of the session.
    Reset(u8, u8),
    /// The end of the session without a NOTIFICATION.
    Closed,
    /// The session stays, the routes of the UPDATE are gone ("treat-as-withdraw").
    Withdraw,
    /// The session stays, the routes of the UPDATE are taken, without what is wrong with it
    /// ("attribute discard") or because nothing is.
    Taken,
    /// The session stays, or comes up, and nothing changes.
    Ignored,
}

/// What BIRD does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bird {
    /// The same.
    Same,
    /// Something else, and why ours is right.
    Differs(Reaction, &'static str),
}

/// One row of the table.
pub(crate) struct Case {
    /// What is wrong.
    pub(crate) name: String,
    /// Who says what must be done about it.
    pub(crate) source: &'static str,
    pub(crate) session: Session,
    pub(crate) when: When,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Reaction,
    pub(crate) bird: Bird,
    /// Judge by the IPv6 route.
    pub(crate) ipv6: bool,
    /// A field of the path, in the daemon's JSON, that must be empty: what was discarded.
    pub(crate) empty: Option<&'static str>,
    /// The peer closes its side behind the bytes.
    pub(crate) hang_up: bool,
}

impl Case {
    fn new(
        name: impl Into<String>,
        source: &'static str,
        when: When,
        bytes: Vec<u8>,
        expected: Reaction,
    ) -> Self {
        Self {
            name: name.into(),
            source,
            session: Session::External,
            when,
            bytes,
            expected,
            bird: Bird::Same,
            ipv6: false,
            empty: None,
            hang_up: false,
        }
    }

    /// In place of the OPEN.
    pub(crate) fn opening(name: &str, source: &'static str, bytes: Vec<u8>, expected: Reaction) -> Self {
        Self::new(name, source, When::Opening, bytes, expected)
    }

    /// In place of the first KEEPALIVE.
    pub(crate) fn confirming(name: &str, source: &'static str, bytes: Vec<u8>, expected: Reaction) -> Self {
        Self::new(name, source, When::Confirming, bytes, expected)
    }

    /// On an Established session.
    pub(crate) fn established(name: &str, source: &'static str, bytes: Vec<u8>, expected: Reaction) -> Self {
        Self::new(name, source, When::Established, bytes, expected)
    }

    /// An UPDATE that announces the target with the mandatory attributes and these.
    pub(crate) fn beside(name: &str, source: &'static str, more: &[u8], expected: Reaction) -> Self {
        Self::beside_on(Session::External, name, source, more, expected)
    }

    /// The same on another kind of session.
    pub(crate) fn beside_on(
        session: Session,
        name: &str,
        source: &'static str,
        more: &[u8],
        expected: Reaction,
    ) -> Self {
        let block = [session.mandatory(AFTER), more.to_vec()].concat();
        Self::established(name, source, update(&[], &block, &TARGET), expected).on(session)
    }

    /// An UPDATE that announces the target with this attribute in the place of a mandatory one.
    pub(crate) fn instead(
        name: &str,
        source: &'static str,
        code: u8,
        attribute: &[u8],
        expected: Reaction,
    ) -> Self {
        let session = Session::External;
        let sound = [origin(), attr(WELL_KNOWN, 2, &session.as_path(AFTER)), next_hop()];
        let mut block = Vec::new();
        for (known, bytes) in (1..).zip(&sound) {
            block.extend(if known == code { attribute } else { bytes });
        }
        Self::established(name, source, update(&[], &block, &TARGET), expected)
    }

    pub(crate) fn on(self, session: Session) -> Self {
        Self { session, ..self }
    }

    pub(crate) fn judged_by_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    pub(crate) fn judged_by_ipv4(self) -> Self {
        Self { ipv6: false, ..self }
    }

    pub(crate) fn without(self, field: &'static str) -> Self {
        Self { empty: Some(field), ..self }
    }

    pub(crate) fn then_hangs_up(self) -> Self {
        Self { hang_up: true, ..self }
    }

    pub(crate) fn bird_differs(self, reaction: Reaction, why: &'static str) -> Self {
        Self { bird: Bird::Differs(reaction, why), ..self }
    }
}
