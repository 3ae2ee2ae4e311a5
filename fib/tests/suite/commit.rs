//! What a commit tells the maps, in which order, and what it costs.

use std::net::IpAddr;

use crate::common::{Plane, Way, boundaries};
use fib::{Fib, FibConfig, FibError, NextHopId, NextHopKey, Resolution, SetId, Status, TableEdit};
use fib_abi::{Adjacency, NextHopKind};
use ipnet::IpNet;
use proptest::prelude::*;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn via(n: u8) -> NextHopKey {
    NextHopKey::Via { addr: IpAddr::from([10, 0, 0, n]), ifindex: 1 }
}

fn forward(mac: u8) -> Resolution {
    let adjacency = Adjacency { ifindex: 1, dst_mac: [2, 0, 0, 0, 0, mac], ..Adjacency::default() };
    Resolution::Forward { adjacency, mtu: 1500 }
}

fn neighbour(fib: &mut Fib, n: u8) -> NextHopId {
    let id = fib.next_hop(via(n)).expect("there is room");
    fib.resolve(id, forward(n)).expect("a neighbour");
    id
}

fn single(fib: &mut Fib, n: u8) -> SetId {
    let id = neighbour(fib, n);
    fib.set(&[id]).expect("there is room")
}

fn commit(fib: &mut Fib) -> Vec<TableEdit> {
    let mut edits = Vec::new();
    fib.commit(&mut edits, |_| false);
    edits
}

fn rank(edit: &TableEdit) -> u8 {
    match edit {
        TableEdit::Adjacency { .. } => 0,
        TableEdit::NextHop { .. } => 1,
        TableEdit::Member { .. } => 2,
        TableEdit::Set { .. } => 3,
        TableEdit::Insert { .. } => 4,
        TableEdit::Remove { .. } => 5,
        TableEdit::Fill { .. } | TableEdit::Grow { .. } | TableEdit::Serve { .. } => 6,
    }
}

#[test]
fn each_word_is_written_before_another_names_it() {
    let mut fib = Fib::new(FibConfig::default());
    let hops = [neighbour(&mut fib, 1), neighbour(&mut fib, 2)];
    let set = fib.set(&hops).expect("there is room");
    fib.insert(net("10.1.0.0/16"), set).expect("the set lives");
    let edits = commit(&mut fib);
    assert!(edits.is_sorted_by_key(rank));
    assert_eq!(edits.iter().filter(|edit| rank(edit) == 2).count(), FibConfig::default().ecmp_slots as usize);
    Plane::new(10, 10).apply(&edits, |_| false);
}

#[test]
fn a_neighbour_that_moves_costs_two_writes_whatever_the_table() {
    let mut fib = Fib::new(FibConfig::default());
    let id = neighbour(&mut fib, 1);
    let set = fib.set(&[id]).expect("there is room");
    for i in 0..10_000_u32 {
        let prefix = IpNet::new(IpAddr::V4((i << 12).into()), 24).expect("a valid length");
        fib.insert(prefix, set).expect("the set lives");
    }
    assert!(commit(&mut fib).len() > 10_000);
    fib.resolve(id, forward(9)).expect("a neighbour");
    let moved = commit(&mut fib);
    assert_eq!(moved.iter().map(rank).collect::<Vec<_>>(), [0, 1]);
    fib.resolve(id, Resolution::Down).expect("a neighbour");
    let down = commit(&mut fib);
    assert!(matches!(down[..], [TableEdit::NextHop { value, .. }] if value.kind == NextHopKind::Unset as u8));
    assert_eq!(commit(&mut fib), []);
}

#[test]
fn changes_that_cancel_out_between_commits_write_nothing() {
    let mut fib = Fib::new(FibConfig::default());
    let (a, b) = (single(&mut fib, 1), single(&mut fib, 2));
    let id = fib.find_next_hop(via(1)).expect("made above");
    fib.insert(net("10.0.0.0/8"), a).expect("the set lives");
    fib.insert(net("11.0.0.0/8"), b).expect("the set lives");
    commit(&mut fib);
    fib.insert(net("10.0.0.0/8"), b).expect("the set lives");
    fib.insert(net("10.64.0.0/10"), a).expect("the set lives");
    fib.remove(net("10.64.0.0/10"));
    fib.insert(net("10.0.0.0/8"), a).expect("the set lives");
    fib.resolve(id, forward(7)).expect("a neighbour");
    fib.resolve(id, forward(1)).expect("a neighbour");
    assert_eq!(commit(&mut fib), []);
}

#[test]
fn an_adjacency_is_not_reused_before_the_grace_period() {
    let mut fib = Fib::new(FibConfig { adjacencies: 2, ..FibConfig::default() });
    let set = single(&mut fib, 1);
    let id = fib.find_next_hop(via(1)).expect("made above");
    fib.insert(net("10.0.0.0/8"), set).expect("the set lives");
    let mut plane = Plane::new(10, 10);
    plane.apply(&commit(&mut fib), |_| false);
    fib.resolve(id, forward(2)).expect("a neighbour");
    plane.apply(&commit(&mut fib), |_| false);
    fib.resolve(id, forward(3)).expect("a neighbour");
    let edits = commit(&mut fib);
    assert_eq!(edits, [], "both adjacencies may be in use");
    assert!(fib.wants_retry() && fib.needs_grace());
    plane.grace();
    fib.grace_elapsed();
    plane.apply(&commit(&mut fib), |_| false);
    let word = plane.next_hops[&id.0];
    assert_eq!(plane.adjacencies[&word.adjacency].dst_mac[5], 3);
    assert!(!fib.wants_retry());
}

#[test]
fn a_set_is_not_reused_before_the_grace_period() {
    let mut fib = Fib::new(FibConfig { sets: 3, ..FibConfig::default() });
    let (a, b) = (single(&mut fib, 1), single(&mut fib, 2));
    fib.insert(net("10.0.0.0/8"), a).expect("the set lives");
    fib.insert(net("11.0.0.0/8"), b).expect("the set lives");
    commit(&mut fib);
    let hop = neighbour(&mut fib, 3);
    assert_eq!(fib.set(&[hop]), Err(FibError::SetsFull { limit: 3 }));
    fib.remove(net("10.0.0.0/8"));
    commit(&mut fib);
    assert_eq!(fib.set(&[hop]), Err(FibError::SetsFull { limit: 3 }));
    fib.grace_elapsed();
    assert_eq!(fib.set(&[hop]), Ok(a));
}

#[test]
fn a_next_hop_lives_while_it_is_held_or_named() {
    let mut fib = Fib::new(FibConfig { next_hops: 1, ..FibConfig::default() });
    let set = single(&mut fib, 1);
    let id = fib.find_next_hop(via(1)).expect("made above");
    fib.insert(net("10.0.0.0/8"), set).expect("the set lives");
    commit(&mut fib);
    fib.release_next_hop(id).expect("it lives");
    commit(&mut fib);
    assert_eq!(fib.find_next_hop(via(1)), Some(id));
    fib.remove(net("10.0.0.0/8"));
    commit(&mut fib);
    assert_eq!(fib.find_next_hop(via(1)), None);
    assert_eq!(fib.resolve(id, Resolution::Down), Err(FibError::UnknownNextHop { id: id.0 }));
    assert_eq!(fib.next_hop(via(2)), Err(FibError::NextHopsFull { limit: 1 }));
    fib.grace_elapsed();
    assert_eq!(fib.next_hop(via(2)), Ok(id));
    assert!(
        matches!(commit(&mut fib)[..], [TableEdit::NextHop { value, .. }] if value.kind == 0),
        "what the index held before must not show"
    );
}

#[test]
fn a_set_that_no_route_took_is_gone_with_the_next_commit() {
    let mut fib = Fib::new(FibConfig::default());
    let set = single(&mut fib, 1);
    assert_eq!(commit(&mut fib).iter().map(rank).max(), Some(1), "nothing of the set is written");
    assert_eq!(fib.set_members(set), None);
    assert_eq!(fib.insert(net("10.0.0.0/8"), set), Err(FibError::UnknownSet { id: set.0 }));
    assert!(!fib.needs_grace());
}

#[test]
fn a_single_route_is_seen_before_the_commit() {
    let mut fib = Fib::new(FibConfig::default());
    let (a, b) = (single(&mut fib, 1), single(&mut fib, 2));
    let seen = |fib: &Fib| fib.route(net("10.0.0.0/8")).map(|route| route.set);
    fib.insert(net("10.0.0.0/8"), a).expect("the set lives");
    fib.insert(net("10.0.0.0/9"), b).expect("the set lives");
    assert_eq!(seen(&fib), Some(a));
    commit(&mut fib);
    fib.remove(net("10.0.0.0/8"));
    assert_eq!(seen(&fib), None);
    fib.insert(net("10.0.0.0/8"), b).expect("the set lives");
    assert_eq!(seen(&fib), Some(b));
    commit(&mut fib);
    assert_eq!(seen(&fib), Some(b));
}

#[test]
fn members_count_as_often_as_they_are_there_in_whatever_order() {
    let mut fib = Fib::new(FibConfig::default());
    let (a, b) = (neighbour(&mut fib, 1), neighbour(&mut fib, 2));
    assert_eq!(fib.set(&[a, b]), fib.set(&[b, a]));
    let twice = fib.set(&[b, a, b]).expect("there is room");
    assert_ne!(fib.set(&[a, b]), Ok(twice));
    assert_eq!(fib.set_members(twice), Some(&[a, b, b][..]));
    assert_eq!(fib.set(&[]), Err(FibError::EmptySet));
}

#[test]
fn what_came_first_stays_when_the_map_is_full_and_room_is_used_at_once() {
    let mut fib = Fib::new(FibConfig { capacity_v4: 2, ..FibConfig::default() });
    let mut changes = Vec::new();
    let (a, b) = (single(&mut fib, 1), single(&mut fib, 2));
    fib.insert(net("10.0.0.0/8"), a).expect("the set lives");
    fib.insert(net("10.1.0.0/16"), b).expect("the set lives");
    commit(&mut fib);
    fib.insert(net("9.0.0.0/8"), b).expect("the set lives");
    // Costs no entry, so that it fits all the same.
    fib.insert(net("10.2.0.0/16"), a).expect("the set lives");
    assert_eq!(commit(&mut fib), []);
    fib.drain_status_changes(&mut changes);
    let told: Vec<(IpNet, Status)> = changes.drain(..).map(|c| (c.prefix, c.status)).collect();
    assert_eq!(told, [(net("9.0.0.0/8"), Status::Full)]);
    assert_eq!(fib.stats().ipv4.not_installed(), 1);
    fib.remove(net("10.1.0.0/16"));
    assert_eq!(commit(&mut fib).len(), 2);
    fib.drain_status_changes(&mut changes);
    let told: Vec<(IpNet, Status)> = changes.drain(..).map(|c| (c.prefix, c.status)).collect();
    assert_eq!(told, [(net("9.0.0.0/8"), Status::Installed)]);
}

#[test]
fn a_failed_entry_blames_every_route_behind_it_and_no_other() {
    let mut fib = Fib::new(FibConfig::default());
    let (a, b) = (single(&mut fib, 1), single(&mut fib, 2));
    for (prefix, set) in [("10.0.0.0/9", a), ("10.128.0.0/9", a), ("10.3.0.0/16", b), ("12.0.0.0/8", b)] {
        fib.insert(net(prefix), set).expect("the set lives");
    }
    let edits = commit(&mut fib);
    assert!(edits.contains(&TableEdit::Insert { prefix: net("10.0.0.0/8"), set: a.0 }), "{edits:?}");
    fib.write_failed(net("10.0.0.0/8"));
    let failed = |fib: &Fib, prefix: &str| fib.route(net(prefix)).map(|route| route.status);
    assert_eq!(failed(&fib, "10.0.0.0/9"), Some(Status::WriteFailed));
    assert_eq!(failed(&fib, "10.128.0.0/9"), Some(Status::WriteFailed));
    assert_eq!(failed(&fib, "10.3.0.0/16"), Some(Status::Installed));
    assert_eq!(failed(&fib, "12.0.0.0/8"), Some(Status::Installed));
    // One that joins the entry later has no way either.
    fib.insert(net("10.200.0.0/16"), a).expect("the set lives");
    assert_eq!(commit(&mut fib), [TableEdit::Insert { prefix: net("10.0.0.0/8"), set: a.0 }]);
    fib.write_failed(net("10.0.0.0/8"));
    assert_eq!(failed(&fib, "10.200.0.0/16"), Some(Status::WriteFailed));
    assert_eq!(commit(&mut fib), [], "the second wait is longer");
    assert_eq!(commit(&mut fib).len(), 1);
    commit(&mut fib);
    assert_eq!(failed(&fib, "10.200.0.0/16"), Some(Status::Installed));
    assert!(!fib.wants_retry());
}

/// The first bits, or those around a border between two levels of the direct tables.
fn small_prefix() -> impl Strategy<Value = IpNet> {
    (0_u32..32, 0_u8..=5, 0_u8..3).prop_map(|(bits, len, place)| {
        let (addr, len) = match place {
            0 => (IpAddr::V4((bits << 27).into()), len),
            1 => (IpAddr::V4((bits << 6).into()), len + 21),
            _ => (IpAddr::V6((u128::from(bits) << 105).into()), len + 16),
        };
        IpNet::new(addr, len).expect("a valid length").trunc()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Each address goes from its old answer to its new one in a single step.
    #[test]
    fn no_address_is_ever_answered_in_a_third_way(
        batches in prop::collection::vec(
            prop::collection::vec((small_prefix(), 0_u8..4), 1..12), 1..6),
        way in prop::sample::select(Way::ALL.to_vec()),
    ) {
        let mut fib = Fib::new(FibConfig { engine: way.engine(), ..FibConfig::default() });
        let mut plane = Plane::new(1000, 1000);
        for batch in &batches {
            for &(prefix, set) in batch {
                if set == 0 {
                    fib.remove(prefix);
                } else {
                    let set = single(&mut fib, set);
                    fib.insert(prefix, set).expect("the set lives");
                }
            }
            let addresses: Vec<IpAddr> =
                boundaries([net("0.0.0.0/0"), net("::/0")].iter().chain(batches.iter().flatten().map(|(p, _)| p)))
                    .into_iter().collect();
            way.go_on(&mut fib);
            let answers = |plane: &Plane| -> Vec<_> { addresses.iter().map(|&a| plane.answer(a)).collect() };
            let edits = commit(&mut fib);
            let mut steps = vec![answers(&plane)];
            for edit in &edits {
                plane.apply(std::slice::from_ref(edit), |_| false);
                steps.push(answers(&plane));
            }
            for i in 0..addresses.len() {
                let changes = steps.windows(2).filter(|pair| pair[0][i] != pair[1][i]).count();
                prop_assert!(changes <= 1, "{} changes for {}", changes, addresses[i]);
            }
            plane.grace();
            fib.grace_elapsed();
        }
    }
}
