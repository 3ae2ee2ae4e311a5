//! Messages built by hand, and the whole way from a frame to routes in one call.

use bgp::types::FamilySet;
use bgp::wire::{
    AttributeContext, AttributeError, Attributes, DecodeContext, Message, ProtocolError, Update,
    UpdateVerdict, decode, parse_attributes,
};
use ipnet::IpNet;

pub(crate) const EBGP: DecodeContext = DecodeContext {
    as4: true,
    families: FamilySet::ALL,
    extended: false,
    add_path: FamilySet::EMPTY,
    extended_next_hop: false,
    ebgp: true,
};
pub(crate) const IBGP: DecodeContext = DecodeContext { ebgp: false, ..EBGP };
pub(crate) const OLD: DecodeContext = DecodeContext { as4: false, ..EBGP };

pub(crate) const WELL_KNOWN: u8 = 0x40;
pub(crate) const OPTIONAL: u8 = 0x80;
pub(crate) const TRANSITIVE: u8 = 0xc0;

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 16];
    frame.extend((19 + body.len() as u16).to_be_bytes());
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(withdrawn);
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend_from_slice(attributes);
    body.extend_from_slice(nlri);
    message(2, &body)
}

pub(crate) fn attr(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![flags, code, value.len() as u8];
    out.extend_from_slice(value);
    out
}

pub(crate) fn origin() -> Vec<u8> {
    attr(WELL_KNOWN, 1, &[0])
}

pub(crate) fn as_path() -> Vec<u8> {
    attr(WELL_KNOWN, 2, &[2, 1, 0, 0, 0xfd, 0xe9])
}

pub(crate) fn next_hop() -> Vec<u8> {
    attr(WELL_KNOWN, 3, &[192, 0, 2, 1])
}

/// The mandatory attributes, then others.
pub(crate) fn mandatory_and(others: &[&[u8]]) -> Vec<u8> {
    [origin(), as_path(), next_hop(), others.concat()].concat()
}

/// 10.0.0.0/8 with these attributes.
pub(crate) fn announce(attributes: &[u8]) -> Vec<u8> {
    update(&[], attributes, &[8, 10])
}

/// Value of an `MP_REACH_NLRI` for `2001:db8::/32`.
pub(crate) fn mp_reach(next_hop: &[u8]) -> Vec<u8> {
    let mut value = vec![0, 2, 1, next_hop.len() as u8];
    value.extend_from_slice(next_hop);
    value.extend([0, 32, 0x20, 0x01, 0x0d, 0xb8]);
    value
}

pub(crate) const NEXT_HOP6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Value of an `MP_UNREACH_NLRI` for `2001:db8::/32`.
pub(crate) const MP_UNREACH: [u8; 8] = [0, 2, 1, 32, 0x20, 0x01, 0x0d, 0xb8];

pub(crate) fn decode_update(frame: &[u8], ctx: DecodeContext) -> Result<Update<'_>, ProtocolError> {
    match decode(frame, &ctx)? {
        Message::Update(update) => Ok(update),
        other => panic!("{} is no UPDATE", other.name()),
    }
}

/// What an UPDATE does to a table of routes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Effect {
    pub(crate) withdrawn: Vec<IpNet>,
    pub(crate) announced: Vec<(IpNet, Attributes)>,
    /// Of what is announced; zeros where there are none.
    pub(crate) path_ids: Vec<u32>,
    /// Why announcements were turned into withdrawals.
    pub(crate) errors: Vec<AttributeError>,
    pub(crate) discarded: Vec<AttributeError>,
}

/// Applies an UPDATE the way a RIB does.
pub(crate) fn effect(frame: &[u8], ctx: DecodeContext) -> Result<Effect, ProtocolError> {
    let update = decode_update(frame, ctx)?;
    // Shipped and viewed again, as between threads.
    let update = Update::from_layout(frame, update.layout());
    let mut effect = Effect::default();
    for (family, nlri) in update.withdrawals() {
        assert_eq!(nlri.family(), family);
        effect.withdrawn.extend(nlri);
    }
    for announcement in update.announcements() {
        let mut key = Vec::new();
        let context =
            AttributeContext { as4: ctx.as4, ebgp: ctx.ebgp, aigp: !ctx.ebgp, refuse_as_sets: false };
        update.attribute_key(announcement.mp, context, &mut key);
        let parsed = match update.verdict() {
            UpdateVerdict::Accept => parse_attributes(&key),
            UpdateVerdict::TreatAsWithdraw(error) => Err(error),
        };
        match parsed {
            Ok((attributes, discarded)) => {
                effect.discarded.extend(discarded.iter());
                let routes = announcement.nlri.iter().map(|prefix| (prefix, attributes.clone()));
                effect.announced.extend(routes);
                effect.path_ids.extend(announcement.nlri.path_ids());
            }
            Err(error) => {
                effect.errors.push(error);
                effect.withdrawn.extend(announcement.nlri);
            }
        }
    }
    Ok(effect)
}

pub(crate) fn nets(prefixes: &[&str]) -> Vec<IpNet> {
    prefixes.iter().map(|prefix| prefix.parse().expect("a prefix")).collect()
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
    digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
