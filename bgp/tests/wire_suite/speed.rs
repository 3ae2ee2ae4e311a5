//! How long reading takes, for whoever changes the walk: `cargo test --release -- --ignored speed`.

use std::hint::black_box;
use std::time::Instant;

use bgp::types::{Asn, Family, FamilySet};
use bgp::wire::{
    AsPath, AttributeContext, Attributes, Community, EncodeContext, Message, decode, encode_announce,
};
use bytes::BytesMut;
use ipnet::{IpNet, Ipv4Net};

use crate::support::*;

/// Four full tables' worth: 1.2 million UPDATEs with 5.65 million prefixes.
#[test]
#[ignore = "a measurement, only meaningful in release builds"]
fn speed_of_reading_four_full_tables() {
    const UPDATES: u32 = 1_200_000;
    let frames: Vec<BytesMut> = (0..1000_u32)
        .map(|index| {
            let attributes = Attributes {
                as_path: (1..=4).map(|hop| Asn(index + hop)).collect::<AsPath>(),
                med: Some(index),
                communities: (0..4).map(|value| Community::new(65_001, value)).collect(),
                ..Attributes::originated(std::net::Ipv4Addr::new(192, 0, 2, 1))
            };
            let count = if index % 10 < 7 { 5 } else { 4 };
            let nets = (0..count)
                .map(|net| IpNet::V4(Ipv4Net::new(((index << 16) + (net << 8)).into(), 24).unwrap()));
            let mut out = BytesMut::new();
            let ctx = EncodeContext {
                as4: true,
                extended: false,
                add_path: FamilySet::EMPTY,
                extended_next_hop: false,
            };
            encode_announce(&mut out, Family::Ipv4Unicast, &attributes, nets, &ctx).unwrap();
            out
        })
        .collect();
    let start = Instant::now();
    let (mut prefixes, mut octets) = (0_usize, 0_usize);
    let mut key = Vec::new();
    for index in 0..UPDATES {
        let frame = &frames[index as usize % frames.len()];
        let Ok(Message::Update(update)) = decode(frame, &EBGP) else { panic!("no UPDATE") };
        for announcement in update.announcements() {
            prefixes += announcement.nlri.iter_v4().map(black_box).count();
            update.attribute_key(
                announcement.mp,
                AttributeContext { as4: true, ebgp: true, ..AttributeContext::default() },
                &mut key,
            );
            octets += black_box(&key).len();
        }
    }
    let took = start.elapsed();
    println!("{UPDATES} UPDATEs, {prefixes} prefixes, {octets} octets of keys: {took:?}");
}
