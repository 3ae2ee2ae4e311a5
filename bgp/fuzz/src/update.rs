//! UPDATEs: prefixes, attribute keys, attributes; what they mean survives being written anew.
//!
//! Input: an octet for the context, then the body of the UPDATE.

use bgp::types::{Family, FamilySet};
use bgp::wire::{
    Announcement, AttributeContext, Attributes, DecodeContext, EncodeContext, Message, Update, UpdateVerdict,
    decode, encode_announce, encode_withdraw, frame_len, parse_attributes,
};
use bytes::BytesMut;
use ipnet::IpNet;

use super::context;

pub(crate) fn run(data: &[u8]) {
    let Some((bits, body)) = data.split_first() else { return };
    let ctx = context(*bits);
    let Ok(length) = u16::try_from(body.len() + 19) else { return };
    let frame = [&[0xff; 16][..], &length.to_be_bytes(), &[2], body].concat();
    if let Ok(Message::Update(update)) = decode(&frame, &ctx) {
        check(&update, ctx);
    }
}

/// Everything that can be asked of an UPDATE.
pub(super) fn check(update: &Update<'_>, ctx: DecodeContext) {
    assert_eq!(*update, Update::from_layout(update.frame(), update.layout()));
    assert!(update.ignored().count() <= 3);
    if let Some(family) = update.end_of_rib() {
        assert!(update.announcements().next().is_none() && update.withdrawals().next().is_none());
        assert!(ctx.families.contains(family) || family == Family::Ipv4Unicast);
    }
    for (family, nlri) in update.withdrawals() {
        assert!(ctx.families.contains(family));
        let prefixes: Vec<IpNet> = nlri.iter().collect();
        assert!(!prefixes.is_empty());
        let mut out = BytesMut::new();
        encode_withdraw(&mut out, family, prefixes.iter().copied(), &EncodeContext::default());
        let again = each_update(&out, |update| {
            assert!(update.announcements().next().is_none());
            update.withdrawals().flat_map(|(_, nlri)| nlri.iter()).collect()
        });
        assert_eq!(prefixes, again);
    }
    for announcement in update.announcements() {
        assert!(ctx.families.contains(announcement.family));
        announced(update, &announcement, ctx);
    }
}

fn announced(update: &Update<'_>, announcement: &Announcement<'_>, ctx: DecodeContext) {
    let prefixes: Vec<IpNet> = announcement.nlri.iter().collect();
    assert!(!prefixes.is_empty());
    assert!(
        prefixes.iter().all(|prefix| *prefix == prefix.trunc() && Family::of(prefix) == announcement.family)
    );
    let mut key = Vec::new();
    let source = AttributeContext { as4: ctx.as4, ebgp: ctx.ebgp, ..AttributeContext::default() };
    for refuse_as_sets in [true, false] {
        update.attribute_key(announcement.mp, AttributeContext { refuse_as_sets, ..source }, &mut key);
        let _ = parse_attributes(&key);
    }
    update.attribute_key(announcement.mp, AttributeContext { aigp: true, ..source }, &mut key);
    let Ok((attributes, discarded)) = parse_attributes(&key) else { return };
    for error in discarded.iter() {
        assert!(!error.to_string().is_empty());
    }
    if update.verdict() != UpdateVerdict::Accept {
        return;
    }
    let canonical = attributes.to_key();
    let Ok((again, none)) = parse_attributes(&canonical) else {
        panic!("a canonical key that cannot be parsed")
    };
    assert!(none.is_empty() && again == attributes && again.to_key() == canonical);
    let _ = format!("{} {attributes:?}", attributes.as_path);
    for as4 in [true, false] {
        for extended in [true, false] {
            let target = EncodeContext { as4, extended, ..EncodeContext::default() };
            written(announcement.family, &attributes, &prefixes, target);
        }
    }
}

/// What is announced anew has the same prefixes, and the same attributes where nothing narrows them.
fn written(family: Family, attributes: &Attributes, prefixes: &[IpNet], target: EncodeContext) {
    let mut out = BytesMut::new();
    if encode_announce(&mut out, family, attributes, prefixes.iter().copied(), &target).is_err() {
        assert!(out.is_empty());
        return;
    }
    let ctx = DecodeContext {
        families: FamilySet::ALL,
        as4: target.as4,
        extended: target.extended,
        ebgp: false,
        ..DecodeContext::default()
    };
    let again = each_update_in(ctx, &out, |update| {
        for announcement in update.announcements() {
            let mut key = Vec::new();
            let source = AttributeContext { as4: target.as4, aigp: true, ..AttributeContext::default() };
            update.attribute_key(announcement.mp, source, &mut key);
            let narrowed = !target.as4 || update.verdict() != UpdateVerdict::Accept;
            if !narrowed {
                let Ok((read, _)) = parse_attributes(&key) else {
                    panic!("attributes that cannot be read back")
                };
                let mut expected = attributes.clone();
                if !announcement.mp {
                    expected.next_hop.link_local = None;
                }
                assert_eq!(read, expected);
            }
        }
        update.announcements().flat_map(|announcement| announcement.nlri.iter()).collect()
    });
    assert_eq!(prefixes, again);
}

fn each_update(bytes: &[u8], read: impl FnMut(&Update<'_>) -> Vec<IpNet>) -> Vec<IpNet> {
    let ctx = DecodeContext { families: FamilySet::ALL, as4: true, ..DecodeContext::default() };
    each_update_in(ctx, bytes, read)
}

/// Reads messages of our own, which must be sound and no longer than they may be.
fn each_update_in(
    ctx: DecodeContext,
    mut bytes: &[u8],
    mut read: impl FnMut(&Update<'_>) -> Vec<IpNet>,
) -> Vec<IpNet> {
    let mut out = Vec::new();
    while let Ok(Some(length)) = frame_len(bytes, ctx.max_message()) {
        let (frame, rest) = bytes.split_at(length);
        match decode(frame, &ctx) {
            Ok(Message::Update(update)) => out.extend(read(&update)),
            other => panic!("we wrote {frame:?}, which is read as {other:?}"),
        }
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a message was written");
    out
}
