//! Best path and multipath written once more, straight from RFC 4271 section 9.1.2.2 and without any
//! thought of speed: what the RIB is compared with.

use bgp::rib::Rules;
use bgp::rib::decision::Candidate;

/// The index of the best candidate, and those of the candidates that share its traffic, in order of
/// preference.
pub(crate) fn best(candidates: &[Candidate], rules: &Rules) -> Option<(usize, Vec<usize>)> {
    let all = || (0..candidates.len()).collect::<Vec<_>>();
    let c = |index: usize| &candidates[index];

    // RFC 9494 section 4.4: less preferred than any other.
    let mut routes = all();
    if routes.iter().any(|&r| !c(r).long_lived) {
        routes.retain(|&r| !c(r).long_lived);
    }

    // 9.1.1: the degree of preference, ours above everybody's.
    if routes.iter().any(|&r| c(r).local) {
        routes.retain(|&r| c(r).local);
    }
    let preference = routes.iter().map(|&r| c(r).local_pref).max()?;
    routes.retain(|&r| c(r).local_pref == preference);

    // RFC 7311 section 4.1: those with AIGP only, if there are any, and of them the lowest.
    if let Some(lowest) = routes.iter().filter_map(|&r| c(r).aigp).min() {
        routes.retain(|&r| c(r).aigp == Some(lowest));
    }

    // a) the smallest number of AS numbers in AS_PATH.
    let shortest = routes.iter().map(|&r| c(r).as_path_length).min()?;
    routes.retain(|&r| c(r).as_path_length == shortest);

    // b) not tied for the lowest Origin number.
    let origin = routes.iter().map(|&r| c(r).origin).min()?;
    routes.retain(|&r| c(r).origin == origin);

    // c) for m = all routes still under consideration
    //        for n = all routes still under consideration
    //            if (neighborAS(m) == neighborAS(n)) and (MED(n) < MED(m))
    //                remove route m from consideration
    let considered = routes.clone();
    for &m in &considered {
        for &n in &considered {
            let comparable = rules.always_compare_med || c(m).neighbour_as == c(n).neighbour_as;
            if comparable && c(n).med < c(m).med {
                routes.retain(|&r| r != m);
            }
        }
    }

    // d) if at least one was received via EBGP, remove those received via IBGP.
    if routes.iter().any(|&r| c(r).external) {
        routes.retain(|&r| c(r).external);
    }

    // e) less preferred interior cost.
    let cost = routes.iter().map(|&r| c(r).interior_cost).min()?;
    routes.retain(|&r| c(r).interior_cost == cost);
    let equal = routes.clone();

    // f) the lowest BGP Identifier; RFC 4456: then the shortest CLUSTER_LIST; g) the lowest address. RFC 7911
    // leaves open what tells several paths of one peer apart: the lowest identifier.
    let order = |r: usize| (c(r).router_id, c(r).cluster_list_length, c(r).peer_address, c(r).path_id);
    let winner = routes.into_iter().min_by_key(|&r| order(r))?;

    let mut sharing: Vec<usize> = equal
        .into_iter()
        .filter(|&r| {
            let same_path =
                c(r).neighbour_as == c(winner).neighbour_as && c(r).as_path_hash == c(winner).as_path_hash;
            r == winner || same_path || rules.relax
        })
        .collect();
    sharing.sort_by_key(|&r| order(r));
    let most = if c(winner).external { rules.multipath_external } else { rules.multipath_internal };
    sharing.truncate(most.max(1));
    Some((winner, sharing))
}
