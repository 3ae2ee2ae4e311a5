//! Next hops that are lost, and who carries their traffic then: as many stores as slots, whatever the table.

use std::net::IpAddr;

use fib::{Fib, FibConfig, NextHopId, NextHopKey, Resolution, SetId, TableEdit};
use fib_abi::{Adjacency, NextHopKind};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::common::Plane;

const SLOTS: u32 = 32;

fn forward(mac: u8) -> Resolution {
    let adjacency = Adjacency { ifindex: 1, dst_mac: [2, 0, 0, 0, 0, mac], ..Adjacency::default() };
    Resolution::Forward { adjacency, mtu: 1500 }
}

/// A table with some neighbours and the maps that it is written into.
struct Lab {
    fib: Fib,
    plane: Plane,
    hops: Vec<NextHopId>,
}

impl Lab {
    fn new(neighbours: u8) -> Self {
        let mut fib = Fib::new(FibConfig { ecmp_slots: SLOTS, ..FibConfig::default() });
        let hops = (0..neighbours).map(|n| {
            let key = NextHopKey::Via { addr: IpAddr::from([10, 0, 0, n]), ifindex: 1 };
            let id = fib.next_hop(key).expect("there is room");
            fib.resolve(id, forward(n)).expect("a neighbour");
            id
        });
        let hops = hops.collect();
        Self { fib, plane: Plane::new(100_000, 10), hops }
    }

    /// A set that a route names.
    fn set(&mut self, number: u8, members: &[u8], backup: Option<u8>) -> SetId {
        let id = |n: &u8| self.hops[usize::from(*n)];
        let members: Vec<_> = members.iter().map(id).collect();
        let set = self.fib.set_with_backup(&members, backup.as_ref().map(id)).expect("there is room");
        let prefix = IpNet::new(IpAddr::from([10, number, 0, 0]), 16).expect("a valid length");
        self.fib.insert(prefix, set).expect("the set lives");
        set
    }

    fn commit(&mut self) -> Vec<TableEdit> {
        let mut edits = Vec::new();
        self.fib.commit(&mut edits, |_| false);
        self.plane.apply(&edits, |_| false);
        edits
    }

    /// Which neighbour each slot of a set leads to, in the maps.
    fn owners(&self, set: SetId) -> Vec<u8> {
        let word = self.plane.sets[&set.0];
        let slots = (word.base..).take(word.slots as usize);
        let owner = |slot| self.hops.iter().position(|hop| hop.0 == self.plane.members[&slot]);
        slots.map(|slot| owner(slot).expect("a neighbour") as u8).collect()
    }
}

#[test]
fn a_lost_next_hop_costs_a_store_for_each_set_whatever_the_table() {
    let mut lab = Lab::new(3);
    let set = lab.set(0, &[0], Some(1));
    for i in 0..2_000_u32 {
        let prefix = IpNet::new(IpAddr::V4((i << 8).into()), 24).expect("a valid length");
        lab.fib.insert(prefix, set).expect("the set lives");
    }
    lab.commit();
    lab.fib.resolve(lab.hops[0], Resolution::Down).expect("a neighbour");
    let lost = lab.commit();
    assert_eq!(lab.owners(set), [1]);
    // The backup has the traffic before the way that is lost drops it.
    assert!(matches!(lost[..], [TableEdit::Member { .. }, TableEdit::NextHop { value, .. }]
        if value.kind == NextHopKind::Unset as u8));
    lab.fib.resolve(lab.hops[0], forward(0)).expect("a neighbour");
    let found = lab.commit();
    assert_eq!(lab.owners(set), [0]);
    // And the other way round when it is back.
    let kinds = found.iter().map(|edit| matches!(edit, TableEdit::Member { .. }));
    assert_eq!(kinds.collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn a_suspect_carries_what_nobody_else_can() {
    let mut lab = Lab::new(2);
    let (guarded, alone) = (lab.set(0, &[0], Some(1)), lab.set(1, &[0], None));
    lab.commit();
    lab.fib.suspect(lab.hops[0], true).expect("a neighbour");
    assert_eq!(lab.commit().len(), 1);
    assert_eq!((lab.owners(guarded), lab.owners(alone)), (vec![1], vec![0]));
    lab.fib.resolve(lab.hops[1], Resolution::Down).expect("a neighbour");
    lab.commit();
    assert_eq!(lab.owners(guarded), [0]);
    lab.fib.suspect(lab.hops[0], false).expect("a neighbour");
    assert_eq!(lab.commit(), []);
}

#[test]
fn sets_are_told_apart_by_their_backup() {
    let mut lab = Lab::new(3);
    let [a, b, c] = [0, 1, 2].map(|n| lab.hops[n]);
    let mut set = |members: &[NextHopId], backup| lab.fib.set_with_backup(members, backup).expect("room");
    let plain = set(&[a], None);
    assert_ne!(set(&[a], Some(b)), plain);
    assert_ne!(set(&[a], Some(b)), set(&[a], Some(c)));
    assert_eq!(set(&[a], Some(a)), plain);
    assert_eq!(set(&[a, b], Some(b)), set(&[b, a], None));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Resolve(u8, bool),
    Suspect(u8, bool),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..5_u8, any::<bool>()).prop_map(|(n, up)| Step::Resolve(n, up)),
        (0..5_u8, any::<bool>()).prop_map(|(n, suspect)| Step::Suspect(n, suspect)),
        Just(Step::Commit),
    ]
}

proptest! {
    #[test]
    fn traffic_goes_where_it_can_and_no_flow_moves_without_need(
        sets in prop::collection::vec((prop::collection::vec(0..5_u8, 1..5), prop::option::of(0..5_u8)), 1..6),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut lab = Lab::new(5);
        let (mut up, mut suspect) = ([true; 5], [false; 5]);
        let made: Vec<_> = (0..)
            .zip(&sets)
            .map(|(number, (members, backup))| (lab.set(number, members, *backup), members, *backup))
            .collect();
        lab.commit();
        let rate = |n: u8, up: &[bool; 5], suspect: &[bool; 5]| match usize::from(n) {
            n if !up[n] => 2,
            n if suspect[n] => 1,
            _ => 0,
        };
        let mut before: Vec<_> = made.iter().map(|(set, ..)| lab.owners(*set)).collect();
        let (mut up_before, mut suspect_before) = (up, suspect);
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Resolve(n, is_up) => {
                    up[usize::from(n)] = is_up;
                    let resolution = if is_up { forward(n) } else { Resolution::Down };
                    lab.fib.resolve(lab.hops[usize::from(n)], resolution).expect("a neighbour");
                }
                Step::Suspect(n, is_suspect) => {
                    suspect[usize::from(n)] = is_suspect;
                    lab.fib.suspect(lab.hops[usize::from(n)], is_suspect).expect("a neighbour");
                }
                Step::Commit => {
                    lab.commit();
                    lab.plane.grace();
                    lab.fib.grace_elapsed();
                    for ((set, members, backup), before) in made.iter().zip(&mut before) {
                        let after = lab.owners(*set);
                        let named = || members.iter().copied().chain(*backup);
                        let best = named().map(|n| rate(n, &up, &suspect)).min().expect("a member");
                        let fit = |n: u8| best == 2 || rate(n, &up, &suspect) == best;
                        prop_assert!(after.iter().all(|&n| named().any(|m| m == n) && fit(n)));
                        let by_members = members.iter().any(|&n| fit(n));
                        prop_assert!(!by_members || after.iter().all(|n| members.contains(n)));
                        // A flow moves from what is worse than it was, or to what is better than it was.
                        for (&old, &new) in before.iter().zip(&after).filter(|(old, new)| old != new) {
                            let was = |n| rate(n, &up_before, &suspect_before);
                            let is = |n| rate(n, &up, &suspect);
                            prop_assert!(is(old) != was(old) || is(new) != was(new), "{old} to {new}");
                        }
                        *before = after;
                    }
                    (up_before, suspect_before) = (up, suspect);
                }
            }
        }
    }
}
