//! The longest match by another way than a tree or an index: prefixes and addresses in order, one sweep over
//! both, with the prefixes that are open at an address on a stack.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address of either family, left-aligned: what is compared.
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first and the last address of a prefix.
fn ends(prefix: IpNet) -> (u128, u128) {
    let first = bits(prefix.network());
    (first, first | u128::MAX.checked_shr(prefix.prefix_len().into()).unwrap_or(0))
}

/// For each address, in ascending order and all of one family, what the longest of the prefixes that
/// contain it stands for.
pub fn answers(routes: &[(IpNet, u8)], addresses: &[IpAddr]) -> Vec<Option<u8>> {
    let Some(ipv6) = addresses.first().map(IpAddr::is_ipv6) else { return Vec::new() };
    let mut order: Vec<(u128, u8, u128, u8)> = routes
        .iter()
        .filter(|(prefix, _)| prefix.addr().is_ipv6() == ipv6)
        .map(|(prefix, answer)| {
            let (first, last) = ends(*prefix);
            (first, prefix.prefix_len(), last, *answer)
        })
        .collect();
    order.sort_unstable();
    let mut order = order.into_iter().peekable();
    let mut open: Vec<(u128, u8)> = Vec::new();
    let close = |open: &mut Vec<(u128, u8)>, before: u128| {
        while open.pop_if(|(last, _)| *last < before).is_some() {}
    };
    let answer = |address: &IpAddr| {
        let address = bits(*address);
        while let Some((first, _, last, answer)) = order.next_if(|(first, ..)| *first <= address) {
            close(&mut open, first);
            open.push((last, answer));
        }
        close(&mut open, address);
        open.last().map(|(_, answer)| *answer)
    };
    addresses.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use ipnet::Ipv4Net;

    #[test]
    fn the_sweep_answers_as_looking_at_every_prefix_does() {
        let mut random = Random::new(1);
        let mut routes: Vec<(IpNet, u8)> = (0..200)
            .map(|number| {
                let bits = (10 << 24) | (random.next_u64() as u32 & 0xffff);
                let length = random.below(33) as u8;
                (IpNet::V4(Ipv4Net::new(bits.into(), length).expect("a length").trunc()), number)
            })
            .collect();
        routes.sort_unstable();
        routes.dedup_by_key(|(prefix, _)| *prefix);
        let mut addresses: Vec<IpAddr> = (0..5000)
            .map(|_| IpAddr::V4(((10 << 24) | (random.next_u64() as u32 & 0x1_ffff)).into()))
            .chain(routes.iter().flat_map(|(prefix, _)| [prefix.network(), prefix.broadcast()]))
            .collect();
        addresses.sort_unstable();
        let meant: Vec<Option<u8>> = addresses
            .iter()
            .map(|address| {
                let covering = routes.iter().filter(|(prefix, _)| prefix.contains(address));
                covering.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, answer)| *answer)
            })
            .collect();
        assert_eq!(answers(&routes, &addresses), meant);
        let six: Vec<IpAddr> = vec!["2001:db8::1".parse().expect("an address")];
        let default = [("::/0".parse().expect("a prefix"), 7), ("0.0.0.0/0".parse().expect("a prefix"), 9)];
        assert_eq!(answers(&default, &six), [Some(7)]);
        assert_eq!(answers(&routes, &six), [None]);
    }
}
