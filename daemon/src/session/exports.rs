//! Routes on their way from the shards of the RIB to the neighbour.
//!
//! Each shard has a queue of its own; they are taken from in turn, so that none starves another. The end of
//! the initial routes is the session's to tell: a shard knows only of its own, so End-of-RIB (RFC 4724
//! section 2) goes out when the last one has said so, behind everything that any of them sent before. So it is
//! with the end of a refresh (see [`super::refresh`]).

use std::task::{Context, Poll};

use bgp::rib::out::Batch;
use bgp::types::Family;
use bgp::wire::encode_end_of_rib;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::refresh::{Answers, Next};
use crate::routing::EXPORT_QUEUE;

/// The session's end of the queues.
pub(super) struct Exports {
    shards: Vec<mpsc::Receiver<Batch>>,
    /// The shard to look at first next time.
    turn: usize,
    answers: Answers,
}

/// What a shard sent.
#[derive(Debug)]
pub(super) struct Routes {
    /// Which shard.
    pub(super) shard: usize,
    /// Whole messages, one after another.
    pub(super) messages: Vec<Bytes>,
    /// All shards are to send this family again.
    pub(super) refresh: Option<Family>,
}

impl Exports {
    /// A queue for each of some shards; their ends, and ours. `marked`: the neighbour reads where refreshes
    /// begin and end.
    pub(super) fn new(shards: usize, marked: bool) -> (Vec<mpsc::Sender<Batch>>, Self) {
        let (senders, receivers) = (0..shards).map(|_| mpsc::channel(EXPORT_QUEUE)).unzip();
        (senders, Self { shards: receivers, turn: 0, answers: Answers::new(shards, marked) })
    }

    /// The neighbour asks for a family again.
    pub(super) fn request(&mut self, family: Family) -> Next {
        self.answers.request(family)
    }

    /// The next batch. `None`: a shard has let go of the session.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Routes>> {
        let count = self.shards.len();
        for step in 0..count {
            let shard = (self.turn + step) % count;
            match self.shards[shard].poll_recv(cx) {
                Poll::Pending => {}
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(batch)) => {
                    self.turn = shard + 1;
                    return Poll::Ready(Some(self.routes(shard, batch)));
                }
            }
        }
        Poll::Pending
    }

    fn routes(&mut self, shard: usize, batch: Batch) -> Routes {
        let mut messages = batch.messages;
        let mut refresh = None;
        let ends = [
            batch.end_of_rib.map(|family| (family, self.answers.initial_end(family))),
            batch.end_of_refresh.map(|family| (family, self.answers.refresh_end(family))),
        ];
        for (family, next) in ends.into_iter().flatten() {
            if next.end_of_rib {
                let mut marker = BytesMut::new();
                encode_end_of_rib(&mut marker, family);
                messages.push(marker.freeze());
            }
            messages.extend(next.marks);
            refresh = refresh.or(next.refresh);
        }
        Routes { shard, messages, refresh }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn batch(text: &'static [u8], end_of_rib: Option<Family>) -> Batch {
        let messages = if text.is_empty() { Vec::new() } else { vec![Bytes::from_static(text)] };
        Batch { messages, end_of_rib, ..Batch::default() }
    }

    async fn next(exports: &mut Exports) -> Option<Routes> {
        poll_fn(|cx| exports.poll_next(cx)).await
    }

    fn marker(family: Family) -> Bytes {
        let mut marker = BytesMut::new();
        encode_end_of_rib(&mut marker, family);
        marker.freeze()
    }

    #[tokio::test]
    async fn shards_take_turns() {
        let (senders, mut exports) = Exports::new(3, false);
        for sender in &senders {
            sender.send(batch(b"one", None)).await.unwrap();
            sender.send(batch(b"two", None)).await.unwrap();
        }
        let mut order = Vec::new();
        for _ in 0..6 {
            order.push(next(&mut exports).await.unwrap().shard);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[tokio::test]
    async fn the_end_is_told_once_and_behind_the_routes_of_all_shards() {
        let (v4, v6) = (Some(Family::Ipv4Unicast), Some(Family::Ipv6Unicast));
        let (senders, mut exports) = Exports::new(2, false);
        senders[0].send(batch(b"a", v4)).await.unwrap();
        senders[0].send(batch(b"", v6)).await.unwrap();
        senders[1].send(batch(b"b", v6)).await.unwrap();
        senders[1].send(batch(b"c", v4)).await.unwrap();
        let mut sent = Vec::new();
        for _ in 0..4 {
            sent.extend(next(&mut exports).await.unwrap().messages);
        }
        let expected: [Bytes; 5] = [
            Bytes::from_static(b"a"),
            Bytes::from_static(b"b"),
            marker(Family::Ipv6Unicast),
            Bytes::from_static(b"c"),
            marker(Family::Ipv4Unicast),
        ];
        assert_eq!(sent, expected);
        drop(senders);
        assert!(next(&mut exports).await.is_none());
    }
}
