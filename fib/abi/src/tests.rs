//! What both halves rely on: sizes without padding, one store for each word, flows spread evenly.

use super::*;

#[test]
fn layouts_have_no_hidden_padding() {
    assert_eq!(size_of::<Settings>(), 8);
    assert_eq!(size_of::<PortKey>(), 4 + 2 + 2);
    assert_eq!(size_of::<Port>(), 4 + 2 + 6);
    assert_eq!(size_of::<Adjacency>(), 4 + 4 + 6 + 6 + 2 + 2);
    assert_eq!(size_of::<Counter>(), 16);
    assert_eq!(size_of::<PortCounters>(), 4 * 16);
}

#[test]
fn words_that_change_under_traffic_are_one_aligned_store() {
    assert_eq!((size_of::<SetWord>(), align_of::<SetWord>()), (8, 8));
    assert_eq!((size_of::<NextHopWord>(), align_of::<NextHopWord>()), (8, 8));
}

#[test]
fn verdicts_are_numbered_without_gaps_and_labelled_apart() {
    for (number, verdict) in Verdict::ALL.iter().enumerate() {
        assert_eq!(*verdict as usize, number);
        assert!(Verdict::ALL[..number].iter().all(|other| other.label() != verdict.label()));
    }
}

#[test]
fn a_next_hop_kind_survives_its_number() {
    for number in 0..=u8::MAX {
        match NextHopKind::from_u8(number) {
            Some(kind) => assert_eq!(kind as u8, number),
            None => assert!(number > NextHopKind::Reject as u8),
        }
    }
}

#[test]
fn an_empty_set_has_no_slot_and_the_largest_hash_stays_inside() {
    assert_eq!(SetWord::default().slot(7), None);
    let word = SetWord { base: 10, slots: 3 };
    assert_eq!(word.slot(0), Some(10));
    assert_eq!(word.slot(u32::MAX), Some(12));
}

#[test]
fn flows_that_differ_in_one_field_spread_over_all_slots() {
    let word = SetWord { base: 0, slots: 64 };
    let fields: [fn(u32) -> u32; 3] = [
        |i| flow_hash(1, 0x0a00_0001 + i, 0x0a01_0001, 6, 0x1f90_0050),
        |i| flow_hash(1, 0x0a00_0001, 0x0a01_0001 + i, 6, 0x1f90_0050),
        |i| flow_hash(1, 0x0a00_0001, 0x0a01_0001, 6, ((1024 + i) << 16) + 443),
    ];
    for hash in fields {
        let mut hits = [0_u32; 64];
        for i in 0..64 * 256 {
            if let Some(slot) = word.slot(hash(i)) {
                hits[slot as usize] += 1;
            }
        }
        assert!(hits.iter().all(|hits| (160..360).contains(hits)), "{hits:?}");
    }
}

#[test]
fn another_seed_sends_flows_another_way() {
    let same = (0..1000).filter(|&i| flow_hash(1, i, 9, 17, 5) >> 26 == flow_hash(2, i, 9, 17, 5) >> 26);
    assert!(same.count() < 50);
}

#[test]
fn each_word_of_an_address_counts() {
    let mut address = [0; 16];
    let zero = fold_v6(&address);
    for i in 0..16 {
        address[i] = 1;
        assert_ne!(fold_v6(&address), zero);
        address[i] = 0;
    }
}
