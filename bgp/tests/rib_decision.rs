//! The decision process against a naive one, on candidates that tie in most steps.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

mod rib_naive;

use std::net::{IpAddr, Ipv4Addr};

use bgp::rib::Rules;
use bgp::rib::decision::{Candidate, DecisionStep, Ranked, decide};
use bgp::types::{Asn, RouterId};
use proptest::prelude::*;

fn plain(last: u8) -> Candidate {
    Candidate {
        local: false,
        long_lived: false,
        local_pref: 100,
        aigp: None,
        as_path_length: 2,
        origin: 0,
        neighbour_as: Asn(65_001),
        med: 0,
        external: true,
        interior_cost: 0,
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, 1)),
        cluster_list_length: 0,
        peer_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        path_id: 0,
        as_path_hash: 0,
    }
}

fn ranked(candidates: &[Candidate]) -> Ranked {
    decide(candidates, &Rules::default()).unwrap()
}

prop_compose! {
    /// Values from small ranges, so that most steps tie.
    fn candidate()(
        local in prop::bool::weighted(0.05),
        long_lived in prop::bool::weighted(0.2),
        preference in 0..2_u32,
        aigp in prop::option::weighted(0.7, 0..2_u64),
        length in 0..2_u32,
        origin in 0..2_u8,
        neighbour in 0..3_u32,
        med in 0..3_u32,
        external in any::<bool>(),
        cost in 0..2_u32,
        router_id in 0..3_u8,
        clusters in 0..2_u32,
        path in 0..2_u32,
    ) -> Candidate {
        Candidate {
            local,
            long_lived,
            local_pref: preference,
            aigp,
            as_path_length: length,
            origin,
            neighbour_as: Asn(neighbour),
            med,
            external,
            interior_cost: cost,
            router_id: RouterId(Ipv4Addr::new(10, 0, 0, router_id)),
            cluster_list_length: clusters,
            as_path_hash: path,
            ..plain(0)
        }
    }
}

/// Up to nine candidates with addresses of their own, or identifiers of their own where they share one, and an
/// order to shuffle them into.
fn contest() -> impl Strategy<Value = (Vec<Candidate>, Vec<usize>)> {
    prop::collection::vec(candidate(), 1..10).prop_flat_map(|mut candidates| {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.peer_address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, index as u8 / 2));
            candidate.path_id = 1 - index as u32 % 2;
        }
        let order: Vec<usize> = (0..candidates.len()).collect();
        (Just(candidates), Just(order).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_decision_equals_the_naive_one_in_any_order(
        (candidates, order) in contest(),
        always in any::<bool>(),
        multipath in (1..4_usize, 1..4_usize),
        relax in any::<bool>(),
    ) {
        let rules = Rules {
            always_compare_med: always,
            multipath_external: multipath.0,
            multipath_internal: multipath.1,
            relax,
            link_bandwidth: false,
        };
        let (best, sharing) = rib_naive::best(&candidates, &rules).unwrap();
        let ours = decide(&candidates, &rules).unwrap();
        prop_assert_eq!(ours.best, best);
        prop_assert_eq!(&ours.multipath, &sharing);

        let shuffled: Vec<_> = order.iter().map(|&index| candidates[index]).collect();
        let theirs = decide(&shuffled, &rules).unwrap();
        prop_assert_eq!(order[theirs.best], best);
        let sharing_shuffled: Vec<_> = theirs.multipath.iter().map(|&index| order[index]).collect();
        prop_assert_eq!(sharing_shuffled, sharing);
        for (place, lost_at) in theirs.lost_at.iter().enumerate() {
            prop_assert_eq!(*lost_at, ours.lost_at[order[place]]);
        }
    }

    #[test]
    fn only_the_best_has_lost_nowhere((candidates, _) in contest()) {
        let ranked = ranked(&candidates);
        for (index, lost_at) in ranked.lost_at.iter().enumerate() {
            prop_assert_eq!(lost_at.is_none(), index == ranked.best);
        }
        let last = ranked.lost_at.iter().flatten().max().copied();
        prop_assert_eq!(ranked.decided_by, last.unwrap_or(DecisionStep::OnlyPath));
    }
}

#[test]
fn a_cycle_of_pairwise_preferences_has_one_winner_in_every_order() {
    // a beats b and b beats c by router id, c beats a by MED: as pairs they go round in a circle.
    let with = |last: u8, asn: u32, med: u32| Candidate {
        neighbour_as: Asn(asn),
        med,
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, last)),
        ..plain(last)
    };
    let (a, b, c) = (with(1, 65_001, 10), with(2, 65_002, 0), with(3, 65_001, 5));
    assert_eq!(ranked(&[a, b]).best, 0);
    assert_eq!(ranked(&[b, c]).best, 0);
    assert_eq!(ranked(&[c, a]).best, 0);
    for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        let ranked = ranked(&order);
        assert_eq!(order[ranked.best], b);
        let lost = |candidate| ranked.lost_at[order.iter().position(|other| *other == candidate).unwrap()];
        assert_eq!(lost(a), Some(DecisionStep::Med));
        assert_eq!(lost(c), Some(DecisionStep::RouterId));
    }
}

#[test]
fn each_step_decides_when_all_before_it_tie() {
    use DecisionStep as Step;
    let winner = plain(1);
    let later = |change: &dyn Fn(&mut Candidate)| {
        let mut candidate = plain(2);
        change(&mut candidate);
        candidate
    };
    let id = RouterId(Ipv4Addr::new(10, 0, 0, 2));
    for (loser, step) in [
        (later(&|c| c.local_pref = 99), Step::LocalPref),
        (later(&|c| c.as_path_length = 3), Step::AsPathLength),
        (later(&|c| c.origin = 1), Step::Origin),
        (later(&|c| c.med = 1), Step::Med),
        (later(&|c| c.external = false), Step::EbgpOverIbgp),
        (later(&|c| c.interior_cost = 1), Step::InteriorCost),
        (later(&|c| c.router_id = id), Step::RouterId),
        (later(&|c| c.cluster_list_length = 1), Step::ClusterListLength),
        (later(&|_| ()), Step::PeerAddress),
    ] {
        let ranked = ranked(&[loser, winner]);
        assert_eq!((ranked.best, ranked.lost_at[0], ranked.decided_by), (1, Some(step), step));
    }
    let ours = Candidate { local: true, local_pref: 0, as_path_length: 9, ..plain(9) };
    assert_eq!(ranked(&[winner, ours]).lost_at[0], Some(Step::LocallyOriginated));
    assert_eq!(ranked(&[winner]).decided_by, Step::OnlyPath);
    assert_eq!(decide(&[], &Rules::default()), None);
}

#[test]
fn med_of_another_neighbour_counts_only_when_asked_for() {
    let mut cheap = plain(2);
    cheap.neighbour_as = Asn(65_002);
    let dear = Candidate { med: 10, ..plain(1) };
    assert_eq!(ranked(&[dear, cheap]).best, 0);
    let always = Rules { always_compare_med: true, ..Rules::default() };
    assert_eq!(decide(&[dear, cheap], &always).unwrap().best, 1);
}
