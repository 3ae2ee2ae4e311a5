//! RFC 7606, rule by rule: what a malformed UPDATE does to the session and to the routes.

use bgp::types::{Asn, Family, FamilySet};
use bgp::wire::{AttributeContext, Attributes, DecodeContext, Reason, parse_attributes};

use crate::support::*;

/// The session is reset with this UPDATE error subcode.
fn resets(frame: &[u8], ctx: DecodeContext, subcode: u8) {
    let error = effect(frame, ctx).expect_err("the session should be reset");
    assert_eq!((error.code, error.subcode), (3, subcode), "{error}");
}

/// 10.0.0.0/8 is withdrawn for this reason, and the session lives.
fn withdraws(attributes: &[u8], ctx: DecodeContext, code: u8, reason: Reason) {
    let effect = effect(&announce(attributes), ctx).expect("the session should live");
    assert_eq!(effect.withdrawn, nets(&["10.0.0.0/8"]));
    assert_eq!(effect.announced, []);
    let [error] = effect.errors[..] else { panic!("{:?}", effect.errors) };
    assert_eq!((error.code, error.reason), (code, reason));
}

/// The route lives without the attribute, which is reported with this reason.
fn discards(attributes: &[u8], ctx: DecodeContext, code: u8, reason: Reason) -> Attributes {
    let effect = effect(&announce(attributes), ctx).expect("the session should live");
    let [error] = effect.discarded[..] else { panic!("{:?}", effect.discarded) };
    assert_eq!((error.code, error.reason), (code, reason));
    accepted(&announce(attributes), ctx)
}

fn accepted(frame: &[u8], ctx: DecodeContext) -> Attributes {
    let mut effect = effect(frame, ctx).expect("the session should live");
    assert_eq!((effect.errors.as_slice(), effect.announced.len()), (&[][..], 1));
    effect.announced.remove(0).1
}

#[test]
fn a_sound_update_is_taken() {
    let attributes = accepted(&announce(&mandatory_and(&[])), EBGP);
    assert_eq!(attributes.as_path.to_string(), "65001");
    assert_eq!(attributes.next_hop.to_string(), "192.0.2.1");
}

#[test]
fn section_3_b_lengths_beyond_the_message_reset_the_session() {
    let sound = announce(&mandatory_and(&[]));
    for at in [19, 21] {
        let mut frame = sound.clone();
        frame[at] = 0x7f;
        resets(&frame, EBGP, 1);
    }
}

#[test]
fn section_3_c_flags_in_conflict_withdraw_the_routes() {
    let mp = attr(WELL_KNOWN, 14, &mp_reach(&NEXT_HOP6));
    for (flags, code, value) in [
        (OPTIONAL, 1, &[0][..]),
        (TRANSITIVE, 2, &[]),
        (0, 3, &[192, 0, 2, 1]),
        (TRANSITIVE, 4, &[0, 0, 0, 1]),
        (OPTIONAL, 6, &[]),
        (OPTIONAL, 7, &[0, 0, 0, 1, 192, 0, 2, 1]),
        (OPTIONAL, 8, &[0, 1, 0, 1]),
        (OPTIONAL, 32, &[0; 12]),
    ] {
        let bad = attr(flags, code, value);
        let rest = [origin(), as_path(), next_hop()];
        let sound = rest.iter().filter(|sound| sound[1] != code).flatten().copied();
        let block: Vec<u8> = bad.iter().copied().chain(sound).collect();
        withdraws(&block, EBGP, code, Reason::Flags);
    }
    let effect = effect(&update(&[], &[mp, origin(), as_path()].concat(), &[]), EBGP).unwrap();
    assert_eq!(effect.withdrawn, nets(&["2001:db8::/32"]));
    assert_eq!((effect.errors[0].code, effect.errors[0].reason), (14, Reason::Flags));
}

#[test]
fn section_3_c_the_other_flag_bits_do_not_matter() {
    let extended = [WELL_KNOWN | 0x10, 1, 0, 1, 0];
    let partial = attr(TRANSITIVE | 0x2f, 8, &[0, 1, 0, 2]);
    let block = [&extended[..], &as_path(), &next_hop(), &partial].concat();
    assert_eq!(accepted(&announce(&block), EBGP).communities.len(), 1);
}

#[test]
fn section_3_d_a_missing_mandatory_attribute_withdraws_the_routes() {
    withdraws(&[as_path(), next_hop()].concat(), EBGP, 1, Reason::Missing);
    withdraws(&[origin(), next_hop()].concat(), EBGP, 2, Reason::Missing);
    withdraws(&[origin(), as_path()].concat(), EBGP, 3, Reason::Missing);
}

#[test]
fn section_3_g_a_multiprotocol_attribute_twice_resets_the_session() {
    let reach = attr(OPTIONAL, 14, &mp_reach(&NEXT_HOP6));
    let unreach = attr(OPTIONAL, 15, &MP_UNREACH);
    resets(&announce(&mandatory_and(&[&reach, &reach])), EBGP, 1);
    resets(&announce(&mandatory_and(&[&unreach, &unreach])), EBGP, 1);
    // Of a family that was not negotiated, too.
    let other = attr(OPTIONAL, 15, &[0, 25, 70]);
    resets(&announce(&mandatory_and(&[&other, &other])), EBGP, 1);
}

#[test]
fn section_3_g_of_any_other_attribute_twice_the_first_counts() {
    let med = |value: u8| attr(OPTIONAL, 4, &[0, 0, 0, value]);
    let bad = attr(OPTIONAL, 4, &[1]);
    let unknown = |value: u8| attr(TRANSITIVE, 99, &[value]);
    let block = mandatory_and(&[&med(1), &med(2), &bad, &unknown(7), &unknown(8)]);
    let attributes = accepted(&announce(&block), EBGP);
    assert_eq!(attributes.med, Some(1));
    assert_eq!(attributes.unknown.len(), 1);
    assert_eq!(attributes.unknown[0].value, [7]);
}

#[test]
fn section_3_h_the_strongest_action_wins() {
    let discard = attr(TRANSITIVE, 7, &[1]);
    let withdraw = attr(OPTIONAL, 4, &[1]);
    withdraws(&mandatory_and(&[&discard, &withdraw]), EBGP, 4, Reason::Length);
    let short = attr(OPTIONAL, 15, &[0, 2]);
    resets(&announce(&mandatory_and(&[&discard, &withdraw, &short])), EBGP, 9);
}

#[test]
fn section_3_i_withdrawn_prefixes_are_checked_like_announced_ones() {
    resets(&update(&[33, 1, 2, 3, 4, 5], &[], &[]), EBGP, 10);
    resets(&update(&[24, 10], &[], &[]), EBGP, 10);
}

#[test]
fn section_3_j_a_cut_multiprotocol_attribute_resets_the_session() {
    for code in [14, 15] {
        let block = mandatory_and(&[&[OPTIONAL, code, 200, 0, 2, 1]]);
        resets(&announce(&block), EBGP, 1);
    }
}

#[test]
fn section_4_an_attribute_list_that_ends_early_withdraws_the_routes() {
    let overrun = mandatory_and(&[&[TRANSITIVE, 99, 5, 0]]);
    withdraws(&overrun, EBGP, 0, Reason::Truncated);
    for rest in [&[0xc0][..], &[0xc0, 8], &[0xd0, 8, 0]] {
        withdraws(&mandatory_and(&[rest]), EBGP, 0, Reason::Truncated);
    }
}

#[test]
fn section_4_attributes_of_length_zero_are_malformed_where_they_need_a_value() {
    for (flags, code) in [(OPTIONAL, 4), (TRANSITIVE, 8), (TRANSITIVE, 16), (TRANSITIVE, 32)] {
        withdraws(&mandatory_and(&[&attr(flags, code, &[])]), EBGP, code, Reason::Length);
    }
    let block = [origin(), attr(WELL_KNOWN, 2, &[]), next_hop()].concat();
    assert!(accepted(&announce(&block), IBGP).as_path.is_empty());
}

#[test]
fn section_5_1_multiprotocol_attributes_are_taken_anywhere_and_together() {
    let reach = attr(OPTIONAL, 14, &mp_reach(&NEXT_HOP6));
    let unreach = attr(OPTIONAL, 15, &[0, 2, 1, 16, 0x20, 0x02]);
    for parts in [[&reach, &unreach], [&unreach, &reach]] {
        let block = [parts[0].clone(), origin(), as_path(), parts[1].clone(), next_hop()].concat();
        let frame = update(&[8, 11], &block, &[8, 10]);
        let (sound, mut key) = (decode_update(&frame, EBGP).unwrap(), Vec::new());
        sound.attribute_key(
            false,
            AttributeContext { as4: true, ebgp: true, ..AttributeContext::default() },
            &mut key,
        );
        assert_eq!(key, [vec![3, 0], mandatory_and(&[])].concat());
        sound.attribute_key(true, AttributeContext::default(), &mut key);
        assert_eq!(key, [&[0, 16][..], &NEXT_HOP6, &mandatory_and(&[])].concat());
        let effect = effect(&frame, EBGP).unwrap();
        assert_eq!(effect.withdrawn, nets(&["11.0.0.0/8", "2002::/16"]));
        let [v4, v6] = &effect.announced[..] else { panic!("{effect:?}") };
        assert_eq!((v4.0, v6.0), (nets(&["10.0.0.0/8"])[0], nets(&["2001:db8::/32"])[0]));
        assert_eq!(v4.1.next_hop.to_string(), "192.0.2.1");
        assert_eq!(v6.1.next_hop.to_string(), "2001:db8::1");
    }
}

#[test]
fn section_5_2_an_attribute_error_without_reachable_routes_resets_the_session() {
    let bad = attr(OPTIONAL, 4, &[1]);
    resets(&update(&[8, 10], &bad, &[]), EBGP, 5);
    resets(&update(&[], &[attr(OPTIONAL, 15, &MP_UNREACH), bad.clone()].concat(), &[]), EBGP, 5);
    resets(&update(&[], &attr(WELL_KNOWN, 1, &[9]), &[]), EBGP, 6);
    resets(&update(&[], &[0xc0, 8], &[]), EBGP, 1);
    // An MP_REACH_NLRI without prefixes reaches nothing.
    let reach = [&[0, 2, 1, 16][..], &NEXT_HOP6, &[0]].concat();
    resets(&update(&[], &[attr(OPTIONAL, 14, &reach), bad].concat(), &[]), EBGP, 5);
}

#[test]
fn section_5_2_discardable_errors_and_missing_attributes_do_not_matter_there() {
    let aggregator = attr(TRANSITIVE, 7, &[1]);
    let effect = effect(&update(&[8, 10], &aggregator, &[]), EBGP).unwrap();
    assert_eq!(effect.withdrawn, nets(&["10.0.0.0/8"]));
}

#[test]
fn section_5_3_malformed_prefixes_reset_the_session() {
    let block = mandatory_and(&[]);
    resets(&update(&[], &block, &[33, 1, 2, 3, 4, 5]), EBGP, 10);
    resets(&update(&[], &block, &[8, 10, 24, 192, 0]), EBGP, 10);
    let reach = |nlri: &[u8]| {
        let value = [&[0, 2, 1, 16][..], &NEXT_HOP6, &[0], nlri].concat();
        update(&[], &[attr(OPTIONAL, 14, &value), mandatory_and(&[])].concat(), &[])
    };
    resets(&reach(&[129; 18]), EBGP, 9);
    resets(&reach(&[32, 0x20]), EBGP, 9);
    resets(&update(&[], &attr(OPTIONAL, 15, &[0, 2, 1, 129]), &[]), EBGP, 9);
    resets(&update(&[], &attr(OPTIONAL, 15, &[0, 1, 1, 32, 10]), &[]), EBGP, 9);
}

#[test]
fn section_7_1_origin() {
    let rest = [as_path(), next_hop()].concat();
    for (value, reason) in [(&[3][..], Reason::Value), (&[], Reason::Length), (&[0, 0], Reason::Length)] {
        withdraws(&[attr(WELL_KNOWN, 1, value), rest.clone()].concat(), EBGP, 1, reason);
    }
}

#[test]
fn section_7_2_as_path() {
    for (value, reason) in [
        (&[9, 1, 0, 0, 0, 1][..], Reason::SegmentType),
        (&[2, 2, 0, 0, 0, 1], Reason::Segment),
        (&[2, 1, 0, 0, 0, 1, 2], Reason::Segment),
        (&[2, 0], Reason::Segment),
        (&[2, 1, 0, 0, 0, 0], Reason::AsZero),
        (&[3, 1, 0, 0, 0, 1], Reason::Confederation),
    ] {
        let block = [origin(), attr(WELL_KNOWN, 2, value), next_hop()].concat();
        withdraws(&block, EBGP, 2, reason);
    }
}

#[test]
fn section_7_3_next_hop() {
    for (value, reason) in [
        (&[192, 0, 2][..], Reason::Length),
        (&[192, 0, 2, 1, 0], Reason::Length),
        (&[0, 0, 0, 0], Reason::NotAHost),
        (&[127, 0, 0, 1], Reason::NotAHost),
        (&[224, 0, 0, 5], Reason::NotAHost),
        (&[255, 255, 255, 255], Reason::NotAHost),
    ] {
        let block = [origin(), as_path(), attr(WELL_KNOWN, 3, value)].concat();
        withdraws(&block, EBGP, 3, reason);
    }
}

#[test]
fn section_7_4_multi_exit_disc() {
    withdraws(&mandatory_and(&[&attr(OPTIONAL, 4, &[0, 0, 1])]), EBGP, 4, Reason::Length);
    let block = mandatory_and(&[&attr(OPTIONAL, 4, &[0, 0, 1, 2])]);
    assert_eq!(accepted(&announce(&block), EBGP).med, Some(258));
}

#[test]
fn section_7_5_local_pref() {
    let block = |value: &[u8]| mandatory_and(&[&attr(WELL_KNOWN, 5, value)]);
    assert_eq!(discards(&block(&[0, 0, 0, 200]), EBGP, 5, Reason::External).local_pref, None);
    assert_eq!(discards(&block(&[1]), EBGP, 5, Reason::External).local_pref, None);
    assert_eq!(accepted(&announce(&block(&[0, 0, 0, 200])), IBGP).local_pref, Some(200));
    withdraws(&block(&[1]), IBGP, 5, Reason::Length);
}

#[test]
fn section_7_6_atomic_aggregate() {
    let block = mandatory_and(&[&attr(WELL_KNOWN, 6, &[1])]);
    assert!(!discards(&block, EBGP, 6, Reason::Length).atomic_aggregate);
    let block = mandatory_and(&[&attr(WELL_KNOWN, 6, &[])]);
    assert!(accepted(&announce(&block), EBGP).atomic_aggregate);
}

#[test]
fn section_7_7_aggregator() {
    let wide = mandatory_and(&[&attr(TRANSITIVE, 7, &[0, 1, 0x11, 0x70, 192, 0, 2, 9])]);
    let address = "192.0.2.9".parse().unwrap();
    assert_eq!(accepted(&announce(&wide), EBGP).aggregator, Some((Asn(70_000), address)));
    assert_eq!(discards(&old(&wide), OLD, 7, Reason::Length).aggregator, None);
    let narrow = mandatory_and(&[&attr(TRANSITIVE, 7, &[0xfd, 0xe9, 192, 0, 2, 9])]);
    assert_eq!(discards(&narrow, EBGP, 7, Reason::Length).aggregator, None);
    assert_eq!(accepted(&announce(&old(&narrow)), OLD).aggregator, Some((Asn(65_001), address)));
    let zero = mandatory_and(&[&attr(TRANSITIVE, 7, &[0, 0, 0, 0, 192, 0, 2, 9])]);
    assert_eq!(discards(&zero, EBGP, 7, Reason::AsZero).aggregator, None);
}

/// A block whose path 65001 has two octets.
fn old(block: &[u8]) -> Vec<u8> {
    let at = block.windows(as_path().len()).position(|window| window == as_path()).expect("a path");
    let narrow = attr(WELL_KNOWN, 2, &[2, 1, 0xfd, 0xe9]);
    [&block[..at], &narrow, &block[at + as_path().len()..]].concat()
}

#[test]
fn sections_7_8_and_7_14_and_rfc_8092_communities() {
    for (code, unit) in [(8, 4), (16, 8), (32, 12)] {
        for length in [unit - 1, unit + 1, 0] {
            let bad = attr(TRANSITIVE, code, &vec![1; length]);
            withdraws(&mandatory_and(&[&bad]), EBGP, code, Reason::Length);
        }
    }
    let one: Vec<u8> = (1..=12).collect();
    let block = mandatory_and(&[
        &attr(TRANSITIVE, 8, &[0xfd, 0xe9, 0, 100, 0xff, 0xff, 0xff, 1]),
        &attr(TRANSITIVE, 16, &[0, 2, 0xfd, 0xe9, 0, 0, 0, 7]),
        &attr(TRANSITIVE, 32, &[one.clone(), one.clone(), vec![0; 12], one].concat()),
    ]);
    let attributes = accepted(&announce(&block), EBGP);
    let text: Vec<String> = attributes.communities.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["65001:100", "no-export"]);
    assert_eq!(attributes.extended_communities[0].to_string(), "rt:65001:7");
    let text: Vec<String> = attributes.large_communities.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["16909060:84281096:151653132", "0:0:0"], "duplicates go, order stays");
}

#[test]
fn section_7_9_originator_id() {
    let block = |value: &[u8]| mandatory_and(&[&attr(OPTIONAL, 9, value)]);
    discards(&block(&[192, 0, 2, 3]), EBGP, 9, Reason::External);
    withdraws(&block(&[192, 0, 2]), IBGP, 9, Reason::Length);
    let id = accepted(&announce(&block(&[192, 0, 2, 3])), IBGP).originator_id.unwrap();
    assert_eq!(id.to_string(), "192.0.2.3");
}

#[test]
fn section_7_10_cluster_list() {
    let block = |value: &[u8]| mandatory_and(&[&attr(OPTIONAL, 10, value)]);
    discards(&block(&[192, 0, 2, 3]), EBGP, 10, Reason::External);
    withdraws(&block(&[192, 0, 2, 3, 4]), IBGP, 10, Reason::Length);
    withdraws(&block(&[]), IBGP, 10, Reason::Length);
    assert_eq!(accepted(&announce(&block(&[192, 0, 2, 3])), IBGP).cluster_list.len(), 1);
}

#[test]
fn section_7_11_mp_reach_nlri() {
    let frame = |value: &[u8]| update(&[], &[attr(OPTIONAL, 14, value), origin(), as_path()].concat(), &[]);
    let reach = |next_hop: &[u8]| frame(&mp_reach(next_hop));
    for length in [0, 4, 15, 17, 24, 31, 33, 48] {
        resets(&reach(&vec![0x20; length]), EBGP, 9);
    }
    for short in [&[][..], &[0, 2, 1], &[0, 2, 1, 0], &[0, 2, 1, 16, 1, 2, 3]] {
        resets(&frame(short), EBGP, 9);
    }
    let [mut link_local, zero] = [[0; 16]; 2];
    link_local[..2].copy_from_slice(&[0xfe, 0x80]);
    for (next_hop, text) in [
        (NEXT_HOP6.to_vec(), "2001:db8::1"),
        ([NEXT_HOP6, link_local].concat(), "2001:db8::1 (fe80::)"),
        ([NEXT_HOP6, NEXT_HOP6].concat(), "2001:db8::1"),
        ([zero, link_local].concat(), "fe80:: (fe80::)"),
        (link_local.to_vec(), "fe80::"),
    ] {
        assert_eq!(accepted(&reach(&next_hop), EBGP).next_hop.to_string(), text);
    }
    let effect = effect(&reach(&zero), EBGP).unwrap();
    assert_eq!((effect.errors[0].code, effect.errors[0].reason), (14, Reason::NotAHost));
    assert_eq!(effect.withdrawn, nets(&["2001:db8::/32"]));
}

#[test]
fn section_7_11_ipv4_routes_with_an_ipv6_next_hop_are_withdrawn_unless_negotiated() {
    let value = [&[0, 1, 1, 16][..], &NEXT_HOP6, &[0, 8, 10]].concat();
    let block = [attr(OPTIONAL, 14, &value), origin(), as_path()].concat();
    let effect = effect(&update(&[], &block, &[]), EBGP).unwrap();
    assert_eq!(effect.withdrawn, nets(&["10.0.0.0/8"]));
    assert_eq!((effect.errors[0].code, effect.errors[0].reason), (14, Reason::Family));
    let value = [0, 1, 1, 4, 192, 0, 2, 7, 0, 8, 10];
    let block = [attr(OPTIONAL, 14, &value), origin(), as_path()].concat();
    let attributes = accepted(&update(&[], &block, &[]), EBGP);
    assert_eq!(attributes.next_hop.to_string(), "192.0.2.7");
}

#[test]
fn section_7_12_mp_unreach_nlri() {
    for short in [&[][..], &[0], &[0, 2]] {
        resets(&update(&[], &attr(OPTIONAL, 15, short), &[]), EBGP, 9);
    }
    let effect = effect(&update(&[], &attr(OPTIONAL, 15, &MP_UNREACH), &[]), EBGP).unwrap();
    assert_eq!(effect.withdrawn, nets(&["2001:db8::/32"]));
}

#[test]
fn unknown_attributes_go_by_their_flags() {
    let block = mandatory_and(&[
        &attr(TRANSITIVE, 200, &[2]),
        &attr(OPTIONAL, 100, &[1]),
        &attr(TRANSITIVE | 0x10, 99, &[]),
    ]);
    // The last one has an extended length, whose second octet is the zero that `attr` wrote.
    let block = [block, vec![0]].concat();
    let attributes = accepted(&announce(&block), EBGP);
    let kept: Vec<_> = attributes.unknown.iter().map(|other| (other.code, other.flags)).collect();
    assert_eq!(kept, [(99, 0xe0), (200, 0xe0)]);
    // RFC 4271 section 6.3, which RFC 7606 leaves as it is.
    let well_known = attr(WELL_KNOWN, 99, &[1, 2]);
    let error = effect(&announce(&mandatory_and(&[&well_known])), EBGP).unwrap_err();
    assert_eq!((error.subcode, error.data), (2, well_known));
}

#[test]
fn rfc_7311_aigp_is_taken_where_it_is_enabled_and_dropped_when_malformed() {
    let tlv = |metric: u8| vec![1, 0, 11, 0, 0, 0, 0, 0, 0, 0, metric];
    let with = |flags, value: &[u8]| mandatory_and(&[&attr(flags, 26, value)]);
    let taken = accepted(&announce(&with(OPTIONAL, &[tlv(7), vec![9, 0, 4, 1], tlv(8)].concat())), IBGP);
    let aigp = taken.aigp.expect("the attribute");
    assert_eq!((aigp.metric, aigp.others), (7, [vec![9, 0, 4, 1], tlv(8)].concat()));
    // Not enabled: as if unknown, so not even an error.
    for value in [&tlv(7)[..], &[1, 0]] {
        let quiet = effect(&announce(&with(OPTIONAL, value)), EBGP).expect("the session should live");
        assert!(quiet.discarded.is_empty() && quiet.announced[0].1.aigp.is_none());
    }
    for value in [&[1, 0][..], &[1, 0, 2], &[1, 0, 10, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 11, 0], &[9, 0, 9, 1]] {
        assert_eq!(discards(&with(OPTIONAL, value), IBGP, 26, Reason::Length).aigp, None);
    }
    discards(&with(TRANSITIVE, &tlv(7)), IBGP, 26, Reason::Flags);
}

#[test]
fn rfc_9234_only_to_customer() {
    let with = |flags, value: &[u8]| mandatory_and(&[&attr(flags, 35, value)]);
    assert_eq!(accepted(&announce(&with(TRANSITIVE, &[0, 0, 0, 9])), EBGP).otc, Some(Asn(9)));
    withdraws(&with(TRANSITIVE, &[0, 0, 9]), EBGP, 35, Reason::Length);
    withdraws(&with(OPTIONAL, &[0, 0, 0, 9]), EBGP, 35, Reason::Flags);
}

#[test]
fn rfc_9774_sets_are_refused_where_that_is_asked_for() {
    let set = attr(WELL_KNOWN, 2, &[2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2]);
    let frame = announce(&[origin(), set, next_hop()].concat());
    let update = decode_update(&frame, EBGP).expect("a sound message");
    let parsed = |refuse_as_sets| {
        let mut key = Vec::new();
        let context =
            AttributeContext { as4: true, ebgp: true, refuse_as_sets, ..AttributeContext::default() };
        update.attribute_key(false, context, &mut key);
        parse_attributes(&key).map(|(attributes, _)| attributes.as_path.to_string())
    };
    assert_eq!(parsed(false), Ok("1 {2}".to_owned()));
    let error = parsed(true).expect_err("a set");
    assert_eq!((error.code, error.reason), (2, Reason::AsSet));
}

#[test]
fn rfc_4271_partial_stays_once_it_is_set() {
    let partial = attr(0xe0, 8, &[0, 1, 0, 2]);
    let attributes = accepted(&announce(&mandatory_and(&[&partial, &attr(0xc0, 32, &[1; 12])])), EBGP);
    assert_eq!(attributes.partial.codes().collect::<Vec<_>>(), [8]);
    let key = attributes.to_key();
    assert!(key.windows(3).any(|window| window == [0xe0, 8, 4]) && key.windows(2).any(|w| w == [0xc0, 32]));
    assert_eq!(parse_attributes(&key).map(|(read, _)| read), Ok(attributes));
}

#[test]
fn families_that_were_not_negotiated_are_skipped_and_named() {
    let only_v6 = DecodeContext { families: Family::Ipv6Unicast.into(), ..EBGP };
    let only_v4 = DecodeContext { families: Family::Ipv4Unicast.into(), ..EBGP };
    let reach = attr(OPTIONAL, 14, &mp_reach(&NEXT_HOP6));
    let frame = update(&[8, 11], &mandatory_and(&[&reach]), &[8, 10]);
    for (ctx, announced, ignored) in [(only_v6, "2001:db8::/32", (1, 1)), (only_v4, "10.0.0.0/8", (2, 1))] {
        let routes: Vec<_> = effect(&frame, ctx).unwrap().announced.into_iter().map(|(net, _)| net).collect();
        assert_eq!(routes, nets(&[announced]));
        let update = decode_update(&frame, ctx).unwrap();
        assert_eq!(update.ignored().collect::<Vec<_>>(), [ignored]);
    }
    // Whatever is in it: here a VPN route, whose syntax the speaker does not know.
    let vpn = attr(OPTIONAL, 14, &[0, 1, 128, 0, 0, 255, 255]);
    let frame = update(&[], &[vpn, origin(), as_path()].concat(), &[]);
    assert_eq!(effect(&frame, EBGP), Ok(Effect::default()));
    let none = DecodeContext { families: FamilySet::EMPTY, ..EBGP };
    assert_eq!(decode_update(&frame, none).unwrap().ignored().collect::<Vec<_>>(), [(1, 128)]);
}

#[test]
fn rfc_4724_end_of_rib_is_told_from_other_empty_updates() {
    let end = |frame: &[u8], ctx| decode_update(frame, ctx).unwrap().end_of_rib();
    assert_eq!(end(&update(&[], &[], &[]), EBGP), Some(Family::Ipv4Unicast));
    let unreach = |afi| update(&[], &attr(OPTIONAL, 15, &[0, afi, 1]), &[]);
    assert_eq!(end(&unreach(2), EBGP), Some(Family::Ipv6Unicast));
    assert_eq!(end(&unreach(1), EBGP), Some(Family::Ipv4Unicast));
    let only_v4 = DecodeContext { families: Family::Ipv4Unicast.into(), ..EBGP };
    assert_eq!(end(&unreach(2), only_v4), None);
    assert_eq!(end(&update(&[8, 10], &[], &[]), EBGP), None);
    assert_eq!(end(&update(&[8, 10], &attr(OPTIONAL, 15, &[0, 2, 1]), &[]), EBGP), None);
    assert_eq!(end(&update(&[], &attr(OPTIONAL, 15, &MP_UNREACH), &[]), EBGP), None);
    assert_eq!(end(&update(&[], &mandatory_and(&[]), &[]), EBGP), None);
}

#[test]
fn rfc_6793_paths_of_four_octets_come_through_old_speakers() {
    let block = |aggregator: [u8; 2], as4_path: &[u8]| {
        [
            origin(),
            attr(WELL_KNOWN, 2, &[2, 3, 0xfd, 0xe9, 0x5b, 0xa0, 0x5b, 0xa0]),
            next_hop(),
            attr(TRANSITIVE, 7, &[&aggregator[..], &[192, 0, 2, 9]].concat()),
            attr(TRANSITIVE, 17, as4_path),
            attr(TRANSITIVE, 18, &[0, 1, 0x11, 0x70, 192, 0, 2, 9]),
        ]
        .concat()
    };
    let path = [2, 2, 0, 1, 0x11, 0x70, 0, 1, 0x38, 0x80];
    let merged = accepted(&announce(&block([0x5b, 0xa0], &path)), OLD);
    assert_eq!(merged.as_path.to_string(), "65001 70000 80000");
    assert_eq!(merged.aggregator.unwrap().0, Asn(70_000));
    // An aggregator of an old speaker: what was tunnelled is stale.
    let stale = accepted(&announce(&block([0xfd, 0xea], &path)), OLD);
    assert_eq!(stale.as_path.to_string(), "65001 23456 23456");
    assert_eq!(stale.aggregator.unwrap().0, Asn(65_002));
    // Section 6: malformed, it is dropped; its confederation segments are.
    let malformed = discards(&block([0x5b, 0xa0], &path[..5]), OLD, 17, Reason::Segment);
    assert_eq!(malformed.as_path.to_string(), "65001 23456 23456");
    let confed = [&[3, 1, 0, 0, 0, 7][..], &path].concat();
    let merged = accepted(&announce(&block([0x5b, 0xa0], &confed)), OLD);
    assert_eq!(merged.as_path.to_string(), "65001 70000 80000");
    // From a new speaker both are redundant.
    let redundant = mandatory_and(&[&attr(TRANSITIVE, 17, &path)]);
    let kept = discards(&redundant, EBGP, 17, Reason::Redundant);
    assert_eq!(kept.as_path.to_string(), "65001");
}
