//! How much of the traffic each of several paths gets.
//!
//! By the link bandwidth extended community (draft-ietf-idr-link-bandwidth) when every path has one that is
//! not zero, else the same for all. Shares are whole numbers, [`PARTS`] in all at most, each path having one, so
//! that the forwarding plane can give each share slots; they are a function of the bandwidths alone.

use std::cmp::Ordering;
use std::net::IpAddr;

use smallvec::SmallVec;

use crate::wire::{Attributes, ExtendedCommunity};

/// Parts that the traffic is divided into, unless there are more next hops.
const PARTS: usize = 64;
/// A share may be off by one in so many where that saves slots.
const CLOSE: u128 = 200;

/// The bandwidth of the link that a route came in by, in bytes per second; `None` without a usable community.
pub(crate) fn bandwidth(route: &Attributes) -> Option<f32> {
    let found = route.extended_communities.iter().find_map(|community| community.link_bandwidth());
    found.filter(|bandwidth| bandwidth.is_finite() && *bandwidth > 0.0)
}

/// Whether there is such a community at all.
pub(crate) fn has_bandwidth(communities: &[ExtendedCommunity]) -> bool {
    communities.iter().any(|community| community.link_bandwidth().is_some())
}

/// Next hops in ascending order, each as often as it has shares; of equal ones the bandwidths add up.
pub(crate) fn shares(mut members: Vec<(IpAddr, f32)>) -> SmallVec<[IpAddr; 1]> {
    members.sort_unstable_by_key(|(next_hop, _)| *next_hop);
    let weights = weights(&members.iter().map(|(_, bandwidth)| *bandwidth).collect::<Vec<_>>());
    let mut sums: Vec<(IpAddr, u128)> = Vec::with_capacity(members.len());
    for ((next_hop, _), weight) in members.into_iter().zip(weights) {
        match sums.last_mut() {
            Some((last, sum)) if *last == next_hop => *sum += weight,
            _ => sums.push((next_hop, weight)),
        }
    }
    let parts = divide(&sums.iter().map(|(_, weight)| *weight).collect::<Vec<_>>());
    let each = sums.iter().zip(parts);
    each.flat_map(|((next_hop, _), count)| std::iter::repeat_n(*next_hop, count)).collect()
}

/// Whole numbers in proportion to positive ones: the bits of their fractions, moved by their exponents. What is
/// 2^63 times smaller than the greatest counts as 1.
fn weights(bandwidths: &[f32]) -> Vec<u128> {
    let exponent = |bandwidth: f32| bandwidth.to_bits() >> 23;
    let greatest = bandwidths.iter().map(|bandwidth| exponent(*bandwidth)).max().unwrap_or(0);
    let weight = |bandwidth: f32| {
        let fraction = u128::from(bandwidth.to_bits() & 0x7f_ffff | 0x80_0000);
        (fraction << 40 >> (greatest - exponent(bandwidth)).min(63)).max(1)
    };
    bandwidths.iter().map(|bandwidth| weight(*bandwidth)).collect()
}

/// Whole numbers in proportion to these, at least 1 each: as few as do that to half a percent, or else
/// [`PARTS`] divided as well as can be.
fn divide(weights: &[u128]) -> Vec<usize> {
    let total: u128 = weights.iter().sum();
    let (least, most) = (weights.len() as u128, PARTS.max(weights.len()) as u128);
    let nearest = |weight: u128, parts: u128| (2 * weight * parts + total) / (2 * total);
    let close = |parts: u128| {
        weights.iter().all(|&weight| {
            let nearest = nearest(weight, parts);
            nearest > 0 && (nearest * total).abs_diff(weight * parts) * CLOSE < weight * parts
        })
    };
    let parts = match (least..=most).find(|&parts| close(parts)) {
        Some(parts) => weights.iter().map(|&weight| nearest(weight, parts)).collect(),
        None => apportion(weights, total, most),
    };
    parts.into_iter().map(|part| usize::try_from(part).unwrap_or(1)).collect()
}

/// So many parts, at least 1 each, as near as can be to what each should have.
fn apportion(weights: &[u128], total: u128, parts: u128) -> Vec<u128> {
    let mut given: Vec<u128> = weights.iter().map(|&weight| (weight * parts / total).max(1)).collect();
    // What is left goes to those that are furthest below what they should have; and what is too much, since
    // everybody has a part, comes from those furthest above.
    loop {
        let lacks = |&a: &usize, &b: &usize| {
            let of = |a: usize, b: usize| weights[a] * parts + given[b] * total;
            of(a, b).cmp(&of(b, a)).then(b.cmp(&a))
        };
        let indexes = 0..given.len();
        let (index, more) = match given.iter().sum::<u128>().cmp(&parts) {
            Ordering::Less => (indexes.max_by(lacks), true),
            Ordering::Greater => (indexes.filter(|&index| given[index] > 1).min_by(lacks), false),
            Ordering::Equal => return given,
        };
        let Some(index) = index else { return given };
        given[index] = if more { given[index] + 1 } else { given[index] - 1 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_in_proportion_and_few() {
        for (bandwidths, parts) in [
            (vec![1e9, 1e9], vec![1, 1]),
            (vec![2e9, 1e9, 1e9], vec![2, 1, 1]),
            (vec![1e9, 3e9], vec![1, 3]),
            (vec![1e10, 1e6], vec![63, 1]),
            (vec![f32::MAX, f32::MIN_POSITIVE], vec![63, 1]),
            (vec![1.0, 2.0], vec![1, 2]),
            (vec![1e9, 3e9, 2e9], vec![1, 3, 2]),
            (vec![1.0, 1000.0, 1000.0], vec![1, 32, 31]),
        ] {
            assert_eq!(divide(&weights(&bandwidths)), parts, "{bandwidths:?}");
        }
    }

    #[test]
    fn paths_of_one_next_hop_count_together() {
        let [a, b] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        assert_eq!(shares(vec![(b, 1e9), (a, 5e8), (b, 1e9), (a, 5e8)]).as_slice(), [a, b, b]);
    }

    proptest! {
        #[test]
        fn nobody_is_left_out_and_more_bandwidth_is_never_less_traffic(
            bandwidths in prop::collection::vec(1e3_f32..1e11, 1..70),
        ) {
            let parts = divide(&weights(&bandwidths));
            prop_assert!(parts.iter().all(|part| *part >= 1));
            prop_assert!(parts.iter().sum::<usize>() <= PARTS.max(bandwidths.len()));
            for (a, b) in (0..parts.len()).flat_map(|a| (0..parts.len()).map(move |b| (a, b))) {
                prop_assert!(bandwidths[a] <= bandwidths[b] || parts[a] >= parts[b]);
            }
        }
    }
}
