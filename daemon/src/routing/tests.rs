//! What waits for the shards: how much of it there may be, and who is next.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bgp::types::{FamilySet, PeerId};
use bytes::Bytes;
use futures::FutureExt;
use tokio::task::{JoinSet, unconstrained};

use super::handle::{Inbox, LEAST, ROOM, RibHandle, ShardInput};
use super::{FibNews, Input, UpdateBatch, news};
use crate::forwarding::NextHopSink;

const BATCH: usize = 256 * 1024;

fn batch(peer: u16) -> Input {
    let bytes = Bytes::from(vec![0; BATCH]);
    Input::Updates(PeerId(peer), UpdateBatch { bytes, updates: Vec::new(), arrived: Instant::now() })
}

/// Sends inputs until there is no room; how many had some.
fn fill(handle: &RibHandle, input: impl Fn() -> Input) -> usize {
    let send = || unconstrained(handle.send(input())).now_or_never().map(Result::unwrap);
    std::iter::from_fn(send).count()
}

#[tokio::test]
async fn what_waits_is_bounded_in_octets_whatever_the_number_of_shards() {
    for shards in [1, 2, 7] {
        let (handle, mut inboxes) = RibHandle::new(shards);
        assert_eq!(fill(&handle, || batch(1)), ROOM as usize / BATCH);
        // Room is made by the last shard that is done with something, not by the first.
        let (last, others) = inboxes.split_last_mut().unwrap();
        for inbox in others {
            inbox.inputs.recv().await.unwrap();
        }
        if shards > 1 {
            assert_eq!(fill(&handle, || batch(1)), 0);
        }
        drop(last.inputs.recv().await.unwrap());
        assert_eq!(fill(&handle, || batch(1)), 1);
    }
}

#[tokio::test]
async fn small_inputs_are_bounded_too() {
    let (handle, _inboxes) = RibHandle::new(2);
    assert_eq!(fill(&handle, || Input::Down(PeerId(1), FamilySet::EMPTY)), (ROOM / LEAST) as usize);
}

#[tokio::test]
async fn what_is_given_up_before_it_found_room_is_told_to_nobody() {
    let (handle, mut inboxes) = RibHandle::new(2);
    let filled = fill(&handle, || batch(1));
    let mut waiting = Box::pin(handle.send(Input::Down(PeerId(9), FamilySet::EMPTY)));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    for inbox in &mut inboxes {
        for _ in 0..filled {
            let delivery = inbox.inputs.recv().await.unwrap();
            assert!(matches!(delivery.input, ShardInput::Updates(PeerId(1), _)));
        }
        assert!(inbox.inputs.try_recv().is_err());
    }
}

/// The next input of a shard is done with; whose it was.
fn take(inbox: &mut Inbox) -> PeerId {
    match inbox.inputs.try_recv().unwrap().input {
        ShardInput::Updates(peer, _) => peer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_with_much_to_say_get_on_evenly() {
    const SESSIONS: u16 = 4;
    let (handle, mut inboxes) = RibHandle::new(2);
    let filled = fill(&handle, || batch(1));
    let asked: Arc<[AtomicUsize]> = (0..SESSIONS).map(|_| AtomicUsize::new(0)).collect();
    let mut sessions = JoinSet::new();
    for peer in 0..SESSIONS {
        let (handle, asked) = (handle.clone(), Arc::clone(&asked));
        sessions.spawn(async move {
            loop {
                asked[usize::from(peer)].fetch_add(1, Ordering::Relaxed);
                handle.send(batch(peer)).await.unwrap();
            }
        });
    }
    while asked.iter().any(|asked| asked.load(Ordering::Relaxed) == 0) {
        tokio::task::yield_now().await;
    }
    // The shards are slower than the sessions: there is never room for all of these.
    let mut done = Vec::new();
    for _ in 0..filled + 400 {
        let peers: Vec<PeerId> = inboxes.iter_mut().map(take).collect();
        assert_eq!(peers[0], peers[1]);
        done.push(peers[0]);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    for four in done[filled..].chunks(4) {
        let mut four = four.to_vec();
        four.sort_unstable();
        assert_eq!(four, [PeerId(0), PeerId(1), PeerId(2), PeerId(3)], "each once in four");
    }
}

#[tokio::test]
async fn news_of_next_hops_reach_all_shards_and_of_a_route_the_one_that_has_it() {
    let (mut sink, mut inboxes) = news(5);
    let address = Ipv4Addr::new(192, 0, 2, 1).into();
    sink.next_hop(address, Some(0));
    for inbox in &mut inboxes {
        let heard = inbox.try_recv().unwrap();
        assert!(matches!(heard, FibNews::NextHop { address: of, cost: Some(0) } if of == address));
    }
    for octet in 1..100 {
        let prefix: ipnet::IpNet = format!("10.{octet}.0.0/24").parse().unwrap();
        sink.route_status(prefix, false);
        let owner = usize::from(bgp::rib::ShardSpec::owner(5, &prefix));
        for (index, inbox) in inboxes.iter_mut().enumerate() {
            let heard = inbox.try_recv().ok();
            let expected =
                matches!(heard, Some(FibNews::Route { prefix: of, installed: false, .. }) if of == prefix);
            assert_eq!((heard.is_some(), expected), (index == owner, index == owner));
        }
    }
}
